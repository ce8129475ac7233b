"""What is over is forgotten in time: when, how much at once, and who notices."""

import asyncio
from collections.abc import Sequence

import pytest

from interlock import Event, Limits, NewWatch, Retention, TaskContext, TaskView, Watch
from interlock._engine import EVENTS_PAGE
from interlock.errors import StoreError, UnknownTask
from interlock.testing import ManualClock
from support import OWNER, FlakyStore, World, opened, over, pause, soon, until

DAY_S = 86_400.0
TOKEN = "m1"  # noqa: S105  of a request


def keeping(**rule: float | None) -> Limits:
    """Limits with such a retention."""
    return Limits(park_after_s=0.0, retention=Retention.model_validate(rule))


async def agent(task: TaskContext) -> str:
    """Ask if it is told to."""
    return await task.ask("Which city?") if task.input.text == "ask" else "done"


def kept(world: World) -> list[str]:
    """What the store has, oldest first."""
    return list(world.store._tasks)


async def test_what_is_over_is_kept_for_a_month_unless_said_otherwise() -> None:
    """A store that nobody looks after does not grow for ever.  Source: decision 0008, R-ENG-17."""
    async with opened(agent) as world:
        (done,) = await over(world)
        waiting, _ = await world.asking("ask")
        await world.elapse(29.9 * DAY_S)
        assert done.task_id in kept(world)
        await world.elapse(0.2 * DAY_S)
        # A task that waits is not over, and its own deadline is what ends it.
        assert done.task_id not in kept(world)
        assert waiting.task_id in kept(world)
        with pytest.raises(UnknownTask):
            await world.engine.record(done.task_id, owner=OWNER)


async def test_nothing_is_forgotten_where_nothing_shall_be() -> None:
    """And no alarm is kept for it.  Source: decision 0008."""
    async with opened(agent, limits=keeping(age_s=None)) as world:
        assert world.clock.alarms == 0
        handles = await over(world, 3)
        await world.elapse(9_999 * DAY_S)
        assert kept(world) == [handle.task_id for handle in handles]


async def test_what_became_too_old_meanwhile_is_forgotten_at_the_start() -> None:
    """Without holding it up: the first sweep runs beside everything else."""
    store, clock = FlakyStore(), ManualClock()
    async with opened(agent, store=store, clock=clock) as world:
        await over(world, 3)
    clock.advance(31 * DAY_S)
    gate = store.hold("purge")
    async with opened(agent, store=store, clock=clock) as world:
        await gate.reached()
        handle = await world.submit()
        assert await soon(handle.result()) == "done"
        gate.open()
        await until(lambda: kept(world) == [handle.task_id])


async def test_no_more_than_so_many_are_kept() -> None:
    """The newest; each of them for a while at least, that its client may come back."""
    async with opened(agent, limits=keeping(tasks_max=2, at_least_s=60.0, every_s=30.0)) as world:
        handles = await over(world, 5)
        await world.elapse(30.0)
        assert len(kept(world)) == len(handles)
        await world.elapse(60.0)
        assert kept(world) == [handle.task_id for handle in handles[-2:]]


async def test_a_sweep_goes_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of them everybody else gets to write.  Source: issue 3, item 7, R-ENG-17."""
    monkeypatch.setattr("interlock._retention.TASKS_AT_ONCE", 2)
    async with opened(agent, limits=keeping(age_s=60.0, every_s=100.0)) as world:
        await over(world, 5)
        gate = world.store.hold("purge")
        world.clock.advance(100.0)
        await gate.reached()
        second = world.store.hold("purge")
        gate.open()
        await second.reached()
        assert len(kept(world)) == 3
        handle = await world.submit()
        assert await soon(handle.result()) == "done"
        second.open()
        await until(lambda: kept(world) == [handle.task_id])


async def test_a_purge_that_fails_is_made_at_the_next_sweep(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing else is touched by it, whatever the store raises.  Source: ours."""
    async with opened(agent, limits=keeping(age_s=60.0, every_s=100.0)) as world:
        await over(world)
        world.store.fail("purge", StoreError("the disk is on fire"))
        await world.elapse(100.0)
        world.store.fail("purge", RuntimeError("what no store may raise"))
        await world.elapse(100.0)
        assert len(kept(world)) == 1
        assert "the disk is on fire" in caplog.text
        assert "what no store may raise" in caplog.text
        await world.elapse(100.0)
        assert kept(world) == []


async def test_an_engine_that_closes_finishes_the_step_and_no_more() -> None:
    """Thousands that are left to purge do not keep a process from ending."""
    limits = keeping(age_s=60.0, every_s=100.0)
    async with opened(agent, limits=limits) as world:
        await over(world)
        gate = world.store.hold("purge")
        world.clock.advance(100.0)
        await gate.reached()
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        assert not drain.done()
        gate.open()
        await soon(drain)
        assert world.clock.alarms == 0
        assert kept(world) == []


class Patient:
    """A deliverer that delivers when it is told to."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """See `Deliverer`."""
        del watch, view, events
        await self.gate.wait()


async def test_a_task_with_something_to_deliver_is_never_purged() -> None:
    """It is over and old, and not finalized: the webhook comes first.

    Source: issue 3, item 7, R-ENG-17.
    """
    patient = Patient()
    limits = keeping(age_s=10.0, every_s=10.0)
    async with opened(agent, limits=limits, deliverers={"web": patient}) as world:
        handle = await world.engine.submit("go", owner=OWNER, watches=[NewWatch("w", "web", {})])
        await handle.result()
        for _ in range(5):
            await world.elapse(10.0)
        assert kept(world) == [handle.task_id]
        patient.gate.set()
        await pause()
        await world.elapse(10.0)
        assert kept(world) == []


async def test_a_token_is_forgotten_with_its_task() -> None:
    """Until then a repeat is told the first; after that it is a new request.  Decision 0008.

    Source: R-STORE-12.
    """
    async with opened(agent, limits=keeping(age_s=60.0, every_s=100.0)) as world:
        first = await world.engine.submit("go", owner=OWNER, token=TOKEN)
        await first.result()
        again = await world.engine.submit("go", owner=OWNER, token=TOKEN)
        assert (again.task_id, again.created) == (first.task_id, False)
        await world.elapse(100.0)
        anew = await world.engine.submit("go", owner=OWNER, token=TOKEN)
        assert (anew.task_id == first.task_id, anew.created) == (False, True)


async def test_who_reads_a_task_that_goes_is_told_so() -> None:
    """A log that is gone is not an empty log.  Source: ours."""
    async with opened(agent, limits=keeping(age_s=60.0, every_s=100.0)) as world:
        (done,) = await over(world)
        gates = [world.store.hold("events") for _ in range(2)]
        reading = asyncio.ensure_future(done.over())
        viewing = asyncio.ensure_future(world.engine.view(done.task_id, owner=OWNER))
        for gate in gates:
            await gate.reached()
        await world.elapse(100.0)
        assert kept(world) == []
        for gate in gates:
            gate.open()
        for late in (reading, viewing, done.over(), done.result()):
            with pytest.raises(UnknownTask):
                await soon(late)


async def test_who_follows_a_task_that_goes_comes_to_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not wait, or ask again and again, for events that are gone.  Source: ours."""
    monkeypatch.setattr("interlock._engine.EVENTS_PAGE", 1)
    assert EVENTS_PAGE > 1
    async with opened(agent, limits=keeping(age_s=60.0, every_s=100.0)) as world:
        (done,) = await over(world)
        follower = world.engine.subscribe(done.task_id, owner=OWNER)
        assert (await anext(follower)).seq == 1
        await world.elapse(100.0)
        assert kept(world) == []
        assert [event async for event in follower] == []
        assert world.engine.statistics().live == 0
