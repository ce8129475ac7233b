"""Whether what is stored agrees with itself: the file, then task by task.

One bad task never stops the others: everything that is found becomes a sentence.  What
stands beside the log, claims and watches, is compared with what the log says of it.
"""

# ruff: noqa: S608  statements are put together from constants; every value is bound

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from interlock._event import Event
from interlock._json import digest
from interlock._machine import Lifecycle
from interlock._phases import ANSWERS, Trigger
from interlock._record import TaskRecord
from interlock._sqlite_rows import (
    EVENT_COLUMNS,
    TASK_COLUMNS,
    WATCH_COLUMNS,
    Row,
    chain_before,
    chained,
    decoded,
    event_of,
    record_of,
    task_row,
    text,
    watch_of,
)
from interlock._store import findings
from interlock.errors import StoreCorrupt
from interlock.models import JsonObject, JsonValue

#: Tasks that are checked as of one moment; then the log of changes may be emptied again.
TASKS_AT_ONCE: Final = 100
#: Of a token, in a finding.
_TOKEN_CHARS_MAX: Final = 80

_NAMES: Final = TASK_COLUMNS.split(", ")[:-1]


def lost_findings(lost: int) -> list[str]:
    """What it says of a file that so many events are missing from."""
    return [f"the file: its newest {lost} events are lost, or it is an old copy"] * (lost > 0)


def file_findings(db: sqlite3.Connection) -> list[str]:
    """What SQLite itself finds wrong with the file."""
    try:
        found = [
            f"the file: {text(line)}"
            for (line,) in db.execute("PRAGMA integrity_check(100)")
            if line != b"ok"
        ]
        strays = {text(row[0]) for row in db.execute("PRAGMA foreign_key_check")}
    except sqlite3.Error as error:
        return [f"the file: {error}"]
    return [*found, *(f"table {table}: rows that belong to no task" for table in sorted(strays))]


def task_findings(
    db: sqlite3.Connection, after: int, lifecycle: Lifecycle
) -> tuple[list[str], int | None]:
    """What is wrong with the next tasks, and the row of the last of them; None is the end."""
    rows = db.execute("SELECT n FROM task WHERE n > ? ORDER BY n LIMIT ?", (after, TASKS_AT_ONCE))
    numbers = [number for (number,) in rows]
    found = [finding for number in numbers for finding in _findings(db, number, lifecycle)]
    return found, numbers[-1] if numbers else None


def _findings(db: sqlite3.Connection, number: int, lifecycle: Lifecycle) -> Iterator[str]:
    try:
        chain, *task = db.execute(
            f"SELECT chain, {TASK_COLUMNS} FROM task WHERE n = ?", (number,)
        ).fetchone()
        rows: list[tuple[bytes, Row]] = [
            (link, tuple(row))
            for link, *row in db.execute(
                f"SELECT chain, {EVENT_COLUMNS} FROM event WHERE task = ? ORDER BY seq", (number,)
            )
        ]
    except sqlite3.Error as error:
        yield f"the task in row {number} cannot be read: {error}"
        return
    *columns, snapshot = task
    stored = decoded(columns)
    task_id = str(stored[0])
    yield from _chain_findings(task_id, chain, rows)
    try:
        record = record_of(task_id, snapshot)
        events = [event_of(task_id, row) for _, row in rows]
    except StoreCorrupt as error:
        yield str(error)
        return
    yield from record_findings(record, snapshot, stored, task_row(record))
    yield from findings([(record, events)], lifecycle)
    yield from _claim_findings(db, number, record, events)
    yield from _watch_findings(db, number, record)


def record_findings(
    record: TaskRecord, snapshot: bytes, columns: Iterable[object], expected: Iterable[object]
) -> Iterator[str]:
    """Each column beside a record that says something else, and what the record does not know."""
    for name, kept, value in zip(_NAMES, columns, expected, strict=False):
        if kept != value:
            yield f"task {record.task_id!r}: column {name} is not what its record says"
    if not _is_within(json.loads(snapshot), json.loads(record.to_json())):
        # A field by a wrong name is overlooked by whoever reads it, if it has a default.
        yield f"task {record.task_id!r}: its record has a field that no record has"


def _is_within(stored: JsonValue, read: JsonValue) -> bool:
    """Whether every name that is stored was read; what came later may be missing."""
    match stored, read:
        case dict(), dict():
            return all(name in read and _is_within(stored[name], read[name]) for name in stored)
        case list(), list():
            return all(map(_is_within, stored, read))
        case _:
            return True


def _claim_findings(
    db: sqlite3.Connection, number: int, record: TaskRecord, events: Sequence[Event]
) -> Iterator[str]:
    """Each token of the log without its claim, and each claim without its token."""
    task = f"task {record.task_id!r}"
    try:
        rows = db.execute("SELECT owner, token, digest FROM claim WHERE task = ?", (number,))
        stored = [decoded(row) for row in rows.fetchall()]
    except sqlite3.Error as error:
        yield f"{task}: its claims cannot be read: {error}"
        return
    yield from claim_findings(record, events, stored)


def claim_findings(
    record: TaskRecord, events: Sequence[Event], claims: Iterable[Row]
) -> Iterator[str]:
    """Each token of the log without its claim (owner, token, digest), and the other way round."""
    task = f"task {record.task_id!r}"
    left = {(owner, token): body for owner, token, body in claims}
    for event in events:
        # What is no text was changed: the hash chain says so.
        token = event.data.get("token")
        if event.trigger not in _CLAIMING or not isinstance(token, str):
            continue
        if (record.owner, token) not in left:
            yield f"{task}: nobody claims token {_cut(token)} of event {event.seq}"
        elif left.pop((record.owner, token)) not in map(digest, _bodies(record.task_id, event)):
            yield f"{task}: the claim of token {_cut(token)} is not for what event {event.seq} says"
    for owner, token in left:
        why = "belongs to no event" if owner == record.owner else "is that of another owner"
        yield f"{task}: its claim of token {_cut(token)} {why}"


#: What comes with a token, if the client gave one.
_CLAIMING: Final = ANSWERS | {Trigger.SUBMIT}


def _bodies(task_id: str, event: Event) -> list[JsonValue]:
    """What a client may have said that became this event, as the engine makes digests of it.

    That is one thing, but for an approval without an edit: the log does not tell whether it
    named the arguments that were asked about, or none.  Data that was changed may lack
    anything; then it is the body of no claim.
    """
    data = event.data
    if event.trigger is Trigger.SUBMIT:
        named = [data["agent"]] if "agent" in data else []
        return [[data.get("parts"), data.get("metadata", {}), *named]]
    ask: JsonObject = {"ask": data.get("key")}
    if event.trigger is Trigger.PROVIDE_INPUT:
        return [[task_id, {**ask, "value": data.get("value")}]]
    if event.trigger is Trigger.DECLINE:
        return [[task_id, {**ask, "decline": True, "reason": data.get("reason")}]]
    said = {**ask, "digest": data.get("digest"), "reason": data.get("reason")}
    if event.trigger is Trigger.DENY:
        return [[task_id, {**said, "decision": "deny"}]]
    finals = [data.get("arguments")] if data.get("edited") else [data.get("arguments"), None]
    return [[task_id, {**said, "decision": "approve", "arguments": final}] for final in finals]


def _cut(token: object) -> str:
    """The token as a finding shows it; one that was changed may be of any type."""
    return repr(token[:_TOKEN_CHARS_MAX] if isinstance(token, str) else token)


def _watch_findings(db: sqlite3.Connection, number: int, record: TaskRecord) -> Iterator[str]:
    """Each watch that cannot be read, or has seen what never was.

    Nothing else says where it is to be delivered, or how often that was tried.
    """
    task = f"task {record.task_id!r}"
    try:
        rows = db.execute(f"SELECT {WATCH_COLUMNS} FROM watch WHERE task = ?", (number,)).fetchall()
    except sqlite3.Error as error:
        yield f"{task}: its watches cannot be read: {error}"
        return
    for row in rows:
        try:
            watch_of(record.task_id, row)
        except StoreCorrupt as error:
            yield str(error)
            continue
        # After a flipped bit it may be of any type.
        _, _, _, seen, *_ = row
        if not isinstance(seen, int):
            yield f"{task}: a watch is said to have seen no number of an event"
        elif not 0 <= seen <= record.seq:
            yield f"{task}: a watch is said to have seen event {seen}, and there are {record.seq}"


def _chain_findings(task_id: str, end: bytes, rows: list[tuple[bytes, Row]]) -> Iterator[str]:
    """Where the hash chain over the events breaks; behind a break nothing can be said."""
    chain = chain_before(task_id)
    for link, row in rows:
        chain = chained(chain, decoded(row))
        if chain != link:
            yield f"task {task_id!r}: the hash chain breaks at event {row[0]}"
            return
    if chain != end:
        yield f"task {task_id!r}: the hash chain does not end where its record says"
