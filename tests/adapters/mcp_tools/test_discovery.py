"""Finding out what tools there are: pages, tries, changes, and servers that are not there."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import mcp_types as wire
import pytest
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context

from interlock import Tool
from interlock.errors import InvalidInput, SourceUnavailable, ToolError
from interlock_adapters.mcp_testing import ScriptedMcp
from interlock_adapters.mcp_tools import McpLimits, McpServer
from interlock_adapters.mcp_tools._content import tool_of
from mcp_servers import (
    ERAS,
    ONCE,
    Era,
    NotingClock,
    RecordingUse,
    called,
    described,
    opened,
    raw_server,
    tool,
)
from support import pause, soon, until

each_era = pytest.mark.parametrize("era", ERAS)


class Listing:
    """A server that lists as its script says: tools, an error, or nothing for ever."""

    def __init__(self, *script: list[wire.Tool] | Exception | None) -> None:
        self.script = list(script)
        self.listed = 0
        self.server: Server[Any] = Server("raw", on_list_tools=self._list)

    async def _list(
        self, _context: ServerRequestContext[Any, Any], _params: wire.PaginatedRequestParams | None
    ) -> wire.ListToolsResult:
        self.listed += 1
        match self.script.pop(0) if len(self.script) > 1 else self.script[0]:
            case Exception() as error:
                raise error
            case None:
                await asyncio.Event().wait()
                raise AssertionError
            case tools:
                return wire.ListToolsResult(tools=tools)


backoff = McpLimits().backoff_s


def names(source: McpServer) -> list[str]:
    """What it offers."""
    return [tool.name for tool in source.tools()]


@each_era
async def test_every_page_of_the_list_is_read(era: Era) -> None:
    """In the server's order.  Source: MCP pagination, R-SRC-02."""
    server = raw_server([[described("a"), described("b")], [], [described("c")]])
    async with opened(McpServer("many", server=server, era=era)) as source:
        assert names(source) == ["a", "b", "c"]


@each_era
async def test_a_list_without_end_is_given_up(era: Era) -> None:
    """A cursor that always leads on cannot hang the start.  Source: ours."""
    server = raw_server([[described(f"t{page}")] for page in range(101)])
    source = McpServer("many", server=server, era=era, limits=ONCE)
    with pytest.raises(SourceUnavailable, match=r"'many'.*goes on after 100 pages"):
        await soon(source.open())


async def test_more_tools_than_anybody_can_read_are_refused() -> None:
    """An agent is told of each.  Source: ours."""
    server = raw_server([[described(f"t{n}") for n in range(5001)]])
    source = McpServer("many", server=server, era="modern", limits=ONCE)
    with pytest.raises(SourceUnavailable, match="more than 5000 tools"):
        await soon(source.open())


@each_era
async def test_two_tools_of_one_name_are_an_error_that_names_both(era: Era) -> None:
    """Nobody could say which was approved.  Source: issue 4, bad input, R-SRC-03."""
    server = raw_server([[described("pay")], [described("pay")]])
    source = McpServer("bank", server=server, era=era)
    with pytest.raises(InvalidInput, match="MCP server 'bank' has two tools 'pay'"):
        await soon(source.open())
    assert names(source) == []


async def test_a_server_that_is_not_there_yet_is_tried_again_at_growing_intervals() -> None:
    """Half a second, doubled up to a bound.  Source: issue 4, build 3, R-SRC-02."""
    away = RuntimeError("not yet")
    listing = Listing(away, away, away, [described("pay")])
    clock = NotingClock()
    limits = McpLimits(attempts=4, backoff_first_s=0.5, backoff_max_s=1.5)
    source = McpServer("bank", server=listing.server, era="modern", clock=clock, limits=limits)
    opening = asyncio.create_task(source.open())
    begun = clock.now()
    for tries, seconds in ((1, 0.5), (2, 1.0), (3, 1.5)):
        await until(lambda seconds=seconds: seconds in clock.delays)  # type: ignore[misc]
        clock.advance(seconds - 0.1)
        await pause()
        assert listing.listed == tries
        clock.advance(0.1)
    await soon(opening)
    assert clock.now() - begun == pytest.approx(3.0)
    assert names(source) == ["pay"]
    await source.close()


async def test_a_server_that_stays_away_is_an_error_that_names_it() -> None:
    """After so many tries.  Source: issue 4, build 3."""
    listing = Listing(RuntimeError("secret detail"))
    clock = NotingClock()
    limits = McpLimits(attempts=2)
    source = McpServer("bank", server=listing.server, era="modern", clock=clock, limits=limits)
    opening = asyncio.create_task(source.open())
    await until(lambda: 0.5 in clock.delays)
    clock.advance(0.5)
    with pytest.raises(SourceUnavailable, match="tool source 'bank'"):
        await soon(opening)
    assert listing.listed == 2


@each_era
async def test_a_server_that_never_answers_is_given_up(era: Era) -> None:
    """Each try has its time.  Source: issue 4, bad input."""
    listing = Listing(None)
    clock = NotingClock()
    limits = McpLimits(attempts=1, connect_s=20.0)
    source = McpServer("bank", server=listing.server, era=era, clock=clock, limits=limits)
    opening = asyncio.create_task(source.open())
    await until(lambda: listing.listed == 1)
    clock.advance(20.0)
    with pytest.raises(SourceUnavailable, match="no answer within 20 s"):
        await soon(opening)


async def test_an_open_that_is_cancelled_leaves_nothing_behind() -> None:
    """Neither a connection nor a task.  Source: ours."""
    before = asyncio.all_tasks()
    listing = Listing(None)
    source = McpServer("bank", server=listing.server, era="legacy")
    opening = asyncio.create_task(source.open())
    await until(lambda: listing.listed == 1)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(opening)
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


async def test_an_optional_server_is_looked_for_until_it_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The start goes on without its tools, and says so.  Source: issue 4, build 3."""
    away = RuntimeError("not yet")
    listing = Listing(away, away, away, [described("pay")])
    clock = NotingClock()
    source = McpServer(
        "bank", server=listing.server, era="modern", clock=clock, limits=ONCE, optional=True
    )
    with caplog.at_level(logging.WARNING, "interlock.mcp"):
        await soon(source.open())
    assert names(source) == []
    assert "'bank'" in caplog.text
    for tries in (1, 2, 3):
        await until(lambda tries=tries: backoff(tries) in clock.delays)  # type: ignore[misc]
        assert listing.listed == tries
        clock.advance(backoff(tries))
    await until(lambda: names(source) == ["pay"])
    await source.close()


async def test_an_optional_server_is_tried_at_the_next_call_too() -> None:
    """A call need not wait for the next try in the background.  Source: ours."""
    listing = Listing(RuntimeError("not yet"), [described("pay")])
    clock = NotingClock()
    source = McpServer(
        "bank", server=listing.server, era="modern", clock=clock, limits=ONCE, optional=True
    )
    await soon(source.open())
    pay = described("pay")
    with pytest.raises(ToolError):  # it lists tools and has no calls
        await soon(source.call(tool_of("bank", pay), {}, RecordingUse()))
    assert names(source) == ["pay"]
    await soon(source.close())


@each_era
async def test_a_server_that_says_that_its_tools_changed_is_listed_again(era: Era) -> None:
    """By notification, or on the stream that was asked for.  Source: MCP list_changed, R-SRC-02."""
    server = ScriptedMcp("shop")

    @server.mcp.tool()
    async def grow(ctx: Context) -> str:
        server.mcp.add_tool(sell)
        server.mcp.remove_tool("old")
        if era == "modern":
            await ctx.notify_tools_changed()
        else:
            await ctx.session.send_tool_list_changed()
        return "grown"

    def sell() -> str:
        return "sold"

    @server.mcp.tool()
    def old() -> str:
        return "old"

    async with opened(server.source(era=era)) as source:
        assert names(source) == ["grow", "old"]
        await pause(100)  # the stream of changes is there
        await called(source, "grow")
        await until(lambda: names(source) == ["grow", "sell"])
        assert (await called(source, "sell")).text == "sold"


@each_era
async def test_a_refused_call_makes_the_list_be_read_again(era: Era) -> None:
    """For servers that change their tools and do not say so.  Source: issue 4, bad input."""
    tools = [described("pay"), described("gone")]

    async def on_list(
        _context: ServerRequestContext[Any, Any], _params: wire.PaginatedRequestParams | None
    ) -> wire.ListToolsResult:
        return wire.ListToolsResult(tools=list(tools))

    async def on_call(
        _context: ServerRequestContext[Any, Any], _params: wire.CallToolRequestParams
    ) -> wire.CallToolResult:
        raise MCPError(code=wire.INVALID_PARAMS, message="Unknown tool")

    server: Server[Any] = Server("raw", on_list_tools=on_list, on_call_tool=on_call)
    async with opened(McpServer("bank", server=server, era=era)) as source:
        gone = tool(source, "gone")
        tools.pop()
        with pytest.raises(ToolError, match="MCP server 'bank': Unknown tool"):
            await soon(source.call(gone, {}, RecordingUse()))
        await until(lambda: names(source) == ["pay"])


async def test_a_list_that_went_bad_leaves_the_tools_as_they_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And says so in the log.  Source: ours."""
    listing = Listing([described("pay")], [described("pay"), described("pay")])
    async with opened(McpServer("bank", server=listing.server, era="modern")) as source:
        source._connections.list_again()
        await until(lambda: "stay as they were" in caplog.text)
        assert names(source) == ["pay"]


async def test_a_change_told_at_the_last_moment_silences_none_of_the_next_life() -> None:
    """The engine closes its sources, and opens them again.  Source: R-SRC-02."""
    listing = Listing([described("pay")], [described("pay")], [described("pay"), described("get")])
    source = McpServer("bank", server=listing.server, era="modern")
    async with opened(source):
        source._connections.list_again()
        # At once: nothing that was begun has had its first step.
        await source.close()
    async with opened(source):
        assert names(source) == ["pay"]
        source._connections.list_again()
        await until(lambda: names(source) == ["pay", "get"])


async def test_a_server_that_cries_change_without_end_is_listed_at_intervals() -> None:
    """It cannot keep us busy.  Source: ours."""
    clock = NotingClock()
    listing = Listing([described("pay")])
    source = McpServer("bank", server=listing.server, era="modern", clock=clock)
    async with opened(source):
        await pause()
        before = listing.listed
        for _ in range(50):
            source._connections.list_again()
            await pause(3)
        assert listing.listed <= before + 2


async def test_calls_that_wait_for_a_connection_share_the_one_that_is_made() -> None:
    """A broken connection is replaced once, not once per caller.  Source: issue 4."""
    server = ScriptedMcp("bank")

    @server.mcp.tool()
    def pay() -> str:
        return "paid"

    async with opened(server.source(era="legacy")) as source:
        link = source._connections._link
        assert link is not None
        link.lose()
        results = await soon(asyncio.gather(*(called(source, "pay") for _ in range(20))))
        assert {result.text for result in results} == {"paid"}
        await until(lambda: len(source._connections._links) == 1)
        assert source._connections._link is not link


async def test_a_caller_that_is_cancelled_leaves_the_connecting_to_the_others() -> None:
    """One impatient task must not fail its neighbours.  Source: ours."""
    server = ScriptedMcp("bank")

    @server.mcp.tool()
    def pay() -> str:
        return "paid"

    async with opened(server.source(era="legacy")) as source:
        link = source._connections._link
        assert link is not None
        link.lose()
        impatient = asyncio.create_task(called(source, "pay"))
        patient = asyncio.create_task(called(source, "pay"))
        await pause(1)
        impatient.cancel()
        assert (await soon(patient)).text == "paid"


@each_era
async def test_a_server_is_asked_anew_on_request(era: Era) -> None:
    """What it has by then is taken if it may be, all of it or nothing.  Source: R-SVC-06."""
    first, second = [described("pay")], [described("pay"), described("sell")]
    listing = Listing(first, second, [described("steal")], [described("x"), described("x")])
    async with opened(McpServer("bank", server=listing.server, era=era)) as source:
        assert source.available
        told: list[list[str]] = []

        def check(tools: Sequence[Tool]) -> None:
            told.append([one.name for one in tools])
            assert names(source) != told[-1], "it was told before they were taken"
            if "steal" in told[-1]:
                raise InvalidInput(["not that"])

        await soon(source.refresh(check))
        assert names(source) == ["pay", "sell"]
        with pytest.raises(InvalidInput, match="not that"):
            await soon(source.refresh(check))
        with pytest.raises(InvalidInput):
            await soon(source.refresh(check))
        assert names(source) == ["pay", "sell"]
        assert told == [["pay", "sell"], ["steal"]]
    assert not source.available
    with pytest.raises(SourceUnavailable, match="it is closed"):
        await soon(source.refresh(check))


async def test_a_server_that_is_gone_keeps_its_tools_when_it_is_asked_anew() -> None:
    """It may be there for the next call.  Source: R-SVC-06."""
    listing = Listing([described("pay")], RuntimeError("it broke"))
    async with opened(McpServer("bank", server=listing.server, era="modern")) as source:
        with pytest.raises(SourceUnavailable):
            await soon(source.refresh(lambda _tools: None))
        assert names(source) == ["pay"]
