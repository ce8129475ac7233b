"""Turns, handed out by procrastinate: a job for each that is wanted, locked by its task.

Which job is next, in which process, and that of one lock only one is out, is procrastinate's
doing.  What is added here is what its documentation leaves to the user: who counts as dead,
and what becomes of that one's jobs.

A process shows that it lives by a sign every `heartbeat_s`.  Who has been silent for longer
than `dead_after_s` loses its jobs to new ones in their place.  Others are judged only by a
process whose own signs have arrived all that time, since after an outage of the server
everybody has been silent.  The signs come from the event loop: an agent that blocks the loop
for too long makes its process look dead.  Its runs then go on elsewhere, and what it does
itself is refused (see `SharedStore`).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, LiteralString, TypeVar

import procrastinate
from procrastinate.connector import BaseAsyncConnector, Notify
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from procrastinate.worker import Worker
from psycopg.rows import dict_row

from interlock._phases import Phase
from interlock._record import Queued, TaskRecord
from interlock._shared import RunTurn
from interlock._store import TurnWanted
from interlock.errors import StoreCorrupt, StoreError
from interlock_adapters import _postgres_reader as reading
from interlock_adapters._postgres_clock import Hints, ServerClock
from interlock_adapters._postgres_pool import Connection, Pool, Raised, Unreachable
from interlock_adapters._postgres_reader import Notes
from interlock_adapters._postgres_writer import job_of, lock_of, task_of

T = TypeVar("T")

_log: Final = logging.getLogger("interlock.postgres")

QUEUE: Final = "interlock"
TURN: Final = "interlock.turn"
#: Seconds between two looks at the queue, besides those that a hint or an end gives rise to.
POLL_S: Final = 0.25
#: Seconds after which a run that raised is handed out again.
AGAIN_S: Final = 1.0
#: Seconds between two looks for tasks at work of which no turn is wanted.
WANT_AGAIN_S: Final = 60.0
#: Seconds without a sign after which a worker that has no job is forgotten.
_FORGET_S: Final = 3_600.0
#: So long a side task of procrastinate's waits whose work is done here.
_NEVER_S: Final = 1e9
_TASKS_AT_ONCE: Final = 500

_AT_WORK: Final = frozenset({Phase.SUBMITTED, Phase.RUNNING, Phase.CANCELLING})

_BEAT: Final[LiteralString] = (
    "UPDATE procrastinate_workers SET last_heartbeat = clock_timestamp() WHERE id = %s"
)
#: Who was forgotten is somebody new, and has what nobody else has taken since.
_RECLAIM: Final[LiteralString] = (
    "UPDATE procrastinate_jobs SET worker_id = %s"
    " WHERE id = ANY(%s::bigint[]) AND status = 'doing' AND worker_id IS NULL"
)
_ORPHANS: Final[LiteralString] = (
    "SELECT id FROM procrastinate_jobs WHERE worker_id = %s AND status = 'doing'"
)
_REPLACE: Final[LiteralString] = (
    "SELECT replace_turn_v1(%s, %s::jsonb, %s::int, %s::float8, %s::float8)"
)
_WANT: Final[LiteralString] = "SELECT want_turn_v1(%s, %s::jsonb, %s::int, %s::float8)"
_WANTED: Final[LiteralString] = (
    "SELECT lock FROM procrastinate_jobs"
    " WHERE lock = ANY(%s::text[]) AND status IN ('todo', 'doing')"
)
_WAITING: Final[LiteralString] = (
    "SELECT count(DISTINCT lock) FROM procrastinate_jobs AS job"
    " WHERE status = 'todo' AND queue_name = 'interlock'"
    " AND (scheduled_at IS NULL OR scheduled_at <= clock_timestamp())"
    " AND NOT EXISTS (SELECT FROM procrastinate_jobs AS other"
    " WHERE other.lock = job.lock AND other.status = 'doing')"
)
_FORGET: Final[LiteralString] = (
    "DELETE FROM procrastinate_workers AS worker"
    " WHERE last_heartbeat < clock_timestamp() - %s::float8 * interval '1 second'"
    " AND NOT EXISTS (SELECT FROM procrastinate_jobs"
    " WHERE worker_id = worker.id AND status = 'doing')"
)


class _Connector(BaseAsyncConnector):
    """Lets procrastinate use our connections, and our ear."""

    def __init__(self, pool: Pool, hints: Hints) -> None:
        self._pool: Final = pool
        self._hints: Final = hints

    async def open_async(self, pool: Any | None = None) -> None:  # noqa: ANN401  theirs
        """Nothing to do: the store opens and closes it."""
        del pool

    async def close_async(self) -> None:
        """Nothing to do."""

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:  # noqa: ANN401  theirs
        """Run it."""
        await self._rows(query, arguments)

    async def execute_query_one_async(
        self,
        query: LiteralString,
        **arguments: Any,  # noqa: ANN401  theirs
    ) -> dict[str, Any]:
        """Run it, for one row."""
        return (await self._rows(query, arguments))[0]

    async def execute_query_all_async(
        self,
        query: LiteralString,
        **arguments: Any,  # noqa: ANN401  theirs
    ) -> list[dict[str, Any]]:
        """Run it, for all rows."""
        return await self._rows(query, arguments)

    async def _rows(self, query: LiteralString, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        async def run(db: Connection) -> list[dict[str, Any]]:
            async with db.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(query, arguments)
                return [] if cursor.description is None else await cursor.fetchall()

        return await self._pool.once(run, "the queue of turns cannot be used")

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Pass on what the store's own listener hears of the queue, until cancelled."""
        stirred = asyncio.Event()
        self._hints.stir = stirred.set
        (channel,) = channels
        try:
            while True:
                await stirred.wait()
                stirred.clear()
                said = '{"type": "job_inserted", "job_id": 0}'
                await on_notification(channel=channel, payload=said)
        finally:
            self._hints.stir = None


class _Manager(JobManager):
    """What the worker asks for.  Nothing here raises: an outage must not end the worker."""

    def __init__(self, turns: "PostgresTurns", connector: _Connector) -> None:
        super().__init__(connector)
        self._turns: Final = turns

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """See there; none while the server is away, and none for who rests."""
        del worker_id  # It may have had to become another one.
        turns = self._turns
        if turns.is_resting:
            return None
        turns.fetching += 1
        try:
            job = await super().fetch_job(queues, turns.worker_id)
            if job is not None and job.id is not None:
                turns.held.add(job.id)
        except StoreError as error:
            # If one was fetched after all, the sweep finds it.
            _log.debug("no turn can be fetched: %s", error)
            return None
        finally:
            turns.fetching -= 1
        if job is not None and job.id is not None and turns.is_resting:
            await turns.give_back(job.id)
            return None
        return job

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001  theirs
        """Delete it, if it is still this process's; otherwise leave it to whoever has it."""
        assert job.id is not None
        if status is not Status.SUCCEEDED:
            # The event loop goes down.  It is handed out again when this process is gone.
            return
        await self._turns.insist(
            lambda: super(_Manager, self).finish_job(job, status, delete_job), job.id
        )

    async def list_jobs_to_abort_async(self, queue: str | None = None) -> Iterable[int]:
        """None: a turn is stopped by its task."""
        del queue
        return []

    async def register_worker(self) -> int:
        """It is registered already."""
        return self._turns.worker_id

    async def unregister_worker(self, worker_id: int) -> None:
        """Not before all is over."""

    async def update_heartbeat(self, worker_id: int) -> None:
        """Not here: the signs go on while it stops."""

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:
        """Not here: that is not for who has just come."""
        del seconds_since_heartbeat
        return []


class PostgresTurns:
    """`Turns` of a PostgreSQL store; made by it when it is opened."""

    def __init__(
        self,
        pool: Pool,
        clock: ServerClock,
        hints: Hints,
        *,
        heartbeat_s: float,
        dead_after_s: float,
        patience_s: float,
    ) -> None:
        self._pool: Final = pool
        self._clock: Final = clock
        self._hints: Final = hints
        self._heartbeat_s: Final = heartbeat_s
        self._dead_after_s: Final = dead_after_s
        self._patience_s: Final = patience_s
        self._connector: Final = _Connector(pool, hints)
        #: A connection of its own: a sign of life must not wait for a slow query.
        self._pulse = Pool(pool.place, 1)
        self._run: RunTurn | None = None
        self._worker: Worker | None = None
        self._working: asyncio.Task[None] | None = None
        self._helpers: list[asyncio.Task[None]] = []
        #: By the steady clock: when the last sign that arrived was sent, and since when all did.
        self._sign_at = float("-inf")
        self._well_since = float("inf")
        #: After it, what the server does not answer is given up.
        self._give_up_at = float("inf")
        self._suspects: frozenset[int] = frozenset()
        #: Who this process is for procrastinate.
        self.worker_id = 0
        #: Jobs that are out here.
        self.held: Final[set[int]] = set()
        #: How many fetches are under way.
        self.fetching = 0
        self.is_resting = False

    # --- its own life -----------------------------------------------------------------

    async def start(self, run: RunTurn, *, slots: int) -> None:
        """See `Turns.start`."""
        if self._working is not None:
            raise StoreError("turns are handed out to this store already")
        self._run = run
        self._pulse = Pool(self._pool.place, 1)
        self.is_resting = False
        self._give_up_at = self._well_since = float("inf")
        self._sign_at = float("-inf")
        await self._pool.ask(self._register, "no turns are handed out", patience_s=self._patience_s)
        app = procrastinate.App(connector=self._connector)
        manager = _Manager(self, self._connector)
        app.job_manager = manager
        app.task(name=TURN, queue=QUEUE, pass_context=True)(self._turn)
        self._worker = Worker(
            app=app,
            queues=[QUEUE],
            name="interlock",
            concurrency=slots,
            fetch_job_polling_interval=min(POLL_S, self._heartbeat_s),
            abort_job_polling_interval=_NEVER_S,
            delete_jobs="always",
            install_signal_handlers=False,
            update_heartbeat_interval=_NEVER_S,
        )
        self._working = asyncio.create_task(self._work(self._worker))
        self._helpers = [asyncio.create_task(self._live()), asyncio.create_task(self._sweep())]

    async def rest(self) -> None:
        """See `Turns.rest`."""
        self.is_resting = True

    async def stop(self) -> None:
        """See `Turns.stop`.  A server that is away is waited for no longer than for a request."""
        working, worker = self._working, self._worker
        if working is None or worker is None:
            return
        self.is_resting = True
        self._give_up_at = time.monotonic() + self._patience_s
        worker.stop()  # type: ignore[no-untyped-call]  # theirs
        await asyncio.shield(working)
        if self._working is not working:
            return  # Somebody else has waited for it, too.
        self._working = self._worker = None
        # To the last the process has shown that it lives.
        for helper in self._helpers:
            helper.cancel()
        await asyncio.gather(*self._helpers, return_exceptions=True)
        self._sign_at = float("-inf")
        with contextlib.suppress(StoreError):
            await self._pool.once(self._unregister, "it cannot be told that it is gone")
        await self._pulse.close()

    async def waiting(self) -> int:
        """See `Turns.waiting`."""

        async def count(db: Connection) -> int:
            row = await (await db.execute(_WAITING)).fetchone()
            return 0 if row is None else int(row[0])

        return await self._pool.ask(
            count, "the queue of turns cannot be read", patience_s=self._patience_s
        )

    def is_sure(self) -> bool:
        """See `Turns.is_sure`."""
        return time.monotonic() - self._sign_at < self._dead_after_s / 2

    async def _register(self, db: Connection) -> None:
        sent = time.monotonic()
        row = await (
            await db.execute("SELECT worker_id FROM procrastinate_register_worker_v1()")
        ).fetchone()
        assert row is not None
        self.worker_id = int(row[0])
        self._signed(sent)

    async def _unregister(self, db: Connection) -> None:
        await db.execute("SELECT procrastinate_unregister_worker_v1(%s)", (self.worker_id,))

    async def _work(self, worker: Worker) -> None:
        """Let the worker work; one that fails, which it should not, begins anew."""
        # `run` forgets that it was told to stop, if that was before it began.
        while self._give_up_at == float("inf"):
            try:
                await worker.run()  # type: ignore[no-untyped-call]  # theirs
            except Exception:  # noqa: BLE001  theirs
                _log.exception("the worker that hands out turns failed")
                await asyncio.sleep(AGAIN_S)

    # --- a turn -----------------------------------------------------------------------

    async def _turn(
        self,
        context: procrastinate.JobContext,
        *,
        task: str,
        epoch: int,
        not_before: float | None = None,
    ) -> None:
        """Run one, and see that it is handed on if it is not dealt with."""
        job_id, run = context.job.id, self._run
        assert job_id is not None
        assert run is not None
        wanted = TurnWanted(task_of(task), epoch, not_before)
        # The server's clock may be a little ahead of what we think it is.
        if not_before is not None:
            await asyncio.sleep(max(0.0, not_before - self._clock.now()))
        try:
            if await run(wanted):
                return
        except Exception:  # noqa: BLE001  whatever it was, the turn is not lost
            _log.exception("the turn of task %r failed; it is run again", wanted.task_id)
            await self.give_back(job_id, after_s=AGAIN_S)
            return
        await self.give_back(job_id, wanted)

    async def give_back(
        self, job_id: int, wanted: TurnWanted | None = None, *, after_s: float | None = None
    ) -> None:
        """Put a new job in the place of one that is out here: as it was, or as its task is now."""

        async def replace() -> None:
            now = self._clock.now()
            arguments: str | None = None
            priority: int | None = None
            at = None if after_s is None else now + after_s
            if wanted is not None:
                record = await self._present(wanted.task_id)
                epoch = wanted.epoch if record is None else record.epoch
                again = TurnWanted(wanted.task_id, epoch, wanted.not_before)
                _, arguments, priority, _ = job_of(again, now)
            elif at is not None:
                _, _, priority, _ = job_of(TurnWanted("", 0, at), now)

            async def swap(db: Connection) -> None:
                await db.execute(_REPLACE, (job_id, arguments, priority, at, None))

            await self._pool.once(swap, "a turn cannot be handed on")

        await self.insist(replace, job_id)

    async def _present(self, task_id: str) -> TaskRecord | None:
        try:
            return await self._pool.once(
                lambda db: reading.record(db, task_id), "a task cannot be read"
            )
        except StoreCorrupt:
            return None

    async def insist(self, action: Callable[[], Awaitable[object]], job_id: int) -> None:
        """Do it, however long the server is away; after that the job is not this process's."""
        pause_s = 0.05
        while True:
            try:
                await action()
                break
            except Raised:
                break  # Somebody else has taken it: this process was taken for dead.
            except Unreachable as error:
                if time.monotonic() >= self._give_up_at:
                    # Whoever goes on finds it with a worker that is silent.
                    _log.warning("job %d is left as it is: %s", job_id, error)
                    return
            except StoreError:
                _log.exception("job %d cannot be ended; it is tried again", job_id)
                if time.monotonic() >= self._give_up_at:
                    return
                pause_s = AGAIN_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_S)
        self.held.discard(job_id)
        if self._hints.stir is not None:
            # What waited behind it, here or elsewhere, can begin.
            self._hints.stir()

    # --- who lives --------------------------------------------------------------------

    def _signed(self, sent: float) -> None:
        """A sign of life arrived that was sent at this moment."""
        if sent - self._sign_at > self._dead_after_s / 2:
            self._well_since = sent
        self._sign_at = sent

    async def _live(self) -> None:
        """Show that this process lives, until cancelled."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            while True:
                try:
                    await self._pulse.once(
                        self._beat,
                        "no sign of life can be given",
                        answer_s=max(self._dead_after_s / 4, 0.5),
                    )
                    break
                except StoreError as error:
                    _log.debug("%s", error)
                await asyncio.sleep(min(self._heartbeat_s / 2, 0.25))

    async def _beat(self, db: Connection) -> None:
        sent = time.monotonic()
        found = await db.execute(_BEAT, (self.worker_id,))
        if found.rowcount:
            self._signed(sent)
            return
        _log.warning("this process was taken for dead; it goes on as another one")
        await self._register(db)
        await db.execute(_RECLAIM, (self.worker_id, list(self.held)))

    async def _sweep(self) -> None:
        """Look after what the dead have left, and what got lost, until cancelled."""
        want_again_at = time.monotonic()
        while True:
            try:
                if time.monotonic() >= want_again_at:
                    await self.want_again()
                    want_again_at = time.monotonic() + WANT_AGAIN_S
                    await self._pool.once(self._forget, "silent workers cannot be forgotten")
                await self._take_back()
                if self._is_fit_to_judge():
                    await self._judge()
            except StoreError as error:
                _log.debug("%s", error)
            await asyncio.sleep(min(self._heartbeat_s, 1.0))

    def _is_fit_to_judge(self) -> bool:
        """Whether others are silent of themselves, and not because the server was away."""
        now = time.monotonic()
        return self.is_sure() and now - self._well_since >= self._dead_after_s

    async def _judge(self) -> None:
        """Hand out again what the dead have."""
        stalled = await JobManager(self._connector).get_stalled_jobs(
            queue=QUEUE, seconds_since_heartbeat=self._dead_after_s
        )
        for job in stalled:
            if not self._is_fit_to_judge():
                return
            if job.id in self.held:
                continue  # Forgotten and not reclaimed yet: the next sign does that.

            async def replace(db: Connection, job_id: int | None = job.id) -> bool:
                values = (job_id, None, None, None, self._dead_after_s)
                row = await (await db.execute(_REPLACE, values)).fetchone()
                return row is not None and bool(row[0])

            if await self._pool.once(replace, "a turn cannot be handed on"):
                _log.warning(
                    "job %s is handed out again: worker %s is silent", job.id, job.worker_id
                )

    async def _take_back(self) -> None:
        """Put back what was fetched for this process and never arrived, seen twice so."""

        async def mine(db: Connection) -> list[int]:
            rows = await (await db.execute(_ORPHANS, (self.worker_id,))).fetchall()
            return [int(row[0]) for row in rows]

        if self.fetching:
            return
        found = frozenset(await self._pool.once(mine, "the queue of turns cannot be read"))
        if self.fetching:
            return
        lost = found - self.held
        for job_id in lost & self._suspects:
            _log.warning("job %d was fetched and never arrived; it is handed out again", job_id)
            await self.give_back(job_id)
        self._suspects = lost

    async def _forget(self, db: Connection) -> None:
        await db.execute(_FORGET, (max(_FORGET_S, 10 * self._dead_after_s),))

    async def want_again(self) -> None:
        """Want a turn of each task that is at work and of which nobody wants one.

        One that is just being dealt with may be among them; such a turn finds nothing to do.
        """
        after = ""
        while True:
            start = after

            async def at_work(db: Connection, start: str = start) -> list[TaskRecord]:
                return await reading.unfinished(db, Notes(), start, _TASKS_AT_ONCE)

            records = await self._pool.once(at_work, "tasks at work cannot be read")
            await self._want([record for record in records if record.phase in _AT_WORK])
            if len(records) < _TASKS_AT_ONCE:
                return
            after = records[-1].task_id

    async def _want(self, records: Sequence[TaskRecord]) -> None:
        """Want those of which there is no job."""
        by_lock = {lock_of(record.task_id): record for record in records}

        async def locks(db: Connection) -> set[str]:
            rows = await (await db.execute(_WANTED, (list(by_lock),))).fetchall()
            return {row[0] for row in rows}

        known = await self._pool.once(locks, "the queue of turns cannot be read")
        for lock, record in by_lock.items():
            if lock in known:
                continue
            _log.warning("nobody wants the turn of task %r; now it is wanted", record.task_id)
            details = record.details
            not_before = details.not_before if isinstance(details, Queued) else None
            job = job_of(TurnWanted(record.task_id, record.epoch, not_before), self._clock.now())

            async def want(db: Connection, job: reading.Row = job) -> None:
                await db.execute(_WANT, job)

            await self._pool.once(want, "a turn cannot be wanted")
