"""The A2A face of an engine: JSON-RPC, REST and gRPC, in versions 1.0 and 0.3.

    engine = Engine(agent)
    app = a2a_app(engine, A2ASettings(name="Travel", description="Books flights"))

`a2a_app` is a whole ASGI application, which starts and drains the engine.  `a2a_routes` are
for an application that is there already.  `grpc_server` serves beside either of them.

What is shown and accepted, and why, is in specs/a2a.md.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interlock import Engine

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute

    from interlock_adapters._a2a_handler import EngineHandler
    from interlock_adapters._a2a_http import a2a_http_routes
    from interlock_adapters._a2a_operations import Operations
    from interlock_adapters._a2a_push import CHANNEL, PushDeliverer
    from interlock_adapters._a2a_settings import (
        ANONYMOUS,
        A2ASettings,
        ExtendedCard,
        Extension,
        OwnerOf,
        Skill,
        owner_by_name,
    )
    from interlock_adapters._webhook import Webhooks, WebhookSettings
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "interlock_adapters.a2a needs the a2a extra: pip install 'interlock[a2a]'",
        name=missing.name,
    ) from missing

if TYPE_CHECKING:
    import grpc
    import grpc.aio

    from interlock_adapters._a2a_grpc import UserOf

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
) -> Starlette:
    """An ASGI application that serves the engine's tasks over HTTP.

    With `owns_engine` its lifespan starts the engine and drains it.  `middleware` comes
    before ours, the first outermost: the place for authentication.  With `push` there are
    push notifications; the engine must have the same deliverer for `CHANNEL`.

    Raises:
        InvalidInput: the settings do not make an agent card.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        if owns_engine:
            async with engine:
                yield
        else:
            yield

    return Starlette(
        routes=a2a_routes(engine, settings, push=push),
        lifespan=lifespan,
        middleware=[*middleware],
    )


def a2a_routes(
    engine: Engine, settings: A2ASettings, *, push: PushDeliverer | None = None
) -> list[BaseRoute]:
    """The routes of the A2A face, for an application that is there already.

    The application starts and drains the engine itself.  When the settings name tenants,
    add these routes after all others: those for tenants answer for every path.

    Raises:
        InvalidInput: the settings do not make an agent card.
    """
    return a2a_http_routes(Operations(engine, settings, push=push))


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
    user_of: "UserOf | None" = None,
    credentials: "grpc.ServerCredentials | None" = None,
) -> BoundServer:
    """A gRPC server for the engine's tasks, bound to `address`; port 0 is a free one.

    `user_of` authenticates: it makes a user of a call's metadata.  Without `credentials`
    the port speaks plain text.

    Raises:
        InvalidInput: the settings do not make an agent card.
        ModuleNotFoundError: the grpc extra is not installed.
    """
    try:
        from interlock_adapters import _a2a_grpc as binding  # noqa: PLC0415 - an extra of its own
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "grpc_server needs the grpc extra: pip install 'interlock[grpc]'", name=missing.name
        ) from missing
    handler = EngineHandler(Operations(engine, settings, push=push))
    server, port = binding.bound(
        handler, settings, address, user_of=user_of or binding.nobody, credentials=credentials
    )
    return BoundServer(server, port)
