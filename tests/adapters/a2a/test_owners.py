"""Whose a task is: every operation, by its owner, by strangers and by nobody."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import httpx
import pytest
from a2a.server.context import ServerCallContext
from a2a.types import (
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    Task,
    TaskNotFoundError,
    TaskPushNotificationConfig,
    UnsupportedOperationError,
    a2a_pb2,
)
from a2a.utils import errors as a2a_errors

from a2a_faces import (
    BINDINGS,
    SETTINGS,
    Faces,
    Peer,
    data,
    faced,
    message,
    refused,
    travel,
)
from interlock_adapters.a2a import PushDeliverer, Webhooks, WebhookSettings

Call: TypeAlias = Callable[[Peer, Task], Awaitable[Any]]

HOOK: Final = "https://receiver.test/hook"


async def _first(peer: Peer, task: Task) -> None:
    async with peer.subscribe(task.id) as stream:
        await anext(stream)


async def _follow_up(peer: Peer, task: Task) -> None:
    async with peer.stream(message(data({"name": "Oslo"}), task=task)) as stream:
        await anext(stream)


#: Every operation on a task, by the method's name.
OPERATIONS: Final[dict[str, Call]] = {
    "GetTask": lambda peer, task: peer.get(task.id),
    "SubscribeToTask": _first,
    "CreateTaskPushNotificationConfig": lambda peer, task: (
        peer.client.create_task_push_notification_config(
            TaskPushNotificationConfig(task_id=task.id, id="hook", url=HOOK),
            context=peer.context(),
        )
    ),
    "GetTaskPushNotificationConfig": lambda peer, task: (
        peer.client.get_task_push_notification_config(
            GetTaskPushNotificationConfigRequest(task_id=task.id, id="hook"),
            context=peer.context(),
        )
    ),
    "ListTaskPushNotificationConfigs": lambda peer, task: (
        peer.client.list_task_push_notification_configs(
            ListTaskPushNotificationConfigsRequest(task_id=task.id), context=peer.context()
        )
    ),
    "DeleteTaskPushNotificationConfig": lambda peer, task: (
        peer.client.delete_task_push_notification_config(
            DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="hook"),
            context=peer.context(),
        )
    ),
    "SendMessage": lambda peer, task: peer.send(message(data({"name": "Oslo"}), task=task)),
    "SendStreamingMessage": _follow_up,
    "CancelTask": lambda peer, task: peer.cancel(task.id),
}
#: Operations that are on no task.
ON_NO_TASK: Final = {"ListTasks", "GetExtendedAgentCard"}


async def _resolve(_host: str, _port: int) -> list[str]:
    return ["93.184.215.14"]


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The travel agent with push notifications, over every binding."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    webhooks = Webhooks(WebhookSettings(), resolve=_resolve, transport=transport)
    async with webhooks, faced(travel, push=PushDeliverer(webhooks)) as opened:
        yield opened


def test_every_operation_of_the_protocol_is_tried() -> None:
    """A new operation fails here until it is listed (T1).  Source: R-A2A-20."""
    service = a2a_pb2.DESCRIPTOR.services_by_name["A2AService"]
    assert {method.name for method in service.methods} == OPERATIONS.keys() | ON_NO_TASK


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("stranger", ["bob", ""])
async def test_anothers_task_answers_as_one_that_never_was(
    faces: Faces, binding: str, operation: str, stranger: str
) -> None:
    """The same error with the same words, and nothing changed.  Source: R-A2A-20, T1."""
    ada, other = faces.peer(binding), faces.peer(binding, stranger)
    task = await ada.send(message("a trip, please"))
    await OPERATIONS["CreateTaskPushNotificationConfig"](ada, task)
    call = OPERATIONS[operation]
    theirs = await refused(faces, call(other, task), TaskNotFoundError)
    nobodys = await refused(faces, call(other, Task(id="0" * 32)), TaskNotFoundError)
    assert theirs == nobodys
    await call(ada, task)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_list_holds_the_callers_own(faces: Faces, binding: str) -> None:
    """Also those of callers without a name are told apart from everybody's."""
    tasks = {
        user: await faces.peer(binding, user).send(message("a trip, please"))
        for user in ("ada", "bob", "")
    }
    for user, task in tasks.items():
        listed = await faces.peer(binding, user).list(ListTasksRequest())
        assert [found.id for found in listed.tasks] == [task.id]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_nobody_can_authenticate_as_the_anonymous(faces: Faces, binding: str) -> None:
    """Else one credential would open every task of callers without one."""
    task = await faces.peer(binding, "").send(message("a trip, please"))
    with pytest.raises(UnsupportedOperationError, match="names nobody"):
        await faces.peer(binding, "anonymous").get(task.id)
    record = await faces.world.engine.record(task.id, owner=None)
    assert record.owner == "anonymous"


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("user", ["agent", "engine", "timer"])
async def test_who_is_called_like_a_machine_is_told_so(
    faces: Faces, binding: str, user: str
) -> None:
    """It could submit and then answer nothing: a refusal that says why, and no fault of ours."""
    sent = faces.peer(binding, user).send(message("a trip, please"))
    told = await refused(faces, sent, a2a_errors.InvalidParamsError)
    assert f"owner is '{user}'" in told


@pytest.mark.parametrize("binding", BINDINGS)
async def test_the_extended_card_is_for_authenticated_callers(binding: str) -> None:
    """Source: A2A 1.0 §3.1.11; it may be another one for each."""

    def extended(card: a2a_pb2.AgentCard, context: ServerCallContext) -> a2a_pb2.AgentCard | None:
        card.description = f"hello {context.user.user_name}"
        return card if context.user.user_name == "ada" else None

    settings = SETTINGS.model_copy(update={"extended_card": extended})
    async with faced(travel, settings=settings) as faces:
        assert faces.card.capabilities.extended_agent_card

        async def card(user: str) -> a2a_pb2.AgentCard:
            peer = faces.peer(binding, user)
            return await peer.client.get_extended_agent_card(
                GetExtendedAgentCardRequest(), context=peer.context()
            )

        assert (await card("ada")).description == "hello ada"
        assert faces.card.description == SETTINGS.description
        with pytest.raises(UnsupportedOperationError):
            await card("")
        with pytest.raises(a2a_errors.ExtendedAgentCardNotConfiguredError):
            await card("bob")
