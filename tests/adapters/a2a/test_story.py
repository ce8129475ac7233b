"""One story, told over every binding and version: a question, a decision, an artifact, an end."""

from collections.abc import AsyncGenerator

import pytest
from a2a.types import SendMessageConfiguration, TaskState

from a2a_faces import FACES, Faces, asks_of, data, faced, message, texts_of, travel


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The travel agent, over every binding."""
    async with faced(travel) as opened:
        yield opened


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_a_task_is_asked_allowed_and_done(faces: Faces, binding: str, version: str) -> None:
    """Each answer brings the task to its next rest, and the last to its end.  Source: R-A2A-01."""
    ada = faces.peer(binding, version=version)
    task = await ada.send(message("a trip, please"))
    assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    assert texts_of(task.status.message.parts) == ["Which city?"]
    (ask,) = asks_of(task)
    assert (ask["kind"], ask["can"]) == ("input", ["provide_input", "decline", "cancel"])

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


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_a_task_that_is_cancelled_says_so(faces: Faces, binding: str, version: str) -> None:
    """CancelTask answers with the cancelled task, and every later read agrees."""
    ada = faces.peer(binding, version=version)
    task = await ada.send(message("a trip, please"))
    cancelled = await ada.cancel(task.id)
    assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
    assert texts_of(cancelled.status.message.parts) == ["The task was cancelled."]
    assert cancelled == await ada.get(task.id)


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_who_will_not_wait_gets_the_task_at_once(
    faces: Faces, binding: str, version: str
) -> None:
    """`returnImmediately`, which 0.3 calls not blocking.  Source: R-A2A-07."""
    ada = faces.peer(binding, version=version)
    at_once = SendMessageConfiguration(return_immediately=True)
    task = await ada.send(message("a trip, please", configuration=at_once))
    assert task.status.state in {TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING}
