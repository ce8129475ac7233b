"""A reverse proxy that gives each request to the next replica, as a plain balancer does.

It speaks HTTP/1.1 to both sides, one connection for each request, and passes answers on as
they come, so that streams stay streams.  A replica that refuses connections is passed over.
One that dies in the middle of an answer ends the client's connection in the middle, too: the
client cannot know what became of its request, as in life.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

#: Bytes that are passed on at a time.
CHUNK: Final = 65_536
#: Bytes of the head of a request.
HEAD_MAX: Final = 65_536
#: Headers that are of one connection, and not of the request.
_HOP: Final = frozenset({b"connection", b"keep-alive"})


class Served(NamedTuple):
    """A request that a replica got."""

    replica: int
    #: As `POST /rpc`.
    what: str


@dataclass
class Proxy:
    """Where the robin stands, and what it did."""

    #: Ports of the replicas, all of this machine.
    replicas: list[int]
    #: Whose turn it is.
    next: int = 0
    #: Those that get nothing new: taken out as unhealthy.
    out: set[int] = field(default_factory=set[int])
    served: list[Served] = field(default_factory=list[Served])
    port: int = 0

    @property
    def url(self) -> str:
        """Where clients come to."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request of one client."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first, headers = _parsed(head)
            body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
            await self._passed_on(first, headers, body, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # Somebody hung up, or spoke something else: the connection just ends.
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _passed_on(
        self,
        first: bytes,
        headers: dict[bytes, bytes],
        body: bytes,
        client: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        opened = await self._opened(first)
        if opened is None:
            return  # Nobody is there.
        answer, replica = opened
        try:
            lines = [first, *(name + b": " + value for name, value in headers.items())]
            replica.write(b"\r\n".join([*lines, b"connection: close", b"", body]))
            await replica.drain()
            passing = asyncio.create_task(_pump(answer, writer))
            # A client says nothing more: what comes is that it hangs up.
            hung_up = asyncio.create_task(client.read(1))
            try:
                await asyncio.wait([passing, hung_up], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (passing, hung_up):
                    task.cancel()
                await asyncio.gather(passing, hung_up, return_exceptions=True)
        finally:
            replica.close()

    async def _opened(
        self, first: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to the next replica that takes one."""
        for _ in self.replicas:
            number = self.next
            self.next = (self.next + 1) % len(self.replicas)
            if number in self.out:
                continue
            try:
                opened = await asyncio.open_connection("127.0.0.1", self.replicas[number])
            except OSError:
                continue
            self.served.append(Served(number, first.decode("latin-1").rpartition(" ")[0]))
            return opened
        return None


@contextlib.asynccontextmanager
async def proxied(replicas: list[int]) -> AsyncGenerator[Proxy]:
    """A proxy before these ports, for as long as a block lasts."""
    proxy = Proxy(replicas)
    serving: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, limit=HEAD_MAX)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()


def _parsed(head: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The first line, and the headers that go on with the request."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    pairs = (line.split(b":", 1) for line in lines)
    headers = {name.lower(): value.strip() for name, value in pairs}
    return first, {name: value for name, value in headers.items() if name not in _HOP}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()
