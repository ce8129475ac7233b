"""Bad input over every binding: the exact error of the protocol, and nothing changed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import pytest
from a2a.types import (
    ContentTypeNotSupportedError,
    InvalidParamsError,
    ListTasksRequest,
    MethodNotFoundError,
    Part,
    PushNotificationNotSupportedError,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    Task,
    TaskNotCancelableError,
    TaskNotFoundError,
    TaskPushNotificationConfig,
    TaskState,
    UnsupportedOperationError,
)

from a2a_faces import BINDINGS, REST, Faces, Peer, asks_of, data, faced, message, refused
from interlock import JsonObject, TaskContext
from support import pause

Call: TypeAlias = Callable[[Peer, Task], Awaitable[Any]]
Sent: TypeAlias = Callable[[Task], SendMessageRequest]

UNKNOWN: Final = Task(id="0" * 32)
PAY: Final[JsonObject] = {"type": "object", "properties": {"euro": {"type": "integer"}}}


async def agent(task: TaskContext) -> object:
    """Asks for a number, for leave, for both at once, or for nothing."""
    match task.input.text:
        case "decide":
            return await task.authorize("pay", {"euro": 3}, schema=PAY, key="pay")
        case "both":
            async with asyncio.TaskGroup() as asks:
                asks.create_task(task.ask("Which?", int, key="one"))
                asks.create_task(task.ask("And?", int, key="two"))
            return None
        case "done":
            return "done"
        case "sleep":
            await asyncio.Event().wait()
            return None
        case _:
            return await task.ask("How many?", int, key="count")


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The agent, over every binding."""
    async with faced(agent) as opened:
        yield opened


def wrong(field: str, value: object) -> Sent:
    """A message that would be good but for this field."""

    def made(task: Task) -> SendMessageRequest:
        request = message("7", task=task)
        setattr(request.message, field, value)
        return request

    return made


def said(*parts: Part | str) -> Sent:
    """A message to the task that says this."""
    return lambda task: message(*parts, task=task)


FILE: Final = Part(raw=b"1", media_type="image/png")
TYPED: Final[JsonObject] = {"ask": "count", "value": "seven"}
CLOSED: Final[JsonObject] = {"ask": "old", "value": 7}
DECISION: Final[JsonObject] = {"ask": "count", "digest": "x", "decision": "approve"}
EXTRA: Final[JsonObject] = {"ask": "count", "value": 7, "sure": True}
ANSWERS: Final[dict[str, Sent]] = {
    "a text that is no number": said("seven"),
    "data that is no number": said(data("seven")),
    "a typed answer of the wrong kind": said(data(TYPED)),
    "a fraction": said(data(7.5)),
    "an answer to an ask that is not open": said(data(CLOSED)),
    "a decision where a value is wanted": said(data(DECISION)),
    "an answer with a field too many": said(data(EXTRA)),
    "two answers": said(data(7), data(8)),
    "two texts": said("7", "8"),
    "a file": said(FILE),
}
FIELDS: Final[dict[str, Sent]] = {
    "no message id": wrong("message_id", ""),
    "a message id that is a book": wrong("message_id", "m" * 257),
    "the role of the agent": wrong("role", Role.ROLE_AGENT),
    "no role": wrong("role", Role.ROLE_UNSPECIFIED),
    "another task's context": wrong("context_id", "another"),
    "nothing said": lambda task: message(task=task),
    "a part that is empty": said(Part()),
}


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("case", [*ANSWERS, *FIELDS])
async def test_a_message_that_is_no_answer_leaves_the_ask_open(
    faces: Faces, binding: str, case: str
) -> None:
    """The wait goes on, and a good answer is taken afterwards."""
    ada = faces.peer(binding)
    task = await ada.send(message("ask"))
    request = {**ANSWERS, **FIELDS}[case](task)
    await refused(faces, ada.send(request), InvalidParamsError)
    assert await ada.get(task.id) == task
    done = await ada.send(message(data(7), task=task))
    assert done.status.state == TaskState.TASK_STATE_COMPLETED


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_refused_answer_says_what_would_be_taken(faces: Faces, binding: str) -> None:
    """Source: A2A 1.0 §3.3.2: the parameter, why, and what would be right."""
    ada = faces.peer(binding)
    task = await ada.send(message("ask"))
    told = await refused(faces, ada.send(message(FILE, task=task)), InvalidParamsError)
    assert '{"ask": "count", "value": …}' in told
    told = await refused(faces, ada.send(message("seven", task=task)), InvalidParamsError)
    assert "integer" in told


DECIDE: Final[dict[str, Callable[[JsonObject], Part | str]]] = {
    "yes": lambda _: "yes",
    "同意": lambda _: "同意",
    "an untyped decision": lambda _: data({"decision": "approve"}),
    "another digest": lambda ask: data({**decision(ask), "digest": "0" * 32}),
    "another ask": lambda ask: data({**decision(ask), "ask": "another"}),
    "no digest": lambda ask: data({"ask": ask["ask"], "decision": "approve"}),
    "neither yes nor no": lambda ask: data({**decision(ask), "decision": "perhaps"}),
    "edited where it may not be": lambda ask: data({**decision(ask), "arguments": {"euro": 9}}),
    "a value": lambda ask: data({"ask": ask["ask"], "value": True}),
}


def decision(ask: JsonObject) -> JsonObject:
    """Leave for exactly what is asked."""
    return {"ask": ask["ask"], "digest": ask["digest"], "decision": "approve"}


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("case", DECIDE)
async def test_only_the_exact_decision_allows_anything(
    faces: Faces, binding: str, case: str
) -> None:
    """Free text, guesses and edits decide nothing (T7).  Source: R-A2A-04."""
    ada = faces.peer(binding)
    task = await ada.send(message("decide"))
    (ask,) = asks_of(task)
    request = message(DECIDE[case](ask), task=task)
    await refused(faces, ada.send(request), InvalidParamsError)
    assert await ada.get(task.id) == task
    done = await ada.send(message(data(decision(ask)), task=task))
    assert done.status.state == TaskState.TASK_STATE_COMPLETED


@pytest.mark.parametrize("binding", BINDINGS)
async def test_of_several_asks_an_answer_names_one(faces: Faces, binding: str) -> None:
    """A guess could fill in the wrong one."""
    ada = faces.peer(binding)
    task = await ada.send(message("both"))
    await pause()
    task = await ada.get(task.id)
    assert [ask["ask"] for ask in asks_of(task)] == ["one", "two"]
    for vague in ("7", data(7)):
        told = await refused(faces, ada.send(message(vague, task=task)), InvalidParamsError)
        assert '"ask": "one"' in told
        assert '"ask": "two"' in told
    task = await ada.send(message(data({"ask": "two", "value": 2}), task=task))
    assert [ask["ask"] for ask in asks_of(task)] == ["one"]
    done = await ada.send(message(data(1), task=task))
    assert done.status.state == TaskState.TASK_STATE_COMPLETED


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_task_that_asks_nothing_takes_no_message(faces: Faces, binding: str) -> None:
    """A2A has no steering here: the error says what the task does take."""
    ada = faces.peer(binding)
    at_once = SendMessageConfiguration(return_immediately=True)
    task = await ada.send(message("sleep", configuration=at_once))
    told = await refused(faces, ada.send(message("more", task=task)), UnsupportedOperationError)
    assert told.endswith("it takes: CancelTask")
    done = await ada.send(message("done"))
    told = await refused(faces, ada.send(message("more", task=done)), UnsupportedOperationError)
    assert "it takes no further messages" in told
    await refused(faces, ada.cancel(done.id), TaskNotCancelableError)


def sending(configuration: SendMessageConfiguration) -> Call:
    """Send a new message with this configuration."""
    return lambda peer, _: peer.send(message("done", configuration=configuration))


def listing(request: ListTasksRequest) -> Call:
    """List this."""
    return lambda peer, _: peer.list(request)


LESS_THAN_NONE: Final = SendMessageConfiguration(history_length=-1)
LESS_LISTED: Final = ListTasksRequest(history_length=-1)
NOBODYS: Final = "bm9ib2R5"
WEBHOOK: Final = TaskPushNotificationConfig(url="https://receiver.test")
CALLS: Final[dict[str, tuple[type[Exception], Call]]] = {
    "an unknown task": (TaskNotFoundError, lambda peer, _: peer.get(UNKNOWN.id)),
    "a message to an unknown task": (
        TaskNotFoundError,
        lambda peer, _: peer.send(message("x", task=UNKNOWN)),
    ),
    "cancel of an unknown task": (TaskNotFoundError, lambda peer, _: peer.cancel(UNKNOWN.id)),
    "less than no history": (InvalidParamsError, lambda peer, task: peer.get(task.id, -1)),
    "sent with less than no history": (
        InvalidParamsError,
        sending(LESS_THAN_NONE),
    ),
    "an output that cannot be given": (
        ContentTypeNotSupportedError,
        sending(SendMessageConfiguration(accepted_output_modes=["image/png"])),
    ),
    "an input that is not taken": (
        ContentTypeNotSupportedError,
        lambda peer, _: peer.send(message(FILE)),
    ),
    "an empty page": (InvalidParamsError, listing(ListTasksRequest(page_size=0))),
    "a page too long": (InvalidParamsError, listing(ListTasksRequest(page_size=101))),
    "listed with less than no history": (
        InvalidParamsError,
        listing(LESS_LISTED),
    ),
    "a token of nobody's": (InvalidParamsError, listing(ListTasksRequest(page_token=NOBODYS))),
    "a tenant that is not there": (InvalidParamsError, listing(ListTasksRequest(tenant="acme"))),
    "a webhook": (
        PushNotificationNotSupportedError,
        sending(SendMessageConfiguration(task_push_notification_config=WEBHOOK)),
    ),
}


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("case", CALLS)
async def test_a_call_that_cannot_be_is_refused(faces: Faces, binding: str, case: str) -> None:
    """The error of the specification's table, over every binding alike."""
    ada = faces.peer(binding)
    task = await ada.send(message("ask"))
    error, call = CALLS[case]
    if binding == REST and case == "a tenant that is not there":
        error = MethodNotFoundError  # There a tenant is a path, and the path is not found.
    await refused(faces, call(ada, task), error)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_the_same_message_again_is_the_same_task(faces: Faces, binding: str) -> None:
    """Source: A2A 1.0 §3.3.1; a retry after a lost answer must do no harm, R-A2A-06."""
    ada = faces.peer(binding)
    first = message("ask")
    task = await ada.send(first)
    assert await ada.send(first) == task
    answer = message(data(7), task=task)
    done = await ada.send(answer)
    assert await ada.send(answer) == done
    assert (await ada.list(ListTasksRequest())).total_size == 1
    for reused in (first, answer):
        reused.message.parts[0].text = "something else"
        await refused(faces, ada.send(reused), InvalidParamsError)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_repeat_names_its_own_context(faces: Faces, binding: str) -> None:
    """A message is of one context, also when it comes twice."""
    ada = faces.peer(binding)
    first = message("ask", context_id="trip")
    task = await ada.send(first)
    assert task.context_id == "trip"
    first.message.context_id = "another"
    await refused(faces, ada.send(first), InvalidParamsError)
