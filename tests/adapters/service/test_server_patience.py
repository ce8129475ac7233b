"""Slow, many and silent clients of the real server, over real sockets: others are served.

Requirements: R-SVC-23 (a head has to come in time and within bounds), R-SVC-24 (connections are
bounded; whoever does not read is hung up on).  Threat: T23.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from interlock_adapters._http.patience import TOO_LARGE, Patience, Patient
from interlock_adapters.server import config_of
from support import pause, soon, until

GET: Final = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK"
#: No test waits for these.
LONG_S: Final = 1_000.0


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer when the body is there; below /big with more than any buffer takes."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body", False):
        pass
    length = 50_000_000 if scope["path"] == "/big" else 2
    headers = [(b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(length // 1_000_000):
        await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
    await send({"type": "http.response.body", "body": b"hi" if length == 2 else b""})


@dataclass
class Site:
    """A server on a free port."""

    port: int
    server: uvicorn.Server
    _open: AsyncExitStack

    async def connect(self, receives: int | None = None) -> "Line":
        """A connection, whose system keeps so many bytes that are not read."""
        plain = socket.socket()
        if receives is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        plain.setblocking(False)  # noqa: FBT003
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=receives or 65_536)
        self._open.callback(writer.close)
        return Line(reader, writer)

    async def is_serving(self) -> bool:
        """Whether somebody else is served now."""
        line = await self.connect()
        line.writer.write(GET)
        return (await line.head()).startswith(OK)


@dataclass
class Line:
    """A client that does as it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        """The head of the next answer."""
        return await soon(self.reader.readuntil(b"\r\n\r\n"))

    async def rest(self) -> bytes:
        """What comes until the server hangs up."""
        try:
            return await soon(self.reader.read())
        except ConnectionError:
            return b""


@asynccontextmanager
async def served(
    base: type[Any] | None = None,
    app: ASGIApp = hello,
    **said: Any,  # noqa: ANN401
) -> AsyncGenerator[Site]:
    """The server, as `serve` has it, with a protocol of choice and little patience."""
    settings: dict[str, Any] = {"head_s": LONG_S, "stall_s": LONG_S, "idle_s": 1_000, **said}
    patience = Patience(**settings)
    config = config_of(app, patience, host="127.0.0.1", port=0, log_level="critical")
    config.lifespan = "off"
    config.timeout_graceful_shutdown = 1
    if base is not None:
        config.http = type("Other", (Patient, base), {"patience": patience})
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started)
        async with AsyncExitStack() as stack:
            yield Site(listening.getsockname()[1], server, stack)
        server.should_exit = True
        await soon(task)


PROTOCOLS: Final = [H11Protocol, HttpToolsProtocol]


@pytest.mark.parametrize("base", PROTOCOLS)
@pytest.mark.parametrize("said", [b"", b"G", b"GET / HTTP/1.1\r\nhost: here\r\nx-slow: "])
async def test_a_head_that_does_not_come_is_not_waited_for(base: type[Any], said: bytes) -> None:
    """Neither by silence nor piece by piece (R-SVC-23)."""
    async with served(base, head_s=0.1) as site:
        line = await site.connect()
        line.writer.write(said)
        assert await line.rest() == b""
        assert await site.is_serving()


@pytest.mark.parametrize("base", PROTOCOLS)
async def test_bytes_that_trickle_win_no_time(base: type[Any]) -> None:
    """The time is for the whole head, whatever came of it."""
    async with served(base, head_s=0.2) as site:
        line = await site.connect()
        line.writer.write(b"GET / HTTP/1.1\r\nx-slow: ")

        async def trickle() -> None:
            for _ in range(60_000):
                line.writer.write(b"x")
                await pause()

        trickling = asyncio.create_task(trickle())
        assert await line.rest() == b""
        assert not trickling.done(), "it was not hung up on while it trickled"
        trickling.cancel()
        assert await site.is_serving()


@pytest.mark.parametrize("base", PROTOCOLS)
async def test_the_second_request_of_a_connection_has_its_own_time(base: type[Any]) -> None:
    """From its first byte: between two requests it is idle, which is another bound."""
    async with served(base, head_s=0.2) as site:
        line = await site.connect()
        for _ in range(2):
            line.writer.write(GET)
            assert (await line.head()).startswith(OK)
            assert await soon(line.reader.readexactly(2)) == b"hi"
        line.writer.write(GET[:-2])
        assert await line.rest() == b""
        assert await site.is_serving()


@pytest.mark.parametrize("base", PROTOCOLS)
async def test_a_request_may_take_longer_than_its_head(base: type[Any]) -> None:
    """Neither a slow body (which has its own bound) nor a long answer ends with that time."""
    go_on = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await hello(scope, receive, send)

    async with served(base, app=slow, head_s=0.05) as site:
        line = await site.connect()
        line.writer.write(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\na")
        other = await site.connect()  # Its time is over later than the first one's.
        assert await other.rest() == b""
        go_on.set()
        line.writer.write(b"b")
        assert (await line.head()).startswith(OK)


@pytest.mark.parametrize("base", PROTOCOLS)
async def test_a_head_is_of_so_many_bytes(base: type[Any]) -> None:
    """A client that sends headers without an end is told so, and hung up on."""
    async with served(base, head_bytes_max=10_000) as site:
        line = await site.connect()
        line.writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n")
        for number in range(200):
            line.writer.write(b"x-%d: %s\r\n" % (number, b"y" * 100))
            await pause(1)
        # Whether it is told depends on who is faster: what it still sends can undo that.
        assert await line.rest() in {b"", TOO_LARGE}
        assert await site.is_serving()


@pytest.mark.parametrize("base", PROTOCOLS)
async def test_who_does_not_read_is_hung_up_on(base: type[Any]) -> None:
    """What is kept for it does not stay, and neither does its request (R-SVC-24)."""
    async with served(base, stall_s=0.1) as site:
        line = await site.connect(receives=4_096)
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        line.writer.write(GET.replace(b" / ", b" /big "))
        await until(lambda: bool(site.server.server_state.tasks))
        assert await site.is_serving()
        await until(lambda: len(site.server.server_state.connections) <= 1)


async def test_hundreds_that_say_nothing_keep_nobody_out() -> None:
    """Each costs a connection for so long; others are served meanwhile (T23)."""
    async with served(head_s=2.0) as site:
        lines = [await site.connect() for _ in range(400)]
        for line in lines:
            line.writer.write(b"GET / HTTP/1.1\r\nx-slow: ")
        assert await site.is_serving()
        assert [await line.rest() for line in lines] == [b""] * 400
        assert await site.is_serving()


async def test_beyond_the_bound_connections_are_refused() -> None:
    """First they are told; far beyond it they are not, and never is one kept."""
    async with served(connections_max=10) as site:
        kept = [await site.connect() for _ in range(9)]
        told = await site.connect()
        told.writer.write(GET)
        assert (await told.head()).startswith(b"HTTP/1.1 503")
        more = [await site.connect() for _ in range(100)]
        cut_off = [line for line in more if await _is_closed(line)]
        assert len(cut_off) >= 100 - 64 - 1
        assert len(site.server.server_state.connections) <= 10 + 64
        for line in (*kept, *more, told):
            line.writer.close()
        await until(lambda: not site.server.server_state.connections)
        assert await site.is_serving()


async def _is_closed(line: Line) -> bool:
    try:
        async with asyncio.timeout(0.02):
            return await line.reader.read(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_there_is_room_for_what_the_process_may_open() -> None:
    """The store and the calls of the service need files too."""
    assert 64 <= Patience().connections <= 10_000
    assert Patience(connections_max=7).connections == 7
