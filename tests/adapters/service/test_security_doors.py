"""What stands in front of every route of a whole service: whose page calls, and what it sends.

R-SVC-98.  Threats: T2, T16 (DNS rebinding), T17 (CSRF), T20, T22 (oversize, deep, many values),
T23 (slow bodies), T4 and T21 (guessing), T24 (idle streams of one owner).

The routes come from the service itself, so that a new one is tried as well.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import grpc
import grpc.aio
import httpx
import pytest
from a2a.types import a2a_pb2, a2a_pb2_grpc

from guarded import PEOPLE, Answer, Site, config, free_port, routes_of, served
from identities import BAD
from interlock import TaskQuery
from interlock_adapters._http.asgi import BODY_BYTES_MAX, BodyLimit, Message
from interlock_adapters.service import Service
from support import pause, soon

#: Whether the process lives is nobody's secret, and asked for by machines under many names; and
#: this one says where the first page is.
_HARMLESS: Final = {"/healthz", "/readyz", "/console"}
#: Every route, as it can be called; of those for any method, the one that does something.
ROUTES: Final = sorted(
    ("POST" if (method, path) == ("*", "/mcp") else method.replace("*", "GET"), path)
    for method, path in routes_of(Service.of(config()))
    if method != "HEAD" and path not in _HARMLESS
)
CHANGING: Final = [(m, path) for m, path in ROUTES if m in {"POST", "PUT", "PATCH", "DELETE"}]
WITH_BODY: Final = [(m, path) for m, path in CHANGING if m != "DELETE"]
_FORM: Final = "application/x-www-form-urlencoded"


def _at(path: str) -> str:
    for name in ("{task_id}", "{id}", "{push_id}", "{source}", "{rule:path}"):
        path = path.replace(name, "x")
    return path


def _is_page(path: str) -> bool:
    return path.startswith("/console")


# --- whose page calls (T16, T17) ----------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False], ids=["auth", "trust"])
async def test_every_route_asks_by_which_name_it_is_called(*, known: bool) -> None:
    """A name that was made to point here opens nothing, with a credential or without (T16)."""
    async with served(config() if known else config(auth={})) as site:
        who = "staff" if known else "nobody"
        for (method, path), host in itertools.product(ROUTES, _HOSTS):
            said: dict[str, Any] = {} if method == "GET" else {"json_body": {}}
            answer = await site.send(who, method, _at(path), headers={"host": host}, **said)
            assert answer.status == httpx.codes.MISDIRECTED_REQUEST, (method, path, host, answer)


_HOSTS: Final = ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.", "a@b")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8001"])
@pytest.mark.parametrize("known", [True, False], ids=["auth", "trust"])
async def test_no_page_of_another_site_calls_any_route(origin: str, *, known: bool) -> None:
    """With a credential or without (T16, T17)."""
    async with served(config() if known else config(auth={})) as site:
        before = await site.everything()
        for method, path in ROUTES:
            said: dict[str, Any] = {} if method == "GET" else {"json_body": {}}
            who = "staff" if known else "nobody"
            answer = await site.send(who, method, _at(path), headers={"origin": origin}, **said)
            assert answer.status == httpx.codes.FORBIDDEN, (method, path, answer)
        assert await site.everything() == before


@pytest.mark.parametrize(
    "kind",
    ["text/plain", _FORM, "multipart/form-data; boundary=x", "text/plain; application/json", ""],
)
async def test_what_a_form_of_another_site_can_send_is_taken_nowhere(kind: str) -> None:
    """Where nobody is asked for a credential, and the browser says nothing of itself (T17)."""
    body = b'{"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "done"}]}}'
    async with served(config(auth={})) as site:
        before = await site.everything()
        for method, path in WITH_BODY:
            own = {"content-type": kind} if kind else {}
            request = site.http.build_request(
                method, _at(path), content=body, headers={**own, "a2a-version": "1.0"}
            )
            answer = await site.answered(request)
            refused = {415} if not _is_page(path) else {400, 403, 415}
            assert answer.status in refused, (method, path, answer)
        assert await site.everything() == before


# --- what comes (T22, T23) ----------------------------------------------------------------------


async def test_no_route_reads_more_than_it_must() -> None:
    """Too long as said, too long as it comes, too deep, too many values (T22)."""
    deep = b'{"a":' * 101 + b"1" + b"}" * 101
    many = b"[" + b"0," * 30_000 + b"0]"
    async with served() as site:
        before = await site.everything()
        for method, path in WITH_BODY:
            kind = _FORM if _is_page(path) else "application/json"
            for name, body, status in (
                ("declared", b" " * (BODY_BYTES_MAX + 1), {413}),
                ("deep", deep, {400}),
                ("many", many, {413}),
            ):
                if name != "declared" and _is_page(path):
                    continue  # A form is no JSON: see test_console_csrf.
                request = site.http.build_request(
                    method, _at(path), content=body, headers=_as("staff", kind)
                )
                answer = await site.answered(request)
                assert answer.status in status, (method, path, name, answer)
            grown = [b" " * 1_048_576] * 5
            answer = await _sent(site, method, _at(path), kind, grown)
            assert answer.status == 413, (method, path, answer)
        assert await site.everything() == before


async def test_no_route_waits_for_a_body_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that begins, and does not come (T23)."""
    monkeypatch.setitem(BodyLimit.__init__.__kwdefaults__ or {}, "read_s", 0.01)
    async with served() as site:
        for method, path in WITH_BODY:
            kind = _FORM if _is_page(path) else "application/json"
            answer = await soon(_sent(site, method, _at(path), kind, [b"{"], ends=False))
            assert answer.status == 408, (method, path, answer)


def _as(who: str, kind: str) -> dict[str, str]:
    return {
        "authorization": f"Bearer {PEOPLE[who]}",
        "content-type": kind,
        "a2a-version": "1.0",
    }


async def _sent(
    site: Site, method: str, path: str, kind: str, chunks: Sequence[bytes], *, ends: bool = True
) -> Answer:
    """A request whose body comes in pieces, with no length said."""
    left = list(chunks)
    sent: list[Message] = []

    async def receive() -> Message:
        if left:
            more = bool(left[1:]) or not ends
            return {"type": "http.request", "body": left.pop(0), "more_body": more}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    own = {"host": "127.0.0.1:8000", "transfer-encoding": "chunked", **_as("staff", kind)}
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in own.items()],
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await site.service.app(scope, receive, send)
    return Answer(sent[0]["status"], {}, b"".join(m.get("body", b"") for m in sent).decode())


async def test_grpc_reads_no_more_than_it_must() -> None:
    """Bytes, and metadata (T22)."""
    port = free_port()
    async with (
        served(config(faces={"a2a": {"grpc": {"port": port}}})) as site,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub: Any = a2a_pb2_grpc.A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        own = (("a2a-version", "1.0"), ("authorization", f"Bearer {PEOPLE['owner']}"))
        for text, more in (("x" * (BODY_BYTES_MAX + 1), ()), ("x", (("x-a", "x" * 100_000),))):
            message = a2a_pb2.Message(message_id="m", role="ROLE_USER", parts=[{"text": text}])
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.SendMessage(
                    a2a_pb2.SendMessageRequest(message=message), metadata=(*own, *more), timeout=30
                )
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await site.service.engine.page(TaskQuery())).records == ()


# --- credentials that are none (T1, T2, T20) ----------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "nested deeply"])
async def test_a_bad_jwt_opens_no_face(kind: str) -> None:
    """Forged, expired, for others: every face says the same, and nothing is made (T1, T20)."""
    bad = BAD[kind]()
    async with served() as site:
        own = {"authorization": f"Bearer {bad}", "content-type": "application/json"}
        answers = {
            path: await site.send("nobody", method, path, headers=own)
            for method, path in (
                ("GET", "/manage/tasks"),
                ("POST", "/a2a/rpc"),
                ("GET", "/a2a/tasks"),
                ("POST", "/a2a/message:send"),
                ("POST", "/mcp"),
                ("GET", "/metrics"),
                ("GET", "/console/inbox"),
            )
        }
        assert {answer.status for answer in answers.values()} == {401}
        assert len({answer.body for answer in answers.values()}) == 1
        assert not any(bad.split(".")[1] in answer.body for answer in answers.values())
        _, csrf = await site._sign_in(bad)
        assert (
            "/console/sign-in" in (await site.page("nobody", "/console/inbox")).headers["location"]
        )
        assert csrf
        assert (await site.service.engine.page(TaskQuery())).records == ()


async def test_a_credential_is_shown_in_one_way() -> None:
    """Once, in its header: not in the query, a cookie, a form, or another header (T1, T20)."""
    shown = PEOPLE["owner"]
    bearer = ("authorization", f"Bearer {shown}")
    ways: list[tuple[str, list[tuple[str, str]], int]] = [
        ("", [bearer, bearer], 400),
        ("", [bearer, ("authorization", "Basic x")], 400),
        (f"?access_token={shown}", [], 401),
        (f"?token={shown}", [], 401),
        ("", [("cookie", f"authorization=Bearer {shown}")], 401),
        ("", [("x-authorization", f"Bearer {shown}")], 401),
        ("", [("proxy-authorization", f"Bearer {shown}")], 401),
        ("", [("authorization", f"Bearer {shown}, Bearer {shown}")], 401),
        ("", [("authorization", shown)], 401),
        ("", [("x-forwarded-user", "tenant=acme ada"), ("x-user", "ada")], 401),
        ("", [("x-http-method-override", "GET"), ("x-original-url", "/healthz")], 401),
    ]
    async with served() as site:
        for path in ("/manage/tasks", "/a2a/tasks", "/metrics"):
            for query, headers, status in ways:
                request = site.http.build_request("GET", path + query, headers=headers)
                assert (await site.answered(request)).status == status, (path, headers)
        for path in (
            "/MANAGE/tasks",
            "//manage/tasks",
            "/manage/./tasks",
            "/healthz/../manage/tasks",
        ):
            said = await site.send("nobody", "GET", path)
            assert said.status == 401, path


# --- guessing and crowds (T4, T21, T24) ---------------------------------------------------------

_QUOTAS: Final = {"requests_per_minute": 0.001, "burst": 40, "miss_cost": 9}


async def _guessed(site: Site) -> AsyncGenerator[Answer]:
    """Ids of tasks, tried over one face after the other."""
    ids = (f"{number:032x}" for number in itertools.count())
    while True:
        yield await site.send("peer", "GET", f"/manage/tasks/{next(ids)}")
        yield await site.send(
            "peer", "GET", f"/a2a/tasks/{next(ids)}", headers={"a2a-version": "1.0"}
        )
        yield await site.mcp("peer", "tasks/get", {"taskId": next(ids)})
        yield await site.send("peer", "POST", f"/manage/tasks/{next(ids)}/cancel", json_body={})


async def test_guessing_ids_is_soon_over_whichever_faces_are_used() -> None:
    """And nobody else's matter (T4, T21)."""
    async with served(config(quotas=_QUOTAS)) as site:
        guesses = _guessed(site)
        statuses = [(await anext(guesses)).status for _ in range(12)]
        assert statuses[4:] == [429] * 8
        assert (await site.send("staff", "GET", "/manage/tasks")).status == 200
        await guesses.aclose()


async def test_guessing_ids_on_pages_counts_too() -> None:
    """The console's, with the quota of who signed in (T4, T21)."""
    async with served(config(quotas=_QUOTAS)) as site:
        pages = [await site.page("peer", f"/console/tasks/{n:032x}") for n in range(12)]
        assert [page.status for page in pages][4:] == [429] * 8
        assert (await site.send("peer", "GET", "/manage/tasks")).status == 429


async def test_ten_thousand_idle_streams_of_one_owner_leave_room_for_others() -> None:
    """They are bounded, refused at once beyond that, and none is left when they hang up (T24)."""
    quotas = {"requests_per_minute": 1e9, "burst": 1_000_000, "concurrent": 50}
    async with served(config(quotas=quotas)) as site:
        target = await site.task("ask")
        refusals = 0
        opened: list[httpx.Response] = []
        path = f"/manage/tasks/{target.task_id}/events/stream"
        own = {"authorization": f"Bearer {PEOPLE['owner']}"}
        for _ in range(10_000):
            request = site.http.build_request("GET", path, headers=own)
            answer = await site.http.send(request, stream=True)
            if answer.status_code == 200:
                opened.append(answer)
            else:
                refusals += 1
                assert answer.status_code == 429
                await answer.aclose()
        assert (len(opened), refusals) == (50, 9_950)
        assert (await site.send("staff", "GET", "/manage/tasks")).status == 200
        for answer in opened:
            await answer.aclose()
        await pause()
        assert (await site.send("owner", "GET", "/manage/tasks")).status == 200
