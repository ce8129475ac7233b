"""The memory of a turn: what the log says that its agent has already done."""

from collections import Counter
from typing import Any, cast

import pytest

from interlock._event import Data, Event
from interlock._memory import Memory, Reply
from interlock._payload import NOT_MADE, Asked
from interlock._phases import Phase, Trigger
from interlock.errors import ReplayDiverged


def remembered(*happened: tuple[Trigger, Data]) -> Memory:
    """A memory of these events; where they led is of no interest to it."""
    memory = Memory()
    for trigger, data in happened:
        memory.add(event_of(trigger, data))
    return memory


def event_of(trigger: Trigger, data: Data) -> Event:
    """An event, of which only the trigger and the data are of interest."""
    return Event(1, 1.0, 1, trigger, Phase.RUNNING, Phase.RUNNING, "x", data)


def question(key: str, **changes: Any) -> Asked:  # noqa: ANN401  (any field of it)
    """What an agent asks."""
    made: dict[str, Any] = {"key": key, "kind": "input", "prompt": "Which city?", "schema": {}}
    made.update(changes)
    return cast("Asked", made)


def asked(key: str, on_expire: str = "fail", **more: object) -> tuple[Trigger, Data]:
    """The event of an ask."""
    return Trigger.ASK, {**question(key), "on_expire": on_expire, **more}


def test_an_empty_memory_knows_nothing() -> None:
    """The first turn of a task has done nothing yet."""
    memory = Memory()
    assert (memory.request, memory.replies, memory.asked) == ({}, {}, {})
    assert (memory.spent, memory.emitted, memory.progressed) == (set(), {}, Counter())
    assert memory.attempt == 0


def test_the_request_is_what_was_submitted() -> None:
    """The agent reads its input from there."""
    request: Data = {"parts": [{"text": "hello"}]}
    assert remembered((Trigger.SUBMIT, request)).request == request


@pytest.mark.parametrize(
    ("trigger", "data", "reply"),
    [
        (Trigger.PROVIDE_INPUT, {"value": [1]}, Reply([1])),
        (Trigger.APPROVE, {"arguments": {"n": 1}}, Reply({"n": 1})),
        (Trigger.DENY, {"reason": "too dear"}, Reply(denied=True, reason="too dear")),
        (Trigger.DENY, {}, Reply(denied=True)),
    ],
)
def test_an_answer_is_a_reply_to_its_ask(trigger: Trigger, data: Data, reply: Reply) -> None:
    """An approval's reply is the arguments that were approved.  Source: R-JRN-01."""
    memory = remembered(asked("k"), (trigger, {"key": "k", **data}))
    assert memory.replies == {"k": reply}


@pytest.mark.parametrize(
    ("ask", "reply"),
    [
        (asked("k", "default", default="Rome"), Reply("Rome")),
        (asked("k", "default"), Reply(None)),
        (asked("k", "deny"), Reply(denied=True, reason="nobody answered in time")),
    ],
)
def test_an_expiry_replies_what_the_ask_said_it_would(
    ask: tuple[Trigger, Data], reply: Reply
) -> None:
    """The declared default, or a denial that says why."""
    assert remembered(ask, (Trigger.EXPIRE, {"key": "k"})).replies == {"k": reply}


@pytest.mark.parametrize(
    ("ask", "said", "reply"),
    [
        (asked("k", "default", default="Rome"), {"reason": "no idea"}, Reply("Rome")),
        (asked("k", "deny"), {"reason": "secret"}, Reply(denied=True, reason="secret")),
        (asked("k", "fail"), {}, Reply(denied=True, reason="the question was declined")),
    ],
)
def test_a_refusal_replies_what_the_ask_said_it_would(
    ask: tuple[Trigger, Data], said: Data, reply: Reply
) -> None:
    """The declared default, or a no with its reason."""
    assert remembered(ask, (Trigger.DECLINE, {"key": "k", **said})).replies == {"k": reply}


def test_what_a_turn_gave_up_is_spent_in_the_next() -> None:
    """A key is never used twice, and the next turn wants an answer."""
    memory = remembered(asked("k"), (Trigger.WITHDRAW, {"key": "k"}))
    assert (memory.replies, memory.spent) == ({}, set())
    memory.begin()
    assert memory.spent == {("ask", "k")}
    assert memory.key_for(question("k")) == "k@2"


def test_a_reply_is_to_its_own_question_alone() -> None:
    """What was asked by that key before is the same, or it is an error.  Source: I13."""
    memory = remembered((Trigger.START, {}), (Trigger.ASK, question("k")))
    assert memory.key_for(question("k")) == "k"
    for other in (
        question("k", prompt="Which port?"),
        question("k", schema={"type": "integer"}),
        question("k", kind="auth", tool="pay", arguments={"eur": 9}),
    ):
        with pytest.raises(ReplayDiverged) as caught:
            memory.key_for(other)
        assert caught.value.key == "k"
        assert "Which city?" in caught.value.recorded
        # What people read is never twice the same.
        assert caught.value.asked != caught.value.recorded


def test_arguments_are_told_apart_as_json_does() -> None:
    """One is not true, and leave for ten is none for nine thousand.  Source: I13."""
    asked_before = question("k", kind="auth", tool="pay", arguments={"eur": 1})
    memory = remembered((Trigger.ASK, asked_before))
    for arguments in ({"eur": True}, {"eur": 9_000}):
        with pytest.raises(ReplayDiverged):
            memory.key_for(question("k", kind="auth", tool="pay", arguments=arguments))


def test_a_later_attempt_may_ask_something_else_under_another_key() -> None:
    """A retry is a new attempt; what it asks as before is answered from the log."""
    memory = remembered(
        (Trigger.START, {}), (Trigger.ASK, question("k")), (Trigger.RETRY, {}), (Trigger.START, {})
    )
    assert memory.key_for(question("k")) == "k"
    other = question("k", prompt="Which port?")
    assert memory.key_for(other) == "k@2"
    memory.add(event_of(Trigger.ASK, {**other, "key": "k@2"}))
    assert memory.key_for(other) == "k@2"


def test_what_was_shown_is_remembered() -> None:
    """So that a replay shows nothing twice, also when a chunk was never stored."""
    memory = remembered(
        (Trigger.EMIT, {"n": 1, "artifact": {}}),
        (Trigger.PROGRESS, {"message": "on it", "fraction": None}),
        (Trigger.EMIT, {"n": 3, "artifact": {}}),
    )
    assert (sorted(memory.emitted), len(memory.progressed)) == ([1, 3], 1)


def test_other_events_are_of_no_interest_to_an_agent() -> None:
    """Recoveries and cancels leave no trace in its memory."""
    assert remembered((Trigger.RECOVER, {}), (Trigger.CANCEL, {})) == Memory()


def test_a_call_that_was_begun_again_and_not_made_is_counted_on() -> None:
    """What a person said of the crash before says nothing of the next one.  Source: R-JRN-03."""
    call: Data = {"key": "pay-1", "name": "pay", "arguments": {}, "idempotent": False}
    end: Data = {"key": "pay-1", "value": None, "error": {"code": NOT_MADE}}
    begun, not_made = (Trigger.CALL, call), (Trigger.CALLED, end)
    assert remembered(begun, not_made, begun).calls["pay-1"].begun == 1
    memory = remembered(begun, begun, not_made)
    assert memory.calls == {}
    memory.add(event_of(*begun))
    assert memory.calls["pay-1"].begun == 2
    memory.add(event_of(*begun))
    assert memory.calls["pay-1"].begun == 3
