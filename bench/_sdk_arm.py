"""The baseline: a2a-sdk's own handler and memory store around the least agent it allows.

The agent says what Interlock's arm says: a request is completed with its text, and one
that begins with "ask" first asks which city.  `sdk` is the cheapest form, a Task and a
COMPLETED that carries the result as its message: two events.  `sdk_artifact` gives the
result as an artifact, as Interlock does and as the SDK's samples do: three events.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from a2a.helpers.proto_helpers import (
    new_task_from_user_message,
    new_text_message,
    new_text_part,
)
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette


class Minimal(AgentExecutor):
    """Answers at once, or after one question."""

    def __init__(self, *, artifact: bool) -> None:
        self._artifact = artifact

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Complete, or ask and return."""
        message = context.message
        assert message is not None
        assert context.task_id is not None
        assert context.context_id is not None
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        text = message.parts[0].text
        if context.current_task is None:
            message.task_id, message.context_id = context.task_id, context.context_id
            await event_queue.enqueue_event(new_task_from_user_message(message))
            if text.startswith("ask"):
                question = new_text_message(
                    "Which city?", context_id=context.context_id, task_id=context.task_id
                )
                await updater.requires_input(question)
                return
        await self._complete(updater, f"done: {text}")

    async def _complete(self, updater: TaskUpdater, result: str) -> None:
        if self._artifact:
            await updater.add_artifact([new_text_part(result)], name="result")
            await updater.complete()
        else:
            await updater.complete(
                new_text_message(result, context_id=updater.context_id, task_id=updater.task_id)
            )

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Say that it is cancelled."""
        assert context.task_id is not None
        assert context.context_id is not None
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def card(url: str = "http://127.0.0.1/rpc") -> AgentCard:
    """The card of every arm."""
    return AgentCard(
        name="bench",
        description="Answers at once.",
        version="1",
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        capabilities=AgentCapabilities(streaming=True),
        skills=[AgentSkill(id="answer", name="answer", description="Answers.", tags=["bench"])],
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")
        ],
    )


@asynccontextmanager
async def _served(*, artifact: bool) -> AsyncGenerator[Starlette]:
    handler = DefaultRequestHandler(Minimal(artifact=artifact), InMemoryTaskStore(), card())
    yield Starlette(routes=create_jsonrpc_routes(handler, "/rpc"))
    await handler.aclose()


def sdk(_database: str) -> AbstractAsyncContextManager[Starlette]:
    """The cheapest form: the result is the message of the COMPLETED status."""
    return _served(artifact=False)


def sdk_artifact(_database: str) -> AbstractAsyncContextManager[Starlette]:
    """The customary form: the result is an artifact."""
    return _served(artifact=True)
