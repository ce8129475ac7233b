"""What goes wrong, as errors of JSON-RPC.

An error of the engine says what is so in words that are safe to show; whatever else is
raised is logged under an id, and the client is told the id.
"""

import logging
import secrets
from typing import Final

import mcp_types as wire
from mcp.shared.exceptions import MCPError

from interlock.errors import (
    AnswerInvalid,
    EngineError,
    InvalidInput,
    LimitReached,
    NotAccepting,
    Refused,
    StoreError,
    TokenReused,
    UnknownTask,
)
from interlock.models import JsonObject
from interlock_adapters._callers.quota import note_miss

_log: Final = logging.getLogger("interlock.mcp")

#: Why an answer was refused that came after another one.
ANSWERED: Final = "already_answered"
#: The Tasks extension (SEP-2663).
TASKS: Final = "io.modelcontextprotocol/tasks"


class McpFault(EngineError):
    """Raised by an agent: its task ends with this JSON-RPC error instead of a result.

    A failure that the caller's model should read and act on is no fault: raise any other
    error for it, or return what went wrong.
    """

    def __init__(self, code: int, message: str) -> None:
        """`code` is one of JSON-RPC, such as -32602."""
        self.code: str = f"{FAULT}{code}"
        super().__init__(message)


#: What the code of a fault begins with, in the log.
FAULT: Final = "jsonrpc:"


def needs(capabilities: JsonObject, why: str) -> MCPError:
    """The client has not declared what this needs (-32021)."""
    data = {"requiredCapabilities": capabilities}
    return MCPError(wire.MISSING_REQUIRED_CLIENT_CAPABILITY, why, data)


def needs_tasks() -> MCPError:
    """The client has not declared the Tasks extension."""
    why = f"the client must declare the extension {TASKS}"
    return needs({"extensions": {TASKS: {}}}, why)


def needs_elicitation() -> MCPError:
    """The client cannot be asked."""
    return needs({"elicitation": {}}, "the task asks, and the client has no elicitation")


def invalid(*problems: str, **data: object) -> MCPError:
    """Something in the request is not as it must be (-32602)."""
    return MCPError(wire.INVALID_PARAMS, "; ".join(problems), {"problems": [*problems], **data})


def unknown_task() -> MCPError:
    """There is no such task, or it is none of the caller's: which of them is not told."""
    note_miss()
    return MCPError(wire.INVALID_PARAMS, "there is no such task", {"reason": "unknown_task"})


def bad_state(why: str) -> MCPError:
    """A `requestState` that opens nothing."""
    return MCPError(wire.INVALID_PARAMS, why, {"reason": "invalid_request_state"})


def error_of(error: Exception) -> MCPError:
    """What a client is told of an error."""
    match error:
        case UnknownTask():
            return unknown_task()
        case InvalidInput() | AnswerInvalid():
            return invalid(*error.problems, reason=error.code)
        case Refused() | TokenReused():
            return MCPError(wire.INVALID_PARAMS, str(error), {"reason": error.code})
        case LimitReached() | NotAccepting():
            return MCPError(wire.INTERNAL_ERROR, str(error), _later(error))
        case StoreError():
            # Its words are the store's, and may name a file of ours.
            return _unsaid(error, "the store failed", reason=error.code)
        case _:
            return _unsaid(error, "internal error")


def _unsaid(error: Exception, told: str, **data: str) -> MCPError:
    """Log what the client is told no more of than an id."""
    error_id = secrets.token_hex(8)
    _log.error("%s %s", told, error_id, exc_info=error)
    return MCPError(wire.INTERNAL_ERROR, f"{told} ({error_id})", {**data, "errorId": error_id})


def _later(error: LimitReached | NotAccepting) -> JsonObject:
    """What is said of a refusal that is so for now only."""
    data: JsonObject = {"reason": error.code}
    if error.retry_after_s is not None:
        data["retryAfterMs"] = round(error.retry_after_s * 1000)
    return data


class Border:
    """Lets nothing but MCP errors out of a handler."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Tell the client what is its business, and the log what is ours."""
        if isinstance(error, Exception) and not isinstance(error, MCPError):
            raise error_of(error) from None


BORDER: Final = Border()
