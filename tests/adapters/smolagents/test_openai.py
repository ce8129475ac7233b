"""smolagents' own client of the OpenAI API, over HTTP, against a server that speaks it.

Source: issue 4, build 4 ("OpenAI-compatible out of the box").
"""

import importlib
from typing import Any

import pytest
from smolagents import (  # type: ignore[import-untyped]  # the library has no types
    OpenAIModel,
    ToolCallingAgent,
)

from interlock import Limits, Phase, Retry, Trigger
from interlock.testing import ModelCall, ModelTurn
from openai_server import Broken, Cut, OpenAiServer, served
from smol import (
    Desk,
    Factory,
    answer,
    asks_of,
    events_of,
    failure_of,
    message,
    shown,
    smol,
    told,
)
from support import until

# Else the library imports it on the thread of the first agent, beside a loop of a test that gives
# way without rest: each of its thousand modules then waits for the interpreter, 20 s in all.
importlib.import_module("openai")

KEY = "sk-secret"


def agent_at(server: OpenAiServer, *, streams: bool) -> Factory:
    """Makes agents whose model is behind that server."""

    def make(task: object, tools: list[Any]) -> object:
        del task
        model = OpenAIModel(
            "scripted",
            api_base=server.url,
            api_key=KEY,
            # The engine tries again, where a stop is heard; neither client sleeps for it.
            client_kwargs={"max_retries": 0},
            retry=False,
        )
        return ToolCallingAgent(tools, model, stream_outputs=streams)

    return make


@pytest.mark.parametrize("streams", [False, True])
async def test_an_agent_over_http_asks_and_goes_on_in_another_process(*, streams: bool) -> None:
    """Two calls in one message, one approved and one denied; each prompt is sent once.

    Source: R-SMOL-12.
    """
    text = "I will book both of these flights now, if you please, one after the other, and soon."
    script: tuple[ModelTurn, ...] = (
        message(("search", {"q": "LIS"})),
        ModelTurn(
            text,
            (
                ModelCall("book", {"flight": "TP1", "seat": "1A"}, "c"),
                ModelCall("book", {"flight": "TP2", "seat": "5000000"}, "c"),
            ),
            input_tokens=321,
            output_tokens=45,
        ),
        answer("done"),
    )
    desk = Desk()
    with served(*script) as server:
        make = agent_at(server, streams=streams)
        async with smol(make, desk.box()) as world:
            handle = await world.submit("a trip")
            await asks_of(world, handle, 2)
            store = world.crash()
        async with smol(make, desk.box(), store=store) as world:
            handle = world.handle(handle)
            first, second = await asks_of(world, handle, 2)
            await handle.approve(first)
            await handle.deny(second, reason="too dear")
            assert await told(handle) == "done"
            said = "".join(shown(world, handle)["step-2/text"])
            log = world.log(handle)
    assert desk.ran == [("search", "LIS"), ("book", "TP1", "1A")]
    assert said.strip() == text
    assert len(server.asked) == 3
    assert all(bool(one.get("stream")) == streams for one in server.asked)
    last = str(server.asked[2]["messages"])
    assert "booked TP1 1A" in last
    assert "too dear" in last
    assert KEY not in repr(log)
    assert server.keys == [f"Bearer {KEY}"] * 3
    usage = [
        e.data["value"]["token_usage"]
        for e in log
        if e.data.get("key") == "m2" and "value" in e.data
    ]
    assert usage == [{"input": 321, "output": 45}]


async def test_the_model_is_told_of_the_tools_by_their_schemas() -> None:
    """Names, types and what is required, as an OpenAI function."""
    with served(answer("done")) as server:
        async with smol(agent_at(server, streams=False), Desk().box()) as world:
            await told(await world.submit())
        functions = {one["function"]["name"]: one["function"] for one in server.asked[0]["tools"]}
    book = functions["book"]["parameters"]
    assert book["required"] == ["flight", "seat"]
    assert book["properties"]["flight"]["type"] == "string"
    assert {"ask_user", "ask_auth", "final_answer"} < set(functions)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("bad", [Broken(429), Broken(500), Broken(503), Cut()], ids=repr)
async def test_a_server_that_may_come_back_is_asked_again(
    bad: Broken | Cut, *, streams: bool
) -> None:
    """By `Limits.retry`; nothing that it said is in the log."""
    limits = Limits(retry=Retry(attempts_max=2))
    with served(bad, answer("done")) as server:
        async with smol(agent_at(server, streams=streams), Desk().box(), limits=limits) as world:
            handle = await world.submit()
            await until(lambda: bool(events_of(world, handle, Trigger.RETRY)))
            await world.elapse(3_600)
            assert await told(handle) == "done"
            assert KEY not in repr(world.log(handle))
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_server_that_refuses_fails_the_task(status: int) -> None:
    """With its status; the words of its answer are told to nobody."""
    limits = Limits(retry=Retry(attempts_max=2))
    with served(Broken(status)) as server:
        async with smol(agent_at(server, streams=False), Desk().box(), limits=limits) as world:
            handle = await world.submit()
            failed = await failure_of(handle)
            assert KEY not in repr(world.log(handle))
    assert failed.cause == "model_failed"
    assert f"HTTP {status}" in str(failed)
    assert len(server.asked) == 1


async def test_a_server_that_is_not_there_is_a_failure_that_may_pass() -> None:
    """Connection refused."""
    with served() as server:
        pass
    async with smol(agent_at(server, streams=False), Desk().box()) as world:
        assert (await failure_of(await world.submit())).cause == "retryable"


async def test_a_stop_while_the_server_streams_closes_the_connection() -> None:
    """The server sees its reader go."""
    with served(ModelTurn("one two three")) as server:
        server.waits = True
        async with smol(agent_at(server, streams=True), Desk().box()) as world:
            handle = await world.submit()
            await until(server.midway.is_set)
            await handle.cancel()
            await handle.over()
            assert world.stored(handle).shown is Phase.CANCELLED
            await until(lambda: server.left == 1)
