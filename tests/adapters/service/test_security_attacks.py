"""What is sent to a whole service to make it call, carry or show what it must not.

R-SVC-98.  Threats: T14 (headers that are passed on), T15 (SSRF by push URLs), T16 (SSRF by MCP),
T17 and T8 (stored XSS), T1 (the state of a call that is shown by another), T20.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc.aio
import httpx
import pytest
from a2a.types import a2a_pb2, a2a_pb2_grpc
from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from guarded import HIDDEN, PEOPLE, Answer, Site, Target, config, free_port, served
from interlock import JsonObject, Limits, TaskContext, TaskQuery
from interlock.errors import InvalidInput
from interlock_adapters._http.webhook import Webhooks
from interlock_adapters.service import Service
from mcp_servers import listening, serving
from mcp_servers import served as mcp_served
from support import pause, soon, until

# --- addresses of our own network (T15, T16) ----------------------------------------------------

INWARD: Final = (
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://0.0.0.0/",
    "https://localhost/",
    "https://localhost./",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[fe80::1]/",
    "https://[fd00::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://user:pass@93.184.215.14/",
    "http://93.184.215.14/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "https://",
    "",
)


def _push_calls(target: Target, url: str) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Every way in which a client names a URL: path, body and version."""

    def rpc(method: str, params: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}

    hook = {"id": "hook", "url": url}
    own, named = {"taskId": target.task_id}, f"tasks/{target.task_id}"
    said = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "ask"}]}
    old = {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "ask"}]}
    of_task = f"/tasks/{target.task_id}/pushNotificationConfigs"
    create, set_ = "CreateTaskPushNotificationConfig", "tasks/pushNotificationConfig/set"
    with_1_0 = {"message": said, "configuration": {"taskPushNotificationConfig": hook}}
    with_0_3 = {"message": old, "configuration": {"pushNotificationConfig": hook}}
    of_0_3 = {"parent": named, "configId": "hook", "config": {"pushNotificationConfig": hook}}
    return {
        "create": ("/a2a/rpc", rpc(create, {**hook, **own}), "1.0"),
        "with a message": ("/a2a/rpc", rpc("SendMessage", with_1_0), "1.0"),
        "REST": (f"/a2a{of_task}", hook, "1.0"),
        "REST, with a message": ("/a2a/message:send", with_1_0, "1.0"),
        "0.3": ("/a2a/rpc", rpc(set_, {**own, "pushNotificationConfig": hook}), "0.3"),
        "0.3, with a message": ("/a2a/rpc", rpc("message/send", with_0_3), "0.3"),
        "0.3 REST": (f"/a2a/v1{of_task}", of_0_3, "0.3"),
    }


async def test_no_request_makes_the_service_call_its_own_network() -> None:
    """Whichever way the URL comes, and however it is written; nothing is kept of it (T15)."""
    async with served(config(faces={"a2a": {"push": True}})) as site:
        target = await site.task("ask")
        before = await site.everything()
        for url in INWARD:
            for way, (path, body, version) in _push_calls(target, url).items():
                own = {"a2a-version": version}
                answer = await site.send("owner", "POST", path, json_body=body, headers=own)
                assert answer.is_refusal, (way, url, answer)
                assert answer.status < 500, (way, url, answer)
                assert "32603" not in answer.body, (way, url, answer)
            assert await site.everything() == before, url


async def test_grpc_takes_no_such_address_either() -> None:
    """T15."""
    port = free_port()
    async with (
        served(config(faces={"a2a": {"push": True, "grpc": {"port": port}}})) as site,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub: Any = a2a_pb2_grpc.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        own = (("a2a-version", "1.0"), ("authorization", f"Bearer {PEOPLE['owner']}"))
        target = await site.task("ask")
        before = await site.everything()
        for url in INWARD:
            hook = a2a_pb2.TaskPushNotificationConfig(task_id=target.task_id, id="hook", url=url)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.CreateTaskPushNotificationConfig(hook, metadata=own, timeout=30)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, url
        assert await site.everything() == before


class Outside:
    """A receiver on this machine that must not be reached, or sends whoever comes elsewhere."""

    def __init__(self) -> None:
        self.reached: list[dict[str, str]] = []
        self.elsewhere = ""

    async def come(self, request: Request) -> Response:
        """Note who comes."""
        self.reached.append(dict(request.headers))
        return (
            RedirectResponse(self.elsewhere, 307) if self.elsewhere else Response(status_code=204)
        )


@asynccontextmanager
async def outside() -> AsyncGenerator[tuple[Outside, str]]:
    """It, and its URL."""
    noted = Outside()
    app = Starlette(routes=[Route("/{any:path}", noted.come, methods=["GET", "POST", "DELETE"])])
    async with listening() as found, serving(app, found) as url:
        yield noted, url


async def test_a_name_that_turns_inward_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public when it is checked, and this machine when it is called: DNS rebinding (T15)."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["93.184.215.14" if len(asked) == 1 else "127.0.0.1"]

    monkeypatch.setitem(Webhooks.__init__.__kwdefaults__ or {}, "resolve", resolve)
    async with outside() as (receiver, url):
        port = url.partition("127.0.0.1:")[2].partition("/")[0]
        async with served(config(faces={"a2a": {"push": {"allow_http": True}}})) as site:
            target = await site.task("ask")
            hook = {"id": "hook", "url": f"http://rebind.test:{port}/mcp", "taskId": target.task_id}
            body = {"jsonrpc": "2.0", "id": 1, "method": "CreateTaskPushNotificationConfig"}
            said = {**body, "params": hook}
            own = {"a2a-version": "1.0"}
            kept = await site.send("owner", "POST", "/a2a/rpc", json_body=said, headers=own)
            assert not kept.is_refusal, kept
            await site.send("owner", "POST", f"/manage/tasks/{target.task_id}/cancel", json_body={})
            await soon(_tried(site, target))
        assert asked == ["rebind.test"] * len(asked)
        assert len(asked) > 1
        assert receiver.reached == []


async def _tried(site: Site, target: Target) -> None:
    """Wait until its webhook was called, or could not be."""
    engine = site.service.engine
    while not [
        w for w in await engine.watches(target.task_id, owner=None) if w.attempts or w.given_up
    ]:
        await pause(1)


async def test_a_source_that_sends_elsewhere_takes_no_headers_there() -> None:
    """A redirect is not followed, not even to another path of the same server (T14, T16)."""
    async with outside() as (inward, inward_url), outside() as (source, url):
        source.elsewhere = inward_url
        mcp = {
            "shop": {
                "url": url,
                "headers": {"x-key": "canary"},
                "optional": True,
                "retry": {"attempts": 1},
            }
        }
        async with served(config(mcp=mcp)):
            await until(lambda: bool(source.reached))
    assert source.reached[0]["x-key"] == "canary"
    assert inward.reached == []


async def test_no_request_names_a_server_of_tools() -> None:
    """Neither by a path nor by what is asked to be done (T16)."""
    async with outside() as (inward, url), served() as site:
        for named in (url, "..", "%2e%2e", "local/../x", "http:%2f%2f127.0.0.1", "x" * 5_000):
            quoted = httpx.URL("http://x").copy_with(path=f"/{named}").raw_path.decode()
            path = f"/manage/sources{quoted}/rediscover"
            answer = await site.send("staff", "POST", path, json_body={"url": url})
            assert answer.status in {403, 404, 422}, (named, answer)
        put = await site.send("staff", "PUT", "/manage/instructions", json_body={"text": url})
        assert put.status == 403
    assert inward.reached == []


# --- headers that are passed on (T14) -----------------------------------------------------------


class Shop:
    """A server of tools, and the headers of each call."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[str, str]]] = []
        self.mcp = MCPServer("shop", log_level="CRITICAL")
        self.mcp.add_tool(self.look)

    async def look(self, ctx: Context) -> str:
        """Look at who calls."""
        request = ctx.request_context.request
        assert isinstance(request, Request)
        self.seen.append([(n.decode(), v.decode()) for n, v in request.headers.raw])
        return "noted"


async def _looks(task: TaskContext) -> str:
    return (await task.call_tool("look")).text


_IDS: Final = itertools.count()


async def _ask_raw(site: Site, headers: list[tuple[bytes, bytes]]) -> None:
    """A message whose headers no client of HTTP would send."""
    said = {"messageId": f"m{next(_IDS)}", "role": "ROLE_USER", "parts": [{"text": "go"}]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": said}}
    sent: list[dict[str, Any]] = []
    own = [
        (b"host", b"127.0.0.1:8000"),
        (b"content-type", b"application/json"),
        (b"a2a-version", b"1.0"),
        (b"authorization", f"Bearer {PEOPLE['owner']}".encode()),
    ]
    left = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if left:
            return left.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:  # noqa: ANN401  ASGI
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/a2a/rpc",
        "raw_path": b"/a2a/rpc",
        "query_string": b"",
        "headers": [*own, *headers],
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await site.service.app(scope, receive, send)
    assert sent[0]["status"] < 500


async def test_nothing_is_smuggled_in_a_header_that_is_passed_on() -> None:
    """Neither a second header nor another one by a name that is nearly the same (T14)."""
    shop = Shop()
    attacks: list[tuple[list[tuple[bytes, bytes]], str | None]] = [
        ([(b"x-user-key", b"one")], "one"),
        ([(b"x-user-key", b"one"), (b"x-user-key", b"two")], "one, two"),
        ([(b"x_user_key", b"one")], None),
        ([(b"x-user-key ", b"one")], None),
        ([(b"x-user-key", b"one\r\nx-evil: 1")], None),
        ([(b"x-user-key", b"one\nx-evil: 1")], None),
        ([(b"x-user-key", b"one\0")], None),
        ([(b"x-user-key", "ü".encode())], None),
        ([(b"x-user-key\r\nx-evil", b"1")], None),
        ([(b"connection", b"x-user-key"), (b"x-evil", b"1"), (b"cookie", b"x-user-key=1")], None),
    ]
    async with mcp_served(shop.mcp) as url:
        mcp = {"shop": {"url": url, "pass_through": ["X-User-Key"]}}
        async with served(config(agent=_looks, tools=(), mcp=mcp, limits=Limits())) as site:
            for headers, passed in attacks:
                shop.seen.clear()
                await _ask_raw(site, headers)
                # Where it cannot be sent, the call is not made at all.
                for seen in shop.seen:
                    given = dict(seen)
                    assert given.get("x-user-key") == passed, headers
                    assert not {"x-evil", "authorization", "cookie", "x_user_key"} & given.keys()
                assert shop.seen or passed is None, headers


@pytest.mark.parametrize(
    "name",
    ["host", "Content-Length", "transfer-encoding", "connection", "mcp-session-id", "a b", ""],
)
def test_what_belongs_to_the_transport_is_never_passed_on(name: str) -> None:
    """T14."""
    with pytest.raises((InvalidInput, ValueError)):
        Service.of(config(mcp={"a": {"url": "http://h/mcp", "pass_through": [name]}}))


# --- what people come to see (T8, T17) ----------------------------------------------------------

XSS: Final = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg/onload=alert(1)>"


async def _says(task: TaskContext) -> str:
    """Says it wherever an agent can."""
    await task.emit(XSS, name=XSS)
    await task.progress(XSS)
    await task.authorize(XSS, {XSS: XSS, "url": "javascript:alert(1)"})
    return XSS


async def test_nothing_that_is_said_can_act_in_a_browser() -> None:
    """In prompts, artifacts, names of tools and arguments: over every face (T8, T17)."""
    async with served(config(agent=_says)) as site:
        handle = await site.service.engine.submit(XSS, owner="tenant=acme ada")
        await handle.rest()
        answers = await _seen(site, handle.task_id)
    for name, answer in answers.items():
        if answer.body == "Not Found":
            continue  # Nothing of the request is in it.
        kind = answer.headers["content-type"].partition(";")[0]
        assert answer.headers.get("x-content-type-options") == "nosniff" or kind in _NO_PAGES, name
        if kind not in _NO_PAGES:
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy, name
            # Pictures have styles of their own, and are opened in a sandbox.
            assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", ""), name
            assert "<script>alert" not in answer.body, name
            assert "onerror=alert(1)>" not in answer.body.replace("&gt;", ""), name
            assert "<svg/onload" not in answer.body, name
            assert 'href="javascript' not in answer.body, name


#: No browser runs what is in these, whatever it takes them for.
_NO_PAGES: Final = frozenset(f"application/{kind}json" for kind in ("", "problem+", "a2a+")) | {
    "text/event-stream"
}


async def _seen(site: Site, task_id: str) -> Mapping[str, Answer]:
    """Whatever shows a task."""
    found: dict[str, Answer] = {}
    for path in (
        f"tasks/{task_id}",
        "inbox",
        "tasks",
        f"tasks/{task_id}/live",
        f"tasks?search={XSS}",
    ):
        found[f"console {path}"] = await site.page("owner", f"/console/{path}")
    for path in ("", "/events", "/events/stream", "/diagram.svg"):
        found[path] = await site.send("owner", "GET", f"/manage/tasks/{task_id}{path}")
    for path in (f"tasks/{XSS}", "diagrams/population.svg", "diagrams/lifecycle.svg", f"{XSS}"):
        found[path] = await site.send("owner", "GET", f"/manage/{path}")
    own = {"a2a-version": "1.0"}
    for path in (f"tasks/{task_id}", "tasks", f"tasks/{XSS}", f"tasks?status={XSS}"):
        found[f"a2a {path}"] = await site.send("owner", "GET", f"/a2a/{path}", headers=own)
    found["mcp"] = await site.mcp("owner", "tasks/get", {"taskId": task_id})
    found["nowhere"] = await site.send("owner", "GET", f"/{XSS}")
    return found


# --- a call that is shown by another (T1) -------------------------------------------------------


async def test_the_state_of_a_call_is_its_callers() -> None:
    """Who has got hold of it, answers nothing and is told nothing (T1)."""
    async with served() as site:
        rounds = {"name": "agent", "arguments": {"message": "ask"}}
        asked = json.loads((await _call(site, "owner", rounds)).body)["result"]
        assert HIDDEN in json.dumps(asked)
        (record,) = (await site.service.engine.page(TaskQuery())).records
        (key,) = asked["inputRequests"]
        reply = {"action": "accept", "content": {"value": "Oslo"}}
        more = {"requestState": asked["requestState"], "inputResponses": {key: reply}}
        for who in ("peer", "staff", "tenant", "tenantless", "issuer", "nobody"):
            answer = await _call(site, who, {**rounds, **more})
            assert answer.is_refusal, (who, answer)
            assert HIDDEN not in answer.body
            assert await site.service.engine.record(record.task_id, owner=None) == record
        assert "Oslo" in (await _call(site, "owner", {**rounds, **more})).body


async def _call(site: Site, who: str, params: dict[str, Any]) -> Answer:
    """A call of a client that answers in rounds, and knows of no tasks."""
    meta: JsonObject = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {**params, "_meta": meta}}
    own = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": str(params["name"]),
    }
    return await site.send(who, "POST", "/mcp", json_body=body, headers=own)
