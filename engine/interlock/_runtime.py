"""What is alive while an engine is open: it acts on what was committed.

Every effect of the table is carried out here and nowhere else: turns are started,
resumed and stopped, deadlines and deliveries are kept, tasks wait for slots and are let
go of.  It is made when the engine opens and thrown away when it closes.  It is long
because whatever acts has to be here.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, assert_never

from interlock._admission import Admission
from interlock._agent import Agents
from interlock._alarms import Alarms
from interlock._cell import Cell, Choice, Post, always
from interlock._clock import Alarm, Clock, give_way, rung
from interlock._conclusion import conclusion, log_failure, operator_ask, turned_away
from interlock._effects import (
    ArmTimer,
    DisarmTimer,
    Effect,
    Publish,
    Release,
    ResumeTurn,
    StartTurn,
    StopTurn,
    TimerKind,
)
from interlock._event import AGENT, ENGINE, TIMER, Data, Event, Signal
from interlock._machine import Lifecycle, Move
from interlock._memory import OPERATOR, Memory
from interlock._observer import Told, TurnOutcome, TurnSeen, TurnWatch, committed
from interlock._outbox import Courier, Deliverer, DeliveryLimits
from interlock._payload import NothingLeft, Recovered, Started
from interlock._phases import OUTCOMES, OVER, WAITING, Phase, Trigger
from interlock._record import TIMER_TRIGGER, Active, Stopping, TaskRecord
from interlock._replica import DEADLINES_S, TIDY_S, Replica, turn_after
from interlock._retention import Sweeper
from interlock._shared import shared
from interlock._store import Commit, Store, TaskQuery, whole_log
from interlock._threaded import Raised, TurnEnd
from interlock._toolbox import Toolbox
from interlock._turn import Turn
from interlock._writer import STORE_RETRY_S, Writer
from interlock.errors import (
    EngineBug,
    EngineError,
    Refused,
    ResultInvalid,
    StoreCorrupt,
    StoreError,
    TaskParked,
    TaskStopped,
    UnknownTask,
)
from interlock.models import Limits

#: Rounds of the event loop from the answer to a submission until its agent begins: what the
#: agent does at first would keep the answer from being sent.
ANSWER_ROUNDS: Final = 6

#: Tasks that an observer is told of at once when the engine opens.
FOUND_AT_ONCE: Final = 500

#: Seconds after which what a watch is owed is delivered by any replica, if nothing has arrived
#: there meanwhile: whoever moved the task may take so long over one delivery.
LEFT_S: Final = DeliveryLimits().delivery_s + TIDY_S

_log: Final = logging.getLogger("interlock.engine")

#: How an agent ends that let itself be unwound.
_UNWOUND: Final = (asyncio.CancelledError, TaskParked, TaskStopped)


class Runtime:
    """The moving parts of one open engine, on one event loop."""

    def __init__(
        self,
        agents: Agents,
        store: Store,
        clock: Clock,
        limits: Limits,
        deliverers: Mapping[str, Deliverer],
        toolbox: Toolbox,
        lifecycle: Lifecycle,
        told: Told | None = None,
        *,
        takes_turns: bool = True,
    ) -> None:
        self.told: Final = told
        self.lifecycle: Final = lifecycle
        self.toolbox: Final = toolbox
        self.limits: Final = limits
        self.clock: Final = clock
        self.store: Final = store
        self.admission: Final = Admission(limits)
        #: None where this process has the store for itself.
        self.replica: Final = (
            Replica(store, clock, limits, lifecycle, self.admission, self, takes_turns=takes_turns)
            if shared(store)
            else None
        )
        self.writer: Final = Writer(
            store,
            clock,
            inbox_max=limits.inbox_max,
            act=self.act,
            follow=self._follow,
            fire=lifecycle.fire,
            told=told,
            others=self.replica,
        )
        self.courier: Final = Courier(
            store, clock, deliverers, on_served=self._served, others=shared(store)
        )
        self.abandoned: Final[dict[Turn, None]] = {}
        self._agents: Final = agents
        look_s = None if self.replica is None else DEADLINES_S
        self._alarms: Final = Alarms(store, clock, self._fire_due, look_s=look_s)
        #: Forgets what is over, by age and number.
        self.sweeper: Final = Sweeper(store, clock, limits.retention, self.writer.forget)
        #: Deadlines that the store does not know; see `_time_out_later`.
        self._late: Final[dict[str, Alarm]] = {}
        #: What requests of each unfinished task carried; never stored.
        self._carried: Final[dict[str, dict[str, str]]] = {}
        self._errands: Final[set[asyncio.Task[None]]] = set()
        # Not that of whoever submits or answers: their variables are nobody else's business,
        # and are gone after a restart.
        self._context: Final = contextvars.copy_context()
        self._closing = self._closed = False
        #: To which everything here belongs.
        self.loop: Final = asyncio.get_running_loop()
        #: Ends with the engine; whoever else cancels it ends the whole event loop.
        self._life: Final = self.loop.create_task(self._lived())

    # --- opening and closing ----------------------------------------------------------

    async def open(self) -> None:
        """Bring every unfinished task back to life, and keep its deadlines from now on."""
        await self.courier.start(quiet_s=0.0 if self.replica is None else LEFT_S)
        await self._look_for_strangers()
        if self.replica is None:
            await self._recover()
        else:
            await self.replica.open(self.writer)
        if self.told is not None:
            self._spawn(partial(self._tell_who_waits, self.told))
        self._alarms.start()
        self.sweeper.start()

    async def _look_for_strangers(self) -> None:
        """Say so where tasks wait in phases that the engine's lifecycle does not have.

        Nothing can be fired at them: they are left for whoever has that lifecycle.
        """
        others = frozenset(p for p in WAITING if p not in self.lifecycle.phases)
        # Asked also where there is none: a start takes the same steps whatever else is declared
        # in this process, so that a simulated one can be repeated in another.
        strangers = (await self.store.page(TaskQuery(shown=others, limit=1))).total
        if strangers:
            phases = ", ".join(sorted(others))
            _log.error("%d tasks wait in phases of another lifecycle: %s", strangers, phases)

    async def rest(self) -> None:
        """Start nothing more, and let turns come to a rest, at most `Limits.drain_s`."""
        self._closing = True
        if self.replica is not None:
            await self.replica.rest()
        for cell in self.writer.cells():
            if cell.turn is not None:
                cell.turn.drain()
        await self._alarms.close()
        await self.sweeper.close()
        await self._turns_at_rest()

    async def _lived(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if not self._closed:
                _log.error(
                    "the event loop ends before the engine was drained: it runs nothing more"
                )
            for cell in self.writer.cells():
                if cell.turn is not None:
                    cell.turn.lose()

    @property
    def lost(self) -> bool:
        """Whether the event loop ends, and cancels all that is on it, before the engine was closed.

        So it is at a second Ctrl-C, and where nobody closes the engine.  Then no turn has ended by
        itself: all is left as a crash would leave it.
        """
        return self._life.cancelling() > 0

    def check_loop(self) -> None:
        """Nothing here is safe from another thread, and what is waited for elsewhere never comes.

        Raises:
            RuntimeError: this is another event loop than that of the engine.
        """
        if asyncio.get_running_loop() is self.loop:
            return
        if self.loop.is_closed():
            raise RuntimeError(
                "the event loop that opened the engine has ended without a drain; "
                "drain the engine, and start it in this one"
            )
        raise RuntimeError(
            "the engine belongs to the event loop that opened it; from another thread: "
            "asyncio.run_coroutine_threadsafe(..., loop).result()"
        )

    async def _life_over(self) -> None:
        self._closed = True
        self._life.cancel()
        await asyncio.wait([self._life])

    async def close(self) -> None:
        """Cut off the turns that are left, and let go of everything.

        The task of a turn that was cut off stays `running` in the store and goes on when
        the engine is next opened.
        """
        self._closing = True
        left: list[Turn] = []
        for alarm in self._late.values():
            alarm.cancel()
        # Called from the last to the first, also when one of them fails or the caller is cancelled.
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._life_over)
            stack.push_async_callback(self.writer.close)
            if self.replica is not None:
                stack.push_async_callback(self.replica.close)
            stack.push_async_callback(self._errands_done)
            stack.push_async_callback(self.courier.stop)
            await self._alarms.close()
            await self.sweeper.close()
            left += await self._cut_off_turns()
        for turn in left:
            turn.fenced = True
            if turn.watch is not None:
                turn.watch.ended("abandoned")

    async def _errands_done(self) -> None:
        while self._errands:
            await asyncio.wait(self._errands)

    def carried(self, task_id: str) -> Mapping[str, str]:
        """What the requests of a task carried."""
        return self._carried.get(task_id, {})

    def released(self, task_id: str) -> None:
        """The task is over: what its requests carried is needed no more."""
        self._carried.pop(task_id, None)

    def carry(self, record: TaskRecord, carried: Mapping[str, str] | None) -> None:
        """Keep what a request carried for as long as its task is not over."""
        if carried and record.phase not in OVER:
            self._carried.setdefault(record.task_id, {}).update(carried)

    @contextlib.contextmanager
    def carrying(self, record: TaskRecord, carried: Mapping[str, str]) -> Generator[None]:
        """A request of a task: what it carries is kept unless it is refused."""
        before = dict(self.carried(record.task_id))
        self.carry(record, carried)
        try:
            yield
        except BaseException:
            kept = self._carried.get(record.task_id, {})
            for name, value in carried.items():
                if kept.get(name) == value and before.get(name) != value:
                    del kept[name]
                    kept.update({name: before[name]} if name in before else {})
            raise

    async def arrive(
        self, move: Move, commit: Commit, carried: Mapping[str, str] | None = None
    ) -> None:
        """Store a new task for which there is room, and take it in with what was carried.

        It goes on to its end when the caller gives up: what is stored must be started.

        Raises:
            TokenTaken, StoreError: there is no such task.
        """
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._spawn(partial(self._arrived, move, commit, carried, stored))
        await asyncio.shield(stored)

    async def _arrived(
        self,
        move: Move,
        commit: Commit,
        carried: Mapping[str, str] | None,
        stored: "asyncio.Future[None]",
    ) -> None:
        try:
            cell, moves = await self._taken_in(move, commit, carried)
        except Exception as error:  # noqa: BLE001  it is raised where somebody waits for it
            stored.set_exception(error)
            stored.exception()  # Seen, although nobody may wait any more.
            return
        with self.writer.keeping(cell):
            stored.set_result(None)
            if len(moves) > 1:
                await give_way(ANSWER_ROUNDS)
            self.act(cell, None, moves)
            if cell.record.phase is not moves[-1].record.phase:
                # Somebody found it in the store and was quicker: its slot is free again.
                self.admission.forget(move.record.task_id)
                self._admit()

    async def _taken_in(
        self, move: Move, commit: Commit, carried: Mapping[str, str] | None
    ) -> tuple[Cell, Sequence[Move]]:
        moves = (move, *self._started_at_once(move))
        record, events = moves[-1].record, tuple(move.event for move in moves)
        try:
            wanted = None if self.replica is None else turn_after(record, moves)
            stored = replace(commit, record=record, events=events, turn=wanted)
            await committed(self.store, None, stored, self.told)
        except BaseException:
            if len(moves) > 1:
                self.admission.vanished(record.task_id, record.owner)
                self._admit()  # Somebody may have come to wait for this very slot.
            else:
                self.admission.arrived(record.owner, accepted=False)
            raise
        if len(moves) == 1:
            self.admission.arrived(record.owner, accepted=True)
        self.carry(record, carried)
        return self.writer.adopt(record, events, watched=bool(commit.watches)), moves

    def _started_at_once(self, submitted: Move) -> Sequence[Move]:
        """The start of a task for which a slot is free: in the commit that makes it."""
        if self.replica is not None:
            return ()  # Whoever takes it up does that.
        record = submitted.record
        if self._closing or not self.admission.takes(record.task_id, record.owner):
            return ()
        started: Started = {"run_s": self.limits.run_s}
        signal = Signal(Trigger.START, dict(started), ENGINE, submitted.event.at)
        try:
            return (self.lifecycle.fire(record, signal),)
        except Exception as error:  # noqa: BLE001  a guard of somebody's own may do anything
            # It is queued as if there were no slot, and its start is tried like any other.
            if not isinstance(error, Refused):
                _log.exception("task %s: it could not be started at once", record.task_id)
            self.admission.gives_back(record.task_id, record.owner)
            return ()

    async def _recover(self) -> None:
        """Bring back to life what was not finished when the engine last closed or died."""
        last = ""
        queued: list[tuple[float, str]] = []
        running: list[Cell] = []
        # Whoever serves a watch of one lets go of it meanwhile, and then it would be there twice.
        with contextlib.ExitStack() as kept:
            while records := await self.store.unfinished(last):
                if self.told is not None:
                    self.told.tell(self.told.to.found, records, last=False)
                for record in records:
                    last = record.task_id
                    match record.phase:
                        case Phase.SUBMITTED:
                            if all(t.kind is not TimerKind.RETRY for t in record.timers()):
                                queued.append((record.identity.created_at, record.task_id))
                        case Phase.RUNNING | Phase.CANCELLING:
                            with _passing_by():
                                cell = await self.writer.cell(record.task_id)
                                kept.enter_context(self.writer.keeping(cell))
                                self.admission.moved(record.phase, record)
                                running.append(cell)
                        case waiting if waiting in WAITING:
                            pass  # Its deadline is in the store, and its agent in the log.
                        case _:
                            with _passing_by():
                                await self.finalize(record.task_id)
            # Only now, when the engine is open before they run: agents may submit tasks at once.
            for cell in running:
                self.writer.post(cell, Post(self.recovery, ENGINE, insists=True))
        for _, task_id in sorted(queued):  # First come, first served, also after a restart.
            self.admission.enqueue(task_id)
        self._admit()

    async def tidy(self, seen: Callable[[TaskRecord], None]) -> None:
        """Do what another replica has left undone for so long that it must be gone.

        `seen` is told of each task that is at work, or wants to be.
        """
        before = self.clock.now() - TIDY_S
        owed = await self.courier.take_up(quiet_s=LEFT_S)
        self._alarms.look_again()
        last = ""
        while records := await self.store.unfinished(last):
            for record in records:
                last = record.task_id
                if self._closing:
                    return
                seen(record)
                is_left = record.phase in OUTCOMES and record.updated_at < before
                # Whoever delivers what is owed for it finalizes it, too.
                if is_left and last not in owed and not self.courier.pending(last):
                    # One after another: they may be many, and every replica finds them.
                    with _passing_by(), contextlib.suppress(UnknownTask):
                        await self.finalize(last)
        for task_id in list(self._late):
            stored = await self.store.get(task_id)
            if stored is None or stored.phase is not Phase.SUBMITTED:
                self._not_late(task_id)
        for task_id in [task_id for task_id in self._carried if not self.writer.at_hand(task_id)]:
            stored = await self.store.get(task_id)
            if stored is None or stored.phase in OVER:
                self.released(task_id)

    async def _tell_who_waits(self, told: Told) -> None:
        """There may be many: whoever opens the engine does not wait for that."""
        query = TaskQuery(shown=frozenset(WAITING), limit=FOUND_AT_ONCE)
        while not self._closing:
            page = await self.store.page(query)
            told.tell(told.to.found, page.records, last=page.next_cursor is None)
            if page.next_cursor is None:
                break
            query = replace(query, cursor=page.next_cursor)

    def recovery(self, record: TaskRecord) -> tuple[Trigger, Data]:
        """Bring a turn back, or ask an operator about a task that takes its process down."""
        limits = self.limits
        details = record.details
        if isinstance(details, Active) and details.recoveries >= limits.recoveries_max:
            why = f"was begun {details.recoveries} times in a row after its process had ended"
            return Trigger.ASK, operator_ask(record, f"It {why}.")
        recovered: Recovered = {"run_s": limits.run_s, "recoveries_max": limits.recoveries_max}
        return Trigger.RECOVER, dict(recovered)

    async def _turns_at_rest(self) -> None:
        """Wait until no turn runs, at most `Limits.drain_s`."""
        late, alarm = rung(self.clock, self.limits.drain_s)
        while not (late.done() or self.lost):
            busy = [
                cell
                for cell in self.writer.cells()
                if cell.turn is not None and (cell.turn.calls or cell.record.phase not in WAITING)
            ]
            if not busy:
                break
            changes = [cell.change() for cell in busy]
            await asyncio.wait([*changes, late], return_when=asyncio.FIRST_COMPLETED)
            for change in changes:
                change.cancel()
        alarm.cancel()

    async def _cut_off_turns(self) -> list[Turn]:
        """End every turn without a conclusion; gives those that will not end."""
        turns = dict(self.abandoned)
        for cell in self.writer.cells():
            if cell.turn is not None:
                cell.turn.cut_short()
                turns[cell.turn] = None
        runs: set[asyncio.Future[None]] = {turn.done for turn in turns}
        late, alarm = rung(self.clock, self.limits.grace_s)
        try:
            while runs and not late.done():
                _, runs = await asyncio.wait([*runs, late], return_when=asyncio.FIRST_COMPLETED)
                runs.discard(late)
        finally:
            alarm.cancel()
            left = [turn for turn in turns if not turn.done.done()]
            for turn in left:
                turn.let_go()
        return left  # What they have reported is written down yet.

    # --- what a turn asks (see `_turn.Host`) ----------------------------------------

    def report(
        self, turn: Turn, trigger: Trigger, data: Data, *, since: float | None = None
    ) -> "asyncio.Future[TaskRecord]":
        """Fire a trigger in the name of a turn; done when it is durable."""
        done: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()
        choose = always(trigger, data) if since is None else _open(data, since, self.clock)
        post = Post(choose, AGENT, done, turn, insists=True)
        self.writer.post(self._cell_of(turn), post)
        return done

    async def is_sure(self, turn: Turn) -> bool:
        """Whether the task is still this turn's, before something that cannot be taken back."""
        cell = self.writer.at_hand(turn.task_id)
        if self.replica is None or cell is None:
            return not turn.fenced
        return await self.replica.sure(cell, turn)

    def withdraw(self, turn: Turn, key: str) -> None:
        """Close an ask that the agent no longer waits for."""
        post = Post(always(Trigger.WITHDRAW, {"key": key}), AGENT, turn=turn, insists=True)
        self.writer.post(self._cell_of(turn), post)

    def ended(self, turn: Turn, end: TurnEnd) -> None:
        """A turn is over: its conclusion is the task's, unless it was cut off."""
        if self._closing and not turn.stopping and turned_away(end):
            # It is the engine that ends, and not the task: as if the drain had cut the turn off.
            turn.put_off()
            end = Raised(TaskParked())
        if turn.watch is not None:
            turn.watch.ended(*_outcome(turn, end))
        if turn.gone or self.lost:
            turn.fenced = True  # It may run on, and nobody knows how it will have ended.
        if turn.fenced:
            self.abandoned.pop(turn, None)
            return
        cell = self._cell_of(turn)
        if turn.parked:
            self._parked(cell, turn, end)
            return
        log_failure(cell.record, end)
        choose = conclusion(end, self.limits, self.clock)
        lost = Raised(ResultInvalid("what the agent came to cannot be kept"))
        instead = conclusion(lost, self.limits, self.clock)
        post = Post(choose, AGENT, turn=turn, insists=True, concludes=True, instead=instead)
        self.writer.post(cell, post)

    def _parked(self, cell: Cell, turn: Turn, end: TurnEnd) -> None:
        """A turn was let go: the task goes on by the log alone, perhaps at once."""
        if not (isinstance(end, Raised) and isinstance(end.error, _UNWOUND)):
            _log.warning("task %s: its agent went on after it was parked", turn.task_id)
        cell.turn = None
        # What it had yet to say is said again when it is run again.
        turn.fenced = True
        if cell.record.phase is Phase.CANCELLING:
            self.stop_turn(cell)
        else:
            self.start_turn(cell)
        cell.tell()
        self.writer.release(cell)

    def _give_up_later(self, cell: Cell, turn: Turn) -> None:
        """An agent that is unwound has as long to end as one that is stopped."""

        def give_up() -> None:
            if cell.turn is turn and cell.record.phase is Phase.RUNNING and not self._closing:
                self._part(cell, turn, because="would not be parked")
                self.start_turn(cell)

        self.clock.call_later(self.limits.grace_s, give_up)

    def _abandon_later(self, cell: Cell, turn: Turn) -> None:
        """Its grace time ends by a clock that nobody sets, too.

        The wall clock may be set back meanwhile, and then the alarm of the store is that late.
        """

        def end_grace() -> None:
            stopping = cell.record.details
            if cell.turn is not turn or self._closing or not isinstance(stopping, Stopping):
                return
            if self.clock.now() < stopping.grace_due:
                data = self._overdue(cell.record, TimerKind.GRACE, "")
                choose = always(Trigger.ABANDON, data)
                due = stopping.grace_due
                self.writer.post(cell, Post(choose, TIMER, insists=True, at_least=due))

        self.clock.call_later(self.limits.grace_s, end_grace)

    def _cell_of(self, turn: Turn) -> Cell:
        # A cell with a turn is never let go, and a turn that was cut off does not ask.
        cell = self.writer.at_hand(turn.task_id)
        assert cell is not None
        assert cell.turn is turn
        return cell

    # --- acting on what was committed -------------------------------------------------

    def act(self, cell: Cell, before: TaskRecord | None, moves: Sequence[Move]) -> None:
        """Do what follows from moves that were committed; `before` is None for a new task."""
        if self.replica is not None:
            self.replica.took(cell, moves)
        elif before is None and cell.record.phase is Phase.SUBMITTED:
            self.admission.enqueue(cell.record.task_id)
        phase = Phase.SUBMITTED if before is None else before.phase
        turn = cell.turn
        for move in moves:
            if turn is not None and move.event.seq > turn.record.seq:
                turn.hear(move.record, move.event)
            if move.record.phase is not phase:
                self._count(cell, phase, move.record)
                phase = move.record.phase
        if turn is not None:
            self._settle(cell, turn, moves)
        self._carry_out(cell, moves)

    def _carry_out(self, cell: Cell, moves: Sequence[Move]) -> None:
        if cell.watched:
            # First, so that what is owed is counted when the task asks to be finalized.
            self.courier.wake(cell.record.task_id)
        for move in moves:
            for effect in move.effects:
                self._do(cell, effect)
        due = cell.record.due
        if due is not None:
            self._alarms.arm(due)
        self._admit()

    def _settle(self, cell: Cell, turn: Turn, moves: Sequence[Move]) -> None:
        """What the moves mean for the turn: part with it, or let it rest while the task waits."""
        phase = cell.record.phase
        # The turn is over, and whoever answers needs another one.
        gave_up = turn.over and any(_asks_an_operator(move.event) for move in moves)
        if phase in OVER or phase is Phase.SUBMITTED or gave_up:
            abandoned = any(move.event.trigger is Trigger.ABANDON for move in moves)
            self._part(cell, turn, because="would not end" if abandoned else None)
        elif phase in WAITING:
            turn.rest()

    def _part(self, cell: Cell, turn: Turn, *, because: str | None) -> None:
        """The task no longer belongs to the turn that ran it, or is abandoned by it."""
        cell.turn = None
        if because is not None:
            _log.warning("task %s: its turn %s and was abandoned", turn.task_id, because)
            if not turn.over:
                self.abandoned[turn] = None
                if turn.watch is not None:
                    turn.watch.ended("abandoned")  # It may never end.
        turn.fence()

    def _do(self, cell: Cell, effect: Effect) -> None:
        match effect:
            case ArmTimer() | DisarmTimer() | Publish():
                # The store keeps the deadlines with the record, and watchers were woken by it.
                pass
            case StartTurn():
                self.start_turn(cell)
            case ResumeTurn():
                self.resume_turn(cell)
            case StopTurn():
                self.stop_turn(cell)
            case Release():
                self.released(cell.record.task_id)
                if cell.record.phase in OUTCOMES:
                    self.writer.post(cell, Post(self._finalization(cell), ENGINE, insists=True))
            case _:
                assert_never(effect)

    def resume_turn(self, cell: Cell) -> None:
        """Every ask is closed: let the turn go on, or begin one."""
        if cell.turn is None:
            self.start_turn(cell)
        elif cell.turn.parked:
            self._give_up_later(cell, cell.turn)
        else:
            cell.turn.resume()

    def _count(self, cell: Cell, before: Phase, record: TaskRecord) -> None:
        self.admission.moved(before, record)
        if not self._has(cell):
            self.admission.forget(record.task_id)  # It takes a slot where it runs.
        self._not_late(record.task_id)  # It waits for a slot no more.

    def _has(self, cell: Cell) -> bool:
        """Whether the turn of the task, if there is one, is this process's."""
        return self.replica is None or cell.held

    def start_turn(self, cell: Cell) -> None:
        """Run the agent for the task as it stands now, unless it has moved on meanwhile."""
        if cell.turn is not None or not self._may_run(cell):
            return
        if cell.events is not None:
            self._run_turn(cell, cell.events)
        else:
            self._spawn(partial(self._read_and_run, cell.record.task_id))

    def _may_run(self, cell: Cell) -> bool:
        ending = self._closing or self.lost
        return cell.record.phase is Phase.RUNNING and self._has(cell) and not ending

    async def _read_and_run(self, task_id: str) -> None:
        at_hand = self.writer.at_hand(task_id) or await self.writer.cell(task_id)
        with self.writer.keeping(at_hand) as cell:
            try:
                events = await self.store.events(task_id)
                if cell.turn is None and self._may_run(cell):
                    self._run_turn(cell, whole_log(cell.record, events))
            except StoreCorrupt:
                # Nobody can run it: it is not to keep a slot.
                cell.held = False
                cell.tell()
                self.admission.forget(task_id)
                self._admit()
                raise

    def _run_turn(self, cell: Cell, events: Sequence[Event]) -> None:
        memory = Memory()
        for event in events:
            memory.add(event)
        name = self._agents.name_of(memory.request)
        agent = self._agents.named(name)
        if agent is None:
            # A new version of the program does not have it: its task is not lost.
            _log.error("task %s: the engine has no agent %r", cell.record.task_id, name)
            self.writer.post(cell, Post(partial(_without_agent, name), ENGINE, insists=True))
            return
        watch = None if self.told is None else self._watch(self.told, cell.record, memory, name)
        cell.turn = Turn(self, cell.record, *agent, memory, name=name, watch=watch)
        cell.turn.start(self._context.copy())

    def has_agent(self, submitted: Event) -> bool:
        """Whether the agent of the task that begins so is here."""
        memory = Memory()
        memory.add(submitted)
        return self._agents.named(self._agents.name_of(memory.request)) is not None

    @staticmethod
    def _watch(told: Told, record: TaskRecord, memory: Memory, name: str) -> TurnWatch:
        seen = TurnSeen(
            task_id=record.task_id,
            owner=record.owner,
            context_id=record.context_id,
            agent=name,
            epoch=record.epoch,
            attempt=record.attempt,
            replay=not memory.is_new,
            trace=memory.request.get("trace"),
        )
        return TurnWatch(told, seen)

    def stop_turn(self, cell: Cell) -> None:
        """The task is to end: stop its turn, or say that there is none."""
        if cell.record.phase is not Phase.CANCELLING:
            return
        if cell.turn is not None:
            cell.turn.stop()
            self._abandon_later(cell, cell.turn)
        elif self._has(cell):
            self.writer.post(cell, Post(_stopped, ENGINE, insists=True))

    def _follow(self, cell: Cell, move: Move) -> Sequence[Post]:
        """Where nothing is held for a task that is over, the same commit lets go of it."""
        if self.replica is not None:
            return ()  # Only that commit says whether somebody has added a watch meanwhile.
        if cell.watched or move.record.phase not in OUTCOMES or _has_a_live_turn(cell):
            return ()
        return (Post(self._finalization(cell), ENGINE),)

    def _finalization(self, cell: Cell) -> Choice:
        def choose(record: TaskRecord) -> tuple[Trigger, Data]:
            held: NothingLeft = {
                "turn_alive": _has_a_live_turn(cell),
                "deliveries_left": self.courier.pending(record.task_id),
            }
            return Trigger.FINALIZE, dict(held)

        return choose

    def _served(self, task_id: str) -> None:
        """Everything a task had to deliver is delivered: it may be finalized now."""
        self._spawn(partial(self.finalize, task_id))

    async def finalize(self, task_id: str) -> None:
        """Let go of a task that is over, unless somebody has still to be told of its end."""
        with self.writer.keeping(await self.writer.cell(task_id)) as cell:
            if self.replica is not None and await self._is_owed(cell.record):
                return
            if cell.record.phase in OUTCOMES:
                self.writer.post(cell, Post(self._finalization(cell), ENGINE, insists=True))

    async def _is_owed(self, record: TaskRecord) -> bool:
        """Whether somebody has still to be told: another replica may be about to."""
        watches = await self.store.watches(record.task_id)
        return any(w.given_up is None and w.cursor < record.seq for w in watches)

    def _admit(self) -> None:
        """Start queued tasks while slots are free."""
        while not (self._closing or self.lost) and (task_id := self.admission.next()) is not None:
            cell = self.writer.at_hand(task_id)
            if cell is not None:
                self._start(cell)
            else:
                self._spawn(partial(self._read_and_start, task_id))

    async def _read_and_start(self, task_id: str) -> None:
        try:
            cell = await self.writer.cell(task_id)
        except (StoreCorrupt, UnknownTask):
            self.admission.forget(task_id)
            self._admit()
            raise
        self._start(cell)

    def _start(self, cell: Cell) -> None:
        choose = always(Trigger.START, {"run_s": self.limits.run_s})
        done: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()
        done.add_done_callback(partial(self._started, cell))
        self.writer.post(cell, Post(choose, ENGINE, done, insists=True))

    def _started(self, cell: Cell, done: "asyncio.Future[TaskRecord]") -> None:
        error = done.exception()
        if error is not None:
            # It is over, or runs already: the slot is not this start's to keep.
            self.admission.moved(cell.record.phase, cell.record)
            is_broken = isinstance(error, EngineBug) or not isinstance(error, EngineError)
            if is_broken and self.replica is None:
                # A guard raised, and may not the next time.
                again = partial(self._start_again, cell.record.task_id)
                self.clock.call_later(STORE_RETRY_S, again)
            elif cell.record.phase is Phase.SUBMITTED and cell.record.due is not None:
                # The clock was set back, and its back-off is not over any more.
                self._alarms.arm(cell.record.due)
            self._admit()

    def _start_again(self, task_id: str) -> None:
        """Have a task wait for a slot once more that could not be started."""
        cell = self.writer.at_hand(task_id)
        waits = cell is None or cell.record.phase is Phase.SUBMITTED
        if waits and not (self._closing or self.lost):
            self.admission.enqueue(task_id)
            self._admit()

    async def _fire_due(self, stored: TaskRecord, now: float) -> None:
        """Fire every timer of a task that is due."""
        cell = await self.writer.cell(stored.task_id)
        for timer in sorted(cell.record.timers(), key=lambda timer: timer.due):
            if timer.due > now:
                continue
            if timer.kind is TimerKind.RETRY:
                if self.replica is None:
                    self.admission.enqueue(stored.task_id)
                self._time_out_later(cell.record)
                continue
            data = self._overdue(cell.record, timer.kind, timer.key)
            choose = always(TIMER_TRIGGER[timer.kind], data)
            done: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()
            done.add_done_callback(partial(self._timer_fired, cell))
            self.writer.post(cell, Post(choose, TIMER, done, insists=True))
        self._admit()
        self.writer.release(cell)

    def _overdue(self, record: TaskRecord, kind: TimerKind, key: str) -> Data:
        """What a timer says that fires."""
        return {
            "key": key,
            "timer": kind.value,
            "grace_s": self.limits.grace_s,
            "epoch": record.epoch,
        }

    def _timer_fired(self, cell: Cell, done: "asyncio.Future[TaskRecord]") -> None:
        due = cell.record.due
        if done.exception() is not None and due is not None and due > self.clock.now():
            # It came too late, or the clock was set back: then it comes again.
            self._alarms.arm(due)

    def _time_out_later(self, record: TaskRecord) -> None:
        """Keep the deadline of a task that may wait for a slot after its back-off.

        The store knows a task by its earliest deadline, and that one has passed.
        """
        task_id, left_s = record.task_id, record.identity.due - self.clock.now()

        def ring() -> None:
            del self._late[task_id]
            self._spawn(partial(self._time_out, task_id))

        if left_s > 0 and task_id not in self._late:
            self._late[task_id] = self.clock.call_later(left_s, ring)

    def _not_late(self, task_id: str) -> None:
        """Forget the deadline that `_time_out_later` keeps."""
        alarm = self._late.pop(task_id, None)
        if alarm is not None:
            alarm.cancel()

    async def _time_out(self, task_id: str) -> None:
        await self._fire_due((await self.writer.cell(task_id)).record, self.clock.now())

    def _spawn(self, errand: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something for which the store is needed, and again later if that fails."""

        async def run() -> None:
            try:
                await errand()
            except UnknownTask as error:
                _log.debug("nothing is left to do: %s", error)
            except StoreCorrupt as error:
                # It would be no better the next time, and is left for somebody to look at.
                _log.error("left as it is: %s", error)
            except Exception as error:  # noqa: BLE001  a store is foreign code; nothing may hang
                if isinstance(error, StoreError):
                    _log.error("the store failed: %s", error)
                else:
                    _log.exception("the store raised what it must not")
                self.clock.call_later(STORE_RETRY_S, again)

        def again() -> None:
            if not self._closing:
                self._spawn(errand)

        task = asyncio.get_running_loop().create_task(run())
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


@contextlib.contextmanager
def _passing_by() -> Generator[None]:
    """Do something for one of many tasks: one that cannot be read stops no other (I37)."""
    try:
        yield
    except StoreCorrupt as error:
        _log.error("left as it is: %s", error)


def _outcome(turn: Turn, end: TurnEnd) -> tuple[TurnOutcome, BaseException | None]:
    """How a turn ended, for whoever observes."""
    error = end.error if isinstance(end, Raised) else None
    if turn.put_aside:
        return "parked", None
    if turn.fenced:
        return "abandoned", None
    if turn.stopping:
        return "stopped", None
    return ("returned", None) if error is None else ("failed", error)


def _has_a_live_turn(cell: Cell) -> bool:
    return cell.turn is not None and not cell.turn.over


def _asks_an_operator(event: Event) -> bool:
    return event.trigger is Trigger.ASK and event.data["key"].startswith(OPERATOR)


def _without_agent(name: str, record: TaskRecord) -> tuple[Trigger, Data]:
    return Trigger.ASK, operator_ask(record, f"The engine has no agent {name!r:.80}.")


def _stopped(record: TaskRecord) -> tuple[Trigger, Data]:
    return Trigger.STOPPED, {"epoch": record.epoch}


def _open(data: Data, since: float, clock: Clock) -> Choice:
    """An ask that is due as long after it is stored as it was to be after `since`.

    Nobody could answer it meanwhile, however long the store was away.
    """

    def choose(record: TaskRecord) -> tuple[Trigger, Data]:
        late_s = max(0.0, clock.now() - since, record.updated_at - since)
        return Trigger.ASK, {**data, "due": data["due"] + late_s} if late_s else data

    return choose
