"""Tools as agents see them, with the gate inside: whoever calls one, it is asked of the task.

A tool that no run has taken up, or whose run is over, refuses: it fails closed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from smolagents import Tool as LibraryTool  # type: ignore[import-untyped]  # it has no types

from interlock import JsonObject, JsonValue
from interlock.errors import Denied, EngineError
from interlock.tools import Tool, ToolCall, ToolResult
from interlock_adapters.smolagents._run import NotGated, Seat
from interlock_adapters.smolagents._schema import identifier, inputs_of, omissible
from interlock_adapters.smolagents._show import Shown
from interlock_adapters.smolagents._source import OwnTool
from interlock_adapters.smolagents._types import LibTool

__all__ = [
    "AskAuth",
    "AskUser",
    "Came",
    "GatedTool",
    "OwnGated",
    "ToolCallFailed",
    "ToolboxTool",
    "Wanted",
    "came_of",
    "made",
]


class ToolCallFailed(Exception):
    """Raised in code that a model wrote: the call did not come to a result."""


@dataclass(frozen=True, slots=True)
class Came:
    """What a call came to, as a model is told."""

    text: str
    #: As code gets it.
    value: object = None
    failed: bool = False


class GatedTool(LibraryTool):  # type: ignore[misc]  # the library has no types
    """A tool whose every call passes the gate of the task that its agent runs for."""

    skip_forward_signature_validation = True
    #: The arguments that are left out when a model sends null.
    omitted: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]  # as above
        self.is_initialized = True
        self._seat: Seat | None = None

    def taken_by(self, seat: Seat) -> Self:
        """The same tool, for one agent in one run."""
        taken = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(taken, name, value)
        taken._seat = seat
        return taken

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Itself: a copy would stand for the same calls."""
        return self

    def __reduce__(self) -> str:
        """Nothing: what it stands for lives in this process.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"the gated tool {self.name!r} cannot be sent elsewhere")

    def __call__(self, *args: object, **kwargs: object) -> object:
        """What the call comes to; `sanitize_inputs_outputs` is the library's and means nothing.

        Raises:
            ToolCallFailed: it did not come to a result.
            NotGated: no task stands behind the tool.
        """
        seat = self._seat
        if seat is None:
            raise NotGated(f"the tool {self.name!r} is called outside of its agent's run")
        kwargs.pop("sanitize_inputs_outputs", None)
        arguments = self.arguments_of(args, kwargs)
        with seat.run.at_work():
            key = seat.next_key()
            if not json_like(arguments):
                raise ToolCallFailed(not_json(self.name))
            Shown(seat).call(seat.last_call, self.name, cast("JsonValue", arguments))
            (came,) = made(seat, [Wanted(self, arguments, key)])
        if came.failed:
            raise ToolCallFailed(came.text)
        return came.value

    def arguments_of(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, Any]:
        """The arguments by name, as the library reads them.

        Raises:
            TypeError: there are more than the tool has.
        """
        names = list(self.inputs)
        if len(args) == 1 and not kwargs and isinstance(args[0], dict):
            given = cast("dict[str, Any]", args[0])
            if all(name in names for name in given):
                args, kwargs = (), given
        if len(args) > len(names):
            raise TypeError(f"{self.name} takes {len(names)} arguments, and {len(args)} were given")
        both = {**dict(zip(names, args, strict=False)), **kwargs}
        return {
            name: value
            for name, value in both.items()
            if not (value is None and name in self.omitted)
        }

    def forward(self, *args: object, **kwargs: object) -> object:
        """See `__call__`."""
        return self(*args, **kwargs)

    def asked(self, seat: Seat, arguments: JsonObject, key: str) -> Came:
        """Ask it of the task, if it is no tool that a source has.

        Raises:
            EngineError: it was not done.
        """
        raise NotImplementedError

    def call(self, arguments: JsonObject, key: str) -> ToolCall | None:
        """The call that passes the gate; None for what is asked of the task itself."""
        raise NotImplementedError


class ToolboxTool(GatedTool):
    """A tool of the engine's toolbox."""

    def __init__(self, tool: Tool, name: str) -> None:
        self.name = identifier(name)
        self.description = tool.description or tool.title or tool.name
        self.inputs = inputs_of(tool.input_schema)
        self.output_type = "any"
        self.output_schema = tool.output_schema
        self.omitted = omissible(tool.input_schema)
        self._qualified: Final = tool.qualified
        super().__init__()

    def call(self, arguments: JsonObject, key: str) -> ToolCall:
        """See `GatedTool.call`."""
        return ToolCall(self._qualified, arguments, key)


class OwnGated(GatedTool):
    """A tool that the agent brought: not in the toolbox, and behind the same gate."""

    def __init__(self, inner: LibTool) -> None:
        self.name = inner.name
        self.description = inner.description
        self.inputs = inner.inputs
        self.output_type = inner.output_type
        self.output_schema = getattr(inner, "output_schema", None)
        self._source: Final = OwnTool(inner)
        super().__init__()

    def call(self, arguments: JsonObject, key: str) -> ToolCall:
        """See `GatedTool.call`."""
        source = self._source
        return ToolCall(source.tool.name, arguments, key, tool=source.tool, source=source)


class AskUser(GatedTool):
    """Asks the task's owner a question, and parks the task until it is answered."""

    def __init__(self) -> None:
        self.name = "ask_user"
        self.description = "Asks the user a question, and returns the answer."
        self.inputs = {"question": {"type": "string", "description": "The question to ask."}}
        self.output_type = "string"
        super().__init__()

    def call(self, arguments: JsonObject, key: str) -> None:
        """See `GatedTool.call`."""

    def asked(self, seat: Seat, arguments: JsonObject, key: str) -> Came:
        """See `GatedTool.asked`."""
        answer = seat.run.task.ask(_text(arguments, "question"), key=key)
        return Came(answer, answer)


class AskAuth(GatedTool):
    """Asks the task's owner for leave to do something; a yes lets no other call through."""

    def __init__(self) -> None:
        self.name = "ask_auth"
        self.description = (
            "Asks the user to allow something that you are about to do, and returns whether it is "
            "allowed. Tools that need approval ask for it themselves: this does not replace that."
        )
        self.inputs = {"request": {"type": "string", "description": "What is to be allowed."}}
        self.output_type = "string"
        super().__init__()

    def call(self, arguments: JsonObject, key: str) -> None:
        """See `GatedTool.call`."""

    def asked(self, seat: Seat, arguments: JsonObject, key: str) -> Came:
        """See `GatedTool.asked`."""
        request = _text(arguments, "request")
        try:
            seat.run.task.authorize(
                self.name, {"request": request}, prompt=request, on_deny="tell_agent", key=key
            )
        except Denied as error:
            why = f": {error.reason}" if error.reason else ""
            answer = f"The user did not allow it{why}"
        else:
            answer = "The user allowed it."
        return Came(answer, answer)


def _text(arguments: JsonObject, name: str) -> str:
    """The one argument, a text.

    Raises:
        ToolCallFailed: it is none, or there are others.
    """
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip() or len(arguments) > 1:
        raise ToolCallFailed(f"it takes one argument, {name!r}, a text")
    return value


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call that an agent wants made."""

    tool: GatedTool
    arguments: dict[str, Any]
    #: By which the log knows it (`Seat.call_key`).
    key: str


def made(seat: Seat, wanted: Sequence[Wanted]) -> list[Came]:
    """Make calls at once: each passes the gate on its own, and what each came to is told.

    First all that sources have, then what is asked of the user, one after the other.
    """
    came: dict[int, Came] = {}
    gated: dict[int, ToolCall] = {}
    for at, one in enumerate(wanted):
        call = one.tool.call(one.arguments, one.key)
        if call is not None:
            gated[at] = call
    with seat.run.at_work():
        if gated:
            results = seat.run.task.call_tools(list(gated.values()))
            for at, result in zip(gated, results, strict=True):
                came[at] = came_of(wanted[at].tool.name, result)
        for at, one in enumerate(wanted):
            if at not in gated:
                came[at] = _asked(seat, one)
    return [came[at] for at in range(len(wanted))]


def _asked(seat: Seat, one: Wanted) -> Came:
    try:
        return one.tool.asked(seat, one.arguments, one.key)
    except (EngineError, ToolCallFailed) as error:
        return Came(f"{one.tool.name}: {error}", failed=True)


def came_of(name: str, result: ToolResult | EngineError) -> Came:
    """What a model is told of what a call came to."""
    if isinstance(result, Denied):
        why = f": {result.reason}" if result.reason else ""
        return Came(f"{name} was not run, since the user denied it{why}", failed=True)
    if isinstance(result, EngineError):
        return Came(f"{name}: {result}", failed=True)
    text = text_of(result)
    if result.is_error:
        return Came(text or f"{name} failed", failed=True)
    structured = "structured" in result.model_fields_set
    return Came(text, result.structured if structured else text)


def text_of(result: ToolResult) -> str:
    """A result as a model reads it: what its parts say, or its structure."""
    pieces: list[str] = []
    for part in result.parts:
        if part.text is not None:
            pieces.append(part.text)
        elif part.url is not None:
            pieces.append(part.url)
        elif part.raw is not None:
            pieces.append(f"[{part.media_type or 'binary'}]")
        else:
            pieces.append(as_json(part.data))
    if not pieces and "structured" in result.model_fields_set:
        pieces.append(as_json(result.structured))
    return "\n".join(pieces)


def as_json(value: JsonValue) -> str:
    """JSON as a model reads it."""
    return json.dumps(value, ensure_ascii=False)


def json_like(value: object) -> bool:
    """Whether a value has JSON: what has none cannot be shown, approved or written down."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def not_json(name: str) -> str:
    """What a model is told whose arguments have no JSON."""
    return f"{name} was not called: its arguments must be text, numbers, lists or objects"
