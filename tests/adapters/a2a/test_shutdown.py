"""Nothing waits for longer than its server runs, or its client stays: and it ends cleanly."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx
import pytest
from a2a.types import SendMessageConfiguration, TaskState
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from uvicorn import Config, Server

from a2a_faces import (
    BINDINGS,
    FACES,
    GRPC,
    JSONRPC,
    REST,
    SETTINGS,
    URL,
    Faces,
    InProcess,
    message,
    shown_of,
)
from interlock import Engine, Phase, SqliteStore, TaskContext, TaskQuery
from interlock._agent import Agent
from interlock_adapters._http import shutdown as _shutdown
from interlock_adapters.a2a import A2ASettings, Stopping, a2a_app, grpc_server
from interlock_adapters.a2a._card import card_of
from support import drained, opened, pause, soon, until

HEADERS: Final = {"A2A-Version": "1.0"}
#: Seconds for a process of its own to come up, and to end.
PROCESS_S: Final = 20.0


async def lasting(_: TaskContext) -> None:
    """Work for ever."""
    await asyncio.Event().wait()


async def stubborn(_: TaskContext) -> None:
    """Work on for ever when told to stop once."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


def sending(**configuration: object) -> dict[str, Any]:
    """What SendMessage takes, in JSON."""
    said = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "go"}]}
    return {"message": said, "configuration": configuration}


def call(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """A JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def running(engine: Engine) -> str:
    """The id of the only task, once its turn runs."""
    await until(lambda: engine.statistics().running == 1)
    await pause()
    (record,) = (await engine.page(TaskQuery())).records
    return record.task_id


@asynccontextmanager
async def faced(
    agent: Agent, *, settings: A2ASettings = SETTINGS, stopping: Stopping | None = None
) -> AsyncGenerator[Faces]:
    """An engine that is served over every binding until `stopping` begins."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(opened(agent))
        bound = grpc_server(world.engine, settings, stopping=stopping)
        settings = settings.model_copy(update={"grpc_url": f"127.0.0.1:{bound.port}"})
        app = a2a_app(world.engine, settings, owns_engine=False, stopping=stopping)
        await bound.server.start()
        stack.push_async_callback(bound.server.stop, None)
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=InProcess(app), base_url=URL)
        )
        yield Faces(world, settings, card_of(settings, push=False), http, stack)


# --- the server stops -------------------------------------------------------------------------


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_message_that_waits_is_answered_with_the_task_as_it_is(binding: str) -> None:
    """Source: A2A 1.0 §3.1.1 lets the task be one that goes on, R-A2A-18."""
    stopping = Stopping()
    async with faced(lasting, stopping=stopping) as faces:
        sent = asyncio.ensure_future(faces.peer(binding).send(message("go")))
        task_id = await running(faces.world.engine)
        stopping.begin()
        task = await soon(sent)
        assert (task.id, task.status.state) == (task_id, TaskState.TASK_STATE_WORKING)
        again = await soon(faces.peer(binding).send(message("go")))
        assert again.id != task_id


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_cancellation_that_waits_is_answered_with_the_cancelling_task(binding: str) -> None:
    """As after `cancel_wait_s`: "canceled" is not said before the turn has ended."""
    stopping = Stopping()
    settings = SETTINGS.model_copy(update={"cancel_wait_s": 1_000_000})
    async with faced(stubborn, settings=settings, stopping=stopping) as faces:
        ada = faces.peer(binding)
        at_once = SendMessageConfiguration(return_immediately=True)
        task = await ada.send(message("go", configuration=at_once))
        await running(faces.world.engine)
        cancelled = asyncio.ensure_future(ada.cancel(task.id))
        await until(lambda: faces.world.store._tasks[task.id].record.phase is Phase.CANCELLING)
        await pause()
        stopping.begin()
        told = await soon(cancelled)
    assert told.metadata["interlock/phase"] == "cancelling"


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_a_stream_ends_without_an_error(binding: str, version: str) -> None:
    """One that is open, and one that is opened afterwards; the reader comes back later.

    Source: R-A2A-18.
    """
    stopping = Stopping()
    async with faced(lasting, stopping=stopping) as faces:
        ada = faces.peer(binding, version=version)
        async with ada.stream(message("go")) as stream:
            seen = [shown_of(await anext(stream)) for _ in range(2)]
            task_id = await running(faces.world.engine)
            stopping.begin()
            seen += [shown_of(answer) async for answer in stream]
        assert seen == ["task submitted", "working"]
        async with ada.subscribe(task_id) as stream:
            assert [shown_of(answer) async for answer in stream] == ["task working"]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_an_engine_that_drains_ends_what_waits_without_an_error(binding: str) -> None:
    """Also when nobody told the face before: its tasks go on when the engine is back."""
    async with faced(lasting) as faces:
        ada = faces.peer(binding)
        sent = asyncio.ensure_future(ada.send(message("go")))
        task_id = await running(faces.world.engine)
        async with ada.subscribe(task_id) as stream:
            assert shown_of(await anext(stream)) == "task working"
            await drained(faces.world.engine, faces.world.clock)
            assert [answer async for answer in stream] == []
        assert (await soon(sent)).id == task_id


# --- how it hears of that ---------------------------------------------------------------------


@asynccontextmanager
async def started(stopping: Stopping) -> AsyncGenerator[None]:
    """An application, between its start and its end."""
    app = a2a_app(Engine(lasting, store="memory:"), SETTINGS, stopping=stopping)
    async with app.router.lifespan_context(app):
        yield


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_signal_that_stops_the_server_ends_what_waits(number: int) -> None:
    """Before the server hears it: it would wait for what waits.  Its handler comes back."""
    heard: list[int] = []

    def server(heard_number: int, _frame: object) -> None:
        heard.append(heard_number)

    stopping = Stopping()
    before = signal.signal(number, server)
    try:
        for _ in range(2):  # An application may be served again.
            async with started(stopping):
                assert not stopping.begun
                signal.raise_signal(number)
                await until(lambda: stopping.begun)
            assert signal.getsignal(number) is server
        assert heard == [number, number]
    finally:
        signal.signal(number, before)


async def test_streams_have_time_to_end_before_the_library_cuts_them_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asks whoever handles SIGTERM whether the server exits, and cuts at once if so."""
    monkeypatch.setattr(_shutdown, "STREAM_GRACE_S", 0)
    monkeypatch.setattr(AppStatus, "should_exit", False)  # Set for good by the handler.
    server = Server(Config(Starlette()))
    before = signal.signal(signal.SIGTERM, server.handle_exit)
    try:
        stopping = Stopping()
        async with started(stopping):
            handler: Any = signal.getsignal(signal.SIGTERM)
            assert not handler.__self__.should_exit
            signal.raise_signal(signal.SIGTERM)
            assert server.should_exit
            assert not handler.__self__.should_exit
            await until(lambda: bool(handler.__self__.should_exit))
            assert stopping.begun
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_signal_that_no_server_handles_is_left_alone() -> None:
    """The end of the application is the end of its waits in any case."""
    stopping = Stopping()
    async with started(stopping):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert stopping.begun


async def test_a_handler_that_came_later_is_left_alone() -> None:
    """Only our own is taken away."""

    def server(_number: int, _frame: object) -> None: ...

    def later(_number: int, _frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, server)
    try:
        async with started(Stopping()):
            signal.signal(signal.SIGTERM, later)
        assert signal.getsignal(signal.SIGTERM) is later
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_than_the_main_one_hears_no_signals() -> None:
    """Python lets nobody else install a handler."""
    errors: list[BaseException] = []

    def serve() -> None:
        async def start_and_end() -> None:
            async with started(Stopping()):
                pass

        try:
            asyncio.run(start_and_end())
        except BaseException as error:  # noqa: BLE001  a thread's errors are lost otherwise
            errors.append(error)

    def server(_number: int, _frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, server)
    try:
        thread = Thread(target=serve)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        assert signal.getsignal(signal.SIGTERM) is server
    finally:
        signal.signal(signal.SIGTERM, before)
    assert errors == []


APP: Final = """
import asyncio
import pathlib
from interlock import Engine, Limits
from interlock_adapters.a2a import A2ASettings, a2a_app

async def agent(_):
    await asyncio.Event().wait()

store = pathlib.Path(__file__).with_name("tasks.db")
engine = Engine(agent, store=f"sqlite:///{store}", limits=Limits(drain_s=0.1, grace_s=0.1))
app = a2a_app(engine, A2ASettings(name="Lasting", description="Works for ever."))
"""


@asynccontextmanager
async def uvicorn(folder: Path) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Uvicorn as people start it, serving `APP`; the process and its address."""
    (folder / "lasting_app.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # Whoever connects is let in as soon as the server is up.
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        options = ("--app-dir", str(folder), "--fd", str(listening.fileno()))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "lasting_app:app", *options),
            pass_fds=[listening.fileno()],
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield process, url
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def working(http: httpx.AsyncClient) -> str:
    """The id of the only task, once its turn runs."""
    query = {"status": "TASK_STATE_WORKING"}
    async with asyncio.timeout(PROCESS_S):
        while True:
            answer = await http.post("/a2a/rpc", json=call("ListTasks", query))
            if tasks := answer.json()["result"]["tasks"]:
                return str(tasks[0]["id"])


async def test_uvicorn_ends_on_sigterm_though_clients_wait(tmp_path: Path) -> None:
    """Each client has its task and a whole response, and the task goes on at the next start."""
    async with (
        uvicorn(tmp_path) as (process, url),
        httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=PROCESS_S) as http,
    ):
        sent = asyncio.ensure_future(http.post("/a2a/rpc", json=call("SendMessage", sending())))
        task_id = await working(http)
        subscribe = call("SubscribeToTask", {"id": task_id})
        async with (
            http.stream("POST", "/a2a/rpc", json=subscribe) as by_rpc,
            http.stream("POST", f"/a2a/tasks/{task_id}:subscribe") as by_rest,
        ):
            lines = [by_rpc.aiter_lines(), by_rest.aiter_lines()]
            for shown in lines:
                await anext(shown)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PROCESS_S):
                left = [[line async for line in shown] for shown in lines]
                task = (await sent).json()["result"]["task"]
                # Uvicorn ends cleanly and then lets the signal have its way.
                assert await process.wait() == -signal.SIGTERM
    assert not any("error" in line for lines_left in left for line in lines_left)
    assert (task["id"], task["status"]["state"]) == (task_id, "TASK_STATE_WORKING")
    store = SqliteStore(str(tmp_path / "tasks.db"))
    await store.open()
    record = await store.get(task_id)
    await store.close()
    assert record is not None
    assert record.phase is Phase.RUNNING


# --- the client hangs up ----------------------------------------------------------------------


@dataclass(eq=False)
class Caller:
    """The connection of one client, who says when it hangs up."""

    app: Starlette
    path: str
    body: bytes
    gone: asyncio.Event

    async def call(self) -> None:
        """Returns when the application has done with the request."""
        body = [{"type": "http.request", "body": self.body, "more_body": False}]

        async def receive() -> MutableMapping[str, Any]:
            if body:
                return body.pop()
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(_: MutableMapping[str, Any]) -> None: ...

        headers = [(b"a2a-version", b"1.0"), (b"content-type", b"application/json")]
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": self.path,
            "headers": headers,
        }
        scope |= {"query_string": b"", "root_path": "", "raw_path": self.path.encode()}
        await self.app(scope, receive, send)


REQUESTS: Final[dict[tuple[str, str], tuple[str, dict[str, Any]]]] = {
    (JSONRPC, "send"): ("/a2a/rpc", call("SendMessage", sending())),
    (REST, "send"): ("/a2a/message:send", sending()),
    (JSONRPC, "cancel"): ("/a2a/rpc", call("CancelTask", {"id": "{task}"})),
    (REST, "cancel"): ("/a2a/tasks/{task}:cancel", {}),
}


@pytest.mark.parametrize(("binding", "operation"), REQUESTS)
async def test_nobody_waits_for_a_client_that_has_hung_up(binding: str, operation: str) -> None:
    """A task may live for days, and a proxy gives up after a minute.  The task goes on.

    Source: R-A2A-18.
    """
    settings = SETTINGS.model_copy(update={"cancel_wait_s": 1_000_000})
    async with faced(stubborn, settings=settings) as faces:
        world = faces.world
        app = a2a_app(world.engine, settings, owns_engine=False)
        task_id = ""
        if operation == "cancel":
            task_id = (await world.engine.submit("go", owner="anonymous")).task_id
            await running(world.engine)
        path, body = REQUESTS[binding, operation]
        written = json.dumps(body).replace("{task}", task_id).encode()
        caller = Caller(app, path.replace("{task}", task_id), written, asyncio.Event())
        calling = asyncio.ensure_future(caller.call())
        task_id = await running(world.engine)
        assert not calling.done()
        assert watchers(faces, task_id) == 1
        caller.gone.set()
        await soon(calling)
        assert watchers(faces, task_id) == 0
        assert world.store._tasks[task_id].record.phase in {Phase.RUNNING, Phase.CANCELLING}


async def test_a_grpc_client_that_hangs_up_is_not_waited_for() -> None:
    """The library takes the call away by itself."""
    async with faced(lasting) as faces:
        sent = asyncio.ensure_future(faces.peer(GRPC).send(message("go")))
        task_id = await running(faces.world.engine)
        assert watchers(faces, task_id) == 1
        sent.cancel()
        await until(lambda: watchers(faces, task_id) == 0)
        with pytest.raises(asyncio.CancelledError):
            await sent


def watchers(faces: Faces, task_id: str) -> int:
    """How many wait for the task."""
    runtime = faces.world.engine._runtime
    cell = None if runtime is None else runtime.writer.at_hand(task_id)
    return 0 if cell is None else cell.watchers
