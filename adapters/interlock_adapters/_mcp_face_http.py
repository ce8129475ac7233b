"""The MCP face over streamable HTTP, both eras on one URL, and what stands in front of it."""

import ipaddress
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import EventStore
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from interlock_adapters._asgi import App, BodyLimit, Receive, Scope, Send, refuse
from interlock_adapters._asgi_origin import FrontDoor
from interlock_adapters._mcp_face_settings import McpSettings
from interlock_adapters._shutdown import Stopping

#: Milliseconds after which a client takes up a stream again that broke off.
RETRY_MS: Final = 1_000
_OPEN: Final = (
    HTTPStatus.FORBIDDEN,
    "without authentication only this machine is served; configure auth for others",
)


class McpAuth(NamedTuple):
    """Who may call: the SDK's settings, and what verifies a token."""

    settings: AuthSettings
    verifier: TokenVerifier


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
        events: EventStore | None = None,
        stopping: Stopping | None = None,
    ) -> None:
        """Serve `server`.  Without `auth` only callers on this machine are let in.

        `events` lets clients of the handshake era take up a stream again that broke off.
        """
        self.stopping: Final = stopping or Stopping()
        self._server: Final = server
        # What the SDK would check at each request stands in front of all of it instead.
        checked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        inner = server.streamable_http_app(
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
        self.routes: Final[Sequence[BaseRoute]] = inner.routes
        door = Middleware(
            FrontDoor,
            url=settings.url,
            hosts=settings.allowed_hosts,
            origins=settings.allowed_origins,
        )
        limit = Middleware(
            BodyLimit, max_bytes=settings.body_bytes_max, values_max=settings.body_values_max
        )
        guards = [Middleware(Trim), door, limit]
        if auth is None:
            guards.insert(0, Middleware(OnlyHere))
        self.middleware: Final[Sequence[Middleware]] = [*guards, *inner.user_middleware]

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """A block in which requests are served; inside that of the engine."""
        async with self._server.session_manager.run():
            with self.stopping.serving():
                yield


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


class OnlyHere:
    """Lets in what comes from this machine."""

    def __init__(self, app: App) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and not _is_here(scope.get("client")):
            await refuse(send, *_OPEN)
        else:
            await self._app(scope, receive, send)


def _is_here(client: "Sequence[Any] | None") -> bool:
    """Whether a peer is on this machine; a socket of the file system has no address."""
    if not client:
        return True
    try:
        address = ipaddress.ip_address(str(client[0]))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
