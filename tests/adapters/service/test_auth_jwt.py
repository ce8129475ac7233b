"""JWTs: forged, expired, for others, without what they need; and how keys are come by.

Requirements: R-SVC-13 (JWT and OIDC), R-SVC-14 (keys are fetched within bounds).
Threats: T1, T3, T14, T20.
"""

import asyncio
import json
import logging
from typing import Any, Final

import httpx
import pytest
from jwt.algorithms import RSAAlgorithm

from identities import AUDIENCE, BAD, CURVE, ISSUER, KEY, KEYS, OTHER, jwk, token
from interlock.errors import InvalidInput
from interlock_adapters._callers.base import AuthenticationUnavailable
from interlock_adapters.auth import (
    AnyOf,
    AuthenticationFailed,
    BearerTokens,
    Jwt,
    JwtSettings,
    Keeping,
    Principal,
    Role,
)
from interlock_adapters.auth._jwks import Jwks, keys_of
from support import pause, soon


def settings(**said: Any) -> JwtSettings:  # noqa: ANN401
    """Whose tokens are taken."""
    given = {"issuer": ISSUER, "audience": [AUDIENCE], "keys": KEYS, **said}
    return JwtSettings.model_validate(given)


def shown(text: str) -> dict[str, str]:
    """The header that shows it."""
    return {"authorization": f"Bearer {text}"}


NO_ROLES: Final[set[Role]] = set()
ROLES: Final[list[tuple[dict[str, Any], set[Role]]]] = [
    ({"https://x.test/roles": ["Boss"]}, {Role.OPERATOR}),
    ({"https://x.test/roles": "Boss Clerk"}, {Role.OPERATOR, Role.AUDITOR}),
    ({"https://x.test/roles": ["operator", {}, 7]}, NO_ROLES),
    ({"https://x.test/roles": {"Boss": True}}, NO_ROLES),
    ({}, NO_ROLES),
]


async def test_a_good_token_says_who_calls() -> None:
    """Roles that are none of ours say nothing."""
    who = await Jwt(settings()).authenticate(shown(token()))
    assert who == Principal("ada", ISSUER, roles=frozenset({Role.APPROVER}), name="Ada L.")
    assert who is not None
    assert who.owner == f"{ISSUER} ada"
    curved = token(key=CURVE, kid="curve", alg="ES256")
    assert await Jwt(settings()).authenticate(shown(curved)) == who


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_token_is_refused_without_a_reason(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Source: RFC 8725; and neither the error nor the log quotes it (T20)."""
    caplog.set_level(logging.DEBUG)
    bad = BAD[kind]()
    with pytest.raises(AuthenticationFailed) as caught:
        await Jwt(settings()).authenticate(shown(bad))
    assert str(caught.value) == "the credential is not accepted"
    assert caught.value.__cause__ is None
    assert not any(part in caplog.text for part in bad.split(".") if len(part) > 8)


async def test_a_token_of_another_issuer_is_for_another_authenticator() -> None:
    """Two issuers, beside tokens of our own: each takes what is its own."""
    second = settings(issuer="https://two.test", keys={"keys": [jwk(OTHER, "one")]})
    every = AnyOf(BearerTokens([]), Jwt(settings()), Jwt(second))
    of_second = token(iss="https://two.test", key=OTHER)
    assert await every.authenticate(shown(of_second)) == Principal(
        "ada", "https://two.test", roles=frozenset({Role.APPROVER}), name="Ada L."
    )
    assert await every.authenticate(shown(token(iss="https://three.test"))) is None
    with pytest.raises(AuthenticationFailed):
        await every.authenticate(shown(token(iss="https://two.test")))


async def test_a_tenant_is_what_the_token_says_or_nothing_is() -> None:
    """Without its claim somebody would be of the deployment, and reach all tenants (T3)."""
    scoped = Jwt(settings(tenant_claim="org.id"))
    who = await scoped.authenticate(shown(token(org={"id": "acme"})))
    assert who is not None
    assert who.owner == f"tenant=acme {ISSUER} ada"
    for org in (None, {}, {"id": ""}, {"id": 7}, "acme", {"id": "a" * 257}):
        with pytest.raises(AuthenticationFailed):
            await scoped.authenticate(shown(token(org=org)))
    fixed = await Jwt(settings(tenant="acme")).authenticate(shown(token(tenant="other")))
    assert fixed is not None
    assert fixed.tenant == "acme"
    with pytest.raises(InvalidInput, match="either `tenant` or `tenant_claim`"):
        Jwt(settings(tenant="acme", tenant_claim="org"))


@pytest.mark.parametrize(("said", "roles"), ROLES)
async def test_roles_are_what_the_settings_make_of_theirs(
    said: dict[str, Any], roles: set[Role]
) -> None:
    """A list or a text; with a map, a role of our name is none."""
    of_theirs = {"Boss": "operator", "Clerk": "auditor"}
    known = Jwt(settings(roles_claim="https://x.test/roles", roles=of_theirs))
    who = await known.authenticate(shown(token(**said)))
    assert who is not None
    assert who.roles == roles


async def test_a_map_without_roles_gives_none() -> None:
    """Only where there is no map are theirs called like ours.  Source: R-SVC-13, T3."""
    nothing = await Jwt(settings(roles={})).authenticate(shown(token(roles=["operator"])))
    assert nothing is not None
    assert nothing.roles == NO_ROLES


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "RS1"])
def test_only_signatures_by_private_keys_can_be_listed(algorithm: str) -> None:
    """What verifies an HMAC could make one."""
    with pytest.raises(ValueError, match="algorithms"):
        settings(algorithms=[algorithm])


@pytest.mark.parametrize(
    "said",
    [
        {"keys": {}},
        {"keys": {"keys": []}},
        {"keys": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}},
        {"keys": {"keys": [json.loads(RSAAlgorithm.to_jwk(KEY))]}},
        {"keys": {"keys": [{**jwk(KEY, "one"), "use": "enc"}]}},
        {"keys": None, "jwks_url": "http://id.test/keys"},
        {"keys": None, "jwks_url": "file:///etc/keys"},
        {"keys": None, "jwks_url": "https://a:b@id.test/keys"},
        {"keys": None, "issuer": "http://id.test"},
        {"keys": None, "issuer": "https://id test/"},
        {"keys": None, "issuer": "https://id.test:99999/"},
        {"jwks_url": "https://id.test/keys"},
    ],
)
def test_keys_that_are_none_and_places_that_are_not_secure_are_refused(
    said: dict[str, Any],
) -> None:
    """Before anything is served, and with what would be accepted."""
    with pytest.raises(InvalidInput, match="accepted"):
        Jwt(settings(**said))


class Provider:
    """An identity provider, as far as we ask one."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"keys": [jwk(KEY, "one")]}
        self.issuer = ISSUER
        self.asked: list[str] = []
        self.answer: httpx.Response | Exception | None = None
        #: Until then nothing is answered.
        self.open = asyncio.Event()
        self.open.set()
        self.now = 0.0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.asked.append(request.url.path)
        await self.open.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        if request.url.path == "/.well-known/openid-configuration":
            where = f"{ISSUER}/keys"
            return httpx.Response(200, json={"issuer": self.issuer, "jwks_uri": where})
        return httpx.Response(200, json=self.keys)

    def jwks(self, url: str | None = f"{ISSUER}/keys", *, patience_s: float = 2.0) -> Jwks:
        """Its keys, as we keep them."""
        transport = httpx.MockTransport(self)
        keeping = Keeping(fresh_s=100, stale_s=1_000, refetch_s=10, patience_s=patience_s)
        return Jwks(
            url=url, issuer=ISSUER, keeping=keeping, transport=transport, now=lambda: self.now
        )


async def test_the_issuers_document_says_where_its_keys_are() -> None:
    """Source: OpenID Connect Discovery §4; asked once, however many tokens come."""
    provider = Provider()
    known = Jwt(settings(keys=None), transport=httpx.MockTransport(provider))
    for _ in range(3):
        assert await known.authenticate(shown(token())) is not None
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]
    where = f"{ISSUER}/.well-known/openid-configuration"
    assert known.schemes == {"oidc": {"type": "openIdConnect", "openIdConnectUrl": where}}


async def test_keys_of_this_machine_come_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not from a proxy of the environment, which could say anything.  Source: R-SVC-14."""
    said = json.dumps({"keys": [jwk(KEY, "one")]}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(said)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + said)
        writer.close()

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        jwks = Jwks(url=f"http://127.0.0.1:{port}/keys", issuer=ISSUER)
        assert (await soon(jwks.key("one"))).key_id == "one"


async def test_a_document_of_another_issuer_gives_no_keys() -> None:
    """Source: OpenID Connect Discovery §4.3."""
    provider = Provider()
    provider.issuer = "https://evil.test"
    with pytest.raises(AuthenticationUnavailable):
        await provider.jwks(None).key("one")
    assert provider.asked == ["/.well-known/openid-configuration"]


async def test_who_waits_for_keys_waits_for_one_fetch() -> None:
    """And whoever hangs up does not take it from the others."""
    provider = Provider()
    provider.open.clear()
    jwks = provider.jwks()
    waiting = [asyncio.create_task(jwks.key("one")) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    provider.open.set()
    found = await soon(asyncio.gather(*waiting, return_exceptions=True))
    assert isinstance(found[0], asyncio.CancelledError)
    assert {getattr(key, "key_id", None) for key in found[1:]} == {"one"}
    assert provider.asked == ["/keys"]


async def test_invented_key_ids_make_nobody_fetch_more_often() -> None:
    """A new key is found, though not before the pause is over."""
    provider = Provider()
    jwks = provider.jwks()
    await jwks.key("one")
    for number in range(100):
        with pytest.raises(AuthenticationFailed):
            await jwks.key(f"invented {number}")
    assert provider.asked == ["/keys"]
    provider.keys["keys"].append(jwk(OTHER, "two"))
    with pytest.raises(AuthenticationFailed):
        await jwks.key("two")
    provider.now = 10
    assert (await jwks.key("two")).key_id == "two"
    assert provider.asked == ["/keys"] * 2


async def test_a_key_that_is_withdrawn_is_soon_not_used() -> None:
    """When the set is not fresh any more it is fetched aside."""
    provider = Provider()
    jwks = provider.jwks()
    await jwks.key("one")
    provider.keys = {"keys": [jwk(OTHER, "two")]}
    provider.now = 99
    await jwks.key("one")
    assert provider.asked == ["/keys"]
    provider.now = 100
    await jwks.key("one")
    assert (await soon(jwks.key("two"))).key_id == "two"
    assert provider.asked == ["/keys"] * 2
    with pytest.raises(AuthenticationFailed):
        await jwks.key("one")


async def test_a_key_that_was_withdrawn_while_nobody_called_is_not_used() -> None:
    """Whoever comes after a long rest waits for the keys of now, and so does who comes with him."""
    provider = Provider()
    jwks = provider.jwks()
    await jwks.key("one")
    provider.keys = {"keys": [jwk(OTHER, "two")]}
    provider.now = 200
    found = await soon(asyncio.gather(jwks.key("one"), jwks.key("one"), return_exceptions=True))
    assert [type(one) for one in found] == [AuthenticationFailed] * 2
    assert provider.asked == ["/keys"] * 2


async def test_a_failure_of_long_ago_lets_no_withdrawn_key_pass() -> None:
    """The issuer may have been back for long; nobody has asked it."""
    provider = Provider()
    jwks = provider.jwks()
    await jwks.key("one")
    provider.now, provider.answer = 100, httpx.ReadTimeout("it is away")
    await jwks.key("one")
    await pause()
    provider.answer = None
    provider.keys = {"keys": [jwk(OTHER, "two")]}
    provider.now = 900
    with pytest.raises(AuthenticationFailed):
        await jwks.key("one")


@pytest.mark.parametrize("now", [100, 200, 999])
async def test_an_issuer_that_hangs_holds_up_nobody_whose_key_is_held(now: int) -> None:
    """However many come, one fetch goes on aside; who shows another key waits for that."""
    provider = Provider()
    jwks = provider.jwks(patience_s=0)
    await jwks.key("one")
    provider.now = now
    provider.open.clear()
    for _ in range(20):
        assert (await soon(jwks.key("one"))).key_id == "one"
    other = asyncio.create_task(jwks.key("two"))
    await pause()
    assert not other.done()
    assert provider.asked == ["/keys"] * 2
    provider.keys["keys"].append(jwk(OTHER, "two"))
    provider.open.set()
    assert (await soon(other)).key_id == "two"


async def test_after_a_fetch_that_failed_the_next_is_not_at_once_and_nobody_waits_for_it() -> None:
    """The pause is from its end, so that an issuer that hangs is left alone for a while."""
    provider = Provider()
    jwks = provider.jwks(patience_s=3_600)
    await jwks.key("one")
    provider.open.clear()
    provider.now, provider.answer = 100, httpx.ReadTimeout("it hangs")
    await jwks.key("one")
    await pause()
    provider.now = 110  # It hung for so long.
    provider.open.set()
    await pause()
    provider.now = 119
    await jwks.key("one")
    with pytest.raises(AuthenticationFailed):
        await jwks.key("two")
    assert provider.asked == ["/keys"] * 2
    provider.open.clear()
    provider.now = 500
    assert (await soon(jwks.key("one"))).key_id == "one"
    await pause()
    assert provider.asked == ["/keys"] * 3
    provider.open.set()


async def test_a_fault_of_ours_in_a_fetch_aside_is_written_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody waits who would be told of it; the next fetch is made all the same."""
    provider = Provider()
    jwks = provider.jwks()
    await jwks.key("one")
    provider.now, provider.answer = 100, RuntimeError("of ours")
    assert (await jwks.key("one")).key_id == "one"
    await pause()
    assert "raised RuntimeError" in caplog.text
    provider.now, provider.answer = 110, None
    await jwks.key("one")
    await pause()
    assert provider.asked == ["/keys"] * 3


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("no line"),
        httpx.Response(500),
        httpx.Response(302, headers={"location": "https://evil.test/keys"}),
        httpx.Response(200, content=json.dumps(KEYS) + " " * 262_144),
        httpx.Response(200, content=b"[" * 100_000),
        httpx.Response(200, content=b"not json"),
        httpx.Response(200, json={"keys": []}),
    ],
)
async def test_keys_are_used_on_for_a_while_when_others_cannot_be_had(
    answer: httpx.Response | Exception,
) -> None:
    """Not for ever; and whoever never had any says that it cannot tell."""
    provider = Provider()
    jwks = provider.jwks()
    await jwks.key("one")
    provider.answer = answer
    provider.now = 999
    assert (await jwks.key("one")).key_id == "one"
    provider.now = 1_000
    with pytest.raises(AuthenticationUnavailable):
        await jwks.key("one")
    assert provider.asked == ["/keys"] * 2
    provider.now, provider.answer = 1_100, None
    assert (await jwks.key("one")).key_id == "one"


def test_only_keys_for_signatures_are_picked_from_a_set() -> None:
    """What else is in it does no harm."""
    other: list[Any] = [
        None,
        7,
        {"kty": "oct", "k": "x"},
        {"kty": "RSA"},
        {"kty": "EC", "crv": "x"},
        {"kty": ["RSA"]},
        {"kty": "RSA", "use": {}},
    ]
    assert [key.key_id for key in keys_of({"keys": [*other, jwk(KEY, "one")]})] == ["one"]
