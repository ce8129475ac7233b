"""What stands in front of an application: nobody gets past without a credential.

Requirements: R-SVC-15 (401 before anything runs), R-SVC-16 (no open binding).
Threats: T2, T20.
"""

import logging
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import httpx
import pytest

from interlock import JsonObject
from interlock_adapters._http.asgi import Message, Receive, Scope, Send
from interlock_adapters.auth import (
    AnyOf,
    Authentication,
    AuthenticationFailed,
    AuthenticationUnavailable,
    Authenticator,
    BearerTokens,
    OpenToEveryone,
    Principal,
    Role,
    SignIn,
    TokenEntry,
    TrustLocal,
    hashed,
    new_token,
    principal_of,
    refuse_open,
)

ADA: Final = new_token()
TOKENS: Final = BearerTokens(
    [TokenEntry(hash=hashed(ADA), subject="ada", roles=frozenset({Role.AUDITOR}))]
)
GOOD: Final = ("authorization", f"Bearer {ADA}")
BAD: Final = "the credential is not accepted"


class Inside:
    """An application that notes who reaches it."""

    def __init__(self) -> None:
        self.reached: list[str | None] = []

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer, whoever it is."""
        try:
            self.reached.append(principal_of(scope).owner)
        except AuthenticationFailed:
            self.reached.append(None)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Raises:
    """An authenticator of somebody else's."""

    schemes: Mapping[str, JsonObject] = MappingProxyType({})

    def __init__(self, error: Exception) -> None:
        self._error: Final = error

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """See `Authenticator`."""
        raise self._error from ValueError(headers["authorization"])


class Says:
    """An authenticator that takes everybody for one."""

    schemes: Mapping[str, JsonObject] = MappingProxyType({})

    def __init__(self, principal: Principal) -> None:
        self._principal: Final = principal

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """See `Authenticator`."""
        del headers
        return self._principal


class Site:
    """An application behind `Authentication`."""

    def __init__(self, by: Authenticator = TOKENS, **settings: Any) -> None:  # noqa: ANN401
        self.inside = Inside()
        self.app = Authentication(self.inside, by, **settings)

    async def get(
        self,
        *headers: tuple[str, str],
        path: str = "/tasks",
        method: str = "GET",
        client: str = "127.0.0.1",
        root: str = "",
    ) -> httpx.Response:
        """One request."""
        transport = httpx.ASGITransport(self.app, client=(client, 1), root_path=root)
        async with httpx.AsyncClient(transport=transport, base_url="http://here.test") as http:
            return await http.request(method, path, headers=[*headers])


async def test_who_shows_a_credential_is_known_inside() -> None:
    """The principal, and its roles as starlette has scopes."""
    site = Site()
    assert (await site.get(GOOD)).status_code == 200
    assert site.inside.reached == ["ada"]


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        ([], 401, "Bearer"),
        ([("cookie", "session=x")], 401, "Bearer"),
        ([("authorization", "")], 401, "invalid_token"),
        ([("authorization", "Basic YTpi")], 401, "invalid_token"),
        ([("authorization", "Bearer " + new_token())], 401, "invalid_token"),
        ([("authorization", f"Bearer {ADA}, Bearer {ADA}")], 401, "invalid_token"),
        ([("authorization", f"Basic YTpi, Bearer {ADA}")], 401, "invalid_token"),
        ([("authorization", "Bearer " + "a" * 16_385)], 401, "invalid_token"),
        ([GOOD, GOOD], 400, "invalid_request"),
        ([GOOD, ("authorization", "Basic YTpi")], 400, "invalid_request"),
    ],
)
async def test_nobody_else_gets_in(
    headers: list[tuple[str, str]], status: int, challenge: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A problem (RFC 9457) with a challenge (RFC 6750 §3) that quotes nothing."""
    caplog.set_level(logging.DEBUG)
    site = Site()
    refused = await site.get(*headers)
    assert refused.status_code == refused.json()["status"] == status
    assert refused.headers["content-type"] == "application/problem+json"
    said = refused.headers["www-authenticate"]
    assert said == challenge or f'error="{challenge}"' in said
    assert site.inside.reached == []
    secrets = [value.split()[-1] for _, value in headers if value]
    assert not any(secret in refused.text + said + caplog.text for secret in secrets)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/healthz/", "/healthz/..", "//healthz", "/HEALTHZ", "/healthz%00"]
)
async def test_only_the_very_paths_that_are_listed_are_public(method: str, path: str) -> None:
    """And only to read, unless it is said otherwise."""
    site = Site(public=["/healthz", "POST /sign-in"])
    answer = await site.get(path=path, method=method)
    is_public = path == "/healthz" and method in {"GET", "HEAD"}
    assert site.inside.reached == ([None] if is_public else [])
    assert answer.status_code == (200 if is_public else 401)
    assert (await site.get(path="/sign-in", method="POST")).status_code == 200
    assert (await site.get(path="/sign-in")).status_code == 401


async def test_public_paths_begin_where_the_application_is_mounted() -> None:
    """A mount's own path takes nothing away from somewhere else."""
    site = Site(public=["/healthz"])
    assert (await site.get(path="/agents/healthz", root="/agents")).status_code == 200
    assert (await site.get(path="/agents2/healthz", root="/agents")).status_code == 401


async def test_a_credential_on_a_public_path_is_not_looked_at() -> None:
    """Who is on such a page is nobody, also with a bad credential."""
    site = Site(public=["/healthz"])
    assert (await site.get(("authorization", "Bearer x"), path="/healthz")).status_code == 200
    assert site.inside.reached == [None]


async def test_the_challenge_names_the_metadata_of_a_resource() -> None:
    """Source: RFC 9728 §5.1; of the one that was called."""
    where = "https://here.test/.well-known/oauth-protected-resource/mcp"
    site = Site(metadata={"/mcp": where})
    said = (await site.get(path="/mcp")).headers["www-authenticate"]
    assert said == f'Bearer resource_metadata="{where}"'
    assert "resource" not in (await site.get()).headers["www-authenticate"]


async def test_a_browser_is_sent_to_sign_in() -> None:
    """From a page only: a program hears that it has no credential."""
    site = Site(sign_in=SignIn("/console", "/console/sign-in"))
    page = ("accept", "text/html,*/*")
    sent = await site.get(page, path="/console/tasks", root="")
    assert (sent.status_code, sent.headers["location"]) == (303, "/console/sign-in?next=%2Ftasks")
    sent = await site.get(page, path="/console", root="")
    assert (sent.status_code, sent.headers["location"]) == (303, "/console/sign-in")
    assert (await site.get(page, path="/consoles")).status_code == 401
    assert (await site.get(path="/console")).status_code == 401
    assert (await site.get(page, ("authorization", "Bearer x"), path="/console")).status_code == 401
    # A form whose session is over: a person reads what comes, and is told of a page.
    sent = await site.get(page, path="/console/tasks/a/ask", method="POST")
    assert (sent.status_code, sent.headers["location"]) == (303, "/console/sign-in")
    assert (await site.get(path="/console/tasks/a/ask", method="POST")).status_code == 401
    assert (await site.get(page, path="/console", method="PUT")).status_code == 401
    assert site.inside.reached == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AuthenticationFailed(), 401),
        (AuthenticationUnavailable(), 503),
        (RuntimeError("with a secret"), 503),
        (KeyError("authorization"), 503),
    ],
)
async def test_an_authenticator_that_fails_lets_nobody_in(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor do its words, or what it was at, come out (T20)."""
    caplog.set_level(logging.DEBUG)
    site = Site(Raises(error) if str(error) != BAD else Says(Principal("anonymous")))
    refused = await site.get(GOOD)
    assert refused.status_code == status
    assert site.inside.reached == []
    assert "secret" not in refused.text + caplog.text
    assert ADA not in refused.text + caplog.text


@pytest.mark.parametrize("subject", ["", "anonymous", "interlock:operator", "agent"])
async def test_no_authenticator_can_make_somebody_of_nobody(subject: str) -> None:
    """Owner "anonymous" is of those without a credential (T2)."""
    site = Site(AnyOf(Says(Principal(subject))))
    assert (await site.get(GOOD)).status_code == 401
    assert site.inside.reached == []


@pytest.mark.parametrize(
    ("client", "everyone", "status"),
    [
        ("127.0.0.1", False, 200),
        ("::1", False, 200),
        ("::ffff:127.0.0.1", False, 200),
        ("10.0.0.7", False, 403),
        ("::ffff:10.0.0.7", False, 403),
        ("nonsense", False, 403),
        ("10.0.0.7", True, 200),
    ],
)
async def test_without_authentication_this_machine_is_served(
    client: str,
    everyone: bool,  # noqa: FBT001
    status: int,
) -> None:
    """Also in an application that is mounted somewhere, which nobody asked about its host (T2)."""
    site = Site(TrustLocal(dangerously_open_to_everyone=everyone))
    assert (await site.get(client=client)).status_code == status
    assert site.inside.reached == (["anonymous"] if status == 200 else [])


async def test_what_is_no_http_needs_a_credential_as_well() -> None:
    """A WebSocket is closed before it is open; a lifespan is nobody's request."""
    sent: list[Message] = []
    reached: list[str] = []

    async def inside(scope: Scope, _receive: Receive, _send: Send) -> None:
        reached.append(scope["type"])

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    app = Authentication(inside, TOKENS)
    scope: Scope = {"type": "websocket", "path": "/", "headers": [], "client": None}
    await app(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
    await app({"type": "lifespan"}, receive, send)
    assert reached == ["lifespan"]


PATHS: Final = ("unix:/run/x.sock", "/run/x.sock")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1", "localhost", "127.1", *PATHS],
)
def test_on_this_machine_nothing_has_to_be_configured(host: str) -> None:
    """A path is that of a socket, whose file says who may open it."""
    refuse_open(host, None)
    refuse_open(host, TrustLocal())


OPEN: Final = ["0.0.0.0", "::", "", "[::]", "0", "10.0.0.7", "::ffff:10.0.0.7", "127.0.0.1\0x"]  # noqa: S104


@pytest.mark.parametrize("host", [*OPEN, "no-such-host.invalid", "."])
@pytest.mark.parametrize("by", [None, TrustLocal(), TrustLocal(roles=())])
def test_beyond_it_nobody_is_served_without_being_asked_who_it_is(
    host: str, by: Authenticator | None
) -> None:
    """Unless somebody says so, by a name that frightens (T2)."""
    with pytest.raises(OpenToEveryone, match="--dangerously-open-to-everyone") as caught:
        refuse_open(host, by)
    assert caught.value.code == "open_to_everyone"
    refuse_open(host, by, dangerously_open_to_everyone=True)
    refuse_open(host, TOKENS)


@pytest.mark.parametrize(("address", "refused"), [("127.0.0.1", False), ("192.0.2.1", True)])
def test_a_name_is_what_it_stands_for(
    address: str,
    refused: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every one of its addresses has to be this machine's."""
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in ("127.0.0.1", address)
    ]

    def resolve(*_: object, **__: object) -> object:
        return found

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    if refused:
        with pytest.raises(OpenToEveryone):
            refuse_open("agents.internal", None)
    else:
        refuse_open("agents.internal", None)
