"""A loop that ends before its engine was closed: at a second Ctrl-C, or a forgotten drain."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable

import pytest

from interlock import Engine, Limits, Phase, Result, SyncTaskContext, TaskContext, TaskHandle
from interlock._agent import Agent, Request
from interlock.errors import NotAccepting
from interlock.testing import ManualClock
from support import OWNER, FlakyStore, opened, pause, soon, triggers

#: By which an agent says that it is where its loop is to end under it; None lets it go on.
Arrived = Callable[[], None] | None


async def held(arrived: Arrived) -> None:
    """Where the loop ends."""
    if arrived is not None:
        arrived()
        await asyncio.Event().wait()


def waits(arrived: Arrived) -> Agent:
    """It waits for something of its own."""

    async def agent(_: TaskContext) -> str:
        await held(arrived)
        return "done"

    return agent


def in_a_branch(arrived: Arrived) -> Agent:
    """A branch of it waits; asyncio cancels both."""

    async def agent(_: TaskContext) -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(held(arrived))
        return "done"

    return agent


def hides_it(arrived: Arrived) -> Agent:
    """It takes the cancel for something of its own, and returns."""

    async def agent(_: TaskContext) -> str:
        try:
            await held(arrived)
        except asyncio.CancelledError:
            return "it was cut off"
        return "done"

    return agent


def generates(arrived: Arrived) -> Agent:
    """A generator, in the middle of a step."""

    async def agent(_: TaskContext) -> AsyncGenerator[Request]:
        await held(arrived)
        yield Result("done")

    return agent


def calls(arrived: Arrived) -> Agent:
    """In the middle of a call that may be made again."""

    async def look() -> str:
        await held(arrived)
        return "done"

    async def agent(task: TaskContext) -> str:
        return await task.call(look, idempotent=True)

    return agent


def on_a_thread(arrived: Arrived) -> Agent:
    """A plain function, which has the loop do something for it."""

    async def look() -> None:
        await held(arrived)

    def agent(task: SyncTaskContext) -> str:
        task.call(look, idempotent=True)
        return "done"

    return agent


def asks(_: Arrived) -> Agent:
    """It waits for a person."""

    async def agent(task: TaskContext) -> object:
        return await task.ask("Who?")

    return agent


def asks_on_a_thread(_: Arrived) -> Agent:
    """A plain function that waits for a person."""

    def agent(task: SyncTaskContext) -> object:
        return task.ask("Who?")

    return agent


def in_a_thread(arrived: Arrived) -> Agent:
    """In the middle of a call that blocks a thread, and would for long."""
    go_on, loops = threading.Event(), list[asyncio.AbstractEventLoop]()

    def look() -> None:
        if arrived is not None:
            loops[0].call_soon_threadsafe(arrived)
            go_on.wait(60)

    async def agent(task: TaskContext) -> str:
        loops.append(asyncio.get_running_loop())
        await task.call(look, idempotent=True)
        return "done"

    return agent


def interrupted() -> None:
    """The second Ctrl-C; the first begins the drain."""
    raise KeyboardInterrupt


def ended_under(
    made: Callable[[Arrived], Agent], *, rests: bool = False, drains: bool = False
) -> FlakyStore:
    """What a program leaves behind that ends without closing its engine."""
    store, arrived = FlakyStore(), asyncio.Event()

    async def main() -> None:
        # Nothing parks here: the agent itself is there when the loop ends.
        limits = Limits(park_after_s=None)
        engine = Engine(made(arrived.set), store=store, clock=ManualClock(), limits=limits)
        await engine.start()
        handle = await engine.submit("go", owner=OWNER)
        await (handle.rest() if rests else arrived.wait())
        if drains:
            asyncio.get_running_loop().call_soon(interrupted)
            await engine.drain()

    with pytest.raises(KeyboardInterrupt) if drains else contextlib.nullcontext():
        asyncio.run(main())
    return store


async def gone_on(made: Callable[[Arrived], Agent], store: FlakyStore, answer: str = "") -> object:
    """What the one task comes to in the next process."""
    async with opened(made(None), store=FlakyStore(store)) as world:
        (task,) = store._tasks.values()
        handle = TaskHandle(world.engine, task.record, created=False)
        if answer:
            await handle.answer((await handle.rest()).asks[0], answer)
        return await soon(handle.result())


@pytest.mark.parametrize("drains", [False, True])
@pytest.mark.parametrize(
    "made", [waits, in_a_branch, hides_it, generates, calls, on_a_thread, in_a_thread]
)
async def test_a_loop_that_ends_is_no_end_of_a_task(
    made: Callable[[Arrived], Agent], *, drains: bool
) -> None:
    """Asyncio cancels all that is on it, and waits for no thread.  Source: R-JRN-15."""
    store = await asyncio.to_thread(ended_under, made, drains=drains)
    (task,) = store._tasks.values()
    assert task.record.phase is Phase.RUNNING
    assert set(triggers(task.events)) <= {"submit", "start", "call"}
    assert await gone_on(made, store) == "done"


@pytest.mark.parametrize("made", [asks, asks_on_a_thread])
async def test_what_was_asked_stays_asked(made: Callable[[Arrived], Agent]) -> None:
    """Nobody has given the wait up.  Source: R-JRN-15."""
    store = await asyncio.to_thread(ended_under, made, rests=True)
    (task,) = store._tasks.values()
    assert triggers(task.events) == ["submit", "start", "ask"]
    assert await gone_on(made, store, answer="Ada") == "Ada"


def test_a_drain_in_a_loop_that_ends_waits_for_nobody() -> None:
    """Who has opened the engine in a task of his own is cancelled with everything else."""
    arrived, clock = asyncio.Event(), ManualClock()

    async def serves() -> None:
        async with Engine(waits(arrived.set), store=FlakyStore(), clock=clock) as engine:
            await engine.submit("go", owner=OWNER)
            await asyncio.Event().wait()

    async def main() -> asyncio.Task[None]:
        serving = asyncio.create_task(serves())
        await arrived.wait()
        return serving

    # No time passes, so that it would wait for ever.
    assert asyncio.run(main()).cancelled()


async def test_an_engine_whose_loop_was_swept_says_that_it_runs_nothing_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Cancelled with everything else by somebody who goes on himself."""
    engine = Engine(waits(None), store=FlakyStore(), clock=ManualClock())
    await engine.start()
    await pause()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.wait(others)
    with pytest.raises(NotAccepting):
        await engine.submit("go", owner=OWNER)
    assert not engine.statistics().accepting
    assert "the event loop ends before the engine was drained" in caplog.text
    await soon(engine.drain())
