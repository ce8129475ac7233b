"""The Restate host keeps the promises of every store, and those of shared ones.

Source: R-RST-01 (the contract suite), R-RST-02 (the shared contract suite).  I17, I18, I24.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from interlock import MemoryStore
from interlock.stores import TurnWanted
from interlock.testing import (
    DURABLE_STORE_CHECKS,
    SHARED_STORE_CHECKS,
    STORE_CHECKS,
    SharedStoreCheck,
    StoreCheck,
)
from interlock.testing._store_contract import asked, commit_of, opened, started, submitted
from interlock_adapters.restate import RestateStore


def name_of(check: object) -> str:
    """The promise, for the name of the test."""
    return getattr(check, "__name__", repr(check)).removeprefix("check_")


@pytest.mark.parametrize("check", STORE_CHECKS, ids=name_of)
async def test_it_keeps_the_promises_of_a_store(check: StoreCheck, restate_url: str) -> None:
    """Source: R-RST-01."""
    async with asyncio.timeout(20):
        await check(lambda: RestateStore(restate_url, projection=MemoryStore()))


@pytest.mark.parametrize("check", DURABLE_STORE_CHECKS, ids=name_of)
async def test_it_keeps_the_promises_of_a_durable_store(
    check: StoreCheck, restate_url: str, tmp_path: Path
) -> None:
    """Source: R-RST-01."""
    projection = quote(f"sqlite:///{tmp_path / 'projection.db'}", safe="")
    async with asyncio.timeout(20):
        await check(lambda: RestateStore(f"{restate_url}&projection={projection}"))


#: Restate keeps the turns of one task in order, and promises nothing of those of two.
OTHERS = [check for check in SHARED_STORE_CHECKS if name_of(check) != "turns_wait_for_somebody"]


@pytest.mark.parametrize("check", OTHERS, ids=name_of)
async def test_it_keeps_the_promises_of_a_shared_store(
    check: SharedStoreCheck, shared_url: str
) -> None:
    """Source: R-RST-02."""
    async with asyncio.timeout(40):
        await check(lambda: RestateStore(shared_url))


async def test_turns_wait_for_somebody(shared_url: str) -> None:
    """What was wanted while nobody took turns is handed out to who comes.  Source: R-RST-02."""
    began: asyncio.Queue[str] = asyncio.Queue()

    async def run(turn: TurnWanted) -> bool:
        began.put_nowait(turn.task_id)
        return True

    async with asyncio.timeout(40), opened(lambda: RestateStore(shared_url)) as store:
        for task_id in ("a", "b"):
            moves = [submitted(task_id), started(submitted(task_id))]
            moves.append(asked(moves[-1], "k", due_s=1e6))
            turn = TurnWanted(task_id, moves[-1].record.epoch)
            await store.commit(replace(commit_of(*moves), turn=turn))
        assert isinstance(store, RestateStore)
        await store.turns.start(run, slots=1)
        assert {await began.get(), await began.get()} == {"a", "b"}
        await store.turns.rest()
        await store.turns.stop()
        assert began.empty()
