"""Calls in both eras, in this process: what is passed on, and what comes back."""

import asyncio

import mcp_types as wire
import pytest
from mcp.server.mcpserver import Context
from mcp_types import ToolAnnotations

from interlock import Part
from interlock.errors import SourceUnavailable, ToolError
from interlock_adapters.mcp_testing import ScriptedMcp
from interlock_adapters.mcp_tools import McpServer
from interlock_adapters.mcp_tools._content import result_of
from mcp_servers import ERAS, Era, RecordingUse, called, cancelled, described, opened, raw_server
from mcp_servers import text as said
from mcp_servers import tool as tool_of
from support import soon

each_era = pytest.mark.parametrize("era", ERAS)


@each_era
async def test_a_call_reaches_the_server_and_its_result_comes_back(era: Era) -> None:
    """Text and structured content, as MCP sends both.  Source: MCP tools, R-SRC-01."""
    server = ScriptedMcp("sums")

    @server.mcp.tool()
    def add(left: int, right: int) -> int:
        return left + right

    async with opened(server.source(era=era)) as source:
        result = await called(source, "add", left=2, right=3)
        assert (result.text, result.structured, result.is_error) == ("5", {"result": 5}, False)
        assert server.calls == [("add", {"left": 2, "right": 3})]


@each_era
async def test_a_tool_says_of_itself_what_its_server_says(era: Era) -> None:
    """Names, schemas and hints are passed on as claims.  Source: MCP tools."""
    server = ScriptedMcp("sums")

    @server.mcp.tool(title="Sum", annotations=ToolAnnotations(read_only_hint=True))
    def add(left: int) -> int:
        """Adds."""
        return left

    @server.mcp.tool(annotations=ToolAnnotations(title="Pay", destructive_hint=True))
    def pay() -> None:
        """Pays."""

    async with opened(server.source(era=era)) as source:
        add_tool, pay_tool = tool_of(source, "add"), tool_of(source, "pay")
        assert (add_tool.qualified, add_tool.title, add_tool.description) == (
            "sums/add",
            "Sum",
            "Adds.",
        )
        assert add_tool.input_schema["required"] == ["left"]
        assert add_tool.output_schema is not None
        assert (add_tool.idempotent, pay_tool.idempotent, pay_tool.title) == (True, False, "Pay")


@each_era
async def test_what_a_tool_says_of_its_failure_is_told_and_not_raised(era: Era) -> None:
    """`isError` is for the model.  Source: MCP tools, error handling."""
    server = ScriptedMcp("bank")

    @server.mcp.tool()
    def pay() -> str:
        return "paid"

    server.answer("pay", said("no money", is_error=True))
    async with opened(server.source(era=era)) as source:
        result = await called(source, "pay")
        assert (result.text, result.is_error) == ("no money", True)
        assert (await called(source, "pay")).text == "paid"


@each_era
async def test_a_server_can_tell_a_repeated_call_from_a_new_one(era: Era) -> None:
    """The call's token goes along in `_meta`.  Source: ours."""
    seen: list[object] = []

    async def call(params: wire.CallToolRequestParams) -> wire.CallToolResult:
        seen.append((params.meta or {}).get("interlock/idempotencyKey"))
        return said("done")

    server = raw_server([[described("pay")]], call)
    async with opened(McpServer("bank", server=server, era=era)) as source:
        await called(source, "pay", RecordingUse())
    assert seen == ["call-1"]


@each_era
async def test_a_server_says_how_far_it_is(era: Era) -> None:
    """Progress is one line, with a fraction if there is a total.  Source: MCP progress."""
    server = ScriptedMcp("oven")

    @server.mcp.tool()
    async def bake(ctx: Context) -> str:
        await ctx.report_progress(1, 4, "kneading\nand more")
        await ctx.report_progress(9, 4)
        await ctx.report_progress(2)
        return "bread"

    use = RecordingUse()
    async with opened(server.source(era=era)) as source:
        await called(source, "bake", use)
    assert use.said == [("kneading and more", 0.25), ("9 of 4", 1.0), ("2", None)]


@each_era
async def test_a_server_that_reports_without_end_is_heard_to_a_bound(era: Era) -> None:
    """Each report is an event of the task's.  Source: ours."""
    server = ScriptedMcp("oven")

    @server.mcp.tool()
    async def bake(ctx: Context) -> str:
        for done in range(1200):
            await ctx.report_progress(done)
        return "bread"

    use = RecordingUse()
    async with opened(server.source(era=era)) as source:
        await called(source, "bake", use)
    assert 0 < len(use.said) <= 1000


@each_era
async def test_a_cancelled_call_is_cancelled_at_the_server(era: Era) -> None:
    """The tool there sees its cancellation.  Source: MCP cancellation, R-SRC-05."""
    server = ScriptedMcp("oven")
    began, stopped = asyncio.Event(), asyncio.Event()

    @server.mcp.tool()
    async def bake() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "bread"

    async with opened(server.source(era=era)) as source:
        call = asyncio.create_task(source.call(tool_of(source, "bake"), {}, RecordingUse()))
        await soon(began.wait())
        await cancelled(call)
        await soon(stopped.wait())


@each_era
async def test_many_calls_share_one_connection(era: Era) -> None:
    """Answers find their own calls, whatever the order.  Source: ours."""
    server = ScriptedMcp("sums")
    together = asyncio.Event()
    waiting = 0

    @server.mcp.tool()
    async def twice(number: int) -> int:
        nonlocal waiting
        waiting += 1
        if waiting == 50:
            together.set()
        await together.wait()
        return 2 * number

    async with opened(server.source(era=era)) as source:
        calls = [called(source, "twice", number=number) for number in range(50)]
        results = await soon(asyncio.gather(*calls))
    assert [result.structured for result in results] == [{"result": 2 * n} for n in range(50)]


@each_era
async def test_a_result_that_breaks_the_tools_own_schema_is_left_to_the_gate(era: Era) -> None:
    """The SDK would raise what nobody expects; the gate says what is wrong.  Source: ours."""
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    lies = [
        said("lie", structured_content={"sum": "five"}),
        said("nothing structured"),
    ]

    async def call(_params: wire.CallToolRequestParams) -> wire.CallToolResult:
        return lies.pop(0)

    server = raw_server([[described("add", output_schema=schema)]], call)
    async with opened(McpServer("liar", server=server, era=era)) as source:
        first, second = await called(source, "add"), await called(source, "add")
    assert first.structured == {"sum": "five"}
    assert "structured" not in second.model_fields_set


async def test_what_is_no_result_of_a_tool_is_an_error_of_the_servers() -> None:
    """Pydantic's complaint is neither raised nor shown.  Source: ours."""

    async def call(_params: wire.CallToolRequestParams) -> wire.CallToolResult:
        image = wire.ImageContent(type="image", data="not base64!", mime_type="image/png")
        return wire.CallToolResult(content=[image])

    server = raw_server([[described("draw")]], call)
    async with opened(McpServer("art", server=server, era="modern")) as source:
        with pytest.raises(ToolError, match="MCP server 'art' sent binary content"):
            await called(source, "draw")


def test_numbers_that_json_has_not_are_an_error_of_the_servers() -> None:
    """NaN cannot be kept, nor shown to anybody.  Source: ours."""
    odd = said("odd", structured_content={"x": float("nan")})
    with pytest.raises(ToolError, match="MCP server 'art' sent what is no JSON"):
        result_of("art", odd)


async def test_content_of_every_kind_becomes_a_part() -> None:
    """The map is total.  Source: specs/mcp_tools.md."""
    blocks: list[wire.ContentBlock] = [
        wire.TextContent(type="text", text="words"),
        wire.ImageContent(type="image", data="AAAA", mime_type="image/png"),
        wire.AudioContent(type="audio", data="AAAA", mime_type="audio/wav"),
        wire.ResourceLink(type="resource_link", name="a", title="A", uri="file:///a", size=3),
        wire.EmbeddedResource(
            type="resource",
            resource=wire.TextResourceContents(uri="x:b", text="b", mime_type="text/x"),
        ),
        wire.EmbeddedResource(
            type="resource", resource=wire.BlobResourceContents(uri="x:c", blob="AAAA")
        ),
    ]

    async def call(_params: wire.CallToolRequestParams) -> wire.CallToolResult:
        return wire.CallToolResult(content=blocks)

    server = raw_server([[described("all")]], call)
    async with opened(McpServer("art", server=server, era="modern")) as source:
        result = await called(source, "all")
    assert result.parts == (
        Part(text="words"),
        Part(raw="AAAA", media_type="image/png"),
        Part(raw="AAAA", media_type="audio/wav"),
        Part(url="file:///a", metadata={"name": "a", "title": "A"}),
        Part(text="b", media_type="text/x", metadata={"uri": "x:b"}),
        Part(raw="AAAA", media_type="application/octet-stream", metadata={"uri": "x:c"}),
    )


async def test_fifty_megabytes_come_through_and_are_checked_off_the_loop() -> None:
    """The gate makes an artifact of it; the loop stays free.  Source: issue 4, bad input."""
    data = "AAAA" * 13_000_000
    use = RecordingUse()

    async def call(_params: wire.CallToolRequestParams) -> wire.CallToolResult:
        image = wire.ImageContent(type="image", data=data, mime_type="image/png")
        return wire.CallToolResult(content=[image])

    server = raw_server([[described("draw")]], call)
    async with opened(McpServer("art", server=server, era="modern")) as source:
        result = await called(source, "draw", use)
    assert result.parts[0].raw == data
    assert use.threads == 1


async def test_a_closed_source_has_no_tools_and_takes_no_calls() -> None:
    """And can be opened again.  Source: ours."""
    server = ScriptedMcp("bank")

    @server.mcp.tool()
    def pay() -> str:
        return "paid"

    source = server.source()
    async with opened(source):
        tool = tool_of(source, "pay")
    assert list(source.tools()) == []
    with pytest.raises(SourceUnavailable, match=r"'bank'.*closed"):
        await source.call(tool, {}, RecordingUse())
    await source.close()
    async with opened(source):
        assert (await called(source, "pay")).text == "paid"
