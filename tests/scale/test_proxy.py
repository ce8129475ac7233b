"""The balancer of the tests: requests go round, streams stay streams, who is gone is passed over.

Source: R-SCALE-03.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from scale.proxy import proxied

WAIT_S = 60.0


@asynccontextmanager
async def _replica(name: str, *, cut: bool = False) -> AsyncGenerator[tuple[int, asyncio.Event]]:
    """A server that says its name and what it was sent, then more when it is told to."""
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"connection: close" in head
        assert b"x-kept: yes" in head
        body = await reader.readexactly(4)
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"6\r\n" + name.encode() + b" " + body + b"\r\n")
        await writer.drain()
        await go_on.wait()
        if not cut:
            writer.write(b"3\r\nend\r\n0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], go_on
    finally:
        go_on.set()
        server.close()


async def test_requests_go_round_and_streams_come_as_they_are_written() -> None:
    """What was written arrives while the rest is not written yet."""
    async with AsyncExitStack() as stack:
        (one, first), (two, second) = [
            await stack.enter_async_context(_replica(name)) for name in ("a", "b")
        ]
        proxy = await stack.enter_async_context(proxied([one, two]))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=WAIT_S))
        for name, go_on in (("a", first), ("b", second), ("a", first)):
            async with http.stream(
                "POST", f"{proxy.url}/rpc", content=b"said", headers={"X-Kept": "yes"}
            ) as response:
                chunks = response.aiter_raw()
                assert await anext(chunks) == f"{name} said".encode()
                go_on.set()
                assert [chunk async for chunk in chunks] == [b"end"]
        assert [served.replica for served in proxy.served] == [0, 1, 0]
        assert proxy.served[0].what == "POST /rpc"


async def test_who_refuses_or_is_taken_out_is_passed_over() -> None:
    """A request that nobody got harms nothing: it is given to the next."""
    async with AsyncExitStack() as stack:
        gone, _ = await stack.enter_async_context(_replica("x"))
        there, go_on = await stack.enter_async_context(_replica("b"))
        go_on.set()
        async with _replica("y") as (closed, _):
            pass
        proxy = await stack.enter_async_context(proxied([gone, closed, there]))
        proxy.out.add(0)
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=WAIT_S))
        response = await http.post(proxy.url, content=b"said", headers={"X-Kept": "yes"})
        assert response.text == "b saidend"
        assert [served.replica for served in proxy.served] == [2]


async def test_an_answer_that_breaks_off_breaks_off_for_the_client() -> None:
    """Else a client would take half an answer for a whole one."""
    async with AsyncExitStack() as stack:
        port, go_on = await stack.enter_async_context(_replica("a", cut=True))
        go_on.set()
        proxy = await stack.enter_async_context(proxied([port]))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=WAIT_S))
        try:
            await http.post(proxy.url, content=b"said", headers={"X-Kept": "yes"})
        except httpx.TransportError:
            return
        raise AssertionError("half an answer was passed on as a whole one")
