"""The server goes away, or the way to it is cut: nothing is lost, done twice, or left unknown.

R-PG-04, R-PG-05, R-PG-06; INVARIANTS I17, I18.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from interlock._machine import Move
from interlock.errors import Conflict, InvalidInput, StoreError
from interlock.stores import Claim, TokenTaken, Watch
from interlock.testing._store_contract import claim_of, commit_of, started, submitted, whole_life
from interlock_adapters.postgres import PostgresStore
from pg_server import PgServer
from pg_wire import Cut, Wire


@pytest.mark.parametrize("how", [Cut.REQUEST, Cut.ANSWER])
async def test_a_commit_that_lost_its_connection_is_made_once(how: Cut, pg_url: str) -> None:
    """Whether or not the server had made it by then: it returns, and it is there.  R-PG-04."""
    move = submitted("victim", token="m1")  # noqa: S106  an idempotency token
    claim, watch = claim_of(move), Watch("w", "victim", "web", {}, 0)
    async with asyncio.timeout(60), Wire(pg_url).open() as wire:
        store = PostgresStore(wire.url)
        await store.open()
        try:
            wire.cut(b"victim", how)
            await store.commit(commit_of(move, claims=[claim], watches=[watch]))
            assert wire.is_cut.is_set()
            wire.cut(b"victim", how)
            await store.commit(commit_of(started(move)))
            assert [event.seq for event in await store.events("victim")] == [1, 2]
            assert await store.verify() == []
        finally:
            await store.close()


@pytest.mark.parametrize("how", [Cut.REQUEST, Cut.ANSWER])
async def test_a_refused_commit_that_lost_its_connection_is_refused(how: Cut, pg_url: str) -> None:
    """A conflict and a taken token stay what they are.  R-PG-04."""
    first = submitted("first", token="m1")  # noqa: S106
    async with asyncio.timeout(60), Wire(pg_url).open() as wire:
        store = PostgresStore(wire.url)
        await store.open()
        try:
            await store.commit(commit_of(first, claims=[claim_of(first)]))
            wire.cut(b"first", how)
            with pytest.raises(Conflict):
                await store.commit(commit_of(first))
            wire.cut(b"second", how)
            late = commit_of(submitted("second"), claims=[Claim("ada", "m1", "second", "d")])
            with pytest.raises(TokenTaken) as caught:
                await store.commit(late)
            assert caught.value.claim == claim_of(first)
            assert await store.get("second") is None
        finally:
            await store.close()


async def test_a_commit_that_arrives_late_is_void(pg_url: str) -> None:
    """What was still on its way when it was decided about does nothing any more.  R-PG-04."""
    move = submitted("victim")
    async with asyncio.timeout(60), Wire(pg_url).open() as wire:
        store = PostgresStore(wire.url, patience_s=0.0)
        await store.open()
        try:
            wire.cut(b"victim", Cut.LATE)
            with pytest.raises(StoreError, match="cannot be written"):
                await store.commit(commit_of(move))
            assert await store.get("victim") is None
            wire.let_go.set()
            await wire.has_arrived.wait()
            assert await store.get("victim") is None
            await store.commit(commit_of(move))
            assert len(await store.events("victim")) == 1
        finally:
            await store.close()


async def test_connections_that_are_cut_are_made_again(pg_url: str) -> None:
    """All at once, while commits, reads and hints are under way.  R-PG-05."""
    async with asyncio.timeout(60):
        store, other = PostgresStore(pg_url), PostgresStore(pg_url)
        await store.open()
        await other.open()
        try:
            async with await psycopg.AsyncConnection.connect(pg_url, autocommit=True) as knife:
                for round_ in range(5):
                    lives = [whole_life(f"r{round_} t{number}") for number in range(20)]
                    async with asyncio.TaskGroup() as group:
                        for moves in lives:
                            group.create_task(_live(store, moves))
                        group.create_task(_cut_all(knife))
                    for moves in lives:
                        found = await other.events(moves[0].record.task_id)
                        assert found == [move.event for move in moves]
            heard = asyncio.Event()
            other.on_hint(lambda _: heard.set())
            for number in range(1_000):
                await store.commit(commit_of(submitted(f"hint {number}")))
                if heard.is_set():
                    break
            await heard.wait()
            assert await store.verify() == []
        finally:
            await other.close()
            await store.close()


async def _live(store: PostgresStore, moves: Sequence[Move]) -> None:
    for move in moves:
        await store.commit(commit_of(move))


async def _cut_all(knife: psycopg.AsyncConnection[Any]) -> None:
    await knife.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def test_a_restart_of_the_server_is_survived(own_pg_server: PgServer) -> None:
    """Stopped as by a power failure, in the middle of commits, and started again.  R-PG-05."""
    url = own_pg_server.create()
    lives = [whole_life(f"t{number}") for number in range(40)]
    async with asyncio.timeout(60):
        store = PostgresStore(url, patience_s=30.0)
        await store.open()
        try:
            async with asyncio.TaskGroup() as group:
                for moves in lives:
                    group.create_task(_live(store, moves))
                for stop in (own_pg_server.stop_immediately, own_pg_server.stop):
                    await asyncio.to_thread(stop)
                    await asyncio.to_thread(own_pg_server.start)
            for moves in lives:
                found = await store.events(moves[0].record.task_id)
                assert found == [move.event for move in moves]
            assert await store.verify() == []
        finally:
            await store.close()


async def test_a_server_that_stays_away_is_told_of(own_pg_server: PgServer) -> None:
    """With a `StoreError`, not for ever; when it is back, all is well.  R-PG-05."""
    async with asyncio.timeout(60):
        store = PostgresStore(own_pg_server.create(), patience_s=0.3, decide_s=0.6)
        await store.open()
        try:
            await store.commit(commit_of(submitted("t")))
            await asyncio.to_thread(own_pg_server.stop)
            with pytest.raises(StoreError):
                await store.commit(commit_of(started(submitted("t"))))
            with pytest.raises(StoreError):
                await store.get("t")
            await asyncio.to_thread(own_pg_server.start)
            await store.commit(commit_of(started(submitted("t"))))
            assert len(await store.events("t")) == 2
        finally:
            await store.close()


async def test_who_is_cancelled_has_still_committed(pg_url: str) -> None:
    """What was begun is finished, whoever waits for it.  R-PG-06."""
    async with asyncio.timeout(60):
        store = PostgresStore(pg_url)
        await store.open()
        waiting = asyncio.ensure_future(store.commit(commit_of(submitted("t"))))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await store.close()
        await store.open()
        assert await store.get("t") is not None
        await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:s3cret@127.0.0.1:1/tasks",
        "postgresql://ada:s3cret%zz@127.0.0.1:1/tasks",
        "postgresql://ada:p@s3cret@127.0.0.1:1/tasks",
        "host=127.0.0.1 port=1 password=s3cret nonsense=1",
        "host=127.0.0.1 port=1 password=s3cret options='-c foo",
    ],
)
async def test_the_password_is_shown_nowhere(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in an error, nor its cause, nor a log, nor `repr`.  R-PG-07; INVARIANTS I40."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with asyncio.timeout(60):
        try:
            store = PostgresStore(url)
            said.append(repr(store))
            await store.open()
        except (InvalidInput, StoreError) as error:
            seen: BaseException | None = error
            while seen is not None:
                said += [str(seen), repr(seen)]
                seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
        else:
            raise AssertionError("there is no such server")
    assert "s3cret" not in "\n".join([*said, caplog.text])
