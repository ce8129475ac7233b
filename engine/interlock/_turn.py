"""One run of the agent, from its start to its one report of how it ended.

A turn acts on nothing: it asks the engine to fire triggers, and says when it is over.
Whatever the task's log says was already done is handed back to the agent from memory.
"""

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVar, assert_never, cast

from interlock._agent import (
    Agent,
    AgentKind,
    Ask,
    AsyncAgent,
    Authorize,
    Emit,
    GeneratorAgent,
    Progress,
    Request,
    Result,
    SyncAgent,
)
from interlock._clock import Clock
from interlock._context import TaskContext
from interlock._event import Data, Event
from interlock._form import Form
from interlock._memory import Memory, Reply
from interlock._phases import Trigger
from interlock._record import TaskRecord
from interlock._sync import SyncTaskContext
from interlock.errors import EngineError, TaskStopped
from interlock.models import JsonValue, Limits

V = TypeVar("V")
_log: Final = logging.getLogger("interlock.turn")


@dataclass(frozen=True, slots=True)
class Returned:
    """The agent returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The agent raised, or ended itself without being told to."""

    error: BaseException


TurnEnd: TypeAlias = Returned | Raised


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

    async def report(self, turn: "Turn", trigger: Trigger, data: Data) -> None:
        """Fire a trigger in the name of the turn; returns when it is durable."""

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
        self, host: Host, record: TaskRecord, agent: Agent, kind: AgentKind, memory: Memory
    ) -> None:
        #: The task as of its last commit; kept current by the engine.
        self.record = record
        self.limits: Final = host.limits
        self.clock: Final = host.clock
        self.memory: Final = memory
        self.stopping = False
        #: Cut off: nothing that it reports counts any more.
        self.fenced = False
        self._host: Final = host
        self._agent: Final = agent
        self._kind: Final = kind
        self._waits: dict[str, asyncio.Future[Reply]] = {}
        self._forms: dict[str, Form] = {}
        self._task: asyncio.Task[TurnEnd] | None = None
        self._thread: _Thread | None = None

    def start(self, context: contextvars.Context) -> None:
        """Run the agent with these context variables; `Host.ended` follows."""
        self.memory.begin()
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
        self._host.ended(self, end)

    def stop(self) -> None:
        """Tell the agent to stop: its task is cancelled, or its next call raises."""
        self.stopping = True
        if self._thread is not None:
            self._thread.interrupt()
        elif self._task is not None:
            self._task.cancel()

    def fence(self) -> None:
        """Cut the turn off: it may still run, but nothing it reports counts."""
        self.fenced = True
        self.stop()

    def let_go(self) -> None:
        """Stop waiting for a thread that may never end; the engine is closing."""
        if self._task is not None:
            self._task.cancel()

    @property
    def run(self) -> asyncio.Task[TurnEnd]:
        """The run itself, to wait for; a thread that never ends keeps it going for ever."""
        assert self._task is not None
        return self._task

    def hear(self, record: TaskRecord, event: Event) -> None:
        """Take note of what was committed."""
        self.record = record
        self.memory.add(event)

    def resume(self) -> None:
        """Every ask is closed: whoever waits for an answer goes on."""
        for key, wait in list(self._waits.items()):
            reply = self.memory.replies.get(key)
            if reply is not None and not wait.done():
                wait.set_result(reply)

    def problems_of(self, key: str, answer: JsonValue) -> list[str]:
        """What the form of a waiting ask finds wrong beyond its schema."""
        form = self._forms.get(key)
        return [] if form is None else form.problems_of(answer)

    # --- the desk at which the context asks (see `_context.Desk`) --------------------

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.record.task_id

    async def report(self, trigger: Trigger, data: Data) -> None:
        """Fire a trigger in the name of this turn."""
        if self.stopping:
            raise TaskStopped
        try:
            await self._host.report(self, trigger, data)
        except asyncio.CancelledError:
            if trigger is Trigger.ASK and not self.stopping:
                # It may be asked all the same, and then nobody waits for the answer.
                self._host.withdraw(self, data["key"])
            raise

    async def reply(self, key: str, form: Form | None) -> Reply:
        """Wait for the reply to an ask; when the wait is given up, so is the ask."""
        if self.stopping:
            raise TaskStopped
        reply = self.memory.replies.get(key)
        # An answer that came while other asks are open is handed over with the last of them.
        if reply is not None and self.record.ask(key) is None and not self.record.asks:
            return reply
        wait: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waits[key] = wait
        if form is not None:
            self._forms[key] = form
        try:
            return await wait
        except asyncio.CancelledError:
            if not self.stopping:
                self._host.withdraw(self, key)
            raise
        finally:
            del self._waits[key]
            self._forms.pop(key, None)

    # --- the three kinds of agents ----------------------------------------------------

    async def _on_the_loop(self) -> TurnEnd:
        context = TaskContext(self)
        try:
            if self._kind is AgentKind.GENERATOR:
                agent = cast("GeneratorAgent", self._agent)
                value = await _driven(agent(context), context)
            else:
                value = await cast("AsyncAgent", self._agent)(context)
        except BaseException as error:  # noqa: BLE001  whatever it is, it is how the agent ended
            return Raised(error)
        return Returned(value)

    async def _on_a_thread(self) -> TurnEnd:
        self._thread = _Thread(cast("SyncAgent", self._agent), TaskContext(self), self.task_id)
        return await self._thread.end


async def _driven(requests: AsyncGenerator[Request, Any], context: TaskContext) -> Any:
    """Serve what the generator yields until it yields its result or ends."""
    try:
        request = await anext(requests)
        while not isinstance(request, Result):
            try:
                reply = await _served(request, context)
            except EngineError as error:
                request = await requests.athrow(error)
            else:
                request = await requests.asend(reply)
    except StopAsyncIteration:
        return None
    finally:
        await requests.aclose()
    return request.value


async def _served(request: Request, context: TaskContext) -> Any:
    match request:
        case Ask():
            return await context.ask(
                request.prompt,
                cast("type[Any]", request.form),
                default=request.default,
                expires_s=request.expires_s,
                approvers=request.approvers,
                key=request.key,
            )
        case Authorize():
            return await context.authorize(
                request.tool,
                request.arguments,
                prompt=request.prompt,
                schema=request.schema,
                allow_edit=request.allow_edit,
                on_deny=request.on_deny,
                expires_s=request.expires_s,
                approvers=request.approvers,
                key=request.key,
            )
        case Emit():
            return await context.emit(
                request.content,
                artifact_id=request.artifact_id,
                name=request.name,
                append=request.append,
                last_chunk=request.last_chunk,
            )
        case Progress():
            return await context.progress(request.message, request.fraction)
        case Result():
            raise AssertionError("the driver keeps results to itself")
        case _:
            assert_never(request)


class _Thread:
    """A thread for one plain function, and the bridge from it to the event loop."""

    def __init__(self, agent: SyncAgent, context: TaskContext, task_id: str) -> None:
        self._agent: Final = agent
        self._context: Final = context
        self._loop: Final = asyncio.get_running_loop()
        self._calls: set[concurrent.futures.Future[Any]] = set()
        self._interrupted = False
        self.end: Final[asyncio.Future[TurnEnd]] = self._loop.create_future()
        within = contextvars.copy_context()
        # A daemon, since a function that never returns must not keep the process alive.
        threading.Thread(
            target=within.run, args=(self._main,), name=f"turn {task_id}", daemon=True
        ).start()

    def interrupt(self) -> None:
        """Make the call that the thread waits in, and every later one, raise TaskStopped."""
        self._interrupted = True
        for call in list(self._calls):
            call.cancel()

    def _main(self) -> None:
        end: TurnEnd
        try:
            end = Returned(self._agent(SyncTaskContext(self._context, self._run)))
        except BaseException as error:  # noqa: BLE001  whatever it is, it is how the agent ended
            end = Raised(error)
        try:
            self._loop.call_soon_threadsafe(self._ended, end)
        except RuntimeError:
            # The loop is closed: the engine is gone, and with it whoever would listen.
            _log.warning("an agent's thread outlived the event loop")

    def _ended(self, end: TurnEnd) -> None:
        if not self.end.done():
            self.end.set_result(end)

    def _run(self, coroutine: Coroutine[Any, Any, V], /) -> V:
        if self._interrupted:
            coroutine.close()
            raise TaskStopped
        call = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._calls.add(call)
        try:
            if self._interrupted:
                call.cancel()
            return call.result()
        except concurrent.futures.CancelledError:
            raise TaskStopped from None
        finally:
            self._calls.discard(call)
