"""What a review proved against the A2A face: each attack, and what comes of it now."""

import json
from typing import Any

import grpc.aio
import httpx
import pytest
from a2a.auth.user import User
from a2a.types import (
    DeleteTaskPushNotificationConfigRequest,
    GetTaskRequest,
    TaskPushNotificationConfig,
)
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from a2a.utils.errors import A2AError, InvalidParamsError

from a2a_faces import BINDINGS, JSONRPC, SETTINGS, asks_of, data, faced, message, travel
from interlock import Answer, Engine, NewWatch, Phase, TaskContext
from interlock.errors import Refused
from interlock_adapters._http.webhook import Webhooks, WebhookSettings
from interlock_adapters.a2a import PushDeliverer, a2a_app, grpc_server
from interlock_adapters.a2a._map import error_of
from support import pause

#: The generated stub has no types.
service: Any = A2AServiceStub
CANARY = "sk-canary-7f3a"
MESSAGE_OF_0_3 = json.dumps(
    {
        "message": {
            "messageId": "m",
            "role": "ROLE_USER",
            "taskId": "unknown",
            "content": [{"text": "hello"}],
        }
    }
).encode()
HEADERS = {"A2A-Version": "1.0", "Content-Type": "application/json"}


async def resolve(_host: str, _port: int) -> list[str]:
    """Every host is somewhere public."""
    return ["93.184.215.14"]


async def test_an_approval_with_a_webhook_too_many_approves_nothing() -> None:
    """What is refused has changed nothing.  Source: T7, the issue's "bad input", R-A2A-12."""
    settings = SETTINGS.model_copy(update={"push_configs_max": 1})
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    webhooks = Webhooks(WebhookSettings(), resolve=resolve, transport=transport)
    push = PushDeliverer(webhooks)
    async with webhooks, faced(travel, settings=settings, push=push) as faces:
        ada = faces.peer(JSONRPC)
        task = await ada.send(message("a trip, please"))
        first = TaskPushNotificationConfig(task_id=task.id, id="one", url="https://a.test/hook")
        await ada.client.create_task_push_notification_config(first, context=ada.context())
        (ask,) = asks_of(task)
        request = message(data({"ask": ask["ask"], "value": {"name": "Rome"}}), task=task)
        second = TaskPushNotificationConfig(id="two", url="https://b.test/hook")
        request.configuration.task_push_notification_config.CopyFrom(second)
        before = await faces.world.engine.view(task.id, owner="ada")
        with pytest.raises(InvalidParamsError):
            async for _ in ada.client.send_message(request, context=ada.context()):
                pass
        after = await faces.world.engine.view(task.id, owner="ada")
        assert after == before
        assert after.record.phase is Phase.WAITING_INPUT


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("ends_as", ["completed", "cancelled"])
async def test_a_task_that_is_over_is_told_as_it_ended(binding: str, ends_as: str) -> None:
    """That it is finalized is book-keeping, which no client sees.  Source: specs/a2a.md."""
    async with faced(travel if ends_as == "cancelled" else at_once) as faces:
        ada = faces.peer(binding)
        task = await ada.send(message("a trip, please"))
        if ends_as == "cancelled":
            await ada.cancel(task.id)
        engine = faces.world.engine
        await pause()
        assert (await engine.record(task.id, owner="ada")).phase is Phase.FINALIZED
        for call in (ada.cancel(task.id), ada.send(message("more", task=task))):
            with pytest.raises(A2AError) as caught:
                await call
            told = f"{caught.value} {vars(caught.value)}"
            assert "finaliz" not in told
            assert ends_as in told
        # The same, where the end came between the look at the task and the answer.
        answer = Answer(ask="ask-1", value="x")
        with pytest.raises(Refused) as refused:
            await engine.answer(task.id, answer, owner="ada")
        said = error_of(refused.value)
        assert said is not None
        assert "finaliz" not in f"{said} {vars(said)}"
        assert ends_as in str(said)


async def at_once(task: TaskContext) -> str:
    """Says what it was told."""
    return task.input.text


async def test_what_an_authenticator_raises_stays_here(caplog: pytest.LogCaptureFixture) -> None:
    """A client learns an id, never a text that may quote its credential.  Source: T20."""

    def refuse(_metadata: dict[str, list[str]]) -> User:
        raise ValueError(CANARY)

    async with Engine(travel, store="memory:") as engine:
        bound = grpc_server(engine, SETTINGS, user_of=refuse)
        await bound.server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await service(channel).GetTask(
                    GetTaskRequest(id="x"), metadata=(("a2a-version", "1.0"),), timeout=60
                )
        await bound.server.stop(0)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert CANARY not in (caught.value.details() or "")
    assert "internal error" in caplog.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(
            json.dumps(
                {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "SendMessage",
                    "params": {
                        "message": {
                            "messageId": "m",
                            "role": "ROLE_USER",
                            "parts": [{"data": 10**400}],
                        }
                    },
                }
            ).encode(),
            -32602,
            id="an integer of 400 digits",
        ),
        pytest.param(
            b'{"jsonrpc":"2.0","id":"\\ud800","method":"GetTask","params":{"id":"x"}}',
            -32600,
            id="an id that is no text",
        ),
        pytest.param(
            '{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"x"}}'.encode("utf-16"),
            -32700,
            id="another encoding, which the depth guard would not see through",
        ),
    ],
)
async def test_a_strange_body_has_a_typed_error(body: bytes, code: int) -> None:
    """Never a bare 500.  Source: JSON-RPC 2.0 §5.1."""
    engine = Engine(travel, store="memory:")
    app = a2a_app(engine, SETTINGS, owns_engine=False)
    async with engine, httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.post(
            f"http://agent.test{SETTINGS.rpc_path}", content=body, headers=HEADERS
        )
        assert answer.status_code == httpx.codes.OK
        assert answer.json()["error"]["code"] == code
        assert engine.statistics().live == 0


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/v1/message:stream", MESSAGE_OF_0_3),
        ("GET", "/v1/tasks/unknown:subscribe", None),
    ],
)
async def test_a_stream_of_0_3_that_cannot_begin_says_why(
    method: str, path: str, content: bytes | None
) -> None:
    """It was an empty stream with a 200.  Source: a review."""
    engine = Engine(travel, store="memory:")
    app = a2a_app(engine, SETTINGS, owns_engine=False)
    async with engine, httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.request(
            method,
            f"http://agent.test{SETTINGS.rest_path}{path}",
            content=content,
            headers={"A2A-Version": "0.3", "Content-Type": "application/json"},
        )
        assert answer.status_code == httpx.codes.NOT_FOUND
        assert answer.json()["error"]


async def test_the_watch_of_an_embedder_is_no_clients_to_change() -> None:
    """Ids are shared by all channels of a task.  Source: a review."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    webhooks = Webhooks(WebhookSettings(), resolve=resolve, transport=transport)
    push = PushDeliverer(webhooks)
    async with webhooks, faced(travel, settings=SETTINGS, push=push) as faces:
        ada, engine = faces.peer(JSONRPC), faces.world.engine
        task = await ada.send(message("a trip, please"))
        theirs = NewWatch("audit", "another channel", {"to": "the auditor"})
        await engine.add_watch(task.id, theirs, owner=None)
        config = TaskPushNotificationConfig(task_id=task.id, id="audit", url="https://a.test/hook")
        with pytest.raises(InvalidParamsError):
            await ada.client.create_task_push_notification_config(config, context=ada.context())
        gone = DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="audit")
        await ada.client.delete_task_push_notification_config(gone, context=ada.context())
        (kept,) = await engine.watches(task.id, owner=None)
        assert (kept.watch_id, kept.channel) == ("audit", "another channel")
