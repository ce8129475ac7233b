"""Whether what is stored agrees with itself: the file, then task by task.

One bad task never stops the others: everything that is found becomes a sentence.
"""

# ruff: noqa: S608  statements are put together from constants; every value is bound

import sqlite3
from collections.abc import Iterator
from typing import Final

from interlock._sqlite_rows import (
    EVENT_COLUMNS,
    TASK_COLUMNS,
    Row,
    chain_before,
    chained,
    decoded,
    event_of,
    record_of,
    task_row,
    text,
)
from interlock._store import findings
from interlock.errors import StoreCorrupt

#: Tasks that are checked as of one moment; then the log of changes may be emptied again.
TASKS_AT_ONCE: Final = 100

_NAMES: Final = TASK_COLUMNS.split(", ")[:-1]


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


def task_findings(db: sqlite3.Connection, after: int) -> tuple[list[str], int | None]:
    """What is wrong with the next tasks, and the row of the last of them; None is the end."""
    rows = db.execute("SELECT n FROM task WHERE n > ? ORDER BY n LIMIT ?", (after, TASKS_AT_ONCE))
    numbers = [number for (number,) in rows]
    found = [finding for number in numbers for finding in _findings(db, number)]
    return found, numbers[-1] if numbers else None


def _findings(db: sqlite3.Connection, number: int) -> Iterator[str]:
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
    for name, kept, expected in zip(_NAMES, stored, task_row(record), strict=False):
        if kept != expected:
            yield f"task {task_id!r}: column {name} is not what its record says"
    yield from findings([(record, events)])


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
