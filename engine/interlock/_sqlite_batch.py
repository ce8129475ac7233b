"""What is written in one transaction: commits and watches, planned first, then written at once.

A commit that does not go on from where its task stands, or whose token is taken, is
left out and told so, without touching the others.  That is decided before anything is
written, from what the writer remembers and two look-ups for the whole batch.
"""

import asyncio
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from interlock._phases import Phase
from interlock._sqlite_rows import (
    EVENT_COLUMNS,
    TASK_COLUMNS,
    WATCH_COLUMNS,
    Row,
    chain_before,
    chained,
    event_row,
    same_json,
    task_row,
    unicode,
    watch_row,
)
from interlock._store import Claim, Commit, TokenTaken, Watch
from interlock.errors import Conflict, StoreError

#: What a transaction, and each commit in it, changes besides the payload: whole pages.
TRANSACTION_BYTES: Final = 24 * 1024
COMMIT_BYTES: Final = 8 * 1024
#: About what changes where a purged event was.
PURGED_EVENT_BYTES: Final = 256


class CommitJob(NamedTuple):
    """A commit, as rows, and who waits for it."""

    commit: Commit
    task: Row
    events: Sequence[Row]
    watches: Sequence[Row]
    done: asyncio.Future[None]

    @classmethod
    def of(cls, commit: Commit, done: asyncio.Future[None]) -> "CommitJob":
        """Make the rows; raises ValueError if something in it is not JSON."""
        for claim in commit.claims:
            unicode(claim.owner + claim.token + claim.digest)
        return cls(
            commit,
            task_row(commit.record),
            [event_row(event) for event in commit.events],
            [watch_row(watch) for watch in commit.watches],
            done,
        )

    @property
    def task_id(self) -> str:
        """The task that it is about."""
        return self.commit.record.identity.task_id


class PutWatch(NamedTuple):
    """A watch to add or replace, as a row."""

    task_id: str
    watch: Row
    done: asyncio.Future[None]

    @classmethod
    def of(cls, watch: Watch, done: asyncio.Future[None]) -> "PutWatch":
        """Make the row; raises ValueError if something in it is not JSON."""
        return cls(unicode(watch.task_id), watch_row(watch), done)


class AdvanceWatch(NamedTuple):
    """How far a watch has been served, as its row; who waits is told whether it is kept still."""

    task_id: str
    watch: Row
    done: asyncio.Future[bool]

    @classmethod
    def of(cls, before: Watch, after: Watch, done: asyncio.Future[bool]) -> "AdvanceWatch":
        """Make the row; raises ValueError if something in it is not JSON."""
        same, state = watch_row(before)[:3], watch_row(after)[3:]
        return cls(unicode(before.task_id), (*same, *state), done)


class DropWatch(NamedTuple):
    """A watch to remove; who waits is told whether there was one."""

    task_id: str
    watch_id: str
    done: asyncio.Future[bool]

    @classmethod
    def of(cls, task_id: str, watch_id: str, done: asyncio.Future[bool]) -> "DropWatch":
        """Name it; raises ValueError if a name holds what no file can."""
        return cls(unicode(task_id), unicode(watch_id), done)


class Purge(NamedTuple):
    """Finalized tasks to forget; who waits is told which there were."""

    task_ids: Sequence[str]
    done: asyncio.Future[list[str]]

    @classmethod
    def of(cls, task_ids: Sequence[str], done: asyncio.Future[list[str]]) -> "Purge":
        """Name them; raises ValueError if a name holds what no file can."""
        return cls([unicode(task_id) for task_id in task_ids], done)


#: What is about one task.
TaskJob: TypeAlias = CommitJob | PutWatch | AdvanceWatch | DropWatch
Job: TypeAlias = TaskJob | Purge
#: The future of a job, and what it comes to: a value, or the error to raise.
Outcome: TypeAlias = tuple[asyncio.Future[Any], object]


class Head(NamedTuple):
    """Where a task stands: its row, its last event, the chain value of that."""

    n: int
    seq: int
    chain: bytes
    #: What lists find it by, its `_PLACE`; None where nobody remembers.
    place: Row | None = None


class _Many:
    """A statement about many rows at once.

    SQLite compiles a statement for one number of rows.  Only powers of two are used, so
    that there are few of them to compile, and Python keeps them.
    """

    _SIZES: Final = (32, 16, 8, 4, 2, 1)

    def __init__(self, before: str, columns: int, after: str = "") -> None:
        row = f"({', '.join('?' * columns)})"
        self._sql: Final = {
            size: f"{before} VALUES {', '.join([row] * size)} {after}" for size in self._SIZES
        }

    def select(self, db: sqlite3.Connection, rows: Sequence[Row]) -> Iterator[Row]:
        """Run it with the rows; what it selects."""
        begin = 0
        for size, sql in self._sql.items():
            while len(rows) - begin >= size:
                values = itertools.chain.from_iterable(rows[begin : begin + size])
                yield from db.execute(sql, tuple(values)).fetchall()
                begin += size

    def write(self, db: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Run it with the rows; it selects nothing."""
        if rows:
            selected = list(self.select(db, rows))
            assert not selected, selected


_FIND_HEADS: Final = _Many("SELECT task_id, n, seq, chain FROM task WHERE task_id IN (", 1, ")")
# CROSS JOIN, because with anything else SQLite reads the whole table of claims.
_FIND_CLAIMS: Final = _Many(
    "WITH wanted (owner, token) AS (",
    2,
    ") SELECT claim.owner, claim.token, task.task_id, claim.digest"
    " FROM wanted CROSS JOIN claim USING (owner, token) CROSS JOIN task ON task.n = claim.task",
)
_ADD_TASK: Final = f"INSERT INTO task (n, chain, {TASK_COLUMNS})"
_GO_ON: Final = (
    "ON CONFLICT (n) DO UPDATE SET chain = excluded.chain, seq = excluded.seq,"
    " updated_at = excluded.updated_at, snapshot = excluded.snapshot"
)
_MOVE: Final = f"{_GO_ON}, shown = excluded.shown, phase = excluded.phase, due = excluded.due"
_PUT_TASKS: Final = _Many(_ADD_TASK, 11, _MOVE)
#: Of tasks that stay where lists find them: SQLite writes every index anew of which a column is
#: named, though it is as it was.
_PUT_TASKS_IN_PLACE: Final = _Many(_ADD_TASK, 11, _GO_ON)
#: Where the columns shown, phase and due are among those of a task.
_PLACE: Final = itemgetter(3, 4, 7)
_ADD_EVENTS: Final = _Many(f"INSERT INTO event (task, chain, {EVENT_COLUMNS})", 10)
_ADD_CLAIMS: Final = _Many("INSERT INTO claim (task, owner, token, digest)", 4)
_PUT_WATCHES: Final = _Many(f"INSERT OR REPLACE INTO watch (task, {WATCH_COLUMNS})", 8)
_PURGEABLE: Final = "SELECT n, seq FROM task WHERE task_id = ? AND phase = 'finalized'"
#: With the task itself last: the others refer to it.
_FORGET: Final = (
    "DELETE FROM event WHERE task = ?",
    "DELETE FROM claim WHERE task = ?",
    "DELETE FROM watch WHERE task = ?",
    "DELETE FROM task WHERE n = ?",
)
_LAST_EVENT: Final = "SELECT ifnull(max(rowid), 0) FROM event"
_DROP_WATCH: Final = "DELETE FROM watch WHERE task = ? AND watch_id = ?"
#: As a blob: a text that is none must not fail the batch.
_WATCH_CONFIG: Final = (
    "SELECT CAST(config AS BLOB) FROM watch WHERE task = ? AND watch_id = ? AND channel = ?"
)
#: What was served further stays as it is.
_ADVANCE_WATCH: Final = (
    "UPDATE watch SET cursor = max(cursor, :cursor),"
    " attempts = CASE WHEN cursor > :cursor THEN attempts ELSE :attempts END,"
    " not_before = CASE WHEN cursor > :cursor THEN not_before ELSE :not_before END,"
    " given_up = CASE WHEN cursor > :cursor THEN given_up ELSE :given_up END"
    " WHERE task = :task AND watch_id = :watch_id"
)


class Batch:
    """The jobs of one transaction while it is being written."""

    def __init__(self, db: sqlite3.Connection, known: dict[str, Head], tasks: int) -> None:
        """`known` tells where tasks stand before it; what must be looked up is added there."""
        self._db: Final = db
        self._known: Final = known
        #: The last row of the table of tasks that is in use.
        self.tasks = tasks
        #: Where the tasks of this batch stand after it.
        self.heads: Final[dict[str, Head]] = {}
        #: Tasks to which nothing more is likely to happen.
        self.finalized: Final[set[str]] = set()
        #: About how much it changes.
        self.changes_bytes = TRANSACTION_BYTES
        #: Whether tasks were forgotten.
        self.forgot = False
        self._claims: Final[dict[tuple[str, str], Claim]] = {}
        self._task_rows: Final[dict[str, Row]] = {}
        self._event_rows: Final[list[Row]] = []
        self._claim_rows: Final[list[Row]] = []

    @property
    def events(self) -> int:
        """How many events it adds."""
        return len(self._event_rows)

    def write(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Write what can be written; what each job comes to once that is committed."""
        purges = [job for job in jobs if isinstance(job, Purge)]
        outcomes = self._write([job for job in jobs if not isinstance(job, Purge)])
        # Last: nothing else in the batch may come to a task that is gone.
        outcomes.extend((job.done, self._purged(job.task_ids)) for job in purges)
        return outcomes

    def _write(self, jobs: Sequence[TaskJob]) -> list[Outcome]:
        self._look_up(jobs)
        plans = [self._plan(job) if isinstance(job, CommitJob) else None for job in jobs]
        moved: list[Row] = []
        in_place: list[Row] = []
        for task_id, row in self._task_rows.items():
            known = self._known.get(task_id)
            stays = known is not None and known.place == self.heads[task_id].place
            (in_place if stays else moved).append(row)
        _PUT_TASKS.write(self._db, moved)
        _PUT_TASKS_IN_PLACE.write(self._db, in_place)
        _ADD_EVENTS.write(self._db, self._event_rows)
        _ADD_CLAIMS.write(self._db, self._claim_rows)
        return [
            (job.done, self._with_watches(job) if error is None else error)
            for job, error in zip(jobs, plans, strict=True)
        ]

    def _purged(self, task_ids: Sequence[str]) -> list[str]:
        """Forget those of the tasks that are finalized; which those were."""
        (before,) = self._db.execute(_LAST_EVENT).fetchone()
        gone: list[str] = []
        for task_id in task_ids:
            row = self._db.execute(_PURGEABLE, (task_id,)).fetchone()
            if row is None:
                continue
            n, seq = row
            for statement in _FORGET:
                self._db.execute(statement, (n,))
            self._known.pop(task_id, None)
            self.heads.pop(task_id, None)
            self.changes_bytes += COMMIT_BYTES + seq * PURGED_EVENT_BYTES
            gone.append(task_id)
        self.forgot |= bool(gone)
        (after,) = self._db.execute(_LAST_EVENT).fetchone()
        if after < before:
            self._db.execute("UPDATE purged SET events = events + ?", (before - after,))
        return gone

    def _look_up(self, jobs: Sequence[TaskJob]) -> None:
        """Learn where the tasks stand that are not remembered, and which claims are taken."""
        unknown = {job.task_id: None for job in jobs if job.task_id not in self._known}
        for task_id, n, seq, chain in _FIND_HEADS.select(self._db, [(id_,) for id_ in unknown]):
            self._known[task_id] = Head(n, seq, chain)
        claims = {
            (claim.owner, claim.token): None
            for job in jobs
            if isinstance(job, CommitJob)
            for claim in job.commit.claims
        }
        for owner, token, task_id, digest in _FIND_CLAIMS.select(self._db, list(claims)):
            self._claims[owner, token] = Claim(owner, token, task_id, digest)

    def _head(self, task_id: str) -> Head | None:
        return self.heads.get(task_id) or self._known.get(task_id)

    def _plan(self, job: CommitJob) -> StoreError | None:
        """Make the final rows of a commit, or say why it cannot be written."""
        commit, task_id = job.commit, job.task_id
        head = self._head(task_id)
        if (0 if head is None else head.seq) != commit.expected_seq:
            return Conflict(task_id, commit.expected_seq)
        claims: dict[tuple[str, str], Claim] = {}
        for claim in commit.claims:
            key = (claim.owner, claim.token)
            taken = self._claims.get(key) or claims.get(key)
            if taken is not None:
                return TokenTaken(taken)
            claims[key] = claim
        self._claims.update(claims)
        if head is None:
            self.tasks += 1
            head = Head(self.tasks, 0, chain_before(task_id))
        n, chain = head.n, head.chain
        for row in job.events:
            chain = chained(chain, row)
            self._event_rows.append((n, chain, *row))
            self.changes_bytes += len(row[-1])
        self.changes_bytes += COMMIT_BYTES
        self._task_rows[task_id] = (n, chain, *job.task)
        self._claim_rows.extend(
            (n, claim.owner, claim.token, claim.digest) for claim in commit.claims
        )
        self.heads[task_id] = Head(n, commit.record.seq, chain, _PLACE(job.task))
        if commit.record.phase is Phase.FINALIZED:
            self.finalized.add(task_id)
        return None

    def _with_watches(self, job: TaskJob) -> object:
        """Write what the job does to watches, after the tasks, which they refer to."""
        head = self._head(job.task_id)
        if head is None:
            return _unwatchable(job)
        if isinstance(job, DropWatch):
            return self._db.execute(_DROP_WATCH, (head.n, job.watch_id)).rowcount > 0
        if isinstance(job, AdvanceWatch):
            return self._advanced(head.n, job.watch)
        rows = job.watches if isinstance(job, CommitJob) else (job.watch,)
        _PUT_WATCHES.write(self._db, [(head.n, *row) for row in rows])
        return None

    def _advanced(self, n: int, row: Row) -> bool:
        """Write how far a watch was served, if it is still the one kept; whether it is."""
        watch_id, channel, config, cursor, attempts, not_before, given_up = row
        kept = self._db.execute(_WATCH_CONFIG, (n, watch_id, channel)).fetchone()
        if kept is None or not same_json(kept[0], config.encode()):
            return False
        served = {
            "task": n,
            "watch_id": watch_id,
            "cursor": cursor,
            "attempts": attempts,
            "not_before": not_before,
            "given_up": given_up,
        }
        self._db.execute(_ADVANCE_WATCH, served)
        return True


def _unwatchable(job: TaskJob) -> object:
    """What a job about a watch of no task comes to."""
    if isinstance(job, AdvanceWatch | DropWatch):
        return False
    return StoreError(f"no task {job.task_id!r}")
