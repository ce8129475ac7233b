"""The MCP face over HTTP: who is let in, what headers must say, and what a stop leaves."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import httpx
import mcp_types as wire
import pytest
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.lowlevel.server import Server
from starlette.applications import Starlette
from starlette.middleware import Middleware

from interlock import (
    Agent,
    Engine,
    MemoryStore,
    Phase,
    SqliteStore,
    Store,
    TaskContext,
    TaskQuery,
    TaskRecord,
)
from interlock_adapters.auth import Authentication, TrustLocal
from interlock_adapters.mcp import McpAuth, McpSettings, McpTool, mcp_app, owner_by_token
from interlock_adapters.mcp._http import Trim, _Endpoint, _unless_gone
from interlock_adapters.mcp._settings import Request
from mcp_face import ERAS, Era, accept, connected, text
from mcp_servers import listening, serving
from support import FlakyStore, pause, soon, until

VERSION = "2026-07-28"


async def asks(task: TaskContext) -> str:
    """Ask who is there."""
    return f"hello {await task.ask('Who?', str, key='who')}"


class Verifier:
    """Knows two people."""

    async def verify_token(self, token: str) -> AccessToken | None:
        """Who has it."""
        if token not in {"ada", "eve"}:
            return None
        return AccessToken(
            token=token, client_id="host", scopes=[], subject=token, claims={"iss": "https://id"}
        )


AUTH = McpAuth(
    AuthSettings.model_validate(
        {
            "issuer_url": "https://id",
            "resource_server_url": "http://127.0.0.1:1/mcp",
            "validate_token_resource": False,
        }
    ),
    Verifier(),
)


def as_sent(
    method: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a request of the modern era, of who speaks of tasks."""
    meta: dict[str, Any] = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {
            "extensions": {"io.modelcontextprotocol/tasks": {}}
        },
    }
    body: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": method,
        "params": {**params, "_meta": {**meta, **params.get("_meta", {})}},
    }
    sent = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": VERSION,
        "mcp-method": method,
        **(headers or {}),
    }
    if method == "tools/call":
        sent.setdefault("mcp-name", str(params["name"]))
    return sent, json.dumps(body).encode()


#: What a client of streamable HTTP takes.
BOTH = {"accept": "application/json, text/event-stream"}


async def begun(url: str, who: str = "") -> httpx.Response:
    """A session of the handshake era is opened, or refused."""
    client = {"name": "raw", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    sent = {**BOTH, "authorization": f"Bearer {who}"} if who else BOTH
    async with httpx.AsyncClient(timeout=60) as http:
        return await http.post(url, json=body, headers=sent)


class Site:
    """An application on the loopback."""

    def __init__(self, engine: Engine, app: Starlette, url: str) -> None:
        self.engine = engine
        self.app = app
        self.url = url

    async def post(
        self, method: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One request of the modern era, as it is on the wire."""
        sent, body = as_sent(method, params, headers)
        async with httpx.AsyncClient(timeout=60) as http:
            return await http.post(self.url, content=body, headers=sent)


@asynccontextmanager
async def site(
    auth: McpAuth | None = None,
    *,
    agent: Agent = asks,
    store: Store | None = None,
    server: Server[Any] | None = None,
    **settings: Any,  # noqa: ANN401
) -> AsyncGenerator[Site]:
    """The face, served."""
    engine = Engine(agent, store=store or MemoryStore())
    app = mcp_app(engine, McpSettings(name="Tests", **settings), server=server, auth=auth)
    async with listening() as found, serving(app, found) as url:
        yield Site(engine, app, url)


@pytest.mark.parametrize("era", ERAS)
async def test_both_eras_are_served_on_one_url(era: Era) -> None:
    """A question and its answer, over HTTP."""
    async with (
        site() as here,
        connected(here.url, era, answers=[accept(value="Ada")]) as host,
    ):
        result = await soon(host.client.call_tool("agent", {"message": "hi"}))
    assert isinstance(result, wire.CallToolResult)
    assert text(result) == "hello Ada"


async def test_the_name_header_must_name_the_task_and_may_be_absent() -> None:
    """-32020 for another; SEP-2243."""
    async with site() as here:
        made = (
            await here.post("tools/call", {"name": "agent", "arguments": {"message": "x"}})
        ).json()
        task_id = made["result"]["taskId"]
        params = {"taskId": task_id}
        absent = await here.post("tasks/get", params)
        right = await here.post("tasks/get", params, {"mcp-name": task_id})
        wrong = await here.post("tasks/get", params, {"mcp-name": "another"})
    assert absent.json()["result"]["taskId"] == right.json()["result"]["taskId"] == task_id
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, wire.HEADER_MISMATCH)


async def only(here: Site) -> TaskRecord:
    """The one task."""
    (record,) = (await here.engine.page(TaskQuery())).records
    return record


async def test_who_hangs_up_before_the_handle_is_out_has_made_a_task_that_is_cancelled() -> None:
    """The connection was closed while the task was written down."""
    store, gone, sent = FlakyStore(), asyncio.Event(), list[Any]()
    engine = Engine(asks, store=store)
    app = mcp_app(engine, McpSettings(name="Tests"))
    headers, body = as_sent("tools/call", {"name": "agent", "arguments": {"message": "x"}})
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:  # noqa: ANN401
        if waiting:
            return waiting.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    async with app.router.lifespan_context(app):
        held = store.hold("commit, after")
        serving_it = asyncio.ensure_future(app(scope, receive, send))
        await held.reached()
        gone.set()
        await soon(serving_it)
        held.open()
        await until(lambda: engine.statistics().live > 0)
        (record,) = (await engine.page(TaskQuery())).records
        ended = await soon(engine.over(record.task_id, owner=None))
    assert (ended.record.shown, sent) == (Phase.CANCELLED, [])


async def test_a_call_with_a_handle_that_is_answered_is_nobodys_to_hang_up() -> None:
    """The connection is closed by the client after each request."""
    async with site() as here:
        call = {"name": "agent", "arguments": {"message": "x"}}
        assert (await here.post("tools/call", call)).json()["result"]["resultType"] == "task"
        await until(lambda: not here.engine.statistics().running)
        await pause(100)
        assert (await only(here)).phase is Phase.WAITING_INPUT


async def tells(task: TaskContext) -> str:
    """Say how it goes."""
    await task.progress("half way")
    return "done"


async def _foreign(context: Any, params: Any) -> wire.CallToolResult:  # noqa: ANN401
    await context.session.report_progress(0.5, message=f"half way with {params.name}")
    return wire.CallToolResult(content=[wire.TextContent(text="done")])


@pytest.mark.parametrize("tool", ["agent", "foreign"])
async def test_a_call_that_is_waited_for_tells_its_progress(tool: str) -> None:
    """Also to a client that speaks the Tasks extension, of a tool that gives no handles."""
    server: Server[Any] = Server("Theirs", on_call_tool=_foreign)
    never = McpTool(name="agent", description="Tells.", tasks="never")
    async with site(agent=tells, server=server, tools=(never,)) as here:
        call = {"name": tool, "arguments": {"message": "x"}, "_meta": {"progressToken": 1}}
        told = await here.post("tools/call", call)
    assert told.headers["content-type"].startswith("text/event-stream")
    assert "half way" in told.text
    assert "done" in told.text


async def test_a_call_that_goes_on_with_a_state_is_waited_for() -> None:
    """Its client speaks the Tasks extension now, and did not when it began."""
    plain: dict[str, Any] = {
        "_meta": {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    }
    call = {"name": "agent", "arguments": {"message": "x"}}
    async with site() as here:
        asked = (await here.post("tools/call", {**call, **plain})).json()["result"]
        (key,) = asked["inputRequests"]
        said = {key: {"action": "accept", "content": {"value": "Ada"}}}
        more = {"requestState": asked["requestState"], "inputResponses": said}
        ended = await here.post("tools/call", {**call, **more})
    assert ended.json()["result"]["content"][0]["text"] == "hello Ada"


async def test_blanks_around_the_value_of_a_header_are_none_of_it() -> None:
    """RFC 9110 §5.5: httptools leaves those behind it."""
    seen: list[list[tuple[bytes, bytes]]] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:  # noqa: ANN401
        seen.append(scope["headers"])

    async def nothing(*_: Any) -> Any:  # noqa: ANN401
        return None

    await Trim(app)({"type": "http", "headers": [(b"mcp-name", b" a b \t")]}, nothing, nothing)
    assert seen == [[(b"mcp-name", b"a b")]]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"content-type": "text/plain"}, 415),
    ],
)
async def test_strangers_are_kept_out(headers: dict[str, str], status: int) -> None:
    """Another name, another site, no JSON: nothing is looked at."""
    async with site() as here:
        answer = await here.post(
            "tools/call", {"name": "agent", "arguments": {"message": "x"}}, headers
        )
        tasks = await here.engine.page(TaskQuery())
    assert answer.status_code == status
    assert tasks.total == 0


@pytest.mark.parametrize(
    ("peer", "status"),
    [("192.0.2.7", 403), ("::ffff:192.0.2.7", 403), ("127.0.0.1", 406), ("::1", 406), (None, 406)],
)
async def test_without_authentication_only_this_machine_is_served(
    peer: str | None, status: int
) -> None:
    """406 is the SDK's: it came through.  Source: R-MCP-09."""
    app = mcp_app(Engine(asks, store="memory:"), McpSettings(name="Tests"))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "http_version": "1.1",
        "server": ("127.0.0.1", 80),
        "headers": [
            (b"content-type", b"application/json"),
            (b"mcp-protocol-version", b"2026-07-28"),
        ],
        "client": None if peer is None else (peer, 5),
        "state": {},
    }
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    assert sent[0]["status"] == status


async def test_one_caller_takes_up_a_part_of_the_sessions() -> None:
    """The SDK counts those of all, which one could take up for half an hour.  Source: T21."""
    async with site(AUTH, sessions_per_owner_max=2) as here, httpx.AsyncClient(timeout=60) as http:
        first, second, third = [await begun(here.url, "ada") for _ in range(3)]
        assert [each.status_code for each in (first, second, third)] == [200, 200, 429]
        assert "too many sessions" in third.json()["detail"]
        assert (await begun(here.url, "eve")).status_code == 200
        named = {**BOTH, "authorization": "Bearer ada"}
        named["mcp-session-id"] = first.headers["mcp-session-id"]
        assert (await http.delete(here.url, headers=named)).status_code == 200
        assert (await begun(here.url, "ada")).status_code == 200


async def test_where_nobody_is_asked_everybody_is_no_single_caller() -> None:
    """Else the sessions of all would be bounded as those of one.  Source: a review."""
    engine, by = Engine(asks, store="memory:"), TrustLocal()
    settings = McpSettings(name="Tests", sessions_per_owner_max=1, sessions_max=2)
    asked = [Middleware(Authentication, authenticator=by)]
    app = mcp_app(engine, settings, authenticator=by, middleware=asked)
    async with listening() as found, serving(app, found) as url:
        assert [(await begun(url)).status_code for _ in range(3)] == [200, 200, 503]


async def test_the_owner_is_the_tokens_subject_after_its_issuer() -> None:
    """And nobody is let in without a token.  Source: R-MCP-09."""
    async with site(AUTH) as here:
        call = {"name": "agent", "arguments": {"message": "x"}}
        nobody = await here.post("tools/call", call)
        made = await here.post("tools/call", call, {"authorization": "Bearer ada"})
        task_id = made.json()["result"]["taskId"]
        named = {"taskId": task_id}
        hers = await here.post("tasks/get", named, {"authorization": "Bearer ada"})
        eves = await here.post("tasks/get", named, {"authorization": "Bearer eve"})
        record = await here.engine.record(task_id, owner=None)
    assert nobody.status_code == 401
    assert record.owner == "https://id ada"
    assert hers.json()["result"]["taskId"] == task_id
    assert eves.json()["error"]["code"] == wire.INVALID_PARAMS


@pytest.mark.parametrize("task_id", ["\\ud800", "\\ud800.1"])
async def test_a_name_that_cannot_be_is_unknown(task_id: str, tmp_path: Path) -> None:
    """It is no fault of the store that half a character cannot be asked for."""
    engine = Engine(asks, store=SqliteStore(tmp_path / "tasks.db"))
    app = mcp_app(engine, McpSettings(name="Tests"))
    async with listening() as found, serving(app, found) as url:
        here = Site(engine, app, url)
        named = {"taskId": json.loads(f'"{task_id}"')}
        call = {"name": "agent", "arguments": {"message": "x"}}
        got = await here.post("tasks/get", named)
        gone_on = await here.post("tools/call", {**call, "requestState": named["taskId"]})
    assert got.json()["error"]["data"]["reason"] == "unknown_task"
    assert gone_on.json()["error"]["data"]["reason"] == "invalid_request_state"


@pytest.mark.parametrize(
    ("client", "subject", "claims", "owner"),
    [
        ("host", "ada", {}, "ada"),
        ("ada", None, {}, "client=ada"),
        ("host", "client=ada", {}, "client%3Dada"),
        ("host", "ada", {"iss": "https://id"}, "https://id ada"),
        ("ada", None, {"iss": "https://id"}, "https://id client=ada"),
        ("host", "https://id ada", {}, "https://id%20ada"),
        ("host", "b ada", {"iss": "a"}, "a b%20ada"),
        ("host", "ada", {"iss": "a b"}, "a%20b ada"),
        ("host", "a%20b", {}, "a%2520b"),
        ("host", "cn=ada,dc=x", {}, "cn=ada,dc=x"),
        ("host", "client=", {}, "client%3D"),
    ],
)
def test_no_two_principals_are_one_owner(
    client: str, subject: str | None, claims: dict[str, str], owner: str
) -> None:
    """Whoever may choose a client id, or a name at one issuer, chooses nobody else's tasks."""
    token = AccessToken(token=client, client_id=client, scopes=[], subject=subject, claims=claims)
    kept = auth_context_var.set(AuthenticatedUser(token))
    try:
        assert owner_by_token(cast("Request", None)) == owner
    finally:
        auth_context_var.reset(kept)


async def test_a_file_that_may_not_be_read_is_not_told() -> None:
    """Whoever names the owner may read one, and what goes wrong is for us."""

    def reads(_request: object) -> str:
        raise PermissionError(13, "Permission denied", "/etc/secret/key")

    async with site(owner_of=reads) as here:
        told = await here.post("tasks/get", {"taskId": "x"})
    assert told.json()["error"]["code"] == wire.INTERNAL_ERROR
    assert "secret" not in told.text


async def test_a_call_that_nothing_is_known_of_makes_no_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Arguments are in no log."""
    async with site() as here:
        await here.post("tools/call", {"name": "agent", "arguments": {"message": "swordfish"}})
        await here.post("tasks/get", {"taskId": "swordfish"})
    assert "swordfish" not in caplog.text
    json.dumps(caplog.messages)


async def test_a_servers_own_life_is_begun_and_ended_once() -> None:
    """Although some requests are served another way than others."""
    lives: list[str] = []

    @asynccontextmanager
    async def life(_server: Server[Any]) -> AsyncGenerator[dict[str, str]]:
        lives.append("begun")
        yield {"of": "its own"}
        lives.append("ended")

    app = mcp_app(
        Engine(asks, store="memory:"),
        McpSettings(name="Tests"),
        server=Server("own", lifespan=life),
    )
    async with listening() as found, serving(app, found) as url, connected(url, tasks=True) as host:
        task_id = await host.created("agent", {"message": "x"})
        await host.get(task_id)
        assert lives == ["begun"]
    assert lives == ["begun", "ended"]


@pytest.mark.parametrize(
    ("body", "changes", "more", "served"),
    [
        ({}, {}, False, "plain"),
        ({"requestState": "s"}, {}, False, "streaming"),
        ({"name": "foreign"}, {}, False, "streaming"),
        ({"arguments": {"message": "x" * 70_000}}, {}, False, "streaming"),
        ({}, {}, True, "streaming"),
        ({}, {"mcp-protocol-version": "2025-11-25"}, False, "streaming"),
        ({}, {"mcp-method": "tools/list"}, False, "streaming"),
        ({}, {"mcp-method": "tasks/get"}, False, "plain"),
    ],
)
async def test_what_is_over_at_once_prepares_no_stream(
    body: dict[str, Any], changes: dict[str, str], served: str, *, more: bool
) -> None:
    """And whoever serves it gets the request whole."""
    told: list[tuple[str, bytes]] = []

    def app(name: str) -> Any:  # noqa: ANN401
        async def serve(_scope: Any, receive: Any, _send: Any) -> None:  # noqa: ANN401
            told.append((name, (await receive())["body"]))

        return serve

    async def receive() -> Any:  # noqa: ANN401
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()
        return None

    endpoint = _Endpoint(
        app("streaming"), app("plain"), lambda name: name == "agent", lambda _: False
    )
    headers, content = as_sent("tools/call", {"name": "agent", "arguments": {}, **body}, changes)
    waiting = [{"type": "http.request", "body": content, "more_body": more}]
    found = [(name.encode(), value.encode()) for name, value in headers.items()]
    await endpoint({"type": "http", "method": "POST", "headers": found}, receive, nothing_sent)
    assert told == [(served, content)]


async def test_a_hang_up_leaves_no_cancellation_behind() -> None:
    """Also where whoever serves takes the cancellation for an answer."""
    hung_up = asyncio.Event()

    async def serves() -> None:
        hung_up.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def receive() -> Any:  # noqa: ANN401
        await hung_up.wait()
        return {"type": "http.disconnect"}

    await soon(_unless_gone(serves(), receive))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    ended = asyncio.ensure_future(_unless_gone(_silent(), _silent))
    await pause(1)
    ended.cancel()  # By somebody else, who is told.
    with pytest.raises(asyncio.CancelledError):
        await ended


async def nothing_sent(message: Any) -> None:  # noqa: ANN401
    """Whoever serves sends nothing."""
    raise AssertionError(message)


async def _silent() -> Any:  # noqa: ANN401
    await asyncio.Event().wait()
