"""The world of one run: processes that live and die, clients, time, and the trace of it all."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from interlock._machine import Lifecycle
from interlock._memory import OPERATOR
from interlock._phases import Phase, Trigger
from interlock._record import Ask, TaskRecord
from interlock.testing.fuzz._drive_agents import Alive
from interlock.testing.fuzz._drive_clients import Clients
from interlock.testing.fuzz._drive_guards import Counted
from interlock.testing.fuzz._drive_log import Listener
from interlock.testing.fuzz._drive_process import CHANNEL, Process, Receiver
from interlock.testing.fuzz._drive_steer import SteeredTape
from interlock.testing.fuzz._faults import ALL_FAULTS, Disk, FaultyStore, WatchedClock
from interlock.testing.fuzz._faults_tools import FaultySource
from interlock.testing.fuzz._oracle_run import Broken, Oracle, Promise
from interlock.testing.fuzz._oracle_threads import check_threads
from interlock.testing.fuzz._outside import Outside
from interlock.testing.fuzz._report import Invariant
from interlock.testing.fuzz._sim import Simulation
from interlock.testing.fuzz._sim_own import OwnLocks
from interlock.testing.fuzz._target import Target
from interlock.tools import ToolSource

V = TypeVar("V")

#: Longer waits are skipped, all but for these seconds.
_SKIP_S: Final = 600.0
_NOT_SKIPPED_S: Final = 121.0
#: A longer time from one sweep of what is over to the next is not waited for.
_SWEPT_S: Final = 3_600.0
#: One run in so many has clients that help: without them hardly a life gets beyond its second ask.
_HELPS: Final = 3
#: Seconds until nothing more comes of a store that failed.
TROUBLE_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What all runs of one fuzzing have in common."""

    target: Target
    faults: frozenset[str]
    invariants: Sequence[Invariant]
    #: That of the target, which a factory may make anew each time.
    lifecycle: Lifecycle
    #: What of the target's modules each process has for itself.
    locks: OwnLocks = field(init=False, compare=False, repr=False)
    #: How many engines share a store; 1 for one engine that has its own.
    replicas: int = 1
    #: Keeps the tasks of replicas instead of a memory: the URL of a store; may hold a password.
    store: str | None = field(default=None, repr=False)
    #: The store that is meant.
    outside: Outside | None = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Find the locks."""
        object.__setattr__(self, "locks", OwnLocks(self.target.modules))
        if self.store is not None:
            object.__setattr__(self, "outside", Outside(self.store, self.lifecycle))

    def close(self) -> None:
        """Let go of the store; it is opened again when it is needed."""
        if self.outside is not None:
            self.outside.close()


def _some_of(faults: AbstractSet[str], tape: SteeredTape) -> frozenset[str]:
    """Most of the faults, another choice in each run; they are on the tape, and 0 is none.

    So a tape can be replayed without knowing which were switched on.
    """
    names = sorted(ALL_FAULTS)
    wanted = sum(
        1 << place for place, name in enumerate(names) if name in faults and tape.whims.randrange(4)
    )
    chosen = tape.towards(1 << len(names), [wanted])
    return frozenset(name for place, name in enumerate(names) if chosen >> place & 1)


class World(Clients):
    """The state of one run: the processes, what clients know, and the trace."""

    def __init__(self, plan: Plan, tape: SteeredTape, simulation: Simulation) -> None:
        self.counted: Final = Counted(plan.lifecycle)
        disk = self._disk_of(plan)
        super().__init__(disk, Oracle(disk, self.counted.lifecycle, plan.invariants))
        self.target: Final = plan.target
        self._locks: Final = plan.locks
        #: What may go wrong in this run.
        self.faults = _some_of(plan.faults, tape)
        self.tape: Final = tape
        #: Whether clients help in this run: they answer and approve, whatever else goes wrong.
        self.helps: Final = tape.is_drawn and tape.whims.randrange(_HELPS) == 0
        self.simulation: Final = simulation
        self.receiver: Final = Receiver(tape)
        self.listener: Final = Listener()
        #: How many tasks were submitted, or tried to be.
        self.submissions = 0
        #: The phase from which the run wants to go on.
        self.hint: Phase | None = None
        #: What it wants to happen there.
        self.aims: frozenset[Trigger] = frozenset()
        #: Whether commits may overtake each other in this run.
        self._reorders = "reorder" in self.faults and tape.chance(2)
        self._ids = 0
        #: Until when a store that failed may still hold something up.
        self.trouble_until = 0.0
        #: What agents raised that they did not mean, and how often.
        self.errors: Final[Counter[str]] = Counter()
        #: What is worth a word and fails nothing, and how often it was met.
        self.notes: Final[Counter[str]] = Counter()
        #: Whether a store ever failed.
        self.failed = False
        #: The processes that live, by name.
        self.processes: Final[dict[str, Process]] = {}

    def _disk_of(self, _plan: Plan) -> Disk:
        return Disk()

    # --- what moves see -----------------------------------------------------------------

    @property
    def process(self) -> Process:
        """The one that lives."""
        return self.processes[""]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is wrong with any store, and nothing is being written."""
        return all(process.is_quiet() for process in self.processes.values())

    def asks(self) -> list[tuple[TaskRecord, Ask]]:
        """Every open ask that is not an operator's, with its task."""
        asks = [(record, ask) for record in self.disk.records for ask in record.asks]
        return [(record, ask) for record, ask in asks if not ask.key.startswith(OPERATOR)]

    def stuck(self) -> list[tuple[TaskRecord, Ask]]:
        """Every ask that is an operator's, with its task."""
        asks = [(record, ask) for record in self.disk.records for ask in record.asks]
        return [(record, ask) for record, ask in asks if ask.key.startswith(OPERATOR)]

    def is_hinted(self, record: TaskRecord) -> bool:
        """Whether it is where the run wants to go on from."""
        return self.hint is None or record.phase is self.hint

    def choose(self, values: Sequence[V], wanted: Sequence[bool]) -> V:
        """One of the values, and of those that are wanted while the tape is drawn."""
        places = [place for place, is_wanted in enumerate(wanted) if is_wanted]
        return values[self.tape.towards(len(values), places)]

    def new_token(self) -> str:
        """A token for a submission that was never used."""
        self.submissions += 1
        return f"token-{self.submissions}"

    def submitted(self, record: TaskRecord) -> Promise:
        """What a submission that was accepted promises."""
        made = record.identity
        return Promise(made.task_id, "", self.counted.lifecycle.table[0].trigger, {}, made.task_id)

    # --- time, crashes and restarts -------------------------------------------------------

    async def elapse(self, seconds: float) -> None:
        """Time goes on; a long wait is skipped but for its end."""
        if seconds > _SKIP_S:
            await self.simulation.skip(seconds - _NOT_SKIPPED_S)
            seconds = _NOT_SKIPPED_S
        await self.simulation.advance(seconds)

    async def forgotten(self, *, reopens: bool = False) -> None:
        """So much time passes that whatever is over now is purged, if anything ever is.

        The engine sweeps every so often; and, with `reopens`, when it begins.
        """
        rule = self.process.engine.limits.retention
        ages = [rule.age_s] if rule.age_s is not None else []
        ages += [rule.at_least_s] if rule.tasks_max is not None else []
        if not ages:
            return
        await self.simulation.skip(max(ages))
        if reopens or rule.every_s > _SWEPT_S:
            await self.reopen()
        else:
            await self.simulation.advance(rule.every_s + 1.0)

    async def boot(self) -> None:
        """A process begins: it opens an engine on what is stored."""
        last = self.processes.get("")
        if last is not None:
            self._locks.renew()
        store = FaultyStore(
            self.disk, self.tape, reorders=self._reorders, kill=self.simulation.kill
        )
        await self._begin("", store, last)

    async def _begin(self, name: str, store: FaultyStore, last: Process | None) -> None:
        """The process of that name begins, in the place of another."""
        clock = WatchedClock(self.simulation.clock)
        if last is not None:
            clock.latest = last.clock.latest
        alive = Alive(self.errors, partial(self.agent_begins, name))
        engine = self.target.engine(
            store=store,
            clock=clock,
            new_id=self._new_id,
            deliverers={CHANNEL: self.receiver},
            lifecycle=self.counted.lifecycle,
            wrap=alive.wrap,
            source=self._around,
        )
        self.simulation.beats(engine.limits.retention.every_s)
        before = tuple(self.simulation.threads())
        self.processes[name] = Process(engine, store, clock, alive, name=name, before=before)
        self.simulation.restart(name)
        await self.simulation.within(engine.start(), name)

    def agent_begins(self, process: str, task_id: str) -> None:
        """An agent begins a run for a task, in that process."""

    def _around(self, source: ToolSource) -> ToolSource:
        return self._faulty(source) if "tool" in self.faults else source

    def _faulty(self, source: ToolSource) -> ToolSource:
        return FaultySource(source, self.tape, self.say)

    def _new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids:03}"

    async def crash(self) -> None:
        """The process is gone in this instant, if it is not so already, and another begins."""
        # Also if it is: clients may have called it since.
        self.simulation.kill()
        self._gone()
        self.oracle.look_at_all()
        self.oracle.check_promises()
        await self.boot()

    def _gone(self) -> None:
        """Nothing of the process counts any more."""
        self.process.store.dead = True
        self.process.clock.silence()
        self.hang_up()

    async def reopen(self) -> None:
        """Close the engine, and open another one."""
        if await self.drained():
            await self.boot()
        else:
            await self.crash()

    async def drained(self) -> bool:
        """Close the engine; time goes on while it waits for turns.  False if its process died.

        Raises:
            Broken: it does not close, or somebody still waits for it.
        """
        self.note_trouble()
        process = self.process
        if process.store.dead:
            return False  # While time passed: nothing of it is left to be closed.
        process.store.slow_s, process.store.fails = 0.0, False
        draining = self.task_of(process, process.engine.drain())
        for _ in range(8):
            await self.simulation.settle()
            if draining.done() or process.store.dead:
                break
            limits = process.engine.limits
            await self.simulation.advance(max(limits.drain_s, limits.grace_s) + 1.0)
        if process.store.dead:
            return False
        if not draining.done():
            raise Broken("drain", "the engine does not close")
        draining.result()
        await self.simulation.settle()
        self.check_answered(of=process.name)
        self.check_threads_of(process)
        return True

    def check_threads_of(self, process: Process) -> None:
        """See `check_threads`."""
        threads = self.simulation.threads()
        own = [thread for thread in threads if thread.process.name == process.name]
        check_threads(process, self.disk, own)

    def task_of(self, process: Process, work: Coroutine[Any, Any, V]) -> "asyncio.Future[V]":
        """Begin something in that process, the only one that there is."""
        del process
        return asyncio.get_running_loop().create_task(work)

    def note_trouble(self) -> None:
        """What a store held up goes on a while after it works again."""
        if not self.is_quiet:
            self.trouble_until = max(self.trouble_until, self.simulation.now + TROUBLE_S)
            fails = any(process.store.fails for process in self.processes.values())
            self.failed = self.failed or fails
