"""Several PostgreSQL stores on one database.  R-PG-02, R-PG-03; INVARIANTS I23, I24, I40."""

import asyncio

import psycopg
import pytest

from interlock.testing import SHARED_STORE_CHECKS
from interlock.testing._shared_contract import SharedStoreCheck
from interlock.testing._store_contract import commit_of, submitted
from interlock_adapters.postgres import PostgresStore


def name_of(check: object) -> str:
    """The promise, for the name of the test."""
    return getattr(check, "__name__", repr(check)).removeprefix("check_")


@pytest.mark.parametrize("check", SHARED_STORE_CHECKS, ids=name_of)
async def test_it_keeps_its_promises(check: SharedStoreCheck, pg_url: str) -> None:
    """Source: the docstrings of `SharedStore` and `Turns`."""
    async with asyncio.timeout(60):
        await check(lambda: PostgresStore(pg_url))


async def test_whatever_is_notified_the_others_are_heard_on(pg_url: str) -> None:
    """Anybody who reaches the database may notify anything.  Source: `Hints`, R-PG-02."""
    one, two = PostgresStore(pg_url), PostgresStore(pg_url)
    heard = asyncio.Event()
    two.on_hint(lambda _task_id: heard.set())
    async with asyncio.timeout(60):
        await one.open()
        await two.open()
        try:
            assert two._session is not None
            await two._session.hints.is_listening.wait()
            async with await psycopg.AsyncConnection.connect(pg_url, autocommit=True) as db:
                for said in ("5", "null", "[]", "{}", "[7, {}]", "[" * 7_000, "no JSON"):
                    await db.execute("SELECT pg_notify('interlock_interlock', %s)", (said,))
            await one.commit(commit_of(submitted("t")))
            await heard.wait()
        finally:
            await two.close()
            await one.close()


async def test_who_has_no_watch_is_not_looked_at(pg_url: str) -> None:
    """Each commit says whether its task has watches.  Source: `SharedStore.watched`."""
    async with asyncio.timeout(60):
        store = PostgresStore(pg_url)
        await store.open()
        try:
            assert store.watched("t")  # Nobody knows.
            await store.commit(commit_of(submitted("t")))
            assert not store.watched("t")
        finally:
            await store.close()
