"""What a picture can show beyond the table: a path, a population, coverage, a difference."""

from typing import Final

import pytest

from exported import Table, guard, phase
from interlock import diagram
from interlock._changes import unchanged
from interlock._event import Event
from interlock._machine import LIFECYCLE
from interlock._phases import Phase, Trigger
from interlock._transitions import TABLE, Row
from interlock.diagram import Key, coverage, difference, path_of, picture_of, population
from lives import amended

PICTURE: Final = picture_of(LIFECYCLE)
LIFE: Final = [
    (0.0, Trigger.SUBMIT, None, Phase.SUBMITTED),
    (0.2, Trigger.START, Phase.SUBMITTED, Phase.RUNNING),
    (1.0, Trigger.EMIT, Phase.RUNNING, Phase.RUNNING),
    (2.0, Trigger.ASK, Phase.RUNNING, Phase.WAITING_AUTH),
    (700.0, Trigger.APPROVE, Phase.WAITING_AUTH, Phase.RUNNING),
    (701.0, Trigger.ASK, Phase.RUNNING, Phase.WAITING_AUTH),
]


def events() -> list[Event]:
    """The log of a task that asked twice and waits."""
    return [
        Event(seq, 1000.0 + at, 1, trigger, source, dest, "x", {})
        for seq, (at, trigger, source, dest) in enumerate(LIFE, start=1)
    ]


def test_a_path_numbers_its_steps_and_says_when() -> None:
    """Seconds since the task was made; the rest is in the background.  Source: R-PIC-05."""
    look = path_of(PICTURE, events())
    assert look.styles["edge-new-submitted"].note == "1 submit 0.0 s"
    assert look.styles["edge-submitted-running"].note == "2 start 0.2 s"
    assert look.styles["edge-running-waiting_auth"].note == "3 ask 2.0 s; 5 ask 701 s"
    assert look.styles["edge-waiting_auth-running"].note == "4 approve 700 s"
    assert look.styles["state-running"].note == "1 more while here"
    assert look.of("edge-running-completed").faint


def test_a_path_shows_where_the_task_stands() -> None:
    """One box is filled, the last."""
    look = path_of(PICTURE, events())
    here = [name for name, style in look.styles.items() if style.kind == "here"]
    assert here == ["state-waiting_auth"]
    assert look.styles["state-waiting_auth"].fill
    assert not path_of(PICTURE, []).styles


def test_a_step_that_is_no_row_is_not_drawn_somewhere_else() -> None:
    """The log is of another lifecycle."""
    wrong = Event(1, 0.0, 1, Trigger.COMPLETE, Phase.SUBMITTED, Phase.COMPLETED, "x", {})
    with pytest.raises(KeyError):
        path_of(PICTURE, [wrong])


def test_a_population_is_as_heavy_as_it_is_large() -> None:
    """By the logarithm; a phase with nobody in it is in the background.  Source: R-PIC-05."""
    look = population(PICTURE, {Phase.RUNNING: 1200, Phase.WAITING_AUTH: 3, Phase.FAILED: 0})
    running, waiting = look.styles["state-running"], look.styles["state-waiting_auth"]
    assert (running.note, waiting.note) == ("1,200 now", "3 now")
    assert running.width is not None
    assert waiting.width is not None
    assert running.width > waiting.width
    assert look.styles["state-failed"].faint
    assert look.styles["state-submitted"].faint
    assert not look.of("edge-running-failed").faint


def hits() -> dict[Key, int]:
    """All rows but those of `reject`, and one of several on the same arrow."""
    rows = [row for row in TABLE if row.trigger is not Trigger.REJECT]
    rows = [row for row in rows if (row.source, row.trigger) != (Phase.RUNNING, Trigger.NOTE)]
    return {(row.source, row.trigger, row.dest): 7 for row in rows}


def test_coverage_says_how_often_and_what_was_never_taken() -> None:
    """Dashed red where nothing was, and by name where something was.  Source: R-PIC-05."""
    look = coverage(PICTURE, hits())
    never = look.styles["edge-running-rejected"]
    assert (never.note, never.dashed, never.kind) == ("never", True, "never")
    assert look.styles["state-running"].note.endswith(", never note")
    assert look.styles["state-running"].kind == "partly"
    assert look.styles["edge-running-completed"].kind == "covered"
    assert look.styles["edge-running-completed"].note.endswith("7")
    assert look.title == f"Coverage: {len(TABLE) - 3} of {len(TABLE)} rows"
    assert coverage(PICTURE, {}).title == f"Coverage: 0 of {len(TABLE)} rows"


def test_a_difference_shows_what_came_and_what_went() -> None:
    """Both on one picture; what is the same is in the background.  Source: R-PIC-05."""
    paying = phase("waiting_payment")
    new = [row for row in TABLE if (row.source, row.dest) != (Phase.RUNNING, Phase.SUBMITTED)]
    new += [
        Row(Trigger.ASK, Phase.RUNNING, paying, unchanged),
        Row(Trigger.CANCEL, paying, Phase.CANCELLING, unchanged),
    ]
    picture, look = difference(LIFECYCLE, Table(new, [*LIFECYCLE.phases, paying]))
    kinds = {name: style.kind for name, style in look.styles.items()}
    assert kinds == {
        "state-waiting_payment": "new",
        "edge-running-waiting_payment": "new",
        "edge-waiting_payment-cancelling": "new",
        "edge-running-submitted": "gone",
    }
    assert look.of("edge-running-completed").faint
    drawn = {*(box.id for box in picture.boxes), *(arrow.id for arrow in picture.arrows)}
    assert drawn >= kinds.keys()
    back, look = difference(Table(new, [*LIFECYCLE.phases, paying]), LIFECYCLE)
    assert look.styles["state-waiting_payment"].kind == "gone"
    assert 'id="state-waiting_payment"' in diagram.dot(back, look)


def test_a_difference_names_the_triggers_that_changed() -> None:
    """Added, gone, or with other guards or effects."""
    (done,) = [row for row in TABLE if row.trigger is Trigger.COMPLETE]
    other = amended(done, requires=(*done.requires, guard("it_is_monday")))
    more = amended(done, trigger=Trigger.NOTE)
    changed = Table([*(other if row is done else row for row in TABLE), more], LIFECYCLE.phases)
    _, look = difference(LIFECYCLE, changed)
    assert {name: style.note for name, style in look.styles.items()} == {
        "edge-running-completed": "+note, ~complete"
    }
    _, look = difference(changed, LIFECYCLE)
    assert look.styles["edge-running-completed"].note == "-note, ~complete"
    assert not difference(LIFECYCLE, LIFECYCLE)[1].styles
