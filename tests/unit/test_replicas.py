"""Two engines on one store: any of them serves any request, and each turn runs in one of them.

Covers R-REPL-01, R-REPL-02, R-REPL-03, R-REPL-04, R-REPL-05, R-REPL-06, R-REPL-07, R-REPL-08,
I17, I23, I24, I32, T27.
"""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from interlock import (
    Answer,
    Approval,
    Engine,
    Event,
    Limits,
    NewWatch,
    Phase,
    Retry,
    TaskContext,
    TaskView,
    Trigger,
    Watch,
)
from interlock._cell import Cell
from interlock._record import Queued
from interlock._replica import DEADLINES_S, DUE_S, LOOK_S, TIDY_S
from interlock._runtime import LEFT_S
from interlock.errors import Refused, Retryable, UnknownTask
from interlock.testing import ManualClock
from interlock.testing._shared_memory import SharedMemory
from replicas import OWNER, Pair, asks, echo, pair
from support import WAIT_MAX_S, pause, soon, until


async def test_a_task_is_run_once_by_whoever_takes_it_up() -> None:
    """The claim is the start; both replicas see the end."""
    async with pair(echo) as both:
        handles = [await both.one.submit(f"{n}", owner=OWNER) for n in range(6)]
        for n, handle in enumerate(handles):
            assert await handle.result() == f"done {n}"
            seen = await both.two.over(handle.task_id, owner=OWNER)
            assert seen.record.shown is Phase.COMPLETED
            assert (await both.moves(handle))[:3] == ["submit", "start", "complete"]
        assert {name for name, _ in both.memory.handed} == {"one", "two"}


async def test_an_answer_to_the_other_replica_goes_on() -> None:
    """While the agent is still there, and after it was parked."""
    for parked in (False, True):
        async with pair(asks) as both:
            handle = await both.one.submit("x", owner=OWNER)
            await both.held(handle)
            other = both.other(handle)
            await both.one.rest(handle.task_id, owner=OWNER)
            if parked:
                await both.elapse(6.0)
                assert both.memory.holder(handle.task_id) is None
            record = await other.record(handle.task_id, owner=OWNER)
            answer = Answer(ask=record.asks[0].key, value="Oslo")
            await other.answer(handle.task_id, answer, owner=OWNER)
            assert await handle.result() == "Oslo"
            moves = await both.moves(handle)
            assert moves.count("claim") == (1 if parked else 0)
            assert "recover" not in moves


async def test_a_second_answer_is_refused_whichever_replica_gets_it() -> None:
    """The first counts."""
    async with pair(asks) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await both.one.rest(handle.task_id, owner=OWNER)
        record = await both.two.record(handle.task_id, owner=OWNER)
        answers = [
            asyncio.ensure_future(
                engine.answer(
                    handle.task_id, Answer(ask=record.asks[0].key, value=city), owner=OWNER
                )
            )
            for engine, city in ((both.one, "Oslo"), (both.two, "Rome"))
        ]
        given = await asyncio.gather(*answers, return_exceptions=True)
        assert sum(isinstance(answer, Refused) for answer in given) == 1
        assert await handle.result() in {"Oslo", "Rome"}


class Steps:
    """An agent of one long tool call, and where it is."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.stopped: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, task: TaskContext) -> str:
        """Call, and say what came of it."""
        return await task.call(self.work, task.input.text)

    async def work(self, what: str) -> str:
        """Take as long as the test wants."""
        self.began.append(what)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.append(what)
            raise
        return f"{what} is done"


@pytest.mark.parametrize("hints", [True, False])
async def test_a_cancel_reaches_the_replica_that_runs_the_turn(hints: bool) -> None:  # noqa: FBT001
    """By a hint at once, and without one with the next look."""
    steps = Steps()
    async with pair(steps) as both:
        both.memory.drop_hints = not hints
        handle = await both.one.submit("x", owner=OWNER)
        await both.held(handle)
        await until(lambda: bool(steps.began))
        await both.other(handle).cancel(handle.task_id, owner=OWNER)
        if not hints:
            await both.elapse(2 * LOOK_S)
        await until(lambda: bool(steps.stopped))
        view = await both.one.over(handle.task_id, owner=OWNER)
        assert view.record.shown is Phase.CANCELLED
        assert not view.record.details.abandoned  # type: ignore[union-attr]


async def test_a_cancel_of_a_parked_task_needs_no_turn() -> None:
    """Nobody has it: whoever is asked says that it has stopped."""
    async with pair(asks) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await both.one.rest(handle.task_id, owner=OWNER)
        await both.elapse(6.0)
        await both.two.cancel(handle.task_id, owner=OWNER)
        await both.two.over(handle.task_id, owner=OWNER)
        assert "abandon" not in await both.moves(handle)


async def test_the_turn_of_a_replica_that_died_is_taken_over() -> None:
    """With a new epoch; what was begun and not ended is in doubt, and asked about (I40)."""
    steps = Steps()
    async with pair(steps) as both:
        handle = await both.one.submit("x", owner=OWNER)
        dead = await both.held(handle)
        other = both.other(handle)
        await until(lambda: bool(steps.began))
        both.memory.kill(dead)
        await both.elapse(both.memory.dead_after_s + 1)
        view = await other.rest(handle.task_id, owner=OWNER)
        assert view.record.phase is Phase.WAITING_INPUT or view.record.phase is Phase.WAITING_AUTH
        moves = await both.moves(handle)
        assert moves[:4] == ["submit", "start", "call", "recover"]
        assert steps.began == ["x"]
        steps.go.set()


async def test_a_replica_that_was_taken_for_dead_does_nothing_more() -> None:
    """It wakes up, and neither writes nor calls: the claim of the other is in its way (I32)."""
    calls: list[int] = []
    gate = asyncio.Event()

    async def two_calls(task: TaskContext) -> str:
        def first() -> int:
            calls.append(1)
            return 1

        async def second() -> int:
            calls.append(2)
            return 2

        await task.call(first)
        if task.input.text == "x" and not gate.is_set():
            await gate.wait()
        await task.call(second)
        return "done"

    async with pair(two_calls) as both:
        handle = await both.one.submit("x", owner=OWNER)
        zombie = await both.held(handle)
        await until(lambda: calls == [1])
        both.memory.silence(zombie)
        both.memory.drop_hints = True
        epoch = (await both.one.record(handle.task_id, owner=OWNER)).epoch
        await both.elapse(both.memory.dead_after_s + 1)
        assert both.holder(handle) != zombie
        assert calls == [1]
        both.memory.wake(zombie)
        gate.set()
        await both.elapse(2 * LOOK_S)
        await soon(both.one.over(handle.task_id, owner=OWNER))
        log = await both.log(handle)
        taken = next(e.seq for e in log if e.trigger is Trigger.RECOVER)
        assert all(event.epoch > epoch for event in log if event.seq >= taken)
        assert calls == [1, 2]


async def test_a_drain_hands_its_turns_over() -> None:
    """The other goes on from the log, and nothing is counted as a crash."""
    seen: list[str] = []
    gate = asyncio.Event()

    async def agent(task: TaskContext) -> str:
        for step in ("a", "b"):
            await task.call(seen.append, step)
            await asyncio.sleep(0)
            if step == "a" and not gate.is_set():
                await task.progress("between")
                await gate.wait()
        return "done"

    async with pair(agent) as both:
        handle = await both.one.submit("x", owner=OWNER)
        leaving = await both.held(handle)
        await until(lambda: seen == ["a"])
        engine = both.one if leaving == "one" else both.two
        drain = asyncio.ensure_future(engine.drain())
        await pause()
        gate.set()
        other = both.two if leaving == "one" else both.one
        view = await soon(other.over(handle.task_id, owner=OWNER))
        await soon(drain)
        assert view.record.shown is Phase.COMPLETED
        assert seen == ["a", "b"]
        moves = await both.moves(handle)
        assert ("claim" in moves, "recover" in moves) == (True, False)


async def test_a_subscriber_at_the_other_replica_sees_every_event_in_order() -> None:
    """Also while hints are lost (I24)."""
    go = asyncio.Event()

    async def talks(task: TaskContext) -> str:
        for n in range(20):
            await task.progress(f"{n}")
            if n == 10:
                await go.wait()
        return "done"

    async with pair(talks) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await both.held(handle)
        both.memory.drop_hints = True
        seen: list[Event] = []

        async def read() -> None:
            async for event in both.other(handle).subscribe(handle.task_id, owner=OWNER):
                seen.append(event)  # noqa: PERF401  each as it comes

        reading = asyncio.ensure_future(read())
        await both.elapse(2.0)
        assert len(seen) >= 10
        go.set()
        await both.elapse(2.0)
        await soon(reading)
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
        assert seen[-1].dest is Phase.COMPLETED


async def test_an_approval_at_the_other_replica_runs_what_was_approved() -> None:
    """And nothing else."""
    booked: list[str] = []

    async def books(task: TaskContext) -> str:
        approved = await task.authorize("book", {"city": "Oslo"})
        await task.call(booked.append, approved["city"])
        return "booked"

    async with pair(books) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await both.held(handle)
        other = both.other(handle)
        await other.rest(handle.task_id, owner=OWNER)
        ask = (await other.record(handle.task_id, owner=OWNER)).asks[0]
        assert ask.digest is not None
        await other.decide(
            handle.task_id,
            Approval(decision="approve", ask=ask.key, digest=ask.digest),
            owner=OWNER,
        )
        assert await handle.result() == "booked"
        assert booked == ["Oslo"]


async def test_a_deadline_is_kept_when_the_replica_that_set_it_is_gone() -> None:
    """The store knows it; the others look every so often."""
    async with pair(asks, limits=Limits(ask_s=30.0)) as both:
        handle = await both.one.submit("x", owner=OWNER)
        dead = await both.held(handle)
        other = both.other(handle)
        await other.rest(handle.task_id, owner=OWNER)
        both.memory.kill(dead)
        await both.elapse(30.0 + 2 * DEADLINES_S)
        assert (await soon(other.over(handle.task_id, owner=OWNER))).record.phase is not None


async def test_a_retry_is_taken_up_by_anybody_after_its_back_off() -> None:
    """And not before."""
    tries: list[float] = []
    clock: Callable[[], float]

    async def fails_once(_task: TaskContext) -> str:
        tries.append(clock())
        if len(tries) == 1:
            raise Retryable("not yet")
        return "done"

    retry = Retry(attempts_max=3, backoff_s=20.0, backoff_max_s=20.0)
    async with pair(fails_once, limits=Limits(retry=retry)) as both:
        clock = both.clock.now
        handle = await both.one.submit("x", owner=OWNER)
        await until(lambda: len(tries) == 1)
        await both.elapse(30.0)
        assert await soon(handle.result()) == "done"
        assert len(tries) == 2
        start = next(e.at for e in await both.log(handle) if e.trigger is Trigger.RETRY)
        again = [e for e in await both.log(handle) if e.trigger is Trigger.START][1]
        assert again.at - start >= 10.0


async def test_a_back_off_is_looked_at_again_meanwhile() -> None:
    """The clock by which it is not over may be put right, and that rings no alarm.

    Source: R-REPL-08.
    """

    async def fails(_task: TaskContext) -> str:
        raise Retryable("not yet")

    retry = Retry(attempts_max=3, backoff_s=3_600.0, backoff_max_s=3_600.0)
    async with pair(fails, limits=Limits(retry=retry)) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await both.elapse(1.0)
        cell, runtime = Cell(await both.stored(handle)), both.one._runtime
        assert isinstance(cell.record.details, Queued)
        assert runtime is not None
        assert runtime.replica is not None
        waiting = asyncio.ensure_future(runtime.replica._due(cell))
        await pause()
        assert not waiting.done()
        both.clock.advance(DUE_S)
        await soon(waiting)


async def test_a_task_that_the_other_purged_is_gone() -> None:
    """Also for whoever has just looked at it."""
    async with pair(echo) as both:
        handle = await both.one.submit("x", owner=OWNER)
        await handle.result()
        await both.elapse(1.0)
        assert await both.two.purge(older_than_s=0.0) == [handle.task_id]
        with pytest.raises(UnknownTask):
            await both.one.record(handle.task_id, owner=OWNER)
        with pytest.raises(UnknownTask):
            await both.one.cancel(handle.task_id, owner=OWNER)


class Keeps:
    """A deliverer that remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """Take them all."""
        assert view.record.task_id == watch.task_id
        self.seen += [event.seq for event in events]


async def test_a_webhook_is_served_by_a_replica_that_can() -> None:
    """Whoever has no deliverer for the channel leaves it to others, and gives nothing up."""
    clock = ManualClock()
    memory = SharedMemory(clock)
    keeps = Keeps()
    one = Engine(echo, store=memory.store("one"), deliverers={"hook": keeps})
    two = Engine(echo, store=memory.store("two"))
    both = Pair(clock, memory, one, two)
    async with asyncio.timeout(WAIT_MAX_S), one, two:
        hook = NewWatch("w", "hook", {})
        handles = [await two.submit(f"{n}", owner=OWNER, watches=[hook]) for n in range(4)]
        await both.elapse(LEFT_S + 3 * TIDY_S)
        assert {name for name, _ in memory.handed} == {"one", "two"}
        for handle in handles:
            (watch,) = await memory.tasks.watches(handle.task_id)
            assert (watch.given_up, watch.cursor >= 3) == (None, True)
        assert keeps.seen.count(3) == len(handles)


async def test_a_webhook_is_served_by_a_replica_that_can_while_its_task_moves_on() -> None:
    """Whoever has the turn cannot, and what is owed does not wait for it to come to rest."""
    words: asyncio.Queue[str] = asyncio.Queue()

    async def talks(task: TaskContext) -> str:
        while word := await words.get():
            await task.progress(word)
        return "done"

    clock = ManualClock()
    memory = SharedMemory(clock)
    keeps = Keeps()
    one = Engine(talks, store=memory.store("one"), deliverers={"hook": keeps}, takes_turns=False)
    two = Engine(talks, store=memory.store("two"))
    both = Pair(clock, memory, one, two)
    async with asyncio.timeout(WAIT_MAX_S), one, two:
        handle = await two.submit("x", owner=OWNER, watches=[NewWatch("w", "hook", {})])
        for _ in range(8):
            words.put_nowait("still there")
            await both.elapse((LEFT_S + 2 * TIDY_S) / 8)
        assert (await both.stored(handle)).phase is Phase.RUNNING
        assert 3 in keeps.seen
        words.put_nowait("")
        await handle.result()
