"""JSON-RPC, version 1.0.

The SDK's dispatcher does the same, but costs more than all else of a short request, runs
notifications (which A2A does not have) and tells clients the text of any exception.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeAlias, TypeVar, cast

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.types import (
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import (
    A2AError,
    InvalidParamsError,
    InvalidRequestError,
    MethodNotFoundError,
)
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message as ProtobufMessage
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response

from interlock_adapters._http.shutdown import STREAM_GRACE_S
from interlock_adapters.a2a._json import Json, dumped
from interlock_adapters.a2a._map import EVENT, invalid_state
from interlock_adapters.a2a._operations import Operations
from interlock_adapters.a2a._request import Sent, is_text, sent_of, sent_of_json
from interlock_adapters.a2a._shared import written_out
from interlock_adapters.a2a._unquoted import UNREADABLE, unread
from interlock_adapters.a2a._view import place_of

_Request = TypeVar("_Request", bound=ProtobufMessage)
_Answer: TypeAlias = Callable[[Operations, Json, ServerCallContext], Awaitable[Json | None]]
_Stream: TypeAlias = Callable[[Operations, Json, ServerCallContext], AsyncGenerator[Json]]

_STATES: Final = frozenset(TaskState.keys())


async def _send(operations: Operations, params: Json, context: ServerCallContext) -> Json:
    return {"task": await operations.send(_sent(operations, params, context), context)}


async def _get(operations: Operations, params: Json, context: ServerCallContext) -> Json:
    return await operations.get_task(_parsed(params, GetTaskRequest(), context), context)


async def _list(operations: Operations, params: Json, context: ServerCallContext) -> Json:
    check_state(params.get("status"))
    return await operations.list_tasks(_parsed(params, ListTasksRequest(), context), context)


async def _cancel(operations: Operations, params: Json, context: ServerCallContext) -> Json:
    return await operations.cancel_task(_parsed(params, CancelTaskRequest(), context), context)


async def _create_push(operations: Operations, params: Json, context: ServerCallContext) -> Json:
    request = _parsed(params, TaskPushNotificationConfig(), context)
    return MessageToDict(await operations.create_push_config(request, context))


async def _get_push(operations: Operations, params: Json, context: ServerCallContext) -> Json:
    request = _parsed(params, GetTaskPushNotificationConfigRequest(), context)
    return MessageToDict(await operations.push_config(request, context))


async def _list_push(operations: Operations, params: Json, context: ServerCallContext) -> Json:
    request = _parsed(params, ListTaskPushNotificationConfigsRequest(), context)
    return MessageToDict(await operations.push_configs(request, context))


async def _delete_push(operations: Operations, params: Json, context: ServerCallContext) -> None:
    request = _parsed(params, DeleteTaskPushNotificationConfigRequest(), context)
    await operations.delete_push_config(request, context)


async def _extended(operations: Operations, params: Json, context: ServerCallContext) -> Json:
    request = _parsed(params, GetExtendedAgentCardRequest(), context)
    return MessageToDict(await operations.extended_card(request, context))


def _send_streaming(
    operations: Operations, params: Json, context: ServerCallContext
) -> AsyncGenerator[Json]:
    return operations.send_streaming(_sent(operations, params, context), context)


def _subscribe(
    operations: Operations, params: Json, context: ServerCallContext
) -> AsyncGenerator[Json]:
    return operations.subscribe(_parsed(params, SubscribeToTaskRequest(), context), context)


ANSWERS: Final[dict[str, _Answer]] = {
    "SendMessage": _send,
    "GetTask": _get,
    "ListTasks": _list,
    "CancelTask": _cancel,
    "CreateTaskPushNotificationConfig": _create_push,
    "GetTaskPushNotificationConfig": _get_push,
    "ListTaskPushNotificationConfigs": _list_push,
    "DeleteTaskPushNotificationConfig": _delete_push,
    "GetExtendedAgentCard": _extended,
}
STREAMS: Final[dict[str, _Stream]] = {
    "SendStreamingMessage": _send_streaming,
    "SubscribeToTask": _subscribe,
}


async def respond(operations: Operations, body: Json, context: ServerCallContext) -> Response:
    """The response to a request (see `problem_of`); errors are responses too."""
    method, params, request_id = body["method"], body.get("params", {}), body["id"]
    try:
        stream = STREAMS.get(method)
        if stream is not None:
            return await _streamed(stream(operations, params, context), request_id)
        answer = ANSWERS.get(method)
        if answer is None:
            raise MethodNotFoundError
        result = await answer(operations, params, context)
    except A2AError as error:
        return written(build_error_response(request_id, error))
    return written({"jsonrpc": "2.0", "id": request_id, "result": result})


def problem_of(body: object) -> Json | None:
    """The response to a body that is no request; None for a request."""
    if not isinstance(body, dict):
        what = "batches are not taken" if isinstance(body, list) else "a request is an object"
        return build_error_response(None, InvalidRequestError(what))
    request = cast("Json", body)
    request_id = request.get("id")
    if isinstance(request_id, bool) or not (request_id is None or _is_id(request_id)):
        wrong_id = InvalidRequestError("the id must be a text, an integer or null")
        return build_error_response(None, wrong_id)
    error: A2AError
    if "id" not in request:
        # JSON-RPC would have it done and never answered, so that nobody could learn of it.
        error = InvalidRequestError("the id is required: A2A has no notifications")
    elif request.get("jsonrpc") != "2.0":
        error = InvalidRequestError("jsonrpc must be '2.0'")
    elif not (isinstance(request.get("method"), str) and request["method"]):
        error = InvalidRequestError("the method must be named")
    elif not isinstance(request.get("params", {}), dict):
        error = InvalidParamsError("params must be an object")
    else:
        return None
    return build_error_response(request_id, error)


def _is_id(value: object) -> bool:
    """Whether it can come back in a response: half a surrogate pair cannot."""
    return isinstance(value, int) or is_text(value)


def check_state(named: object) -> None:
    """Refuse a name of a state that does not exist: protobuf takes it for none.

    Raises:
        InvalidParamsError: there is no such state.
    """
    if isinstance(named, str) and not named.lstrip("-").isdigit() and named not in _STATES:
        raise invalid_state()


def written(response: Json) -> Response:
    """A response as it goes over the wire."""
    return Response(dumped(response), media_type="application/json")


async def _streamed(stream: AsyncGenerator[Json], request_id: str | int | None) -> Response:
    """The stream as server-sent events, once its first event is there.

    What is wrong with a request comes before its first event, and so as a plain response.
    """
    first = await anext(stream)

    async def events() -> AsyncGenerator[bytes | dict[str, str]]:
        async with aclosing(stream):
            yield _event(first, request_id)
            try:
                async for shown in stream:
                    yield _event(shown, request_id)
            except A2AError as error:
                failed = build_error_response(request_id, error)
                yield {"event": "error", "data": dumped(failed)}

    return EventSourceResponse(events(), shutdown_grace_period=STREAM_GRACE_S)


def _event(shown: Json, request_id: str | int | None) -> bytes:
    """An event as it goes over the wire: JSON has no line break that could end it.

    What only some take for one is escaped on the way (`_http.asgi.OneLine`).
    """
    result, named = written_out(shown), dumped(request_id)
    data = f'{{"jsonrpc":"2.0","id":{named},"result":{result}}}'
    return f"id: {place_of(shown)[EVENT]}\r\ndata: {data}\r\n\r\n".encode()


def _sent(operations: Operations, params: Json, context: ServerCallContext) -> Sent:
    sent = sent_of_json(params)
    if sent is None:
        request = _parsed(params, SendMessageRequest(), context)
        sent = sent_of(request, operations.settings)
    return sent


def _parsed(params: Json, request: _Request, context: ServerCallContext) -> _Request:
    """The request as its message; fields of newer versions are ignored."""
    try:
        ParseDict(params, request, ignore_unknown_fields=True)
    except UNREADABLE as error:
        # Where a value of another kind is in the way, the parser stumbles.
        raise InvalidParamsError(unread(error)) from None
    context.tenant = getattr(request, "tenant", "")
    return request
