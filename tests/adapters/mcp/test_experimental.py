"""The tasks of 2025-11-25 (SEP-1686), for clients of that version."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any, cast

import mcp_types as wire
import pytest
from mcp import MCPError
from pydantic import BaseModel

from interlock import Phase, TaskContext
from mcp_face import Host, accept, scene, tool
from support import pause, soon, until

CALL = {"name": "agent", "arguments": {"message": "go"}, "task": {"ttl": 60_000}}


class City(BaseModel):
    """Where to go."""

    city: str


async def travels(task: TaskContext) -> str:
    """Ask once."""
    return (await task.ask("Where?", City, key="city")).city


async def waits(_task: TaskContext) -> None:
    """Work for ever."""
    await asyncio.Event().wait()


async def sent(host: Host, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """One request as it is on the wire: the client has no words for these."""
    dispatcher = cast("Any", host.client.session)._dispatcher
    return cast("dict[str, Any]", await soon(dispatcher.send_raw_request(method, dict(params))))


async def test_the_capability_and_each_tools_support_are_shown() -> None:
    """To clients of that version."""
    declared = [tool("never", tasks="never"), tool("may"), tool("must", tasks="required")]
    async with scene(waits, *declared, experimental_tasks=True) as here:
        async with here.host("handshake") as host:
            capabilities = host.client.server_capabilities
            tools = (await soon(host.client.list_tools())).tools
        async with here.host() as modern:
            others = (await soon(modern.client.list_tools())).tools
    assert capabilities is not None
    assert capabilities.tasks is not None
    assert [t.execution.task_support if t.execution else None for t in tools] == [
        "forbidden",
        "optional",
        "required",
    ]
    assert [t.execution for t in others] == [None, None, None]


async def test_a_call_that_shall_be_a_task_is_one_and_its_result_is_fetched() -> None:
    """What is asked meanwhile is put on the stream of `tasks/result`.  Source: R-MCP-10."""
    async with (
        scene(travels, experimental_tasks=True) as here,
        here.host("handshake", answers=[accept(city="Rome")]) as host,
    ):
        made = (await sent(host, "tools/call", CALL))["task"]
        await soon(here.engine.rest(made["taskId"], owner=None))
        asks = await sent(host, "tasks/get", {"taskId": made["taskId"]})
        result = await sent(host, "tasks/result", {"taskId": made["taskId"]})
        done = await sent(host, "tasks/get", {"taskId": made["taskId"]})
        listed = await sent(host, "tasks/list", {})
    assert made["status"] == "working"
    assert {"createdAt", "lastUpdatedAt", "ttl", "pollInterval"} <= set(made)
    assert asks["status"] == "input_required"
    assert result["content"] == [{"type": "text", "text": "Rome"}]
    assert result["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": made["taskId"]}
    assert done["status"] == "completed"
    assert [one["taskId"] for one in listed["tasks"]] == [made["taskId"]]


async def test_a_failure_is_failed_and_a_cancel_cannot_be_repeated() -> None:
    """As that version wants it."""

    async def fails(_task: TaskContext) -> None:
        raise RuntimeError("no")

    agents = {"agent": waits, "fails": fails}
    async with scene(agents, experimental_tasks=True) as here, here.host("handshake") as host:
        made = (await sent(host, "tools/call", {**CALL, "name": "fails"}))["task"]
        await soon(here.engine.over(made["taskId"], owner=None))
        failed = await sent(host, "tasks/get", {"taskId": made["taskId"]})
        running = (await sent(host, "tools/call", CALL))["task"]
        await sent(host, "tasks/cancel", {"taskId": running["taskId"]})
        await soon(here.engine.over(running["taskId"], owner=None))
        with pytest.raises(MCPError, match="over") as caught:
            await sent(host, "tasks/cancel", {"taskId": running["taskId"]})
        with pytest.raises(MCPError, match="cancelled"):
            await sent(host, "tasks/result", {"taskId": running["taskId"]})
    assert failed["status"] == "failed"
    assert caught.value.code == wire.INVALID_PARAMS


async def test_who_stops_waiting_for_a_result_stops_no_task() -> None:
    """The handle is out."""
    async with scene(waits, experimental_tasks=True) as here:
        async with here.host("handshake") as host:
            made = (await sent(host, "tools/call", CALL))["task"]
            fetching = asyncio.ensure_future(sent(host, "tasks/result", {"taskId": made["taskId"]}))
            await until(lambda: here.engine.statistics().running == 1)
            await pause()
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
            await pause()
        record = await here.record(made["taskId"])
    assert record.phase is Phase.RUNNING


async def test_a_server_that_stops_says_when_a_result_can_be_fetched() -> None:
    """As a call that waits is told.  Source: a stranger's review."""
    async with scene(waits, experimental_tasks=True) as here, here.host("handshake") as host:
        made = (await sent(host, "tools/call", CALL))["task"]
        fetching = asyncio.ensure_future(sent(host, "tasks/result", {"taskId": made["taskId"]}))
        await until(lambda: here.engine.statistics().running == 1)
        await pause()
        here.stopping.begin()
        with pytest.raises(MCPError, match="goes on when it is back") as caught:
            await soon(fetching)
        assert (await here.record(made["taskId"])).phase is Phase.RUNNING
    assert caught.value.data["reason"] == "not_accepting"


@pytest.mark.parametrize(
    ("uses", "params", "said"),
    [
        ("never", CALL, "cannot be a task"),
        ("required", {"name": "agent", "arguments": {"message": "go"}}, "must be a task"),
    ],
)
async def test_how_a_tool_is_called_is_up_to_the_tool(uses: Any, params: Any, said: str) -> None:  # noqa: ANN401
    """-32601, as that version wants it."""
    async with (
        scene(waits, tool("agent", tasks=uses), experimental_tasks=True) as here,
        here.host("handshake") as host,
    ):
        with pytest.raises(MCPError, match=said) as caught:
            await sent(host, "tools/call", params)
    assert caught.value.code == wire.METHOD_NOT_FOUND


async def test_without_the_option_there_are_no_such_methods() -> None:
    """As the protocol has it since.  Source: R-MCP-10."""
    async with scene(waits) as here, here.host("handshake") as host:
        for method in ("tasks/get", "tasks/result", "tasks/list", "tasks/cancel"):
            with pytest.raises(MCPError) as caught:
                await sent(host, method, {"taskId": "x"})
            assert caught.value.code == wire.METHOD_NOT_FOUND


async def test_pages_of_tasks_and_cursors_that_are_none() -> None:
    """Fifty a page."""
    async with scene(waits, experimental_tasks=True) as here, here.host("handshake") as host:
        for _ in range(51):
            await here.engine.submit("go", owner=here.owner)
        first = await sent(host, "tasks/list", {})
        rest = await sent(host, "tasks/list", {"cursor": first["nextCursor"]})
        deep, huge = b"[" * 100_000, b"[" + b"1" * 400 + b',"x"]'
        odd = (deep, huge, b'[NaN,"x"]', b'[1.5,"\\ud800"]', b"[1.5]", b"{}", b"\xff")
        spoilts = [base64.urlsafe_b64encode(one).decode() for one in odd]
        for spoilt in ("nonsense", "WzEsMl0", *spoilts):
            with pytest.raises(MCPError, match="cursor"):
                await sent(host, "tasks/list", {"cursor": spoilt})
    assert (len(first["tasks"]), len(rest["tasks"])) == (50, 1)
    assert "nextCursor" not in rest
