"""A client must get on whatever became of what it sent: else a kill would look like a hang."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from starlette.applications import Starlette

from faults.client import _OVER, Client, _Errand, journal_in
from interlock import Engine, TaskContext, TaskQuery
from interlock_adapters.a2a import A2ASettings, a2a_routes
from support import soon

URL = "http://127.0.0.1"


async def asks(task: TaskContext) -> str:
    """Wait for an answer."""
    return await task.ask("Which?", key="ask-0")


@asynccontextmanager
async def asked(path: Path) -> AsyncGenerator[_Errand]:
    """A client to which a question is shown, of a task that was then cancelled unheard."""
    async with Engine(asks, store="memory:") as engine:
        settings = A2ASettings(name="faults", description="Asks.", rpc_path="/rpc")
        app = Starlette(routes=[*a2a_routes(engine, settings)])
        client = Client(0, "seed", URL, path / "client-0.jsonl")
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url=URL, headers=client.HEADERS
        ) as http:
            errand = _Errand(client, http)
            await errand._send(errand._message("submit", {}), {"op": "submit", "steps": []})
            (record,) = (await engine.page(TaskQuery())).records
            await soon(engine.rest(record.task_id, owner=record.owner))
            await soon(errand._look())
            await engine.cancel(record.task_id, owner=record.owner)
            await soon(engine.over(record.task_id, owner=record.owner))
            yield errand


async def test_a_cancel_that_was_done_before_is_seen(tmp_path: Path) -> None:
    """Its answer was lost with a server, and the next one refuses it.  Source: R-JRN-09."""
    async with asked(tmp_path) as errand:
        await soon(errand._cancel())
        assert errand._phase in _OVER


async def test_an_answer_that_comes_too_late_is_no_reason_to_give_it_again(tmp_path: Path) -> None:
    """Nor to be shown the question again, from where the client had read to.  R-JRN-09."""
    async with asked(tmp_path) as errand:
        (ask,) = errand._open
        await soon(errand._reply(ask))
        assert errand._phase in _OVER
        assert journal_in(tmp_path / "client-0.jsonl")[-2]["fate"] == "refused"
