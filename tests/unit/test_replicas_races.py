"""What replicas that share a store must not do to each other, at the worst moment.

Each of these was suspected by a review, and most were wrong once.  Covers R-REPL-01, R-REPL-10
to R-REPL-20, R-REPL-22 to R-REPL-24, I17, I23, I24, I32.  It is long because each moment has to
be made.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from interlock import (
    Answer,
    Engine,
    Event,
    Limits,
    NewWatch,
    OpenAsk,
    Phase,
    Retry,
    TaskContext,
    TaskHandle,
    TaskQuery,
    TaskRecord,
    TaskView,
    Trigger,
    Watch,
)
from interlock._clock import rung
from interlock._outbox import DeliveryFailed, DeliveryLimits
from interlock._replica import DEADLINES_S, LOOK_S, STRANGER_MAX_S, STRANGER_S, TIDY_S
from interlock._store import Commit, MemoryStore, TurnWanted
from interlock.errors import LimitReached, Retryable, StoreCorrupt, StoreError, UnknownTask
from interlock.testing import ManualClock
from interlock.testing._shared_memory import SharedMemory
from replicas import OWNER, HookedStore, Pair, asks, echo, pair
from support import WAIT_MAX_S, Gate, drained, pause, soon, until

#: Nobody waits for a slot, or parks, unless a test is about that.
STAYS: Final = Limits(park_after_s=None)


class Waits:
    """An agent that ends when the test says so."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, _task: TaskContext) -> str:
        """Wait for it."""
        await self.go.wait()
        return "done"


async def asked(engine: Engine, handle: TaskHandle) -> OpenAsk:
    """What it asks, once it does."""
    return (await engine.rest(handle.task_id, owner=OWNER)).record.asks[0]


async def told(engine: Engine, handle: TaskHandle, ask: OpenAsk) -> TaskRecord:
    """Answer that."""
    return await soon(engine.answer(handle.task_id, Answer(ask=ask.key, value="Oslo"), owner=OWNER))


# --- a turn is not lost ---------------------------------------------------------------


async def test_a_task_that_is_just_being_taken_up_is_passed_on_by_a_drain() -> None:
    """It is still submitted, and its turn was handed out here.  Source: R-REPL-10."""
    async with pair(echo, one_first=True) as both:
        gate = Gate()

        async def reads(_task_id: str) -> None:
            await gate.passed()

        both.store("one").reads = reads
        handle = await both.two.submit("x", owner=OWNER)
        await gate.reached()
        both.store("one").reads = None
        drain = asyncio.ensure_future(drained(both.one, both.clock))
        await pause()
        gate.open()
        await drain
        await both.elapse(5.0)
        assert (await both.stored(handle)).phase is Phase.FINALIZED
        assert both.memory.wanted == []


async def test_an_answer_that_is_being_written_when_the_engine_closes_is_acted_on() -> None:
    """The turn goes to another with it.  Source: R-REPL-10."""
    limits = Limits(drain_s=1.0, grace_s=1.0, park_after_s=None)
    async with pair(asks, limits=limits, one_first=True) as both:
        handle = await both.one.submit("x", owner=OWNER)
        ask = await asked(both.one, handle)
        gate = Gate()

        async def before(_commit: Commit) -> None:
            await gate.passed()

        both.store("one").before = before
        answer = asyncio.ensure_future(told(both.one, handle, ask))
        await gate.reached()
        drain = asyncio.ensure_future(both.one.drain())
        await both.elapse(20.0)
        both.store("one").before = None
        gate.open()
        await soon(answer)
        await both.elapse(20.0)
        await soon(drain)
        assert await handle_at(both.two, handle).result() == "Oslo"


def handle_at(engine: Engine, handle: TaskHandle) -> TaskHandle:
    """The same task, at that engine."""
    return TaskHandle(engine, handle.record, created=False)


async def test_a_turn_left_over_from_an_attempt_before_keeps_no_slot() -> None:
    """The next attempt has a turn of its own, after its back-off.  Source: R-REPL-11."""
    tries: list[int] = []

    async def fails_once(_task: TaskContext) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise Retryable("not yet")
        return "done"

    retry = Retry(attempts_max=3, backoff_s=60.0, backoff_max_s=60.0)
    async with pair(fails_once, limits=Limits(retry=retry), one_alone=True) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await until(lambda: tries == [1])
        await pause()
        both.memory.want(TurnWanted(handle.task_id, 0))
        await pause()
        assert both.memory.holder(handle.task_id) is None
        assert len(both.memory.wanted) == 1
        await both.elapse(61.0)
        assert await handle.result() == "done"
        assert tries == [1, 1]


@pytest.mark.parametrize("rounds", range(4))
async def test_an_answer_near_a_claim_that_is_refused_is_acted_on(rounds: int) -> None:
    """A turn finds nothing to do, and while it says so there is.  Source: R-REPL-12."""
    async with pair(asks, one_alone=True) as both:
        handle = await both.one.submit("x", owner=OWNER)
        ask = await asked(both.one, handle)
        await both.elapse(7.0)
        assert both.memory.holder(handle.task_id) is None

        async def before(_commit: Commit) -> None:
            await pause(3)

        both.store("one").before = before
        both.memory.want(TurnWanted(handle.task_id, (await both.stored(handle)).epoch))
        await pause(rounds)
        await told(both.one, handle, ask)
        await both.elapse(5.0)
        assert await handle.result() == "Oslo"
        assert "claim" in await both.moves(handle)


async def test_an_answer_in_one_commit_with_a_claim_that_is_refused_is_acted_on() -> None:
    """As above, with nothing between the two; and nobody has died.  Source: R-REPL-12."""
    async with pair(asks, one_alone=True) as both:
        handle = await both.one.submit("x", owner=OWNER)
        ask = await asked(both.one, handle)
        await both.elapse(7.0)
        epoch = (await both.stored(handle)).epoch
        writer = both.one._opened().writer
        with writer.keeping(await writer.cell(handle.task_id)):
            answer = asyncio.ensure_future(told(both.one, handle, ask))
            both.memory.want(TurnWanted(handle.task_id, epoch))
            await answer
        await both.elapse(5.0)
        assert await handle.result() == "Oslo"
        moves = await both.moves(handle)
        assert ("claim" in moves, "recover" in moves) == (True, False)


async def test_an_answer_at_one_that_was_taken_for_dead_is_acted_on() -> None:
    """It believes that it has the turn, which another has dealt with.  Source: R-REPL-12."""
    async with pair(asks, limits=STAYS, one_first=True) as both:
        handle = await both.one.submit("x", owner=OWNER)
        ask = await asked(both.one, handle)
        both.memory.silence("one")
        await both.elapse(both.memory.dead_after_s + 1)
        assert both.memory.wanted == []
        both.memory.wake("one")

        async def dies(_commit: Commit) -> None:
            both.memory.kill("one")

        both.store("one").after = dies
        await told(both.one, handle, ask)
        await both.elapse(2 * both.memory.dead_after_s)
        assert await handle_at(both.two, handle).result() == "Oslo"


async def test_a_turn_that_is_handed_out_twice_to_one_replica_is_run_once() -> None:
    """It was taken for dead, woke, and got its own turn again.  Source: R-REPL-01."""
    agent = Waits()
    async with pair(agent, one_alone=True) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await both.held(handle)
        both.memory.silence("one")
        await both.elapse(both.memory.dead_after_s + 1)
        both.memory.wake("one")
        await pause()
        assert len(both.memory.handed) == 2
        agent.go.set()
        assert await handle.result() == "done"
        await both.elapse(3.0)
        assert both.memory.wanted == []
        assert (await both.moves(handle))[:3] == ["submit", "start", "complete"]


# --- what is gone, is gone ------------------------------------------------------------


async def test_who_waits_for_a_task_that_is_forgotten_elsewhere_is_told() -> None:
    """And a subscription to it ends.  Source: R-REPL-13."""
    agent = Waits()
    async with pair(agent, one_first=True) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await both.held(handle)
        both.memory.drop_hints = True
        over = asyncio.ensure_future(both.two.over(handle.task_id, owner=OWNER))
        events = asyncio.ensure_future(seen(both.two, handle))
        await pause()
        agent.go.set()
        await handle.result()
        await pause()
        await both.one.forget(handle.task_id, owner=OWNER)
        await both.elapse(2 * LOOK_S)
        with pytest.raises(UnknownTask):
            await soon(over)
        assert [event.seq for event in await soon(events)] == [1, 2]


async def seen(engine: Engine, handle: TaskHandle) -> list[Event]:
    """What a subscriber there sees until it ends."""
    return [event async for event in engine.subscribe(handle.task_id, owner=OWNER)]


async def test_a_task_that_is_purged_between_two_reads_of_a_request_is_unknown() -> None:
    """It is read twice, and no more.  Source: R-REPL-13."""
    agent = Waits()
    async with pair(agent, one_first=True) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await both.held(handle)
        both.memory.drop_hints = True
        over = asyncio.ensure_future(both.two.over(handle.task_id, owner=OWNER))
        await pause()
        agent.go.set()
        await handle.result()
        await pause()
        reads: list[str] = []

        async def forgets(task_id: str) -> None:
            await asyncio.sleep(0)
            reads.append(task_id)
            if len(reads) == 2:
                await both.memory.tasks.forget(task_id)

        both.store("two").reads = forgets
        with pytest.raises(UnknownTask):
            await soon(both.two.cancel(handle.task_id, owner=OWNER))
        with pytest.raises(UnknownTask):
            await soon(over)
        assert len(reads) < 10


async def test_a_claim_of_a_task_that_is_purged_meanwhile_is_given_up() -> None:
    """It ended elsewhere while this replica stood still: no slot is kept.  Source: R-REPL-13."""
    claims: list[str] = []
    async with pair(echo, one_alone=True) as both:

        async def before(commit: Commit) -> None:
            if commit.events[-1].trigger is Trigger.START:
                claims.append(commit.record.task_id)
                tasks = both.memory.tasks
                assert isinstance(tasks, MemoryStore)
                tasks._tasks.pop(commit.record.task_id, None)

        both.store("one").before = before
        handle = await both.one.submit("x", owner=OWNER)
        await both.elapse(10.0)
        assert claims == [handle.task_id]
        assert both.memory.wanted == []


# --- ends, bounds, deadlines ----------------------------------------------------------


class Fails:
    """A deliverer that is told to come back much later."""

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """Take none."""
        assert view.record.task_id == watch.task_id
        raise DeliveryFailed(f"503 for {len(events)} events", retry_after_s=300.0)


async def test_a_task_is_not_finalized_by_another_while_a_delivery_is_owed() -> None:
    """Nor purged: its watch would go with it.  Source: R-REPL-14."""
    async with pair(echo, deliverers={"hook": Fails()}, one_first=True) as both:
        hook = NewWatch("w", "hook", {})
        handle = await both.one.submit("x", owner=OWNER, watches=[hook])
        await handle.result()
        await both.elapse(4 * TIDY_S)
        assert (await both.stored(handle)).phase is Phase.COMPLETED
        assert await both.two.purge(older_than_s=0.0) == []


async def test_what_others_deliver_yet_is_not_read_again_and_again() -> None:
    """By nobody: there may be many tasks whose receiver is away.  Source: R-REPL-14."""
    read: list[str] = []

    async def reads(task_id: str) -> None:
        read.append(task_id)

    async with pair(echo, deliverers={"hook": Fails()}) as both:
        hook = NewWatch("w", "hook", {})
        for n in range(6):
            await (await both.one.submit(f"{n}", owner=OWNER, watches=[hook])).result()
        await both.elapse(1.0)
        both.store("one").reads = both.store("two").reads = reads
        await both.elapse(4 * TIDY_S)
        assert read == []


async def test_a_drain_does_not_wait_until_everything_is_tidied_up() -> None:
    """There may be much of it, and others do it as well.  Source: R-REPL-06."""
    gate = Gate()
    async with pair(echo) as both:
        both.store("two").tidies = gate.passed
        await both.elapse(TIDY_S + LOOK_S)
        await gate.reached()
        await drained(both.two, both.clock)


async def test_the_bound_on_open_tasks_of_an_owner_holds_for_many_at_once() -> None:
    """While they are being written the store counts none of them.  Source: R-REPL-15."""
    agent = Waits()
    limits = Limits(open_tasks_per_owner_max=3)
    async with pair(agent, limits=limits, one_alone=True) as both:

        async def before(_commit: Commit) -> None:
            await pause(5)

        both.store("one").before = before
        asked_for = [both.one.submit(f"{n}", owner=OWNER) for n in range(40)]
        made = await asyncio.gather(*asked_for, return_exceptions=True)
        assert sum(isinstance(each, TaskHandle) for each in made) == 3
        assert sum(isinstance(each, LimitReached) for each in made) == 37
        agent.go.set()


async def test_a_deadline_that_was_written_when_it_had_passed_is_kept() -> None:
    """By one that died at once: the others looked for it before.  Source: R-REPL-16."""
    gate = Gate()
    async with pair(asks, limits=Limits(ask_s=2.0), one_first=True) as both:

        async def before(commit: Commit) -> None:
            if commit.events[-1].trigger is Trigger.ASK:
                await gate.passed()

        async def dies(commit: Commit) -> None:
            if commit.events[-1].trigger is Trigger.ASK:
                both.memory.kill("one")

        both.store("one").before, both.store("one").after = before, dies
        handle = await both.two.submit("x", owner=OWNER)
        await gate.reached()
        await both.elapse(2.0 + 2 * DEADLINES_S)
        gate.open()
        await pause()
        assert (await both.stored(handle)).phase is Phase.WAITING_INPUT
        await both.elapse(2 * TIDY_S)
        assert (await both.stored(handle)).phase is Phase.FINALIZED


# --- what one replica knows -----------------------------------------------------------


async def test_a_turn_does_not_go_back_when_its_submission_is_heard_of_late() -> None:
    """It began here while the answer to that commit was on its way.  Source: R-REPL-17."""
    gate = Gate()
    async with pair(asks, limits=STAYS, one_alone=True) as both:

        async def after(commit: Commit) -> None:
            if commit.events[0].trigger is Trigger.SUBMIT:
                await gate.passed()

        both.store("one").after = after
        submission = asyncio.ensure_future(both.one.submit("x", owner=OWNER))
        await gate.reached()
        await both.elapse(1.0)
        (record,) = (await both.memory.tasks.page(TaskQuery())).records
        assert record.phase is Phase.WAITING_INPUT
        gate.open()
        handle = await soon(submission)
        await pause()
        cell = both.one._opened().writer.at_hand(handle.task_id)
        assert cell is not None
        assert cell.turn is not None
        assert cell.turn.record == cell.record == record


async def test_nothing_is_kept_of_retries_that_were_made_elsewhere() -> None:
    """Whoever set their back-off never sees them end.  Source: R-REPL-18."""
    tries: dict[str, int] = {}

    async def fails_once(task: TaskContext) -> str:
        key = task.input.text
        tries[key] = tries.get(key, 0) + 1
        if tries[key] == 1:
            raise Retryable("not yet")
        return "done"

    retry = Retry(attempts_max=3, backoff_s=2.0, backoff_max_s=2.0)
    async with pair(fails_once, limits=Limits(retry=retry)) as both:
        handles = [await both.one.submit(f"{n}", owner=OWNER) for n in range(9)]
        await both.elapse(5.0 + TIDY_S)
        for handle in handles:
            assert (await both.stored(handle)).phase is Phase.FINALIZED
        assert [dict(engine._opened()._late) for engine in (both.one, both.two)] == [{}, {}]


async def test_a_start_that_fails_says_why() -> None:
    """Also before it has come to the turns.  Source: R-REPL-19."""

    class Away(HookedStore):
        async def behind(self, limit: int = 100) -> list[Watch]:
            raise StoreError(f"the store is away, all {limit} of it")

    engine = Engine(echo, store=Away(SharedMemory(ManualClock()).store("one")))
    with pytest.raises(StoreError, match="is away"):
        await engine.start()


async def test_what_is_settled_is_not_older_than_what_was_seen() -> None:
    """Where others were further than this replica knows.  Source: R-REPL-20."""
    go = asyncio.Event()

    async def talks(task: TaskContext) -> str:
        await task.progress("before")
        await go.wait()
        await task.progress("after")
        await asyncio.Event().wait()
        return "never"

    async with pair(talks, one_first=True) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await until(lambda: both.memory.holder(handle.task_id) is not None)
        await pause()
        both.memory.drop_hints = True
        over = asyncio.ensure_future(both.two.over(handle.task_id, owner=OWNER))
        await pause()
        go.set()
        await pause()
        known = both.two._opened().writer.at_hand(handle.task_id)
        stored = await both.stored(handle)
        assert known is not None
        assert known.record.seq < stored.seq
        settled = await both.two.settled(handle.task_id, owner=OWNER, within_s=0.0)
        assert settled.seq >= stored.seq
        over.cancel()


# --- who cannot -----------------------------------------------------------------------


async def test_a_task_whose_agent_is_not_here_is_left_to_others() -> None:
    """As while an upgrade that adds an agent is rolled out.  Source: R-REPL-22."""
    clock = ManualClock()
    memory = SharedMemory(clock)
    old = Engine({"a": echo}, store=memory.store("old"))
    new = Engine({"a": echo, "b": asks}, store=memory.store("new"))
    both = Pair(clock, memory, old, new)
    async with asyncio.timeout(WAIT_MAX_S), old, new:
        handle = await new.submit("x", owner=OWNER, agent="b")
        await pause()
        assert memory.handed[0][0] == "old"
        await both.elapse(5.0)
        assert (await both.stored(handle)).phase is Phase.WAITING_INPUT
        assert "new" in {name for name, _ in memory.handed}
        await told(old, handle, await asked(new, handle))
        await both.elapse(5.0)
        assert await handle.result() == "Oslo"


async def test_who_passed_a_task_on_long_ago_passes_it_on_again() -> None:
    """Others have run it meanwhile, so no operator is asked.  Source: R-REPL-22."""
    first = "old"
    clock = ManualClock()
    memory = SharedMemory(clock, choose=lambda names: first if first in names else names[0])
    old = Engine({"a": echo}, store=memory.store("old"))
    new = Engine({"a": echo, "b": asks}, store=memory.store("new"))
    both = Pair(clock, memory, old, new)
    async with asyncio.timeout(WAIT_MAX_S), old, new:
        handle = await new.submit("x", owner=OWNER, agent="b")
        await pause()
        first = "new"
        await both.elapse(STRANGER_S + 5.0)
        assert [name for name, _ in memory.handed] == ["old", "new"]
        ask = await asked(new, handle)
        first = "old"
        await told(new, handle, ask)
        await pause()
        first = "new"
        await both.elapse(5.0)
        assert [name for name, _ in memory.handed] == ["old", "new", "old", "new"]
        assert await handle.result() == "Oslo"


@pytest.mark.parametrize("for_long", [False, True])
async def test_a_task_whose_agent_is_at_a_busy_replica_waits_for_it(for_long: bool) -> None:  # noqa: FBT001
    """It merely queues, and that is nothing for an operator, but not for ever.

    Source: R-REPL-22.
    """
    agent = Waits()
    clock = ManualClock()
    memory = SharedMemory(clock)
    limits = Limits(running_turns_max=1, run_s=None)
    old = Engine({"a": echo}, store=memory.store("old"), limits=limits)
    new = Engine({"a": echo, "b": agent}, store=memory.store("new"), limits=limits)
    both = Pair(clock, memory, old, new)
    async with asyncio.timeout(WAIT_MAX_S), old, new:
        first = await new.submit("x", owner=OWNER, agent="b")
        await both.elapse(5.0)
        second = await new.submit("y", owner=OWNER, agent="b")
        await both.elapse(3 * STRANGER_S)
        assert (await both.stored(first)).phase is Phase.RUNNING
        assert (await both.stored(second)).phase is Phase.SUBMITTED
        if for_long:
            clock.advance(STRANGER_MAX_S)
            await both.elapse(5.0)
            assert "no agent 'b'" in (await asked(new, second)).prompt
        agent.go.set()
        await both.elapse(10.0)
        assert await first.result() == "done"
        if not for_long:
            assert await second.result() == "done"


async def test_a_crash_is_counted_though_somebody_without_the_agent_was_asked_first() -> None:
    """Who does not take a turn up leaves it as it was: the next can tell.  Source: R-REPL-22."""
    goes_on: set[str] = set()

    async def agent(_task: TaskContext) -> str:
        await (asyncio.sleep(0) if goes_on else asyncio.Event().wait())
        return "done"

    clock = ManualClock()
    memory = SharedMemory(clock)
    agents = {"a": echo, "b": agent}
    first, third = (Engine(agents, store=memory.store(name)) for name in ("first", "third"))
    stranger = Engine({"a": echo}, store=memory.store("stranger"))
    both = Pair(clock, memory, first, third)
    await first.start()
    handle = await first.submit("x", owner=OWNER, agent="b")
    await both.elapse(5.0)
    assert (await both.stored(handle)).phase is Phase.RUNNING
    await stranger.start()
    memory.kill("first")
    await both.elapse(memory.dead_after_s + 10.0)
    assert memory.handed[-1][0] == "stranger"
    goes_on.add("x")
    await third.start()
    await both.elapse(5.0)
    moves = await both.moves(handle)
    assert ("claim" in moves, "recover" in moves, "complete" in moves) == (False, True, True)
    for engine in (stranger, third, first):
        await drained(engine, clock)


async def test_a_task_whose_agent_nobody_has_comes_to_an_operator() -> None:
    """It is not passed on for ever.  Source: R-REPL-22."""
    clock = ManualClock()
    memory = SharedMemory(clock)
    old = Engine({"a": echo}, store=memory.store("old"))
    new = Engine({"a": echo, "b": asks}, store=memory.store("new"), takes_turns=False)
    both = Pair(clock, memory, old, new)
    async with asyncio.timeout(WAIT_MAX_S), old, new:
        handle = await new.submit("x", owner=OWNER, agent="b")
        await both.elapse(STRANGER_S - 5.0)
        assert (await both.stored(handle)).phase is Phase.SUBMITTED
        await both.elapse(10.0)
        assert "no agent 'b'" in (await asked(new, handle)).prompt


@pytest.mark.parametrize("whole", [True, False])
async def test_a_log_that_cannot_be_read_keeps_no_slot(whole: bool) -> None:  # noqa: FBT001
    """Neither as a whole nor its beginning: nobody can run it, and what can be run is run.

    Source: R-REPL-23.
    """
    bad: set[str] = set()

    class Corrupt(HookedStore):
        async def events(
            self, task_id: str, after: int = 0, limit: int | None = None
        ) -> list[Event]:
            if task_id in bad and (limit is None or not whole):
                raise StoreCorrupt("it cannot be read", task_id=task_id)
            return await super().events(task_id, after, limit)

    clock = ManualClock()
    memory = SharedMemory(clock)
    limits = Limits(running_turns_max=1)
    one = Engine(echo, store=Corrupt(memory.store("one")), limits=limits)
    two = Engine(echo, store=memory.store("two"), takes_turns=False)
    both = Pair(clock, memory, one, two)
    async with asyncio.timeout(WAIT_MAX_S), two:
        first, second = [await two.submit(f"{n}", owner=OWNER) for n in range(2)]
        bad.add(first.task_id)
        async with one:
            await both.elapse(20.0)
            assert memory.holder(first.task_id) is None
            assert memory.wanted == []
            assert await second.result() == "done 1"


class Slow:
    """A deliverer whose receiver takes its time."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.seen: list[tuple[int, ...]] = []

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """Take them, when the test says so."""
        assert view.record.task_id == watch.task_id
        self.seen.append(tuple(event.seq for event in events))
        await self.gate.passed()


async def test_a_slow_delivery_is_made_by_one_replica() -> None:
    """For as long as it may take.  Source: R-REPL-24."""
    slow = Slow()
    async with pair(asks, deliverers={"hook": slow}, one_first=True) as both:
        hook = NewWatch("w", "hook", {})
        handle = await both.one.submit("x", owner=OWNER, watches=[hook])
        await slow.gate.reached()
        await both.elapse(DeliveryLimits().delivery_s - 1.0)
        assert len(slow.seen) == 1
        slow.gate.open()
        await both.elapse(1.0)
        (watch,) = await both.memory.tasks.watches(handle.task_id)
        assert watch.cursor == (await both.stored(handle)).seq
        told_of = [seq for events in slow.seen for seq in events]
        assert told_of == sorted(set(told_of))


async def test_slow_deliveries_of_a_task_that_moves_on_are_made_by_one_replica() -> None:
    """What waits behind them is old, and yet nobody else's, no newcomer's either.  R-REPL-24."""
    words: asyncio.Queue[str] = asyncio.Queue()

    async def talks(task: TaskContext) -> str:
        while word := await words.get():
            await task.progress(word)
        return "done"

    class TakesLong(Slow):
        async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
            assert view.record.task_id == watch.task_id
            self.seen.append(tuple(event.seq for event in events))
            await rung(both.clock, DeliveryLimits().delivery_s - 10.0)[0]

    slow = TakesLong()
    async with pair(talks, deliverers={"hook": slow}, one_alone=True) as both:
        hook = NewWatch("w", "hook", {})
        handle = await both.one.submit("x", owner=OWNER, watches=[hook])
        store = both.memory.store("newcomer")
        newcomer = Engine(talks, store=store, deliverers={"hook": slow}, takes_turns=False)
        for _ in range(14):
            words.put_nowait("still there")
            await both.elapse(20.0)
        await newcomer.start()
        for _ in range(10):
            words.put_nowait("still there")
            await both.elapse(20.0)
        told_of = [seq for events in slow.seen for seq in events]
        assert len(told_of) > len(slow.seen) > 2
        assert told_of == sorted(set(told_of))
        words.put_nowait("")
        await handle.result()
        await drained(newcomer, both.clock)
