"""`tools/call` whose caller waits: what becomes of it, in both eras."""

import asyncio

import mcp_types as wire
import pytest
from mcp import MCPError
from mcp.server.lowlevel.server import Server
from pydantic import BaseModel

from interlock import Limits, Phase, TaskContext, TaskQuery
from interlock.errors import InvalidInput, Rejected
from interlock_adapters.mcp import McpFault, McpSettings, mcp_server
from mcp_face import ERAS, Era, connected, scene, text, tool
from support import pause, soon, until

both_eras = pytest.mark.parametrize("era", ERAS)


class Sum(BaseModel):
    """What is to be added."""

    a: int
    b: int = 1


async def add(task: TaskContext) -> object:
    """Add two numbers."""
    given = Sum.model_validate(task.input.data)
    return {"sum": given.a + given.b}


async def echo(task: TaskContext) -> str:
    """Say it again."""
    return task.input.text


@both_eras
async def test_a_call_waits_for_its_task_and_gets_the_result(era: Era) -> None:
    """Arguments as data in, a structured result and its JSON out.  Source: R-MCP-01."""
    async with scene(add, tool("add", input=Sum)) as here, here.host(era) as host:
        result = await host.result("add", {"a": 2})
    assert (result.structured_content, result.is_error) == ({"sum": 3}, False)
    assert "3" in text(result)


@both_eras
async def test_every_agent_of_an_engine_is_a_tool_that_takes_a_text(era: Era) -> None:
    """Without declared tools, named and described as the agents are.  Source: R-MCP-01."""
    async with scene({"echo": echo, "add": add}) as here, here.host(era) as host:
        listed = (await soon(host.client.list_tools())).tools
        result = await host.result("echo", {"message": "hello"})
    assert [(t.name, t.description) for t in listed] == [
        ("echo", "Say it again."),
        ("add", "Add two numbers."),
    ]
    assert listed[0].input_schema["required"] == ["message"]
    assert text(result) == "hello"


@both_eras
async def test_arguments_that_do_not_fit_are_told_to_the_model_and_make_no_task(era: Era) -> None:
    """Input errors are results (SEP-1303)."""
    async with scene(add, tool("add", input=Sum)) as here, here.host(era) as host:
        result = await host.result("add", {"a": "two"})
        tasks = await here.engine.page(TaskQuery())
    assert result.is_error
    assert "/a" in text(result)
    assert tasks.total == 0


@both_eras
async def test_an_unknown_tool_is_an_error_of_the_protocol(era: Era) -> None:
    """-32602, with its name."""
    async with scene(add, tool("add", input=Sum)) as here, here.host(era) as host:
        with pytest.raises(MCPError, match="'sub'") as caught:
            await host.call("sub", {})
    assert caught.value.code == wire.INVALID_PARAMS


@both_eras
async def test_a_failure_is_a_result_and_its_words_are_not_told(era: Era) -> None:
    """What a foreign exception says may hold a secret."""

    async def fails(_task: TaskContext) -> None:
        raise RuntimeError("the password is swordfish")

    async with scene({"fails": fails}) as here, here.host(era) as host:
        result = await host.result("fails", {"message": "go"})
    assert result.is_error
    assert "RuntimeError" in text(result)
    assert "swordfish" not in text(result)


@both_eras
async def test_a_rejection_is_a_result_with_its_reason(era: Era) -> None:
    """The agent's own words are meant to be told."""

    async def rejects(_task: TaskContext) -> None:
        raise Rejected("we do not fly there")

    async with scene({"rejects": rejects}) as here, here.host(era) as host:
        result = await host.result("rejects", {"message": "go"})
    assert result.is_error
    assert "we do not fly there" in text(result)


@both_eras
async def test_a_fault_is_an_error_of_the_protocol(era: Era) -> None:
    """With the code that the agent gave it."""

    async def faulty(_task: TaskContext) -> None:
        raise McpFault(-32002, "there is no such flight")

    async with scene({"faulty": faulty}) as here, here.host(era) as host:
        with pytest.raises(MCPError, match="no such flight") as caught:
            await host.call("faulty", {"message": "go"})
    assert caught.value.code == -32002


@both_eras
async def test_a_result_that_is_not_what_the_tool_says_is_told_as_an_error(era: Era) -> None:
    """A client that checks would throw it away without a word."""
    declared = tool("add", input=Sum, output={"type": "object", "required": ["total"]})
    async with scene(add, declared) as here, here.host(era) as host:
        result = await host.result("add", {"a": 1})
    assert result.is_error
    assert "total" in text(result)


@both_eras
async def test_a_scalar_output_is_wrapped_and_listed_so(era: Era) -> None:
    """Until 2025-11-25 a structured result is an object."""

    async def length(task: TaskContext) -> int:
        return len(task.input.text)

    async with scene(length, tool("length", output=int)) as here, here.host(era) as host:
        (listed,) = (await soon(host.client.list_tools())).tools
        result = await host.result("length", {"message": "four"})
    assert listed.output_schema == {
        "type": "object",
        "properties": {"result": {"type": "integer"}},
        "required": ["result"],
    }
    assert result.structured_content == {"result": 4}


@both_eras
async def test_progress_is_told_in_percents_that_only_increase(era: Era) -> None:
    """A line without a fraction moves a little; one that goes back is not told."""

    async def works(task: TaskContext) -> str:
        await task.progress("begun", 0.0)
        await task.progress("half", 0.5)
        await task.progress("still half")
        await task.progress("back", 0.25)
        await task.progress("done", 1.0)
        return "ok"

    heard: list[tuple[float, float | None, str | None]] = []

    async def told(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with scene({"works": works}) as here, here.host(era) as host:
        await soon(host.client.call_tool("works", {"message": "go"}, progress_callback=told))
    assert heard == [
        (0.0, 100.0, "begun"),
        (50.0, 100.0, "half"),
        (50.01, None, "still half"),
        (100.0, 100.0, "done"),
    ]


@both_eras
async def test_a_repeat_with_the_same_idempotency_key_makes_no_second_task(era: Era) -> None:
    """A caller whose answer was lost asks again, and gets what the first call came to."""
    runs: list[str] = []

    async def once(task: TaskContext) -> str:
        runs.append(task.task_id)
        return "done"

    async with scene({"once": once}) as here, here.host(era) as host:
        meta = {"interlock/idempotencyKey": "k-1"}
        first = await host.call("once", {"message": "go"}, meta=meta)
        again = await host.call("once", {"message": "go"}, meta=meta)
        with pytest.raises(MCPError, match="another body"):
            await host.call("once", {"message": "other"}, meta=meta)
    assert isinstance(first, wire.CallToolResult)
    assert isinstance(again, wire.CallToolResult)
    assert text(first) == text(again) == "done"
    assert len(runs) == 1


@both_eras
async def test_who_hangs_up_cancels(era: Era) -> None:
    """Nobody could come back to a task whose handle is not out."""
    begun = asyncio.Event()

    async def waits(_task: TaskContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with scene({"waits": waits}) as here, here.host(era) as host:
        calling = asyncio.ensure_future(host.client.call_tool("waits", {"message": "go"}))
        await soon(begun.wait())
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        (record,) = (await here.engine.page(TaskQuery())).records
        view = await soon(here.engine.over(record.task_id, owner=None))
    assert view.record.shown is Phase.CANCELLED


async def test_a_server_that_stops_leaves_the_task_and_gives_a_state_to_come_back_with() -> None:
    """Modern: the same caller goes on waiting at the next server."""
    go, begun = asyncio.Event(), asyncio.Event()

    async def waits(_task: TaskContext) -> str:
        begun.set()
        await go.wait()
        return "there"

    async with scene({"waits": waits}) as here:
        async with here.host() as host:
            calling = asyncio.ensure_future(host.call("waits", {"message": "go"}))
            await soon(begun.wait())
            await pause()
            here.stopping.begin()
            round_ = await soon(calling)
        assert isinstance(round_, wire.InputRequiredResult)
        assert not round_.input_requests
        (record,) = (await here.engine.page(TaskQuery())).records
        assert record.phase is Phase.RUNNING
        settings = McpSettings(name="Next", owner_of=lambda _request: here.owner)
        async with connected(mcp_server(here.engine, settings)) as host:
            again = asyncio.ensure_future(
                host.call("waits", {"message": "go"}, state=round_.request_state)
            )
            await pause()
            go.set()
            result = await soon(again)
    assert isinstance(result, wire.CallToolResult)
    assert text(result) == "there"


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ([tool("x", agent="nobody")], "no agent 'nobody'"),
        ([tool("x"), tool("x")], "two of this name"),
        ([tool("x", input={"type": "string"})], "no object"),
        ([tool("x", input=Sum, ask_first=("c",))], "ask_first names 'c'"),
    ],
)
async def test_settings_that_make_no_tools_are_refused_with_what_is_wrong(
    declared: list[object], said: str
) -> None:
    """Before anybody is served."""
    with pytest.raises(InvalidInput, match=said):
        async with scene({"x": echo}, *declared):  # type: ignore[arg-type]
            pass


async def test_a_server_keeps_its_own_tools_beside_the_agents() -> None:
    """`add_agents` to a server that has tools already."""

    async def listed(_c: object, _p: object) -> wire.ListToolsResult:
        return wire.ListToolsResult(tools=[wire.Tool(name="own", input_schema={"type": "object"})])

    async def called(_c: object, params: wire.CallToolRequestParams) -> wire.CallToolResult:
        return wire.CallToolResult(content=[wire.TextContent(text=f"own {params.name}")])

    server = Server("mixed", on_list_tools=listed, on_call_tool=called)
    async with scene({"echo": echo}, server=server) as here, here.host() as host:
        names = [t.name for t in (await soon(host.client.list_tools())).tools]
        own = await host.result("own", {})
        ours = await host.result("echo", {"message": "hi"})
    assert names == ["own", "echo"]
    assert (text(own), text(ours)) == ("own own", "hi")


async def test_a_tool_that_must_be_a_task_refuses_who_does_not_speak_the_extension() -> None:
    """-32021, and there is no task."""
    async with scene(echo, tool("echo", tasks="required")) as here, here.host() as host:
        with pytest.raises(MCPError) as caught:
            await host.call("echo", {"message": "hi"})
        tasks = await here.engine.page(TaskQuery())
    assert caught.value.code == wire.MISSING_REQUIRED_CLIENT_CAPABILITY
    assert caught.value.data == {
        "requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    }
    assert tasks.total == 0


async def test_a_run_that_takes_too_long_is_told_alike_by_both_ways() -> None:
    """timed_out: the waiting caller's result is what `tasks/get` gives."""
    begun: list[str] = []

    async def waits(task: TaskContext) -> None:
        begun.append(task.task_id)
        await asyncio.Event().wait()

    async with (
        scene({"waits": waits}, limits=Limits(run_s=60.0)) as here,
        here.host() as host,
        here.host(tasks=True) as other,
    ):
        calling = asyncio.ensure_future(host.call("waits", {"message": "go"}))
        task_id = await other.created("waits", {"message": "go"})
        await until(lambda: len(begun) == 2)
        here.clock.advance(61.0)
        result = await soon(calling)
        await soon(here.engine.over(task_id, owner=None))
        detailed = await other.get(task_id)
    assert isinstance(result, wire.CallToolResult)
    assert result.is_error
    assert detailed.status == "completed"
    assert detailed.result is not None
    told = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    assert detailed.result["content"] == told["content"]
    assert detailed.result["isError"] is True
