"""MCP tools behind the gate of a real engine: asks, durability, cancel, timeouts, lies."""

import asyncio
from typing import Any

import mcp_types as wire
import pytest
from mcp.server.mcpserver import Context
from pydantic import BaseModel

from gates import calling, one_by_one
from interlock import (
    Answer,
    JsonValue,
    Limits,
    Phase,
    Policies,
    Policy,
    TaskHandle,
    Toolbox,
    ToolCall,
)
from interlock.errors import SourceUnavailable
from interlock.testing import ManualClock
from interlock_adapters.mcp_testing import ScriptedMcp
from interlock_adapters.mcp_tools import McpServer
from mcp_servers import ERAS, ONCE, Era, Jobs, described, raw_server
from mcp_servers import text as said
from support import World, opened, soon, until

each_era = pytest.mark.parametrize("era", ERAS)

AT_ONCE = Limits(park_after_s=0.0)


class City(BaseModel):
    """Where to go."""

    city: str


def travel(jobs: Jobs | None = None) -> ScriptedMcp:
    """A server that asks in the way of either era."""
    server = ScriptedMcp("travel", extensions=[jobs] if jobs else [])

    @server.mcp.tool()
    async def live(ctx: Context) -> str:
        answer = await ctx.elicit("Which city?", City)
        return f"to {answer.data.city}" if answer.action == "accept" else answer.action

    @server.mcp.tool()
    async def legs(ctx: Context) -> str | wire.InputRequiredResult:
        answer = (ctx.input_responses or {}).get("city")
        if not isinstance(answer, wire.ElicitResult):
            schema = City.model_json_schema()
            params = wire.ElicitRequestFormParams(message="Which city?", requested_schema=schema)
            request = wire.ElicitRequest(params=params)
            return wire.InputRequiredResult(input_requests={"city": request}, request_state="s")
        return f"to {(answer.content or {})['city']}" if answer.content else answer.action

    @server.mcp.tool()
    async def bake() -> str:
        return "at once"

    return server


async def answered(world: World, handle: TaskHandle, value: JsonValue) -> None:
    """Answer the one ask that is open."""
    (ask,) = (await soon(handle.rest())).asks
    await world.engine.answer(handle.task_id, Answer(ask=ask.key, value=value), owner="ada")


async def result_of(handle: TaskHandle) -> list[JsonValue]:
    """What the agent was told of each call."""
    result = await soon(handle.result())
    assert isinstance(result, list)
    return result


@pytest.mark.parametrize(("era", "tool"), [("modern", "legs"), ("legacy", "live")])
async def test_a_question_of_a_server_is_an_ask_of_the_task(era: Era, tool: str) -> None:
    """And the answer flows back.  Source: issue 4, build 3, R-SRC-04."""
    box = Toolbox([travel().source(era=era)])
    async with opened(calling(ToolCall(tool)), tools=box, limits=AT_ONCE) as world:
        handle = await world.submit()
        (ask,) = (await soon(handle.rest())).asks
        assert ask.prompt == "travel asks: Which city?"
        await answered(world, handle, {"city": "Oslo"})
        await soon(handle.over())
        assert world.stored(handle).shown is Phase.COMPLETED
        assert "to Oslo" in str(await soon(handle.result()))


async def test_an_answer_after_a_crash_goes_on_with_the_same_call() -> None:
    """The token is in the log, and the state goes back byte by byte.  Source: issue 4, R-SRC-04."""
    server = travel()
    first = Toolbox([server.source()])
    async with opened(calling(ToolCall("legs")), tools=first, limits=AT_ONCE) as world:
        handle = await world.submit()
        await soon(handle.rest())
        store = world.crash()
    again = Toolbox([server.source()])
    async with opened(calling(ToolCall("legs")), tools=again, limits=AT_ONCE, store=store) as world:
        handle = world.handle(handle)
        await answered(world, handle, {"city": "Oslo"})
        assert "to Oslo" in str(await soon(handle.result()))
    assert [name for name, _ in server.calls] == ["legs", "legs"]


async def test_a_task_of_a_servers_that_asks_is_waited_for_over_an_ask() -> None:
    """Created, asked, answered, completed: four legs of one call.  Source: SEP-2663."""
    jobs, clock = Jobs("bake"), ManualClock()
    box = Toolbox([travel(jobs).source(clock=clock)])
    async with opened(calling(ToolCall("bake")), tools=box, limits=AT_ONCE, clock=clock) as world:
        handle = await world.submit()
        await until(lambda: len(jobs.jobs) == 1 and jobs.only.gets > 0)
        schema = {"type": "object", "properties": {"sugar": {"type": "boolean"}}}
        params = wire.ElicitRequestFormParams(message="Sugar?", requested_schema=schema)
        jobs.only.asks(sugar=wire.ElicitRequest(params=params))
        await world.elapse(2.0)
        await answered(world, handle, {"sugar": True})
        await until(lambda: len(jobs.only.updates) == 1)
        jobs.only.ends(said("cake", structured_content={"result": "cake"}))
        await world.elapse(2.0)
        assert await soon(handle.result()) == [{"result": "cake"}]


def hanging() -> tuple[ScriptedMcp, asyncio.Event, asyncio.Event]:
    """A server whose tool never ends, and what is set when it begins and when it is stopped."""
    server = ScriptedMcp("slow")
    began, stopped = asyncio.Event(), asyncio.Event()

    @server.mcp.tool()
    async def hang() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "never"

    return server, began, stopped


@each_era
async def test_a_tool_that_hangs_is_cancelled_at_its_server_when_its_time_is_up(era: Era) -> None:
    """The agent is told, and the server stops.  Source: issue 4, bad input, R-SRC-05."""
    server, began, stopped = hanging()
    box = Toolbox([server.source(era=era)], policies=Policies({"hang": Policy(timeout_s=5.0)}))
    async with opened(calling(ToolCall("hang")), tools=box) as world:
        handle = await world.submit()
        await soon(began.wait())
        await world.elapse(5.0)
        await soon(stopped.wait())
        assert "5 s" in str(await result_of(handle))


@each_era
async def test_a_cancelled_task_cancels_its_call_at_the_server(era: Era) -> None:
    """Cancel reaches the wire.  Source: issue 4, build 3."""
    server, began, stopped = hanging()
    box = Toolbox([server.source(era=era)])
    async with opened(calling(ToolCall("hang")), tools=box) as world:
        handle = await world.submit()
        await soon(began.wait())
        await world.engine.cancel(handle.task_id, owner="ada")
        await soon(stopped.wait())
        await soon(handle.over())
        assert world.stored(handle).shown is Phase.CANCELLED


@each_era
async def test_a_server_that_lies_about_its_result_is_found_out_by_the_gate(era: Era) -> None:
    """The agent is told that the tool was called, and lied.  Source: issue 4, bad input."""
    schema: dict[str, Any] = {"type": "object", "properties": {"sum": {"type": "integer"}}}

    async def call(_params: wire.CallToolRequestParams) -> wire.CallToolResult:
        return said("lie", structured_content={"sum": "five"})

    server = raw_server([[described("add", output_schema=schema)]], call)
    box = Toolbox([McpServer("liar", server=server, era=era)])
    async with opened(calling(ToolCall("add")), tools=box) as world:
        handle = await world.submit()
        assert "its result is not what it says" in str(await result_of(handle))


@each_era
async def test_a_server_that_fails_in_many_ways_fails_its_calls_only(era: Era) -> None:
    """The task goes on, and is told of each.  Source: issue 4, bad input, R-SRC-09."""
    server = travel()
    server.answer("bake", said("no flour", is_error=True), RuntimeError("s3cret"), "bread")
    bake = ToolCall("bake")
    box = Toolbox([server.source(era=era)])
    async with opened(one_by_one(bake, bake, bake), tools=box) as world:
        handle = await world.submit()
        first, second, third = await result_of(handle)
    assert first == {"error": "no flour"}
    assert "s3cret" not in str(second)
    assert third == {"result": "bread"}


async def test_an_engine_does_not_start_without_a_server_that_it_needs() -> None:
    """And says which.  Source: issue 4, build 3."""
    source = McpServer("gone", command=["/nowhere/at/all"], limits=ONCE)
    with pytest.raises(SourceUnavailable, match="tool source 'gone'"):
        async with opened(calling(), tools=Toolbox([source])):
            pass
