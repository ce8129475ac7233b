"""Whether what is stored agrees with itself, task by task, each as of one moment.

One bad task never stops the others: everything that is found becomes a sentence.  The files of
the database are the server's own business (`pg_amcheck`, `pg_checksums`).
"""

# ruff: noqa: S608  statements are put together from constants; every value is bound

from collections.abc import Iterator, Sequence
from typing import Final

from interlock import Event, Lifecycle, TaskRecord
from interlock._sqlite_rows import event_of, record_of, watch_of
from interlock._sqlite_verify import claim_findings, record_findings
from interlock.errors import StoreCorrupt
from interlock.stores import findings
from interlock_adapters.postgres._pool import Connection
from interlock_adapters.postgres._reader import (
    EVENT_COLUMNS,
    WATCH_COLUMNS,
    Row,
    event_row,
    text,
)
from interlock_adapters.postgres._writer import chain_after, chain_before, task_row

#: Tasks looked at in one go, unless they have more events than that: an answer is waited for
#: only so long (`_pool.ANSWER_S`), and others want the event loop.
TASKS_AT_ONCE: Final = 100
EVENTS_AT_ONCE: Final = 5_000


async def task_findings(
    db: Connection, after: int, lifecycle: Lifecycle
) -> tuple[list[str], int | None]:
    """What is wrong with the next tasks, and the row of the last of them; None is the end."""
    found: list[str] = []
    last: int | None = None
    events_left = EVENTS_AT_ONCE
    async with db.transaction():
        # All that is read of a task is of one moment, however much is committed meanwhile.
        await db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        async with db.cursor(binary=True) as cursor:

            async def rows(statement: str, values: Row) -> list[Row]:
                await cursor.execute(statement.encode(), values)
                return await cursor.fetchall()

            tasks = await rows(
                "SELECT n, chain, task_id, owner, context_id, shown, phase, seq, updated_at, due,"
                " snapshot FROM task WHERE n > %s ORDER BY n LIMIT %s",
                (after, TASKS_AT_ONCE),
            )
            for n, chain, *columns, snapshot in tasks:
                events = await rows(
                    f"SELECT chain, {EVENT_COLUMNS} FROM event WHERE task = %s ORDER BY seq", (n,)
                )
                claims = await rows("SELECT owner, token, digest FROM claim WHERE task = %s", (n,))
                watches = await rows(
                    f"SELECT {WATCH_COLUMNS}, behind FROM watch WHERE task = %s", (n,)
                )
                found += _findings(chain, columns, snapshot, events, lifecycle)
                found += _beside(text(columns[0]), snapshot, events, claims, watches)
                last = n
                events_left -= len(events)
                if events_left <= 0:
                    break
    return found, last


def _findings(
    end: bytes,
    columns: Sequence[object],
    snapshot: bytes,
    rows: Sequence[Row],
    lifecycle: Lifecycle,
) -> Iterator[str]:
    """What is wrong with its log and its record."""
    name = columns[0]
    assert isinstance(name, bytes)
    task_id = text(name)
    chain = chain_before(name)
    for link, *row in rows:
        chain = chain_after(chain, _decoded(row))
        if chain != link:
            yield f"task {task_id!r}: the hash chain breaks at event {row[0]}"
            break
    else:
        if chain != end:
            yield f"task {task_id!r}: the hash chain does not end where its record says"
    try:
        record, events = _read(task_id, snapshot, rows)
    except StoreCorrupt as error:
        yield str(error)
        return
    yield from record_findings(record, snapshot, columns, task_row(record))
    yield from findings([(record, events)], lifecycle)


def _beside(
    task_id: str,
    snapshot: bytes,
    rows: Sequence[Row],
    claims: Sequence[Row],
    watches: Sequence[Row],
) -> Iterator[str]:
    """What is wrong with what stands beside the log."""
    try:
        record, events = _read(task_id, snapshot, rows)
    except StoreCorrupt:
        return  # Said already, and nothing can be compared with it.
    yield from claim_findings(record, events, map(_decoded, claims))
    yield from _watch_findings(record, watches)


def _watch_findings(record: TaskRecord, watches: Sequence[Row]) -> Iterator[str]:
    """Each watch that cannot be read, or is somewhere else than it is said to be."""
    task = f"task {record.task_id!r}"
    for *row, behind in watches:
        try:
            watch = watch_of(record.task_id, tuple(row))
        except StoreCorrupt as error:
            yield str(error)
            continue
        seen = watch.cursor
        if not 0 <= seen <= record.seq:
            yield f"{task}: a watch is said to have seen event {seen}, and there are {record.seq}"
        elif behind != (watch.given_up is None and seen < record.seq):
            yield f"{task}: a watch is not where it is said to be"


def _read(task_id: str, snapshot: bytes, rows: Sequence[Row]) -> tuple[TaskRecord, list[Event]]:
    record = record_of(task_id, snapshot)
    return record, [event_of(task_id, event_row(tuple(row))) for _, *row in rows]


def _decoded(row: Sequence[object]) -> Row:
    """A row with its texts as they were written and hashed; bad ones stay recognisable."""
    return tuple(text(value) if isinstance(value, bytes) else value for value in row)
