"""Asks who calls before anything else of an application runs: pure ASGI."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from math import ceil
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

from starlette.authentication import AuthCredentials, UnauthenticatedUser

from interlock_adapters._callers.base import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    Authenticator,
    PrincipalUser,
    still_is,
    trusting,
    user_by,
)
from interlock_adapters._callers.open import is_loopback
from interlock_adapters._callers.watch import Watched
from interlock_adapters._http.asgi import App, Message, Receive, Scope, Send, refuse

_AUTHORIZATION: Final = b"authorization"
#: What stands between the values of a header that is given several times; else it is a comma.
_JOINED: Final = {"cookie": "; "}

_BAD: Final = "the credential is not accepted"
_TWICE: Final = "the Authorization header is given more than once"
NEEDED: Final = "a credential is needed"
ELSEWHERE: Final = "without authentication only this machine is served; configure auth for others"


class SignIn(NamedTuple):
    """Where people are sent who open a page without a credential."""

    #: What the paths of pages begin with.
    below: str
    #: The path of the page where they sign in; it is public.  Its query says, as `next`, where
    #: they wanted to go: a path below `below`.
    page: str


class Authentication:
    """Lets in whom an authenticator knows, and puts who that is into the scope.

    `scope["user"]` is a `PrincipalUser` then (see `principal_of`), and on a public path an
    unauthenticated user.  A refusal is a problem (RFC 9457) with a challenge (RFC 6750): 401
    without a credential that is good, 400 for one that is given twice, 503 if it cannot be
    checked now.  Whoever asks for no credential is let in from this machine only (403).  A
    request that goes on for long is judged again (`_callers.watch`), and ends with its credential.
    """

    def __init__(
        self,
        app: App,
        authenticator: Authenticator,
        *,
        public: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        sign_in: SignIn | None = None,
        rechecks: bool = True,
    ) -> None:
        """Stand in front of `app`.

        `public` are whole paths, as "/healthz" (to GET and HEAD) or "POST /console/sign-in".
        They begin below where the application is mounted.  `metadata` says by path where the
        metadata of a protected resource is (RFC 9728), for the challenge.  Not `rechecks` is
        for an application that ends its streams itself.
        """
        self._app: Final = app
        self._authenticator: Final = authenticator
        self._public: Final = frozenset(_methods_of(public))
        self._metadata: Final = dict(metadata or {})
        self._sign_in: Final = sign_in
        self._trusting: Final = trusting(authenticator)
        self._rechecks: Final = rechecks and self._trusting is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)  # The lifespan, which is nobody's request.
            return
        path = path_of(scope)
        if (scope.get("method"), path) in self._public:
            inside = {**scope, "user": UnauthenticatedUser(), "auth": AuthCredentials()}
            await self._app(inside, receive, send)
            return
        answer = await self._judged(scope, path)
        if isinstance(answer, PrincipalUser):
            credentials = AuthCredentials(answer.principal.role_names)
            inside = {**scope, "user": answer, "auth": credentials}
            if not self._rechecks or scope["type"] == "websocket":
                await self._app(inside, receive, send)
                return
            lapsed = _Refusal(
                HTTPStatus.UNAUTHORIZED, _BAD, self._challenge(path, "invalid_token", _BAD)
            )

            async def still_good() -> bool:
                return await still_is(self._authenticator, headers_of(scope["headers"]), answer)

            await Watched(receive, send, lapsed.send).serve(self._app, inside, still_good)
        elif scope["type"] == "websocket":
            await receive()  # websocket.connect
            await send({"type": "websocket.close", "code": 1008})
        elif answer.code is HTTPStatus.UNAUTHORIZED and self._is_page(scope, path):
            await send(_redirect(scope, path, self._sign_in))
            await send({"type": "http.response.body", "body": b""})
        else:
            await answer.send(send)

    async def _judged(self, scope: Scope, path: str) -> "PrincipalUser | _Refusal":
        local = self._trusting
        if local is not None and not local.open_to_everyone and not is_here(scope):
            return _Refusal(HTTPStatus.FORBIDDEN, ELSEWHERE)
        given = sum(name.lower() == _AUTHORIZATION for name, _ in scope["headers"])
        if given > 1:
            challenge = self._challenge(path, "invalid_request", _TWICE)
            return _Refusal(HTTPStatus.BAD_REQUEST, _TWICE, challenge)
        try:
            user = await user_by(self._authenticator, headers_of(scope["headers"]))
            if user is None and given:
                raise AuthenticationFailed  # noqa: TRY301  of a kind that nobody takes
        except AuthenticationFailed:
            challenge = self._challenge(path, "invalid_token", _BAD)
            return _Refusal(HTTPStatus.UNAUTHORIZED, _BAD, challenge)
        except AuthenticationUnavailable as error:
            later = [(b"retry-after", str(ceil(error.retry_after_s)).encode())]
            return _Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error), later)
        return user or _Refusal(HTTPStatus.UNAUTHORIZED, NEEDED, self._challenge(path))

    def _challenge(self, path: str, error: str = "", why: str = "") -> list[tuple[bytes, bytes]]:
        said = {"error": error, "error_description": why} if error else {}
        if path in self._metadata:
            said["resource_metadata"] = self._metadata[path]
        challenge = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in said.items())
        return [(b"www-authenticate", challenge.strip().encode())]

    def _is_page(self, scope: Scope, path: str) -> bool:
        """Whether a browser asks for a page, or sends a form, without a credential in a header."""
        if self._sign_in is None or scope["method"] not in {"GET", "POST"}:
            return False
        below = self._sign_in.below
        headers = headers_of(scope["headers"])
        return (
            (path == below or path.startswith(f"{below}/"))
            and "text/html" in headers.get("accept", "")
            and "authorization" not in headers
        )


class _Refusal(NamedTuple):
    code: HTTPStatus
    why: str
    headers: Iterable[tuple[bytes, bytes]] = ()

    async def send(self, send: Send) -> None:
        """Answer a request with it."""
        await refuse(send, self.code, self.why, self.headers)


def headers_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers as authenticators want them: by name in lower case, several as one text."""
    given: dict[str, str] = {}
    for name, value in headers:
        said = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip(" \t")
        given[said] = f"{given[said]}{_JOINED.get(said, ', ')}{text}" if said in given else text
    return given


def _methods_of(public: Iterable[str]) -> Iterable[tuple[str, str]]:
    for path in public:
        method, space, of_method = path.partition(" ")
        if space:
            yield method.upper(), of_method
        else:
            yield from (("GET", path), ("HEAD", path))


def path_of(scope: Scope) -> str:
    """The path below where the application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :] or "/"
    return path


def is_here(scope: Scope) -> bool:
    """Whether the peer is on this machine; a socket of the file system has no address."""
    client = scope.get("client")
    return not client or is_loopback(str(client[0]))


class OnlyHere:
    """Lets in what comes from this machine, where nobody is asked who he is (T2)."""

    def __init__(self, app: App, *, unless_known: bool = False) -> None:
        """Stand in front of `app`.

        With `unless_known` whoever has a user by now may come from anywhere: what stands before
        it has let him in.
        """
        self._app: Final = app
        self._unless_known: Final = unless_known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        is_known = self._unless_known and scope.get("user") is not None
        if scope["type"] == "http" and not is_known and not is_here(scope):
            await refuse(send, HTTPStatus.FORBIDDEN, ELSEWHERE)
        else:
            await self._app(scope, receive, send)


def _redirect(scope: Scope, path: str, sign_in: SignIn | None) -> Message:
    assert sign_in is not None, "there is nowhere to send anybody"
    # As it was sent: a decoded path is another one.
    wanted = quote(path.removeprefix(sign_in.below))
    if asked := scope.get("query_string", b"").decode("latin-1"):
        wanted += f"?{asked}"
    # What a form is sent to is no page.
    is_page = scope["method"] == "GET" and wanted not in {"", "/"}
    after = f"?{urlencode({'next': wanted})}" if is_page else ""
    headers = [
        (b"location", f"{scope.get('root_path', '')}{sign_in.page}{after}".encode()),
        (b"cache-control", b"no-store"),
        (b"content-length", b"0"),
    ]
    return {"type": "http.response.start", "status": HTTPStatus.SEE_OTHER.value, "headers": headers}
