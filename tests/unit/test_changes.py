"""What each move leaves in the record: epochs, clocks, keys, causes."""

from dataclasses import replace
from typing import Any, Final

import pytest

from interlock import _changes as changes
from interlock._changes import Draft
from interlock._event import AGENT, TIMER, Signal
from interlock._machine import fire
from interlock._phases import LIVE, OUTCOMES, Phase, Trigger
from interlock._record import (
    OUTCOME_OF,
    Active,
    Ask,
    AskKind,
    Ended,
    Queued,
    StopCause,
    Stopping,
    TaskRecord,
    Waiting,
)
from interlock._transitions import TABLE, Row
from lives import (
    ASK_DUE,
    EARLY,
    EPOCH,
    GRACE_DUE,
    LATE,
    OWNER,
    RECORDS,
    RUN_DUE,
    ask,
    signals,
    task,
    waiting,
)

RUNNING: Final = task(Phase.RUNNING, Active(RUN_DUE))
ATTEMPT: Final = RUNNING.attempt


def after(record: TaskRecord, trigger: Trigger, nth: int = 0, **data: Any) -> TaskRecord:  # noqa: ANN401
    """The record after that trigger, with these data put in."""
    signal = signals(record, trigger)[nth]
    return fire(record, signal._replace(data={**signal.data, **data})).record


#: Which triggers begin an epoch; `answers` do when they close the last ask.
FENCING: Final = frozenset({Trigger.START, Trigger.CLAIM, Trigger.RECOVER, Trigger.ABANDON})
ANSWERS: Final = frozenset(
    {Trigger.PROVIDE_INPUT, Trigger.DECLINE, Trigger.APPROVE, Trigger.DENY, Trigger.EXPIRE},
)


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.source], ids=lambda row: str(row.trigger)
)
def test_an_epoch_begins_with_each_turn_and_with_each_fence(row: Row) -> None:
    """I17: start, recovery, resumption and abandonment; nothing else moves the number."""
    for record in RECORDS[row.source] if row.source else []:
        for signal in signals(record, row.trigger):
            move = fire(record, signal)
            resumes = row.trigger in ANSWERS and move.record.phase is Phase.RUNNING
            grown = move.record.epoch - record.epoch
            assert grown == (1 if row.trigger in FENCING or resumes else 0)
            started = 1 if row.trigger is Trigger.START else 0
            assert move.record.attempt - record.attempt == started


def test_a_start_gives_the_run_its_budget() -> None:
    """Counted from the start; none is no limit."""
    queued = task(Phase.SUBMITTED, Queued())
    assert after(queued, Trigger.START, run_s=5.0).details == Active(45.0)
    assert after(queued, Trigger.START, run_s=None).details == Active(None)


def test_a_recovery_gives_a_fresh_budget_under_the_same_attempt() -> None:
    """Nobody knows how much of it the lost turn had used."""
    recovered = after(RUNNING, Trigger.RECOVER, run_s=5.0)
    assert (recovered.details, recovered.attempt) == (Active(EARLY + 5.0, 1), ATTEMPT)
    cancelling = RECORDS[Phase.CANCELLING][0]
    assert after(cancelling, Trigger.RECOVER).details == cancelling.details


def test_the_run_clock_stands_still_while_the_task_waits() -> None:
    """What was left at the first ask is what the turn has after the last answer.

    Source: R-LIFE-12.
    """
    asked = after(RUNNING, Trigger.ASK)
    assert isinstance(asked.details, Waiting)
    assert asked.details.run_left_s == RUN_DUE - EARLY
    more = fire(asked, _at(signals(asked, Trigger.ASK)[1], 20.0, key="l")).record
    assert isinstance(more.details, Waiting)
    assert more.details.run_left_s == RUN_DUE - EARLY
    assert [each.key for each in more.asks] == ["new", "l"]
    one = fire(more, _at(signals(more, Trigger.PROVIDE_INPUT)[0], 30.0)).record
    assert isinstance(one.details, Waiting)
    assert one.details.run_left_s == RUN_DUE - EARLY
    both = fire(one, _at(signals(one, Trigger.APPROVE)[0], 45.0)).record
    assert both.details == Active(45.0 + RUN_DUE - EARLY)


def _at(signal: Signal, at: float, **data: Any) -> Signal:  # noqa: ANN401
    return signal._replace(at=at, data={**signal.data, **data})


def test_a_run_that_asks_after_its_time_is_due_at_once_when_it_goes_on() -> None:
    """The budget never becomes negative, and never grows."""
    late = fire(RUNNING, _at(signals(RUNNING, Trigger.ASK)[0], LATE, due=LATE + 9.0)).record
    assert isinstance(late.details, Waiting)
    assert late.details.run_left_s == 0.0
    back = fire(late, _at(signals(late, Trigger.PROVIDE_INPUT)[0], LATE + 1.0)).record
    assert back.details == Active(LATE + 1.0)
    unlimited = after(task(Phase.RUNNING, Active()), Trigger.ASK)
    assert after(unlimited, Trigger.PROVIDE_INPUT).details == Active(None)


def test_an_ask_is_kept_as_it_was_asked() -> None:
    """Every field that a client is shown or a guard reads, and defaults for what was left out."""
    plain = after(RUNNING, Trigger.ASK).ask("new")
    assert plain == Ask("new", AskKind.INPUT, "?", {}, EARLY, ASK_DUE)
    full = after(
        RUNNING, Trigger.ASK, 1, on_expire="default", default=[1], tool="book", digest="d",
        arguments={"a": 1}, allow_edit=True, on_deny="tell_agent", approvers=["boss", "ada"],
        schema={"type": "object"},
    ).ask("new")  # fmt: skip
    assert full == Ask(
        "new", AskKind.AUTH, "?", {"type": "object"}, EARLY, ASK_DUE, "default", [1], "book",
        {"a": 1}, "d", allow_edit=True, on_deny="tell_agent", approvers=("boss", "ada"),
    )  # fmt: skip


def test_a_closed_key_is_spent_however_it_was_closed() -> None:
    """Answered, expired, withdrawn or swept away by a stop (I06)."""
    two = waiting(ask("k", on_expire="default"), ask("l"))
    for trigger in (Trigger.PROVIDE_INPUT, Trigger.WITHDRAW, Trigger.EXPIRE):
        assert after(two, trigger).closed == ("old", "k")
    for trigger in (Trigger.CANCEL, Trigger.OVERRUN):
        assert after(two, trigger).closed == ("old", "k", "l")
    assert after(waiting(ask("k"), ask("l")), Trigger.EXPIRE).closed == ("old", "k", "l")


def test_a_withdrawal_leaves_the_turn_its_epoch_and_its_time() -> None:
    """Who withdraws is alive: nothing needs to be fenced off."""
    one = waiting(ask("k"), run_left_s=20.0)
    record = after(one, Trigger.WITHDRAW)
    assert (record.phase, record.epoch, record.details) == (Phase.RUNNING, EPOCH, Active(30.0))


def test_a_retry_rests_first_and_counts_as_an_attempt_only_when_it_starts() -> None:
    """Back in the queue, under the old epoch, whose turn is over."""
    record = after(RUNNING, Trigger.RETRY, not_before=44.0)
    assert (record.phase, record.details) == (Phase.SUBMITTED, Queued(44.0))
    assert (record.attempt, record.epoch) == (ATTEMPT, EPOCH)


@pytest.mark.parametrize(
    ("record", "trigger", "cause", "message"),
    [
        (RUNNING, Trigger.CANCEL, StopCause.CLIENT, "changed my mind"),
        (waiting(ask("k")), Trigger.EXPIRE, StopCause.ASK_EXPIRED, "nobody answered 'k' in time"),
        (waiting(ask("k", AskKind.AUTH)), Trigger.DENY, StopCause.DENIED, None),
        (waiting(ask("k")), Trigger.DECLINE, StopCause.DECLINED, None),
        (RUNNING, Trigger.OVERRUN, StopCause.RUN_DEADLINE, None),
        (waiting(ask("k")), Trigger.OVERRUN, StopCause.TASK_DEADLINE, None),
    ],
)
def test_a_stop_records_its_cause_and_the_time_the_turn_has(
    record: TaskRecord, trigger: Trigger, cause: StopCause, message: str | None
) -> None:
    """Set once, on the way into cancelling."""
    signal = signals(record, trigger)[0]
    assert fire(record, signal).record.details == Stopping(cause, signal.at + 10.0, message)


def test_a_no_gives_its_reason() -> None:
    """What the person said is kept for the client and the operator."""
    for kind, trigger in ((AskKind.AUTH, Trigger.DENY), (AskKind.INPUT, Trigger.DECLINE)):
        record = after(waiting(ask("k", kind)), trigger, reason="too expensive")
        assert isinstance(record.details, Stopping)
        assert record.details.message == "too expensive"


@pytest.mark.parametrize("cause", StopCause)
def test_a_stopped_task_has_the_outcome_of_its_cause(cause: StopCause) -> None:
    """The same whether the turn ended or was given up; the record says which."""
    record = task(Phase.CANCELLING, Stopping(cause, GRACE_DUE, "why"))
    outcome = OUTCOME_OF[cause]
    ended = after(record, Trigger.STOPPED)
    assert ended.phase is outcome
    assert ended.details == Ended(outcome, cause, "why", abandoned=False)
    given_up = after(record, Trigger.ABANDON)
    assert given_up.phase is outcome
    assert given_up.details == Ended(outcome, cause, "why", abandoned=True)
    assert given_up.epoch == ended.epoch + 1


def test_a_task_that_never_started_ends_without_a_turn_to_wait_for() -> None:
    """Cancelled, rejected or out of time in the queue."""
    queued = task(Phase.SUBMITTED, Queued())
    assert after(queued, Trigger.CANCEL).details == Ended(
        Phase.CANCELLED, StopCause.CLIENT, "changed my mind"
    )
    assert after(queued, Trigger.OVERRUN).details == Ended(Phase.TIMED_OUT, StopCause.TASK_DEADLINE)
    assert after(queued, Trigger.REJECT).details == Ended(Phase.REJECTED, "code", "message")


def test_the_agents_own_end_has_its_code_and_message() -> None:
    """A completed task has neither; its result is in the log."""
    assert after(RUNNING, Trigger.COMPLETE).details == Ended(Phase.COMPLETED)
    assert after(RUNNING, Trigger.FAIL).details == Ended(Phase.FAILED, "code", "message")
    assert after(RUNNING, Trigger.REJECT).details == Ended(Phase.REJECTED, "code", "message")


def test_what_is_shown_and_repeated_changes_nothing_but_the_sequence() -> None:
    """Emissions, progress, a second cancel, the end of an end."""
    quiet = [(RUNNING, Trigger.EMIT), (RUNNING, Trigger.PROGRESS)]
    quiet += [(record, Trigger.CANCEL) for record in RECORDS[Phase.CANCELLING]]
    quiet += [(RECORDS[outcome][0], Trigger.FINALIZE) for outcome in sorted(OUTCOMES)]
    for record, trigger in quiet:
        record_after = after(record, trigger)
        assert record_after.details == record.details
        assert record_after.closed == record.closed


def test_a_change_refuses_data_of_a_phase_it_was_not_made_for() -> None:
    """The table cannot lead there; if it ever does, it is a bug and not a strange record.

    Source: R-LIFE-04.
    """
    draft = Draft(task(Phase.SUBMITTED, Queued()))
    question = signals(RUNNING, Trigger.ASK)[0]
    answer = Signal(Trigger.PROVIDE_INPUT, {"key": "k"}, OWNER, EARLY)
    for change, signal in (
        (changes.asked, question),
        (changes.answered, answer),
        (changes.stopped, Signal(Trigger.STOPPED, {}, AGENT, EARLY)),
        (changes.abandoned, Signal(Trigger.ABANDON, {}, TIMER, EARLY)),
    ):
        with pytest.raises(AssertionError):
            change(draft, signal)


def test_the_phase_after_a_change_is_the_machines_to_write() -> None:
    """A draft begins as its record and carries no phase of its own making."""
    draft = Draft(RUNNING)
    changes.stopped_by_client(draft, Signal(Trigger.CANCEL, {"grace_s": 1.0}, OWNER, EARLY))
    assert draft.phase is Phase.RUNNING
    assert RUNNING.details == Active(RUN_DUE)
    assert Phase.RUNNING in LIVE


@pytest.mark.parametrize(("error", "recoveries"), [(None, 0), ("call_failed", 0), ("not_made", 2)])
def test_a_task_gets_further_only_by_a_call_that_was_made(
    error: str | None, recoveries: int
) -> None:
    """One that was begun and not made counts for nothing.  Source: issue 3, recoveries."""
    record = replace(RUNNING, details=Active(RUN_DUE, recoveries=2), calls=("call",))
    said = {} if error is None else {"error": {"code": error}}
    signal = Signal(Trigger.CALLED, {"epoch": EPOCH, "key": "call", **said}, AGENT, EARLY)
    details = fire(record, signal).record.details
    assert details == Active(RUN_DUE, recoveries=recoveries)
