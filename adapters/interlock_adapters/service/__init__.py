"""A whole service: an engine with all its faces, as one ASGI application.

    service = Service.of(load_config("app.yaml"))
    raise SystemExit(service.serve())

    service = Service(engine, ServiceConfig(name="Travel"))      # an engine that is there already
    app = FastAPI(lifespan=service.lifespan)                     # in an application of one's own
    app.mount("/", service.app)      # below a path: server.url says so, http://host/agent

A2A over JSON-RPC, REST and gRPC, MCP, the management API under /manage and the console under
/console, each unless it is switched off; /healthz says that the process lives, /readyz
whether it takes work.  One authenticator and one set of quotas stand in front of all of it, and
one `Stopping` ends whatever waits.  Its lifespan opens the engine once and drains it.
"""

import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from inspect import getmro
from typing import Any, Final, Self
from urllib.parse import urlsplit

from interlock import Deliverer, Engine
from interlock.errors import EngineError, InvalidInput

try:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route

    from interlock_adapters._callers.open import refuse_called
    from interlock_adapters._callers.quota import Quotas
    from interlock_adapters._http.asgi import PROBLEM_JSON
    from interlock_adapters._http.paths import HEALTH, READY
    from interlock_adapters._http.shutdown import Stopping
    from interlock_adapters.auth import Authenticator, refuse_open
    from interlock_adapters.config import Config, FacesConfig, ServiceConfig
    from interlock_adapters.service._agent import Instructions
    from interlock_adapters.service._app import Composition
    from interlock_adapters.service._auth import authenticator_of
    from interlock_adapters.service._engine import engine_of
    from interlock_adapters.service._faces import push_of
    from interlock_adapters.service._front import Front, InOneLine, Mounted, for_pages
    from interlock_adapters.service._shared import Counted, StoreWatch
    from interlock_adapters.service._telemetry import Observed, observed
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.service needs the service extra: pip install 'interlock[service]'",
        name=_missing.name,
    ) from _missing

__all__ = ["Instructions", "Service"]


class Service:
    """An engine with its faces.  It is served once: a new service has new faces."""

    def __init__(
        self,
        engine: Engine,
        config: ServiceConfig | None = None,
        *,
        instructions: Instructions | None = None,
        authenticator: Authenticator | None = None,
        told: Observed | None = None,
    ) -> None:
        """Serve `engine` as `config` says; nothing is opened or bound yet.

        `instructions` are what its agents are told, where that may be changed;
        `authenticator` takes the place of the one that the configuration describes.
        `told` goes with the observer that the engine has.

        Raises:
            InvalidInput: a part that is on cannot be made, or its extra is not installed.
        """
        self.engine: Final = engine
        self.config: Final = config or ServiceConfig()
        self.instructions: Final = instructions
        # Not by its truth: one that is a collection too may be empty.
        self.authenticator: Final = (
            authenticator_of(self.config) if authenticator is None else authenticator
        )
        #: Ends what waits; whoever stops the service without a signal calls its `begin`.
        self.stopping: Final = Stopping()
        self.quotas: Final = Quotas(self.config.quotas)
        #: As clients reach it.
        self.url: Final = self.config.server.public_url
        told = told or Observed()
        counted: Counted | None = None
        if engine.is_replica and told.counted is not None:
            counted = Counted(engine, told.counted)
            if told.metrics is not None:
                told = replace(told, metrics=counted.before(told.metrics))
        self._told: Final = told
        #: None where nobody else can have the store.
        self._store: Final = StoreWatch(engine) if engine.is_replica else None
        composition = Composition(
            engine=engine,
            config=self.config,
            authenticator=self.authenticator,
            instructions=instructions,
            observed=self._told,
            stopping=self.stopping,
            quotas=self.quotas,
            url=self.url,
        )
        inner = composition.composed()
        self._lives: Final = composition.lives
        if counted is not None:
            self._lives.append(counted.life)
        self._failed: Exception | None = None
        #: All of it.
        self.app: Final = Starlette(
            routes=[
                Route(HEALTH, _healthy, methods=["GET"]),
                Route(READY, self._ready, methods=["GET"]),
                *Front(self.config, composition.front_door()).routes,
                Mount("", Mounted(inner, self.url)),
            ],
            middleware=for_pages(self.config.server.allowed_origins),
            lifespan=self.lifespan,
        )

    @classmethod
    def of(cls, config: Config, *, faces: bool = True, turns: bool = True) -> Self:
        """The service that a configuration describes, with an engine of its own.

        On a store that processes share, one without `faces` is a worker: it runs agents, and
        nobody can reach it but for its health (and metrics).  One without `turns` serves
        requests only.

        Raises:
            InvalidInput: something cannot be found or made; every fault, with its place.
        """
        instructions = Instructions(_first_instructions(config))
        push = push_of(config)
        deliverers: dict[str, Deliverer] = {}
        if push is not None:
            from interlock_adapters.a2a import CHANNEL  # noqa: PLC0415  of an extra

            deliverers[CHANNEL] = push
        served = config if faces else without_faces(config)
        told = observed(served)
        engine = engine_of(config, instructions, deliverers, told.observer, takes_turns=turns)
        if not faces and not engine.is_replica:
            wanted = "a store that processes share (postgresql://... or restate://...) is accepted"
            raise InvalidInput([f"{config.at('store')}: {wanted} for a worker"])
        heard = instructions if _hears(engine) else None
        return cls(engine, served, instructions=heard, told=told)

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncGenerator[None]:
        """A block in which requests are served: the engine is opened, and drained at the end.

        Raises:
            OpenToEveryone: see `refuse_open`.
            EngineError, OSError: the engine or a face cannot start.
        """
        self._failed = None
        try:
            async with self._open():
                yield
        except BaseExceptionGroup as group:
            # A face that was up already is of a task group, which wraps what it is ended with.
            if self._failed is None:
                raise
            raise self._failed from group

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            if self._told.close is not None:
                stack.callback(self._told.close)
            try:
                self.refuse_open()
                await stack.enter_async_context(self.engine)
                for life in self._lives:
                    await stack.enter_async_context(life())
            except (EngineError, OSError) as error:
                self._failed = error
                raise
            if self.config.faces.mcp is None:
                # That face does so itself.
                stack.enter_context(self.stopping.serving())
            yield

    def while_served(self, life: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        """Have something live while requests are served, inside the engine; before it begins."""
        self._lives.append(life)

    def serve(
        self,
        *,
        sockets: Sequence[socket.socket] = (),
        log_level: str | None = None,
        on_listening: Callable[[], None] | None = None,
    ) -> int:
        """Serve with uvicorn where the configuration says until SIGTERM or SIGINT; the exit code.

        `sockets` that listen already take the place of its host and port; `on_listening` is
        called when clients are served.  What cannot start is told in one line of the log.

        Raises:
            OpenToEveryone: other machines would reach it, and nobody is asked to sign in.
        """
        from interlock_adapters.server import serve  # noqa: PLC0415  of an extra

        self.refuse_open(str(bound.getsockname()[0]) for bound in sockets)
        server = self.config.server
        return serve(
            InOneLine(self.app, lambda: self._failed),
            host=server.host,
            port=server.port,
            sockets=sockets,
            log_level=log_level or self.config.log.level,
            on_listening=on_listening,
        )

    def refuse_open(self, bound: Iterable[str] = ()) -> None:
        """Go on only if everybody is asked to sign in, or only this machine gets here.

        `bound` are addresses besides those of the configuration.

        Raises:
            OpenToEveryone: neither is so, and nobody said that it may be.
        """
        server, face = self.config.server, self.config.faces.a2a
        of_grpc = [face.grpc.host] if face is not None and face.grpc is not None else []
        for host in (server.host, *of_grpc, *bound):
            refuse_open(host, self.authenticator, server.dangerously_open_to_everyone)
        urls = [] if server.url is None else [server.url]
        if face is not None and face.grpc is not None and face.grpc.url is not None:
            urls.append(f"//{face.grpc.url.rpartition('//')[2]}")
        called = [urlsplit(url).hostname or "" for url in urls]
        for name in (*called, *server.allowed_hosts):
            refuse_called(name, self.authenticator, server.dangerously_open_to_everyone)

    async def _ready(self, _request: Request) -> JSONResponse:
        why = self.not_ready()
        if why is None and self._store is not None:
            why = await self._store.why_not()
        if why is None:
            return JSONResponse({"status": "ready"}, headers=_FRESH)
        problem = {
            "type": "about:blank",
            "title": HTTPStatus.SERVICE_UNAVAILABLE.phrase,
            "status": HTTPStatus.SERVICE_UNAVAILABLE.value,
            "detail": why,
        }
        return JSONResponse(
            problem,
            HTTPStatus.SERVICE_UNAVAILABLE,
            headers=_FRESH,
            media_type=PROBLEM_JSON,
        )

    def not_ready(self) -> str | None:
        """Why it takes no work now; None when it does, if its store is there."""
        if self.stopping.begun:
            return "the service is stopping"
        if not self.engine.statistics().accepting:
            return "the engine is not open"
        return None


def without_faces(config: Config) -> Config:
    """The same, which nobody can reach."""
    none = FacesConfig(a2a=None, mcp=None, management=False, console=False)
    return config.model_copy(update={"faces": none})


#: An answer of this moment.
_FRESH: Final = {"cache-control": "no-store"}


async def _healthy(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "alive"}, headers=_FRESH)


def _first_instructions(config: Config) -> str:
    said: Any = getattr(config.agent, "instructions", "")
    return said if isinstance(said, str) else ""


def _hears(engine: Engine) -> bool:
    """Whether an agent of it is told the instructions of plugins: those of smolagents are."""
    kinds = (kind for agent in engine.agents.values() for kind in getmro(type(agent)))
    return any(kind.__name__ == "SmolAgent" for kind in kinds)
