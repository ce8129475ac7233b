"""Turns, handed out by procrastinate: a job for each that is wanted, locked by its task.

Which job is next, in which process, and that of one lock only one is out, is procrastinate's
doing.  What is added here is what its documentation leaves to the user: who counts as dead,
and what becomes of that one's jobs.

A process shows that it lives by a sign every `heartbeat_s`.  Who has been silent for longer
than `dead_after_s` loses its jobs to new ones in their place.  Others are judged only by a
process whose own signs have arrived all that time, since after an outage of the server
everybody has been silent.  The signs come from the event loop: an agent that blocks the loop
for too long makes its process look dead.  Its runs then go on elsewhere, and what it does
itself is refused (see `SharedStore`).  The module is long because handing out, handing on and
judging are about the same few jobs, and go wrong together.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, LiteralString, TypeVar

import procrastinate
from procrastinate.manager import JobManager
from procrastinate.worker import Worker

from interlock import TaskRecord
from interlock._phases import AT_WORK
from interlock._record import Queued
from interlock.errors import StoreCorrupt, StoreError
from interlock.stores import RunTurn, TurnWanted
from interlock_adapters.postgres import _reader as reading
from interlock_adapters.postgres._clock import Hints, ServerClock, was_cancelled
from interlock_adapters.postgres._pool import Connection, Pool, Raised, Unreachable
from interlock_adapters.postgres._queue import Connector, Manager
from interlock_adapters.postgres._reader import Notes
from interlock_adapters.postgres._writer import job_of, lock_of, task_of

T = TypeVar("T")

_log: Final = logging.getLogger("interlock.postgres")

QUEUE: Final = "interlock"
TURN: Final = "interlock.turn"
#: Seconds between two looks at the queue, besides those that a hint or an end gives rise to.
POLL_S: Final = 0.25
#: Seconds after which a run that raised is handed out again.
AGAIN_S: Final = 1.0
#: Seconds until one that was not taken up here is handed out again: to somebody else, rather.
PASSED_ON_S: Final = 0.1
#: Seconds that the server's clock may be ahead of ours for a turn to wait here for its time.
_AHEAD_S: Final = 0.25
#: Seconds between two looks for tasks at work of which no turn is wanted.
WANT_AGAIN_S: Final = 60.0
#: Seconds without a sign after which a worker that has no job is forgotten.
_FORGET_S: Final = 3_600.0
#: Seconds between two runs of a side task of procrastinate's that is not wanted: its work is done
#: here.
_NEVER_S: Final = 1e9
_TASKS_AT_ONCE: Final = 500


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
    " WHERE status = 'todo' AND queue_name = 'interlock' AND priority >= %s"
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


class PostgresTurns:
    """`Turns` of a PostgreSQL store, to be used while that is open."""

    def __init__(
        self, clock: ServerClock, *, heartbeat_s: float, dead_after_s: float, patience_s: float
    ) -> None:
        self._clock: Final = clock
        self._heartbeat_s: Final = heartbeat_s
        self._dead_after_s: Final = dead_after_s
        self._patience_s: Final = patience_s
        self._opened: tuple[Pool, Hints] | None = None
        #: A connection of its own: a sign of life must not wait for a slow query.
        self._pulse: Pool
        self._run: RunTurn | None = None
        self._worker: Worker | None = None
        self._working: asyncio.Task[None] | None = None
        self._helpers: list[asyncio.Task[None]] = []
        #: By the steady clock: when the last sign that arrived was sent, and since when all did.
        self._sign_at = float("-inf")
        self._well_since = float("inf")
        #: Jobs that were out here while no sign arrived: somebody else may have them since.
        self._doubtful: frozenset[int] = frozenset()
        #: After it, what the server does not answer is given up.
        self._give_up_at = float("inf")
        self._suspects: frozenset[int] = frozenset()
        #: Tasks at work that cannot be read, so that each is told of once.
        self._notes: Final = Notes()
        #: Who this process is for procrastinate.
        self.worker_id: int = 0
        #: Jobs that are out here.
        self.held: set[int] = set()
        #: How many fetches are under way.
        self.fetching = 0
        self.is_resting: bool = False

    # --- its own life -----------------------------------------------------------------

    def use(self, opened: tuple[Pool, Hints] | None) -> None:
        """The store was opened, with these; or, with None, closed."""
        self._opened = opened
        self.is_resting = False

    @property
    def _pool(self) -> Pool:
        if self._opened is None:
            raise StoreError("the store that hands out turns is not open")
        return self._opened[0]

    @property
    def _hints(self) -> Hints | None:
        return None if self._opened is None else self._opened[1]

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
        connector = self._connector()
        app = procrastinate.App(connector=connector)
        app.job_manager = Manager(self, connector)
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
        self.is_resting = True
        working, worker = self._working, self._worker
        if working is None or worker is None:
            return
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
            # Those that are to begin later need not even be looked at.
            _, _, least, _ = job_of(TurnWanted("", 0, self._clock.now() + 1.0), 0.0)
            row = await (await db.execute(_WAITING, (least,))).fetchone()
            return 0 if row is None else int(row[0])

        return await self._pool.ask(
            count, "the queue of turns cannot be read", patience_s=self._patience_s
        )

    def is_sure(self) -> bool:
        """See `Turns.is_sure`."""
        return self._is_heard() and self._doubtful.isdisjoint(self.held)

    def _is_heard(self) -> bool:
        """Whether a sign of life arrived lately."""
        return time.monotonic() - self._sign_at < self._dead_after_s / 2

    def _connector(self) -> Connector:
        if self._opened is None:
            raise StoreError("the store that hands out turns is not open")
        return Connector(*self._opened)

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
        # The server's clock may be a little ahead of what we think it is.  If it is further ahead,
        # ours will be set right: whoever runs the turn waits for that, and can be told to rest.
        if not_before is not None:
            await asyncio.sleep(min(max(0.0, not_before - self._clock.now()), _AHEAD_S))
        try:
            over = await run(wanted)
        except Exception:  # noqa: BLE001  whatever it was, the turn is not lost
            _log.exception("the turn of task %r failed; it is run again", wanted.task_id)
            await self.give_back(job_id, after_s=AGAIN_S)
            return
        if over is None:
            # As it was, but behind those that wait: else it would come straight back here.
            await self.give_back(job_id, after_s=PASSED_ON_S)
        elif not over:
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
        try:
            await self._done_at_last(action, job_id)
        finally:
            # Also where it is left as it is: who is opened again is to find it, like anybody.
            self.held.discard(job_id)
        hints = self._hints
        if hints is not None and hints.stir is not None:
            # What waited behind it can begin; elsewhere that is seen at the next look.
            hints.stir()

    async def _done_at_last(self, action: Callable[[], Awaitable[object]], job_id: int) -> None:
        pause_s = 0.05
        while True:
            try:
                await action()
            except Raised:
                return  # Somebody else has taken it: this process was taken for dead.
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
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_S)

    # --- who lives --------------------------------------------------------------------

    def _signed(self, sent: float) -> None:
        """A sign of life arrived that was sent at this moment."""
        gap_s = sent - self._sign_at
        if gap_s > self._dead_after_s / 2:
            self._well_since = sent
            if gap_s < float("inf"):
                self._doubtful = frozenset(self.held)
        self._sign_at = sent

    async def _live(self) -> None:
        """Show that this process lives, until cancelled."""
        while not was_cancelled():
            await asyncio.sleep(self._heartbeat_s)
            while not was_cancelled():
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
        while not was_cancelled():
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
        return self._is_heard() and now - self._well_since >= self._dead_after_s

    async def _judge(self) -> None:
        """Hand out again what the dead have."""
        stalled = await JobManager(self._connector()).get_stalled_jobs(
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
        doubtful = self._doubtful
        found = frozenset(await self._pool.once(mine, "the queue of turns cannot be read"))
        if self._doubtful is doubtful:
            self._doubtful -= found  # Whoever had taken them would have put others in their place.
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
                return await reading.unfinished(db, self._notes, start, _TASKS_AT_ONCE)

            records = await self._pool.once(at_work, "tasks at work cannot be read")
            await self._want(
                [r for r in records if r.phase in AT_WORK or isinstance(r.details, Queued)]
            )
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
