"""The management API: every route for everybody.  R-SVC-54, R-SVC-55; T1, T17.

A route that is in no table here fails: who adds one says who may call it.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from interlock import LIFECYCLE, Engine, Phase, TaskContext, TaskRecord
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters.management import Managed, management_app
from managed import ADA, WHO, Office, Told, office
from support import FlakyStore, opened

PAYMENT: Final = Phase.further("waiting_payment", like=Phase.WAITING_INPUT)

OK, GONE = HTTPStatus.OK, HTTPStatus.NO_CONTENT
NO, NONE = HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND
OTHERS: Final = ("peer", "twin", "stranger")


def _row(**said: HTTPStatus) -> dict[str, HTTPStatus]:
    """What everybody is answered; who has nothing to do with the tenant finds nothing."""
    row = {name.replace("_", " "): status for name, status in said.items()}
    return {**dict.fromkeys(OTHERS, NONE), **row}


_ALL: Final = dict.fromkeys(WHO, OK)
_SEEN: Final = _row(
    owner=OK, approver=OK, operator=OK, auditor=OK, root_operator=OK, root_auditor=OK
)
_ANSWERED: Final = _row(
    owner=OK, approver=OK, operator=NO, auditor=NO, root_operator=NO, root_auditor=NO
)
_CANCELLED: Final = _row(
    owner=OK, approver=NO, operator=OK, auditor=NO, root_operator=OK, root_auditor=NO
)
_RESUMED: Final = _row(
    owner=NO, approver=NO, operator=OK, auditor=NO, root_operator=OK, root_auditor=NO
)
_FORGOTTEN: Final = _row(
    owner=NO, approver=NONE, operator=GONE, auditor=NO, root_operator=GONE, root_auditor=NO
)
_LOOKED: Final = {**dict.fromkeys(WHO, NO), "root operator": OK, "root auditor": OK}
_CHANGED: Final = {**dict.fromkeys(WHO, NO), "root operator": OK}


class Call(NamedTuple):
    """How a route is called, and what everybody is answered."""

    rights: dict[str, HTTPStatus]
    #: The task that it is about, by what its agent is told.
    task: str = "ask"
    #: The body; texts in braces are of the task.
    body: dict[str, Any] | None = None
    #: The rest of the path.
    given: dict[str, str] = {}  # noqa: RUF012  never changed


_ASKED: Final = {"ask": "{key}"}
_DECIDED: Final = {"ask": "{key}", "digest": "{digest}"}

ROUTES: Final[dict[tuple[str, str], Call]] = {
    ("GET", "/tasks"): Call(_ALL),
    ("GET", "/inbox"): Call(_ALL),
    ("GET", "/tasks/{task_id}"): Call(_SEEN),
    ("GET", "/tasks/{task_id}/events"): Call(_SEEN),
    ("GET", "/tasks/{task_id}/events/stream"): Call(
        {
            **_SEEN,
            **dict.fromkeys((n for n, s in _SEEN.items() if s is OK), GONE),
            "approver": NONE,
        },
        "done",
        given={"query": "?after=99"},
    ),
    ("GET", "/tasks/{task_id}/diagram.svg"): Call(_SEEN),
    ("POST", "/tasks/{task_id}/answer"): Call(_ANSWERED, body={**_ASKED, "value": "x"}),
    ("POST", "/tasks/{task_id}/decline"): Call(_ANSWERED, body=_ASKED),
    ("POST", "/tasks/{task_id}/approve"): Call(_ANSWERED, "authorize", _DECIDED),
    ("POST", "/tasks/{task_id}/deny"): Call(_ANSWERED, "authorize", _DECIDED),
    ("POST", "/tasks/{task_id}/cancel"): Call(_CANCELLED, body={}),
    ("POST", "/tasks/{task_id}/resume"): Call(_RESUMED, "astray", {"decision": "from_scratch"}),
    ("DELETE", "/tasks/{task_id}"): Call(_FORGOTTEN, "done"),
    ("GET", "/policies"): Call(_LOOKED),
    ("GET", "/policies/{rule:path}"): Call(_LOOKED, given={"rule": "pay"}),
    ("PUT", "/policies/{rule:path}"): Call(
        _CHANGED, body={"confirm": "always"}, given={"rule": "local/pay"}
    ),
    ("DELETE", "/policies/{rule:path}"): Call(_CHANGED, given={"rule": "pay"}),
    ("GET", "/sources"): Call(_LOOKED),
    ("POST", "/sources/{source}/rediscover"): Call(_CHANGED, given={"source": "local"}),
    ("GET", "/instructions"): Call(_LOOKED),
    ("PUT", "/instructions"): Call(_CHANGED, body={"text": "be brief"}),
    ("GET", "/config"): Call(_LOOKED),
    ("POST", "/purge"): Call(_CHANGED, body={"older_than_s": 0}),
    ("GET", "/statistics"): Call(_ALL),
    ("GET", "/diagrams/lifecycle.svg"): Call(_ALL),
    ("GET", "/diagrams/population.svg"): Call(_ALL),
}


def _filled(body: dict[str, Any] | None, record: TaskRecord) -> dict[str, Any] | None:
    """The body for that task."""
    if body is None:
        return None
    ask = record.asks[0] if record.asks else None
    names = {"key": ask.key if ask else "", "digest": (ask and ask.digest) or ""}
    return {k: v.format(**names) if isinstance(v, str) else v for k, v in body.items()}


async def call(here: Office, method: str, path: str, who: str | None) -> httpx.Response:
    """Call a route in somebody's name."""
    about = ROUTES[method, path]
    record = await here.task(about.task)
    values = {"task_id": record.task_id, **about.given}
    target = path.replace(":path", "").format(**values)
    if "stream" in path:
        target += f"?after={record.seq - 1}"
    async with here.client(WHO[who] if who else None) as client:
        return await client.request(method, target, json=_filled(about.body, record))


async def test_every_route_is_in_the_table() -> None:
    """A new one fails until somebody says who may call it.  Source: T1, T17."""
    async with office() as here:
        routes = [(route.path, route) for route in iter_route_contexts(here.app.routes)]
        found = {(m, path) for path, route in routes for m in route.methods or () if m != "HEAD"}
    # The document that describes them is of nobody in particular.
    found.remove(("GET", "/openapi.json"))
    assert found == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_who_may_call_a_route(method: str, path: str) -> None:
    """Everybody gets what the table says, and who is refused changed nothing.  Source: T1, T17."""
    rights = ROUTES[method, path].rights
    async with office() as here:
        for who in sorted(WHO, key=lambda name: rights[name] < HTTPStatus.BAD_REQUEST):
            status, before = rights[who], state(here)
            answer = await call(here, method, path, who)
            assert answer.status_code == status, (who, answer.text)
            if status >= HTTPStatus.BAD_REQUEST:
                code = "unknown_task" if status is NONE else "not_allowed"
                assert answer.json()["code"] == code
                assert state(here) == before


def state(here: Office) -> tuple[int, str]:
    """What everybody shares."""
    return here.world.engine.tools.policies.version, here.instructions.text


async def test_nobody_may_call_a_route() -> None:
    """Also if it was mounted with nothing in front that says who calls.  Source: T2, T17."""
    async with office() as here:
        for method, path in ROUTES:
            answer = await call(here, method, path, None)
            assert answer.status_code == HTTPStatus.UNAUTHORIZED
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["code"] == "unauthenticated"


async def test_a_task_with_all_that_it_did() -> None:
    """What somebody needs to know who answers for it.  Source: R-SVC-54."""
    async with office() as here:
        record = await here.task("pay")
        async with here.client(ADA) as client:
            shown = (await client.get(f"/tasks/{record.task_id}")).json()
            log = (await client.get(f"/tasks/{record.task_id}/events?after=1")).json()["events"]
    assert (shown["phase"], shown["finalized"]) == ("completed", True)
    assert shown["input"] == [{"text": "pay"}]
    assert shown["result"] == [{"text": "paid 2"}]
    assert shown["can"] == []
    made = shown["journal"]
    assert [(c["tool"], c["arguments"], c["state"]) for c in made] == [
        ("local/pay", {"euro": 2}, "done")
    ]
    assert shown["in_doubt"] == []
    assert [event["seq"] for event in log] == list(range(2, record.seq + 1))


async def test_an_approval_through_the_inbox() -> None:
    """The ask is found, shown with what would run, edited and approved.  Source: R-SVC-54."""
    async with office() as here:
        record = await here.task("authorize")
        async with here.client(WHO["approver"]) as client:
            (entry,) = (await client.get("/inbox")).json()["entries"]
            ask = entry["ask"]
            assert (ask["tool"], ask["arguments"], ask["may_answer"]) == ("pay", {"euro": 1}, True)
            body = {"ask": ask["key"], "digest": ask["digest"], "arguments": {"euro": 5}}
            path = f"/tasks/{entry['task']['task_id']}/approve"
            approved = await client.post(path, json={**body, "token": "once"})
            assert approved.status_code == OK
            assert (await client.get("/inbox")).json()["entries"] == []
            await here.world.engine.over(record.task_id, owner=None)
            assert (await client.post(path, json={**body, "token": "once"})).status_code == OK
        view = await here.world.engine.view(record.task_id, owner=None)
        (approval,) = [e for e in view.events if e.trigger.value == "approve"]
        assert approval.actor == WHO["approver"].owner
        assert approval.data["arguments"] == {"euro": 5}


async def test_lists_go_on_page_by_page_and_are_filtered() -> None:
    """By phase and search; every page continues where the one before ended.  Source: R-SVC-54."""
    async with office() as here:
        tasks = [await here.task("ask") for _ in range(3)]
        done = await here.task("done")
        async with here.client(ADA) as client:
            first = (await client.get("/tasks?limit=2&phase=waiting_input")).json()
            assert first["total"] == 3
            cursor = {"cursor": first["next_cursor"], "limit": 2, "phase": "waiting_input"}
            rest = (await client.get("/tasks", params=cursor)).json()
            assert rest["next_cursor"] is None
            ids = [task["task_id"] for page in (first, rest) for task in page["tasks"]]
            assert sorted(ids) == sorted(task.task_id for task in tasks)
            found = (await client.get(f"/tasks?search={done.task_id[:12]}")).json()["tasks"]
            assert [task["task_id"] for task in found] == [done.task_id]
            phases = (await client.get("/statistics")).json()["phases"]
            assert phases == {"waiting_input": 3, "completed": 1}


async def test_pictures_are_svg_that_runs_nothing() -> None:
    """Also when opened by itself.  Source: R-SVC-55."""
    async with office() as here:
        record = await here.task("ask")
        async with here.client(ADA) as client:
            for path in ("/diagrams/population.svg", f"/tasks/{record.task_id}/diagram.svg"):
                answer = await client.get(path)
                assert answer.headers["content-type"].startswith("image/svg+xml")
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                assert answer.text.startswith("<")


async def pays(task: TaskContext) -> str:
    """Waits in a phase that only an extended lifecycle has."""
    return await task.ask("5 euros, please.", key="pay", phase=PAYMENT)


async def test_what_the_lifecycle_does_not_have_is_not_drawn() -> None:
    """As of tasks that live, or lived, by another one.  Source: R-SVC-55."""
    store = FlakyStore()
    older = Engine(pays, store=store, lifecycle=LIFECYCLE.extend(PAYMENT))
    async with asyncio.timeout(60), older:
        task = await older.submit("go", owner=ADA.owner)
        await task.rest()
        await task.answer("pay", "5 euros")
        await task.over()
        await (await older.submit("go", owner=ADA.owner)).rest()
    async with opened(pays, store=store) as world:
        here = Office(world, management_app(Managed(world.engine)), Told(), Stopping())
        async with here.client(ADA) as client:
            path = await client.get(f"/tasks/{task.task_id}/diagram.svg")
            assert (path.status_code, path.json()["code"]) == (404, "unknown_resource")
            assert "this lifecycle does not have" in path.json()["detail"]
            assert (await client.get("/diagrams/population.svg")).status_code == OK


async def test_the_numbers_of_the_process_are_for_who_looks_after_it() -> None:
    """What all tenants do together is nothing for one of them.  Source: T1."""
    async with office() as here:
        await here.task("ask")
        for who, live in (("owner", None), ("operator", None), ("root auditor", 1)):
            async with here.client(WHO[who]) as client:
                said = (await client.get("/statistics")).json()
            assert said["accepting"] is True
            assert (said["live"] is None) is (live is None)
