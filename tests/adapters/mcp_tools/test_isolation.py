"""What becomes of one call on a connection is nobody else's: they share it, and no more.

Source: I37.
"""

import asyncio

import mcp_types as wire
import pytest
from mcp.server.mcpserver import Context

from interlock.errors import TaskStopped
from interlock_adapters.mcp_testing import ScriptedMcp
from mcp_servers import ERAS, Era, RecordingUse, called, opened
from support import soon


class Stopped(RecordingUse):
    """A call whose task is told to stop just when it is told something."""

    async def progress(self, message: str, fraction: float | None = None) -> None:
        """See `ToolUse`."""
        await super().progress(message, fraction)
        raise TaskStopped


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_that_is_stopped_while_it_is_told_something_cuts_no_other_off(
    era: Era,
) -> None:
    """The stop ends its own call; raised into the SDK, it ended the connection of all.

    Source: I37.
    """
    server = ScriptedMcp("oven")
    begun, done = asyncio.Event(), asyncio.Event()

    @server.mcp.tool()
    async def bake(ctx: Context) -> wire.CallToolResult:
        await ctx.report_progress(1, 4, "kneading")
        await asyncio.Event().wait()
        raise AssertionError("nothing ends that")

    @server.mcp.tool()
    async def cool() -> str:
        begun.set()
        await done.wait()
        return "cold"

    use = Stopped()
    async with opened(server.source(era=era)) as source:
        other = asyncio.create_task(called(source, "cool"))
        await soon(begun.wait())
        with pytest.raises(TaskStopped):
            await soon(called(source, "bake", use))
        done.set()
        assert (await soon(other)).text == "cold"
        assert (await soon(called(source, "cool"))).text == "cold"
    assert use.said == [("kneading", 0.25)]
