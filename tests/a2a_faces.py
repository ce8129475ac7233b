"""What the A2A tests share: one engine behind every binding, and peers that speak to it.

The peers are the SDK's own clients.  HTTP stays in the process, gRPC goes over loopback.
"""

import asyncio
import itertools
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc.aio
import httpx
import pytest
from a2a.auth.user import UnauthenticatedUser, User
from a2a.client.client import Client, ClientCallContext, ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from a2a.utils.constants import TransportProtocol
from pydantic import BaseModel
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive

from interlock import Deliverer, JsonValue, Limits, TaskContext, TaskQuery, Toolbox
from interlock._agent import Agent
from interlock_adapters.a2a import (
    CHANNEL,
    A2ASettings,
    PushDeliverer,
    a2a_app,
    grpc_server,
)
from interlock_adapters.a2a._card import card_of
from interlock_adapters.a2a._map import EVENT
from interlock_adapters.a2a._part import json_of, put_value
from support import FlakyStore, World, opened, pause

JSONRPC: Final = TransportProtocol.JSONRPC.value
REST: Final = TransportProtocol.HTTP_JSON.value
GRPC: Final = TransportProtocol.GRPC.value
BINDINGS: Final = (JSONRPC, REST, GRPC)
#: Every face there is: binding and version.
FACES: Final = tuple((binding, version) for version in ("1.0", "0.3") for binding in BINDINGS)

URL: Final = "http://agent.test"
SETTINGS: Final = A2ASettings(name="Tests", description="Does as it is told.", url=URL)

_IDS: Final = itertools.count(1)


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


class InProcess(httpx.AsyncBaseTransport):
    """Calls an ASGI application; the body comes as it is sent, so that streams can stay open."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`."""
        sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        hung_up = asyncio.Event()
        body = [await request.aread()]

        async def receive() -> MutableMapping[str, Any]:
            if body:
                return {"type": "http.request", "body": body.pop(), "more_body": False}
            await hung_up.wait()
            return {"type": "http.disconnect"}

        running = asyncio.create_task(_run(self._app, _scope(request), receive, sent))
        start = await sent.get()
        if start["type"] == "over":
            await running
        return httpx.Response(
            start["status"],
            headers=start["headers"],
            stream=_Body(sent, hung_up, running),
            request=request,
        )


async def _run(
    app: ASGIApp,
    scope: dict[str, Any],
    receive: Receive,
    sent: asyncio.Queue[MutableMapping[str, Any]],
) -> None:
    try:
        await app(scope, receive, sent.put)
    finally:
        await sent.put({"type": "over"})


def _scope(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }


@dataclass(eq=False)
class _Body(httpx.AsyncByteStream):
    sent: asyncio.Queue[MutableMapping[str, Any]]
    hung_up: asyncio.Event
    running: asyncio.Task[None]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            message = await self.sent.get()
            if message["type"] == "over":
                return
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    async def aclose(self) -> None:
        self.hung_up.set()
        async with asyncio.timeout(60):
            await self.running


class _ByHeader(AuthenticationBackend):
    """Believes whoever names themselves: what a deployment's own middleware is for."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return None if name is None else (AuthCredentials(), SimpleUser(name))


class _Named(User):
    def __init__(self, name: str) -> None:
        self._name: Final = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def user_name(self) -> str:
        return self._name


def user_of(metadata: dict[str, list[str]]) -> User:
    """As `_ByHeader`, for gRPC."""
    named = metadata.get("x-user")
    return _Named(named[0]) if named else UnauthenticatedUser()


@dataclass
class Peer:
    """A client of one binding, in the name of one user."""

    client: Client
    streaming: Client
    parameters: dict[str, str]

    def context(self, **parameters: str) -> ClientCallContext:
        """What goes with each call."""
        named = {name.replace("_", "-"): value for name, value in parameters.items()}
        return ClientCallContext(service_parameters={**self.parameters, **named}, timeout=60.0)

    async def send(self, request: SendMessageRequest, **parameters: str) -> Task:
        """SendMessage."""
        context = self.context(**parameters)
        async with aclosing(
            cast(
                "AsyncGenerator[StreamResponse]", self.client.send_message(request, context=context)
            )
        ) as answers:
            (answer,) = [answer async for answer in answers]
        return answer.task

    def stream(
        self, request: SendMessageRequest, **parameters: str
    ) -> "aclosing[AsyncGenerator[StreamResponse]]":
        """SendStreamingMessage."""
        context = self.context(**parameters)
        shown = self.streaming.send_message(request, context=context)
        return aclosing(cast("AsyncGenerator[StreamResponse]", shown))

    def subscribe(
        self, task_id: str, **parameters: str
    ) -> "aclosing[AsyncGenerator[StreamResponse]]":
        """SubscribeToTask."""
        context = self.context(**parameters)
        shown = self.streaming.subscribe(SubscribeToTaskRequest(id=task_id), context=context)
        return aclosing(cast("AsyncGenerator[StreamResponse]", shown))

    async def get(self, task_id: str, history_length: int | None = None) -> Task:
        """GetTask."""
        request = GetTaskRequest(id=task_id, history_length=history_length)
        return await self.client.get_task(request, context=self.context())

    async def list(self, request: ListTasksRequest) -> ListTasksResponse:
        """ListTasks."""
        return await self.client.list_tasks(request, context=self.context())

    async def cancel(self, task_id: str) -> Task:
        """CancelTask."""
        request = CancelTaskRequest(id=task_id)
        return await self.client.cancel_task(request, context=self.context())


@dataclass
class Faces:
    """An engine, and every way to it."""

    world: World
    settings: A2ASettings
    card: AgentCard
    http: httpx.AsyncClient
    _open: AsyncExitStack

    def peer(self, binding: str, user: str = "ada", *, version: str = "1.0") -> Peer:
        """A client of that binding and version."""
        card = AgentCard()
        card.CopyFrom(self.card)
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(
            interface
            for interface in self.card.supported_interfaces
            if (interface.protocol_binding, interface.protocol_version) == (binding, version)
        )
        client, streaming = (
            ClientFactory(
                ClientConfig(
                    streaming=streams,
                    httpx_client=self.http,
                    grpc_channel_factory=self._channel,
                    supported_protocol_bindings=[binding],
                )
            ).create(card)
            for streams in (False, True)
        )
        return Peer(client, streaming, {"x-user": user} if user else {})

    def _channel(self, url: str) -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(url)
        self._open.push_async_callback(channel.close)
        return channel

    async def rpc(self, body: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """One JSON-RPC call as written, with the headers of a good one unless others are given."""
        return await self.http.post(
            self.settings.rpc_path,
            json=body,
            headers={"A2A-Version": "1.0", "x-user": "ada"} if headers is None else headers,
        )


@asynccontextmanager
async def faced(
    agent: "Agent | Mapping[str, Agent]",
    *,
    settings: A2ASettings = SETTINGS,
    limits: Limits | None = None,
    store: FlakyStore | None = None,
    push: PushDeliverer | None = None,
    tools: Toolbox | None = None,
) -> AsyncGenerator[Faces]:
    """An engine that is served over every binding, with callers told apart by `x-user`."""
    deliverers: dict[str, Deliverer] = {} if push is None else {CHANNEL: push}
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(
            opened(agent, limits=limits, store=store, deliverers=deliverers, tools=tools)
        )
        bound = grpc_server(world.engine, settings, user_of=user_of, push=push)
        settings = settings.model_copy(update={"grpc_url": f"127.0.0.1:{bound.port}"})
        app = a2a_app(
            world.engine,
            settings,
            push=push,
            owns_engine=False,
            middleware=[Middleware(AuthenticationMiddleware, backend=_ByHeader())],
        )
        await bound.server.start()
        stack.push_async_callback(bound.server.stop, None)
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=InProcess(app), base_url=URL)
        )
        yield Faces(world, settings, card_of(settings, push=push is not None), http, stack)


def message(
    *parts: str | Part,
    task: Task | None = None,
    message_id: str | None = None,
    configuration: SendMessageConfiguration | None = None,
    context_id: str = "",
) -> SendMessageRequest:
    """A message of a user: to a task, or for a new one."""
    said = Message(
        message_id=message_id or f"message-{next(_IDS)}",
        role=Role.ROLE_USER,
        parts=[Part(text=part) if isinstance(part, str) else part for part in parts],
        context_id=context_id,
        task_id="" if task is None else task.id,
    )
    return SendMessageRequest(message=said, configuration=configuration)


def data(content: JsonValue) -> Part:
    """A data part."""
    part = Part()
    put_value(part.data, content)
    return part


def asks_of(task: Task) -> list[dict[str, Any]]:
    """What the status of a task asks, as its data parts say it."""
    parts = task.status.message.parts
    return [cast("dict[str, Any]", json_of(p.data)) for p in parts if p.HasField("data")]


def texts_of(parts: Sequence[Part]) -> list[str]:
    """The texts among the parts."""
    return [part.text for part in parts if part.HasField("text")]


def shown_of(answer: StreamResponse) -> str:
    """What a stream shows, in a few words."""
    match answer.WhichOneof("payload"):
        case "task":
            return f"task {_state(answer.task.status.state)}"
        case "status_update":
            update = answer.status_update
            said = " ".join(texts_of(update.status.message.parts))
            return f"{_state(update.status.state)} {said}".rstrip()
        case "artifact_update":
            chunk = answer.artifact_update
            how = ("+" if chunk.append else "") + ("." if chunk.last_chunk else "")
            return f"{chunk.artifact.artifact_id}{how} {' '.join(texts_of(chunk.artifact.parts))}"
        case _:
            return "?"


def place_of(answer: StreamResponse) -> str:
    """Where in the log a stream is, as it says itself."""
    shown = getattr(answer, answer.WhichOneof("payload") or "")
    return str(shown.metadata.fields[EVENT].string_value)


def _state(state: TaskState) -> str:
    return TaskState.Name(state).removeprefix("TASK_STATE_").lower()


async def refused(faces: Faces, call: Awaitable[object], error: type[Exception]) -> str:
    """The message of the error that the call must raise, having changed nothing."""
    before = await _everything(faces.world)
    with pytest.raises(error) as caught:
        await call
    assert type(caught.value) is error
    assert await _everything(faces.world) == before
    return str(caught.value)


async def _everything(world: World) -> object:
    """What the store holds, once nothing is under way."""
    await pause()
    page = await world.store.page(TaskQuery(limit=1_000))
    watches = [await world.store.watches(record.task_id) for record in page.records]
    return page, watches
