"""The console as routes to be mounted, behind its own door."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from typing import Final, Protocol

from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from interlock import Engine
from interlock_adapters._http.asgi import App, BodyLimit, Message, Receive, Scope, Send
from interlock_adapters._http.origin import FrontDoor
from interlock_adapters._http.paths import CONSOLE
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.console import _actions as actions
from interlock_adapters.console import _live as streams
from interlock_adapters.console import _pages as pages
from interlock_adapters.console._core import (
    HEADERS,
    Console,
    base_of,
    environment,
    live,
    origin_of,
    page,
    post,
)
from interlock_adapters.console._pulse import Pulse
from interlock_adapters.console._sessions import Sessions

SIGN_IN_PATH: Final = f"{CONSOLE}/sign-in"
#: What is there without a session, as `Authentication` wants it: how one gets a session.
PUBLIC_PATHS: Final = (
    SIGN_IN_PATH,
    f"POST {SIGN_IN_PATH}",
    f"{CONSOLE}/static/console.css",
    f"{CONSOLE}/static/console.js",
)
_STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
}
#: Bytes of a form with a token, and seconds in which it must be there: anybody may send one.
_SIGN_IN_BYTES_MAX: Final = 65_536
_SIGN_IN_S: Final = 10.0
_FORM: Final = b"application/x-www-form-urlencoded"


class HasEngine(Protocol):
    """What is looked at: `Managed` is one."""

    @property
    def engine(self) -> Engine:
        """Whose tasks and policies they are."""
        ...


def console_routes(
    managed: HasEngine,
    *,
    sessions: Sessions,
    url: str = "",
    allowed_hosts: Iterable[str] = (),
    stopping: Stopping | None = None,
    pulse: Pulse | None = None,
) -> list[BaseRoute]:
    """The routes of the console, all below `/console`.

    People reach the service at `url` or by one of `allowed_hosts`; other names are refused
    (`FrontDoor`), but for this machine's own.  Streams end when `stopping` begins.  A `pulse` is
    given by who tells it of changes (`Pulse.beat`).
    """
    engine = managed.engine
    console = Console(
        engine=engine,
        sessions=sessions,
        stopping=stopping or Stopping(),
        pulse=pulse or Pulse(engine),
        origin=origin_of(url),
        env=environment(),
    )
    door = Middleware(_FormDoor, url=url, hosts=allowed_hosts)
    inside = Mount(
        CONSOLE,
        routes=_routes(console),
        middleware=[
            Middleware(_Headers),
            door,
            Middleware(_Bodies),
            # What no route takes is answered in here too, with our headers.
            Middleware(ExceptionMiddleware, handlers={HTTPStatus.NOT_FOUND: _nowhere(console)}),
        ],
        name="console",
    )
    return [Route(CONSOLE, _to_inside, methods=["GET"]), inside]


def _routes(console: Console) -> list[BaseRoute]:
    gets, streamed, posts = partial(page, console), partial(live, console), partial(post, console)
    return [
        Route("/", _home, methods=["GET"]),
        Route("/sign-in", partial(actions.sign_in_page, console), methods=["GET"]),
        Route("/sign-in", partial(actions.sign_in_posted, console), methods=["POST"]),
        Route("/sign-out", posts(actions.sign_out_posted), methods=["POST"]),
        Route("/inbox", gets(pages.inbox), methods=["GET"]),
        Route("/inbox/live", streamed(streams.inbox_live), methods=["GET"]),
        Route("/tasks", gets(pages.tasks), methods=["GET"]),
        Route("/tasks/live", streamed(streams.tasks_live), methods=["GET"]),
        Route("/tasks/{task_id}", gets(pages.task), methods=["GET"]),
        Route("/tasks/{task_id}/live", streamed(streams.task_live), methods=["GET"]),
        Route("/tasks/{task_id}/ask", posts(actions.ask_posted), methods=["POST"]),
        Route("/tasks/{task_id}/cancel", posts(actions.cancel_posted), methods=["POST"]),
        Route("/tasks/{task_id}/resume", posts(actions.resume_posted), methods=["POST"]),
        Route("/policies", gets(pages.policies), methods=["GET"]),
        Route("/policies", posts(actions.policies_posted), methods=["POST"]),
        Route("/lifecycle", gets(pages.lifecycle), methods=["GET"]),
        Route("/lifecycle/live", streamed(streams.lifecycle_live), methods=["GET"]),
        *(Route(f"/static/{name}", _static(name), methods=["GET"]) for name in _STATIC),
    ]


def _nowhere(console: Console) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A page that says so, for who is signed in."""
    to_page = page(console, pages.nowhere)

    async def answer(request: Request, _error: Exception) -> Response:
        status = HTTPStatus.NOT_FOUND
        response = await to_page(request)
        if response.status_code == status:
            return response
        return PlainTextResponse(status.phrase, status)

    return answer


async def _to_inside(request: Request) -> Response:
    return RedirectResponse(f"{base_of(request)}{CONSOLE}/inbox", headers=dict(HEADERS))


async def _home(request: Request) -> Response:
    return RedirectResponse(f"{base_of(request)}/inbox")


def _static(name: str) -> Callable[[Request], Awaitable[Response]]:
    """One of our files, read once; a browser asks whether it is still the same."""
    body = files("interlock_adapters.console").joinpath("static", name).read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}

    async def endpoint(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, headers={**headers, "content-type": _STATIC[name]})

    return endpoint


class _Headers:
    """Says on every answer what a browser may do with it, refusals included."""

    def __init__(self, app: App) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if b"cache-control" not in given:
                    ours.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        await self._app(scope, receive, with_headers)


class _Bodies:
    """Reads the bodies of forms; of who is not signed in yet, no more than a token takes."""

    def __init__(self, app: App) -> None:
        self._app: Final = app
        self._forms: Final = BodyLimit(app)
        self._sign_in: Final = BodyLimit(app, max_bytes=_SIGN_IN_BYTES_MAX, read_s=_SIGN_IN_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        is_signing_in = scope["path"].endswith(SIGN_IN_PATH)
        await (self._sign_in if is_signing_in else self._forms)(scope, receive, send)


class _FormDoor(FrontDoor):
    """The same door for a service whose pages send forms.

    A form is what other sites can send too: each is checked for where it comes from, and has a
    token of its session (`console._core.post`).
    """

    def _problem_of(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        headers = [_as_json(header) for header in scope["headers"]]
        return super()._problem_of({**scope, "headers": headers})


def _as_json(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    name, value = header
    is_form = name == b"content-type" and value.partition(b";")[0].strip().lower() == _FORM
    return (name, b"application/json") if is_form else header
