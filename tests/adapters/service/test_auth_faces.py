"""One token, every face: the same person owns the same tasks, and acts in the same roles.

Requirements: R-SVC-19 (one principal over A2A 1.0 and 0.3, REST, gRPC and MCP), R-SVC-20 (roles
reach decisions), R-SVC-21 (the card and the resource's metadata say what is enforced),
R-SVC-22 (tenants of requests).  Threats: T1, T3, T4, T5.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, cast

import grpc
import grpc.aio
import httpx
import pytest
from a2a.client.errors import A2AClientError
from a2a.types import ListTasksRequest, Task, TaskNotFoundError, TaskState
from a2a.types.a2a_pb2 import GetTaskRequest
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from a2a.utils.errors import A2AError
from mcp.client.auth.utils import validate_metadata_issuer
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from starlette.applications import Starlette

from a2a_faces import FACES, GRPC, JSONRPC, SETTINGS, URL, Faces, InProcess, Peer, data, message
from identities import KEYS, token
from interlock import JsonObject, TaskContext, TaskQuery
from interlock.errors import InvalidInput
from interlock_adapters._callers.asgi_quota import Quota
from interlock_adapters._callers.base import bearer_of
from interlock_adapters._callers.principal import Principal
from interlock_adapters._callers.quota import Quotas, QuotaSettings
from interlock_adapters._http.asgi import Receive, Scope, Send
from interlock_adapters.a2a import a2a_app, grpc_server
from interlock_adapters.a2a._card import card_of
from interlock_adapters.a2a._grpc_auth import Guard, is_here
from interlock_adapters.auth import (
    AnyOf,
    Authentication,
    Authenticator,
    BearerTokens,
    Jwt,
    JwtSettings,
    TokenEntry,
    TrustLocal,
    card_security,
    hashed,
    new_token,
)
from interlock_adapters.mcp import McpAuth, McpFace, McpSettings, mcp_server
from interlock_adapters.service import Service
from support import World, opened

#: The generated code has no types.
STUB: Final[Any] = A2AServiceStub

VERSION: Final = "2026-07-28"


def kept(shown: str, subject: str, **said: Any) -> TokenEntry:  # noqa: ANN401
    """What is kept of a token."""
    return TokenEntry.model_validate({"hash": hashed(shown), "subject": subject, **said})


ADA, TWIN, BOB, EVE = (new_token() for _ in range(4))
TOKENS: Final = BearerTokens(
    [
        kept(ADA, "ada", tenant="acme", roles=["approver"]),
        kept(TWIN, "ada", tenant="other", roles=["approver", "operator", "auditor"]),
        kept(BOB, "bob", tenant="acme", roles=["operator", "auditor"]),
        kept(EVE, "ada"),
    ]
)
OIDC: Final = Jwt(
    JwtSettings.model_validate(
        {
            "issuer": "https://id.test",
            "audience": ["interlock"],
            "keys": KEYS,
            "tenant_claim": "org",
        }
    )
)
ALL: Final = AnyOf(TOKENS, OIDC)
JWT_ADA: Final = token(org="acme", roles=["auditor"])
#: Credentials, and whose tasks they own.
OWNERS: Final = {
    ADA: "tenant=acme ada",
    EVE: "ada",
    JWT_ADA: "tenant=acme https://id.test ada",
}


async def pays(task: TaskContext) -> str:
    """Pay, if an approver lets it."""
    await task.authorize("pay", {"amount": 1}, approvers=("role:approver",))
    return "paid"


@dataclass
class Site:
    """A service with every face, behind one authenticator."""

    world: World
    faces: Faces
    http: httpx.AsyncClient

    def peer(self, shown: str, binding: str = JSONRPC, version: str = "1.0") -> Peer:
        """A client of A2A with that credential."""
        parameters = {"authorization": f"Bearer {shown}"} if shown else {}
        return replace(self.faces.peer(binding, version=version), parameters=parameters)

    async def mcp(self, shown: str, method: str, **params: Any) -> httpx.Response:  # noqa: ANN401
        """One request of MCP with that credential."""
        meta: JsonObject = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {
                "extensions": {"io.modelcontextprotocol/tasks": {}}
            },
        }
        body: JsonObject = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": method,
            "params": {**params, "_meta": meta},
        }
        headers = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "mcp-protocol-version": VERSION,
            "mcp-method": method,
            **({"mcp-name": params["name"]} if "name" in params else {}),
            **({"authorization": f"Bearer {shown}"} if shown else {}),
        }
        return await self.http.post("/mcp", content=json.dumps(body), headers=headers)

    async def owner(self, task_id: str) -> str:
        """Whose a task is."""
        return (await self.world.engine.record(task_id, owner=None)).owner


@asynccontextmanager
async def served(
    by: Authenticator = ALL,
    *,
    quotas: Quotas | None = None,
    tenants: frozenset[str] = frozenset(),
    alone: bool = False,
) -> AsyncGenerator[Site]:
    """It, served; with `alone` the MCP face authenticates by itself."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(opened(pays))
        schemes, requirements = card_security(by)
        settings = SETTINGS.model_copy(
            update={
                "security_schemes": schemes,
                "security_requirements": requirements,
                "tenants": tenants,
            }
        )
        bound = grpc_server(world.engine, settings, authenticator=by, quotas=quotas)
        settings = settings.model_copy(update={"grpc_url": f"127.0.0.1:{bound.port}"})
        await bound.server.start()
        stack.push_async_callback(bound.server.stop, None)
        told = McpSettings(name="Tests", url=URL)
        server = mcp_server(world.engine, told)
        face = (
            McpFace(server, told, auth=McpAuth.of(by, told))
            if alone
            else McpFace(server, told, authenticator=by)
        )
        await stack.enter_async_context(face.serving())
        of_mcp = Starlette(routes=[*face.routes], middleware=[*face.middleware])
        of_a2a = a2a_app(world.engine, settings, owns_engine=False)

        async def either(scope: Scope, receive: Receive, send: Send) -> None:
            is_mcp = scope["path"] == "/mcp" or "oauth" in scope["path"]
            await (of_mcp if is_mcp else of_a2a)(scope, receive, send)

        app: Any = either if quotas is None else Quota(either, quotas)
        public = ["/.well-known/agent-card.json", *face.public]
        if not alone:
            app = Authentication(app, by, public=public, metadata=face.metadata)
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=InProcess(app), base_url=URL)
        )
        card = card_of(settings, push=False)
        yield Site(world, Faces(world, settings, card, http, stack), http)


@pytest.mark.parametrize("shown", OWNERS, ids=["tenant", "none", "jwt"])
async def test_one_token_owns_the_same_tasks_over_every_face(shown: str) -> None:
    """Made over any, it is there over all (R-SVC-19)."""
    async with served() as site:
        made = [(await site.peer(shown, *face).send(message("pay"))).id for face in FACES]
        call = await site.mcp(shown, "tools/call", name="agent", arguments={"message": "pay"})
        made.append(call.json()["result"]["taskId"])
        for task_id in made:
            assert await site.owner(task_id) == OWNERS[shown]
            for face in FACES:
                assert (await site.peer(shown, *face).get(task_id)).id == task_id
            got = await site.mcp(shown, "tasks/get", taskId=task_id)
            assert got.json()["result"]["taskId"] == task_id
        listed = await site.peer(shown).list(ListTasksRequest())
        assert {task.id for task in listed.tasks} == set(made)


async def _streamed(peer: Peer, task: Task) -> None:
    async with peer.subscribe(task.id) as stream:
        await anext(stream)


CALLS: Final[dict[str, Callable[[Peer, Task], Awaitable[object]]]] = {
    "get": lambda peer, task: peer.get(task.id),
    "cancel": lambda peer, task: peer.cancel(task.id),
    "answer": lambda peer, task: peer.send(message(data({"decision": "approve"}), task=task)),
    "subscribe": _streamed,
}


@pytest.mark.parametrize("stranger", [TWIN, BOB, EVE, JWT_ADA], ids=["twin", "bob", "eve", "jwt"])
async def test_nobody_else_reaches_them_whatever_the_role(stranger: str) -> None:
    """The same name in another tenant, at another issuer or in none; operators too (T1)."""
    async with served() as site:
        task = await site.peer(ADA).send(message("pay"))
        before = await site.world.engine.record(task.id, owner=None)
        for face in FACES:
            for call in CALLS.values():
                with pytest.raises((TaskNotFoundError, A2AError, A2AClientError)) as caught:
                    await call(site.peer(stranger, *face), task)
                assert "not found" in str(caught.value).lower()
        for method in ("tasks/get", "tasks/cancel"):
            refused = await site.mcp(stranger, method, taskId=task.id)
            assert refused.json()["error"]["data"]["reason"] == "unknown_task"
        assert (await site.world.engine.record(task.id, owner=None)) == before


@pytest.mark.parametrize(
    "shown",
    ["", new_token(), token(org="acme", exp=1), token(org=None)],
    ids=["none", "unknown", "expired", "without a tenant"],
)
async def test_nobody_reaches_any_face_without_a_good_credential(shown: str) -> None:
    """Nothing is made by anybody, and the card is there for all (R-SVC-15)."""
    async with served() as site:
        for face in FACES:
            with pytest.raises(Exception, match=r"(?i)401|unauth|credential"):
                await site.peer(shown, *face).send(message("pay"))
        refused = await site.mcp(shown, "tools/call", name="agent", arguments={"message": "x"})
        assert refused.status_code == 401
        assert (await site.http.get("/.well-known/agent-card.json")).status_code == 200
        assert (await site.world.engine.page(TaskQuery())).records == ()


class Keyring(list[str]):
    """An authenticator that is also a collection; nobody is in it yet."""

    schemes: Mapping[str, JsonObject] = MappingProxyType({})

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """Whoever is in it."""
        shown = bearer_of(headers)
        return Principal(shown) if shown is not None and shown in self else None


async def test_an_authenticator_that_knows_nobody_yet_lets_nobody_in() -> None:
    """It is there, however empty it is.  Source: R-SVC-15."""
    async with served(Keyring()) as site:
        for face in FACES:
            with pytest.raises(Exception, match=r"(?i)401|unauth|credential"):
                await site.peer("ada", *face).send(message("pay"))
        assert (await site.world.engine.page(TaskQuery())).records == ()
        known = Keyring()
        assert Service(site.world.engine, authenticator=known).authenticator is known


async def test_a_credential_twice_is_none_over_grpc_as_well() -> None:
    """Before the request is read: what it would be refused for is not looked at."""
    async with served() as site:
        url = site.faces.settings.grpc_url or ""
        async with grpc.aio.insecure_channel(url) as channel:
            stub: Any = STUB(channel)
            one = ("authorization", f"Bearer {ADA}")
            for metadata in ((one, one), (), (("authorization", "Basic x"),)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.GetTask(GetTaskRequest(id="x"), metadata=metadata)
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            version = ("a2a-version", "1.0")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetTask(GetTaskRequest(id="x"), metadata=(one, version))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def _decided(site: Site, shown: str, face: tuple[str, str] | None) -> str:
    """What a task comes to, whose owner approves it over a face; None is MCP."""
    task = await site.peer(shown).send(message("pay"))
    record = await site.world.engine.record(task.id, owner=None)
    (ask,) = record.asks
    if face is None:
        reply = {"action": "accept", "content": {"decision": "approve"}}
        await site.mcp(shown, "tasks/update", taskId=task.id, inputResponses={ask.key: reply})
    else:
        approval: JsonObject = {"ask": ask.key, "digest": ask.digest, "decision": "approve"}
        with suppress(A2AError, A2AClientError):
            await site.peer(shown, *face).send(message(data(approval), task=task))
    # What was approved ends by itself; what was not still asks.
    await site.world.engine.rest(task.id, owner=None)
    state = (await site.peer(shown).get(task.id)).status.state
    return TaskState.Name(state).removeprefix("TASK_STATE_")


@pytest.mark.parametrize("face", [*FACES, None])
async def test_roles_of_the_credential_decide_over_every_face(
    face: tuple[str, str] | None,
) -> None:
    """An approver may, and an owner who is none may not (R-SVC-20, T5)."""
    async with served() as site:
        assert await _decided(site, ADA, face) == "COMPLETED"
        assert await _decided(site, JWT_ADA, face) == "AUTH_REQUIRED"
        assert await _decided(site, EVE, face) == "AUTH_REQUIRED"


@pytest.mark.parametrize("tenant", ["other", "acm", "acme ", "ACME", "nobody"])
async def test_a_request_names_its_own_tenant_or_none(tenant: str) -> None:
    """What the body says opens nothing, also where the settings know the tenant (T3)."""
    async with served(tenants=frozenset({"acme", "other"})) as site:
        headers = {"authorization": f"Bearer {ADA}", "a2a-version": "1.0"}
        said = json.loads(
            '{"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "pay"}]}}'
        )

        async def send(name: str) -> Mapping[str, Any]:
            body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage"}
            call = {**body, "params": {**said, "tenant": name}}
            sent = await site.http.post(site.faces.settings.rpc_path, json=call, headers=headers)
            found: Mapping[str, Any] = sent.json()
            return found

        assert "there is no such tenant" in json.dumps((await send(tenant))["error"])
        path = f"{site.faces.settings.rest_path}/{tenant.strip()}/message:send"
        refused = await site.http.post(path, json=said, headers=headers)
        assert refused.status_code in {400, 403, 404}
        assert (await site.world.engine.page(TaskQuery())).records == ()
        task_id = (await send("acme"))["result"]["task"]["id"]
        assert await site.owner(task_id) == OWNERS[ADA]


async def test_a_quota_is_one_for_every_face() -> None:
    """What is sent over one counts over the others, and guessed ids count for more (T4)."""
    quotas = Quotas(
        QuotaSettings(requests_per_minute=0.001, burst=30, miss_cost=9), now=lambda: 0.0
    )
    async with served(quotas=quotas) as site:
        peer = site.peer(BOB, GRPC)
        with pytest.raises((A2AError, A2AClientError)):
            await peer.get("0" * 32)
        unknown = await site.mcp(BOB, "tasks/get", taskId="0" * 32)
        assert unknown.json()["error"]["data"]["reason"] == "unknown_task"
        with pytest.raises((A2AError, A2AClientError)):
            await site.peer(BOB).get("0" * 32)
        for face in FACES:
            with pytest.raises(Exception, match=r"429|too many requests"):
                await site.peer(BOB, *face).get("0" * 32)
        refused = await site.mcp(BOB, "tasks/get", taskId="0" * 32)
        assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
        assert (await site.peer(ADA).send(message("pay"))).id


async def test_the_card_says_what_is_enforced() -> None:
    """Each kind of credential is enough by itself (R-SVC-21)."""
    async with served() as site:
        card = (await site.http.get("/.well-known/agent-card.json")).json()
    bearer, jwt = (card["securitySchemes"][name] for name in ("bearer", "jwt"))
    assert bearer["httpAuthSecurityScheme"] == {"scheme": "bearer"}
    assert jwt["httpAuthSecurityScheme"] == {"scheme": "bearer", "bearerFormat": "JWT"}
    # And as version 0.3 has it.
    assert (bearer["type"], jwt["type"]) == ("http", "http")
    assert [list(one["schemes"]) for one in card["securityRequirements"]] == [["bearer"], ["jwt"]]
    assert card_security(TrustLocal()) == ({}, ())


@pytest.mark.parametrize("issuer", ["https://id.test", "https://id.test/", "https://id.test/a/"])
async def test_the_metadata_of_the_mcp_resource_names_the_issuer(issuer: str) -> None:
    """Source: RFC 9728; where there is one to name, and the challenge says where it is.

    To the letter: clients refuse an issuer that calls itself otherwise (RFC 8414 §3.3).
    """
    found = Jwt(JwtSettings(issuer=issuer, audience=("x",)))
    where = "/.well-known/oauth-protected-resource/mcp"
    async with served(AnyOf(TOKENS, found)) as site:
        metadata = (await site.http.get(where)).json()
        refused = await site.mcp("", "tasks/get", taskId="x")
    assert metadata["resource"] == f"{URL}/mcp"
    assert metadata["authorization_servers"] == [issuer]
    itself = {"issuer": issuer, "authorization_endpoint": URL, "token_endpoint": URL}
    validate_metadata_issuer(
        OAuthMetadata.model_validate({**itself, "response_types_supported": ["code"]}),
        str(ProtectedResourceMetadata.model_validate(metadata).authorization_servers[0]),
    )
    assert refused.headers["www-authenticate"] == f'Bearer resource_metadata="{URL}{where}"'
    async with served() as site:
        assert (await site.http.get(where)).status_code == 401


async def test_the_mcp_face_alone_asks_the_same_authenticator() -> None:
    """By the SDK's own middleware, where nothing but this face is served."""
    async with served(alone=True) as site:
        call = await site.mcp(ADA, "tools/call", name="agent", arguments={"message": "pay"})
        assert await site.owner(call.json()["result"]["taskId"]) == OWNERS[ADA]
        for shown in ("", new_token(), token(org="acme", exp=1)):
            assert (await site.mcp(shown, "tasks/get", taskId="x")).status_code == 401


async def test_who_asks_for_nothing_serves_the_anonymous_over_every_face() -> None:
    """And in every role: it is one person's machine."""
    async with served(TrustLocal(dangerously_open_to_everyone=True)) as site:
        for face in (*FACES, None):
            assert await _decided(site, "", face) == "COMPLETED"
        assert {record.owner for record in (await site.world.engine.page(TaskQuery())).records} == {
            "anonymous"
        }


async def test_two_ways_to_authenticate_are_one_too_many() -> None:
    """Over gRPC, where both could be given."""
    async with opened(pays) as world:
        with pytest.raises(InvalidInput, match="either `authenticator` or `user_of`"):
            grpc_server(world.engine, SETTINGS, authenticator=ALL, user_of=lambda _: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv6:[::ffff:127.0.0.1]:5000", True),
        ("unix:/run/x.sock", True),
        ("unix:", True),
        ("ipv4:10.0.0.7:5000", False),
        ("ipv6:%5B2001:db8::1%5D:5000", False),
        ("ipv6:%5B::ffff:10.0.0.7%5D:5000", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_grpc_knows_who_is_on_this_machine(peer: str, here: bool) -> None:  # noqa: FBT001
    """As peers are written there; what cannot be told is elsewhere (T2)."""
    assert is_here(peer) is here


async def test_who_asks_for_nothing_serves_this_machine_over_grpc() -> None:
    """The peer of the loopback is let in, as over HTTP."""
    async with served(TrustLocal()) as site:
        task = await site.peer("", GRPC).send(message("pay"))
        assert await site.owner(task.id) == "anonymous"


class _Refused(Exception):
    """Stands for what gRPC raises when a call is ended."""


class _From:
    """A call's context, as far as it says where it comes from."""

    def __init__(self, peer: str) -> None:
        self._peer: Final = peer

    def peer(self) -> str:
        """Where the caller is."""
        return self._peer

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the call."""
        raise _Refused(code, details)


@pytest.mark.parametrize("asks", [True, False])
async def test_where_nobody_asks_who_calls_grpc_is_for_this_machine(asks: bool) -> None:  # noqa: FBT001
    """As over HTTP and MCP: everybody would be `anonymous`, who may approve (T2)."""

    async def served(_request: object, _context: object) -> str:
        return "served"

    async def found(_details: object) -> Any:  # noqa: ANN401  as gRPC has it
        make: Any = grpc.unary_unary_rpc_method_handler
        return make(served)

    handler: Any = await Guard(None, asks=asks).intercept_service(found, cast("Any", None))
    assert await handler.unary_unary(None, _From("ipv4:127.0.0.1:5000")) == "served"
    if asks:
        assert await handler.unary_unary(None, _From("ipv4:10.0.0.7:5000")) == "served"
        return
    with pytest.raises(_Refused, match=r"PERMISSION_DENIED.*only this machine is served"):
        await handler.unary_unary(None, _From("ipv4:10.0.0.7:5000"))
