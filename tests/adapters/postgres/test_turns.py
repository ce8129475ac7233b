"""Who runs a turn, and what happens when that one dies.  R-PG-10 to R-PG-16; INVARIANTS I23, I24.

Processes that die are real ones, killed.  One that is only silent is a store whose signs of
life are held back.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import psycopg
import pytest
from procrastinate.jobs import Job, Status

from interlock.errors import StoreError
from interlock.stores import Commit, SharedStore, TurnWanted, shared
from interlock.testing._shared_contract import check_turns_of_the_dead_are_handed_out_again
from interlock.testing._store_contract import asked, commit_of, started, submitted
from interlock_adapters.postgres import PostgresStore
from interlock_adapters.postgres._clock import ServerClock
from interlock_adapters.postgres._pool import Unreachable
from interlock_adapters.postgres._queue import Manager
from interlock_adapters.postgres._turns import PostgresTurns
from interlock_adapters.postgres._writer import job_of, lock_of, task_of
from pg_server import PgServer

#: So that a death is noticed soon.
HEARTBEAT_S, DEAD_AFTER_S = 0.2, 1.2


def fast(url: str) -> PostgresStore:
    """A store that notices a death soon."""
    return PostgresStore(url, heartbeat_s=HEARTBEAT_S, dead_after_s=DEAD_AFTER_S)


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[PostgresStore]:
    """Such a store, open."""
    store = fast(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def wanting(task_id: str, *, not_before: float | None = None) -> Commit:
    """A task that waits, so that nobody else wants a turn of it, and one turn of it."""
    moves = [submitted(task_id)]
    moves.append(started(moves[-1], run_s=None))
    moves.append(asked(moves[-1], "k", due_s=1e6))
    record = moves[-1].record
    turn = TurnWanted(task_id, record.epoch, not_before)
    return replace(commit_of(*moves), turn=turn)


class Runs:
    """What was handed out here, each held until it is told what came of it."""

    def __init__(self) -> None:
        self.began: asyncio.Queue[tuple[TurnWanted, asyncio.Future[bool]]] = asyncio.Queue()

    async def run(self, wanted: TurnWanted) -> bool:
        """See `RunTurn`."""
        end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.began.put_nowait((wanted, end))
        return await end


async def sql(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Behind the back of the stores."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        await db.execute("SET search_path = interlock")
        cursor = await db.execute(statement.encode(), values)
        return await cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("task_id", ["t", "", "a\\b", "a\0b", "a\\0b", "\\", "🚂", "x" * 9_000])
def test_the_name_of_a_task_comes_back_from_its_job(task_id: str) -> None:
    """Whatever is in it; and no two share a lock.  R-PG-10."""
    lock, arguments, *_ = job_of(TurnWanted(task_id, 3), 1e9)
    assert "\0" not in lock
    assert len(lock) < 1_000
    assert lock == lock_of(task_id)
    assert '"epoch":3' in arguments
    name = task_id.replace("\\", "\\\\").replace("\0", "\\0")
    assert task_of(name) == task_id


def test_no_two_tasks_share_a_lock() -> None:
    """Also those whose names look alike when they are written otherwise.  R-PG-10."""
    names = ["a\0b", "a\\0b", "a\\\\0b", "a\\", "\\#", "x" * 9_000, "x" * 9_001]
    assert len({lock_of(name) for name in names}) == len(names)


async def test_what_is_not_open_hands_out_nothing(pg_url: str) -> None:
    """It is a shared store all the same, is not sure, and says what is wrong.  R-PG-10."""
    store = fast(pg_url)
    assert shared(store)
    assert not store.turns.is_sure()
    with pytest.raises(StoreError, match="not open"):
        await store.turns.start(Runs().run, slots=1)
    with pytest.raises(StoreError, match="not open"):
        await store.turns.waiting()
    await store.turns.rest()
    await store.turns.stop()


async def test_what_a_run_leaves_behind_is_handed_out_again(pg_url: str) -> None:
    """A run that was cancelled, and a job that is not to be understood.  R-PG-14."""
    async with asyncio.timeout(60), opened(pg_url) as store:
        tries: asyncio.Queue[TurnWanted] = asyncio.Queue()

        async def run(wanted: TurnWanted) -> bool:
            tries.put_nowait(wanted)
            if tries.qsize() == 1:
                raise asyncio.CancelledError
            return True

        await store.turns.start(run, slots=1)
        await store.commit(wanting("t"))
        await _until(lambda: tries.qsize() == 2)
        assert [tries.get_nowait().task_id for _ in range(2)] == ["t", "t"]
        await store.turns.stop()


async def test_what_is_wanted_now_goes_before_what_is_wanted_later(pg_url: str) -> None:
    """A cancel must not wait for the end of a back-off.  R-PG-11."""
    async with asyncio.timeout(60), opened(pg_url) as store:
        later = wanting("t", not_before=store.clock.now() + 3_600)
        await store.commit(later)
        assert await store.turns.waiting() == 0
        await sql(
            pg_url,
            "SELECT want_turn_v1(%s, %s::jsonb, %s, %s)",
            *job_of(TurnWanted("t", 9), store.clock.now()),
        )
        runs = Runs()
        await store.turns.start(runs.run, slots=2)
        wanted, end = await runs.began.get()
        assert wanted == TurnWanted("t", 9)
        end.set_result(True)
        await store.turns.stop()
        # It may begin again.
        await store.turns.start(runs.run, slots=2)
        await _until(store.turns.is_sure)
        await store.turns.stop()
        assert runs.began.empty()
        assert len(await sql(pg_url, "SELECT id FROM procrastinate_jobs")) == 1


async def test_a_turn_whose_time_has_come_by_the_servers_clock_alone_begins(pg_url: str) -> None:
    """Whoever runs it waits for ours, and can be told to rest.  R-PG-11."""
    async with asyncio.timeout(60), opened(pg_url) as store:
        at = store.clock.now() + 3_600
        await store.commit(wanting("t", not_before=at))
        await sql(pg_url, "UPDATE procrastinate_jobs SET scheduled_at = NULL")
        runs = Runs()
        await store.turns.start(runs.run, slots=1)
        wanted, end = await runs.began.get()
        assert wanted.not_before == at
        end.set_result(True)
        await store.turns.stop()


async def test_turns_of_the_dead_are_handed_out_again(pg_url: str) -> None:
    """Source: the docstring of `Turns`.  R-PG-12."""

    async def kill(store: SharedStore) -> None:
        assert isinstance(store, PostgresStore)
        session = store._opened()
        turns = store.turns
        turns.is_resting = True
        for helper in (*turns._helpers, *session.helpers):
            helper.cancel()
        # The system does that for a process that has died.
        await asyncio.gather(*turns._helpers, *session.helpers, return_exceptions=True)
        await turns._pulse.close()
        await session.pool.close()

    async with asyncio.timeout(60):
        await check_turns_of_the_dead_are_handed_out_again(lambda: fast(pg_url), kill)


_DIES = """
import asyncio, os, signal, sys
from interlock_adapters.postgres import PostgresStore
async def run(wanted):
    print(wanted.task_id, flush=True)
    await asyncio.Event().wait()
async def main():
    store = PostgresStore(sys.argv[1], heartbeat_s=0.2, dead_after_s=1.2)
    await store.open()
    await store.turns.start(run, slots=2)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_turns_of_a_killed_process_are_handed_out_again(pg_url: str) -> None:
    """By kill -9, with nobody else alive until then; what waited behind comes after.  R-PG-12."""
    async with asyncio.timeout(60), opened(pg_url) as store:
        await store.commit(wanting("t"))
        await sql(
            pg_url,
            "SELECT want_turn_v1(%s, %s::jsonb, %s, %s)",
            *job_of(TurnWanted("t", 7), store.clock.now() + 5),
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _DIES, pg_url, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"t\n"
        finally:
            process.kill()
            await process.wait()
        runs = Runs()
        await store.turns.start(runs.run, slots=2)
        for epoch in (1, 7):
            wanted, end = await runs.began.get()
            assert wanted == TurnWanted("t", epoch)
            end.set_result(True)
        await store.turns.stop()


async def test_who_was_taken_for_dead_does_no_harm(pg_url: str, caplog: Any) -> None:  # noqa: ANN401
    """When it wakes up it ends what is not its any more: the new job stays.  R-PG-13."""
    async with asyncio.timeout(60), opened(pg_url) as zombie, opened(pg_url) as other:
        asleep, awake = Runs(), Runs()
        await zombie.turns.start(asleep.run, slots=2)
        await zombie.commit(wanting("t"))
        _, old_end = await asleep.began.get()
        # It sleeps: no sign of life, nothing fetched.
        turns = zombie.turns
        turns.is_resting = True
        turns._helpers[0].cancel()
        await other.turns.start(awake.run, slots=2)
        wanted, end = await awake.began.get()
        assert wanted == TurnWanted("t", 1)
        assert not turns.is_sure()
        (job,) = await sql(pg_url, "SELECT id, status::text FROM procrastinate_jobs")
        # It wakes up, and thinks that it is done; then, that somebody else must go on.
        old_end.set_result(True)
        await turns.stop()
        assert await sql(pg_url, "SELECT id, status::text FROM procrastinate_jobs") == [job]
        end.set_result(True)
        await other.turns.stop()
        assert await sql(pg_url, "SELECT id FROM procrastinate_jobs") == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_nobody_is_judged_by_who_has_just_come(pg_url: str) -> None:
    """After an outage everybody has been silent: that says nothing yet.  R-PG-16."""
    async with asyncio.timeout(60):
        one, two = (PostgresStore(pg_url, heartbeat_s=5.0, dead_after_s=12.0) for _ in range(2))
        await one.open()
        await two.open()
        try:
            here, there = Runs(), Runs()
            await one.turns.start(here.run, slots=1)
            await one.commit(wanting("t"))
            _, end = await here.began.get()
            await sql(pg_url, "UPDATE procrastinate_workers SET last_heartbeat = '2020-01-01'")
            await two.turns.start(there.run, slots=1)
            # It has looked at the others by then, and more than once.
            await _later(two, 2.5)
            assert there.began.empty()
            assert len(await sql(pg_url, "SELECT id FROM procrastinate_jobs")) == 1
            end.set_result(True)
        finally:
            await two.close()
            await one.close()


async def test_a_process_that_was_forgotten_goes_on_as_another(pg_url: str) -> None:
    """Its row is gone: what it has stays its, and it fetches on.  R-PG-13."""
    async with asyncio.timeout(60), opened(pg_url) as store:
        runs = Runs()
        await store.turns.start(runs.run, slots=2)
        await store.commit(wanting("t"))
        _, end = await runs.began.get()
        was = store.turns.worker_id
        await sql(pg_url, "DELETE FROM procrastinate_workers")
        await _until(lambda: store.turns.worker_id != was)
        await store.commit(wanting("u"))
        wanted, other_end = await runs.began.get()
        assert wanted.task_id == "u"
        # By now anybody would have been judged.
        await asyncio.wait_for(_later(store, 2 * DEAD_AFTER_S), 60)
        assert runs.began.empty()
        end.set_result(True)
        other_end.set_result(True)
        await store.turns.stop()
        assert await sql(pg_url, "SELECT id FROM procrastinate_jobs") == []


async def _until(what: Callable[[], bool]) -> None:
    while not what():  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0)


async def _later(store: PostgresStore, after_s: float) -> None:
    over = asyncio.Event()
    store.clock.call_later(after_s, over.set)
    await over.wait()


async def test_what_was_fetched_and_never_arrived_is_handed_out(pg_url: str) -> None:
    """The answer to the fetch was lost: its job is out where nobody has it.  R-PG-14."""
    async with asyncio.timeout(60), opened(pg_url) as store:
        runs = Runs()
        await store.turns.start(runs.run, slots=2)
        await sql(
            pg_url,
            "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args, status, worker_id)"
            " VALUES ('interlock', 'interlock.turn', 't', '{\"task\": \"t\", \"epoch\": 4}',"
            " 'doing', %s)",
            store.turns.worker_id,
        )
        wanted, end = await runs.began.get()
        assert wanted == TurnWanted("t", 4)
        end.set_result(True)
        await store.turns.stop()


async def test_a_turn_that_is_not_dealt_with_goes_on_from_where_it_is(pg_url: str) -> None:
    """False: it is handed on with the epoch that the task has by then.  R-PG-15."""
    async with asyncio.timeout(60), opened(pg_url) as one, opened(pg_url) as two:
        here, there = Runs(), Runs()
        await one.turns.start(here.run, slots=1)
        first = submitted("t")
        await one.commit(replace(commit_of(first), turn=TurnWanted("t", 0)))
        wanted, end = await here.began.get()
        assert wanted == TurnWanted("t", 0)
        await one.commit(commit_of(started(first)))
        await one.turns.rest()
        await two.turns.start(there.run, slots=1)
        end.set_result(False)
        wanted, end = await there.began.get()
        assert wanted == TurnWanted("t", 1)
        end.set_result(True)
        await one.turns.stop()
        await two.turns.stop()


async def test_a_turn_that_was_not_taken_up_goes_behind_those_that_wait(pg_url: str) -> None:
    """However old it is: a replica without its agent does other work meanwhile.  R-PG-15."""
    async with asyncio.timeout(60), opened(pg_url) as store:
        begun: asyncio.Queue[str] = asyncio.Queue()

        async def run(wanted: TurnWanted) -> bool | None:
            begun.put_nowait(wanted.task_id)
            return None if wanted.task_id == "old" else True

        await store.commit(wanting("old"))
        await sql(pg_url, "UPDATE procrastinate_jobs SET priority = priority + 100")
        await store.commit(wanting("new"))
        await store.turns.start(run, slots=1)
        assert [await begun.get() for _ in range(3)] == ["old", "new", "old"]
        await store.turns.stop()


async def test_runs_go_on_while_the_server_is_away(own_pg_server: PgServer) -> None:
    """Neither cancelled nor handed out twice; nobody is taken for dead.  R-PG-16."""
    url = own_pg_server.create()
    async with asyncio.timeout(60), opened(url) as one, opened(url) as two:
        here, there = Runs(), Runs()
        await one.turns.start(here.run, slots=4)
        for task_id in ("a", "b", "c"):
            await one.commit(wanting(task_id))
        ends = [(await here.began.get())[1] for _ in range(3)]
        await two.turns.start(there.run, slots=4)
        await _until(lambda: one.turns.is_sure() and two.turns.is_sure())
        await asyncio.to_thread(own_pg_server.stop_immediately)
        # Longer than anybody may be silent.
        await _later(one, 1.5 * DEAD_AFTER_S)
        assert not one.turns.is_sure()
        # One ends while nobody can be told of it.
        ends[0].set_result(True)
        await asyncio.to_thread(own_pg_server.start)
        await _until(lambda: one.turns.is_sure() and two.turns.is_sure())
        await _later(one, 2 * DEAD_AFTER_S)
        assert not any(end.cancelled() for end in ends)
        assert here.began.empty()
        assert there.began.empty()
        # And everything goes on.
        await two.commit(wanting("d"))
        waits: list[Awaitable[Any]] = [here.began.get(), there.began.get()]
        gets = [asyncio.ensure_future(wait) for wait in waits]
        done, late = await asyncio.wait(gets, return_when=asyncio.FIRST_COMPLETED)
        (wanted, end), *_ = [get.result() for get in done]
        assert wanted.task_id == "d"
        for get in late:
            get.cancel()
        for each in (*ends[1:], end):
            each.set_result(True)
        await one.turns.stop()
        await two.turns.stop()
        assert await sql(url, "SELECT id FROM procrastinate_jobs") == []


async def stopped_in_an_outage(
    server: PgServer, url: str, runs: Runs, *, done: bool
) -> PostgresStore:
    """A store that was closed while a turn of it was out and the server away, which is back."""
    store = PostgresStore(url, heartbeat_s=HEARTBEAT_S, dead_after_s=DEAD_AFTER_S, patience_s=0.5)
    await store.open()
    await store.turns.start(runs.run, slots=1)
    await store.commit(wanting("t"))
    _, end = await runs.began.get()
    await asyncio.to_thread(server.stop)
    end.set_result(done)
    await store.close()
    await asyncio.to_thread(server.start)
    return store


async def test_stopping_ends_though_the_server_is_away(own_pg_server: PgServer) -> None:
    """After the patience of a request; what was out is found by whoever is left.  R-PG-16."""
    url = own_pg_server.create()
    async with asyncio.timeout(60):
        await stopped_in_an_outage(own_pg_server, url, Runs(), done=True)
        again = Runs()
        async with opened(url) as other:
            await other.turns.start(again.run, slots=1)
            wanted, end = await again.began.get()
            assert wanted == TurnWanted("t", 1)
            end.set_result(True)
            await other.turns.stop()


async def test_a_store_that_was_stopped_while_the_server_was_away_finds_its_turns(
    own_pg_server: PgServer,
) -> None:
    """The very same object, opened again: they are a dead process's like any other.  R-PG-16."""
    url = own_pg_server.create()
    async with asyncio.timeout(60):
        runs = Runs()
        store = await stopped_in_an_outage(own_pg_server, url, runs, done=False)
        await store.open()
        await store.turns.start(runs.run, slots=1)
        wanted, end = await runs.began.get()
        assert wanted == TurnWanted("t", 1)
        end.set_result(True)
        await store.turns.stop()
        await store.close()


async def test_what_cannot_be_handed_on_any_more_is_not_held(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor is it ended: whoever goes on finds it with a worker that is silent.  R-PG-16."""
    turns = PostgresTurns(ServerClock(), heartbeat_s=1.0, dead_after_s=10.0, patience_s=0.0)
    turns.held.add(7)
    turns._give_up_at = float("-inf")

    async def away() -> None:
        raise Unreachable("the server is away")

    await turns.insist(away, 7)
    assert "job 7 is left as it is" in caplog.text
    assert turns.held == set()
    # Of nobody's, so nothing is asked of the store, which is not even open.
    manager = Manager(turns, cast("Any", None))
    job = Job(id=7, queue="interlock", lock="t", queueing_lock=None, task_name="interlock.turn")
    await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
