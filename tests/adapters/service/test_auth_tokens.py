"""Bearer tokens and principals: whose a credential is, and that none passes for another.

Requirements: R-SVC-10 (tokens hashed at rest), R-SVC-11 (one encoding of owners), R-SVC-12
(several authenticators).  Threats: T1, T2, T3.
"""

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

import pytest
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken

from interlock import JsonObject
from interlock._edge import name_problems
from interlock.errors import InvalidInput
from interlock_adapters._callers.base import checked
from interlock_adapters.auth import (
    AnyOf,
    AuthenticationFailed,
    BearerTokens,
    Principal,
    Role,
    TokenEntry,
    TrustLocal,
    bearer_of,
    hashed,
    new_token,
)
from interlock_adapters.mcp import owner_by_token
from interlock_adapters.mcp._principal import token_of

NOW: Final = datetime(2026, 11, 29, tzinfo=UTC)
ADA: Final = new_token()


def entry(token: str = ADA, **said: object) -> TokenEntry:
    """What is kept of a token."""
    return TokenEntry.model_validate({"hash": hashed(token), "subject": "ada", **said})


def bearer(token: str) -> dict[str, str]:
    """The header that shows it."""
    return {"authorization": f"Bearer {token}"}


class Badge:
    """A kind of credential of its own: a header that names a person."""

    schemes: Mapping[str, JsonObject] = MappingProxyType(
        {"bearer": {"type": "apiKey", "in": "header", "name": "x-badge"}}
    )

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """See `Authenticator`."""
        return Principal(headers["x-badge"]) if "x-badge" in headers else None


async def test_a_token_is_known_by_its_hash_alone() -> None:
    """Source: R-SVC-10; who reads the configuration cannot call."""
    kept = entry(tenant="acme", roles={"approver"}, name="Ada L.")
    tokens = BearerTokens([kept])
    assert await tokens.authenticate(bearer(ADA)) == Principal(
        "ada", tenant="acme", roles=frozenset({Role.APPROVER}), name="Ada L."
    )
    assert ADA not in repr(kept) + repr(tokens) + kept.model_dump_json()
    with pytest.raises(AuthenticationFailed):
        await tokens.authenticate(bearer(kept.hash.removeprefix("sha256:")))


def test_every_new_token_is_another_one() -> None:
    """256 bits of chance, in 43 characters of base64."""
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token.removeprefix("ilk_")) == 43 for token in tokens)


@pytest.mark.parametrize(
    "shown",
    [new_token(), ADA[:-1], ADA + "x", "short", ADA.upper()],
    ids=["another", "cut", "longer", "short", "upper"],
)
async def test_a_token_that_is_not_listed_is_nobodys(shown: str) -> None:
    """The error says nothing of it."""
    with pytest.raises(AuthenticationFailed) as caught:
        await BearerTokens([entry()]).authenticate(bearer(shown))
    assert str(caught.value) == "the credential is not accepted"


async def test_a_token_is_taken_until_the_moment_when_it_expires() -> None:
    """Not a moment longer."""
    now = [NOW]
    tokens = BearerTokens([entry(expires_at=NOW + timedelta(seconds=1))], now=lambda: now[0])
    assert await tokens.authenticate(bearer(ADA)) is not None
    now[0] += timedelta(seconds=1)
    with pytest.raises(AuthenticationFailed):
        await tokens.authenticate(bearer(ADA))


def test_an_entry_that_names_nobody_is_refused_at_once() -> None:
    """All of them in one error; a time without its zone is none."""
    with pytest.raises(InvalidInput) as caught:
        BearerTokens(
            [
                entry(),
                entry(),
                entry(new_token(), subject="anonymous"),
                entry(new_token(), subject="timer"),
            ]
        )
    first, second, third = caught.value.problems
    assert third.startswith("entry 3: 'timer' is nobody; a printable name is accepted that")
    assert first.startswith("entry 1: its token is that of another entry")
    assert second.startswith("entry 2: 'anonymous' is nobody")
    with pytest.raises(ValueError, match="timezone"):
        entry(expires_at="2026-01-01T00:00:00")
    with pytest.raises(InvalidInput, match="32 or more characters"):
        hashed("hunter2")


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer   abc  ", "abc"),
        ("BEARER a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
        ("Basic YTpi", None),
        ("", None),
    ],
)
def test_the_token_is_what_stands_behind_the_scheme(header: str, token: str | None) -> None:
    """Source: RFC 6750 §2.1; schemes are in any case."""
    assert bearer_of({"authorization": header}) == token


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a, Basic b",
        "Bearer a,Bearer b",
        "Bearer a\tb",
        "Bearer é",
        "Bearer " + "a" * 16_385,
    ],
)
def test_what_is_no_token_is_refused(header: str) -> None:
    """Several, none, and one that is longer than any that somebody makes."""
    with pytest.raises(AuthenticationFailed):
        bearer_of({"authorization": header})


@pytest.mark.parametrize(
    "principal",
    [
        Principal(""),
        Principal("anonymous"),
        Principal("anonymous", tenant="acme"),
        Principal("interlock:operator"),
        Principal("agent"),
        Principal("engine"),
        Principal("timer"),
        Principal("a\nb"),
        Principal("a", tenant="b\0"),
        Principal("\ud800"),
        Principal("a" * 1_025),
        Principal("\U0001d4b3" * 256, tenant="\U0001d4b3" * 128),
    ],
)
def test_no_credential_is_of_nobody(principal: Principal) -> None:
    """Nor of the anonymous (T2), of the engine, nor of what cannot be stored or logged."""
    with pytest.raises(AuthenticationFailed):
        checked(principal)


@pytest.mark.parametrize("name", ["agent", "engine", "timer"])
def test_who_is_called_like_a_machine_elsewhere_is_somebody(name: str) -> None:
    """Of an issuer, or in a tenant, the owner is another text, under which nobody else acts."""
    for principal in (Principal(name, issuer="https://id"), Principal(name, tenant="acme")):
        assert checked(principal) is principal
        assert name_problems({"owner": principal.owner}) == []


def test_no_two_principals_have_one_owner() -> None:
    """Whatever is in their parts: blanks, percents, and what our own parts begin with (T1)."""
    words = ["", "a", "a b", "a%20b", "tenant=a", "client=a", "tenant%3Da", "client%3Da", "%"]
    made = [
        Principal(subject, issuer=issuer, tenant=tenant, client=client)
        for subject, issuer, tenant in itertools.product(words, repeat=3)
        for client in (False, True)
        if subject
    ]
    assert len({principal.owner for principal in made}) == len(made)
    for principal in made[:: len(words)]:
        reached = {other.tenant for other in made if principal.sees(other.owner)}
        assert reached == ({principal.tenant} if principal.tenant else set(words))


@pytest.mark.parametrize("subject", ["ada", "a b", "client=ada", "tenant=x y", "%20"])
@pytest.mark.parametrize("issuer", ["", "https://id", "client=x"])
def test_mcp_knows_owners_as_every_face_does(subject: str, issuer: str) -> None:
    """A token that the SDK's own verifiers took, and a principal: one encoding (R-SVC-11)."""
    claims = {"iss": issuer} if issuer else None
    theirs = AccessToken(token="t", client_id="c", scopes=[], subject=subject, claims=claims)  # noqa: S106
    principal = Principal(subject, issuer=issuer)
    client = AccessToken(token="t", client_id=subject, scopes=[], claims=claims)  # noqa: S106
    assert _owner(theirs) == principal.owner
    assert _owner(client) == Principal(subject, issuer=issuer, client=True).owner
    scoped = Principal(subject, issuer=issuer, tenant="acme")
    assert _owner(token_of(scoped)) == scoped.owner
    assert len({_owner(theirs), _owner(client), _owner(token_of(scoped))}) == 3


def _owner(token: AccessToken) -> str:
    kept = auth_context_var.set(AuthenticatedUser(token))
    try:
        return owner_by_token(None)  # type: ignore[arg-type]  # It reads nothing of the request.
    finally:
        auth_context_var.reset(kept)


async def test_credentials_of_two_persons_are_refused() -> None:
    """Also one that is no good beside one that is (R-SVC-12)."""
    both = AnyOf(BearerTokens([entry()]), Badge())
    ada = Principal("ada")
    assert await both.authenticate(bearer(ADA)) == ada
    assert await both.authenticate({"x-badge": "ada"}) == ada
    assert await both.authenticate({**bearer(ADA), "x-badge": "ada"}) == ada
    assert await both.authenticate({}) is None
    for mixed in ({**bearer(ADA), "x-badge": "bob"}, {**bearer(new_token()), "x-badge": "ada"}):
        with pytest.raises(AuthenticationFailed):
            await both.authenticate(mixed)


def test_schemes_of_one_name_are_told_apart() -> None:
    """The same scheme twice is one."""
    one, other = BearerTokens([]), BearerTokens([])
    assert set(AnyOf(one, other).schemes) == {"bearer"}
    assert set(AnyOf(one, Badge()).schemes) == {"bearer", "bearer2"}


@pytest.mark.parametrize("given", [(), (TrustLocal(),), (BearerTokens([]), TrustLocal())])
def test_asking_for_nothing_is_no_alternative(given: tuple[BearerTokens, ...]) -> None:
    """Else everybody were the anonymous beside whatever is configured (T2)."""
    with pytest.raises(ValueError, match="ask for a credential"):
        AnyOf(*given)
