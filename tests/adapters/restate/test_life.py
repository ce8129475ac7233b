"""Tasks live their whole lives on the Restate host, whichever of its workers they meet.

Source: R-RST-03 (any worker serves any request), R-RST-04 (a worker that is killed is replaced,
and what it had finished is not done again), R-RST-05 (a tool longer than the timeouts runs once),
R-RST-06 (a lifecycle may change while tasks are parked).  I17, I23, I24, I32, I40, T27.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest

import restate_worker
from interlock import Agent, Engine, Phase, TaskContext, Trigger
from interlock.errors import Unstorable
from interlock.lifecycle import LIFECYCLE, Move, Signal
from interlock.testing._store_contract import (
    asked,
    commit_of,
    opened,
    started,
    stored,
    submitted,
)
from interlock_adapters.restate import RestateStore
from interlock_adapters.restate._link import Link
from interlock_adapters.restate._url import place_of
from restate_server import RestateServer, free_port
from restate_worker import agent_of

OWNER = "ada"
#: Of a submission.
TOKEN = "m1"  # noqa: S105  no password
#: Seconds after which something is taken for hung.
WAIT_MAX_S = 60.0
#: Calls of a task of which a worker is lost.
STEPS = 3
#: What begins a turn that was wanted.
TAKEN = frozenset({Trigger.START, Trigger.CLAIM, Trigger.RECOVER})


@asynccontextmanager
async def two_engines(url: str, agent: Agent) -> AsyncGenerator[tuple[Engine, Engine]]:
    """Two workers of one agent, as two processes would be."""
    async with (
        asyncio.timeout(WAIT_MAX_S),
        Engine(agent, store=RestateStore(url)) as one,
        Engine(agent, store=RestateStore(url)) as two,
    ):
        yield one, two


async def phase_is(engine: Engine, task_id: str, phase: Phase) -> None:
    """Follow the task until it is there."""
    async for event in engine.subscribe(task_id, owner=OWNER):
        if event.dest is phase:
            return


async def test_a_task_is_asked_here_and_answered_there(shared_url: str, tmp_path: Path) -> None:
    """Submitted at one worker, seen and answered at the other, and its log is whole.

    Source: R-RST-03, I17.
    """
    async with two_engines(shared_url, agent_of(tmp_path / "done")) as (one, two):
        asked = await one.submit("ask", owner=OWNER)
        await phase_is(two, asked.task_id, Phase.WAITING_INPUT)
        other = await two.task(asked.task_id, owner=OWNER)
        (ask,) = (await two.record(asked.task_id, owner=OWNER)).asks
        await other.answer(ask.key, "Oslo")
        assert await asked.result() == "to Oslo"
        wanted = await two.submit("approve", owner=OWNER)
        await phase_is(one, wanted.task_id, Phase.WAITING_AUTH)
        (ask,) = (await one.record(wanted.task_id, owner=OWNER)).asks
        await (await one.task(wanted.task_id, owner=OWNER)).approve(ask)
        assert await wanted.result() == "booked {'seats': 2}"
        for task_id in (asked.task_id, wanted.task_id):
            logs = [await engine.events(task_id, owner=OWNER) for engine in (one, two)]
            for log in logs:
                assert [event.seq for event in log] == list(range(1, len(log) + 1))
            # It is over, and may be made final between the two looks.
            short, long = sorted(logs, key=len)
            assert long[: len(short)] == short
            assert [event.trigger for event in long[len(short) :]] in ([], [Trigger.FINALIZE])


@pytest.mark.parametrize("number", range(3))
async def test_a_cancel_reaches_whoever_runs_it(
    number: int, shared_url: str, tmp_path: Path
) -> None:
    """Cancelled at one of two workers, by chance that which runs it or the other.

    Source: R-RST-03, I23.
    """
    file = tmp_path / "done"
    async with two_engines(shared_url, agent_of(file)) as engines:
        handle = await engines[number % 2].submit("stop", owner=OWNER)
        for engine in engines:
            await phase_is(engine, handle.task_id, Phase.RUNNING)
        await engines[(number + 1) % 2].cancel(handle.task_id, owner=OWNER)
        assert (await handle.over()).shown is Phase.CANCELLED
        assert file.read_text() == f"stopped {handle.task_id}\n"


async def test_a_token_submits_once_wherever_it_comes(shared_url: str, tmp_path: Path) -> None:
    """The same submission at both workers at once is one task.  Source: R-RST-03."""
    async with two_engines(shared_url, agent_of(tmp_path / "done")) as engines:
        submits = [engine.submit("steps 1 0", owner=OWNER, token=TOKEN) for engine in engines]
        one, two = await asyncio.gather(*submits)
        assert one.task_id == two.task_id
        assert await two.result() == "done"


class Worker:
    """A worker in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def kill(self) -> None:
        """As if the power had failed."""
        self.process.send_signal(signal.SIGKILL)

    async def drain(self) -> None:
        """Let it end of itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()


@asynccontextmanager
async def worker(url: str, file: Path) -> AsyncGenerator[Worker]:
    """Run one until it is killed, or the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, restate_worker.__file__, url, str(file)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"ready ")
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def noted(file: Path, count: int) -> list[str]:
    """The first lines of the file, when there are so many."""
    while True:
        lines = await asyncio.to_thread(_lines, file)
        if len(lines) >= count:
            return lines
        await asyncio.sleep(0.02)


def client_of(url: str) -> str:
    """The URL for an engine that takes no turns, and serves no handlers."""
    return re.sub(r"serve=[^&]*", "serve=off", url)


async def test_a_worker_that_is_killed_is_replaced(shared_url: str, tmp_path: Path) -> None:
    """What it had finished is not done again; what it was at is, where that is allowed.

    Source: R-RST-04, I24, I32.
    """
    file = tmp_path / "done"
    async with (
        asyncio.timeout(2 * WAIT_MAX_S),
        worker(shared_url, file) as first,
        Engine(agent_of(file), store=RestateStore(client_of(shared_url))) as engine,
    ):
        handle = await engine.submit("steps 3 0.2", owner=OWNER)
        await noted(file, 3)
        first.kill()
        async with worker(shared_url, file) as second:
            assert await handle.result() == "done"
            await second.drain()
        events = await engine.events(handle.task_id, owner=OWNER)
    name = handle.task_id
    lines = file.read_text().splitlines()
    assert lines[:4] == [f"begin {name}/0", f"end {name}/0", f"begin {name}/1", f"begin {name}/1"]
    assert [line for line in lines if line.startswith("end")] == [
        f"end {name}/{number}" for number in range(3)
    ]
    taken = [event.trigger for event in events if event.trigger in TAKEN]
    assert taken == [Trigger.START, Trigger.RECOVER]


class Balancer:
    """What stands in front of workers: gives each connection to one that it takes for alive."""

    def __init__(self) -> None:
        self.port = free_port()
        self.alive: list[int] = []
        self._pipes: dict[asyncio.Task[None], int] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut off whatever is left."""
        assert self._server is not None
        self._server.close()
        self.cut(*self.alive)

    def worker(self, url: str) -> tuple[str, int]:
        """The URL for one more worker behind it, and where that is."""
        port = free_port()
        self.alive.append(port)
        public = f"public=http://127.0.0.1:{self.port}"
        return re.sub(r"serve=[^&]*", f"serve=127.0.0.1:{port}&{public}", url), port

    def cut(self, *ports: int) -> None:
        """Take these for dead, and cut off their connections."""
        self.alive = [port for port in self.alive if port not in ports]
        for pipe, port in self._pipes.items():
            if port in ports:
                pipe.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in list(self.alive):
            try:
                there = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            pipes = [self._pipe(reader, there[1]), self._pipe(there[0], writer)]
            for pipe in map(asyncio.ensure_future, pipes):
                self._pipes[pipe] = port
                pipe.add_done_callback(self._pipes.pop)
            return
        writer.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while some := await reader.read(65_536):
                writer.write(some)
                await writer.drain()


async def test_a_worker_that_hangs_is_replaced_and_does_nothing_more(
    shared_url: str, tmp_path: Path
) -> None:
    """It stands still until another has done its task, and then goes on: it calls nothing.

    Source: R-RST-04, I24, T27.
    """
    file = tmp_path / "done"
    url = f"{shared_url}&inactivity=1&abort=1"
    async with asyncio.timeout(3 * WAIT_MAX_S), Balancer() as balancer:
        (here, port), (there, _) = balancer.worker(url), balancer.worker(url)
        async with (
            worker(here, file) as first,
            Engine(agent_of(file), store=RestateStore(client_of(url))) as engine,
        ):
            handle = await engine.submit("steps 3 0.3", owner=OWNER)
            await noted(file, 3)
            first.process.send_signal(signal.SIGSTOP)
            balancer.cut(port)
            async with worker(there, file):
                assert await handle.result() == "done"
                first.process.send_signal(signal.SIGCONT)
                await first.drain()
            events = await engine.events(handle.task_id, owner=OWNER)
    lines = file.read_text().splitlines()
    for number, count in enumerate((1, 2, 1)):
        assert lines.count(f"begin {handle.task_id}/{number}") == count, lines
    called = [event.data["key"] for event in events if event.trigger is Trigger.CALLED]
    assert len(called) == len(set(called)) == STEPS
    assert [e.trigger for e in events if e.trigger in TAKEN] == [Trigger.START, Trigger.RECOVER]


async def test_a_tool_that_takes_longer_than_the_timeouts_runs_once(
    restate: RestateServer, shared_url: str
) -> None:
    """Neither does Restate try its turn again and again, nor does it die.  Source: R-RST-05."""
    tries: list[list[dict[str, Any]]] = []

    async def slow() -> str:
        await asyncio.sleep(8.0)  # The one wait of these tests that is what they are about.
        link = Link("http://unused", restate.admin)
        turns = f"{place_of(shared_url).namespace}Turn"
        sql = "SELECT retry_count FROM sys_invocation WHERE target_service_name ="
        tries.append(await link.query(f"{sql} '{turns}'"))
        await link.close()
        return "done"

    async def agent(task: TaskContext) -> str:
        """Calls it."""
        return await task.call(slow, idempotent=True)

    async with two_engines(f"{shared_url}&inactivity=1&abort=1", agent) as (one, two):
        handle = await one.submit("go", owner=OWNER)
        assert await handle.result() == "done"
        events = await two.events(handle.task_id, owner=OWNER)
    assert tries == [[{"retry_count": 1}]]
    assert [event.trigger for event in events if event.trigger in TAKEN] == [Trigger.START]


REVIEW = Phase.further("waiting_restate_review", like=Phase.WAITING_INPUT)
WITH_REVIEW = LIFECYCLE.extend(REVIEW)


async def ask_for(task: TaskContext, what: str, phase: Phase | None = None) -> str:
    """Ask for a text."""
    answer: str = await task.ask(what, {"type": "string"}, phase=phase)
    return answer


async def old_agent(task: TaskContext) -> str:
    """Asks once."""
    return await ask_for(task, "Which city?")


async def new_agent(task: TaskContext) -> str:
    """The next version: what the old one asked, and then for a review."""
    city = await ask_for(task, "Which city?")
    return city + await ask_for(task, "Is it good?", phase=REVIEW)


async def test_a_parked_task_goes_on_under_a_new_lifecycle(shared_url: str) -> None:
    """It is state, not a journal: other workers, with more phases, take it up.

    Source: R-RST-06.
    """
    async with asyncio.timeout(WAIT_MAX_S):
        async with Engine(old_agent, store=RestateStore(shared_url)) as engine:
            handle = await engine.submit("go", owner=OWNER)
            await phase_is(engine, handle.task_id, Phase.WAITING_INPUT)
        store = RestateStore(shared_url, lifecycle=WITH_REVIEW)
        async with Engine(new_agent, store=store, lifecycle=WITH_REVIEW) as engine:
            handle = await engine.task(handle.task_id, owner=OWNER)
            for phase, answer in ((Phase.WAITING_INPUT, "Oslo"), (REVIEW, "!")):
                await phase_is(engine, handle.task_id, phase)
                (ask,) = (await engine.record(handle.task_id, owner=OWNER)).asks
                await handle.answer(ask.key, answer)
            assert await handle.result() == "Oslo!"


async def test_a_worker_refuses_what_its_lifecycle_does_not_have(shared_url: str) -> None:
    """Clearly, and nothing of it happens: a worker that has it can do it yet.

    Source: R-RST-06, I17.
    """
    moves = every_wait()
    async with asyncio.timeout(WAIT_MAX_S):
        async with opened(lambda: RestateStore(shared_url)) as store:
            await stored(store, moves[:2])
            with pytest.raises(Unstorable, match="a worker refused it"):
                await store.commit(commit_of(moves[2]))
            assert await store.get("t") == moves[1].record
            assert await store.events("t") == [move.event for move in moves[:2]]
        async with opened(lambda: RestateStore(shared_url, lifecycle=WITH_REVIEW)) as store:
            await store.commit(commit_of(moves[2]))
            assert await store.get("t") == moves[2].record


def every_wait() -> list[Move]:
    """A task that comes to wait in the phase that only the new lifecycle has."""
    begun = started(submitted("t"))
    data = {**asked(begun, "k").event.data, "phase": REVIEW.value}
    signal_ = Signal(Trigger.ASK, data, "agent", begun.record.updated_at + 1)
    return [submitted("t"), begun, WITH_REVIEW.fire(begun.record, signal_)]
