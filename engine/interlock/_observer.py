"""The port for whoever watches an engine from outside: metrics, traces, a log of its own.

An observer is told of what was committed, of turns and of calls, and has no say in anything.
What it raises is logged once for each kind of news, and harms no task.  Without an observer
there is nothing here but one `if` at each of these places.
"""

import asyncio
import contextvars
import functools
import logging
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, Literal, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar, cast

from interlock._event import Event
from interlock._payload import Submitted
from interlock._record import TaskRecord
from interlock._store import Commit, Store
from interlock.errors import EngineError, TaskParked, TaskStopped
from interlock.models import JsonObject, JsonValue

V = TypeVar("V")
P = ParamSpec("P")

#: How a turn ended: its agent `returned` or `failed`, was `stopped` with its task, or `parked`
#: to go on later; or it would not end and was `abandoned`.
TurnOutcome: TypeAlias = Literal["returned", "failed", "stopped", "parked", "abandoned"]
#: How a call ended: it `returned` or `failed`, the tool is `unfinished` and is gone on with in
#: another leg, or nobody saw its end: it was `cut`.
CallOutcome: TypeAlias = Literal["returned", "failed", "unfinished", "cut"]

#: A W3C trace context, as the header `traceparent` has it.
_TRACE: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_log: Final = logging.getLogger("interlock.observer")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is held right now."""

    accepting: bool
    #: Tasks that something is happening to in this process.
    live: int = 0
    running: int = 0
    queued: int = 0
    #: Turns that were given up and have not ended yet.
    abandoned: int = 0
    #: Tasks that could not be read: `interlock doctor` names them.
    quarantined: int = 0


class Usage(NamedTuple):
    """What a model's answer took, in tokens."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class ModelUsed:
    """Which model a call asks."""

    model: str
    #: As the OpenTelemetry conventions name it, such as `openai`; "" where nobody knows.
    provider: str = ""
    #: Reads the tokens out of what the call returned; None where it does not say.
    usage: Callable[[Any], Usage | None] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class TurnSeen:
    """A run of an agent; the same object when it begins and ends."""

    task_id: str
    owner: str = field(repr=False)
    context_id: str
    agent: str
    epoch: int
    attempt: int
    #: Whether something was done before, which is now handed back from the log.
    replay: bool
    #: The trace context with which the task was submitted.
    trace: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CallSeen:
    """A call that is made: of a function, a tool or a model.  What a replay hands back is none.

    `arguments` are the task's content: whoever lets them out says so to its users.
    """

    turn: TurnSeen
    key: str
    #: Of the function, or by which the agent calls the tool.
    name: str
    #: `source/name` of a tool; "" for what is none.
    tool: str
    model: ModelUsed | None
    arguments: JsonObject = field(repr=False)


class Observer(Protocol):
    """Is told what happens, on the event loop of the engine unless said otherwise.

    It must not wait: everybody does meanwhile.  Of what it has no method for it is not told.
    """

    def opened(self, statistics: Callable[[], Statistics]) -> None:
        """The engine opens; the function may be called at any time, from any thread."""

    def found(self, records: Sequence[TaskRecord], *, last: bool) -> None:
        """Tasks that were not finished when the engine opened; `last` if these are all.

        They are read a page at a time beside everything else: one that was committed to meanwhile
        may come as it is by now.
        """

    def closed(self) -> None:
        """The engine is closed."""

    def submitting(self, task_id: str, owner: str, context_id: str, agent: str) -> str | None:
        """A task is about to be stored, in the context of who submits it.

        What it gives, if it is a W3C `traceparent`, is kept with the task: see `TurnSeen.trace`.
        """
        ...

    def submitted(self, task_id: str) -> None:
        """Follows `submitting`, whether it was stored or not: `committed` came before if it was."""

    def committed(
        self,
        before: TaskRecord | None,
        record: TaskRecord,
        events: Sequence[Event],
        seconds: float,
    ) -> None:
        """The events are durable, and lead from one record to the other; so long the commit took.

        Nobody was answered yet.  The data of events is the task's content.
        """

    def turn_began(self, turn: TurnSeen, context: contextvars.Context) -> None:
        """A turn begins; variables set in `context` are the agent's."""

    def turn_ended(self, turn: TurnSeen, outcome: TurnOutcome, error: str) -> None:
        """It ended; `error` is a code or a kind of exception, "" where nothing failed."""

    def call_began(self, call: CallSeen) -> None:
        """A call that is written down is made now, in the context in which this is called.

        An agent that is a plain function makes calls on its own thread: this is called there.
        """

    def call_ended(
        self, call: CallSeen, outcome: CallOutcome, error: str, value: JsonValue
    ) -> None:
        """It ended; in the same context as `call_began`.  `value` is the task's content."""

    def refused(self, turn: TurnSeen, tool: str, error: str) -> None:
        """The gate refused a call; `tool` is "" where there is no such tool, `error` a code."""


class ModelCall(functools.partial[V]):
    """A function that asks a model; see `model_call`."""

    used: ModelUsed


def model_call(
    fn: Callable[..., V],
    /,
    *,
    model: str,
    provider: str = "",
    usage: Callable[[Any], Usage | None] | None = None,
) -> ModelCall[V]:
    """The function, to be given to `TaskContext.call`, which an observer sees as a model's call.

    `usage` reads the tokens out of what the function returned, as the log has it.  Without an
    observer it changes nothing: name, arguments and result of the call are the function's own.
    """
    made = ModelCall(fn)
    made.used = ModelUsed(model, provider, usage)
    return made


def model_of(fn: Any) -> ModelUsed | None:  # noqa: ANN401  any function, bound or not
    """The model that a function asks, if it says so."""
    while isinstance(fn, functools.partial):
        if isinstance(fn, ModelCall):
            return fn.used
        fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return None


#: What there is to be told.
_NEWS: Final = tuple(name for name in vars(Observer) if not name.startswith("_"))


def _silent(*_: object, **__: object) -> None:
    """What is done where there is no method."""


def _whole(observer: object) -> Observer:
    """The observer, with nothing done where it has no method: later versions may tell more.

    Raises:
        TypeError: it has none at all.
    """
    heard = [name for name in _NEWS if hasattr(observer, name)]
    if isinstance(observer, type) or not heard:
        kind = type(observer).__name__
        raise TypeError(f"observer is of type {kind}; an object that is an Observer is accepted")
    if len(heard) == len(_NEWS):
        return cast("Observer", observer)
    whole: object = SimpleNamespace(**{name: getattr(observer, name, _silent) for name in _NEWS})
    return cast("Observer", whole)


class Told:
    """Tells an observer, and keeps what it raises from everybody else."""

    def __init__(self, observer: Observer) -> None:
        self.to: Final = _whole(observer)
        #: What it raised at already: its log is not filled with that.
        self._faulty: Final[set[str]] = set()

    def tell(self, news: Callable[P, V], *about: P.args, **named: P.kwargs) -> V | None:
        """Call a method of the observer; what it gives, None if it raises."""
        try:
            return news(*about, **named)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  it has no say
            what = getattr(news, "__name__", "news")
            if what not in self._faulty:
                self._faulty.add(what)
                # Not its words: it may have been told what is secret.
                kind = type(error).__name__
                _log.error("the observer failed at %r with %s; this is said once", what, kind)
        return None

    @contextmanager
    def submitting(self, said: Submitted, agent: str) -> Generator[None]:
        """A block that submits a task.

        The trace context of who submits goes into what is stored, if it is well-formed.
        """
        task_id, owner, context_id = said["task_id"], said["owner"], said["context_id"]
        trace = cast("object", self.tell(self.to.submitting, task_id, owner, context_id, agent))
        if isinstance(trace, str) and _TRACE.fullmatch(trace):
            said["trace"] = trace
        try:
            yield
        finally:
            self.tell(self.to.submitted, task_id)


async def committed(
    store: Store, before: TaskRecord | None, commit: Commit, told: Told | None
) -> None:
    """Make moves durable, and tell whoever observes; raises what the store does."""
    if told is None:
        await store.commit(commit)
        return
    clock = asyncio.get_running_loop().time
    began = clock()
    await store.commit(commit)
    seconds = clock() - began
    told.tell(told.to.committed, before, commit.record, commit.events, seconds)


class TurnWatch:
    """Tells of one turn, and of the calls in it."""

    def __init__(self, told: Told, turn: TurnSeen) -> None:
        self._told: Final = told
        self._turn: Final = turn
        self._over = False

    def began(self, context: contextvars.Context) -> None:
        """See `Observer.turn_began`."""
        self._told.tell(self._told.to.turn_began, self._turn, context)

    def ended(self, outcome: TurnOutcome, error: BaseException | None = None) -> None:
        """See `Observer.turn_ended`; told once."""
        if not self._over:
            self._over = True
            failed = outcome == "failed" and error is not None
            said = code_of(error) if failed and error is not None else ""
            self._told.tell(self._told.to.turn_ended, self._turn, outcome, said)

    def refused(self, tool: str, code: str) -> None:
        """See `Observer.refused`."""
        self._told.tell(self._told.to.refused, self._turn, tool, code)

    def call(
        self, key: str, name: str, arguments: JsonObject, fn: object, tool: str
    ) -> "CallWatch":
        """Tells of one call."""
        seen = CallSeen(self._turn, key, name, tool, model_of(fn), arguments)
        return CallWatch(self._told, seen)


class CallWatch:
    """Tells of one call."""

    def __init__(self, told: Told, call: CallSeen) -> None:
        self._told: Final = told
        self._call: Final = call

    def began(self) -> None:
        """See `Observer.call_began`."""
        self._told.tell(self._told.to.call_began, self._call)

    def ended(self, error: BaseException | None, value: JsonValue) -> None:
        """See `Observer.call_ended`."""
        outcome, said = self._came_to(error, value)
        self._told.tell(self._told.to.call_ended, self._call, outcome, said, value)

    def _came_to(self, error: BaseException | None, value: JsonValue) -> tuple[CallOutcome, str]:
        if isinstance(error, TaskParked | TaskStopped):
            return "cut", ""
        if error is not None:
            return ("failed", code_of(error)) if isinstance(error, Exception) else ("cut", "")
        if self._call.tool:
            # In the form of the log, see `_outcome`.
            match value:
                case {"unfinished": _}:
                    return "unfinished", ""
                case {"result": {"is_error": True}}:
                    return "failed", "tool_error"
                case _:
                    pass
        return "returned", ""


def code_of(error: BaseException) -> str:
    """What stands for an error where its words may be secret."""
    return str(error.code) if isinstance(error, EngineError) else type(error).__name__
