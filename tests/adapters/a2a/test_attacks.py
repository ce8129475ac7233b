"""What a review proved against the A2A face: each attack, and what comes of it now."""

import json
from typing import Any

import grpc.aio
import httpx
import pytest
from a2a.auth.user import User
from a2a.types import GetTaskRequest, TaskPushNotificationConfig
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from a2a.utils.errors import InvalidParamsError

from a2a_faces import JSONRPC, SETTINGS, asks_of, data, faced, message, travel
from interlock import Engine, Phase
from interlock_adapters._webhook import Webhooks, WebhookSettings
from interlock_adapters.a2a import PushDeliverer, a2a_app, grpc_server

#: The generated stub has no types.
service: Any = A2AServiceStub
CANARY = "sk-canary-7f3a"
HEADERS = {"A2A-Version": "1.0", "Content-Type": "application/json"}


async def resolve(_host: str, _port: int) -> list[str]:
    """Every host is somewhere public."""
    return ["93.184.215.14"]


async def test_an_approval_with_a_webhook_too_many_approves_nothing() -> None:
    """What is refused has changed nothing.  Source: T7, the issue's "bad input"."""
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
                    GetTaskRequest(id="x"), metadata=(("a2a-version", "1.0"),), timeout=5
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
