"""DBOS on SQLite, embedded: a task is a workflow, a question a message that it receives.

DBOS 3.4 needs SQLite 3.42; where Python has an older one, `pysqlite3-binary` takes its place.
"""

# mypy: disable-error-code="import-not-found,untyped-decorator,no-any-return"
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedFunctionDecorator=false, reportUnknownArgumentType=false

import sys

import pysqlite3

sys.modules["sqlite3"] = pysqlite3

import asyncio  # noqa: E402
import time  # noqa: E402
from collections.abc import AsyncGenerator  # noqa: E402
from contextlib import asynccontextmanager  # noqa: E402

from dbos import DBOS, DBOSConfig  # noqa: E402

from bench.compare.protocol import QUESTION, REQUEST  # noqa: E402

PACKAGES = ("dbos", "pysqlite3-binary")
#: Between two looks of what waits for another; its least is 0.001 and its default 1.
POLL_S = 0.01


@DBOS.step()
async def _work(text: str) -> str:
    return f"done: {text}"


@DBOS.workflow()
async def _agent(text: str) -> str:
    if text.startswith("ask"):
        await DBOS.set_event_async("asked", QUESTION)
        text = await DBOS.recv_async("answer", timeout_seconds=86_400)
    if text.startswith("show"):
        await DBOS.write_stream_async("shown", "working")
    return await _work(text)


class Arm:
    """A workflow for each task."""

    async def life(self) -> None:
        """See `Peer.life`."""
        handle = await DBOS.start_workflow_async(_agent, REQUEST)
        assert await handle.get_result(polling_interval_sec=POLL_S) == f"done: {REQUEST}"

    async def ask(self) -> str:
        """See `Peer.ask`."""
        handle = await DBOS.start_workflow_async(_agent, f"ask {REQUEST}")
        said = await DBOS.get_event_async(handle.workflow_id, "asked")
        assert said == QUESTION, said
        return handle.workflow_id

    async def answer(self, asked: str) -> None:
        """See `Peer.answer`."""
        await DBOS.send_async(asked, "Oslo", "answer")
        handle = await DBOS.retrieve_workflow_async(asked)
        found = await handle.get_result(polling_interval_sec=POLL_S)
        assert found == "done: Oslo", found

    async def cancel(self, asked: str) -> None:
        """See `Peer.cancel`."""
        await DBOS.cancel_workflow_async(asked)
        status = await DBOS.get_workflow_status_async(asked)
        assert status is not None
        assert status.status == "CANCELLED", status

    async def first(self) -> float:
        """See `Peer.first`."""
        began, first = time.perf_counter(), 0.0
        handle = await DBOS.start_workflow_async(_agent, f"show {REQUEST}")
        async for _ in DBOS.read_stream_async(handle.workflow_id, "shown"):
            first = first or time.perf_counter() - began
        return first


@asynccontextmanager
async def opened(database: str) -> AsyncGenerator[Arm]:
    """With its own settings, but for how often it looks."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{database}",
        "log_level": "ERROR",
        "notification_listener_polling_interval_sec": POLL_S,
    }
    DBOS(config=config)
    await asyncio.to_thread(DBOS.launch)
    yield Arm()
