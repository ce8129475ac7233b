"""What every page of the console goes through: who asks, from where, and how it is answered.

A page needs a session; what changes something needs besides a form of that session (its CSRF
token) and a browser that says the form was on a page of this very service.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from interlock import Engine
from interlock.errors import (
    AnswerInvalid,
    EngineError,
    InvalidInput,
    LimitReached,
    NotAccepting,
    Refused,
    StoreError,
    TokenReused,
    UnknownTask,
)
from interlock_adapters._callers.access import Access, NotAllowed
from interlock_adapters._callers.base import AuthenticationFailed, AuthenticationUnavailable
from interlock_adapters._callers.principal import Role
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.console._pulse import Pulse
from interlock_adapters.console._sessions import (
    COOKIE,
    Session,
    Sessions,
    cookie,
    name_of,
    same_secret,
)
from interlock_adapters.console._text import shown, time_iso, time_text
from interlock_adapters.console._views import badge, who_is

_log: Final = logging.getLogger("interlock.console")

#: What a browser may do with a page: no script, style or frame but our own files.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Nothing is told to other sites.  With `no-referrer` a browser would not tell us either
    # where a form was, and send `Origin: null`.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
#: Fields of one posted form.
_FIELDS_MAX: Final = 500
_FORM: Final = "application/x-www-form-urlencoded"
#: What the last part of a path does to the page before it.
_DEEDS: Final = frozenset({"ask", "cancel", "resume"})
_OLD_PAGE: Final = (
    "Nothing was done: the page was open for so long that the service had forgotten it."
    " This is how it is now; please do it once more."
)

_STATUS: Final[tuple[tuple[type[EngineError], HTTPStatus], ...]] = (
    (UnknownTask, HTTPStatus.NOT_FOUND),
    (NotAllowed, HTTPStatus.FORBIDDEN),
    (AnswerInvalid, HTTPStatus.UNPROCESSABLE_ENTITY),
    (TokenReused, HTTPStatus.CONFLICT),
    (Refused, HTTPStatus.CONFLICT),
    (InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (LimitReached, HTTPStatus.TOO_MANY_REQUESTS),
    (NotAccepting, HTTPStatus.SERVICE_UNAVAILABLE),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
)


class Turned(Exception):
    """A request that goes no further; a person is told why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        self.status: Final = status
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Console:
    """The console of one engine."""

    engine: Engine
    sessions: Sessions
    stopping: Stopping
    pulse: Pulse
    #: `https://host` of where people reach it, besides what they call it by.
    origin: str
    env: Environment


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in."""

    console: Console
    request: Request
    session: Session
    access: Access
    #: What a form said; empty for a page.
    posted: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def base(self) -> str:
        """The path at which the console is."""
        return base_of(self.request)

    def page(self, name: str, status: HTTPStatus = HTTPStatus.OK, **context: object) -> Response:
        """A whole page from its template."""
        flash, self.session.flash = self.session.flash, ""
        html = self.console.env.get_template(f"{name}.html").render(
            **self._common(), **context, flash=flash, page=name
        )
        return HTMLResponse(html, status)

    def part(self, name: str, **context: object) -> str:
        """A part of a page, as it is put into one that is shown."""
        return self.console.env.get_template(f"{name}.html").render(**self._common(), **context)

    def see(self, path: str, flash: str = "") -> Response:
        """Send the browser to another page, which says `flash` once."""
        self.session.flash = flash
        return RedirectResponse(f"{self.base}{path}", HTTPStatus.SEE_OTHER)

    def _common(self) -> dict[str, object]:
        return {
            "base": self.base,
            "csrf": self.session.csrf,
            "me": who_is(self.access.principal),
            "roles": sorted(role.value for role in self.access.principal.roles),
            "operates": self.access.is_of_service and Role.OPERATOR in self.access.principal.roles,
            "oversees": self.access.is_of_service,
            "signs_out": not self.session.is_open_to_all,
        }


Handler: TypeAlias = Callable[[Visit], Awaitable[Response]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def environment() -> Environment:
    """Templates that escape everything, and fail on what they were not given."""
    env = Environment(
        loader=PackageLoader("interlock_adapters.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "badge": badge,
        "shown": shown,
        "time": time_text,
        "iso": time_iso,
        "path": partial(quote, safe=""),
        "query": urlencode,
    }
    env.filters.update(filters)
    return env


def base_of(request: Request) -> str:
    """The path at which the console is mounted."""
    return str(request.scope.get("root_path", ""))


def page(console: Console, handler: Handler) -> Endpoint:
    """A page: for who is signed in; others are sent to sign in."""

    async def endpoint(request: Request) -> Response:
        try:
            session = await console.sessions.find(request.headers)
            set_cookie = ""
            if session is None:
                if is_from_elsewhere(request):
                    return _to_sign_in(request)
                try:
                    session_id, session = await console.sessions.open()
                except AuthenticationFailed:
                    return _to_sign_in(request)
                set_cookie = session_cookie(console, request, session_id)
            visit = Visit(console, request, session, Access(console.engine, session.principal))
            response = await _answered(visit, handler)
        except AuthenticationUnavailable as error:
            return PlainTextResponse(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        if set_cookie:
            response.headers.append("set-cookie", set_cookie)
        return response

    return endpoint


def live(console: Console, handler: Handler) -> Endpoint:
    """A stream of a page: for its session only, which it does not keep from idling."""

    async def endpoint(request: Request) -> Response:
        try:
            session = await console.sessions.find(request.headers, uses=False)
        except AuthenticationUnavailable as error:
            return PlainTextResponse(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        if session is None:
            return PlainTextResponse("you are signed out", HTTPStatus.UNAUTHORIZED)
        visit = Visit(console, request, session, Access(console.engine, session.principal))
        return await _answered(visit, handler)

    return endpoint


def post(console: Console, handler: Handler) -> Endpoint:
    """What changes something: for a form of a page of this session."""

    async def endpoint(request: Request) -> Response:
        try:
            check_origin(console, request)
            session = await console.sessions.find(request.headers)
            posted = await form_of(request)
            if session is None:
                return await _back_to_page(console, request, posted)
            access = Access(console.engine, session.principal)
            visit = Visit(console, request, session, access, posted)
            if not same_secret(posted.get("csrf"), session.csrf):
                return _of_another_session(visit)
        except Turned as error:
            return PlainTextResponse(str(error), error.status)
        except AuthenticationUnavailable as error:
            return PlainTextResponse(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        return await _answered(visit, handler)

    return endpoint


async def _back_to_page(console: Console, request: Request, posted: Mapping[str, str]) -> Response:
    """Answer a form of a session that is over."""
    try:
        session_id, session = await console.sessions.open()
    except AuthenticationFailed:
        return _to_sign_in(request, _page_of(request, posted))
    visit = Visit(console, request, session, Access(console.engine, session.principal))
    response = visit.see(_page_of(request, posted), _OLD_PAGE)
    response.headers.append("set-cookie", session_cookie(console, request, session_id))
    return response


def _of_another_session(visit: Visit) -> Response:
    if visit.session.is_open_to_all:
        return visit.see(_page_of(visit.request, visit.posted), _OLD_PAGE)
    why = "The form is of another session, so nothing was done. Load its page anew."
    status = HTTPStatus.FORBIDDEN
    return visit.page("problem", status, problems=[why], title="An old page")


def _page_of(request: Request, posted: Mapping[str, str]) -> str:
    """The page on which a form was."""
    path = _path_inside(request)
    if posted.get("back") == "inbox" or path == "/sign-out":
        return "/inbox"
    head, _, last = path.rpartition("/")
    return head if head and last in _DEEDS else path


async def _answered(visit: Visit, handler: Handler) -> Response:
    try:
        return await handler(visit)
    except Turned as error:
        status, problems = error.status, [str(error)]
    except EngineError as error:
        status = status_of(error)
        problems = problems_of(error)
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            _log.warning("the console could not answer: %s", error.code)
    return visit.page("problem", status, problems=problems, title=status.phrase)


def status_of(error: EngineError) -> HTTPStatus:
    """How an error of the engine is told over HTTP."""
    found = (status for kind, status in _STATUS if isinstance(error, kind))
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


def problems_of(error: EngineError) -> list[str]:
    """What a person is told of it, one sentence each."""
    match error:
        case UnknownTask():
            return ["There is no such task, or it is not one that you may see (any more)."]
        case AnswerInvalid() | InvalidInput():
            return [*error.problems]
        case StoreError():
            return ["The store cannot be read or written now."]
        case _:
            return [str(error)]


def check_origin(console: Console, request: Request) -> None:
    """Go on only if the browser says that a page of this service sends this.

    Raises:
        Turned: it says otherwise, or nothing.
    """
    headers = request.headers
    site, origin, host = (headers.get(h) for h in ("sec-fetch-site", "origin", "host"))
    ours = {console.origin} | {f"{scheme}://{host}".lower() for scheme in ("http", "https")}
    is_ours = site == "same-origin" if origin is None else origin.lower() in ours
    if not is_ours or site not in {None, "same-origin"}:
        raise Turned(HTTPStatus.FORBIDDEN, "this did not come from a page of this console")


async def form_of(request: Request) -> dict[str, str]:
    """What a form says: each field once.

    Raises:
        Turned: it is no such form.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise Turned(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"a form is sent as {_FORM}")
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX, errors="strict"
        )
    except ValueError:
        raise Turned(HTTPStatus.BAD_REQUEST, "the form cannot be read") from None
    posted = dict(pairs)
    if len(posted) < len(pairs):
        raise Turned(HTTPStatus.BAD_REQUEST, "a field of the form is there twice")
    return posted


def is_secure(console: Console, request: Request) -> bool:
    """Whether cookies are for https only."""
    given = console.sessions.secure
    if given is not None:
        return given
    return request.url.scheme == "https" or console.origin.startswith("https:")


def session_cookie(console: Console, request: Request, session_id: str) -> str:
    """The header that hands out a session, or takes it away if there is none."""
    secure = is_secure(console, request)
    gone = None if session_id else 0
    name = name_of(COOKIE, request.headers)
    return cookie(name, session_id, base_of(request) or "/", secure=secure, max_age_s=gone)


def origin_of(url: str) -> str:
    """What a browser names as the origin of a page at that URL; "" for none."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.scheme and parts.netloc else ""


def is_from_elsewhere(request: Request) -> bool:
    """Whether a browser follows a link of another site: then it keeps our cookie back."""
    return request.headers.get("sec-fetch-site") == "cross-site"


def _path_inside(request: Request) -> str:
    # As it was sent: a decoded path is another one.
    return quote(str(request.scope["path"])).removeprefix(quote(base_of(request)))


def _to_sign_in(request: Request, wanted: str | None = None) -> Response:
    if wanted is None:
        wanted = _path_inside(request)
        if request.url.query:
            wanted += f"?{request.url.query}"
    query = f"?{urlencode({'next': wanted})}" if wanted != "/" else ""
    return RedirectResponse(f"{base_of(request)}/sign-in{query}", HTTPStatus.SEE_OTHER)
