"""What is kept in the log between two legs of a call: enough to go on with it in another process.

No header is in it, and no other secret of ours; what a server gives to be sent back is its own.
"""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from interlock import JsonObject, JsonValue
from interlock.errors import ToolError
from interlock_adapters.mcp_tools._ask import Asked


class _Token(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    asked: dict[str, Asked] = Field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """The form that is kept."""
        return self.model_dump(mode="json")


class InputToken(_Token):
    """The server ended the call with questions: it is to be sent again, with the answers."""

    kind: Literal["input"] = "input"
    request_state: str | None = None
    #: How often in a row the server wanted to be asked again and asked nothing.
    rounds: int = 0


class AgainToken(_Token):
    """The server refused the call until a person has been somewhere: then it is sent again."""

    kind: Literal["again"] = "again"


class TaskToken(_Token):
    """The call became a task of the server's."""

    kind: Literal["task"] = "task"
    task_id: str
    poll_s: float
    answered: tuple[str, ...] = ()


Token = Annotated[InputToken | AgainToken | TaskToken, Field(discriminator="kind")]

_TOKEN: Final[TypeAdapter[InputToken | AgainToken | TaskToken]] = TypeAdapter(Token)


def token_of(kept: JsonValue) -> InputToken | AgainToken | TaskToken:
    """What was kept.

    Raises:
        ToolError: it was kept by something else.
    """
    try:
        return _TOKEN.validate_python(kept)
    except ValidationError:
        raise ToolError("what was kept of the call is not of an MCP call") from None
