"""The lifecycle as SCXML: complete, in order, and readable by whoever reads XML."""

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

import pytest
from statemachine import StateChart

from exported import NASTY, Table, guard, nasty, phase
from interlock._changes import unchanged
from interlock._machine import LIFECYCLE
from interlock._phases import Phase, Trigger
from interlock._transitions import Row
from interlock.diagram._document import Names
from interlock.diagram._scxml import scxml
from lives import named

SCXML: Final = "{http://www.w3.org/2005/07/scxml}"
OURS: Final = "{urn:interlock:lifecycle}"


def read(text: str) -> ET.Element:
    """The document as whoever gets it sees it: bytes of a file."""
    return ET.fromstring(text.encode())  # noqa: S314  (it is ours)


def moves(root: ET.Element) -> list[tuple[str, str, str, Sequence[str], list[str]]]:
    """What each transition says: source, event, target, guards, logged."""
    found: list[tuple[str, str, str, Sequence[str], list[str]]] = []
    for state in root:
        for each in state.findall(f"{SCXML}transition"):
            guards = [name for name in each.get("cond", "").split(" && ") if name]
            logged = [f"{log.get('label')} {log.get('expr')}" for log in each]
            source, event, target = state.get("id"), each.get("event"), each.get("target")
            assert source and event and target  # noqa: PT018  (for the types)
            found.append((source, event, target, guards, logged))
    return found


def test_every_row_is_a_transition_of_its_phase_in_the_order_of_the_table() -> None:
    """With its guards, its id and its effects, and nothing besides.  Source: R-PIC-07."""
    expected = [
        (
            phase.value,
            row.trigger.value,
            row.dest.value,
            [
                f"_event.data.{guard.name}"
                for guard in (*row.requires, *([row.when] if row.when else []))
            ],
            [
                f"row '{row.source}.{row.trigger}.{row.dest}'",
                *(f"effect '{named(effect)}'" for effect in row.effects),
            ],
        )
        for phase in LIFECYCLE.phases
        for row in LIFECYCLE.table
        if row.source is phase
    ]
    assert moves(read(scxml(LIFECYCLE))) == expected


def test_a_task_begins_submitted_and_only_finalized_is_final() -> None:
    """An interpreter stops there, as the task does."""
    root = read(scxml(LIFECYCLE))
    assert root.tag == f"{SCXML}scxml"
    assert (root.get("initial"), root.get("version")) == ("submitted", "1.0")
    assert [state.get("id") for state in root] == [each.value for each in LIFECYCLE.phases]
    assert [each.get("id") for each in root.findall(f"{SCXML}final")] == ["finalized"]
    assert root[0].get(f"{OURS}group") == "live"


def test_it_says_why_each_guard_refuses_and_what_each_timer_fires() -> None:
    """For whoever reads the file itself."""
    text = scxml(LIFECYCLE)
    assert "  back_off_is_over: it was told to wait before it starts again\n" in text
    assert "  grace fires abandon\n" in text
    assert "A task begins by submit, which asks for: ArmTimer(task), Publish." in text


def test_any_name_makes_a_document_with_names_of_its_own() -> None:
    """Spaces, other scripts, quotes, ends of comments, and signs that XML cannot hold."""
    root = read(scxml(nasty()))
    ids = [state.get("id", "") for state in root]
    # Some tools take names that differ in capitals or underscores only for one.
    assert len({name.replace("_", "").lower() for name in ids}) == len(NASTY)
    assert all(name.isascii() and name.isidentifier() for name in ids)
    assert ids[:2] == ["waiting_payment", "waiting_payment_2"]
    assert root[0].get(f"{OURS}name") == "waiting payment"
    assert root[NASTY.index('say "no" & <go>')].get(f"{OURS}name") == 'say "no" & <go>'
    assert root[NASTY.index("\x00")].get(f"{OURS}name") == "\ufffd"


def test_two_guards_of_one_name_stay_two() -> None:
    """They come from two modules, and may come to different things."""
    begin = Row(Trigger.SUBMIT, None, Phase.SUBMITTED, unchanged)
    both = (guard("ready"), guard("ready"))
    row = Row(Trigger.START, Phase.SUBMITTED, Phase.RUNNING, unchanged, (), both)
    (move,) = moves(read(scxml(Table([begin, row], [Phase.SUBMITTED, Phase.RUNNING]))))
    assert move[3] == ["_event.data.ready", "_event.data.ready_2"]


def test_no_name_is_one_that_the_interpreter_keeps_for_itself() -> None:
    """It makes an attribute of its machine out of each phase and trigger."""
    kept = [name for name in dir(StateChart) if not name.startswith("_")]
    begin = Row(Trigger.SUBMIT, None, phase("send"), unchanged)
    names = Names(Table([begin], [phase(name) for name in kept]))
    assert set(names.phases.values()).isdisjoint(kept)


@pytest.mark.parametrize("count", [0, 2])
def test_a_table_that_makes_no_task_or_two_is_refused(count: int) -> None:
    """A document has one beginning."""
    begin = Row(Trigger.SUBMIT, None, Phase.SUBMITTED, unchanged)
    with pytest.raises(ValueError, match=f"and this one {count}"):
        scxml(Table([begin] * count, [Phase.SUBMITTED]))
