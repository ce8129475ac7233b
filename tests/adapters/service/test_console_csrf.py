"""From where forms of the console are taken, and what nobody and others reach by its routes.

R-SVC-77 (CSRF), R-SVC-80 (isolation); T1, T5, T17, T22.
"""

from typing import Final, cast

import httpx
import pytest
from starlette.routing import Mount, Route

from console import HOST, PEOPLE, Shown, Visitor, asking, do, form_of, shown, token_of
from interlock import Phase
from interlock_adapters._http.asgi import BODY_BYTES_MAX

OK: Final = httpx.codes.OK
FORBIDDEN: Final = httpx.codes.FORBIDDEN
GONE: Final = httpx.codes.NOT_FOUND
WRONG: Final = httpx.codes.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "", "sec-fetch-site": ""},
        {"origin": "", "sec-fetch-site": "cross-site"},
        {"origin": "", "sec-fetch-site": "same-site"},
        {"origin": "", "sec-fetch-site": "none"},
        {"origin": HOST, "sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:8001"},
        {"origin": f"{HOST}.evil.example"},
    ],
)
@pytest.mark.parametrize("trust", [False, True])
async def test_a_form_is_taken_from_our_own_pages_only(
    headers: dict[str, str], *, trust: bool
) -> None:
    """Also where no credential is asked for: then only this stands between us and any page."""
    async with shown(trust=trust) as here:
        visitor = await here.visitor(None if trust else "root")
        await visitor.get("/inbox")
        handle, fields = await asking(here, visitor)
        for path in (
            f"/tasks/{handle.task_id}/ask",
            f"/tasks/{handle.task_id}/cancel",
            "/sign-out",
        ):
            answer = await visitor.post(path, fields | {"do": "approve"}, **headers)
            assert answer.status_code == FORBIDDEN
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH
        assert (
            await visitor.post("/sign-in", {"token": token_of("eve")}, **headers)
        ).status_code == (FORBIDDEN)
        assert len(here.sessions) == 1


@pytest.mark.parametrize("forged", ["", "x" * 43, None, "ünicode", "other"])
async def test_a_form_needs_the_token_of_its_session(forged: str | None) -> None:
    """That of another session of the same person is none.  Source: R-SVC-77."""
    async with shown() as here:
        visitor, other = await here.visitor("root"), await here.visitor("root")
        handle, fields = await asking(here, visitor)
        if forged == "other":
            page = await other.get(f"/tasks/{handle.task_id}")
            forged = form_of(page.text, f"{handle.task_id}/ask")["csrf"]
        fields.pop("csrf")
        given = {} if forged is None else {"csrf": forged}
        for path in (
            f"/tasks/{handle.task_id}/ask",
            f"/tasks/{handle.task_id}/cancel",
            f"/tasks/{handle.task_id}/resume",
            "/policies",
            "/sign-out",
        ):
            answer = await visitor.post(path, fields | given | {"do": "approve"})
            assert answer.status_code == FORBIDDEN
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH
        assert (await visitor.get("/inbox")).status_code == OK


async def test_a_form_is_a_form() -> None:
    """JSON, files and what is too large go no further; a field is there once."""
    async with shown() as here:
        visitor = await here.visitor("root")
        handle, fields = await asking(here, visitor)
        url = f"/console/tasks/{handle.task_id}/ask"
        own = {"origin": HOST}
        whole = fields | {"do": "approve"}
        sent = [
            await visitor.http.post(url, json=whole, headers=own),
            await visitor.http.post(url, data=whole, files={"a": b"b"}, headers=own),
            await visitor.http.post(
                url, content=b"do=approve", headers={**own, "content-type": "text/plain"}
            ),
            await visitor.http.post(url, data=whole | {"csrf": [fields["csrf"]] * 2}, headers=own),
            await visitor.http.post(
                url, data=whole | {"reason": "x" * BODY_BYTES_MAX}, headers=own
            ),
            await visitor.http.post(
                url,
                content=b"do=%ff&csrf=%ff",
                headers={**own, "content-type": "application/x-www-form-urlencoded"},
            ),
            await visitor.post(
                f"/tasks/{handle.task_id}/ask", whole | {f"f{n}": "" for n in range(600)}
            ),
        ]
        assert [answer.status_code for answer in sent] == [415, 415, 415, 400, 413, 400, 400]
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH


# --- isolation -----------------------------------------------------------------------


def routes_of(here: Shown) -> set[tuple[str, str]]:
    """Every route of the console, by method."""
    (mount,) = [route for route in here.app.routes if isinstance(route, Mount)]
    return {
        (method, route.path)
        for route in cast("list[Route]", mount.routes)
        for method in route.methods or ()
        if method != "HEAD"
    }


#: What each route says to nobody, and to whom a task is somebody else's.
WALK: Final = {
    ("GET", "/"): (307, 307),
    ("GET", "/sign-in"): (200, 200),
    ("POST", "/sign-in"): (403, 403),
    ("POST", "/sign-out"): (303, 303),
    ("GET", "/inbox"): (303, 200),
    ("GET", "/inbox/live"): (401, None),
    ("GET", "/tasks"): (303, 200),
    ("GET", "/tasks/live"): (401, None),
    ("GET", "/tasks/{task_id}"): (303, 404),
    ("GET", "/tasks/{task_id}/live"): (401, 404),
    ("POST", "/tasks/{task_id}/ask"): (303, 404),
    ("POST", "/tasks/{task_id}/cancel"): (303, 404),
    ("POST", "/tasks/{task_id}/resume"): (303, 404),
    ("GET", "/policies"): (303, 403),
    ("POST", "/policies"): (303, 403),
    ("GET", "/lifecycle"): (303, 200),
    ("GET", "/lifecycle/live"): (401, None),
    ("GET", "/static/console.css"): (200, 200),
    ("GET", "/static/console.js"): (200, 200),
}


async def test_every_route_is_closed_to_nobody_and_to_others() -> None:
    """T1, T17: a route that is new fails here until somebody says what it may show."""
    async with shown() as here:
        assert routes_of(here) == WALK.keys()
        ada = await here.visitor("ada")
        handle, fields = await asking(here, ada)
        hotel = "Grand Hôtel"
        bob = await here.visitor("bob")
        theirs = fields | {"csrf": form_of((await bob.get("/inbox")).text, "/sign-out")["csrf"]}
        nobody = Visitor(here.app)
        # Signing out is last: it works.
        for (method, path), statuses in sorted(WALK.items(), key=lambda e: e[0][1] == "/sign-out"):
            at = path.replace("{task_id}", handle.task_id)
            for who, status, said in ((nobody, statuses[0], fields), (bob, statuses[1], theirs)):
                if status is None:
                    continue  # A stream: see test_console_live.
                sent = said | {"do": "approve"}
                answer = await (who.get(at) if method == "GET" else who.post(at, sent))
                assert answer.status_code == status, (method, path)
                assert hotel not in answer.text
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH


@pytest.mark.parametrize("name", [name for name in PEOPLE if name not in {"ada", "eve", "root"}])
async def test_a_forged_form_of_who_may_not_decide_does_nothing(name: str) -> None:
    """T5: buttons that are not there cannot be pressed by hand either."""
    async with shown() as here:
        owner, visitor = await here.visitor("ada"), await here.visitor(name)
        handle, fields = await asking(here, owner)
        fields |= {"csrf": form_of((await visitor.get("/inbox")).text, "/sign-out")["csrf"]}
        for button in ("approve", "approve_edited", "deny", "answer", "decline"):
            answer = await do(visitor, handle, fields, do=button)
            assert answer.status_code in {FORBIDDEN, GONE, WRONG}
        assert here.world.stored(handle).phase is Phase.WAITING_AUTH
