"""What comes with a message, what is kept of it, and what an agent may leave out."""

from collections.abc import AsyncGenerator

import pytest
from a2a.server.context import ServerCallContext
from a2a.types import (
    CancelTaskRequest,
    GetExtendedAgentCardRequest,
    InvalidParamsError,
    Message,
    Role,
    TaskState,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict

from a2a_faces import (
    BINDINGS,
    GRPC,
    JSONRPC,
    SETTINGS,
    Faces,
    asks_of,
    data,
    faced,
    message,
    refused,
    texts_of,
    travel,
)
from interlock import Answer, Engine, TaskContext
from interlock.errors import InvalidInput
from interlock_adapters.a2a._operations import Operations
from interlock_adapters.a2a._part import json_of, put_struct


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The travel agent, over every binding."""
    async with faced(travel) as opened:
        yield opened


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_message_comes_back_in_the_history_as_it_was_sent(
    faces: Faces, binding: str
) -> None:
    """With its metadata, its extensions and what it refers to.  Source: R-A2A-08."""
    ada = faces.peer(binding)
    request = message("a trip, please")
    put_struct(request.message.metadata, {"mood": {"level": 3}})
    put_struct(request.metadata, {"trace": "abc"})
    request.message.extensions.append("https://example.test/extension")
    request.message.reference_task_ids.append("an-earlier-one")
    task = await ada.send(request)
    request.message.task_id, request.message.context_id = task.id, task.context_id
    assert list(task.history) == [request.message]
    events = await faces.world.engine.events(task.id, owner="ada")
    assert events[0].data["metadata"]["mood"] == {"level": 3}
    assert events[0].data["metadata"]["a2a"]["request_metadata"] == {"trace": "abc"}


@pytest.mark.parametrize("binding", BINDINGS)
async def test_the_history_is_in_the_order_of_the_log(faces: Faces, binding: str) -> None:
    """What is still open is in the status, and nowhere else.  Source: R-A2A-08."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))
    task = await ada.send(message("to the north", data({"name": "Oslo"}), task=task))
    said = [(m.role, texts_of(m.parts)) for m in task.history]
    assert said == [
        (Role.ROLE_USER, ["a trip, please"]),
        (Role.ROLE_AGENT, ["Which city?"]),
        (Role.ROLE_USER, ["to the north"]),
    ]
    assert texts_of(task.status.message.parts) == ["Allow book?"]
    assert [m.task_id for m in task.history] == [task.id] * 3


async def test_an_answer_by_another_protocol_is_in_the_history_too(faces: Faces) -> None:
    """As the typed form that says the same."""
    ada = faces.peer(JSONRPC)
    task = await ada.send(message("a trip, please"))
    (ask,) = asks_of(task)
    answer = Answer(ask=ask["ask"], value={"name": "Oslo", "days": 1})
    await faces.world.engine.answer(task.id, answer, owner="ada")
    await faces.world.engine.rest(task.id, owner="ada")
    said = (await ada.get(task.id)).history[-1]
    assert said.role == Role.ROLE_USER
    assert json_of(said.parts[0].data) == {"ask": ask["ask"], "value": answer.value}


@pytest.mark.parametrize("binding", [JSONRPC, GRPC])
async def test_a_cancel_may_say_why(faces: Faces, binding: str) -> None:
    """In its metadata, as a text; REST has no body for it."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))
    request = CancelTaskRequest(id=task.id)
    put_struct(request.metadata, {"reason": 5})
    call = ada.client.cancel_task(request, context=ada.context())
    await refused(faces, call, InvalidParamsError)
    put_struct(request.metadata, {"reason": "Too expensive."})
    task = await ada.client.cancel_task(request, context=ada.context())
    assert texts_of(task.status.message.parts) == ["The task was cancelled. Too expensive."]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_our_name_in_the_metadata_is_ours(faces: Faces, binding: str) -> None:
    """What is kept under it could not be told from what a client wrote."""
    request = message("a trip, please")
    put_struct(request.message.metadata, {"a2a": {}})
    await refused(faces, faces.peer(binding).send(request), InvalidParamsError)


async def test_metadata_of_another_face_may_use_the_name(faces: Faces) -> None:
    """It is shown as far as it can be, and breaks nothing."""
    handle = await faces.world.engine.submit("hello", owner="ada", metadata={"a2a": 5, "b": 1})
    task = await faces.peer(JSONRPC).get(handle.task_id)
    assert MessageToDict(task.history[0].metadata) == {"b": 1.0}


async def test_a_request_without_an_id_is_told_so(faces: Faces) -> None:
    """REST has the id in its path; the other bindings let a request without it through."""
    for binding in (JSONRPC, GRPC):
        ada = faces.peer(binding)
        for call in (ada.get(""), ada.cancel("")):
            told = await refused(faces, call, InvalidParamsError)
            assert told == "id: is required"


@pytest.mark.parametrize("binding", BINDINGS)
async def test_an_agent_that_does_not_stream_says_so(binding: str) -> None:
    """Source: A2A 1.0 §3.3.4; and its card does."""
    settings = SETTINGS.model_copy(update={"streaming": False})
    async with faced(travel, settings=settings) as faces:
        assert not faces.card.capabilities.streaming
        faces.card.capabilities.streaming = True  # or the client would not even ask
        ada = faces.peer(binding)
        task = await ada.send(message("a trip, please"))
        with pytest.raises(UnsupportedOperationError):
            async with ada.subscribe(task.id) as stream:
                await anext(stream)
        with pytest.raises(UnsupportedOperationError):
            async with ada.stream(message("another")) as stream:
                await anext(stream)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_an_agent_without_an_extended_card_says_so(faces: Faces, binding: str) -> None:
    """Source: A2A 1.0 §3.1.11."""
    faces.card.capabilities.extended_agent_card = True  # or the client would not even ask
    ada = faces.peer(binding)
    request = GetExtendedAgentCardRequest()
    call = ada.client.get_extended_agent_card(request, context=ada.context())
    await refused(faces, call, UnsupportedOperationError)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_deployment_says_whose_a_call_is(binding: str) -> None:
    """For instance by more of the credential than the name."""

    def owner_of(context: ServerCallContext) -> str:
        return f"issuer/{context.user.user_name}"

    settings = SETTINGS.model_copy(update={"owner_of": owner_of})
    async with faced(travel, settings=settings) as faces:
        task = await faces.peer(binding).send(message("a trip, please"))
        record = await faces.world.engine.record(task.id, owner="issuer/ada")
        assert record.context_id == task.context_id


@pytest.mark.parametrize("binding", BINDINGS)
async def test_artifacts_keep_what_the_agent_says_of_them(binding: str) -> None:
    """Name, description and metadata; a chunk adds to what is there."""

    async def agent(task: TaskContext) -> object:
        await task.emit("one", artifact_id="a", name="A", description="It.", metadata={"x": 1})
        await task.emit({"two": 2}, artifact_id="a", metadata={"y": 2}, append=True)
        await task.emit("only", artifact_id="b", append=True)
        return {"n": 3, "deep": [None, True]}

    async with faced(agent) as faces:
        task = await faces.peer(binding).send(message("go"))
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    first, second, result = task.artifacts
    assert (first.name, first.description) == ("A", "It.")
    assert MessageToDict(first.metadata) == {"x": 1.0, "y": 2.0}
    assert json_of(first.parts[1].data) == {"two": 2}
    assert (second.artifact_id, texts_of(second.parts)) == ("b", ["only"])
    assert json_of(result.parts[0].data) == {"n": 3, "deep": [None, True]}
    assert isinstance(task.history[0], Message)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_messages_are_for_the_agent_that_the_settings_name(binding: str) -> None:
    """One engine may be behind several cards."""

    async def second(task: TaskContext) -> str:
        return task.agent

    settings = SETTINGS.model_copy(update={"agent": "second"})
    async with faced({"first": travel, "second": second}, settings=settings) as faces:
        task = await faces.peer(binding).send(message("who are you?"))
        assert texts_of(task.artifacts[0].parts) == ["second"]


async def test_settings_that_name_no_agent_of_the_engine_are_refused() -> None:
    """When the face is made, not at its first message."""
    settings = SETTINGS.model_copy(update={"agent": "nobody"})
    engine = Engine({"first": travel, "second": travel}, store="memory:")
    with pytest.raises(InvalidInput, match="no agent 'nobody'; accepted is 'first', 'second'"):
        Operations(engine, settings)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_question_is_declined_by_its_typed_form(binding: str) -> None:
    """Its task is cancelled, and says why; the same message again is the same task."""
    async with faced(travel) as faces:
        ada = faces.peer(binding)
        task = await ada.send(message("a trip, please"))
        (ask,) = asks_of(task)
        no = data({"ask": ask["ask"], "decline": True, "reason": "I would rather stay."})
        request = message("sorry", no, task=task)
        await ada.send(request)
        task = await ada.get(task.id)
        assert task.status.state == TaskState.TASK_STATE_CANCELED
        assert texts_of(task.status.message.parts) == [
            "The task was stopped: a question was declined. I would rather stay."
        ]
        assert MessageToDict(task.metadata)["interlock/code"] == "declined"
        assert texts_of(task.history[-1].parts)[0] == "sorry"
        assert (await ada.send(request)).id == task.id


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_question_with_a_default_is_declined_into_it(binding: str) -> None:
    """What was declined by another protocol is shown as the part that would have said so."""

    async def asks_twice(task: TaskContext) -> str:
        return f"{await task.ask('Where?', default='Rome')}, {await task.ask('When?')}"

    async with faced(asks_twice) as faces:
        ada = faces.peer(binding)
        task = await ada.send(message("a trip, please"))
        await faces.world.engine.decline(task.id, "ask-1", owner="ada", reason="no idea")
        await faces.world.engine.rest(task.id, owner="ada")
        task = await ada.send(message("May", task=await ada.get(task.id)))
        assert texts_of(task.artifacts[0].parts) == ["Rome, May"]
        assert json_of(task.history[2].parts[0].data) == {
            "ask": "ask-1",
            "decline": True,
            "reason": "no idea",
        }
