"""Two engines on one store, for the tests of what replicas do to each other.

    async with pair(agent) as both:
        handle = await both.one.submit("x", owner=OWNER)
        both.memory.kill(await both.held(handle))

The store is a `SharedMemory` on a clock that stands still; a test may stand in the way of each
replica's commits and reads (`HookedStore`).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from interlock import (
    Agent,
    Deliverer,
    Engine,
    Event,
    Limits,
    TaskContext,
    TaskHandle,
    TaskQuery,
    TaskRecord,
    Watch,
)
from interlock._replica import LOOK_S
from interlock._store import Commit
from interlock.testing import ManualClock, violations
from interlock.testing._shared_memory import SharedMemory, SharedMemoryStore
from support import WAIT_MAX_S, pause, until

OWNER: Final = "ada"


class HookedStore(SharedMemoryStore):
    """The store of one replica, in whose way a test may stand."""

    def __init__(self, behind: SharedMemoryStore) -> None:
        super().__init__(behind._memory, behind._replica)
        #: Awaited with each commit: before it is written, and when it is, before anybody hears.
        self.before: Callable[[Commit], Awaitable[None]] | None = None
        self.after: Callable[[Commit], Awaitable[None]] | None = None
        #: Awaited before a task is read, with its name.
        self.reads: Callable[[str], Awaitable[None]] | None = None
        #: Awaited before it is read what is owed to watches.
        self.tidies: Callable[[], Awaitable[None]] | None = None

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        if self.before is not None:
            await self.before(commit)
        await super().commit(commit)
        if self.after is not None:
            await self.after(commit)

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        if self.reads is not None:
            await self.reads(task_id)
        return await super().get(task_id)

    async def behind(self, limit: int = 100) -> list[Watch]:
        """See `Store.behind`."""
        if self.tidies is not None:
            await self.tidies()
        return await super().behind(limit)


@dataclass
class Pair:
    """Two replicas, and what they share."""

    clock: ManualClock
    memory: SharedMemory
    one: Engine
    two: Engine

    def store(self, name: str) -> HookedStore:
        """The store of that replica."""
        store = {"one": self.one, "two": self.two}[name]._store
        assert isinstance(store, HookedStore)
        return store

    def holder(self, handle: TaskHandle) -> str:
        """Which replica has its turn."""
        name = self.memory.holder(handle.task_id)
        assert name is not None
        return name

    def other(self, handle: TaskHandle) -> Engine:
        """The engine that has it not."""
        return self.two if self.holder(handle) == "one" else self.one

    async def held(self, handle: TaskHandle) -> str:
        """Wait until somebody has its turn."""
        await until(lambda: self.memory.holder(handle.task_id) is not None)
        return self.holder(handle)

    async def stored(self, handle: TaskHandle) -> TaskRecord:
        """The task, as it is stored."""
        record = await self.memory.tasks.get(handle.task_id)
        assert record is not None
        return record

    async def log(self, handle: TaskHandle) -> list[Event]:
        """Its log, as it is stored."""
        return await self.memory.tasks.events(handle.task_id)

    async def moves(self, handle: TaskHandle) -> list[str]:
        """The triggers in its log."""
        return [event.trigger.value for event in await self.log(handle)]

    async def elapse(self, seconds: float) -> None:
        """Let time go by in small steps, and everything happen meanwhile."""
        left = seconds
        while left > 0:
            self.clock.advance(min(left, LOOK_S))
            left -= LOOK_S
            await pause()


def _one_first(names: Sequence[str]) -> str:
    return "one" if "one" in names else names[0]


@asynccontextmanager
async def pair(
    agent: Agent,
    *,
    limits: Limits | None = None,
    deliverers: Mapping[str, Deliverer] | None = None,
    one_first: bool = False,
    one_alone: bool = False,
) -> AsyncGenerator[Pair]:
    """Two open engines with the same agent; every log must be sound at the end.

    With `one_first` the turns go to `one` whenever it takes any, with `one_alone` to nobody else;
    without them the replicas take turns.
    """
    clock = ManualClock()
    memory = SharedMemory(clock, choose=_one_first if one_first else None)
    one, two = (
        Engine(
            agent,
            store=HookedStore(memory.store(name)),
            limits=limits or Limits(),
            deliverers=deliverers,
            takes_turns=name == "one" or not one_alone,
        )
        for name in ("one", "two")
    )
    async with asyncio.timeout(WAIT_MAX_S):
        await one.start()
        await two.start()
        try:
            yield Pair(clock, memory, one, two)
        finally:
            for engine in (one, two):
                drain = asyncio.ensure_future(engine.drain())
                while not drain.done():
                    await pause()
                    clock.advance(1.0)
                await drain
    for record in (await memory.tasks.page(TaskQuery(limit=10_000))).records:
        assert violations(await memory.tasks.events(record.task_id)) == []
    assert await memory.tasks.verify() == []


async def echo(task: TaskContext) -> str:
    """Ends at once."""
    return f"done {task.input.text}"


async def asks(task: TaskContext) -> str:
    """Ends with what it is told."""
    return await task.ask("Which city?", str)
