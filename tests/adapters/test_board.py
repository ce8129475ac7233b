"""The picture of the lifecycle: all of the table is in it, and nothing else."""

import itertools
import unicodedata
from collections.abc import Iterator

import pytest

from interlock import LIFECYCLE, Phase, Trigger
from interlock_adapters.cli import _board as board
from interlock_adapters.cli._board import Cell, Edge, Journey, Travelled
from interlock_adapters.cli._ink import GREEN

MOVES = {(row.source, row.dest) for row in LIFECYCLE.table if row.source is not row.dest}
TRACKS = board._tracks()

TRIP = (
    Travelled(Trigger.SUBMIT, None, Phase.SUBMITTED),
    Travelled(Trigger.START, Phase.SUBMITTED, Phase.RUNNING),
    Travelled(Trigger.PROGRESS, Phase.RUNNING, Phase.RUNNING),
    Travelled(Trigger.COMPLETE, Phase.RUNNING, Phase.COMPLETED),
)


def around(place: board.Place) -> set[Cell]:
    """The cells that touch a box."""
    left, top, width, height = board._box(place)
    return {
        *itertools.product(range(left, left + width), (top - 1, top + height)),
        *itertools.product((left - 1, left + width), range(top, top + height)),
    }


def test_every_move_of_the_table_has_a_track_and_no_other_has() -> None:
    """The picture, the documents and the code come from one table.

    Source: DESIGN, use 2, R-CLI-07.
    """
    assert TRACKS.keys() == MOVES


def test_every_phase_has_a_place_of_its_own_on_the_board() -> None:
    """Python with -O would not check it at import.  Source: STYLE 2.8."""
    assert board.STANDS.keys() == {*Phase, None}
    cells = [cell for place in board.STANDS for cell in board._cells(place)]
    assert len(cells) == len(set(cells))
    assert all(0 <= x < board.WIDTH and 0 <= y < board.HEIGHT for x, y in cells)


@pytest.mark.parametrize("edge", sorted(TRACKS, key=str))
def test_a_track_leads_without_a_gap_from_its_phase_to_the_next(edge: Edge) -> None:
    """From beside the one box to beside the other, around all boxes.  Source: ours."""
    cells = [cell for cell, _ in TRACKS[edge]]
    assert cells[0] in around(edge[0])
    assert cells[-1] in around(edge[1])
    for (x, y), (next_x, next_y) in itertools.pairwise(cells):
        assert abs(x - next_x) + abs(y - next_y) == 1
    assert not {cell for place in board.STANDS for cell in board._cells(place)} & set(cells)


def shared() -> Iterator[tuple[board._Leg, board._Leg]]:
    """Every two tracks in one cell."""
    legs: dict[Cell, list[board._Leg]] = {}
    for track in TRACKS.values():
        for cell, leg in track:
            legs.setdefault(cell, []).append(leg)
    for here in legs.values():
        yield from itertools.combinations(here, 2)


def test_tracks_run_together_only_from_one_phase_or_to_one() -> None:
    """Any others cross at a right angle, so that nobody can take one for another.  Source: ours."""
    for one, other in shared():
        together = one.edge[0] is other.edge[0] or one.edge[1] is other.edge[1]
        crossing = one.came == one.goes and other.came == other.goes
        assert together or (crossing and (one.came - other.came) % 2)


def test_every_line_of_the_picture_has_the_arms_it_is_looked_up_by() -> None:
    """The string of signs is in the order of its index.  Source: Unicode, box drawing."""
    words = {0: (), 1: ("LIGHT", "ARC"), 2: ("HEAVY",)}
    both = {("UP", "DOWN"): "VERTICAL", ("LEFT", "RIGHT"): "HORIZONTAL"}
    for index, sign in enumerate(board._LINES):
        weights = dict(
            zip(
                ("UP", "RIGHT", "DOWN", "LEFT"),
                (index // 27, index // 9 % 3, index // 3 % 3, index % 3),
                strict=True,
            )
        )
        name = unicodedata.name(sign)
        for arms, word in both.items():
            if word in name:
                name = name.replace(word, " ".join(arms))
        for arm, weight in weights.items():
            assert (arm in name) == (weight > 0), (sign, name)
            assert not weight or any(word in name for word in words[weight]), (sign, name)


def test_a_picture_fits_eighty_columns_and_is_the_same_each_time() -> None:
    """A terminal has eighty.  Source: ours."""
    plain = board.picture(colour=False)
    assert max(map(len, plain.splitlines())) < 80
    assert len(plain.splitlines()) == board.HEIGHT
    board._tracks.cache_clear()
    assert board.picture(colour=False) == plain
    for phase in Phase:
        assert plain.count(phase.value) == 1


def test_a_journey_is_heavy_where_it_went_and_light_elsewhere() -> None:
    """Who cannot see colours sees the way all the same.  Source: ours."""
    lines = board.picture([Journey("a trip", TRIP)], colour=False).splitlines()
    row = next(line for line in lines if "submitted" in line)
    assert "┃ submitted ┃━━2━▶┃" in row
    assert "▶┃ completed ┃" in row
    assert "3" in row
    assert any("│ waiting_input │" in line for line in lines)


def test_two_journeys_share_the_picture_each_with_its_marks() -> None:
    """A move that both made carries the marks of both.  Source: ours."""
    cancelled = (*TRIP[:2], Travelled(Trigger.CANCEL, Phase.RUNNING, Phase.CANCELLING))
    both = [Journey("a trip", TRIP), Journey("another", cancelled, marks="abc")]
    picture = board.picture(both, colour=False)
    assert "━2b▶" in picture
    assert "c" in picture


def test_a_journey_longer_than_its_alphabet_is_marked_by_numbers() -> None:
    """There is no tenth digit.  Source: ours."""
    there = Travelled(Trigger.ASK, Phase.RUNNING, Phase.WAITING_INPUT)
    back = Travelled(Trigger.PROVIDE_INPUT, Phase.WAITING_INPUT, Phase.RUNNING)
    marks = [mark for mark, _ in Journey("long", [there, back] * 6).steps()]
    assert marks == [str(number) for number in range(1, 13)]
    assert board.picture([Journey("long", [there, back] * 6)], colour=False)


def test_colour_adds_nothing_but_colour() -> None:
    """The signs are the same with and without.  Source: ours."""
    journey = Journey("a trip", TRIP, GREEN)
    plain = board.picture([journey], colour=False)
    inked = board.picture([journey], colour=True)
    assert "\x1b[1;32m" in inked
    for code in ("0", "2", "1;32"):
        inked = inked.replace(f"\x1b[{code}m", "")
    assert [line.rstrip() for line in inked.splitlines()] == plain.splitlines()
