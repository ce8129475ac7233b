"""What a form of the console does: decide, answer, cancel, resume, set policies, sign in and out.

An approval runs what its approver was shown: other arguments than asked for are taken only
with the digest of the difference that was on the page.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal, cast

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from interlock import JsonObject, JsonValue, OpenAsk, TaskRecord
from interlock._json import digest
from interlock.errors import AmbiguousTool, AnswerInvalid, InvalidInput, UnknownTask, UnknownTool
from interlock_adapters._callers.access import is_for_operator
from interlock_adapters._callers.base import AuthenticationFailed, AuthenticationUnavailable
from interlock_adapters._callers.principal import Role
from interlock_adapters.console._core import (
    Console,
    Turned,
    Visit,
    base_of,
    check_origin,
    form_of,
    is_from_elsewhere,
    is_secure,
    session_cookie,
)
from interlock_adapters.console._forms import RAW, Filled, filled
from interlock_adapters.console._pages import policies_page
from interlock_adapters.console._sessions import (
    SIGN_IN_COOKIE,
    cookie,
    cookie_of,
    name_of,
    same_secret,
)
from interlock_adapters.console._text import difference, shown
from interlock_adapters.console._views import ask_card, start_of
from interlock_adapters.management._audit import audit
from interlock_adapters.policies import load_policies

_GONE: Final = (
    "That is not asked any more: somebody dealt with it, it ran out, or the agent took it back."
)
_CHANGED: Final = "You changed arguments: approve them as edited, or put them back."
_LOOK: Final = "Look at what is different, then approve it once more."
_LINE: Final = re.compile(r"\bpolicies:(\d+)")
#: Where somebody goes on after signing in: a path of the console's own.
_OWN_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
_SECRET_CHARS: Final = 32


# --- asks ----------------------------------------------------------------------------


async def ask_posted(visit: Visit) -> Response:
    """Deal with an open ask, as the button says that was pressed."""
    task_id = visit.request.path_params["task_id"]
    key, what = visit.posted.get("ask", ""), visit.posted.get("do", "")
    record = await visit.access.record(task_id)
    ask = record.ask(key)
    if ask is None:
        if what == "preview":
            return HTMLResponse("", HTTPStatus.GONE)
        return visit.see(await _back(visit, task_id), _GONE)
    if what == "preview":
        return _preview(visit, record, ask)
    try:
        flash = await _done(visit, record, ask, what)
    except _NotYetError as not_yet:
        return _again(visit, record, ask, not_yet.made, not_yet.said)
    except AnswerInvalid as error:
        return _again(visit, record, ask, Filled(), tuple(error.problems))
    return visit.see(await _back(visit, task_id), flash)


class _NotYetError(Exception):
    """The form is shown once more, with what it takes to go on."""

    def __init__(self, made: Filled, *said: str) -> None:
        self.made: Final = made
        self.said: Final = said
        super().__init__(*said)


async def _done(visit: Visit, record: TaskRecord, ask: OpenAsk, what: str) -> str:
    """Do it; what is said of it then."""
    access, posted, task_id = visit.access, visit.posted, record.task_id
    reason, token = posted.get("reason", "").strip() or None, posted.get("token") or None
    named = posted.get("digest", "")
    match what:
        case "approve":
            if ask.allow_edit and _is_edited(visit, ask):
                raise _NotYetError(Filled(), _CHANGED)
            await access.approve(task_id, ask.key, named, None, reason, token=token)
            return "Approved as asked."
        case "approve_edited":
            final = _edited(visit, ask)
            await access.approve(task_id, ask.key, named, final, reason, token=token)
            return "Approved as edited."
        case "deny":
            await access.deny(task_id, ask.key, named, reason, token=token)
            return "Denied."
        case "answer":
            made = _filled(ask, posted)
            if not made.is_good:
                raise _NotYetError(made)
            await access.answer(task_id, ask.key, made.value, token=token)
            return "Answered."
        case "decline":
            await access.decline(task_id, ask.key, reason, token=token)
            return "Declined."
        case _:
            raise Turned(HTTPStatus.UNPROCESSABLE_ENTITY, "the form says nothing to do")


def _filled(ask: OpenAsk, posted: Mapping[str, str]) -> Filled:
    value, has_value = start_of(ask)
    return filled(ask.schema, value, posted, has_value=has_value)


def _is_edited(visit: Visit, ask: OpenAsk) -> bool:
    made = _filled(ask, visit.posted)
    return not made.is_good or _seen(made.value) != _seen(ask.arguments)


def _edited(visit: Visit, ask: OpenAsk) -> JsonObject:
    """The arguments that are to be called instead, which their approver has seen.

    Raises:
        _NotYetError: they are none, or were not looked at.
    """
    made = _filled(ask, visit.posted)
    if made.is_good and not isinstance(made.value, dict):
        made = Filled(problems={RAW: "arguments are a JSON object"})
    if not made.is_good:
        raise _NotYetError(made)
    if visit.posted.get("seen") != _seen(made.value):
        raise _NotYetError(made, _LOOK)
    return cast("JsonObject", made.value)


def _seen(value: JsonValue) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _preview(visit: Visit, record: TaskRecord, ask: OpenAsk) -> Response:
    """What would run, beside what was asked.

    Raises:
        Turned: there is nothing that they may run instead.
    """
    if ask.digest is None or not ask.allow_edit or not visit.access.may_answer(record, ask):
        raise Turned(HTTPStatus.UNPROCESSABLE_ENTITY, "there is nothing here to edit")
    made = _filled(ask, visit.posted)
    return HTMLResponse(visit.part("_difference", **_compared(ask, made)))


def _compared(ask: OpenAsk, made: Filled) -> dict[str, object]:
    lines = difference(ask.arguments, made.value) if made.is_good else []
    problems = [f"{name}: {what}" if name != RAW else what for name, what in made.problems.items()]
    return {
        "lines": lines,
        "problems": [shown(each) for each in problems],
        "seen": _seen(made.value) if made.is_good else "",
    }


def _again(
    visit: Visit, record: TaskRecord, ask: OpenAsk, made: Filled, said: tuple[str, ...]
) -> Response:
    """The card alone on a page, as it was left, and what is wrong with it."""
    card = ask_card(
        visit.access,
        record,
        ask,
        seed=visit.session.csrf,
        posted=visit.posted,
        problems=made.problems,
        said=said,
    )
    compared: dict[str, object] | None = None
    if ask.digest is not None and ask.allow_edit and card.may:
        compared = _compared(ask, _filled(ask, visit.posted))
    back = visit.posted.get("back", "task")
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return visit.page("ask", status, record=record, card=card, compared=compared, back=back)


async def _back(visit: Visit, task_id: str) -> str:
    """Where to go on: an approver may not see a task any more that does not wait for him."""
    if visit.posted.get("back") == "inbox":
        return "/inbox"
    try:
        await visit.access.record(task_id)
    except UnknownTask:
        return "/inbox"
    return f"/tasks/{task_id}"


async def cancel_posted(visit: Visit) -> Response:
    """Ask for a task to stop."""
    task_id = visit.request.path_params["task_id"]
    await visit.access.cancel(task_id, visit.posted.get("reason", "").strip() or None)
    return visit.see(f"/tasks/{task_id}", "It was told to stop.")


async def resume_posted(visit: Visit) -> Response:
    """Let a task go on that asks an operator how."""
    task_id = visit.request.path_params["task_id"]
    record = await visit.access.record(task_id)
    choices = [each for ask in record.asks if is_for_operator(ask) for each in _choices(ask)]
    decision = visit.posted.get("do", "")
    if decision not in choices:
        raise InvalidInput([f"{', '.join(choices) or 'nothing'} is accepted"])
    said = cast("Literal['again', 'skip', 'from_scratch']", decision)
    after = await visit.access.resume(task_id, said)
    audit(visit.access.principal, "task_resumed", task=task_id, decision=decision, seq=after.seq)
    return visit.see(await _back(visit, task_id), "It goes on.")


def _choices(ask: OpenAsk) -> list[str]:
    choices = ask.schema.get("enum")
    return [str(each) for each in choices] if isinstance(choices, list) else []


# --- policies ------------------------------------------------------------------------


async def policies_posted(visit: Visit) -> Response:
    """Set or drop one rule; it counts from the next call on."""
    visit.access.require_of_service(Role.OPERATOR)
    policies = visit.console.engine.tools.policies
    rule, body = visit.posted.get("rule", "").strip(), visit.posted.get("body", "")
    if visit.posted.get("version") != str(policies.version):
        why = (
            "somebody changed the policies meanwhile; look at them as they are now, and save again"
        )
        return policies_page(visit, rule=rule, body=body, faults=[why])
    who = visit.access.principal
    if visit.posted.get("do") == "drop":
        version = policies.drop(rule)
        audit(who, "policy_dropped", rule=rule, version=version)
        return visit.see("/policies", f"The rule is gone; this is version {version}.")
    try:
        # YAML does not take two escapes for one character, as JSON does.
        named = json.dumps(rule, ensure_ascii=False)
        document = f"{named}:\n" + "\n".join(f"  {line}" for line in body.splitlines())
        policy = load_policies(document).rules[rule]
        version = policies.set(rule, policy)
    except InvalidInput as error:
        faults = [_as_typed(fault) for fault in error.problems]
        return policies_page(visit, rule=rule, body=body, faults=faults)
    except (UnknownTool, AmbiguousTool) as error:
        return policies_page(visit, rule=rule, body=body, faults=[str(error)])
    audit(who, "policy_set", rule=rule, version=version, digest=digest(policy.to_json()))
    return visit.see("/policies", f"Saved; this is version {version}.")


def _as_typed(fault: str) -> str:
    """A fault with the line of the text as it was typed: the first line is the rule's."""
    return _LINE.sub(lambda found: f"line {max(1, int(found[1]) - 1)}", fault)


# --- signing in and out --------------------------------------------------------------


async def sign_in_page(console: Console, request: Request) -> Response:
    """Where a token is pasted; who need not is sent on."""
    wanted = request.query_params.get("next", "")
    onward = f"{base_of(request)}{own_path(wanted)}"
    if is_from_elsewhere(request):
        # A redirect would still be that site's doing, and come without our cookie.
        html = console.env.get_template("onward.html").render(base=base_of(request), onward=onward)
        return HTMLResponse(html)
    try:
        is_known = bool(wanted) and await console.sessions.find(request.headers) is not None
        if is_known or not await console.sessions.needs_credential():
            return RedirectResponse(onward, HTTPStatus.SEE_OTHER)
    except AuthenticationUnavailable as error:
        return PlainTextResponse(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
    return _sign_in(console, request, wanted, HTTPStatus.OK)


async def sign_in_posted(console: Console, request: Request) -> Response:
    """Open a session with a token, under a new id."""
    try:
        check_origin(console, request)
        posted = await form_of(request)
    except Turned as error:
        return PlainTextResponse(str(error), error.status)
    try:
        if not same_secret(posted.get("csrf"), _sign_in_cookie(request)):
            return _sign_in(
                console,
                request,
                posted.get("next", ""),
                HTTPStatus.FORBIDDEN,
                "The page was too old, or cookies are off. Try again.",
            )
        earlier = await console.sessions.find(request.headers)
        session_id, _ = await console.sessions.open(posted.get("token", "").strip())
    except AuthenticationFailed:
        why = "This token is not accepted."
        return _sign_in(console, request, posted.get("next", ""), HTTPStatus.UNAUTHORIZED, why)
    except AuthenticationUnavailable as error:
        return PlainTextResponse(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
    if earlier is not None:
        console.sessions.close(earlier)
    response = RedirectResponse(
        f"{base_of(request)}{own_path(posted.get('next', ''))}", HTTPStatus.SEE_OTHER
    )
    response.headers.append("set-cookie", session_cookie(console, request, session_id))
    return response


async def sign_out_posted(visit: Visit) -> Response:
    """End the session, here and in the browser."""
    visit.console.sessions.close(visit.session)
    response = RedirectResponse(f"{visit.base}/sign-in", HTTPStatus.SEE_OTHER)
    response.headers.append("set-cookie", session_cookie(visit.console, visit.request, ""))
    response.headers["clear-site-data"] = '"cache"'
    return response


def own_path(said: str) -> str:
    """A path of the console to go on at; the inbox for anything else."""
    return said if _OWN_PATH.fullmatch(said) and "/live" not in said else "/inbox"


def _sign_in_cookie(request: Request) -> str | None:
    return cookie_of(request.headers, name_of(SIGN_IN_COOKIE, request.headers))


def _sign_in(
    console: Console, request: Request, after: str, status: HTTPStatus, problem: str = ""
) -> Response:

    secret = secrets.token_urlsafe(_SECRET_CHARS)
    base = base_of(request)
    html = console.env.get_template("sign_in.html").render(
        base=base, csrf=secret, next=own_path(after), problem=problem
    )
    response = HTMLResponse(html, status)
    name = name_of(SIGN_IN_COOKIE, request.headers)
    made = cookie(name, secret, f"{base}/sign-in", secure=is_secure(console, request))
    response.headers.append("set-cookie", made)
    return response
