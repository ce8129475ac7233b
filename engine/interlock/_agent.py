"""What an agent is, what it may yield, and how what it returns becomes a result.

An agent is an async function, a plain function (run on a thread of its own) or an
async generator of requests.  All three speak to their task through a context.
"""

import enum
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from interlock._form import FormLike
from interlock._json import dumped, own_copy
from interlock._phases import Phase
from interlock._record import OnDeny
from interlock.errors import InvalidInput, ResultInvalid
from interlock.models import JsonObject, JsonValue, Part

if TYPE_CHECKING:
    from interlock._context import TaskContext
    from interlock._sync import SyncTaskContext


class _Missing(enum.Enum):
    MISSING = "missing"


#: Tells "no default" from a default of None.
MISSING: Final = _Missing.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorize:
    """Yielded: wants leave for one tool call; the reply is the approved arguments."""

    tool: str
    arguments: Mapping[str, JsonValue]
    prompt: str | None = None
    schema: Mapping[str, JsonValue] | None = None
    allow_edit: bool = False
    on_deny: OnDeny = "stop"
    expires_s: float | None = None
    approvers: Sequence[str] = ()
    key: str | None = None
    phase: Phase | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Yielded: wants a value; the reply is the answer, validated by the form."""

    prompt: str
    form: FormLike = str
    default: Any = field(default=MISSING, kw_only=True)
    expires_s: float | None = field(default=None, kw_only=True)
    approvers: Sequence[str] = field(default=(), kw_only=True)
    key: str | None = field(default=None, kw_only=True)
    phase: Phase | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Emit:
    """Yielded: an artifact, or one chunk of it; the reply is the artifact's id."""

    content: "Content"
    artifact_id: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    append: bool = field(default=False, kw_only=True)
    last_chunk: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Progress:
    """Yielded: a line for people, and how much of the whole is done (0..1)."""

    message: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Yielded last: what the task comes to.  An async generator cannot return a value."""

    value: Any


Request: TypeAlias = Ask | Authorize | Emit | Progress | Result
Content: TypeAlias = str | Part | Sequence[Part] | Mapping[str, JsonValue]

AsyncAgent: TypeAlias = "Callable[[TaskContext], Awaitable[Any]]"
SyncAgent: TypeAlias = "Callable[[SyncTaskContext], Any]"
GeneratorAgent: TypeAlias = "Callable[[TaskContext], AsyncGenerator[Request, Any]]"
Agent: TypeAlias = "AsyncAgent | SyncAgent | GeneratorAgent"

#: The name of the agent of an engine that was given one, and no names.
THE_AGENT: Final = "agent"


class AgentKind(enum.Enum):
    """How an agent is run."""

    #: An async function, on the event loop.
    ASYNC = "async"
    #: An async generator of requests, on the event loop.
    GENERATOR = "generator"
    #: A plain function, on a thread of its own.
    THREAD = "thread"


def kind_of(agent: Agent) -> AgentKind:
    """How the agent is to be run; partials and callable objects are looked through.

    Raises:
        TypeError: it is of no kind that can be run.
    """
    given: object = agent
    if not callable(given) or _is(inspect.isgeneratorfunction, given):
        kind = "a plain generator function" if callable(given) else "not callable"
        raise TypeError(
            f"the agent is {kind}; an async function, a plain function or "
            "an async generator function is accepted"
        )
    if _is(inspect.isasyncgenfunction, agent):
        return AgentKind.GENERATOR
    if _is(inspect.iscoroutinefunction, agent):
        return AgentKind.ASYNC
    return AgentKind.THREAD


class Agents:
    """The agents of an engine, by name.  The first is for tasks that name none."""

    def __init__(self, given: "Agent | Mapping[str, Agent]") -> None:
        """One agent, or several by name.

        Raises:
            TypeError: one is of no kind that can be run.
            InvalidInput: there is none, or a name is no text.
        """
        untyped: object = given
        if isinstance(untyped, Mapping):
            named = dict(cast("Mapping[str, Agent]", untyped))
        else:
            named = {THE_AGENT: cast("Agent", given)}
        if not named:
            raise InvalidInput(
                ["there is no agent; one, or a mapping of names to agents is accepted"]
            )
        problems = [
            f"{name!r:.80} is no name of an agent; a text that is not empty is accepted"
            for name in cast("Mapping[object, Agent]", named)
            if not isinstance(name, str) or not name
        ]
        if problems:
            raise InvalidInput(problems)
        self.by_name: Final[Mapping[str, Agent]] = MappingProxyType(named)
        self._kinds: Final = {name: _kind_of_named(name, named[name]) for name in named}
        self._first: Final = next(iter(named))
        #: What the log of a task that names none is to say: another one may be the first one day.
        #: The only one of an engine is whatever it is given.
        self.default: Final = self._first if isinstance(untyped, Mapping) else None

    def problems_of(self, name: object) -> list[str]:
        """What is wrong with a name by which somebody asks for an agent; None is the first."""
        if name is None or (isinstance(name, str) and name in self.by_name):
            return []
        accepted = ", ".join(map(repr, self.by_name))
        return [f"there is no agent {name!r:.80}; accepted is {accepted}"]

    def name_of(self, request: Mapping[str, Any]) -> str:
        """The name of the agent that a submission is for; there may be none of that name."""
        return cast("str", request.get("agent", request.get("default_agent", self._first)))

    def named(self, name: str) -> tuple[Agent, AgentKind] | None:
        """The agent of that name, and how it is run; None if there is none."""
        kind = self._kinds.get(name)
        return None if kind is None else (self.by_name[name], kind)


def _kind_of_named(name: str, agent: Agent) -> AgentKind:
    try:
        return kind_of(agent)
    except TypeError as error:
        raise TypeError(f"{name!r:.80}: {error}") from None


def _is(test: Callable[[Any], bool], agent: object) -> bool:
    bare: Any = agent
    while isinstance(bare, functools.partial):
        bare = bare.func
    return test(bare) or test(type(bare).__call__)


def result_parts(value: Any, *, bytes_max: int) -> list[JsonObject]:
    """What an agent returned, as the parts that are stored; nobody else holds them.

    Raises:
        ResultInvalid: it is not text, parts or JSON, or it is too large.
    """
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise ResultInvalid("the agent returned an awaitable; make it an async function")
    try:
        parts = _parts(value)
    except Exception as error:  # noqa: BLE001  a model's own code runs here
        # A model may hold what has no JSON; what pydantic says of it would quote it.
        raise ResultInvalid(f"the result is not JSON ({type(error).__name__})") from None
    copy = own_copy(parts, what="the result", bytes_max=bytes_max)
    return cast("list[JsonObject]", copy)


def _parts(value: Any) -> list[JsonObject]:
    match value:
        case None:
            return []
        case str():
            return [{"text": value}]
        case Part():
            return [value.to_json()]
        case [Part(), *_]:
            return [_part(part) for part in value]
        case _:
            return [{"data": dumped(value)}]


def _part(part: Any) -> JsonObject:
    return part.to_json() if isinstance(part, Part) else {"data": dumped(part)}
