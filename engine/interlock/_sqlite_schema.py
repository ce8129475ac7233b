"""The SQLite file: its schema, its migrations, and how it is opened and kept to one process.

A file is opened for writing by one connection of one process.  That process holds an
advisory lock on a file beside it, since SQLite's own locks would let a second one in.
"""

import contextlib
import os
import sqlite3
import sys
from pathlib import Path
from typing import Final, NamedTuple

from interlock.errors import StoreCorrupt, StoreError, StoreLocked, StoreTooNew

if sys.platform == "win32":  # pragma: no cover  (our tests run where there is flock)
    import msvcrt

    def _lock(descriptor: int) -> None:
        # Windows locks bytes, not files, and nobody can read those: not the number at the start.
        os.lseek(descriptor, 1024, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

    def _unlock(_descriptor: int) -> None:
        pass  # Its processes inherit no lock.
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        # To close it is not enough: a process that is being forked off holds the same lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


#: "ILK1" at offset 68 of the file: how `file(1)` and we know that a database is ours.
APPLICATION_ID: Final = 0x494C4B31
#: Of a number in the lock file: enough for any, so that a new one covers the old.
_WIDTH: Final = 20
#: A transaction is only ever waited for by a checkpoint or a recovery: never long.
BUSY_MS: Final = 5_000
#: After a burst the log of changes shrinks back to this.
JOURNAL_BYTES_MAX: Final = 64 * 1024 * 1024

_FIRST: Final = (
    # `n` counts tasks in the order of their coming, so that new rows are neighbours on disk.
    """
    CREATE TABLE task (
        n INTEGER PRIMARY KEY,
        task_id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        context_id TEXT NOT NULL,
        shown TEXT NOT NULL,
        phase TEXT NOT NULL,
        seq INTEGER NOT NULL,
        updated_at REAL NOT NULL,
        due REAL,
        snapshot TEXT NOT NULL,
        chain BLOB NOT NULL
    ) STRICT
    """,
    # Holds all that a page filters by, so that counting one reads no task.
    "CREATE INDEX task_page ON task (owner, updated_at, task_id, context_id, shown)",
    "CREATE INDEX task_due ON task (due, task_id) WHERE due IS NOT NULL",
    "CREATE INDEX task_unfinished ON task (task_id) WHERE phase <> 'finalized'",
    # With a row id: without one, SQLite reads whole payloads to find its way among them.
    """
    CREATE TABLE event (
        task INTEGER NOT NULL REFERENCES task (n),
        seq INTEGER NOT NULL,
        at REAL NOT NULL,
        epoch INTEGER NOT NULL,
        trigger TEXT NOT NULL,
        source TEXT,
        dest TEXT NOT NULL,
        actor TEXT NOT NULL,
        data TEXT NOT NULL,
        chain BLOB NOT NULL,
        PRIMARY KEY (task, seq)
    ) STRICT
    """,
    """
    CREATE TABLE claim (
        owner TEXT NOT NULL,
        token TEXT NOT NULL,
        task INTEGER NOT NULL REFERENCES task (n),
        digest TEXT NOT NULL,
        PRIMARY KEY (owner, token)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE watch (
        task INTEGER NOT NULL REFERENCES task (n),
        watch_id TEXT NOT NULL,
        channel TEXT NOT NULL,
        config TEXT NOT NULL,
        cursor INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        not_before REAL NOT NULL,
        given_up TEXT,
        PRIMARY KEY (task, watch_id)
    ) STRICT
    """,
)
#: Finalized tasks can be purged: how to find the oldest of them, and their claims.
_PURGE: Final = (
    "CREATE INDEX task_finalized ON task (updated_at, task_id) WHERE phase = 'finalized'",
    "CREATE INDEX claim_task ON claim (task)",
    # By how much the number of the last event fell when the newest events were purged: with
    # it that number still says how many there ever were.
    "CREATE TABLE purged (events INTEGER NOT NULL) STRICT",
    "INSERT INTO purged VALUES (0)",
)
#: However many tasks wait, a start reads none of them.
_WAITING: Final = (
    "DROP INDEX task_unfinished",
    """
    CREATE INDEX task_unfinished ON task (task_id)
    WHERE phase NOT IN ('finalized', 'waiting_auth', 'waiting_input')
    """,
)
#: The tasks that a start reads.  By name, so that those are none of them that wait in a phase of
#: which this program may never have heard.
AT_WORK: Final = (
    "phase IN ('submitted', 'running', 'cancelling',"
    " 'completed', 'failed', 'cancelled', 'timed_out', 'rejected')"
)
_AT_WORK: Final = (
    "DROP INDEX task_unfinished",
    f"CREATE INDEX task_unfinished ON task (task_id) WHERE {AT_WORK}",
)
#: What brings a file from version i to i + 1.  Entries are added and never changed.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_FIRST, _PURGE, _WAITING, _AT_WORK)
#: How many events there ever were: their numbers have gaps, but the last one is right.
EVENTS_EVER: Final = "SELECT ifnull(max(rowid), 0) + (SELECT events FROM purged) FROM event"

#: File systems whose locks or memory maps reach over a network.  Not 9p: sandboxes and
#: virtual machines show their own disk by that name.
_NETWORK: Final = frozenset(
    [
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fuse.ceph",
        "fuse.cephfs",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
    ]
)
_MOUNTS: Final = Path("/proc/self/mountinfo")


class Opened(NamedTuple):
    """A database that is open for writing, and how much is, and ever was, in it."""

    db: sqlite3.Connection
    tasks: int
    events: int


class FileLock:
    """The advisory lock beside a database, and the high-water mark in it.

    Its first line is the process id of the holder, its second how many events were
    acknowledged.  The mark is not synced: it outlives the process, not the machine, so
    it may fall behind the database but is never ahead, unless the database lost something
    (a flipped bit can cut off the newest part of the log of changes without a trace).
    """

    def __init__(self, database: Path) -> None:
        """Take the lock.

        Raises:
            StoreLocked: somebody has it, maybe this very process.
            StoreError: there is no such directory, or it may not be written to.
        """
        path = database.with_name(database.name + ".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            _lock(self._descriptor)
        except OSError as error:
            holder, _ = self._read()
            os.close(self._descriptor)
            raise StoreLocked(f"{database} is open already, in process {holder}") from error
        _HELD.add(self)
        #: How many events the database should hold at least.
        self.mark = self._read()[1]
        self._write(f"{os.getpid():<{_WIDTH}}\n", at=0)

    def acknowledge(self, events: int) -> None:
        """Raise the mark: the database holds so many events."""
        if events > self.mark:
            self.mark = events
            self._write(f"{events:<{_WIDTH}}\n", at=_WIDTH + 1)

    def release(self) -> None:
        """Let go.  The file stays: deleting it could delete the lock of the next holder."""
        _HELD.discard(self)
        if self._descriptor >= 0:
            _unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def forget(self) -> None:
        """Close what a process that was forked off has of it; its parent goes on holding it."""
        os.close(self._descriptor)
        self._descriptor = -1

    def _read(self) -> tuple[int, int]:
        """The process and the mark; what cannot be read is 0."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return _numbers(os.read(self._descriptor, 2 * (_WIDTH + 1)))

    def _write(self, text: str, at: int) -> None:
        # What is written here helps to notice a fault: it must not become one.
        with contextlib.suppress(OSError):
            os.lseek(self._descriptor, at, os.SEEK_SET)
            os.write(self._descriptor, text.encode())


#: The locks that this process holds.
_HELD: Final[set[FileLock]] = set()


def _forget_all() -> None:
    for lock in _HELD:
        lock.forget()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    # A parent that is killed unlocks nothing: the lock would live as long as its children do.
    os.register_at_fork(after_in_child=_forget_all)


def opened_for_writing(database: Path) -> Opened:
    """The one connection that writes, with the schema as we want it.

    Raises:
        StoreTooNew: the schema is newer than this code; nothing was changed.
        StoreCorrupt: the file is no database, or not one of ours; nothing was changed.
        StoreError: anything else that SQLite says.
    """
    try:
        db = sqlite3.connect(
            database, isolation_level=None, timeout=BUSY_MS / 1_000, check_same_thread=False
        )
        try:
            check_ours(db, database)
            if not db.execute("PRAGMA page_count").fetchone()[0]:
                # Of a new file only: an older one keeps its free pages for what comes.
                db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            # What is forgotten, or was before a change, is not left in free space.
            db.execute("PRAGMA secure_delete = ON")
            db.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
            # The writer checkpoints when it has nothing better to do.
            db.execute("PRAGMA wal_autocheckpoint = 0")
            _migrate(db)
            (tasks,) = db.execute("SELECT ifnull(max(n), 0) FROM task").fetchone()
            (events,) = db.execute(EVENTS_EVER).fetchone()
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise store_error(error, f"{database} cannot be opened") from error
    return Opened(db, tasks, events)


def mark_of(database: Path) -> tuple[int, int]:
    """Who has the database open, or had it last, and how many events it should hold at least.

    Each is 0 where nobody knows.  The lock is not touched.
    """
    try:
        with database.with_name(database.name + ".lock").open("rb") as file:
            return _numbers(file.read(2 * (_WIDTH + 1)))
    except OSError:
        return 0, 0


def _numbers(content: bytes) -> tuple[int, int]:
    """The process and the mark in a lock file; what cannot be read is 0."""
    lines = content.split(b"\n")
    holder, mark = (int(line) if line.strip().isdigit() else 0 for line in [*lines, b""][:2])
    return holder, mark


def opened_for_reading(database: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection that can change nothing; texts come as bytes, decoded by who needs them.

    Only where nobody can write may the file be taken for `immutable`.
    """
    db = sqlite3.connect(
        f"{database.as_uri()}?mode=ro{'&immutable=1' * immutable}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_MS / 1_000,
        check_same_thread=False,
    )
    # A flipped bit in one text must not fail the query that would report it.
    db.text_factory = bytes
    return db


def refuse_network(database: Path) -> None:
    """Raise StoreError if the file would lie on a network file system, as far as we can tell.

    Write-ahead logging needs shared memory and locks that such a file system fakes.
    """
    kind = _file_system(database.parent, _mount_table())
    if kind in _NETWORK:
        raise StoreError(
            f"{database} is on a network file system ({kind}), where SQLite loses data; "
            "use a local disk"
        )


def store_error(error: sqlite3.Error, what: str) -> StoreError:
    """What SQLite says, as an error of ours.  It never quotes the values of a statement."""
    kind = StoreCorrupt if _code(error) in _CORRUPT else StoreError
    return kind(f"{what}: {error} ({getattr(error, 'sqlite_errorname', 'no code')})")


#: Primary result codes by which SQLite says that the file itself is bad.
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def _code(error: sqlite3.Error) -> int:
    # The low byte is the primary code.  The module's own complaints have none.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def check_ours(db: sqlite3.Connection, database: Path) -> None:
    """Refuse what is not ours before a byte of it is changed."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application, version, tables) != (0, 0, 0):
        raise StoreCorrupt(f"{database} is a database of something else")
    if version > len(MIGRATIONS):
        raise StoreTooNew(
            f"{database} has schema {version}, and this version knows up to {len(MIGRATIONS)}; "
            "upgrade the package"
        )


def _migrate(db: sqlite3.Connection) -> None:
    """Bring the schema up to date, one transaction for each step."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        db.execute("BEGIN IMMEDIATE")
        for statement in statements:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")


def _mount_table() -> str:
    with contextlib.suppress(OSError):  # only Linux has it
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    return ""


def _file_system(directory: Path, mount_table: str) -> str | None:
    """The kind of the file system that a directory is on, by the table of mounts."""
    found: tuple[int, str] | None = None
    for line in mount_table.splitlines():
        # "36 35 98:0 / /mnt rw shared:1 - ext4 /dev/sda rw": proc(5)
        mount, _, rest = line.partition(" - ")
        point = Path(mount.split(" ")[4].replace("\\040", " "))
        depth = len(point.parts)
        # A later line of the same mount point hides an earlier one.
        if directory.is_relative_to(point) and (found is None or depth >= found[0]):
            found = (depth, rest.split(" ")[0])
    return None if found is None else found[1]
