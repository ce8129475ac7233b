"""The story once more over real HTTP: uvicorn on a free port of the loopback."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from a2a.client.client import ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.types import TaskState
from starlette.applications import Starlette

from a2a_faces import JSONRPC, REST, Peer, asks_of, data, message, shown_of, travel
from interlock import Engine
from interlock_adapters.a2a import A2ASettings, a2a_app
from support import soon


@asynccontextmanager
async def served(app: Starlette, listening: socket.socket) -> AsyncGenerator[None]:
    """The application, until the end of the block."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await soon(serving)


@pytest.mark.parametrize("binding", [JSONRPC, REST])
async def test_a_client_that_knows_only_the_address_gets_its_trip(binding: str) -> None:
    """By the card it finds there; a stream, two answers, and the end.  Source: R-A2A-01."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = A2ASettings(name="Travel", description="Books trips.", url=url)
        app = a2a_app(Engine(travel, store="memory:"), settings)
        async with served(app, listening), httpx.AsyncClient(timeout=60) as http:
            config = ClientConfig(supported_protocol_bindings=[binding], httpx_client=http)
            client = await ClientFactory(config).create_from_url(url)
            peer = Peer(client, client, {})
            async with peer.stream(message("a trip, please")) as stream:
                shown = [answer async for answer in stream]
            assert shown_of(shown[-1]) == "input_required Which city?"
            task = shown[0].task
            seen: list[str] = []
            async with peer.stream(message(data({"name": "Oslo"}), task=task)) as stream:
                async for answer in stream:
                    seen.append(shown_of(answer))
                    if seen[-1].startswith("auth_required"):
                        (ask,) = asks_of(await peer.get(task.id))
                        allow = {"ask": ask["ask"], "digest": ask["digest"], "decision": "approve"}
                        async with peer.stream(message(data(allow), task=task)) as deciding:
                            assert [shown_of(a) async for a in deciding][-1] == "completed"
            assert seen[-2:] == ["result. 1 to Oslo", "completed"]
            assert (await peer.get(task.id)).status.state == TaskState.TASK_STATE_COMPLETED
