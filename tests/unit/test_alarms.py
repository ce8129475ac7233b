"""Deadlines: one alarm for them all, and the store as the only memory."""

import asyncio
from dataclasses import dataclass, field

import pytest

from interlock._alarms import ALARM_MAX_S, STORE_RETRY_S, Alarms
from interlock._event import ENGINE, Data, Signal
from interlock._machine import LIFECYCLE
from interlock._phases import Trigger
from interlock._record import TaskRecord
from interlock._store import Commit
from interlock.errors import StoreCorrupt, StoreError, UnknownTask
from interlock.testing import ManualClock
from support import FlakyStore, pause, soon

NOW = 1_000.0


@dataclass(eq=False)
class Deadlines:
    """Alarms over a store of submitted tasks, and a record of what they fired."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    store: FlakyStore = field(default_factory=FlakyStore)
    fired: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    #: How the next firings of a task end.
    failures: dict[str, list[Exception]] = field(default_factory=dict[str, list[Exception]])
    ends_when_fired: bool = True

    def __post_init__(self) -> None:
        """Make the alarms."""
        self.alarms = Alarms(self.store, self.clock, self.fire)

    async def fire(self, record: TaskRecord, now: float) -> None:
        """What a runtime does: here the task ends."""
        if self.failures.get(record.task_id):
            raise self.failures[record.task_id].pop(0)
        self.fired.append((record.task_id, now))
        if self.ends_when_fired:
            signal = Signal(
                Trigger.REJECT, {"epoch": record.epoch, "code": "c", "message": "m"}, ENGINE, now
            )
            move = LIFECYCLE.fire(record, signal)
            await self.store.commit(Commit(move.record, (move.event,)))

    async def task(self, task_id: str, after_s: float) -> float:
        """A task with a deadline so many seconds from now."""
        due = self.clock.now() + after_s
        data: Data = {"task_id": task_id, "owner": "a", "context_id": "c", "parts": [], "due": due}
        move = LIFECYCLE.submit(Signal(Trigger.SUBMIT, data, "a", self.clock.now()))
        await self.store.commit(Commit(move.record, (move.event,)))
        return due

    async def elapse(self, seconds: float) -> None:
        """Move time on, in steps that no alarm is longer than."""
        while seconds > 0:
            step = min(seconds, ALARM_MAX_S)
            self.clock.advance(step)
            await pause()
            seconds -= step

    @property
    def names(self) -> list[str]:
        """Which tasks were fired, in order."""
        return [task_id for task_id, _ in self.fired]


async def test_what_became_due_while_nobody_watched_is_fired_at_the_start() -> None:
    """Deadlines survive a restart: the store knows them.  Source: DESIGN 3, R-LIFE-11."""
    world = Deadlines()
    await world.task("late", 5)
    await world.task("later", 7)
    await world.task("not yet", 60)
    world.clock.advance(10)
    world.alarms.start()
    await pause()
    assert world.fired == [("late", NOW + 10), ("later", NOW + 10)]


async def test_deadlines_are_fired_when_they_come_and_once() -> None:
    """In the order of their times, each at its own.  Source: R-LIFE-18."""
    world = Deadlines()
    world.alarms.start()
    await pause()
    for task_id, after_s in (("c", 30), ("a", 10), ("b", 20)):
        world.alarms.arm(await world.task(task_id, after_s))
    for _ in range(4):
        await world.elapse(10)
    assert world.fired == [("a", NOW + 10), ("b", NOW + 20), ("c", NOW + 30)]


async def test_there_is_one_alarm_however_many_deadlines_there_are() -> None:
    """A hundred thousand parked tasks cost one timer."""
    world = Deadlines()
    world.alarms.start()
    await pause()
    for n in range(50):
        world.alarms.arm(await world.task(f"t{n}", 50 - n))
    assert world.clock.alarms == 1


async def test_equal_deadlines_are_all_fired() -> None:
    """More of them than are read at a time."""
    world = Deadlines()
    for n in range(250):
        await world.task(f"t{n:03}", 5)
    world.alarms.start()
    await pause()
    await world.elapse(5)
    assert world.names == [f"t{n:03}" for n in range(250)]


async def test_a_far_deadline_is_looked_at_again_and_again() -> None:
    """The clock may be put forward, which a long timer would not notice."""
    world = Deadlines()
    await world.task("far", ALARM_MAX_S * 2.5)
    world.alarms.start()
    await pause()
    await world.elapse(ALARM_MAX_S * 2.5 - 1)
    assert world.fired == []
    assert world.clock.alarms == 1
    await world.elapse(1)
    assert world.names == ["far"]


async def test_a_deadline_that_nothing_can_be_done_about_is_seen_once() -> None:
    """It waits for something else, and must not keep the alarm ringing."""
    world = Deadlines(ends_when_fired=False)
    await world.task("stuck", 5)
    await world.task("next", 50)
    world.alarms.start()
    await pause()
    await world.elapse(49)
    assert world.names == ["stuck"]
    await world.elapse(1)
    assert world.names == ["stuck", "next"]


async def test_a_deadline_in_the_past_that_is_armed_is_fired_at_once() -> None:
    """A task may come to have one that is over already."""
    world = Deadlines()
    world.alarms.start()
    await world.elapse(100)
    world.alarms.arm(await world.task("late", -50))
    assert world.fired == []
    await world.elapse(0)
    world.clock.advance(0)
    await pause()
    assert world.fired == [("late", NOW + 100)]


async def test_a_deadline_armed_while_the_store_is_read_is_not_lost() -> None:
    """The reading may have been too early to see it."""
    world = Deadlines()
    world.alarms.start()
    await pause()
    await world.task("first", 10)
    world.alarms.arm(NOW + 10)
    gate = world.store.hold("next_due")
    await world.elapse(10)
    await gate.reached()
    world.alarms.arm(await world.task("second", 5))
    world.alarms.arm(await world.task("overdue", -1))
    gate.open()
    await pause()
    world.clock.advance(0)
    await pause()
    assert world.names == ["first", "overdue"]
    await world.elapse(5)
    assert world.names == ["first", "overdue", "second"]


@pytest.mark.parametrize("call", ["due", "next_due"])
async def test_a_store_that_fails_is_asked_again_later(call: str) -> None:
    """A deadline is late then, never lost."""
    world = Deadlines()
    await world.task("t", 5)
    world.store.fail(call)
    world.alarms.start()
    await pause()
    await world.elapse(STORE_RETRY_S)
    await world.elapse(5 - STORE_RETRY_S)
    assert world.names == ["t"]


async def test_a_deadline_that_could_not_be_fired_for_the_store_is_fired_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The task is read before it is fired, and that may fail too; whoever operates it is told."""
    world = Deadlines()
    await world.task("a", 5)
    await world.task("b", 5)
    await world.task("c", 5)
    world.failures["b"] = [StoreError("the disk is on fire")]
    world.alarms.start()
    await pause()
    await world.elapse(5)
    assert world.names == ["a"]
    assert "deadlines are late, since the store failed: the disk is on fire" in caplog.text
    await world.elapse(STORE_RETRY_S)
    assert world.names == ["a", "b", "c"]


async def test_a_task_that_cannot_be_read_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Asking again would not make it readable: it is named once, and passed by.  Source: I37."""
    world = Deadlines()
    for task_id in "abc":
        await world.task(task_id, 5)
    world.failures["b"] = [StoreCorrupt("task 'b': its record cannot be read")] * 9
    world.alarms.start()
    await pause()
    await world.elapse(5)
    assert world.names == ["a", "c"]
    await world.elapse(STORE_RETRY_S)
    assert caplog.text.count("task 'b': its record cannot be read") == 1
    world.alarms.arm(await world.task("d", 5))
    await world.elapse(5)
    assert world.names == ["a", "c", "d"]


class Damaged(FlakyStore):
    """A store that finds one task by a deadline which is not that of its record."""

    def __init__(self, column: float) -> None:
        super().__init__()
        self.place = (column, "bad")
        #: How often it was asked what is due.
        self.asked = 0

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """By the column."""
        self.asked += 1
        assert self.asked < 20, "it goes round and round"
        others = [one for one in await super().due(now, after) if one.task_id != "bad"]
        places = {one.task_id: (one.due or 0.0, one.task_id) for one in others}
        bad = await self.get("bad")
        found = (
            [*others, bad]
            if bad is not None and after < self.place and self.place[0] <= now
            else others
        )
        return sorted(found, key=lambda one: places.get(one.task_id, self.place))[:limit]


@pytest.mark.parametrize("column", [NOW + 1, NOW + 5, NOW + 6])
@pytest.mark.parametrize("after_s", [-900.0, 500.0, None])
async def test_a_task_that_is_found_by_a_wrong_deadline_holds_up_nobody(
    column: float, after_s: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether its own is later, or earlier, or it has none.  Source: I37."""
    store = Damaged(column)
    world = Deadlines(store=store, ends_when_fired=False)
    await world.task("bad", 500.0 if after_s is None else after_s)
    if after_s is None:
        world.ends_when_fired = True
        record = await store.get("bad")
        assert record is not None
        await world.fire(record, NOW)
        world.fired.clear()
        world.ends_when_fired = False
    await world.task("a", 5)
    await world.task("b", 6)
    world.clock.advance(10)
    world.alarms.start()
    await pause()
    assert [name for name in world.names if name != "bad"] == ["a", "b"]
    assert world.names.count("bad") <= 2
    if after_s != -900.0:  # Of an earlier one nobody sees that it is wrong, until it is behind.
        assert "task bad: it was found by a deadline that it does not have" in caplog.text
    asked = store.asked
    await pause()
    assert store.asked == asked < 5
    await world.task("c", 5)
    world.alarms.arm(NOW + 15)
    await world.elapse(5)
    assert world.names[-1] == "c"


async def test_a_fault_in_one_task_does_not_stop_the_clocks_of_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged, what is due after it is fired, and it comes again.  Source: I28, I37."""
    world = Deadlines()
    for task_id in "abc":
        await world.task(task_id, 5)
    world.failures["b"] = [RuntimeError("a fault of ours"), RuntimeError("another")]
    world.alarms.start()
    await pause()
    await world.elapse(5)
    assert world.names == ["a", "c"]
    assert "a fault of ours" in caplog.text
    await world.elapse(STORE_RETRY_S)
    assert "another" in caplog.text
    world.alarms.arm(await world.task("d", 5))
    await world.elapse(5)
    assert world.names == ["a", "c", "b", "d"]


async def test_what_never_fires_is_tried_once_a_second_however_often_it_is_met(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not once more for each time that something else was due.  Source: I37."""
    world = Deadlines()
    due = await world.task("a", 5)
    world.failures["a"] = [RuntimeError(f"fault {number}") for number in range(1_000)]
    world.alarms.start()
    await pause()
    await world.elapse(5)
    for _ in range(10):
        world.alarms.arm(due)
        await world.elapse(STORE_RETRY_S / 20)
    before = len(caplog.records)
    for _ in range(100):
        await world.elapse(STORE_RETRY_S / 10)
    assert 9 <= len(caplog.records) - before <= 11
    await world.alarms.close()
    assert world.clock.alarms == 0


async def test_a_task_that_was_purged_meanwhile_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its deadlines went with it."""
    world = Deadlines()
    await world.task("a", 5)
    world.failures["a"] = [UnknownTask("a")]
    world.alarms.start()
    await pause()
    await world.elapse(5)
    await world.elapse(STORE_RETRY_S)
    assert (world.names, caplog.records) == ([], [])


async def test_nothing_is_fired_once_the_watch_is_over() -> None:
    """The alarm is forgotten."""
    world = Deadlines()
    await world.task("t", 5)
    world.alarms.start()
    await pause()
    await world.alarms.close()
    assert world.clock.alarms == 0
    world.alarms.arm(NOW)
    assert world.clock.alarms == 0
    await world.elapse(5)
    assert world.fired == []


async def test_the_end_of_the_watch_waits_for_what_is_being_fired() -> None:
    """And fires nothing after it."""
    world = Deadlines()
    await world.task("a", 5)
    await world.task("b", 5)
    world.alarms.start()
    await pause()
    gate = world.store.hold("commit")
    await world.elapse(5)
    await gate.reached()
    closing = asyncio.ensure_future(world.alarms.close())
    await pause()
    assert not closing.done()
    gate.open()
    await soon(closing)
    assert world.clock.alarms == 0


async def test_a_watch_that_never_began_can_be_ended() -> None:
    """An engine that could not be opened is closed all the same."""
    await soon(Deadlines().alarms.close())


async def test_a_watch_that_is_begun_twice_fires_once() -> None:
    """The second beginning finds the first at work."""
    world = Deadlines(ends_when_fired=False)
    await world.task("t", -1)
    world.alarms.start()
    world.alarms.start()
    await pause()
    assert world.names == ["t"]
