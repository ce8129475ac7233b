"""Each guard goes both ways, and a refusal says which one it was and changes nothing."""

import copy
from collections.abc import Callable
from typing import Any, Final

import pytest

from interlock import _guards as guards
from interlock._event import AGENT, ENGINE, TIMER, Signal
from interlock._guards import Guard
from interlock._machine import fire
from interlock._phases import Phase, Trigger
from interlock._record import Active, AskKind, Queued, StopCause, Stopping, TaskRecord
from interlock._transitions import TABLE
from interlock.errors import AnswerInvalid, GuardRefused, IllegalTrigger, Refused
from lives import (
    ASK_DUE,
    EARLY,
    EPOCH,
    GRACE_DUE,
    LATE,
    OWNER,
    RETRY_DUE,
    RUN_DUE,
    TASK_DUE,
    ask,
    row_for,
    signals,
    task,
    waiting,
)

AUTH: Final = AskKind.AUTH
RUNNING: Final = task(Phase.RUNNING, Active(RUN_DUE))
RECOVERED: Final = task(Phase.RUNNING, Active(RUN_DUE, recoveries=2))
QUEUED: Final = task(Phase.SUBMITTED, Queued(RETRY_DUE))
ASKED: Final = waiting(ask("k"), ask("m"))
DECIDING: Final = waiting(ask("k", AUTH), ask("l", AUTH), ask("m"))
EDITABLE: Final = waiting(ask("k", AUTH, allow_edit=True))
BOSS: Final = waiting(ask("k", approvers=("boss", AGENT)))


def stopping(cause: StopCause) -> TaskRecord:
    """A record on its way out."""
    return task(Phase.CANCELLING, Stopping(cause, GRACE_DUE))


def said(at: float = EARLY, actor: str = OWNER, **data: Any) -> Signal:  # noqa: ANN401
    """A signal with just these data; guards do not look at the trigger."""
    return Signal(Trigger.CANCEL, data, actor, at)


#: guard, then the record and signal for which it holds, then those for which it does not.
Case = tuple[Guard, tuple[TaskRecord, Signal], tuple[TaskRecord, Signal]]
SEATS: Final = {"seats": 1}
CASES: Final[list[Case]] = [
    (guards.report_is_current, (RUNNING, said(epoch=EPOCH)), (RUNNING, said(epoch=EPOCH - 1))),
    (guards.report_is_current, (RUNNING, said(epoch=EPOCH)), (RUNNING, said(epoch=EPOCH + 1))),
    (guards.caller_may_answer, (ASKED, said(key="k")), (ASKED, said(key="k", actor=AGENT))),
    (guards.caller_may_answer, (ASKED, said(key="k")), (ASKED, said(key="k", actor=ENGINE))),
    (guards.caller_may_answer, (ASKED, said(key="k")), (ASKED, said(key="k", actor=TIMER))),
    (guards.caller_may_answer, (ASKED, said(key="k")), (ASKED, said(key="gone"))),
    (guards.caller_may_answer, (BOSS, said(key="k", actor="boss")), (BOSS, said(key="k"))),
    # Not even if somebody lists the agent among the approvers.
    (
        guards.caller_may_answer,
        (BOSS, said(key="k", actor="boss")),
        (BOSS, said(key="k", actor=AGENT)),
    ),
    (guards.a_timer_fired, (RUNNING, said(actor=TIMER)), (RUNNING, said(actor=OWNER))),
    (guards.key_is_new, (ASKED, said(key="new")), (ASKED, said(key="k"))),
    (guards.key_is_new, (ASKED, said(key="new")), (ASKED, said(key="old"))),
    (guards.asks_are_left, (ASKED, said(asks_max=4)), (ASKED, said(asks_max=3))),
    (guards.asks_for_a_decision, (RUNNING, said(kind="auth")), (RUNNING, said(kind="input"))),
    (guards.ask_is_open, (ASKED, said(key="k")), (ASKED, said(key="old"))),
    (guards.ask_is_open, (ASKED, said(key="k")), (RUNNING, said(key="k"))),
    (guards.ask_wants_a_value, (DECIDING, said(key="m")), (DECIDING, said(key="k"))),
    (guards.ask_wants_a_value, (DECIDING, said(key="m")), (DECIDING, said(key="gone"))),
    (guards.ask_wants_a_decision, (DECIDING, said(key="k")), (DECIDING, said(key="m"))),
    (guards.ask_wants_a_decision, (DECIDING, said(key="k")), (DECIDING, said(key="gone"))),
    (
        guards.answer_is_in_time,
        (ASKED, said(ASK_DUE - 0.001, key="k")),
        (ASKED, said(ASK_DUE, key="k")),
    ),
    (guards.answer_is_in_time, (ASKED, said(key="k")), (ASKED, said(key="gone"))),
    (guards.ask_is_due, (ASKED, said(ASK_DUE, key="k")), (ASKED, said(ASK_DUE - 0.001, key="k"))),
    (guards.ask_is_due, (ASKED, said(LATE, key="k")), (ASKED, said(LATE, key="gone"))),
    (guards.answer_fits, (ASKED, said(key="k", value="x")), (ASKED, said(key="k", value=1))),
    (
        guards.digest_matches,
        (DECIDING, said(key="k", digest="digest of k")),
        (DECIDING, said(key="k", digest="digest of l")),
    ),
    (
        guards.digest_matches,
        (DECIDING, said(key="k", digest="digest of k")),
        (DECIDING, said(key="gone", digest=None)),
    ),
    (
        guards.edit_is_allowed,
        (DECIDING, said(key="k", arguments=SEATS)),
        (DECIDING, said(key="k", arguments={"seats": 2})),
    ),
    (
        guards.edit_is_allowed,
        (EDITABLE, said(key="k", arguments={"seats": 2})),
        (EDITABLE, said(key="gone", arguments=SEATS)),
    ),
    # True equals 1 to Python, and is another argument to a tool.
    (
        guards.edit_is_allowed,
        (DECIDING, said(key="k", arguments={"seats": 1})),
        (DECIDING, said(key="k", arguments={"seats": True})),
    ),
    (
        guards.arguments_fit,
        (DECIDING, said(key="k", arguments={"seats": 9})),
        (DECIDING, said(key="k", arguments={"seats": 10})),
    ),
    (guards.it_is_the_last_ask, (EDITABLE, said()), (ASKED, said())),
    (
        guards.another_decision_is_open,
        (DECIDING, said(key="k")),
        (waiting(ask("k", AUTH), ask("m")), said(key="k")),
    ),
    (
        guards.denial_stops_the_task,
        (DECIDING, said(key="k")),
        (waiting(ask("k", AUTH, on_deny="tell_agent")), said(key="k")),
    ),
    (guards.denial_stops_the_task, (DECIDING, said(key="k")), (DECIDING, said(key="gone"))),
    (
        guards.decline_stops_the_task,
        (waiting(ask("k", on_expire="fail")), said(key="k")),
        (waiting(ask("k", on_expire="default")), said(key="k")),
    ),
    (
        guards.decline_stops_the_task,
        (waiting(ask("k", on_expire="deny")), said(key="k")),
        (waiting(ask("k", on_expire="fail", on_deny="tell_agent")), said(key="k")),
    ),
    (guards.decline_stops_the_task, (ASKED, said(key="k")), (ASKED, said(key="gone"))),
    (
        guards.expiry_stops_the_task,
        (waiting(ask("k", on_expire="fail")), said(key="k")),
        (waiting(ask("k", on_expire="default")), said(key="k")),
    ),
    (
        guards.expiry_stops_the_task,
        (waiting(ask("k", AUTH, on_expire="deny")), said(key="k")),
        (waiting(ask("k", AUTH, on_expire="deny", on_deny="tell_agent")), said(key="k")),
    ),
    (guards.expiry_stops_the_task, (ASKED, said(key="k")), (ASKED, said(key="gone"))),
    (guards.back_off_is_over, (QUEUED, said(RETRY_DUE)), (QUEUED, said(RETRY_DUE - 0.001))),
    (guards.back_off_is_over, (task(Phase.SUBMITTED, Queued()), said()), (RUNNING, said(LATE))),
    (
        guards.deadline_has_passed,
        (RUNNING, said(RUN_DUE, timer="run")),
        (RUNNING, said(RUN_DUE, timer="task")),
    ),
    (
        guards.deadline_has_passed,
        (RUNNING, said(TASK_DUE, timer="task")),
        (task(Phase.RUNNING, Active()), said(LATE, timer="run")),
    ),
    # The timers of asks, retries and grace periods have triggers of their own.
    (
        guards.deadline_has_passed,
        (QUEUED, said(LATE, timer="task")),
        (QUEUED, said(LATE, timer="retry")),
    ),
    (
        guards.deadline_has_passed,
        (ASKED, said(LATE, timer="task")),
        (ASKED, said(LATE, timer="ask")),
    ),
    (
        guards.grace_has_passed,
        (stopping(StopCause.CLIENT), said(GRACE_DUE)),
        (stopping(StopCause.CLIENT), said(GRACE_DUE - 0.001)),
    ),
    (guards.grace_has_passed, (stopping(StopCause.CLIENT), said(LATE)), (RUNNING, said(LATE))),
    (guards.call_is_open, (RUNNING, said(key="begun")), (RUNNING, said(key="book-1"))),
    (
        guards.recoveries_are_left,
        (RECOVERED, said(recoveries_max=3)),
        (RECOVERED, said(recoveries_max=2)),
    ),
    (guards.log_has_room, (RUNNING, said(log_events_max=8)), (RUNNING, said(log_events_max=7))),
    (
        guards.stopped_by_a_deadline,
        (stopping(StopCause.RUN_DEADLINE), said()),
        (stopping(StopCause.ASK_EXPIRED), said()),
    ),
    (guards.stopped_by_a_deadline, (stopping(StopCause.TASK_DEADLINE), said()), (RUNNING, said())),
    (
        guards.stopped_by_a_failure,
        (stopping(StopCause.ASK_EXPIRED), said()),
        (stopping(StopCause.DENIED), said()),
    ),
    (guards.stopped_by_a_failure, (stopping(StopCause.ASK_EXPIRED), said()), (RUNNING, said())),
    (
        guards.nothing_is_left,
        (RUNNING, said(turn_alive=False, deliveries_left=0)),
        (RUNNING, said(turn_alive=True, deliveries_left=0)),
    ),
    (
        guards.nothing_is_left,
        (RUNNING, said(turn_alive=False, deliveries_left=0)),
        (RUNNING, said(turn_alive=False, deliveries_left=1)),
    ),
]


@pytest.mark.parametrize(
    ("guard", "good", "bad"), CASES, ids=[f"{n}-{case[0].name}" for n, case in enumerate(CASES)]
)
def test_a_guard_holds_and_does_not(
    guard: Guard, good: tuple[TaskRecord, Signal], bad: tuple[TaskRecord, Signal]
) -> None:
    """Real booleans both times: any other answer would be a bug."""
    assert guard.holds(*good) is True
    assert guard.holds(*bad) is False


def test_every_guard_of_the_table_goes_both_ways_here() -> None:
    """A guard that is never seen to refuse may be one that cannot."""
    in_table = {guard for row in TABLE for guard in (*row.requires, row.when) if guard}
    assert in_table == {case[0] for case in CASES}


def test_a_guard_that_can_refuse_says_why() -> None:
    """`requires` refuse, so they explain; `when` only chooses, so it does not."""
    for row in TABLE:
        assert all(guard.explanation for guard in row.requires)
        assert row.when is None or row.when.explanation == ""


def test_an_explanation_quotes_the_signal_and_survives_missing_data() -> None:
    """The reason names what was sent; the sentence is built even if a field was left out."""
    assert "'x'" in guards.ask_is_open.explain(said(key="x"))
    assert "(key not given)" in guards.ask_is_open.explain(said())


def test_an_explanation_is_short_whatever_was_sent() -> None:
    """A refusal is logged and sent back: a megabyte of digest must not come along."""
    explained = guards.digest_matches.explain(said(key="k", digest="x" * 100_000))
    assert len(explained) < 400


# --- refusals, through `fire` --------------------------------------------------------


def refused(record: TaskRecord, signal: Signal) -> GuardRefused:
    """The refusal of a signal, after which the record is as it was."""
    before = copy.deepcopy(record)
    with pytest.raises(GuardRefused) as caught:
        fire(record, signal)
    assert record == before
    error = caught.value
    assert (error.task_id, error.phase, error.trigger) == ("t", record.phase, signal.trigger)
    return error


def fitting(record: TaskRecord, trigger: Trigger) -> Signal:
    """The signal that would be accepted; about the oldest ask that it can be about."""
    signal = signals(record, trigger)[0]
    assert row_for(record, signal) is not None
    return signal


def changed(signal: Signal, **data: Any) -> Signal:  # noqa: ANN401
    """The same signal with other data."""
    return signal._replace(data={**signal.data, **data})


#: record, trigger, what is made wrong with a fitting signal, the reason for the refusal.
REFUSALS: Final[list[tuple[TaskRecord, Trigger, Callable[[Signal], Signal], str]]] = [
    *(
        (RUNNING, trigger, lambda signal: changed(signal, epoch=EPOCH - 1), "report_is_current")
        for trigger in (
            *(Trigger.REJECT, Trigger.CLAIM, Trigger.EMIT, Trigger.PROGRESS),
            *(Trigger.COMPLETE, Trigger.FAIL, Trigger.RETRY),
        )
    ),
    (ASKED, Trigger.WITHDRAW, lambda s: changed(s, epoch=EPOCH - 1), "report_is_current"),
    (ASKED, Trigger.WITHDRAW, lambda s: changed(s, key="old"), "ask_is_open"),
    (
        stopping(StopCause.CLIENT),
        Trigger.STOPPED,
        lambda s: changed(s, epoch=EPOCH - 1),
        "report_is_current",
    ),
    (QUEUED, Trigger.START, lambda s: s._replace(at=EARLY), "back_off_is_over"),
    (RUNNING, Trigger.EMIT, lambda s: changed(s, log_events_max=7), "log_has_room"),
    (RUNNING, Trigger.CALLED, lambda s: changed(s, key="old"), "call_is_open"),
    (RUNNING, Trigger.RECOVER, lambda s: changed(s, recoveries_max=0), "recoveries_are_left"),
    (ASKED, Trigger.PROVIDE_INPUT, lambda s: changed(s, key="old"), "ask_is_open"),
    (DECIDING, Trigger.PROVIDE_INPUT, lambda s: changed(s, key="k"), "ask_wants_a_value"),
    (ASKED, Trigger.PROVIDE_INPUT, lambda s: s._replace(actor=AGENT), "caller_may_answer"),
    (ASKED, Trigger.PROVIDE_INPUT, lambda s: s._replace(at=ASK_DUE), "answer_is_in_time"),
    (ASKED, Trigger.DECLINE, lambda s: changed(s, key="old"), "ask_is_open"),
    (DECIDING, Trigger.DECLINE, lambda s: changed(s, key="k"), "ask_wants_a_value"),
    (ASKED, Trigger.DECLINE, lambda s: s._replace(actor=AGENT), "caller_may_answer"),
    (ASKED, Trigger.DECLINE, lambda s: s._replace(at=ASK_DUE), "answer_is_in_time"),
    (DECIDING, Trigger.APPROVE, lambda s: changed(s, key="old"), "ask_is_open"),
    (DECIDING, Trigger.APPROVE, lambda s: changed(s, key="m"), "ask_wants_a_decision"),
    (DECIDING, Trigger.APPROVE, lambda s: s._replace(actor=AGENT), "caller_may_answer"),
    (DECIDING, Trigger.APPROVE, lambda s: s._replace(at=ASK_DUE), "answer_is_in_time"),
    (DECIDING, Trigger.APPROVE, lambda s: changed(s, digest="digest of l"), "digest_matches"),
    (DECIDING, Trigger.APPROVE, lambda s: changed(s, arguments={"seats": 2}), "edit_is_allowed"),
    (DECIDING, Trigger.DENY, lambda s: changed(s, digest="digest of l"), "digest_matches"),
    (DECIDING, Trigger.DENY, lambda s: s._replace(actor=AGENT), "caller_may_answer"),
    (ASKED, Trigger.EXPIRE, lambda s: s._replace(actor=OWNER), "a_timer_fired"),
    (ASKED, Trigger.EXPIRE, lambda s: s._replace(at=EARLY), "ask_is_due"),
    (ASKED, Trigger.EXPIRE, lambda s: changed(s, key="old"), "ask_is_open"),
    (ASKED, Trigger.OVERRUN, lambda s: s._replace(actor=OWNER), "a_timer_fired"),
    (ASKED, Trigger.OVERRUN, lambda s: s._replace(at=EARLY), "deadline_has_passed"),
    (
        stopping(StopCause.CLIENT),
        Trigger.ABANDON,
        lambda s: s._replace(actor=OWNER),
        "a_timer_fired",
    ),
    (
        stopping(StopCause.CLIENT),
        Trigger.ABANDON,
        lambda s: s._replace(at=EARLY),
        "grace_has_passed",
    ),
]


@pytest.mark.parametrize(
    ("record", "trigger", "spoilt", "reason"),
    REFUSALS,
    ids=[f"{n}-{case[1]}-{case[3]}" for n, case in enumerate(REFUSALS)],
)
def test_a_refusal_names_its_guard_and_what_the_task_would_accept(
    record: TaskRecord, trigger: Trigger, spoilt: Callable[[Signal], Signal], reason: str
) -> None:
    """One thing is wrong with the signal, and that is what the refusal says (I35).

    Source: R-LIFE-02.
    """
    error = refused(record, spoilt(fitting(record, trigger)))
    assert error.reason == reason
    assert error.code == "guard_refused"
    assert trigger in error.allowed
    assert f"{trigger} was refused: " in str(error)


def test_an_invalid_answer_lists_its_problems_and_the_ask_stays_open() -> None:
    """A bad answer does not consume the ask: the next, good one is taken."""
    good = fitting(ASKED, Trigger.PROVIDE_INPUT)
    error = refused(ASKED, changed(good, value=5))
    assert isinstance(error, AnswerInvalid)
    assert (error.code, error.reason) == ("answer_invalid", "answer_fits")
    assert error.problems == ("at /: expected string, got number",)
    after = fire(ASKED, good).record
    assert [each.key for each in after.asks] == ["m"]
    assert after.closed == ("old", "k")


def test_edited_arguments_must_fit_the_schema_of_the_tool() -> None:
    """An edit is judged like an answer (I14), and the decision stays open if it does not fit.

    Source: R-ENG-07.
    """
    good = fitting(EDITABLE, Trigger.APPROVE)
    error = refused(EDITABLE, changed(good, arguments={"seats": 99}))
    assert isinstance(error, AnswerInvalid)
    assert error.problems == ("at /seats: 99 is more than the maximum 9",)
    move = fire(EDITABLE, changed(good, arguments={"seats": 2}, edited=True))
    assert move.event.data["arguments"] == {"seats": 2}
    assert move.record.phase is Phase.RUNNING


def test_only_an_approver_may_answer_where_there_is_a_list() -> None:
    """Source: T5; the owner is not an approver unless named."""
    signal = signals(BOSS, Trigger.PROVIDE_INPUT)[0]._replace(actor="boss")
    assert fire(BOSS, signal).record.phase is Phase.RUNNING
    assert refused(BOSS, signal._replace(actor=OWNER)).reason == "caller_may_answer"


def test_the_second_answer_to_an_ask_is_refused_whoever_gives_it() -> None:
    """A resume is consumed once (I07): the first valid answer wins."""
    signal = fitting(ASKED, Trigger.PROVIDE_INPUT)
    after = fire(ASKED, signal).record
    assert refused(after, signal._replace(actor="bob")).reason == "ask_is_open"
    last = fitting(after, Trigger.PROVIDE_INPUT)
    running = fire(after, last).record
    with pytest.raises(Refused) as caught:
        fire(running, last)
    assert caught.value.code == "illegal_trigger"
    # Whoever comes late is told so, and not only what the task accepts now.
    assert "is closed: it was answered, it expired, or the task" in str(caught.value)
    with pytest.raises(IllegalTrigger) as caught:
        fire(running, last._replace(data={**last.data, "key": "never-asked"}))
    assert (caught.value.closed, "closed" in str(caught.value)) == (None, False)


def test_at_the_due_instant_the_expiry_wins_and_the_answer_loses() -> None:
    """Exactly one of them can win, whichever arrives first (I09, I10)."""
    answer = fitting(ASKED, Trigger.PROVIDE_INPUT)._replace(at=ASK_DUE)
    expiry = fitting(ASKED, Trigger.EXPIRE)._replace(at=ASK_DUE)
    assert refused(ASKED, answer).reason == "answer_is_in_time"
    assert fire(ASKED, expiry).record.phase is Phase.CANCELLING


def test_an_answer_just_in_time_leaves_the_expiry_nothing_to_expire() -> None:
    """An accepted answer wins; the timer that fires later is stale (I09).  Source: R-LIFE-18."""
    answer = fitting(ASKED, Trigger.PROVIDE_INPUT)._replace(at=ASK_DUE - 0.001)
    after = fire(ASKED, answer).record
    expiry = Signal(Trigger.EXPIRE, {"key": "k", "grace_s": 1.0}, TIMER, LATE)
    assert refused(after, expiry).reason == "ask_is_open"


def test_a_key_is_never_asked_twice_in_a_life() -> None:
    """Neither an open nor a closed one: a late answer must not meet another question (I06)."""
    (question, _) = signals(ASKED, Trigger.ASK)
    for key in ("k", "m", "old"):
        assert refused(ASKED, changed(question, key=key)).reason == "key_is_new"
    assert refused(ASKED, changed(question, asks_max=3)).reason == "asks_are_left"
