"""An event is JSON already, and what is read back is what was written."""

import json

import pytest

from interlock._event import MACHINES, Event, Signal
from interlock._machine import LIFECYCLE, fire
from interlock._phases import Phase, Trigger
from lives import OWNER, SUBMITTED, everything

FIRST = LIFECYCLE.submit(Signal(Trigger.SUBMIT, SUBMITTED, OWNER, 2.0)).event


def test_every_event_survives_its_own_json() -> None:
    """Of each move of the table; the log is the only truth, so nothing may get lost (I27).

    Source: R-LIFE-20.
    """
    events = [FIRST, *(fire(record, signal).event for record, signal in everything())]
    for event in events:
        again = Event.from_json(json.loads(json.dumps(event.to_json(), allow_nan=False)))
        assert again == event


def test_an_event_is_written_with_plain_values() -> None:
    """Names of phases and triggers, no Python about it."""
    assert FIRST.to_json() == {
        "seq": 1, "at": 2.0, "epoch": 0, "trigger": "submit", "source": None,
        "dest": "submitted", "actor": OWNER, "data": SUBMITTED,
    }  # fmt: skip
    assert type(FIRST.to_json()["trigger"]) is str
    assert type(FIRST.to_json()["dest"]) is str


def test_the_data_that_are_written_are_not_those_of_the_event() -> None:
    """Whoever gets the JSON may add to it."""
    FIRST.to_json()["data"]["more"] = 1
    assert "more" not in FIRST.data


@pytest.mark.parametrize("field", sorted(FIRST.to_json()))
def test_an_entry_without_one_of_its_fields_is_refused(field: str) -> None:
    """A damaged entry raises; it never becomes half an event."""
    entry = FIRST.to_json()
    del entry[field]
    with pytest.raises(KeyError, match=field):
        Event.from_json(entry)


@pytest.mark.parametrize("field", ["trigger", "source", "dest"])
def test_an_entry_with_an_unknown_name_is_refused(field: str) -> None:
    """Of a newer version, or damaged: never guessed.  Source: R-LIFE-20."""
    with pytest.raises(ValueError, match="nonsense"):
        Event.from_json({**FIRST.to_json(), field: "nonsense"})


def test_machines_are_not_people() -> None:
    """Nobody can be an owner or an approver under these names (I25).  Source: R-ENG-06."""
    assert {"agent", "engine", "timer"} == MACHINES
    assert OWNER not in MACHINES


def test_phases_and_triggers_are_their_own_text() -> None:
    """What is written to a log or shown in a message is the name, on every Python."""
    assert f"{Phase.WAITING_AUTH}" == "waiting_auth"
    assert f"{Trigger.PROVIDE_INPUT}" == "provide_input"
