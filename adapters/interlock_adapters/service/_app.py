"""The faces of a service put together: what stands in front of what, and what lives how long."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route, Router

from interlock import Engine
from interlock.errors import InvalidInput
from interlock_adapters._callers.asgi_quota import Quota
from interlock_adapters._callers.quota import Quotas
from interlock_adapters._http.asgi import App, BodyLimit, Receive, Scope, Send
from interlock_adapters._http.origin import FrontDoor
from interlock_adapters._http.paths import CONSOLE, MANAGE, METRICS, WELL_KNOWN
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.auth import (
    AnyOf,
    Authentication,
    Authenticator,
    SignIn,
    TrustLocal,
)
from interlock_adapters.config import Config, ServiceConfig
from interlock_adapters.service._agent import Instructions, needs
from interlock_adapters.service._door import Doors
from interlock_adapters.service._engine import passed_on
from interlock_adapters.service._faces import a2a_settings, grpc_credentials, mcp_settings
from interlock_adapters.service._telemetry import Observed

if TYPE_CHECKING:
    from interlock_adapters.a2a import A2ASettings, PushDeliverer
    from interlock_adapters.management import Managed

#: Seconds that open calls over gRPC have, after they were told to end.
_GRPC_GRACE_S: Final = 2.0

Life: TypeAlias = Callable[[], AbstractAsyncContextManager[object]]


@dataclass(frozen=True)
class Composition:
    """What the faces of one service have in common, and what comes of putting them together."""

    engine: Engine
    config: ServiceConfig
    authenticator: Authenticator
    instructions: Instructions | None
    observed: Observed
    stopping: Stopping
    quotas: Quotas
    url: str
    #: What is alive while requests are served, inside the engine; filled by `composed`.
    lives: list[Life] = field(default_factory=list[Life])

    def composed(self) -> App:
        """All faces that are on, behind authentication and quotas."""
        faces = self.config.faces
        managed = self._managed() if faces.management or faces.console else None
        further: list[BaseRoute] = []
        public: list[str] = []
        metadata: dict[str, str] = {}
        if faces.mcp is not None:
            further += self._mcp_routes(public, metadata)
        if faces.management and managed is not None:
            further.append(self._management(managed))
        if self.observed.metrics is not None:
            page = _Endpoint(self.observed.metrics)
            further.append(Route(METRICS, page, methods=["GET"], middleware=[self.front_door()]))
        if faces.a2a is not None:
            # Last: with tenants they answer for every path.
            further += self._a2a_routes()
        public += [path for r in further if (path := _path(r)).startswith(f"{WELL_KNOWN}/")]
        door = Middleware(
            Authentication, authenticator=self.authenticator, public=public, metadata=metadata
        )
        inner: App = _stack(further, [door, *self._behind_the_door()])
        if faces.console and managed is not None:
            inner = Doors(self._console(managed), inner, CONSOLE)
        return inner

    def _behind_the_door(self) -> list[Middleware]:
        """What every request passes when it is known whose it is."""
        quota = Middleware(Quota, quotas=self.quotas)
        tracing = self.observed.tracing
        return [quota] if tracing is None else [quota, Middleware(tracing)]

    def _managed(self) -> "Managed":
        try:
            from interlock_adapters.management import Managed  # noqa: PLC0415  of an extra
        except ModuleNotFoundError as missing:
            raise needs(self.config.at("faces", "management"), "service", missing) from None
        return Managed(self.engine, self.config.shown(), self.instructions)

    def _management(self, managed: "Managed") -> Mount:
        from interlock_adapters.management import management_app  # noqa: PLC0415  it is there

        app = management_app(
            managed, auth_schemes=self.authenticator.schemes, stopping=self.stopping
        )
        return Mount(MANAGE, app, middleware=[self.front_door(), Middleware(BodyLimit)])

    def front_door(self) -> Middleware:
        """What asks by which name the service is called, and from which site."""
        server = self.config.server
        return Middleware(
            FrontDoor, url=self.url, hosts=server.allowed_hosts, origins=server.allowed_origins
        )

    def _console(self, managed: "Managed") -> App:
        try:
            from interlock_adapters.console import (  # noqa: PLC0415  of an extra
                PUBLIC_PATHS,
                SIGN_IN_PATH,
                Pulse,
                Sessions,
                console_routes,
            )
        except ModuleNotFoundError as missing:
            raise needs(self.config.at("faces", "console"), "service", missing) from None
        sessions = Sessions(self.authenticator)
        known: Authenticator = self.authenticator
        if not isinstance(known, TrustLocal):
            known = AnyOf(known, sessions)
        door = Middleware(
            Authentication,
            authenticator=known,
            public=PUBLIC_PATHS,
            sign_in=SignIn(below=CONSOLE, page=SIGN_IN_PATH),
            rechecks=False,  # Its streams ask whether their session is live.
        )
        changes = self.observed.changes
        # What other replicas commit is not heard of here.
        pulse = Pulse(self.engine, looks=changes is None or self.engine.is_replica)
        if changes is not None:
            changes.heard = pulse.heard
        routes = console_routes(
            managed,
            sessions=sessions,
            url=self.url,
            allowed_hosts=self.config.server.allowed_hosts,
            stopping=self.stopping,
            pulse=pulse,
        )
        return _stack(routes, [door, *self._behind_the_door()])

    def _a2a_routes(self) -> list[BaseRoute]:
        face = self.config.faces.a2a
        assert face is not None, "it is on"
        carried = passed_on(self.config) if isinstance(self.config, Config) else ()
        settings = a2a_settings(
            self.config, face, self.url, carried=carried, authenticator=self.authenticator
        )
        from interlock_adapters.a2a import CHANNEL, PushDeliverer, a2a_routes  # noqa: PLC0415

        deliverer = self.engine.deliverers.get(CHANNEL)
        push = deliverer if isinstance(deliverer, PushDeliverer) else None
        if face.grpc is not None:
            self.lives.append(self._grpc_life(settings, push))
        return a2a_routes(self.engine, settings, push=push, stopping=self.stopping)

    def _grpc_life(self, settings: "A2ASettings", push: "PushDeliverer | None") -> Life:
        face = self.config.faces.a2a
        assert face is not None, "it is on"
        port = face.grpc
        assert port is not None, "it is on"
        credentials = grpc_credentials(self.config)

        @asynccontextmanager
        async def life() -> AsyncGenerator[None]:
            from interlock_adapters.a2a import grpc_server  # noqa: PLC0415  of an extra

            try:
                bound = grpc_server(
                    self.engine,
                    settings,
                    port.address,
                    push=push,
                    stopping=self.stopping,
                    authenticator=self.authenticator,
                    quotas=self.quotas,
                    credentials=credentials,
                )
            except RuntimeError as error:
                at = self.config.at("faces", "a2a", "grpc")
                raise InvalidInput([f"{at}: {str(error).partition(';')[0]}"]) from None
            await bound.server.start()
            try:
                yield
            finally:
                self.stopping.begin()
                await bound.server.stop(_GRPC_GRACE_S)

        return life

    def _mcp_routes(self, public: list[str], metadata: dict[str, str]) -> list[BaseRoute]:
        face = self.config.faces.mcp
        assert face is not None, "it is on"
        settings = mcp_settings(self.config, face, self.url)
        from interlock_adapters.mcp import McpFace, mcp_server  # noqa: PLC0415  it is there

        made = McpFace(
            mcp_server(self.engine, settings, stopping=self.stopping),
            settings,
            authenticator=self.authenticator,
            stopping=self.stopping,
        )
        public += made.public
        metadata |= made.metadata
        self.lives.append(made.serving)
        return [_behind(route, made.middleware) for route in made.routes]


class _Endpoint:
    """An ASGI application as the endpoint of a route, which takes functions for handlers."""

    def __init__(self, app: App) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)


def _stack(routes: Sequence[BaseRoute], middleware: Sequence[Middleware]) -> App:
    """Routes behind what stands in front of them, without a life of their own."""
    app: Any = Router(routes=routes)
    for each in reversed(middleware):
        app = each.cls(app, *each.args, **each.kwargs)
    return cast("App", app)


def _path(route: BaseRoute) -> str:
    return route.path if isinstance(route, Route | Mount) else ""


def _behind(route: BaseRoute, middleware: Sequence[Middleware]) -> BaseRoute:
    """A route behind what its own application would have in front of everything."""
    if not isinstance(route, Route):
        raise InvalidInput(["MCP's routes are routes"])
    methods = None if route.methods is None else [*route.methods]
    return Route(route.path, route.endpoint, methods=methods, middleware=middleware)
