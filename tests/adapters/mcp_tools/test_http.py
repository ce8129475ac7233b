"""Real HTTP on the loopback, both eras: headers, cancelling, restarts, and what fails alone."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import mcp_types as wire
import pytest
from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from interlock.errors import SourceUnavailable, ToolError
from interlock_adapters.mcp_tools import McpLimits, McpServer
from mcp_servers import (
    ERAS,
    ONCE,
    Era,
    RecordingUse,
    called,
    cancelled,
    listening,
    opened,
    served,
    serving,
    tool,
)
from support import pause, soon, until

SECRET = "s3cret-of-the-service"  # noqa: S105  (the example)
OWN = "Bearer own-t0ken-of-ada"

each_era = pytest.mark.parametrize("era", ERAS)


class City(BaseModel):
    """Where to go."""

    city: str


class Shop:
    """A server, and what it saw."""

    def __init__(self) -> None:
        self.headers: list[tuple[str | None, str | None]] = []
        self.began, self.stopped = asyncio.Event(), asyncio.Event()
        self.mcp = MCPServer("shop", log_level="CRITICAL")
        self.mcp.add_tool(self.whoami)
        self.mcp.add_tool(self.hang)
        self.mcp.add_tool(self.book)
        self.mcp.add_tool(self.big)
        self.mcp.add_tool(self.route)
        self.mcp.add_tool(self.repeat)

    async def whoami(self, ctx: Context) -> str:
        """Who calls."""
        request = ctx.request_context.request
        assert isinstance(request, Request)
        seen = (request.headers.get("x-service"), request.headers.get("authorization"))
        self.headers.append(seen)
        return "noted"

    async def hang(self) -> str:
        """Never ends by itself."""
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()
        return "never"

    async def book(self, ctx: Context, name: str) -> str:
        """Asks for a city."""
        answer = await ctx.elicit(f"{name}: which city?", City)
        return f"{name} to {answer.data.city}" if answer.action == "accept" else answer.action

    def route(
        self,
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
        ctx: Context,
    ) -> str:
        """Has an argument that goes into a header too."""
        request = ctx.request_context.request
        assert isinstance(request, Request)
        return f"{region} {request.headers.get('mcp-param-region')}"

    def big(self, chars: int) -> str:
        """So many."""
        return "x" * chars

    async def repeat(self, ctx: Context) -> wire.CallToolResult:
        """Repeats what was confided to it, in an error."""
        request = ctx.request_context.request
        assert isinstance(request, Request)
        said = f"bad token {request.headers.get('authorization')} {request.headers['x-service']}"
        raise MCPError(code=wire.INVALID_REQUEST, message=said)


@each_era
async def test_the_headers_of_the_service_and_of_the_task_go_along(era: Era) -> None:
    """The task's own take the place of the service's, and go with no other call.

    Source: issue 4, build 3, R-SRC-01.
    """
    shop = Shop()
    headers = {"X-Service": SECRET, "Authorization": "Basic service"}
    async with served(shop.mcp) as url:
        source = McpServer(
            "shop", url=url, era=era, headers=headers, pass_through=["AUTHORIZATION"], limits=ONCE
        )
        async with opened(source, alone=False):
            ada = RecordingUse(carried={"authorization": OWN, "cookie": "not to be passed"})
            await called(source, "whoami", ada)
            # Nobody's call is made in the service's name.
            with pytest.raises(ToolError, match="needs the caller's own authorization"):
                await called(source, "whoami")
    assert shop.headers == [(SECRET, OWN)]


@each_era
async def test_no_header_is_in_a_log_an_error_or_a_name(
    era: Era, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when the server repeats it.  Source: issue 4, build 3, R-SRC-07."""
    caplog.set_level(logging.DEBUG)
    shop = Shop()
    async with served(shop.mcp) as url:
        source = McpServer(
            "shop",
            url=url + "?key=s3cret-in-the-query",
            era=era,
            headers={"x-service": SECRET},
            pass_through=["authorization"],
            limits=ONCE,
        )
        async with opened(source, alone=False):
            use = RecordingUse(carried={"authorization": OWN})
            with pytest.raises(ToolError) as caught:
                await called(source, "repeat", use)
            await called(source, "whoami", use)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("interlock")]
    told = [str(caught.value), repr(source), repr(source._connections.words_of(caught.value))]
    for text in (*ours, *told):
        assert SECRET not in text
        assert "own-t0ken" not in text
        assert "s3cret-in-the-query" not in text
    assert "bad token" in str(caught.value)
    # And the address that others name is without its query.
    assert not [r for r in caplog.records if "s3cret-in-the-query" in f"{r.getMessage()} {r.args}"]
    assert [r for r in caplog.records if r.name == "httpx2" and url in r.getMessage()]
    # What the SDK logs of its own messages holds what servers say, and no header that we send.
    sent = [r.getMessage() for r in caplog.records if "Sending client message" in r.getMessage()]
    assert not any(SECRET in line or "own-t0ken" in line for line in sent)


@each_era
async def test_a_cancel_reaches_the_server_over_http(era: Era) -> None:
    """By notification, or by hanging up.  Source: MCP cancellation."""
    shop = Shop()
    async with served(shop.mcp) as url:
        source = McpServer("shop", url=url, era=era, limits=ONCE)
        async with opened(source, alone=False):
            call = asyncio.create_task(source.call(tool(source, "hang"), {}, RecordingUse()))
            await soon(shop.began.wait())
            await cancelled(call)
            await soon(shop.stopped.wait())


async def test_questions_over_http_find_their_own_tasks() -> None:
    """Each comes on the stream of its call.  Source: MCP streamable HTTP."""
    uses = [RecordingUse(answers=[{"city": f"c{n}"}]) for n in range(8)]
    async with served(Shop().mcp) as url:
        source = McpServer("shop", url=url, era="legacy", limits=ONCE)
        async with opened(source, alone=False):
            calls = [called(source, "book", use, name=f"n{n}") for n, use in enumerate(uses)]
            results = await soon(asyncio.gather(*calls))
    assert [result.text for result in results] == [f"n{n} to c{n}" for n in range(8)]
    assert [use.asked[0][1] for use in uses] == [f"shop asks: n{n}: which city?" for n in range(8)]


@each_era
async def test_large_results_come_through_and_larger_ones_fail_by_themselves(era: Era) -> None:
    """The bound is ours, and the connection stays.  Source: issue 4, bad input."""
    async with served(Shop().mcp) as url:
        limits = McpLimits(attempts=1, answer_bytes_max=8_000_000)
        async with opened(
            McpServer("shop", url=url, era=era, limits=limits), alone=False
        ) as source:
            assert len((await called(source, "big", chars=3_000_000)).text) == 3_000_000
            with pytest.raises((ToolError, SourceUnavailable), match="'shop'"):
                await called(source, "big", chars=9_000_000)
            assert (await called(source, "big", chars=1)).text == "x"


@each_era
async def test_a_server_that_comes_back_is_called_again(era: Era) -> None:
    """A call while it is gone fails; the next one after finds it.

    Source: issue 4, build 3, R-SRC-09.
    """
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(listening())
        up = await stack.enter_async_context(AsyncExitStack())
        url = await up.enter_async_context(serving(Shop().mcp.streamable_http_app(), found))
        source = McpServer("shop", url=url, era=era, limits=ONCE)
        await stack.enter_async_context(opened(source, alone=False))
        assert (await called(source, "big", chars=2)).text == "xx"
        address = found.getsockname()
        await up.aclose()
        found.close()
        with pytest.raises(SourceUnavailable, match="'shop'"):
            await called(source, "big", chars=3)
        again = await stack.enter_async_context(listening_at(address))
        await stack.enter_async_context(serving(Shop().mcp.streamable_http_app(), again))
        assert (await called(source, "big", chars=4)).text == "xxxx"


@asynccontextmanager
async def listening_at(address: Any) -> AsyncGenerator[Any]:  # noqa: ANN401
    """A socket on just that port."""
    with socket.create_server(address) as found:
        yield found


@each_era
async def test_calls_that_are_open_do_not_fail_with_one_that_cannot_be_sent(era: Era) -> None:
    """The SDK would end the whole connection.  Source: ours."""
    shop = Shop()
    async with listening() as found, AsyncExitStack() as stack:
        behind = await stack.enter_async_context(serving(shop.mcp.streamable_http_app(), found))
        lane = Lane(found.getsockname()[1])
        url = await stack.enter_async_context(lane.open())
        assert url != behind
        source = McpServer("shop", url=url, era=era, limits=ONCE)
        await stack.enter_async_context(opened(source, alone=False))
        hanging = asyncio.create_task(source.call(tool(source, "hang"), {}, RecordingUse()))
        await soon(shop.began.wait())
        lane.blocked = True
        calls = [source.call(tool(source, "big"), {"chars": 1}, RecordingUse()) for _ in range(8)]
        outcomes = await soon(asyncio.gather(*calls, return_exceptions=True))
        assert any(isinstance(outcome, SourceUnavailable) for outcome in outcomes)
        lane.blocked = False
        assert (await called(source, "big", chars=1)).text == "x"
        assert not hanging.done()
        await cancelled(hanging)
        await soon(shop.stopped.wait())


class Lane:
    """A way to a port on which new connections can be cut at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.Task[None]] = set()
        self.blocked = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[str]:
        """The URL this side of it."""
        server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        finally:
            server.close()
            for task in self._open:
                task.cancel()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.blocked:
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        for pair in ((reader, back), (there, writer)):
            task = asyncio.create_task(_piped(*pair))
            self._open.add(task)
            task.add_done_callback(self._open.discard)


async def _piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    finally:
        writer.close()


async def test_a_server_that_is_down_at_the_start_is_an_error_that_names_it() -> None:
    """Not its address, which may hold a secret.  Source: issue 4, build 3."""
    async with listening() as found:
        port = found.getsockname()[1]
    source = McpServer("shop", url=f"http://127.0.0.1:{port}/s3cret", limits=ONCE)
    with pytest.raises(SourceUnavailable, match="tool source 'shop' is not available") as caught:
        await soon(source.open())
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        Response("<html>", media_type="text/html"),
        Response("{", media_type="application/json"),
        Response("{}", media_type="application/json"),
        Response("[]", status_code=500),
        Response(status_code=202),
        Response(status_code=307, headers={"location": "http://elsewhere.test/"}),
        Response(b"\x1f\x8b", media_type="application/json", headers={"content-encoding": "gzip"}),
        JSONResponse({"jsonrpc": "2.0", "id": 1, "result": {"tools": 3}}),
    ],
)
@each_era
async def test_what_is_no_mcp_server_is_an_error_that_names_it(era: Era, answer: Response) -> None:
    """Whatever answers there instead.  Source: issue 4, bad input."""

    async def endpoint(_request: Request) -> Response:
        return answer

    app = Starlette(routes=[Route("/mcp", endpoint, methods=["GET", "POST", "DELETE"])])
    async with listening() as found, serving(app, found) as url:
        source = McpServer("odd", url=url, era=era, limits=ONCE)
        with pytest.raises(SourceUnavailable, match="tool source 'odd'"):
            await soon(source.open())


@each_era
async def test_nothing_stays_open_of_connections_for_single_calls(era: Era) -> None:
    """A hundred callers with headers of their own leave as many files as before.

    Source: issue 4, "closed without leaks".
    """
    shop = Shop()
    async with served(shop.mcp) as url:
        source = McpServer("shop", url=url, era=era, pass_through=["authorization"], limits=ONCE)
        async with opened(source, alone=False):
            use = RecordingUse(carried={"authorization": OWN})
            await called(source, "whoami", use)
            await until(lambda: not source._connections._farewells)
            await pause(50)
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            for _ in range(10):
                await asyncio.gather(*(called(source, "whoami", use) for _ in range(3)))
            await until(lambda: not source._connections._farewells)
            await until(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)  # noqa: PTH208
            assert len(source._connections._links) == 1


async def test_an_argument_that_belongs_into_a_header_goes_there() -> None:
    """Also on a connection that has listed no tools before.  Source: MCP, x-mcp-header."""
    async with served(Shop().mcp) as url:
        source = McpServer(
            "shop", url=url, era="modern", pass_through=["authorization"], limits=ONCE
        )
        async with opened(source, alone=False):
            own = RecordingUse(carried={"authorization": OWN})
            assert (await called(source, "route", region="north")).text == "north north"
            assert (await called(source, "route", own, region="south")).text == "south south"


@each_era
async def test_closing_ends_the_calls_that_are_open(era: Era) -> None:
    """They fail, and their server hears of it.  Source: ours."""
    shop = Shop()
    async with served(shop.mcp) as url:
        source = McpServer("shop", url=url, era=era, pass_through=["authorization"], limits=ONCE)
        async with opened(source, alone=False):
            own = RecordingUse(carried={"authorization": OWN})
            hang = tool(source, "hang")
            calls = [
                asyncio.create_task(source.call(hang, {}, use)) for use in (RecordingUse(), own)
            ]
            await soon(shop.began.wait())
            await pause(50)
        for call in calls:
            with pytest.raises(SourceUnavailable, match="'shop'"):
                await soon(call)
