"""The bug zoo: planted bugs are found, shrunk to a short trace, and replayed by their tape.

R-FUZZ-07 and R-FUZZ-25 to R-FUZZ-28.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fuzz_examples import LIMITS, SCRIPTS, agent, plain
from interlock import (
    LIFECYCLE,
    WAITING,
    Engine,
    Event,
    JsonObject,
    Lifecycle,
    Move,
    Phase,
    Policies,
    Policy,
    Signal,
    SyncTaskContext,
    TaskContext,
    TaskRecord,
    Toolbox,
    Trigger,
    _threaded,
)
from interlock import _changes as change
from interlock import _guards as guards
from interlock._alarms import Alarms
from interlock._cell import Cell, Post, always
from interlock._changes import Draft
from interlock._gate import Gate
from interlock._pin import Pin
from interlock._record import Ask
from interlock._retention import Sweeper
from interlock._runtime import Runtime
from interlock._store import Commit
from interlock._thread import Workers, on_a_thread
from interlock._transitions import Row
from interlock._turn import Turn
from interlock._writer import Writer
from interlock.errors import Refused
from interlock.policy import When
from interlock.testing.fuzz._faults import Disk
from interlock.testing.fuzz._moves import OWNERS
from interlock.testing.fuzz._report import Failure
from interlock.testing.fuzz._run import fuzz, replay
from interlock.testing.fuzz._sim import LINES_ARE_SEEN
from interlock.testing.fuzz._target import Target
from interlock.tools import Tool

#: Lines of a trace at most.
STEPS_MAX = 15
#: Runs in which every bug is found.
RUNS = 1_500


def found(
    target: Target,
    kinds: set[str],
    *,
    invariants: Sequence[Callable[..., object]] = (),
    seed: int = 0,
) -> Failure:
    """The one failure that fuzzing finds, which its tape makes again.

    It finds it from any `seed`; from some it takes half a minute to find it, or to shorten it.
    """
    report = fuzz(target, runs=RUNS, invariants=invariants, seed=seed)
    assert report.failures, f"nothing was found in {report.runs} runs"
    failure = report.failures[0]
    assert failure.kind in kinds, failure
    assert len(failure.steps) <= STEPS_MAX, failure.steps
    again = replay(target, failure.seed, failure.tape, invariants=invariants)
    assert again is not None
    assert (again.kind, again.steps) == (failure.kind, failure.steps)
    whole = replay(target, failure.seed, invariants=invariants)
    assert whole is not None
    assert whole.kind == failure.kind
    return failure


def engine(lifecycle: Lifecycle = LIFECYCLE) -> Engine:
    """The example agent, under that lifecycle."""
    return Engine(agent, store="memory:", limits=LIMITS, lifecycle=lifecycle)


def target(lifecycle: Lifecycle = LIFECYCLE) -> Target:
    """What is fuzzed."""
    return Target.of(lambda: engine(lifecycle), inputs=SCRIPTS)


def amended(amend: Callable[[Row], Row]) -> Lifecycle:
    """The shipped lifecycle with a bug in its rows."""
    return Lifecycle([amend(row) for row in LIFECYCLE.table])


def without(*gone: guards.Guard) -> Lifecycle:
    """The shipped lifecycle in which nobody looks at some conditions."""
    return amended(
        lambda row: replace(row, requires=tuple(g for g in row.requires if g not in gone))
    )


def test_the_zoo_is_empty_without_its_bugs() -> None:
    """What finds bugs below finds none where there is none.  Source: R-FUZZ-25."""
    assert fuzz(target(), runs=64).failures == ()


def test_a_lost_wake_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several answers one wakes its branch, the others none (I29)."""

    def only_the_first(turn: Turn) -> None:
        for key, wait in list(turn._waits.items())[:1]:
            reply = turn.memory.replies.get(key)
            if reply is not None and not wait.done():
                wait.set_result(reply)

    monkeypatch.setattr(Turn, "resume", only_the_first)
    found(target(), {"I29"})


def test_a_timer_that_is_stale_is_found() -> None:
    """An ask expires although its time has not come (I10)."""
    found(target(without(guards.ask_is_due)), {"I10"}, seed=256)


def test_an_answer_that_counts_twice_is_found() -> None:
    """An ask stays open although it was answered (I07)."""

    def still_open(draft: Draft, signal: Signal) -> None:
        details, closed = draft.details, draft.closed
        change.answered(draft, signal)
        draft.details, draft.closed = details, closed

    def amend(row: Row) -> Row:
        stays = row.trigger is Trigger.PROVIDE_INPUT and row.dest in WAITING
        return replace(row, change=still_open) if stays else row

    found(target(amended(amend)), {"I07"})


def test_an_approval_of_other_arguments_is_found() -> None:
    """Nobody looks whether arguments may be edited (I14)."""
    found(target(without(guards.edit_is_allowed)), {"I14"})


def test_an_approval_of_another_call_is_found() -> None:
    """Nobody looks at the digest of a decision (I13)."""
    found(target(without(guards.digest_matches)), {"I13"})


def test_an_agent_that_answers_itself_is_found() -> None:
    """Nobody looks who answers (I25)."""
    found(target(without(guards.caller_may_answer)), {"I25", "T5"})


async def spends(task: TaskContext) -> str:
    """Call a tool whose policy asks where it is much; and ask somebody in particular."""
    amount = await task.ask("how much?", int, approvers=["ann", "role:clerk"])
    return (await task.call_tool("spend", {"amount": amount})).text


def spending() -> Engine:
    """Its engine: much is more than nothing."""

    async def spend(amount: int) -> str:
        return f"spent {amount}"

    much: JsonObject = {"properties": {"amount": {"exclusiveMinimum": 0}}}
    policy = Policy(confirm=When(when=much), approvers=("role:boss",))
    tools = Toolbox([spend], policies=Policies({"spend": policy}))
    return Engine(spends, tools=tools, store="memory:", limits=LIMITS)


def test_who_has_the_task_and_may_not_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a task of hers, so she may answer what others are asked (T5)."""
    is_approver = guards.is_approver
    assert fuzz(Target.of(spending), runs=64).failures == ()

    def or_owner(ask: Ask, name: str, roles: Iterable[str]) -> bool:
        return name in OWNERS or is_approver(ask, name, roles)

    monkeypatch.setattr(guards, "is_approver", or_owner)
    found(Target.of(spending), {"T5"})


def test_a_call_that_its_policy_would_have_confirmed_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gate never looks at what a policy wants of these arguments (I12)."""

    def never(_self: Gate, _tool: Tool, _pin: Pin, _arguments: JsonObject) -> bool:
        return False

    monkeypatch.setattr(Gate, "_wants_a_word", never)
    found(Target.of(spending), {"I12"})


def test_an_event_after_the_outcome_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is over is finalized once more (I05)."""
    commit = Disk.commit

    async def twice(self: Disk, wanted: Commit) -> None:
        await commit(self, wanted)
        last = wanted.events[-1]
        if last.dest is Phase.FINALIZED:
            kept = self.kept(wanted.record.task_id)
            assert kept is not None
            kept[1].append(replace(last, seq=last.seq + 1, source=Phase.FINALIZED))

    monkeypatch.setattr(Disk, "commit", twice)
    found(target(), {"I03", "I05"})


def test_two_outcomes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is over is finalized twice, as if nobody knew that it was (I04, I05)."""
    follow = Runtime._follow
    fire = Lifecycle.fire

    def twice(self: Runtime, cell: Cell, move: Move) -> Sequence[Post]:
        if move.event.trigger is Trigger.FINALIZE and move.event.source is not Phase.FINALIZED:
            return (Post(always(Trigger.FINALIZE, move.event.data), "engine"),)
        return follow(self, cell, move)

    def without_end(self: Lifecycle, record: TaskRecord, signal: Signal) -> Move:
        end = Phase.FINALIZED
        if record.phase is not end or signal.trigger is not Trigger.FINALIZE:
            return fire(self, record, signal)
        again = replace(record, seq=record.seq + 1)
        at = (again.seq, signal.at, again.epoch, signal.trigger, end, end)
        return Move(again, Event(*at, signal.actor, signal.data), ())

    monkeypatch.setattr(Runtime, "_follow", twice)
    monkeypatch.setattr(Lifecycle, "fire", without_end)
    found(target(), {"I03", "I04", "I05"})


def test_an_epoch_that_is_used_again_is_found() -> None:
    """A recovered turn has the name of the lost one (I17)."""

    def recovered(draft: Draft, signal: Signal) -> None:
        change.recovered(draft, signal)
        draft.epoch -= 1

    def amend(row: Row) -> Row:
        return replace(row, change=recovered) if row.change is change.recovered else row

    found(target(amended(amend)), {"I17"})


def test_a_turn_that_is_not_fenced_off_is_found() -> None:
    """What a turn says that was given up counts (I17)."""

    def same(row: Row) -> Row:
        return replace(row, requires=()) if row.requires == (guards.report_is_current,) else row

    found(target(amended(same)), {"I17"})


def test_a_timer_that_is_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that comes while others are served is forgotten."""

    def forgets(_self: Alarms, _due: float) -> None:
        pass

    monkeypatch.setattr(Alarms, "arm", forgets)
    found(target(), {"timer", "I28"}, seed=40)


def test_a_timer_that_is_left_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alarm goes on for ever, also when the engine is closed (I30)."""
    close = Runtime.close

    async def leaking(self: Runtime) -> None:
        await close(self)

        def again() -> None:
            self.clock.call_later(60.0, again)

        again()

    monkeypatch.setattr(Runtime, "close", leaking)
    found(target(), {"I30"})


def test_a_gap_after_coming_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes back to a task misses its next event (I24)."""
    followed = Engine._followed

    def gapped(self: Engine, runtime: Runtime, cell: Cell, place: int) -> Any:  # noqa: ANN401  as it is
        return followed(self, runtime, cell, place + 1 if place else 0)

    monkeypatch.setattr(Engine, "_followed", gapped)
    found(target(), {"I24"})


def test_an_answer_that_is_lost_in_a_crash_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is acknowledged before it is durable (I18)."""
    step = Writer._committed

    async def hasty(
        self: Writer,
        cell: Cell,
        record: TaskRecord,
        moves: Sequence[Move],
        accepted: list[Post],
        refused: list[tuple[Post, Refused]],
    ) -> bool:
        for post in accepted:
            post.answer(record)
        await asyncio.sleep(0)
        return await step(self, cell, record, moves, accepted, refused)

    monkeypatch.setattr(Writer, "_committed", hasty)
    found(target(), {"I18"})


def test_a_cancel_that_runs_the_tool_is_found() -> None:
    """An agent that is stopped while it waits does what it was to ask about."""
    charged: set[str] = set()

    async def careless(task: TaskContext) -> str:
        try:
            await task.authorize("pay", {"amount": 5})
        finally:
            charged.add(task.task_id)
        return "done"

    def paid_only_if_allowed(record: TaskRecord, log: Sequence[Event]) -> None:
        allowed = any(event.trigger is Trigger.APPROVE for event in log)
        assert allowed or record.task_id not in charged, "it was charged without leave"

    one = Target.of(careless, begin=charged.clear)
    found(one, {"user:paid_only_if_allowed"}, invariants=[paid_only_if_allowed])


def test_a_tool_that_is_called_again_is_found() -> None:
    """An agent that calls a tool past its task calls it once more after a crash."""
    charged: dict[str, int] = {}

    async def careless(task: TaskContext) -> str:
        charged[task.task_id] = charged.get(task.task_id, 0) + 1
        await task.ask("and now?")
        return "done"

    def charged_once(record: TaskRecord, _log: Sequence[Event]) -> bool:
        return charged.get(record.task_id, 0) <= 1

    one = Target.of(careless, begin=charged.clear)
    found(one, {"user:charged_once"}, invariants=[charged_once])


def test_a_task_that_is_forgotten_too_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over is purged at once, whatever its age.  Source: R-FUZZ-26."""
    purged = Sweeper._purged

    async def early(self: Sweeper, _before: float, *, keep: int) -> int:
        return await purged(self, self._clock.now() + 1.0, keep=keep)

    monkeypatch.setattr(Sweeper, "_purged", early)
    found(target(), {"purge"})


def test_a_task_that_is_never_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep when an engine begins is the only one.  Source: R-FUZZ-26."""
    ring = Sweeper._ring

    def once(self: Sweeper) -> None:
        if self._alarm is None:
            ring(self)

    monkeypatch.setattr(Sweeper, "_ring", once)
    found(target(), {"purge"})


def test_a_task_that_is_forgotten_and_still_known_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine answers from what it remembers of a task that is gone.  Source: R-FUZZ-26."""

    def remembers(_self: Writer, _task_id: str) -> None:
        pass

    monkeypatch.setattr(Writer, "forget", remembers)
    found(target(), {"purge", "I30"})


def test_a_claim_that_outlives_its_task_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all rows of a task that is purged go with it.  Source: R-FUZZ-26."""
    purge = Disk.purge

    async def leaves(self: Disk, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        claims = dict(self._claims)
        gone = await purge(self, before, keep=keep, limit=limit)
        self._claims.update(claims)
        return gone

    monkeypatch.setattr(Disk, "purge", leaves)
    found(target(), {"purge"})


def test_a_thread_of_an_agent_that_is_left_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on to wait when its agent has ended (I30).  Source: R-FUZZ-28."""
    start = on_a_thread

    def leaking(work: Callable[[], Any], name: str) -> Any:  # noqa: ANN401  as it is
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def work_on() -> None:
            loop.call_soon_threadsafe(done.set_result, work())
            threading.Event().wait()

        start(work_on, name)
        return done

    monkeypatch.setattr(_threaded, "on_a_thread", leaking)
    found(Target.of(plain, inputs=SCRIPTS), {"I30"})


def test_a_thread_for_tools_that_is_left_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody ends the threads for the functions that a task called (I30).  Source: R-FUZZ-28."""

    def forgets(_self: Workers) -> None:
        pass

    def book(city: str) -> str:
        return city

    async def travels(task: TaskContext) -> str:
        return (await task.call_tool("book", {"city": task.input.text})).text

    one = Target.of(Engine(travels, store="memory:", tools=Toolbox([book])))
    assert fuzz(one, runs=32).failures == ()
    monkeypatch.setattr(Workers, "close", forgets)
    found(one, {"I30"})


def test_a_race_between_two_lines_is_found_where_the_interpreter_allows_that() -> None:
    """Tasks count in one place, on threads, and without a lock.  Source: R-FUZZ-07."""
    one = Target.of(counts_carelessly, begin=lambda: COUNTED.update(begun=0, counted=0, busy=0))
    report = fuzz(one, runs=300, faults=frozenset({"concurrent"}), invariants=[none_is_lost])
    assert bool(report.failures) == LINES_ARE_SEEN


COUNTED = {"begun": 0, "counted": 0, "busy": 0}


def counts_carelessly(_task: SyncTaskContext) -> None:
    """It reads and writes with nothing in between that threads share."""
    COUNTED["busy"] += 1
    COUNTED["begun"] += 1
    counted = COUNTED["counted"]
    counted += 1
    COUNTED["counted"] = counted
    COUNTED["busy"] -= 1


def none_is_lost(_record: TaskRecord, _log: Sequence[Event]) -> bool:
    """As many were counted as have begun, when none is at it."""
    return bool(COUNTED["busy"]) or COUNTED["begun"] == COUNTED["counted"]
