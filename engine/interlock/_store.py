"""What the engine needs of a store, and the store that forgets.

The log is the truth.  The record kept beside it is its fold, for quick reading; it is
written in the same transaction and can be checked against the log at any time
(`Store.verify`).  A store keeps three more things with a task, each committed with it:
the idempotency tokens that were used up, and the watches (durable subscriptions such
as webhooks) with how far each has been served.  There is no separate outbox: what a
watch has not yet seen is whatever the log holds beyond its cursor.  The module is long
because the port stands beside the store that forgets, which is how it is read best.
"""

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Protocol

from interlock._event import Event
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._phases import OVER, WAITING, Phase
from interlock._record import TaskRecord
from interlock.errors import Conflict, StoreCorrupt, StoreError
from interlock.models import JsonObject


@dataclass(frozen=True, slots=True)
class Claim:
    """An idempotency token that one owner used up for one request on one task."""

    owner: str
    token: str
    task_id: str
    #: Digest of the request's body: the same token with another body is a mistake.
    digest: str


class TokenTaken(StoreError):
    """The commit would have claimed a token that is claimed already; nothing was written."""

    code = "token_taken"

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        super().__init__(f"token {claim.token!r} is taken by task {claim.task_id!r}")


@dataclass(frozen=True, slots=True)
class Watch:
    """A durable subscription to one task, served by the deliverer of its channel."""

    watch_id: str
    task_id: str
    channel: str
    #: The deliverer's own; may hold credentials, so it is never shown.
    config: JsonObject = field(repr=False)
    #: Events up to this sequence number were delivered, or need not be.
    cursor: int
    #: Failed attempts at the next event; back to 0 with each success.
    attempts: int = 0
    #: Not before this time, seconds since 1970.
    not_before: float = 0.0
    #: Why it will not be tried again; None while it is alive.
    given_up: str | None = None


@dataclass(frozen=True, slots=True)
class TurnWanted:
    """A task whose turn somebody has to run, or to stop: for who takes turns of a shared store."""

    task_id: str
    #: The task's epoch when it was wanted: nobody has taken it up while it is still that.
    epoch: int
    #: Not before this time, seconds since 1970; None is at once.
    not_before: float | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """What one task adds to the store, all of it or nothing."""

    #: The task after `events`.
    record: TaskRecord
    #: In order and without a gap; the last one's number is the record's.
    events: tuple[Event, ...]
    claims: tuple[Claim, ...] = ()
    watches: tuple[Watch, ...] = ()
    #: Only for a store that processes share (`SharedStore`); written with the rest.
    turn: TurnWanted | None = None

    @property
    def expected_seq(self) -> int:
        """The last event that the store must hold: 0 for a new task."""
        return self.events[0].seq - 1


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Which tasks, newest change first.  None means: do not care."""

    owner: str | None = None
    #: Only of owners that begin so; every owner begins with "".
    owner_prefix: str | None = None
    context_id: str | None = None
    #: The id of the task begins so, or its context id is this, or its owner holds it.  As it
    #: stands: letters are told apart by case, and no character means anything but itself.
    search: str | None = None
    #: As shown: a finalized task counts under its outcome.
    shown: AbstractSet[Phase] | None = None
    #: Only tasks changed at or after this time, seconds since 1970.
    updated_since: float | None = None
    #: Tasks on a page, at most.
    limit: int = 50
    #: `TaskPage.next_cursor` of the page before.
    cursor: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page; `total` counts what the query matches over all pages.

    `next_cursor` is None on the last page.
    """

    records: tuple[TaskRecord, ...]
    total: int
    next_cursor: tuple[float, str] | None


class Store(Protocol):
    """Keeps tasks.  Every method raises `StoreError` when it cannot keep its word.

    `interlock.testing.STORE_CHECKS` are what an implementation must pass, and those in
    `DURABLE_STORE_CHECKS` if it outlives the process.
    """

    async def open(self) -> None:
        """Make ready, migrating an older schema.

        Raises:
            StoreTooNew: a newer version wrote it.
            StoreLocked: another process has it open and sharing is not safe.
        """

    async def close(self) -> None:
        """Finish what was begun and let go; harmless when closed."""

    async def commit(self, commit: Commit) -> None:
        """Write durably; when this returns, a crash at any later instant loses nothing of it.

        Raises:
            Conflict: the task is not at `expected_seq`; nothing was written.
            TokenTaken: a claim is taken; nothing was written.
            Unstorable: it cannot be written, however often it is tried.
            StoreError: nothing was written, and it may be tried again.
        """

    async def get(self, task_id: str) -> TaskRecord | None:
        """The task as of its last commit.

        Raises:
            StoreCorrupt: it cannot be read; the error names it.
        """
        ...

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """The task's events with a greater number than `after`, in order."""
        ...

    async def page(self, query: TaskQuery) -> TaskPage:
        """One page of tasks, ordered by (updated_at, task_id) descending.

        Like every list here it leaves out what cannot be read (see `quarantined`), but for
        the `total`.
        """
        ...

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """How many tasks match, by the phase that each is shown in; no phase has 0 tasks.

        The query's own phases, limit and cursor are not looked at.  Tasks that cannot be read
        count too, as in a page's `total`, unless nobody here has heard of their phase.
        """
        ...

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """Tasks that neither wait nor are finalized, by ascending id beyond `after`: for recovery.

        What it takes does not grow with the tasks that wait, of which there may be many.
        """
        ...

    async def open_tasks(self, owner: str) -> int:
        """How many tasks of that owner are not over (phase not in OVER)."""
        ...

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """Tasks whose earliest deadline is at or before `now`, by (deadline, task_id).

        Only those beyond `after`, so that a deadline which nothing can be done about yet
        is seen once and not again and again.
        """
        ...

    async def next_due(self, after: float) -> float | None:
        """The earliest deadline of all tasks that is later than `after`."""
        ...

    async def claim(self, owner: str, token: str) -> Claim | None:
        """What that token of that owner was used for."""
        ...

    async def put_watch(self, watch: Watch) -> None:
        """Add the watch, or replace the one of the same (task_id, watch_id).

        Raises:
            StoreError: there is no such task.
        """

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """Replace `before` by `after` if it is still what is kept, its cursor and tries aside.

        `after` is `before` with other values of `cursor`, `attempts`, `not_before` and
        `given_up`.  What is kept is still `before` if its channel and config are the same.
        The cursor never goes back: if the one kept is further on, all four stay as they are,
        since those of `after` are about an event that has arrived.

        Returns:
            False if it was dropped or replaced meanwhile: nothing was written.
        """
        ...

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """Remove it; False if there was none."""
        ...

    async def watches(self, task_id: str) -> list[Watch]:
        """All watches of a task, by id."""
        ...

    async def behind(self, limit: int = 100) -> list[Watch]:
        """Watches that are alive and whose task has events beyond their cursor."""
        ...

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """Forget finalized tasks that changed last before `before`, oldest first.

        With each go its events, claims and watches, all at once and durably.  The newest
        `keep` finalized tasks are never among them.  At most `limit` tasks go, or fewer if
        they are large, so that nobody waits long for it: call again until none goes.
        Whatever is not finalized stays, and so does what cannot be read.

        Returns:
            Their ids.
        """
        ...

    async def forget(self, task_id: str) -> bool:
        """Forget this task as `purge` does, however young it is.

        Returns:
            False if it is not finalized, or not there: then nothing was changed.
        """
        ...

    def quarantined(self) -> Mapping[str, str]:
        """What kept each task from being read so far; at no cost.

        One such task never stops a list of others: it is left out, logged and named here.
        """
        ...

    async def verify(self, lifecycle: Lifecycle = LIFECYCLE) -> list[str]:
        """Check every task's record against its log; each finding as a sentence."""
        ...


@dataclass(slots=True)
class _Kept:
    record: TaskRecord
    events: list[Event] = field(default_factory=list[Event])
    #: The keys of its claims.
    claims: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class MemoryStore:
    """Keeps tasks until the process ends: for tests and throw-away use."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Kept] = {}
        self._claims: dict[tuple[str, str], Claim] = {}
        self._watches: dict[str, dict[str, Watch]] = {}
        self._open: Counter[str] = Counter()
        #: The earliest deadline of each task that has one, ascending.
        self._due: list[tuple[float, str]] = []
        #: When each finalized task changed last, ascending.
        self._finalized: list[tuple[float, str]] = []

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do: a closed memory store can be opened again by the same engine."""

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`; durable only as far as this process lives."""
        record = commit.record
        kept = self._tasks.get(record.task_id)
        if (0 if kept is None else kept.record.seq) != commit.expected_seq:
            raise Conflict(record.task_id, commit.expected_seq)
        claimed: dict[tuple[str, str], Claim] = {}
        for claim in commit.claims:
            key = (claim.owner, claim.token)
            taken = self._claims.get(key) or claimed.get(key)
            if taken is not None:
                raise TokenTaken(taken)
            claimed[key] = claim
        self._count(None if kept is None else kept.record, record)
        if kept is None:
            kept = self._tasks[record.task_id] = _Kept(record)
        kept.record = record
        kept.events.extend(commit.events)
        kept.claims.extend(claimed)
        self._claims.update(claimed)
        if record.phase is Phase.FINALIZED:
            bisect.insort(self._finalized, _place(record))
        for watch in commit.watches:
            self._watches.setdefault(watch.task_id, {})[watch.watch_id] = watch

    def _count(self, before: TaskRecord | None, record: TaskRecord) -> None:
        """Keep the indexes: open tasks by owner, and deadlines."""
        was_open = before is not None and before.phase not in OVER
        change = (record.phase not in OVER) - was_open
        if change:
            self._open[record.owner] += change
            if not self._open[record.owner]:
                del self._open[record.owner]
        was_due = None if before is None else before.due
        due = record.due
        if due == was_due:
            return
        if was_due is not None:
            del self._due[bisect.bisect_left(self._due, (was_due, record.task_id))]
        if due is not None:
            bisect.insort(self._due, (due, record.task_id))

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        kept = self._tasks.get(task_id)
        return None if kept is None else kept.record

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        kept = self._tasks.get(task_id)
        if kept is None:
            return []
        return kept.events[after : None if limit is None else after + limit]

    async def page(self, query: TaskQuery) -> TaskPage:
        """See `Store.page`."""
        matching = sorted(
            (kept.record for kept in self._tasks.values() if _matches(kept.record, query)),
            key=_place,
            reverse=True,
        )
        after = [r for r in matching if query.cursor is None or _place(r) < query.cursor]
        shown = after[: query.limit]
        more = len(after) > len(shown)
        return TaskPage(tuple(shown), len(matching), _place(shown[-1]) if more and shown else None)

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """See `Store.counts`."""
        every = replace(query, shown=None)
        records = (kept.record for kept in self._tasks.values())
        return Counter(record.shown for record in records if _matches(record, every))

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """See `Store.unfinished`."""
        records = (kept.record for kept in self._tasks.values())
        rest = WAITING | {Phase.FINALIZED}
        found = [r for r in records if r.phase not in rest and r.task_id > after]
        return sorted(found, key=lambda record: record.task_id)[:limit]

    async def open_tasks(self, owner: str) -> int:
        """See `Store.open_tasks`."""
        return self._open[owner]

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """See `Store.due`."""
        begin = bisect.bisect_right(self._due, after)
        end = bisect.bisect_left(self._due, (now, chr(0x10FFFF)))
        return [self._tasks[task_id].record for _, task_id in self._due[begin:end][:limit]]

    async def next_due(self, after: float) -> float | None:
        """See `Store.next_due`."""
        later = bisect.bisect_left(self._due, (after, chr(0x10FFFF)))
        return self._due[later][0] if later < len(self._due) else None

    async def claim(self, owner: str, token: str) -> Claim | None:
        """See `Store.claim`."""
        return self._claims.get((owner, token))

    async def put_watch(self, watch: Watch) -> None:
        """See `Store.put_watch`."""
        if watch.task_id not in self._tasks:
            raise StoreError(f"no task {watch.task_id!r}")
        self._watches.setdefault(watch.task_id, {})[watch.watch_id] = watch

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        kept = self._watches.get(before.task_id, {}).get(before.watch_id)
        if kept is None or (kept.channel, kept.config) != (before.channel, before.config):
            return False
        if kept.cursor <= after.cursor:
            self._watches[before.task_id][before.watch_id] = after
        return True

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """See `Store.drop_watch`."""
        return self._watches.get(task_id, {}).pop(watch_id, None) is not None

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        return [watch for _, watch in sorted(self._watches.get(task_id, {}).items())]

    async def behind(self, limit: int = 100) -> list[Watch]:
        """See `Store.behind`."""
        alive = (
            watch
            for watches in self._watches.values()
            for watch in watches.values()
            if watch.given_up is None and watch.cursor < self._tasks[watch.task_id].record.seq
        )
        return [watch for watch, _ in zip(alive, range(limit), strict=False)]

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """See `Store.purge`."""
        old = bisect.bisect_left(self._finalized, (before, ""))
        end = max(0, min(old, len(self._finalized) - keep, limit))
        gone = [task_id for _, task_id in self._finalized[:end]]
        del self._finalized[:end]
        for task_id in gone:
            self._drop(task_id)
        return gone

    async def forget(self, task_id: str) -> bool:
        """See `Store.forget`."""
        kept = self._tasks.get(task_id)
        if kept is None or kept.record.phase is not Phase.FINALIZED:
            return False
        del self._finalized[bisect.bisect_left(self._finalized, _place(kept.record))]
        self._drop(task_id)
        return True

    def _drop(self, task_id: str) -> None:
        for key in self._tasks.pop(task_id).claims:
            del self._claims[key]
        self._watches.pop(task_id, None)

    def quarantined(self) -> Mapping[str, str]:
        """See `Store.quarantined`: everything here can be read."""
        return {}

    async def verify(self, lifecycle: Lifecycle = LIFECYCLE) -> list[str]:
        """See `Store.verify`."""
        tasks = ((kept.record, kept.events) for kept in self._tasks.values())
        return findings(tasks, lifecycle)


def whole_log(record: TaskRecord, events: Sequence[Event]) -> Sequence[Event]:
    """The events up to the record's own, of which none may be missing.

    Raises:
        StoreCorrupt: one is.
    """
    log = events[: record.seq]
    if len(log) != record.seq or (log and log[-1].seq != record.seq):
        raise StoreCorrupt("events are missing from its log", task_id=record.task_id)
    return log


def findings(
    tasks: Iterable[tuple[TaskRecord, Sequence[Event]]], lifecycle: Lifecycle
) -> list[str]:
    """Where a record is not the fold of its log, one sentence for each task."""
    found: list[str] = []
    for record, events in tasks:
        try:
            folded = lifecycle.fold(events)
        except StoreCorrupt as error:
            found.append(f"task {record.task_id!r}: {error}")
            continue
        if folded != record:
            found.append(f"task {record.task_id!r}: the record is not what its log amounts to")
    return found


def _matches(record: TaskRecord, query: TaskQuery) -> bool:
    return (
        (query.owner is None or record.owner == query.owner)
        and (query.owner_prefix is None or record.owner.startswith(query.owner_prefix))
        and (query.search is None or _is_found_by(record, query.search))
        and (query.context_id is None or record.context_id == query.context_id)
        and (query.shown is None or record.shown in query.shown)
        and (query.updated_since is None or record.updated_at >= query.updated_since)
    )


def _is_found_by(record: TaskRecord, search: str) -> bool:
    return (
        record.task_id.startswith(search) or record.context_id == search or search in record.owner
    )


def _place(record: TaskRecord) -> tuple[float, str]:
    return record.updated_at, record.task_id


def served(watch: Watch, cursor: int) -> Watch:
    """The watch after a successful delivery up to `cursor`."""
    return replace(watch, cursor=cursor, attempts=0, not_before=0.0)
