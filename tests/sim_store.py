"""A store that outlives the crashes of a simulated run, and causes them."""

import asyncio
import enum
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import coroutine
from typing import Final, TypeAlias

from pydantic_core import from_json, to_json

from interlock._event import Event
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._phases import Phase
from interlock._record import TaskRecord
from interlock._store import Claim, Commit, MemoryStore, TaskPage, TaskQuery, Watch
from interlock.errors import StoreError, Unstorable
from interlock.testing.fuzz._sim import Simulation

#: So much virtual time passes, in seconds, in a commit that is slow.
SLOW_S: Final = 2.0
#: How long a call may take: times that the event loop goes round, and then virtual seconds.
_TAKES: Final = ((1, 0.0), (0, 0.0), (3, 0.0), (1, 0.001), (1, 0.05))


class StoreFault(enum.Enum):
    """What becomes of a commit."""

    NONE = "none"
    #: It takes `SLOW_S`.
    SLOW = "slow"
    #: It raises StoreError, and nothing is written.
    FAIL = "fail"
    #: The process is gone, and nothing is written.
    CRASH_BEFORE = "crash before"
    #: The process is gone once all is written, and before it hears so.
    CRASH_AFTER = "crash after"


#: Asked at each commit what becomes of it.
Faults: TypeAlias = Callable[[Commit], StoreFault]


class SimStore:
    """Keeps tasks as a database outside of the process would.

    Several engines, one after the other or at once, may be given the same one.  What it takes and
    gives are copies.  How long a call takes is the tape's to decide.
    """

    def __init__(self, simulation: Simulation, *, faults: Faults | None = None) -> None:
        #: Asked at each commit what becomes of it; None: it succeeds.
        self.faults = faults
        #: While this is so every call raises StoreError.
        self.broken = False
        #: Commits that were tried, and those that were written.
        self.tried = 0
        self.written = 0
        self._simulation: Final = simulation
        self._kept: Final = _Kept()
        self._dawdles: Final = simulation.tape.choose(2) == 1

    # --- what may go wrong ------------------------------------------------------------

    async def _pass(self) -> None:
        """Take as long as the tape says, and fail while it is broken."""
        await self._take()
        self._check()

    async def _take(self) -> None:
        rounds, seconds = self._simulation.tape.pick(_TAKES) if self._dawdles else _TAKES[0]
        for _ in range(rounds):
            await _given_way()
        if seconds:
            await self._lapse(seconds)

    async def _lapse(self, seconds: float) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        alarm = self._simulation.clock.call_later(seconds, partial(over.set_result, None))
        try:
            await over
        finally:
            alarm.cancel()

    def _check(self) -> None:
        if self.broken:
            raise StoreError("the store is out of order")

    async def _crash(self) -> None:
        """The process that is at work ends here, and whoever called with it."""
        simulation = self._simulation
        simulation.kill(simulation.process)
        await asyncio.get_running_loop().create_future()

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`; `faults` has a say in it."""
        copied = _commit_copied(commit)
        self.tried += 1
        fault = StoreFault.NONE if self.faults is None else self.faults(commit)
        await self._pass()
        match fault:
            case StoreFault.FAIL:
                raise StoreError("the store fails this once")
            case StoreFault.CRASH_BEFORE:
                await self._crash()
            case StoreFault.SLOW:
                await self._lapse(SLOW_S)
                self._check()
            case _:
                pass
        await self._kept.commit(copied)
        self.written += 1
        record = commit.record
        self._simulation.note(f"commit {record.task_id} {record.seq} {record.phase.value}")
        if fault is StoreFault.CRASH_AFTER:
            await self._crash()
        if self._dawdles:
            # It is written a while before the caller hears so.
            await self._take()

    # --- what is kept -----------------------------------------------------------------

    async def open(self) -> None:
        """See `Store.open`."""
        await self._pass()

    async def close(self) -> None:
        """See `Store.close`: nothing to do."""

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        await self._pass()
        record = await self._kept.get(task_id)
        return None if record is None else _record_copied(record)

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        await self._pass()
        return list(_events_copied(await self._kept.events(task_id, after, limit)))

    async def page(self, query: TaskQuery) -> TaskPage:
        """See `Store.page`."""
        await self._pass()
        page = await self._kept.page(query)
        return replace(page, records=tuple(map(_record_copied, page.records)))

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """See `Store.counts`."""
        await self._pass()
        return await self._kept.counts(query)

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """See `Store.unfinished`."""
        await self._pass()
        return list(map(_record_copied, await self._kept.unfinished(after, limit)))

    async def open_tasks(self, owner: str) -> int:
        """See `Store.open_tasks`."""
        await self._pass()
        return await self._kept.open_tasks(owner)

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """See `Store.due`."""
        await self._pass()
        return list(map(_record_copied, await self._kept.due(now, after, limit)))

    async def next_due(self, after: float) -> float | None:
        """See `Store.next_due`."""
        await self._pass()
        return await self._kept.next_due(after)

    async def claim(self, owner: str, token: str) -> Claim | None:
        """See `Store.claim`."""
        await self._pass()
        return await self._kept.claim(owner, token)

    async def put_watch(self, watch: Watch) -> None:
        """See `Store.put_watch`."""
        copied = _watch_copied(watch)
        await self._pass()
        await self._kept.put_watch(copied)

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        copied = _watch_copied(after)
        await self._pass()
        return await self._kept.advance_watch(before, copied)

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """See `Store.drop_watch`."""
        await self._pass()
        return await self._kept.drop_watch(task_id, watch_id)

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        await self._pass()
        return list(map(_watch_copied, await self._kept.watches(task_id)))

    async def behind(self, limit: int = 100) -> list[Watch]:
        """See `Store.behind`."""
        await self._pass()
        return list(map(_watch_copied, await self._kept.behind(limit)))

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """See `Store.purge`."""
        await self._pass()
        return await self._kept.purge(before, keep=keep, limit=limit)

    async def forget(self, task_id: str) -> bool:
        """See `Store.forget`."""
        await self._pass()
        return await self._kept.forget(task_id)

    def quarantined(self) -> Mapping[str, str]:
        """See `Store.quarantined`: everything here can be read."""
        return self._kept.quarantined()

    async def verify(self, lifecycle: Lifecycle = LIFECYCLE) -> list[str]:
        """See `Store.verify`."""
        await self._pass()
        return await self._kept.verify(lifecycle)

    # --- for who looks on -------------------------------------------------------------

    def tasks(self) -> dict[str, tuple[TaskRecord, list[Event]]]:
        """Every task as it is durable by now, by id, in the order of their making.

        At once, and no part of the run.  Records and events are not to be changed.
        """
        return self._kept.tasks()


@coroutine
def _given_way() -> Generator[None, None, None]:
    """Let whoever is ready go first."""
    yield


class _Kept(MemoryStore):
    """All that is durable."""

    def tasks(self) -> dict[str, tuple[TaskRecord, list[Event]]]:
        """The record and the log of each task."""
        return {name: (kept.record, list(kept.events)) for name, kept in self._tasks.items()}


def _commit_copied(commit: Commit) -> Commit:
    """What shares nothing with the engine that could change.

    Raises:
        Unstorable: it is not JSON.
    """
    try:
        return replace(
            commit,
            record=_record_copied(commit.record),
            events=_events_copied(commit.events),
            watches=tuple(map(_watch_copied, commit.watches)),
        )
    except ValueError as error:
        raise Unstorable(f"it cannot be stored as JSON ({type(error).__name__})") from None


def _record_copied(record: TaskRecord) -> TaskRecord:
    return TaskRecord.from_json(record.to_json())


def _events_copied(events: Sequence[Event]) -> tuple[Event, ...]:
    return tuple(replace(event, data=from_json(to_json(dict(event.data)))) for event in events)


def _watch_copied(watch: Watch) -> Watch:
    return replace(watch, config=from_json(to_json(watch.config)))
