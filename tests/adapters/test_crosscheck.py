"""Interpreters of another make agree with ours, and an exporter that lies is found out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import pytest

from exported import NASTY, Table, nasty
from interlock import LIFECYCLE, Phase, Trigger
from interlock._effects import Publish
from interlock._transitions import Row
from interlock.diagram._document import Declared, Names, guards_of
from interlock_adapters.crosscheck import crosscheck
from interlock_adapters.crosscheck._players import PLAYERS, Player
from interlock_adapters.crosscheck._random import random_machine
from interlock_adapters.crosscheck._walk import (
    STEPS_MAX,
    Course,
    Seen,
    Step,
    chance,
    courses,
    lives,
)
from lives import amended

EACH: Final = pytest.mark.parametrize("player", PLAYERS, ids=lambda player: player.document)

Fault: TypeAlias = Callable[[list[Row]], list[Row]]


def test_both_agree_on_lives_and_on_machines_by_lot() -> None:
    """A small part of what `interlock crosscheck` does by default.  Source: R-PIC-09."""
    report = crosscheck(LIFECYCLE, steps=400, machines=12)
    assert report.differences == []
    assert report.absent == []
    assert [part.steps for part in report.parts] == [400, 200, 12 * 120]
    assert [player.split(" ")[0] for player in report.players] == [
        "python-statemachine", "xstate-statemachine",
    ]  # fmt: skip
    assert str(report).endswith("no differences")


def test_the_same_seed_walks_the_same_ways() -> None:
    """So that a difference can be looked at again."""
    first, again, other = (
        lives(LIFECYCLE, chance(seed), steps=300).traces for seed in ("1", "1", "2")
    )
    assert first == again != other


def test_lives_come_to_every_row() -> None:
    """With real records and the real guards, within what is walked by default."""
    walks = lives(LIFECYCLE, chance("lives 1"), steps=5_000)
    assert walks.missed == []
    assert walks.steps == 5_000
    assert max(map(len, walks.traces)) <= STEPS_MAX


def test_courses_come_to_every_row_sooner() -> None:
    """The guards say there what it takes."""
    walks = courses(LIFECYCLE, chance("1"), steps=1_000)
    assert walks.missed == []
    assert len(walks.taken) == len(LIFECYCLE.table) - 1  # The first is how a task begins.


def test_lives_also_see_refusals_of_every_kind() -> None:
    """By a phase, by a guard, and after the end."""
    walks = lives(LIFECYCLE, chance("lives 1"), steps=5_000)
    refused = [step for trace in walks.traces for step in trace if step.seen.row is None]
    assert any(step.seen.phase == "finalized" for step in refused)
    assert any(not all(step.holds.values()) for step in refused)
    by_phase = [step for step in refused if step.holds and all(step.holds.values())]
    assert any(step.seen.phase != "finalized" for step in by_phase)
    for guard in {guard for row in LIFECYCLE.table for guard in row.requires}:
        assert any(step.holds.get(guard.name) is False for step in refused), guard.name


def test_a_life_is_a_course_with_the_guards_that_it_met() -> None:
    """What the guards came to is all that an interpreter needs to be told."""
    course = Course(LIFECYCLE)
    for trace in lives(LIFECYCLE, chance("3"), steps=1_000).traces:
        assert course.told_again(trace) == trace


def test_an_extended_lifecycle_is_lived_in_its_further_phases_too() -> None:
    """Asks name the phase, and its rows are compared as all others."""
    payment = Phase.further("waiting_approver", Phase.WAITING_AUTH)
    extended = LIFECYCLE.extend(payment)
    taken = lives(extended, chance("1"), steps=1_500).taken
    for row in ("running.ask.waiting_approver", "waiting_approver.approve.running"):
        assert taken[row] > 0
    report = crosscheck(extended, steps=600, machines=0)
    assert report.differences == []
    assert report.parts[1].rows == len(extended.table) - 1


@EACH
def test_any_name_can_be_replayed(player: Player) -> None:
    """Those of triggers, guards and phases that are words of Python, or no words at all."""
    table = nasty()
    names = Names(table)
    trace: list[Step] = []
    for position in range(len(NASTY) - 1):
        stay, leave = table.table[2 * position + 1 : 2 * position + 3]
        refuses, chooses = (names.guards[guard] for guard in guards_of(stay))
        trigger = names.triggers[stay.trigger]
        here, there = names.phases[stay.dest], names.phases[leave.dest]
        trace += [
            Step(trigger, {refuses: False, chooses: True}, Seen(here)),
            Step(
                trigger,
                {refuses: True, chooses: True},
                Seen(here, names.rows[stay], ("StartTurn(replay)",)),
            ),
            Step(
                trigger,
                {refuses: True, chooses: False},
                Seen(there, names.rows[leave], ("Publish",)),
            ),
        ]
    assert player.loaded(table)([trace]) == [[step.seen for step in trace]]


# --- planted faults ---------------------------------------------------------------------


def told_wrong(player: Player, fault: Fault) -> Player:
    """The interpreter, with an exporter that has the rows wrong."""

    def export(declared: Declared) -> str:
        return player.export(Table(fault(list(declared.table)), declared.phases))

    return replace(player, export=export)


def without_a_guard(rows: list[Row]) -> list[Row]:
    """The first row that requires several things forgets the last."""
    (at, row) = next((at, row) for at, row in enumerate(rows) if len(row.requires) > 1)
    return [*rows[:at], amended(row, requires=row.requires[:-1]), *rows[at + 1 :]]


def without_a_choice(rows: list[Row]) -> list[Row]:
    """The first row that is one of several is taken whenever it comes first."""
    (at, row) = next((at, row) for at, row in enumerate(rows) if row.when is not None)
    return [*rows[:at], amended(row, when=None), *rows[at + 1 :]]


def the_last_first(rows: list[Row]) -> list[Row]:
    """The order of rows turned round."""
    return rows[::-1]


def without_a_loop(rows: list[Row]) -> list[Row]:
    """A row that stays where it is: no phase would show that it is gone."""
    lost = next(row for row in rows if row.source is row.dest)
    return [row for row in rows if row is not lost]


def without_an_effect(rows: list[Row]) -> list[Row]:
    """The first row that publishes does not."""
    (at, row) = next(
        (at, row) for at, row in enumerate(rows) if row.source and Publish() in row.effects
    )
    silent = tuple(effect for effect in row.effects if effect != Publish())
    return [*rows[:at], amended(row, effects=silent), *rows[at + 1 :]]


def with_another_destination(rows: list[Row]) -> list[Row]:
    """The last row leads back to where it comes from."""
    return [*rows[:-1], amended(rows[-1], dest=rows[-1].source)]


FAULTS: Final = (
    without_a_guard,
    without_a_choice,
    the_last_first,
    without_a_loop,
    without_an_effect,
    with_another_destination,
)


@EACH
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_an_export_with_a_fault_is_found_out(player: Player, fault: Fault) -> None:
    """On the shipped table, by a walk that a person can follow.  Source: R-PIC-10."""
    report = crosscheck(LIFECYCLE, steps=1_000, machines=0, players=[told_wrong(player, fault)])
    assert report.differences
    for difference in report.differences:
        assert difference.machine == "the lifecycle"
        assert 1 <= len(difference.trace) <= 4
        assert difference.trace[-1].seen != difference.instead


@EACH
@pytest.mark.parametrize("fault", [the_last_first, without_a_loop, without_an_effect])
def test_machines_by_lot_would_find_it_too(player: Player, fault: Fault) -> None:
    """Not every fault shows on the shipped table."""

    def where_there_is_one(rows: list[Row]) -> list[Row]:
        try:
            return fault(rows)
        except StopIteration:
            return rows

    wrong = told_wrong(player, where_there_is_one)
    report = crosscheck(LIFECYCLE, steps=0, machines=8, players=[wrong])
    assert {each.machine.split(" ")[0] for each in report.differences} == {"machine"}


@EACH
def test_a_difference_is_told_as_a_short_story(player: Player) -> None:
    """Without the steps that have nothing to do with it."""
    wrong = told_wrong(player, with_another_destination)
    report = crosscheck(LIFECYCLE, steps=3_000, machines=0, players=[wrong])
    last = LIFECYCLE.table[-1]
    assert (last.source, last.trigger, last.dest) == (
        Phase.TIMED_OUT,
        Trigger.FINALIZE,
        Phase.FINALIZED,
    )
    name = player.name
    shown = str(report.differences[0]).splitlines()
    assert shown[0] == f"{name} differs on the lifecycle, after 2 steps:"
    assert shown[1] == "    submitted"
    assert shown[2].startswith("    overrun -> timed_out by submitted.overrun.timed_out, effects ")
    assert shown[3:] == [
        "    finalize -> finalized by timed_out.finalize.finalized, effects none",
        f"    but {name} says: timed_out by timed_out.finalize.timed_out, effects none",
    ]
    assert str(report).endswith("\n2 differences")


def nonsense(_declared: Declared) -> str:
    """No document at all."""
    return "{nonsense"


@EACH
def test_a_document_that_cannot_be_loaded_is_a_difference(player: Player) -> None:
    """And not an error of ours: it is the export that is to blame."""
    broken = replace(player, export=nonsense)
    report = crosscheck(LIFECYCLE, steps=20, machines=0, players=[broken])
    first = str(report.differences[0])
    assert first.startswith(f"{player.name} cannot run the lifecycle: ")


def test_an_interpreter_that_is_not_there_is_named() -> None:
    """The other one is enough; without any there is nothing to compare with."""
    absent = replace(PLAYERS[0], name="no-such-distribution")
    report = crosscheck(LIFECYCLE, steps=20, machines=1, players=[absent, PLAYERS[1]])
    assert report.absent == ["no-such-distribution"]
    assert "not installed: no-such-distribution" in str(report)
    assert len(report.players) == 1
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'interlock\[crosscheck\]'"):
        crosscheck(LIFECYCLE, steps=20, machines=1, players=[absent])


def test_machines_by_lot_have_what_the_shipped_table_has_not() -> None:
    """Final phases at any place, rows that overlap, guards of one name."""
    machines = [random_machine(chance(f"{seed}")) for seed in range(60)]
    assert all(2 <= len(machine.phases) <= 6 for machine in machines)
    assert any(len(way) > len(set(way)) for way in map(moves, machines))
    for machine in machines:
        left = {row.source for row in machine.table}
        assert machine.phases[0] in left
    assert any(set(machine.phases) - {row.source for row in machine.table} for machine in machines)
    named = [[guard.name for guard in Names(machine).guards] for machine in machines]
    assert any(len(names) > len(set(names)) for names in named)


def moves(declared: Declared) -> list[tuple[Phase | None, Trigger, Phase]]:
    """Where the rows lead."""
    return [(row.source, row.trigger, row.dest) for row in declared.table]
