"""A managed engine for the tests of its REST API: who is who, tasks of every kind, and clients."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator, Coroutine, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Self, TypeVar, cast

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from interlock import (
    Engine,
    JsonObject,
    Limits,
    Phase,
    Policies,
    Policy,
    TaskContext,
    TaskRecord,
    Toolbox,
)
from interlock_adapters._callers.principal import Principal, Role
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.auth import Authentication, Authenticator, PrincipalUser, TrustLocal
from interlock_adapters.management import Managed, management_app
from support import World, opened, until

V = TypeVar("V")

ADA: Final = Principal("ada", "https://id", "acme")


def _in_role(*roles: Role, tenant: str = "acme") -> Principal:
    return Principal("eve", "https://id", tenant, frozenset(roles))


#: By what they are called in tables.
WHO: Final[dict[str, Principal]] = {
    "owner": ADA,
    "peer": replace(ADA, subject="bob"),
    "twin": replace(ADA, tenant="other"),
    "approver": _in_role(Role.APPROVER),
    "operator": _in_role(Role.OPERATOR),
    "auditor": _in_role(Role.AUDITOR),
    "stranger": _in_role(*Role, tenant="other"),
    "root operator": _in_role(Role.OPERATOR, tenant=""),
    "root auditor": _in_role(Role.AUDITOR, tenant=""),
}
#: Everything, of the deployment.
ROOT: Final = _in_role(*Role, tenant="")


async def agent(task: TaskContext) -> str:
    """Does what its input says."""
    match task.input.text:
        case "ask":
            return await task.ask("Which?", str)
        case "authorize":
            arguments = await task.authorize("pay", {"euro": 1}, allow_edit=True)
            return str(arguments["euro"])
        case "pay":
            return (await task.call_tool("pay", {"euro": 2})).text
        case "astray":
            _RUNS.append(1)
            return await task.ask(f"Which {len(_RUNS)}?", str)
        case "wait":
            await asyncio.Event().wait()
            return ""
        case _:
            return "done"


_RUNS: Final[list[int]] = []


def pay(euro: int) -> str:
    """Pay so much."""
    return f"paid {euro}"


class Told:
    """Instructions that can be changed."""

    def __init__(self) -> None:
        self.text = "be kind"

    def get(self) -> str:
        """See `Instructions`."""
        return self.text

    def set(self, text: str) -> None:
        """See `Instructions`."""
        self.text = text


@dataclass
class Office:
    """An engine, its management, and who may come in."""

    world: World
    app: FastAPI
    instructions: Told
    stopping: Stopping

    def client(self, who: Principal | None = ROOT) -> httpx.AsyncClient:
        """Calls in somebody's name; None: with nothing in front that says who it is."""
        transport = httpx.ASGITransport(as_user(self.app, who), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://service")

    async def task(self, text: str, who: Principal = ADA) -> TaskRecord:
        """A task that has come to a rest; of what is over, nothing is left to do."""
        engine = self.world.engine
        handle = await engine.submit(text, owner=who.owner)
        record = await handle.rest()
        if text == "astray":
            await handle.answer(record.asks[0].key, "x")
            record = await handle.rest()
        if record.phase is Phase.COMPLETED:
            await until(lambda: self.world.stored(handle).phase is Phase.FINALIZED)
            record = self.world.stored(handle)
        return record


def as_user(app: Any, who: Principal | None) -> Any:  # noqa: ANN401  ASGI
    """The application behind somebody who says who calls."""

    async def called(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI
        inside = scope if who is None else {**scope, "user": PrincipalUser(who)}
        await app(inside, receive, send)

    return called


@asynccontextmanager
async def office(
    *, config: JsonObject | None = None, limits: Limits | None = None
) -> AsyncGenerator[Office]:
    """An open engine and its management."""
    tools = Toolbox([pay], policies=Policies({"pay": Policy()}))
    stopping, instructions = Stopping(), Told()
    async with opened(agent, tools=tools, limits=limits or Limits(park_after_s=0)) as world:
        app = management_app(
            Managed(world.engine, config or {"agent": "test"}, instructions),
            auth_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
            stopping=stopping,
        )
        yield Office(world, app, instructions, stopping)


class Served:
    """A service on this machine, in a thread of its own, with tasks of every kind."""

    def __init__(self, authenticator: Authenticator | None = None, store: str = "memory:") -> None:
        self._authenticator: Final[Authenticator] = authenticator or TrustLocal()
        self._store: Final = store
        self.engine: Engine | None = None
        self._server: uvicorn.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: Final = socket.create_server(("127.0.0.1", 0))
        self._thread: Final = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._ready: Final = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def _serve(self) -> None:
        tools = Toolbox([pay], policies=Policies({"pay": Policy()}))
        engine = Engine(agent, tools=tools, store=self._store, limits=Limits(park_after_s=0))
        stopping = Stopping()
        managed = Managed(engine, {"agent": "test"}, Told())
        schemes = self._authenticator.schemes or {"bearer": {"type": "http", "scheme": "bearer"}}
        inner = management_app(managed, auth_schemes=schemes, stopping=stopping)
        app = Authentication(Starlette(routes=[Mount("/manage", inner)]), self._authenticator)
        config = uvicorn.Config(app, log_level="error", lifespan="off")
        async with engine:
            self.engine, self._server = engine, uvicorn.Server(config)
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await self._server.serve(sockets=[self._socket])
            stopping.begin()

    def do(self, work: "Coroutine[Any, Any, V]") -> V:
        """Do something where the engine is."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def task(self, text: str, owner: str = "ada") -> TaskRecord:
        """A task that has come to a rest."""
        engine = self.engine
        assert engine is not None

        async def made() -> TaskRecord:
            handle = await engine.submit(text, owner=owner)
            record = await handle.rest()
            if text == "astray":
                await handle.answer(record.asks[0].key, "x")
                record = await handle.rest()
            return record

        return self.do(made())

    def record(self, task_id: str) -> TaskRecord:
        """The task as it is."""
        assert self.engine is not None
        return self.do(self.engine.record(task_id, owner=None))

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        assert self._ready.wait(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        """End, and drain the engine."""
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(timeout=60)
        self._socket.close()
        assert not self._thread.is_alive()


class Reader:
    """Reads a response as it comes, which `httpx.ASGITransport` does not."""

    def __init__(self, app: Any, path: str, headers: dict[str, str] | None = None) -> None:  # noqa: ANN401  ASGI
        raw = [(n.lower().encode(), v.encode()) for n, v in (headers or {}).items()]
        target, _, query = path.partition("?")
        self._scope: Final = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "path": target,
            "raw_path": target.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query.encode(),
            "headers": [(b"host", b"service"), *raw],
            "client": ("127.0.0.1", 1),
            "server": ("service", 80),
        }
        self._gone: Final = asyncio.Event()
        self._began = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.over = False
        self._task: Final = asyncio.ensure_future(self._run(app))

    async def _run(self, app: Any) -> None:  # noqa: ANN401  ASGI
        await app(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if not self._began:
            self._began = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            pairs = cast("list[tuple[bytes, bytes]]", message["headers"])
            self.headers = {name.decode(): value.decode() for name, value in pairs}
        else:
            self.body += message.get("body", b"")
            self.over = not message.get("more_body", False)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What has come so far, but for the end."""
        chunks = self.body.decode().split("\n\n")
        return [
            json.loads(line.removeprefix("data: "))
            for chunk in chunks
            if chunk.startswith("id: ")
            for line in chunk.splitlines()
            if line.startswith("data: ")
        ]

    @property
    def ended(self) -> bool:
        """Whether it was told that the task is over."""
        return b"event: end\n" in self.body

    async def seen(self, count: int) -> None:
        """Wait until so many events have come."""
        await until(lambda: len(self.events) >= count)

    async def closed(self) -> None:
        """Wait until the response is over."""
        await until(lambda: self.over)
        await self._task

    async def hang_up(self) -> None:
        """Go away."""
        self._gone.set()
        await self._task


__all__ = ["ADA", "ROOT", "WHO", "Office", "Reader", "Served", "as_user", "office"]
