"""Conclusions: what the end of a turn means for its task."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import pytest

from interlock._call import MESSAGE_CHARS_MAX
from interlock._conclusion import conclusion, log_failure
from interlock._event import Data
from interlock._phases import Phase, Trigger
from interlock._record import (
    Active,
    Ask,
    AskKind,
    Details,
    Identity,
    StopCause,
    Stopping,
    TaskRecord,
    Waiting,
)
from interlock._threaded import Raised, Returned, TurnEnd
from interlock.errors import (
    Denied,
    GuardRefused,
    InvalidInput,
    Rejected,
    ReplayDiverged,
    ResultInvalid,
    Retryable,
    TaskStopped,
)
from interlock.models import Limits, Retry
from interlock.testing import ManualClock

CANARY: Final = "sk-canary-7f3a"
NOW: Final = 1_000.0
LIMITS: Final = Limits(payload_bytes_max=1_000, retry=Retry(attempts_max=3, backoff_s=2.0))
STOPPING: Final = Stopping(StopCause.CLIENT, NOW + 10)


def task(
    phase: Phase = Phase.RUNNING, details: Details | None = None, attempt: int = 1
) -> TaskRecord:
    """A task whose turn ends."""
    identity = Identity("t", "ada", "c", 1.0, 9_999.0)
    return TaskRecord(identity, phase, details or Active(), 3, 1, attempt, NOW)


def waiting(*keys: str) -> TaskRecord:
    """A task with open asks."""
    asks = tuple(Ask(key, AskKind.INPUT, "?", {}, NOW, NOW + 60) for key in keys)
    return task(Phase.WAITING_INPUT, Waiting(asks))


def concluded(end: TurnEnd, record: TaskRecord) -> tuple[Trigger, Data]:
    """What is fired."""
    return conclusion(end, LIMITS, ManualClock(NOW))(record)


@pytest.mark.parametrize(
    "end",
    [
        Returned("done"),
        Returned(object()),
        Raised(ValueError("x")),
        Raised(Retryable("again")),
        Raised(Rejected("no")),
        Raised(TaskStopped()),
        Raised(asyncio.CancelledError()),
    ],
)
def test_any_end_of_a_turn_that_was_told_to_stop_is_a_stop(end: TurnEnd) -> None:
    """A cancel that came first wins over whatever the agent made of it.  Source: R-AGENT-08."""
    assert concluded(end, task(Phase.CANCELLING, STOPPING)) == (Trigger.STOPPED, {})


def test_open_asks_are_withdrawn_before_the_end_itself() -> None:
    """Oldest first, one for each time that it is asked."""
    choose = conclusion(Returned("done"), LIMITS, ManualClock(NOW))
    assert choose(waiting("a", "b")) == (Trigger.WITHDRAW, {"key": "a"})
    assert choose(waiting("b")) == (Trigger.WITHDRAW, {"key": "b"})
    assert choose(task()) == (Trigger.COMPLETE, {"parts": [{"text": "done"}]})


def test_what_an_agent_returns_completes_the_task() -> None:
    """Also when it is nothing."""
    assert concluded(Returned(None), task()) == (Trigger.COMPLETE, {"parts": []})


@pytest.mark.parametrize("value", [object(), "x" * 1_000])
def test_a_result_that_cannot_be_stored_fails_the_task(value: object) -> None:
    """With a code of its own.  Source: issue 2, bad input, R-AGENT-06."""
    trigger, data = concluded(Returned(value), task())
    assert (trigger, data["code"]) == (Trigger.FAIL, "result_invalid")


def test_an_agent_may_reject_its_task() -> None:
    """Its words are shown to the client."""
    data = {"code": "rejected", "message": "not my job"}
    assert concluded(Raised(Rejected("not my job")), task()) == (Trigger.REJECT, data)


@pytest.mark.parametrize(("attempt", "delay_s"), [(1, 2.0), (2, 4.0)])
def test_a_failure_that_may_pass_is_tried_again_after_a_back_off(
    attempt: int, delay_s: float
) -> None:
    """As long as attempts are left, and later each time."""
    trigger, data = concluded(Raised(Retryable("busy")), task(attempt=attempt))
    assert trigger is Trigger.RETRY
    assert data == {"code": "retryable", "message": "busy", "not_before": NOW + delay_s}


def test_the_last_attempt_fails_the_task() -> None:
    """With the words of the last failure.  Source: R-LIFE-14."""
    data = {"code": "retryable", "message": "busy"}
    assert concluded(Raised(Retryable("busy")), task(attempt=3)) == (Trigger.FAIL, data)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Denied("k", "too dear"), "denied"),
        (InvalidInput(["no such form"]), "invalid_input"),
        (ResultInvalid("the artifact is too large"), "result_invalid"),
        (
            GuardRefused("t", Phase.RUNNING, Trigger.ASK, "key_is_new", "key k was used"),
            "guard_refused",
        ),
    ],
)
def test_an_error_of_ours_that_an_agent_lets_through_keeps_its_code(
    error: Exception, code: str
) -> None:
    """It says what is so, in words that are safe to show."""
    trigger, data = concluded(Raised(error), task())
    assert (trigger, data) == (Trigger.FAIL, {"code": code, "message": str(error)})


@pytest.mark.parametrize(
    "error",
    [
        ValueError(CANARY),
        RuntimeError(f"https://user:{CANARY}@host"),
        KeyboardInterrupt(CANARY),
        SystemExit(CANARY),
        asyncio.CancelledError(CANARY),
        TaskStopped(CANARY),
        BaseExceptionGroup("many", [ValueError(CANARY), OSError(CANARY)]),
    ],
)
def test_any_other_failure_shows_its_kind_and_not_its_message(error: BaseException) -> None:
    """The message may hold a secret.  Source: I38, R-ENG-18."""
    trigger, data = concluded(Raised(error), task())
    kind = type(error).__name__
    assert trigger is Trigger.FAIL
    assert data == {"code": "agent_error", "message": f"the agent raised {kind}"}


def test_the_only_error_of_a_task_group_is_the_agents_own() -> None:
    """What one branch says to the engine is heard.  Source: a review."""
    groups = ExceptionGroup("one", [ExceptionGroup("of one", [Rejected("not for children")])])
    trigger, data = concluded(Raised(groups), task())
    assert (trigger, data["message"]) == (Trigger.REJECT, "not for children")


@pytest.mark.parametrize("error", [Rejected("x" * 10_000), Retryable("x" * 10_000)])
@pytest.mark.parametrize("attempt", [1, 3])
def test_what_an_agent_says_of_its_failure_is_bounded(error: Exception, attempt: int) -> None:
    """A message is a sentence for people, not a payload.  Source: T22."""
    _, data = concluded(Raised(error), task(attempt=attempt))
    assert len(data["message"]) == MESSAGE_CHARS_MAX


def test_what_an_agent_says_of_its_failure_can_be_stored() -> None:
    """Half a surrogate pair has no UTF-8, and must not keep the task from ending."""
    _, data = concluded(Raised(Rejected("a\ud800b")), task())
    assert data["message"] == "a?b"


def test_the_ask_of_an_operator_says_how_it_is_answered() -> None:
    """Not as other asks are: whoever sees it must know how.  Source: R-JRN-04."""
    trigger, data = concluded(Raised(ReplayDiverged("k", "a call", "another")), task())
    assert trigger is Trigger.ASK
    assert data["prompt"].endswith(
        "An operator decides whether it is run again as it is, from scratch, or ignoring what "
        "the log has of 'k': by Engine.resume, or with interlock resume t."
    )


def logged(
    caplog: pytest.LogCaptureFixture, end: TurnEnd, record: TaskRecord
) -> Sequence[logging.LogRecord]:
    """What is written to the log."""
    log_failure(record, end)
    return caplog.records


def test_the_traceback_of_a_failure_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """And nowhere else.  Source: R-ENG-18."""
    logged(caplog, Raised(ValueError("the cause")), task())
    assert "task t: the agent failed" in caplog.text
    assert "ValueError: the cause" in caplog.text


def test_an_agent_that_has_nothing_to_say_to_a_no_is_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is broken: no traceback, and none of the person's words."""
    (line,) = logged(caplog, Raised(Denied("pay-1", "sk-canary")), task())
    assert line.getMessage() == "task t: the agent lets Denied through: 'pay-1'"
    assert (line.levelname, line.exc_info) == ("WARNING", None)


@pytest.mark.parametrize(
    ("end", "record"),
    [
        (Returned("done"), task()),
        (Raised(Rejected("no")), task()),
        (Raised(asyncio.CancelledError()), task(Phase.CANCELLING, STOPPING)),
    ],
)
def test_an_end_that_is_no_failure_is_not_logged_as_one(
    caplog: pytest.LogCaptureFixture, end: TurnEnd, record: TaskRecord
) -> None:
    """A result, a rejection and an obeyed cancel are all as they should be."""
    assert logged(caplog, end, record) == []
