"""The whole service in one application: its faces, its door, its health.

R-SVC-33, R-SVC-34, R-SVC-35, R-SVC-36.  T1 (one owner behind every face), T2 (nobody is asked),
T14 (headers that are passed on), T17 (management), T20 (secrets).
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from example_files import EXAMPLES, module_at
from interlock import Engine, Phase, Policy, RequiredInput, TaskContext
from interlock.errors import InvalidInput
from interlock_adapters.auth import OpenToEveryone, TrustLocal, hashed, new_token
from interlock_adapters.config import (
    A2AConfig,
    AuthConfig,
    Config,
    FacesConfig,
    GrpcConfig,
    McpSourceConfig,
    QuotaConfig,
    ServerConfig,
    ServiceConfig,
    TelemetryConfig,
    TokenConfig,
    load_config,
)
from interlock_adapters.service import Service
from interlock_adapters.service._engine import passed_on
from interlock_adapters.service._faces import a2a_settings

A_HASH: Final = "the hash of a token is accepted (sha256:...); interlock token makes one"
CARD: Final = "/.well-known/agent-card.json"
RPC: Final = "/a2a/rpc"
MCP: Final = {"accept": "application/json, text/event-stream"}
INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
#: One path of each face, and how it is asked for.
FACES: Final = {
    "a2a": ("POST", RPC),
    "mcp": ("POST", "/mcp"),
    "management": ("GET", "/manage/tasks"),
    "console": ("GET", "/console/inbox"),
}


async def agent(task: TaskContext) -> str:
    """Ask, and book."""
    city = await task.ask("Where to?")
    booked = await task.call_tool("book", {"city": city})
    return booked.text


def book(city: str) -> str:
    """Book a flight."""
    return f"booked {city}"


def config(**said: object) -> Config:
    """A service without a file."""
    given = {"agent": agent, "tools": (book,), "store": "memory:", "name": "Travel", **said}
    return Config.model_validate(given)


@asynccontextmanager
async def served(service: Service, **headers: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of it, on this machine."""
    here = httpx.ASGITransport(service.app, client=("127.0.0.1", 1))
    async with (
        service.lifespan(),
        httpx.AsyncClient(transport=here, base_url=service.url, headers=headers) as client,
    ):
        yield client


def sent(text: str) -> dict[str, Any]:
    """A message over JSON-RPC."""
    message = {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}]}
    return {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}


async def asked(client: httpx.AsyncClient, face: str) -> httpx.Response:
    """What a face answers to a call that is good."""
    method, path = FACES[face]
    body = {"a2a": sent("hi"), "mcp": INITIALIZE}.get(face)
    return await client.request(method, path, json=body, headers={**MCP, "A2A-Version": "1.0"})


async def test_one_application_has_every_face() -> None:
    """And a task of one is there in the others.  R-SVC-33."""
    async with served(Service.of(config())) as client:
        for face in FACES:
            answer = await asked(client, face)
            assert answer.status_code == 200, face
        assert (await client.get(CARD)).json()["name"] == "Travel"
        (task,) = (await client.get("/manage/tasks")).json()["tasks"]
        assert task["phase"] == Phase.WAITING_INPUT
        page = await client.get(f"/console/tasks/{task['task_id']}")
        assert "Where to?" in page.text


@pytest.mark.parametrize("face", FACES)
async def test_what_is_off_is_not_there(face: str) -> None:
    """All faces but one, and all but that one.  R-SVC-33."""
    off = FacesConfig.model_validate({name: name == face for name in FACES})
    async with served(Service.of(config(faces=off))) as client:
        for name in FACES:
            status = (await asked(client, name)).status_code
            assert status == (200 if name == face else 404), name
        assert (await client.get(CARD)).status_code == (200 if face == "a2a" else 404)
        assert (await client.get("/healthz")).status_code == 200
    others = FacesConfig.model_validate({face: False})
    async with served(Service.of(config(faces=others))) as client:
        assert (await asked(client, face)).status_code == 404


async def test_it_is_alive_from_the_beginning_and_ready_while_the_engine_is_open() -> None:
    """R-SVC-34."""
    service = Service.of(config())
    here = httpx.ASGITransport(service.app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=here, base_url=service.url) as client:
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] == "the engine is not open"
        async with service.lifespan():
            assert (await client.get("/readyz")).json() == {"status": "ready"}
            service.stopping.begin()
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["detail"]) == (503, "the service is stopping")
        assert (await client.get("/healthz")).status_code == 200


def tokens(
    *subjects: str, roles: frozenset[Any] = frozenset()
) -> tuple[AuthConfig, dict[str, str]]:
    """Who may call, and the tokens of each."""
    made = {subject: new_token() for subject in subjects}
    entries = tuple(TokenConfig(hash=hashed(t), subject=s, roles=roles) for s, t in made.items())
    return AuthConfig(tokens=entries), {s: f"Bearer {t}" for s, t in made.items()}


async def test_nobody_gets_past_the_door_without_a_credential() -> None:
    """Wherever he goes, there or not, but for what is public.  R-SVC-35, T1, T17."""
    auth, _ = tokens("ada")
    async with served(Service.of(config(auth=auth))) as client:
        for face in ("a2a", "mcp", "management"):
            answer = await asked(client, face)
            assert answer.status_code == 401, face
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for path in ("/nothing", "/metrics", "/manage", "/manage/openapi.json", "/console/x"):
            assert (await client.get(path)).status_code == 401, path
        for path in ("/healthz", "/readyz", CARD, "/console/sign-in"):
            assert (await client.get(path)).status_code == 200, path
        page = await client.get("/console/inbox", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (
            303,
            "/console/sign-in?next=%2Finbox",
        )
        card = (await client.get(CARD)).json()
        assert "bearer" in card["securitySchemes"]
        assert card["securityRequirements"]


async def test_a_token_owns_the_same_tasks_behind_every_face() -> None:
    """T1."""
    auth, bearer = tokens("ada", "eve")
    assert auth.tokens[0].hash not in str(config(auth=auth).shown())
    async with served(Service.of(config(auth=auth))) as client:
        client.headers["authorization"] = bearer["ada"]
        assert (await asked(client, "a2a")).status_code == 200
        (task,) = (await client.get("/manage/tasks")).json()["tasks"]
        assert task["owner"] == "ada"
        client.headers["authorization"] = bearer["eve"]
        assert (await client.get("/manage/tasks")).json()["tasks"] == []
        assert (await client.get(f"/manage/tasks/{task['task_id']}")).status_code == 404


async def test_a_session_of_the_console_opens_the_console_and_nothing_else() -> None:
    """A browser sends a cookie whatever page makes it call.  R-SVC-35, T17."""
    auth, bearer = tokens("ada")
    async with served(Service.of(config(auth=auth))) as client:
        page = await client.get("/console/sign-in")
        csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        origin = {"origin": str(client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
        form = {"csrf": csrf, "token": bearer["ada"].removeprefix("Bearer ")}
        done = await client.post("/console/sign-in", data=form, headers=origin)
        assert done.status_code == 303, done.text
        assert (await client.get("/console/inbox")).status_code == 200
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        answer = await client.get("/manage/tasks", headers={"cookie": cookie})
        assert answer.status_code == 401


async def test_without_a_credential_only_this_machine_is_served() -> None:
    """Whatever it was bound to.  R-SVC-35, T2."""
    service = Service.of(config())
    there = httpx.ASGITransport(service.app, client=("203.0.113.9", 1))
    async with (
        service.lifespan(),
        httpx.AsyncClient(transport=there, base_url=service.url) as client,
    ):
        for face in FACES:
            assert (await asked(client, face)).status_code == 403, face
    for host in ("0.0.0.0", "::", ""):  # noqa: S104  as refused
        server = ServerConfig(host=host or "::0")
        with pytest.raises(OpenToEveryone):
            Service.of(config(server=server)).refuse_open()
    with pytest.raises(OpenToEveryone):
        Service.of(config()).refuse_open(["192.0.2.1"])
    grpc = FacesConfig(a2a=A2AConfig(grpc=GrpcConfig(host="0.0.0.0")))  # noqa: S104  as refused
    with pytest.raises(OpenToEveryone):
        Service.of(config(faces=grpc)).refuse_open()
    auth, _ = tokens("ada")
    Service.of(config(server=ServerConfig(host="::"), auth=auth)).refuse_open()
    is_open = ServerConfig(host="::", dangerously_open_to_everyone=True)
    Service.of(config(server=is_open)).refuse_open()


async def test_another_site_is_turned_away_from_every_face() -> None:
    """By its name and by its origin.  T16."""
    async with served(Service.of(config())) as client:
        for face in FACES:
            method, path = FACES[face]
            host = await client.request(method, path, json={}, headers={"host": "evil.example"})
            assert host.status_code == 421, face
            evil = {"origin": "https://evil.example"}
            assert (await client.request(method, path, json={}, headers=evil)).status_code == 403


SITE: Final = "https://App.example"


@pytest.mark.parametrize("face", FACES)
async def test_a_page_of_an_allowed_site_may_call_as_browsers_do(face: str) -> None:
    """They ask first, without a credential, and read what names the site alone.  R-SVC-35."""
    token = new_token()
    auth = AuthConfig(tokens=(TokenConfig(hash=hashed(token), subject="ada"),))
    server = ServerConfig(allowed_origins=(SITE,))
    method, path = FACES[face]
    async with served(Service.of(config(auth=auth, server=server))) as client:
        for origin, status in ((SITE.lower(), 200), ("https://evil.example", 400)):
            asks = {
                "origin": origin,
                "access-control-request-method": method,
                "access-control-request-headers": "authorization,content-type,a2a-version",
            }
            may = await client.options(path, headers=asks)
            assert may.status_code == status
            named = may.headers.get("access-control-allow-origin")
            assert named == (origin if status == 200 else None)
        client.headers["origin"] = SITE.lower()
        refused = await asked(client, face)
        assert refused.status_code in {303, 401}
        assert refused.headers["access-control-allow-origin"] == SITE.lower()
        assert "access-control-allow-credentials" not in refused.headers
        client.headers["authorization"] = f"Bearer {token}"
        if face != "console":  # Its pages are for its own site.
            assert (await asked(client, face)).status_code == 200


async def test_each_owner_has_a_quota_over_all_faces() -> None:
    """R-SVC-35, T4, T21."""
    quotas = QuotaConfig(requests_per_minute=1, burst=3)
    async with served(Service.of(config(quotas=quotas))) as client:
        for path in ("/manage/tasks", "/console/inbox", "/manage/tasks"):
            assert (await client.get(path)).status_code == 200
        for path in ("/manage/tasks", "/console/inbox"):
            answer = await client.get(path)
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
        assert (await client.get("/readyz")).status_code == 200


async def test_grpc_is_beside_it_behind_the_same_door() -> None:
    """R-SVC-33, T1."""
    import grpc.aio  # noqa: PLC0415  as above
    from a2a.types import GetTaskRequest, a2a_pb2_grpc  # noqa: PLC0415  of this test alone

    auth, bearer = tokens("ada")
    port = free_port()
    faces = FacesConfig(a2a=A2AConfig(grpc=GrpcConfig(port=port)))
    async with served(Service.of(config(faces=faces, auth=auth))) as client:
        card = (await client.get(CARD)).json()
        assert f"127.0.0.1:{port}" in {i["url"] for i in card["supportedInterfaces"]}
        client.headers["authorization"] = bearer["ada"]
        task_id = (await asked(client, "a2a")).json()["result"]["task"]["id"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = a2a_pb2_grpc.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
            version = ("a2a-version", "1.0")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetTask(GetTaskRequest(id=task_id), metadata=[version])
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            found = await stub.GetTask(
                GetTaskRequest(id=task_id), metadata=[version, ("authorization", bearer["ada"])]
            )
            assert found.id == task_id


def free_port() -> int:
    """A port that was free just now."""
    import socket  # noqa: PLC0415  of this alone

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_an_engine_that_is_there_already_is_served() -> None:
    """R-SVC-36."""
    engine = Engine(agent, store="memory:")
    async with served(Service(engine, ServiceConfig(name="Mine"))) as client:
        assert (await client.get(CARD)).json()["name"] == "Mine"
        assert (await client.get("/manage/config")).json()["name"] == "Mine"


async def test_it_is_mounted_in_an_application_of_fastapi(tmp_path: Path) -> None:
    """Beside the routes of that, which starts and drains the engine.  R-SVC-36."""
    app = module_at(EXAMPLES / "fastapi_app.py").make_app(f"sqlite:///{tmp_path}/t.db")
    here = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=here, base_url="http://127.0.0.1:8000") as client:
        assert (await client.get("/readyz")).status_code == 503
        async with app.router.lifespan_context(app):
            assert (await client.get("/prices/Lisbon")).json() == {"Lisbon": 180}
            for face in FACES:
                assert (await asked(client, face)).status_code == 200, face
            assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503


async def test_metrics_are_for_who_may_see_all_tasks() -> None:
    """R-SVC-33."""
    auth, bearer = tokens("ada")
    staff, badge = tokens("otto", roles=frozenset({"operator"}))
    both = AuthConfig(tokens=(*auth.tokens, *staff.tokens))
    telemetry = TelemetryConfig(prometheus=True)
    async with served(Service.of(config(auth=both, telemetry=telemetry))) as client:
        assert (await client.get("/metrics")).status_code == 401
        ada = {"authorization": bearer["ada"]}
        assert (await client.get("/metrics", headers=ada)).status_code == 403
        shown = await client.get("/metrics", headers={"authorization": badge["otto"]})
        assert shown.status_code == 200
        assert "interlock" in shown.text


# --- what it is made of -------------------------------------------------------------------


def test_policies_come_from_the_source_the_file_and_the_configuration(tmp_path: Path) -> None:
    """R-SVC-32."""
    (tmp_path / "rules.yaml").write_text("search: {confirm: always}\n", encoding="utf-8")
    (tmp_path / "app.yaml").write_text(
        "agent: a:b\ntools: []\nstore: 'memory:'\n"
        "mcp:\n"
        "  air: {url: http://air.example/mcp, optional: true, policies: rules.yaml}\n"
        "  pay: {command: [pay], policies: {book: {enabled: false}, '*': {confirm: always}}}\n"
        "policies: {'*': {timeout_s: 5}}\n",
        encoding="utf-8",
    )
    loaded = load_config(tmp_path / "app.yaml").model_copy(update={"agent": agent})
    rules = Service.of(loaded).engine.tools.policies.rules
    assert {rule: policy.to_json() for rule, policy in rules.items()} == {
        "air/search": {"confirm": "always"},
        "pay/book": {"enabled": False},
        "pay/*": {"confirm": "always"},
        "*": {"timeout_s": 5.0},
    }


async def test_tokens_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    """With its own lines for faults, and none of its hashes shown.  R-SVC-35, T20."""
    token, path = new_token(), tmp_path / "tokens.yaml"
    path.write_text(f'- {{hash: "{hashed(token)}", subject: ada}}\n', encoding="utf-8")
    said = config(auth={"tokens_file": str(path)})
    async with served(Service.of(said), authorization=f"Bearer {token}") as client:
        assert (await client.get("/manage/tasks")).status_code == 200
    assert hashed(token) not in str(said.shown())
    path.write_text(f'- {{hash: "{hashed(token)}", subject: anonymous}}\n', encoding="utf-8")
    with pytest.raises(InvalidInput) as nobody:
        Service.of(said)
    assert nobody.value.problems[0].startswith(f"{path}: entry 0: 'anonymous' is nobody; ")
    path.write_text(f"- {{hash: {token}}}\n- 7\n", encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        Service.of(said)
    assert [*caught.value.problems] == [
        f"{path}:1: 0.hash: {A_HASH}",
        f"{path}:1: 0.subject: it is missing; a text is accepted",
        f"{path}:2: 1: a list of mappings is accepted",
    ]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"agent": "nowhere_at_all:agent"}, "agent: nowhere_at_all:agent: No module named"),
        ({"agent": "json:nothing"}, "agent: json:nothing: json has no nothing"),
        ({"agent": "interlock:LIVE"}, "agent: it is of type PhaseSet; an agent"),
        ({"lifecycle": "json:dumps"}, "lifecycle: it is of type function, not Lifecycle"),
        ({"tools": ("json:nothing",)}, "tools.0: json:nothing: json has no nothing"),
        ({"policies": Path("no.yaml")}, "policies: no.yaml: No such file or directory"),
        ({"auth": AuthConfig(tokens_file=Path("no.yaml"))}, "auth.tokens_file: no.yaml: No such"),
        (
            {"policies": {"book": Policy(required_inputs=(RequiredInput(name="seat"),))}},
            "policies: rule 'book': required input 'seat' fills no argument of local/book",
        ),
        (
            {"auth": AuthConfig(tokens=(TokenConfig(hash=hashed(new_token()), subject="agent"),))},
            "auth.tokens: entry 0: 'agent' is nobody; a printable name is accepted that ",
        ),
        (
            {"auth": AuthConfig(custom="json:dumps")},
            "auth.custom: it is of type function; an object",
        ),
        (
            {"auth": AuthConfig(tokens_file=Path("no.yaml"), custom="json:nothing")},
            "auth.tokens_file: no.yaml: No such",
        ),
        (
            {"mcp": {"a": McpSourceConfig(url="http://a:b@c/mcp")}},
            "mcp.a: MCP server 'a': put credentials into headers, not the url",
        ),
        (
            {
                "mcp": {"a": McpSourceConfig(url="http://c", policies={"x": Policy()})},
                "policies": {"a/x": Policy()},
            },
            "policies: a/x: mcp has that rule as well; one is accepted",
        ),
    ],
)
def test_what_cannot_be_made_is_told_with_its_place(said: dict[str, Any], fault: str) -> None:
    """R-SVC-32."""
    with pytest.raises(InvalidInput) as caught:
        Service.of(config(**said))
    assert any(problem.startswith(fault) for problem in caught.value.problems), caught.value


def test_headers_are_passed_on_only_where_a_source_says_so() -> None:
    """What a request brings is carried for no other header.  T14."""
    sources = {
        "a": McpSourceConfig(url="http://a", pass_through=("X-Trace", "authorization")),
        "b": McpSourceConfig(url="http://b", pass_through=("x-trace",)),
    }
    said = config(mcp=sources)
    face = said.faces.a2a
    assert face is not None
    made = a2a_settings(said, face, "http://h", carried=passed_on(said), authenticator=TrustLocal())
    assert made.carry_headers == ("x-trace", "authorization")


def test_a_face_whose_extra_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is off needs none.  R-SVC-33."""
    only_api = FacesConfig(a2a=None, mcp=None, console=False)
    for module in ("interlock_adapters.a2a", "interlock_adapters.mcp"):
        monkeypatch.setitem(sys.modules, module, None)
    Service.of(config(faces=only_api))
    with pytest.raises(InvalidInput, match=r"faces.a2a: .* pip install 'interlock\[a2a\]'"):
        Service.of(config(faces=FacesConfig(mcp=None)))
    with pytest.raises(InvalidInput, match=r"faces.mcp: .* pip install 'interlock\[mcp\]'"):
        Service.of(config(faces=FacesConfig(a2a=None)))
