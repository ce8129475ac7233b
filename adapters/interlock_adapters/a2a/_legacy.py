"""JSON-RPC of version 0.3: the SDK's adapter, given only requests that it can read.

Of what it cannot read it tells the client and the log, and quotes it to both.
"""

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeAlias, TypeVar, cast

from a2a.compat.v0_3 import types
from a2a.compat.v0_3.jsonrpc_adapter import JSONRPC03Adapter
from a2a.compat.v0_3.request_handler import RequestHandler03
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.server.routes import ServerCallContextBuilder
from a2a.utils.errors import (
    A2AError,
    InvalidParamsError,
    MethodNotFoundError,
    TaskNotFoundError,
    VersionNotSupportedError,
)
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from interlock_adapters._http.shutdown import STREAM_GRACE_S
from interlock_adapters.a2a._handler import EngineHandler
from interlock_adapters.a2a._json import Json
from interlock_adapters.a2a._rpc import ANSWERS, STREAMS, written
from interlock_adapters.a2a._unquoted import UNREADABLE, faults_of, unread

_Method = TypeVar("_Method", bound=Callable[..., Any])
#: The SDK has no types for them.
_Respond: TypeAlias = Callable[[str | int | None, str, Json, Request], Awaitable[Response]]
_Models: TypeAlias = dict[str, type[BaseModel]]

#: JSON-RPC's own, for parameters.
_INVALID_PARAMS: Final = -32602
_MODELS: Final = cast("_Models", JSONRPC03Adapter.METHOD_TO_MODEL)


class LegacyRpc:
    """Responds to the requests of version 0.3."""

    def __init__(self, handler: EngineHandler, contexts: ServerCallContextBuilder) -> None:
        adapter = JSONRPC03Adapter(handler, contexts, STREAM_GRACE_S)
        adapter.handler = _Readable(handler)
        self._respond: Final = cast("_Respond", cast("Any", adapter).handle_request)

    async def respond(self, body: Json, request: Request) -> Response:
        """The response to a request (see `a2a._rpc.problem_of`); errors are responses too."""
        method: str = body["method"]
        model = _MODELS.get(method)
        if model is None:
            of_ours = method in ANSWERS or method in STREAMS
            error: A2AError = (
                VersionNotSupportedError("this method is one of version 1.0, and the call is not")
                if of_ours
                else MethodNotFoundError()
            )
            return written(build_error_response(body["id"], error))
        try:
            model.model_validate(body)
        except ValidationError as wrong:
            told = {"code": _INVALID_PARAMS, "message": "Invalid parameters"}
            refused = {**told, "data": faults_of(wrong)}
            return written({"jsonrpc": "2.0", "id": body["id"], "error": refused})
        return await self._respond(body["id"], method, body, request)


def _answer(of: _Method) -> _Method:
    @functools.wraps(of)
    async def answer(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401  whatever it takes
        try:
            return await of(*args, **kwargs)
        except UNREADABLE as error:
            raise InvalidParamsError(unread(error)) from None

    return cast("_Method", answer)


def _stream(of: _Method) -> _Method:
    @functools.wraps(of)
    async def stream(*args: Any, **kwargs: Any) -> AsyncGenerator[object]:  # noqa: ANN401  as above
        try:
            async with aclosing(of(*args, **kwargs)) as shown:
                async for one in shown:
                    yield one
        except UNREADABLE as error:
            raise InvalidParamsError(unread(error)) from None

    return cast("_Method", stream)


class _Readable(RequestHandler03):
    """Makes version 1.0 of requests, and an A2A error of what cannot be made that.

    What the engine's handler raises is an A2A error already.
    """

    on_message_send = _answer(RequestHandler03.on_message_send)
    on_message_send_stream = _stream(RequestHandler03.on_message_send_stream)
    on_cancel_task = _answer(RequestHandler03.on_cancel_task)
    on_subscribe_to_task = _stream(RequestHandler03.on_subscribe_to_task)
    on_get_task = _answer(RequestHandler03.on_get_task)

    @_answer
    async def on_get_task_push_notification_config(
        self, request: types.GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> types.TaskPushNotificationConfig:
        """Also without the id of the config: then the first of the task (0.3 §7.6)."""
        if isinstance(request.params, types.GetTaskPushNotificationConfigParams):
            return await super().on_get_task_push_notification_config(request, context)
        every = types.ListTaskPushNotificationConfigRequest(
            id=request.id,
            params=types.ListTaskPushNotificationConfigParams(id=request.params.id),
        )
        for found in await super().on_list_task_push_notification_configs(every, context):
            return found
        raise TaskNotFoundError

    on_create_task_push_notification_config = _answer(
        RequestHandler03.on_create_task_push_notification_config
    )
    on_list_task_push_notification_configs = _answer(
        RequestHandler03.on_list_task_push_notification_configs
    )
    on_delete_task_push_notification_config = _answer(
        RequestHandler03.on_delete_task_push_notification_config
    )
