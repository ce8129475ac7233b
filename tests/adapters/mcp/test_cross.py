"""One task, two protocols, over real HTTP: begun by one and answered by the other, once."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import mcp_types as wire
import pytest
from a2a.client.client import ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.types import TaskState
from a2a.utils.errors import A2AError
from mcp import MCPError
from pydantic import BaseModel
from starlette.applications import Starlette

from a2a_faces import JSONRPC, Peer, asks_of, data, message
from interlock import Engine, TaskContext
from interlock_adapters.a2a import A2ASettings, a2a_routes
from interlock_adapters.mcp import McpFace, McpSettings, Stopping, mcp_server
from mcp_face import Host, accept, connected, raw, text
from mcp_servers import listening, serving
from support import soon


class City(BaseModel):
    """Where to go."""

    city: str


async def travel(task: TaskContext) -> str:
    """Ask where to, and then for leave."""
    there = await task.ask("Which city?", City, key="city")
    seat = await task.authorize("book", {"city": there.city, "seat": "1A"}, key="leave")
    return f"{seat['seat']} to {seat['city']}"


@dataclass
class Both:
    """A client of each protocol, of one server."""

    engine: Engine
    mcp: Host
    a2a: Peer


@asynccontextmanager
async def both() -> AsyncGenerator[Both]:
    """One engine behind both faces, in one application, on the loopback."""
    async with listening() as found:
        url = f"http://127.0.0.1:{found.getsockname()[1]}"
        engine, stopping = Engine(travel, store="memory:"), Stopping()
        settings = McpSettings(name="Travel", url=url)
        face = McpFace(mcp_server(engine, settings, stopping=stopping), settings, stopping=stopping)

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
            async with engine, face.serving():
                yield

        cards = A2ASettings(name="Travel", description="Books trips.", url=url)
        app = Starlette(
            routes=[*face.routes, *a2a_routes(engine, cards, stopping=stopping)],
            middleware=[*face.middleware],
            lifespan=lifespan,
        )
        async with serving(app, found) as base, httpx.AsyncClient(timeout=60) as http:
            config = ClientConfig(
                streaming=False, supported_protocol_bindings=[JSONRPC], httpx_client=http
            )
            client = await ClientFactory(config).create_from_url(url)
            async with connected(base, tasks=True, answers=()) as host:
                yield Both(engine, host, Peer(client, client, {}))


async def begun_over_mcp(here: Both) -> str:
    """A task of MCP, that asks."""
    task_id = await here.mcp.created("agent", {"message": "a trip"})
    await soon(here.engine.rest(task_id, owner=None))
    return task_id


async def test_begun_over_a2a_and_answered_over_mcp() -> None:
    """And what A2A then says to it is refused as already answered.  Source: R-ENG-05."""
    async with both() as here:
        task = await here.a2a.send(message("a trip"))
        assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        (ask,) = asks_of(task)
        seen = await here.mcp.get(task.id)
        assert (seen.status, list(seen.input_requests or {})) == ("input_required", ["city"])
        await here.mcp.update(task.id, {"city": raw(accept(city="Rome"))})
        await soon(here.engine.rest(task.id, owner=None))
        late = data({"ask": ask["ask"], "value": {"city": "Bonn"}})
        with pytest.raises(A2AError, match=r"already answered|closed|not open"):
            await here.a2a.send(message(late, task=task))
        approving = await here.mcp.get(task.id)
        assert list(approving.input_requests or {}) == ["leave"]
        await here.mcp.update(task.id, {"leave": raw(accept(decision="approve"))})
        await soon(here.engine.over(task.id, owner=None))
        done = await here.mcp.get(task.id)
        shown = await here.a2a.get(task.id)
    assert done.result is not None
    assert text(wire.CallToolResult.model_validate(done.result)) == "1A to Rome"
    assert shown.status.state == TaskState.TASK_STATE_COMPLETED


async def test_begun_over_mcp_and_answered_over_a2a() -> None:
    """And what MCP then says to it is told to be already answered."""
    async with both() as here:
        task_id = await begun_over_mcp(here)
        task = await here.a2a.get(task_id)
        (ask,) = asks_of(task)
        await here.a2a.send(
            message(data({"ask": ask["ask"], "value": {"city": "Rome"}}), task=task)
        )
        ack = await here.mcp.update(task_id, {"city": raw(accept(city="Bonn"))})
        assert ack.meta is not None
        assert ack.meta["interlock/ignored"] == {"city": "already answered"}
        task = await here.a2a.get(task_id)
        (ask,) = asks_of(task)
        allow = {"ask": ask["ask"], "digest": ask["digest"], "decision": "approve"}
        await here.a2a.send(message(data(allow), task=task))
        await soon(here.engine.over(task_id, owner=None))
        done = await here.mcp.get(task_id)
    assert done.result is not None
    assert text(wire.CallToolResult.model_validate(done.result)) == "1A to Rome"


async def test_a_round_of_a_waiting_caller_is_refused_once_a2a_has_answered() -> None:
    """-32602: the caller learns that it was not its answer that counted."""
    async with both() as here, _waiting(here) as host:
        first = await host.call("agent", {"message": "a trip"})
        assert isinstance(first, wire.InputRequiredResult)
        task_id = str(first.request_state).partition(".")[0]
        task = await here.a2a.get(task_id)
        (ask,) = asks_of(task)
        await here.a2a.send(
            message(data({"ask": ask["ask"], "value": {"city": "Rome"}}), task=task)
        )
        with pytest.raises(MCPError, match="already answered") as caught:
            await host.call(
                "agent",
                {"message": "a trip"},
                responses={"city": accept(city="Bonn")},
                state=first.request_state,
            )
    assert caught.value.code == wire.INVALID_PARAMS


@asynccontextmanager
async def _waiting(here: Both) -> AsyncGenerator[Host]:
    """A client that does not speak the extension."""
    async with connected(here.mcp.client.server, answers=()) as host:
        yield host
