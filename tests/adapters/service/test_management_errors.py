"""Errors of the management API, and what it changes and writes down.  R-SVC-56 to 58; T17, T20.

Each error is a problem (RFC 9457) with the engine's code, and quotes nothing that came.
"""

import json
import logging
from http import HTTPStatus
from typing import Any, Final

import httpx
import pytest

from interlock import Engine, Policy, RequiredInput
from interlock.errors import (
    EngineBug,
    EngineError,
    LimitReached,
    NotAccepting,
    SourceUnavailable,
    StoreCorrupt,
    StoreError,
    TokenReused,
)
from interlock_adapters._shown.models import PolicyBody, RequiredInputBody
from interlock_adapters.management import Managed, management_app
from interlock_adapters.management._problems import of_engine
from managed import ADA, ROOT, as_user, office

CANARY: Final = "s3cr3t-canary"
FIELDS: Final = {
    "type", "title", "status", "detail", "code", "errors", "allowed", "retry_after",
}  # fmt: skip


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem of an answer, which is whole."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert said.keys() == FIELDS
    assert (said["status"], said["code"]) == (status, code)
    assert said["type"] == f"urn:interlock:problem:{code}"
    assert said["title"] == HTTPStatus(status).phrase
    return said


#: The rest of a call of a waiting task, and the problem.
CALLS: Final = {
    "not JSON": ("answer", b"{", 422, "invalid_request"),
    "no object": ("answer", b"[]", 422, "invalid_request"),
    "no text": ("answer", b"\xff", 400, "invalid_request"),
    "a field too many": ("answer", {"ask": "a", "value": 1, CANARY: 1}, 422, "invalid_request"),
    "of another kind": ("answer", {"ask": 7, "value": 1}, 422, "invalid_request"),
    "half a character": ("cancel", b'{"reason": "\\ud800"}', 422, "invalid_request"),
    "what is no number": ("answer", b'{"ask": "ask-1", "value": NaN}', 422, "invalid_request"),
    "what does not fit": ("answer", {"ask": "ask-1", "value": [CANARY]}, 422, "answer_invalid"),
    "a closed ask": ("answer", {"ask": "other", "value": "x"}, 409, "guard_refused"),
    "a decision": ("deny", {"ask": "ask-1", "digest": "d"}, 409, "illegal_trigger"),
    "no operator is asked": ("resume", {"decision": "again"}, 422, "invalid_input"),
    "another word": ("resume", {"decision": CANARY}, 422, "invalid_request"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_request_that_does_not_fit_is_a_problem(name: str) -> None:
    """It changes nothing, and is not quoted.  Source: R-SVC-56."""
    action, body, status, code = CALLS[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with office() as here:
        record = await here.task("ask")
        async with here.client() as client:
            answer = await client.post(
                f"/tasks/{record.task_id}/{action}",
                content=content,
                headers={"content-type": "application/json"},
            )
        said = problem(answer, status, code)
        assert CANARY not in answer.text
        assert said["detail"]
        assert await here.world.engine.record(record.task_id, owner=None) == record


async def test_places_that_are_none_are_problems() -> None:
    """Unknown routes, methods, cursors and numbers too.  Source: R-SVC-56."""
    async with office() as here:
        record = await here.task("ask")
        async with here.client() as client:
            problem(await client.get("/nowhere"), 404, "unknown_route")
            problem(await client.get(f"/tasks/{CANARY}"), 404, "unknown_task")
            answer = await client.patch("/tasks")
            problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "GET"
            for query, code in (
                ("limit=0", "invalid_request"),
                ("limit=201", "invalid_request"),
                (f"phase={CANARY}", "invalid_input"),
                ("phase=finalized", "invalid_input"),
                (f"cursor={CANARY}", "invalid_input"),
                ("cursor=WzEsMl0", "invalid_input"),  # [1,2]
                (f"search={'x' * 5000}", "invalid_request"),
            ):
                answer = await client.get(f"/tasks?{query}")
                problem(answer, 422, code)
                assert CANARY not in answer.text
            path = f"/tasks/{record.task_id}/events"
            problem(await client.get(f"{path}?after=-1"), 422, "invalid_request")
            problem(await client.get(f"{path}/stream?after=99"), 422, "invalid_input")
            wrong = {"last-event-id": CANARY}
            problem(await client.get(f"{path}/stream", headers=wrong), 422, "invalid_input")
            said = problem(await client.delete(f"/tasks/{record.task_id}"), 409, "not_finalized")
            assert said["detail"]


async def test_what_the_task_would_accept_is_said() -> None:
    """A program can go on from that.  Source: R-SVC-56."""
    async with office() as here:
        record = await here.task("done")
        async with here.client() as client:
            answer = await client.post(f"/tasks/{record.task_id}/cancel", json={})
            problem(answer, 409, "illegal_trigger")
        record = await here.task("ask")
        async with here.client() as client:
            body = {"ask": "other", "value": "x"}
            answer = await client.post(f"/tasks/{record.task_id}/answer", json=body)
            assert "cancel" in problem(answer, 409, "guard_refused")["allowed"]


ENGINES: Final[dict[EngineError, tuple[int, str | None]]] = {
    LimitReached("subscribers_max", 1, retry_after_s=0.5): (429, "1"),
    LimitReached("watches_max", 1): (429, None),
    NotAccepting("closing"): (503, "5"),
    StoreError("the disk is full"): (503, "5"),
    StoreCorrupt("it contradicts itself"): (500, None),
    TokenReused("t"): (409, None),
    SourceUnavailable("bank", "gone"): (502, None),
    EngineBug("ours"): (500, None),
}


@pytest.mark.parametrize("error", ENGINES, ids=lambda error: type(error).__name__)
def test_errors_of_the_engine_have_a_status(error: EngineError) -> None:
    """With the time to wait where waiting helps, twice: for programs and for proxies."""
    status, again = ENGINES[error]
    answer = of_engine(error)
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == again
    said = json.loads(bytes(answer.body))
    assert said["code"] == error.code
    assert (said["retry_after"] is None) is (again is None)


async def test_an_engine_that_is_closed_is_a_problem() -> None:
    """And says when to try again.  Source: R-SVC-56."""
    app = management_app(Managed(Engine(_agent, store="memory:")))
    transport = httpx.ASGITransport(as_user(app, ROOT))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for path in ("/tasks", "/inbox", "/statistics", "/tasks/x"):
            answer = await client.get(path)
            problem(answer, 503, "not_accepting")
            assert answer.headers["retry-after"] == "5"
        answer = await client.get("/instructions")
        problem(answer, 404, "unknown_resource")


async def _agent(_task: object) -> str:
    return ""


async def test_a_bug_tells_nobody_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception may hold anything.  Source: T20."""
    async with office() as here:

        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError(CANARY)

        monkeypatch.setattr(here.world.engine, "page", broken)
        async with here.client() as client:
            answer = await client.get("/tasks")
    problem(answer, 500, "internal_error")
    assert CANARY not in answer.text


# --- policies and the rest ------------------------------------------------------------


def test_the_body_of_a_policy_has_every_field_of_one() -> None:
    """Who adds one to the model adds it here.  Source: R-SVC-57."""
    assert PolicyBody.model_fields.keys() == Policy.model_fields.keys()
    assert RequiredInputBody.model_fields.keys() == RequiredInput.model_fields.keys()
    for name, field in PolicyBody.model_fields.items():
        given = field.get_default(call_default_factory=True)
        wanted: Any = Policy.model_fields[name].default
        assert given == ([] if wanted == () else wanted), name


async def test_a_policy_counts_from_the_next_call_on() -> None:
    """No restart; and once dropped it does not any more.  Source: R-SVC-57."""
    async with office() as here:
        async with here.client() as client:
            body = {"confirm": {"when": {"properties": {"euro": {"minimum": 2}}}}}
            said = await client.put("/policies/local/pay", json=body)
            assert (said.status_code, said.json()) == (200, {"version": 2})
            shown = (await client.get("/policies/local/pay")).json()
            assert shown == {"rule": "local/pay", "policy": body, "is_code": False}
        waiting = await here.task("pay")
        assert waiting.asks[0].arguments == {"euro": 2}
        async with here.client() as client:
            dropped = await client.delete("/policies/local/pay")
            assert dropped.json() == {"version": 3}
            problem(await client.delete("/policies/local/pay"), 404, "unknown_resource")
        assert (await here.task("pay")).shown.value == "completed"


async def test_a_rule_that_cannot_be_is_refused() -> None:
    """It says what would be accepted, and changes nothing.  Source: R-SVC-57."""
    async with office() as here:
        async with here.client() as client:
            for rule, body, status, code in (
                ("steal", {}, 404, "unknown_tool"),
                ("pay", {"confirm": "sometimes"}, 422, "invalid_request"),
                ("pay", {"confirm": {"predicate": "os.system"}}, 422, "invalid_request"),
                ("pay", {"on_expire": "default", "required_inputs": [{"name": "a"}]}, 422, None),
                ("pay", {"timeout_s": -1}, 422, "invalid_request"),
                ("pay", {"confirm": {"when": {"type": 7}}}, 422, "invalid_input"),
                ("/", {}, 422, "invalid_input"),
            ):
                answer = await client.put(f"/policies/{rule}", json=body)
                said = problem(answer, status, code or "invalid_input")
                assert said["detail"]
        assert here.world.engine.tools.policies.version == 1


async def test_servers_are_shown_with_their_tools_and_asked_anew() -> None:
    """What is switched off is shown too, with the rule that says so.  Source: R-SVC-57."""
    async with office() as here, here.client() as client:
        await client.put("/policies/pay", json={"enabled": False})
        (source,) = (await client.get("/sources")).json()["sources"]
        assert (source["name"], source["available"]) == ("local", True)
        (tool,) = source["tools"]
        assert (tool["qualified"], tool["enabled"]) == ("local/pay", False)
        assert (tool["decided"]["rule"], tool["decided"]["version"]) == ("pay", 2)
        assert tool["input_schema"]["properties"]["euro"]["type"] == "integer"
        again = await client.post("/sources/local/rediscover")
        assert again.json() == source
        problem(await client.post("/sources/nowhere/rediscover"), 404, "unknown_source")


async def test_a_predicate_that_is_code_is_shown_as_such() -> None:
    """It cannot be sent back as it is.  Source: R-SVC-57."""
    async with office() as here:
        here.world.engine.tools.policies.set("pay", Policy(confirm=lambda _arguments: True))
        async with here.client() as client:
            (rule,) = (await client.get("/policies")).json()["rules"]
    assert rule["is_code"] is True
    assert "lambda" in rule["policy"]["confirm"]["predicate"]


async def test_a_purge_goes_some_at_a_time_until_nothing_is_left() -> None:
    """What waits stays.  Source: R-SVC-55."""
    async with office() as here:
        await here.task("done")
        waiting = await here.task("ask")
        async with here.client() as client:
            assert (await client.post("/purge", json={"older_than_s": 3600})).json() == {
                "purged": 0
            }
            assert (await client.post("/purge", json={"older_than_s": 0})).json() == {"purged": 1}
            tasks = (await client.get("/tasks")).json()["tasks"]
    assert [task["task_id"] for task in tasks] == [waiting.task_id]


async def test_every_change_is_written_down_with_who_made_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line each, as JSON, without content; who is refused is not in it.  Source: R-SVC-58."""
    caplog.set_level(logging.INFO, "interlock.audit")
    async with office() as here:
        done, astray = await here.task("done"), await here.task("astray")
        for who in (ADA, ROOT):
            async with here.client(who) as client:
                await client.put("/policies/pay", json={"prompt": CANARY})
                await client.delete("/policies/pay")
                await client.put("/instructions", json={"text": CANARY})
                await client.post("/purge", json={"older_than_s": 9e9})
                resume = {"decision": "from_scratch"}
                await client.post(f"/tasks/{astray.task_id}/resume", json=resume)
                await client.delete(f"/tasks/{done.task_id}")
    records = [record for record in caplog.records if record.name == "interlock.audit"]
    said = [json.loads(record.getMessage()) for record in records]
    assert [line["action"] for line in said] == [
        "policy_set", "policy_dropped", "instructions_set", "purged", "task_resumed",
        "task_forgotten",
    ]  # fmt: skip
    assert {line["actor"] for line in said} == {ROOT.owner}
    assert (said[0]["rule"], said[0]["version"]) == ("pay", 2)
    assert CANARY not in caplog.text
    assert [vars(record)["audit"] for record in records] == said
