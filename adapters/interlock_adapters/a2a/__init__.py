"""The A2A face of an engine: JSON-RPC, REST and gRPC, in versions 1.0 and 0.3.

    engine = Engine(agent)
    app = a2a_app(engine, A2ASettings(name="Travel", description="Books flights"))

`a2a_app` is a whole ASGI application, which starts and drains the engine.  `a2a_routes` are
for an application that is there already.  `grpc_server` serves beside either of them.
`Stopping` ends what waits when the server stops: only `a2a_app` hears of that by itself.

What is shown and accepted, and why, is in specs/a2a.md.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interlock import Engine
from interlock.errors import InvalidInput

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute

    from interlock_adapters._callers.principal import ANONYMOUS
    from interlock_adapters._http.shutdown import Stopping
    from interlock_adapters._http.webhook import Webhooks, WebhookSettings
    from interlock_adapters.a2a._handler import EngineHandler
    from interlock_adapters.a2a._http import a2a_http_routes
    from interlock_adapters.a2a._operations import Operations
    from interlock_adapters.a2a._push import CHANNEL, PushDeliverer
    from interlock_adapters.a2a._settings import (
        A2ASettings,
        ExtendedCard,
        Extension,
        OwnerOf,
        Skill,
        owner_by_name,
    )
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.a2a needs the a2a extra: pip install 'interlock[a2a]'",
        name=_missing.name,
    ) from _missing

if TYPE_CHECKING:
    import grpc
    import grpc.aio

    from interlock_adapters._callers.base import Authenticator
    from interlock_adapters._callers.quota import Quotas
    from interlock_adapters.a2a._grpc import UserOf

__all__ = [
    "ANONYMOUS",
    "CHANNEL",
    "A2ASettings",
    "BoundServer",
    "ExtendedCard",
    "Extension",
    "OwnerOf",
    "PushDeliverer",
    "Skill",
    "Stopping",
    "WebhookSettings",
    "Webhooks",
    "a2a_app",
    "a2a_routes",
    "grpc_server",
    "owner_by_name",
]


def a2a_app(
    engine: Engine,
    settings: A2ASettings,
    *,
    push: PushDeliverer | None = None,
    middleware: Sequence[Middleware] = (),
    owns_engine: bool = True,
    stopping: Stopping | None = None,
) -> Starlette:
    """An ASGI application that serves the engine's tasks over HTTP.

    With `owns_engine` its lifespan starts the engine and drains it.  `middleware` comes
    before ours, the first outermost: the place for authentication, without which only this
    machine is served (see `a2a_routes`).  With `push` there are push notifications; the engine
    must have the same deliverer for `CHANNEL`.

    What waits is answered, and streams end, when a signal stops the server (see
    `Stopping.serving`).  Where it is stopped in another way, give `stopping`, and begin it then.

    Raises:
        InvalidInput: the settings do not make an agent card, or the engine has not `push` as
            its deliverer for `CHANNEL`.
    """
    stops = stopping or Stopping()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with engine if owns_engine else nullcontext():
            with stops.serving():
                yield

    return Starlette(
        routes=a2a_routes(engine, settings, push=push, stopping=stops),
        lifespan=lifespan,
        middleware=[*middleware],
    )


def a2a_routes(
    engine: Engine,
    settings: A2ASettings,
    *,
    push: PushDeliverer | None = None,
    stopping: Stopping | None = None,
) -> list[BaseRoute]:
    """The routes of the A2A face, for an application that is there already.

    Without a user in the scope, which `Authentication` or a middleware of the application puts
    there, only callers on this machine are served (403).  Who means everybody says so:
    `Authentication` with `TrustLocal(dangerously_open_to_everyone=True)`.

    The application starts and drains the engine itself, and while it is open the lifespan
    should be inside `with stopping.serving():`, which ends what waits when the server stops.

    When the settings name tenants, add these routes after all others: those for tenants
    answer for every path.

    Raises:
        InvalidInput: the settings do not make an agent card, or the engine has not `push` as
            its deliverer for `CHANNEL`.
    """
    return a2a_http_routes(Operations(engine, settings, push=push, stopping=stopping))


@dataclass(frozen=True, slots=True)
class BoundServer:
    """A gRPC server that is not started yet, and the port that it has."""

    server: "grpc.aio.Server"
    port: int


def grpc_server(
    engine: Engine,
    settings: A2ASettings,
    address: str = "127.0.0.1:0",
    *,
    push: PushDeliverer | None = None,
    stopping: Stopping | None = None,
    user_of: "UserOf | None" = None,
    authenticator: "Authenticator | None" = None,
    quotas: "Quotas | None" = None,
    credentials: "grpc.ServerCredentials | None" = None,
) -> BoundServer:
    """A gRPC server for the engine's tasks, bound to `address`; port 0 is a free one.

    `authenticator` lets callers in, as `Authentication` does over HTTP, and `quotas` bounds
    what each asks for; or `user_of` makes a user of a call's metadata.  Without either only
    callers on this machine are served (`PERMISSION_DENIED`).  Without `credentials`
    the port speaks plain text.  Before the server is stopped, begin `stopping`: what waits is
    answered then instead of cut off.

    Raises:
        InvalidInput: the settings do not make an agent card, or the engine has not `push` as
            its deliverer for `CHANNEL`; or both `authenticator` and `user_of` are given.
        ModuleNotFoundError: the grpc extra is not installed.
    """
    try:
        # An extra of its own.
        from interlock_adapters.a2a import _grpc as binding  # noqa: PLC0415
        from interlock_adapters.a2a import _grpc_auth as auth  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "grpc_server needs the grpc extra: pip install 'interlock[grpc]'", name=missing.name
        ) from missing
    handler = EngineHandler(Operations(engine, settings, push=push, stopping=stopping))
    asks = user_of is not None or authenticator is not None
    if user_of is None:
        user_of = binding.nobody if authenticator is None else auth.caller
    elif authenticator is not None:
        raise InvalidInput(["either `authenticator` or `user_of` is accepted"])
    # Not by their truth: an authenticator that is a collection too may be empty.
    guards = authenticator is not None or quotas is not None or not asks
    server, port = binding.bound(
        handler,
        settings,
        address,
        user_of=user_of,
        credentials=credentials,
        interceptors=[auth.Guard(authenticator, quotas, asks=asks)] if guards else (),
    )
    return BoundServer(server, port)
