"""What somebody should know about a stored file: read only, also beside a running server.

Nothing is locked and nothing is repaired.  Each look is short, so that the server's log of
changes is not held up; what happens meanwhile may be seen or not.
"""

# ruff: noqa: S608  statements are put together from constants; every value is bound

import contextlib
import heapq
import os
import sqlite3
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

from interlock import _sqlite_reader as reading
from interlock._memory import IN_DOUBT, OPERATOR
from interlock._phases import OVER, WAITING, Phase
from interlock._record import Ask, Ended, TaskRecord
from interlock._sqlite_rows import text
from interlock._sqlite_schema import (
    EVENTS_EVER,
    MIGRATIONS,
    check_ours,
    mark_of,
    opened_for_reading,
    store_error,
)
from interlock._store import whole_log
from interlock.errors import StoreCorrupt, StoreError
from interlock.models import Retention

T = TypeVar("T")

#: Below it, writers and checkpoints of several processes could break a file (the "WAL reset"
#: fault); here one connection does both, so that it takes a second program to meet it.
SQLITE_SOUND: Final = (3, 51, 3)
#: Of each kind so many are named; all are counted.
NAMED_MAX: Final = 20
_TASKS_AT_ONCE: Final = 500


@dataclass(slots=True)
class Some(Generic[T]):
    """How many there are, and the first of them."""

    count: int = 0
    named: list[T] = field(default_factory=list[T])

    def add(self, one: T) -> None:
        """One more."""
        self.count += 1
        if len(self.named) < NAMED_MAX:
            self.named.append(one)


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """What a task waits for.  Times are seconds since 1970."""

    task_id: str
    key: str
    asked_at: float
    due: float
    owner: str


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """Calls of a task that were begun, and of whose end nobody knows."""

    task_id: str
    phase: str
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StuckWatch:
    """A watch whose deliveries fail; `why` is None while it is tried again."""

    task_id: str
    watch_id: str
    channel: str
    attempts: int
    why: str | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A task that is left out, and why."""

    task_id: str
    why: str


@dataclass(slots=True)
class Examination:
    """What was found in a file."""

    path: str
    #: Versions of the schema of the file, and of SQLite here.
    schema: int
    sqlite: str
    sqlite_is_sound: bool
    file_bytes: int
    #: The process that has it open, or had it last; None if nobody knows.
    opened_by: int | None
    #: Events that were acknowledged and are not there.
    events_lost: int
    #: Tasks in each phase; finalized ones by their outcome as well.
    phases: dict[str, int]
    outcomes: dict[str, int]
    #: Finalized tasks that are older than retention lets them be, as it comes.
    purgeable: int
    waiting: int = 0
    oldest_asks: list[OpenQuestion] = field(default_factory=list[OpenQuestion])
    nearest_deadlines: list[OpenQuestion] = field(default_factory=list[OpenQuestion])
    #: Asks that only an operator can answer (`interlock resume`).
    for_operator: Some[OpenQuestion] = field(default_factory=Some[OpenQuestion])
    #: Asks about a call of which nobody knows whether it was done.
    in_doubt: Some[OpenQuestion] = field(default_factory=Some[OpenQuestion])
    #: Calls in flight, or in doubt once the process that made them is gone.
    open_calls: Some[OpenCalls] = field(default_factory=Some[OpenCalls])
    #: Tasks whose turn would not end.
    abandoned: Some[str] = field(default_factory=Some[str])
    stuck_watches: Some[StuckWatch] = field(default_factory=Some[StuckWatch])
    quarantined: Some[Unreadable] = field(default_factory=Some[Unreadable])

    @property
    def needs_a_person(self) -> bool:
        """Whether something will not get better by itself."""
        return bool(
            self.for_operator.count
            or self.in_doubt.count
            or self.quarantined.count
            or self.events_lost
        )


def examine(path: str | os.PathLike[str], *, now: float) -> Examination:
    """Look through the SQLite file of a store; `now` is the time, in seconds since 1970.

    Raises:
        StoreTooNew: a newer version wrote it.
        StoreCorrupt: it is no database, or not one of ours.
        StoreError: it is not there, or cannot be read.
    """
    database = existing(path)
    # Before the file: what is acknowledged meanwhile must not seem to be lost.
    opened_by, mark = mark_of(database)
    with looking_at(database) as db:
        found = _overview(db, database, opened_by, mark, now)
        for record in _all_records(db, found):
            _look_at(db, record, found)
        _watches(db, found)
        _strays(db, found)
    return found


def existing(path: str | os.PathLike[str]) -> Path:
    """The file of a store, which is there; raises StoreError if it is not."""
    database = Path(path).absolute()
    if not database.is_file():
        raise StoreError(f"there is no file {database}")
    return database


@contextlib.contextmanager
def looking_at(database: Path) -> Generator[sqlite3.Connection]:
    """A connection that can only read and takes no lock; whatever goes wrong is a StoreError."""
    with contextlib.closing(_opened(database)) as db:
        try:
            yield db
        except sqlite3.Error as error:
            raise store_error(error, f"{database} cannot be read") from error


def _opened(database: Path) -> sqlite3.Connection:
    """A connection that can only read; raises StoreError if there is none to be had."""
    failure: sqlite3.Error | None = None
    # Where not even the files beside it may be made, and none is there, nobody writes.
    alone = not database.with_name(database.name + "-wal").exists()
    for immutable in (False, True) if alone else (False,):
        try:
            db = opened_for_reading(database, immutable=immutable)
        except sqlite3.Error as error:
            failure = error
            continue
        try:
            check_ours(db, database)
        except sqlite3.Error as error:
            failure = error
            db.close()
        except StoreError:
            db.close()
            raise
        else:
            return db
    assert failure is not None
    raise store_error(failure, f"{database} cannot be read") from failure


def _overview(
    db: sqlite3.Connection, database: Path, opened_by: int, mark: int, now: float
) -> Examination:
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    age_s = Retention().age_s
    before = float("-inf") if age_s is None else now - age_s
    (purgeable,) = db.execute(
        "SELECT count(*) FROM task WHERE phase = 'finalized' AND updated_at < ?", (before,)
    ).fetchone()
    return Examination(
        path=str(database),
        schema=schema,
        sqlite=sqlite3.sqlite_version,
        sqlite_is_sound=sqlite3.sqlite_version_info >= SQLITE_SOUND,
        file_bytes=database.stat().st_size,
        opened_by=opened_by or None,
        events_lost=events_lost(db, mark),
        phases=_counted(db, "phase", "true"),
        outcomes=_counted(db, "shown", "phase = 'finalized'"),
        purgeable=purgeable,
    )


def events_lost(db: sqlite3.Connection, mark: int) -> int:
    """How many events are missing of those that were acknowledged, by `mark_of`."""
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    # A file of an older version counts them when it is next opened.
    events = db.execute(EVENTS_EVER).fetchone()[0] if schema == len(MIGRATIONS) else mark
    return max(0, mark - int(events))


def _counted(db: sqlite3.Connection, column: str, where: str) -> dict[str, int]:
    rows = db.execute(
        f"SELECT {column}, count(*) FROM task WHERE {where} GROUP BY {column} ORDER BY {column}"
    )
    return {text(name): count for name, count in rows}


def _all_records(db: sqlite3.Connection, found: Examination) -> Iterator[TaskRecord]:
    """Every record that can be read; the others are noted."""
    before: set[str] = set()
    now: set[str] = set()

    def note(error: StoreCorrupt) -> None:
        task_id = str(error.task_id)
        now.add(task_id)
        if task_id not in before:
            found.quarantined.add(Unreadable(task_id, error.why))

    last = ""
    while records := reading.everything(db, note, last, _TASKS_AT_ONCE):
        yield from records
        last = records[-1].task_id
        # What lies behind the last one that can be read is met again by the next reading.
        before, now = now, set()


def _look_at(db: sqlite3.Connection, record: TaskRecord, found: Examination) -> None:
    task_id = record.task_id
    if isinstance(record.details, Ended) and record.details.abandoned:
        found.abandoned.add(task_id)
    if record.phase in OVER:
        return
    if record.calls:
        found.open_calls.add(OpenCalls(task_id, record.phase.value, record.calls))
    if record.phase in WAITING:
        found.waiting += 1
    for ask in record.asks:
        _look_at_ask(record, ask, found)
    try:
        whole_log(record, reading.events(db, task_id, 0, record.seq))
    except StoreCorrupt as error:
        found.quarantined.add(Unreadable(task_id, error.why))
    except sqlite3.DatabaseError as error:
        found.quarantined.add(Unreadable(task_id, f"its log cannot be read: {error}"))


def _look_at_ask(record: TaskRecord, ask: Ask, found: Examination) -> None:
    question = OpenQuestion(record.task_id, ask.key, ask.asked_at, ask.due, record.owner)
    if ask.key.startswith(OPERATOR):
        found.for_operator.add(question)
    elif ask.key.startswith(IN_DOUBT):
        found.in_doubt.add(question)
    found.oldest_asks = heapq.nsmallest(
        NAMED_MAX, [*found.oldest_asks, question], key=lambda one: one.asked_at
    )
    found.nearest_deadlines = heapq.nsmallest(
        NAMED_MAX, [*found.nearest_deadlines, question], key=lambda one: one.due
    )


def _watches(db: sqlite3.Connection, found: Examination) -> None:
    for task_id, watch_id, channel, attempts, why in db.execute(
        "SELECT task_id, watch_id, channel, attempts, given_up FROM watch"
        " JOIN task ON task.n = watch.task WHERE attempts > 0 OR given_up IS NOT NULL"
    ).fetchall():
        given_up = None if why is None else text(why)
        found.stuck_watches.add(
            StuckWatch(text(task_id), text(watch_id), text(channel), attempts, given_up)
        )


def _strays(db: sqlite3.Connection, found: Examination) -> None:
    """Tasks that are looked for by a phase which their record does not have."""
    known = {one.task_id for one in found.quarantined.named}
    with contextlib.suppress(sqlite3.DatabaseError):  # it lies on a bad page: noted already
        for task_id, phase in db.execute(
            "SELECT task_id, phase FROM task WHERE json_valid(snapshot)"
            " AND json_extract(snapshot, '$.phase') IS NOT phase"
        ).fetchall():
            named = text(task_id)
            if named not in known:
                why = f"its row says {Phase.FINALIZED if phase == b'finalized' else text(phase)}"
                found.quarantined.add(Unreadable(named, f"{why}, and its record does not"))
