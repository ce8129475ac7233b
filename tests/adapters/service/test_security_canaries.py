"""Secrets of a whole service, put wherever a secret can be, and looked for wherever one could end.

R-SVC-99: a canary in any secret place is seen nowhere.  Threats: T14 (headers that are passed on),
T17 (management), T20 (I38: logs at DEBUG, events, errors, spans, metrics, pages, descriptions).
"""

import asyncio
import base64
import json
import logging
import sqlite3
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import grpc.aio
import httpx
import pytest
import uvicorn
from a2a.types import a2a_pb2, a2a_pb2_grpc
from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from guarded import PEOPLE, Answer, Site, free_port, served
from identities import AUDIENCE, ISSUER, KEYS, token
from interlock.errors import InvalidInput
from interlock.testing import ModelTurn
from interlock_adapters.auth import hashed
from interlock_adapters.config import load_config
from interlock_adapters.logs import JsonFormatter
from interlock_adapters.server import Patience, config_of
from interlock_adapters.service import Service
from mcp_servers import listening, serving
from mcp_servers import served as mcp_served
from openai_server import Broken
from openai_server import served as model_served
from smol import answer
from support import soon, until

#: By the place that each is put in.  Those of people are what they show.
CANARIES: Final = {
    name: f"canary-{number}-{name.replace('_', '-')}-7f3a9"
    for number, name in enumerate(
        (
            "model_key",
            "mcp_header",
            "mcp_header_written",
            "mcp_query",
            "command_env",
            "command_argument",
            "passed_on",
            "not_passed_on",
            "push_token",
            "push_credentials",
            "wrong_token",
            "query_token",
            "cookie",
        )
    )
}
_SIGNING: Final = base64.b64encode(b"canary-signing-key-of-push-7f3a9").decode()
_JWT: Final = token(org="acme", roles=["operator"], jti="canary-jti-7f3a9")
_EXPIRED: Final = token(org="acme", exp=1, jti="canary-jti-expired-7f3a9")

_STDIO: Final = Path(__file__).parents[1] / "mcp_tools" / "stdio_server.py"


@dataclass
class Outside:
    """What the service talks to, and what each was shown."""

    tools: MCPServer = field(default_factory=lambda: MCPServer("shop", log_level="CRITICAL"))
    seen: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    hooked: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def __post_init__(self) -> None:
        """Offer the tools."""
        self.tools.add_tool(self.look)
        self.tools.add_tool(self.repeat)

    async def look(self, ctx: Context) -> str:
        """Look at who calls."""
        self.seen.append(_headers_of(ctx))
        return "noted"

    async def repeat(self, ctx: Context) -> str:
        """Repeat what was confided, in an error."""
        raise MCPError(code=-32600, message=f"no: {_headers_of(ctx)}")

    async def hook(self, request: Request) -> Response:
        """Take a push notification; the first time, badly, with its credentials in the answer."""
        self.hooked.append(dict(request.headers))
        first = len(self.hooked) == 1
        return Response(str(dict(request.headers)), 500 if first else 204)


def _headers_of(ctx: Context) -> dict[str, str]:
    request = ctx.request_context.request
    assert isinstance(request, Request)
    return dict(request.headers)


def _yaml(model: str, tools: str, grpc_port: int) -> str:
    """A file with a secret in every place that takes one."""
    return f"""
name: Travel
agent:
  model: {{id: scripted, api_base: {model}, api_key_env: MODEL_KEY}}
  instructions: Be brief.
mcp:
  shop:
    url: {tools}?key={CANARIES["mcp_query"]}
    headers: {{x-service: "${{SERVICE_KEY}}", x-written: {CANARIES["mcp_header_written"]}}}
    pass_through: [x-user-key]
  pipe:
    command: [{sys.executable}, {_STDIO}, notes.txt, {CANARIES["command_argument"]}]
    env: {{TOOL_KEY: "${{TOOL_KEY}}"}}
store: sqlite:///tasks.db
auth:
  tokens:
    - {{hash: "{hashed(PEOPLE["owner"])}", subject: ada, tenant: acme}}
    - {{hash: "{hashed(PEOPLE["staff"])}", subject: root, roles: [approver, operator, auditor]}}
  jwt:
    - {{issuer: "{ISSUER}", audience: [{AUDIENCE}], keys: {json.dumps(KEYS)}, tenant_claim: org}}
faces:
  a2a:
    grpc: {{port: {grpc_port}}}
    push: {{allow_http: true, allow_private_targets: true, signing_keys: [{_SIGNING}]}}
telemetry: {{on: true, prometheus: true, langfuse: true, content: true}}
log: {{level: debug, json: true}}
limits: {{park_after_s: 0}}
"""


_ENVIRON: Final = {
    "MODEL_KEY": CANARIES["model_key"],
    "SERVICE_KEY": CANARIES["mcp_header"],
    "TOOL_KEY": CANARIES["command_env"],
}


# --- what could hold one ---------------------------------------------------------------------


@dataclass
class Telling:
    """What OpenTelemetry's SDK was told."""

    spans: InMemorySpanExporter
    reader: InMemoryMetricReader

    def text(self) -> str:
        """All of it."""
        data = self.reader.get_metrics_data()
        told = [_told(span) for span in self.spans.get_finished_spans()]
        return "\n".join([*told, "" if data is None else data.to_json()])


def _told(span: ReadableSpan) -> str:
    """A span; of those that the SDK of MCP makes itself, not the words of a server's error.

    A server that repeats there what it was confided has them in that span: see docs/security.md.
    """
    told: dict[str, Any] = json.loads(span.to_json())
    if (
        span.instrumentation_scope is not None
        and span.instrumentation_scope.name == "mcp-python-sdk"
    ):
        told["status"].pop("description", None)
    return json.dumps(told)


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> Telling:
    """The process's own providers, for as long as the test lasts."""
    told = Telling(InMemorySpanExporter(), InMemoryMetricReader())
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(told.spans))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracers)
    monkeypatch.setattr(
        "opentelemetry.metrics._internal._METER_PROVIDER", MeterProvider([told.reader])
    )
    return told


class Lines(logging.Handler):
    """Whatever anybody logs, at its most talkative, in every way that it can be written down."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[tuple[str, str]] = []
        self._plain = logging.Formatter("%(name)s %(message)s")
        self._json = JsonFormatter(content=True)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        ways = (self._plain.format(record), self._json.format(record), repr(record.__dict__))
        self.lines.append((record.name, "\n".join(ways)))


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Every logger's, whatever level it has been given so far."""
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


def written(secret: str) -> set[str]:
    """A secret in the ways in which it may be written."""
    raw = secret.encode()
    return {secret, quote(secret, safe=""), base64.b64encode(raw).decode().rstrip("="), raw.hex()}


def found_in(text: str, secrets: dict[str, str]) -> list[str]:
    """Which of the secrets are in a text."""
    return [name for name, secret in secrets.items() if any(w in text for w in written(secret))]


# --- the service, used in every way ------------------------------------------------------------


@dataclass
class Scene:
    """A service with secrets, and what it answered."""

    site: Site
    outside: Outside
    base: Path
    grpc_port: int
    hook_url: str
    answers: list[tuple[str, Answer]] = field(default_factory=list[tuple[str, Answer]])

    async def ask(self, who: str, method: str, path: str, **more: Any) -> Answer:  # noqa: ANN401  of a request
        """Ask for something, and keep the answer."""
        answer = await self.site.send(who, method, path, **more)
        self.answers.append((f"{method} {path}", answer))
        return answer

    async def rpc(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call A2A in the owner's name, with headers that are passed on and that are not."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        own = {
            "a2a-version": "1.0",
            "x-user-key": CANARIES["passed_on"],
            "x-other-key": CANARIES["not_passed_on"],
            "cookie": f"session={CANARIES['cookie']}",
        }
        said = await self.ask("owner", "POST", "/a2a/rpc", json_body=body, headers=own)
        told: dict[str, Any] = json.loads(said.body)
        return told


@asynccontextmanager
async def scene(tmp_path: Path, *script: Any) -> AsyncGenerator[Scene]:  # noqa: ANN401  of a model
    """It, with a model, a server of tools and a receiver of notifications, all on this machine."""
    async with AsyncExitStack() as stack:
        outside = Outside()
        model = stack.enter_context(model_served(*script))
        tools = await stack.enter_async_context(mcp_served(outside.tools))
        hooks = Starlette(routes=[Route("/mcp", outside.hook, methods=["POST"])])
        listens = await stack.enter_async_context(listening())
        hook_url = await stack.enter_async_context(serving(hooks, listens))
        port = free_port()
        path = tmp_path / "app.yaml"
        path.write_text(_yaml(model.url, tools, port), encoding="utf-8")
        site = await stack.enter_async_context(served(load_config(path, environ=_ENVIRON)))
        yield Scene(site, outside, tmp_path, port, hook_url)
        assert {f"Bearer {CANARIES['model_key']}"} == {*model.keys}


def _message(text: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    said = {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}]}
    return {"message": said, **more}


async def _worked(here: Scene) -> None:
    """Tasks that come to everything that a task can, with secrets in all that is about them."""
    hook = {
        "id": "hook",
        "url": here.hook_url,
        "token": CANARIES["push_token"],
        "authentication": {"scheme": "Bearer", "credentials": CANARIES["push_credentials"]},
    }
    sent = _message("go", configuration={"taskPushNotificationConfig": hook})
    told = await here.rpc("SendMessage", sent)
    task_id = told["result"]["task"]["id"]
    assert told["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED", told
    await until(lambda: len(here.outside.hooked) > 1)
    for method, params in (
        ("GetTask", {"id": task_id}),
        ("ListTasks", {}),
        ("ListTaskPushNotificationConfigs", {"taskId": task_id}),
        ("GetTaskPushNotificationConfig", {"taskId": task_id, "id": "hook"}),
        ("GetTask", {"id": "0" * 32}),
    ):
        await here.rpc(method, params)
    failed = await here.rpc("SendMessage", _message("fail"))
    assert failed["result"]["task"]["status"]["state"] == "TASK_STATE_FAILED"
    for path in ("", "/events", "/events/stream", "/diagram.svg"):
        for one in (task_id, failed["result"]["task"]["id"]):
            await here.ask("staff", "GET", f"/manage/tasks/{one}{path}")


async def _looked(here: Scene) -> None:
    """Whatever describes or lists something, to who may see all of it."""
    for path in (
        *("config", "sources", "policies", "instructions", "statistics", "tasks", "inbox"),
        *("openapi.json", "diagrams/population.svg", "tasks?search=canary", "nothing"),
    ):
        await here.ask("staff", "GET", f"/manage/{path}")
    for path in ("/.well-known/agent-card.json", "/metrics", "/a2a/extendedAgentCard", "/healthz"):
        await here.ask("staff", "GET", path, headers={"a2a-version": "1.0"})
    for method in ("tools/list", "server/discover"):
        here.answers.append((method, await here.site.mcp("owner", method, {})))
    here.answers.append(("task", await here.site.mcp_handshake("owner", "tools/list", {})))
    listed = json.loads((await here.ask("staff", "GET", "/manage/tasks")).body)["tasks"]
    pages = ["inbox", "tasks", "policies", "lifecycle", *(f"tasks/{t['task_id']}" for t in listed)]
    for page in (*pages, "inbox/live", "tasks/nothing", "sign-in"):
        here.answers.append((page, await here.site.page("staff", f"/console/{page}")))
    assert {answer.status for name, answer in here.answers if name in pages} == {200}


async def _refused(here: Scene) -> None:
    """Credentials that are no good, in every way in which one is shown."""
    wrong = CANARIES["wrong_token"]
    for shown in (f"Bearer {wrong}", f"Basic {wrong}", wrong, f"Bearer {_EXPIRED}"):
        for path in ("/manage/tasks", "/a2a/rpc", "/mcp", "/console/inbox"):
            method = "POST" if path in {"/a2a/rpc", "/mcp"} else "GET"
            own = {"authorization": shown, "content-type": "application/json"}
            answer = await here.ask("nobody", method, path, headers=own)
            assert answer.status == httpx.codes.UNAUTHORIZED, (path, answer)
    asked = f"/manage/tasks?access_token={CANARIES['query_token']}"
    assert (await here.ask("nobody", "GET", asked)).status == httpx.codes.UNAUTHORIZED
    here.answers.append(("cookie", await here.site.page("nobody", "/console/inbox")))
    port = here.site.http.base_url.port
    own = {"cookie": f"interlock_session_{port}={CANARIES['cookie']}", "accept": "text/html"}
    await here.ask("nobody", "GET", "/console/inbox", headers=own)
    jwt = {"authorization": f"Bearer {_JWT}"}
    assert (await here.ask("nobody", "GET", "/manage/tasks", headers=jwt)).status == httpx.codes.OK
    async with grpc.aio.insecure_channel(f"127.0.0.1:{here.grpc_port}") as channel:
        stub: Any = a2a_pb2_grpc.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        for shown in (wrong, PEOPLE["owner"]):
            said = (
                ("a2a-version", "1.0"),
                ("authorization", f"Bearer {shown}"),
                ("x-user-key", CANARIES["passed_on"]),
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetTask(a2a_pb2.GetTaskRequest(id="0" * 32), metadata=said)
            words = f"{caught.value.details()} {caught.value.trailing_metadata()}"
            here.answers.append(("grpc", Answer(0, {}, words)))


def _tables(path: Path, *but: str) -> str:
    """What the tables of a store hold, but for some."""
    with closing(sqlite3.connect(path)) as store:
        names = [
            name for (name,) in store.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return repr([store.execute(f"SELECT * FROM {n}").fetchall() for n in names if n not in but])  # noqa: S608  ours


#: What the model of a task says: it looks, has what it confided repeated, and is done.
_SCRIPT: Final = (
    ModelTurn.calling("look"),
    ModelTurn.calling("repeat"),
    answer("done"),
    *([Broken(401, f'{{"error": {{"message": "bad key {CANARIES["model_key"]}"}}}}')] * 3),
)


async def test_a_canary_in_any_secret_place_is_seen_nowhere(
    tmp_path: Path, lines: Lines, telling: Telling
) -> None:
    """R-SVC-99, T14, T17, T20."""
    async with scene(tmp_path, *_SCRIPT) as here:
        await _worked(here)
        await _refused(here)
        await _looked(here)
        service, answers = here.site.service, here.answers
        cookie, csrf = here.site.cookies["staff"]
        secrets = {
            **CANARIES,
            "signing key": _SIGNING,
            "hash": hashed(PEOPLE["owner"]).removeprefix("sha256:"),
            "token": PEOPLE["owner"],
            "token of staff": PEOPLE["staff"],
            "jwt": _JWT.rpartition(".")[2],
            "expired jwt": _EXPIRED.rpartition(".")[2],
            "console's cookie": cookie.partition("=")[2],
        }
        printed = (
            f"{service.config!r} {service.config} {service.engine!r} {service.authenticator!r}"
        )
        assert found_in(f"{printed} {service.config.shown()}", secrets) == []
        store = (tmp_path / "tasks.db").read_bytes() + (tmp_path / "tasks.db-wal").read_bytes()
    # They were there to be seen.
    (seen,) = here.outside.seen
    assert seen["x-service"] == CANARIES["mcp_header"]
    assert seen["x-user-key"] == CANARIES["passed_on"]
    assert found_in(repr(seen), {n: secrets[n] for n in ("not_passed_on", "token", "cookie")}) == []
    assert here.outside.hooked[0]["authorization"] == f"Bearer {CANARIES['push_credentials']}"
    # And are seen nowhere.
    for name, said in answers:
        body = said.body if "session" not in name else said.body.replace(csrf, "")
        assert found_in(f"{said.headers} {body}", secrets) == [], name
    leaks = {(name, *found_in(line, secrets)) for name, line in lines.lines}
    # The client of the test says what it asks for.
    assert {leak for leak in leaks if len(leak) > 1} - {("httpx", "query_token")} == set()
    told = telling.text()
    assert "look" in told
    assert found_in(told, secrets) == []
    # What a webhook is called with has to be kept: with the webhook, and in no event.
    pushed = {"push_token", "push_credentials"}
    kept = {name: secret for name, secret in secrets.items() if name not in pushed}
    assert found_in(store.decode("latin-1"), kept) == []
    assert found_in(_tables(tmp_path / "tasks.db", "watch"), secrets) == []


# --- errors of configuration ------------------------------------------------------------------

_BAD: Final = "canary-in-a-fault-7f3a9"


@pytest.mark.parametrize(
    "part",
    [
        f"mcp: {{a: {{url: 'http://u:{_BAD}@host/mcp'}}}}",
        f"mcp: {{a: {{url: 'ftp://host/{_BAD}'}}}}",
        f"mcp: {{a: {{url: 'http://h/mcp', headers: {_BAD}}}}}",
        f"mcp: {{a: {{url: 'http://h/mcp', headers: {{x-a: [{_BAD}]}}}}}}",
        f"mcp: {{a: {{url: 'http://h/mcp', headers: {{x-a: {{{_BAD}: 1}}}}}}}}",
        f'mcp: {{a: {{url: "http://h/mcp", headers: {{x-a: "{_BAD}\\n"}}}}}}',
        f"mcp: {{a: {{command: [{_BAD}], headers: {{x-a: {_BAD}}}}}}}",
        f"mcp: {{a: {{command: [x, [{_BAD}]]}}}}",
        f"mcp: {{a: {{command: [x], env: {{K: [{_BAD}]}}}}}}",
        f"mcp: {{a: {{command: [x], env: {_BAD}}}}}",
        f"auth: {{tokens: [{{hash: {_BAD}, subject: ada}}]}}",
        f"auth: {{tokens: [{{hash: [{_BAD}], subject: ada}}]}}",
        f"auth: {{tokens: [{_BAD}]}}",
        f"auth: {{tokens: {_BAD}}}",
        f"faces: {{a2a: {{push: {{signing_keys: {_BAD}}}}}}}",
        f"faces: {{a2a: {{push: {{signing_keys: ['{_BAD}!']}}}}}}",
        f"faces: {{a2a: {{push: {{signing_keys: [[{_BAD}]]}}}}}}",
        f"mcp: {{a: {{url: 'http://h/mcp', headers: {{x-a: '{_BAD}}}}}",
        f"mcp: {{a: {{url: 'http://h/mcp', headers: {{x-a: {_BAD}: {_BAD}}}}}}}",
        "mcp: {a: {url: 'http://h/mcp', headers: {x-a: ['${SECRET}']}}}",
        "mcp: {a: {url: 'ftp://h/${SECRET}'}}",
        "auth: {tokens: [{hash: '${SECRET}', subject: ada}]}",
        "faces: {a2a: {push: {signing_keys: ['${SECRET}!']}}}",
    ],
)
def test_no_fault_of_a_configuration_quotes_a_secret(
    tmp_path: Path, part: str, lines: Lines
) -> None:
    """Where what is wrong is the secret, or beside it (R-SVC-99, T20)."""
    path = tmp_path / "app.yaml"
    path.write_text(f"agent: json:dumps\nstore: 'memory:'\n{part}\n", encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        Service.of(load_config(path, environ={"SECRET": _BAD}))
    assert _BAD not in f"{caught.value} {caught.value.problems}"
    assert not [line for _, line in lines.lines if _BAD in line]


# --- the line about each request --------------------------------------------------------------


async def test_the_line_about_a_request_has_no_query(lines: Lines) -> None:
    """Where people put tokens that are looked for nowhere (R-SVC-99, T20)."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await Response(status_code=401)(_scope, _receive, send)

    async with listening() as found, httpx.AsyncClient() as client:
        said = config_of(app, Patience(), host="127.0.0.1", port=0, log_level="info")
        server = uvicorn.Server(said)
        serving = asyncio.create_task(server.serve(sockets=[found]))
        url = f"http://127.0.0.1:{found.getsockname()[1]}/manage/tasks"
        logging.getLogger("uvicorn.access").addHandler(lines)
        await client.get(f"{url}?access_token={CANARIES['query_token']}")
        logging.getLogger("uvicorn.access").removeHandler(lines)
        server.should_exit = True
        await soon(serving)
    told = [line for name, line in lines.lines if name == "uvicorn.access"]
    assert told
    assert "/manage/tasks" in told[0]
    assert found_in("".join(told), CANARIES) == []
