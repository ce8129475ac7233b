"""What we use of the SDK and it does not promise: each use, so that an upgrade cannot move it."""

import inspect
import logging
from typing import Any, cast

import pytest
from a2a.compat.v0_3.jsonrpc_adapter import JSONRPC03Adapter
from a2a.compat.v0_3.request_handler import RequestHandler03
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.grpc_handler import GrpcHandler
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.server.routes import create_rest_routes
from a2a.server.routes.common import StarletteUser
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.types import InvalidParamsError, TaskState, a2a_pb2
from a2a.utils.version_validator import validate_version
from sse_starlette import sse
from starlette.authentication import SimpleUser
from starlette.routing import Mount, Route

from a2a_faces import SETTINGS, travel
from interlock import Engine
from interlock_adapters.a2a._handler import EngineHandler
from interlock_adapters.a2a._operations import Operations
from interlock_adapters.a2a._rpc import ANSWERS, STREAMS


@pytest.fixture
def handler() -> EngineHandler:
    """A handler over an engine that is not open."""
    return EngineHandler(Operations(Engine(travel, store="memory:"), SETTINGS))


def test_the_handler_implements_every_operation_of_the_port() -> None:
    """A new abstract method would be found when the first client called it.  Source: R-A2A-22."""
    assert not inspect.isabstract(EngineHandler)
    assert issubclass(EngineHandler, RequestHandler)


def test_the_jsonrpc_methods_are_those_of_the_service() -> None:
    """Source: A2A 1.0 §9: named as the service's; also those of the SDK's own dispatcher."""
    methods = ANSWERS.keys() | STREAMS.keys()
    service = a2a_pb2.DESCRIPTOR.services_by_name["A2AService"]
    assert methods == {method.name for method in service.methods}
    assert methods == JsonRpcDispatcher.METHOD_TO_MODEL.keys()
    assert {m.name for m in service.methods if m.server_streaming} == STREAMS.keys()


def test_the_rest_routes_end_with_one_mount_for_tenants(handler: EngineHandler) -> None:
    """It answers for every path of two parts, and is left out where there are no tenants."""
    *routes, last = create_rest_routes(handler, enable_v0_3_compat=True, path_prefix="/a2a")
    assert isinstance(last, Mount)
    assert last.path == "/{tenant}"
    assert all(isinstance(route, Route) for route in routes)


def test_the_legacy_adapter_has_one_entry_and_one_handler(handler: EngineHandler) -> None:
    """`handle_request`; what makes version 1.0 of requests can be another."""
    adapter = JSONRPC03Adapter(handler)
    handle = cast("Any", adapter).handle_request
    assert [*inspect.signature(handle).parameters] == [
        "request_id",
        "method",
        "body",
        "request",
    ]
    assert type(adapter.handler) is RequestHandler03


async def test_the_version_is_read_from_the_state_of_the_context() -> None:
    """Ours puts nothing else of the headers there."""

    @validate_version("1.0")
    async def called(context: ServerCallContext) -> str:
        return str(context.state["headers"])

    context = ServerCallContext(state={"headers": {"A2A-Version": "1.0"}})
    assert await called(context) == "{'A2A-Version': '1.0'}"


def test_an_error_response_is_made_of_the_id_and_the_error() -> None:
    """With the details of `google.rpc`."""
    response = build_error_response("x", InvalidParamsError("no", {"errors": []}))
    assert (response["id"], response["error"]["code"]) == ("x", -32602)
    assert response["error"]["data"][0]["reason"] == "INVALID_PARAMS"


def test_a_user_of_starlette_is_a_user_of_a2a() -> None:
    """By its display name."""
    user = StarletteUser(SimpleUser("ada"))
    assert (user.is_authenticated, user.user_name) == (True, "ada")


def test_the_grpc_servicer_asks_its_context_builder_inside_its_error_handling() -> None:
    """Else a wrong version would be an unknown failure of the server."""
    unary = inspect.getsource(vars(GrpcHandler)["_handle_unary"])
    assert unary.index("try:") < unary.index("self._build_call_context")


def test_the_logger_that_writes_bodies_is_the_one_we_quieten() -> None:
    """At DEBUG."""
    assert sse.logger.level == logging.INFO


def test_states_are_plain_numbers_with_names() -> None:
    """Protobuf's enums are not Python's."""
    assert TaskState.Name(TaskState.TASK_STATE_WORKING) == "TASK_STATE_WORKING"
    assert {name.rpartition("STATE_")[0] for name in list(TaskState.keys())} == {"TASK_"}
