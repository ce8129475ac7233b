"""The table is obeyed, exhaustively, and what its rows declare is what they do."""

import copy
import itertools

import pytest

from interlock._effects import ArmTimer, DisarmTimer, TimerKind
from interlock._event import Signal
from interlock._machine import LIFECYCLE, fire
from interlock._phases import LIVE, OUTCOMES, OVER, VISIBLE, WAITING, Phase, Trigger
from interlock._record import OWNED, TaskRecord
from interlock._transitions import TABLE, Row
from interlock.errors import IllegalTrigger
from lives import (
    OWNER,
    RECORDS,
    SUBMITTED,
    TASK_DUE,
    everything,
    has_all_limits,
    row_for,
    signals,
)

DECLARED = {(row.source, row.trigger) for row in TABLE}
PAIRS = list(itertools.product(Phase, Trigger))


@pytest.mark.parametrize(("phase", "trigger"), [pair for pair in PAIRS if pair in DECLARED])
def test_fire_moves_exactly_where_the_table_says(phase: Phase, trigger: Trigger) -> None:
    """Every declared pair, every kind of record in that phase, every signal that fits it.

    Source: R-LIFE-01.
    """
    for record in RECORDS[phase]:
        for signal in signals(record, trigger):
            before = copy.deepcopy(record)
            row = row_for(record, signal)
            assert row is not None
            move = fire(record, signal)
            assert record == before
            assert move.record.phase is row.dest
            assert move.effects == row.effects
            assert type(move.record.details) is OWNED[row.dest]
            assert (move.event.source, move.event.dest) == (phase, row.dest)
            assert (move.event.trigger, move.event.data) == (trigger, signal.data)
            assert (move.event.at, move.event.actor) == (signal.at, signal.actor)
            assert move.event.seq == move.record.seq == record.seq + 1
            assert move.event.epoch == move.record.epoch >= record.epoch
            shows = trigger is not Trigger.FINALIZE
            assert move.record.updated_at == (signal.at if shows else record.updated_at)
            assert move.record.identity is record.identity


@pytest.mark.parametrize(("phase", "trigger"), [pair for pair in PAIRS if pair not in DECLARED])
def test_fire_refuses_every_other_trigger_and_says_what_is_allowed(
    phase: Phase, trigger: Trigger
) -> None:
    """Every undeclared pair: a refusal with its facts, and nothing changed.  Source: R-LIFE-01."""
    for record in RECORDS[phase]:
        for signal in signals(record, trigger):
            before = copy.deepcopy(record)
            with pytest.raises(IllegalTrigger) as caught:
                fire(record, signal)
            assert (caught.value.phase, caught.value.trigger) == (phase, trigger)
            assert (caught.value.task_id, caught.value.shown) == (record.task_id, record.shown)
            assert set(caught.value.allowed) == {t for p, t in DECLARED if p is phase}
            assert record == before


def test_submit_makes_a_task_and_is_the_only_row_that_does() -> None:
    """The one row without a source is taken by `Lifecycle.submit`."""
    signal = Signal(Trigger.SUBMIT, SUBMITTED, OWNER, 2.0)
    record, event, effects = LIFECYCLE.submit(signal)
    (row,) = [row for row in TABLE if row.source is None]
    assert (row.trigger, row.dest, row.effects) == (Trigger.SUBMIT, record.phase, effects)
    assert (record.seq, record.epoch, record.attempt, record.closed) == (1, 0, 0, ())
    assert (record.owner, record.task_id, record.context_id) == (OWNER, "t", "c")
    assert (record.identity.created_at, record.identity.due) == (2.0, TASK_DUE)
    assert (event.seq, event.source, event.dest, event.actor) == (1, None, record.phase, OWNER)


def test_every_row_of_the_table_is_taken_by_some_record_and_signal() -> None:
    """No dead rows: what is declared can happen."""
    taken = {row_for(record, signal) for record, signal in everything()} - {None}
    assert taken == {row for row in TABLE if row.source is not None}


def _kinds(row: Row, kind: type[ArmTimer | DisarmTimer]) -> set[TimerKind]:
    return {effect.kind for effect in row.effects if isinstance(effect, kind)}


def _move(row: Row) -> str:
    return f"{row.source} {row.trigger} {row.dest}"


@pytest.mark.parametrize("row", [row for row in TABLE if row.source is not None], ids=_move)
def test_a_row_declares_the_timers_that_it_arms_and_disarms(row: Row) -> None:
    """The record's timers before and after differ by the declared kinds, and by no other."""
    armed, disarmed = _kinds(row, ArmTimer), _kinds(row, DisarmTimer)
    exactly = 0
    for record, signal in everything():
        if row_for(record, signal) is not row:
            continue
        before, after = set(record.timers()), set(fire(record, signal).record.timers())
        gone = {timer.kind for timer in before - after}
        new = {timer.kind for timer in after - before}
        assert gone <= disarmed, "a timer goes that no effect speaks of"
        assert new <= armed, "a timer comes that no effect speaks of"
        if has_all_limits(record):
            exactly += 1
            assert (gone, new) == (disarmed, armed)
    assert exactly


def test_the_record_of_a_new_task_has_the_timer_that_submit_arms() -> None:
    """The task's own deadline stands from the first event on."""
    record = LIFECYCLE.submit(Signal(Trigger.SUBMIT, SUBMITTED, OWNER, 2.0)).record
    assert [(timer.kind, timer.due) for timer in record.timers()] == [(TimerKind.TASK, TASK_DUE)]


def test_the_table_is_the_lifecycle_and_declares_no_move_twice() -> None:
    """A second row for the same move would never be taken, or be taken for the first."""
    moves = [(row.source, row.trigger, row.dest) for row in TABLE]
    assert len(moves) == len(set(moves))
    assert LIFECYCLE.table == TABLE


def test_the_named_sets_of_phases_part_a_life() -> None:
    """Submitted to finalized, each phase is live, stopping or over."""
    assert set(Phase) <= LIVE | {Phase.CANCELLING} | OVER
    assert OUTCOMES | {Phase.FINALIZED} == OVER
    assert WAITING < LIVE
    assert not LIVE & OVER
    assert [phase for phase in Phase if phase not in VISIBLE] == [Phase.FINALIZED]


def test_a_guarded_row_stands_before_the_row_it_is_an_exception_to() -> None:
    """Rule 3 of the table: within a pair the first that holds wins, the last has no `when`."""
    for pair in DECLARED:
        rows = [row for row in TABLE if (row.source, row.trigger) == pair]
        assert [row.when is None for row in rows] == [False] * (len(rows) - 1) + [True]


def test_the_rows_of_a_pair_ask_for_the_same() -> None:
    """A refusal names the first failing guard of the first row: all rows must share it."""
    for pair in DECLARED:
        required = {row.requires for row in TABLE if (row.source, row.trigger) == pair}
        assert len(required) == 1


def test_only_a_wait_has_asks_and_waiting_auth_means_an_open_decision() -> None:
    """What a client is shown as "authorisation needed" is that, after every possible move.

    Source: R-LIFE-17.
    """
    moves = [fire(record, signal) for record, signal in everything() if row_for(record, signal)]
    after: list[TaskRecord] = [move.record for move in moves]
    for record in after:
        decision = any(each.kind == "auth" for each in record.asks)
        assert bool(record.asks) == (record.phase in WAITING)
        assert decision == (record.phase is Phase.WAITING_AUTH)
