"""Where the tasks of replicas are kept: servers that the tests start, and stop in any way."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar
from urllib.parse import urlencode

from pg_server import PgServer, free_port
from restate_server import RestateServer, restate_server

V = TypeVar("V")


class Host(Protocol):
    """Servers that stores are on."""

    async def fresh(self) -> str:
        """The URL of a new, empty store."""
        ...

    def reader(self, url: str) -> str:
        """The URL by which somebody opens that store who takes no turns."""
        ...

    async def fail(self) -> None:
        """Have PostgreSQL stop as if the power had failed."""

    async def come_back(self) -> None:
        """Start it again, and wait until it is ready."""


class PostgresHost:
    """A PostgreSQL server.  The loop goes on while it starts and stops."""

    def __init__(self, thread: ThreadPoolExecutor, server: PgServer) -> None:
        self._thread: Final = thread
        self._server: Final = server

    async def fresh(self) -> str:
        """See `Host.fresh`."""
        return await self._done(self._server.create)

    def reader(self, url: str) -> str:
        """See `Host.reader`: who only opens it takes none."""
        return url

    async def fail(self) -> None:
        """See `Host.fail`."""
        await self._done(self._server.stop_immediately)

    async def come_back(self) -> None:
        """See `Host.come_back`."""
        await self._done(self._server.start)

    async def _done(self, work: Callable[[], V]) -> V:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class RestateHost:
    """A Restate server, whose tasks are read from a PostgreSQL server: that is what may fail."""

    def __init__(self, postgres: PostgresHost, server: RestateServer) -> None:
        self._postgres: Final = postgres
        self._server: Final = server
        self._numbers: Final = itertools.count(1)

    async def fresh(self) -> str:
        """See `Host.fresh`: a namespace of its own, and a port that its replicas share."""
        options = {
            "admin": self._server.admin,
            "projection": await self._postgres.fresh(),
            "serve": f"127.0.0.1:{free_port()}",
            "share": "1",
            "namespace": f"Scale{next(self._numbers)}",
        }
        return f"{self._server.url}?{urlencode(options)}"

    def reader(self, url: str) -> str:
        """See `Host.reader`: it serves no handlers."""
        address, _, options = url.partition("?")
        kept = [o for o in options.split("&") if o.partition("=")[0] not in {"serve", "share"}]
        return f"{address}?{'&'.join([*kept, 'serve=off', 'register=no'])}"

    async def fail(self) -> None:
        """See `Host.fail`."""
        await self._postgres.fail()

    async def come_back(self) -> None:
        """See `Host.come_back`."""
        await self._postgres.come_back()


@contextlib.asynccontextmanager
async def postgres() -> AsyncGenerator[PostgresHost]:
    """A PostgreSQL server, for as long as a block lasts."""
    # One thread that stays: the server is to end with the thread that started it.
    with ThreadPoolExecutor(1) as thread:
        server = PgServer()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(thread, server.__enter__)
        try:
            yield PostgresHost(thread, server)
        finally:
            await loop.run_in_executor(thread, server.__exit__)


@contextlib.asynccontextmanager
async def restate() -> AsyncGenerator[RestateHost]:
    """A Restate server and a PostgreSQL server, for as long as a block lasts."""
    async with postgres() as beside:
        with restate_server() as server:
            yield RestateHost(beside, server)


HOSTS: Final[dict[str, Callable[[], contextlib.AbstractAsyncContextManager[Host]]]] = {
    "postgres": postgres,
    "restate": restate,
}
