"""The picture shows every row of the table, and nothing else."""

import re
from typing import Final

from interlock._diagram import mermaid
from interlock._guards import Guard
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._phases import Phase, Trigger
from interlock._transitions import TABLE, Row
from lives import amended

ARROW: Final = re.compile(r"    (\S+) --> (\S+?)(?:: (.*))?")
DRAWN: Final = mermaid(LIFECYCLE)


def arrows() -> dict[tuple[str, str], str]:
    """The label of each arrow by its ends; a box is an arrow to itself."""
    found: dict[tuple[str, str], str] = {}
    for line in DRAWN.splitlines()[1:]:
        if match := ARROW.fullmatch(line):
            assert (match[1], match[2]) not in found, line
            found[match[1], match[2]] = match[3] or ""
        else:
            name, _, label = line.strip().partition(": ")
            found[name, name] = label
    return found


def ends(row: Row) -> tuple[str, str]:
    """The arrow that a row belongs to."""
    return ("[*]" if row.source is None else row.source.value, row.dest.value)


def test_every_row_is_on_its_arrow_and_every_arrow_has_a_row() -> None:
    """Drawn from the table: a picture that could differ is worse than none."""
    drawn = arrows()
    assert drawn.pop(("finalized", "[*]")) == ""
    assert drawn.keys() == {ends(row) for row in TABLE}
    for pair, label in drawn.items():
        named = set(re.findall(r"\w+", re.sub(r"\[.*?\]", "", label.replace("<br/>", " "))))
        assert named == {row.trigger.value for row in TABLE if ends(row) == pair}


def test_a_condition_stands_behind_the_triggers_it_is_for() -> None:
    """And where a pair has other rows, the last of them says `else`."""
    drawn = arrows()
    assert drawn["running", "waiting_auth"] == "ask<br/>[asks for a decision]"
    assert drawn["running", "waiting_input"] == "ask<br/>[else]"
    assert drawn["running", "completed"] == "complete"
    assert drawn["waiting_auth", "waiting_auth"] == (
        "emit, progress, called,<br/>note, ask, provide_input<br/>decline<br/>[else]<br/>"
        "approve, deny, expire,<br/>withdraw<br/>[another decision is open]"
    )


def test_a_phase_without_a_way_out_is_an_end() -> None:
    """Derived from the table, not listed a second time."""
    assert [pair for pair in arrows() if pair[1] == "[*]"] == [("finalized", "[*]")]
    assert [pair for pair in arrows() if pair[0] == "[*]"] == [("[*]", "submitted")]


def test_what_stays_in_a_phase_is_written_into_its_box_under_its_name() -> None:
    """A second line with the name alone, or Mermaid would show the triggers instead of it."""
    lines = DRAWN.splitlines()
    for phase in (Phase.RUNNING, Phase.WAITING_INPUT, Phase.WAITING_AUTH, Phase.CANCELLING):
        at = lines.index(f"    {phase}: {phase}")
        assert lines[at + 1].startswith(f"    {phase}: ")
        assert arrows()[phase.value, phase.value]


def test_signs_that_mean_something_to_mermaid_are_written_by_their_number() -> None:
    """A condition may be named by anybody; it must not break the text or leave its label."""
    (row, *_) = [row for row in TABLE if row.when is not None]
    assert row.when is not None
    named = Guard('x > 3; "y": <b>#1', row.when.holds, "")
    odd = amended(row, when=named)
    drawn = mermaid(Lifecycle([odd if each is row else each for each in TABLE]))
    assert "[x #62; 3#59; #34;y#34;#58; #60;b#62;#35;1]" in drawn
    assert drawn.count("\n") == DRAWN.count("\n")


def test_the_same_table_gives_the_same_picture() -> None:
    """In the order of the table, so that a diff shows what moved."""
    assert mermaid(LIFECYCLE) == DRAWN == mermaid(Lifecycle(TABLE))
    assert DRAWN.startswith("stateDiagram-v2\n    [*] --> submitted: submit\n")
    assert all(trigger in DRAWN for trigger in Trigger)
