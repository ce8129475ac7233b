"""REST: the SDK's dispatchers, given only requests that they can read.

Of what they cannot read they tell the client and the log, and quote it to both; a stream of
version 0.3 they begin, and then break.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias, cast

from a2a.compat.v0_3 import a2a_v0_3_pb2, conversions, proto_utils, types
from a2a.types import (
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    SendMessageRequest,
    TaskPushNotificationConfig,
)
from a2a.utils.error_handlers import build_rest_error_payload
from a2a.utils.errors import A2AError, InvalidParamsError
from a2a.utils.proto_utils import parse_params
from google.protobuf.json_format import Parse
from google.protobuf.message import Message
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from interlock_adapters._http.asgi import once
from interlock_adapters.a2a._json import Json
from interlock_adapters.a2a._request import sent_of_json
from interlock_adapters.a2a._unquoted import UNREADABLE, unread

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
#: Reads a request as its dispatcher will, and raises what it would.
Check: TypeAlias = Callable[[Request, bytes], None]

#: Bytes of a body beyond which reading it may keep others waiting.
_LONG_BYTES: Final = 16_384


def _body(kind: type[Message]) -> Check:
    def check(_request: Request, body: bytes) -> None:
        Parse(body, kind(), ignore_unknown_fields=True)

    return check


def _query(kind: type[Message]) -> Check:
    def check(request: Request, _body: bytes) -> None:
        if request.scope["query_string"]:
            parse_params(request.query_params, kind())

    return check


def _message(request: Request, body: bytes) -> None:
    # What is there twice the dispatcher would refuse, in its own words.
    said: object = json.loads(body.decode(), object_pairs_hook=once)
    # Protobuf's parser costs as much as the rest of a request, and takes those as they are.
    if not isinstance(said, dict) or sent_of_json(cast("Json", said)) is None:
        _body(SendMessageRequest)(request, body)


def _legacy_message(_request: Request, body: bytes) -> None:
    given = a2a_v0_3_pb2.SendMessageRequest()
    Parse(body, given, ignore_unknown_fields=True)
    params = proto_utils.FromProto.message_send_params(given)
    conversions.to_core_send_message_request(types.SendMessageRequest(id="", params=params))


def _legacy_config(_request: Request, body: bytes) -> None:
    given = a2a_v0_3_pb2.CreateTaskPushNotificationConfigRequest()
    Parse(body, given, ignore_unknown_fields=True)
    if proto_utils.TASK_NAME_MATCH.match(given.parent) is None:
        # The SDK would say so, and quote it.
        raise InvalidParamsError("parent: tasks/ID is accepted")
    params = proto_utils.FromProto.task_push_notification_config_request(given)
    conversions.to_core_create_task_push_notification_config_request(
        types.SetTaskPushNotificationConfigRequest(id="", params=params)
    )


def _legacy_length(request: Request, _body: bytes) -> None:
    length = request.query_params.get("historyLength")
    if length:
        GetTaskRequest(history_length=int(length))


#: By the end of the path, below `/v1` for version 0.3.
_CHECKS: Final[dict[tuple[str, str], Check]] = {
    ("POST", "/message:send"): _message,
    ("POST", "/message:stream"): _message,
    ("POST", "/tasks/{id}/pushNotificationConfigs"): _body(TaskPushNotificationConfig),
    ("GET", "/tasks"): _query(ListTasksRequest),
    ("GET", "/tasks/{id}"): _query(GetTaskRequest),
    ("GET", "/tasks/{id}/pushNotificationConfigs"): _query(ListTaskPushNotificationConfigsRequest),
    ("POST", "/v1/message:send"): _legacy_message,
    ("POST", "/v1/message:stream"): _legacy_message,
    ("POST", "/v1/tasks/{id}/pushNotificationConfigs"): _legacy_config,
    ("GET", "/v1/tasks/{id}"): _legacy_length,
}


def checked(route: Route, prefix: str) -> Endpoint:
    """The endpoint of a route of the SDK's, which lies below `prefix`."""
    below = route.path.removeprefix(prefix)
    check = next((_CHECKS[m, below] for m in route.methods or () if (m, below) in _CHECKS), None)
    endpoint: Endpoint = route.endpoint
    if check is None and not below.startswith("/v1/"):
        return endpoint

    async def read(request: Request) -> Response:
        body = await request.body()
        try:
            if check is not None:
                check(request, body)
        except UNREADABLE as error:
            return _refusal(InvalidParamsError(unread(error)))
        except A2AError as error:
            return _refusal(error)
        if len(body) > _LONG_BYTES:
            await asyncio.sleep(0)  # Others first: the dispatcher reads all of it again.
        return await _begun(await endpoint(request))

    return read


def _refusal(error: A2AError) -> Response:
    refused = build_rest_error_payload(error)
    return JSONResponse(refused, refused["error"]["code"])


async def _begun(response: Response) -> Response:
    """The response; a stream whose first event is an error is the error's own response.

    Version 0.3 finds out what is wrong with a request when its stream has begun, and says
    nothing.
    """
    if not isinstance(response, EventSourceResponse):
        return response
    events = cast("AsyncIterator[str]", cast("object", response.body_iterator))  # pyright: ignore[reportUnknownMemberType]
    try:
        first = await anext(events)
    except StopAsyncIteration:
        return response
    except A2AError as error:
        return _refusal(error)
    response.body_iterator = _with_first(first, events)
    return response


async def _with_first(first: str, events: AsyncIterator[str]) -> AsyncGenerator[str]:
    yield first
    async for event in events:
        yield event
