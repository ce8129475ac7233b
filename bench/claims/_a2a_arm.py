"""The least agent on a2a-sdk's own handler that its claims need; runs where that package is."""

from collections.abc import Awaitable, Callable
from typing import Any

from a2a.helpers.proto_helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import TaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    Task,
)


class Agent(AgentExecutor):
    """Makes the task, and then does what it is told."""

    def __init__(self, work: Callable[[TaskUpdater], Awaitable[None]]) -> None:
        self._work = work

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """As a2a-sdk calls it."""
        message = context.message
        assert message is not None
        assert context.task_id is not None
        assert context.context_id is not None
        message.task_id, message.context_id = context.task_id, context.context_id
        await event_queue.enqueue_event(new_task_from_user_message(message))
        await self._work(TaskUpdater(event_queue, context.task_id, context.context_id))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Say so, which is all that an executor can do."""
        assert context.task_id is not None
        assert context.context_id is not None
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def handler_of(work: Callable[[TaskUpdater], Awaitable[None]], store: TaskStore) -> Any:  # noqa: ANN401  half of its types are unknown
    """The SDK's own handler around it."""
    card = AgentCard(
        name="claim",
        description="Does what it is told.",
        version="1",
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        capabilities=AgentCapabilities(streaming=True),
        skills=[AgentSkill(id="claim", name="claim", description="Claims.", tags=["claim"])],
        supported_interfaces=[
            AgentInterface(url="-", protocol_binding="JSONRPC", protocol_version="1.0")
        ],
    )
    return DefaultRequestHandler(Agent(work), store, card)


async def sent(handler: Any) -> Task:  # noqa: ANN401  as above
    """A first message, which is answered at once."""
    message = Message(message_id="1", role=Role.ROLE_USER, parts=[Part(text="go")])
    request = SendMessageRequest(
        message=message, configuration=SendMessageConfiguration(return_immediately=True)
    )
    answer = await handler.on_message_send(request, ServerCallContext())
    assert isinstance(answer, Task)
    return answer
