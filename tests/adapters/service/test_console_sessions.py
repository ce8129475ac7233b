"""Who is signed in, and for how long: sessions of the console.  R-SVC-70, R-SVC-71; T17, T20."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from console import PEOPLE, token_of, tokens
from interlock import JsonObject
from interlock_adapters._callers.base import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    TrustLocal,
)
from interlock_adapters._callers.principal import Principal, Role
from interlock_adapters.auth._bearer import BearerTokens, TokenEntry, hashed
from interlock_adapters.console._sessions import COOKIE, Sessions, cookie, cookie_of


class Clock:
    """Time that stands still."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s

    @property
    def date(self) -> datetime:
        """The same as a date."""
        return datetime.fromtimestamp(self.now_s, UTC)


class Moody:
    """An authenticator that says what it is told to."""

    schemes: Mapping[str, JsonObject] = MappingProxyType({})

    def __init__(self) -> None:
        self.says: Principal | Exception | None = Principal("ada")

    async def authenticate(self, headers: object) -> Principal | None:
        """See `Authenticator`."""
        del headers
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


def shown(session_id: str) -> dict[str, str]:
    """The headers of a browser with that cookie."""
    return {"cookie": f"theme=dark; {COOKIE}={session_id}"}


async def test_a_session_is_known_by_its_cookie_and_nothing_else() -> None:
    """Not by part of it, its digest, or a header of another kind.  Source: R-SVC-70."""
    sessions = Sessions(tokens())
    session_id, session = await sessions.open(token_of("eve"))
    assert session.principal == Principal("eve", roles=frozenset({Role.APPROVER}))
    assert await sessions.find(shown(session_id)) is session
    assert await sessions.authenticate(shown(session_id)) == session.principal
    for headers in (
        {},
        shown(session_id[:-1]),
        shown(session.key),
        {"cookie": f"x{COOKIE}={session_id}"},
        {"cookie": f"{COOKIE}={'x' * 300}"},
        {"cookie": "a=b; " * 2_000 + f"{COOKIE}={session_id}"},
        {"authorization": f"Bearer {session_id}"},
    ):
        assert await sessions.authenticate(headers) is None


async def test_ids_are_long_and_kept_as_digests_and_nothing_secret_is_printed() -> None:
    """Whoever reads memory dumps or logs signs in nowhere.  Source: R-SVC-70, T20."""
    sessions = Sessions(tokens())
    session_id, session = await sessions.open(token_of("eve"))
    other_id, other = await sessions.open(token_of("eve"))
    assert len(session_id) >= 43
    assert session_id != other_id
    assert session.csrf != other.csrf
    kept = repr(vars(sessions)) + repr(session)
    for secret in (session_id, session.csrf, token_of("eve")):
        assert secret not in kept


@pytest.mark.parametrize(
    "token", ["", "no", "x" * 40, "x" * 20_000, "a b" + "c" * 40, "ünïcode" * 9]
)
async def test_a_token_that_is_no_good_opens_nothing(token: str) -> None:
    """Nor does none, where one is needed.  Source: R-SVC-70."""
    sessions = Sessions(tokens())
    with pytest.raises(AuthenticationFailed):
        await sessions.open(token)
    with pytest.raises(AuthenticationFailed):
        await sessions.open()
    assert len(sessions) == 0


async def test_where_no_credential_is_needed_a_session_needs_none() -> None:
    """The session is there for its CSRF token.  Source: R-SVC-70."""
    sessions = Sessions(TrustLocal())
    _, session = await sessions.open()
    assert session.is_open_to_all
    assert session.principal.roles == frozenset(Role)


async def test_a_session_ends_when_it_idles_and_when_it_is_old() -> None:
    """To the second.  Source: R-SVC-71."""
    clock = Clock()
    sessions = Sessions(tokens(), idle_s=100, absolute_s=250, now=clock)
    idle_id, _ = await sessions.open(token_of("ada"))
    busy_id, _ = await sessions.open(token_of("bob"))
    clock.now_s += 99
    # A stream is looked at by nobody, perhaps: it keeps nothing from idling.
    assert await sessions.find(shown(idle_id), uses=False) is not None
    # Nor does the door, by which streams come in as well.
    assert await sessions.authenticate(shown(idle_id)) is not None
    assert await sessions.find(shown(busy_id)) is not None
    clock.now_s += 1
    assert await sessions.find(shown(idle_id)) is None
    clock.now_s += 98
    assert await sessions.find(shown(busy_id)) is not None
    clock.now_s += 52
    assert await sessions.find(shown(busy_id)) is None
    assert len(sessions) == 0


async def test_a_session_ends_with_its_token() -> None:
    """The token runs out: within `recheck_s` so has what was opened with it."""
    clock = Clock()
    entry = TokenEntry(
        hash=hashed(token_of("ada")), subject="ada", expires_at=clock.date + timedelta(seconds=30)
    )
    sessions = Sessions(BearerTokens([entry], now=lambda: clock.date), recheck_s=60, now=clock)
    session_id, session = await sessions.open(token_of("ada"))
    clock.now_s += 59
    assert await sessions.find(shown(session_id)) is session
    clock.now_s += 1
    assert await sessions.find(shown(session_id)) is None
    assert not await sessions.is_live(session)


@pytest.mark.parametrize(
    "says", [AuthenticationFailed(), None, Principal("bob"), Principal("ada", tenant="other")]
)
async def test_a_session_ends_when_its_credential_is_anothers(
    says: Principal | Exception | None,
) -> None:
    """Or nobody's.  Source: R-SVC-71."""
    clock, moody = Clock(), Moody()
    sessions = Sessions(moody, recheck_s=10, now=clock)
    session_id, _ = await sessions.open("x" * 40)
    moody.says = says
    clock.now_s += 10
    assert await sessions.find(shown(session_id)) is None


async def test_roles_that_are_others_by_now_are_taken_over() -> None:
    """Who lost a role does not keep it for a day.  Source: R-SVC-71."""
    clock, moody = Clock(), Moody()
    sessions = Sessions(moody, recheck_s=10, now=clock)
    session_id, session = await sessions.open("x" * 40)
    moody.says = Principal("ada", roles=frozenset({Role.AUDITOR}))
    clock.now_s += 10
    assert await sessions.authenticate(shown(session_id)) == moody.says
    assert session.principal == moody.says


async def test_what_cannot_be_checked_now_is_neither_good_nor_bad() -> None:
    """Nothing is shown, and nobody has to sign in anew.  Source: R-SVC-71."""
    clock, moody = Clock(), Moody()
    sessions = Sessions(moody, recheck_s=10, now=clock)
    session_id, session = await sessions.open("x" * 40)
    moody.says = AuthenticationUnavailable()
    clock.now_s += 10
    with pytest.raises(AuthenticationUnavailable):
        await sessions.find(shown(session_id))
    moody.says = Principal("ada")
    assert await sessions.find(shown(session_id)) is session


async def test_sessions_are_bounded_for_each_and_for_all() -> None:
    """The one that was used least lately goes."""
    sessions = Sessions(tokens(), per_owner_max=2, sessions_max=3)
    first, _ = await sessions.open(token_of("ada"))
    second, _ = await sessions.open(token_of("ada"))
    assert await sessions.find(shown(first)) is not None
    third, _ = await sessions.open(token_of("ada"))
    assert [await sessions.find(shown(i)) is not None for i in (first, second, third)] == [
        True,
        False,
        True,
    ]
    for name in PEOPLE:
        await sessions.open(token_of(name))
    assert len(sessions) == 3


async def test_signing_out_is_for_good() -> None:
    """For every copy of the session.  Source: R-SVC-71."""
    sessions = Sessions(tokens())
    session_id, session = await sessions.open(token_of("ada"))
    sessions.close(session)
    sessions.close(session)
    assert await sessions.find(shown(session_id)) is None
    assert not await sessions.is_live(replace(session))


def test_the_cookie_is_for_this_site_and_no_script() -> None:
    """HttpOnly, SameSite=Strict, and Secure where it can be.  Source: R-SVC-70."""
    assert cookie(COOKIE, "abc", "/x/console", secure=True) == (
        f"{COOKIE}=abc; HttpOnly; Path=/x/console; SameSite=Strict; Secure"
    )
    assert "Secure" not in cookie(COOKIE, "abc", "/", secure=False)
    assert "Max-Age=0" in cookie(COOKIE, "", "/", secure=False, max_age_s=0)
    assert cookie_of({"cookie": f"{COOKIE}="}, COOKIE) is None
