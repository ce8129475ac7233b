"""What of smolagents is used here, under types: the library itself has none.

Nothing but shapes: an object of the library is cast to one where it comes in.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

__all__ = [
    "CallLike",
    "DeltaLike",
    "Factory",
    "LibAgent",
    "LibExecutor",
    "LibModel",
    "LibTool",
    "MessageLike",
    "StepLike",
    "UsageLike",
]

#: `(task, tools) -> agent`, a new agent for every run.
Factory: TypeAlias = Callable[[Any, list[Any]], Any]


class FunctionLike(Protocol):
    """What a call of a message calls."""

    name: str
    arguments: Any


class CallLike(Protocol):
    """`ChatMessageToolCall`."""

    id: Any
    function: FunctionLike


class UsageLike(Protocol):
    """`TokenUsage`."""

    input_tokens: int
    output_tokens: int


class MessageLike(Protocol):
    """`ChatMessage`."""

    role: Any
    content: Any
    tool_calls: list[CallLike] | None
    token_usage: UsageLike | None


class DeltaLike(Protocol):
    """`ChatMessageStreamDelta`."""

    content: str | None


class StepLike(Protocol):
    """`ActionStep` and `PlanningStep`, as much as both have or one has."""

    step_number: int
    tool_calls: list[Any] | None
    error: Exception | None
    observations: str | None
    is_final_answer: bool
    plan: str


class LibTool(Protocol):
    """`smolagents.Tool`."""

    name: str
    description: str
    inputs: dict[str, dict[str, Any]]
    output_type: str
    output_schema: dict[str, Any] | None

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run it."""
        ...


class LibModel(Protocol):
    """`smolagents.Model`."""

    model_id: str | None
    flatten_messages_as_text: bool
    tool_name_key: str
    tool_arguments_key: str

    def generate(self, messages: Any, **options: Any) -> MessageLike:  # noqa: ANN401
        """One answer."""
        ...

    def generate_stream(self, messages: Any, **options: Any) -> Iterator[DeltaLike]:  # noqa: ANN401
        """One answer, piece by piece; not every model has it."""
        ...

    def parse_tool_calls(self, message: MessageLike) -> MessageLike:
        """Read tool calls out of a text."""
        ...


class Callbacks(Protocol):
    """`CallbackRegistry`."""

    def register(self, step_cls: type[Any], callback: Callable[[Any], None]) -> None:
        """Call it at the end of each step of that class."""


class LibExecutor(Protocol):
    """`LocalPythonExecutor`."""

    state: dict[str, Any]
    timeout_seconds: float | None
    additional_functions: dict[str, Any]
    authorized_imports: list[str]
    static_tools: dict[str, Any]

    def __call__(self, code_action: str) -> Any:  # noqa: ANN401  the library's own
        """Run code that a model wrote."""
        ...

    def send_tools(self, tools: dict[str, Any]) -> None:
        """Tell it the tools."""

    def send_variables(self, variables: dict[str, Any]) -> None:
        """Tell it variables."""


class LibAgent(Protocol):
    """`MultiStepAgent`."""

    name: str | None
    model: Any
    tools: dict[str, Any]
    managed_agents: dict[str, Any]
    instructions: str | None
    system_prompt: str
    prompt_templates: dict[str, Any]
    max_steps: int
    step_number: int
    state: dict[str, Any]
    stream_outputs: bool
    step_callbacks: Callbacks
    logger: Any
    monitor: Any
    python_executor: LibExecutor
    run: Callable[..., object]
    process_tool_calls: Callable[[MessageLike, Any], Iterator[object]]

    def execute_tool_call(self, tool_name: str, arguments: Any) -> object:  # noqa: ANN401
        """Run one tool."""
        ...

    def __call__(self, **arguments: object) -> object:
        """Run it as a member of a team."""
        ...


#: What a model is given beside the messages.
Options: TypeAlias = dict[str, Any]
Messages: TypeAlias = Sequence[MessageLike]
