"""Phase ↔ A2A state, and our errors → A2A's: total, pure, no I/O.

This is the only module that says `state` and `CANCELED`.  It holds no text for people but
that of errors; how a task is shown is in `a2a/_view.py`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from a2a.types import (
    InternalError,
    InvalidParamsError,
    TaskNotCancelableError,
    TaskNotFoundError,
    TaskState,
    UnsupportedOperationError,
)
from a2a.utils.errors import A2AError

from interlock import OVER, VISIBLE, WAITING, Phase, PhaseSet, Trigger
from interlock.errors import (
    AnswerInvalid,
    EngineError,
    GuardRefused,
    InvalidInput,
    LimitReached,
    NotAccepting,
    Refused,
    TokenReused,
    UnknownTask,
)

#: Keys of the metadata that this adapter writes.  `specs/a2a.md` says what each holds.
PREFIX: Final = "interlock/"
SEQ: Final = "interlock/seq"
PHASE: Final = "interlock/phase"
EVENT: Final = "interlock/event"
TRIGGER: Final = "interlock/trigger"
CODE: Final = "interlock/code"
ABANDONED: Final = "interlock/abandoned"
DUE: Final = "interlock/due"
FRACTION: Final = "interlock/fraction"

STATE_OF: Final[dict[Phase, TaskState]] = {
    Phase.SUBMITTED: TaskState.TASK_STATE_SUBMITTED,
    Phase.RUNNING: TaskState.TASK_STATE_WORKING,
    Phase.WAITING_INPUT: TaskState.TASK_STATE_INPUT_REQUIRED,
    Phase.WAITING_AUTH: TaskState.TASK_STATE_AUTH_REQUIRED,
    Phase.CANCELLING: TaskState.TASK_STATE_WORKING,  # A2A has no "cancelling".
    Phase.COMPLETED: TaskState.TASK_STATE_COMPLETED,
    Phase.FAILED: TaskState.TASK_STATE_FAILED,
    Phase.CANCELLED: TaskState.TASK_STATE_CANCELED,
    Phase.TIMED_OUT: TaskState.TASK_STATE_FAILED,  # Nor "timed out": the metadata says so.
    Phase.REJECTED: TaskState.TASK_STATE_REJECTED,
}
assert list(STATE_OF) == [phase for phase in Phase if phase in VISIBLE]
STATE_NAME_OF: Final = {phase: TaskState.Name(state) for phase, state in STATE_OF.items()}

#: What a client means that filters by a state.
PHASES_OF: Final[dict[TaskState, PhaseSet]] = {
    state: PhaseSet(phase for phase in STATE_OF if STATE_OF[phase] == state)
    for state in STATE_OF.values()
}
assert all(any(phase in phases for phases in PHASES_OF.values()) for phase in VISIBLE)

#: How an operation of the protocol is called, for telling a client what it may do instead.
OPERATION_OF: Final[dict[Trigger, str]] = {
    Trigger.PROVIDE_INPUT: "SendMessage with an answer",
    Trigger.DECLINE: "SendMessage with an answer",
    Trigger.APPROVE: "SendMessage with a decision",
    Trigger.DENY: "SendMessage with a decision",
    Trigger.CANCEL: "CancelTask",
}

#: Refusals by a guard that are about who or when, not about what the client sent.
_NOT_ABOUT_THE_DATA: Final = frozenset({"caller_may_answer", "answer_is_in_time"})


def invalid(field: str, *problems: str, **facts: str) -> InvalidParamsError:
    """Bad parameters: every problem as a violation of `field`, facts for machines."""
    return InvalidParamsError(
        f"{field}: {'; '.join(problems)}",
        {"errors": [{"field": field, "message": problem} for problem in problems], **facts},
    )


def invalid_state() -> InvalidParamsError:
    """A filter by a state that does not exist."""
    names = ", ".join(TaskState.Name(state) for state in PHASES_OF)
    return invalid("status", f"is no task state; accepted is one of {names}")


def unsupported(message: str, **facts: str) -> UnsupportedOperationError:
    """The operation is not for this task, or this agent, as it stands."""
    return UnsupportedOperationError(message, facts)


def operations(triggers: Iterable[Trigger]) -> str:
    """Those of the triggers that a client can cause, as A2A calls them."""
    named = dict.fromkeys(OPERATION_OF[t] for t in triggers if t in OPERATION_OF)
    return ", ".join(named)


def error_of(error: EngineError) -> A2AError | None:
    """What the client is told; None for what is not its business (log it, say "internal")."""
    match error:
        case UnknownTask():
            # The same words for an id that never was and for somebody else's.
            return TaskNotFoundError()
        case AnswerInvalid(problems=problems) | InvalidInput(problems=problems):
            return invalid("message.parts", *problems, code=error.code)
        case Refused():
            return _refused(error)
        case TokenReused():
            return invalid("message.message_id", str(error), code=error.code)
        case LimitReached() | NotAccepting():
            return _try_later(error, error.retry_after_s)
        case _:
            return None


def _refused(error: Refused) -> A2AError:
    # Never `error.phase`: that a task is finalized does not show.
    facts = {"code": error.code, "phase": error.shown.value}
    if error.trigger is Trigger.CANCEL:
        return TaskNotCancelableError(f"the task is {error.shown.value}", facts)
    if isinstance(error, GuardRefused):
        facts["reason"] = error.reason
        if error.reason not in _NOT_ABOUT_THE_DATA:
            return invalid("message.parts", str(error), **facts)
        return unsupported(str(error), **facts)
    if error.shown in WAITING:
        # A decision where values are wanted: the task takes messages, but not this one.
        return invalid("message.parts", str(error), **facts)
    return unsupported(nothing_wanted(error.shown, error.allowed), **facts)


def nothing_wanted(phase: Phase, allowed: Sequence[Trigger]) -> str:
    """Why a task takes no message, and what it does take."""
    if phase in OVER:
        return f"the task is {phase.value}: it takes no further messages"
    return f"the task is {phase.value} and asks for nothing; it takes: {operations(allowed)}"


def _try_later(error: LimitReached | NotAccepting, retry_after_s: float | None) -> A2AError:
    # A2A has no error for "later"; 5xx is what HTTP clients take for it.
    facts = {"code": error.code}
    if retry_after_s is not None:
        facts["retry_after_s"] = f"{retry_after_s:g}"
    return InternalError(str(error), facts)
