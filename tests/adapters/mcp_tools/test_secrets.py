"""A server that repeats what we sent in confidence: it is in no event, whatever it says it in.

Source: I38, R-SRC-07.
"""

import asyncio
import json

import mcp_types as wire
import pytest
from mcp.server.mcpserver import Context, MCPServer
from starlette.requests import Request

from interlock import Unfinished
from interlock.testing import ManualClock
from interlock_adapters.mcp_tools import McpServer
from mcp_servers import ERAS, ONCE, Era, Jobs, RecordingUse, called, opened, served, tool
from mcp_servers import text as said
from support import soon

SECRET = "s3cret-of-the-service"  # noqa: S105  (the example)
OWN = "own-t0ken-of-ada"


def headers_of(ctx: Context) -> str:
    """What a server was told in confidence."""
    request = ctx.request_context.request
    assert isinstance(request, Request)
    return f"{request.headers['authorization']} {request.headers['x-service']}"


@pytest.mark.parametrize("era", ERAS)
async def test_what_a_tool_says_of_its_failure_or_progress_has_no_header_in_it(era: Era) -> None:
    """Most failures are told as `isError`, and that is journaled and read by a model.

    Source: I38, R-SRC-07.
    """
    mcp = MCPServer("shop", log_level="CRITICAL")

    @mcp.tool()
    async def fail(ctx: Context) -> wire.CallToolResult:
        await ctx.report_progress(1, 2, f"trying {headers_of(ctx)}")
        told = said(f"401 for {headers_of(ctx)}", is_error=True)
        return told.model_copy(update={"structured_content": {"for": [headers_of(ctx), 401]}})

    @mcp.tool()
    async def show(ctx: Context) -> wire.CallToolResult:
        return said(headers_of(ctx))

    async with served(mcp) as url:
        source = McpServer(
            "shop",
            url=url,
            era=era,
            headers={"x-service": SECRET},
            pass_through=["authorization"],
            limits=ONCE,
        )
        async with opened(source, alone=False):
            use = RecordingUse(carried={"authorization": f"Bearer {OWN}"})
            failed = await called(source, "fail", use)
            shown = await called(source, "show", use)
    assert (failed.text, failed.is_error) == ("401 for *** ***", True)
    assert failed.value == {"for": ["*** ***", 401]}
    assert use.said == [("trying *** ***", 0.5)]
    # What was asked for is left as it is: it may be a name that all results have in them.
    assert shown.text == f"Bearer {OWN} {SECRET}"


async def test_how_a_servers_task_is_has_no_header_in_it() -> None:
    """`statusMessage` is told as progress.  Source: I38, R-SRC-07."""
    jobs, clock, use = Jobs("bake"), ManualClock(), RecordingUse()
    mcp = MCPServer("bakery", log_level="CRITICAL", extensions=[jobs])

    @mcp.tool()
    def bake() -> str:
        return "at once"

    async with served(mcp) as url:
        source = McpServer("bakery", url=url, headers={"x-service": SECRET}, clock=clock)
        async with opened(source, alone=False):
            begun = await soon(source.call(tool(source, "bake"), {}, use))
            assert isinstance(begun, Unfinished)
            jobs.only.shown = {"status": "working", "statusMessage": f"as {SECRET}"}
            token = json.loads(json.dumps(begun.token))
            leg = asyncio.create_task(source.go_on(tool(source, "bake"), {}, token, {}, use))
            await soon(clock.until_armed())
            assert use.said == [("as ***", None)]
            jobs.only.ends(said(f"no flour for {SECRET}", is_error=True))
            clock.advance(2.0)
            ended = await soon(leg)
    assert not isinstance(ended, Unfinished)
    assert (ended.text, ended.is_error) == ("no flour for ***", True)
