"""The PostgreSQL store keeps the promises of `Store`.  R-PG-01; INVARIANTS I17, I18, T28."""

import asyncio
from random import Random

import psycopg
import pytest

from interlock import LIFECYCLE
from interlock._edge import NAME_BYTES_MAX
from interlock.testing._store_contract import (
    DURABLE_STORE_CHECKS,
    STORE_CHECKS,
    StoreCheck,
    check_verify_finds_tampering,
    claim_of,
    commit_of,
    opened,
    stored,
    submitted,
    whole_life,
)
from interlock_adapters.postgres import PostgresStore
from interlock_adapters.postgres import _verify as verifying


def name_of(check: object) -> str:
    """The promise, for the name of the test."""
    return getattr(check, "__name__", repr(check)).removeprefix("check_")


@pytest.mark.parametrize("check", [*STORE_CHECKS, *DURABLE_STORE_CHECKS], ids=name_of)
async def test_it_keeps_its_promises(check: StoreCheck, pg_url: str) -> None:
    """Source: the docstrings of `Store`, R-STORE-01."""
    async with asyncio.timeout(60):
        await check(lambda: PostgresStore(pg_url))


async def test_long_logs_are_verified_a_few_at_a_time(
    pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many events there are, each answer comes in time, and nothing is left out."""
    monkeypatch.setattr(verifying, "EVENTS_AT_ONCE", 6)
    async with asyncio.timeout(60), opened(lambda: PostgresStore(pg_url)) as store:
        for task_id in ("a", "b", "c", "d", "e"):
            await stored(store, whole_life(task_id))
        async with await psycopg.AsyncConnection.connect(pg_url, autocommit=True) as db:
            await db.execute("SET search_path = interlock")
            ends: list[int] = []
            last: int | None = 0
            while last is not None:
                found, last = await verifying.task_findings(db, last, LIFECYCLE)
                assert found == []
                ends += [] if last is None else [last]
            assert len(ends) == 3
            await db.execute("UPDATE event SET actor = 'mallory' WHERE seq = 2")
        assert len({finding.split(":")[0] for finding in await store.verify()}) == 5


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE task SET snapshot = overlay(snapshot PLACING 'X' FROM 30) WHERE n = %s",
        "UPDATE task SET snapshot = '{}' WHERE n = %s",
        "UPDATE task SET owner = 'mallory' WHERE n = %s",
        "UPDATE task SET due = 1.5 WHERE n = %s",
        "UPDATE task SET shown = 'failed' WHERE n = %s",
        "UPDATE event SET data = overlay(data PLACING 'X' FROM 5) WHERE seq = 3 AND task = %s",
        "UPDATE event SET actor = 'mallory' WHERE seq = 2 AND task = %s",
        "UPDATE event SET at = at + 1 WHERE seq = 2 AND task = %s",
        "UPDATE event SET trigger = 'cancel' WHERE seq = 2 AND task = %s",
        "DELETE FROM event WHERE seq = 4 AND task = %s",
        "DELETE FROM event WHERE seq = 2 AND task = %s",
        "INSERT INTO claim SELECT 'ada', 'x', n, 'd' FROM task WHERE n = %s",
        "INSERT INTO watch SELECT n, 'w', 'web', '{}', 9, 0, 0, NULL, false FROM task WHERE n = %s",
        "INSERT INTO watch SELECT n, 'w', 'web', '{}', 1, 0, 0, NULL, false FROM task WHERE n = %s",
    ],
)
async def test_it_notices_tampering(change: str, pg_url: str) -> None:
    """Changed, cut or lost: a record, a column, an event.  Source: INVARIANTS T28."""

    async def tamper(task_id: str) -> None:
        async with await psycopg.AsyncConnection.connect(pg_url, autocommit=True) as db:
            await db.execute("SET search_path = interlock")
            found = await db.execute("SELECT n FROM task WHERE task_id = %s", (task_id.encode(),))
            row = await found.fetchone()
            done = await db.execute(change.encode(), row)
            assert done.rowcount == 1

    async with asyncio.timeout(60):
        await check_verify_finds_tampering(lambda: PostgresStore(pg_url), tamper)


async def test_an_owner_and_a_token_of_the_largest_size_find_room(pg_url: str) -> None:
    """What the engine lets in must not fail in an index that is too narrow.  R-PG-01."""
    chance = Random(1)  # noqa: S311  no secret; what is alike is compressed

    def name() -> str:
        return "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(NAME_BYTES_MAX // 3))

    owner, token = name(), name()
    async with asyncio.timeout(60), opened(lambda: PostgresStore(pg_url)) as store:
        move = submitted("t" * 32, owner=owner, token=token)
        await store.commit(commit_of(move, claims=[claim_of(move)]))
        assert await store.claim(owner, token) == claim_of(move)
