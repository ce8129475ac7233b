"""Both maps are total: every phase has a state, every error of ours has one of theirs."""

from typing import Any, Final, cast

import pytest
from a2a.types import (
    InternalError,
    InvalidParamsError,
    TaskNotCancelableError,
    TaskNotFoundError,
    TaskState,
    UnsupportedOperationError,
)
from a2a.utils.errors import A2A_ERROR_MAPPING, JSON_RPC_ERROR_CODE_MAP, A2AError

from interlock import VISIBLE, Phase, Trigger, errors
from interlock._guards import Guard
from interlock._transitions import TABLE
from interlock.errors import (
    AnswerInvalid,
    EngineError,
    GuardRefused,
    IllegalTrigger,
    InvalidInput,
    LimitReached,
    NotAccepting,
    TokenReused,
    UnknownTask,
)
from interlock_adapters.a2a._map import PHASES_OF, STATE_NAME_OF, STATE_OF, error_of, operations

P, T = Phase, Trigger
CALLER, IN_TIME = "caller_may_answer", "answer_is_in_time"
ANSWERED: Final = (T.PROVIDE_INPUT, T.CANCEL)
ERRORS: Final[list[tuple[EngineError, type[Exception]]]] = [
    (UnknownTask("t"), TaskNotFoundError),
    (InvalidInput(["empty"]), InvalidParamsError),
    (TokenReused("m"), InvalidParamsError),
    (LimitReached("inbox_max", 1, retry_after_s=2.0), InternalError),
    (LimitReached("payload", 1), InternalError),
    (NotAccepting("closing"), InternalError),
    (IllegalTrigger("t", P.COMPLETED, T.CANCEL), TaskNotCancelableError),
    (IllegalTrigger("t", P.COMPLETED, T.PROVIDE_INPUT), UnsupportedOperationError),
    (IllegalTrigger("t", P.RUNNING, T.APPROVE, allowed=ANSWERED), UnsupportedOperationError),
    (IllegalTrigger("t", P.WAITING_INPUT, T.APPROVE), InvalidParamsError),
    (AnswerInvalid("t", P.WAITING_INPUT, T.PROVIDE_INPUT, "g", ["no"]), InvalidParamsError),
    (GuardRefused("t", P.WAITING_AUTH, T.DENY, "digest_matches", "no"), InvalidParamsError),
    (GuardRefused("t", P.WAITING_AUTH, T.DENY, CALLER, "no"), UnsupportedOperationError),
    (GuardRefused("t", P.WAITING_AUTH, T.DENY, IN_TIME, "no"), UnsupportedOperationError),
]
#: Errors that a client has no business with.
OURS: Final = {
    "agent_failed", "ambiguous_tool", "call_failed", "call_in_doubt", "conflict", "denied",
    "engine_bug", "engine_error", "not_allowed", "not_finalized", "plugin_failed",
    "refused", "rejected", "replay_diverged",
    "result_invalid", "retryable", "source_unavailable", "store_corrupt", "store_error",
    "store_locked", "store_too_new", "task_not_completed", "tool_error", "tool_refused",
    "tool_timed_out", "unknown_source", "unknown_tool", "unstorable",
}  # fmt: skip


def test_every_phase_is_in_exactly_one_state() -> None:
    """And a filter by that state finds it.  Source: R-A2A-02."""
    shown = [phase for phase in Phase if phase in VISIBLE]
    assert list(STATE_OF) == list(STATE_NAME_OF) == shown
    assert all(phase in PHASES_OF[state] for phase, state in STATE_OF.items())
    assert sum(len(phases) for phases in PHASES_OF.values()) == len(VISIBLE)
    assert PHASES_OF.keys() == set(TaskState.values()) - {0}


@pytest.mark.parametrize(("error", "told"), ERRORS)
def test_an_error_is_told_as_one_of_the_protocols(
    error: EngineError, told: type[Exception]
) -> None:
    """Exactly a class of the specification's table: a subclass would be "unknown" to the SDK."""
    found = error_of(error)
    assert type(found) is told
    assert type(found) in A2A_ERROR_MAPPING
    assert type(found) in JSON_RPC_ERROR_CODE_MAP


def test_every_error_of_ours_was_thought_of() -> None:
    """A new one fails here until it is told, or known to be nobody's business.

    Source: R-A2A-02.
    """
    told = {error.code for error, _ in ERRORS}
    found = {
        error.code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, EngineError)
    }
    assert found - told <= OURS, "say in a2a/_map.py what becomes of it"
    assert not told & OURS


def test_what_is_ours_alone_is_not_told() -> None:
    """The border logs it, under an id."""
    assert error_of(EngineError("oops")) is None
    assert error_of(errors.StoreError("oops")) is None


def test_the_guards_that_are_no_fault_of_the_data_are_guards() -> None:
    """A renamed guard would turn a late answer into a wrong one."""
    guards: set[Guard] = {guard for row in TABLE for guard in row.requires}
    assert {CALLER, IN_TIME} <= {guard.name for guard in guards}


def test_later_is_told_with_how_much_later() -> None:
    """A2A has no error for it; the facts do."""
    told = error_of(LimitReached("inbox_max", 9, retry_after_s=2.5))
    assert facts_of(told) == {"code": "limit_reached", "retry_after_s": "2.5"}
    assert facts_of(error_of(LimitReached("inbox_max", 9))) == {"code": "limit_reached"}


def facts_of(told: A2AError | None) -> object:
    """What an error says to machines."""
    return cast("Any", told).data


def test_operations_are_named_as_the_protocol_does() -> None:
    """What a client cannot cause is not offered."""
    named = operations([T.EMIT, T.APPROVE, T.DENY, T.CANCEL])
    assert named == "SendMessage with a decision, CancelTask"
