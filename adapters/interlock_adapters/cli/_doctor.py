"""What `interlock doctor` says of a store: for people, or as JSON."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from interlock import Examination, OpenQuestion
from interlock_adapters._shown.times import utc
from interlock_adapters.cli._words import clean, left, span


def as_json(found: Examination) -> str:
    """Everything that was found, as one JSON object."""
    return json.dumps({**asdict(found), "needs_a_person": found.needs_a_person}, indent=2)


def as_text(found: Examination, *, now: float) -> str:
    """Everything that was found, what needs a person first."""
    return "\n".join([*_head(found), *_for_a_person(found, now), *_to_know(found, now)])


def _head(found: Examination) -> Iterator[str]:
    yield f"{found.path}: schema {found.schema}, {found.file_bytes / 1e6:.1f} MB"
    yield f"SQLite {found.sqlite}" + (
        ""
        if found.sqlite_is_sound
        else ", in which two programs that write to one file can break it (mended in 3.51.3): "
        "let nobody but the engine write"
    )
    if found.opened_by is not None:
        yield f"opened last by process {found.opened_by}"
    yield f"tasks: {_counts(found.phases)}"
    if found.outcomes:
        yield f"finalized: {_counts(found.outcomes)}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def _for_a_person(found: Examination, now: float) -> Iterator[str]:
    if found.events_lost:
        yield ""
        yield f"LOST: the newest {found.events_lost} events are gone, or this is an old copy"
    yield from _listed(
        "waiting for an operator (interlock resume TASK_ID --again, --skip or --from-scratch)",
        found.for_operator.count,
        (f"{_whose(q)}, for {span(now - q.asked_at)}" for q in found.for_operator.named),
    )
    yield from _listed(
        "asking a person whether an interrupted call was done",
        found.in_doubt.count,
        (f"{_whose(q)}: {q.key}, until {_time(q.due)}" for q in found.in_doubt.named),
    )
    yield from _listed(
        "not readable, and left out",
        found.quarantined.count,
        (f"{bad.task_id}  {bad.why}" for bad in found.quarantined.named),
    )


def _to_know(found: Examination, now: float) -> Iterator[str]:
    yield from _listed(
        "waiting, the longest first",
        found.waiting,
        (f"{_whose(q)}: {q.key}, for {span(now - q.asked_at)}" for q in found.oldest_asks),
    )
    yield from _listed(
        "asks that run out next",
        len(found.nearest_deadlines),
        (f"{_whose(q)}: {q.key}, {left(q.due - now)}" for q in found.nearest_deadlines),
    )
    yield from _listed(
        "with calls in flight, or in doubt if nothing runs them",
        found.open_calls.count,
        (f"{c.task_id}  {c.phase}: {', '.join(c.calls)}" for c in found.open_calls.named),
    )
    yield from _listed(
        "ended with a turn that would not stop",
        found.abandoned.count,
        found.abandoned.named,
    )
    yield from _listed(
        "watches that nothing can be delivered to",
        found.stuck_watches.count,
        (
            f"{w.task_id}  {w.watch_id} ({w.channel}): {w.why or f'{w.attempts} attempts failed'}"
            for w in found.stuck_watches.named
        ),
    )
    if found.purgeable:
        yield ""
        yield f"finalized, and older than retention lets them be: {found.purgeable}"


def _listed(title: str, count: int, lines: Iterable[str]) -> Iterator[str]:
    if not count:
        return
    shown = list(lines)
    yield ""
    yield f"{title}: {count}"
    # Agents choose the keys of what they ask, and clients the names of their watches.
    yield from (f"  {clean(line)}" for line in shown)
    if count > len(shown):
        yield f"  and {count - len(shown)} more"


def _whose(question: OpenQuestion) -> str:
    return f"{question.task_id}  of {question.owner}"


def _time(at: float) -> str:
    return utc(at).strftime("%Y-%m-%d %H:%M UTC")
