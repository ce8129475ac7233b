"""A server that answers no more, or only says what it will not do.  R-PG-04, R-PG-05.

It is a stand-in that knows as much of the protocol as it takes to let a client in.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest

from interlock.errors import StoreError
from interlock.testing._store_contract import commit_of, submitted
from interlock_adapters.postgres import _pool, _writer
from interlock_adapters.postgres._pool import CONNECT_S, Connection, Place, Pool, Unreachable
from interlock_adapters.postgres._writer import Writer
from support import soon

#: What a client begins with that wants a statement cancelled, and what with that asks for TLS.
_CANCEL, _TLS, _GSS = 80_877_102, 80_877_103, 80_877_104
_READY: Final = b"Z\0\0\0\x05I"


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _setting(name: str, value: str) -> bytes:
    return _message(b"S", f"{name}\0{value}\0".encode())


_HELLO: Final = b"".join(
    (
        _message(b"R", struct.pack("!i", 0)),
        _setting("server_version", "16.0"),
        _setting("client_encoding", "UTF8"),
        _setting("standard_conforming_strings", "on"),
        _setting("default_transaction_read_only", "off"),
        _setting("in_hot_standby", "off"),
        _message(b"K", struct.pack("!ii", 7, 7)),
        _READY,
    )
)


class Server:
    """Does each statement, unless it is to refuse it, or to say nothing at all."""

    def __init__(self) -> None:
        self.refusal: tuple[str, str] | None = None
        self.is_silent = False
        #: How many connections there were, and how many wanted a statement cancelled.
        self.clients = self.cancels = 0
        self._serving: Final[set[asyncio.Task[None]]] = set()

    @contextlib.asynccontextmanager
    async def open(self, *before: int) -> AsyncGenerator[Pool]:
        """A pool of one connection to it, or to whoever answers at the ports before it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        ports = (*before, server.sockets[0].getsockname()[1])
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        url = f"postgresql://ada@{hosts}/tasks?sslmode=disable&gssencmode=disable"
        pool = Pool(Place.of(url, "interlock"), 1)
        try:
            yield pool
        finally:
            await pool.close()
            server.close()
            for serving in list(self._serving):
                serving.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._talk(reader, writer)
        finally:
            writer.close()
            self._serving.discard(task)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size, code = struct.unpack("!ii", await reader.readexactly(8))
        if code == _CANCEL:
            self.cancels += 1
            return
        assert code not in {_TLS, _GSS}
        await reader.readexactly(size - 8)
        self.clients += 1
        writer.write(_HELLO)
        while True:
            kind, length = struct.unpack("!ci", await reader.readexactly(5))
            text = await reader.readexactly(length - 4)
            if kind == b"X":
                return
            if b"set_config" in text:
                writer.write(_message(b"C", b"SELECT 0\0") + _READY)
                continue
            if not self.is_silent:
                writer.write(self._answer())

    def _answer(self) -> bytes:
        if self.refusal is None:
            return _message(b"C", b"SELECT 0\0") + _READY
        state, why = self.refusal
        return _message(b"E", f"SERROR\0VERROR\0C{state}\0M{why}\0\0".encode()) + _READY


@pytest.mark.parametrize(
    ("url", "seconds"),
    [
        ("postgresql://a/tasks", CONNECT_S),
        ("postgresql://a,b,c/tasks", 3 * CONNECT_S),
        ("host=a,b,c dbname=tasks", 3 * CONNECT_S),
        ("hostaddr=192.0.2.1,192.0.2.2 dbname=tasks", 2 * CONNECT_S),
        ("postgresql://a,b/tasks?connect_timeout=30", 2 * 30),
        ("dbname=tasks", CONNECT_S),
    ],
)
def test_there_is_time_for_all_hosts(url: str, seconds: float) -> None:
    """Those before the one that answers may be dark, each by two addresses.  Source: R-PG-05."""
    assert Place.of(url, "interlock").connect_s > 2 * seconds


async def test_the_last_host_is_come_to_though_the_others_say_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As machines that have lost their power.  Source: R-PG-05."""
    monkeypatch.setattr(_pool, "CONNECT_S", 2)  # The least that the driver takes.
    dark = [socket.create_server(("127.0.0.1", 0)) for _ in "12"]
    ports = [listener.getsockname()[1] for listener in dark]
    server = Server()
    try:
        async with server.open(*ports) as pool:
            await soon(pool.once(_ask, "it cannot be asked"))
            assert server.clients == 1
    finally:
        for listener in dark:
            listener.close()


async def _ask(db: Connection) -> Any:  # noqa: ANN401  nothing
    await db.execute("SELECT")


async def test_a_server_that_is_late_is_not_told_to_cancel() -> None:
    """A commit that waits for a standby would be made at once, and nobody would have it.

    Source: R-PG-04; docs/scale.md, on `synchronous_commit`.
    """
    server = Server()
    server.is_silent = True
    async with server.open() as pool:
        with pytest.raises(Unreachable, match=r"no answer within 0\.2 s"):
            await soon(pool.once(_ask, "it cannot be asked", answer_s=0.2))
        # It takes up the next one, whom it would have been told before.
        server.is_silent = False
        await soon(pool.once(_ask, "it cannot be asked"))
        assert (server.clients, server.cancels) == (2, 0)


async def test_a_server_that_only_reads_any_more_is_left() -> None:
    """Another one may have its place; the way there is a new connection.  Source: R-PG-05."""
    server = Server()
    async with server.open() as pool:
        await soon(pool.once(_ask, "it cannot be asked"))
        server.refusal = "25006", "cannot execute UPDATE in a read-only transaction"
        with pytest.raises(Unreachable):
            await soon(pool.once(_ask, "it cannot be asked"))
        assert server.clients == 1
        server.refusal = None
        await soon(pool.once(_ask, "it cannot be asked"))
        assert server.clients == 2


async def test_what_is_refused_for_itself_costs_no_connection() -> None:
    """Only what is wrong with the server does.  Source: R-PG-05."""
    server = Server()
    async with server.open() as pool:
        server.refusal = "40P01", "deadlock detected"
        with pytest.raises(Unreachable):
            await soon(pool.once(_ask, "it cannot be asked"))
        server.refusal = None
        await soon(pool.once(_ask, "it cannot be asked"))
        assert server.clients == 1


async def test_a_process_that_ends_does_not_wait_long_to_learn_of_a_commit() -> None:
    """One that goes on does: it can do nothing better meanwhile.  R-PG-04."""
    ends = asyncio.Event()
    pool = Pool(Place.of("postgresql://ada@127.0.0.1:1/tasks", "interlock"), 1)
    writer = Writer(pool, 0.0, 600.0, ends.is_set)
    asking = asyncio.ensure_future(writer._decided(commit_of(submitted("t")), 1))
    done, _ = await asyncio.wait([asking], timeout=_writer._ASK_S + 0.5)
    assert not done
    ends.set()
    with pytest.raises(StoreError, match="no connection"):
        await soon(asking)
    await pool.close()
