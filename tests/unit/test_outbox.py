"""The courier: in order, one at a time for each watch, again after a failure, never lost."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from interlock._event import AGENT, ENGINE, Data, Event, Signal
from interlock._machine import LIFECYCLE, Move
from interlock._outbox import (
    REASON_CHARS_MAX,
    RETRY,
    Courier,
    DeliveryFailed,
    DeliveryLimits,
    NewWatch,
    TaskView,
)
from interlock._phases import Phase, Trigger
from interlock._record import TaskRecord
from interlock._store import Commit, MemoryStore, Watch
from interlock.errors import StoreCorrupt, StoreError
from interlock.testing._clock import ManualClock

LIMITS = DeliveryLimits(batch_events_max=4)


class Unpleasant(Exception):
    """What a deliverer raises that was not written with care."""


class FailingStore(MemoryStore):
    """Refuses the methods named in `failing`, and remembers how watches were written."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[str] = set()
        #: What they raise.
        self.failure: Exception = StoreError("the disk is on fire")
        self.written: list[Watch] = []
        #: Methods that meet a row that cannot be read.
        self.corrupt: set[str] = set()
        #: Methods at which the task has just been purged.
        self.purged_at: set[str] = set()

    def _meet(self, call: str, task_id: str) -> None:
        if call in self.corrupt:
            raise StoreCorrupt("it cannot be read", task_id=task_id)
        if call in self.purged_at:
            self._tasks.pop(task_id, None)

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        self._meet("get", task_id)
        return await super().get(task_id)

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        self._meet("events", task_id)
        return await super().events(task_id, after, limit)

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        if "watches" in self.failing:
            raise self.failure
        return await super().watches(task_id)

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        if "advance_watch" in self.failing:
            raise self.failure
        kept = await super().advance_watch(before, after)
        if kept:
            self.written.append(after)
        return kept


@dataclass(eq=False)
class Receiver:
    """A deliverer that keeps what it is given, and fails as it is told to."""

    #: How the next deliveries end; None, and nothing, is success.
    script: list[BaseException | None] = field(default_factory=list[BaseException | None])
    #: Cleared: deliveries stay in flight.
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    got: list[tuple[str, list[int]]] = field(default_factory=list[tuple[str, list[int]]])
    arrived: asyncio.Queue[str] = field(default_factory=asyncio.Queue[str])
    in_flight: int = 0
    in_flight_max: int = 0

    def __post_init__(self) -> None:
        """Open the gate."""
        self.gate.set()

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """See `Deliverer.deliver`."""
        assert [event.seq for event in view.events] == list(range(1, view.record.seq + 1))
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            self.got.append((watch.watch_id, [event.seq for event in events]))
            self.arrived.put_nowait(watch.watch_id)
            await self.gate.wait()
            failure = self.script.pop(0) if self.script else None
            if failure is not None:
                raise failure
        finally:
            self.in_flight -= 1

    def seqs(self, watch_id: str = "w") -> list[int]:
        """The numbers of the events that came to one watch, repeats included."""
        return [seq for known, batch in self.got for seq in batch if known == watch_id]


class World:
    """A store with tasks, a clock, a receiver, and the courier between them."""

    def __init__(self, limits: DeliveryLimits = LIMITS) -> None:
        self.store = FailingStore()
        self.clock = ManualClock()
        self.receiver = Receiver()
        self.served: asyncio.Queue[str] = asyncio.Queue()
        self.limits = limits
        self.writes_seen = 0
        self.courier = self.new_courier()

    def new_courier(self) -> Courier:
        """Another courier over the same store, as after a restart."""
        return Courier(
            self.store,
            self.clock,
            {"hook": self.receiver},
            on_served=self.served.put_nowait,
            limits=self.limits,
        )

    async def task(
        self, task_id: str = "t", *, watches: Sequence[str] = ("w",), owner: str = "ada"
    ) -> None:
        """A running task at event 2, watched from its start."""
        data: Data = {
            "task_id": task_id,
            "owner": owner,
            "context_id": "c",
            "parts": [],
            "due": 2e6,
        }
        move = LIFECYCLE.submit(Signal(Trigger.SUBMIT, data, "ada", self.clock.now()))
        await self.commit(move, *(watch(task_id, watch_id) for watch_id in watches))
        await self.fire(task_id, Trigger.START, run_s=None)

    async def fire(self, task_id: str, trigger: Trigger, **data: object) -> TaskRecord:
        """Move the task and commit, without waking anybody."""
        record = await self.record(task_id)
        actor = ENGINE if trigger in {Trigger.START, Trigger.FINALIZE} else AGENT
        move = LIFECYCLE.fire(record, Signal(trigger, data, actor, self.clock.now()))
        await self.commit(move)
        return move.record

    async def progress(self, task_id: str = "t") -> None:
        """One more event, and the wake that the engine owes the courier."""
        await self.fire(
            task_id, Trigger.PROGRESS, epoch=1, message="…", fraction=None, log_events_max=1000
        )
        self.courier.wake(task_id)

    async def commit(self, move: Move, *watches: Watch) -> None:
        """Write one move."""
        await self.store.commit(Commit(move.record, (move.event,), watches=watches))

    async def record(self, task_id: str = "t") -> TaskRecord:
        """The task as stored."""
        record = await self.store.get(task_id)
        assert record is not None
        return record

    async def watch(self, watch_id: str = "w", task_id: str = "t") -> Watch:
        """The watch as stored."""
        [found] = [w for w in await self.store.watches(task_id) if w.watch_id == watch_id]
        return found

    async def until_served(self, task_id: str = "t") -> None:
        """Wait until the courier owes nothing for the task."""
        async with asyncio.timeout(60):
            while await self.served.get() != task_id or self.courier.pending(task_id):
                pass

    async def until_armed(self, count: int = 1) -> None:
        """Wait until so many alarms are armed."""
        async with asyncio.timeout(60):
            await self.clock.until_armed(count)

    async def until_backing_off(self) -> Watch:
        """Wait until the delivery that is due was made, failed, and waits for another."""
        await self.until_arrived()
        seen, self.writes_seen = self.writes_seen, self.writes_seen + 1
        await until(lambda: len(self.store.written) > seen and self.clock.alarms > 0)
        return self.store.written[-1]

    async def until_arrived(self) -> str:
        """Wait until a delivery is in flight; to which watch."""
        async with asyncio.timeout(60):
            return await self.receiver.arrived.get()


async def until(so: Callable[[], bool]) -> None:
    """Let the loop turn until it is so: a bound in turns cannot be too short on a slow machine."""
    for _ in range(5_000):
        if so():
            return
        await asyncio.sleep(0)
    pytest.fail("it never became so")


def watch(task_id: str = "t", watch_id: str = "w", *, channel: str = "hook") -> Watch:
    """A watch that has seen nothing yet."""
    return Watch(watch_id, task_id, channel, {}, cursor=0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A started courier over an empty store."""
    world = World()
    await world.courier.start()
    yield world
    world.receiver.gate.set()
    async with asyncio.timeout(60):
        await world.courier.stop()


async def test_every_event_is_delivered_once_and_in_order(world: World) -> None:
    """Batches are bounded, and the cursor ends at the task's last event.  Source: R-ENG-16."""
    await world.task()
    for _ in range(8):
        await world.progress()
    await world.until_served()
    assert world.receiver.seqs() == list(range(1, 11))
    assert max(len(batch) for _, batch in world.receiver.got) == LIMITS.batch_events_max
    assert await world.watch() == replace(watch(), cursor=10)


async def test_a_commit_during_a_delivery_is_delivered_after_it(world: World) -> None:
    """The wake of a busy line is not lost.  Source: INVARIANTS I29."""
    world.receiver.gate.clear()
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    await world.progress()
    await until(
        lambda: world.courier.pending("t") == 1
    )  # until the look is over: it saw the line busy
    world.receiver.gate.set()
    await world.until_served()
    assert world.receiver.got == [("w", [1, 2]), ("w", [3])]
    assert world.receiver.in_flight_max == 1


async def test_waking_a_task_that_owes_nothing_says_so(world: World) -> None:
    """The engine may have been refused a finalize in between, so it is always told."""
    await world.task(watches=())
    world.courier.wake("t")
    assert world.courier.pending("t") == 1
    await world.until_served()
    world.courier.wake("unknown")
    await world.until_served("unknown")
    assert world.receiver.got == []


async def test_a_task_without_watches_is_not_read(world: World) -> None:
    """A commit of a shared store wakes for any task: one read is enough.  Source: R-ENG-16."""
    await world.task(watches=())
    world.store.corrupt.add("get")  # or it would stay owed
    world.courier.wake("t")
    await world.until_served()
    assert world.clock.alarms == 0


async def test_a_finalize_is_not_delivered_and_leaves_nothing_owed(world: World) -> None:
    """The outcome is the last thing that a subscriber sees.  Source: DESIGN 2."""
    await world.task()
    await world.fire("t", Trigger.COMPLETE, epoch=1, parts=[])
    world.courier.wake("t")
    await world.until_served()
    await world.fire("t", Trigger.FINALIZE, turn_alive=False, deliveries_left=0)
    world.courier.wake("t")
    await world.until_served()
    assert world.receiver.seqs() == [1, 2, 3]
    assert (await world.record()).phase is Phase.FINALIZED
    assert await world.store.behind() == []


async def test_a_failure_that_may_pass_is_tried_again_with_back_off(world: World) -> None:
    """Each wait is longer than the one before, and success starts the counting anew.

    Source: R-ENG-16.
    """
    world.receiver.script = [DeliveryFailed("HTTP 503"), DeliveryFailed("HTTP 503")]
    await world.task()
    world.courier.wake("t")
    for attempts, delay_s in ((1, 1.0), (2, 2.0)):
        failed = await world.until_backing_off()
        assert (failed.cursor, failed.attempts) == (0, attempts)
        assert failed.not_before == world.clock.now() + delay_s
        assert world.courier.pending("t") == 1
        world.clock.advance(delay_s)
    await world.until_served()
    assert world.receiver.seqs() == [1, 2, 1, 2, 1, 2]
    assert (await world.watch()).attempts == 0


async def test_what_arrived_before_a_failure_does_not_arrive_again(world: World) -> None:
    """The deliverer says how far it came, and that progress starts the counting anew."""
    world.receiver.script = [
        DeliveryFailed("HTTP 503"),
        DeliveryFailed("HTTP 503", delivered_seq=1),
    ]
    await world.task()
    world.courier.wake("t")
    await world.until_backing_off()
    world.clock.advance(1)
    await world.until_arrived()
    await until(lambda: len(world.store.written) == 2)
    assert (world.store.written[-1].cursor, world.store.written[-1].attempts) == (1, 1)
    await world.until_armed()
    world.clock.advance(1)
    await world.until_served()
    assert world.receiver.got == [("w", [1, 2]), ("w", [1, 2]), ("w", [2])]


@pytest.mark.parametrize(("wish_s", "granted_s"), [(0.0, 1.0), (60.0, 60.0), (1e9, 3600.0)])
async def test_a_receivers_wish_to_wait_is_granted_within_bounds(
    world: World, wish_s: float, granted_s: float
) -> None:
    """It may ask for more than our back-off, and not for ever.  Source: RFC 9110 10.2.3."""
    world.receiver.script = [DeliveryFailed("HTTP 429", retry_after_s=wish_s)]
    await world.task()
    world.courier.wake("t")
    failed = await world.until_backing_off()
    assert failed.not_before == world.clock.now() + granted_s


async def test_a_permanent_failure_gives_the_watch_up(world: World) -> None:
    """It owes nothing any more, so that the task can be finalized; later events are not tried."""
    world.receiver.script = [DeliveryFailed("HTTP 410 " + "x" * 1000, permanent=True)]
    await world.task()
    world.courier.wake("t")
    await world.until_served()
    given_up = (await world.watch()).given_up
    assert given_up is not None
    assert given_up.startswith("given up after attempt 1: HTTP 410")
    assert len(given_up) == REASON_CHARS_MAX
    await world.progress()
    await world.until_served()
    assert world.receiver.seqs() == [1, 2]


async def test_after_enough_failures_the_watch_is_given_up(world: World) -> None:
    """The bound is the number of attempts, and the last reason is kept.  Source: R-ENG-16."""
    world.receiver.script = [DeliveryFailed(f"HTTP 50{n % 5}") for n in range(RETRY.attempts_max)]
    await world.task()
    world.courier.wake("t")
    for _ in range(RETRY.attempts_max - 1):
        await world.until_backing_off()
        world.clock.advance(RETRY.backoff_max_s)
    await world.until_served()
    assert (await world.watch()).given_up == "given up after attempt 12: HTTP 501"


async def test_a_channel_that_nothing_serves_is_given_up_with_a_reason(world: World) -> None:
    """A deployment that lost a deliverer says so instead of trying for ever."""
    await world.task(watches=())
    await world.store.put_watch(watch(channel="pigeon"))
    world.courier.wake("t")
    await world.until_served()
    expected = "given up after attempt 1: nothing serves channel 'pigeon'"
    assert (await world.watch()).given_up == expected


async def test_a_deliverers_own_mistake_is_a_failure_and_its_words_stay_secret(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception may quote a header; its type and place are enough.  Source: INVARIANTS I38."""
    caplog.set_level(logging.DEBUG)
    world.receiver.script = [Unpleasant("Bearer canary")]
    await world.task()
    world.courier.wake("t")
    await world.until_backing_off()
    assert "raised Unpleasant" in caplog.text
    assert "in deliver" in caplog.text
    assert "canary" not in caplog.text
    world.clock.advance(1)
    await world.until_served()


async def test_a_delivery_that_takes_too_long_is_cut_off_and_tried_again(world: World) -> None:
    """A deliverer that never returns does not hold a slot for ever."""
    world.receiver.gate.clear()
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    await world.until_armed()
    world.clock.advance(LIMITS.delivery_s)
    await until(lambda: world.receiver.in_flight == 0 and len(world.store.written) == 1)
    world.receiver.gate.set()
    await world.until_armed()
    world.clock.advance(1)
    await world.until_served()
    assert world.receiver.seqs() == [1, 2, 1, 2]


async def test_one_stuck_watch_does_not_delay_another(world: World) -> None:
    """Watches of one task, and of others, are served side by side.  Source: INVARIANTS T23."""
    world.receiver.gate.clear()
    await world.task("t", watches=("a", "b"))
    await world.task("u", watches=("c",))
    world.courier.wake("t")
    world.courier.wake("u")
    assert {await world.until_arrived() for _ in range(3)} == {"a", "b", "c"}
    assert world.courier.pending("t") == 2
    world.receiver.gate.set()
    await world.until_served("u")
    assert world.receiver.in_flight_max == 3


async def test_deliveries_in_flight_are_bounded() -> None:
    """More watches than slots wait for their turn, and all get it."""
    world = World(DeliveryLimits(deliveries_max=2))
    await world.courier.start()
    world.receiver.gate.clear()
    await world.task(watches=[f"w{n}" for n in range(7)])
    world.courier.wake("t")
    for _ in range(2):
        await world.until_arrived()
    world.receiver.gate.set()
    await world.until_served()
    assert world.receiver.in_flight_max == 2
    assert {watch.cursor for watch in await world.store.watches("t")} == {2}
    await world.courier.stop()


async def test_a_restart_takes_up_what_is_owed_and_nothing_else(world: World) -> None:
    """More than one page of it, with the back-off that was running.  Source: INVARIANTS I29."""
    await world.courier.stop()
    await world.task(watches=[f"w{n}" for n in range(300)])
    await world.store.put_watch(replace(watch(watch_id="w0"), cursor=2))
    await world.store.put_watch(replace(watch(watch_id="w1"), given_up="gone"))
    later = world.clock.now() + 10
    await world.store.put_watch(replace(watch(watch_id="w2"), attempts=3, not_before=later))
    world.courier = world.new_courier()
    await world.courier.start()
    assert world.courier.pending("t") == 1
    for _ in range(297):
        await world.until_arrived()
    await until(lambda: world.courier.pending("t") == 1)
    assert not {"w0", "w1", "w2"} & {watch_id for watch_id, _ in world.receiver.got}
    world.clock.advance(10)
    await world.until_served()
    assert world.receiver.seqs("w2") == [1, 2]


async def test_a_clock_that_was_set_back_does_not_silence_a_watch(world: World) -> None:
    """A wait is never longer than the longest that could have been meant."""
    await world.task()
    far = world.clock.now() + 10 * 365 * 86_400
    await world.store.put_watch(replace(watch(), attempts=1, not_before=far))
    world.courier.wake("t")
    await world.until_armed()
    await world.progress()  # owed more while it backs off: no second line
    await until(lambda: world.courier.pending("t") == 1)
    world.clock.advance(LIMITS.retry_after_max_s)
    await world.until_served()
    assert world.receiver.seqs() == [1, 2, 3]


async def test_a_stop_lets_a_delivery_in_flight_arrive(world: World) -> None:
    """What is done in time is kept; the rest is taken up by the next start."""
    world.receiver.gate.clear()
    await world.task()
    for _ in range(4):
        await world.progress()
    await world.until_arrived()
    stopping = asyncio.create_task(world.courier.stop())
    await world.until_armed(2)
    world.receiver.gate.set()
    async with asyncio.timeout(60):
        await stopping
    assert (await world.watch()).cursor == LIMITS.batch_events_max
    assert world.served.empty()
    world.courier.wake("t")  # closed: nobody listens
    assert world.courier.pending("t") == 0
    await world.courier.start()
    await world.until_served()
    assert world.receiver.seqs() == [1, 2, 3, 4, 5, 6]


async def test_a_stop_cuts_off_what_does_not_arrive_in_time(world: World) -> None:
    """Its cursor stays, so it is delivered again; a line that backs off is forgotten too."""
    world.receiver.script = [DeliveryFailed("HTTP 503")]
    await world.task("u", watches=("v",))
    world.courier.wake("u")
    await world.until_arrived()
    await until(lambda: len(world.store.written) == 1)
    world.receiver.gate.clear()
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    stopping = asyncio.create_task(world.courier.stop())
    await asyncio.sleep(0)
    world.clock.advance(LIMITS.stop_s)
    async with asyncio.timeout(60):
        await stopping
    assert (await world.watch()).cursor == 0
    assert (world.receiver.in_flight, world.clock.alarms) == (0, 0)
    world.receiver.gate.set()
    await world.courier.start()
    await world.until_served("t")
    assert world.receiver.seqs() == [1, 2, 1, 2]


async def test_a_stop_that_is_itself_cut_short_leaves_no_delivery_behind(world: World) -> None:
    """Cancelling the stop cancels what it waited for."""
    world.receiver.gate.clear()
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    stopping = asyncio.create_task(world.courier.stop())
    await world.until_armed(2)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await until(lambda: not world.receiver.in_flight)
    assert world.clock.alarms == 0


async def test_a_watch_dropped_while_it_is_served_does_not_come_back(world: World) -> None:
    """The delivery in flight is cut off, and its cursor is never written."""
    world.receiver.gate.clear()
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    with world.courier.hands_off("t", "w"):
        assert world.courier.pending("t") == 0
        world.courier.wake("t")  # a commit in between: the watch is still stored
        await world.until_served()
        assert await world.store.drop_watch("t", "w")
    world.receiver.gate.set()
    await world.until_served()
    assert await world.store.watches("t") == []
    assert world.receiver.in_flight == 0
    assert world.receiver.seqs() == [1, 2]


async def test_a_drop_that_fails_leaves_the_watch_served(world: World) -> None:
    """Two callers may keep the courier off; it comes back with the last of them."""
    world.receiver.gate.clear()
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    with contextlib.suppress(StoreError), world.courier.hands_off("t", "w"):
        with world.courier.hands_off("t", "w"):
            pass
        await world.until_served()
        assert world.receiver.seqs() == [1, 2]
        raise StoreError("not dropped")
    world.receiver.gate.set()
    await world.until_arrived()
    await world.until_served()
    assert world.receiver.seqs() == [1, 2, 1, 2]


async def test_a_watch_that_another_process_dropped_is_let_go(world: World) -> None:
    """A line trusts nothing that was read before it began."""
    world.receiver.script = [DeliveryFailed("HTTP 503")]
    await world.task()
    world.courier.wake("t")
    await world.until_backing_off()
    await world.store.drop_watch("t", "w")
    world.clock.advance(1)
    await world.until_served()
    assert world.receiver.seqs() == [1, 2]


async def test_a_watch_dropped_by_another_process_in_flight_does_not_come_back(
    world: World,
) -> None:
    """The delivery arrives, its cursor is not written, and nothing is owed.  Source: R-STORE-13."""
    world.receiver.gate.clear()
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    assert await world.store.drop_watch("t", "w")
    world.receiver.gate.set()
    await world.until_served()
    await world.progress()
    await world.until_served()
    assert await world.store.watches("t") == []
    assert world.receiver.seqs() == [1, 2]
    assert world.store.written == []


@pytest.mark.parametrize(
    "failure", [None, DeliveryFailed("HTTP 503"), DeliveryFailed("", permanent=True)]
)
async def test_a_watch_replaced_by_another_process_in_flight_is_served_as_it_is(
    world: World, failure: DeliveryFailed | None
) -> None:
    """At once and from its own cursor, however the delivery to the old one ended."""
    world.receiver.script = [failure]
    world.receiver.gate.clear()
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    new = replace(watch(), config={"url": "https://new.example"}, cursor=1)
    await world.store.put_watch(new)
    world.receiver.gate.set()
    await world.until_served()
    assert world.receiver.got == [("w", [1, 2]), ("w", [2])]
    assert await world.store.watches("t") == [replace(new, cursor=2)]


async def test_a_watch_that_another_process_served_further_is_not_given_up(world: World) -> None:
    """What failed for good here has arrived from there; the rest is tried.  Source: R-STORE-13."""
    world.receiver.script = [DeliveryFailed("HTTP 410", permanent=True)]
    world.receiver.gate.clear()
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    assert await world.store.advance_watch(watch(), replace(watch(), cursor=1))
    world.receiver.gate.set()
    await world.until_served()
    assert world.receiver.got == [("w", [1, 2]), ("w", [2])]
    assert await world.store.watches("t") == [replace(watch(), cursor=2)]


async def test_a_watch_that_waits_for_a_slot_can_be_dropped() -> None:
    """Its place in the queue is passed over."""
    world = World(DeliveryLimits(deliveries_max=1))
    await world.courier.start()
    world.receiver.gate.clear()
    await world.task(watches=("a", "b", "c"))
    world.courier.wake("t")
    assert await world.until_arrived() == "a"
    with world.courier.hands_off("t", "b"):
        await world.store.drop_watch("t", "b")
    world.receiver.gate.set()
    await world.until_served()
    assert world.receiver.got == [("a", [1, 2]), ("c", [1, 2])]
    await world.courier.stop()


async def test_a_long_log_lets_others_in_after_each_batch() -> None:
    """One slow receiver with much to come would keep everybody else waiting.

    Source: a stranger's reading; T21.
    """
    world = World(DeliveryLimits(deliveries_max=1, batch_events_max=2))
    await world.courier.start()
    world.receiver.gate.clear()
    await world.task("long", watches=("long",))
    for _ in range(4):
        await world.progress("long")
    assert await world.until_arrived() == "long"
    await world.task("short", watches=("short",))
    world.courier.wake("short")
    await until(lambda: bool(world.courier._ready))
    world.receiver.gate.set()
    await world.until_served("long")
    assert [name for name, _ in world.receiver.got] == ["long", "short", "long", "long"]
    assert world.receiver.seqs("long") == [1, 2, 3, 4, 5, 6]
    await world.courier.stop()


async def test_owners_take_turns_for_a_slot() -> None:
    """Many tasks whose receiver is slow would keep the watches of everybody else waiting (T21)."""
    world = World(DeliveryLimits(deliveries_max=1))
    await world.courier.start()
    world.receiver.gate.clear()
    names = ["m1", "m2", "m3", "a1", "a2"]
    for name in names:
        await world.task(name, watches=(name,), owner="bob" if name.startswith("a") else "mallory")
        world.courier.wake(name)
    await until(lambda: all(world.courier.pending(name) for name in names))
    world.receiver.gate.set()
    await until(lambda: len(world.receiver.got) == len(names))
    assert [name for name, _ in world.receiver.got] == ["m1", "m2", "a1", "m3", "a2"]
    await world.courier.stop()


#: What a store may raise, what it must not all the same, and what is logged of each.
FAILURES = [
    (StoreError("the disk is on fire"), "store_error"),
    (KeyError("row"), "the store raised what it must not"),
]


@pytest.mark.parametrize(("failure", "said"), FAILURES)
async def test_a_store_that_cannot_be_read_is_asked_again(
    world: World, caplog: pytest.LogCaptureFixture, failure: Exception, said: str
) -> None:
    """Until then something may be owed, so the task counts as pending.  Source: R-ENG-16."""
    world.store.failing, world.store.failure = {"watches"}, failure
    await world.task()
    world.courier.wake("t")
    await world.until_armed()
    world.courier.wake("t")  # one alarm is enough
    await until(lambda: world.courier.pending("t") == 1)
    assert (world.clock.alarms, world.courier.pending("t")) == (1, 1)
    assert f"cannot be read: {said}" in caplog.text
    world.store.failing = set()
    world.clock.advance(LIMITS.store_again_s)
    await world.until_served()
    assert world.receiver.seqs() == [1, 2]


@pytest.mark.parametrize(("failure", "said"), FAILURES)
async def test_a_cursor_that_cannot_be_written_means_delivering_again(
    world: World, caplog: pytest.LogCaptureFixture, failure: Exception, said: str
) -> None:
    """At least once: the receiver tells repeats by their numbers.  Source: R-ENG-16."""
    world.store.failing, world.store.failure = {"advance_watch"}, failure
    await world.task()
    world.courier.wake("t")
    await world.until_arrived()
    await until(lambda: f"cannot be served: {said}" in caplog.text)
    await world.until_armed()
    world.store.failing = set()
    world.clock.advance(LIMITS.store_again_s)
    await world.until_served()
    assert world.receiver.seqs() == [1, 2, 1, 2]


async def test_a_stop_forgets_a_store_that_could_not_be_read(world: World) -> None:
    """No alarm is left armed by a closed courier."""
    world.store.failing = {"watches"}
    await world.task()
    world.courier.wake("t")
    await world.until_armed()
    world.courier.wake("t")  # a look is on its way when it closes
    await world.courier.stop()
    assert world.clock.alarms == 0
    assert world.courier.pending("t") == 0


class Tidy:
    """A deliverer that takes some time to let go of what it holds."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.let_go = False

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """Never done."""
        assert view.record.task_id == watch.task_id
        assert events
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            self.let_go = True


async def test_a_delivery_that_is_cut_off_by_a_stop_has_ended_after_it() -> None:
    """Whoever stops closes what deliverers use.  Source: R-ENG-16."""
    world, tidy = World(), Tidy()
    world.courier = Courier(
        world.store, world.clock, {"hook": tidy}, on_served=world.served.put_nowait
    )
    await world.courier.start()
    await world.task()
    world.courier.wake("t")
    async with asyncio.timeout(60):
        await tidy.begun.wait()
        stop = asyncio.ensure_future(world.courier.stop())
        await until(lambda: world.clock.alarms > 1)
        world.clock.advance(LIMITS.stop_s)
        await stop
    assert tidy.let_go
    assert world.clock.alarms == 0


def test_a_new_watch_does_not_show_its_config() -> None:
    """It may hold a bearer token.  Source: INVARIANTS I38."""
    assert "canary" not in repr(NewWatch("w", "hook", {"token": "canary"}))


@pytest.mark.parametrize("call", ["get", "events"])
async def test_a_task_that_is_purged_is_owed_nothing(world: World, call: str) -> None:
    """A line that waits for its next attempt ends when there is nothing to deliver any more."""
    world.receiver.script = [DeliveryFailed("busy")]
    await world.task()
    world.courier.wake("t")
    await world.until_backing_off()
    world.store.purged_at.add(call)
    world.clock.advance(LIMITS.retry.delay_s(1))
    await world.until_served()
    assert len(world.receiver.got) == 1


@pytest.mark.parametrize("call", ["get", "events"])
async def test_what_cannot_be_read_holds_up_no_start_where_others_serve_too(
    world: World, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is passed by, and said.  Source: I37."""
    await world.task()
    world.store.corrupt.add(call)
    world.courier._overdue = None  # As at the first look.
    world.clock.advance(10.0)
    assert await world.courier.take_up(quiet_s=1.0) == {"t"}
    assert "what is owed for task t cannot be read: store_corrupt" in caplog.text
    world.store.corrupt.clear()


@pytest.mark.parametrize("call", ["get", "events"])
async def test_what_cannot_be_read_is_not_asked_for_every_few_seconds(
    world: World, call: str
) -> None:
    """It stays owed, so that its task is not finalized; a person has to look.  Decision 0008."""
    await world.task()
    world.store.corrupt.add(call)
    world.courier.wake("t")
    await world.until_armed()
    for _ in range(10):
        world.clock.advance(LIMITS.store_again_s)
        await asyncio.sleep(0)
    assert world.courier.pending("t") == 1
    assert world.receiver.got == []
    world.store.corrupt.clear()
    world.clock.advance(LIMITS.retry_after_max_s)
    await world.until_served()
    assert world.receiver.seqs() == [1, 2]
