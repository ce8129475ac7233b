"""The one thread that writes: it takes batches of jobs and makes each batch one transaction.

What a commit costs is mostly the transaction around it (a wait for the disk) and the
statements in it (each gives up the interpreter and has to win it back).  So a batch is a
handful of statements, however many commits are in it.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from interlock._sqlite_batch import Batch, Head, Job, Outcome
from interlock._sqlite_schema import (
    BUSY_MS,
    FileLock,
    opened_for_writing,
    refuse_network,
    store_error,
)
from interlock.errors import StoreError

#: Seconds without a job after which the changes are moved into the database file.
IDLE_S: Final = 0.5
#: About so many bytes of changes are let come together; moving them makes everybody wait
#: some milliseconds.  Few, because the disk is quicker where the log is overwritten than
#: where it grows: 16 MiB cost a tenth more of processor time than 4, and 1 as much as 16.
CHANGES_BYTES_MAX: Final = 4 * 1024 * 1024
#: Free pages that a file keeps for what comes; each is 4 KiB.
FREE_PAGES_MAX: Final = 4_096
#: Pages that are given back at once: one that comes to write waits some milliseconds.
PAGES_GIVEN_MAX: Final = 256
PAGE_BYTES: Final = 4_096
#: Tasks whose place is remembered.  A task beyond them costs its next commit a look-up.
HEADS_MAX: Final = 16_384

_log: Final = logging.getLogger("interlock.sqlite")


class Writer:
    """The thread with its connection and its lock, from `start` until `stop`."""

    def __init__(
        self,
        path: Path,
        *,
        on_written: Callable[[list[Outcome]], None],
        on_stop: Callable[[], None],
    ) -> None:
        """`on_written` is called on the loop after each batch, `on_stop` on the thread."""
        self._path: Final = path
        self._loop: Final = asyncio.get_running_loop()
        self._on_written: Final = on_written
        self._on_stop: Final = on_stop
        self._batches: Final[queue.SimpleQueue[Sequence[Job] | None]] = queue.SimpleQueue()
        #: Where the live tasks stand; nobody else writes, so nobody else knows better.
        self._heads: Final[dict[str, Head]] = {}
        self._tasks = 0
        self._events = 0
        self._changes_bytes = 0
        #: Whether the log of changes may hold what was forgotten since.
        self._holds_forgotten = False
        #: Events that were acknowledged and are not there; known once it is open.
        self.lost = 0
        #: Done when the file is open, or could not be opened.
        self.opened: Final[asyncio.Future[None]] = self._loop.create_future()
        #: Done when everything is let go.
        self.closed: Final[asyncio.Future[None]] = self._loop.create_future()
        # A daemon: who forgets to close must still be able to exit, and loses nothing by it.
        self._thread: Final = threading.Thread(
            target=self._run, name=f"interlock writer of {path.name}", daemon=True
        )

    def start(self) -> None:
        """Begin to open the file; `opened` follows."""
        self._thread.start()

    def put(self, jobs: Sequence[Job]) -> None:
        """Write the jobs in one transaction; `on_written` follows."""
        self._batches.put(jobs)

    def stop(self) -> None:
        """Finish what was put, then let go; `closed` follows."""
        self._batches.put(None)

    def join(self) -> None:
        """Wait for the thread to end; once `closed` is done it has nothing left to do."""
        self._thread.join()

    # --- on the thread ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            lock, db = self._open()
        except Exception as error:  # noqa: BLE001  whatever it is, `open` raises it
            self._call(_settle, self.opened, error)
            self._call(_settle, self.closed, None)
            return
        self._call(_settle, self.opened, None)
        try:
            self._serve(db, lock)
            self._on_stop()
            # The last connection to close moves all changes into the file.
            db.close()
        finally:
            lock.release()
            self._call(_settle, self.closed, None)

    def _open(self) -> tuple[FileLock, sqlite3.Connection]:
        # The lock must be the same by whatever name the file is opened.
        path = self._path.resolve()
        refuse_network(path)
        lock = FileLock(path)
        try:
            db, self._tasks, self._events = opened_for_writing(path)
        except BaseException:
            lock.release()
            raise
        self.lost = max(0, lock.mark - self._events)
        if self.lost:
            _log.error("%s has lost its newest %d events, or is an old copy", path, self.lost)
        lock.acknowledge(self._events)
        return lock, db

    def _serve(self, db: sqlite3.Connection, lock: FileLock) -> None:
        """Write batch after batch until told to stop."""
        while True:
            try:
                jobs = self._batches.get(timeout=IDLE_S if self._changes_bytes else None)
            except queue.Empty:
                self._move_changes(db)
                self._give_back(db)
                continue
            if jobs is None:
                return
            outcomes = self._written(db, jobs)
            lock.acknowledge(self._events)
            self._call(self._on_written, outcomes)
            if self._changes_bytes > CHANGES_BYTES_MAX:
                self._move_changes(db)

    def _written(self, db: sqlite3.Connection, jobs: Sequence[Job]) -> list[Outcome]:
        """Write one batch; what each of its jobs came to."""
        batch = Batch(db, self._heads, self._tasks)
        try:
            db.rollback()  # what a batch may have left that failed
            db.execute("BEGIN IMMEDIATE")
            outcomes = batch.write(jobs)
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  if the thread died, everybody would wait for ever
            with contextlib.suppress(sqlite3.Error):
                db.rollback()
            _log.error("a batch of %d could not be written: %r", len(jobs), error)
            return [(job.done, _failure(error)) for job in jobs]
        self._tasks = batch.tasks
        self._events += batch.events
        self._changes_bytes += batch.changes_bytes
        self._holds_forgotten |= batch.forgot
        self._remember(batch)
        return outcomes

    def _remember(self, batch: Batch) -> None:
        for task_id, head in batch.heads.items():
            self._heads.pop(task_id, None)
            if task_id not in batch.finalized:
                self._heads[task_id] = head
        while len(self._heads) > HEADS_MAX:
            del self._heads[next(iter(self._heads))]

    def _move_changes(self, db: sqlite3.Connection) -> None:
        """Copy the log of changes into the file, as far as no reader needs it as it is.

        What was forgotten is to be gone from the disk: after that the log is emptied.
        """
        self._changes_bytes = 0
        try:
            if self._holds_forgotten:
                self._empty_changes(db)
            else:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            # Nothing is lost: the log goes on growing, and the next time may be better.
            _log.warning("the changes cannot be moved into the database file: %r", error)

    def _empty_changes(self, db: sqlite3.Connection) -> None:
        """Copy all of the log and cut it off, unless somebody reads; then it is tried again."""
        db.execute("PRAGMA busy_timeout = 0")
        try:
            is_busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        self._holds_forgotten = bool(is_busy)
        if is_busy:
            self._changes_bytes = PAGE_BYTES

    def _give_back(self, db: sqlite3.Connection) -> None:
        """Give some of the free pages back, if there are more than will soon be used again."""
        try:
            (free,) = db.execute("PRAGMA freelist_count").fetchone()
            if free > FREE_PAGES_MAX:
                given = min(free - FREE_PAGES_MAX, PAGES_GIVEN_MAX)
                db.execute(f"PRAGMA incremental_vacuum({given})").fetchall()
                (left,) = db.execute("PRAGMA freelist_count").fetchone()
                # Where pages cannot be given back, in a file of an older version, that is all.
                self._changes_bytes = (free - left) * PAGE_BYTES
        except sqlite3.Error as error:
            _log.warning("no space can be given back: %r", error)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call back on the loop, if there still is one."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _failure(error: Exception) -> StoreError:
    """The error for one of those whose batch failed; each has its own, to raise as it likes."""
    if isinstance(error, sqlite3.Error):
        failure = store_error(error, "nothing was written")
    else:
        failure = StoreError(f"nothing was written: {type(error).__name__}")
    failure.__cause__ = error
    return failure
