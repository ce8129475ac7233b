"""Services that share a store: what is so for all of them, and parts of one.

R-SCALE-33 (readiness while the server is away), R-SCALE-34 (gauges count the tasks of all),
R-SCALE-35 (the console hears of what others do), R-SCALE-36 (faces here, agents there).
I23 (any replica serves any request), I40.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from interlock import Engine, Phase, TaskContext, Trigger
from interlock.stores import SharedStore, shared
from interlock_adapters.config import Config
from interlock_adapters.console._pulse import Pulse
from interlock_adapters.postgres import PostgresStore
from interlock_adapters.service import Service
from interlock_adapters.service._shared import Counted, StoreWatch
from interlock_adapters.telemetry import Telemetry
from interlock_adapters.telemetry import _metrics as telemetry_metrics
from interlock_adapters.telemetry import _spans as telemetry_spans
from pg_server import PgServer
from support import pause, soon

#: Seconds in which another process does what it is to do.
WITHIN_S: Final = 20


async def never(task: TaskContext) -> str:
    """What is not to run."""
    return f"{task.task_id} was run by the wrong one"


async def agent(task: TaskContext) -> str:
    """Ask."""
    return await task.ask("Where to?")


def config(store: str, **said: object) -> Config:
    """A service without a file."""
    return Config.model_validate({"agent": agent, "store": store, **said})


@asynccontextmanager
async def served(service: Service) -> AsyncGenerator[httpx.AsyncClient]:
    """A client on this machine."""
    here = httpx.ASGITransport(service.app, client=("127.0.0.1", 1))
    async with (
        service.lifespan(),
        httpx.AsyncClient(transport=here, base_url="http://127.0.0.1:8000") as client,
    ):
        yield client


async def seen(client: httpx.AsyncClient, path: str, fact: Callable[[httpx.Response], bool]) -> str:
    """A page, as soon as it says that."""
    async with asyncio.timeout(WITHIN_S):
        while not fact(answer := await client.get(path)):
            await pause(50)
    return answer.text


# --- readiness ------------------------------------------------------------------------------


async def test_who_routes_is_told_that_the_store_is_away(own_pg_server: PgServer) -> None:
    """And that it is back; the process lives all the time.  R-SCALE-33."""
    url = own_pg_server.create()
    said_of_it = {"patience_s": 1.0}
    async with served(Service.of(config(url, postgres=said_of_it))) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        await asyncio.to_thread(own_pg_server.stop_immediately)
        said = await seen(client, "/readyz", lambda answer: answer.status_code == 503)
        assert "the store does not answer" in said
        assert str(own_pg_server.port) not in said
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        await asyncio.to_thread(own_pg_server.start)
        await seen(client, "/readyz", lambda answer: answer.status_code == 200)


async def test_those_who_ask_at_once_cost_one_look(pg_url: str) -> None:
    """Anybody may ask for readiness, as often as he likes.  R-SCALE-33."""
    store = PostgresStore(pg_url)
    async with Engine(agent, store=store) as engine:
        watch = StoreWatch(engine, fresh_s=3_600.0)
        assert await asyncio.gather(*(watch.why_not() for _ in range(100))) == [None] * 100
        await store.close()
        assert await watch.why_not() is None
        assert await StoreWatch(engine).why_not() == "the store does not answer"


# --- gauges ---------------------------------------------------------------------------------


async def test_each_replica_shows_the_tasks_of_all(pg_url: str) -> None:
    """Whoever made them, and whoever moved them last.  R-SCALE-34."""
    said = config(pg_url, telemetry={"prometheus": True})
    waits = re.compile(
        r'^interlock_tasks\{.*interlock_phase="waiting_input".*\} (\d+)', re.MULTILINE
    )
    one, two = Service.of(said), Service.of(said)
    async with served(one) as client, served(two) as other:
        first = await one.engine.submit("x", owner="ada")
        second = await two.engine.submit("x", owner="ada")
        for task, engine in ((first, two.engine), (second, one.engine)):
            await soon((await engine.task(task.task_id, owner="ada")).rest())
        for http in (client, other):
            page = await seen(http, "/metrics", lambda page: waits.findall(page.text) == ["2"])
            assert "interlock_calls_in_doubt" not in page
        (ask,) = (await two.engine.record(first.task_id, owner="ada")).asks
        await (await two.engine.task(first.task_id, owner="ada")).answer(ask.key, "Rome")
        for http in (client, other):
            await seen(http, "/metrics", lambda page: waits.findall(page.text) == ["1"])


async def test_a_count_that_takes_long_is_seldom_made(pg_url: str) -> None:
    """And an exporter gets it all the same.  R-SCALE-34."""
    told: list[object] = []
    woken = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        woken.set()
        await asyncio.Event().wait()

    async with Engine(agent, store=pg_url) as engine:
        await engine.submit("x", owner="ada")
        counted = Counted(engine, told.append, sleep=sleep)
        async with counted.life():
            await soon(woken.wait())
            await asyncio.gather(*(counted.look() for _ in range(10)))
    assert len(told) == 1


async def test_of_a_task_that_goes_on_elsewhere_no_time_is_made_up(pg_url: str) -> None:
    """What is not known here is not measured.  R-SCALE-34."""
    reader = InMemoryMetricReader()
    told = Telemetry(None, MeterProvider([reader]))
    front = Engine(agent, store=pg_url, observer=told, takes_turns=False)
    async with front, Engine(agent, store=pg_url):
        task = await front.submit("x", owner="ada")
        record = await soon(task.rest())
        kept = told._metrics._since[task.task_id]
        assert kept[0] < record.seq
        await task.answer(record.asks[0].key, "Rome")
        (answered,) = [
            event
            for event in await front.events(task.task_id, owner="ada")
            if event.trigger is Trigger.PROVIDE_INPUT
        ]
        data = reader.get_metrics_data()
    assert data is not None
    (stay,) = [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "interlock.task.phase.duration"
        for point in metric.data.data_points
    ]
    assert dict(stay.attributes or {}) == {"interlock.phase": Phase.WAITING_INPUT.value}
    waited_s = answered.at - record.asks[0].asked_at
    assert getattr(stay, "sum", None) == pytest.approx(waited_s)


async def test_of_tasks_that_end_elsewhere_not_everything_is_kept(
    pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells when they are over.  R-SCALE-34."""
    monkeypatch.setattr(telemetry_metrics, "SINCE_MAX", 2)
    monkeypatch.setattr(telemetry_spans, "KNOWN_MAX", 2)
    told = Telemetry()
    async with Engine(agent, store=pg_url, observer=told, takes_turns=False) as front:
        tasks = [await front.submit("x", owner="ada") for _ in range(5)]
        newest = [task.task_id for task in tasks[-2:]]
        assert [*told._metrics._since] == newest
        assert [*told._spans._tasks] == newest


# --- the console ----------------------------------------------------------------------------


async def test_the_console_hears_of_what_others_do(pg_url: str) -> None:
    """It looks, where its own engine cannot tell.  R-SCALE-35."""
    service = Service.of(config(pg_url), turns=False)
    async with served(service), Engine(agent, store=pg_url) as other:
        heard = None if service._told.changes is None else service._told.changes.heard
        assert heard is not None
        pulse = getattr(heard, "__self__", None)
        assert isinstance(pulse, Pulse)
        async with pulse.listening():
            before = pulse.beats
            await other.submit("x", owner="ada")
            assert await soon(pulse.after(before, WITHIN_S)) > before


# --- parts ----------------------------------------------------------------------------------


async def test_faces_here_and_agents_there(pg_url: str) -> None:
    """A front runs no turn, and nobody can reach a worker but for its health.  R-SCALE-36, I23."""
    front = Service.of(config(pg_url, name="front", agent=never), turns=False)
    worker = Service.of(config(pg_url, name="worker"), faces=False)
    async with served(front) as client:
        task = await front.engine.submit("x", owner="ada")
        assert (await front.engine.record(task.task_id, owner=None)).phase is Phase.SUBMITTED
        async with served(worker) as other:
            assert (await other.get("/readyz")).json() == {"status": "ready"}
            for path in ("/console", "/manage/tasks", "/mcp", "/.well-known/agent-card.json"):
                assert (await other.get(path)).status_code == 404
            (ask,) = (await soon(task.rest())).asks
            said = {"ask": ask.key, "value": "Rome"}
            path = f"/manage/tasks/{task.task_id}/answer"
            assert (await client.post(path, json=said)).is_success
            assert await soon(task.result()) == "Rome"
        assert front.engine.statistics().running == 0


@pytest.mark.parametrize("name", ["memory:", "sqlite"])
def test_what_is_one_process_of_its_own_is_no_replica(name: str, tmp_path: object) -> None:
    """It looks at nothing more than before.  R-SCALE-33."""
    url = name if name == "memory:" else f"sqlite:///{tmp_path}/t.db"
    service = Service.of(config(url))
    assert service._store is None
    assert not service.engine.is_replica


def test_a_store_is_known_for_shared_by_its_class() -> None:
    """Not opened yet.  R-SCALE-36."""
    store: SharedStore = PostgresStore("postgresql://db/tasks")
    assert shared(store)
