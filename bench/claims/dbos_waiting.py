"""DBOS: a workflow that waits for a message holds a thread, or a coroutine if it is async."""

import asyncio
import importlib
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from bench.claims._seen import tell

dbos: Final[Any] = importlib.import_module("dbos")
WAITING: Final = 50


def _sync_flow() -> object:
    return dbos.DBOS.recv("answer", timeout_seconds=60)


async def _async_flow() -> object:
    return await dbos.DBOS.recv_async("answer", timeout_seconds=60)


SYNC: Final = dbos.DBOS.workflow()(_sync_flow)
ASYNC: Final = dbos.DBOS.workflow()(_async_flow)


async def _coroutines() -> int:
    before = len(asyncio.all_tasks())
    for _ in range(WAITING):
        await dbos.DBOS.start_workflow_async(ASYNC)
    await asyncio.sleep(2)
    return len(asyncio.all_tasks()) - before


def _main() -> None:
    with tempfile.TemporaryDirectory() as place:
        url = f"sqlite:///{Path(place) / 'dbos.db'}"
        dbos.DBOS(config={"name": "claim", "system_database_url": url, "log_level": "CRITICAL"})
        dbos.DBOS.launch()
        before = threading.active_count()
        for _ in range(WAITING):
            dbos.DBOS.start_workflow(SYNC)
        time.sleep(2)
        threads = threading.active_count() - before
        coroutines = asyncio.run(_coroutines())
    tell(
        holds=min(threads, coroutines) >= 0.9 * WAITING,
        seen=f"{WAITING} that wait: {threads} threads more; {WAITING} async ones: "
        f"{coroutines} asyncio tasks more",
    )


if __name__ == "__main__":
    _main()
    import os

    os._exit(0)  # Fifty threads wait for a minute.
