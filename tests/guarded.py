"""A whole service with every face open, and everybody who may try its doors.

HTTP stays in the process, gRPC goes over loopback.  Nothing here stands in for the service: it is
`Service.of` a configuration, as `interlock serve` makes it.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httpx
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from a2a_faces import InProcess
from console import form_of
from identities import AUDIENCE, ISSUER, KEYS, token
from interlock import JsonObject, Limits, TaskContext, TaskQuery
from interlock_adapters.auth import hashed, new_token
from interlock_adapters.config import Config
from interlock_adapters.service import Service

__all__ = ["HIDDEN", "MODERN", "NOBODY", "PEOPLE", "Answer", "Site", "Target", "config", "served"]

#: What the task of the owner says; nobody else may come to read it.
HIDDEN: Final = "grand-hotel-4711"
#: Versions of MCP, with and without sessions.
MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"

_ALL: Final = ("approver", "operator", "auditor")
_TOKENS: Final = {name: new_token() for name in ("owner", "staff", "peer", "tenant", "tenantless")}
#: Credentials, by who shows them: the owner, who looks after the tenant, and who has no business.
PEOPLE: Final[Mapping[str, str]] = {
    **_TOKENS,
    "issuer": token(org="acme", roles=[]),
    "expired": token(org="acme", exp=1),
    "garbage": "ilk_garbage",
    "nobody": "",
}
#: Those who get past no door.
NOBODY: Final = frozenset({"expired", "garbage", "nobody"})
_TOLD: Final = (
    ("owner", "ada", "acme", ()),
    ("staff", "otto", "acme", _ALL),
    ("peer", "bob", "acme", ()),
    ("tenant", "ada", "other", _ALL),
    ("tenantless", "ada", "", ()),
)


async def agent(task: TaskContext) -> str:
    """Does what its input says, and names what nobody else may read."""
    match task.input.text.partition(" ")[0]:
        case "ask":
            return await task.ask(HIDDEN, str)
        case "pay":
            return str(await task.authorize("pay", {"to": HIDDEN}))
        case "astray":
            _RUNS.append(1)
            return await task.ask(f"{HIDDEN} {len(_RUNS)}?", str)
        case _:
            return HIDDEN


_RUNS: Final[list[int]] = []


def book(city: str) -> str:
    """Book a flight."""
    return f"booked {city}"


def config(**said: object) -> Config:
    """All of it: every face, every way to authenticate, generous quotas."""
    entries = [
        {"hash": hashed(_TOKENS[name]), "subject": subject, "tenant": tenant, "roles": roles}
        for name, subject, tenant, roles in _TOLD
    ]
    jwt = {"issuer": ISSUER, "audience": [AUDIENCE], "keys": KEYS, "tenant_claim": "org"}
    given: dict[str, object] = {
        "agent": agent,
        "tools": (book,),
        "store": "memory:",
        "name": "Travel",
        "limits": Limits(park_after_s=0),
        "auth": {"tokens": entries, "jwt": [jwt]},
        "faces": {
            "a2a": {"push": {"allow_http": True, "allow_private_targets": True}},
            "mcp": {"experimental_tasks": True},
        },
        "telemetry": {"prometheus": True},
        "quotas": {"requests_per_minute": 1e6, "burst": 100_000},
    }
    return Config.model_validate({**given, **said})


class Target(NamedTuple):
    """A task as an operation names it, and what it asks."""

    task_id: str
    key: str = ""
    digest: str = ""

    @property
    def named(self) -> JsonObject:
        """As MCP names it."""
        return {"taskId": self.task_id}

    @property
    def never(self) -> "Target":
        """The same of a task that never was."""
        return self._replace(task_id="0" * len(self.task_id))


class Answer(NamedTuple):
    """What somebody was answered; of a stream that stays open, its beginning."""

    status: int
    headers: dict[str, str]
    body: str

    def about(self, target: Target) -> "tuple[int, dict[str, str], str]":
        """All of it, whichever task it was about."""
        id_ = target.task_id
        kept = {n: v.replace(id_, "TASK") for n, v in self.headers.items() if n not in _EACH_TIME}
        return self.status, kept, self.body.replace(id_, "TASK")

    @property
    def is_refusal(self) -> bool:
        """Whether nothing was done; JSON-RPC says so in its body."""
        if self.status >= httpx.codes.BAD_REQUEST:
            return True
        if self.status in {httpx.codes.SEE_OTHER, httpx.codes.TEMPORARY_REDIRECT}:
            return "sign-in" in self.headers["location"]
        return '"error"' in self.body and '"jsonrpc"' in self.body


#: Headers that differ from answer to answer.
_EACH_TIME: Final = frozenset({"mcp-session-id", "date", "content-length"})


@dataclass
class Site:
    """A service that is served, and what people have with it."""

    service: Service
    http: httpx.AsyncClient
    #: By who signed in: the cookie, and the token of each form.
    cookies: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    sessions: dict[str, str] = field(default_factory=dict[str, str])

    async def send(
        self,
        who: str,
        method: str,
        path: str,
        *,
        json_body: object = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request in somebody's name, and the beginning of what comes back."""
        shown = PEOPLE[who]
        own = {"authorization": f"Bearer {shown}"} if shown and form is None else {}
        request = self.http.build_request(
            method, path, json=json_body, data=form, headers={**own, **(headers or {})}
        )
        return await self.answered(request)

    async def answered(self, request: httpx.Request) -> Answer:
        """What comes back: all of it, or of a stream what comes until nothing more does."""
        async with asyncio.timeout(60):
            answer = await self.http.send(request, stream=True)
            try:
                streams = "event-stream" in answer.headers.get("content-type", "")
                chunks = answer.aiter_bytes()
                body = b""
                async for chunk in chunks:
                    body += chunk
                    if streams and b"data:" in body:
                        break
            finally:
                await answer.aclose()
        return Answer(answer.status_code, dict(answer.headers), body.decode())

    async def mcp(self, who: str, method: str, params: JsonObject) -> Answer:
        """A request of the era without sessions, with the extension for tasks."""
        meta: JsonObject = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {
                "extensions": {"io.modelcontextprotocol/tasks": {}}
            },
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        name = {"mcp-name": str(params["name"])} if "name" in params else {}
        more = {**MCP, "mcp-protocol-version": MODERN, "mcp-method": method, **name}
        return await self.send(who, "POST", "/mcp", json_body=body, headers=more)

    async def mcp_handshake(self, who: str, method: str, params: JsonObject) -> Answer:
        """A request of the era with sessions, in a session of one's own."""
        if who not in self.sessions:
            hello: JsonObject = {
                "protocolVersion": HANDSHAKE,
                "capabilities": {},
                "clientInfo": {"name": "raw", "version": "1"},
            }
            answer = await self._in_session(who, "initialize", hello, id=1)
            self.sessions[who] = answer.headers.get("mcp-session-id", "")
            await self._in_session(who, "notifications/initialized", {})
        return await self._in_session(who, method, params, id=2)

    async def _in_session(self, who: str, method: str, params: JsonObject, **more: int) -> Answer:
        body = {"jsonrpc": "2.0", "method": method, "params": params, **more}
        session = self.sessions.get(who)
        own = {"mcp-session-id": session, "mcp-protocol-version": HANDSHAKE} if session else {}
        return await self.send(who, "POST", "/mcp", json_body=body, headers={**MCP, **own})

    async def page(self, who: str, path: str) -> Answer:
        """A page of the console, in a browser where somebody tried to sign in."""
        cookie, _ = await self._signed_in(who)
        own = {"cookie": cookie, "accept": "text/html"}
        return await self.answered(self.http.build_request("GET", path, headers=own))

    async def post(self, who: str, path: str, fields: Mapping[str, str]) -> Answer:
        """A form of a page of the console."""
        cookie, csrf = await self._signed_in(who)
        own = {"cookie": cookie, **self.same_site}
        return await self.send(who, "POST", path, form={**fields, "csrf": csrf}, headers=own)

    @property
    def same_site(self) -> dict[str, str]:
        """What a browser says of a page of ours."""
        return {"origin": self.service.url, "sec-fetch-site": "same-origin"}

    async def _signed_in(self, who: str) -> tuple[str, str]:
        if who not in self.cookies:
            self.cookies[who] = await self._sign_in(PEOPLE[who])
        return self.cookies[who]

    async def _sign_in(self, shown: str) -> tuple[str, str]:
        page = await self.http.get("/console/sign-in")
        before = _cookie_of(page)
        fields = form_of(page.text, "/sign-in")
        done = await self.http.post(
            "/console/sign-in",
            data={**fields, "token": shown},
            headers={"cookie": before, **self.same_site},
        )
        self.http.cookies.clear()
        if done.status_code != HTTPStatus.SEE_OTHER:
            return before, fields["csrf"]
        cookie = _cookie_of(done)
        inbox = await self.http.get("/console/inbox", headers={"cookie": cookie})
        return cookie, form_of(inbox.text, "/sign-out")["csrf"]

    async def task(self, text: str) -> Target:
        """A task of the owner that has come to a rest."""
        engine = self.service.engine
        handle = await engine.submit(f"{text} {HIDDEN}", owner="tenant=acme ada")
        record = await handle.rest()
        if text == "astray":
            await handle.answer(record.asks[0].key, "x")
            record = await handle.rest()
        elif text == "done":
            await engine.over(record.task_id, owner=None)
            while record.phase.value != "finalized":
                await asyncio.sleep(0)
                record = await engine.record(record.task_id, owner=None)
        ask = record.asks[0] if record.asks else None
        return Target(record.task_id, ask.key if ask else "", (ask and ask.digest) or "")

    async def everything(self) -> object:
        """What the store holds of everybody, and what everybody shares."""
        engine = self.service.engine
        page = await engine.page(TaskQuery(limit=500))
        ids = [record.task_id for record in page.records]
        logs = [await engine.events(task_id, owner=None) for task_id in ids]
        watches = [await engine.watches(task_id, owner=None) for task_id in ids]
        hooks = [[(w.watch_id, w.channel, w.config) for w in of_task] for of_task in watches]
        return page.records, logs, hooks, engine.tools.policies.version


#: What every request of MCP has.
MCP: Final = {"accept": "application/json, text/event-stream"}


def _cookie_of(answer: httpx.Response) -> str:
    """The cookie that an answer sets, as a browser sends it back."""
    return answer.headers["set-cookie"].partition(";")[0]


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@asynccontextmanager
async def served(said: Config | None = None) -> AsyncGenerator[Site]:
    """It, served to this machine."""
    service = Service.of(said or config())

    async def from_here(scope: Scope, receive: Receive, send: Send) -> None:
        await service.app({**scope, "client": ("127.0.0.1", 1)}, receive, send)

    here = InProcess(from_here)
    async with (
        service.lifespan(),
        httpx.AsyncClient(transport=here, base_url=service.url) as client,
    ):
        yield Site(service, client)


def routes_of(service: Service) -> set[tuple[str, str]]:
    """Every route of the service, by method; `*` stands for any method."""
    return set(_routes(service.app, ""))


def _routes(app: Any, above: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401  ASGI
    """Through whatever stands in front of them: an application that is not known is a failure."""
    while not hasattr(app, "routes"):
        if hasattr(app, "_console"):
            yield from _routes(app._console, above)
            app = app._rest
        else:
            app = app.app if hasattr(app, "app") else app._app
    for route in app.routes:
        if isinstance(route, Mount):
            yield from _routes(route.app, above + route.path)
        elif isinstance(route, Route):
            for method in route.methods or {"*"}:
                yield method, above + route.path
        else:
            for found in iter_route_contexts([route]):
                for method in found.methods or {"*"}:
                    yield method, f"{above}{found.path}"
