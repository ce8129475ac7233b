"""What the Tasks extension of MCP (SEP-2663) says on the wire, as far as a client needs it.

The SDK has the hooks for extensions and not this one.  Its status names are used here only.
"""

from typing import Any, ClassVar, Final, Literal

import mcp_types as wire
from mcp.client import ClaimContext, ClientExtension, ResultClaim
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

#: Seconds between two questions how a task is, if the server does not say, and bounds for that.
POLL_S: Final = 0.5
POLL_MIN_S: Final = 0.05
POLL_MAX_S: Final = 60.0


class _Fields(wire.Result):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow"
    )

    task_id: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    status_message: str | None = None
    poll_interval_ms: float | None = Field(default=None, allow_inf_nan=False)

    @property
    def poll_s(self) -> float:
        """When to ask again."""
        wanted = POLL_S if self.poll_interval_ms is None else self.poll_interval_ms / 1000
        return min(max(wanted, POLL_MIN_S), POLL_MAX_S)


class Created(_Fields):
    """The answer to a call that became a task."""

    result_type: Literal["task"] = "task"


class Detailed(_Fields):
    """How a task is."""

    result_type: str = "complete"
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    input_requests: wire.InputRequests | None = None


class TaskParams(wire.RequestParams):
    """Which task is meant."""

    task_id: str = Field(alias="taskId")


class UpdateParams(TaskParams):
    """Answers for a task."""

    input_responses: dict[str, Any] = Field(alias="inputResponses")


class GetTask(wire.Request[TaskParams, Literal["tasks/get"]]):
    """Ask how it is."""

    method: Literal["tasks/get"] = "tasks/get"
    name_param = "taskId"


class UpdateTask(wire.Request[UpdateParams, Literal["tasks/update"]]):
    """Here are answers."""

    method: Literal["tasks/update"] = "tasks/update"
    name_param = "taskId"


class CancelTask(wire.Request[TaskParams, Literal["tasks/cancel"]]):
    """Stop it."""

    method: Literal["tasks/cancel"] = "tasks/cancel"
    name_param = "taskId"


class TasksExtension(ClientExtension):
    """Tells servers that a call may become a task: what then comes is for `mcp_tools._leg`."""

    identifier = "io.modelcontextprotocol/tasks"

    def claims(self) -> tuple[ResultClaim[Created]]:
        """See `ClientExtension`."""
        return (ResultClaim(result_type="task", model=Created, resolve=_never),)


async def _never(_created: Created, _context: ClaimContext) -> wire.CallToolResult:
    raise AssertionError("calls are sent by the session, which resolves nothing")
