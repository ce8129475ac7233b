"""What is read, each on a thread of a small pool with a connection that cannot write.

A reader sees the file as of one moment and never waits for the writer, nor the writer
for it.
"""

# ruff: noqa: S608  statements are put together from constants; every value is bound

import asyncio
import contextlib
import itertools
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Concatenate, Final, NamedTuple, ParamSpec, TypeAlias, TypeVar

from interlock._event import Event
from interlock._phases import OUTCOMES, Phase
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
from interlock._sqlite_schema import AT_WORK, opened_for_reading, store_error
from interlock._store import Claim, TaskPage, TaskQuery, Watch
from interlock.errors import StoreCorrupt, StoreError

_log: Final = logging.getLogger("interlock.sqlite")

T = TypeVar("T")
P = ParamSpec("P")

#: Reads at once.  They are short, and more threads would only wait for the interpreter.
THREADS: Final = 4

#: Events of purged tasks in one transaction, unless one task alone has more.
PURGED_EVENTS_MAX: Final = 2_000
#: Tasks named as quarantined: enough to see that the disk is bad.
QUARANTINED_MAX: Final = 1_000

#: Told of each task that a list leaves out.
Note: TypeAlias = Callable[[StoreCorrupt], None]

#: The phases as which tasks are shown that are over.
_OVER: Final = ", ".join(f"'{outcome}'" for outcome in sorted(OUTCOMES))


class Readers:
    """The pool, its threads, and a connection for each of them."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._pool: Final = ThreadPoolExecutor(THREADS, f"interlock reader of {path.name}")
        self._mine: Final = threading.local()
        self._connections: Final[list[sqlite3.Connection]] = []
        #: Why each task that cannot be read is left out.
        self.quarantined: Final[dict[str, str]] = {}

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
            except StoreCorrupt as error:
                self.note(error)
                raise
            except sqlite3.Error as error:
                raise store_error(error, "it cannot be read") from error
            except UnicodeEncodeError:
                raise StoreError("nothing is stored by a name that is not Unicode") from None

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def note(self, error: StoreCorrupt) -> None:
        """Remember, and log once, what cannot be read."""
        task_id = error.task_id
        known = self.quarantined
        if task_id is not None and task_id not in known and len(known) < QUARANTINED_MAX:
            known[task_id] = error.why
            _log.error("left out from now on: %s", error)

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
        # Everything that one query reads is as of one moment.  It must fetch all that it
        # selects: an error that holds on to half a result holds on to that moment too.
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
    ).fetchall()
    return [event_of(task_id, row) for row in rows]


def page(db: sqlite3.Connection, note: Note, query: TaskQuery) -> TaskPage:
    """See `Store.page`."""
    if query.shown is not None and not query.shown:
        return TaskPage((), 0, None)  # Of no phase at all: SQLite would look at every task.
    where, values = _conditions(query)
    (total,) = db.execute(f"SELECT count(*) FROM task WHERE {where}", values).fetchone()
    newest = (float("inf"), b"")
    cursor = query.cursor
    chosen = _Chosen(
        f"SELECT n, updated_at, task_id FROM task WHERE {where}"
        " AND (updated_at, task_id) < (?, CAST(? AS TEXT))"
        " ORDER BY updated_at DESC, task_id DESC LIMIT ?",
        values,
        newest if cursor is None else (cursor[0], cursor[1].encode()),
    )
    # One more tells whether there is another page.
    records = _readable(db, note, chosen, query.limit + 1)
    shown = tuple(records[: query.limit])
    last = (shown[-1].updated_at, shown[-1].task_id) if len(records) > len(shown) > 0 else None
    return TaskPage(shown, total, last)


def counts(db: sqlite3.Connection, query: TaskQuery) -> dict[Phase, int]:
    """See `Store.counts`: answered by an index alone."""
    where, values = _conditions(replace(query, shown=None))
    rows = db.execute(f"SELECT shown, count(*) FROM task WHERE {where} GROUP BY shown", values)
    found: dict[Phase, int] = {}
    for shown, count in rows.fetchall():
        # Of a lifecycle of which nobody here has heard, or after a flipped bit.
        with contextlib.suppress(ValueError):
            found[Phase(text(shown))] = count
    return found


def unfinished(db: sqlite3.Connection, note: Note, after: str, limit: int) -> list[TaskRecord]:
    """See `Store.unfinished`."""
    chosen = _Chosen(
        # To the letter as in the index, or SQLite does not see that it may use that.
        f"SELECT n, task_id FROM task WHERE {AT_WORK}"
        " AND task_id > CAST(? AS TEXT) ORDER BY task_id LIMIT ?",
        (),
        (after.encode(),),
    )
    return _readable(db, note, chosen, limit)


def everything(db: sqlite3.Connection, note: Note, after: str, limit: int) -> list[TaskRecord]:
    """All tasks, by ascending id beyond `after`."""
    chosen = _Chosen(
        "SELECT n, task_id FROM task WHERE task_id > CAST(? AS TEXT) ORDER BY task_id LIMIT ?",
        (),
        (after.encode(),),
    )
    return _readable(db, note, chosen, limit)


def open_tasks(db: sqlite3.Connection, owner: str) -> int:
    """See `Store.open_tasks`."""
    row = db.execute(
        f"SELECT count(*) FROM task WHERE owner = ? AND shown NOT IN ({_OVER})", (owner,)
    )
    (count,) = row.fetchone()
    return int(count)


def due(
    db: sqlite3.Connection, note: Note, now: float, after: tuple[float, str], limit: int
) -> list[TaskRecord]:
    """See `Store.due`."""
    chosen = _Chosen(
        "SELECT n, due, task_id FROM task WHERE due IS NOT NULL AND due <= ?"
        " AND (due, task_id) > (?, CAST(? AS TEXT)) ORDER BY due, task_id LIMIT ?",
        (now,),
        (after[0], after[1].encode()),
    )
    return _readable(db, note, chosen, limit)


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


def watches(db: sqlite3.Connection, note: Note, task_id: str) -> list[Watch]:
    """See `Store.watches`."""
    rows = db.execute(
        f"SELECT task_id, {WATCH_COLUMNS} FROM watch JOIN task ON task.n = watch.task"
        " WHERE task_id = ? ORDER BY watch_id",
        (task_id,),
    )
    return list(_watches(rows.fetchall(), note))


def behind(db: sqlite3.Connection, note: Note, limit: int) -> list[Watch]:
    """See `Store.behind`."""
    rows = db.execute(
        f"SELECT task_id, {WATCH_COLUMNS} FROM watch JOIN task ON task.n = watch.task"
        " WHERE given_up IS NULL AND cursor < seq ORDER BY task.n, watch_id"
    )
    return list(itertools.islice(_watches(rows.fetchall(), note), limit))


def _watches(rows: Iterable[Row], note: Note) -> Iterator[Watch]:
    """Those that can be read; each row begins with the id of its task."""
    for task_id, *row in rows:
        try:
            yield watch_of(text(task_id), tuple(row))
        except StoreCorrupt as error:
            note(error)


def purgeable(
    db: sqlite3.Connection, note: Note, before: float, keep: int, limit: int
) -> list[str]:
    """The tasks that `Store.purge` would forget, as many as may go at once."""
    newest = db.execute(
        "SELECT updated_at, task_id FROM task WHERE phase = 'finalized'"
        " ORDER BY updated_at DESC, task_id DESC LIMIT 1 OFFSET ?",
        (keep,),
    ).fetchone()
    if newest is None:
        return []
    chosen = _Chosen(
        "SELECT n, updated_at, task_id FROM task WHERE phase = 'finalized' AND updated_at < ?"
        " AND (updated_at, task_id) <= (?, CAST(? AS TEXT))"
        " AND (updated_at, task_id) > (?, CAST(? AS TEXT)) ORDER BY updated_at, task_id LIMIT ?",
        (before, *newest),
        (float("-inf"), b""),
    )
    gone: list[str] = []
    events_left = PURGED_EVENTS_MAX
    for found in _readable(db, note, chosen, limit):
        # The record knows best: a column that says otherwise is what cannot be trusted.
        if found.phase is Phase.FINALIZED:
            events_left -= found.seq
            if events_left < 0 and gone:
                break
            gone.append(found.task_id)
        else:
            note(
                StoreCorrupt(
                    f"its row says finalized, and it is {found.phase}", task_id=found.task_id
                )
            )
    return gone


def _conditions(query: TaskQuery) -> tuple[str, Row]:
    """What a query asks for, its cursor aside, as a condition and the values in it."""
    asked: list[tuple[str, Row]] = []
    if query.owner is not None:
        asked.append(("owner = ?", (query.owner,)))
    if query.owner_prefix:
        asked.append((_BEGINS.format("owner"), _beginning(query.owner_prefix)))
    if query.context_id is not None:
        asked.append(("context_id = ?", (query.context_id,)))
    if query.updated_since is not None:
        asked.append(("updated_at >= ?", (query.updated_since,)))
    if query.search:
        search = query.search
        asked.append((_FOUND, (*_beginning(search), search, search)))
    if query.shown is not None:
        shown = sorted(query.shown)
        values = tuple(phase.value for phase in shown)
        asked.append((f"shown IN ({', '.join('?' * len(shown))})", values))
    terms = ["true", *(term for term, _ in asked)]
    return " AND ".join(terms), tuple(value for _, values in asked for value in values)


#: A column whose text begins with another, which the values of `_beginning` are.  A range, so
#: that an index can be searched for it, and no character means anything but itself.
_BEGINS: Final = "({0} >= ? AND {0} < CAST(? AS TEXT))"
#: See `TaskQuery.search`.
_FOUND: Final = f"({_BEGINS.format('task_id')} OR context_id = ? OR instr(owner, ?) > 0)"


def _beginning(text_: str) -> Row:
    """The first text that begins so, and one behind the last: no text holds a byte 0xFF."""
    return text_, text_.encode() + b"\xff"


class _Chosen(NamedTuple):
    """Which tasks, in which order: answered by an index alone, and so by sound pages.

    The statement selects `n` and the place of each row; its values are those of the
    condition, then the place that the rows are to be beyond, then how many.
    """

    sql: str
    values: Row
    beyond: Row


def _readable(db: sqlite3.Connection, note: Note, chosen: _Chosen, limit: int) -> list[TaskRecord]:
    """The first records that can be read: one bad row must not stop the others (I37)."""
    found: list[TaskRecord] = []
    beyond = chosen.beyond
    while (wanted := limit - len(found)) > 0:
        rows = db.execute(chosen.sql, (*chosen.values, *beyond, wanted)).fetchall()
        snapshots = _snapshots(db, [row[0] for row in rows])
        for n, *_, task_id in rows:
            try:
                found.append(record_of(text(task_id), snapshots.get(n)))
            except StoreCorrupt as error:
                note(error)
        if len(rows) < wanted:
            break
        _, *beyond = rows[-1]
    return found


def _snapshots(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, bytes]:
    """The snapshots of these tasks; those that SQLite itself cannot read are left out."""
    which = ", ".join("?" * len(numbers))
    try:
        return dict(db.execute(f"SELECT n, snapshot FROM task WHERE n IN ({which})", numbers))
    except sqlite3.DatabaseError:
        if len(numbers) == 1:
            return {}
        alone = (_snapshots(db, [number]) for number in numbers)
        return {number: found for each in alone for number, found in each.items()}
