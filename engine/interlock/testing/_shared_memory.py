"""A memory that several engines share, and a queue of turns: replicas without processes.

    memory = SharedMemory(ManualClock())
    one = Engine(agent, store=memory.store("one"))
    two = Engine(agent, store=memory.store("two"))

A test decides who dies (`kill`), who falls silent and wakes again (`silence`, `wake`), and what
hints get lost.  Time is the clock's that it is given, and nothing is left to chance: turns are
handed out in the order in which they were wanted.  It lives on one event loop.
It is long because a store has many methods, each handed on in a line or two.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from interlock._alarms import ALARM_MAX_S
from interlock._clock import Alarm, Clock
from interlock._effects import TimerKind
from interlock._event import Event
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._phases import Phase
from interlock._record import TaskRecord
from interlock._shared import RunTurn
from interlock._store import (
    Claim,
    Commit,
    MemoryStore,
    Store,
    TaskPage,
    TaskQuery,
    TurnWanted,
    Watch,
)
from interlock.errors import StoreError

#: Seconds of silence after which a replica is taken for dead, unless a test says otherwise.
DEAD_AFTER_S: Final = 10.0
#: Seconds until a turn is handed out again that ended with an error, or that was given back by
#: a replica which still takes turns.
AGAIN_S: Final = 1.0

_log: Final = logging.getLogger("interlock.testing")


@dataclass(slots=True, eq=False)
class _Entry:
    """One turn that is wanted, until somebody has dealt with it."""

    wanted: TurnWanted
    #: Its place in the order.
    number: int
    #: Not before this time, seconds since 1970.
    not_before: float
    #: Who has it; None while it waits.
    hold: "_Hold | None" = None


@dataclass(slots=True, eq=False)
class _Hold:
    """A turn that was handed to a replica, until its run ends there."""

    replica: "_Replica"
    entry: _Entry
    #: What runs it; set at once.
    task: "asyncio.Task[None] | None" = None

    @property
    def is_stale(self) -> bool:
        """Whether it was taken away meanwhile."""
        return self.entry.hold is not self


@dataclass(slots=True, eq=False)
class _Replica:
    """One store that is open, and what its process was handed."""

    name: str
    #: What it begins belongs to whoever opened it.
    context: contextvars.Context
    is_open: bool = False
    dead: bool = False
    silent: bool = False
    #: It has been silent for so long that it may have been taken for dead, as far as it knows.
    doubts: bool = False
    #: What comes of its silence.
    alarms: list[Alarm] = field(default_factory=list[Alarm])
    hint: Callable[[str], None] | None = None
    run: RunTurn | None = None
    slots: int = 0
    resting: bool = False
    #: When it was last handed a turn: whoever has waited longest comes first.
    turn_number: int = 0
    holds: dict[_Hold, None] = field(default_factory=dict[_Hold, None])

    @property
    def is_free(self) -> bool:
        """Whether it can take a turn."""
        away = self.resting or self.silent or not self.is_open
        return self.run is not None and not away and len(self.holds) < self.slots


class SharedMemory:
    """The tasks, and who runs their turns."""

    def __init__(
        self,
        clock: Clock,
        *,
        dead_after_s: float = DEAD_AFTER_S,
        tasks: Store | None = None,
        choose: Callable[[Sequence[str]], str] | None = None,
    ) -> None:
        """Nothing is stored yet.

        A replica is taken for dead after `dead_after_s` seconds of silence.  `tasks` keeps the
        tasks instead of a memory; it is neither opened nor closed here.  `choose` is given the
        names of the replicas that have a free slot, and says which one takes the next turn;
        without it they take turns.
        """
        self.clock: Final = clock
        #: What all stores are views of.
        self.tasks: Final[Store] = MemoryStore() if tasks is None else tasks
        self.dead_after_s: Final = dead_after_s
        #: Whether hints get lost.
        self.drop_hints = False
        #: Seconds until a hint arrives.
        self.hint_s: float = 0.0
        #: Every hand-out so far: who got which turn.
        self.handed: Final[list[tuple[str, TurnWanted]]] = []
        self._choose: Final = choose
        self._context: Final = contextvars.copy_context()
        self._replicas: Final[dict[str, _Replica]] = {}
        self._entries: Final[dict[_Entry, None]] = {}
        self._numbers = 0
        self._alarm: Alarm | None = None

    def store(self, name: str) -> "SharedMemoryStore":
        """A store for one more replica, or for one in the place of another that has ended.

        Raises:
            ValueError: one of that name is alive.
        """
        last = self._replicas.get(name)
        if last is not None and last.is_open:
            raise ValueError(f"the replica {name!r} is open; kill it, or close its store")
        replica = self._replicas[name] = _Replica(name, contextvars.copy_context())
        return SharedMemoryStore(self, replica)

    def holder(self, task_id: str) -> str | None:
        """The name of the replica that was handed the turn of a task, unless it was given up."""
        for entry in self._entries:
            if entry.wanted.task_id == task_id and entry.hold is not None:
                return entry.hold.replica.name
        return None

    def has_died(self, name: str) -> bool:
        """Whether that replica was killed, or closed its store, and no other has its name yet."""
        replica = self._replicas.get(name)
        return replica is None or not replica.is_open

    def is_silent(self, name: str) -> bool:
        """Whether its heartbeat has stopped."""
        return self._replicas[name].silent

    @property
    def wanted(self) -> list[TurnWanted]:
        """Every turn that nobody has dealt with yet, in order; those that are out, too."""
        return [entry.wanted for entry in self._entries]

    # --- what a test does to replicas ---------------------------------------------------

    def kill(self, name: str, *, at_once: bool = False) -> None:
        """That replica is gone: nothing it still does reaches the store.

        What it asks for raises `StoreError`.  Its turns are handed out again when it has been
        silent for long enough, or `at_once`.
        """
        replica = self._replicas[name]
        replica.dead, replica.is_open = True, False
        if at_once:
            self._give_up(replica)
        else:
            self._expect(replica)

    def silence(self, name: str) -> None:
        """Its heartbeat stops, as if it had been stopped by a signal; what it writes arrives.

        Nothing is handed to it, no hint reaches it, and when that has lasted for `dead_after_s`
        its turns go to others, though they still run where they were.
        """
        replica = self._replicas[name]
        if not replica.silent:
            replica.silent = True
            self._expect(replica)

    def wake(self, name: str) -> None:
        """Its heart beats again."""
        replica = self._replicas[name]
        if replica.dead:
            return
        replica.silent = replica.doubts = False
        _forget(replica)
        self.hand_out()

    def _expect(self, replica: _Replica) -> None:
        """It is given up unless it is heard of."""
        if not replica.alarms and not replica.doubts:
            replica.alarms = [
                self._later(self.dead_after_s / 2, partial(self._doubt, replica)),
                self._later(self.dead_after_s, partial(self._give_up, replica)),
            ]

    def _doubt(self, replica: _Replica) -> None:
        replica.doubts = True

    def _give_up(self, replica: _Replica) -> None:
        _forget(replica)
        replica.doubts = True
        for hold in replica.holds:
            if not hold.is_stale:
                hold.entry.hold = None
        self.hand_out()

    # --- the queue ----------------------------------------------------------------------

    def want(self, turn: TurnWanted) -> None:
        """A turn is wanted: a commit said so."""
        self._numbers += 1
        not_before = 0.0 if turn.not_before is None else turn.not_before
        self._entries[_Entry(turn, self._numbers, not_before)] = None
        self.hand_out()

    async def want_again(self) -> None:
        """Want a turn of each task that is at work and has none."""
        after = ""
        while records := await self.tasks.unfinished(after):
            after = records[-1].task_id
            known = {entry.wanted.task_id for entry in self._entries}
            for record in records:
                if record.task_id not in known:
                    self.want(TurnWanted(record.task_id, record.epoch, _not_before(record)))

    def hand_out(self) -> None:
        """Hand out what can be, in order; called whenever something has changed."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for entry in self._could_begin():
            free = [each for each in self._replicas.values() if each.is_free]
            if not free:
                break
            self._hand(entry, self._chosen(free))
        now = self.clock.now()
        later = [e.not_before for e in self._entries if e.hold is None and e.not_before > now]
        if later:
            # The clock may be put forward, and its alarms do not notice.
            self._alarm = self._later(min(min(later) - now, ALARM_MAX_S), self.hand_out)

    def _could_begin(self) -> list[_Entry]:
        """What may be handed out now if there is a slot: one turn of each task."""
        now = self.clock.now()
        busy = {entry.wanted.task_id for entry in self._entries if entry.hold is not None}
        found: list[_Entry] = []
        for entry in self._entries:
            if entry.wanted.task_id not in busy and entry.not_before <= now:
                busy.add(entry.wanted.task_id)
                found.append(entry)
        return found

    def _chosen(self, free: Sequence[_Replica]) -> _Replica:
        if self._choose is not None:
            return self._replicas[self._choose([replica.name for replica in free])]
        return min(free, key=lambda replica: replica.turn_number)

    def _hand(self, entry: _Entry, replica: _Replica) -> None:
        hold = entry.hold = _Hold(replica, entry)
        replica.holds[hold] = None
        replica.turn_number = len(self.handed) + 1
        self.handed.append((replica.name, entry.wanted))
        loop = asyncio.get_running_loop()
        name = f"turn of {entry.wanted.task_id}"
        hold.task = loop.create_task(self._held(hold), name=name, context=replica.context.copy())

    async def _held(self, hold: _Hold) -> None:
        run = hold.replica.run
        assert run is not None
        over: bool | None = False
        try:
            over = await run(hold.entry.wanted)
            if over is False and not hold.replica.dead:
                record = await self.tasks.get(hold.entry.wanted.task_id)
                if record is not None and not hold.is_stale:
                    hold.entry.wanted = replace(hold.entry.wanted, epoch=record.epoch)
        except asyncio.CancelledError:
            self._give_back(hold, over=False)
            raise
        except Exception:  # noqa: BLE001  whoever runs turns is foreign code
            _log.exception("the turn of task %s ended with an error", hold.entry.wanted.task_id)
        self._give_back(hold, over=bool(over))

    def _give_back(self, hold: _Hold, *, over: bool) -> None:
        replica, entry = hold.replica, hold.entry
        if replica.dead:
            return  # Nobody hears of it.
        del replica.holds[hold]
        if hold.is_stale:
            pass  # It is somebody else's now, whatever came of it here.
        elif over:
            del self._entries[entry]
        else:
            entry.hold = None
            if not replica.resting:  # Or it might come straight back, again and again.
                entry.not_before = self.clock.now() + AGAIN_S
        self.hand_out()

    def waiting(self) -> int:
        """How many turns could begin now if there were slots."""
        return len(self._could_begin())

    # --- hints --------------------------------------------------------------------------

    def hint(self, task_id: str) -> None:
        """A task has moved: whoever listens is told, if hints arrive."""
        if self.drop_hints:
            return
        for replica in list(self._replicas.values()):
            if replica.hint is None:
                continue
            if self.hint_s:
                self._later(self.hint_s, partial(self._hint, replica, task_id))
            else:
                loop = asyncio.get_running_loop()
                loop.call_soon(self._hint, replica, task_id, context=replica.context.copy())

    def _hint(self, replica: _Replica, task_id: str) -> None:
        if replica.hint is not None and replica.is_open and not replica.silent:
            replica.context.copy().run(replica.hint, task_id)

    def _later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        """An alarm of nobody's, that outlives every replica."""
        return self._context.copy().run(self.clock.call_later, delay_s, callback)


def _forget(replica: _Replica) -> None:
    """Nothing comes of its silence any more."""
    for alarm in replica.alarms:
        alarm.cancel()
    replica.alarms = []


def _not_before(record: TaskRecord) -> float | None:
    """When the turn of a task may begin that is tried again later; None for at once."""
    if record.phase is not Phase.SUBMITTED:
        return None
    return next((t.due for t in record.timers() if t.kind is TimerKind.RETRY), None)


class MemoryTurns:
    """`Turns` of one replica of a `SharedMemory`."""

    def __init__(self, memory: SharedMemory, replica: _Replica) -> None:
        self._memory: Final = memory
        self._replica: Final = replica

    async def start(self, run: RunTurn, *, slots: int) -> None:
        """See `Turns.start`."""
        replica = self._replica
        replica.context = contextvars.copy_context()
        replica.run, replica.slots, replica.resting = run, slots, False
        await self._memory.want_again()
        self._memory.hand_out()

    async def rest(self) -> None:
        """See `Turns.rest`."""
        self._replica.resting = True

    async def stop(self) -> None:
        """See `Turns.stop`."""
        self._replica.resting = True
        # What a dead replica had may have ended, too, although nobody hears of that.
        while runs := [h.task for h in self._replica.holds if h.task and not h.task.done()]:
            await asyncio.wait(runs)
        self._replica.run = None

    async def waiting(self) -> int:
        """See `Turns.waiting`."""
        return self._memory.waiting()

    def is_sure(self) -> bool:
        """See `Turns.is_sure`: it doubts after half of the time, and while a stale run goes on."""
        replica = self._replica
        if replica.dead or replica.doubts:
            return False
        return not any(hold.is_stale for hold in replica.holds)


class SharedMemoryStore:
    """A `SharedStore`: the memory as one replica has it."""

    def __init__(self, memory: SharedMemory, replica: _Replica) -> None:
        self._memory: Final = memory
        self._replica: Final = replica
        self.turns: Final = MemoryTurns(memory, replica)

    def __repr__(self) -> str:
        return f"SharedMemoryStore({self._replica.name!r})"

    @property
    def name(self) -> str:
        """That of the replica."""
        return self._replica.name

    @property
    def clock(self) -> Clock:
        """See `SharedStore.clock`."""
        return self._memory.clock

    @property
    def _tasks(self) -> Store:
        """The memory, for those who live.

        Raises:
            StoreError: this replica was killed.
        """
        if self._replica.dead:
            raise StoreError(f"the replica {self._replica.name!r} was killed")
        return self._memory.tasks

    async def moved(self, seen: Mapping[str, int]) -> AbstractSet[str]:
        """See `SharedStore.moved`."""
        tasks = self._tasks
        found: set[str] = set()
        for task_id, seq in seen.items():
            record = await tasks.get(task_id)
            if record is None or record.seq != seq:
                found.add(task_id)
        return found

    def watched(self, task_id: str) -> bool:
        """See `SharedStore.watched`: nobody asks each time."""
        del task_id
        return True

    def on_hint(self, hint: Callable[[str], None] | None) -> None:
        """See `SharedStore.on_hint`."""
        self._replica.context = contextvars.copy_context()
        self._replica.hint = hint

    async def open(self) -> None:
        """See `Store.open`."""
        _ = self._tasks
        self._replica.context = contextvars.copy_context()
        self._replica.is_open = True

    async def close(self) -> None:
        """See `Store.close`; the others keep theirs."""
        self._replica.is_open = False
        self._replica.hint = None

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        await self._tasks.commit(replace(commit, turn=None))
        if commit.turn is not None:
            self._memory.want(commit.turn)
        self._memory.hint(commit.record.task_id)

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        return await self._tasks.get(task_id)

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        return await self._tasks.events(task_id, after, limit)

    async def page(self, query: TaskQuery) -> TaskPage:
        """See `Store.page`."""
        return await self._tasks.page(query)

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """See `Store.counts`."""
        return await self._tasks.counts(query)

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """See `Store.unfinished`."""
        return await self._tasks.unfinished(after, limit)

    async def open_tasks(self, owner: str) -> int:
        """See `Store.open_tasks`."""
        return await self._tasks.open_tasks(owner)

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """See `Store.due`."""
        return await self._tasks.due(now, after, limit)

    async def next_due(self, after: float) -> float | None:
        """See `Store.next_due`."""
        return await self._tasks.next_due(after)

    async def claim(self, owner: str, token: str) -> Claim | None:
        """See `Store.claim`."""
        return await self._tasks.claim(owner, token)

    async def put_watch(self, watch: Watch) -> None:
        """See `Store.put_watch`."""
        await self._tasks.put_watch(watch)

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        return await self._tasks.advance_watch(before, after)

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """See `Store.drop_watch`."""
        return await self._tasks.drop_watch(task_id, watch_id)

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        return await self._tasks.watches(task_id)

    async def behind(self, limit: int = 100) -> list[Watch]:
        """See `Store.behind`."""
        return await self._tasks.behind(limit)

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """See `Store.purge`."""
        purged = await self._tasks.purge(before, keep=keep, limit=limit)
        for task_id in purged:
            self._memory.hint(task_id)
        return purged

    async def forget(self, task_id: str) -> bool:
        """See `Store.forget`."""
        forgotten = await self._tasks.forget(task_id)
        if forgotten:
            self._memory.hint(task_id)
        return forgotten

    def quarantined(self) -> Mapping[str, str]:
        """See `Store.quarantined`."""
        return self._memory.tasks.quarantined()

    async def verify(self, lifecycle: Lifecycle = LIFECYCLE) -> list[str]:
        """See `Store.verify`."""
        return await self._tasks.verify(lifecycle)
