"""Clients, and what they write down: here those that speak A2A over JSON-RPC.

Those that speak MCP are in `mcp_client.py`; the journal is the same.  Whatever gets no answer
is sent again under the same message id, as a client should.  Before anything is sent it is in
the client's journal as `sent`, and after its answer as `acked` or `refused`; what was shown of
a task is there as `seen`.
"""

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx

from interlock import Phase

Json = dict[str, Any]

#: Between two attempts, and between two looks at a task.
PAUSE_S: Final = 0.03
#: For one answer; then it is asked for again.
ANSWER_S: Final = 10.0
#: What takes longer is a hang, and a finding.  Much longer than any fault: beside a package that
#: is just being installed one sync may take seconds, and a task has a dozen.
PATIENCE_S: Final = 60.0
_OVER: Final = frozenset(
    phase.value
    for phase in (
        Phase.COMPLETED,
        Phase.FAILED,
        Phase.CANCELLED,
        Phase.TIMED_OUT,
        Phase.REJECTED,
    )
)
_CALLS: Final = ("charge", "fetch", "order")
_OTHERS: Final = ("ask", "both", "authorize", "emit", "progress", "note")


class GaveUp(Exception):
    """A task is not as it was, or gets no further; the message says how."""


class Client:
    """One client: one task after the other, of a seed of its own."""

    #: What every request says of its client.
    HEADERS: ClassVar[dict[str, str]] = {"A2A-Version": "1.0"}
    #: Seconds for a call, however often it is made, and for a whole task, before it is given up.
    CALL_S: ClassVar[float] = PATIENCE_S
    TASK_S: ClassVar[float] = PATIENCE_S * 2

    def __init__(self, number: int, seed: str, url: str, journal: Path) -> None:
        self._name = f"c{number}"
        self._random = random.Random(f"{seed}/{number}")  # noqa: S311  it must be repeatable
        self._url = url
        self._journal = journal
        self._sent = 0
        self.tasks = 0

    async def run(self, go_on: Callable[[], bool]) -> None:
        """Make tasks and see them through, as long as it is to go on."""
        timeout = httpx.Timeout(ANSWER_S)
        async with httpx.AsyncClient(
            base_url=self._url, headers=self.HEADERS, timeout=timeout, trust_env=False
        ) as http:
            while go_on():
                self.tasks += 1
                await self.errand(http).run()
            await self.farewell(http)

    def errand(self, http: httpx.AsyncClient) -> "Errand":
        """The next task."""
        return _Errand(self, http)

    async def farewell(self, http: httpx.AsyncClient) -> None:
        """Look back once more, when all that was begun is over."""

    def note(self, **line: Any) -> None:
        """Write a line of the journal."""
        # No sync: clients are not killed.
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def new_id(self, kind: str) -> str:
        """A message id that nobody else has."""
        self._sent += 1
        return f"{self._name}-{self._sent}-{kind}"

    def steps(self) -> list[Json]:
        """What a new task is to do."""
        dice = self._random
        kinds = [*dice.choices(_CALLS, k=dice.randint(1, 3)), *dice.choices(_OTHERS, k=3)]
        dice.shuffle(kinds)
        steps: list[Json] = []
        for number, kind in enumerate(kinds):
            step: Json = {"do": kind, "name": f"{kind}-{number}"}
            if kind == "authorize":
                step["arguments"] = {"seat": f"{dice.randint(1, 99)}", "class": "second"}
                step["on_deny"] = dice.choice(["stop", "tell_agent"])
            steps.append(step)
        return steps

    def answer_to(self, key: str) -> Any:
        """What a person says to a question."""
        dice = self._random
        if not key.startswith("interlock:in-doubt"):
            return f"answer-{dice.randint(0, 10**9)}"
        word = dice.choice(["use_value", "use_value", "run_again", "run_again", "fail"])
        value: Json = {"decision": word}
        if word == "use_value":
            value["value"] = "a person says it is done"
        return value

    @property
    def dice(self) -> random.Random:
        """What decides for this client."""
        return self._random


class Errand(ABC):
    """One task, from the message that begins it to its end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._dice = client.dice
        self._task_id = ""

    async def run(self) -> None:
        """See it through, or write down why that cannot be."""
        try:
            async with asyncio.timeout(self._client.TASK_S):
                await self._run()
        except (GaveUp, TimeoutError) as error:
            why = str(error) or "it takes too long"
            self._client.note(gave_up=self._task_id, why=why)

    @abstractmethod
    async def _run(self) -> None: ...


class _Errand(Errand):
    """A task of A2A."""

    def __init__(self, client: Client, http: httpx.AsyncClient) -> None:
        super().__init__(client)
        self._http = http
        self._context_id = ""
        self._phase = ""
        self._seq = 0
        self._open: list[Json] = []
        self._done: set[str] = set()

    async def _run(self) -> None:
        dice = self._dice
        streams = dice.random() < 0.35
        cancel_at = dice.randint(1, 6) if dice.random() < 0.12 else 0
        steps = self._client.steps()
        message = self._message("submit", {"steps": steps})
        await self._send(message, {"op": "submit", "steps": steps})
        if dice.random() < 0.15:  # Again, as after an answer that got lost.
            await self._send(message, {"op": "submit", "steps": steps})
        looks = 0
        while self._phase not in _OVER:
            looks += 1
            if looks == cancel_at:
                await self._cancel()
            for ask in self._open:
                if ask["ask"] not in self._done:
                    await self._reply(ask)
            if streams:
                await self._watch()
            else:
                await asyncio.sleep(PAUSE_S)
                await self._look()

    # --- what it says -------------------------------------------------------------------

    def _message(self, kind: str, data: Json) -> Json:
        message: Json = {
            "messageId": self._client.new_id(kind),
            "role": "ROLE_USER",
            "parts": [{"data": data}],
        }
        if self._task_id:
            message |= {"taskId": self._task_id, "contextId": self._context_id}
        return message

    async def _send(self, message: Json, what: Json) -> bool:
        """Whether it was accepted."""
        params = {
            "message": message,
            "configuration": {"returnImmediately": self._dice.random() < 0.7},
        }
        task = await self._surely("SendMessage", params, what | {"token": message["messageId"]})
        if task is not None:
            self._take(task["task"])
        return task is not None

    async def _reply(self, ask: Json) -> None:
        dice, key = self._dice, ask["ask"]
        if ask["kind"] == "auth":
            said: Json = {"ask": key, "digest": ask["digest"], "decision": "approve"}
            if dice.random() < 0.25:
                said["decision"] = "deny"
            elif dice.random() < 0.3:
                said["arguments"] = {**ask["arguments"], "class": "first"}
            what = {"op": said["decision"], "said": said, "shown": ask["arguments"]}
        else:
            said = {"ask": key, "value": self._client.answer_to(key)}
            what = {"op": "answer", "said": said}
        if await self._send(self._message("reply", said), what):
            self._done.add(key)
        else:
            await self._look()  # What it was shown is out of date.

    async def _cancel(self) -> None:
        task = await self._surely("CancelTask", {"id": self._task_id}, {"op": "cancel"})
        if task is not None:
            self._take(task)
        else:
            await self._look()  # It may be over, and the answer of an earlier attempt was lost.

    async def _look(self) -> None:
        task = await self._surely("GetTask", {"id": self._task_id}, None)
        assert task is not None, "who only looks is not refused"
        self._take(task)

    # --- what it sees -------------------------------------------------------------------

    def _take(self, task: Json) -> None:
        if not self._task_id:
            self._task_id, self._context_id = task["id"], task["contextId"]
        self._status(task["status"], task["metadata"])

    def _status(self, status: Json, metadata: Json) -> None:
        phase, seq = metadata["interlock/phase"], int(metadata["interlock/seq"])
        seen = {"seen": self._task_id, "seq": seq, "phase": phase}
        if "interlock/trigger" in metadata:
            seen["trigger"] = metadata["interlock/trigger"]
        self._client.note(**seen)
        if seq < self._seq:
            return  # An answer that was long under way.
        self._seq, self._phase = seq, phase
        parts = status.get("message", {}).get("parts", [])
        self._open = [part["data"] for part in parts if "ask" in part.get("data", {})]

    async def _watch(self) -> None:
        """Follow the task until it wants something, or the stream ends."""
        params = {"id": self._task_id}
        headers = {"Last-Event-ID": str(self._seq)}
        try:
            async with self._http.stream(
                "POST", "/rpc", json=_call("SubscribeToTask", params), headers=headers
            ) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data:"):
                        self._shown(json.loads(line[5:]))
                    if any(ask["ask"] not in self._done for ask in self._open):
                        return
        except httpx.TransportError:
            await asyncio.sleep(PAUSE_S)
        if self._phase not in _OVER:
            await self._look()

    def _shown(self, answer: Json) -> None:
        match answer.get("result", {}):
            case {"task": task}:
                self._take(task)
            case {"statusUpdate": update}:
                self._status(update["status"], update["metadata"])
            case {"artifactUpdate": update}:
                seq = int(update["metadata"]["interlock/seq"])
                self._client.note(
                    seen=self._task_id, seq=seq, artifact=update["artifact"]["artifactId"]
                )
            case _:
                pass

    async def _surely(self, method: str, params: Json, what: Json | None) -> Json | None:
        """Call until there is an answer; None if that is a refusal."""
        number = self._client.new_id("call")
        if what is not None:
            self._client.note(n=number, fate="sent", task=self._task_id, **what)
        attempt = partial(self._once, method, params)
        answer = await patiently(method, attempt, self._client.CALL_S)
        if "error" in answer:
            if what is None:
                raise GaveUp(f"{method}: {answer['error']['message']}")
            self._client.note(n=number, fate="refused", why=answer["error"]["message"])
            return None
        result: Json = answer["result"]
        if what is not None:
            task_id = result["task"]["id"] if "task" in result else result["id"]
            self._client.note(n=number, fate="acked", task=task_id)
        return result

    async def _once(self, method: str, params: Json) -> Json | None:
        """One attempt; None if it came to nothing and is worth another."""
        try:
            response = await self._http.post("/rpc", json=_call(method, params))
        except httpx.TransportError:
            return None
        answer: Json = response.json()
        # "Internal" is what a client is told of a disk that is full, and of "later".
        return None if answer.get("error", {}).get("code") == -32603 else answer


async def patiently(
    what: str, attempt: Callable[[], Awaitable[Json | None]], for_s: float = PATIENCE_S
) -> Json:
    """What an attempt comes to, once it comes to something; `what` it is, for whoever reads on.

    Raises:
        GaveUp: it never did.
    """
    tries = 0
    try:
        async with asyncio.timeout(for_s):
            while (answer := await attempt()) is None:
                tries += 1
                await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        raise GaveUp(f"{what} came to nothing in {for_s:g} s, {tries} times before") from None
    return answer


def _call(method: str, params: Json) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def journal_in(path: Path) -> list[Json]:
    """What a client wrote down."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
