"""The page that Prometheus scrapes, and the trace that a request belongs to.

Requirements: R-SVC-96 (`/metrics`, who may see it), R-SVC-97 (parent from the request).
Threats: T17.
"""

from typing import Any, Final

import httpx
import pytest
from opentelemetry import trace

from interlock import TaskContext
from interlock_adapters._callers.principal import Principal, Role
from interlock_adapters.prometheus import Prometheus
from interlock_adapters.telemetry import Telemetry, TraceParent
from support import opened, soon

TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class _User:
    def __init__(self, principal: object) -> None:
        self.principal = principal


def client(prometheus: Prometheus, principal: object) -> httpx.AsyncClient:
    """Of somebody who was authenticated."""

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI
        if principal is not None:
            scope["user"] = _User(principal)
        await prometheus.app(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x")


async def agent(task: TaskContext) -> str:
    """Does nothing."""
    return task.task_id


async def test_operators_and_auditors_see_the_numbers_of_this_moment() -> None:
    """In the format that was asked for.  Source: issue 8, build 6, R-SVC-96."""
    prometheus = Prometheus()
    async with opened(agent, observer=Telemetry(None, prometheus.meter_provider)) as world:
        await soon((await world.submit()).result())
        for role in (Role.OPERATOR, Role.AUDITOR):
            async with client(prometheus, Principal("ada", roles=frozenset({role}))) as http:
                page = await http.get("/metrics")
            assert page.status_code == 200
            assert page.headers["content-type"].startswith("text/plain")
            assert page.headers["cache-control"] == "no-store"
            assert "interlock_task_duration_seconds_count{" in page.text
            assert "interlock_engine_running{" in page.text
    prometheus.close()


@pytest.mark.parametrize(
    "principal",
    [
        None,
        object(),
        Principal("ada"),
        Principal("ada", roles=frozenset({Role.APPROVER})),
        Principal("ada", tenant="acme", roles=frozenset(Role)),
    ],
)
async def test_nobody_else_sees_them(principal: object) -> None:
    """Least of all those of one tenant the numbers of all.  T17, R-SVC-96."""
    prometheus = Prometheus()
    async with client(prometheus, principal) as http:
        page = await http.get("/metrics")
    assert page.status_code == 403
    assert page.headers["content-type"] == "application/problem+json"
    assert page.json()["detail"] == "metrics are for operators and auditors of the whole deployment"
    prometheus.close()


async def test_a_port_of_its_own_needs_no_token_if_it_is_said_so() -> None:
    """And takes nothing but reads.  R-SVC-96."""
    prometheus = Prometheus(open_to_everyone=True)
    async with client(prometheus, None) as http:
        assert (await http.get("/")).status_code == 200
        assert (await http.head("/")).content == b""
        posted = await http.post("/")
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
    prometheus.close()


async def test_two_services_of_a_process_do_not_mix_their_numbers() -> None:
    """Each has a registry of its own.  R-SVC-96."""
    one, other = Prometheus(open_to_everyone=True), Prometheus(open_to_everyone=True)
    async with opened(agent, observer=Telemetry(None, one.meter_provider)) as world:
        await soon((await world.submit()).result())
        async with client(other, None) as http:
            assert "interlock" not in (await http.get("/")).text
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("sent", "is_traced"),
    [
        ([("traceparent", TRACE)], True),
        ([], False),
        ([("traceparent", "nonsense")], False),
        ([("traceparent", TRACE), ("traceparent", TRACE)], False),
        ([("traceparent", TRACE[:40] + "é")], False),
    ],
)
async def test_a_request_is_part_of_the_trace_that_it_names(
    sent: list[tuple[str, str]], *, is_traced: bool
) -> None:
    """Only while it is served.  R-SVC-97."""
    seen: list[trace.SpanContext] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  ASGI
        del scope, receive
        seen.append(trace.get_current_span().get_span_context())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(TraceParent(app))
    headers = [(name.encode(), value.encode("latin-1")) for name, value in sent]
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        assert (await http.get("/", headers=headers)).status_code == 204
    (here,) = seen
    assert here.is_valid is is_traced
    if is_traced:
        assert (f"{here.trace_id:032x}", f"{here.span_id:016x}") == (TRACE[3:35], TRACE[36:52])
    assert not trace.get_current_span().get_span_context().is_valid
