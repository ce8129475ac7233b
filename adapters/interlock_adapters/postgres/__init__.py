"""The store on a PostgreSQL server (14 or newer): many processes, one set of tasks.

    engine = Engine(agent, store="postgresql://app@db.example/tasks")

As many processes as there are may open it, each with an engine of its own.  Any of them
serves any request for any task.  The turns are handed out by procrastinate, a queue in the
same database; see `interlock.stores.SharedStore`.

A commit is one transaction.  If its answer is lost, the store finds out what became of it
before it says so.  The server may be restarted, or another one take its place, while the store
is open: what is asked of it meanwhile waits for `patience_s` seconds and then fails with
`StoreError`.  Between it and the server there must be no pool that gives each transaction
another connection.
"""

try:
    from interlock_adapters.postgres._clock import Hints, ServerClock
    from interlock_adapters.postgres._pool import Connection, Place, Pool
    from interlock_adapters.postgres._reader import Notes
    from interlock_adapters.postgres._schema import migrate
    from interlock_adapters.postgres._turns import PostgresTurns
    from interlock_adapters.postgres._writer import Prepared, Writer
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.postgres needs the postgres extra: pip install 'interlock[postgres]'",
        name=_missing.name,
    ) from _missing

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from interlock import (
    LIFECYCLE,
    Clock,
    Event,
    Lifecycle,
    Phase,
    TaskPage,
    TaskQuery,
    TaskRecord,
    Watch,
)
from interlock.errors import InvalidInput, StoreCorrupt, StoreError
from interlock.stores import Claim, Commit
from interlock_adapters.postgres import _reader as reading
from interlock_adapters.postgres import _verify as verifying

__all__ = ["PostgresStore"]

T = TypeVar("T")
P = ParamSpec("P")


#: Tasks of which is remembered that they have no watches.
UNWATCHED_MAX: Final = 10_000


class _Session:
    """What there is only while the store is open."""

    def __init__(self, pool: Pool, writer: Writer, hints: Hints, turns: PostgresTurns) -> None:
        self.pool: Final = pool
        self.writer: Final = writer
        self.hints: Final = hints
        self.turns: Final = turns
        self.commits: Final[set[asyncio.Task[None]]] = set()
        #: The last commit under way that is about a task, or claims a token.
        self._last: Final[dict[bytes, asyncio.Task[None]]] = {}
        self.helpers: list[asyncio.Task[None]] = []
        #: Tasks that had no watches at their last commit, the latest last.
        self.unwatched: Final[dict[str, None]] = {}

    def start(self, clock: ServerClock) -> None:
        """Listen, tell, and keep the clock right."""
        helpers = (self.hints.listen(), self.hints.send(), clock.keep(self.pool))
        self.helpers = [asyncio.create_task(helper) for helper in helpers]

    def commit(self, prepared: Prepared) -> "asyncio.Task[None]":
        """Begin it; what is about the same is written in the order in which it came."""
        before = {self._last[name] for name in prepared.names if name in self._last}
        task = asyncio.create_task(self._commit(prepared, before))
        self.commits.add(task)
        self._last.update(dict.fromkeys(prepared.names, task))
        task.add_done_callback(partial(self._done, prepared.names))
        return task

    async def _commit(self, prepared: Prepared, before: "set[asyncio.Task[None]]") -> None:
        if before:
            await asyncio.wait(before)
        task_id = prepared.commit.record.task_id
        watched = await self.writer.commit(prepared)
        self.unwatched.pop(task_id, None)
        if not watched:
            self.unwatched[task_id] = None
            if len(self.unwatched) > UNWATCHED_MAX:
                del self.unwatched[next(iter(self.unwatched))]
        self.hints.tell(task_id)

    def _done(self, names: frozenset[bytes], task: "asyncio.Task[None]") -> None:
        self.commits.discard(task)
        for name in names:
            if self._last.get(name) is task:
                del self._last[name]
        if not task.cancelled():
            task.exception()  # Whoever waited for it may be gone.

    async def stop(self) -> None:
        """Finish what was begun, then let go."""
        try:
            await self.turns.stop()
            if self.commits:
                await asyncio.wait(list(self.commits))
        finally:
            for helper in self.helpers:
                helper.cancel()
            await asyncio.gather(*self.helpers, return_exceptions=True)
            await self.pool.close()
            self.turns.use(None)


class PostgresStore:
    """Tasks in a PostgreSQL database, which other processes may share: a `SharedStore`."""

    def __init__(
        self,
        url: str,
        *,
        schema: str = "interlock",
        create: bool = True,
        connections: int = 10,
        patience_s: float = 10.0,
        decide_s: float = 600.0,
        heartbeat_s: float = 1.0,
        dead_after_s: float = 10.0,
    ) -> None:
        """Where the tasks are; nothing is opened yet.

        Args:
            url: as libpq knows it, such as "postgresql://user:password@host:5432/database".
            schema: all tables lie in it.
            create: whether it is made if it is not there; otherwise it has to be.
            connections: that this process has at most, besides one to listen with and one to
                show that it lives.
            patience_s: seconds for which a request waits for a server that is away.
            decide_s: seconds for which it is waited to learn what became of a commit whose answer
                was lost: whoever wants it can do nothing better meanwhile.  A process that ends
                waits no longer than for a request.
            heartbeat_s: seconds between two signs of life of this process.
            dead_after_s: seconds of silence after which another process takes over its turns;
                more than twice as long, and ten times is wise.  The same in all processes.

        Raises:
            InvalidInput: one of them cannot be.
        """
        if (
            connections < 1
            or min(patience_s, decide_s) < 0
            or not 0 < 2 * heartbeat_s < dead_after_s
        ):
            why = (
                "a PostgreSQL store needs at least one connection, patience of 0 s or more, and"
                " dead_after_s of more than twice heartbeat_s"
            )
            raise InvalidInput([why])
        self._place: Final = Place.of(url, schema)
        self._create: Final = create
        self._connections: Final = connections
        self._patience_s: Final = patience_s
        self._decide_s: Final = decide_s
        self._clock: Final = ServerClock()
        self._turns: Final = PostgresTurns(
            self._clock,
            heartbeat_s=heartbeat_s,
            dead_after_s=dead_after_s,
            patience_s=patience_s,
        )
        self._notes = Notes()
        self._session: _Session | None = None
        self._closing: asyncio.Future[None] | None = None
        self._hint: Callable[[str], None] | None = None

    def __repr__(self) -> str:
        """Without the password."""
        return f"PostgresStore({self._place.shown!r})"

    @property
    def clock(self) -> Clock:
        """The server's, as far as this process knows it: see `ServerClock`."""
        return self._clock

    @property
    def turns(self) -> PostgresTurns:
        """See `SharedStore.turns`; until the store is open they raise StoreError."""
        return self._turns

    async def open(self) -> None:
        """See `Store.open`.

        Raises:
            StoreTooNew: a newer version of this package, or of procrastinate, made the schema.
            StoreError: the server is not there, or will not have it; or there are no tables, and
                none are to be made.
        """
        if self._session is not None:
            raise StoreError(f"{self._place.shown} is open already")
        if self._closing is not None:
            # Whoever closed it was told what was wrong.
            await asyncio.wait([self._closing])
            self._closing = None
        pool = Pool(self._place, self._connections)
        try:
            await migrate(pool, create=self._create)
            await self._clock.measure(pool)
        except BaseException:
            await pool.close()
            raise
        self._notes = Notes()
        hints = Hints(pool, secrets.token_hex(6))
        self._turns.use((pool, hints))
        turns = self._turns
        writer = Writer(pool, self._patience_s, self._decide_s, lambda: turns.is_resting)
        self._session = session = _Session(pool, writer, hints, self._turns)
        hints.hint = self._hint
        session.start(self._clock)

    async def close(self) -> None:
        """See `Store.close`."""
        session, self._session = self._session, None
        if session is not None:
            self._closing = asyncio.ensure_future(session.stop())
        if self._closing is not None:
            # Others may be waiting for the same end.
            await asyncio.shield(self._closing)

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`.

        If the answer is lost, the store finds out whether it was made, and waits for that as long
        as `decide_s` says.  So a `StoreError` says that nothing was
        written, but for a server that stays away for so long: then nobody knows.
        """
        session = self._opened()
        prepared = Prepared(commit, self._clock.now())
        # Whoever waits for it may be cancelled; what becomes of it must be found out all the same.
        await asyncio.shield(session.commit(prepared))

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        return await self._read(reading.record, task_id)

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        return await self._read(reading.events, task_id, after, limit)

    async def page(self, query: TaskQuery) -> TaskPage:
        """See `Store.page`."""
        return await self._list(reading.page, query)

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """See `Store.counts`."""
        return await self._read(reading.counts, query)

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """See `Store.unfinished`."""
        return await self._list(reading.unfinished, after, limit)

    async def open_tasks(self, owner: str) -> int:
        """See `Store.open_tasks`."""
        return await self._read(reading.open_tasks, owner)

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """See `Store.due`."""
        return await self._list(reading.due, now, after, limit)

    async def next_due(self, after: float) -> float | None:
        """See `Store.next_due`."""
        return await self._read(reading.next_due, after)

    async def claim(self, owner: str, token: str) -> Claim | None:
        """See `Store.claim`."""
        return await self._read(reading.claim, owner, token)

    async def put_watch(self, watch: Watch) -> None:
        """See `Store.put_watch`; raises StoreError if there is no such task."""
        await self._opened().writer.put_watch(watch)

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        return await self._opened().writer.advance_watch(before, after)

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """See `Store.drop_watch`."""
        return await self._opened().writer.drop_watch(task_id, watch_id)

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        return await self._list(reading.watches, task_id)

    async def behind(self, limit: int = 100) -> list[Watch]:
        """See `Store.behind`."""
        return await self._list(reading.behind, limit)

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """See `Store.purge`; what another process is just purging is left to it."""
        old = await self._list(reading.purgeable, before, keep, limit)
        return await self._forget(old) if old else []

    async def forget(self, task_id: str) -> bool:
        """See `Store.forget`."""
        return bool(await self._forget([task_id]))

    async def _forget(self, task_ids: list[str]) -> list[str]:
        session = self._opened()
        gone = await session.writer.forget(task_ids)
        for task_id in gone:
            session.hints.tell(task_id)
        return gone

    def quarantined(self) -> Mapping[str, str]:
        """See `Store.quarantined`: since it was opened."""
        return dict(self._notes.quarantined)

    async def verify(self, lifecycle: Lifecycle = LIFECYCLE) -> list[str]:
        """See `Store.verify`; here also the hash chains, and the columns."""
        found: list[str] = []
        last: int | None = 0
        while last is not None:
            more, last = await self._read(verifying.task_findings, last, lifecycle)
            found += more
        return found

    async def moved(self, seen: Mapping[str, int]) -> AbstractSet[str]:
        """See `SharedStore.moved`."""
        return await self._read(reading.moved, seen) if seen else set()

    def watched(self, task_id: str) -> bool:
        """See `SharedStore.watched`."""
        return self._session is None or task_id not in self._session.unwatched

    def on_hint(self, hint: Callable[[str], None] | None) -> None:
        """See `SharedStore.on_hint`: what this store itself commits is no news and not hinted."""
        self._hint = hint
        if self._session is not None:
            self._session.hints.hint = hint

    def _opened(self) -> _Session:
        if self._session is None:
            raise StoreError(f"{self._place.shown} is not open")
        return self._session

    async def _read(
        self,
        query: Callable[Concatenate[Connection, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        def run(db: Connection) -> Awaitable[T]:
            return query(db, *args, **kwargs)

        try:
            return await self._opened().pool.ask(
                run, "it cannot be read", patience_s=self._patience_s
            )
        except StoreCorrupt as error:
            self._notes(error)
            raise

    async def _list(
        self,
        query: Callable[Concatenate[Connection, Notes, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read many tasks, leaving out those that cannot be read."""
        notes = self._notes

        def run(db: Connection) -> Awaitable[T]:
            return query(db, notes, *args, **kwargs)

        return await self._opened().pool.ask(run, "it cannot be read", patience_s=self._patience_s)
