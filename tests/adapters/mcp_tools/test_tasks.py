"""A call that becomes a task of the server's (Tasks extension) is waited for in later legs."""

import asyncio
import json

import mcp_types as wire
import pytest
from mcp import MCPError

from interlock import JsonObject, ToolResult, Unfinished
from interlock.errors import SourceUnavailable, ToolError
from interlock.testing import ManualClock
from interlock_adapters.mcp_testing import ScriptedMcp
from interlock_adapters.mcp_tools import McpLimits
from mcp_servers import Jobs, RecordingUse, called, cancelled, opened, tool
from mcp_servers import text as said
from support import soon


class Bakery:
    """A server whose `bake` is a task, and what it takes to wait for one."""

    def __init__(self) -> None:
        self.jobs = Jobs("bake")
        self.clock = ManualClock()
        server = ScriptedMcp("bakery", extensions=[self.jobs])

        @server.mcp.tool()
        def bake() -> str:
            return "at once"

        self.server = server
        self.source = server.source(clock=self.clock, limits=McpLimits(attempts=3))

    async def begin(self) -> Unfinished:
        """The first leg."""
        outcome = await soon(self.source.call(tool(self.source, "bake"), {}, RecordingUse()))
        assert isinstance(outcome, Unfinished)
        return outcome

    def go_on(
        self, before: Unfinished, answers: JsonObject | None = None, use: RecordingUse | None = None
    ) -> "asyncio.Task[ToolResult | Unfinished]":
        """The next leg."""
        token = json.loads(json.dumps(before.token))
        leg = self.source.go_on(
            tool(self.source, "bake"), {}, token, answers or {}, use or RecordingUse()
        )
        return asyncio.create_task(leg)

    async def polled(self) -> None:
        """Let the time between two polls go by."""
        await soon(self.clock.until_armed())
        self.clock.advance(2.0)


def ask(message: str) -> wire.ElicitRequest:
    """A question."""
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}}
    params = wire.ElicitRequestFormParams(message=message, requested_schema=schema)
    return wire.ElicitRequest(params=params)


async def test_a_task_of_the_servers_is_waited_for_until_it_completes() -> None:
    """Polled at its own interval; its status is told as progress.  Source: SEP-2663, R-SRC-06."""
    bakery = Bakery()
    use = RecordingUse()
    async with opened(bakery.source):
        first = await bakery.begin()
        assert (first.questions, first.repeatable) == ({}, True)
        job = bakery.jobs.only
        job.shown = {"status": "working", "statusMessage": "in the oven"}
        waiting = bakery.go_on(first, use=use)
        await bakery.polled()
        await bakery.polled()
        job.ends(said("bread", structured_content={"loaves": 2}))
        result = await soon(waiting)
    assert isinstance(result, ToolResult)
    assert (result.text, result.structured) == ("bread", {"loaves": 2})
    assert job.gets == 3
    assert use.said == [("in the oven", None)]


async def test_what_a_task_asks_is_asked_once_and_answered_by_update() -> None:
    """Also if the server shows a question for a while after its answer.  Source: SEP-2663."""
    bakery = Bakery()
    async with opened(bakery.source):
        first = await bakery.begin()
        job = bakery.jobs.only
        job.asks(sugar=ask("Sugar?"), salt=ask("Salt?"))
        second = await soon(bakery.go_on(first))
        assert isinstance(second, Unfinished)
        assert set(second.questions) == {"sugar", "salt"}
        assert second.repeatable
        waiting = bakery.go_on(second, {"sugar": {"yes": True}, "salt": {"decline": True}})
        await bakery.polled()
        assert job.updates == [
            {"sugar": {"action": "accept", "content": {"yes": True}}, "salt": {"action": "decline"}}
        ]
        job.asks(salt=ask("Salt?"), more=ask("More?"))
        third = await soon(_with_time(bakery, waiting))
        assert isinstance(third, Unfinished)
        assert set(third.questions) == {"more"}
        waiting = bakery.go_on(third, {"more": {"yes": False}})
        job.ends(said("cake"))
        result = await soon(_with_time(bakery, waiting))
    assert isinstance(result, ToolResult)
    assert result.text == "cake"


async def _with_time(
    bakery: Bakery, leg: "asyncio.Task[ToolResult | Unfinished]"
) -> ToolResult | Unfinished:
    while not leg.done():
        bakery.clock.advance(2.0)
        await asyncio.sleep(0)
    return await leg


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ({"status": "failed", "error": {"code": -1, "message": "burnt"}}, "failed: burnt"),
        ({"status": "failed"}, "failed: no reason given"),
        ({"status": "cancelled"}, "cancelled its task"),
        ({"status": "completed", "result": {"content": "?"}}, "not MCP"),
        ({"status": "completed"}, "not MCP"),
        ({"status": "unheard"}, "not MCP"),
        (
            {"status": "input_required", "inputRequests": {"r": {"method": "roots/list"}}},
            "wants roots/list",
        ),
    ],
)
async def test_a_task_that_comes_to_nothing_says_why(shown: JsonObject, why: str) -> None:
    """In words that the agent may be told.  Source: SEP-2663."""
    bakery = Bakery()
    async with opened(bakery.source):
        first = await bakery.begin()
        bakery.jobs.only.shown = dict(shown)
        with pytest.raises(ToolError, match=f"'bakery'.*{why}"):
            await soon(bakery.go_on(first))
    # What the server has ended needs no word from us.
    ended = shown["status"] in {"failed", "cancelled", "completed"}
    assert bakery.jobs.only.cancelled.is_set() is not ended


async def test_a_failure_that_the_tool_tells_is_a_result() -> None:
    """`completed` with `isError`; `failed` is the protocol's.  Source: SEP-2663."""
    bakery = Bakery()
    async with opened(bakery.source):
        first = await bakery.begin()
        bakery.jobs.only.ends(said("no flour", is_error=True))
        result = await soon(bakery.go_on(first))
    assert isinstance(result, ToolResult)
    assert result.is_error


async def test_a_task_that_the_server_forgot_is_an_error() -> None:
    """After its time to live, or a restart without a store.  Source: SEP-2663."""
    bakery = Bakery()
    async with opened(bakery.source):
        first = await bakery.begin()
        bakery.jobs.jobs.clear()
        with pytest.raises(ToolError, match="Task not found"):
            await soon(bakery.go_on(first))


async def test_a_leg_that_is_cancelled_has_the_task_cancelled() -> None:
    """Nobody waits for it any more.  Source: SEP-2663, tasks/cancel, R-SRC-06."""
    bakery = Bakery()
    async with opened(bakery.source):
        waiting = bakery.go_on(await bakery.begin())
        await soon(bakery.clock.until_armed())
        await cancelled(waiting)
        await soon(bakery.jobs.only.cancelled.wait())


async def test_a_leg_that_is_only_put_aside_leaves_the_task_alone() -> None:
    """After a restart it is waited for again.  Source: ours."""
    bakery = Bakery()
    async with opened(bakery.source):
        first = await bakery.begin()
        waiting = bakery.go_on(first, use=RecordingUse(put_aside=True))
        await soon(bakery.clock.until_armed())
        await cancelled(waiting)
        job = bakery.jobs.only
        job.ends(said("bread"))
        result = await soon(bakery.go_on(first))
    assert isinstance(result, ToolResult)
    assert not job.cancelled.is_set()


async def test_closing_waits_until_a_task_was_cancelled() -> None:
    """The word to the server is not lost when all ends together.  Source: ours."""
    bakery = Bakery()
    async with opened(bakery.source):
        waiting = bakery.go_on(await bakery.begin())
        await soon(bakery.clock.until_armed())
        await cancelled(waiting)
    assert bakery.jobs.only.cancelled.is_set()


async def test_an_old_client_of_the_same_server_gets_its_result_at_once() -> None:
    """The extension is announced in the modern era only.  Source: SEP-2663."""
    bakery = Bakery()
    async with opened(bakery.server.source(era="legacy")) as source:
        assert (await called(source, "bake")).text == "at once"


async def test_a_server_that_is_away_for_a_while_is_asked_again() -> None:
    """Its task outlives the connection; but not for ever.  Source: ours."""
    bakery = Bakery()
    async with opened(bakery.source):
        first = await bakery.begin()
        job = bakery.jobs.only
        left = 2

        def away() -> None:
            nonlocal left
            left -= 1
            if left >= 0:
                raise MCPError(code=wire.CONNECTION_CLOSED, message="cut")

        job.before_get = away
        job.ends(said("bread"))
        result = await soon(_with_time(bakery, bakery.go_on(first)))
        assert isinstance(result, ToolResult)
        left = 99
        with pytest.raises(SourceUnavailable, match="'bakery'"):
            await soon(_with_time(bakery, bakery.go_on(first)))
