"""Pictures that show less: what one ask at a time needs, and what was taken.

Requirement: R-PIC-20.
"""

from contextlib import suppress
from typing import Final

from interlock import LIFECYCLE, Phase, diagram
from interlock.errors import GuardRefused, IllegalTrigger
from lives import everything

PAYMENT: Final = Phase.further("waiting_payment", like=Phase.WAITING_INPUT)
MANAGER: Final = Phase.further("waiting_manager", like=Phase.WAITING_AUTH)
SHOP: Final = LIFECYCLE.extend(PAYMENT, MANAGER)
SIMPLE: Final = {row.key for row in diagram.simplified(LIFECYCLE).table}


def test_what_is_left_out_is_what_no_task_with_one_ask_takes() -> None:
    """By all signals that lives have: R-PIC-20."""
    taken: set[diagram.Key] = set()
    for record, signal in everything():
        if len(record.asks) > 1:
            continue
        with suppress(IllegalTrigger, GuardRefused):
            after = LIFECYCLE.fire(record, signal).record
            if len(after.asks) <= 1:
                taken.add((record.phase, signal.trigger, after.phase))
    left_out = {row.key for row in LIFECYCLE.table} - SIMPLE
    assert left_out
    assert taken & left_out == set()
    waits = {key for key in SIMPLE if key[0] in {Phase.WAITING_INPUT, Phase.WAITING_AUTH}}
    assert waits <= taken


def test_no_wait_leads_to_another_in_a_simple_picture() -> None:
    """Further phases cost a few arrows each, and not one to each other: R-PIC-20."""
    picture = diagram.picture_of(diagram.simplified(SHOP))
    waits = {Phase.WAITING_INPUT, Phase.WAITING_AUTH, PAYMENT, MANAGER}
    ends = [(each.source and each.source.phase, each.dest.phase) for each in picture.arrows]
    assert [pair for pair in ends if set(pair) <= waits] == []
    assert all((Phase.RUNNING, wait) in ends and (wait, Phase.RUNNING) in ends for wait in waits)
    assert [box.phase for box in picture.boxes] == list(SHOP.phases)
    clauses = [clause for each in picture.arrows for clause in each.clauses]
    assert not any(clause.effects for clause in clauses)
    assert not any("last ask" in clause.condition for clause in clauses)


def test_the_foot_of_a_picture_speaks_of_what_is_on_it() -> None:
    """Where no effects are drawn none are explained: R-PIC-20."""
    whole, simple = (
        diagram.picture_of(each) for each in (LIFECYCLE, diagram.simplified(LIFECYCLE))
    )
    assert "+run arms a timer" in whole.legend[0]
    assert simple.legend[0] == "[condition] chooses between arrows."
    assert "Not drawn: effects" in diagram.dot(simple)


def test_only_what_was_taken_is_left() -> None:
    """With the phases that it leads from and to, in the order of a life: R-PIC-20."""
    hits = {row.key: 1 for row in LIFECYCLE.table if row.trigger.value in {"submit", "cancel"}}
    part = diagram.taken(LIFECYCLE, {**hits, LIFECYCLE.table[1].key: 0})
    assert {row.key for row in part.table} == hits.keys()
    assert Phase.COMPLETED not in part.phases
    assert part.phases == tuple(
        phase for phase in LIFECYCLE.phases if phase in {end for s, _, d in hits for end in (s, d)}
    )
