"""The keys of an issuer: fetched when they are needed, kept, and fetched anew when one is missing.

Whoever sends tokens with invented key ids makes us fetch no more often than every
`refetch_s`, and a fetch is bounded in time and size.  There is one fetch at a time, however
many want it.  Who shows a key that we hold does not wait for an issuer that hangs: keys that are
not fresh any more are used while others are fetched aside.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import httpx
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from pydantic import AnyHttpUrl

from interlock_adapters._callers.base import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    discovery_of,
)
from interlock_adapters._callers.open import is_loopback

_log: Final = logging.getLogger("interlock.auth")

#: Bytes of a key set or of a discovery document: a few keys with their certificates.
FETCH_BYTES_MAX: Final = 262_144
#: Seconds for one whole fetch.
FETCH_S: Final = 10.0
#: Keys of one set that are looked at.
KEYS_MAX: Final = 64


class Keeping(NamedTuple):
    """How long keys are kept.  Seconds."""

    #: After that they are fetched anew, aside.  After twice that, nobody has asked for long, and
    #: whoever does waits, since a key may have been withdrawn meanwhile.
    fresh_s: float = 600.0
    #: Until they come anew they are used on for so long since they were fetched.
    stale_s: float = 86_400.0
    #: From one fetch to the next, whatever its reason and its outcome.
    refetch_s: float = 30.0
    #: For how long whoever shows a key that is held waits at most, where that is waited at all.
    patience_s: float = 2.0


class UnusableUrl(ValueError):
    """Keys must not be fetched from there."""


def keys_of(said: object) -> tuple[PyJWK, ...]:
    """The keys of a set that can verify signatures; others are passed over.

    A key that is a shared secret is none: who can verify with it can also sign.

    Raises:
        ValueError: it is no key set, or has no such key.
    """
    listed = _object(said).get("keys")
    if not isinstance(listed, list):
        raise ValueError("an object with an array `keys` is accepted")  # noqa: TRY004
    found: list[PyJWK] = []
    for key in map(_object, cast("list[object]", listed)[:KEYS_MAX]):
        if str(key.get("kty")) not in {"RSA", "EC", "OKP"} or key.get("use", "sig") != "sig":
            continue
        if "d" in key:
            continue  # Whoever can read the set can sign with it.
        try:
            found.append(PyJWK(key))
        except PyJWTError:
            continue  # Of a kind that we do not know.
    if not found:
        raise ValueError("a set with a public key for signatures is accepted")
    return tuple(found)


def _object(said: object) -> dict[str, Any]:
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def pick(keys: tuple[PyJWK, ...], key_id: str | None) -> PyJWK | None:
    """The key that a token names; one that names none is of the only key."""
    if key_id is None:
        return keys[0] if len(keys) == 1 else None
    return next((key for key in keys if key.key_id == key_id), None)


class Jwks:
    """The keys of one issuer, from its URL, or from where its discovery document says they are."""

    def __init__(
        self,
        *,
        url: str | None,
        issuer: str,
        keeping: Keeping | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        """Fetch from `url`, or find it by the issuer.  `now` is monotonic; None: the loop's.

        Raises:
            UnusableUrl: it is not https, nor http on this machine.
        """
        self._url = None if url is None else usable(url)
        self._issuer: Final = issuer if url is not None else usable(issuer)
        self._keeping: Final = keeping or Keeping()
        self._transport: Final = transport
        self._now: Final = now or (lambda: asyncio.get_running_loop().time())
        self._keys: tuple[PyJWK, ...] = ()
        #: When these were fetched, and when anybody tried last.
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching: asyncio.Task[bool] | None = None
        #: The last fetch gave none: for a while what is held is used without waiting for the next.
        self._failed = False

    async def key(self, key_id: str | None) -> PyJWK:
        """The key that a token names.

        Raises:
            AuthenticationFailed: the issuer has no such key.
            AuthenticationUnavailable: its keys cannot be had.
        """
        keeping, age_s = self._keeping, self._now() - self._fetched_at
        if age_s >= keeping.stale_s or pick(self._keys, key_id) is None:
            # Keys change before everybody has heard of it.
            if (fetching := self._fetch()) is not None:
                # Whoever hangs up does not take it from the others.
                await asyncio.shield(fetching)
        elif age_s >= keeping.fresh_s:
            # It is away, and whoever comes every moment is not to wait for it each time.
            away = self._failed and self._now() - self._tried_at < keeping.fresh_s
            fetching = self._fetch()
            if fetching is not None and age_s >= 2 * keeping.fresh_s and not away:
                await asyncio.wait({fetching}, timeout=keeping.patience_s)
        if self._now() - self._fetched_at >= keeping.stale_s:
            raise AuthenticationUnavailable(keeping.refetch_s)
        found = pick(self._keys, key_id)
        if found is None:
            raise AuthenticationFailed
        return found

    def _fetch(self) -> asyncio.Task[bool] | None:
        """The fetch that goes on, or a new one; None: somebody tried a moment ago."""
        if self._fetching is None:
            if self._now() - self._tried_at < self._keeping.refetch_s:
                return None
            self._fetching = asyncio.create_task(self._fetch_now())
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    def _fetched(self, done: asyncio.Task[bool]) -> None:
        self._fetching = None
        # From its end: an issuer that hangs is not asked for most of the time.
        self._tried_at = self._now()
        error = None if done.cancelled() else done.exception()
        self._failed = done.cancelled() or error is not None or not done.result()
        if error is not None:
            # Perhaps nobody waits for it, who would be told.
            _log.error("fetching the keys of %s raised %s", self._issuer, type(error).__name__)

    async def _fetch_now(self) -> bool:
        """Fetch them; whether they came."""
        try:
            async with asyncio.timeout(FETCH_S):
                keys = keys_of(await self._get_keys())
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as why:
            kind = type(why).__name__
            _log.warning("the keys of %s cannot be had: %s: %.200s", self._issuer, kind, why)
            return False
        self._keys, self._fetched_at = keys, self._now()
        return True

    async def _get_keys(self) -> object:
        # A client per fetch: there are few, and none has to be closed at the end.  What is not
        # over TLS is on this machine: there a proxy of the environment could say anything.
        async with httpx.AsyncClient(
            transport=self._transport,
            mounts={"http://": None},
            follow_redirects=False,
            timeout=FETCH_S,
        ) as http:
            if self._url is None:
                # Kept once it is known: where keys are changes less often than they do.
                self._url = await self._discovered(http)
            return await _get(http, self._url)

    async def _discovered(self, http: httpx.AsyncClient) -> str:
        document = _object(await _get(http, discovery_of(self._issuer)))
        if document.get("issuer") != self._issuer:
            raise ValueError("the discovery document is of another issuer")
        return usable(document.get("jwks_uri"))


async def _get(http: httpx.AsyncClient, url: str) -> object:
    """The JSON that is there, up to `FETCH_BYTES_MAX`."""
    async with http.stream("GET", url, headers={"accept": "application/json"}) as response:
        if response.status_code != HTTPStatus.OK:
            raise ValueError(f"it answers {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > FETCH_BYTES_MAX:
                raise ValueError(f"it has more than {FETCH_BYTES_MAX} bytes")
    return json.loads(bytes(body))


def usable(url: object) -> str:
    """The URL, if keys may come from there.

    Raises:
        UnusableUrl: whoever is on the way could give us keys.
    """
    accepted = "https://..., or http:// on this machine, is accepted"
    if not isinstance(url, str):
        raise UnusableUrl(f"there is no URL; {accepted}")
    try:
        AnyHttpUrl(url)  # As it is published for clients, who are stricter than `urlsplit`.
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise UnusableUrl(f"{url!r:.200} is no URL; {accepted}") from None
    here = host == "localhost" or is_loopback(host)
    if (
        not host
        or parts.username
        or not (parts.scheme == "https" or (parts.scheme == "http" and here))
    ):
        raise UnusableUrl(f"{url!r:.200} is not secure; {accepted}")
    return url
