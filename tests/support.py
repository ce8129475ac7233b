"""What the tests of the engine share: an open engine on a clock that stands still, and its store.

Nothing here stands in for the engine: `FlakyStore` is the memory store, which also fails and
dawdles when it is told to, and a `Stage` hosts one turn and fires the real table.
"""

import asyncio
import contextvars
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from interlock import (
    Deliverer,
    Engine,
    Event,
    Limits,
    MemoryStore,
    Observer,
    OpenAsk,
    TaskHandle,
    TaskRecord,
    Toolbox,
    Trigger,
)
from interlock._agent import Agent, kind_of
from interlock._event import AGENT, ENGINE, Data, Signal
from interlock._machine import LIFECYCLE, Lifecycle, Move
from interlock._memory import Memory
from interlock._phases import Phase
from interlock._store import Claim, Commit, Watch
from interlock._threaded import Raised, Returned, TurnEnd
from interlock._turn import Turn
from interlock.errors import StoreError
from interlock.testing import ManualClock

V = TypeVar("V")

OWNER: Final = "ada"
#: Every wait ends, or fails, within so many seconds of real time.
WAIT_MAX_S: Final = 60.0


async def soon(awaitable: Awaitable[V]) -> V:
    """What it comes to, or a failure that has a name."""
    async with asyncio.timeout(WAIT_MAX_S):
        return await awaitable


async def pause(rounds: int = 20) -> None:
    """Give way until whatever can run now has run."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until(fact: Callable[[], bool]) -> None:
    """Give way until something is so."""
    async with asyncio.timeout(WAIT_MAX_S):
        while not fact():
            await pause(1)


class Gate:
    """A place in the store where one call waits until the test lets it go on."""

    def __init__(self) -> None:
        self._reached: Final = asyncio.Event()
        self._opened: Final = asyncio.Event()

    async def reached(self) -> None:
        """Wait until a call stands before the gate."""
        await soon(self._reached.wait())

    def open(self) -> None:
        """Let it go on."""
        self._opened.set()

    async def passed(self) -> None:
        """Stand before the gate: for the store."""
        self._reached.set()
        await self._opened.wait()


class FlakyStore(MemoryStore):
    """The memory store of one process, which fails and dawdles when it is told to.

    With `behind` it is another process's store over the same data.
    """

    def __init__(self, behind: MemoryStore | None = None) -> None:
        super().__init__()
        if behind is not None:
            for name in vars(MemoryStore()):
                setattr(self, name, getattr(behind, name))
        #: Everything that somebody tried to commit through this store.
        self.commits: list[Commit] = []
        #: The process that the store was open in is gone.
        self.dead = False
        self._failures: defaultdict[str, deque[Exception]] = defaultdict(deque[Exception])
        self._broken: dict[str, Exception] = {}
        self._gates: defaultdict[str, deque[Gate]] = defaultdict(deque[Gate])

    def fail(self, call: str, *errors: Exception) -> None:
        """Make the next calls of that method raise these; a plain one if none is given."""
        self._failures[call].extend(errors or (StoreError("the disk is on fire"),))

    def breaks(self, call: str, error: Exception | None = None) -> None:
        """Make every call of that method raise, until `mends`."""
        self._broken[call] = error or StoreError("the disk is on fire")

    def mends(self, call: str) -> None:
        """Make the method work again."""
        del self._broken[call]

    def hold(self, call: str) -> Gate:
        """Make the next call of that method wait; `commit, after` waits when it is written."""
        gate = Gate()
        self._gates[call].append(gate)
        return gate

    async def _pass(self, call: str) -> None:
        if self.dead:
            raise StoreError("the process is gone")
        if self._gates[call]:
            await self._gates[call].popleft().passed()
        if self._failures[call]:
            raise self._failures[call].popleft()
        if call in self._broken:
            raise self._broken[call]

    async def open(self) -> None:
        """See `Store.open`."""
        await self._pass("open")
        await super().open()

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        self.commits.append(commit)
        await self._pass("commit")
        await super().commit(commit)
        await self._pass("commit, after")

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        await self._pass("get")
        record = await super().get(task_id)
        await self._pass("get, after")
        return record

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        await self._pass("events")
        return await super().events(task_id, after, limit)

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """See `Store.unfinished`."""
        await self._pass("unfinished")
        return await super().unfinished(after, limit)

    async def open_tasks(self, owner: str) -> int:
        """See `Store.open_tasks`."""
        found = await super().open_tasks(owner)
        await self._pass("open_tasks")
        return found

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """See `Store.due`."""
        await self._pass("due")
        return await super().due(now, after, limit)

    async def next_due(self, after: float) -> float | None:
        """See `Store.next_due`."""
        await self._pass("next_due")
        return await super().next_due(after)

    async def claim(self, owner: str, token: str) -> Claim | None:
        """See `Store.claim`."""
        await self._pass("claim")
        return await super().claim(owner, token)

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        await self._pass("watches")
        return await super().watches(task_id)

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """See `Store.purge`."""
        await self._pass("purge")
        return await super().purge(before, keep=keep, limit=limit)

    async def written_elsewhere(
        self, task_id: str, trigger: Trigger, data: Data, *, actor: str, at: float
    ) -> TaskRecord:
        """Move a task as another process would: past the engine that has it open."""
        record = await MemoryStore.get(self, task_id)
        assert record is not None
        move = LIFECYCLE.fire(record, Signal(trigger, data, actor, at))
        await MemoryStore.commit(self, Commit(move.record, (move.event,)))
        return move.record


@dataclass(eq=False)
class World:
    """An engine, and everything that it depends on."""

    engine: Engine
    store: FlakyStore
    clock: ManualClock
    #: What the event loop was told that nobody caught.
    uncaught: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def submit(self, text: str = "go", *, task_s: float | None = None) -> TaskHandle:
        """A task of `OWNER`'s."""
        return await self.engine.submit(text, owner=OWNER, task_s=task_s)

    async def asking(self, text: str = "go") -> tuple[TaskHandle, OpenAsk]:
        """A task that waits for an answer, and the ask."""
        handle = await self.submit(text)
        return handle, (await handle.rest()).asks[0]

    def handle(self, handle: TaskHandle) -> TaskHandle:
        """The same task, in this engine."""
        return TaskHandle(self.engine, self.stored(handle), created=False)

    def stored(self, handle: TaskHandle) -> TaskRecord:
        """The task as of its last commit."""
        return self.store._tasks[handle.task_id].record

    def log(self, handle: TaskHandle) -> list[Event]:
        """The events of the task so far."""
        return list(self.store._tasks[handle.task_id].events)

    async def elsewhere(
        self, handle: TaskHandle, trigger: Trigger, data: Data, *, actor: str
    ) -> TaskRecord:
        """Another process moves the task."""
        now = self.clock.now()
        return await self.store.written_elsewhere(
            handle.task_id, trigger, data, actor=actor, at=now
        )

    async def elapse(self, seconds: float) -> None:
        """Move time on, and let everything that follows from it happen."""
        await pause()
        self.clock.advance(seconds)
        await pause()

    def grows_cold(self) -> None:
        """What is over is only in the store, as if others had been since."""
        runtime = self.engine._runtime
        assert runtime is not None
        runtime.writer._recent.clear()

    def crash(self) -> "FlakyStore":
        """Take the process away; the store in which another one finds the data.

        What is left of this one can no longer write anything, and its clock stands still.
        """
        self.store.dead = True
        return FlakyStore(self.store)


@asynccontextmanager
async def opened(
    agent: "Agent | Mapping[str, Agent]",
    *,
    store: FlakyStore | None = None,
    clock: ManualClock | None = None,
    limits: Limits | None = None,
    deliverers: Mapping[str, Deliverer] | None = None,
    tools: Toolbox | None = None,
    observer: Observer | None = None,
    lifecycle: Lifecycle = LIFECYCLE,
) -> AsyncGenerator[World]:
    """An open engine, which is drained at the end; nothing may go wrong unheard meanwhile."""
    store = store or FlakyStore()
    clock = clock or ManualClock()
    engine = Engine(
        agent,
        tools=tools,
        store=store,
        clock=clock,
        limits=limits,
        deliverers=deliverers,
        observer=observer,
        lifecycle=lifecycle,
    )
    world = World(engine, store, clock)
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: world.uncaught.append(context))
    try:
        async with asyncio.timeout(WAIT_MAX_S):
            await engine.start()
            try:
                yield world
            finally:
                await drained(engine, clock)
    finally:
        loop.set_exception_handler(before)
    assert world.uncaught == []


async def over(world: World, count: int = 1) -> list[TaskHandle]:
    """So many tasks that are finalized, each a second after the other."""
    handles: list[TaskHandle] = []
    for _ in range(count):
        handles.append(await world.submit())
        await handles[-1].result()
        await until(lambda: world.engine.statistics().live == 0)
        await world.elapse(1.0)
    return handles


async def drained(engine: Engine, clock: ManualClock) -> None:
    """Drain the engine; time goes on for as long as it waits for what does not end."""
    drain = asyncio.ensure_future(engine.drain())
    for _ in range(20):
        await pause()
        if drain.done():
            break
        clock.advance(engine.limits.drain_s)
    await soon(drain)


def triggers(events: Sequence[Event]) -> list[str]:
    """What happened, in order."""
    return [event.trigger.value for event in events]


async def log_of(handle: TaskHandle) -> list[Event]:
    """The events of a task up to its outcome, once that has come."""
    return [event async for event in handle.events()]


#: As much of an ask as the guards look at.
ASKED: Data = {
    "epoch": 1,
    "kind": "input",
    "prompt": "?",
    "schema": {"type": "string"},
    "due": 9e9,
    "on_expire": "fail",
    "asks_max": 9,
}


class Stage:
    """A host without a store: what a turn reports is fired on the record at once."""

    def __init__(
        self, agent: Agent, limits: Limits | None = None, toolbox: Toolbox | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.lifecycle = LIFECYCLE
        self.clock = ManualClock()
        self.toolbox = toolbox or Toolbox()
        self.ends: list[TurnEnd] = []
        self.withdrawn: list[str] = []
        #: Cleared: reports wait.
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        data: Data = {"task_id": "t", "owner": "ada", "context_id": "c", "due": 9e9}
        data = {**data, "parts": [{"text": "hello"}], "metadata": {"lang": "en"}}
        made = LIFECYCLE.submit(Signal(Trigger.SUBMIT, data, "ada", self.clock.now()))
        memory = Memory()
        memory.add(made.event)
        self.log = [made.event]
        self.record = made.record
        self.move(Trigger.START, {"run_s": None}, ENGINE)
        self.turn = Turn(self, self.record, agent, kind_of(agent), memory)

    def move(self, trigger: Trigger, data: Data, actor: str = "ada") -> Move:
        """Fire at the record, as the engine would."""
        move = LIFECYCLE.fire(self.record, Signal(trigger, data, actor, self.clock.now()))
        self.record = move.record
        self.log.append(move.event)
        return move

    def tell(self, trigger: Trigger, data: Data, actor: str = OWNER) -> None:
        """Something happens to the task, and the turn hears of it."""
        move = self.move(trigger, data, actor)
        self.turn.hear(move.record, move.event)
        if move.record.phase is Phase.RUNNING:
            self.turn.resume()

    def provide(self, key: str, value: object, actor: str = OWNER) -> None:
        """A client answers."""
        self.tell(Trigger.PROVIDE_INPUT, {"key": key, "value": value}, actor)

    @property
    def lost(self) -> bool:
        """See `Host.lost`."""
        return False

    def carried(self, task_id: str) -> Mapping[str, str]:
        """See `Host.carried`."""
        assert task_id == self.record.task_id
        return {"authorization": "secret"}

    async def is_sure(self, turn: Turn) -> bool:
        """See `Host.is_sure`."""
        return not turn.fenced

    def report(
        self,
        turn: Turn,
        trigger: Trigger,
        data: Data,
        *,
        since: float | None = None,  # noqa: ARG002  a stage's store is never away
    ) -> "asyncio.Future[TaskRecord]":
        """See `Host.report`."""
        return asyncio.ensure_future(self._reported(turn, trigger, data))

    async def _reported(self, turn: Turn, trigger: Trigger, data: Data) -> TaskRecord:
        assert turn is self.turn
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        move = self.move(trigger, {**data, "epoch": self.record.epoch}, AGENT)
        turn.hear(move.record, move.event)
        return move.record

    def withdraw(self, turn: Turn, key: str) -> None:
        """See `Host.withdraw`."""
        assert turn is self.turn
        self.withdrawn.append(key)

    def ended(self, turn: Turn, end: TurnEnd) -> None:
        """See `Host.ended`."""
        assert turn is self.turn
        self.ends.append(end)

    def start(self) -> None:
        """Begin the turn."""
        self.turn.start(contextvars.copy_context())

    async def end(self) -> TurnEnd:
        """How it ended; it says so once."""
        await until(lambda: bool(self.ends))
        await pause()
        assert len(self.ends) == 1
        return self.ends[0]

    async def played(self) -> TurnEnd:
        """Start it and wait for its end."""
        self.start()
        return await self.end()

    async def asked(self, count: int = 1) -> None:
        """Wait until that many asks are open, and the agent waits for them."""
        await until(lambda: len(self.record.asks) >= count)
        await pause()

    @property
    def triggers(self) -> list[str]:
        """What was fired since the start."""
        return [event.trigger.value for event in self.log[2:]]


async def returned(stage: Stage) -> Any:  # noqa: ANN401  the agent's own value
    """The value of a turn that has to end well."""
    end = await stage.end()
    assert isinstance(end, Returned), end
    return end.value


async def raised(stage: Stage) -> BaseException:
    """The error of a turn that has to end badly."""
    end = await stage.end()
    assert isinstance(end, Raised), end
    return end.error
