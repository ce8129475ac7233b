"""The schema is made and brought up to date by whoever opens the store first.  R-PG-08, R-PG-09."""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib import resources

import psycopg
import pytest

from interlock._store import Watch
from interlock.errors import InvalidInput, StoreError, StoreTooNew
from interlock.testing._store_contract import commit_of, submitted
from interlock_adapters.postgres import PostgresStore
from interlock_adapters.postgres import _schema as schema

_OPENS = """
import asyncio, sys
from interlock_adapters.postgres import PostgresStore
async def main():
    store = PostgresStore(sys.argv[1])
    await store.open()
    await store.close()
asyncio.run(main())
"""


async def _execute(url: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        for statement in statements:
            await db.execute(statement.encode())


async def _set_version(url: str, part: str, version: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        await db.execute(
            "INSERT INTO interlock.version VALUES (%s, %s)"
            " ON CONFLICT (part) DO UPDATE SET version = excluded.version",
            (part, version),
        )


async def test_many_may_open_a_new_database_at_once(pg_url: str) -> None:
    """In one process and in others: one makes the schema, the others wait for it.  R-PG-08."""
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        others = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", _OPENS, pg_url, stderr=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        stores = [PostgresStore(pg_url) for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            for store in stores:
                group.create_task(store.open())
                stack.push_async_callback(store.close)
        for other in others:
            _, said = await other.communicate()
            assert other.returncode == 0, said.decode()
        await stores[0].commit(commit_of(submitted("t")))
        assert await stores[3].get("t") is not None


async def test_two_schemas_are_two_stores(pg_url: str) -> None:
    """Nothing of one is seen in the other; a name that is none is refused.  R-PG-08."""
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        one, two = PostgresStore(pg_url), PostgresStore(pg_url, schema="other")
        for store in (one, two):
            await store.open()
            stack.push_async_callback(store.close)
        await one.commit(commit_of(submitted("t")))
        assert await two.get("t") is None
        await two.commit(commit_of(submitted("t")))
    for name in ("", "Upper", "a-b", "x" * 41, 'a"; DROP', "1a"):
        with pytest.raises(InvalidInput):
            PostgresStore(pg_url, schema=name)


async def test_a_watch_is_the_same_however_its_numbers_are_written(pg_url: str) -> None:
    """Or one of a process with another version would be delivered to for ever.  R-STORE-13."""
    watch = Watch("w", "t", "web", {"bound": 1e16}, 0)
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        store = PostgresStore(pg_url)
        await store.open()
        stack.push_async_callback(store.close)
        await store.commit(commit_of(submitted("t"), watches=[watch]))
        for change, same in (
            ("UPDATE interlock.watch SET config = '{ }'", False),
            ("UPDATE interlock.watch SET config = '?'", False),
            ("UPDATE interlock.watch SET config = '{\"bound\": 1e16}'", True),
        ):
            await _execute(pg_url, change)
            assert await store.advance_watch(watch, replace(watch, cursor=1)) == same
        assert await store.watches("t") == [replace(watch, cursor=1)]


@pytest.mark.parametrize(("part", "version"), [("interlock", "99"), ("procrastinate", "99.00")])
async def test_a_newer_schema_is_refused(part: str, version: str, pg_url: str) -> None:
    """Ours or procrastinate's: whoever made it knows more than we do.  R-PG-09."""
    async with asyncio.timeout(60):
        store = PostgresStore(pg_url)
        await store.open()
        await store.close()
        await _set_version(pg_url, part, version)
        with pytest.raises(StoreTooNew, match=version):
            await store.open()
        with pytest.raises(StoreError, match="not open"):
            await store.get("t")


async def test_an_older_queue_is_brought_up_to_date(pg_url: str) -> None:
    """By procrastinate's own steps, those that it has not had yet.  R-PG-09."""
    folder = resources.files("procrastinate.sql").joinpath("migrations")
    steps = sorted(step.name for step in folder.iterdir() if step.name.endswith(".sql"))
    old = [name for name in steps if name < "03.02"]
    async with asyncio.timeout(60):
        await _execute(
            pg_url,
            "CREATE SCHEMA interlock",
            "SET search_path = interlock",
            "CREATE TABLE version (part text PRIMARY KEY, version text NOT NULL)",
            *(folder.joinpath(name).read_text(encoding="utf-8") for name in old),
        )
        await _set_version(pg_url, "interlock", "0")
        await _set_version(pg_url, "procrastinate", old[-1].removesuffix(".sql"))
        store = PostgresStore(pg_url)
        await store.open()
        try:
            assert await store.turns.waiting() == 0
        finally:
            await store.close()
        async with await psycopg.AsyncConnection.connect(pg_url) as db:
            rows = await (await db.execute("SELECT * FROM interlock.version")).fetchall()
            assert dict(rows) == {
                "interlock": str(len(schema.MIGRATIONS)),
                "procrastinate": steps[-1].removesuffix(".sql"),
            }


async def test_a_schema_that_may_not_be_made_is_told_of(pg_url: str) -> None:
    """At once, and nothing is left of it.  R-PG-09."""
    async with asyncio.timeout(60):
        await _execute(
            pg_url,
            "DROP ROLE IF EXISTS guest",
            "CREATE ROLE guest LOGIN",
            "REVOKE ALL ON SCHEMA public FROM guest",
        )
        store = PostgresStore(pg_url.replace("postgres@", "guest@"))
        with pytest.raises(StoreError, match="permission denied"):
            await store.open()
