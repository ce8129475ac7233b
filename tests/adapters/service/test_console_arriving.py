"""How one comes to a page of the console, from wherever, and what becomes of a page left open.

R-SVC-70 (cookies), R-SVC-79 (signing in), R-SVC-77 (forms); T17.
"""

import re
from typing import Final

import httpx
import pytest

from console import HOST, Shown, Visitor, asking, do, form_of, shown, token_of, words_of
from interlock import Phase
from interlock_adapters._callers.base import AnyOf, TrustLocal
from interlock_adapters.auth import Authentication, SignIn
from interlock_adapters.console import PUBLIC_PATHS, SIGN_IN_PATH
from interlock_adapters.console._sessions import COOKIE, Sessions, name_of
from support import soon

OK: Final = httpx.codes.OK
SEE: Final = httpx.codes.SEE_OTHER
FORBIDDEN: Final = httpx.codes.FORBIDDEN

#: What a browser says of a link on a page of somebody else's.
ELSEWHERE: Final = {
    "accept": "text/html",
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}
#: And of the page that we answered going on by itself.
OWN: Final = ELSEWHERE | {"sec-fetch-site": "same-origin"}


class Stranger(Visitor):
    """A browser that comes by a link: of the first request it keeps its Strict cookies back."""

    async def arrive(self, path: str) -> httpx.Response:
        """Follow a link of another site, and whatever that leads to."""
        kept, self.http.cookies = self.http.cookies, httpx.Cookies()
        answer = await self.get(path, **ELSEWHERE)
        while answer.is_redirect:
            answer = await self.http.get(answer.headers["location"], headers=ELSEWHERE)
        given, self.http.cookies = self.http.cookies, kept
        self.http.cookies.update(given)
        for _ in range(4):
            if onward := re.search(r'http-equiv="refresh" content="0;url=([^"]*)"', answer.text):
                answer = await self.http.get(onward[1].replace("&amp;", "&"), headers=OWN)
            elif answer.is_redirect:
                answer = await self.http.get(answer.headers["location"], headers=OWN)
            else:
                break
        return answer


def behind(here: Shown, *, trust: bool) -> Stranger:
    """A browser before the console as a service has it: with authentication in front."""
    known = TrustLocal() if trust else AnyOf(here.sessions)
    front = Authentication(
        here.app, known, public=PUBLIC_PATHS, sign_in=SignIn("/console", SIGN_IN_PATH)
    )
    return Stranger(front)


# --- cookies have no port ------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1:8000", f"{COOKIE}_8000"),
        ("[::1]:8123", f"{COOKIE}_8123"),
        ("travel.example", COOKIE),
        ("", COOKIE),
        ("[::1]", COOKIE),
        ("here:80x", COOKIE),
        ("here:123456", COOKIE),
        ("here:٣", COOKIE),
    ],
)
def test_a_cookie_is_named_by_the_port(host: str, name: str) -> None:
    """Browsers send it to every port of a host.  Source: R-SVC-70."""
    assert name_of(COOKIE, {"host": host}) == name
    assert name_of(COOKIE, {}) == COOKIE


@pytest.mark.parametrize("trust", [False, True])
async def test_two_services_on_one_host_do_not_take_each_others_cookie(*, trust: bool) -> None:
    """Open one, open the other, go on in the first.  Source: R-SVC-70."""
    async with shown(trust=trust) as here, shown(trust=trust) as there:
        visitor = await here.visitor(None if trust else "root")
        handle, fields = await asking(here, visitor)
        other = Visitor(there.app, port=8001)
        other.http.cookies = visitor.http.cookies
        if not trust:
            await other.sign_in("root")
        assert (await other.get("/inbox")).status_code == OK
        visitor.http.cookies = other.http.cookies
        answer = await do(visitor, handle, fields, do="approve")
        assert answer.headers["location"] == f"/console/tasks/{handle.task_id}"
        await soon(handle.over())


# --- where no credential is needed ---------------------------------------------------


async def test_visits_that_keep_no_cookie_put_nobody_out() -> None:
    """`curl` in a loop is no reason to lose a page.  Source: R-SVC-70."""
    async with shown(trust=True) as here:
        visitor = Visitor(here.app)
        handle, fields = await asking(here, visitor)
        for _ in range(25):
            await Visitor(here.app).get("/inbox")
        await do(visitor, handle, fields, do="approve")
        await soon(handle.over())


async def test_a_page_that_is_open_keeps_its_session_when_others_go() -> None:
    """The bound is for those that nobody looks at.  Source: R-SVC-70."""
    sessions = Sessions(TrustLocal(), sessions_max=2)
    async with shown(sessions=sessions) as here:
        visitor = Visitor(here.app)
        _, fields = await asking(here, visitor)
        async with visitor.stream("/inbox/live") as stream:
            await stream.until("book", "inbox-cards")
            for _ in range(5):
                await Visitor(here.app).get("/inbox")
            assert form_of((await visitor.get("/inbox")).text, "/ask")["csrf"] == fields["csrf"]
        assert len(sessions) == 2


@pytest.mark.parametrize("lost", ["cookie", "other"])
async def test_without_credentials_a_form_of_an_old_page_leads_back_to_it(lost: str) -> None:
    """With a word, and never to a sign-in that nobody can pass.  Source: R-SVC-79."""
    async with shown(trust=True) as here:
        visitor = Visitor(here.app)
        handle, fields = await asking(here, visitor)
        visitor.http.cookies.clear()
        if lost == "other":
            await visitor.get("/inbox")
        for path, more, page in (
            (f"/tasks/{handle.task_id}/ask", {}, f"/tasks/{handle.task_id}"),
            (f"/tasks/{handle.task_id}/ask", {"back": "inbox"}, "/inbox"),
            (f"/tasks/{handle.task_id}/cancel", {}, f"/tasks/{handle.task_id}"),
            ("/policies", {}, "/policies"),
            ("/sign-out", {}, "/inbox"),
        ):
            answer = await visitor.post(path, fields | {"do": "approve"} | more)
            assert (answer.status_code, answer.headers["location"]) == (SEE, f"/console{page}")
            assert "Nothing was done" in words_of((await visitor.get(page)).text)
            if lost == "cookie":
                visitor.http.cookies.clear()
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH
        # What is on the page now does it.
        page_now = (await visitor.get(f"/tasks/{handle.task_id}")).text
        await do(visitor, handle, form_of(page_now, "/ask"), do="approve")
        await soon(handle.over())


async def test_without_credentials_the_sign_in_leads_on() -> None:
    """Nobody has a token to paste.  Source: R-SVC-79."""
    async with shown(trust=True) as here:
        visitor = Visitor(here.app)
        for asked, goes in (("", "/inbox"), ("?next=/tasks", "/tasks"), ("?next=//e", "/inbox")):
            answer = await visitor.get(f"/sign-in{asked}")
            assert (answer.status_code, answer.headers["location"]) == (SEE, f"/console{goes}")


async def test_with_credentials_a_form_of_another_session_is_told_on_a_page() -> None:
    """With a way on; a preview is told in a status.  Source: R-SVC-77."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle, fields = await asking(here, visitor)
        await visitor.sign_in("eve")
        answer = await do(visitor, handle, fields, do="approve")
        assert answer.status_code == FORBIDDEN
        assert 'href="/console/inbox"' in answer.text
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH


# --- links ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/tasks/{}", "/tasks?phase=waiting_auth&search=a%26b", "/inbox"])
@pytest.mark.parametrize("way", ["alone", "behind"])
async def test_who_is_signed_in_arrives_by_a_link_of_another_site(path: str, way: str) -> None:
    """Though the browser keeps a Strict cookie back at first.  Source: R-SVC-79."""
    async with shown() as here:
        visitor = behind(here, trust=False) if way == "behind" else Stranger(here.app)
        await visitor.sign_in("root")
        handle, _ = await asking(here, visitor)
        arrived = await visitor.arrive(path.format(handle.task_id))
        assert arrived.status_code == OK
        assert arrived.url.path + (f"?{q}" if (q := arrived.url.query.decode()) else "") == (
            f"/console{path.format(handle.task_id)}"
        )
        assert "Access token" not in arrived.text
        assert len(here.sessions) == 1


@pytest.mark.parametrize("way", ["alone", "behind"])
async def test_who_is_not_signed_in_arrives_after_signing_in(way: str) -> None:
    """What the link led to is not lost.  Source: R-SVC-79."""
    async with shown() as here:
        visitor = behind(here, trust=False) if way == "behind" else Stranger(here.app)
        for how in (ELSEWHERE, {"accept": "text/html"}):
            page = (
                await visitor.arrive("/tasks/abc?x=1")
                if how is ELSEWHERE
                else await visitor.get("/tasks/abc?x=1", **how)
            )
            if page.is_redirect:
                page = await visitor.http.get(page.headers["location"])
            fields = form_of(page.text, "/sign-in")
            assert fields["next"] == "/tasks/abc?x=1"
            done = await visitor.post("/sign-in", fields | {"token": token_of("eve")})
            assert done.headers["location"] == "/console/tasks/abc?x=1"
            visitor.http.cookies.clear()


@pytest.mark.parametrize("way", ["alone", "behind"])
async def test_without_credentials_a_link_does_not_replace_the_session(way: str) -> None:
    """Older pages go on.  Source: R-SVC-70."""
    async with shown(trust=True) as here:
        visitor = behind(here, trust=True) if way == "behind" else Stranger(here.app)
        handle, fields = await asking(here, visitor)
        assert (await visitor.arrive(f"/tasks/{handle.task_id}")).status_code == OK
        assert len(here.sessions) == 1
        await do(visitor, handle, fields, do="approve")
        await soon(handle.over())


async def test_a_link_leads_nowhere_else() -> None:
    """Neither by its query nor by what it is sent on to.  Source: R-SVC-79."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        for after in ("//evil.example", "https://evil.example", "/a%22><script>", "/x%0d%0ay"):
            for how in (ELSEWHERE, OWN):
                answer = await visitor.get(f"/sign-in?next={after}", **how)
                said = answer.text + answer.headers.get("location", "")
                assert "evil" not in said
                assert "<script>" not in said
                assert HOST not in answer.headers.get("location", "")
