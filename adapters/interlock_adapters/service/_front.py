"""What lies around the faces of a service: its front page, and words for what goes wrong."""

import logging
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from interlock_adapters._http.asgi import App, Message, Receive, Scope, Send
from interlock_adapters._http.paths import CONSOLE, HEALTH, MANAGE, WELL_KNOWN
from interlock_adapters.config import ServiceConfig

_log: Final = logging.getLogger("interlock.service")

#: What a page may read of an answer besides what each may: MCP's session, and when to come again.
_TOLD: Final = ("mcp-session-id", "retry-after", "www-authenticate")
#: Seconds for which a browser need not ask again.
_ASK_AGAIN_S: Final = 600


def for_pages(origins: Iterable[str]) -> list[Middleware]:
    """What lets pages of these sites call, in front of all else; of none: nothing.

    A browser asks first, without a credential, and gives a page no answer that does not name its
    site (CORS).  No cookie is sent: a page shows a credential of its own.
    """
    named = [origin.lower() for origin in origins]
    if not named:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=named,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=_TOLD,
            max_age=_ASK_AGAIN_S,
        )
    ]


class Front:
    """`/`: people come to the console; without one it says what is there."""

    def __init__(self, config: ServiceConfig, door: Middleware) -> None:
        """The front page of that service, behind what asks by which name it is called."""
        faces = config.faces
        self._to_console: Final = faces.console
        self._there: Final[dict[str, str]] = {"name": config.name}
        if faces.a2a is not None:
            self._there["agent_card"] = f"{WELL_KNOWN}/agent-card.json"
        if faces.mcp is not None:
            self._there["mcp"] = faces.mcp.path
        if faces.management:
            self._there["management"] = MANAGE
        self._there["health"] = HEALTH
        paths = {"" if faces.mcp is None else faces.mcp.path}
        if faces.a2a is not None:
            paths.add(faces.a2a.rpc_path)
        #: None where a face answers there itself.
        page = Route("/", self._page, methods=["GET"], middleware=[door])
        self.routes: Final = [] if "/" in paths else [page]

    async def _page(self, request: Request) -> Response:
        root = str(request.scope.get("root_path", ""))
        if self._to_console:
            return RedirectResponse(f"{root}{CONSOLE}", 303)
        there = {k: f"{root}{v}" if v.startswith("/") else v for k, v in self._there.items()}
        return JSONResponse(there)


class Mounted:
    """Warns once if it is mounted elsewhere than its cards and links say."""

    def __init__(self, app: App, url: str) -> None:
        """`url` is what they say."""
        self._app: Final = app
        self._url: Final = url
        self._path: Final = urlsplit(url).path.rstrip("/")
        self._is_told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        root = str(scope.get("root_path", "")).rstrip("/")
        if not self._is_told and root not in {"", self._path}:
            self._is_told = True
            _log.warning(
                "the service is mounted at %s, but its cards and links lead to %s: "
                "say server.url as clients reach it, with that path",
                root,
                self._url,
            )
        await self._app(scope, receive, send)


class InOneLine:
    """Has the server log why the application cannot start as a sentence, without a traceback."""

    def __init__(self, app: ASGIApp, why: Callable[[], Exception | None]) -> None:
        """`why` is known once it has failed; None is a fault of ours, whose traceback is told."""
        self._app: Final = app
        self._why: Final = why

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""

        async def sent(message: Message) -> None:
            why = self._why()
            if message["type"] == "lifespan.startup.failed" and why is not None:
                message = {**message, "message": f"it cannot start: {why}"}
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "lifespan" else send)
