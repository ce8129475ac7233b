"""Signing in to the console, and out.  R-SVC-79; T17, T20."""

import logging
import re
from typing import Final

import httpx
import pytest

from console import HERE, PORT, Visitor, asking, do, form_of, shown, token_of, tokens
from interlock import Phase
from interlock_adapters.console._actions import own_path
from interlock_adapters.console._sessions import Sessions
from support import soon

OK: Final = httpx.codes.OK
SEE: Final = httpx.codes.SEE_OTHER
FORBIDDEN: Final = httpx.codes.FORBIDDEN


async def test_signing_in_opens_a_session_under_a_new_id_and_signing_out_ends_it() -> None:
    """An id that somebody planted is worth nothing.  Source: R-SVC-79."""
    async with shown() as here:
        visitor = Visitor(here.app)
        turned = await visitor.get("/tasks?phase=running")
        assert turned.headers["location"] == "/console/sign-in?next=%2Ftasks%3Fphase%3Drunning"
        page = await visitor.get("/sign-in?next=%2Ftasks%3Fphase%3Drunning")
        visitor.http.cookies.set(HERE, "fixed-by-somebody", path="/console")
        fields = form_of(page.text, "/sign-in") | {"token": f" {token_of('ada')}\n"}
        signed = await visitor.post("/sign-in", fields)
        assert signed.headers["location"] == "/console/tasks?phase=running"
        said = signed.headers["set-cookie"]
        assert re.fullmatch(rf"{HERE}=[\w-]{{43}}; HttpOnly; Path=/console; SameSite=Strict", said)
        (first,) = re.findall(rf"{HERE}=([\w-]+)", said)
        visitor.http.cookies.delete(HERE, path="/console")
        visitor.http.cookies.set(HERE, first, path="/console")
        await visitor.sign_in("eve")
        # Who signs in anew has one session, under another id.
        assert len(here.sessions) == 1
        assert (
            await here.sessions.find({"host": f"127.0.0.1:{PORT}", "cookie": f"{HERE}={first}"})
            is None
        )
        out = form_of((await visitor.get("/inbox")).text, "/sign-out")
        gone = await visitor.post("/sign-out", out)
        assert "Max-Age=0" in gone.headers["set-cookie"]
        assert len(here.sessions) == 0
        assert (await visitor.get("/inbox")).status_code == SEE


async def test_a_token_in_a_header_opens_no_page() -> None:
    """It is for the other faces: the console is opened by a session alone.  Source: R-SVC-70."""
    async with shown() as here:
        visitor = Visitor(here.app)
        own = {"authorization": f"Bearer {token_of('eve')}"}
        page = await visitor.http.get("/console/inbox", headers=own)
        assert page.status_code == SEE
        assert "/console/sign-in" in page.headers["location"]
        assert len(here.sessions) == 0


async def test_a_token_that_is_no_good_is_told_in_the_same_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And is in no page and no log.  Source: R-SVC-79, T20."""
    caplog.set_level(logging.DEBUG)
    async with shown() as here:
        visitor = Visitor(here.app)
        pages: list[str] = []
        for token in ("x" * 50, "", "ilk_short", token_of("ada")[:-1] + "y"):
            fields = form_of((await visitor.get("/sign-in")).text, "/sign-in")
            answer = await visitor.post("/sign-in", fields | {"token": token})
            assert answer.status_code == httpx.codes.UNAUTHORIZED
            assert not token or token not in answer.text
            pages.append(re.sub(r'name="csrf" value="[^"]*"', "", answer.text))
            assert not token or token not in caplog.text
        assert len(set(pages)) == 1
        assert len(here.sessions) == 0


async def test_a_sign_in_form_of_another_browser_is_not_taken() -> None:
    """Else somebody could be signed in as another without noticing."""
    async with shown() as here:
        theirs, ours = Visitor(here.app), Visitor(here.app)
        fields = form_of((await theirs.get("/sign-in")).text, "/sign-in")
        answer = await ours.post("/sign-in", fields | {"token": token_of("eve")})
        assert answer.status_code == FORBIDDEN
        await ours.get("/sign-in")
        answer = await ours.post("/sign-in", fields | {"token": token_of("eve")})
        assert answer.status_code == FORBIDDEN
        assert len(here.sessions) == 0


@pytest.mark.parametrize(
    ("said", "goes"),
    [
        ("/tasks?phase=running", "/tasks?phase=running"),
        ("", "/inbox"),
        ("tasks", "/inbox"),
        ("//evil.example", "/inbox"),
        ("/\\evil.example", "/inbox"),
        ("https://evil.example", "/inbox"),
        ("/a\r\nset-cookie: x", "/inbox"),
        ("/tasks/live", "/inbox"),
        ("/ünï", "/inbox"),
    ],
)
def test_after_signing_in_one_goes_on_within_the_console(said: str, goes: str) -> None:
    """No link signs in somewhere else.  Source: R-SVC-79."""
    assert own_path(said) == goes


async def test_where_no_credential_is_needed_nobody_signs_in() -> None:
    """Forms have their token all the same.  Source: R-SVC-79."""
    async with shown(trust=True) as here:
        visitor = Visitor(here.app)
        page = await visitor.get("/inbox")
        assert page.status_code == OK
        assert "Sign out" not in page.text
        handle, fields = await asking(here, visitor)
        assert (await do(visitor, handle, fields, do="approve")).status_code == SEE
        await soon(handle.over())
        assert len(here.sessions) == 1


async def test_a_session_that_ended_is_asked_to_sign_in_and_its_forms_do_nothing() -> None:
    """However old the page.  Source: R-SVC-79."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle, fields = await asking(here, visitor)
        here.sessions.close(await here.session_of(visitor))
        answer = await do(visitor, handle, fields, do="approve")
        assert answer.headers["location"] == f"/console/sign-in?next=%2Ftasks%2F{handle.task_id}"
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH


async def test_a_cookie_is_for_https_where_the_service_is() -> None:
    """Also behind what ends TLS before us.  Source: R-SVC-79."""
    async with shown(sessions=Sessions(tokens(), secure=True)) as here:
        visitor = Visitor(here.app)
        page = await visitor.get("/sign-in")
        assert page.headers["set-cookie"].endswith("; Secure")


async def test_who_is_not_signed_in_sends_no_more_than_a_token_takes() -> None:
    """Anybody may, on every connection that there is.  Source: T21."""
    async with shown() as here:
        nobody = Visitor(here.app)
        answer = await nobody.post("/sign-in", {"token": "x" * 70_000})
        assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
