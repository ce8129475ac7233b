"""Every operation of every face on somebody else's task, by everybody who has no business.

R-SVC-98: what one may not see or do is refused alike over every face, as if it were not there, and
changes nothing.  Threats: T1 (isolation), T2 (nobody), T4 (guessed ids), T17 (management).

Operations are by route, and by method where a route has many: a new one fails until it is listed.
"""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeAlias

import grpc
import grpc.aio
import pytest
from a2a.compat.v0_3 import a2a_v0_3_pb2, a2a_v0_3_pb2_grpc
from a2a.types import a2a_pb2, a2a_pb2_grpc
from google.protobuf.json_format import ParseDict

from guarded import (
    HIDDEN,
    NOBODY,
    PEOPLE,
    Answer,
    Site,
    Target,
    config,
    free_port,
    routes_of,
    served,
)
from interlock_adapters.a2a import _legacy as a2a_legacy
from interlock_adapters.a2a._rpc import ANSWERS, STREAMS
from interlock_adapters.mcp import McpSettings, mcp_server
from interlock_adapters.mcp._experimental import Experimental
from interlock_adapters.service import Service

Send: TypeAlias = Callable[[Site, str, Target], Awaitable[Answer]]
Body: TypeAlias = Callable[[Target], dict[str, Any]]

STRANGERS: Final = tuple(name for name in PEOPLE if name not in {"owner", "staff"})
_IDS: Final = itertools.count(1)
_HOOK: Final = {"id": "hook", "url": "http://127.0.0.1:9/hook"}


class Op(NamedTuple):
    """One way to do something to a task."""

    send: Send
    #: What the agent of the task is told.
    task: str = "ask"
    #: Whoever may do it, which shows that the call is a good one.
    may: str = "owner"
    #: The task has a webhook.
    hooked: bool = False


# --- how each face is called ----------------------------------------------------------------


def _http(method: str, path: str, body: Body | None = None, version: str = "") -> Send:
    async def send(site: Site, who: str, target: Target) -> Answer:
        at = path
        for name in ("{task_id}", "{id}"):
            at = at.replace(name, target.task_id)
        said = None if body is None else body(target)
        own = {"a2a-version": version} if version else {}
        return await site.send(
            who, method, at.replace("{push_id}", "hook"), json_body=said, headers=own
        )

    return send


def _rpc(method: str, params: Body, version: str) -> Send:
    async def send(site: Site, who: str, target: Target) -> Answer:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params(target)}
        own = {"a2a-version": version}
        return await site.send(who, "POST", "/a2a/rpc", json_body=body, headers=own)

    return send


def _mcp(method: str, params: Body) -> Send:
    return lambda site, who, target: site.mcp(who, method, params(target))


def _handshake(method: str) -> Send:
    return lambda site, who, target: site.mcp_handshake(who, method, {"taskId": target.task_id})


def _page(path: str) -> Send:
    return lambda site, who, target: site.page(who, path.replace("{task_id}", target.task_id))


def _form(path: str, fields: Body) -> Send:
    return lambda site, who, target: site.post(
        who, path.replace("{task_id}", target.task_id), fields(target)
    )


# --- what each is told -----------------------------------------------------------------------


def _message(target: Target) -> dict[str, Any]:
    said = {"messageId": f"m{next(_IDS)}", "role": "ROLE_USER", "parts": [{"text": "Oslo"}]}
    return {"message": {**said, "taskId": target.task_id}}


def _message_0_3(target: Target) -> dict[str, Any]:
    said = {"messageId": f"m{next(_IDS)}", "role": "user", "taskId": target.task_id}
    return {"message": {**said, "parts": [{"kind": "text", "text": "Oslo"}]}}


def _message_proto_0_3(target: Target) -> dict[str, Any]:
    said = {"messageId": f"m{next(_IDS)}", "role": "ROLE_USER", "taskId": target.task_id}
    return {"message": {**said, "content": [{"text": "Oslo"}]}}


def _named(target: Target) -> dict[str, Any]:
    return {"id": target.task_id}


def _of_hook(target: Target) -> dict[str, Any]:
    return {"taskId": target.task_id, "id": "hook"}


def _of_hook_0_3(target: Target) -> dict[str, Any]:
    return {"id": target.task_id, "pushNotificationConfigId": "hook"}


def _new_hook_0_3(target: Target) -> dict[str, Any]:
    return {"taskId": target.task_id, "pushNotificationConfig": _HOOK}


def _new_hook_rest_0_3(target: Target) -> dict[str, Any]:
    config = {"pushNotificationConfig": _HOOK}
    return {"parent": f"tasks/{target.task_id}", "configId": "hook", "config": config}


def _nothing(_target: Target) -> dict[str, Any]:
    return {}


def _new_hook(_target: Target) -> dict[str, Any]:
    return dict(_HOOK)


def _task_id(target: Target) -> dict[str, Any]:
    return {"taskId": target.task_id}


def _responses(target: Target) -> dict[str, Any]:
    reply = {"action": "accept", "content": {"value": "Oslo"}}
    return {"taskId": target.task_id, "inputResponses": {target.key: reply}}


def _decision(target: Target) -> dict[str, Any]:
    return {"ask": target.key, "digest": target.digest}


_V1: Final[dict[str, tuple[Body, bool]]] = {
    "SendMessage": (_message, False),
    "SendStreamingMessage": (_message, False),
    "GetTask": (_named, False),
    "CancelTask": (_named, False),
    "SubscribeToTask": (_named, False),
    "CreateTaskPushNotificationConfig": (lambda t: {**_HOOK, "taskId": t.task_id}, False),
    "GetTaskPushNotificationConfig": (_of_hook, True),
    "ListTaskPushNotificationConfigs": (_task_id, True),
    "DeleteTaskPushNotificationConfig": (_of_hook, True),
}
_V0_3: Final[dict[str, tuple[Body, bool]]] = {
    "message/send": (_message_0_3, False),
    "message/stream": (_message_0_3, False),
    "tasks/get": (_named, False),
    "tasks/cancel": (_named, False),
    "tasks/resubscribe": (_named, False),
    "tasks/pushNotificationConfig/set": (_new_hook_0_3, False),
    "tasks/pushNotificationConfig/get": (_of_hook_0_3, True),
    "tasks/pushNotificationConfig/list": (_named, True),
    "tasks/pushNotificationConfig/delete": (_of_hook_0_3, True),
}
_MCP: Final[dict[str, Body]] = {
    "tasks/get": _task_id,
    "tasks/update": _responses,
    "tasks/cancel": _task_id,
    "subscriptions/listen": lambda t: {"notifications": {"taskIds": [t.task_id]}},
}
_EXPERIMENTAL: Final = ("tasks/get", "tasks/result", "tasks/cancel")

_PUSH: Final = "/tasks/{id}/pushNotificationConfigs"
_REST: Final = {
    f"POST {prefix}/message:{how}": Op(_http("POST", f"{prefix}/message:{how}", body, version))
    for prefix, body, version in (("/a2a", _message, "1.0"), ("/a2a/v1", _message_proto_0_3, "0.3"))
    for how in ("send", "stream")
} | {
    f"{method} {prefix}{path}": Op(_http(method, prefix + path, body, version), hooked=hooked)
    for prefix, version, new_hook in (
        ("/a2a", "1.0", _new_hook),
        (
            "/a2a/v1",
            "0.3",
            _new_hook_rest_0_3,
        ),
    )
    for method, path, body, hooked in (
        ("GET", "/tasks/{id}", None, False),
        ("POST", "/tasks/{id}:cancel", _nothing, False),
        ("GET", "/tasks/{id}:subscribe", None, False),
        ("POST", "/tasks/{id}:subscribe", _nothing, False),
        ("POST", _PUSH, new_hook, False),
        ("GET", _PUSH, None, True),
        ("GET", f"{_PUSH}/{{push_id}}", None, True),
        ("DELETE", f"{_PUSH}/{{push_id}}", None, True),
    )
    if (method, version) != ("DELETE", "0.3")
}

_MANAGE: Final = "/manage/tasks/{task_id}"
_CONSOLE: Final = "/console/tasks/{task_id}"
_REASON: Final[Body] = lambda _: {"reason": "so"}  # noqa: E731  beside the others


def _managed(method: str, below: str, body: Body | None = None, **more: str) -> dict[str, Op]:
    path = f"{_MANAGE}{below}"
    return {f"{method} {path}": Op(_http(method, path, body), **more)}  # type: ignore[arg-type]


OPERATIONS: Final[dict[str, Op]] = {
    **{f"POST /a2a/rpc {m}": Op(_rpc(m, b, "1.0"), hooked=h) for m, (b, h) in _V1.items()},
    **{f"POST /a2a/rpc {m}": Op(_rpc(m, b, "0.3"), hooked=h) for m, (b, h) in _V0_3.items()},
    **_REST,
    **{f"* /mcp {m}": Op(_mcp(m, body)) for m, body in _MCP.items()},
    **{f"* /mcp 2025-11-25 {m}": Op(_handshake(m), "done") for m in _EXPERIMENTAL[:2]},
    f"* /mcp 2025-11-25 {_EXPERIMENTAL[2]}": Op(_handshake(_EXPERIMENTAL[2])),
    **_managed("GET", ""),
    **_managed("GET", "/events"),
    **_managed("GET", "/events/stream"),
    **_managed("GET", "/diagram.svg"),
    **_managed("POST", "/answer", lambda t: {"ask": t.key, "value": "Oslo"}),
    **_managed("POST", "/decline", lambda t: {"ask": t.key}),
    **_managed("POST", "/approve", _decision, task="pay"),
    **_managed("POST", "/deny", _decision, task="pay"),
    **_managed("POST", "/cancel", _REASON),
    **_managed(
        "POST", "/resume", lambda _: {"decision": "from_scratch"}, task="astray", may="staff"
    ),
    **_managed("DELETE", "", task="done", may="staff"),
    f"GET {_CONSOLE}": Op(_page(_CONSOLE)),
    f"GET {_CONSOLE}/live": Op(_page(f"{_CONSOLE}/live")),
    f"POST {_CONSOLE}/ask": Op(
        _form(f"{_CONSOLE}/ask", lambda t: {"ask": t.key, "do": "answer", "f": "Oslo"})
    ),
    f"POST {_CONSOLE}/cancel": Op(_form(f"{_CONSOLE}/cancel", _REASON)),
    f"POST {_CONSOLE}/resume": Op(
        _form(f"{_CONSOLE}/resume", lambda _: {"do": "from_scratch"}), "astray", "staff"
    ),
}
#: What is about no task, or about everybody's; and what is for who looks after the deployment.
ON_NO_TASK: Final = {
    "GET /a2a/tasks",
    "GET /a2a/extendedAgentCard",
    "GET /a2a/v1/card",
    "GET /console",
    "GET /console/",
    "GET /console/inbox",
    "GET /console/inbox/live",
    "GET /console/lifecycle",
    "GET /console/lifecycle/live",
    "GET /console/tasks",
    "GET /console/tasks/live",
    "GET /manage/diagrams/lifecycle.svg",
    "GET /manage/diagrams/population.svg",
    "GET /manage/inbox",
    "GET /manage/openapi.json",
    "GET /manage/statistics",
    "GET /manage/tasks",
}
OF_THE_DEPLOYMENT: Final[dict[str, Body | None]] = {
    "GET /metrics": None,
    "GET /console/policies": None,
    "POST /console/policies": lambda _: {"rule": "pay", "policy": "{}"},
    "GET /manage/config": None,
    "GET /manage/instructions": None,
    "PUT /manage/instructions": lambda _: {"text": "be brief"},
    "GET /manage/policies": None,
    "GET /manage/policies/{rule:path}": None,
    "PUT /manage/policies/{rule:path}": lambda _: {"confirm": "never"},
    "DELETE /manage/policies/{rule:path}": None,
    "POST /manage/purge": lambda _: {"older_than_s": 0},
    "GET /manage/sources": None,
    "POST /manage/sources/{source}/rediscover": lambda _: {},
}
OPEN: Final = {
    "GET /",
    "GET /.well-known/agent-card.json",
    "GET /console/sign-in",
    "GET /console/static/console.css",
    "GET /console/static/console.js",
    "GET /healthz",
    "GET /readyz",
}
#: Of one's own session and nobody else's: see test_console_sign_in.
OWN: Final = {"POST /console/sign-in", "POST /console/sign-out"}


# --- nothing is left out -----------------------------------------------------------------------


def test_every_route_is_listed() -> None:
    """A new one fails until somebody says what others may make of it (T1, T17)."""
    listed = {" ".join(name.split()[:2]) for name in OPERATIONS}
    listed |= ON_NO_TASK | OF_THE_DEPLOYMENT.keys() | OPEN | OWN
    found = {f"{m} {path}" for m, path in routes_of(Service.of(config())) if m != "HEAD"}
    assert found == listed


def test_every_method_is_listed() -> None:
    """Of the routes that have many (T1)."""
    on_no_task = {"ListTasks", "GetExtendedAgentCard"}
    assert {*ANSWERS, *STREAMS} == _V1.keys() | on_no_task
    (service,) = a2a_pb2.DESCRIPTOR.services_by_name.values()
    assert {method.name for method in service.methods} == GRPC.keys() | on_no_task
    (before,) = a2a_v0_3_pb2.DESCRIPTOR.services_by_name.values()
    assert {method.name for method in before.methods} == GRPC_0_3.keys() | {"GetAgentCard"}
    of_0_3 = {*a2a_legacy._MODELS}
    assert of_0_3 == _V0_3.keys() | {"agent/getAuthenticatedExtendedCard"}
    said = McpSettings(name="Tests", url="http://tests", experimental_tasks=True)
    server: Any = mcp_server(Service.of(config()).engine, said)
    about_tasks = {name for name in server._request_handlers if name not in _ABOUT_NO_TASK}
    assert about_tasks == _MCP.keys()
    (experimental,) = (m for m in server.middleware if isinstance(m, Experimental))
    assert {*experimental._methods} == {*_EXPERIMENTAL, "tools/call", "tasks/list"}


_ABOUT_NO_TASK: Final = {"tools/list", "tools/call", "ping", "server/discover", "initialize"}


# --- somebody else's task ---------------------------------------------------------------------


def _face_of(name: str) -> str:
    """The operations of one face share a service: nothing but what is allowed changes it."""
    first, *_ = name.partition(" ")[2].split()
    return first if first in {"/a2a/rpc", "/mcp"} else "/".join(first.split("/")[:2])


@pytest.mark.parametrize("face", sorted({_face_of(name) for name in OPERATIONS}))
async def test_anothers_task_is_one_that_never_was(face: str) -> None:
    """In the same words, whoever asks, and nothing is changed by it (R-SVC-98, T1, T4)."""
    async with served() as site:
        for name, operation in OPERATIONS.items():
            if _face_of(name) == face:
                await _check_isolated(site, name, operation)


async def _check_isolated(site: Site, name: str, operation: Op) -> None:
    target = await site.task(operation.task)
    if operation.hooked:
        hook = OPERATIONS["POST /a2a/rpc CreateTaskPushNotificationConfig"]
        assert not (await hook.send(site, "owner", target)).is_refusal, name
    before = await site.everything()
    for who in STRANGERS:
        theirs = await operation.send(site, who, target)
        nobodys = await operation.send(site, who, target.never)
        assert theirs.about(target) == nobodys.about(target.never), (name, who)
        assert HIDDEN not in theirs.body, (name, who)
        if name != "* /mcp subscriptions/listen" or who in NOBODY:
            # What is not there is not acknowledged there: see test_listen.
            assert theirs.is_refusal, (name, who, theirs)
        assert (theirs.status in _DOORS) is (who in NOBODY), (name, who, theirs)
        assert await site.everything() == before, (name, who)
    done = await operation.send(site, operation.may, target)
    assert not done.is_refusal, (name, done)


#: A door that does not open: of the faces, and of the console's pages.
_DOORS: Final = frozenset({401, 303})


# --- what is about everybody's tasks -----------------------------------------------------------


async def test_lists_and_counts_hold_nothing_of_others() -> None:
    """Neither a task nor that there is one (R-SVC-98, T1)."""
    async with served() as site, served() as empty:
        targets = [await site.task("ask"), await site.task("pay")]
        before = await site.everything()
        for name, who in itertools.product(sorted(ON_NO_TASK), STRANGERS):
            method, path = name.split()
            said = await _looked(site, who, method, path)
            assert (said.status in _DOORS) is (who in NOBODY), (name, who)
            for target in targets:
                assert target.task_id not in said.body, (name, who)
            assert HIDDEN not in said.body, (name, who)
            if "console" not in path and "card" not in path.lower():
                assert (await _looked(empty, who, method, path)).body == said.body, (name, who)
        assert await site.everything() == before


async def _looked(site: Site, who: str, method: str, path: str) -> Answer:
    if path.startswith("/console"):
        return await site.page(who, path)
    return await site.send(
        who, method, path, headers={"a2a-version": "0.3" if "/v1/" in path else "1.0"}
    )


async def test_the_deployment_is_nothing_for_people_of_a_tenant() -> None:
    """Also for who has every role there (R-SVC-98, T17)."""
    async with served() as site:
        await site.task("done")
        before = await site.everything()
        for (name, body), who in itertools.product(OF_THE_DEPLOYMENT.items(), PEOPLE):
            method, path = name.split()
            path = path.replace("{rule:path}", "pay").replace("{source}", "local")
            said = None if body is None else body(Target(""))
            if not path.startswith("/console"):
                answer = await site.send(who, method, path, json_body=said)
            elif said is None:
                answer = await site.page(who, path)
            else:
                answer = await site.post(who, path, said)
            assert answer.status in (_DOORS if who in NOBODY else {403}), (name, who, answer)
        assert await site.everything() == before


async def test_a_list_of_mcp_holds_the_callers_own() -> None:
    """Of the era with sessions (T1)."""
    async with served() as site:
        target = await site.task("ask")
        assert target.task_id in (await site.mcp_handshake("owner", "tasks/list", {})).body
        for who in STRANGERS:
            assert target.task_id not in (await site.mcp_handshake(who, "tasks/list", {})).body


async def test_a_session_of_mcp_is_its_owners() -> None:
    """Who has got hold of its id has nothing (T1, T4)."""
    async with served() as site:
        target = await site.task("done")
        assert HIDDEN in (await site.mcp_handshake("owner", "tasks/result", target.named)).body
        before = await site.everything()
        for who in STRANGERS:
            site.sessions[who] = site.sessions["owner"]
            for method in _EXPERIMENTAL:
                answer = await site.mcp_handshake(who, method, target.named)
                assert answer.is_refusal
                assert HIDDEN not in answer.body
        assert await site.everything() == before


# --- gRPC --------------------------------------------------------------------------------------

_NAME: Final[Body] = lambda t: {"name": f"tasks/{t.task_id}"}  # noqa: E731  beside the others
_HOOK_NAME: Final[Body] = lambda t: {  # noqa: E731  as above
    "name": f"tasks/{t.task_id}/pushNotificationConfigs/hook"
}

#: By method: the request, its type, and whether the task has a webhook.
GRPC: Final[dict[str, tuple[Body, Any, bool]]] = {
    method.name: (
        *_V1[method.name][:1],
        getattr(a2a_pb2, method.input_type.name),
        _V1[method.name][1],
    )
    for method in a2a_pb2.DESCRIPTOR.services_by_name["A2AService"].methods
    if method.name in _V1
}
_REQUESTS_0_3: Final[dict[str, tuple[Body, bool]]] = {
    "SendMessage": (lambda t: {"request": _message_proto_0_3(t)["message"]}, False),
    "SendStreamingMessage": (lambda t: {"request": _message_proto_0_3(t)["message"]}, False),
    "GetTask": (_NAME, False),
    "CancelTask": (_NAME, False),
    "TaskSubscription": (_NAME, False),
    "CreateTaskPushNotificationConfig": (
        lambda t: {
            "parent": f"tasks/{t.task_id}",
            "configId": "hook",
            "config": {"name": _HOOK_NAME(t)["name"], "pushNotificationConfig": _HOOK},
        },
        False,
    ),
    "GetTaskPushNotificationConfig": (_HOOK_NAME, True),
    "ListTaskPushNotificationConfig": (lambda t: {"parent": f"tasks/{t.task_id}"}, True),
    "DeleteTaskPushNotificationConfig": (_HOOK_NAME, True),
}
GRPC_0_3: Final[dict[str, tuple[Body, Any, bool]]] = {
    method.name: (
        _REQUESTS_0_3[method.name][0],
        getattr(a2a_v0_3_pb2, method.input_type.name),
        _REQUESTS_0_3[method.name][1],
    )
    for method in a2a_v0_3_pb2.DESCRIPTOR.services_by_name["A2AService"].methods
    if method.name in _REQUESTS_0_3
}
_STUBS: Final[dict[str, Any]] = {
    "1.0": a2a_pb2_grpc.A2AServiceStub,
    "0.3": a2a_v0_3_pb2_grpc.A2AServiceStub,
}


async def _called(stub: Any, name: str, request: Any, who: str, version: str) -> tuple[Any, str]:  # noqa: ANN401  generated
    """The status of a call and what it says; of a stream, of its first message."""
    shown = PEOPLE[who]
    own = (("authorization", f"Bearer {shown}"),) if shown else ()
    call = getattr(stub, name)(request, metadata=(("a2a-version", version), *own), timeout=30)
    try:
        if hasattr(call, "read"):
            await call.read()
            call.cancel()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize("version", ["1.0", "0.3"])
async def test_anothers_task_is_one_that_never_was_over_grpc(version: str) -> None:
    """As over HTTP (R-SVC-98, T1, T4)."""
    port = free_port()
    push = {"allow_http": True, "allow_private_targets": True}
    faces = {"a2a": {"grpc": {"port": port}, "push": push}}
    async with (
        served(config(faces=faces)) as site,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = _STUBS[version](channel)
        for name in GRPC if version == "1.0" else GRPC_0_3:
            await _check_isolated_over_grpc(site, stub, name, version)


async def _check_isolated_over_grpc(site: Site, stub: Any, name: str, version: str) -> None:  # noqa: ANN401  generated
    said, kind, hooked = (GRPC if version == "1.0" else GRPC_0_3)[name]
    target = await site.task("ask")
    if hooked:
        hook = OPERATIONS["POST /a2a/rpc CreateTaskPushNotificationConfig"]
        assert not (await hook.send(site, "owner", target)).is_refusal
    before = await site.everything()
    for who in STRANGERS:
        code, words = await _called(stub, name, ParseDict(said(target), kind()), who, version)
        never = await _called(stub, name, ParseDict(said(target.never), kind()), who, version)
        assert (code, words.replace(target.task_id, target.never.task_id)) == never, (name, who)
        wanted = grpc.StatusCode.UNAUTHENTICATED if who in NOBODY else grpc.StatusCode.NOT_FOUND
        assert code is wanted, (name, who, words)
        assert HIDDEN not in words
        assert await site.everything() == before, (name, who)
    done = await _called(stub, name, ParseDict(said(target), kind()), "owner", version)
    assert done[0] is grpc.StatusCode.OK, (name, done)
