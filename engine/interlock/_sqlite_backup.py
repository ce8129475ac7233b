"""A copy of a stored file, and whether it or the file is sound, also while a server has it open.

The copy is of one moment: what is committed later is not in it, and nobody waits for it.
Until it is whole it lies beside its place under another name, so that no half of one is ever
taken for a copy.
"""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from interlock import _sqlite_verify as verifying
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._sqlite_doctor import events_lost, existing, looking_at
from interlock._sqlite_schema import mark_of, opened_for_reading, store_error
from interlock.errors import StoreError

#: Told what is done, how much of it, and of how much: pages copied, then tasks checked.
BackupProgress: TypeAlias = Callable[[Literal["copying", "checking"], int, int], None]

#: Pages copied between two words of progress: 4 MiB.
PAGES_AT_ONCE: Final = 1_024
#: What may lie beside a database, and would be taken for a part of it, or for its history.
_BESIDE: Final = ("-wal", "-shm", "-journal", ".lock")


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was made."""

    path: str
    file_bytes: int
    tasks: int
    events: int
    #: What is wrong with the copy, as `Store.verify` says it, and so with the file that was
    #: copied; none if it is sound.
    findings: tuple[str, ...]


def backup(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    progress: BackupProgress | None = None,
    lifecycle: Lifecycle = LIFECYCLE,
) -> Backup:
    """Copy the SQLite file of a store into a new file `target`, and check the copy.

    It takes a while, so an event loop has it done on a thread (`asyncio.to_thread`).  A copy in
    which something is wrong is kept, since it is as good as what was copied: see
    `Backup.findings`.  To go back to a copy, stop the server, move its file away with all that
    lies beside it (`-wal`, `-shm`, `.lock`), and copy the copy there, by this or by any means.

    What `progress` raises ends it, and leaves nothing.

    Raises:
        StoreTooNew: a newer version wrote the file.
        StoreCorrupt: it is no database, or not one of ours.
        StoreError: it is not there or cannot be read, or there is something at `target` or
            beside it, or nothing can be written there; nothing was left.
    """
    source, goal = existing(path), Path(target).absolute()
    _refuse_taken(goal)
    with contextlib.ExitStack() as stack:
        try:
            descriptor, name = tempfile.mkstemp(".partial", f".{goal.name}.", goal.parent)
            os.close(descriptor)
            part = Path(name)
            stack.callback(part.unlink, missing_ok=True)
            with looking_at(source) as db:
                _copy(db, part, progress or _silent)
            made = _checked(part, goal, progress or _silent, lifecycle)
            _synced(part)
            _put_in_place(part, goal)
        except OSError as error:
            raise StoreError(f"{goal} cannot be written: {error.strerror or error}") from error
    return made


def stored_findings(path: str | os.PathLike[str], *, lifecycle: Lifecycle = LIFECYCLE) -> list[str]:
    """What is wrong in the SQLite file of a store, as `Store.verify` says it; none if it is sound.

    Only looked at: no lock is taken, nothing is written, and a file of an older version stays
    one.  A server may have it open meanwhile; tasks are read as of a moment, some at a time.

    Raises:
        StoreTooNew: a newer version wrote the file.
        StoreCorrupt: it is no database, or not one of ours.
        StoreError: it is not there or cannot be read.
    """
    database = existing(path)
    # Before the file: what is acknowledged meanwhile must not seem to be lost.
    _, mark = mark_of(database)
    with looking_at(database) as db:
        lost = events_lost(db, mark)
        return [*verifying.lost_findings(lost), *_findings(db, lifecycle, lambda _seen: None)]


def _findings(
    db: sqlite3.Connection, lifecycle: Lifecycle, seen: Callable[[int], None]
) -> list[str]:
    """What is wrong with the file and its tasks; `seen` is told of so many more looked through."""
    found = verifying.file_findings(db)
    last: int | None = 0
    while last is not None:
        try:
            # What belongs together is read as of one moment.
            db.execute("BEGIN")
            more, last = verifying.task_findings(db, last, lifecycle)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            return [*found, f"the tasks behind row {last} cannot be found: {error}"]
        found += more
        seen(verifying.TASKS_AT_ONCE)
    return found


def _silent(_what: str, _done: int, _of: int) -> None:
    """Nobody wants to know."""


def _refuse_taken(goal: Path) -> None:
    """Raise StoreError if anything is there that a copy would replace, or be mixed up with."""
    if os.path.lexists(goal):
        raise StoreError(f"{goal} is there already; a copy goes into a new file")
    for beside in _BESIDE:
        other = goal.with_name(goal.name + beside)
        if os.path.lexists(other):
            raise StoreError(f"{other} is there, of another database; move it away first")


def _copy(db: sqlite3.Connection, part: Path, progress: BackupProgress) -> None:
    """Copy every page, as of one moment."""

    def tell(_status: int, left: int, pages: int) -> None:
        progress("copying", pages - left, pages)

    # Held to the end: without it every commit meanwhile would make the copying begin anew.
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as copy:
        # Whoever comes to a half of it throws it away, so it needs no way back.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        try:
            db.backup(copy, pages=PAGES_AT_ONCE, progress=tell)
        except sqlite3.Error as error:
            raise store_error(error, "it cannot be copied") from error


def _checked(part: Path, goal: Path, progress: BackupProgress, lifecycle: Lifecycle) -> Backup:
    """The copy, once it has been looked through."""
    seen = 0
    # Nobody else knows of it, so no lock is taken, and no file made beside it.
    with contextlib.closing(opened_for_reading(part, immutable=True)) as db:
        tasks, events = _count(db, "task"), _count(db, "event")

        def tell(more: int) -> None:
            nonlocal seen
            seen = min(tasks, seen + more)
            progress("checking", seen, tasks)

        findings = _findings(db, lifecycle, tell)
    return Backup(str(goal), part.stat().st_size, tasks, events, tuple(findings))


def _count(db: sqlite3.Connection, table: str) -> int:
    """How many rows a table has; 0 where it cannot be read, which is found out elsewhere."""
    try:
        (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  a constant
    except sqlite3.Error:
        return 0
    return int(count)


def _synced(path: Path) -> None:
    """See that it is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(part: Path, goal: Path) -> None:
    """Give the whole copy its name, over nothing that is there by now."""
    try:
        try:
            os.link(part, goal)
        except FileExistsError:
            raise
        except OSError:
            # Some file systems have no links: the name is taken first, and then filled.
            os.close(os.open(goal, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            part.replace(goal)
    except FileExistsError:
        raise StoreError(f"{goal} is there by now; a copy goes into a new file") from None
    with contextlib.suppress(OSError):  # Not everywhere can a directory be opened.
        _synced(goal.parent)
