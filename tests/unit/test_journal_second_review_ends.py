"""What a second review did to the ends of turns, and to drains.

How calls were attacked is in `test_journal_second_review`.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from interlock import Engine, Limits, Phase, SyncTaskContext, TaskContext, TaskHandle
from interlock._record import Ended
from interlock.errors import EngineError, Rejected, Retryable
from support import OWNER, Gate, World, opened, pause, soon, triggers, until


class Branches:
    """What an agent began beside itself; it ends with the test, and nobody hears of it."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def begin(self, branch: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Begin one."""
        self._tasks.append(asyncio.ensure_future(branch))
        return self._tasks[-1]

    async def end(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()
        await soon(asyncio.gather(*self._tasks, return_exceptions=True))


@asynccontextmanager
async def branched() -> AsyncGenerator[Branches]:
    """A block at the end of which no branch is left."""
    branches = Branches()
    try:
        yield branches
    finally:
        await branches.end()


def is_finalized(world: World, handle: TaskHandle) -> bool:
    """Whether nothing is held for the task any more."""
    return world.stored(handle).phase is Phase.FINALIZED


async def test_a_turn_that_ends_as_it_is_abandoned_is_not_counted_as_left_behind() -> None:
    """Nobody says a second time that it ended.  Source: a second review."""
    go_on = asyncio.Event()

    async def agent(task: TaskContext) -> str:
        del task
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()
        return "x"

    async with opened(agent) as world:
        handle = await world.submit()
        await pause()
        await handle.cancel()
        await pause()
        gate = world.store.hold("commit")
        await world.elapse(world.engine.limits.grace_s)
        await gate.reached()
        go_on.set()
        await pause()
        gate.open()
        await until(lambda: is_finalized(world, handle))
        assert "abandon" in triggers(world.log(handle))
        assert world.engine.statistics().abandoned == 0


async def test_a_thread_past_its_time_whose_call_begins_late_does_not_keep_the_task() -> None:
    """Its call begins and its time is over in one commit.  Source: a second review."""
    go_on = threading.Event()
    made: list[str] = []

    def agent(task: SyncTaskContext) -> Any:  # noqa: ANN401  what the call comes to
        go_on.wait()
        return task.call(lambda: made.append("made"), key="make")

    async with opened(agent, limits=Limits(run_s=10.0)) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.RUNNING)
        tried = len(world.store.commits)
        world.store.breaks("commit")
        go_on.set()
        await until(lambda: len(world.store.commits) > tried)
        for _ in range(11):
            await world.elapse(1.0)
        world.store.mends("commit")
        await world.elapse(1.0)
        await until(lambda: is_finalized(world, handle))
        assert triggers(world.log(handle))[2:] == [
            *("call", "overrun", "called", "stopped", "finalize")
        ]
        assert made == []
        assert world.engine.statistics().abandoned == 0


async def drained_too_early(
    world: World, emit: asyncio.Event, end: asyncio.Event
) -> tuple[TaskHandle, Gate, "asyncio.Future[None]"]:
    """A task that ends something while a commit hangs, for longer than a drain has time."""
    handle = await world.submit()
    await pause()
    gate = world.store.hold("commit")
    emit.set()
    await gate.reached()
    end.set()
    await pause()
    drain = asyncio.ensure_future(world.engine.drain())
    await world.elapse(world.engine.limits.drain_s)
    return handle, gate, drain


async def test_a_drain_does_not_drop_the_end_of_a_call_that_waits_for_a_commit() -> None:
    """Else nobody knows whether it was made.  Source: a second review, R-JRN-12."""
    emit_now, pay_now = asyncio.Event(), asyncio.Event()

    async def pay() -> str:
        await pay_now.wait()
        return "paid"

    async def agent(task: TaskContext) -> str:
        async def beside() -> None:
            await emit_now.wait()
            await task.emit("x")

        paid, _ = await asyncio.gather(task.call(pay), beside())
        return paid

    async with opened(agent) as world:
        handle, gate, drain = await drained_too_early(world, emit_now, pay_now)
        await world.elapse(world.engine.limits.grace_s)
        gate.open()
        await soon(drain)
        assert triggers(world.log(handle))[2:] == ["call", "emit", "called"]


async def test_branches_that_call_on_and_on_do_not_keep_the_task_of_an_agent_that_ended() -> None:
    """One of them is always making a call.  Source: a second review."""
    made: list[int] = []

    async def step(n: int) -> None:
        made.append(n)
        await pause(5)

    async with branched() as branches:

        async def agent(task: TaskContext) -> str:
            async def call_on(stagger: int) -> None:
                await pause(stagger)
                while len(made) < 500:
                    await task.call(step, len(made))

            for stagger in (1, 4):
                branches.begin(call_on(stagger))
            await until(lambda: len(made) >= 4)
            return "done"

        async with opened(agent) as world:
            assert await soon((await world.submit()).result()) == "done"
            assert len(made) < 10


async def test_a_conclusion_that_waits_for_a_commit_is_not_lost_by_a_drain() -> None:
    """The agent has returned, and is not run again.  Source: a second review."""
    emit_now, go_on = asyncio.Event(), asyncio.Event()
    async with branched() as branches:

        async def agent(task: TaskContext) -> str:
            async def beside() -> None:
                await emit_now.wait()
                await task.emit("x")

            branches.begin(beside())
            await go_on.wait()
            return "x"

        async with opened(agent) as world:
            handle, gate, drain = await drained_too_early(world, emit_now, go_on)
            gate.open()
            await soon(drain)
            assert triggers(world.log(handle))[2:] == ["emit", "complete", "finalize"]


async def test_a_branch_that_outlives_its_engine_is_told_to_stop() -> None:
    """Not that the engine is at fault, also when it is open again.  Source: a second review."""
    go_on = asyncio.Event()
    heard: list[str] = []

    async def wait() -> None:
        await go_on.wait()

    async with branched() as branches:

        async def agent(task: TaskContext) -> str:
            async def beside() -> None:
                for attempt in (task.call(wait), task.emit("after")):
                    try:
                        await attempt
                    except BaseException as error:  # noqa: BLE001  the fault
                        heard.append(type(error).__name__)

            branches.begin(beside())
            await pause(3)
            return "x"

        async with opened(agent) as world:
            handle = await world.submit()
            await pause()
            drain = asyncio.ensure_future(world.engine.drain())
            await world.elapse(world.engine.limits.drain_s)
            await world.elapse(world.engine.limits.grace_s)
            await soon(drain)
            await world.engine.start()
            go_on.set()
            await until(lambda: len(heard) >= 2)
            assert set(heard) <= {"CancelledError", "TaskStopped"}
            assert "emit" not in triggers(world.log(handle))


class Spoilt(Rejected):
    """An error whose code cannot be stored."""

    code = "x\ud800"


@pytest.mark.parametrize("error", [Rejected("\ud800"), Retryable("\ud800"), Spoilt("x")])
async def test_an_end_of_halves_of_characters_is_stored(error: EngineError, tmp_path: Path) -> None:
    """Else the task would have no end.  Source: a second review."""

    async def agent(task: TaskContext) -> str:
        del task
        raise error

    limits = Limits(drain_s=0.1, grace_s=0.1)
    async with Engine(agent, store=f"sqlite:///{tmp_path}/a.db", limits=limits) as engine:
        record = await soon((await engine.submit("go", owner=OWNER)).over())
        assert isinstance(record.details, Ended)
        assert f"{record.details.code}{record.details.message}".count("?") == 1
