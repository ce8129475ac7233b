"""A lifecycle with more in it: further phases to wait in, and rows of one's own.

Where several asks are open at once, the task waits in the phase that comes first in this order:
`waiting_auth` if a decision is among them, then the further phases in the order in which they
were added, then `waiting_input`.
"""

from collections.abc import Iterable, Iterator, Sequence

from interlock import _changes as change
from interlock import _guards as guards
from interlock import _transitions as shipped
from interlock._guards import Guard
from interlock._phases import Phase, Trigger
from interlock._transitions import Row, close_one


def extended(table: Sequence[Row], phases: Iterable[Phase], rows: Sequence[Row]) -> tuple[Row, ...]:
    """The table with further phases and rows.

    Of the rows of one (source, trigger) the given ones come first, and those that lead to a
    further phase before the last, which is for all the rest.

    Raises:
        TypeError: a phase is no `Phase`, or a row no `Row`.
        ValueError: a phase is none that `Phase.further` made, or is there already.
    """
    for row in rows:
        if not isinstance(row, Row):  # pyright: ignore[reportUnnecessaryIsInstance]  as below
            raise TypeError(f"{row!r:.60} is no row; interlock.lifecycle.Row makes one")
    for phase in phases:
        # Who extends a lifecycle may not check types, and a name is as good as a phase elsewhere.
        if not isinstance(phase, Phase):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"{phase!r:.60} is no phase; Phase.further({phase!r:.60}, like=...) makes one"
            )
        there = [row.dest for row in table]
        if phase.kin is phase:
            raise ValueError(f"{phase} is no further phase; Phase.further makes one")
        if phase in there:
            raise ValueError(f"{phase} is there already")
        higher = [Phase.WAITING_AUTH, *dict.fromkeys(p for p in there if p.kin is not p)]
        table = _with_ways_in(table, phase, higher)
        table = (*table, *_its_own(phase, higher), *_beside(table, phase, higher))
    return _first(table, rows)


def _with_ways_in(table: Sequence[Row], phase: Phase, higher: Sequence[Phase]) -> list[Row]:
    """The ways from phases that are there already, each before the row for all the rest."""
    made: list[Row] = []
    for row in table:
        way: Guard | None = None
        if row.trigger is Trigger.ASK and row.when is None and row.source not in higher:
            way = guards.asks_in(phase)
        elif row.source in higher and row.dest is Phase.WAITING_INPUT and row.when is None:
            way = guards.another_is_open_in(phase)
        if way is not None:
            to = (row.change, row.effects, row.requires, way)
            made.append(Row(row.trigger, row.source, phase, *to))
        made.append(row)
    return made


def _its_own(phase: Phase, higher: Sequence[Phase]) -> Iterator[Row]:
    """What may happen while a task waits in a phase."""
    for trigger in (Trigger.EMIT, Trigger.PROGRESS):
        yield Row(trigger, phase, phase, change.unchanged, requires=shipped.MAY_WRITE)
    yield Row(Trigger.CALLED, phase, phase, change.call_ended, (), shipped.MAY_END_CALL)
    yield Row(Trigger.NOTE, phase, phase, change.unchanged, (), shipped.MAY_WRITE)
    asked = (change.asked, shipped.ASK_AGAIN, shipped.MAY_ASK)
    for other in higher:
        decides = other is Phase.WAITING_AUTH
        when = guards.asks_for_a_decision if decides else guards.asks_in(other)
        yield Row(Trigger.ASK, phase, other, *asked, when)
    yield Row(Trigger.ASK, phase, phase, *asked)
    if phase.kin is Phase.WAITING_AUTH:
        yield from _closes(phase, Trigger.APPROVE, shipped.MAY_APPROVE)
        yield from _stops(phase, Trigger.DENY, shipped.MAY_DECIDE)
        yield from _closes(phase, Trigger.DENY, shipped.MAY_DECIDE)
        yield from _stays(phase, Phase.WAITING_INPUT)
    else:
        yield from _closes(phase, Trigger.PROVIDE_INPUT, shipped.MAY_ANSWER)
        yield from _stops(phase, Trigger.DECLINE, shipped.MAY_DECLINE)
        yield from _closes(phase, Trigger.DECLINE, shipped.MAY_DECLINE)
    yield from _stops(phase, Trigger.EXPIRE, shipped.MAY_EXPIRE)
    yield from _closes(phase, Trigger.EXPIRE, shipped.MAY_EXPIRE)
    yield from close_one(
        Trigger.WITHDRAW,
        phase,
        shipped.MAY_WITHDRAW,
        change.withdrawn,
        stays=guards.another_is_open_in(phase),
    )
    stop = (Phase.CANCELLING, change.stopped_by_client, shipped.STOP_WAIT)
    yield Row(Trigger.CANCEL, phase, *stop)
    late = (Phase.CANCELLING, change.stopped_by_deadline, shipped.STOP_WAIT, shipped.OVERDUE)
    yield Row(Trigger.OVERRUN, phase, *late)


def _closes(phase: Phase, trigger: Trigger, requires: tuple[Guard, ...]) -> Iterator[Row]:
    return close_one(trigger, phase, requires, stays=guards.another_is_open_in(phase))


def _stops(phase: Phase, trigger: Trigger, requires: tuple[Guard, ...]) -> Iterator[Row]:
    """The ask says that a no, or no answer in time, is the end of the task."""
    to, when = {
        Trigger.DENY: (change.stopped_by_denial, guards.denial_stops_the_task),
        Trigger.DECLINE: (change.stopped_by_decline, guards.decline_stops_the_task),
        Trigger.EXPIRE: (change.stopped_by_expiry, guards.expiry_stops_the_task),
    }[trigger]
    yield Row(trigger, phase, Phase.CANCELLING, to, shipped.STOP_WAIT, requires, when)


def _stays(phase: Phase, kin: Phase) -> Iterator[Row]:
    """What closes an ask of the other kind, which may be open as well: never the last."""
    may_answer: tuple[Guard, ...] = shipped.MAY_ANSWER
    may_refuse: tuple[Guard, ...] = shipped.MAY_DECLINE
    answer, no = Trigger.PROVIDE_INPUT, Trigger.DECLINE
    if kin is Phase.WAITING_AUTH:
        may_answer, may_refuse = shipped.MAY_APPROVE, shipped.MAY_DECIDE
        answer, no = Trigger.APPROVE, Trigger.DENY
    yield Row(answer, phase, phase, change.answered, shipped.WAIT_ON, may_answer)
    yield from _stops(phase, no, may_refuse)
    yield Row(no, phase, phase, change.answered, shipped.WAIT_ON, may_refuse)


def _beside(table: Sequence[Row], phase: Phase, higher: Sequence[Phase]) -> Iterator[Row]:
    """Decisions that may now be open beside the values for which a task waits elsewhere."""
    decided = {row.source for row in table if row.trigger is Trigger.APPROVE}
    if phase.kin is Phase.WAITING_AUTH:
        for other in higher:
            if other not in decided:
                yield from _stays(other, Phase.WAITING_AUTH)


def _first(table: Sequence[Row], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows of one's own: each before the first that is there of its (source, trigger)."""
    made = list(table)
    for row in rows:
        pair = (row.source, row.trigger)
        there = [i for i, r in enumerate(made) if (r.source, r.trigger) == pair and r not in rows]
        made.insert(there[0] if there else len(made), row)
    return tuple(made)
