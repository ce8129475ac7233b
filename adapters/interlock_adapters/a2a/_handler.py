"""The operations as the SDK's dispatchers want them: protobuf in, protobuf out.

REST, gRPC and everything of version 0.3 go through here.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeAlias

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
)
from google.protobuf.json_format import ParseDict

from interlock_adapters.a2a._json import Json
from interlock_adapters.a2a._operations import BORDER, Operations
from interlock_adapters.a2a._request import sent_of
from interlock_adapters.a2a._view import Update, update_of

Streamed: TypeAlias = Task | Update


class EngineHandler(RequestHandler):
    """The SDK's port, over our operations."""

    def __init__(self, operations: Operations) -> None:
        self._operations: Final = operations

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task:
        """See `Operations.send`."""
        with BORDER:
            sent = sent_of(params, self._operations.settings)
            return ParseDict(await self._operations.send(sent, context), Task())

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Streamed]:
        """See `Operations.send_streaming`."""
        with BORDER:
            sent = sent_of(params, self._operations.settings)
            async with aclosing(self._operations.send_streaming(sent, context)) as stream:
                async for shown in stream:
                    yield _streamed(shown)

    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task:
        """See `Operations.get_task`."""
        with BORDER:
            return ParseDict(await self._operations.get_task(params, context), Task())

    async def on_list_tasks(
        self, params: ListTasksRequest, context: ServerCallContext
    ) -> ListTasksResponse:
        """See `Operations.list_tasks`."""
        with BORDER:
            page = await self._operations.list_tasks(params, context)
            return ParseDict(page, ListTasksResponse())

    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task:
        """See `Operations.cancel_task`."""
        with BORDER:
            return ParseDict(await self._operations.cancel_task(params, context), Task())

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Streamed]:
        """See `Operations.subscribe`."""
        with BORDER:
            async with aclosing(self._operations.subscribe(params, context)) as stream:
                async for shown in stream:
                    yield _streamed(shown)

    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """See `Operations.create_push_config`."""
        return await self._operations.create_push_config(params, context)

    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """See `Operations.push_config`."""
        return await self._operations.push_config(params, context)

    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """See `Operations.push_configs`."""
        return await self._operations.push_configs(params, context)

    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """See `Operations.delete_push_config`."""
        await self._operations.delete_push_config(params, context)

    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """See `Operations.extended_card`."""
        return await self._operations.extended_card(params, context)


def _streamed(shown: Json) -> Streamed:
    if "task" in shown:
        return ParseDict(shown["task"], Task())
    return update_of(shown)
