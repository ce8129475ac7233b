"""A2A over HTTP: the SDK's dispatchers, and what stands in front of them.

What the SDK leaves open and this closes: the version by `Major.Minor` and as a query
parameter; methods of the one version called in the other; names of states that do not exist;
headers in contexts and bodies in logs; the catch-all for tenants, which hides every route
that is added after it; the door, which is open to the pages of any site.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from a2a.extensions.common import HTTP_EXTENSION_HEADER, get_requested_extensions
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.server.routes import (
    ServerCallContextBuilder,
    create_agent_card_routes,
    create_rest_routes,
)
from a2a.utils.constants import PROTOCOL_VERSION_0_3, VERSION_HEADER
from a2a.utils.errors import A2AError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from interlock_adapters._callers.asgi import OnlyHere
from interlock_adapters._http.asgi import SseIds
from interlock_adapters._http.front import front
from interlock_adapters._http.shutdown import STREAM_GRACE_S, HangUp
from interlock_adapters.a2a._auth import user_of_scope
from interlock_adapters.a2a._carried import CARRIED, carried
from interlock_adapters.a2a._handler import EngineHandler
from interlock_adapters.a2a._legacy import LegacyRpc
from interlock_adapters.a2a._map import EVENT
from interlock_adapters.a2a._operations import HANG_UP, LAST_EVENT, Operations
from interlock_adapters.a2a._rest import Endpoint, checked
from interlock_adapters.a2a._rpc import check_state, problem_of, respond, written
from interlock_adapters.a2a._settings import A2ASettings
from interlock_adapters.a2a._version import spoken

# At DEBUG this logs whole bodies: prompts, answers, credentials of webhooks.
logging.getLogger("sse_starlette.sse").setLevel(logging.INFO)

#: JSON-RPC's own error; A2A has none for it.
NOT_JSON: Final = {"code": -32700, "message": "the body cannot be read as JSON"}

_VERSION: Final = VERSION_HEADER.lower().encode()
_EXTENSIONS: Final = HTTP_EXTENSION_HEADER.lower().encode()
_LAST_EVENT: Final = b"last-event-id"


def version_of(request: Request, *, v0_3: bool) -> str:
    """The protocol version of a request, from its header or its query.

    Raises:
        VersionNotSupportedError: one that we do not speak.
    """
    given = next((v.decode("latin-1") for n, v in request.scope["headers"] if n == _VERSION), "")
    if not given and request.scope["query_string"]:
        given = request.query_params.get(VERSION_HEADER, "")
    return spoken(given, v0_3=v0_3)


class HttpContextBuilder(ServerCallContextBuilder):
    """The context of a call: who, which extensions, which version; no other header.

    Those that are to be carried to tools are in it so that it does not print them.
    """

    def __init__(self, settings: A2ASettings) -> None:
        self._v0_3: Final = settings.v0_3
        self._carried: Final = settings.carry_headers

    def build(self, request: Request) -> ServerCallContext:
        """The context of one request.

        Raises:
            VersionNotSupportedError: it is of a version that we do not speak.
            InvalidParamsError: its query names a state that does not exist.
        """
        # Not the whole of the headers, as the SDK does: they hold credentials, and contexts
        # are logged.
        version = version_of(request, v0_3=self._v0_3)
        state: dict[str, Any] = {
            "headers": {VERSION_HEADER: version},
            HANG_UP: HangUp(request.receive),
        }
        extensions: list[str] = []
        for name, value in request.scope["headers"]:
            if name == _EXTENSIONS:
                extensions.append(value.decode("latin-1"))
            elif name == _LAST_EVENT:
                state[LAST_EVENT] = value.decode("latin-1")
        if self._carried:
            headers = request.scope["headers"]
            pairs = ((n.decode("latin-1"), v.decode("latin-1")) for n, v in headers)
            state[CARRIED] = carried(pairs, self._carried)
        if request.scope["query_string"]:
            check_state(request.query_params.get("status"))
        return ServerCallContext(
            user=user_of_scope(request.scope),
            state=state,
            requested_extensions=get_requested_extensions(extensions),
        )


def a2a_http_routes(operations: Operations) -> list[BaseRoute]:
    """The routes of the card, of JSON-RPC and of REST, in the order they must be in."""
    settings = operations.settings
    handler = EngineHandler(operations)
    contexts = HttpContextBuilder(settings)
    rest = create_rest_routes(
        handler,
        contexts,
        enable_v0_3_compat=settings.v0_3,
        path_prefix=settings.rest_prefix,
        shutdown_grace_period=STREAM_GRACE_S,
    )
    door, limit = front(settings)
    # An application that is there already may ask who calls, or not; where it listens only a
    # connection tells.
    here = Middleware(OnlyHere, unless_known=True)
    guards = [here, door, limit, Middleware(SseIds, key=EVENT)]
    rpc = _rpc_endpoint(operations, handler, contexts)
    return [
        *(
            Route(route.path, route.endpoint, methods=["GET"], middleware=[here, door])
            for route in create_agent_card_routes(
                operations.card, cache_control=f"public, max-age={settings.card_max_age_s}"
            )
        ),
        Route(settings.rpc_path, rpc, methods=["POST"], middleware=guards),
        *(guarded for route in rest for guarded in _guarded(route, guards, settings)),
    ]


def _guarded(
    route: BaseRoute, guards: Sequence[Middleware], settings: A2ASettings
) -> Iterator[BaseRoute]:
    if isinstance(route, Route):
        yield Route(
            route.path,
            checked(route, settings.rest_prefix),
            methods=list(route.methods or ()),
            middleware=guards,
        )
    elif isinstance(route, Mount) and settings.tenants:
        # It answers for every path of two parts, so it hides what comes after; without
        # tenants it has nothing to answer.
        inner = [made for below in route.routes for made in _guarded(below, (), settings)]
        yield Mount(route.path, routes=inner, middleware=guards)


def _rpc_endpoint(
    operations: Operations, handler: EngineHandler, contexts: HttpContextBuilder
) -> Endpoint:
    """One endpoint for both versions: each has methods that the other does not know."""
    v0_3 = operations.settings.v0_3
    legacy = LegacyRpc(handler, contexts)

    async def rpc(request: Request) -> Response:
        try:
            # As the depth guard read it: `json.loads` would also take UTF-16 for JSON.
            body = json.loads((await request.body()).decode())
        except (ValueError, RecursionError):
            return written({"jsonrpc": "2.0", "id": None, "error": NOT_JSON})
        refused = problem_of(body)
        if refused is not None:
            return written(refused)
        try:
            if version_of(request, v0_3=v0_3) == PROTOCOL_VERSION_0_3:
                return await legacy.respond(body, request)
            context = contexts.build(request)
        except A2AError as error:
            return written(build_error_response(body["id"], error))
        return await respond(operations, body, context)

    return rpc
