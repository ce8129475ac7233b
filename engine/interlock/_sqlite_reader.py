"""What is read, each on a thread of a small pool with a connection that cannot write.

A reader sees the file as of one moment and never waits for the writer, nor the writer
for it.
"""

# ruff: noqa: S608  statements are put together from constants; every value is bound

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from interlock._event import Event
from interlock._phases import OUTCOMES
from interlock._record import TaskRecord
from interlock._sqlite_rows import (
    EVENT_COLUMNS,
    WATCH_COLUMNS,
    Row,
    event_of,
    record_of,
    text,
    watch_of,
)
from interlock._sqlite_schema import opened_for_reading, store_error
from interlock._store import Claim, TaskPage, TaskQuery, Watch
from interlock.errors import StoreCorrupt, StoreError

_log: Final = logging.getLogger("interlock.sqlite")

T = TypeVar("T")
P = ParamSpec("P")

#: Reads at once.  They are short, and more threads would only wait for the interpreter.
THREADS: Final = 4

#: What a task that is not over is never shown as.
_OVER: Final = ", ".join(f"'{outcome}'" for outcome in sorted(OUTCOMES))


class Readers:
    """The pool, its threads, and a connection for each of them."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._pool: Final = ThreadPoolExecutor(THREADS, f"interlock reader of {path.name}")
        self._mine: Final = threading.local()
        self._connections: Final[list[sqlite3.Connection]] = []

    async def read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run the query on one of the threads.

        Raises:
            StoreCorrupt: the file is bad, or something in it cannot be read.
            StoreError: SQLite says anything else.
        """

        def run() -> T:
            try:
                return self._run(lambda db: query(db, *args, **kwargs))
            except sqlite3.Error as error:
                raise store_error(error, "it cannot be read") from error
            except UnicodeEncodeError:
                raise StoreError("nothing is stored by a name that is not Unicode") from None

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def close(self) -> None:
        """Wait for the reads that have begun, then close every connection."""
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()

    def _run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        db: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if db is None:
            db = self._mine.connection = opened_for_reading(self._path)
            self._connections.append(db)
        # Everything that one query reads is as of one moment.
        db.execute("BEGIN")
        try:
            return query(db)
        finally:
            db.rollback()


def record(db: sqlite3.Connection, task_id: str) -> TaskRecord | None:
    """See `Store.get`."""
    row = db.execute("SELECT snapshot FROM task WHERE task_id = ?", (task_id,)).fetchone()
    return None if row is None else record_of(task_id, row[0])


def events(db: sqlite3.Connection, task_id: str, after: int, limit: int | None) -> list[Event]:
    """See `Store.events`."""
    rows = db.execute(
        f"SELECT {EVENT_COLUMNS} FROM event"
        " WHERE task = (SELECT n FROM task WHERE task_id = ?) AND seq > ? ORDER BY seq LIMIT ?",
        (task_id, after, -1 if limit is None else limit),
    )
    return [event_of(task_id, row) for row in rows]


def page(db: sqlite3.Connection, query: TaskQuery) -> TaskPage:
    """See `Store.page`."""
    where, values = _conditions(query)
    (total,) = db.execute(f"SELECT count(*) FROM task WHERE {where}", values).fetchone()
    if query.cursor is not None:
        where += " AND (updated_at, task_id) < (?, ?)"
        values = (*values, *query.cursor)
    # The rows are chosen from the index alone; then only the chosen ones are read.
    rows = db.execute(
        "SELECT task_id, snapshot FROM task JOIN ("
        f"SELECT n FROM task WHERE {where} ORDER BY updated_at DESC, task_id DESC LIMIT ?"
        ") USING (n) ORDER BY updated_at DESC, task_id DESC",
        (*values, query.limit + 1),
    ).fetchall()
    records = _records(rows[: query.limit])
    more = len(rows) > len(records) > 0
    last = (records[-1].updated_at, records[-1].task_id) if more else None
    return TaskPage(tuple(records), total, last)


def unfinished(db: sqlite3.Connection, after: str, limit: int) -> list[TaskRecord]:
    """See `Store.unfinished`."""
    rows = db.execute(
        "SELECT task_id, snapshot FROM task WHERE phase <> 'finalized' AND task_id > ?"
        " ORDER BY task_id",
        (after,),
    )
    return _readable(rows, limit)


def open_tasks(db: sqlite3.Connection, owner: str) -> int:
    """See `Store.open_tasks`."""
    row = db.execute(
        f"SELECT count(*) FROM task WHERE owner = ? AND shown NOT IN ({_OVER})", (owner,)
    )
    (count,) = row.fetchone()
    return int(count)


def due(
    db: sqlite3.Connection, now: float, after: tuple[float, str], limit: int
) -> list[TaskRecord]:
    """See `Store.due`."""
    rows = db.execute(
        "SELECT task_id, snapshot FROM task WHERE due IS NOT NULL AND due <= ?"
        " AND (due, task_id) > (?, ?) ORDER BY due, task_id",
        (now, *after),
    )
    return _readable(rows, limit)


def next_due(db: sqlite3.Connection, after: float) -> float | None:
    """See `Store.next_due`."""
    (earliest,) = db.execute("SELECT min(due) FROM task WHERE due > ?", (after,)).fetchone()
    return None if earliest is None else float(earliest)


def claim(db: sqlite3.Connection, owner: str, token: str) -> Claim | None:
    """See `Store.claim`."""
    row = db.execute(
        "SELECT task.task_id, claim.digest FROM claim JOIN task ON task.n = claim.task"
        " WHERE claim.owner = ? AND claim.token = ?",
        (owner, token),
    ).fetchone()
    return None if row is None else Claim(owner, token, text(row[0]), text(row[1]))


def watches(db: sqlite3.Connection, task_id: str) -> list[Watch]:
    """See `Store.watches`."""
    rows = db.execute(
        f"SELECT {WATCH_COLUMNS} FROM watch"
        " WHERE task = (SELECT n FROM task WHERE task_id = ?) ORDER BY watch_id",
        (task_id,),
    )
    return [watch_of(task_id, row) for row in rows]


def behind(db: sqlite3.Connection, limit: int) -> list[Watch]:
    """See `Store.behind`."""
    rows = db.execute(
        f"SELECT task_id, {WATCH_COLUMNS} FROM watch JOIN task ON task.n = watch.task"
        " WHERE given_up IS NULL AND cursor < seq ORDER BY task.n, watch_id LIMIT ?",
        (limit,),
    )
    return [watch_of(text(row[0]), row[1:]) for row in rows]


def _conditions(query: TaskQuery) -> tuple[str, Row]:
    """What a query asks for, its cursor aside, as a condition and the values in it."""
    shown = sorted(query.shown or ())
    asked: list[tuple[str, object]] = [
        ("owner = ?", query.owner),
        ("context_id = ?", query.context_id),
        ("updated_at >= ?", query.updated_since),
    ]
    terms = [term for term, value in asked if value is not None]
    if query.shown is not None:
        terms.append(f"shown IN ({', '.join('?' * len(shown))})")
    values = [value for _, value in asked if value is not None]
    return " AND ".join(["true", *terms]), (*values, *(phase.value for phase in shown))


def _readable(rows: Iterable[Row], limit: int) -> list[TaskRecord]:
    """The first records that can be read: one bad row must not stop the others (I37)."""
    found: list[TaskRecord] = []
    for task_id, snapshot in rows:
        try:
            found.append(record_of(text(task_id), snapshot))
        except StoreCorrupt as error:
            _log.error("left out: %s", error)
        if len(found) == limit:
            break
    return found


def _records(rows: list[Row]) -> list[TaskRecord]:
    return [record_of(text(task_id), snapshot) for task_id, snapshot in rows]
