"""A server that must not answer until its standby has what was committed, and the standby is away.

Covers R-PG-04: nothing is acknowledged that only one machine has.  On a real server.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager

import psycopg
import pytest

from interlock import Engine, TaskContext
from interlock.errors import StoreError
from interlock_adapters.postgres import PostgresStore, _pool
from interlock_adapters.postgres._writer import IN_DOUBT_MAX
from pg_server import PgServer
from support import OWNER, soon

#: Seconds for which an answer is waited for here.
ANSWER_S = 0.5
CONNECTIONS = 6
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
def server() -> Generator[PgServer]:
    """One that can have a standby."""
    with PgServer("wal_level=replica", "max_wal_senders=1") as made:
        yield made


@asynccontextmanager
async def standby_away(url: str) -> AsyncGenerator[psycopg.AsyncConnection]:
    """For the time of the block every commit waits for a standby that is not there."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        await db.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
        await db.execute("SELECT pg_reload_conf()")
        try:
            yield db
        finally:
            await db.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await db.execute("SELECT pg_reload_conf()")


async def test_what_no_standby_has_is_not_acknowledged_until_one_has_it(
    server: PgServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the server run out of connections for those that wait.  Source: R-PG-04, R-PG-05."""
    monkeypatch.setattr(_pool, "ANSWER_S", ANSWER_S)
    url = server.create()

    async def agent(_task: TaskContext) -> str:
        return "done"

    async def tried(engine: Engine, text: str) -> str:
        try:
            return (await engine.submit(text, owner=OWNER)).task_id
        except StoreError:
            return ""

    store = PostgresStore(url, connections=CONNECTIONS, patience_s=1.0)
    async with Engine(agent, store=store) as engine:
        async with standby_away(url) as db:
            first = [asyncio.ensure_future(tried(engine, f"{n}")) for n in range(IN_DOUBT_MAX)]
            while _in_doubt(store) < IN_DOUBT_MAX:
                await _waiting(db)
                assert not any(one.done() for one in first)
            # By now nobody can say whether these are made, and no other one is begun.
            before = await _waiting(db)
            others = [asyncio.ensure_future(tried(engine, f"more {n}")) for n in range(20)]
            assert set(await soon(asyncio.gather(*others))) == {""}
            assert await _waiting(db) <= before + CONNECTIONS
            assert not any(one.done() for one in first)
        made = await soon(asyncio.gather(*first))
        assert all(made)
        for task_id in made:
            assert await soon((await engine.task(task_id, owner=OWNER)).result()) == "done"


def _in_doubt(store: PostgresStore) -> int:
    assert store._session is not None
    return store._session.writer._in_doubt


async def _waiting(db: psycopg.AsyncConnection) -> int:
    row = await (await db.execute(_WAITING)).fetchone()
    assert row is not None
    return int(row[0])
