"""One story, told over every binding: a question, a decision, an artifact, an end."""

from collections.abc import AsyncGenerator

import pytest
from a2a.types import TaskState
from pydantic import BaseModel

from a2a_faces import FACES, Faces, asks_of, data, faced, message, texts_of
from interlock import TaskContext


class City(BaseModel):
    """Where to go."""

    name: str
    days: int = 1


async def travel(task: TaskContext) -> str:
    """Ask, be allowed, show, and say how it went."""
    city = await task.ask("Which city?", City)
    booked = await task.authorize("book", {"to": city.name, "seats": 1}, allow_edit=True)
    await task.progress("packing", 0.5)
    await task.emit("to ", artifact_id="ticket")
    await task.emit(str(booked["to"]), artifact_id="ticket", append=True, last_chunk=True)
    return f"{booked['seats']} to {booked['to']}"


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The travel agent, over every binding."""
    async with faced(travel) as opened:
        yield opened


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_a_task_is_asked_allowed_and_done(faces: Faces, binding: str, version: str) -> None:
    """Each answer brings the task to its next rest, and the last to its end."""
    ada = faces.peer(binding, version=version)
    task = await ada.send(message("a trip, please"))
    assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    assert texts_of(task.status.message.parts) == ["Which city?"]
    (ask,) = asks_of(task)
    assert (ask["kind"], ask["can"]) == ("input", ["provide_input", "cancel"])

    task = await ada.send(message(data({"name": "Oslo", "days": 2}), task=task))
    assert task.status.state == TaskState.TASK_STATE_AUTH_REQUIRED
    (ask,) = asks_of(task)
    assert (ask["tool"], ask["arguments"]) == ("book", {"to": "Oslo", "seats": 1})

    decision = {"ask": ask["ask"], "digest": ask["digest"], "decision": "approve"}
    task = await ada.send(message(data(decision), task=task))
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    assert [(a.artifact_id, texts_of(a.parts)) for a in task.artifacts] == [
        ("ticket", ["to ", "Oslo"]),
        ("result", ["1 to Oslo"]),
    ]
    assert task == await ada.get(task.id)
