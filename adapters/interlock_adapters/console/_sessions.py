"""Who is signed in to the console: sessions kept here, known to a browser by a cookie.

A session holds the credential with which it was opened, in memory only, and shows it again
every `recheck_s`: a token that was revoked or has run out ends its sessions too.

The cookie goes to the console's own paths only, so no other face ever acts on it.  It is
`SameSite=Strict`: who follows a link of another site comes without it, and is sent on by a page
of ours, for which the browser shows it (`console._core.is_from_elsewhere`).
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from types import MappingProxyType
from typing import Final

from interlock import JsonObject
from interlock_adapters._callers.base import (
    TOKEN_CHARS_MAX,
    AuthenticationFailed,
    Authenticator,
    user_by,
)
from interlock_adapters._callers.principal import Principal

#: The cookie of a session, and that of a sign-in page before there is one: see `name_of`.
COOKIE: Final = "interlock_session"
SIGN_IN_COOKIE: Final = "interlock_sign_in"
#: Characters of a cookie of ours; a longer one is somebody else's.
_COOKIE_CHARS_MAX: Final = 200
#: Characters of all cookies of a request that are read.
_COOKIES_CHARS_MAX: Final = 8_192
_PORT: Final = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]+):([0-9]{1,5})")


@dataclass(slots=True)
class Session:
    """Somebody who is signed in."""

    principal: Principal
    #: What every form of it carries.
    csrf: str = field(repr=False)
    #: What the sign-in showed; empty where no credential is needed.
    headers: Mapping[str, str] = field(repr=False)
    #: The digest of its id.
    key: str = field(repr=False)
    began: float
    used: float
    checked: float
    #: What the next page says once.
    flash: str = ""
    #: Streams that it has open.
    streams: int = 0

    @property
    def is_open_to_all(self) -> bool:
        """Whether it needed no credential, so that there is nothing to sign out of."""
        return not self.headers


class Sessions:
    """The sessions of one service: an `Authenticator` of requests with their cookie.

    A browser gets an id of 256 random bits in a cookie that no script can read and no other
    site can send; here it is known by its SHA-256.  All times are seconds.
    """

    #: For OpenAPI and agent cards.
    schemes: Mapping[str, JsonObject] = MappingProxyType(
        {"console": {"type": "apiKey", "in": "cookie", "name": COOKIE}}
    )

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        idle_s: float = 3_600.0,
        absolute_s: float = 43_200.0,
        recheck_s: float = 60.0,
        sessions_max: int = 10_000,
        per_owner_max: int = 20,
        secure: bool | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open sessions for whom `authenticator` knows.

        One ends `idle_s` after its last page, `absolute_s` after it began, and when its
        credential is no good any more.  Over a bound the one that was used least lately goes,
        and those of which a page is open last.  Who needs no credential is nobody in
        particular: for them `sessions_max` counts alone.
        `secure` says whether the cookie is for https only; None is as the request came.
        """
        self._authenticator: Final = authenticator
        self._idle_s: Final = idle_s
        self._absolute_s: Final = absolute_s
        self._recheck_s: Final = recheck_s
        self._sessions_max: Final = sessions_max
        self._per_owner_max: Final = per_owner_max
        self.secure: Final = secure
        self._now: Final = now
        #: By the digest of the id, the one that was used least lately first.
        self._sessions: Final[dict[str, Session]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    async def open(self, token: str | None = None) -> tuple[str, Session]:
        """Sign in with a token, or, where none is needed, without one.

        Returns:
            The id for the cookie, and the session.

        Raises:
            AuthenticationFailed: the token is no good, or one is needed.
            AuthenticationUnavailable: it cannot be checked now.
        """
        headers: dict[str, str] = {}
        if token is not None:
            if not token or len(token) > TOKEN_CHARS_MAX or not _is_visible(token):
                raise AuthenticationFailed
            headers = {"authorization": f"Bearer {token}"}
        user = await user_by(self._authenticator, headers)
        if user is None:
            raise AuthenticationFailed
        now = self._now()
        self._forget_old(now)
        self._make_room(user.principal.owner if headers else None)
        session_id = secrets.token_urlsafe(32)
        session = Session(
            user.principal,
            csrf=secrets.token_urlsafe(32),
            headers=headers,
            key=_key(session_id),
            began=now,
            used=now,
            checked=now,
        )
        self._sessions[session.key] = session
        return session_id, session

    async def needs_credential(self) -> bool:
        """Whether one has to sign in.

        Raises:
            AuthenticationUnavailable: it cannot be told now.
        """
        try:
            return await user_by(self._authenticator, {}) is None
        except AuthenticationFailed:
            return True

    async def find(self, headers: Mapping[str, str], *, uses: bool = True) -> Session | None:
        """The live session whose cookie is in the headers; `uses` keeps it from idling.

        Raises:
            AuthenticationUnavailable: its credential cannot be checked now.
        """
        session_id = cookie_of(headers, name_of(COOKIE, headers))
        session = None if session_id is None else self._sessions.get(_key(session_id))
        if session is None or not await self.is_live(session):
            return None
        if uses and session.key in self._sessions:
            session.used = self._now()
            self._sessions[session.key] = self._sessions.pop(session.key)
        return session

    async def is_live(self, session: Session) -> bool:
        """Whether it may go on; one that may not is forgotten.

        Raises:
            AuthenticationUnavailable: its credential cannot be checked now.
        """
        now = self._now()
        if session.key not in self._sessions:
            return False
        if self._is_old(session, now):
            self.close(session)
            return False
        if now - session.checked >= self._recheck_s and not await self._is_still_good(session):
            self.close(session)
        return session.key in self._sessions

    def close(self, session: Session) -> None:
        """Sign out; harmless when that was done."""
        self._sessions.pop(session.key, None)

    async def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """See `Authenticator`: whose session it is, None without a live one.

        Not every request is somebody's doing: pages and forms say that it is used, streams do not.
        """
        session = await self.find(headers, uses=False)
        return None if session is None else session.principal

    async def _is_still_good(self, session: Session) -> bool:
        try:
            user = await user_by(self._authenticator, session.headers)
        except AuthenticationFailed:
            return False
        if user is None or user.principal.owner != session.principal.owner:
            return False
        # Its roles may be others by now.
        session.principal = user.principal
        session.checked = self._now()
        return True

    def _is_old(self, session: Session, now: float) -> bool:
        return now - session.used >= self._idle_s or now - session.began >= self._absolute_s

    def _forget_old(self, now: float) -> None:
        for session in [s for s in self._sessions.values() if self._is_old(s, now)]:
            self.close(session)

    def _make_room(self, owner: str | None) -> None:
        if owner is not None:
            theirs = [s for s in self._sessions.values() if s.principal.owner == owner]
            self._close_some(theirs, self._per_owner_max)
        if len(self._sessions) >= self._sessions_max:
            self._close_some([*self._sessions.values()], self._sessions_max)

    def _close_some(self, sessions: Sequence[Session], fewer_than: int) -> None:
        # Sorting keeps the order of those that are alike: the one used least lately is first.
        by_need = sorted(sessions, key=lambda session: session.streams > 0)
        for session in by_need[: max(0, len(by_need) + 1 - fewer_than)]:
            self.close(session)


def name_of(name: str, headers: Mapping[str, str]) -> str:
    """How a cookie of ours is called, by the headers of a request.

    Browsers send a cookie to every port of a host: services on one host would take each
    other's for their own, so the port that the browser calls is in the name.
    """
    found = _PORT.fullmatch(headers.get("host", ""))
    return name if found is None else f"{name}_{found[1]}"


def cookie_of(headers: Mapping[str, str], name: str) -> str | None:
    """The value of one cookie; None if it is not there, or nothing that we gave."""
    said = headers.get("cookie", "")
    if not said or len(said) > _COOKIES_CHARS_MAX:
        return None
    for part in said.split(";"):
        key, found, value = part.strip().partition("=")
        if found and key == name:
            return value if 0 < len(value) <= _COOKIE_CHARS_MAX else None
    return None


def cookie(name: str, value: str, path: str, *, secure: bool, max_age_s: int | None = None) -> str:
    """A `Set-Cookie` header; with `max_age_s` 0 it takes the cookie away."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar[name] = value
    except CookieError as error:  # pragma: no cover  the names are ours
        raise AssertionError from error
    made = jar[name]
    made["path"] = path
    made["httponly"] = True
    made["samesite"] = "Strict"
    if secure:
        made["secure"] = True
    if max_age_s is not None:
        made["max-age"] = max_age_s
    return made.OutputString()


def same_secret(given: str | None, expected: str | None) -> bool:
    """Whether both are there and equal, in a time that says nothing of where they differ."""
    if not given or not expected:
        return False
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode())


def _is_visible(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token


def _key(session_id: str) -> str:
    return hashlib.sha256(session_id.encode(errors="surrogatepass")).hexdigest()
