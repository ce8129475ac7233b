"""Both halves together: an engine whose agents are another engine's tools.

The question of the one becomes a task that waits in the other, with nothing open between them.
"""

from collections.abc import Callable

import pytest
from pydantic import BaseModel

from gates import calling
from interlock import Limits, Phase, TaskContext, TaskQuery, Toolbox, ToolCall
from interlock.testing import ManualClock
from interlock_adapters.mcp._settings import TaskUse
from interlock_adapters.mcp_tools import McpServer
from mcp_face import scene, tool
from support import World, opened, soon


class City(BaseModel):
    """Where to go."""

    city: str


async def books(task: TaskContext) -> str:
    """Book a flight, to wherever its owner says."""
    return f"a seat to {(await task.ask('Where?', City, key='where')).city}"


CALL = ToolCall("book", {"message": "a flight"})


async def polled(world: World, fact: Callable[[], bool]) -> None:
    """Let time go by, from one poll to the next, until something is so."""
    for _ in range(10):
        if fact():
            return
        await world.elapse(2.0)
    raise AssertionError("it does not come to that")


@pytest.mark.parametrize("tasks", ["optional", "never"])
async def test_the_question_of_the_one_is_a_task_that_waits_in_the_other(tasks: TaskUse) -> None:
    """As a task of MCP, and in rounds; answered where the person is, and booked once.

    Source: R-MCP-12.
    """
    limits = Limits(park_after_s=0.0)
    async with scene({"book": books}, tool("book", tasks=tasks), limits=limits) as there:
        clock = ManualClock()
        box = Toolbox([McpServer("travel", server=there.server, clock=clock)])
        async with opened(calling(CALL), tools=box, limits=limits, clock=clock) as world:
            handle = await world.submit()
            await polled(world, lambda: bool(world.stored(handle).asks))
            (ask,) = world.stored(handle).asks
            assert "Where?" in ask.prompt
            assert world.stored(handle).phase is Phase.WAITING_INPUT
            (remote,) = (await there.engine.page(TaskQuery())).records
            assert remote.phase is Phase.WAITING_INPUT
            assert there.engine.statistics().running == 0
            await handle.answer(ask.key, {"city": "Rome"})
            await soon(there.engine.over(remote.task_id, owner=None))
            await polled(world, lambda: world.stored(handle).shown is Phase.COMPLETED)
            assert await soon(handle.result()) == ["a seat to Rome"]
            assert (await there.engine.page(TaskQuery())).total == 1


async def test_who_declines_in_the_one_declines_in_the_other() -> None:
    """The refusal goes through both."""
    limits = Limits(park_after_s=0.0)
    async with scene({"book": books}, limits=limits) as there:
        clock = ManualClock()
        box = Toolbox([McpServer("travel", server=there.server, clock=clock)])
        async with opened(calling(CALL), tools=box, limits=limits, clock=clock) as world:
            handle = await world.submit()
            await polled(world, lambda: bool(world.stored(handle).asks))
            (ask,) = world.stored(handle).asks
            await handle.answer(ask.key, {"decline": True})
            (remote,) = (await there.engine.page(TaskQuery())).records
            await soon(there.engine.over(remote.task_id, owner=None))
            record = await there.record(remote.task_id)
    assert record.shown is Phase.CANCELLED
