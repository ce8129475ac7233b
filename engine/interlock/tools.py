"""What tools are: what a source offers, what a call comes to, what a source is told of a call.

A source is whatever has tools: functions of the service itself, an MCP server through an
adapter.  It knows nothing of policies or asks: every call comes to it through the gate
(`_gate`), which has checked, asked and written down before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

from pydantic import Field, model_validator

from interlock.models import JsonObject, JsonValue, Part, Value

__all__ = [
    "Question",
    "Refreshable",
    "Tool",
    "ToolCall",
    "ToolOutcome",
    "ToolResult",
    "ToolSource",
    "ToolUse",
    "Unfinished",
]

V = TypeVar("V")

#: The source of the functions that a toolbox is made with, and of an agent's own tools.
LOCAL: Final = "local"


class Tool(Value):
    """A tool as its source describes it; what it says of itself is a claim, not a policy."""

    #: As the source knows it.
    name: str = Field(min_length=1)
    #: The name of its source, without a slash.
    source: str = Field(default=LOCAL, pattern="^[^/]+$")
    description: str = ""
    title: str | None = None
    #: JSON schemas of the arguments, an object, and of `ToolResult.structured`.
    input_schema: JsonObject = Field(default_factory=lambda: JsonObject(type="object"))
    output_schema: JsonObject | None = None
    #: Whether it may be called again where nobody knows if it was (MCP `idempotentHint`).
    idempotent: bool = False

    @property
    def qualified(self) -> str:
        """`source/name`: unlike that of any other tool."""
        return f"{self.source}/{self.name}"


class ToolResult(Value):
    """What a call came to, in the form that the journal keeps."""

    parts: tuple[Part, ...] = ()
    #: Absent unless it was set; None may be a value.
    structured: JsonValue = None
    #: The tool says itself that it failed; an agent is told, and may try otherwise.
    is_error: bool = False

    @property
    def text(self) -> str:
        """All text parts, joined by line breaks."""
        return "\n".join(part.text for part in self.parts if part.text is not None)

    @property
    def value(self) -> JsonValue:
        """The structured result if there is one, else the text."""
        return self.structured if "structured" in self.model_fields_set else self.text


class Question(Value):
    """Something that a tool wants to know before it goes on."""

    prompt: str = Field(min_length=1)
    #: The JSON schema of the answer.
    form: JsonObject


class Unfinished(Value):
    """The tool is not done: it wants answers, or simply to be gone on with.

    The questions become asks of the task, which is parked until all are answered.
    """

    questions: dict[str, Question] = Field(default_factory=dict)
    #: What the source needs to go on; it is in the log, so no secret.
    token: JsonValue = None
    #: Whether the next leg may be made again if a crash comes within it.
    repeatable: bool = False

    @model_validator(mode="after")
    def _names(self) -> Self:
        if not all(self.questions):
            raise ValueError("a question has a name")
        return self


ToolOutcome: TypeAlias = ToolResult | Unfinished


class ToolUse(Protocol):
    """One call, as its source sees it."""

    @property
    def task_id(self) -> str:
        """The task that calls."""
        ...

    @property
    def owner(self) -> str:
        """Whose task it is."""
        ...

    @property
    def token(self) -> str:
        """The idempotency key: the same whenever this very call is made again."""
        ...

    @property
    def carried(self) -> Mapping[str, str]:
        """What the task's requests carried, by lower-case names; empty after a restart."""
        ...

    @property
    def put_aside(self) -> bool:
        """When it is cancelled: whether that is to go on later, after a restart perhaps.

        What goes on elsewhere by itself, and can be asked for again, is then not stopped.
        """
        ...

    async def ask(self, name: str, prompt: str, form: JsonObject) -> JsonValue:
        """Ask a person while the call is open; their time does not count for its timeout.

        Not durable, unlike `Unfinished`: after a crash the call is in doubt.

        Raises:
            Denied: nobody answered in time, and the task goes on all the same.
        """
        ...

    async def progress(self, message: str, fraction: float | None = None) -> None:
        """Say in one line how far the work is; `fraction` is between 0 and 1."""

    async def on_thread(self, work: Callable[[], V]) -> V:
        """What a blocking function returns, run on a thread of its own.

        When the task is stopped meanwhile its end is waited for, since it cannot be cut short.
        """
        ...


@runtime_checkable
class ToolSource(Protocol):
    """Where tools come from.

    A leg that raises is told to the agent as `CallFailed`, without the message, which may hold
    a secret; `ToolError` has one that may be shown.  A leg is cancelled when its time is up or
    its task is stopped, and then stops what it began.
    """

    @property
    def name(self) -> str:
        """Its name in the service's own words, without a slash."""
        ...

    async def open(self) -> None:
        """Connect and find out what tools there are.

        Raises:
            SourceUnavailable: it cannot be reached, and is not optional.
        """

    async def close(self) -> None:
        """Let go of everything."""

    def tools(self) -> Sequence[Tool]:
        """What it offers as far as it knows; may change between two calls.

        A source that may be away says so with an attribute `available`, and one that can be
        asked anew is `Refreshable`.
        """
        ...

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolOutcome:
        """Begin a call: its first leg."""
        ...

    async def go_on(
        self,
        tool: Tool,
        arguments: JsonObject,
        token: JsonValue,
        answers: JsonObject,
        use: ToolUse,
    ) -> ToolOutcome:
        """The next leg, with the answers to the questions of the one before, by their names."""
        ...


@runtime_checkable
class Refreshable(Protocol):
    """A source that can be asked anew what it has, besides of what it notices by itself."""

    async def refresh(self, check: Callable[[Sequence[Tool]], None]) -> None:
        """Find out anew what tools there are, and have them from the next call on.

        `check` is told them at once before; if it raises, they stay as they were.

        Raises:
            SourceUnavailable: it cannot be reached; the tools stay as they were.
            Exception: what `check` raises.
        """


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that an agent wants made."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    key: str | None = None
    #: For a tool that is in no toolbox, such as an agent's own: it meets the same gate.
    tool: Tool | None = None
    source: ToolSource | None = None
