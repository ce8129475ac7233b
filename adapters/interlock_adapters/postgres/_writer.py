"""What is written: each commit is one statement, so one transaction and one way there and back.

PostgreSQL itself writes the commits that come together to its log at once.  A commit whose
answer was lost is looked up under a lock that it would have to take, too.  If it was not made,
it is declared void there and then, so that one which is still on its way can do no harm.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final, LiteralString

import psycopg
from pydantic_core import to_json

from interlock import TaskRecord, Watch
from interlock._sqlite_rows import chained, event_row, same_json, unicode, watch_row
from interlock.errors import Conflict, StoreError, Unstorable
from interlock.stores import Claim, Commit, TokenTaken, TurnWanted
from interlock_adapters.postgres import _reader as reading
from interlock_adapters.postgres._pool import Connection, Pool, Unreachable
from interlock_adapters.postgres._reader import Row

_log: Final = logging.getLogger("interlock.postgres")

#: Longer ids are told apart by a hash in the lock of their jobs: an index has an end.
_LOCK_CHARS_MAX: Final = 500
#: Commits of which it is not known whether they are made, beyond which no further one is tried: one
#: that waits for a standby keeps a connection of the server, also when nobody is at its other end.
IN_DOUBT_MAX: Final = 5
#: Seconds, at least, for which is asked what became of a commit until it is looked at whether
#: the process is to end.
_ASK_S: Final = 1.0
#: Seconds since 1970 from which priorities count down, in 32 bits: the year 2020.
_EPOCH: Final = 1_577_836_800
#: What `commit_v1` returns of a task with watches.
_WATCHED: Final = 2
_PRIORITY_MIN: Final = -(2**31) + 1

_COMMIT: Final[LiteralString] = (
    "SELECT commit_v1(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
    " %s::float8[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::bytea[],"
    " %s::bytea[], %s::bytea[], %s::bytea[], %s::bytea[],"
    " %s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[], %s::float8[], %s::bytea[],"
    " %s::text, %s::jsonb, %s::int, %s::float8)"
)
_PUT_WATCH: Final[LiteralString] = (
    "SELECT put_watches_v1(n, seq, %s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[],"
    " %s::bigint[], %s::float8[], %s::bytea[])"
    " FROM (SELECT n, seq FROM task WHERE task_id = %s FOR SHARE) AS task"
)
#: What was served further stays as it is.  The lock keeps `behind` true: a commit that moves the
#: task comes wholly before, and then its number is seen, or wholly after.
_ADVANCE_WATCH: Final[LiteralString] = (
    "UPDATE watch AS kept SET cursor = greatest(kept.cursor, new.cursor),"
    " attempts = CASE WHEN kept.cursor > new.cursor THEN kept.attempts ELSE new.attempts END,"
    " not_before = CASE WHEN kept.cursor > new.cursor THEN kept.not_before"
    " ELSE new.not_before END,"
    " given_up = CASE WHEN kept.cursor > new.cursor THEN kept.given_up ELSE new.given_up END,"
    " behind = greatest(kept.cursor, new.cursor) < task.seq"
    " AND CASE WHEN kept.cursor > new.cursor THEN kept.given_up ELSE new.given_up END IS NULL"
    " FROM (SELECT n, seq FROM task WHERE task_id = %s FOR SHARE) AS task,"
    " (SELECT %s::bytea, %s::bytea, %s::bytea, %s::bigint, %s::bigint, %s::float8, %s::bytea)"
    " AS new (watch_id, channel, config, cursor, attempts, not_before, given_up)"
    " WHERE kept.task = task.n AND kept.watch_id = new.watch_id"
    " AND kept.channel = new.channel AND kept.config = new.config"
)
#: Events, claims and watches go with their task.  Whom another one is just purging, it has.
_FORGET: Final[LiteralString] = (
    "WITH gone AS (SELECT n FROM task WHERE task_id = ANY(%s::bytea[]) AND phase = 'finalized'"
    " ORDER BY n FOR UPDATE SKIP LOCKED)"
    " DELETE FROM task USING gone WHERE task.n = gone.n RETURNING task_id"
)


def chain_before(task_id: bytes) -> bytes:
    """What the hash chain of a task begins with, as the server computes it."""
    return sha256(task_id).digest()[:16]


def chain_after(before: bytes, row: Row) -> bytes:
    """The chain value of an event, as the server computes it from the hash of its row."""
    return sha256(before + chained(b"", row)).digest()[:16]


def _name_of(task_id: str) -> str:
    """The id as a text that PostgreSQL can hold."""
    return task_id.replace("\\", "\\\\").replace("\0", "\\0")


def lock_of(task_id: str) -> str:
    """What keeps the jobs of a task apart."""
    name = _name_of(task_id)
    return name if len(name) <= _LOCK_CHARS_MAX else f"\\#{sha256(name.encode()).hexdigest()}"


def job_of(wanted: TurnWanted, now: float) -> Row:
    """The job of a turn: its lock, arguments, priority, and when it may begin.

    First is whoever might have begun first.  So a turn that is wanted at once never stands
    behind one of the same task that is to wait, and those that wait are in nobody's way.
    """
    at = wanted.not_before
    begins = math.floor(now) if at is None or at <= now else math.ceil(at)
    arguments = {"task": _name_of(wanted.task_id), "epoch": wanted.epoch, "not_before": at}
    priority = max(_EPOCH - begins, _PRIORITY_MIN)
    return lock_of(wanted.task_id), to_json(arguments).decode(), priority, at


def task_of(name: str) -> str:
    """The id of the task from the arguments of its job."""
    parts = (part.replace("\\0", "\0") for part in name.split("\\\\"))
    return "\\".join(parts)


class Prepared:
    """A commit, made ready for the statement; made again it is another one."""

    def __init__(self, commit: Commit, now: float) -> None:
        """Make the rows.

        Raises:
            Unstorable: something in it is not JSON, or no Unicode.
        """
        self.commit: Final = commit
        record = commit.record
        try:
            claims = sorted(_claim_row(claim) for claim in commit.claims)
            self._rest: Final[Row] = (
                commit.expected_seq,
                *task_row(record),
                *_event_columns(commit),
                *([row[column] for row in claims] for column in range(3)),
                *_watch_columns(commit.watches),
                *((None,) * 4 if commit.turn is None else job_of(commit.turn, now)),
            )
        except ValueError as error:
            # Only the kind of fault: the value itself may hold a secret.
            raise Unstorable(f"it cannot be stored as JSON ({type(error).__name__})") from None
        names = {b"task " + self._rest[1]}
        for claim in commit.claims:
            owner, token, _ = _claim_row(claim)
            name = b"claim " + owner + b"\xff" + token
            if name in names:
                raise TokenTaken(claim)
            names.add(name)
        #: What it is about: of those that share one, the first is to be the first.
        self.names: Final = frozenset(names)

    def values(self, commit_id: int) -> Row:
        """The values of the statement."""
        return commit_id, *self._rest


def task_row(record: TaskRecord) -> Row:
    """The columns of a task; raises ValueError if something in it is not JSON, or no Unicode."""
    return (
        unicode(record.task_id).encode(),
        unicode(record.owner).encode(),
        unicode(record.context_id).encode(),
        record.shown.value,
        record.phase.value,
        record.seq,
        float(record.updated_at),
        record.due,
        record.to_json(),
    )


def _claim_row(claim: Claim) -> tuple[bytes, bytes, bytes]:
    return claim.owner.encode(), claim.token.encode(), claim.digest.encode()


def _event_columns(commit: Commit) -> tuple[list[Any], ...]:
    rows = [event_row(event) for event in commit.events]
    return (
        [row[1] for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
        [row[4] for row in rows],
        [row[5] for row in rows],
        [row[6].encode() for row in rows],
        [row[7].encode() for row in rows],
        [chained(b"", row) for row in rows],
    )


def _watch_columns(watches: Sequence[Watch]) -> tuple[list[Any], ...]:
    # Of two by one id the last counts, and a statement may write a row only once.
    rows = [_watch_row(watch) for watch in {watch.watch_id: watch for watch in watches}.values()]
    return tuple([row[number] for row in rows] for number in range(7))


def _watch_row(watch: Watch) -> Row:
    return tuple(value.encode() if isinstance(value, str) else value for value in watch_row(watch))


class Writer:
    """Writes through a pool."""

    def __init__(
        self, pool: Pool, patience_s: float, decide_s: float, ends: Callable[[], bool]
    ) -> None:
        """`patience_s`, `decide_s`: see `PostgresStore`.  `ends`: whether the process is to end."""
        self._decide_s: Final = decide_s
        self._ends: Final = ends
        self._pool: Final = pool
        self._patience_s: Final = patience_s
        #: Commits of which nobody knows yet whether they are made.
        self._in_doubt = 0

    async def commit(self, prepared: Prepared) -> bool:
        """See `Store.commit`; whether the task may have watches."""
        deadline = time.monotonic() + self._patience_s
        pause_s = 0.02
        while True:
            try:
                return await self._try(prepared)
            except Unreachable:
                if time.monotonic() + pause_s >= deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)

    async def _try(self, prepared: Prepared) -> bool:
        """Try once; raises Unreachable if nothing was written and the server is to blame."""
        if self._in_doubt >= IN_DOUBT_MAX:
            raise Unreachable(f"{self._in_doubt} commits are not confirmed")
        commit = prepared.commit
        commit_id = secrets.randbits(63)
        sent = False

        async def run(db: Connection) -> int:
            nonlocal sent
            sent = True
            try:
                cursor = await db.execute(_COMMIT, prepared.values(commit_id))
                row = await cursor.fetchone()
            except psycopg.Error as error:
                # The server has undone it, and nobody has to look: unless it was cut off.
                state = error.sqlstate
                sent = db.closed or state is None or state.startswith(("08", "57P"))
                if state == "IL001":
                    taken = await self._taken(db, commit.claims)
                    # If it is free again by now, the next try will have it.
                    raise (TokenTaken(taken) if taken else Unreachable("purged")) from None
                raise
            return 0 if row is None else int(row[0])

        try:
            made = await self._pool.once(run, "it cannot be written")
        except Unreachable as error:
            if not sent:
                raise
            _log.debug("the answer to a commit was lost: %s", error)
            if await self._decided(commit, commit_id):
                return True
            raise
        if not made:
            raise Conflict(commit.record.task_id, commit.expected_seq)
        return made == _WATCHED

    async def _decided(self, commit: Commit, commit_id: int) -> bool:
        """Whether a commit was made whose answer was lost; if not, it never will be."""

        async def look(db: Connection) -> bool:
            cursor = await db.execute(
                "SELECT decided_v1(%s, %s, %s)",
                (commit_id, reading.key(commit.record.task_id), commit.events[0].seq),
            )
            row = await cursor.fetchone()
            return row is not None and bool(row[0])

        self._in_doubt += 1
        give_up_at = time.monotonic() + self._decide_s
        try:
            while True:
                left_s = give_up_at - time.monotonic()
                try:
                    return await self._pool.ask(
                        look,
                        "what became of a commit is not known",
                        patience_s=min(left_s, max(self._patience_s, _ASK_S)),
                    )
                except Unreachable as error:
                    # A process that ends waits no longer than for any other request.
                    if self._ends() or time.monotonic() + _ASK_S >= give_up_at:
                        # Not one that is tried again: it may have been made.
                        raise StoreError(str(error)) from None
        finally:
            self._in_doubt -= 1

    async def _taken(self, db: Connection, claims: Sequence[Claim]) -> Claim | None:
        for claim in claims:
            taken = await reading.claim(db, claim.owner, claim.token)
            if taken is not None:
                return taken
        return None

    async def put_watch(self, watch: Watch) -> None:
        """See `Store.put_watch`; raises StoreError if there is no such task."""
        try:
            task_id = unicode(watch.task_id).encode()
            columns = _watch_columns([watch])
        except ValueError as error:
            raise Unstorable(f"it cannot be stored as JSON ({type(error).__name__})") from None

        async def put(db: Connection) -> bool:
            cursor = await db.execute(_PUT_WATCH, (*columns, task_id))
            return cursor.rowcount > 0

        if not await self._pool.ask(put, "a watch cannot be kept", patience_s=self._patience_s):
            raise StoreError(f"no task {watch.task_id!r}")

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        try:
            task_id = unicode(before.task_id).encode()
            watch_id, channel, config = _watch_row(before)[:3]
            state = _watch_row(after)[3:]
        except ValueError as error:
            raise Unstorable(f"it cannot be stored as JSON ({type(error).__name__})") from None

        async def write(db: Connection, config: bytes) -> bool:
            values = (task_id, watch_id, channel, config, *state)
            return (await db.execute(_ADVANCE_WATCH, values)).rowcount > 0

        async def advance(db: Connection) -> bool:
            if await write(db, config):
                return True
            kept = await reading.watch_config(db, task_id, watch_id)
            return kept is not None and same_json(kept, config) and await write(db, kept)

        return await self._pool.ask(advance, "a watch cannot be kept", patience_s=self._patience_s)

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """See `Store.drop_watch`."""

        async def drop(db: Connection) -> bool:
            cursor = await db.execute(
                "DELETE FROM watch USING task"
                " WHERE task.n = watch.task AND task_id = %s AND watch_id = %s",
                (reading.key(task_id), reading.key(watch_id)),
            )
            return cursor.rowcount > 0

        return await self._pool.ask(drop, "a watch cannot be removed", patience_s=self._patience_s)

    async def forget(self, task_ids: Sequence[str]) -> list[str]:
        """Forget those that are finalized; which those were, in the order given."""

        async def delete(db: Connection) -> set[str]:
            async with db.cursor(binary=True) as cursor:
                await cursor.execute(_FORGET, ([reading.key(task_id) for task_id in task_ids],))
                return {reading.text(row[0]) for row in await cursor.fetchall()}

        gone = await self._pool.ask(
            delete, "tasks cannot be forgotten", patience_s=self._patience_s
        )
        return [task_id for task_id in task_ids if task_id in gone]
