"""What an engine does where others share its store: one of several replicas.

Three things, all driven by the store.  It runs the turns that are handed to it (`Turns`),
each after a claim in the log.  It looks at what others did to the tasks that are alive
here, told by hints and every so often of itself.  And it tidies up after others that are
gone: ends that nobody finalized, deliveries that nobody makes.  It is long because these
three look at the same few facts of a task, whose order in time is what matters.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from interlock._admission import Admission
from interlock._cell import EVENTS_KEPT_MAX, Cell, Post
from interlock._clock import Alarm, Clock, rung
from interlock._effects import ResumeTurn, StartTurn, StopTurn
from interlock._event import ENGINE, Data, Event
from interlock._machine import Lifecycle, Move
from interlock._phases import AT_WORK, OVER, WAITING, Phase, Trigger
from interlock._record import Queued, TaskRecord
from interlock._shared import SharedStore
from interlock._store import TurnWanted
from interlock._turn import Turn
from interlock._writer import Writer
from interlock.errors import NotAccepting, Refused, StoreCorrupt, StoreError, UnknownTask
from interlock.models import Limits

#: Seconds between two looks at what others did, whether or not there was a hint.
LOOK_S: Final = 0.5
#: Seconds between two looks for what others left undone, and how old that must be at least.
TIDY_S: Final = 10.0
#: Seconds after which the deadlines are looked at again: others set some of which only the
#: store knows here.
DEADLINES_S: Final = 1.0

#: Seconds after which a back-off that should be over is looked at again: if the store's clock was
#: behind, it may have been set right.
DUE_S: Final = 10.0

#: Seconds for which a task whose agent is not here is passed on before it is taken up all the
#: same: while no other replica is at work, and at the most.  One that has the agent may be busy,
#: by default for no longer than an hour with each turn (`Limits.run_s`).
STRANGER_S: Final = 60.0
STRANGER_MAX_S: Final = 7_200.0
#: Seconds between two times that it is passed on.
PASS_ON_S: Final = 1.0
#: Such tasks that are remembered.
STRANGERS_MAX: Final = 10_000

#: Moves with which whoever makes them takes the turn of the task.
_CLAIMS: Final = frozenset({Trigger.START, Trigger.CLAIM, Trigger.RECOVER})
#: Moves with which whoever makes them takes the turn of the task, or gives it up for good.
_TAKES: Final = _CLAIMS | {Trigger.ABANDON}

_log: Final = logging.getLogger("interlock.replica")


class Hands(Protocol):
    """What a replica needs of the runtime, which does what follows from what it finds out."""

    def stop_turn(self, cell: Cell) -> None:
        """Stop its turn, or say that there is none."""

    def resume_turn(self, cell: Cell) -> None:
        """Every ask is closed."""

    def recovery(self, record: TaskRecord) -> tuple[Trigger, Data]:
        """Bring back a turn whose holder is gone."""
        ...

    def has_agent(self, submitted: Event) -> bool:
        """Whether the agent of the task that begins so is here."""
        ...

    def released(self, task_id: str) -> None:
        """The task is over: let go of what is held for it."""

    async def tidy(self, seen: Callable[[TaskRecord], None]) -> None:
        """Do what another replica has left undone for so long that it must be gone.

        `seen` is told of each task that is at work, or wants to be.
        """


class Replica:
    """The part of a runtime that knows of others."""

    def __init__(
        self,
        store: SharedStore,
        clock: Clock,
        limits: Limits,
        lifecycle: Lifecycle,
        admission: Admission,
        hands: Hands,
        *,
        takes_turns: bool,
    ) -> None:
        self._takes_turns: Final = takes_turns
        self._store: Final = store
        self._clock: Final = clock
        self._limits: Final = limits
        self._lifecycle: Final = lifecycle
        self._admission: Final = admission
        self._hands: Final = hands
        self._writer: Writer
        self._is_open = False
        #: Tasks whose turn is out here, from its hand-out on.
        self._out: Final[set[str]] = set()
        #: Tasks whose agent is not here, the epoch in which they were handed out to this process,
        #: and since when: in another one somebody has taken them up meanwhile.
        self._strangers: Final[dict[str, tuple[int, float]]] = {}
        #: When another replica was last seen at work.
        self._others_at = float("-inf")
        #: Tasks of which a hint came since the last look.
        self._hinted: Final[dict[str, None]] = {}
        self._look: asyncio.Task[None] | None = None
        self._alarm: Alarm | None = None
        self._tidied_at = 0.0
        self._tidying: asyncio.Task[None] | None = None
        #: Takes up no turn any more.
        self._resting = False
        #: Waits for no turn any more.
        self._leaving = False

    # --- its own life -----------------------------------------------------------------

    async def open(self, writer: Writer) -> None:
        """Take up turns, unless others are to, and look at what others do."""
        self._writer = writer
        self._is_open = True
        self._tidied_at = self._clock.now()
        self._store.on_hint(self._hint)
        self._again()
        if self._takes_turns:
            await self._store.turns.start(self._run, slots=self._limits.running_turns_max)

    async def rest(self) -> None:
        """Take up nothing more."""
        self._resting = True
        await self._store.turns.rest()
        for cell in self._writer.cells():
            cell.tell()

    async def close(self) -> None:
        """Hand over what does not end here, and look no more."""
        self._resting = self._leaving = True
        if not self._is_open:
            return
        for cell in self._writer.cells():
            cell.tell()
        await self._store.turns.stop()
        self._store.on_hint(None)
        if self._alarm is not None:
            self._alarm.cancel()
        if self._tidying is not None:
            self._tidying.cancel()  # It may have long to read, and others do it as well.
        busy = [task for task in (self._look, self._tidying) if task is not None]
        if busy:
            await asyncio.wait(busy)

    # --- turns ------------------------------------------------------------------------

    async def _run(self, wanted: TurnWanted) -> bool | None:
        """See `RunTurn`."""
        try:
            cell = await self._writer.cell(wanted.task_id)
        except UnknownTask:
            return True  # It was purged.
        except StoreCorrupt as error:
            _log.error("its turn is not run: %s", error)
            return True
        with self._writer.keeping(cell):
            while wanted.task_id in self._out:  # It was handed out twice to this very process.
                await cell.change()
            self._out.add(wanted.task_id)
            try:
                if not await self._can_run(cell):
                    return None
                claimed = await self._is_claimed(cell, wanted)
                if claimed is None:
                    return False
                if not claimed:
                    return None if self._resting and _is_to_run(cell) else True
                while self._goes_on(cell):
                    await cell.change()
                # Whoever took it from here has it, and needs nothing of this process.
                return not cell.held or cell.record.phase not in AT_WORK
            finally:
                cell.held = False
                self._out.discard(wanted.task_id)
                self._admission.forget(wanted.task_id)
                cell.tell()  # It may be out twice.

    async def _can_run(self, cell: Cell) -> bool:
        """Whether its agent is here; if not, others get some time to take it up."""
        record = cell.record
        if record.phase is Phase.CANCELLING:
            return True  # It needs none.
        try:
            begun = await self._first(cell)
        except StoreCorrupt:
            return True  # Whoever runs it says so.
        if begun is None or self._hands.has_agent(begun):
            return True
        now = self._clock.now()
        epoch, since = self._strangers.get(record.task_id, (-1, now))
        waits_s = now - max(since, self._others_at)
        if epoch == record.epoch and (waits_s > STRANGER_S or now - since > STRANGER_MAX_S):
            del self._strangers[record.task_id]
            return True  # Nobody has it: then an operator is asked.
        if epoch != record.epoch:
            self._strangers[record.task_id] = (record.epoch, now)
            _log.warning("task %s: its agent is not here, and it is left to others", record.task_id)
        if len(self._strangers) > STRANGERS_MAX:
            del self._strangers[next(iter(self._strangers))]
        pause, alarm = rung(self._clock, PASS_ON_S)
        while not (pause.done() or self._resting):
            await _either(pause, cell)
        alarm.cancel()
        return False

    def _saw(self, record: TaskRecord) -> None:
        """Note whether it is another replica that has the turn of a task."""
        cell = self._writer.at_hand(record.task_id)
        is_here = cell is not None and cell.held
        # It may be nobody's: one that is passed on says nothing of others.
        epoch, _ = self._strangers.get(record.task_id, (-1, 0.0))
        if record.phase in AT_WORK and not is_here and epoch != record.epoch:
            self._others_at = self._clock.now()

    async def _first(self, cell: Cell) -> Event | None:
        """How the task began; its log is at hand from then on, for its turn, if it is short."""
        events = cell.events
        if events is None:
            is_short = cell.record.seq <= EVENTS_KEPT_MAX
            task_id = cell.record.task_id
            events = await self._store.events(task_id, 0, None if is_short else 1)
            if is_short and len(events) == cell.record.seq:
                cell.events = events
        return events[0] if events else None

    def took(self, cell: Cell, moves: Sequence[Move]) -> None:
        """These moves are durable: with a claim among them the turn is this process's."""
        if _claims(moves):
            cell.held = True

    async def _is_claimed(self, cell: Cell, wanted: TurnWanted) -> bool | None:
        """Write down that it is this process that runs the turn; False if none is to be run.

        None: that may be written yet, and if it is, nobody died of it.
        """
        first = cell.record
        if isinstance(first.details, Queued) and first.details.not_before != wanted.not_before:
            return False  # Left over from the attempt before: the next has a turn of its own.
        # Somebody had taken it up before it was handed out, and has it no more.
        is_lost = first.phase is Phase.RUNNING and first.epoch != wanted.epoch
        while not self._resting:
            await self._due(cell)
            if self._resting:
                break
            done: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()
            choose = partial(self._claim, is_lost)
            self._writer.post(cell, Post(choose, ENGINE, done, insists=True))
            while not (done.done() or self._leaving):
                await _either(done, cell)
            if not done.done():
                return False if is_lost else None  # The store is away, or slow.
            try:
                done.result()
            except Refused as refusal:
                if isinstance(cell.record.details, Queued):
                    _log.debug("its back-off is not over: %s", refusal)
                    continue
                return False
            except (NotAccepting, UnknownTask):
                break  # It is closed here, or the task was purged.
            return True
        return False

    async def _due(self, cell: Cell) -> None:
        """Wait for the rest of a back-off, or for a while: the clock of the queue may be ahead."""
        details = cell.record.details
        if not isinstance(details, Queued) or details.not_before is None:
            return
        left_s = details.not_before - self._clock.now()
        if left_s > 0:
            over, alarm = rung(self._clock, min(left_s, DUE_S))
            await _either(over, cell)
            alarm.cancel()

    def _claim(self, is_lost: bool, record: TaskRecord) -> tuple[Trigger, Data]:  # noqa: FBT001
        match record.phase:
            case Phase.SUBMITTED:
                return Trigger.START, {"run_s": self._limits.run_s}
            case Phase.RUNNING if is_lost:
                return self._hands.recovery(record)
            case Phase.CANCELLING:
                return Trigger.RECOVER, {"run_s": self._limits.run_s}
            case _:
                return Trigger.CLAIM, {"epoch": record.epoch}  # Refused while nothing is to be run.

    def _goes_on(self, cell: Cell) -> bool:
        """Whether anything of the task still runs here, or is about to."""
        if not cell.held:
            return False
        if self._leaving:
            return cell.busy  # What it comes to says whether the turn is wanted elsewhere.
        if cell.turn is not None or cell.busy or cell.inbox:
            return True
        return cell.record.phase in AT_WORK and not self._resting

    def wanted(self, cell: Cell, record: TaskRecord, moves: Sequence[Move]) -> TurnWanted | None:
        """See `_writer.Others`: a turn, unless it is this process that has it."""
        mine = _claims(moves) or (cell.held and self._store.turns.is_sure())
        if mine and not isinstance(record.details, Queued):
            return None
        return turn_after(record, moves)

    def watched(self, task_id: str) -> bool:
        """See `_writer.Others`."""
        return self._store.watched(task_id)

    async def sure(self, cell: Cell, turn: Turn) -> bool:
        """Whether the task is still this turn's, before something that cannot be taken back."""
        while not self._store.turns.is_sure():
            try:
                await self._writer.cell(cell.record.task_id)
            except UnknownTask:
                return False
            except StoreError as error:
                _log.warning("task %s: %s", cell.record.task_id, error)
                await rung(self._clock, LOOK_S)[0]
                continue
            break
        return cell.turn is turn and not turn.fenced

    # --- what others did --------------------------------------------------------------

    def caught_up(self, cell: Cell, fresh: TaskRecord, events: Sequence[Event]) -> None:
        """See `_writer.Others`."""
        before, turn = cell.record, cell.turn
        if any(event.trigger in _TAKES for event in events) or fresh.phase in OVER:
            # Whoever wrote that has the turn now, or there is none any more.
            cell.held = False
            cell.turn = None
            if turn is not None:
                turn.fence()
        elif turn is not None:
            for event in events:
                turn.hear(self._lifecycle.follow(turn.record, event), event)
        cell.record = fresh
        if cell.events is not None:
            cell.events.extend(events)
            if len(cell.events) > EVENTS_KEPT_MAX:
                cell.events = None
        self._admission.moved(before.phase, fresh)
        if not cell.held:
            self._admission.forget(fresh.task_id)  # It takes a slot where it runs.
        if fresh.phase in OVER:
            self._hands.released(fresh.task_id)
        if cell.held:
            self._act(cell, cell.turn, before)

    def _act(self, cell: Cell, turn: Turn | None, before: TaskRecord) -> None:
        """What it means for the turn that this process has."""
        phase = cell.record.phase
        if phase is Phase.CANCELLING and before.phase is not Phase.CANCELLING:
            self._hands.stop_turn(cell)
        elif phase is Phase.RUNNING and before.phase is not Phase.RUNNING:
            self._hands.resume_turn(cell)
        elif phase in WAITING and turn is not None:
            turn.rest()

    def _hint(self, task_id: str) -> None:
        if self._writer.at_hand(task_id) is not None:
            self._hinted[task_id] = None
            if self._look is None and not self._leaving:
                self._begin(self._looked(list(self._hinted)))
                self._hinted.clear()

    def _again(self) -> None:
        self._alarm = self._clock.call_later(LOOK_S, self._ring)

    def _ring(self) -> None:
        if self._leaving:
            return
        if self._look is None:
            self._begin(self._looked(None))
        if self._tidying is None and self._clock.now() - self._tidied_at >= TIDY_S:
            self._tidied_at = self._clock.now()
            self._tidying = asyncio.get_running_loop().create_task(self._tidied(), name="tidy")
        self._again()

    async def _tidied(self) -> None:
        try:
            await self._hands.tidy(self._saw)
        except StoreError as error:
            _log.warning("what others left undone cannot be seen now: %s", error)
        except Exception:  # noqa: BLE001  a store is foreign code; the looks go on
            _log.exception("the store raised what it must not")
        finally:
            self._tidying = None

    def _begin(self, look: "Awaitable[None]") -> None:
        self._look = asyncio.ensure_future(look)
        self._look.add_done_callback(self._ended)

    def _ended(self, _look: "asyncio.Future[None]") -> None:
        self._look = None
        if self._hinted and not self._leaving:
            hinted = list(self._hinted)
            self._hinted.clear()
            self._begin(self._looked(hinted))

    async def _looked(self, task_ids: Sequence[str] | None) -> None:
        """See what others did to these tasks, or to all that are alive here."""
        try:
            if task_ids is None:
                cells = self._writer.cells()
                self._admission.elsewhere = await self._store.turns.waiting()
            else:
                at_hand = map(self._writer.at_hand, task_ids)
                cells = [cell for cell in at_hand if cell is not None]
            seen = {cell.record.task_id: cell.record.seq for cell in cells if not cell.busy}
            for task_id in sorted(await self._store.moved(seen)) if seen else ():
                cell = self._writer.at_hand(task_id)
                if cell is not None:
                    self._writer.look_at(cell)
        except StoreError as error:
            _log.warning("what others did cannot be seen now: %s", error)
        except Exception:  # noqa: BLE001  a store is foreign code; the looks go on
            _log.exception("the store raised what it must not")


async def _either(done: "asyncio.Future[Any]", cell: Cell) -> None:
    """Wait for that, or until something happens to the task."""
    change = cell.change()
    await asyncio.wait([done, change], return_when=asyncio.FIRST_COMPLETED)
    change.cancel()


def _claims(moves: Sequence[Move]) -> bool:
    """Whether whoever makes them takes the turn of the task."""
    return any(move.event.trigger in _CLAIMS for move in moves)


def _is_to_run(cell: Cell) -> bool:
    """Whether somebody has to do something about the task, or may have to in a moment."""
    return cell.busy or cell.record.phase is Phase.SUBMITTED or cell.record.phase in AT_WORK


def turn_after(record: TaskRecord, moves: Sequence[Move]) -> TurnWanted | None:
    """The turn that a task wants after these moves, if it is nobody's who makes them."""
    if isinstance(record.details, Queued):
        return TurnWanted(record.task_id, record.epoch, record.details.not_before)
    if record.phase not in AT_WORK:
        return None
    for move in moves:
        if any(isinstance(e, StartTurn | ResumeTurn | StopTurn) for e in move.effects):
            return TurnWanted(record.task_id, record.epoch)
    return None
