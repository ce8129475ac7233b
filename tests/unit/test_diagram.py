"""The picture shows every row of the table, and nothing else; so does every text made of it."""

import itertools
import re
from collections.abc import Callable
from typing import Final

import pytest

from exported import guard, nasty, phase, trigger
from interlock import diagram, mermaid
from interlock._changes import unchanged
from interlock._effects import ArmTimer, DisarmTimer, StopTurn, TimerKind
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._phases import Group, Phase, Trigger
from interlock._transitions import TABLE, Row
from interlock.diagram import Arrow, Declared, Look, Picture, Style
from interlock.diagram._look import WIDTH_PT_MAX
from interlock.diagram._picture import effect_words, picture_of
from lives import amended

PICTURE: Final = picture_of(LIFECYCLE)
TEXTS: Final[list[Callable[[Declared], str]]] = [
    diagram.mermaid,
    diagram.dot,
    diagram.plantuml,
    diagram.table,
]
ARROW: Final = re.compile(r"    (\S+) --> (\S+?)(?:: (.*))?")
DRAWN: Final = mermaid(LIFECYCLE)


def arrow(name: str) -> Arrow:
    """The arrow of that id."""
    (found,) = [each for each in PICTURE.arrows if each.id == name]
    return found


def ids_of(picture: Picture) -> list[str]:
    """The ids of all boxes and arrows."""
    return [*(box.id for box in picture.boxes), *(each.id for each in picture.arrows)]


# --- the picture ----------------------------------------------------------------------------


def test_every_row_is_on_one_arrow_or_in_one_box_and_nothing_else_is() -> None:
    """Drawn from the table: a picture that could differ is worse than none.  Source: R-PIC-01."""
    assert sorted(id(row) for way in PICTURE.ways for row in way.rows) == sorted(map(id, TABLE))
    for each in PICTURE.arrows:
        start = None if each.source is None else each.source.phase
        assert each.rows
        assert {(row.source, row.dest) for row in each.rows} == {(start, each.dest.phase)}
        said = [name for clause in each.clauses for name in clause.triggers]
        assert sorted(said) == sorted(row.trigger.value for row in each.rows)
    for box in PICTURE.boxes:
        assert {(row.source, row.dest) for row in box.rows} <= {(box.phase, box.phase)}


def test_every_phase_has_one_box_in_one_cluster() -> None:
    """In the order of a life."""
    assert [box.phase for box in PICTURE.boxes] == list(LIFECYCLE.phases)
    assert sorted(box.id for each in PICTURE.clusters for box in each.boxes) == sorted(
        box.id for box in PICTURE.boxes
    )
    waiting = next(each for each in PICTURE.clusters if each.group is Group.WAITING)
    assert [box.name for box in waiting.boxes] == ["waiting_input", "waiting_auth"]


def test_a_condition_stands_behind_the_triggers_it_is_for() -> None:
    """And where a pair has other rows, the last of them says `else`."""
    assert [each.condition for each in arrow("edge-running-waiting_auth").clauses] == [
        "asks for a decision"
    ]
    assert [each.condition for each in arrow("edge-running-waiting_input").clauses] == ["else"]
    assert [each.condition for each in arrow("edge-running-completed").clauses] == [""]
    stays = PICTURE.box(Phase.WAITING_INPUT).stays
    assert stays[-1].condition == "else"
    assert stays[-1].triggers == ("provide_input", "decline", "expire", "withdraw")


def test_effects_are_said_in_short_words_work_first_and_publish_never() -> None:
    """Nearly every row publishes; what is everywhere says nothing."""
    (clause,) = arrow("edge-running-cancelling").clauses
    assert clause.effects == ("stop turn", "-run", "-task", "+grace")
    assert effect_words(StopTurn()) == "stop turn"
    assert effect_words(ArmTimer(TimerKind.RUN)) == "+run"
    assert effect_words(DisarmTimer(TimerKind.ASK)) == "-ask"
    assert "publish" not in {
        word for each in PICTURE.arrows for c in each.clauses for word in c.effects
    }


def test_a_phase_without_a_way_out_is_the_end() -> None:
    """Derived from the table, not listed a second time."""
    assert [box.name for box in PICTURE.boxes if box.final] == ["finalized"]
    assert [each.id for each in PICTURE.arrows if each.source is None] == ["edge-new-submitted"]


def test_ids_are_plain_words_and_no_two_the_same() -> None:
    """They go into style sheets, and a hyphen parts the ends of an arrow."""
    drawn = picture_of(nasty())
    ids = ids_of(drawn)
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"state-\w+|edge-\w+-\w+", name, re.ASCII) for name in ids)


def test_a_move_is_found_by_its_ends() -> None:
    """For layers, which know events."""
    assert PICTURE.way(Phase.RUNNING, Phase.COMPLETED) is arrow("edge-running-completed")
    assert PICTURE.way(None, Phase.SUBMITTED) is arrow("edge-new-submitted")
    assert PICTURE.way(Phase.RUNNING, Phase.RUNNING) is PICTURE.box(Phase.RUNNING)
    with pytest.raises(KeyError):
        PICTURE.way(Phase.COMPLETED, Phase.RUNNING)
    with pytest.raises(KeyError):
        PICTURE.way(Phase.COMPLETED, Phase.COMPLETED)
    with pytest.raises(KeyError):
        PICTURE.box(phase("waiting_payment"))


# --- every text -----------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_table_gives_the_same_text(text: Callable[[Declared], str]) -> None:
    """So that a diff shows what moved; and it is all there.  Source: R-PIC-01."""
    assert text(LIFECYCLE) == text(Lifecycle(TABLE))
    for name in (*Phase, *Trigger):
        assert name in text(LIFECYCLE)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_can_be_written_whatever_the_names_are(text: Callable[[Declared], str]) -> None:
    """Not every string is one that a file can hold.  Source: R-PIC-02."""
    assert text(nasty()).encode()


# --- Mermaid --------------------------------------------------------------------------------


def arrows() -> dict[tuple[str, str], str]:
    """The label of each arrow of the Mermaid text by its ends; a box is an arrow to itself."""
    found: dict[tuple[str, str], str] = {}
    for line in DRAWN.splitlines()[1:]:
        if match := ARROW.fullmatch(line):
            assert (match[1], match[2]) not in found, line
            found[match[1], match[2]] = match[3] or ""
        elif ": " in line:
            name, _, label = line.strip().partition(": ")
            found[name, name] = label
    return found


def ends(row: Row) -> tuple[str, str]:
    """The arrow that a row belongs to."""
    return ("[*]" if row.source is None else row.source.value, row.dest.value)


def test_mermaid_has_every_trigger_on_its_arrow_and_no_other() -> None:
    """Read back from the text, not from the picture."""
    drawn = arrows()
    assert drawn.pop(("finalized", "[*]")) == ""
    kept = set(map(ends, TABLE))
    assert drawn.keys() == kept | {(each.value, each.value) for each in Phase}
    for pair in kept:
        lines = re.sub(r"\[.*?\]", "", drawn[pair]).split("<br/>")
        named = {word for line in lines for word in re.findall(r"\w+", line.split("/")[0])}
        assert named == {row.trigger.value for row in TABLE if ends(row) == pair}


def test_mermaid_says_condition_and_effects_on_the_arrow() -> None:
    """What all clauses do is said once, at the end."""
    drawn = arrows()
    assert drawn["running", "waiting_auth"] == "ask [asks for a decision]<br/>/ -run, +ask"
    assert drawn["waiting_input", "cancelling"] == (
        "decline [decline stops the task]<br/>expire [expiry stops the task]<br/>"
        "cancel, overrun<br/>/ stop turn, -ask, -task, +grace"
    )
    assert drawn["completed", "finalized"] == "finalize"


def test_mermaid_shows_what_stays_in_a_phase_under_its_name() -> None:
    """A second line with the name alone, or Mermaid would show the triggers instead of it."""
    lines = DRAWN.splitlines()
    for each in (box.name for box in PICTURE.boxes if box.stays):
        at = lines.index(f"    {each}: {each}")
        assert lines[at + 1].startswith(f"    {each}: ")


def test_mermaid_paints_the_groups() -> None:
    """It draws no arrows between the insides of two composite states, so no boxes around."""
    assert "    class waiting_input,waiting_auth in_waiting\n" in DRAWN
    assert "    classDef in_waiting fill:#" in DRAWN


def test_signs_that_mean_something_to_mermaid_are_written_by_their_number() -> None:
    """A condition may be named by anybody and must not leave its label.  Source: R-PIC-02."""
    (row, *_) = [row for row in TABLE if row.when is not None]
    odd = amended(row, when=guard('x > 3; "y": <b>#1'))
    drawn = mermaid(Lifecycle([odd if each is row else each for each in TABLE]))
    assert "[x #62; 3#59; #34;y#34;#58; #60;b#62;#35;1]" in drawn
    assert drawn.count("\n") == DRAWN.count("\n")


def test_names_that_mermaid_cannot_read_are_told_from_identifiers() -> None:
    """A hyphen is no sign of one, and `end` ends the diagram.  Source: R-PIC-02."""
    names = ["needs-auth", "waiting input", "état", "end", "endx", "state"]
    phases = [phase(name) for name in names]
    rows = [Row(trigger("go-on; now"), None, phases[0], unchanged)]
    rows += [
        Row(trigger("x: y"), source, dest, unchanged) for source, dest in itertools.pairwise(phases)
    ]
    drawn = mermaid(Named(rows, phases))
    assert "    [*] --> needs_auth: go-on#59; now\n" in drawn
    assert "    needs_auth --> waiting_input: x#58; y\n" in drawn
    assert "    waiting_input --> _tat: " in drawn
    assert "    _tat --> endxx: " in drawn
    assert "    endxx --> endx: " in drawn
    assert "    endx --> statex: " in drawn
    assert "    needs_auth: needs-auth\n" in drawn
    assert "    _tat: état\n" in drawn


class Named:
    """A table that nobody checked."""

    def __init__(self, table: list[Row], phases: list[Phase]) -> None:
        self.table: Final = table
        self.phases: Final = phases


# --- DOT ------------------------------------------------------------------------------------


def test_dot_declares_every_box_and_arrow_once_by_its_id() -> None:
    """With the ids that the SVG has."""
    drawn = diagram.dot(LIFECYCLE)
    for name in ids_of(PICTURE):
        assert drawn.count(f'id="{name}"') == 1
    assert drawn.count(" -> ") == 2 * len(PICTURE.arrows)
    assert drawn.count("peripheries=2") == 1


def test_dot_says_names_as_text_and_never_as_markup() -> None:
    """Labels are of Graphviz's HTML kind.  Source: R-PIC-02."""
    drawn = diagram.dot(nasty())
    assert "say &quot;no&quot; &amp; &lt;go&gt;" in drawn
    assert "<go>" not in drawn


def test_arrows_that_lead_back_are_declared_the_other_way_round() -> None:
    """Or they would go all the way around the picture."""
    drawn = diagram.dot(LIFECYCLE)
    assert '"state-submitted" -> "edge-running-submitted" [dir=back, ' in drawn
    assert '"edge-running-submitted" -> "state-running" [dir=none, ' in drawn
    assert '"edge-running-completed" -> "state-completed" [class=' in drawn


# --- PlantUML and Markdown ------------------------------------------------------------------


def test_plantuml_draws_groups_around_their_phases() -> None:
    """It can, where Mermaid cannot."""
    drawn = diagram.plantuml(LIFECYCLE)
    assert drawn.startswith("@startuml\n")
    assert drawn.endswith("@enduml\n")
    assert 'state "waiting" as group_waiting ' in drawn
    assert '  state "waiting_auth" as state_waiting_auth ' in drawn
    assert " : ask [asks for a decision]\\n/ -run, +ask\n" in drawn
    assert "state_finalized --> [*]\n" in drawn


def test_plantuml_takes_no_sign_of_a_name_for_markup() -> None:
    """Its markup is made of pairs: `--` strikes out, `//` leans.  Source: R-PIC-02."""
    drawn = diagram.plantuml(nasty())
    assert "it<U+0027>s <U+002D><U+002D> so" in drawn
    assert "say <U+0022>no<U+0022> <U+0026> <U+003C>go<U+003E>" in drawn
    assert "a-b" in drawn
    assert not re.search(r'--(?!> \[\*\])|"".', drawn.replace('state "', "").replace('" as', ""))


def test_the_table_for_markdown_has_a_line_for_each_row() -> None:
    """In the order in which rows are tried, which is half of what they mean."""
    head, rule, *lines = diagram.table(LIFECYCLE).splitlines()
    assert head == "| from | trigger | when | requires | to | effects |"
    assert set(rule) == {"|", "-"}
    assert len(lines) == len(TABLE)
    assert lines[0] == "| (new) | submit | | | submitted | ArmTimer(task), Publish |"
    assert all(line.count("|") == 7 for line in lines)


def test_a_name_cannot_leave_its_cell() -> None:
    """A bar would begin the next one; an underscore may be emphasis.  Source: R-PIC-02."""
    odd = phase("a|b *c* <d>\n\\ _e_")
    (line,) = diagram.table(Named([Row(trigger("_x_"), None, odd, unchanged)], [odd])).splitlines()[
        2:
    ]
    assert line == "| (new) | \\_x\\_ | | | a\\|b \\*c\\* \\<d\\> \\\\ _e\\_ | Publish |"


# --- looks ----------------------------------------------------------------------------------


LOOK: Final = Look(
    "One of <them>",
    {
        "edge-running-completed": Style(
            colour="#aa0000", width=4, dashed=True, note="taken twice", kind="taken"
        ),
        "state-running": Style(fill="#ffee00", kind="here"),
    },
    Style(faint=True),
)


def test_a_look_changes_lines_colours_and_notes_in_dot() -> None:
    """And nothing else: every box and arrow is still there."""
    drawn = diagram.dot(LIFECYCLE, LOOK)
    (label,) = [line for line in drawn.splitlines() if '[id="edge-running-completed"' in line]
    assert "taken twice" in label
    (line,) = [each for each in drawn.splitlines() if '-> "state-completed"' in each]
    assert 'class="move group-outcome taken edge-running-completed"' in line
    assert 'color="#aa0000", penwidth=4, style=dashed' in line
    (box,) = [each for each in drawn.splitlines() if 'id="state-running"' in each]
    assert 'fillcolor="#ffee00"' in box
    assert "One of &lt;them&gt;" in drawn
    assert drawn.count(" -> ") == diagram.dot(LIFECYCLE).count(" -> ")


def test_a_look_shows_in_mermaid_by_notes_and_boxes() -> None:
    """Mermaid has no styles for the arrows of a state diagram."""
    drawn = mermaid(LIFECYCLE, LOOK)
    assert "running --> completed: complete<br/>/ release, -run, -task<br/>taken twice\n" in drawn
    assert "    class running on_running\n" in drawn
    assert "    classDef on_running fill:#ffee00," in drawn
    assert "on_running" not in DRAWN


def test_a_look_shows_in_plantuml() -> None:
    """Arrows have colours there."""
    drawn = diagram.plantuml(LIFECYCLE, LOOK)
    assert "state_running -[#aa0000,dashed,thickness=4]-> state_completed : " in drawn
    assert "title One of <U+003C>them<U+003E>\n" in drawn


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"fill": '#fff"/><script>'},
        {"width": 0.0},
        {"width": WIDTH_PT_MAX + 1},
        {"width": float("nan")},
        {"kind": 'x" onload="'},
    ],
)
def test_a_style_that_could_break_a_document_is_refused(wrong: dict[str, str]) -> None:
    """Colours and kinds go where nothing is escaped."""
    with pytest.raises(ValueError, match=r"is no colour|points wide|is no kind"):
        Style(**wrong)  # type: ignore[arg-type]
