"""The lifecycle as JSON of XState: complete, in order, and with names that it can take."""

import json
from typing import Any

from exported import NASTY, nasty
from interlock._machine import LIFECYCLE
from interlock.diagram._xstate import xstate
from lives import named


def said(action: dict[str, Any]) -> str:
    """An action as the specs write effects."""
    params = [name if value is True else value for name, value in action.get("params", {}).items()]
    return f"{action['type']}({', '.join(params)})" if params else str(action["type"])


def test_every_row_is_a_transition_of_its_phase_in_the_order_of_the_table() -> None:
    """With its guards, its id and its effects, and nothing besides.  Source: R-PIC-08."""
    document = json.loads(xstate(LIFECYCLE))
    found = [
        (
            source,
            event,
            each["target"],
            each.get("guard", {}).get("params", {}).get("all", []),
            [said(action) for action in each["actions"]],
        )
        for source, state in document["states"].items()
        for event, transitions in state.get("on", {}).items()
        for each in transitions
    ]
    expected = [
        (
            phase.value,
            row.trigger.value,
            row.dest.value,
            [guard.name for guard in (*row.requires, *([row.when] if row.when else []))],
            [
                f"row({row.source}.{row.trigger}.{row.dest})",
                *(named(effect) for effect in row.effects),
            ],
        )
        for phase in LIFECYCLE.phases
        for trigger in LIFECYCLE.allowed(phase)
        for row in LIFECYCLE.table
        if row.source is phase and row.trigger is trigger
    ]
    assert found == expected


def test_a_self_transition_leaves_and_enters_again() -> None:
    """As it does in our machine; without a word XState would stay inside."""
    states = json.loads(xstate(LIFECYCLE))["states"]
    assert states["running"]["on"]["emit"][0]["reenter"] is True
    assert "reenter" not in states["running"]["on"]["complete"][0]


def test_guards_and_timers_are_explained() -> None:
    """On the transition for whoever looks at the drawing, and once for all in `meta`."""
    document = json.loads(xstate(LIFECYCLE))
    start = document["states"]["submitted"]["on"]["start"][0]
    assert start["description"] == (
        "back off is over, or: it was told to wait before it starts again"
    )
    deny = document["states"]["waiting_auth"]["on"]["deny"][0]
    assert deny["description"].endswith("; if denial stops the task")
    assert deny["guard"]["type"].endswith(" and digest_matches and denial_stops_the_task")
    meta = document["meta"]
    assert meta["timers"]["ask"] == "expire"
    assert meta["begins"] == {"trigger": "submit", "effects": ["ArmTimer(task)", "Publish"]}
    assert meta["guards"]["ask_is_due"] == "ask {key} is not due yet"


def test_a_task_begins_submitted_and_only_finalized_is_final() -> None:
    """In the order of a life."""
    document = json.loads(xstate(LIFECYCLE))
    assert document["initial"] == "submitted"
    assert list(document["states"]) == [phase.value for phase in LIFECYCLE.phases]
    final = [name for name, state in document["states"].items() if state.get("type") == "final"]
    assert final == ["finalized"]
    assert document["states"]["waiting_auth"]["meta"] == {"group": "waiting"}


def test_any_name_makes_a_document_with_names_of_its_own() -> None:
    """What they are called in the table stands beside them."""
    document = json.loads(xstate(nasty()).encode())
    states = document["states"]
    assert len(states) == len(NASTY)
    assert all(name.isascii() and name.isidentifier() for name in states)
    assert states["waiting_payment"]["description"] == "waiting payment"
    (on,) = states["waiting_payment"]["on"].values()
    assert on[0]["meta"] == {"name": "waiting payment"}
    assert on[0]["guard"]["params"]["all"] == ["waiting_payment", "waiting_payment_2"]
