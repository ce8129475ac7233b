"""What cannot be read costs its own task and no other.  Source: I37."""

import sqlite3
from pathlib import Path

import pytest

from interlock import Engine, Limits, Phase, Retry, SqliteStore, TaskContext, Trigger
from interlock.errors import Retryable, StoreCorrupt
from interlock.testing import ManualClock
from support import pause


async def agent(task: TaskContext) -> str:
    """Waits a minute for an answer, then is content without."""
    return await task.ask("Which city?", default="Rome", expires_s=60.0)


async def test_an_unreadable_task_stops_neither_the_start_nor_the_deadlines_of_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log and by verify; the others go on.  Source: a review."""
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
        await clock.until_armed()
        clock.advance(61.0)
        view = await engine.over(good.task_id, owner="ada")
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
