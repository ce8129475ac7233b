"""A run with several engines on one store: each a process of its own, that dies or only seems to.

Requests of a life go to any of them.  Whose turn it is says a queue that keeps the promises of
`Turns`; everything is checked that is checked with one engine, and what replicas must keep beside.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

from interlock._event import AGENT
from interlock._phases import OUTCOMES, OVER, Phase, Trigger
from interlock._record import Queued, TaskRecord
from interlock._replica import LOOK_S, TIDY_S
from interlock._runtime import LEFT_S
from interlock.testing._shared_memory import AGAIN_S, SharedMemory
from interlock.testing.fuzz._drive import Run
from interlock.testing.fuzz._drive_clients import Promising
from interlock.testing.fuzz._drive_process import Process
from interlock.testing.fuzz._drive_steer import SteeredTape
from interlock.testing.fuzz._drive_world import TROUBLE_S, Plan
from interlock.testing.fuzz._faults import Disk
from interlock.testing.fuzz._moves import Kind
from interlock.testing.fuzz._oracle_run import FORGOTTEN_S, Broken, not_running
from interlock.testing.fuzz._outside import OutsideDisk
from interlock.testing.fuzz._replicas_moves import REPLICA_FAULTS, REPLICA_KINDS
from interlock.testing.fuzz._replicas_store import ReplicaStore, WatchedSource
from interlock.testing.fuzz._sim import Simulation
from interlock.tools import ToolSource

V = TypeVar("V")

#: With which a process takes up the turn of a task.
_TAKES: Final = frozenset({Trigger.START, Trigger.CLAIM, Trigger.RECOVER})
#: Seconds of silence after which a replica is taken for dead.
DEAD_AFTER_S: Final = 10.0
#: Seconds in which every replica has seen what was committed, also without hints.
SEEN_S: Final = 2 * LOOK_S + AGAIN_S + 1.0
#: Seconds in which somebody has tidied up after one that is gone.
TIDIED_S: Final = 3 * TIDY_S + SEEN_S


class ReplicaRun(Run):
    """Moves a world about in which several engines share a store."""

    kinds: ClassVar[Sequence[Kind]] = REPLICA_KINDS

    def __init__(self, plan: Plan, tape: SteeredTape, simulation: Simulation) -> None:
        super().__init__(plan, tape, simulation)
        names = [f"replica-{number + 1}" for number in range(plan.replicas)]
        self._names: Final = names
        #: Whom the driver is dealing with.
        self._at = names[0]
        self.faults = self.faults | _some_of(plan.faults, tape)
        self.memory: Final = SharedMemory(
            simulation.clock, dead_after_s=DEAD_AFTER_S, tasks=self.disk, choose=self._taker
        )
        simulation.beats(LOOK_S)
        self._stores: Final[dict[str, ReplicaStore]] = {}
        #: Processes that are stopped just now.
        self._frozen: Final[set[str]] = set()
        #: Where agents were begun, by task and epoch.
        self._began: Final[dict[tuple[str, int], str]] = {}
        #: How often each call was really begun, by task and token.
        self._begun: Final[Counter[tuple[str, str]]] = Counter()
        #: When something was last written, and the number of writes then.
        self._wrote_at, self._writes = 0.0, 0

    def _disk_of(self, plan: Plan) -> Disk:
        return Disk() if plan.outside is None else OutsideDisk(plan.outside)

    def _taker(self, names: Sequence[str]) -> str:
        return self.tape.pick(sorted(names)) if len(names) > 1 else names[0]

    @property
    def process(self) -> Process:
        """That which is at work; for the driver, whichever it deals with."""
        return self.processes[self.simulation.process or self._at]

    # --- life and death -----------------------------------------------------------------

    async def boot(self) -> None:
        """Begin the replica that the driver deals with, or all that there are at first."""
        if self.processes:
            await self._boot(self._at)
            return
        for name in self._names:
            await self._boot(name)

    async def _boot(self, name: str) -> None:
        view = self.memory.store(name)
        kill = partial(self._kill, name)
        freeze = partial(self._freeze, name)
        store = ReplicaStore(view, self.tape, reorders=self._reorders, kill=kill, freeze=freeze)
        self._stores[name] = store
        self._frozen.discard(name)
        await self._begin(name, store, self.processes.get(name))

    def _kill(self, name: str) -> None:
        """The process of that name is gone, for its store as for everybody."""
        if not self.memory.has_died(name):
            self.memory.kill(name)
        self.expect_trouble()
        self.simulation.kill(name)

    def store_of(self, name: str) -> ReplicaStore:
        """The store of the process of that name."""
        return self._stores[name]

    def _freeze(self, name: str) -> None:
        """The process of that name stops, its heart as well."""
        self._frozen.add(name)
        self.simulation.freeze(name)
        self.memory.silence(name)
        self.expect_trouble()

    async def _thaw(self, name: str) -> None:
        """It goes on; perhaps only when its turns have gone to others."""
        late = self.tape.pick((DEAD_AFTER_S + 1.0, 2 * DEAD_AFTER_S, DEAD_AFTER_S, 1.0))
        self.say(f"({name} is stopped for {late:.0f} s)")
        await self.simulation.advance(late)
        if name in self._frozen:
            self._frozen.discard(name)
            self.simulation.thaw(name)
            self.memory.wake(name)
            self.expect_trouble()
            await self.simulation.settle()

    def expect_trouble(self) -> None:
        """It takes a while until somebody else has taken over."""
        self.trouble_until = max(self.trouble_until, self.simulation.now + DEAD_AFTER_S + TROUBLE_S)

    async def crash(self) -> None:
        """The replica that the driver deals with is gone, and another begins in its place."""
        name = self._at
        self._frozen.discard(name)
        self._kill(name)
        self.processes[name].store.dead = True
        self.processes[name].clock.silence()
        for follower in self.followers:
            if follower.process == name:
                follower.connected = False
        await self.simulation.settle()
        self.oracle.look_at_all()
        self.oracle.check_promises()
        await self._boot(name)

    async def bury(self) -> None:
        """Begin another process wherever one has died in a commit."""
        for name in self._names:
            if name in self._frozen:
                await self._thaw(name)
            if self.processes[name].store.dead:
                self._at = name
                self.say(f"({name} dies, and another begins)")
                await self.crash()
                await self.simulation.settle()

    def heal(self) -> None:
        """Nothing goes wrong with stores, heartbeats and hints any more."""
        super().heal()
        for store in self._stores.values():
            store.freezes_in = None
        self.memory.drop_hints, self.memory.hint_s = False, 0.0
        for name in self._names:
            if not self.memory.has_died(name):
                self.memory.wake(name)

    def task_of(self, process: Process, work: Coroutine[Any, Any, V]) -> "asyncio.Future[V]":
        """See `World.task_of`: it ends with the process."""
        return self.simulation.within(work, process.name)

    async def drained(self) -> bool:
        """See `World.drained`; one that is stopped goes on before that."""
        if self._at in self._frozen:
            await self._thaw(self._at)
        self._stores[self._at].freezes_in = None
        return await super().drained()

    async def all_drained(self) -> None:
        """Close every engine, one after the other."""
        for name in self._names:
            self._at = name
            await self.drained()

    # --- what is checked ----------------------------------------------------------------

    async def _move(self) -> None:
        self._at = self.tape.pick(self._names)
        await super()._move()

    def request(
        self,
        step: int,
        call: Callable[[], Awaitable[TaskRecord]],
        *,
        promise: Promising = None,
        must_fail: str | None = None,
        until: float = math.inf,
    ) -> None:
        """See `Clients.request`; the trace says whom."""
        if len(self._names) > 1:
            self.steps[step] += f" (at {self.process.name})"
        super().request(step, call, promise=promise, must_fail=must_fail, until=until)

    def agent_begins(self, process: str, task_id: str) -> None:
        """See `World.agent_begins`: in each epoch it is begun by one process at most (I23)."""
        runtime = self.processes[process].runtime
        cell = None if runtime is None else runtime.writer.at_hand(task_id)
        if cell is None:
            return  # It was forgotten meanwhile, and this run comes to nothing.
        epoch = cell.record.epoch
        if (other := self._began.setdefault((task_id, epoch), process)) != process:
            words = f"{task_id}: {other} and {process} both begin its agent in epoch {epoch}"
            self.met.append(Broken("I23", words))

    def _check_writers(self) -> None:
        """Check that what an agent reports is written by who took up its turn.

        Raises:
            Broken: a former holder has written something (I17).
        """
        for task_id in self.disk.changed:
            kept = self.disk.kept(task_id)
            holder: str | None = None
            for event in () if kept is None else kept[1]:
                writer = self.disk.writers[task_id, event.seq]
                if event.trigger in _TAKES:
                    holder = writer
                elif event.dest is Phase.SUBMITTED:
                    holder = None
                elif event.actor == AGENT and holder not in {None, writer}:
                    words = f"event {event.seq} is of {writer}, and {holder} has the turn"
                    raise Broken("I17", f"{task_id}: {words}")

    def _look(self) -> None:
        self._check_writers()
        if isinstance(self.disk, OutsideDisk):
            for differs in self.disk.differs:
                raise Broken("store", differs)
        super()._look()

    async def _close(self) -> None:
        await super()._close()
        if isinstance(self.disk, OutsideDisk):
            for finding in self.disk.check_whole():
                raise Broken("store", finding)

    async def check_still(self) -> None:
        """Raise what is broken while nothing moves, and everybody has had the time to see it."""
        now = self.simulation.now
        if self.disk.writes != self._writes:
            self._writes, self._wrote_at = self.disk.writes, now
        self.check_all_threads()
        if now - self._wrote_at >= SEEN_S:
            self._check_tasks(idle_s=now - self._wrote_at)
            self.check_answered()
            self.check_followers(still=True)
        for process in self.processes.values():
            await self.check_gone(process)

    def _check_tasks(self, *, idle_s: float) -> None:
        """Check what each task is, and who holds what of it.

        Raises:
            Broken: a task should go on and does not, or something is held for what is over.
        """
        for record in self.disk.records:
            for process in self.processes.values():
                self._check_held(process, record)
            self._check_goes_on(record, idle_s)

    def _check_held(self, process: Process, record: TaskRecord) -> None:
        task_id, runtime = record.task_id, process.runtime
        assert runtime is not None
        cell = runtime.writer.at_hand(task_id)
        where = f"{task_id} at {process.name}"
        given_up = [turn for turn in runtime.abandoned if turn.task_id == task_id]
        if cell is not None and cell.record != record:
            raise Broken("I24", f"{where}: it is not known what others did")
        if cell is not None and cell.inbox and not cell.busy:
            raise Broken("inbox", f"{where}: nobody empties its inbox")
        turn = None if cell is None else cell.turn
        if record.phase is Phase.FINALIZED and turn is not None:
            raise Broken("I21", f"{where}: it is finalized and has a turn")
        if process.alive.turns[task_id] > 1 and not given_up:
            raise Broken("turns", f"{where}: two turns of it are alive")

    def _check_goes_on(self, record: TaskRecord, idle_s: float) -> None:
        task_id = record.task_id
        turns = {
            process.name: cell.turn
            for process in self.processes.values()
            if process.runtime is not None
            and (cell := process.runtime.writer.at_hand(task_id)) is not None
            and cell.turn is not None
        }
        if len(turns) > 1:
            raise Broken("I23", f"{task_id}: {' and '.join(turns)} both run it")
        turn = next(iter(turns.values()), None)
        can_begin = self._can_begin()
        if record.phase is Phase.RUNNING and (turn is not None or can_begin):
            for kind, words in not_running(turn, record):
                raise Broken(kind, f"{task_id}: {words}")
        watched = any(
            process.runtime is not None and process.runtime.courier.pending(task_id)
            for process in self.processes.values()
        )
        ended = turn is None or turn.over
        # What is owed for it may be somebody's who takes long over it, and is left to them so long.
        tidied_s = TIDIED_S + (LEFT_S if self.disk.owes(task_id) else 0.0)
        if record.phase in OUTCOMES and not watched and ended and idle_s > tidied_s:
            raise Broken("I21", f"{task_id}: it is over, and nobody finalizes it")
        now = self.process.clock.now()
        if record.due is not None and record.due + FORGOTTEN_S < now and record.phase not in OVER:
            raise Broken("timer", f"{task_id}: its deadline passed {now - record.due:.0f} s ago")
        slots = self.process.engine.limits.running_turns_max
        running = sum(each.phase is Phase.RUNNING for each in self.disk.records)
        waits = isinstance(record.details, Queued) and record.details.not_before is None
        if waits and running < slots and can_begin:
            raise Broken("start", f"{task_id}: it waits for a slot although one is free")

    def _can_begin(self) -> bool:
        """Whether there is anybody to hand a turn to: not while every heart has stopped."""
        return any(
            not self.memory.has_died(name) and not self.memory.is_silent(name)
            for name in self._names
        )

    def _around(self, source: ToolSource) -> ToolSource:
        return WatchedSource(super()._around(source), self.disk, self._begun, self.met)


def _some_of(faults: frozenset[str], tape: SteeredTape) -> frozenset[str]:
    """Most of the faults that replicas have; they are on the tape, and 0 is none."""
    names = sorted(REPLICA_FAULTS)
    wanted = sum(
        1 << place for place, name in enumerate(names) if name in faults and tape.whims.randrange(4)
    )
    chosen = tape.towards(1 << len(names), [wanted])
    return frozenset(name for place, name in enumerate(names) if chosen >> place & 1)


def kind_of_run(plan: Plan) -> type[Run] | None:
    """What runs a plan."""
    return ReplicaRun if plan.replicas > 1 or plan.store is not None else None
