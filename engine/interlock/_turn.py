"""One run of the agent, from its start to its one report of how it ended.

A turn acts on nothing: it asks the engine to fire triggers, and says when it is over.
Whatever the task's log says was already done is handed back to the agent from memory.
It is long because it is all that an agent has: the desk at which its context asks.
"""

import asyncio
import contextvars
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NoReturn, Protocol, TypeVar, cast

from interlock._agent import (
    THE_AGENT,
    Agent,
    AgentKind,
    AsyncAgent,
    GeneratorAgent,
    SyncAgent,
)
from interlock._at_once import Share, first_of, now_waiting, now_working
from interlock._call import not_made
from interlock._clock import Alarm, Clock
from interlock._context import TaskContext
from interlock._drive import driven
from interlock._event import Data, Event
from interlock._form import Form
from interlock._machine import Lifecycle
from interlock._memory import Memory, Reply
from interlock._observer import TurnWatch
from interlock._payload import CallBegun, CallEnded
from interlock._phases import WAITING, Phase, Trigger
from interlock._record import TaskRecord
from interlock._thread import Workers
from interlock._threaded import AgentThread, Raised, Returned, TurnEnd
from interlock._toolbox import Toolbox
from interlock.errors import Refused, TaskParked, TaskStopped
from interlock.models import JsonValue, Limits

V = TypeVar("V")


class Host(Protocol):
    """What a turn needs of the engine."""

    @property
    def limits(self) -> Limits:
        """The bounds."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def toolbox(self) -> Toolbox:
        """The tools of the engine."""
        ...

    @property
    def lifecycle(self) -> Lifecycle:
        """What its tasks live by."""
        ...

    @property
    def lost(self) -> bool:
        """Whether its event loop ends under it: what ends now has not ended by itself."""
        ...

    def carried(self, task_id: str) -> Mapping[str, str]:
        """What the requests of a task carried."""
        ...

    def report(
        self, turn: "Turn", trigger: Trigger, data: Data, *, since: float | None = None
    ) -> "asyncio.Future[TaskRecord]":
        """Fire a trigger in the name of the turn; done when it is durable.

        While the store fails it is fired again: an agent is not told of a full disk.  An
        ask that was made at `since` is open for its time from when it is stored.
        """
        ...

    async def is_sure(self, turn: "Turn") -> bool:
        """Whether the task is still this turn's, before something that cannot be taken back."""
        ...

    def withdraw(self, turn: "Turn", key: str) -> None:
        """Close an ask that the agent no longer waits for."""

    def ended(self, turn: "Turn", end: TurnEnd) -> None:
        """The turn is over; called exactly once, on the event loop."""


class Turn:
    """A run of the agent for one task.

    Everything here happens on the event loop, except the agent itself when it is a plain
    function.
    """

    def __init__(
        self,
        host: Host,
        record: TaskRecord,
        agent: Agent,
        kind: AgentKind,
        memory: Memory,
        *,
        name: str = THE_AGENT,
        watch: TurnWatch | None = None,
    ) -> None:
        #: The task as of its last commit; kept current by the engine.
        self.record = record
        self.limits: Final = host.limits
        self.phases: Final = host.lifecycle.phases
        self.clock: Final = host.clock
        self.memory: Final = memory
        #: By which the engine knows the agent.
        self.agent_name: Final = name
        #: Who is told of it.
        self.watch: Final = watch
        self.stopping = False
        #: Cut off: nothing that it reports counts any more.
        self.fenced = False
        #: It has ended.
        self.over = False
        #: Done when it has; a thread that never ends keeps it waiting for ever.
        self.done: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        #: How many calls are being made: until they end, it cannot be parked.
        self.calls = 0
        #: The threads of blocking tools.
        self.workers: Final = Workers(f"tools of {record.task_id}")
        #: What calls came to that is just being written down.
        self._recordings: Final[set[asyncio.Future[None]]] = set()
        #: How many branches of it are about to ask: until they wait, it is not parked.
        self._shares = 0
        self._draining = False
        self._parked = False
        #: Not waited for any more, although it may not have ended.
        self.gone = False
        #: How it ended whatever the agent makes of it.
        self._verdict: Raised | None = None
        self._end: TurnEnd | None = None
        self._parking: Alarm | None = None
        #: Who waits until nobody is asked anything.
        self._held: list[asyncio.Future[None]] = []
        self._host: Final = host
        self._agent: Final = agent
        self._kind: Final = kind
        self._waits: dict[str, asyncio.Future[Reply]] = {}
        self._forms: dict[str, Form] = {}
        self._task: asyncio.Task[TurnEnd] | None = None
        self._thread: AgentThread | None = None

    def start(self, context: contextvars.Context) -> None:
        """Run the agent with these context variables; `Host.ended` follows."""
        self.memory.begin()
        if self.watch is not None:
            self.watch.began(context)
        thread = self._kind is AgentKind.THREAD
        run = self._on_a_thread() if thread else self._on_the_loop()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(run, name=f"turn {self.task_id}", context=context)
        self._task.add_done_callback(self._over)

    def _over(self, run: "asyncio.Task[TurnEnd]") -> None:
        """However it ended: a run that is stopped before its first step cannot say so itself."""
        if run.cancelled():
            end: TurnEnd = Raised(asyncio.CancelledError())
        else:
            error = run.exception()
            end = run.result() if error is None else Raised(error)
        self._stay()
        self.workers.close()
        self._end = self._verdict or end
        # Branches of it that nobody waits for any more; what they ask they ask in vain.
        waits: list[asyncio.Future[Any]] = [*self._waits.values(), *self._held]
        for wait in waits:
            wait.cancel()
        self._ended()

    def _ended(self) -> None:
        """Say so, once no call is being made either: what it comes to is still written down."""
        if self._end is not None and not self.over and not self.calls:
            self.over = True
            self.done.set_result(None)
            self._host.ended(self, self._end)

    def stop(self) -> None:
        """Tell the agent to stop: its task is cancelled, or its next call raises."""
        self.stopping = True
        if self._thread is not None:
            self._thread.interrupt(TaskStopped)
        elif self._task is not None:
            self._task.cancel()

    def rest(self) -> None:
        """The task waits: park in a while, unless something happens before."""
        self._stay()
        after_s = 0.0 if self._draining else self.limits.park_after_s
        if after_s is None or self._is_busy or self.stopping or self._end is not None:
            return
        if after_s == 0 or self._kind is AgentKind.THREAD:
            self.park()
        else:
            self._parking = self.clock.call_later(after_s, self.park)

    def _stay(self) -> None:
        """Do not park for now."""
        if self._parking is not None:
            self._parking.cancel()
            self._parking = None

    def park(self) -> None:
        """Unwind the agent and let it go: it is run again from the log."""
        if not self._is_busy:
            self.cut_short()

    @property
    def _is_busy(self) -> bool:
        """Whether something is being done, or about to be asked, that parking would undo."""
        return self.calls > 0 or self._shares > 0

    @property
    def parked(self) -> bool:
        """Whether it was let go while its task goes on: its end says nothing about the task."""
        return self._parked or self._host.lost

    @property
    def put_aside(self) -> bool:
        """Whether it is unwound to go on later, here or elsewhere, and not because of a stop."""
        return self.parked or (self.fenced and self.record.phase is Phase.RUNNING) or self.gone

    def share(self) -> Share:
        """A reason not to park yet."""
        return Share(self._share_taken, self._share_returned)

    def _share_taken(self) -> None:
        self._shares += 1

    def _share_returned(self) -> None:
        self._shares -= 1
        if not self._is_busy and self._draining:
            self._release()
        if not self._shares and self.record.phase in WAITING:
            self.rest()

    def cut_short(self) -> None:
        """Unwind it although it may be making calls; their ends are still written down."""
        if self.parked or self.stopping:
            return
        if self._thread is not None:
            self._parked = True
            self._thread.interrupt(TaskParked)
        elif self._task is not None and self._task.cancel():
            self._parked = True

    def put_off(self) -> None:
        """Take its end for that of a turn which was parked: its task goes on another time."""
        self._parked = True

    def drain(self) -> None:
        """Let it come to a point of its journal at which it can be parked, and park there."""
        self._draining = True

    def fence(self) -> None:
        """Cut the turn off: it may still run, but nothing it reports counts."""
        self.fenced = True
        self.stop()

    def let_go(self) -> None:
        """Stop waiting for a thread that may never end; the engine is closing."""
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    def lose(self) -> None:
        """The event loop ends: what is on it was cancelled, and a thread has to be told."""
        if self._thread is not None and not self.stopping:
            self._thread.interrupt(TaskParked)

    def hear(self, record: TaskRecord, event: Event) -> None:
        """Take note of what was committed."""
        self.record = record
        self.memory.add(event)

    def resume(self) -> None:
        """Every ask is closed: whoever waits for an answer goes on."""
        self._stay()
        self._release()
        for key, wait in list(self._waits.items()):
            reply = self.memory.replies.get(key)
            if reply is not None and not wait.done():
                wait.set_result(reply)
        if self.record.phase in WAITING:
            self.rest()  # It was asked again before it could go on.

    def _release(self) -> None:
        """Whoever wants to begin a call looks again whether it may."""
        held, self._held = self._held, []
        for begin in held:
            if not begin.done():
                begin.set_result(None)

    def now(self) -> float:
        """The time; a clock may be set back, and the log of a task does not go back with it."""
        return max(self.clock.now(), self.record.updated_at)

    def problems_of(self, key: str, answer: JsonValue) -> list[str]:
        """What the form of a waiting ask finds wrong beyond its schema."""
        form = self._forms.get(key)
        return [] if form is None else form.problems_of(answer)

    @property
    def draining(self) -> bool:
        """Whether its engine is about to close, and takes nothing new."""
        return self._draining

    # --- the desk at which the context asks (see `_context.Desk`) --------------------

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.record.task_id

    @property
    def owner(self) -> str:
        """Whose task it is."""
        return self.record.owner

    @property
    def toolbox(self) -> Toolbox:
        """The tools of the engine."""
        return self._host.toolbox

    @property
    def carried(self) -> Mapping[str, str]:
        """What the requests of the task carried."""
        return self._host.carried(self.task_id)

    async def report(self, trigger: Trigger, data: Data) -> None:
        """Fire a trigger in the name of this turn, once what its calls came to is durable."""
        self._check_alive()
        since = self.now() if trigger is Trigger.ASK else None
        if self._recordings:
            await asyncio.wait(self._recordings)
            self._check_alive()
        try:
            await self._host.report(self, trigger, data, since=since)
        except asyncio.CancelledError:
            if trigger is Trigger.ASK and self._may_withdraw:
                # It may be asked all the same, and then nobody waits for the answer.
                self._host.withdraw(self, data["key"])
            raise

    async def reply(self, key: str, form: Form | None) -> Reply:
        """Wait for the reply to an ask; when the wait is given up, so is the ask."""
        self._check_alive()
        reply = self.memory.replies.get(key)
        # An answer that came while other asks are open is handed over with the last of them.
        if reply is not None and self.record.ask(key) is None and not self.record.asks:
            return reply
        wait: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waits[key] = wait
        if form is not None:
            self._forms[key] = form
        now_waiting()
        try:
            reply = await wait
        except asyncio.CancelledError:
            if self._may_withdraw:
                self._host.withdraw(self, key)
            raise
        finally:
            del self._waits[key]
            self._forms.pop(key, None)
        now_working()  # Before another branch that was answered with it can rest.
        return reply

    @property
    def _may_withdraw(self) -> bool:
        """Whether a wait that is given up is so by the agent, and not because it ends."""
        return not (self.stopping or self.parked or self._end is not None)

    def _check_alive(self) -> None:
        """Nothing begins once the agent was told to end; a drain tells it here.

        Raises:
            TaskStopped, TaskParked: it was.
        """
        if self.stopping or self.fenced:
            raise TaskStopped
        if self._draining and not self.calls:
            self.park()
        if self.parked:
            raise TaskParked

    async def begin(self, call: CallBegun) -> None:
        """Write down that a call begins, as soon as nobody is asked anything."""
        while True:
            self._check_alive()
            if self._end is not None:
                raise TaskStopped  # The agent has ended, and this is nobody's any more.
            if self.record.phase in WAITING or self._draining:
                wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._held.append(wait)
                now_waiting()
                await wait
                continue
            # It goes on although whoever waits for it gives up: what is written is then undone.
            report = self._reported(call)
            self.calls += 1
            try:
                await first_of(report)
                report.result()
            except asyncio.CancelledError:
                report.add_done_callback(partial(self._unmade, call["key"]))
                raise
            except BaseException as error:
                self._left()
                if isinstance(error, Refused) and error.phase in WAITING:
                    continue  # Another branch of the agent was quicker.
                raise
            await self._check_sure(call)
            return

    async def _check_sure(self, call: CallBegun) -> None:
        """Nothing is done outside in the name of a turn that somebody else may have by now.

        Raises:
            TaskStopped: somebody has; whether the call was made is for them to find out.
            TaskStopped, TaskParked: it was told to end while the call was written down.
        """
        if self.stopping or self.parked:
            # A branch of the agent that nobody waits for is not told by a cancel.
            self._ending(not_made(call["key"]))
            raise TaskParked if self.parked else TaskStopped
        try:
            sure = await self._host.is_sure(self)
        except asyncio.CancelledError:
            self._ending(not_made(call["key"]))
            raise
        if not sure:
            self._left()
            raise TaskStopped

    def _reported(self, call: CallBegun) -> "asyncio.Future[Any]":
        """As `report`, with no task of its own for the one call of a message.

        What is beside a call may be about to ask, and then comes first.
        """
        if self._shares == 1 and not self._recordings:
            return self._host.report(self, Trigger.CALL, dict(call))
        return asyncio.ensure_future(self.report(Trigger.CALL, dict(call)))

    def _unmade(self, key: str, report: "asyncio.Future[Any]") -> None:
        """Nobody waited any more until a call was begun, so it is not made."""
        if report.cancelled() or report.exception() is not None:
            self._left()
        else:
            self._ending(not_made(key))

    async def end(self, call: CallEnded | None, *, waits: bool = True) -> None:
        """Write down what a call came to that was begun here; None where nobody saw it end.

        Unless it `waits` the agent goes on meanwhile, and waits before whatever it reports next.
        """
        if call is None:
            self._left()
            return
        recording = self._ending(call, behind=not waits)
        if waits:
            await asyncio.shield(recording)
        else:
            self._recordings.add(recording)
            recording.add_done_callback(self._recordings.discard)

    def _ending(self, call: CallEnded, *, behind: bool = False) -> "asyncio.Future[None]":
        """Until it is durable the call counts as being made, whoever waits for that."""

        def ended(recording: "asyncio.Future[None]") -> None:
            if not recording.cancelled():
                recording.exception()  # Seen: whoever waited is told.
            self._left()

        recording = asyncio.ensure_future(self._end_recorded(call, behind=behind))
        recording.add_done_callback(ended)
        return recording

    async def _end_recorded(self, call: CallEnded, *, behind: bool) -> None:
        if behind and self._thread is not None:
            await self._thread.taken()
        await self.record_end(call)

    def _left(self) -> None:
        """A call is not being made any more: what waited for that goes on."""
        self.calls -= 1
        if self._draining and not self.calls:
            self._release()
        if self.record.phase in WAITING:
            self.rest()
        self._ended()

    async def record_end(self, call: CallEnded) -> None:
        """Write down what a call came to, also when this turn was told to stop meanwhile."""
        if not self.fenced:  # Nothing that a turn reports counts once it was cut off.
            await self._host.report(self, Trigger.CALLED, dict(call))

    async def wait_for(self, *works: "asyncio.Future[Any]") -> bool:
        """Wait until one of these is done; False if the turn was told to end meanwhile."""
        go_on = True
        while not any(work.done() for work in works):
            try:
                await first_of(*works)
            except asyncio.CancelledError:
                if self.gone or self._host.lost:
                    raise
                go_on = False
        return go_on

    async def fail(self, error: Exception) -> NoReturn:
        """End the turn with this error, whatever the agent would make of it."""
        self._verdict = Raised(error)
        self.stop()
        raise TaskStopped

    # --- the three kinds of agents ----------------------------------------------------

    async def _on_the_loop(self) -> TurnEnd:
        context = TaskContext(self)
        try:
            if self._kind is AgentKind.GENERATOR:
                agent = cast("GeneratorAgent", self._agent)
                value = await driven(agent(context), context)
            else:
                value = await cast("AsyncAgent", self._agent)(context)
        except BaseException as error:  # noqa: BLE001  whatever it is, it is how the agent ended
            return Raised(error)
        return Returned(value)

    async def _on_a_thread(self) -> TurnEnd:
        self._thread = AgentThread(cast("SyncAgent", self._agent), TaskContext(self), self.task_id)
        return await self._thread.end
