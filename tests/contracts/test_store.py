"""Every store keeps the promises of `interlock._store.Store`: the forgetful and the durable one."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from interlock._sqlite import SqliteStore
from interlock._store import MemoryStore, Store
from interlock.testing._store_contract import (
    DURABLE_STORE_CHECKS,
    STORE_CHECKS,
    StoreCheck,
    check_verify_finds_tampering,
)


def name_of(check: StoreCheck) -> str:
    """The promise, for the name of the test."""
    return getattr(check, "__name__", repr(check)).removeprefix("check_")


@pytest.mark.parametrize("check", STORE_CHECKS, ids=name_of)
async def test_the_memory_store_keeps_its_promises(check: StoreCheck) -> None:
    """Source: the docstrings of `Store`."""
    async with asyncio.timeout(5):
        await check(MemoryStore)


@pytest.mark.parametrize("check", [*STORE_CHECKS, *DURABLE_STORE_CHECKS], ids=name_of)
async def test_the_sqlite_store_keeps_its_promises(check: StoreCheck, tmp_path: Path) -> None:
    """Source: the docstrings of `Store`."""
    async with asyncio.timeout(5):
        await check(lambda: SqliteStore(tmp_path / "tasks.db"))


async def test_the_memory_store_notices_tampering() -> None:
    """A record that its log does not amount to becomes a sentence.  Source: `Store.verify`."""
    store = MemoryStore()

    def the_store() -> Store:
        return store

    async def tamper(task_id: str) -> None:
        kept = store._tasks[task_id]
        kept.record = replace(kept.record, attempt=9)

    async with asyncio.timeout(5):
        await check_verify_finds_tampering(the_store, tamper)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE task SET snapshot = replace(snapshot, '\"attempt\":1', '\"attempt\":9')",
        "UPDATE task SET snapshot = '{}'",
        "UPDATE task SET owner = 'mallory'",
        "UPDATE task SET due = 1.5",
        "UPDATE event SET data = replace(data, 'done', 'dome') WHERE seq = 3",
        "UPDATE event SET actor = 'mallory' WHERE seq = 2",
        "UPDATE event SET at = at + 1 WHERE seq = 2",
        "DELETE FROM event WHERE seq = 4",
        "DELETE FROM event WHERE seq = 2",
    ],
)
async def test_the_sqlite_store_notices_tampering(change: str, tmp_path: Path) -> None:
    """Changed, cut or lost: a record, a column, an event.  Source: INVARIANTS T28."""

    async def tamper(task_id: str) -> None:
        db = sqlite3.connect(tmp_path / "tasks.db")
        (number,) = db.execute("SELECT n FROM task WHERE task_id = ?", (task_id,)).fetchone()
        which = ("AND" if "WHERE" in change else "WHERE", "task" if " event" in change else "n")
        done = db.execute(f"{change} {which[0]} {which[1]} = ?", (number,))
        assert done.rowcount == 1
        db.commit()
        db.close()

    async with asyncio.timeout(5):
        await check_verify_finds_tampering(lambda: SqliteStore(tmp_path / "tasks.db"), tamper)
