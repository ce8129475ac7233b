"""The memory of a turn: what the log says that its agent has already done."""

import pytest

from interlock._event import Data, Event
from interlock._memory import Memory, Reply
from interlock._phases import Phase, Trigger


def remembered(*happened: tuple[Trigger, Data]) -> Memory:
    """A memory of these events; where they led is of no interest to it."""
    memory = Memory()
    for seq, (trigger, data) in enumerate(happened, start=1):
        memory.add(Event(seq, 1.0, 1, trigger, Phase.RUNNING, Phase.RUNNING, "x", data))
    return memory


def asked(key: str, on_expire: str = "fail", **more: object) -> tuple[Trigger, Data]:
    """The event of an ask."""
    return Trigger.ASK, {"key": key, "on_expire": on_expire, **more}


def test_an_empty_memory_knows_nothing() -> None:
    """The first turn of a task has done nothing yet."""
    memory = Memory()
    assert (memory.request, memory.replies, memory.withdrawn) == ({}, {}, set())
    assert (memory.spent, memory.emitted, memory.progressed) == (set(), set(), 0)


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
    """An approval's reply is the arguments that were approved."""
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


def test_a_withdrawn_ask_has_no_reply() -> None:
    """The agent gave it up; a replay must give it up again."""
    memory = remembered(asked("k"), (Trigger.WITHDRAW, {"key": "k"}))
    assert "k" in memory.withdrawn
    assert memory.replies == {}


def test_what_an_attempt_gave_up_is_spent_in_the_next() -> None:
    """A key is never used twice, and the next attempt wants an answer."""
    retried = remembered(asked("k"), (Trigger.WITHDRAW, {"key": "k"}), (Trigger.RETRY, {}))
    assert (retried.withdrawn, retried.spent) == (set(), {"k"})


def test_what_was_shown_is_remembered() -> None:
    """So that a replay shows nothing twice, also when a chunk was never stored."""
    memory = remembered((Trigger.EMIT, {"n": 1}), (Trigger.PROGRESS, {}), (Trigger.EMIT, {"n": 3}))
    assert (memory.emitted, memory.progressed) == ({1, 3}, 1)


def test_other_events_are_of_no_interest_to_an_agent() -> None:
    """Starts, recoveries and cancels leave no trace in its memory."""
    assert remembered((Trigger.START, {}), (Trigger.RECOVER, {}), (Trigger.CANCEL, {})) == Memory()
