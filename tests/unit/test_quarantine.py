"""What cannot be read costs its own task and no other.  Source: I37."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from interlock import Engine, Limits, Phase, Retry, SqliteStore, TaskContext, Trigger
from interlock._outbox import NewWatch, TaskView
from interlock._store import TaskQuery, Watch
from interlock._writer import STORE_RETRY_S
from interlock.errors import Retryable, StoreCorrupt
from interlock.testing import ManualClock
from support import FlakyStore, opened, pause, soon, until


async def agent(task: TaskContext) -> str:
    """Waits a minute for an answer, then is content without."""
    return await task.ask("Which city?", default="Rome", expires_s=60.0)


async def test_an_unreadable_task_stops_neither_the_start_nor_the_deadlines_of_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log and by verify; the others go on.  Source: a review, R-STORE-10."""
    path, clock = tmp_path / "tasks.db", ManualClock()
    async with Engine(agent, store=SqliteStore(path), limits=Limits(), clock=clock) as engine:
        bad, good = [await engine.submit("hello", owner="ada") for _ in range(2)]
        await bad.rest()
        await good.rest()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE task SET snapshot = '{}' WHERE task_id = ?", (bad.task_id,))
    db.close()
    store = SqliteStore(path)
    async with Engine(agent, store=store, limits=Limits(), clock=clock) as engine:
        over = asyncio.ensure_future(engine.over(good.task_id, owner="ada"))
        while not over.done():
            clock.advance(1.0)
            await pause()
        view = over.result()
        assert view.record.shown is Phase.COMPLETED
        with pytest.raises(StoreCorrupt):
            await engine.record(bad.task_id, owner="ada")
        assert any(bad.task_id in finding for finding in await store.verify())
    assert bad.task_id in caplog.text


async def test_a_start_that_the_clock_takes_back_is_made_later() -> None:
    """A task in the queue is not forgotten when the wall clock is set back.  Source: a review."""
    clock = ManualClock()

    async def flaky(task: TaskContext) -> str:
        if task.attempt == 1:
            clock._now -= 30.0
            raise Retryable("not yet")
        return "done"

    limits = Limits(retry=Retry(attempts_max=2, backoff_s=10.0))
    async with Engine(flaky, store="memory:", limits=limits, clock=clock) as engine:
        task = await engine.submit("hello", owner="ada")
        async for event in task.events():
            if event.trigger is Trigger.RETRY:
                await clock.until_armed()
                runtime = engine._runtime
                assert runtime is not None
                # As if its back-off had been over before the clock was set back.
                runtime.admission.enqueue(task.task_id)
                runtime._admit()
                await pause()
                assert runtime.admission.running == 0
                clock.advance(10.0)
        assert await task.result() == "done"


async def test_a_deadline_that_the_clock_takes_back_comes_again() -> None:
    """An ask that was due for a moment still expires when it is due.  Source: a review."""
    async with opened(agent) as world:
        handle, _ = await world.asking()
        await pause()
        gate = world.store.hold("due")
        world.clock.advance(60.0)
        await gate.reached()
        # The alarm rang, and nothing was fired yet.
        world.clock._now -= 30.0
        gate.open()
        await pause()
        assert world.stored(handle).phase is Phase.WAITING_INPUT
        await world.elapse(30.0)
        assert await soon(handle.result()) == "Rome"


async def test_an_errand_that_fails_unforeseen_is_done_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A store is foreign code: whatever it raises, the task goes on.  Source: I37."""

    async def asks(task: TaskContext) -> str:
        return await task.ask("Which city?")

    async with opened(asks, limits=Limits(park_after_s=0.0)) as world:
        handle, ask = await world.asking()
        await until(lambda: world.engine.statistics().live == 0)
        world.store.fail("events", RuntimeError("what no store may raise"))
        await handle.answer(ask.key, "Oslo")
        await pause()
        assert "what no store may raise" in caplog.text
        await world.elapse(STORE_RETRY_S)
        assert await soon(handle.result()) == "Oslo"


async def test_a_log_that_cannot_be_read_is_asked_for_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing repairs it by itself; the deadlines of its task still come.  Source: I37."""

    async def asks(task: TaskContext) -> str:
        return await task.ask("Which city?")

    async with opened(asks, limits=Limits(park_after_s=0.0, run_s=60.0)) as world:
        handle, ask = await world.asking()
        await until(lambda: world.engine.statistics().live == 0)
        world.store.breaks("events", StoreCorrupt("task 't': event 2 cannot be read"))
        await handle.answer(ask.key, "Oslo")
        for _ in range(5):
            await world.elapse(STORE_RETRY_S)
        assert caplog.text.count("event 2 cannot be read") == 1
        world.store.mends("events")
        await world.elapse(60.0)
        record = world.stored(handle)
        assert record.shown is Phase.TIMED_OUT
        assert world.engine.statistics().running == 0


async def test_a_queued_task_that_cannot_be_read_gives_its_slot_back() -> None:
    """It is left out, and the next one runs.  Source: I37."""

    async def waits(task: TaskContext) -> str:
        return await task.ask("Which city?") if task.input.text == "first" else "done"

    limits = Limits(running_turns_max=1, park_after_s=None)
    async with opened(waits, limits=limits, store=FlakyStore()) as world:
        world.engine._runtime.admission.enqueue("nobody's")  # type: ignore[union-attr]
        world.store.fail("get", StoreCorrupt("task 'nobody's': its record cannot be read"))
        world.engine._runtime._admit()  # type: ignore[union-attr]
        await pause()
        handle = await world.submit()
        assert await soon(handle.result()) == "done"


async def test_a_task_whose_log_cannot_be_read_keeps_no_slot() -> None:
    """Nobody can run it before a person has been; the next one runs.  Source: I37, R-ENG-08."""

    async def waits(task: TaskContext) -> str:
        return await task.ask("Which city?") if task.input.text == "first" else "done"

    limits = Limits(running_turns_max=1, park_after_s=0.0)
    async with opened(waits, limits=limits) as world:
        handle, ask = await world.asking("first")
        await until(lambda: world.engine.statistics().live == 0)
        world.store.fail("events", StoreCorrupt("task 't': event 2 cannot be read"))
        await handle.answer(ask.key, "Oslo")
        next_one = await world.submit("next")
        assert await soon(next_one.result()) == "done"
        assert world.engine.statistics().running == 0
        assert world.stored(handle).phase is Phase.RUNNING


class Listener:
    """A deliverer that remembers what it was given."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def deliver(self, watch: Watch, view: TaskView, events: object) -> None:
        """See `Deliverer`."""
        del watch, events
        self.got.append(view.record.task_id)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE task SET snapshot = '{}' WHERE task_id = ?",
        "UPDATE event SET trigger = 'jump' WHERE task = (SELECT n FROM task WHERE task_id = ?)",
        "UPDATE watch SET config = '{' WHERE task = (SELECT n FROM task WHERE task_id = ?)",
        "UPDATE task SET phase = 'dancing' WHERE task_id = ?",
        "UPDATE task SET snapshot = replace(snapshot, 'waiting_input', 'failed') WHERE task_id = ?",
    ],
    ids=["record", "event", "watch", "phase column", "phase"],
)
async def test_one_bad_row_stops_nothing_else(damage: str, tmp_path: Path) -> None:
    """Start, deadlines, lists, deliveries: whatever the row.  Source: issue 3, item 5."""
    path, clock = tmp_path / "tasks.db", ManualClock()
    async with Engine(agent, store=SqliteStore(path), clock=clock) as engine:
        bad, good = [
            await engine.submit("hello", owner="ada", watches=[NewWatch("w", "web", {})])
            for _ in range(2)
        ]
        await bad.rest()
        await good.rest()
        # Nothing serves them here, so they were given up: owed again below.
    with sqlite3.connect(path) as db:
        db.execute("UPDATE watch SET given_up = NULL, cursor = 0, attempts = 0, not_before = 0")
        db.execute(damage, (bad.task_id,))
    db.close()
    listener = Listener()
    engine = Engine(agent, store=SqliteStore(path), clock=clock, deliverers={"web": listener})
    async with asyncio.timeout(60), engine:
        await until(lambda: good.task_id in listener.got)
        page = await engine.page(TaskQuery())
        assert good.task_id in {record.task_id for record in page.records}
        over = asyncio.ensure_future(engine.over(good.task_id, owner="ada"))
        while not over.done():
            clock.advance(1.0)
            await pause()
        assert over.result().record.shown is Phase.COMPLETED
        await soon((await engine.submit("more", owner="eve")).rest())
        # A row whose column alone is wrong is found by its record, and goes on.
        assert engine.statistics().quarantined == ("dancing" not in damage)
