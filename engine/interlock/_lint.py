"""What makes a transition table sound, checked when it is loaded."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from interlock._changes import unchanged
from interlock._effects import ArmTimer, TimerKind
from interlock._phases import LIVE, OUTCOMES, WAITING, Phase, Trigger
from interlock._transitions import TABLE, Key, Row

#: What a client, a deadline or the end of a turn stops a task by, or closes its ask.
_STOPS: Final = frozenset(
    {Trigger.CANCEL, Trigger.OVERRUN, Trigger.EXPIRE, Trigger.STOPPED, Trigger.ABANDON}
)
#: What every waiting phase must have, whatever it is like.
_NAMED_ALREADY: Final = frozenset(
    {Trigger.CANCEL, Trigger.OVERRUN, Trigger.EXPIRE, Trigger.DECLINE}
)


def lint(table: Sequence[Row]) -> list[str]:
    """Every finding as a sentence that names the phase or the row; [] for a sound table."""
    return [
        *_competing(table),
        *_cut_off(table),
        *_endings(table),
        *_missing(table),
        *_unarmed(table),
        *_unstopped(table),
    ]


def _name(row: Row) -> str:
    when = "" if row.when is None else f" [{row.when.name}]"
    return f"{row.trigger} from {row.source or '(new)'} to {row.dest}{when}"


def _competing(table: Sequence[Row]) -> Iterator[str]:
    seen: set[Key] = set()
    open_end: dict[tuple[Phase | None, Trigger], Row] = {}
    last: dict[tuple[Phase | None, Trigger], Row] = {}
    for row in table:
        if row.key in seen:
            yield (
                f"{_name(row)}: is there already; a row of yours may not have the same source, "
                "trigger and dest"
            )
        seen.add(row.key)
        earlier = open_end.get((row.source, row.trigger))
        if earlier is not None:
            yield f"{_name(row)}: never reached, {_name(earlier)} has no `when` and comes first"
        if row.when is None:
            open_end[row.source, row.trigger] = row
        last[row.source, row.trigger] = row
    for pair, row in last.items():
        if pair not in open_end and row.when is not None:
            yield (
                f"{_name(row)}: is the last row of its (source, trigger), which must have no "
                f"`when`; this one has [{row.when.name}]"
            )


def phases_of(table: Sequence[Row]) -> tuple[Phase, ...]:
    """Every phase there is, and those further ones that the table names, where they wait."""
    named = dict.fromkeys(phase for row in table for phase in (row.source, row.dest))
    further = [phase for phase in named if phase is not None and phase.kin is not phase]
    at = list(Phase).index(Phase.WAITING_AUTH) + 1
    return (*list(Phase)[:at], *further, *list(Phase)[at:])


def _ways(table: Sequence[Row]) -> dict[Phase, set[Phase]]:
    after: dict[Phase, set[Phase]] = {phase: set() for phase in phases_of(table)}
    for row in table:
        if row.source is not None:
            after[row.source].add(row.dest)
    return after


def _cut_off(table: Sequence[Row]) -> Iterator[str]:
    after = _ways(table)
    starts = {row.dest for row in table if row.source is None}
    if starts != {Phase.SUBMITTED}:
        yield "exactly one row makes a task, and it is submitted"
    unreached = after.keys() - _reached(starts, after)
    for phase in sorted(unreached):
        yield f"{phase}: no way leads there"
    for phase in sorted(p for p in after if p in LIVE or p is Phase.CANCELLING):
        if not _reached({phase}, after) & OUTCOMES:
            yield f"{phase}: no outcome can be reached from there"


def _endings(table: Sequence[Row]) -> Iterator[str]:
    after = _ways(table)
    for outcome in sorted(OUTCOMES):
        if after[outcome] != {Phase.FINALIZED}:
            yield f"{outcome}: an outcome leads to finalized and nowhere else"
    if after[Phase.FINALIZED]:
        yield "finalized: nothing follows it"


def _missing(table: Sequence[Row]) -> Iterator[str]:
    pairs = {(row.source, row.trigger) for row in table}
    phases = phases_of(table)
    for phase in sorted(p for p in phases if p in LIVE):
        for trigger in (Trigger.CANCEL, Trigger.OVERRUN):
            if (phase, trigger) not in pairs:
                yield f"{phase}: no row for {trigger}"
    for phase in sorted(p for p in phases if p in WAITING):
        if (phase, Trigger.EXPIRE) not in pairs:
            yield f"{phase}: a wait that nothing ends: no row for expire"
        if (phase, Trigger.DECLINE) not in pairs:
            yield f"{phase}: a question that nobody can refuse: no row for decline"
    for phase in (further for further in phases if further.kin is not further):
        yield from _unlike_its_kin(phase, pairs)
    for trigger in (Trigger.STOPPED, Trigger.ABANDON):
        if (Phase.CANCELLING, trigger) not in pairs:
            yield f"cancelling: no row for {trigger}"


def _unlike_its_kin(
    phase: Phase, pairs: AbstractSet[tuple[Phase | None, Trigger]]
) -> Iterator[str]:
    """A further phase can do what the one can that it is like: else an ask is never closed."""
    for trigger in dict.fromkeys(row.trigger for row in TABLE if row.source is phase.kin):
        if (phase, trigger) not in pairs and trigger not in _NAMED_ALREADY:
            yield f"{phase}: no row for {trigger}, which {phase.kin} has"


def _unarmed(table: Sequence[Row]) -> Iterator[str]:
    for phases, timer in ((WAITING, TimerKind.ASK), ({Phase.CANCELLING}, TimerKind.GRACE)):
        for row in table:
            enters = row.dest in phases and row.source not in phases
            if enters and ArmTimer(timer) not in row.effects:
                yield f"{_name(row)}: enters {row.dest} without arming timer {timer}"


def _unstopped(table: Sequence[Row]) -> Iterator[str]:
    """A stop leads where it does in the shipped table: else one that was accepted is none."""
    for row in table:
        if row.trigger not in _STOPS or row.source is None:
            continue
        kin = row.source.kin
        may = {r.dest: None for r in TABLE if (r.source, r.trigger) == (kin, row.trigger)}
        if any(dest in WAITING for dest in may):  # Of several asks one is closed.
            may = dict.fromkeys((Phase.CANCELLING, Phase.RUNNING, *WAITING))
        if may and row.dest not in may:
            yield f"{_name(row)}: {row.trigger} may lead from there to {_listed(may)} only"
        if row.trigger is Trigger.EXPIRE and row.change is unchanged:
            yield f"{_name(row)}: closes no ask, which would expire for ever"


def _listed(phases: Iterable[Phase]) -> str:
    names = dict.fromkeys("a wait" if phase in WAITING else phase.value for phase in phases)
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _reached(starts: set[Phase], after: dict[Phase, set[Phase]]) -> set[Phase]:
    reached: set[Phase] = set()
    todo = list(starts)
    while todo:
        phase = todo.pop()
        if phase not in reached:
            reached.add(phase)
            todo.extend(after[phase])
    return reached
