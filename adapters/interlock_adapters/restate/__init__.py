"""A Restate server as the host of an engine's tasks, shared by as many processes as there are.

    engine = Engine(agent, store="restate://127.0.0.1:8080?projection=postgresql%3A%2F%2F...")

Each task is a virtual object, the one writer of its record and log; its turns are calls of a
second one, of which Restate hands out one at a time and again when its process dies; deadlines
are delayed calls.  Lists, logs and streams are read from a projection, another store, which is
written before a commit is answered.  An engine so opened is a worker: it also serves the
handlers.  The server is not ours and has its own licence (BSL 1.1; see the documentation).

Options of the URL, beside the address where calls come in (port 8080):

- `projection`: the URL of that store, quoted.  It must be one that processes share if there are
  several workers; the default is `sqlite:///interlock.db`.
- `admin`: `http://host:port` of the server's administration; the same host at port 9070.
- `serve`: `host:port` where this process serves the handlers (`127.0.0.1:9080`), or `off`.
- `public`: `http://host:port` of it as the server reaches it: that of the balancer in front of
  all workers.  `share=1` lets workers of one machine listen at the same port without one.
- `register`: `yes`, `no`, or `force`, which replaces what the server knows by that URL.
- `namespace`: begins the names of all services (`Interlock`); one for each set of replicas.
- `inactivity`, `abort`: seconds of silence after which a worker is asked to let go of a call,
  and then cut off (15 each).  `tls=1`: the server is reached over TLS.
- `identity`: the public keys with which the server signs its requests; others are turned away.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from interlock import Clock, Phase, SystemClock
from interlock.errors import Conflict, StoreCorrupt, StoreError, Unstorable
from interlock.lifecycle import LIFECYCLE, Event, Lifecycle, TaskRecord
from interlock.stores import (
    Claim,
    Commit,
    Store,
    TaskPage,
    TaskQuery,
    TokenTaken,
    Turns,
    Watch,
    shared,
    store_at,
)

try:
    from interlock_adapters.restate._host import names_of
    from interlock_adapters.restate._link import RETRY_S, Link, Unsure
    from interlock_adapters.restate._serve import Door
    from interlock_adapters.restate._task import task_object
    from interlock_adapters.restate._token import token_object
    from interlock_adapters.restate._turns import RestateTurns
    from interlock_adapters.restate._url import place_of
    from interlock_adapters.restate._wire import JSON, claim_of, key_of, request_of
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.restate needs the restate extra: pip install 'interlock[restate]'",
        name=_missing.name,
    ) from _missing

__all__ = ["RestateStore"]

#: Seconds that a store which closes, or whose turns rest, waits for commits that are on their way.
_CLOSING_S: Final = 30.0


class RestateStore:
    """Keeps tasks in a Restate server; see the module.  A `SharedStore`.

    A commit is tried until its outcome is known: if the connection breaks meanwhile, it is sent
    again, and made once.  Only where the process is about to end is it given up, 30 s later at
    the earliest: then nobody knows whether it was made, and so says the `StoreError`.
    """

    def __init__(
        self,
        url: str,
        *,
        projection: Store | None = None,
        lifecycle: Lifecycle = LIFECYCLE,
        grace_s: float = 10.0,
    ) -> None:
        """Name the server.

        `projection` stands for the one of the URL.  `lifecycle` is what the worker's handlers
        fire with, the engine's own; `grace_s` the seconds that a turn has to stop when a
        deadline stops its task.

        Raises:
            InvalidInput: the URL is not as the module says.
        """
        self.place: Final = place_of(url)
        self.projection: Final[Store] = projection or store_at(self.place.projection)
        self.lifecycle: Lifecycle = lifecycle
        self.grace_s: float = grace_s
        self._clock: Final = self.projection.clock if shared(self.projection) else SystemClock()
        self._turns: Final = RestateTurns(self.place, self._connected, self.projection)
        self._hint: Callable[[str], None] | None = None
        self._link: Link | None = None
        self._door: Door | None = None
        self._task: Final = names_of(self.place.namespace)[0]
        #: Commits on their way.
        self._busy = 0
        self._calm: asyncio.Event | None = None
        self._closing: asyncio.Future[None] | None = None

    def fires_with(self, lifecycle: Lifecycle, *, grace_s: float) -> None:
        """What the handlers of this process fire with from now on: the engine's own settings."""
        self.lifecycle = lifecycle
        self.grace_s = grace_s

    def __repr__(self) -> str:
        """Without what may hold a password."""
        return f"RestateStore({self.place.ingress}, namespace={self.place.namespace!r})"

    # --- its own life -------------------------------------------------------------------

    async def open(self) -> None:
        """See `Store.open`.

        Raises:
            StoreError: the projection cannot be opened, the server cannot be reached or cannot
                reach this process, or knows another deployment of its URL.
        """
        if self._link is not None:
            raise StoreError("the store is open")
        await self.projection.open()
        self._turns.open()
        self._calm = asyncio.Event()
        self._calm.set()
        self._link = Link(self.place.ingress, self.place.admin)
        try:
            if self.place.serve is not None:
                await self._serve(self._link)
        except BaseException:
            await self._let_go()
            raise

    async def _serve(self, link: Link) -> None:
        objects = [task_object(self), token_object(self), self._turns.object()]
        self._door = Door(self.place, objects)
        uri = self._door.open()
        if self.place.register != "no":
            await link.register(uri, force=self.place.register == "force")
            await link.answers(self._task, "-", "ping")

    async def close(self) -> None:
        """See `Store.close`."""
        if self._link is None:
            return
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
            try:
                assert self._calm is not None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSING_S):
                        await self._calm.wait()
                await self._let_go()
            finally:
                closing, self._closing = self._closing, None
                closing.set_result(None)
        else:
            await asyncio.shield(self._closing)

    async def _let_go(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            await door.close()
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        await self.projection.close()

    def _connected(self) -> Link:
        if self._link is None:
            raise StoreError("the store is not open")
        return self._link

    @contextlib.asynccontextmanager
    async def _on_its_way(self) -> AsyncGenerator[Link]:
        """Something that `close` waits for."""
        link = self._connected()
        if self._closing is not None or self._calm is None:
            raise StoreError("the store is closing")
        self._busy += 1
        self._calm.clear()
        try:
            yield link
        finally:
            self._busy -= 1
            if self._busy == 0:
                self._calm.set()

    # --- what is shared -----------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        """The projection's clock if it has one, else the machine's."""
        return self._clock

    @property
    def turns(self) -> Turns:
        """See `SharedStore.turns`."""
        return self._turns

    async def moved(self, seen: Mapping[str, int]) -> AbstractSet[str]:
        """See `SharedStore.moved`."""
        if shared(self.projection):
            return await self.projection.moved(seen)
        moved: set[str] = set()
        for task_id, seq in seen.items():
            record = await self.projection.get(task_id)
            if record is None or record.seq != seq:
                moved.add(task_id)
        return moved

    def watched(self, task_id: str) -> bool:
        """See `SharedStore.watched`: the commit is made by whoever serves the object."""
        del task_id
        return True

    def on_hint(self, hint: Callable[[str], None] | None) -> None:
        """See `SharedStore.on_hint`."""
        self._hint = hint
        if shared(self.projection):
            self.projection.on_hint(hint)

    def tell(self, task_id: str) -> None:
        """A handler has moved a task."""
        if self._hint is not None and not shared(self.projection):
            self._hint(task_id)

    def now(self) -> float:
        """Seconds since 1970, by the store's clock."""
        return self._clock.now()

    # --- what is written ----------------------------------------------------------------

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`; what the handlers refuse is `Unstorable`."""
        task_id = commit.record.task_id
        request = request_of(commit, self.now())
        answer, again = await self._call(task_id, "append", request)
        if answer["is"] == "taken" and await self._outlived(claim_of(answer["claim"])):
            answer, again = await self._call(task_id, "append", request)
        match answer["is"]:
            case "done":
                return
            case "conflict":
                if again and await self._is_made(commit):
                    return
                raise Conflict(task_id, commit.expected_seq)
            case "taken":
                raise TokenTaken(claim_of(answer["claim"]))
            case _:
                raise Unstorable(f"task {task_id!r}: a worker refused it: {answer['why']}")

    async def _is_made(self, commit: Commit) -> bool:
        """Whether a commit that was sent more than once is there.

        Its object has forgotten it if many others were made until it was sent again.
        """
        made = commit.events
        kept = await self.projection.events(commit.record.task_id, commit.expected_seq, len(made))
        return tuple(kept) == made

    async def _outlived(self, claim: Claim) -> bool:
        """Whether the token outlived its task, and is free now that the task's object is told.

        As when whoever purged it died before.  An object that has just begun its task, which the
        projection does not have yet, forgets nothing.
        """
        try:
            kept = await self.projection.get(claim.task_id)
        except StoreCorrupt:
            return False
        return kept is None and await self._forgotten(claim.task_id)

    async def _call(self, task_id: str, handler: str, body: bytes) -> tuple[Any, bool]:
        """Call the task's object until its answer is known; that, and if it took several calls.

        Raises:
            Unsure: the process is to end, and the answer did not come in time.
            StoreError: the object was not called.
        """
        delay_s = RETRY_S[0]
        async with self._on_its_way() as link:
            began = time.monotonic()
            sent = False
            while True:
                try:
                    return await link.call(self._task, key_of(task_id), handler, body), sent
                except Unsure:
                    sent = True
                except StoreError:
                    if not sent:
                        raise
                if self._closing is not None or self._turns.ends(began, _CLOSING_S):
                    raise Unsure(f"task {task_id!r}: nobody knows whether it was written")
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_S[1])

    async def put_watch(self, watch: Watch) -> None:
        """See `Store.put_watch`."""
        await self.projection.put_watch(watch)

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        return await self.projection.advance_watch(before, after)

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """See `Store.drop_watch`."""
        return await self.projection.drop_watch(task_id, watch_id)

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """See `Store.purge`.

        An object whose task went without its being told clears itself when its id is used again,
        or a token that it used up.
        """
        async with self._on_its_way():
            gone = await self.projection.purge(before, keep=keep, limit=limit)
            for begin in range(0, len(gone), 16):
                some = [self._forgotten(task_id) for task_id in gone[begin : begin + 16]]
                await asyncio.gather(*some)
        return gone

    async def forget(self, task_id: str) -> bool:
        """See `Store.forget`."""
        return await self._forgotten(task_id)

    async def _forgotten(self, task_id: str) -> bool:
        request = JSON.serialize({"task_id": task_id})
        gone: bool
        gone, _ = await self._call(task_id, "forget", request)
        return gone

    # --- what is read -------------------------------------------------------------------

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        return await self.projection.get(task_id)

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        return await self.projection.events(task_id, after, limit)

    async def page(self, query: TaskQuery) -> TaskPage:
        """See `Store.page`."""
        return await self.projection.page(query)

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """See `Store.counts`."""
        return await self.projection.counts(query)

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """See `Store.unfinished`."""
        return await self.projection.unfinished(after, limit)

    async def open_tasks(self, owner: str) -> int:
        """See `Store.open_tasks`."""
        return await self.projection.open_tasks(owner)

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """See `Store.due`."""
        return await self.projection.due(now, after, limit)

    async def next_due(self, after: float) -> float | None:
        """See `Store.next_due`."""
        return await self.projection.next_due(after)

    async def claim(self, owner: str, token: str) -> Claim | None:
        """See `Store.claim`."""
        return await self.projection.claim(owner, token)

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        return await self.projection.watches(task_id)

    async def behind(self, limit: int = 100) -> list[Watch]:
        """See `Store.behind`."""
        return await self.projection.behind(limit)

    def quarantined(self) -> Mapping[str, str]:
        """See `Store.quarantined`."""
        return self.projection.quarantined()

    async def verify(self, lifecycle: Lifecycle = LIFECYCLE) -> list[str]:
        """See `Store.verify`: it is the projection that is checked."""
        return await self.projection.verify(lifecycle)
