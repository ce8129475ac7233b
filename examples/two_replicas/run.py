"""Two replicas and a balancer: what is begun on one is approved on the other, and survives a kill.

python examples/two_replicas/run.py          # with PostgreSQL's programs on this machine
DATABASE_URL=postgresql://... python examples/two_replicas/run.py     # with a server of yours
"""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from examples.two_replicas.balancer import balanced  # noqa: E402  beside this file
from examples.two_replicas.database import database  # noqa: E402  as above

#: Seconds in which each part of the story has to come.
PATIENCE_S = 60


@asynccontextmanager
async def replica(name: str, database_url: str) -> AsyncGenerator[tuple[str, Process]]:
    """A replica in a process of its own: its URL, and the process."""
    command = ["-m", "interlock_adapters.cli", "serve", "app.yaml", "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(*command, "--log-level", "error"),
        cwd=HERE,
        env={**os.environ, "DATABASE_URL": database_url, "REPLICA": name},
        stdout=PIPE,
    )
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            if found := re.search(rb"(http://\S+)/healthz", line):
                yield found[1].decode(), process
                break
        else:
            raise SystemExit(f"replica {name} did not start")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def call(method: str, url: str, body: object = None) -> Any:  # noqa: ANN401  JSON
    """One request, on a connection of its own: the balancer gives it to the next replica."""
    headers = {"A2A-Version": "1.0"}
    async with httpx.AsyncClient(timeout=PATIENCE_S, headers=headers) as client:
        answer = await client.request(method, url, json=body)
    return answer.raise_for_status().json()


async def seen(url: str, fact: Callable[[Any], bool]) -> Any:  # noqa: ANN401  JSON
    """What is there, once it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            # Whoever is asked may be killed before the answer: to look once more is no harm.
            with suppress(httpx.TransportError):
                if fact(found := await call("GET", url)):
                    return found
            await asyncio.sleep(0.05)


def steps(log: Any) -> list[str]:  # noqa: ANN401  JSON
    """What was done so far, as the steps themselves said it."""
    said = re.findall(r"(?:offer|letter|TP1)[\w ]* was [\w ]+ on \w+", str(log))
    return list(dict.fromkeys(said))


async def story(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        started = await asyncio.gather(
            *(stack.enter_async_context(replica(name, database_url)) for name in "AB")
        )
        replicas = dict(zip("AB", started, strict=True))
        ports = [int(url.rpartition(":")[2]) for url, _ in started]
        front = await stack.enter_async_context(balanced(ports))
        print(f"A is at {started[0][0]}, B at {started[1][0]}, both behind {front}")

        message = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "A flight!"}]}
        configuration = {"returnImmediately": True}
        params = {"message": message, "configuration": configuration}
        request = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
        sent = await call("POST", f"{front}/a2a/rpc", request)
        task = sent["result"]["task"]["id"]
        print(f"a client submits task {task[:8]} through the balancer, which gives it to A")

        path = f"/manage/tasks/{task}"
        waiting = await seen(f"{front}{path}", lambda found: found["phase"] == "waiting_auth")
        (ask,) = waiting["asks"]
        begun = steps(await call("GET", f"{front}{path}/events"))
        for step in begun:
            print(f"   {step}")
        other = "A" if begun[-1].endswith("B") else "B"
        approval = {"ask": ask["key"], "digest": ask["digest"]}
        await call("POST", f"{replicas[other][0]}{path}/approve", approval)
        print(f"somebody approves {ask['tool']} {ask['arguments']} on {other}")

        log = await seen(f"{front}{path}/events", lambda log: "letter 2" in str(steps(log)))
        holder = steps(log)[-1][-1]
        replicas[holder][1].send_signal(signal.SIGKILL)
        print(f"{holder} is killed in the middle of a run (SIGKILL)")
        ended = await seen(f"{front}{path}", lambda found: found["phase"] == "completed")
        log = await call("GET", f"{front}{path}/events")
        for step in steps(log)[2:]:
            print(f"   {step}")
        print(f"the task is {ended['phase']}; its log, from the replica that is left:")
        for event in log["events"]:
            dest = "" if event["source"] == event["dest"] else f" -> {event['dest']}"
            print(f"   {event['seq']:>3} {event['trigger']} by {event['actor']}{dest}")


if __name__ == "__main__":
    with database() as url:
        asyncio.run(story(url))
