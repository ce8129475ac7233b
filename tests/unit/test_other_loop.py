"""An engine called from another event loop than its own: said at once, and nothing is done."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from interlock import (
    Engine,
    Event,
    MemoryStore,
    NewWatch,
    Phase,
    SqliteStore,
    Store,
    TaskContext,
    TaskHandle,
    TaskQuery,
)
from support import OWNER, soon

Call = Callable[[Engine, TaskHandle], Awaitable[Any]]


async def asks(task: TaskContext) -> str:
    """It waits for a person."""
    return await task.ask("Where to?")


async def first_of(events: AsyncGenerator[Event]) -> Event:
    """The first event of a stream."""
    return await anext(events)


def drains(engine: Engine, _: TaskHandle) -> Awaitable[None]:
    """Where the loop has ended, that is another thing."""
    return engine.drain()


CALLS: dict[str, Call] = {
    "submit": lambda engine, _: engine.submit("go", owner=OWNER),
    "answer": lambda _, handle: handle.answer("ask-1", "Rome"),
    "cancel": lambda _, handle: handle.cancel(),
    "rest": lambda _, handle: handle.rest(),
    "result": lambda _, handle: handle.result(),
    "record": lambda engine, handle: engine.record(handle.task_id, owner=OWNER),
    "events": lambda engine, handle: engine.events(handle.task_id, owner=OWNER),
    "subscribe": lambda engine, handle: first_of(engine.subscribe(handle.task_id, owner=OWNER)),
    "page": lambda engine, _: engine.page(TaskQuery()),
    "counts": lambda engine, _: engine.counts(),
    "forget": lambda engine, handle: engine.forget(handle.task_id, owner=OWNER),
    "purge": lambda engine, _: engine.purge(older_than_s=0),
    "add_watch": lambda engine, handle: engine.add_watch(
        handle.task_id, NewWatch("w", "mail", {}), owner=OWNER
    ),
}


def in_a_loop_of_its_own(call: Call, engine: Engine, handle: TaskHandle) -> None:
    """As `asyncio.run(handle.answer(...))` in a worker thread."""

    async def made() -> None:
        await soon(call(engine, handle))

    asyncio.run(made())


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """One that may be used anywhere, and one that has a loop of its own."""
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "tasks.db")


async def test_a_call_from_another_loop_says_what_to_do_instead(store: Store) -> None:
    """It does not hang, and does nothing that only looks as if it had failed.  Source: R-ENG-21."""
    async with Engine(asks, store=store) as engine:
        handle = await engine.submit("go", owner=OWNER)
        await handle.rest()
        for call in [*CALLS.values(), drains]:
            with pytest.raises(RuntimeError, match="run_coroutine_threadsafe"):
                await asyncio.to_thread(in_a_loop_of_its_own, call, engine, handle)
        assert engine.statistics().accepting
        assert (await engine.page(TaskQuery())).total == 1
        assert (await handle.rest()).phase is Phase.WAITING_INPUT
        await handle.answer("ask-1", "Rome")
        assert await soon(handle.result()) == "Rome"


async def test_what_it_says_to_do_works(store: Store) -> None:
    """From a thread, in the loop of the engine."""
    async with Engine(asks, store=store) as engine:
        loop = asyncio.get_running_loop()

        def works() -> str:
            submission = engine.submit("go", owner=OWNER)
            return asyncio.run_coroutine_threadsafe(submission, loop).result().task_id

        task_id = await asyncio.to_thread(works)
        assert (await engine.record(task_id, owner=OWNER)).task_id == task_id


@pytest.mark.parametrize("again", ["the same", "another"])
def test_an_engine_whose_loop_has_ended_says_so_and_can_be_drained(
    store: Store, again: str
) -> None:
    """Somebody forgot to drain it.  Source: R-ENG-21."""
    engine = Engine(asks, store=store)

    async def forgets() -> TaskHandle:
        await engine.start()
        handle = await engine.submit("go", owner=OWNER)
        await handle.rest()
        return handle

    handle = asyncio.run(forgets())

    async def goes_on() -> str:
        for call in CALLS.values():
            with pytest.raises(RuntimeError, match="ended without a drain"):
                await call(engine, handle)
        await soon(engine.drain())
        async with engine if again == "the same" else Engine(asks, store=store) as second:
            task = await second.task(handle.task_id, owner=OWNER)
            await task.answer("ask-1", "Rome")
            return str(await soon(task.result()))

    assert asyncio.run(goes_on()) == "Rome"
