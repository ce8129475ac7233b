"""The console's pages: what they show to whom, and that nothing of it can act.

R-SVC-72 (headers), R-SVC-73 (escaping), R-SVC-75 (roles), R-SVC-76 (lists); T1, T4, T8, T17.
"""

import re
import sys
from dataclasses import replace
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from console import (
    BASE,
    HOST,
    Looked,
    Visitor,
    agent,
    shown,
    token_of,
    tokens,
    toolbox,
    words_of,
)
from interlock import (
    TaskContext,
    Trigger,
)
from interlock_adapters._callers.asgi import Authentication, SignIn
from interlock_adapters._callers.base import AnyOf
from interlock_adapters.console import PUBLIC_PATHS, SIGN_IN_PATH, Sessions, console_routes
from interlock_adapters.console._core import CSP
from interlock_adapters.console._log import calls_of
from support import opened, soon

# --- who sees what -------------------------------------------------------------------

#: Buttons of an ask.
ALL: Final = frozenset({"approve", "approve_edited", "deny"})
NONE: Final[frozenset[str]] = frozenset()


@pytest.mark.parametrize(
    ("name", "sees", "buttons", "cancels"),
    [
        ("ada", True, ALL, True),
        ("bob", False, NONE, False),
        ("eve", True, ALL, False),
        ("olga", True, NONE, True),
        ("otto", True, NONE, False),
        ("root", True, ALL, True),
    ],
)
async def test_who_has_which_buttons(
    name: str, buttons: frozenset[str], *, sees: bool, cancels: bool
) -> None:
    """And whom a task is not there for cannot tell.  Source: R-SVC-75, T1, T4."""
    async with shown() as here:
        handle = await here.world.submit("room")
        await handle.rest()
        visitor = await here.visitor(name)
        page = await visitor.get(f"/tasks/{handle.task_id}")
        assert page.status_code == (httpx.codes.OK if sees else httpx.codes.NOT_FOUND)
        assert set(re.findall(r'name="do" value="([a-z_]+)"', page.text)) == buttons
        assert ("Cancel the task" in page.text) is cancels
        inbox = (await visitor.get("/inbox")).text
        assert (handle.task_id in inbox) is bool(buttons)
        listed = (await visitor.get("/tasks?phase=waiting_auth")).text
        assert (handle.task_id in listed) is sees
        # Nothing of a page of somebody else says that the task is there.
        if not sees:
            nowhere = await visitor.get(f"/tasks/{'0' * 32}")
            assert page.text.replace(handle.task_id, "0" * 32) == nowhere.text


async def test_whose_approval_it_is_for_named_approvers() -> None:
    """The owner sees the ask, and who decides it."""
    async with shown() as here:
        handle = await here.world.submit("pay")
        await handle.rest()
        for name, decides in (("ada", False), ("eve", True), ("olga", False)):
            visitor = await here.visitor(name)
            html = (await visitor.get(f"/tasks/{handle.task_id}")).text
            assert ('value="approve"' in html) is decides
            assert "an approver in the role approver" in words_of(html)
            assert "Edit the arguments" not in html


@pytest.mark.parametrize(
    ("name", "status", "changes"),
    [("ada", 403, False), ("eve", 403, False), ("otto", 200, False), ("olga", 200, True)],
)
async def test_policies_are_for_operators_and_auditors_look(
    name: str, status: int, *, changes: bool
) -> None:
    """Others have no link to them either.  Source: R-SVC-75."""
    async with shown() as here:
        visitor = await here.visitor(name)
        page = await visitor.get("/policies")
        assert page.status_code == status
        assert ("Change this rule" in page.text) is changes
        assert ("/policies" in (await visitor.get("/inbox")).text) is (status == httpx.codes.OK)


# --- lists ---------------------------------------------------------------------------


async def test_tasks_are_counted_by_phase_filtered_searched_and_paged() -> None:
    """Each task is on one page.  Source: R-SVC-76."""
    async with shown() as here:
        for _ in range(52):
            await (await here.world.submit("say hello")).over()
        waits = await here.world.engine.submit("ask", owner="bob")
        await waits.rest()
        visitor = await here.visitor("otto")
        page = words_of((await visitor.get("/tasks")).text)
        assert "all 53" in page
        assert "completed 52" in page
        assert "waiting input 1" in page
        assert "running 0" in page
        html = (await visitor.get("/tasks?phase=waiting_input")).text
        assert re.findall(r"/console/tasks/([0-9a-f]{32})", html) == [waits.task_id]
        html = (await visitor.get("/tasks?search=bob")).text
        assert re.findall(r"/console/tasks/([0-9a-f]{32})", html) == [waits.task_id]
        seen: list[str] = []
        path: str | None = "/tasks?phase=completed"
        while path is not None:
            html = (await visitor.get(path)).text
            seen += re.findall(r"/console/tasks/([0-9a-f]{32})", html)
            more = re.search(r'href="/console(/tasks\?[^"]*cursor=[^"]*)"', html)
            path = more[1].replace("&amp;", "&") if more else None
        assert len(seen) == len(set(seen)) == 52
        for wrong in ("phase=asleep", "cursor=x", "cursor=nan~a"):
            answer = await visitor.get(f"/tasks?{wrong}")
            assert answer.status_code in {httpx.codes.UNPROCESSABLE_ENTITY, httpx.codes.OK}


async def test_a_task_shows_its_way_its_calls_and_what_it_made() -> None:
    """The path is lit in the picture, and said in words.  Source: R-SVC-76."""
    async with shown() as here:
        handle = await here.world.submit("room")
        record = await handle.rest()
        visitor = await here.visitor("root")
        html = (await visitor.get(f"/tasks/{handle.task_id}")).text
        assert 'id="state-waiting_auth" class="state group-waiting here"' in html
        await handle.approve(record.asks[0])
        await handle.over()
        html = (await visitor.get(f"/tasks/{handle.task_id}")).text
        assert re.search(r'id="state-completed" class="[^"]*\bhere\b', html)
        assert re.search(r'id="edge-running-completed" class="[^"]*\btaken\b', html)
        words = words_of(html)
        assert "submitted → , then running → , then waiting auth" in words
        assert "Confirmation" in words
        assert "Grand Hôtel, 3 nights" in words
        assert re.search(r"local/book\s*</code> <span class=\"tag done\">", html)


async def test_a_call_in_doubt_is_said_to_be() -> None:
    """The engine went down while a tool was called that may not be called twice."""
    async with shown() as here:
        handle = await here.world.submit("ask")
        await handle.rest()
        record = here.world.stored(handle)
        log = here.world.log(handle)
        call = replace(
            log[-1],
            trigger=Trigger.CALL,
            data={"key": "pay-1", "name": "pay", "arguments": {"args": [], "kwargs": {}}},
        )
        (shown_call,) = calls_of(replace(record, calls=("pay-1",)), [*log, call])
        assert shown_call.state == "in doubt"


async def test_a_long_log_is_shown_from_its_end_with_the_way_back() -> None:
    """Every entry is on one of the pages.  Source: R-SVC-76."""

    async def chatty(task: TaskContext) -> str:
        for n in range(450):
            await task.progress(f"step {n}")
        return "done"

    async with opened(chatty) as world:
        app = Starlette(
            routes=console_routes(Looked(world.engine), sessions=Sessions(tokens()), url=HOST)
        )
        visitor = Visitor(app)
        await visitor.sign_in("root")
        handle = await world.submit()
        await soon(handle.over())
        path, seen = f"/tasks/{handle.task_id}", list[int]()
        while path:
            html = (await visitor.get(path)).text
            seen = [int(n) for n in re.findall(r'<tr id="event-(\d+)"', html)] + seen
            earlier = re.search(r'href="/console([^"]*before=\d+)"', html)
            path = earlier[1] if earlier else ""
        assert seen == list(range(1, world.stored(handle).seq + 1))
        # Before the first there is nothing, and not all that there is.
        assert "event-1" not in (await visitor.get(f"/tasks/{handle.task_id}?before=0")).text


# --- where it is mounted -------------------------------------------------------------


async def test_it_can_be_mounted_anywhere_and_behind_authentication() -> None:
    """Cookie, links and redirects are of where it is; a cookie's person is known outside too."""
    async with opened(agent, tools=toolbox()) as world:
        bearer = tokens()
        sessions = Sessions(bearer)
        inner = Starlette(routes=console_routes(Looked(world.engine), sessions=sessions, url=HOST))
        guarded = Authentication(
            inner,
            AnyOf(bearer, sessions),
            public=PUBLIC_PATHS,
            sign_in=SignIn(BASE, SIGN_IN_PATH),
        )
        visitor = Visitor(Starlette(routes=[Mount("/work", guarded)]), "/work/console")
        turned = await visitor.get("/inbox", accept="text/html")
        assert turned.headers["location"].startswith("/work/console/sign-in")
        assert (await visitor.get("/inbox/live")).status_code == httpx.codes.UNAUTHORIZED
        assert (await visitor.get("/static/console.css")).status_code == httpx.codes.OK
        signed = await visitor.sign_in("eve")
        assert signed.headers["location"] == "/work/console/inbox"
        assert "Path=/work/console;" in signed.headers["set-cookie"]
        page = await visitor.get("/inbox")
        assert page.status_code == httpx.codes.OK
        assert 'href="/work/console/tasks"' in page.text
        assert token_of("eve") not in page.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
async def test_it_answers_to_its_own_names_only(host: str) -> None:
    """DNS rebinding: a page of another site cannot name us as its own."""
    async with shown(trust=True) as here:
        visitor = await here.visitor(None)
        answer = await visitor.get("/inbox", host=host)
        assert answer.status_code == httpx.codes.MISDIRECTED_REQUEST
        assert answer.headers["content-security-policy"] == CSP


async def test_where_nothing_draws_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra `diagram` the steps are there in words."""
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    async with shown() as here:
        handle = await here.world.submit("ask")
        await handle.rest()
        visitor = await here.visitor("root")
        for path in (f"/tasks/{handle.task_id}", "/lifecycle"):
            page = await visitor.get(path)
            assert page.status_code == httpx.codes.OK
            assert "interlock[diagram]" in page.text


async def test_where_there_is_no_page_one_says_so() -> None:
    """With the way back, for who is signed in; a slash too many is none the less a page."""
    async with shown() as here:
        ada, nobody = await here.visitor("ada"), await here.visitor(None)
        answer = await ada.get("/nowhere")
        assert answer.status_code == httpx.codes.NOT_FOUND
        assert "There is no such page" in answer.text
        assert 'href="/console/inbox"' in answer.text
        answer = await nobody.get("/nowhere")
        assert (answer.status_code, answer.text) == (httpx.codes.NOT_FOUND, "Not Found")
        assert (await ada.get("/inbox/")).headers["location"].endswith("/console/inbox")
        assert (await ada.get("/sign-out")).status_code == httpx.codes.METHOD_NOT_ALLOWED
