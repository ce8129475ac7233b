"""What goes on while its credential runs out, or is withdrawn, ends with it.

R-SVC-35.  T1 (who calls), T17 (somebody else's tasks).
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from interlock import TaskContext
from interlock_adapters._callers import watch as auth_watch
from interlock_adapters._http.asgi import Message, Receive, Scope, Send
from interlock_adapters.auth import (
    Authentication,
    AuthenticationFailed,
    BearerTokens,
    TokenEntry,
    hashed,
    new_token,
)
from interlock_adapters.config import A2AConfig, Config, FacesConfig, GrpcConfig
from interlock_adapters.service import Service
from interlock_adapters.service._auth import FileTokens
from support import soon, until

SOON_S: Final = 60.0
V1: Final = {"A2A-Version": "1.0"}
MCP: Final = {"accept": "application/json, text/event-stream"}


class Withdrawable:
    """An authenticator that knows one token, for as long as it is told so."""

    schemes = BearerTokens.schemes

    def __init__(self) -> None:
        self.token: Final = new_token()
        self.asked = 0
        self._one: Final = BearerTokens([TokenEntry(hash=hashed(self.token), subject="ada")])
        self._none: Final = BearerTokens([])
        self.is_good = True

    @property
    def headers(self) -> dict[str, str]:
        """What shows it."""
        return {"authorization": f"Bearer {self.token}"}

    async def authenticate(self, headers: Any) -> Any:  # noqa: ANN401  as it is asked
        """See `Authenticator`."""
        self.asked += 1
        return await (self._one if self.is_good else self._none).authenticate(headers)


async def agent(task: TaskContext) -> str:
    """Ask."""
    return await task.ask("Where to?")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_watch, "RECHECK_S", 0.01)


@asynccontextmanager
async def served(known: Withdrawable, **said: Any) -> AsyncGenerator[httpx.AsyncClient]:  # noqa: ANN401  of the configuration
    """A client with that token."""
    config = Config.model_validate({"agent": agent, "store": "memory:", **said})
    made = Service.of(config)
    service = Service(made.engine, config, authenticator=known)
    here = httpx.ASGITransport(service.app, client=("127.0.0.1", 1))
    async with (
        service.lifespan(),
        httpx.AsyncClient(
            transport=here, base_url=service.url, headers={**known.headers, **V1}
        ) as client,
    ):
        yield client


def sent(method: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    """A call over JSON-RPC."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


MESSAGE: Final[Any] = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "hi"}]}


async def submitted(client: httpx.AsyncClient) -> str:
    """A task that waits."""
    answer = await client.post("/a2a/rpc", json=sent("SendMessage", message=MESSAGE))
    task_id: str = answer.json()["result"]["task"]["id"]
    return task_id


async def lapsed(known: Withdrawable, coming: "asyncio.Task[httpx.Response]") -> httpx.Response:
    """What a request that goes on comes to when its token is withdrawn."""
    seen = known.asked
    # It is asked again and again while all is well.
    await until(lambda: known.asked >= seen + 3 or coming.done())
    assert not coming.done(), coming.result().text
    known.is_good = False
    return await soon(coming)


@pytest.mark.parametrize("face", ["management", "json-rpc", "rest"])
async def test_a_stream_ends_with_its_credential(face: str) -> None:
    """Whatever face it is of: nothing that comes later is told.  R-SVC-35, T1, T17."""
    known = Withdrawable()
    async with served(known) as client:
        task_id = await submitted(client)
        if face == "management":
            call = client.get(f"/manage/tasks/{task_id}/events/stream")
        elif face == "rest":
            call = client.post(f"/a2a/tasks/{task_id}:subscribe")
        else:
            call = client.post("/a2a/rpc", json=sent("SubscribeToTask", id=task_id))
        answer = await lapsed(known, asyncio.ensure_future(call))
        assert answer.status_code == 200, answer.text
        assert "data:" in answer.text
        assert "end" not in [line for line in answer.text.splitlines() if "event:" in line]
        assert (await client.get("/manage/tasks")).status_code == 401


async def test_a_stream_of_mcp_ends_with_its_credential() -> None:
    """That on which a session hears of its tasks.  R-SVC-35, T1."""
    known = Withdrawable()
    hello = sent(
        "initialize",
        protocolVersion="2025-06-18",
        capabilities={},
        clientInfo={"name": "t", "version": "1"},
    )
    async with served(known) as client:
        answer = await client.post("/mcp", json=hello, headers=MCP)
        session = {**MCP, "mcp-session-id": answer.headers["mcp-session-id"]}
        session["mcp-protocol-version"] = "2025-06-18"
        told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await client.post("/mcp", json=told, headers=session)).status_code == 202
        call = client.get("/mcp", headers={**session, "accept": "text/event-stream"})
        assert (await lapsed(known, asyncio.ensure_future(call))).status_code == 200


async def test_a_call_over_grpc_ends_with_its_credential() -> None:
    """A stream, with the status that a new call gets.  R-SVC-35, T1."""
    import grpc.aio  # noqa: PLC0415  of this test alone
    from a2a.types import SubscribeToTaskRequest, a2a_pb2_grpc  # noqa: PLC0415  as above

    known = Withdrawable()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    faces = FacesConfig(a2a=A2AConfig(grpc=GrpcConfig(port=port)))
    async with served(known, faces=faces) as client:
        task_id = await submitted(client)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = a2a_pb2_grpc.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
            shown = stub.SubscribeToTask(
                SubscribeToTaskRequest(id=task_id),
                metadata=[("a2a-version", "1.0"), ("authorization", f"Bearer {known.token}")],
            )
            async with asyncio.timeout(SOON_S):
                assert (await shown.read()).task.id == task_id
                known.is_good = False
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await shown.read()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_what_was_not_begun_is_refused_then() -> None:
    """Whoever waits for an answer hears why there is none.  R-SVC-35, T1."""
    known = Withdrawable()

    async def waits(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI
        del scope
        while (await receive())["type"] != "http.disconnect":
            pass
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"secret", "more_body": False})

    transport = httpx.ASGITransport(Authentication(waits, known), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        call = asyncio.ensure_future(client.get("/", headers=known.headers))
        answer = await lapsed(known, call)
    assert (answer.status_code, "secret" in answer.text) == (401, False)
    assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_token"')


async def test_an_application_hears_of_it_although_nothing_can_be_sent_any_more() -> None:
    """A server may raise when its client has gone (ASGI 2.4).  Source: R-SVC-35."""
    known = Withdrawable()
    heard: list[str] = []
    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def waits(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        heard.extend([(await receive())["type"] for _ in range(2)])

    async def receive() -> Message:
        if not body:
            await asyncio.Event().wait()
        return body.pop()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the client has gone")

    headers = [(name.encode(), value.encode()) for name, value in known.headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    serving = asyncio.ensure_future(Authentication(waits, known)(scope, receive, send))
    await until(lambda: known.asked >= 3)
    known.is_good = False
    await soon(serving)
    assert heard == ["http.request", "http.disconnect"]


async def test_the_file_of_tokens_is_read_again(tmp_path: Path) -> None:
    """A token whose line is gone is no good any more; a file that is none changes nothing.

    R-SVC-35, T1.
    """
    at = 0.0
    first, second = new_token(), new_token()
    path = tmp_path / "tokens.yaml"

    def write(text: str) -> None:
        other = tmp_path / "other"
        other.write_text(text, encoding="utf-8")
        os.replace(other, path)  # noqa: PTH105  what people are told to do

    def line(token: str) -> str:
        return f'- {{hash: "{hashed(token)}", subject: ada}}\n'

    write(line(first))
    config = Config.model_validate({"agent": agent, "auth": {"tokens_file": str(path)}})
    tokens = FileTokens(config, path, now=lambda: at)

    async def is_good(token: str) -> bool:
        try:
            return await tokens.authenticate({"authorization": f"Bearer {token}"}) is not None
        except AuthenticationFailed:
            return False

    assert (await is_good(first), await is_good(second)) == (True, False)
    write(line(second))
    assert await is_good(first)  # Not so soon.
    at += 60
    assert (await is_good(first), await is_good(second)) == (False, True)
    write("- 7\n")
    at += 60
    assert await is_good(second)
    path.unlink()
    at += 60
    assert await is_good(second)
    write(line(first) + line(second))
    at += 60
    assert (await is_good(first), await is_good(second)) == (True, True)
