"""Streams: the task first, everything after it in order, and on from where a reader was."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import httpx
import pytest
from a2a.client.errors import A2AClientError
from a2a.types import InvalidParamsError, StreamResponse, UnsupportedOperationError

from a2a_faces import (
    BINDINGS,
    FACES,
    JSONRPC,
    REST,
    Faces,
    asks_of,
    data,
    faced,
    message,
    place_of,
    shown_of,
    travel,
)
from interlock import JsonObject, Limits, TaskContext

OSLO: Final[JsonObject] = {"name": "Oslo", "days": 2}


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The travel agent, over every binding."""
    async with faced(travel) as opened:
        yield opened


async def until(stream: AsyncGenerator[StreamResponse], words: str) -> list[StreamResponse]:
    """What the stream shows, up to what begins with these words."""
    seen: list[StreamResponse] = []
    async for answer in stream:
        seen.append(answer)
        if shown_of(answer).startswith(words):
            return seen
    raise AssertionError(f"the stream ended without {words!r}: {[shown_of(a) for a in seen]}")


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_a_sent_message_is_followed_until_it_is_the_clients_turn(
    faces: Faces, binding: str, version: str
) -> None:
    """The stream ends where only this client can go on, and not where another may decide."""
    ada = faces.peer(binding, version=version)
    async with ada.stream(message("a trip, please")) as stream:
        asked = [answer async for answer in stream]
    assert [shown_of(answer) for answer in asked] == [
        "task submitted",
        "working",
        "input_required Which city?",
    ]
    task = asked[0].task

    async with ada.stream(message(data(OSLO), task=task)) as stream:
        seen = await until(stream, "auth_required")
        (ask,) = asks_of(await ada.get(task.id))
        decision = {"ask": ask["ask"], "digest": ask["digest"], "decision": "approve"}
        await faces.peer(JSONRPC).send(message(data(decision), task=task))
        seen += [answer async for answer in stream]
    assert [shown_of(answer) for answer in seen] == [
        "task working",
        "auth_required Allow book?",
        "working",
        "working packing",
        "ticket to ",
        "ticket+. Oslo",
        "result. 1 to Oslo",
        "completed",
    ]


async def asks_twice(task: TaskContext) -> str:
    """One question, and another."""
    await task.ask("One?")
    await task.ask("Two?")
    return "done"


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_a_stream_ends_for_input_however_many_follow_the_task(
    binding: str, version: str
) -> None:
    """Also where another reader was shown first what wants it, and the update is theirs.

    Source: R-SVC-45; A2A 1.0 §3.1.2.
    """
    async with faced(asks_twice) as faces:
        ada = faces.peer(binding, version=version)
        task = await ada.send(message("go"))
        async with ada.subscribe(task.id) as first:
            await until(first, "task input_required")

            async def followed() -> list[str]:
                return [shown_of(answer) async for answer in first]

            following = asyncio.create_task(followed())
            async with ada.stream(message(data("x"), task=task)) as stream, asyncio.timeout(60):
                seen = [shown_of(answer) async for answer in stream]
            assert seen == ["task working", "input_required Two?"]
            await ada.cancel(task.id)
            assert "input_required Two?" in await following


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_a_subscriber_sees_the_task_and_then_all_of_its_turns(
    faces: Faces, binding: str, version: str
) -> None:
    """Source: A2A 1.0 §3.1.6: the task as it is, then updates until it is over."""
    ada = faces.peer(binding, version=version)
    task = await ada.send(message("a trip, please"))
    async with ada.subscribe(task.id) as stream:
        seen = await until(stream, "task")
        await ada.send(message(data(OSLO), task=task))
        seen += await until(stream, "auth_required")
        await ada.cancel(task.id)
        seen += [answer async for answer in stream]
    assert [shown_of(answer) for answer in seen] == [
        "task input_required",
        "working",
        "auth_required Allow book?",
        "working The task is being cancelled.",
        "canceled The task was cancelled.",
    ]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_there_is_nothing_to_subscribe_to_once_a_task_is_over(
    faces: Faces, binding: str
) -> None:
    """Source: A2A 1.0 §3.1.6."""
    ada = faces.peer(binding)
    task = await ada.cancel((await ada.send(message("a trip, please"))).id)
    with pytest.raises(UnsupportedOperationError):
        async with ada.subscribe(task.id) as stream:
            await anext(stream)


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_a_reader_goes_on_after_the_last_event_it_saw(
    faces: Faces, binding: str, version: str
) -> None:
    """From every event of a life that is over: the task as it was, then exactly what followed.

    Source: R-A2A-09.
    """
    ada = faces.peer(binding, version=version)
    task = await ada.send(message("a trip, please"))
    async with ada.subscribe(task.id, Last_Event_ID="1") as stream:
        whole = await until(stream, "input_required")
        await ada.send(message(data(OSLO), task=task))
        whole += await until(stream, "auth_required")
        (ask,) = asks_of(await ada.get(task.id))
        decision = {"ask": ask["ask"], "digest": ask["digest"], "decision": "approve"}
        await ada.send(message(data(decision), task=task))
        whole += [answer async for answer in stream]
    places = [place_of(answer) for answer in whole]
    assert places == sorted(places, key=int)
    for place in sorted(set(places[:-1]), key=int):
        # The first of two updates of one event is at the place before it: it comes again.
        index = places.index(place)
        async with ada.subscribe(task.id, Last_Event_ID=place) as stream:
            first, *rest = [answer async for answer in stream]
        assert shown_of(first).startswith("task ")
        assert place_of(first) == place
        assert rest == whole[index + 1 :]
    # The SDK's client knows an error of REST 0.3 by its HTTP code alone.
    with pytest.raises((UnsupportedOperationError, A2AClientError)):
        async with ada.subscribe(task.id, Last_Event_ID=places[-1]) as stream:
            await anext(stream)


@pytest.mark.parametrize("place", ["0", "4", "-1", "x", "1.0", "9" * 30])
@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_place_that_is_none_of_the_tasks_is_told_so(
    faces: Faces, binding: str, place: str
) -> None:
    """Guessing would skip events, or show them twice."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))
    with pytest.raises(InvalidParamsError):
        async with ada.subscribe(task.id, Last_Event_ID=place) as stream:
            await anext(stream)


async def sse_ids(response: httpx.Response) -> list[str]:
    """The ids of server-sent events, in order."""
    return [line[4:] async for line in response.aiter_lines() if line.startswith("id: ")]


async def test_server_sent_events_have_ids(faces: Faces) -> None:
    """A browser sends the last of them by itself when it connects again."""
    headers = {"A2A-Version": "1.0"}

    def params(message_id: str) -> dict[str, object]:
        parts = [{"text": "a trip"}]
        return {"message": {"messageId": message_id, "role": "ROLE_USER", "parts": parts}}

    call = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": params("m")}
    async with faces.http.stream("POST", "/a2a/rpc", json=call, headers=headers) as response:
        assert await sse_ids(response) == ["1", "2", "3"]
    rest = "/a2a/message:stream"
    async with faces.http.stream("POST", rest, json=params("n"), headers=headers) as response:
        assert await sse_ids(response) == ["1", "2", "3"]


@pytest.mark.parametrize("binding", [JSONRPC, REST])
async def test_one_watcher_too_many_is_turned_away(binding: str) -> None:
    """The bound is the engine's; it is no fault of the client, and it may pass."""
    async with faced(travel, limits=Limits(subscribers_max=1)) as faces:
        ada = faces.peer(binding)
        task = await ada.send(message("a trip, please"))
        async with ada.subscribe(task.id) as first, ada.subscribe(task.id) as second:
            await anext(first)
            with pytest.raises(Exception, match="subscribers_max is 1; try again after 1 s"):
                async for _ in second:
                    pass
