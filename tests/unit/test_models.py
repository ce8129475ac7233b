"""Values at the border: refused when they make no sense, JSON when they do."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from interlock.errors import InvalidInput
from interlock.models import (
    Answer,
    Approval,
    Artifact,
    Decision,
    Denial,
    Limits,
    Part,
    Retry,
    parts_of,
)


@pytest.mark.parametrize(
    "content",
    [
        {"text": "hello"},
        {"text": ""},
        {"data": {"a": [1, None]}},
        {"data": None},
        {"raw": "aGk=", "media_type": "text/plain", "filename": "a.txt"},
        {"url": "https://a.example/b", "metadata": {"a": 1}},
    ],
)
def test_a_part_is_written_as_it_was_given(content: dict[str, Any]) -> None:
    """Only what was set: null is a value of `data`, and is not left out."""
    part = Part(**content)
    assert part.to_json() == content
    assert Part.model_validate(part.to_json()) == part


@pytest.mark.parametrize(
    "content",
    [{}, {"text": "a", "data": 1}, {"text": "a", "url": "b"}, {"filename": "a"}, {"txt": "a"}],
)
def test_a_part_has_exactly_one_content(content: dict[str, Any]) -> None:
    """None, two, or a name that nobody knows: refused."""
    with pytest.raises(ValidationError):
        Part(**content)


def test_content_may_be_given_in_any_of_its_forms() -> None:
    """A text, a part, an object, or several parts."""
    part = Part(data=[1])
    assert parts_of("hello") == (Part(text="hello"),)
    assert parts_of(part) == (part,)
    assert parts_of({"a": 1}) == (Part(data={"a": 1}),)
    assert parts_of([part, Part(text="x")]) == (part, Part(text="x"))
    assert parts_of([]) == ()


@pytest.mark.parametrize(
    "content", [None, 7, b"", b"x", ["x"], [Part(text="a"), {"text": "b"}], {1, 2}, iter(())]
)
def test_content_of_another_form_is_refused(content: Any) -> None:  # noqa: ANN401
    """The error names the forms."""
    with pytest.raises(InvalidInput, match="a Part, a sequence of Parts or a mapping is accepted"):
        parts_of(content)


def test_an_artifact_has_an_id_and_something_in_it() -> None:
    """Appending and ending are said chunk by chunk."""
    part = Part(text="a")
    chunk = Artifact(artifact_id="a", parts=(part,), append=True, last_chunk=True)
    assert Artifact.model_validate(chunk.model_dump(mode="json", exclude_unset=True)) == chunk
    for wrong in ({"artifact_id": "", "parts": (part,)}, {"artifact_id": "a", "parts": ()}):
        with pytest.raises(ValidationError):
            Artifact.model_validate(wrong)


DECISION: TypeAdapter[Approval | Denial] = TypeAdapter(Decision)


def test_a_decision_says_which_it_is() -> None:
    """Never guessed from a text, a default or a missing field."""
    about = {"ask": "k", "digest": "d"}
    assert DECISION.validate_python({**about, "decision": "approve"}) == Approval(
        ask="k", digest="d", decision="approve"
    )
    denial = DECISION.validate_python({**about, "decision": "deny", "reason": "no"})
    assert isinstance(denial, Denial)
    wrongs: list[dict[str, Any]] = [
        {},
        {"decision": "yes"},
        {"decision": "deny", "arguments": {}},
    ]
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            DECISION.validate_python({**about, **wrong})


def test_an_answer_or_a_decision_names_what_it_is_about() -> None:
    """An empty key or digest is none."""
    with pytest.raises(ValidationError):
        Answer(ask="", value=1)
    with pytest.raises(ValidationError):
        Approval(ask="k", digest="", decision="approve")
    with pytest.raises(ValidationError):
        Denial(ask="", digest="d", decision="deny")
    assert Answer(ask="k", value=None).value is None


def test_values_cannot_be_changed() -> None:
    """They are passed on and kept; nobody may write to them.  Source: R-ENG-20."""
    with pytest.raises(ValidationError):
        setattr(Limits(), "grace_s", 1.0)  # noqa: B010  (the checkers refuse it as well)


def test_a_retry_backs_off_up_to_its_maximum() -> None:
    """Each wait is the factor longer than the one before."""
    retry = Retry(attempts_max=9, backoff_s=1.0, backoff_factor=3.0, backoff_max_s=10.0)
    assert [retry.delay_s(attempt) for attempt in (1, 2, 3, 4)] == [1.0, 3.0, 9.0, 10.0]


def test_a_retry_that_was_tried_very_often_still_has_a_delay() -> None:
    """A power of two beyond all floats must not turn a retry into a crash."""
    assert Retry(attempts_max=5_000).delay_s(4_000) == 60.0


@pytest.mark.parametrize(
    "limits",
    [
        {"running_turns_max": 0},
        {"queued_tasks_max": -1},
        {"inbox_max": 0},
        {"log_events_max": 15},
        {"ask_s": 0},
        {"run_s": 0},
        {"grace_s": -1},
        {"drain_s": -0.5},
        {"retry": {"attempts_max": 0}},
        {"grace_seconds": 1},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(limits: dict[str, Any]) -> None:
    """At the start, not at the task that meets it.  Source: R-ENG-20."""
    with pytest.raises(ValidationError):
        Limits(**limits)


@pytest.mark.parametrize("name", ["ask_s", "run_s", "task_s", "grace_s", "drain_s"])
def test_a_limit_of_time_is_a_number_that_a_deadline_can_be_made_of(name: str) -> None:
    """Infinity or NaN would be no deadline, and no JSON."""
    for wrong in (float("inf"), float("nan")):
        with pytest.raises(ValidationError):
            Limits.model_validate({name: wrong})


def test_the_default_limits_are_all_there() -> None:
    """Everything is bounded unless somebody says otherwise."""
    assert all(value is not None for _, value in Limits())
