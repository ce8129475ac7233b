"""The table of steps that the model check walks is the machine's own `fire`, compiled.

A step is worked out once for all the records that differ only in times and growing numbers.
This holds the two together: whatever the times, the epoch and the lengths are, the machine does
what the table says.

Requirement: R-PIC-16.
"""

import re
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import LIFECYCLE, Lifecycle, Phase
from interlock._event import Signal
from interlock._machine import Move
from interlock._record import TaskRecord
from interlock.errors import Refused
from interlock.testing.model._signals import (
    EARLY,
    EPOCH,
    Bounds,
    Offer,
    canonical,
    offers,
    recovery,
    submission,
)
from interlock.testing.model._steps import StepTable

BOUNDS: Final = Bounds(asks=2, retries=1, recoveries=1)
PAYMENT: Final = Phase.further("waiting_payment", like=Phase.WAITING_INPUT)
MANAGER: Final = Phase.further("waiting_manager", like=Phase.WAITING_AUTH)
LIFECYCLES: Final = [LIFECYCLE, LIFECYCLE.extend(PAYMENT, MANAGER)]


def _records(lifecycle: Lifecycle) -> list[TaskRecord]:
    """Canonical records of one life after another: all that a turn, a client and time come to."""
    records = {canonical(lifecycle.submit(submission()).record).to_json(): None}
    todo = list(records)
    for key in todo:  # It grows meanwhile.
        record = TaskRecord.from_json(key)
        for offer in offers(lifecycle, record, BOUNDS):
            move = _fired(lifecycle, record, offer.signal)
            if move is not None and len(todo) < 150:
                after = canonical(move.record).to_json()
                if after not in records:
                    records[after] = None
                    todo.append(after)
    return [TaskRecord.from_json(key) for key in todo]


def _fired(lifecycle: Lifecycle, record: TaskRecord, signal: Signal) -> Move | None:
    try:
        return lifecycle.fire(record, signal)
    except Refused:
        return None


RECORDS: Final = {lifecycle: _records(lifecycle) for lifecycle in LIFECYCLES}


def _in_life(record: TaskRecord, offer: Offer, length_s: float) -> Signal:
    """The same signal at a record with times and numbers of its own."""
    dues = [timer.due for timer in record.timers()] or [record.updated_at]
    at = min(dues) - 0.5 if offer.signal.at == EARLY else max(dues)
    data: dict[str, Any] = dict(offer.signal.data)
    numbers: dict[str, Any] = {
        "epoch": data.get("epoch", 0) + record.epoch - EPOCH, "due": at + length_s,
        "not_before": at + length_s, "run_s": length_s, "grace_s": length_s,
        "log_events_max": record.seq + 1,
    }  # fmt: skip
    data |= {name: number for name, number in numbers.items() if name in data}
    return offer.signal._replace(data=data, at=at)


def _choices(lifecycle: Lifecycle, flat: TaskRecord) -> list[Offer]:
    recover = Offer("engine", "recover", recovery(BOUNDS))
    return [*offers(lifecycle, flat, BOUNDS), recover]


def _stepped(
    lifecycle: Lifecycle, real: TaskRecord, offer: Offer, length_s: float
) -> TaskRecord | None:
    """One step of a real record, after a look that the table says the same of it."""
    flat = canonical(real)
    there = _fired(lifecycle, flat, offer.signal)
    here = _fired(lifecycle, real, _in_life(real, offer, length_s))
    if there is None or here is None:
        assert here is there, offer
        return None
    assert here.effects == there.effects
    assert here.record.epoch - real.epoch == there.record.epoch - flat.epoch
    assert canonical(here.record) == canonical(there.record)
    return here.record


@given(data=st.data())
def test_a_life_is_a_way_through_the_table(data: st.DataObject) -> None:
    """Step by step, with times drawn and numbers that grow: moved alike, or refused alike."""
    lifecycle = data.draw(st.sampled_from(LIFECYCLES))
    first = submission()
    due = data.draw(st.floats(min_value=100.0, max_value=4e9))
    real = lifecycle.submit(first._replace(data={**first.data, "due": due})).record
    for _ in range(data.draw(st.integers(min_value=1, max_value=25))):
        offer = data.draw(st.sampled_from(_choices(lifecycle, canonical(real))))
        length_s = data.draw(st.floats(min_value=1.0, max_value=1e6))
        real = _stepped(lifecycle, real, offer, length_s) or real


def _but_for_times(record: TaskRecord) -> bytes:
    """What tells real records apart here: all but times and the two numbers that only grow."""
    return re.sub(rb"-?\d+\.\d+(e\d+)?", b"", replace(record, seq=0, epoch=0).to_json())


@pytest.mark.parametrize("lifecycle", LIFECYCLES)
def test_what_the_table_leaves_out_makes_no_difference(lifecycle: Lifecycle) -> None:
    """Real records that it takes for one move alike: every record, with every signal.

    It would be found here if the canonical form left out what some guard or change reads.
    """
    todo = [lifecycle.submit(submission()).record]
    seen = {_but_for_times(todo[0])}
    for real in todo:  # It grows meanwhile.
        for offer in _choices(lifecycle, canonical(real)):
            after = _stepped(lifecycle, real, offer, 20.0)
            if after is not None and _but_for_times(after) not in seen and len(seen) < 1_500:
                seen.add(_but_for_times(after))
                todo.append(after)
    assert len(todo) > 300


@given(data=st.data())
def test_a_canonical_record_is_its_own_canonical_form(data: st.DataObject) -> None:
    """Otherwise one world would be counted as several."""
    record = data.draw(st.sampled_from(RECORDS[LIFECYCLE]))
    assert canonical(canonical(record)) == canonical(record) == record


def test_the_table_leaves_out_only_what_is_the_same_by_another_name() -> None:
    """Each phase that a signal leads to from a record is among the steps there."""
    for lifecycle in LIFECYCLES:
        table = StepTable(lifecycle, BOUNDS)
        table.first()
        for number in range(60):
            steps = table.at(number)
            record = table.records[number]
            told = {
                (step.by, canonical(table.records[step.to]).to_json())
                for who in (steps.client, steps.turn, steps.zombie, steps.timer, steps.engine)
                for step in who
            }
            real = {
                (offer.by, canonical(move.record).to_json())
                for offer in offers(lifecycle, record, BOUNDS)
                if (move := _fired(lifecycle, record, offer.signal)) is not None
            }
            assert told == real
