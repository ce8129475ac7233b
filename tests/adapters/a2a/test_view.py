"""The projection: any life, seen whole, in pieces, and as the record has it."""

from typing import Any, Final

import pytest
from a2a.types import ListTasksResponse, Task, TaskStatusUpdateEvent
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st

from interlock import LIFECYCLE, OVER, Ended, Event, Phase, Signal, Stopping, Trigger, fold
from interlock._record import StopCause
from interlock.errors import Refused
from interlock_adapters._stops import STOPS
from interlock_adapters.a2a._json import KEPT, NESTING_SHOWN_MAX, Json, part_shown, rfc3339
from interlock_adapters.a2a._map import ABANDONED, CODE, EVENT, PHASE, SEQ, STATE_NAME_OF
from interlock_adapters.a2a._view import (
    Projection,
    place_of,
    task_json,
    task_of,
    update_of,
)

DIGEST: Final = "d1"
AT: Final = 1_000.0
#: What may happen to a task: the trigger, who does it, and its data beside epoch and key.
MOVES: Final[list[tuple[Trigger, str, dict[str, Any]]]] = [
    (Trigger.START, "engine", {"run_s": 30.0}),
    (Trigger.CLAIM, "engine", {"epoch": 1}),
    (Trigger.RECOVER, "engine", {"run_s": 30.0}),
    (Trigger.REJECT, "agent", {"code": "rejected", "message": "not me"}),
    (Trigger.EMIT, "agent", {"artifact": {"artifact_id": "a", "parts": [{"text": "x"}]}}),
    (
        Trigger.EMIT,
        "agent",
        {"artifact": {"artifact_id": "a", "parts": [{"data": [1]}], "append": True}},
    ),
    (Trigger.EMIT, "agent", {"artifact": {"artifact_id": "result", "parts": [{"url": "u:"}]}}),
    (Trigger.PROGRESS, "agent", {"message": "half", "fraction": 0.5}),
    (Trigger.PROGRESS, "agent", {"message": "more", "fraction": None}),
    (Trigger.ASK, "agent", {"kind": "input", "schema": {"type": "string"}}),
    (Trigger.ASK, "agent", {"kind": "input", "schema": {}, "on_expire": "default"}),
    (Trigger.ASK, "agent", {"kind": "auth", "schema": {}, "on_deny": "tell_agent"}),
    (Trigger.ASK, "agent", {"kind": "auth", "schema": {}, "on_expire": "deny"}),
    (Trigger.WITHDRAW, "agent", {}),
    (Trigger.PROVIDE_INPUT, "ada", {"value": "yes", "token": "m2", "message": [{"text": "yes"}]}),
    (Trigger.PROVIDE_INPUT, "ada", {"value": "by another protocol"}),
    (Trigger.DECLINE, "ada", {"reason": "none of your business"}),
    (Trigger.DECLINE, "ada", {"token": "m3", "message": [{"text": "no"}]}),
    (Trigger.APPROVE, "ada", {"arguments": {"n": 1}, "edited": False}),
    (Trigger.DENY, "ada", {"reason": "too dear"}),
    (Trigger.EXPIRE, "timer", {}),
    (Trigger.OVERRUN, "timer", {"timer": "run"}),
    (Trigger.OVERRUN, "timer", {"timer": "task"}),
    (Trigger.CANCEL, "ada", {"reason": "changed my mind"}),
    (Trigger.CANCEL, "ada", {}),
    (Trigger.COMPLETE, "agent", {"parts": [{"text": "done"}]}),
    (Trigger.COMPLETE, "agent", {"parts": []}),
    (Trigger.FAIL, "agent", {"code": "agent_raised", "message": "it failed"}),
    (Trigger.RETRY, "agent", {"code": "busy", "message": "again", "not_before": AT}),
    (Trigger.STOPPED, "agent", {}),
    (Trigger.ABANDON, "timer", {}),
    (Trigger.FINALIZE, "engine", {"turn_alive": False, "deliveries_left": 0}),
]
SUBMITTED: Final = {
    "task_id": "t",
    "owner": "ada",
    "context_id": "c",
    "parts": [{"text": "go"}],
    "due": AT + 50,
    "token": "m1",
    "metadata": {"mine": 1, KEPT: {"extensions": ["x:y"], "reference_task_ids": ["r"]}},
}


@st.composite
def lives(draw: st.DrawFn) -> list[Event]:
    """The log of a task to which anything happened that the machine allows."""
    move = LIFECYCLE.submit(Signal(Trigger.SUBMIT, SUBMITTED, "ada", AT))
    record, events = move.record, [move.event]
    for index, (trigger, actor, given_data) in enumerate(
        draw(st.lists(st.sampled_from(MOVES), max_size=25))
    ):
        key = f"k{index}"
        if trigger is not Trigger.ASK and record.asks:
            key = draw(st.sampled_from([ask.key for ask in record.asks]))
        data = {
            "epoch": record.epoch, "key": key, "n": index, "asks_max": 9, "log_events_max": 99,
            "grace_s": 0.0, "digest": DIGEST, "prompt": "?", "due": AT + 1, "on_expire": "fail",
            "tool": "book", "arguments": {"n": 1}, **given_data,
        }  # fmt: skip
        at = AT + 100 if actor == "timer" else AT
        try:
            move = LIFECYCLE.fire(record, Signal(trigger, data, actor, at))
        except Refused:
            continue
        record = move.record
        events.append(move.event)
    return events


@given(lives())
def test_a_projection_says_what_the_record_says(events: list[Event]) -> None:
    """The record is a fold of the log too; the two may not disagree."""
    record, task = fold(events), task_json(events)
    assert task["status"]["state"] == STATE_NAME_OF[record.shown]
    assert task["metadata"][PHASE] == record.shown.value
    asked = [part["data"] for part in _parts(task["status"]) if "data" in part]
    assert [(ask["ask"], ask["kind"]) for ask in asked] == [(a.key, a.kind) for a in record.asks]
    match record.details:
        case Ended(code=code, abandoned=abandoned):
            assert task["metadata"].get(CODE) == code
            assert task["metadata"].get(ABANDONED, False) == abandoned
        case Stopping(cause=cause):
            assert task["metadata"][CODE] == cause
        case _:
            pass


@given(lives())
def test_the_updates_amount_to_the_task(events: list[Event]) -> None:
    """Whoever saw the task at any moment, and every update since, knows it as it is.

    Source: R-A2A-03.
    """
    whole = task_json(events)
    for seen in range(1, len(events) + 1):
        shown = Projection(events[:seen])
        task = shown.task_json()
        for event in events[seen:]:
            for update in shown.updates_json(event):
                _apply(task, update)
        # After an artifact alone the time is another, and nothing tells it.
        assert {**task["status"], "timestamp": None} == {**whole["status"], "timestamp": None}
        assert task.get("artifacts", []) == whole.get("artifacts", [])


@given(lives())
def test_a_stream_shows_a_life_once_and_ends_with_its_end(events: list[Event]) -> None:
    """Places only grow, and what is after the outcome is not shown.  Source: R-A2A-03."""
    projection = Projection(events[:1])
    shown = [update for event in events[1:] for update in projection.updates_json(event)]
    places = [int(place_of(update)[EVENT]) for update in shown]
    assert places == sorted(places)
    over = [update for update in shown if _phase(update) in OVER]
    assert len(over) == (projection.phase in OVER)
    assert not over or over[0] is shown[-1]


@given(lives())
def test_protobuf_reads_all_of_it(events: list[Event]) -> None:
    """The JSON is the protocol's: nothing is unknown to it, nothing lost but the kind of number."""
    task = task_json(events)
    assert MessageToDict(ParseDict(task, Task())) == task
    assert task_of(events) == ParseDict(task, Task())
    whole = Projection(events[:1])
    for event in events[1:]:
        for update in whole.updates_json(event):
            (shown,) = update.values()
            read = MessageToDict(update_of(update))
            kept = {name: value for name, value in shown.items() if value is not False}
            assert read == kept
    whole = Projection(events[:1])
    assert [update for event in events[1:] for update in whole.updates(event)] == [
        update for event in events[1:] for update in _after(events, event)
    ]


@given(lives(), st.integers(0, 30))
def test_history_is_the_latest_of_what_was_said(events: list[Event], length: int) -> None:
    """Source: A2A 1.0 §3.2.4; what the status says is not said twice."""
    task = task_json(events)
    history = task.get("history", [])
    latest = task_json(events, history_length=length).get("history", [])
    assert latest == (history[-length:] if length else [])
    ids = [message["messageId"] for message in history]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "m1"
    if not any("data" in part for part in _parts(task["status"])):
        assert task["status"].get("message", {}).get("messageId") not in ids


def _after(events: list[Event], event: Event) -> list[Any]:
    return Projection(events[: event.seq - 1]).updates(event)


def _parts(status: Json) -> list[Json]:
    parts: list[Json] = status.get("message", {}).get("parts", [])
    return parts


def _phase(update: Json) -> Phase:
    return Phase(place_of(update).get(PHASE, "running"))


def _apply(task: Json, update: Json) -> None:
    """What a client does with an update."""
    if "statusUpdate" in update:
        task["status"] = update["statusUpdate"]["status"]
        return
    said = update["artifactUpdate"]
    artifacts = task.setdefault("artifacts", [])
    chunk = said["artifact"]
    kept = next((a for a in artifacts if a["artifactId"] == chunk["artifactId"]), None)
    if kept is None:
        artifacts.append(chunk)
    elif said["append"]:
        artifacts[artifacts.index(kept)] = {**kept, "parts": kept["parts"] + chunk["parts"]}
    else:
        artifacts[artifacts.index(kept)] = chunk


def test_every_cause_of_a_stop_has_its_words() -> None:
    """The codes are the record's own."""
    assert STOPS.keys() == {cause.value for cause in StopCause}


def test_what_would_choke_a_reader_is_shown_as_text() -> None:
    """Protobuf stops at a hundred messages, and doubles at 1024 bits."""
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    shown = part_shown({"data": {"deep": deep, "large": 2**1023, "flat": [1]}})["data"]
    page = ParseDict({"tasks": [{"history": [{"parts": [{"data": shown}]}]}]}, ListTasksResponse())
    assert ListTasksResponse.FromString(page.SerializeToString()) == page
    assert (shown["flat"], shown["large"]) == ([1], str(2**1023))
    level = shown["deep"]
    for _ in range(NESTING_SHOWN_MAX - 1):
        (level,) = level
    assert isinstance(level, str)


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ({"text": ""}, {"text": ""}),
        ({"data": None}, {"data": None}),
        ({"raw": "AQI=", "media_type": "image/png"}, {"raw": "AQI=", "mediaType": "image/png"}),
        ({"raw": "not base64!"}, {"text": "not base64!"}),
        ({"url": "https://a.test", "filename": None}, {"url": "https://a.test"}),
        ({"text": "a", "metadata": {"b": 1}}, {"text": "a", "metadata": {"b": 1}}),
    ],
)
def test_a_part_is_shown_as_it_was_kept(kept: Json, shown: Json) -> None:
    """Only names differ, and what no reader could take."""
    assert part_shown(kept) == shown
    ParseDict({"message": {"parts": [shown]}}, TaskStatusUpdateEvent().status)


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1_700_000_000.123_456_7, "2023-11-14T22:13:20.123456Z"),
        (1_000_000.5, "1970-01-12T13:46:40.500000Z"),
        (1e12, "9999-12-31T23:59:59Z"),
        (1.7e308, "9999-12-31T23:59:59Z"),
    ],
)
def test_a_time_is_never_shown_later_than_it_was(at: float, shown: str) -> None:
    """Whoever filters by it must find the task."""
    assert rfc3339(at) == shown


def test_a_result_makes_room_for_an_artifact_of_its_name() -> None:
    """The agent's own artifact named `result` stays."""
    emitted = {"artifact_id": "result", "parts": [{"text": "mine"}]}
    log = [
        Event(1, AT, 0, Trigger.SUBMIT, None, Phase.SUBMITTED, "ada", SUBMITTED),
        Event(2, AT, 1, Trigger.START, Phase.SUBMITTED, Phase.RUNNING, "engine", {"run_s": 1}),
        Event(3, AT, 1, Trigger.EMIT, Phase.RUNNING, Phase.RUNNING, "agent", {"artifact": emitted}),
        Event(
            4,
            AT,
            1,
            Trigger.COMPLETE,
            Phase.RUNNING,
            Phase.COMPLETED,
            "agent",
            {"parts": [{"text": "done"}]},
        ),
    ]
    assert [a["artifactId"] for a in task_json(log)["artifacts"]] == ["result", "result-4"]
    assert task_json(log)["metadata"][SEQ] == 4
