"""The MCP face over streamable HTTP, both eras on one URL, and what stands in front of it."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context
from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER, EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_PROTOCOL_VERSION_HEADER
from mcp_types import CLIENT_CAPABILITIES_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message
from starlette.types import Receive as StarletteReceive
from starlette.types import Scope as StarletteScope
from starlette.types import Send as StarletteSend

from interlock_adapters._callers.asgi import OnlyHere
from interlock_adapters._callers.base import Authenticator, trusting
from interlock_adapters._http.asgi import App, OneLine, Receive, Scope, Send, refuse
from interlock_adapters._http.front import front
from interlock_adapters._http.shutdown import HangUp, Stopping
from interlock_adapters.mcp._auth import (
    Verifier,
    metadata_url,
    resource_of,
    resource_routes,
    sdk_settings,
)
from interlock_adapters.mcp._errors import TASKS
from interlock_adapters.mcp._principal import Adopt
from interlock_adapters.mcp._server import gives_handles
from interlock_adapters.mcp._settings import McpSettings

#: Milliseconds after which a client takes up a stream again that broke off.
RETRY_MS: Final = 1_000
_VERSION: Final = MCP_PROTOCOL_VERSION_HEADER.encode()
_METHOD: Final = MCP_METHOD_HEADER.encode()
_SESSION: Final = MCP_SESSION_ID_HEADER.encode()
#: Told to who has as many as `McpSettings.sessions_per_owner_max`.
MANY_SESSIONS: Final = "you have too many sessions open; end some (DELETE), or use one again"
_MODERN: Final = frozenset(version.encode() for version in MODERN_PROTOCOL_VERSIONS)
#: Methods that notify of nothing on their way.
_PLAIN: Final = frozenset({b"tasks/get", b"tasks/update", b"tasks/cancel"})
_CALL: Final = b"tools/call"
#: Bytes of a call that is looked into before it is served: more takes longer than it saves.
_LOOKED_INTO_MAX: Final = 64 * 1024


class McpAuth(NamedTuple):
    """Who may call: the SDK's settings, and what verifies a token."""

    settings: AuthSettings
    verifier: TokenVerifier

    @classmethod
    def of(cls, authenticator: Authenticator, settings: McpSettings) -> "McpAuth":
        """As an authenticator knows callers, where nothing but this face is served."""
        resource = resource_of(settings.url, settings.path)
        return cls(sdk_settings(authenticator, resource), Verifier(authenticator))


class McpFace:
    """An MCP server over HTTP, for an application that is there already.

    Its application has `routes` and `middleware`, and its lifespan is inside `serving`.
    """

    def __init__(
        self,
        server: Server[Any],
        settings: McpSettings,
        *,
        auth: McpAuth | None = None,
        authenticator: Authenticator | None = None,
        events: EventStore | None = None,
        stopping: Stopping | None = None,
    ) -> None:
        """Serve `server`.  Without `auth` only callers on this machine are let in.

        With `authenticator`, `Authentication` with that stands in front of everything, and
        who calls is who that has let in; `public` are to be public paths of it, and
        `metadata` is for its challenge.

        `events` lets clients of the handshake era take up a stream again that broke off.
        """
        self.stopping: Final = stopping or Stopping()
        self._server: Final = server
        # What the SDK would check at each request stands in front of all of it instead.
        checked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        build = partial(
            server.streamable_http_app,
            streamable_http_path=settings.path,
            transport_security=checked,
            max_request_body_size=settings.body_bytes_max,
            max_sessions=settings.sessions_max,
            event_store=events,
            retry_interval=None if events is None else RETRY_MS,
            session_idle_timeout=settings.session_idle_s,
            auth=auth.settings if auth else None,
            token_verifier=auth.verifier if auth else None,
        )
        plain, plain_manager = build(json_response=True), server.session_manager
        inner, manager = build(), server.session_manager
        self._managers: Final = (plain_manager, manager)
        is_handle = partial(gives_handles, server)
        # Where nobody is asked who he is, everybody is one caller: only all together are bounded.
        many = math.inf if trusting(authenticator) else settings.sessions_per_owner_max
        has_many = partial(_has_many_sessions, manager, many)
        self.routes: Sequence[BaseRoute] = [
            _either(route, other, settings.path, is_handle, has_many)
            for route, other in zip(inner.routes, plain.routes, strict=True)
        ]
        guards = [Middleware(Trim), *front(settings), Middleware(OneLine)]
        #: Paths that are open to everybody, and where metadata of this resource is, by path.
        self.public: Sequence[str] = ()
        self.metadata: Mapping[str, str] = {}
        if authenticator is not None:
            guards.append(Middleware(Adopt))
            self._describe(authenticator, settings)
        elif auth is None:
            guards.insert(0, Middleware(OnlyHere))
        self.middleware: Final[Sequence[Middleware]] = [*guards, *inner.user_middleware]

    def _describe(self, authenticator: Authenticator, settings: McpSettings) -> None:
        """Say where clients get tokens, if the authenticator does."""
        resource = resource_of(settings.url, settings.path)
        described = resource_routes(authenticator, resource)
        self.routes = [*self.routes, *described]
        self.public = [route.path for route in described if isinstance(route, Route)]
        where = metadata_url(authenticator, resource)
        self.metadata = {} if where is None else {settings.path: where}

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """A block in which requests are served; inside that of the engine."""
        lifespan = self._server.lifespan
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(lifespan(self._server))
            # Each of the two would begin the server's own life once more.
            self._server.lifespan = partial(_going_on, state)
            stack.callback(setattr, self._server, "lifespan", lifespan)
            for manager in self._managers:
                await stack.enter_async_context(manager.run())
            stack.enter_context(self.stopping.serving())
            yield


def _going_on(state: object, _server: Server[Any]) -> AbstractAsyncContextManager[Any]:
    """The life of a server that has begun already."""
    return nullcontext(state)


def _has_many_sessions(
    manager: StreamableHTTPSessionManager, many: float, scope: StarletteScope
) -> bool:
    """Whether who asks has as many sessions of the handshake era open as one may have.

    The SDK bounds only those of all together, which one caller could take up.
    """
    user = scope.get("user")
    if not isinstance(user, AuthenticatedUser):
        return False
    caller = authorization_context(user)
    owners = manager._session_owners.values()  # noqa: SLF001  it tells nobody, and has the ends
    return sum(owner == caller for owner in owners) >= many


def _either(
    route: BaseRoute,
    plain: BaseRoute,
    path: str,
    is_handle: Callable[[object], bool],
    has_many: Callable[[StarletteScope], bool],
) -> BaseRoute:
    """The endpoint, which answers some methods without a stream; other routes are as they are."""
    if not isinstance(route, Route) or not isinstance(plain, Route) or route.path != path:
        return route
    return Route(path, endpoint=_Endpoint(route.app, plain.app, is_handle, has_many))


class _Endpoint:
    """Serves what is answered at once as plain JSON: to prepare a stream takes as long again."""

    def __init__(
        self,
        streaming: ASGIApp,
        plain: ASGIApp,
        is_handle: Callable[[object], bool],
        has_many: Callable[[StarletteScope], bool],
    ) -> None:
        """`is_handle` tells by its name whether a tool gives a handle to whoever can take one.

        `has_many` tells whether a caller may open no further session.
        """
        self._streaming: Final = streaming
        self._plain: Final = plain
        self._is_handle: Final = is_handle
        self._has_many: Final = has_many

    async def __call__(
        self, scope: StarletteScope, receive: StarletteReceive, send: StarletteSend
    ) -> None:
        """Serve one request."""
        headers = dict(scope["headers"])
        is_modern = headers.get(_VERSION) in _MODERN
        method = headers.get(_METHOD) if is_modern else None
        opens = not is_modern and scope["method"] == "POST" and _SESSION not in headers
        if opens and self._has_many(scope):
            await refuse(send, HTTPStatus.TOO_MANY_REQUESTS, MANY_SESSIONS)
        elif method in _PLAIN:
            await self._plain(scope, receive, send)
        elif method == _CALL:
            await self._call(scope, receive, send)
        else:
            await self._streaming(scope, receive, send)

    async def _call(
        self, scope: StarletteScope, receive: StarletteReceive, send: StarletteSend
    ) -> None:
        """Serve `tools/call`: who gets a handle gets it at once."""
        first = await receive()
        waiting = [first]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        body = b"" if first.get("more_body") else first.get("body", b"")
        if len(body) <= _LOOKED_INTO_MAX and self._is_handle(_called_as_task(body)):
            await _unless_gone(self._plain(scope, replay, send), receive)
        else:
            await self._streaming(scope, replay, send)


def _called_as_task(body: bytes) -> object:
    """The name of the tool, if its caller speaks the Tasks extension and begins a call."""
    try:
        params = json.loads(body)["params"]
        said = params["_meta"][CLIENT_CAPABILITIES_META_KEY]["extensions"]
        # With a state it goes on with a call, and waits for what that comes to.
        return params["name"] if TASKS in said and params.get("requestState") is None else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # Whoever serves it says what is wrong.


async def _unless_gone(served: Awaitable[None], receive: StarletteReceive) -> None:
    """Serve a request, and stop when its client hangs up before it has the answer."""
    serving = asyncio.current_task()
    assert serving is not None
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        if await HangUp(receive).heard():
            is_gone = True
            serving.cancel()

    watching = asyncio.create_task(watch())
    try:
        await served
    except asyncio.CancelledError:
        if not is_gone or serving.cancelling() > 1:
            raise  # Somebody else's, who waits for it.
    finally:
        watching.cancel()
        if is_gone:
            serving.uncancel()


class Trim:
    """Takes the blanks around the values of headers away, which are none of theirs (RFC 9110 §5.5).

    httptools leaves those behind a value, and names in headers are compared.
    """

    def __init__(self, app: App) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
            scope = {**scope, "headers": headers}
        await self._app(scope, receive, send)
