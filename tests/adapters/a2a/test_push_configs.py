"""Push-notification configs over every binding, and a webhook that hears of a whole life."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final

import httpx
import pytest
from a2a.types import (
    AuthenticationInfo,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    InvalidParamsError,
    ListTaskPushNotificationConfigsRequest,
    SendMessageConfiguration,
    TaskNotFoundError,
    TaskPushNotificationConfig,
)

from a2a_faces import (
    BINDINGS,
    FACES,
    JSONRPC,
    SETTINGS,
    Faces,
    Peer,
    data,
    faced,
    message,
    refused,
    travel,
)
from interlock import Engine, Watch
from interlock.errors import InvalidInput
from interlock_adapters.a2a import (
    CHANNEL,
    PushDeliverer,
    Webhooks,
    WebhookSettings,
    a2a_app,
    a2a_routes,
    grpc_server,
)
from support import FlakyStore, soon

HOOK: Final = "https://receiver.test/hook"
SECRET: Final = "hook-secret"  # noqa: S105 - a canary
TOKEN: Final = "hook-token"  # noqa: S105 - another
#: The headers of a call of Ada's, of version 0.3.
LEGACY: Final = {"A2A-Version": "0.3", "x-user": "ada"}


class DawdlingStore(FlakyStore):
    """Lets everybody else go first once it has read what watches there are."""

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        found = await super().watches(task_id)
        await asyncio.sleep(0)
        return found


class Inbox:
    """A receiver of POSTs."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.headers: list[httpx.Headers] = []
        self._more = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.MockTransport`."""
        self.said.append(json.loads(request.content))
        self.headers.append(request.headers)
        self._more.set()
        return httpx.Response(200)

    async def until(self, state: str) -> list[str]:
        """The states that it heard of, once this one is there."""
        while True:
            heard = [
                said["status"]["state"].removeprefix("TASK_STATE_").lower()
                for (said,) in (body.values() for body in self.said)
                if "status" in said
            ]
            if state in heard:
                return heard
            self._more.clear()
            await soon(self._more.wait())


async def resolve(host: str, _port: int) -> Sequence[str]:
    """The tests' name server."""
    return ["127.0.0.1" if host.startswith("private") else "93.184.215.14"]


@pytest.fixture
def inbox() -> Inbox:
    """Whoever the webhooks go to."""
    return Inbox()


@pytest.fixture
async def faces(inbox: Inbox) -> AsyncGenerator[Faces]:
    """The travel agent with push notifications, over every binding."""
    settings = SETTINGS.model_copy(update={"push_configs_max": 2})
    transport = httpx.MockTransport(inbox)
    webhooks = Webhooks(WebhookSettings(), resolve=resolve, transport=transport)
    push, store = PushDeliverer(webhooks), DawdlingStore()
    async with webhooks, faced(travel, settings=settings, push=push, store=store) as opened:
        yield opened


def config(task_id: str = "", url: str = HOOK, **fields: str) -> TaskPushNotificationConfig:
    """A config with credentials."""
    authentication = AuthenticationInfo(scheme="Bearer", credentials=SECRET)
    return TaskPushNotificationConfig(
        task_id=task_id, url=url, authentication=authentication, **fields
    )


async def created(peer: Peer, wanted: TaskPushNotificationConfig) -> TaskPushNotificationConfig:
    """CreateTaskPushNotificationConfig."""
    return await peer.client.create_task_push_notification_config(wanted, context=peer.context())


async def listed(peer: Peer, task_id: str) -> list[TaskPushNotificationConfig]:
    """ListTaskPushNotificationConfigs."""
    request = ListTaskPushNotificationConfigsRequest(task_id=task_id)
    answer = await peer.client.list_task_push_notification_configs(request, context=peer.context())
    return list(answer.configs)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_config_is_made_read_replaced_and_removed(faces: Faces, binding: str) -> None:
    """Source: A2A 1.0 §3.1.7 to §3.1.10; credentials never come back, R-A2A-12."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))
    made = await created(ada, config(task.id, id="hook", token=TOKEN))
    assert (made.id, made.task_id, made.url) == ("hook", task.id, HOOK)
    assert made.authentication.scheme == "Bearer"
    assert not made.authentication.credentials
    assert not made.token
    one = GetTaskPushNotificationConfigRequest(task_id=task.id, id="hook")
    read = await ada.client.get_task_push_notification_config(one, context=ada.context())
    assert read == made
    await created(ada, config(task.id, url=f"{HOOK}/2", id="hook", token=TOKEN))
    assert [found.url for found in await listed(ada, task.id)] == [f"{HOOK}/2"]
    gone = DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="hook")
    for _ in range(2):  # The second time there is nothing to remove.
        await ada.client.delete_task_push_notification_config(gone, context=ada.context())
    assert await listed(ada, task.id) == []
    call = ada.client.get_task_push_notification_config(one, context=ada.context())
    await refused(faces, call, TaskNotFoundError)


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize(
    "url", ["", "http://receiver.test", "https://private.test", "https://a:b@receiver.test", "x"]
)
async def test_a_webhook_that_may_not_be_called_is_refused(
    faces: Faces, binding: str, url: str
) -> None:
    """Before anything is stored, also when it comes with a message (T15)."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))
    await refused(faces, created(ada, config(task.id, url=url)), InvalidParamsError)
    with_hook = SendMessageConfiguration(task_push_notification_config=config(url=url))
    sent = ada.send(message("another trip", configuration=with_hook))
    await refused(faces, sent, InvalidParamsError)
    answer = message(data({"name": "Oslo"}), task=task, configuration=with_hook)
    await refused(faces, ada.send(answer), InvalidParamsError)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_task_has_only_so_many_webhooks(faces: Faces, binding: str) -> None:
    """Each is called for every event; one of them may still be replaced.  Source: R-A2A-12."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))
    for name in ("a", "b", "b"):
        await created(ada, config(task.id, id=name))
    await refused(faces, created(ada, config(task.id, id="c")), InvalidParamsError)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_webhooks_that_come_at_once_share_the_room_of_a_task(
    faces: Faces, binding: str
) -> None:
    """Counting and adding are one step, also over several connections."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))
    answers = await asyncio.gather(
        *(created(ada, config(task.id, id=f"hook {n}")) for n in range(8)),
        return_exceptions=True,
    )
    assert len(await listed(ada, task.id)) == faces.settings.push_configs_max
    refusals = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(refusals) == len(answers) - faces.settings.push_configs_max
    assert {type(refusal) for refusal in refusals} == {InvalidParamsError}


@pytest.mark.parametrize("binding", BINDINGS)
async def test_repeats_of_an_answer_bring_no_webhooks_beyond_the_room(
    faces: Faces, binding: str
) -> None:
    """The answer counts once; at most one webhook more is kept, for the one that was accepted."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))

    async def answered(n: int) -> None:
        with_hook = SendMessageConfiguration(
            task_push_notification_config=config(id=f"hook {n}"), return_immediately=True
        )
        request = message(
            data({"name": "Oslo"}), task=task, message_id="again", configuration=with_hook
        )
        await ada.send(request)

    answers = await asyncio.gather(*(answered(n) for n in range(8)), return_exceptions=True)
    assert None in answers
    kept = await listed(ada, task.id)
    assert 1 <= len(kept) <= faces.settings.push_configs_max + 1


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_config_is_not_replaced_by_one_without_its_secrets(
    faces: Faces, inbox: Inbox, binding: str
) -> None:
    """They are not shown, so whoever writes back what was read would lose them unawares."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))
    made = await created(ada, config(task.id, id="hook", token=TOKEN))
    said = await refused(faces, created(ada, made), InvalidParamsError)
    assert "token" in said
    assert "authentication.credentials" in said
    assert TOKEN not in said
    answer = message(
        data({"name": "Oslo"}),
        task=task,
        configuration=SendMessageConfiguration(task_push_notification_config=made),
    )
    await refused(faces, ada.send(answer), InvalidParamsError)
    await ada.cancel(task.id)
    assert "canceled" in await inbox.until("canceled")
    assert {headers["x-a2a-notification-token"] for headers in inbox.headers} == {TOKEN}


@pytest.mark.parametrize("make", [a2a_app, a2a_routes, grpc_server])
def test_push_notifications_that_nobody_delivers_are_refused(make: Callable[..., object]) -> None:
    """The card would promise what never comes."""
    push, other = (PushDeliverer(Webhooks(WebhookSettings())) for _ in range(2))
    for deliverers in ({}, {"another": push}, {CHANNEL: other}):
        engine = Engine(travel, store="memory:", deliverers=deliverers)
        with pytest.raises(InvalidInput, match="deliverers=") as caught:
            make(engine, SETTINGS, push=push)
        assert repr(CHANNEL) in str(caught.value)
    assert Engine(travel, store="memory:", deliverers={CHANNEL: push}).deliverers == {CHANNEL: push}


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_a_webhook_hears_of_the_life_of_its_task(
    faces: Faces, inbox: Inbox, binding: str, version: str
) -> None:
    """From the message it came with to the end, under its own credentials."""
    ada = faces.peer(binding, version=version)
    hook = config() if version == "1.0" else TaskPushNotificationConfig(url=HOOK, id="hook")
    with_hook = SendMessageConfiguration(task_push_notification_config=hook)
    task = await ada.send(message("a trip, please", configuration=with_hook))
    assert await inbox.until("input_required") == ["submitted", "working", "input_required"]
    await ada.cancel(task.id)
    assert (await inbox.until("canceled"))[-2:] == ["working", "canceled"]
    if version == "1.0":
        assert {headers["authorization"] for headers in inbox.headers} == {f"Bearer {SECRET}"}


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_webhook_can_come_with_an_answer(faces: Faces, inbox: Inbox, binding: str) -> None:
    """And once more with the same answer: it replaces itself."""
    ada = faces.peer(binding)
    task = await ada.send(message("a trip, please"))
    with_hook = SendMessageConfiguration(task_push_notification_config=config())
    answer = message(data({"name": "Oslo"}), task=task, configuration=with_hook)
    for _ in range(2):
        await ada.send(answer)
    assert len(await listed(ada, task.id)) == 1
    await ada.cancel(task.id)
    assert "canceled" in await inbox.until("canceled")


async def test_a_client_of_0_3_need_not_name_the_config(faces: Faces) -> None:
    """Its libraries ask by the task alone.  Source: A2A 0.3 §7.6, `TaskIdParams`."""
    task = await faces.peer(JSONRPC).send(message("a flight"))

    async def got(**params: str) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/pushNotificationConfig/get"}
        answer = await faces.rpc({**body, "params": params}, LEGACY)
        said: dict[str, Any] = answer.json()
        return said

    assert (await got(id=task.id))["error"]["code"] == -32001
    await created(faces.peer(JSONRPC), config(task.id, id="b"))
    await created(faces.peer(JSONRPC), config(task.id, id="a"))
    for params, wanted in (({}, "a"), ({"pushNotificationConfigId": "b"}, "b")):
        found = (await got(id=task.id, **params))["result"]["pushNotificationConfig"]
        assert (found["id"], found["url"]) == (wanted, HOOK)
    assert (await got(id="nobody's"))["error"]["code"] == -32001
