"""Who may call over HTTP, before anybody is authenticated: pure ASGI.

A server on this machine is open to every page that its user's browser shows, unless it asks
by which name it is called (a name can be made to point here: DNS rebinding), where the call
comes from, and whether it is one that a page may make without asking (CSRF).
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator

from interlock_adapters._http.asgi import App, Receive, Scope, Send, refuse

#: This machine, to itself.
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
#: As an allowed host: whatever is asked for.
ANY: Final = "*"

_ALLOWED_HOST: Final = re.compile(
    # Of an address of version 6 with its brackets or without.
    r"\*|[0-9A-Za-z._-]+|\[?[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]?"
)
_ALLOWED_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE)
_JSON: Final = re.compile(
    rb"application/(?:[a-z0-9!#$&^_.-]+\+)?json[ \t]*(?:;[^,]*)?", re.IGNORECASE
)
_USUAL: Final = b"application/json"
_READ: Final = frozenset(
    {b"host", b"origin", b"content-type", b"content-length", b"transfer-encoding"}
)
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})

_SCHEMES: Final = (b"http://", b"https://")

_OTHER_HOST: Final = (
    HTTPStatus.MISDIRECTED_REQUEST,
    "the Host header names neither this server nor one of its allowed_hosts",
)
_OTHER_ORIGIN: Final = (
    HTTPStatus.FORBIDDEN,
    "the Origin header names neither this server nor one of its allowed_origins",
)
_NO_JSON: Final = (
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "the Content-Type of a body must be application/json or application/*+json",
)


def _is_host(given: str) -> str:
    if _ALLOWED_HOST.fullmatch(given) is None:
        raise ValueError("a name or an address without scheme and port is accepted, or *")
    return given


def _is_origin(given: str) -> str:
    if _ALLOWED_ORIGIN.fullmatch(given) is None:
        raise ValueError("an origin as https://app.example is accepted, without a path")
    return given


#: A name by which a server may be called, as its settings have it.
Host: TypeAlias = Annotated[str, AfterValidator(_is_host)]
#: A site whose pages may call it, as browsers name them.
Origin: TypeAlias = Annotated[str, AfterValidator(_is_origin)]


class FrontDoor:
    """Lets in what calls this server by its name, from no other site, with JSON.

    A refusal is a problem (RFC 9457): 421 for another host, 403 for another origin, 415 for
    a body that is not JSON.
    """

    def __init__(
        self, app: App, *, url: str, hosts: Iterable[str] = (), origins: Iterable[str] = ()
    ) -> None:
        """Stand in front of `app`, whose clients reach it at `url`.

        `hosts` are names that it has besides, and `origins` the sites whose pages may call.
        """
        named = urlsplit(url)
        given = frozenset(hosts)
        self._app: Final = app
        self._any_host: Final = ANY in given
        names = {host.strip("[]").lower() for host in given}
        self._hosts: Final = LOOPBACK | names | {named.hostname}
        self._origins: Final = frozenset(
            origin.lower().encode("latin-1", "replace")
            for origin in (*origins, f"{named.scheme}://{named.netloc}")
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        problem = self._problem_of(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await refuse(send, *problem)

    def _problem_of(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        given: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _READ:
                # Given twice it is a list (RFC 9110 §5.3), and so nothing that we allow.
                given[name] = given[name] + b"," + value if name in given else value
        # Only what is no browser, and so has no pages, leaves the host out.
        host = given.get(b"host")
        if host is not None and not self._is_ours(host):
            return _OTHER_HOST
        origin = given.get(b"origin")
        if origin is not None and not self._may_call(origin.lower(), host):
            return _OTHER_ORIGIN
        if scope["method"] in _WITH_BODY and not _is_json(given):
            return _NO_JSON
        return None

    def _is_ours(self, host: bytes) -> bool:
        named = _HOST.fullmatch(host.decode("latin-1"))
        if named is None:
            return False
        return self._any_host or (named[1] or named[2]).lower() in self._hosts

    def _may_call(self, origin: bytes, host: bytes | None) -> bool:
        if origin in self._origins:
            return True
        return host is not None and origin in {s + host.lower() for s in _SCHEMES}


def _is_json(given: dict[bytes, bytes]) -> bool:
    """Whether a request has a body that says it is JSON, or none at all."""
    media_type = given.get(b"content-type")
    if media_type is None:
        # A browser's page that leaves it out has still to say how much is coming.
        return given.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in given
    return media_type == _USUAL or _JSON.fullmatch(media_type) is not None
