"""How tasks, events and watches look as rows, and the hash chain over the events.

The chain: 16 bytes of BLAKE2b over the chain value of the event before and the event's
own row; before the first event stands the hash of the task's id.  So an event that was
changed, taken out, put in or moved to another task is noticed from there on.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, TypeAlias, cast

from pydantic_core import from_json, to_json

from interlock._event import Event
from interlock._phases import Phase, Trigger
from interlock._record import TaskRecord
from interlock._store import Watch
from interlock.errors import StoreCorrupt
from interlock.models import JsonObject

#: As SQLite takes and gives it.  Texts that were read are bytes (see `opened_for_reading`).
Row: TypeAlias = tuple[Any, ...]

TASK_COLUMNS: Final = "task_id, owner, context_id, shown, phase, seq, updated_at, due, snapshot"
EVENT_COLUMNS: Final = "seq, at, epoch, trigger, source, dest, actor, data"
WATCH_COLUMNS: Final = "watch_id, channel, config, cursor, attempts, not_before, given_up"

_TRIGGERS: Final = {trigger.value.encode(): trigger for trigger in Trigger}
_PHASES: Final = {phase.value.encode(): phase for phase in Phase}


def _phase(stored: bytes) -> Phase:
    """A phase by its name, which may be one of an extended lifecycle; raises ValueError."""
    return _PHASES.get(stored) or Phase(stored.decode())


def task_row(record: TaskRecord) -> Row:
    """The columns of `TASK_COLUMNS`; raises ValueError if something in it is not JSON."""
    identity = record.identity
    return (
        identity.task_id,
        identity.owner,
        identity.context_id,
        record.shown.value,
        record.phase.value,
        record.seq,
        record.updated_at,
        record.due,
        record.to_json().decode(),
    )


def event_row(event: Event) -> Row:
    """The columns of `EVENT_COLUMNS`; raises ValueError if something in it is not JSON."""
    return (
        event.seq,
        # SQLite would make a float of it, and the chain is over what will be read.
        float(event.at),
        event.epoch,
        event.trigger.value,
        None if event.source is None else event.source.value,
        event.dest.value,
        unicode(event.actor),
        to_json(dict(event.data)).decode(),
    )


def watch_row(watch: Watch) -> Row:
    """The columns of `WATCH_COLUMNS`; raises ValueError if something in it is not JSON."""
    return (
        unicode(watch.watch_id),
        unicode(watch.channel),
        to_json(watch.config).decode(),
        watch.cursor,
        watch.attempts,
        watch.not_before,
        None if watch.given_up is None else unicode(watch.given_up),
    )


def unicode(text: str) -> str:
    """The text; raises ValueError if it holds half a surrogate pair, which no file can."""
    text.encode()
    return text


def chain_before(task_id: str) -> bytes:
    """What the chain of a task begins with."""
    return blake2b(task_id.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def chained(before: bytes, row: Row) -> bytes:
    """The chain value of an event, from that of the event before and its own row."""
    seq, at, epoch, trigger, source, dest, actor, data = row
    who = str(actor)
    # Its length says where it ends; nothing before it can hold a space.
    line = f"{seq} {at!r} {epoch} {trigger} {source or '-'} {dest} {len(who)} {who}{data}"
    return blake2b(before + line.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def decoded(row: Iterable[Any]) -> Row:
    """A row that was read, with its texts as they were written; bad ones stay recognisable."""
    return tuple(text(value) if isinstance(value, bytes) else value for value in row)


def text(value: bytes) -> str:
    """A text that was read."""
    return value.decode("utf-8", "surrogateescape")


def record_of(task_id: str, snapshot: bytes | None) -> TaskRecord:
    """The record that a snapshot holds.

    Raises:
        StoreCorrupt: it is no snapshot of that task.
    """
    try:
        record = TaskRecord.from_json(snapshot or b"")
    except (TypeError, ValueError):
        # What else is wrong with it would quote it.
        why = _unheard(_phase_in(snapshot))
        raise StoreCorrupt(f"its record cannot be read{why}", task_id=task_id) from None
    if record.task_id != task_id:
        raise StoreCorrupt("its record is that of another task", task_id=task_id)
    return record


def event_of(task_id: str, row: Row) -> Event:
    """The event that the columns of `EVENT_COLUMNS` hold.

    Raises:
        StoreCorrupt: they do not hold one.
    """
    seq, at, epoch, trigger, source, dest, actor, data = row
    try:
        return Event(
            seq,
            at,
            epoch,
            _TRIGGERS[trigger],
            None if source is None else _phase(source),
            _phase(dest),
            actor.decode(),
            _object(data),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        why = _unheard(source) or _unheard(dest)
        raise StoreCorrupt(f"event {seq} cannot be read{why}", task_id=task_id) from None


def watch_of(task_id: str, row: Row) -> Watch:
    """The watch that the columns of `WATCH_COLUMNS` hold.

    Raises:
        StoreCorrupt: they do not hold one.
    """
    watch_id, channel, config, cursor, attempts, not_before, given_up = row
    try:
        return Watch(
            watch_id.decode(),
            task_id,
            channel.decode(),
            _object(config),
            cursor,
            attempts,
            not_before,
            None if given_up is None else given_up.decode(),
        )
    except (AttributeError, TypeError, ValueError):
        raise StoreCorrupt("a watch cannot be read", task_id=task_id) from None


def same_json(one: bytes, other: bytes) -> bool:
    """Whether two texts say the same: versions of a library may write one number differently."""
    try:
        return one == other or bool(from_json(one) == from_json(other))
    except ValueError:
        return False


def _phase_in(snapshot: bytes | None) -> object:
    """The phase that a snapshot names, if it is one."""
    try:
        return _object(snapshot or b"").get("phase")
    except (TypeError, ValueError):
        return None


def _unheard(phase: object) -> str:
    """What to do about a phase that nobody here has heard of; nothing if it is not that."""
    name = phase.decode(errors="replace") if isinstance(phase, bytes) else phase
    if not isinstance(name, str) or not name.isidentifier():
        return ""
    try:
        Phase(name)
    except ValueError:
        return f": it has a phase {name!r:.40}, so name the lifecycle that has it"
    return ""


def _object(json: bytes) -> JsonObject:
    value = from_json(json)
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return cast("JsonObject", value)
