"""Errors are divided by whose fault it is, carry facts, and have a stable code."""

import inspect

import pytest

import interlock
from interlock import errors
from interlock._phases import Phase, Trigger
from interlock.errors import (
    AnswerInvalid,
    Conflict,
    Denied,
    EngineError,
    GuardRefused,
    IllegalTrigger,
    InvalidInput,
    LimitReached,
    NotAccepting,
    TaskNotCompleted,
    TaskStopped,
    TokenReused,
    UnknownTask,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, BaseException)
]


def test_every_error_is_public_and_in_the_tree_of_the_docstring() -> None:
    """A reader finds all of them there, each under its base.  Source: R-ENG-19."""
    assert {error.__name__ for error in CLASSES} == set(errors.__all__)
    assert errors.__doc__ is not None
    depth_of = {
        line.split("`")[1]: (len(line) - len(line.lstrip())) // 4
        for line in errors.__doc__.splitlines()
        if line.lstrip().startswith("* `")
    }
    # Those that belong to one module live there, and are public with it.
    elsewhere = depth_of.keys() - set(errors.__all__)
    assert all(issubclass(getattr(interlock, name), EngineError) for name in elsewhere)
    assert set(errors.__all__) <= depth_of.keys()
    for error in CLASSES:
        depth = sum(issubclass(base, EngineError) for base in error.__mro__) - 1
        assert depth_of[error.__name__] == max(depth, 0)


def test_codes_are_stable_and_tell_errors_apart() -> None:
    """An adapter maps codes: two of the same would be one to its peers.  Source: R-ENG-19."""
    codes = [error.code for error in CLASSES if issubclass(error, EngineError)]
    assert len(codes) == len(set(codes))
    assert all(code.isidentifier() and code.islower() for code in codes)


def test_a_stopped_task_gets_past_the_agents_own_handlers() -> None:
    """`except Exception` in an agent must not swallow the stop.  Source: R-AGENT-07."""
    assert not issubclass(TaskStopped, Exception)


def test_a_refusal_says_what_was_tried_where_and_what_would_be_accepted() -> None:
    """The facts are attributes; the message is built from them.  Source: R-LIFE-02."""
    allowed = (Trigger.CANCEL, Trigger.START, Trigger.DENY)
    error = IllegalTrigger("t", Phase.SUBMITTED, Trigger.APPROVE, allowed=iter(allowed))
    assert (error.task_id, error.phase, error.trigger) == ("t", Phase.SUBMITTED, Trigger.APPROVE)
    assert error.allowed == allowed
    assert str(error) == (
        "task 't' is submitted: approve is not accepted; it would accept: cancel, deny"
    )
    own = IllegalTrigger("t", Phase.SUBMITTED, Trigger.EMIT, allowed=allowed)
    assert str(own).endswith("it would accept: cancel, start, deny")
    assert str(IllegalTrigger("t", Phase.FINALIZED, Trigger.CANCEL)) == (
        "task 't' is finalized: cancel is not accepted"
    )
    late = IllegalTrigger("t", Phase.RUNNING, Trigger.APPROVE, closed="pay-1")
    assert (late.closed, error.closed) == ("pay-1", None)
    assert str(late) == (
        "task 't' is running: approve is not accepted, since ask 'pay-1' is closed: "
        "it was answered, it expired, or the task was stopped"
    )
    assert error.shown is Phase.SUBMITTED
    over = IllegalTrigger("t", Phase.FINALIZED, Trigger.CANCEL, shown=Phase.FAILED)
    assert (over.phase, over.shown) == (Phase.FINALIZED, Phase.FAILED)


def test_a_guards_refusal_has_a_stable_reason() -> None:
    """The name of the guard, for programs; the sentence, for people."""
    error = GuardRefused("t", Phase.RUNNING, Trigger.COMPLETE, "report_is_current", "it is old")
    assert error.reason == "report_is_current"
    assert str(error) == "task 't' is running: complete was refused: it is old"


def test_a_guards_refusal_does_not_offer_what_it_refuses() -> None:
    """Made otherwise it might be accepted; the words cannot say how.  Source: R-LIFE-02."""
    allowed = (Trigger.APPROVE, Trigger.DENY)
    at = ("t", Phase.WAITING_AUTH, Trigger.APPROVE)
    error = GuardRefused(*at, "digest_matches", "it names another digest", allowed=iter(allowed))
    assert error.allowed == allowed
    assert str(error) == ("task 't' is waiting_auth: approve was refused: it names another digest")


def test_an_invalid_answer_lists_every_problem() -> None:
    """A form can show all of them at once."""
    error = AnswerInvalid(
        "t", Phase.WAITING_INPUT, Trigger.PROVIDE_INPUT, "answer_fits", ["one", "two"]
    )
    assert error.problems == ("one", "two")
    assert str(error).endswith("provide_input was refused: one; two")
    assert InvalidInput(["one", "two"]).problems == ("one", "two")
    assert str(InvalidInput(["one", "two"])) == "one; two"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UnknownTask("t"), "no task 't'"),
        (TokenReused("m1"), "token 'm1' was used before with another body"),
        (LimitReached("inbox_max", 256), "inbox_max is 256"),
        (
            LimitReached("inbox_max", 256, retry_after_s=1.5),
            "inbox_max is 256; try again after 1.5 s",
        ),
        (NotAccepting("the engine is draining"), "the engine is draining"),
        (Conflict("t", 7), "task 't' is no longer at event 7"),
        (Denied("pay", None), "pay was denied"),
        (Denied("pay", "too much"), "pay was denied: too much"),
        (
            TaskNotCompleted("t", Phase.FAILED, "agent_error", None),
            "task 't' is failed (agent_error)",
        ),
        (
            TaskNotCompleted("t", Phase.FAILED, "agent_error", "no network"),
            "task 't' is failed (agent_error): no network",
        ),
    ],
    ids=str,
)
def test_a_message_is_made_of_the_facts(error: EngineError, says: str) -> None:
    """No prose for users: that is an adapter's."""
    assert str(error).startswith(says)


def test_a_limit_says_when_to_try_again_if_that_helps() -> None:
    """None means that it will not.  Source: R-ENG-11."""
    assert LimitReached("x", 1).retry_after_s is None
    assert LimitReached("x", 1, retry_after_s=2.0).retry_after_s == 2.0
    assert NotAccepting("x").retry_after_s > 0
