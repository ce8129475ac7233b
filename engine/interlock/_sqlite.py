"""The store in a SQLite file: one machine, one process, nothing lost.

Everything that is written goes through one thread in batches (`_sqlite_writer`), so that
many tasks share one wait for the disk; everything that is read is read by others.
Nothing here waits on the event loop.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from interlock import _sqlite_reader as reading
from interlock import _sqlite_verify as verifying
from interlock._event import Event
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._phases import Phase
from interlock._record import TaskRecord
from interlock._sqlite_batch import (
    AdvanceWatch,
    CommitJob,
    DropWatch,
    Job,
    Outcome,
    Purge,
    PutWatch,
)
from interlock._sqlite_reader import Note, Readers
from interlock._sqlite_writer import Writer
from interlock._store import Claim, Commit, TaskPage, TaskQuery, Watch
from interlock.errors import StoreCorrupt, StoreError, Unstorable

T = TypeVar("T")
P = ParamSpec("P")

#: A batch is written once the event loop went round so often without another job.  A busy
#: loop brings more of them: 3 rounds halve the processor time of a commit at 16 clients,
#: and cost an idle loop some 30 microseconds.  One who is alone is not made to wait so long.
QUIET_ROUNDS: Final = 3
#: Or once it went round so often at all.
ROUNDS_MAX: Final = 12
#: Or once there are so many: more would hardly be cheaper.
ENOUGH_JOBS: Final = 64
#: Jobs in one transaction: those behind have to wait for all of it.
BATCH_JOBS_MAX: Final = 512


class _Session:
    """The store while it is open: the jobs that wait, the writer, the readers.

    One batch is in the making while one is being written.
    """

    def __init__(self, path: Path) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self.readers: Final = Readers(path)
        self.writer: Final = Writer(path, on_written=self._written, on_stop=self.readers.close)
        self._jobs: list[Job] = []
        #: A batch is being gathered or written.
        self._busy = False
        self._seen = self._quiet = self._rounds = 0
        #: The last batch was one job: whoever it is for is likely to be alone again.
        self._alone = False

    def add(self, job: Job) -> None:
        """Write it with the next batch."""
        self._jobs.append(job)
        if not self._busy:
            self._gather()

    def stop(self) -> asyncio.Future[None]:
        """Write what waits, then let go; done when that is."""
        if self._jobs:
            self.writer.put(self._jobs)
            self._jobs = []
        self.writer.stop()
        return self.writer.closed

    def _gather(self) -> None:
        self._busy = True
        self._seen = self._quiet = self._rounds = 0
        self._loop.call_soon(self._round)

    def _round(self) -> None:
        """Write the jobs, unless it pays to see what the next round of the loop brings."""
        count = len(self._jobs)
        self._rounds += 1
        self._quiet = self._quiet + 1 if count == self._seen else 0
        self._seen = count
        wanted = 0 if self._alone and count == 1 else QUIET_ROUNDS
        if self._quiet < wanted and self._rounds < ROUNDS_MAX and count < ENOUGH_JOBS:
            self._loop.call_soon(self._round)
            return
        batch, self._jobs = self._jobs[:BATCH_JOBS_MAX], self._jobs[BATCH_JOBS_MAX:]
        self._alone = len(batch) == 1
        self.writer.put(batch)

    def _written(self, outcomes: list[Outcome]) -> None:
        for done, outcome in outcomes:
            # Who was cancelled while waiting does not care; it is written all the same.
            if done.done():
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)
        self._busy = False
        if self._jobs:
            self._gather()


def _seen(done: asyncio.Future[None]) -> None:
    """Nobody waits for what became of it any more."""
    if not done.cancelled():
        done.exception()


class SqliteStore:
    """Keeps tasks in a SQLite file, durably.

    Beside it lie a lock file and, while it is open, the log of changes.  To be used in the
    event loop in which it was opened.  A commit whose caller is cancelled while waiting is
    written nevertheless.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name the file; `open` makes it if need be, but not its directory."""
        self._path: Final = Path(path).absolute()
        self._session: _Session | None = None
        self._closed: asyncio.Future[None] | None = None
        #: Of a session that was told to stop: it may hold the file until its thread has ended.
        self._left: Writer | None = None

    async def open(self) -> None:
        """See `Store.open`.

        Raises:
            StoreTooNew: a newer version wrote it.
            StoreLocked: somebody has it open, maybe this very object.
            StoreCorrupt: it is no database, or not one of ours.
            StoreError: it cannot be opened, or lies on a network file system.
        """
        if self._left is not None:
            # Somebody was cut off while it was opened or closed, maybe in another event loop.
            await asyncio.to_thread(self._left.join)
            self._left = self._closed = None
        session = _Session(self._path)
        session.writer.start()
        try:
            await asyncio.shield(session.writer.opened)
        except asyncio.CancelledError:
            session.writer.opened.add_done_callback(_seen)
            session.stop()
            self._left = session.writer
            raise
        self._session = session

    async def close(self) -> None:
        """See `Store.close`."""
        session, self._session = self._session, None
        if session is not None:
            self._closed = session.stop()
            self._left = session.writer
        if self._closed is None:
            return
        if session is not None and self._closed.get_loop().is_closed():
            # That loop hears of nothing any more.
            self._closed = None
            await asyncio.to_thread(session.writer.join)
            self._left = None
            return
        # Others may be waiting for the same end.
        await asyncio.shield(self._closed)
        self._closed = None
        if session is not None:
            session.writer.join()
            self._left = None

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        await self._write(partial(CommitJob.of, commit))

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        return await self._read(reading.record, task_id)

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        return await self._read(reading.events, task_id, after, limit)

    async def page(self, query: TaskQuery) -> TaskPage:
        """See `Store.page`."""
        return await self._list(reading.page, query)

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """See `Store.counts`."""
        return await self._read(reading.counts, query)

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """See `Store.unfinished`."""
        return await self._list(reading.unfinished, after, limit)

    async def open_tasks(self, owner: str) -> int:
        """See `Store.open_tasks`."""
        return await self._read(reading.open_tasks, owner)

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """See `Store.due`."""
        return await self._list(reading.due, now, after, limit)

    async def next_due(self, after: float) -> float | None:
        """See `Store.next_due`."""
        return await self._read(reading.next_due, after)

    async def claim(self, owner: str, token: str) -> Claim | None:
        """See `Store.claim`."""
        return await self._read(reading.claim, owner, token)

    async def put_watch(self, watch: Watch) -> None:
        """See `Store.put_watch`; raises StoreError if there is no such task."""
        await self._write(partial(PutWatch.of, watch))

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        return await self._write(partial(AdvanceWatch.of, before, after))

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """See `Store.drop_watch`."""
        return await self._write(partial(DropWatch.of, task_id, watch_id))

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        return await self._list(reading.watches, task_id)

    async def behind(self, limit: int = 100) -> list[Watch]:
        """See `Store.behind`."""
        return await self._list(reading.behind, limit)

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """See `Store.purge`."""
        old = await self._list(reading.purgeable, before, keep, limit)
        return await self._write(partial(Purge.of, old)) if old else []

    async def forget(self, task_id: str) -> bool:
        """See `Store.forget`."""
        return bool(await self._write(partial(Purge.of, [task_id])))

    def quarantined(self) -> Mapping[str, str]:
        """See `Store.quarantined`: since it was opened."""
        return {} if self._session is None else dict(self._session.readers.quarantined)

    async def verify(self, lifecycle: Lifecycle = LIFECYCLE) -> list[str]:
        """See `Store.verify`; here also the hash chains, the columns and the file itself."""
        found = verifying.lost_findings(self._opened().writer.lost)
        found += await self._read(verifying.file_findings)
        last: int | None = 0
        while last is not None:
            try:
                more, last = await self._read(verifying.task_findings, last, lifecycle)
            except StoreCorrupt as error:
                return [*found, f"the tasks behind row {last} cannot be found: {error}"]
            found += more
        return found

    def _opened(self) -> _Session:
        if self._session is None:
            raise StoreError(f"{self._path} is not open")
        return self._session

    async def _write(self, job_of: Callable[[asyncio.Future[T]], Job]) -> T:
        session = self._opened()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            job = job_of(done)
        except ValueError as error:
            # Only the kind of fault: the value itself may hold a secret.
            raise Unstorable(f"it cannot be stored as JSON ({type(error).__name__})") from None
        session.add(job)
        return await done

    async def _read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._opened().readers.read(query, *args, **kwargs)

    async def _list(
        self,
        query: Callable[Concatenate[sqlite3.Connection, Note, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read many tasks, leaving out those that cannot be read."""
        readers = self._opened().readers
        return await readers.read(lambda db: query(db, readers.note, *args, **kwargs))
