"""What is read: each a statement or two on a connection, each statement as of one moment.

One task that cannot be read never stops a list of others: it is left out and noted.
"""

# ruff: noqa: S608  statements are put together from constants; every value is bound

import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, LiteralString, TypeAlias

from interlock import Event, Phase, TaskPage, TaskQuery, TaskRecord, Watch
from interlock._sqlite_rows import event_of, record_of, watch_of
from interlock.errors import StoreCorrupt
from interlock.stores import Claim
from interlock_adapters.postgres._pool import Connection

Row: TypeAlias = tuple[Any, ...]

_log: Final = logging.getLogger("interlock.postgres")

#: Events of purged tasks in one transaction, unless one task alone has more.
PURGED_EVENTS_MAX: Final = 2_000
#: Tasks named as quarantined: enough to see that the disk is bad.
QUARANTINED_MAX: Final = 1_000

EVENT_COLUMNS: Final[LiteralString] = "seq, at, epoch, trigger, source, dest, actor, data"
WATCH_COLUMNS: Final[LiteralString] = (
    "watch_id, channel, config, cursor, attempts, not_before, given_up"
)
#: To the letter as in the indexes, or the planner does not see that it may use them.
_AT_WORK: Final[LiteralString] = (
    "phase IN ('submitted', 'running', 'cancelling',"
    " 'completed', 'failed', 'cancelled', 'timed_out', 'rejected')"
)
_OPEN: Final[LiteralString] = (
    "shown NOT IN ('completed', 'failed', 'cancelled', 'timed_out', 'rejected')"
)


class Notes:
    """Why each task that cannot be read is left out."""

    def __init__(self) -> None:
        self.quarantined: Final[dict[str, str]] = {}

    def __call__(self, error: StoreCorrupt) -> None:
        """Remember it, and log it once."""
        task_id, known = error.task_id, self.quarantined
        if task_id is not None and task_id not in known and len(known) < QUARANTINED_MAX:
            known[task_id] = error.why
            _log.error("left out from now on: %s", error)


def key(text: str) -> bytes:
    """A name as it is kept; one with half a character, which no store holds, finds nothing."""
    return text.encode("utf-8", "surrogatepass")


def text(value: bytes) -> str:
    """A name that was read; a bad one stays recognisable."""
    return value.decode("utf-8", "surrogateescape")


def event_row(row: Row) -> Row:
    """A row of `EVENT_COLUMNS` as `event_of` takes it: with its texts as bytes."""
    seq, at, epoch, trigger, source, dest, actor, data = row
    plain = None if source is None else source.encode()
    return seq, at, epoch, trigger.encode(), plain, dest.encode(), actor, data


async def _all(db: Connection, statement: LiteralString, values: Row = ()) -> list[Row]:
    async with db.cursor(binary=True) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()


async def _one(db: Connection, statement: LiteralString, values: Row = ()) -> Row | None:
    async with db.cursor(binary=True) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchone()


async def record(db: Connection, task_id: str) -> TaskRecord | None:
    """See `Store.get`."""
    row = await _one(db, "SELECT snapshot FROM task WHERE task_id = %s", (key(task_id),))
    return None if row is None else record_of(task_id, row[0])


async def events(db: Connection, task_id: str, after: int, limit: int | None) -> list[Event]:
    """See `Store.events`."""
    rows = await _all(
        db,
        f"SELECT {EVENT_COLUMNS} FROM event"
        " WHERE task = (SELECT n FROM task WHERE task_id = %s) AND seq > %s ORDER BY seq LIMIT %s",
        (key(task_id), after, limit),
    )
    return [event_of(task_id, event_row(row)) for row in rows]


async def moved(db: Connection, seen: Mapping[str, int]) -> set[str]:
    """See `SharedStore.moved`."""
    rows = await _all(
        db,
        "SELECT seen.task_id FROM unnest(%s::bytea[], %s::bigint[]) AS seen (task_id, seq)"
        " LEFT JOIN task ON task.task_id = seen.task_id WHERE task.seq IS DISTINCT FROM seen.seq",
        ([key(task_id) for task_id in seen], list(seen.values())),
    )
    return {text(task_id) for (task_id,) in rows}


async def page(db: Connection, note: Notes, query: TaskQuery) -> TaskPage:
    """See `Store.page`."""
    if query.shown is not None and not query.shown:
        return TaskPage((), 0, None)  # Of no phase at all: the server would look at every task.
    where, values = _conditions(query)
    row = await _one(db, f"SELECT count(*) FROM task WHERE {where}", values)
    total = 0 if row is None else int(row[0])
    if query.limit < 1:
        return TaskPage((), total, None)
    beyond: Row | None = None
    if query.cursor is not None:
        beyond = (query.cursor[0], key(query.cursor[1]))
    found: list[TaskRecord] = []
    # One more tells whether there is another page.
    while (wanted := query.limit + 1 - len(found)) > 0:
        later = "" if beyond is None else " AND (updated_at, task_id) < (%s, %s)"
        rows = await _all(
            db,
            f"SELECT task_id, snapshot, updated_at FROM task WHERE {where}{later}"
            " ORDER BY updated_at DESC, task_id DESC LIMIT %s",
            (*values, *(beyond or ()), wanted),
        )
        found += _readable(rows, note)
        if len(rows) < wanted:
            break
        beyond = (rows[-1][2], rows[-1][0])
    shown = tuple(found[: query.limit])
    last = (shown[-1].updated_at, shown[-1].task_id) if len(found) > len(shown) > 0 else None
    return TaskPage(shown, total, last)


async def counts(db: Connection, query: TaskQuery) -> dict[Phase, int]:
    """See `Store.counts`."""
    where, values = _conditions(replace(query, shown=None))
    rows = await _all(db, f"SELECT shown, count(*) FROM task WHERE {where} GROUP BY shown", values)
    found: dict[Phase, int] = {}
    for shown, count in rows:
        # Of a lifecycle of which nobody here has heard, or changed behind our back.
        with contextlib.suppress(ValueError):
            found[Phase(shown)] = count
    return found


async def unfinished(db: Connection, note: Notes, after: str, limit: int) -> list[TaskRecord]:
    """See `Store.unfinished`."""
    return await _by_id(db, note, _AT_WORK, after, limit)


async def _by_id(
    db: Connection, note: Notes, which: LiteralString, after: str, limit: int
) -> list[TaskRecord]:
    found: list[TaskRecord] = []
    beyond = key(after)
    while (wanted := limit - len(found)) > 0:
        rows = await _all(
            db,
            f"SELECT task_id, snapshot FROM task WHERE {which} AND task_id > %s"
            " ORDER BY task_id LIMIT %s",
            (beyond, wanted),
        )
        found += _readable(rows, note)
        if len(rows) < wanted:
            break
        beyond = rows[-1][0]
    return found


async def open_tasks(db: Connection, owner: str) -> int:
    """See `Store.open_tasks`."""
    row = await _one(db, f"SELECT count(*) FROM task WHERE owner = %s AND {_OPEN}", (key(owner),))
    return 0 if row is None else int(row[0])


async def due(
    db: Connection, note: Notes, now: float, after: tuple[float, str], limit: int
) -> list[TaskRecord]:
    """See `Store.due`."""
    found: list[TaskRecord] = []
    beyond: Row = (after[0], key(after[1]))
    while (wanted := limit - len(found)) > 0:
        rows = await _all(
            db,
            "SELECT task_id, snapshot, due FROM task WHERE due IS NOT NULL AND due <= %s"
            " AND (due, task_id) > (%s::float8, %s) ORDER BY due, task_id LIMIT %s",
            (now, *beyond, wanted),
        )
        found += _readable(rows, note)
        if len(rows) < wanted:
            break
        beyond = (rows[-1][2], rows[-1][0])
    return found


async def next_due(db: Connection, after: float) -> float | None:
    """See `Store.next_due`."""
    row = await _one(db, "SELECT min(due) FROM task WHERE due > %s", (after,))
    return None if row is None or row[0] is None else float(row[0])


async def claim(db: Connection, owner: str, token: str) -> Claim | None:
    """See `Store.claim`."""
    row = await _one(
        db,
        "SELECT task.task_id, claim.digest FROM claim JOIN task ON task.n = claim.task"
        " WHERE claim.owner = %s AND claim.token = %s",
        (key(owner), key(token)),
    )
    return None if row is None else Claim(owner, token, text(row[0]), text(row[1]))


async def watches(db: Connection, note: Notes, task_id: str) -> list[Watch]:
    """See `Store.watches`."""
    rows = await _all(
        db,
        f"SELECT task_id, {WATCH_COLUMNS} FROM watch JOIN task ON task.n = watch.task"
        " WHERE task_id = %s ORDER BY watch_id",
        (key(task_id),),
    )
    return _watches(rows, note)


async def watch_config(db: Connection, task_id: bytes, watch_id: bytes) -> bytes | None:
    """The config of a watch as it is written; None if there is no such watch."""
    row = await _one(
        db,
        "SELECT config FROM watch JOIN task ON task.n = watch.task"
        " WHERE task_id = %s AND watch_id = %s",
        (task_id, watch_id),
    )
    return None if row is None else row[0]


async def behind(db: Connection, note: Notes, limit: int) -> list[Watch]:
    """See `Store.behind`."""
    found: list[Watch] = []
    beyond: Row = (0, b"")
    while (wanted := limit - len(found)) > 0:
        rows = await _all(
            db,
            f"SELECT task_id, {WATCH_COLUMNS}, task FROM watch JOIN task ON task.n = watch.task"
            " WHERE behind AND (task, watch_id) > (%s, %s) ORDER BY task, watch_id LIMIT %s",
            (*beyond, wanted),
        )
        found += _watches([row[:-1] for row in rows], note)
        if len(rows) < wanted:
            break
        beyond = (rows[-1][-1], rows[-1][1])
    return found


def _watches(rows: Iterable[Row], note: Notes) -> list[Watch]:
    """Those that can be read; each row begins with the id of its task."""
    found: list[Watch] = []
    for task_id, *row in rows:
        try:
            found.append(watch_of(text(task_id), tuple(row)))
        except StoreCorrupt as error:
            note(error)
    return found


async def purgeable(db: Connection, note: Notes, before: float, keep: int, limit: int) -> list[str]:
    """The tasks that `Store.purge` would forget, as many as may go at once."""
    newest = await _one(
        db,
        "SELECT updated_at, task_id FROM task WHERE phase = 'finalized'"
        " ORDER BY updated_at DESC, task_id DESC LIMIT 1 OFFSET %s",
        (keep,),
    )
    if newest is None or limit < 1:
        return []
    gone: list[str] = []
    events_left = PURGED_EVENTS_MAX
    beyond: Row = (float("-inf"), b"")
    while (wanted := limit - len(gone)) > 0:
        rows = await _all(
            db,
            "SELECT task_id, snapshot, updated_at FROM task"
            " WHERE phase = 'finalized' AND updated_at < %s AND (updated_at, task_id) <= (%s, %s)"
            " AND (updated_at, task_id) > (%s, %s) ORDER BY updated_at, task_id LIMIT %s",
            (before, *newest, *beyond, wanted),
        )
        for found in _readable(rows, note):
            # The record knows best: a column that says otherwise is what cannot be trusted.
            if found.phase is not Phase.FINALIZED:
                why = f"its row says finalized, and it is {found.phase}"
                note(StoreCorrupt(why, task_id=found.task_id))
                continue
            events_left -= found.seq
            if events_left < 0 and gone:
                return gone
            gone.append(found.task_id)
        if len(rows) < wanted:
            break
        beyond = (rows[-1][2], rows[-1][0])
    return gone


def _readable(rows: Iterable[Row], note: Notes) -> list[TaskRecord]:
    """The records that can be read; each row begins with the id of the task and its snapshot."""
    found: list[TaskRecord] = []
    for task_id, snapshot, *_ in rows:
        try:
            found.append(record_of(text(task_id), snapshot))
        except StoreCorrupt as error:
            note(error)
    return found


def _conditions(query: TaskQuery) -> tuple[LiteralString, Row]:
    """What a query asks for, its cursor aside, as a condition and the values in it."""
    terms: list[LiteralString] = ["true"]
    values: list[object] = []
    if query.owner is not None:
        terms.append("owner = %s")
        values.append(key(query.owner))
    if query.owner_prefix:
        terms.append("owner >= %s AND owner < %s")
        values += _beginning(query.owner_prefix)
    if query.context_id is not None:
        terms.append("context_id = %s")
        values.append(key(query.context_id))
    if query.updated_since is not None:
        terms.append("updated_at >= %s")
        values.append(query.updated_since)
    if query.search:
        terms.append(
            "(task_id >= %s AND task_id < %s OR context_id = %s OR position(%s IN owner) > 0)"
        )
        values += [*_beginning(query.search), key(query.search), key(query.search)]
    if query.shown is not None:
        terms.append("shown = ANY(%s::text[])")
        values.append(sorted(phase.value for phase in query.shown))
    return " AND ".join(terms), tuple(values)


def _beginning(start: str) -> tuple[bytes, bytes]:
    """The first name that begins so, and one behind the last: no name holds a byte 0xFF."""
    return key(start), key(start) + b"\xff"
