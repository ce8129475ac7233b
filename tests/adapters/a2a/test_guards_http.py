"""What stands in front of the HTTP faces, and what they say of a request that is wrong."""

import json
import logging
from collections.abc import AsyncGenerator
from typing import Any, Final, cast

import httpx
import pytest
from starlette.authentication import BaseUser
from starlette.middleware import Middleware

from a2a_faces import SETTINGS, URL, Faces, InProcess, faced, travel
from interlock import Engine
from interlock_adapters._http.asgi import App, Receive, Scope, Send
from interlock_adapters.a2a import A2ASettings, a2a_app
from interlock_adapters.mcp import McpSettings

CANARY: Final = "sk-canary-7f3a"
CARD: Final = "/.well-known/agent-card.json"
CURRENT: Final = {"A2A-Version": "1.0", "x-user": "ada"}
LEGACY: Final = {"A2A-Version": "0.3", "x-user": "ada"}
JSON: Final = {"Content-Type": "application/json"}
LIST: Final = b'{"jsonrpc":"2.0","id":1,"method":"ListTasks","params":{}}'


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The travel agent."""
    async with faced(travel) as opened:
        yield opened


def rpc(method: str, params: object) -> Any:  # noqa: ANN401  JSON
    """A JSON-RPC call."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def current(*parts: object, **more: object) -> Any:  # noqa: ANN401  JSON
    """The parameters of a SendMessage."""
    return {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [*parts], **more}}


def legacy(*parts: object, **more: object) -> Any:  # noqa: ANN401  JSON
    """The parameters of a message/send."""
    message = {"kind": "message", "messageId": "m", "role": "user", "parts": [*parts], **more}
    return {"message": message}


# --- who is elsewhere ---------------------------------------------------------------------


class _Known(BaseUser):
    """Whom an application knows."""

    @property
    def is_authenticated(self) -> bool:
        """He is."""
        return True

    @property
    def display_name(self) -> str:
        """His name."""
        return "ada"


class _Knows:
    """Stands for what an application asks callers by."""

    def __init__(self, app: App) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everybody is Ada."""
        await self._app({**scope, "user": _Known()}, receive, send)


@pytest.mark.parametrize("path", [CARD, "/a2a/rpc", "/a2a/tasks", "/a2a/v1/tasks/x"])
async def test_without_authentication_this_machine_alone_is_served(path: str) -> None:
    """Nobody is asked who he is, and everybody is `anonymous`, who may approve (T2)."""
    engine = Engine(travel, store="memory:")
    app = a2a_app(engine, SETTINGS, owns_engine=False)
    known = a2a_app(engine, SETTINGS, owns_engine=False, middleware=[Middleware(_Knows)])
    codes: list[int] = []
    async with engine:
        for served, client in ((app, "127.0.0.1"), (app, "203.0.113.9"), (known, "203.0.113.9")):
            transport = httpx.ASGITransport(cast("Any", served), client=(client, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                headers = {"A2A-Version": "0.3"} if "/v1/" in path else {"A2A-Version": "1.0"}
                if path == "/a2a/rpc":
                    answer = await http.post(path, content=LIST, headers={**headers, **JSON})
                else:
                    answer = await http.get(path, headers=headers)
                codes.append(answer.status_code)
                if answer.status_code == 403:
                    assert "only this machine is served" in answer.json()["detail"]
    assert codes[1] == 403
    assert codes[0] == codes[2] != 403


# --- how many values ----------------------------------------------------------------------

MANY: Final = SETTINGS.body_values_max
CROWDS: Final[dict[str, object]] = {
    "numbers": {"data": {"list": [0] * MANY}},
    "names": {"data": {str(number): 0 for number in range(MANY)}},
    "lists": {"data": {"list": [[]] * MANY}},
}


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize("path", ["/a2a/rpc", "/a2a/message:send", "/a2a/v1/message:send"])
async def test_a_body_of_too_many_values_is_refused(faces: Faces, path: str, crowd: str) -> None:
    """Before it is parsed: it would keep everybody waiting.  Source: INVARIANTS T22."""
    body = current(CROWDS[crowd])
    sent = rpc("SendMessage", body) if path == "/a2a/rpc" else body
    answer = await faces.http.post(path, json=sent, headers=CURRENT)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert str(MANY) in answer.json()["detail"]


async def test_a_long_text_has_few_values(faces: Faces) -> None:
    """Commas and brackets in a text are the text's."""
    body = rpc("SendMessage", current({"text": 'so, then [{"' * MANY}))
    answer = await faces.http.post("/a2a/rpc", json=body, headers=CURRENT)
    assert answer.json()["result"]["task"]


# --- errors do not quote ------------------------------------------------------------------

TEXT: Final = {"kind": "text", "text": "x"}
SPOILT_LEGACY: Final[dict[str, object]] = {
    "a part of no kind": rpc("message/send", legacy({"kind": CANARY, "text": CANARY})),
    "a text that is none": rpc("message/send", legacy({"kind": "text", "text": [CANARY]})),
    "no message": rpc("message/send", {"message": CANARY}),
    "a wrong role": rpc("message/send", legacy(TEXT, role=CANARY)),
    "metadata that are none": rpc("message/send", legacy(TEXT, metadata=[CANARY])),
    "half a character": rpc("message/send", legacy({"kind": "text", "text": CANARY + "\ud800"})),
    "a file that is none": rpc(
        "message/send", legacy({"kind": "file", "file": {"bytes": CANARY + "!", "name": CANARY}})
    ),
    "a length beyond protobuf": rpc("tasks/get", {"id": CANARY, "historyLength": 10**12}),
    "an id that is none": rpc("tasks/get", {"id": {CANARY: CANARY}}),
    "no such method": rpc(CANARY, {"id": CANARY}),
    "a method of 1.0": rpc("GetTask", {"id": CANARY}),
    "a stream": rpc("message/stream", legacy({"kind": CANARY})),
    "a stream that cannot be converted": rpc(
        "message/stream", legacy({"kind": "text", "text": CANARY + "\ud800"})
    ),
    "a webhook": rpc(
        "tasks/pushNotificationConfig/set", {"taskId": "t", "pushNotificationConfig": CANARY}
    ),
}
SPOILT: Final[dict[str, object]] = {
    "a text that is none": current({"text": [CANARY]}),
    "bytes that are none": current({"raw": CANARY + "!"}),
    "a wrong role": current({"text": "x"}, role={CANARY: CANARY}),
    "metadata that are none": current({"text": "x"}, metadata=CANARY),
    "parts that are none": {"message": {"parts": CANARY}},
    "a message that is none": {"message": CANARY},
    "half a character": current({"text": CANARY + "\ud800"}),
    "two contents": current({"text": "x", "url": CANARY}),
    "a length that is none": {**current({"text": "x"}), "configuration": {"historyLength": CANARY}},
    "a mode that is none": {
        **current({"text": "x"}),
        "configuration": {"acceptedOutputModes": [[CANARY]]},
    },
}


#: In version 0.3, where protobuf sees names that it does not know, and ignores them.
HARMLESS: Final = {"a wrong role", "two contents", "a message that is none"}


def check_quiet(answer: httpx.Response, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the answer nor any log has a value of the request."""
    assert CANARY not in answer.text
    # The client's own log names what it asked for.
    records = [record for record in caplog.records if record.name != "httpx"]
    formatter = logging.Formatter()
    assert not [r for r in records if CANARY in formatter.format(r) + repr(r.__dict__)]


@pytest.mark.parametrize("case", SPOILT_LEGACY)
async def test_version_0_3_does_not_quote_a_wrong_request(
    faces: Faces, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """A secret in the wrong place stays with its client.  Source: INVARIANTS T20."""
    with caplog.at_level(logging.DEBUG):
        body = json.dumps(SPOILT_LEGACY[case])
        answer = await faces.http.post("/a2a/rpc", content=body, headers=LEGACY | JSON)
    assert answer.status_code == 200
    assert "error" in answer.text
    assert "-32603" not in answer.text
    check_quiet(answer, caplog)


@pytest.mark.parametrize("case", SPOILT)
async def test_json_rpc_does_not_quote_a_wrong_request(
    faces: Faces, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """As above.  Source: INVARIANTS T20, R-A2A-17."""
    for method in ("SendMessage", "SendStreamingMessage"):
        with caplog.at_level(logging.DEBUG):
            body = json.dumps(rpc(method, SPOILT[case]))
            answer = await faces.http.post("/a2a/rpc", content=body, headers=CURRENT | JSON)
        assert answer.json()["error"]["code"] == -32602
        check_quiet(answer, caplog)


@pytest.mark.parametrize("case", SPOILT)
@pytest.mark.parametrize("way", ["send", "stream"])
async def test_rest_does_not_quote_a_wrong_request(
    faces: Faces, caplog: pytest.LogCaptureFixture, way: str, case: str
) -> None:
    """In either version, and with the code of a bad request.  Source: INVARIANTS T20."""
    changed = (
        json.dumps(SPOILT[case]).replace('{"message"', '{"request"').replace("parts", "content")
    )
    calls = [(f"/a2a/message:{way}", CURRENT, json.dumps(SPOILT[case]))]
    if case not in HARMLESS:
        calls.append((f"/a2a/v1/message:{way}", LEGACY, changed))
    for path, headers, body in calls:
        with caplog.at_level(logging.DEBUG):
            answer = await faces.http.post(path, content=body, headers=headers | JSON)
        check_quiet(answer, caplog)
        assert answer.status_code == 400


@pytest.mark.parametrize("way", ["send", "stream"])
async def test_a_media_type_or_a_version_is_not_quoted_back(
    faces: Faces, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """Both are the client's, and of any length.  Source: T20; a stranger's review."""
    body = json.dumps(current({"text": "x", "mediaType": CANARY}))
    wrong = f"1.1{CANARY}"
    method = {"send": "SendMessage", "stream": "SendStreamingMessage"}[way]
    call = json.dumps(rpc(method, json.loads(body)))
    with caplog.at_level(logging.DEBUG):
        answers = [
            await faces.http.post(path, content=content, headers={**JSON, **CURRENT, **headers})
            for path, content in ((f"/a2a/message:{way}", body), ("/a2a/rpc", call))
            for headers in ({}, {"A2A-Version": wrong})
        ]
    for answer in answers:
        assert "accept" in answer.text or "not spoken here" in answer.text
        check_quiet(answer, caplog)


@pytest.mark.parametrize("way", ["send", "stream"])
async def test_rest_refuses_a_name_that_is_there_twice_in_our_words(
    faces: Faces, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """The dispatcher would, in its own.  Source: R-A2A-17; a stranger's review."""
    said = '{"message":{"messageId":"a","messageId":"b","role":"ROLE_USER","parts":[{"text":"x"}]}}'
    with caplog.at_level(logging.WARNING):
        answer = await faces.http.post(f"/a2a/message:{way}", content=said, headers=CURRENT | JSON)
    assert answer.status_code == 400
    assert "messageId" not in answer.text + caplog.text


@pytest.mark.parametrize("parent", [None, "", CANARY, f"{CANARY}/tasks/t", "tasks/"])
async def test_a_webhook_of_no_task_is_a_bad_request(
    faces: Faces, caplog: pytest.LogCaptureFixture, parent: str | None
) -> None:
    """Over REST of version 0.3, whose bodies name it once more.  Source: INVARIANTS T20."""
    said = {"configId": "hook", "config": {"pushNotificationConfig": {"url": "https://a.test"}}}
    body = json.dumps(said if parent is None else {**said, "parent": parent})
    path = "/a2a/v1/tasks/t/pushNotificationConfigs"
    with caplog.at_level(logging.DEBUG):
        answer = await faces.http.post(path, content=body, headers=LEGACY | JSON)
    assert answer.status_code == 400
    assert "tasks/ID is accepted" in answer.text
    check_quiet(answer, caplog)


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/a2a/tasks", CURRENT), ("/a2a/tasks/t", CURRENT), ("/a2a/v1/tasks/t", LEGACY)],
)
async def test_rest_does_not_quote_a_wrong_query(
    faces: Faces, caplog: pytest.LogCaptureFixture, path: str, headers: dict[str, str]
) -> None:
    """Source: INVARIANTS T20."""
    with caplog.at_level(logging.DEBUG):
        answer = await faces.http.get(f"{path}?historyLength={CANARY}", headers=headers)
    assert answer.status_code == 400
    check_quiet(answer, caplog)


@pytest.mark.parametrize("body", ['{"sk": 1, "sk": 2}'.replace("sk", CANARY), f'{{"{CANARY}'])
async def test_rest_does_not_quote_what_is_not_json(
    faces: Faces, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    """Nor a name that is there twice.  Source: INVARIANTS T20."""
    for path, headers in (("/a2a/message:send", CURRENT), ("/a2a/v1/message:send", LEGACY)):
        with caplog.at_level(logging.DEBUG):
            answer = await faces.http.post(path, content=body, headers=headers | JSON)
        assert answer.status_code == 400
        check_quiet(answer, caplog)


async def test_a_wrong_request_of_version_0_3_is_told_where(faces: Faces) -> None:
    """Places and reasons, without values.  Source: INVARIANTS T20."""
    body = rpc("message/send", legacy({"kind": "text", "text": 7}))
    answer = (await faces.http.post("/a2a/rpc", json=body, headers=LEGACY)).json()
    assert answer["error"]["code"] == -32602
    assert (
        "params.message.parts.0.TextPart.text: Input should be a valid string"
        in (answer["error"]["data"]["faults"])
    )


async def test_a_wrong_request_is_told_where(faces: Faces) -> None:
    """The fields on the way to the fault, without its value.  Source: INVARIANTS T20."""
    sent = current({"text": ["x"]})
    answer = await faces.http.post("/a2a/rpc", json=rpc("SendMessage", sent), headers=CURRENT)
    assert answer.json()["error"]["message"] == "message.parts.text cannot be read"
    answer = await faces.http.post("/a2a/message:send", json=sent, headers=CURRENT)
    assert answer.json()["error"]["message"] == "message.parts.text cannot be read"


# --- who may call -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/a2a/rpc", "/a2a/message:send", "/a2a/v1/message:send"])
@pytest.mark.parametrize(
    "media_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
async def test_a_body_of_another_media_type_is_refused(
    faces: Faces, path: str, media_type: str | None
) -> None:
    """A page of any site can send those without asking.  Source: ours, against CSRF."""
    headers = CURRENT if media_type is None else CURRENT | {"Content-Type": media_type}
    answer = await faces.http.post(path, content=LIST, headers=headers)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "application/a2a+json", "Application/JSON; charset=utf-8"],
)
async def test_a_body_of_json_is_read(faces: Faces, media_type: str) -> None:
    """By whatever name."""
    headers = CURRENT | {"Content-Type": media_type}
    answer = await faces.http.post("/a2a/rpc", content=LIST, headers=headers)
    assert answer.json()["result"]["tasks"] == []


async def test_a_request_without_a_body_has_no_media_type(faces: Faces) -> None:
    """Over REST a cancel may say all in its path."""
    answer = await faces.http.post("/a2a/tasks/unknown:cancel", headers=CURRENT)
    assert answer.status_code == 404


@pytest.mark.parametrize("path", [CARD, "/a2a/rpc", "/a2a/tasks"])
@pytest.mark.parametrize("host", ["evil.test", "agent.test.evil.test", "localhost@evil.test", ""])
async def test_a_host_that_we_are_not_is_refused(faces: Faces, path: str, host: str) -> None:
    """A name that was made to point here makes any site ours.

    Source: ours, DNS rebinding, R-A2A-16, T16.
    """
    method = "POST" if path == "/a2a/rpc" else "GET"
    answer = await faces.http.request(method, path, headers=CURRENT | {"Host": host})
    assert answer.status_code == 421
    assert "agent.test" not in answer.text


@pytest.mark.parametrize(
    "host", ["agent.test", "AGENT.test:81", "localhost:8000", "127.0.0.1", "[::1]:8000"]
)
async def test_our_own_names_are_ours_at_any_port(faces: Faces, host: str) -> None:
    """That of the URL, and the machine's own."""
    assert (await faces.http.get(CARD, headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://agent.test:81", "http://"])
async def test_a_page_of_another_site_is_refused(faces: Faces, origin: str) -> None:
    """Also of another port: what runs there is somebody else's.

    Source: ours, against CSRF, R-A2A-16.
    """
    answer = await faces.http.post(
        "/a2a/rpc", content=LIST, headers=CURRENT | JSON | {"Origin": origin}
    )
    assert answer.status_code == 403
    assert "allowed_origins" in answer.json()["detail"]


async def test_a_page_of_our_own_may_call(faces: Faces) -> None:
    """That of the URL of the settings, and that of the host that is called."""
    for host, origin in (("agent.test", URL), ("localhost:8000", "http://localhost:8000")):
        headers = CURRENT | JSON | {"Host": host, "Origin": origin}
        answer = await faces.http.post("/a2a/rpc", content=LIST, headers=headers)
        assert answer.status_code == 200


@pytest.mark.parametrize("host", ["other.test", "[fd00::7]"])
async def test_a_deployment_names_more_hosts_and_origins(faces: Faces, host: str) -> None:
    """Or any host, where somebody else checks it."""
    for allowed in ((host,), ("*",)):
        settings = SETTINGS.model_copy(
            update={"allowed_hosts": allowed, "allowed_origins": ("https://app.test",)}
        )
        app = a2a_app(faces.world.engine, settings, owns_engine=False)
        async with httpx.AsyncClient(transport=InProcess(app), base_url=URL) as http:
            headers = {"Host": f"{host}:81", "Origin": "https://app.test"}
            assert (await http.get(CARD, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"allowed_hosts": ("http://a.test",)},
        {"allowed_hosts": ("a.test:8000",)},
        {"allowed_origins": ("a.test",)},
        {"allowed_origins": ("https://a.test/",)},
    ],
)
def test_a_host_is_a_name_and_an_origin_has_a_scheme(wrong: dict[str, Any]) -> None:
    """A mistake is found at the start, not by the first client, whichever face it is."""
    with pytest.raises(ValueError, match="is accepted"):
        A2ASettings(name="a", description="b", **wrong)
    with pytest.raises(ValueError, match="is accepted"):
        McpSettings(name="a", **wrong)
