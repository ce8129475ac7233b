"""What goes wrong around an engine: a store is slow, fails or dies, and a clock is set."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from interlock._clock import Alarm, Clock
from interlock._event import Event
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._phases import Phase
from interlock._record import TaskRecord
from interlock._store import Claim, Commit, MemoryStore, Store, TaskPage, TaskQuery, Watch
from interlock.errors import StoreError
from interlock.testing.fuzz._sim_schedule import PROCESS
from interlock.testing.fuzz._tape import Tape

#: Every fault, by the name that switches it on or off.
ALL_FAULTS: Final = frozenset(
    {
        "crash",
        "late",
        "duplicate",
        "concurrent",
        "reorder",
        "slow-store",
        "failing-store",
        "clock",
        "disconnect",
        "tool",
    }
)

#: Rounds of the event loop that a store takes for a commit where commits may be reordered.
_ROUNDS_MAX: Final = 3


class Remembering(MemoryStore):
    """A store that still knows what was purged: what it came to is checked, and it is no loss."""

    def __init__(self) -> None:
        super().__init__()
        #: Tasks that were purged, as they were then.
        self.gone: Final[dict[str, tuple[TaskRecord, list[Event]]]] = {}

    def kept(self, task_id: str) -> tuple[TaskRecord, list[Event]] | None:
        """A task and its log, also if it was purged; the list is the store's own."""
        kept = self._tasks.get(task_id)
        return self.gone.get(task_id) if kept is None else (kept.record, kept.events)

    def _drop(self, task_id: str) -> None:
        kept = self._tasks[task_id]
        self.gone[task_id] = kept.record, kept.events
        super()._drop(task_id)


class Disk(Remembering):
    """What every store of a run writes to: it outlives the processes."""

    def __init__(self) -> None:
        super().__init__()
        #: Tasks that were written to since it was looked last.
        self.changed: Final[dict[str, None]] = {}
        #: Which process wrote each event, by task and number.
        self.writers: Final[dict[tuple[str, int], str]] = {}
        #: How often something was written.
        self.writes = 0
        #: Every task there ever was, in the order in which they were made.
        self._made: Final[dict[str, None]] = {}

    def every(self) -> list[tuple[TaskRecord, list[Event]]]:
        """Every task and its log, also those that were purged, as they were made."""
        found = map(self.kept, self._made)
        return [kept for kept in found if kept is not None]

    def remains(self) -> list[str]:
        """What is still kept of tasks that were purged, each as a few words."""
        rows = {
            "a record": self._tasks,
            "a claim": (claim.task_id for claim in self._claims.values()),
            "a watch": self._watches,
            "a deadline": (task_id for _, task_id in self._due),
            "an entry among the finalized": (task_id for _, task_id in self._finalized),
        }
        return [
            f"{what} of {task_id}"
            for what, ids in rows.items()
            for task_id in ids
            if task_id in self.gone
        ]

    def owes(self, task_id: str) -> bool:
        """Whether somebody is to be told of the task, and it was not given up."""
        watches = self._watches.get(task_id, {}).values()
        return any(watch.given_up is None for watch in watches)

    @property
    def records(self) -> list[TaskRecord]:
        """Every task that is there, in the order in which they were made."""
        return [kept.record for kept in self._tasks.values()]

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        await super().commit(commit)
        self.changed[commit.record.task_id] = None
        self._made[commit.record.task_id] = None
        self.writes += 1
        name = PROCESS.get().name
        for event in commit.events:
            self.writers[commit.record.task_id, event.seq] = name

    def _drop(self, task_id: str) -> None:
        super()._drop(task_id)
        self.changed[task_id] = None


class FaultyStore:
    """The store as one process has it: it may be slow or fail, and ends with its process."""

    def __init__(
        self, disk: Store, tape: Tape, *, reorders: bool, kill: Callable[[], None]
    ) -> None:
        """The store of one process, which `kill` ends; with `reorders` commits take a while."""
        #: The process is gone: nothing that it still asks for is ever answered.
        self.dead = False
        #: Seconds that a commit takes.
        self.slow_s = 0.0
        self.fails = False
        #: Commits until the process dies in one; None for never.
        self.dies_in: int | None = None
        #: How often it failed.
        self.failures = 0
        #: What is being done just now.
        self.busy = 0
        self._disk: Final = disk
        self._tape: Final = tape
        self._reorders: Final = reorders
        self._kill: Final = kill

    async def let_pass(self) -> None:
        """Wait for ever if the process is gone; raises StoreError if the store fails."""
        if self.dead:
            await asyncio.get_running_loop().create_future()
        if self.fails:
            self.failures += 1
            raise StoreError("the disk of the simulation is full")

    async def open(self) -> None:
        """See `Store.open`."""

    async def close(self) -> None:
        """See `Store.close`."""

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`: perhaps it dies just before or just after it has written."""
        self.busy += 1
        try:
            await self.let_pass()
            if self.slow_s:
                await asyncio.sleep(self.slow_s)
            if self._reorders:
                for _ in range(self._tape.choose(_ROUNDS_MAX)):
                    await asyncio.sleep(0)
            await self.let_pass()
            await self._dies(partial(self._disk.commit, commit))
            await self._disk.commit(commit)
            if self._reorders and self._tape.chance(4):
                await asyncio.sleep(0)
        finally:
            self.busy -= 1

    async def _dies(self, write: Callable[[], Awaitable[object]]) -> None:
        if self.dies_in is None:
            return
        if self.dies_in:
            self.dies_in -= 1
            return
        if self._tape.chance(2):  # It is written, and nobody hears of it.
            await write()
        self.dead = True
        self._kill()
        await asyncio.get_running_loop().create_future()

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        await self.let_pass()
        return await self._disk.get(task_id)

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        await self.let_pass()
        return await self._disk.events(task_id, after, limit)

    async def page(self, query: TaskQuery) -> TaskPage:
        """See `Store.page`."""
        await self.let_pass()
        return await self._disk.page(query)

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """See `Store.counts`."""
        await self.let_pass()
        return await self._disk.counts(query)

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """See `Store.unfinished`."""
        await self.let_pass()
        return await self._disk.unfinished(after, limit)

    async def open_tasks(self, owner: str) -> int:
        """See `Store.open_tasks`."""
        await self.let_pass()
        return await self._disk.open_tasks(owner)

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """See `Store.due`."""
        await self.let_pass()
        return await self._disk.due(now, after, limit)

    async def next_due(self, after: float) -> float | None:
        """See `Store.next_due`."""
        await self.let_pass()
        return await self._disk.next_due(after)

    async def claim(self, owner: str, token: str) -> Claim | None:
        """See `Store.claim`."""
        await self.let_pass()
        return await self._disk.claim(owner, token)

    async def put_watch(self, watch: Watch) -> None:
        """See `Store.put_watch`."""
        await self.let_pass()
        await self._disk.put_watch(watch)

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        await self.let_pass()
        return await self._disk.advance_watch(before, after)

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """See `Store.drop_watch`."""
        await self.let_pass()
        return await self._disk.drop_watch(task_id, watch_id)

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        await self.let_pass()
        return await self._disk.watches(task_id)

    async def behind(self, limit: int = 100) -> list[Watch]:
        """See `Store.behind`."""
        await self.let_pass()
        return await self._disk.behind(limit)

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """See `Store.purge`: it may die just before or just after something is gone."""
        self.busy += 1
        try:
            await self.let_pass()
            purge = partial(self._disk.purge, before, keep=keep, limit=limit)
            await self._dies(purge)
            return await purge()
        finally:
            self.busy -= 1

    async def forget(self, task_id: str) -> bool:
        """See `Store.forget`: as for `purge`."""
        self.busy += 1
        try:
            await self.let_pass()
            forget = partial(self._disk.forget, task_id)
            await self._dies(forget)
            return await forget()
        finally:
            self.busy -= 1

    def quarantined(self) -> dict[str, str]:
        """See `Store.quarantined`: everything here can be read."""
        return {}

    async def verify(self, lifecycle: Lifecycle = LIFECYCLE) -> list[str]:
        """See `Store.verify`: the oracle of the run does it."""
        del lifecycle
        return []


class _Armed:
    """An alarm that the clock below has, and that is counted until it is over."""

    def __init__(self, callback: Callable[[], None], armed: "dict[_Armed, None]") -> None:
        self._callback: Final = callback
        self._armed: Final = armed
        self.below: Alarm | None = None
        armed[self] = None

    def cancel(self) -> None:
        """See `Alarm.cancel`."""
        self._armed.pop(self, None)
        if self.below is not None:
            self.below.cancel()

    def __call__(self) -> None:
        self._armed.pop(self, None)
        self._callback()


class WatchedClock:
    """The clock of one process: that of the simulation, and what is set by it."""

    def __init__(self, below: Clock) -> None:
        self._below: Final = below
        #: The latest that it ever showed.
        self.latest = 0.0
        self._armed: dict[_Armed, None] = {}

    def now(self) -> float:
        """See `Clock.now`."""
        now = self._below.now()
        self.latest = max(self.latest, now)
        return now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        """See `Clock.call_later`."""
        armed = _Armed(callback, self._armed)
        armed.below = self._below.call_later(delay_s, armed)
        return armed

    @property
    def armed(self) -> int:
        """How many alarms are armed."""
        return len(self._armed)

    def silence(self) -> None:
        """The process is gone: none of its alarms ever rings."""
        for armed in list(self._armed):
            armed.cancel()
