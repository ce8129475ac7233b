"""`subscriptions/listen` with `taskIds`: notifications of how tasks are."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as wire
import pytest
from mcp import MCPError
from mcp.server.lowlevel.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from pydantic import BaseModel

from interlock import Phase, TaskContext
from mcp_face import Host, accept, raw, scene
from support import soon, until

GO = {"message": "go"}


class City(BaseModel):
    """Where to go."""

    city: str


async def travels(task: TaskContext) -> str:
    """Ask once."""
    return (await task.ask("Where?", City, key="city")).city


@asynccontextmanager
async def listening(host: Host, **kinds: Any) -> AsyncGenerator["asyncio.Task[Any]"]:  # noqa: ANN401
    """A stream that is open."""
    params = wire.SubscriptionsListenRequestParams(
        notifications=wire.SubscriptionFilter.model_validate(kinds)
    )
    request = wire.SubscriptionsListenRequest(params=params)
    stream = asyncio.ensure_future(
        host.client.session.send_request(request, wire.SubscriptionsListenResult)
    )
    try:
        yield stream
    finally:
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)


async def test_a_stream_tells_how_a_task_is_until_it_is_over() -> None:
    """What `tasks/get` would give, whenever it changes; then the stream ends.  Source: R-MCP-07."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.engine.rest(task_id, owner=None))
        async with listening(host, taskIds=[task_id]) as stream:
            asked = await soon(host.told.get())
            assert (asked.status, list(asked.input_requests or {})) == ("input_required", ["city"])
            await host.update(task_id, {"city": raw(accept(city="Rome"))})
            told, seen = asked, [asked.status]
            while seen[-1] != "completed":
                told = await soon(host.told.get())
                seen.append(told.status)
            await soon(stream)
        done = await host.get(task_id)
    assert seen[0] == "input_required"
    assert told.result == done.result
    assert told.task_id == task_id


async def test_what_is_over_is_told_once_and_the_stream_ends() -> None:
    """Nothing more can come."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await here.engine.cancel(task_id, owner=None, actor="test")
        await soon(here.engine.over(task_id, owner=None))
        async with listening(host, taskIds=[task_id]) as stream:
            told = await soon(host.told.get())
            await soon(stream)
    assert told.status == "cancelled"
    assert host.told.empty()


async def test_tasks_of_others_are_not_listened_to() -> None:
    """Nothing is told of them, and not that they are there.  Source: R-MCP-07."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.engine.rest(task_id, owner=None))
        here.owner = "eve"
        async with listening(host, taskIds=[task_id, "nonsense"]) as stream:
            await soon(stream)
    assert host.told.empty()


async def test_a_client_that_does_not_speak_the_extension_is_refused() -> None:
    """-32021."""
    async with (
        scene(travels) as here,
        here.host() as host,
        listening(host, taskIds=["x"]) as stream,
    ):
        with pytest.raises(MCPError) as caught:
            await soon(stream)
    assert caught.value.code == wire.MISSING_REQUIRED_CLIENT_CAPABILITY


@pytest.mark.parametrize("given", ["x", [1], ["x"] * 300])
async def test_what_is_no_list_of_names_is_refused(given: object) -> None:
    """-32602, saying what is accepted."""
    async with (
        scene(travels) as here,
        here.host(tasks=True) as host,
        listening(host, taskIds=given) as stream,
    ):
        with pytest.raises(MCPError, match="taskIds") as caught:
            await soon(stream)
    assert caught.value.code == wire.INVALID_PARAMS


async def test_hanging_up_on_a_stream_stops_no_task() -> None:
    """It was only looked at."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.engine.rest(task_id, owner=None))
        async with listening(host, taskIds=[task_id]):
            await soon(host.told.get())
        record = await here.record(task_id)
    assert record.phase is Phase.WAITING_INPUT


async def test_a_server_that_stops_ends_its_streams() -> None:
    """As it should be: with the result of the request."""
    async with scene(travels) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.engine.rest(task_id, owner=None))
        async with listening(host, taskIds=[task_id]) as stream:
            await soon(host.told.get())
            here.stopping.begin()
            ended = await soon(stream)
    assert isinstance(ended, wire.SubscriptionsListenResult)


async def test_tasks_and_other_things_share_a_stream() -> None:
    """One acknowledgement names both, and both are told."""
    bus = InMemorySubscriptionBus()
    server = Server("mixed", on_subscriptions_listen=ListenHandler(bus))
    heard: list[object] = []
    async with (
        scene(travels, server=server) as here,
        here.host(tasks=True, answers=(), messages=heard) as host,
    ):
        task_id = await host.created("agent", GO)
        await soon(here.engine.rest(task_id, owner=None))
        async with listening(host, taskIds=[task_id], toolsListChanged=True):
            told = await soon(host.told.get())
            await bus.publish(ToolsListChanged())
            await until(lambda: any("list_changed" in str(one) for one in heard))
    assert told.status == "input_required"
