"""What only HTTP can get wrong: bodies, versions, headers, routes, and what leaks."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

import httpx
import pytest
from a2a.types import SendMessageConfiguration, TaskState
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from a2a_faces import (
    SETTINGS,
    URL,
    Faces,
    InProcess,
    faced,
    message,
    texts_of,
    travel,
)
from interlock import Engine, Limits, TaskContext
from interlock.errors import StoreError
from interlock_adapters.a2a import A2ASettings, Extension, a2a_app, a2a_routes
from support import FlakyStore, opened, pause, soon

ADA: Final = {"A2A-Version": "1.0", "x-user": "ada", "Content-Type": "application/json"}
CANARY: Final = "canary-secret"


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The travel agent, over every binding."""
    async with faced(travel) as opened:
        yield opened


def call(method: str, params: object, **fields: object) -> dict[str, object]:
    """A JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params, **fields}


def sending(text: str = "a trip", message_id: str = "m") -> dict[str, object]:
    """The params of a SendMessage."""
    parts = [{"text": text}]
    return {"message": {"messageId": message_id, "role": "ROLE_USER", "parts": parts}}


async def code_of(faces: Faces, body: object, headers: dict[str, str] = ADA) -> int:
    """The code of the error that a body gets."""
    return int((await faces.rpc(body, headers)).json()["error"]["code"])


NO_ID: Final = {"jsonrpc": "2.0", "method": "SendMessage", "params": sending()}
BODIES: Final[dict[str, tuple[int, object]]] = {
    "a list": (-32600, [call("SendMessage", sending())]),
    "a text": (-32600, "SendMessage"),
    "another protocol": (-32600, call("SendMessage", sending(), jsonrpc="1.0")),
    "no method": (-32600, {"jsonrpc": "2.0", "id": 1}),
    "a method that is a number": (-32600, {"jsonrpc": "2.0", "id": 1, "method": 1}),
    "an id that is an object": (-32600, call("SendMessage", sending(), id={})),
    "an id that is a truth": (-32600, call("SendMessage", sending(), id=True)),
    "a notification, which would be done and never answered": (-32600, NO_ID),
    "an unknown method": (-32601, call("Destroy", {})),
    "a method of version 0.3": (-32601, call("message/send", sending())),
    "params that are a list": (-32602, call("SendMessage", [])),
    "params that are null": (-32602, call("SendMessage", None)),
    "no params": (-32602, {"jsonrpc": "2.0", "id": 1, "method": "SendMessage"}),
    "a message that is a text": (-32602, call("SendMessage", {"message": "hello"})),
    "a number for a text": (-32602, call("GetTask", {"id": 5})),
    "two contents in one part": (
        -32602,
        call(
            "SendMessage",
            {"message": {"messageId": "m", "role": 1, "parts": [{"text": "a", "data": 1}]}},
        ),
    ),
    "an unknown role": (
        -32602,
        call("SendMessage", {"message": {"messageId": "m", "role": "ROLE_BOSS"}}),
    ),
    "an unknown state": (-32602, call("ListTasks", {"status": "TASK_STATE_LOST"})),
    "an unknown state's number": (-32602, call("ListTasks", {"status": 99})),
    "half a character": (-32602, call("SendMessage", sending("\ud800"))),
    "half a character for an id": (-32602, call("SendMessage", sending("a", "\ud800"))),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_body_that_is_no_request_gets_the_error_of_the_table(
    faces: Faces, case: str
) -> None:
    """Source: JSON-RPC 2.0 §5.1; nothing is done for any of them."""
    code, body = BODIES[case]
    # Written in ASCII, which can spell what is no text.
    answer = await faces.http.post("/a2a/rpc", content=json.dumps(body), headers=ADA)
    assert answer.json()["error"]["code"] == code
    assert (await faces.world.store.open_tasks("ada")) == 0


@pytest.mark.parametrize("body", [b"", b"{", b"\xff{}", b"nul", b'{"a":' + b"[" * 99])
async def test_what_is_not_json_is_a_parse_error(faces: Faces, body: bytes) -> None:
    """Source: JSON-RPC 2.0 §5.1: with a null id."""
    answer = (await faces.http.post("/a2a/rpc", content=body, headers=ADA)).json()
    assert (answer["error"]["code"], answer["id"]) == (-32700, None)


async def test_a_body_that_is_too_large_is_not_read(faces: Faces) -> None:
    """Over either HTTP binding; whoever else calls is served meanwhile."""
    body = json.dumps(call("SendMessage", sending("x" * SETTINGS.body_bytes_max)))
    for path in ("/a2a/rpc", "/a2a/message:send"):
        answer = await faces.http.post(path, content=body, headers=ADA)
        assert answer.status_code == 413
    assert (await faces.world.store.open_tasks("ada")) == 0


@pytest.mark.parametrize("key", ["not a number", "Infinity", "-Infinity"])
async def test_a_number_that_is_none_is_refused(faces: Faces, key: str) -> None:
    """Python writes and reads NaN; JSON has none."""
    nan = {"not a number": "NaN"}.get(key, key)
    body = json.dumps(call("SendMessage", sending())).replace('{"text": "a trip"}', '{"data": N}')
    answer = await faces.http.post("/a2a/rpc", content=body.replace("N}", nan + "}"), headers=ADA)
    assert answer.json()["error"]["code"] == -32602


VERSIONS: Final[dict[str, tuple[dict[str, str], str, int | None]]] = {
    "1.0": ({"A2A-Version": "1.0"}, "", None),
    "a patch": ({"A2A-Version": "1.0.4"}, "", None),
    "in the query": ({}, "?A2A-Version=1.0", None),
    "none, which is 0.3": ({}, "", -32009),
    "0.3": ({"A2A-Version": "0.3"}, "", -32009),
    "a later minor": ({"A2A-Version": "1.7"}, "", -32009),
    "a later major": ({"A2A-Version": "2.0"}, "", -32009),
    "nonsense": ({"A2A-Version": "new"}, "", -32009),
}


@pytest.mark.parametrize("case", VERSIONS)
async def test_a_request_is_of_the_version_it_names(faces: Faces, case: str) -> None:
    """Source: A2A 1.0 §3.6, by Major.Minor; over REST as over JSON-RPC."""
    headers, query, code = VERSIONS[case]
    body = call("ListTasks", {})
    answer = await faces.http.post(f"/a2a/rpc{query}", json=body, headers=headers)
    assert answer.json().get("error", {}).get("code") == code
    answer = await faces.http.get(f"/a2a/tasks{query}", headers=headers)
    assert answer.status_code == (200 if code is None else 400)


async def test_version_0_3_can_be_left_out() -> None:
    """The card no longer lists it, and its methods and paths are gone."""
    settings = SETTINGS.model_copy(update={"v0_3": False})
    async with faced(travel, settings=settings) as faces:
        assert {i.protocol_version for i in faces.card.supported_interfaces} == {"1.0"}
        assert await code_of(faces, call("message/send", {}), {}) == -32009
        assert (await faces.http.get("/a2a/v1/card")).status_code == 404


async def test_a_required_extension_must_be_asked_for() -> None:
    """Source: A2A 1.0 §3.3.4, in either version's header."""
    uri = "https://example.test/extension"
    settings = SETTINGS.model_copy(update={"extensions": (Extension(uri=uri, required=True),)})
    async with faced(travel, settings=settings) as faces:
        assert faces.card.capabilities.extensions[0].required
        assert await code_of(faces, call("ListTasks", {})) == -32008
        answer = await faces.rpc(call("ListTasks", {}), {**ADA, "A2A-Extensions": f"a, {uri}"})
        assert "result" in answer.json()
        legacy = {"X-A2A-Extensions": uri, "x-user": "ada"}
        answer = await faces.rpc(call("tasks/get", {"id": "0"}), legacy)
        assert answer.json()["error"]["code"] == -32001


async def test_an_error_says_which_field_and_why(faces: Faces) -> None:
    """Source: A2A 1.0 §9.5: an ErrorInfo, and a BadRequest for fields."""
    params = sending()
    params["message"] = {**params["message"], "role": "ROLE_AGENT"}  # type: ignore[dict-item]
    error = (await faces.rpc(call("SendMessage", params))).json()["error"]
    info, bad = error["data"]
    assert (info["reason"], info["domain"]) == ("INVALID_PARAMS", "a2a-protocol.org")
    violation = {"field": "message.role", "description": "must be ROLE_USER"}
    assert bad["fieldViolations"] == [violation]


@pytest.mark.parametrize("path", ["rpc", "rest"])
async def test_an_internal_error_tells_its_id_and_nothing_else(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What went wrong is for the log, under that id (T20)."""
    store = FlakyStore()
    async with faced(travel, store=store) as faces:
        store.fail("commit", StoreError(CANARY))
        if path == "rpc":
            answer = await faces.rpc(call("SendMessage", sending()))
        else:
            answer = await faces.http.post("/a2a/message:send", json=sending(), headers=ADA)
        error = answer.json()["error"]
        assert error["code"] in (-32603, 500)
        assert CANARY not in answer.text
        (record,) = [r for r in caplog.records if r.name == "interlock.a2a"]
        assert record.getMessage() == error["message"]


async def test_no_body_and_no_credential_reaches_a_log(
    faces: Faces, caplog: pytest.LogCaptureFixture
) -> None:
    """Even at DEBUG, where the SDK logs whole bodies and contexts (T20, I38).  Source: R-A2A-17."""
    caplog.set_level(logging.DEBUG)
    headers = {**ADA, "Authorization": f"Bearer {CANARY}"}
    stream = call("SendStreamingMessage", sending(CANARY))
    assert (await faces.rpc(call("SendMessage", sending(CANARY)), headers)).status_code == 200
    assert (await faces.rpc({**stream, "id": 2}, headers)).status_code == 200
    legacy = {"Authorization": f"Bearer {CANARY}"}
    old = {"messageId": "o", "role": "user", "parts": [{"kind": "text", "text": CANARY}]}
    assert (await faces.rpc(call("message/send", {"message": old}), legacy)).status_code == 200
    assert CANARY not in caplog.text


async def test_the_card_can_be_kept_and_checked(faces: Faces) -> None:
    """Source: A2A 1.0 §8.6."""
    answer = await faces.http.get("/.well-known/agent-card.json")
    assert answer.headers["cache-control"] == "public, max-age=60"
    again = await faces.http.get(
        "/.well-known/agent-card.json", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    assert answer.json()["supportedInterfaces"][0]["url"] == f"{URL}/a2a/rpc"


async def test_the_routes_leave_room_for_those_after_them() -> None:
    """The SDK's route for tenants would answer for every path of two parts."""

    async def hello(_: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async with opened(travel) as world:
        app = Starlette(routes=[*a2a_routes(world.engine, SETTINGS), Route("/health/live", hello)])
        async with httpx.AsyncClient(transport=InProcess(app), base_url=URL) as http:
            assert (await http.get("/health/live")).text == "hello"


async def test_a_declared_tenant_is_a_label_and_opens_nothing() -> None:
    """Source: ours (T3): whose a task is comes from the credential alone."""
    settings = SETTINGS.model_copy(update={"tenants": frozenset({"acme"})})
    async with faced(travel, settings=settings) as faces:
        answer = await faces.rpc(call("SendMessage", {**sending(), "tenant": "acme"}))
        task_id = answer.json()["result"]["task"]["id"]
        bob = {**ADA, "x-user": "bob"}
        assert (
            await code_of(faces, call("GetTask", {"id": task_id, "tenant": "acme"}), bob) == -32001
        )
        assert await code_of(faces, call("GetTask", {"id": task_id, "tenant": "evil"})) == -32602
        path = f"/a2a/tasks/{task_id}"
        assert (await faces.http.get(f"/acme{path}", headers=ADA)).status_code == 200
        assert (await faces.http.get(f"/acme{path}", headers=bob)).status_code == 404
        assert (await faces.http.get(f"/evil{path}", headers=ADA)).status_code == 400


async def test_an_application_starts_and_drains_the_engine_it_owns() -> None:
    """With its lifespan; before and after it, calls are told to come later."""

    async def agent(_: TaskContext) -> str:
        return "done"

    engine = Engine(agent, store="memory:")
    app = a2a_app(engine, A2ASettings(name="Own", description="Starts its engine.", url=URL))
    async with httpx.AsyncClient(transport=InProcess(app), base_url=URL) as http:
        body = call("SendMessage", sending())

        async def sent() -> dict[str, Any]:
            answer: dict[str, Any] = (await http.post("/a2a/rpc", json=body, headers=ADA)).json()
            return answer

        async with app.router.lifespan_context(app):
            state = (await sent())["result"]["task"]["status"]["state"]
            assert state == TaskState.Name(TaskState.TASK_STATE_COMPLETED)
        error = (await sent())["error"]
        assert error["code"] == -32603
        assert error["data"][0]["metadata"] == {"code": "not_accepting", "retry_after_s": "5"}


async def test_an_agent_that_never_returns_is_stopped_and_the_client_told_why() -> None:
    """The blocking call returns when the deadline has passed and the turn has ended."""

    async def agent(_: TaskContext) -> None:
        await asyncio.Event().wait()

    async with faced(agent, limits=Limits(run_s=60)) as faces:
        sent = asyncio.create_task(faces.rpc(call("SendMessage", sending())))
        await faces.world.elapse(60)
        task = (await soon(sent)).json()["result"]["task"]
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    assert task["status"]["message"]["parts"] == [{"text": "The task ran for too long."}]
    assert task["metadata"] == {
        "interlock/seq": 4,
        "interlock/phase": "timed_out",
        "interlock/code": "run_deadline",
        "interlock/abandoned": False,
    }


async def test_a_result_that_is_no_json_fails_the_task() -> None:
    """The client learns the stable code, and that nothing of the value leaks (I38)."""

    async def agent(_: TaskContext) -> object:
        return {CANARY: {CANARY}}

    async with faced(agent) as faces:
        answer = await faces.rpc(call("SendMessage", sending()))
    task = answer.json()["result"]["task"]
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    assert task["metadata"]["interlock/code"] == "result_invalid"
    assert CANARY not in answer.text


async def test_an_agent_that_raises_fails_its_task_and_says_nothing_of_how() -> None:
    """A2A's own handler tells the client the text of the exception."""

    async def agent(_: TaskContext) -> None:
        raise ValueError(CANARY)

    async with faced(agent) as faces:
        answer = await faces.rpc(call("SendMessage", sending()))
    assert answer.json()["result"]["task"]["status"]["state"] == "TASK_STATE_FAILED"
    assert CANARY not in answer.text


async def test_a_stubborn_turn_leaves_the_task_cancelling() -> None:
    """CancelTask does not lie: it is cancelled when the turn has ended, and not before.

    Source: R-A2A-10.
    """
    held = asyncio.Event()

    async def agent(_: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await held.wait()
            raise

    settings = SETTINGS.model_copy(update={"cancel_wait_s": 0})
    async with faced(agent, settings=settings) as faces:
        ada = faces.peer("JSONRPC")
        at_once = SendMessageConfiguration(return_immediately=True)
        task = await ada.send(message("go", configuration=at_once))
        await pause()
        for _ in range(2):  # The second time changes nothing.
            task = await ada.cancel(task.id)
            assert task.status.state == TaskState.TASK_STATE_WORKING
            assert task.metadata["interlock/phase"] == "cancelling"
            assert texts_of(task.status.message.parts) == ["The task is being cancelled."]
        held.set()
        await pause()
        assert (await ada.get(task.id)).status.state == TaskState.TASK_STATE_CANCELED
