"""The SQLite store where it is more, or other, than any store: files, locks, batches, faults."""

# ruff: noqa: ASYNC240, S608  small files of its own, and damage done to them by hand

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from interlock import (
    Answer,
    Approval,
    Denial,
    Engine,
    Part,
    TaskContext,
    _sqlite,
    _sqlite_reader,
    _sqlite_schema,
    _sqlite_writer,
)
from interlock._event import AGENT, ENGINE, Event
from interlock._machine import Move
from interlock._phases import Phase, Trigger
from interlock._sqlite import SqliteStore
from interlock._sqlite_batch import Job
from interlock._sqlite_schema import FileLock
from interlock._sqlite_writer import Writer
from interlock._store import Claim, Commit, Store, TaskQuery, TokenTaken, Watch
from interlock.errors import Conflict, StoreCorrupt, StoreError, StoreLocked, StoreTooNew
from interlock.models import JsonObject
from interlock.testing._store_contract import (
    AT,
    claim_of,
    commit_of,
    every_phase,
    moved,
    opened,
    started,
    stored,
    submitted,
    whole_life,
)

#: Of the schema.
VERSION: Final = len(_sqlite_schema.MIGRATIONS)
#: Something to watch a task with.
WEB: Final = Watch("w", "t", "web", {}, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is, or will be."""
    return tmp_path / "tasks.db"


@pytest.fixture
async def store(path: Path) -> AsyncGenerator[SqliteStore]:
    """A store that is open."""
    async with asyncio.timeout(60), opened(lambda: SqliteStore(path)) as made:
        assert isinstance(made, SqliteStore)
        yield made


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections that write, in the order of their opening."""
    made: list[sqlite3.Connection] = []

    def opened_and_kept(database: Path) -> _sqlite_schema.Opened:
        it = _sqlite_schema.opened_for_writing(database)
        made.append(it.db)
        return it

    monkeypatch.setattr(_sqlite_writer, "opened_for_writing", opened_and_kept)
    return made


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs each batch had."""
    sizes: list[int] = []
    put = Writer.put

    def counted(writer: Writer, jobs: Sequence[Job]) -> None:
        sizes.append(len(jobs))
        put(writer, jobs)

    monkeypatch.setattr(Writer, "put", counted)
    return sizes


async def until(fact: Callable[[], bool]) -> None:
    """Give way until something is so."""
    async with asyncio.timeout(60):
        while not fact():
            await given_way()


async def given_way() -> None:
    """Let the event loop go round once."""
    await asyncio.sleep(0)


def changed(path: Path, *statements: str) -> None:
    """Change the file behind the back of the store."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def asked(path: Path, question: str) -> list[tuple[object, ...]]:
    """What the file says."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(question).fetchall()


def threads() -> set[str]:
    """The names of the threads of all stores."""
    return {t.name for t in threading.enumerate() if t.name.startswith("interlock ")}


def open_files() -> int:
    """How many descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def refused(store: Store, commit: Commit) -> BaseException | None:
    """With which error the commit ends."""
    (end,) = await asyncio.gather(store.commit(commit), return_exceptions=True)
    return end


# --- the file and its lock ------------------------------------------------------------


async def test_the_file_is_set_up_to_lose_nothing(
    store: SqliteStore, path: Path, handles: list[sqlite3.Connection]
) -> None:
    """WAL and FULL, checkpoints by the writer alone.

    Source: INVARIANTS 5, settings, R-STORE-03.
    """
    await store.close()
    async with opened(lambda: store):
        (db,) = handles
        settings = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in (
                "journal_mode",
                "synchronous",
                "foreign_keys",
                "busy_timeout",
                "wal_autocheckpoint",
                "journal_size_limit",
                "application_id",
                "user_version",
            )
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5_000,
        "wal_autocheckpoint": 0,
        "journal_size_limit": 64 * 1024 * 1024,
        "application_id": int.from_bytes(b"ILK1"),
        "user_version": VERSION,
    }
    tables = asked(path, "SELECT name FROM pragma_table_list WHERE schema = 'main' AND NOT strict")
    assert {name for (name,) in tables} == {"sqlite_schema"}


AT_WORK = _sqlite_schema.AT_WORK


async def test_reading_uses_the_indexes(store: SqliteStore, path: Path) -> None:
    """What the engine asks all the time reads no more than it returns.  Source: R-STORE-11."""
    await store.commit(commit_of(submitted("t")))
    for question, index in (
        ("SELECT n FROM task WHERE owner = 'ada' ORDER BY updated_at DESC, task_id DESC", "page"),
        ("SELECT count(*) FROM task WHERE owner = 'ada' AND shown NOT IN ('failed')", "page"),
        ("SELECT snapshot FROM task WHERE due IS NOT NULL AND due <= 1 ORDER BY due", "due"),
        ("SELECT n FROM task WHERE owner >= 'a/' AND owner < CAST(x'612fff' AS TEXT)", "page"),
        ("SELECT min(due) FROM task WHERE due > 1", "due"),
        (f"SELECT n FROM task WHERE {AT_WORK} AND task_id > ''", "unfinished"),
    ):
        (plan,) = asked(path, f"EXPLAIN QUERY PLAN {question}")
        assert f"INDEX task_{index}" in str(plan), plan


async def test_counting_reads_an_index_alone(store: SqliteStore, path: Path) -> None:
    """One look through `task_page`, at the most, and no task.  Source: R-SVC-01."""
    await store.commit(commit_of(submitted("t")))
    for where, how in (
        ("true", "SCAN task USING COVERING INDEX task_page"),
        ("owner = 'a'", "SEARCH task USING COVERING INDEX task_page"),
        ("owner >= 'a' AND owner < CAST(x'61ff' AS TEXT)", "SEARCH task USING COVERING INDEX"),
        (_sqlite_reader._FOUND.replace("?", "'a'"), "SCAN task USING COVERING INDEX task_page"),
    ):
        question = f"SELECT shown, count(*) FROM task WHERE {where} GROUP BY shown"
        plan = asked(path, f"EXPLAIN QUERY PLAN {question}")
        assert how in str(plan[0]), plan


def test_a_child_that_was_forked_off_does_not_keep_the_file_locked(tmp_path: Path) -> None:
    """A pool of an agent may outlive the store that was open when it began.

    Source: a stranger's reading.
    """
    lock = FileLock(tmp_path / "tasks.db")
    # As a child has it: another descriptor of the same open file.
    inherited = os.dup(lock._descriptor)
    try:
        lock.release()
        FileLock(tmp_path / "tasks.db").release()
    finally:
        os.close(inherited)


def test_a_child_of_a_process_that_was_killed_does_not_keep_the_file_locked(path: Path) -> None:
    """It closes what it has of the lock, and its parent goes on holding it.  Source: I18."""
    script = """
        import os, signal, sys
        from pathlib import Path
        from interlock._sqlite_schema import FileLock
        from interlock.errors import StoreLocked
        path = Path(sys.argv[1])
        lock = FileLock(path)
        if os.fork():
            signal.pause()
        lock.acknowledge(5)
        lock.release()  # Of what it has not, any more.
        try:
            FileLock(path)
            print("free", flush=True)
        except StoreLocked:
            print("held by the parent", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        said = parent.stdout.readline()
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        assert said == "held by the parent\n"
        # The child lives until its standard input ends.
        lock = FileLock(path)
        assert lock.mark == 0
        lock.release()


@pytest.mark.parametrize("name", ["tasks.db", "alias.db", "sub/../tasks.db"])
async def test_a_second_opening_is_refused(name: str, store: SqliteStore, path: Path) -> None:
    """Also in the same process, and by another name; the message says who has it.

    Source: R-STORE-05.
    """
    (path.parent / "sub").mkdir()
    (path.parent / "alias.db").symlink_to(path)
    with pytest.raises(StoreLocked, match=f"is open already, in process {os.getpid()}"):
        await SqliteStore(path.parent / name).open()
    # The first is as good as before.
    await store.commit(commit_of(submitted("t")))


async def test_an_open_store_cannot_be_opened_again(store: SqliteStore) -> None:
    """The same object, twice: it stays open.  Source: ours."""
    with pytest.raises(StoreLocked):
        await store.open()
    await store.commit(commit_of(submitted("t")))
    assert await store.get("t") is not None


async def test_a_killed_process_loses_nothing_and_holds_nothing(path: Path) -> None:
    """What was acknowledged is there, and the lock is free.  Source: INVARIANTS I18, R-JRN-08."""
    script = """
        import asyncio, sys
        from interlock._sqlite import SqliteStore
        from interlock.testing._store_contract import commit_of, stored, whole_life

        async def main():
            store = SqliteStore(sys.argv[1])
            await store.open()
            for number in range(20):
                await stored(store, whole_life(f"t{number:02}"))
            print("acknowledged", flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(script), path, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"acknowledged\n"
        with pytest.raises(StoreLocked, match=f"process {process.pid}$"):
            await SqliteStore(path).open()
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with opened(lambda: SqliteStore(path)) as store:
        assert (await store.page(TaskQuery())).total == 20
        assert await store.verify() == []


async def test_closing_lets_go_of_everything(path: Path) -> None:
    """Threads, files and the lock; and the log of changes is moved into the file."""
    before = open_files()
    for _ in range(3):
        async with opened(lambda: SqliteStore(path)) as store:
            await asyncio.gather(
                store.commit(commit_of(submitted("t"))),
                *(store.get(f"t{number}") for number in range(9)),
                return_exceptions=True,
            )
            assert len(threads()) > 1
        assert threads() == set()
        assert open_files() == before
        assert {entry.name for entry in path.parent.iterdir()} == {path.name, f"{path.name}.lock"}


@pytest.mark.parametrize(
    "use", ["commit", "get", "put_watch", "advance_watch", "drop_watch", "verify"]
)
async def test_a_store_that_is_not_open_says_so(use: str, path: Path) -> None:
    """Before it was opened, and after it was closed.  Source: `Store`."""
    store = SqliteStore(path)
    for _ in range(2):
        uses = {
            "commit": store.commit(commit_of(submitted("t"))),
            "get": store.get("t"),
            "put_watch": store.put_watch(WEB),
            "advance_watch": store.advance_watch(WEB, WEB),
            "drop_watch": store.drop_watch("t", "w"),
            "verify": store.verify(),
        }
        with pytest.raises(StoreError, match="is not open"):
            await uses.pop(use)
        for coroutine in uses.values():
            coroutine.close()
        async with opened(lambda: store):
            pass


async def test_an_opening_that_is_given_up_lets_go(path: Path) -> None:
    """Who is cancelled while opening leaves no thread and no lock behind.  Source: ours."""
    opening = asyncio.ensure_future(SqliteStore(path).open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await until(lambda: threads() == set())
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(submitted("t")))


@pytest.mark.parametrize("rounds", range(1, 6))
async def test_a_store_whose_opening_or_closing_was_cut_off_is_opened_again(
    path: Path, rounds: int
) -> None:
    """By the same object at once: it waits for what still holds the file.

    Source: a stranger's review.
    """
    store = SqliteStore(path)
    for _ in range(5):
        opening = asyncio.ensure_future(store.open())
        for _ in range(rounds):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        if opening.cancelled():
            await store.open()
        closing = asyncio.ensure_future(store.close())
        for _ in range(rounds):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
    await store.open()
    await store.commit(commit_of(submitted("t")))
    await store.close()


async def test_an_opening_that_is_cut_off_and_would_have_failed_leaves_a_store_that_can_be_opened(
    path: Path,
) -> None:
    """Once whoever holds the file lets go; and closing it meanwhile is nothing.

    Source: a stranger's review.
    """
    store = SqliteStore(path)
    async with opened(lambda: SqliteStore(path)):
        for _ in range(3):
            opening = asyncio.ensure_future(store.open())
            await asyncio.sleep(0)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            assert opening.cancelled()
            async with asyncio.timeout(60):
                await store.close()
                with pytest.raises(StoreLocked):
                    await store.open()
    async with asyncio.timeout(60):
        await store.open()
        await store.close()


def test_an_opening_that_was_cut_off_in_another_loop_does_not_matter(path: Path) -> None:
    """A loop that is gone is waited for by nobody.  Source: a stranger's review."""
    store = SqliteStore(path)

    async def cut_off() -> None:
        opening = asyncio.ensure_future(store.open())
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)

    async def used() -> None:
        async with opened(lambda: store) as again:
            await again.commit(commit_of(submitted("t")))

    asyncio.run(cut_off())
    asyncio.run(used())


def test_a_loop_that_is_gone_does_not_stop_the_writer(path: Path) -> None:
    """Who forgets to close has what was begun written all the same.  Source: ours."""
    store = SqliteStore(path)

    async def begin() -> asyncio.Future[None]:
        await store.open()
        return asyncio.ensure_future(store.commit(commit_of(submitted("t"))))

    loop = asyncio.new_event_loop()
    pending = loop.run_until_complete(begin())
    session = store._session
    assert session is not None
    loop.run_until_complete(asyncio.sleep(0))
    session.stop()
    pending.cancel()
    loop.run_until_complete(asyncio.gather(pending, return_exceptions=True))
    loop.close()
    session.writer.join()
    assert asked(path, "SELECT task_id FROM task") == [("t",)]


# --- what was acknowledged and is gone ------------------------------------------------


async def test_a_lost_tail_is_noticed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Older than what was acknowledged: a bad disk, or an old copy.

    Source: DESIGN 4, R-STORE-06.
    """
    async with opened(lambda: SqliteStore(path)) as store:
        await stored(store, whole_life("t0"))
    copy = path.read_bytes()
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(*whole_life("t1")))
        await store.commit(commit_of(submitted("t2")))
        assert await store.verify() == []
    path.write_bytes(copy)
    for _ in range(2):
        caplog.clear()
        async with opened(lambda: SqliteStore(path)) as store:
            assert await store.verify() == [
                "the file: its newest 5 events are lost, or it is an old copy"
            ]
        assert f"{path} has lost its newest 5 events" in caplog.text
    # Whoever put the copy there on purpose says so by removing the mark.
    path.with_name(path.name + ".lock").unlink()
    async with opened(lambda: SqliteStore(path)) as store:
        assert await store.verify() == []


@pytest.mark.parametrize("content", [b"", b"77\n", b"rubbish\nrubbish\nrubbish\n", b"\xff" * 99])
async def test_a_lock_file_without_a_mark_means_nothing(content: bytes, path: Path) -> None:
    """Who cannot know does not complain; from then on it is known.  Source: ours."""
    lock = path.with_name(path.name + ".lock")
    lock.write_bytes(content)
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(submitted("t")))
        assert await store.verify() == []
    assert lock.read_bytes()[:42].split() == [str(os.getpid()).encode(), b"1"]


async def test_what_failed_does_not_raise_the_mark(
    handles: list[sqlite3.Connection], path: Path
) -> None:
    """Only what was acknowledged can be missed.  Source: ours."""
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(submitted("t")))
        handles[0].execute("PRAGMA query_only = true")
        assert isinstance(await refused(store, commit_of(submitted("u"))), StoreError)
    async with opened(lambda: SqliteStore(path)) as store:
        assert await store.verify() == []


# --- what is refused, and left as it was ----------------------------------------------


@pytest.mark.parametrize(
    ("statements", "error", "match"),
    [
        (["CREATE TABLE notes (x)"], StoreCorrupt, "of something else"),
        (["PRAGMA user_version = 1"], StoreCorrupt, "of something else"),
        (["PRAGMA application_id = 77"], StoreCorrupt, "of something else"),
        (
            [
                f"PRAGMA application_id = {int.from_bytes(b'ILK1')}",
                f"PRAGMA user_version = {VERSION + 1}",
            ],
            StoreTooNew,
            f"has schema {VERSION + 1}, and this version knows up to {VERSION}; upgrade",
        ),
    ],
)
async def test_a_file_that_is_not_ours_is_left_alone(
    statements: list[str], error: type[StoreError], match: str, path: Path
) -> None:
    """Another program's, or a newer version's: refused, and not a byte is changed.

    Source: R-STORE-05, R-STORE-07.
    """
    changed(path, *statements)
    before = path.read_bytes()
    with pytest.raises(error, match=match):
        await SqliteStore(path).open()
    assert path.read_bytes() == before
    assert not path.with_name(path.name + "-wal").exists()
    # Nothing is left of the attempt: the next one gets as far.
    with pytest.raises(error, match=match):
        await SqliteStore(path).open()
    await until(lambda: threads() == set())


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """Source: DESIGN 4, corrupt files fail loudly."""
    path.write_bytes(b"this is a diary, and it is long enough to be one\n" * 100)
    with pytest.raises(StoreCorrupt, match="file is not a database"):
        await SqliteStore(path).open()


async def test_a_broken_database_is_refused(path: Path) -> None:
    """The pages of its tables are rubbish: it cannot even be opened.  Source: DESIGN 4."""
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(submitted("t")))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with pytest.raises(StoreCorrupt, match="malformed"):
        await SqliteStore(path).open()


async def test_a_directory_must_be_there(tmp_path: Path) -> None:
    """It is not made: a slip in the path must not go unnoticed.  Source: ours."""
    with pytest.raises(StoreError, match="No such file or directory"):
        await SqliteStore(tmp_path / "nowhere" / "tasks.db").open()
    assert list(tmp_path.iterdir()) == []


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """Source: ours."""
    with pytest.raises(StoreError, match="cannot be opened"):
        await SqliteStore(tmp_path).open()


MOUNTS: Final = textwrap.dedent("""\
    22 28 0:21 / /proc rw,nosuid shared:5 - proc proc rw
    28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
    40 28 0:35 / /net rw,relatime shared:9 master:2 - nfs4 server:/export rw
    41 40 0:36 / /net/local\\040disk rw shared:9 - xfs /dev/vdb rw
    42 28 0:37 / /over rw - nfs server:/old rw
    43 28 0:37 / /over rw - tmpfs tmpfs rw
    """)


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/srv", "ext4"),
        ("/network", "ext4"),
        ("/net", "nfs4"),
        ("/net/home/ada", "nfs4"),
        ("/net/local disk/x", "xfs"),
        ("/over", "tmpfs"),
    ],
)
def test_the_file_system_of_a_directory_is_known(directory: str, kind: str) -> None:
    """The deepest mount counts, and the latest of several on one point.  Source: proc(5)."""
    assert _sqlite_schema._file_system(Path(directory), MOUNTS) == kind
    assert _sqlite_schema._file_system(Path(directory), "") is None


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
async def test_network_file_systems_are_refused(
    kind: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where locks and shared memory lie, SQLite loses data.  Source: DESIGN 4, R-STORE-05."""
    table = path.parent / "mountinfo"
    table.write_text(f"28 1 254:1 / / rw shared:1 - {kind} somewhere rw\n")
    monkeypatch.setattr(_sqlite_schema, "_MOUNTS", table)
    with pytest.raises(StoreError, match=rf"network file system \({kind}\)"):
        await SqliteStore(path).open()
    assert not path.exists()


async def test_where_mounts_are_not_listed_nothing_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Linux has the table; elsewhere we do not know.  Source: ours."""
    monkeypatch.setattr(_sqlite_schema, "_MOUNTS", path.parent / "nowhere")
    async with opened(lambda: SqliteStore(path)):
        pass


async def test_an_opening_that_fails_unforeseen_is_told(path: Path) -> None:
    """Whatever happens on the thread, `open` raises it and does not wait for ever."""
    with pytest.raises(ValueError, match="null"):
        await SqliteStore(path.with_name("no\0name")).open()
    await until(lambda: threads() == set())


# --- migrations -----------------------------------------------------------------------

NOTES: Final = ("ALTER TABLE watch ADD COLUMN note TEXT", "CREATE TABLE extra (x) STRICT")


async def test_an_older_schema_is_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, with all that is in it; and only once.  Source: DESIGN 4, R-STORE-07."""
    async with opened(lambda: SqliteStore(path)) as store:
        await stored(store, whole_life("t"))
    now = len(_sqlite_schema.MIGRATIONS)
    steps = (*_sqlite_schema.MIGRATIONS, NOTES[:1], ("CREATE TABLE extra (x ANY) STRICT",))
    monkeypatch.setattr(_sqlite_schema, "MIGRATIONS", steps)
    for _ in range(2):
        async with opened(lambda: SqliteStore(path)) as store:
            assert await store.verify() == []
    assert asked(path, "PRAGMA user_version") == [(now + 2,)]
    assert asked(path, "SELECT note FROM watch UNION SELECT x FROM extra") == []


async def test_a_step_that_fails_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a step or none of it: the older version can still open the file.

    Source: R-STORE-07.
    """
    async with opened(lambda: SqliteStore(path)) as store:
        await stored(store, whole_life("t"))
    steps = (*_sqlite_schema.MIGRATIONS, (NOTES[0], "ALTER TABLE elsewhere ADD COLUMN note TEXT"))
    with monkeypatch.context() as patch:
        patch.setattr(_sqlite_schema, "MIGRATIONS", steps)
        with pytest.raises(StoreError, match="no such table: elsewhere"):
            await SqliteStore(path).open()
    async with opened(lambda: SqliteStore(path)) as store:
        assert await store.verify() == []
    now = len(_sqlite_schema.MIGRATIONS)
    assert asked(path, "PRAGMA user_version") == [(now,)]


# --- group commit ---------------------------------------------------------------------


async def test_commits_that_come_together_share_a_transaction(
    store: SqliteStore, batches: list[int]
) -> None:
    """Forty tasks cost one wait for the disk, not forty.  Source: DESIGN 4, R-STORE-04."""
    await asyncio.gather(*(store.commit(commit_of(submitted(f"t{n}"))) for n in range(40)))
    assert batches == [40]


async def test_a_flood_is_written_in_bounded_batches(
    store: SqliteStore, batches: list[int]
) -> None:
    """No batch makes the others wait for ever.  Source: R-STORE-04."""
    count = _sqlite.BATCH_JOBS_MAX * 2 + 7
    await asyncio.gather(*(store.commit(commit_of(submitted(f"t{n}"))) for n in range(count)))
    assert sum(batches) == count
    assert max(batches) == _sqlite.BATCH_JOBS_MAX
    assert (await store.page(TaskQuery(limit=1))).total == count


async def test_a_steady_trickle_is_not_waited_out(store: SqliteStore, batches: list[int]) -> None:
    """A batch is written after some rounds of the loop, though more comes in each."""
    commits: list[asyncio.Future[None]] = []
    for number in range(3 * _sqlite.ROUNDS_MAX):
        commits.append(asyncio.ensure_future(store.commit(commit_of(submitted(f"t{number}")))))
        await asyncio.sleep(0)
    await asyncio.gather(*commits)
    assert max(batches[0], 1) <= _sqlite.ROUNDS_MAX + 1


async def test_one_who_is_alone_is_not_made_to_wait_for_others(
    store: SqliteStore, batches: list[int]
) -> None:
    """Nobody else came the last time; those who come together again are not held apart."""
    moves = whole_life("t")
    await store.commit(commit_of(moves[0]))
    alone = asyncio.ensure_future(store.commit(commit_of(moves[1])))
    for _ in range(_sqlite.QUIET_ROUNDS):
        await given_way()
    assert batches == [1, 1]
    await alone
    await asyncio.gather(*(store.commit(commit_of(submitted(f"t{n}"))) for n in range(9)))
    assert batches == [1, 1, 9]


async def test_a_task_that_stays_in_its_phase_is_found_by_its_new_deadline(
    store: SqliteStore,
) -> None:
    """Lists are only left as they are where nothing in them changes.  Source: ours."""
    begun = started(submitted("t"), run_s=5.0)
    note = {"epoch": 1, "key": "k", "value": 1, "log_events_max": 9}
    noted = moved(begun, Trigger.NOTE, note, AGENT)
    again = moved(noted, Trigger.RECOVER, {"run_s": 9.0}, ENGINE)
    await store.commit(commit_of(submitted("t")))
    for move in (begun, noted, again):
        await store.commit(commit_of(move))
        assert await store.next_due(0.0) == move.record.due
        assert (await store.page(TaskQuery())).records == (move.record,)
    assert noted.record.due != again.record.due
    assert await store.verify() == []


async def test_moves_of_one_task_in_one_batch_are_kept_in_order(
    store: SqliteStore, batches: list[int]
) -> None:
    """Each goes on from the one before, although none is durable yet.  Source: ours."""
    lives = [whole_life(f"t{number}") for number in range(5)]
    await asyncio.gather(*(store.commit(commit_of(move)) for moves in lives for move in moves))
    assert batches == [20]
    for moves in lives:
        assert await store.events(moves[0].record.task_id) == [move.event for move in moves]
    assert await store.verify() == []


async def test_refused_commits_do_not_fail_their_batch(
    store: SqliteStore, batches: list[int]
) -> None:
    """Stale ones, taken tokens, strange watches: all around them is written."""
    claim = Claim("ada", "m1", "t0", "d")
    ends = await asyncio.gather(
        store.commit(commit_of(submitted("t0"), claims=[claim])),
        store.commit(commit_of(submitted("t0"))),
        store.commit(commit_of(submitted("t1"), claims=[claim])),
        store.put_watch(replace(WEB, task_id="nobody")),
        store.put_watch(replace(WEB, task_id="t2")),
        store.drop_watch("nobody", "w"),
        store.drop_watch("t2", "w"),
        store.drop_watch("t2", "w"),
        store.commit(commit_of(submitted("t2"), watches=[replace(WEB, task_id="t2")])),
        store.put_watch(replace(WEB, task_id="t2", watch_id="w2")),
        store.advance_watch(replace(WEB, task_id="nobody"), replace(WEB, cursor=1)),
        store.advance_watch(replace(WEB, task_id="t2"), replace(WEB, cursor=1)),
        return_exceptions=True,
    )
    assert batches == [12]
    assert [type(end) for end in ends] == [
        *(type(None), Conflict, TokenTaken, StoreError, type(None)),
        *(bool, bool, bool, type(None), type(None), bool, bool),
    ]
    assert ends[5:8] == [False, True, False]
    assert ends[10:] == [False, True]
    assert str(ends[3]) == "no task 'nobody'"
    cursors = [(watch.watch_id, watch.cursor) for watch in await store.watches("t2")]
    assert cursors == [("w", 1), ("w2", WEB.cursor)]


async def test_a_watch_is_the_same_however_its_numbers_are_written(path: Path) -> None:
    """Or one from before an upgrade would be delivered to for ever.  Source: R-STORE-13."""
    watch = replace(WEB, config={"bound": 1e16})
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(submitted("t"), watches=[watch]))
    for change, same, cursors in (
        ("UPDATE watch SET cursor = 0, config = '{\"bound\": 1e16}'", True, [1]),
        ("UPDATE watch SET cursor = 0, config = '{\"bound\": 1e17}'", False, [0]),
        ("UPDATE watch SET cursor = 0, config = CAST(x'FF' AS TEXT)", False, []),
    ):
        changed(path, change)
        async with opened(lambda: SqliteStore(path)) as store:
            assert await store.advance_watch(watch, replace(watch, cursor=1)) == same
            assert [kept.cursor for kept in await store.watches("t")] == cursors


async def test_a_commit_cannot_claim_a_token_twice(store: SqliteStore) -> None:
    """Two requests with one token in one commit: nothing is written.  Source: I19."""
    claims = [Claim("ada", "m1", "t", "d1"), Claim("ada", "m1", "t", "d2")]
    error = await refused(store, commit_of(submitted("t"), claims=claims))
    assert isinstance(error, TokenTaken)
    assert error.claim == claims[0]
    assert await store.get("t") is None


async def test_who_is_cancelled_while_waiting_is_written_all_the_same(store: SqliteStore) -> None:
    """And the others of the batch are answered.  Source: `SqliteStore`."""
    given_up = asyncio.ensure_future(store.commit(commit_of(submitted("t0"))))
    await asyncio.sleep(0)
    given_up.cancel()
    await store.commit(commit_of(submitted("t1")))
    assert given_up.cancelled()
    assert await store.get("t0") is not None


@pytest.mark.parametrize(
    "commit",
    [
        commit_of(submitted("t", owner="half a \ud800 pair")),
        commit_of(submitted("half a \ud800 pair")),
        commit_of(submitted("t"), claims=[Claim("ada", "half a \ud800 pair", "t", "d")]),
        commit_of(submitted("t"), watches=[replace(WEB, channel="half a \ud800 pair")]),
        commit_of(submitted("t"), watches=[replace(WEB, given_up="half a \ud800 pair")]),
    ],
)
async def test_what_no_file_can_hold_is_refused_alone(commit: Commit, store: SqliteStore) -> None:
    """Text that is not Unicode never reaches the batch, where it would fail them all."""
    good = asyncio.ensure_future(store.commit(commit_of(submitted("good"))))
    with pytest.raises(StoreError, match="cannot be stored as JSON") as caught:
        await store.commit(commit)
    assert "half" not in str(caught.value)
    await good
    assert (await store.page(TaskQuery())).total == 1


@pytest.mark.parametrize("value", ["half a \ud800 pair", object(), {1: {object()}}])
async def test_payloads_that_are_not_json_are_refused(value: object, store: SqliteStore) -> None:
    """Without quoting them.  Source: COMMON, no secret in an error, R-STORE-09, T13."""
    move = submitted("t")
    event = replace(move.event, data={**move.event.data, "metadata": {"secret": value}})
    with pytest.raises(StoreError, match="cannot be stored as JSON") as caught:
        await store.commit(commit_of(move._replace(event=event)))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- faults ---------------------------------------------------------------------------


async def test_a_full_disk_fails_the_batch_and_nothing_else(
    handles: list[sqlite3.Connection], path: Path
) -> None:
    """Nothing of it is visible, reading goes on, and so does writing when there is room.

    Source: R-STORE-08.
    """
    async with opened(lambda: SqliteStore(path)) as store:
        await stored(store, whole_life("before"))
        (pages,) = handles[0].execute("PRAGMA page_count").fetchone()
        handles[0].execute(f"PRAGMA max_page_count = {pages}")
        moves = [submitted(f"t{number}", owner="a" * 9_000) for number in range(20)]
        ends = await asyncio.gather(
            *(store.commit(commit_of(move)) for move in moves),
            store.put_watch(replace(WEB, task_id="before")),
            return_exceptions=True,
        )
        assert {str(end) for end in ends} == {
            "nothing was written: database or disk is full (SQLITE_FULL)"
        }
        assert all(isinstance(end, StoreError) for end in ends)
        assert len(set(map(id, ends))) == len(ends), "each waiter needs an error of its own"
        assert await store.unfinished() == []
        assert await store.watches("before") == []
        assert await store.get("before") == whole_life("before")[-1].record
        handles[0].execute("PRAGMA max_page_count = 1000000")
        await asyncio.gather(*(store.commit(commit_of(move)) for move in moves))
        assert len(await store.unfinished()) == len(moves)
        assert await store.verify() == []


async def test_a_task_goes_on_after_its_commit_failed(
    handles: list[sqlite3.Connection], path: Path
) -> None:
    """What was remembered of it is what is stored, not what was tried.  Source: I36, R-STORE-08."""
    moves = whole_life("t")
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(moves[0]))
        with contextlib.closing(sqlite3.connect(path)) as rival:
            rival.execute("BEGIN IMMEDIATE")
            handles[0].execute("PRAGMA busy_timeout = 0")
            with pytest.raises(StoreError, match="locked"):
                await store.commit(commit_of(moves[1]))
            assert await store.get("t") == moves[0].record
            assert isinstance(await refused(store, commit_of(moves[2])), StoreError)
        assert isinstance(await refused(store, commit_of(moves[2])), Conflict)
        await stored(store, moves[1:])
        assert await store.verify() == []


async def test_a_fault_of_ours_on_the_thread_is_told(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A number that SQLite cannot hold: the waiters hear of it, and the thread lives on."""
    await store.commit(commit_of(submitted("t")))
    with pytest.raises(StoreError, match="nothing was written: OverflowError"):
        await store.put_watch(replace(WEB, cursor=2**70))
    assert "a batch of 1 could not be written" in caplog.text
    await store.put_watch(WEB)
    assert await store.watches("t") == [WEB]


async def test_a_connection_that_is_gone_leaves_nobody_waiting(
    handles: list[sqlite3.Connection],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Commits fail, idle work is skipped with a warning, closing works.  Source: ours."""
    monkeypatch.setattr(_sqlite_writer, "IDLE_S", 0.001)
    caplog.set_level(logging.WARNING)
    async with opened(lambda: SqliteStore(path)) as store:
        session = store._session if isinstance(store, SqliteStore) else None
        assert session is not None
        session.writer._changes_bytes = 1
        handles[0].close()
        with pytest.raises(StoreError, match="closed database"):
            await store.commit(commit_of(submitted("t")))
        await until(lambda: "cannot be moved into the database file" in caplog.text)
        with pytest.raises(StoreError, match="closed database"):
            await store.commit(commit_of(submitted("t")))


async def test_reading_never_waits_for_the_writer(store: SqliteStore, path: Path) -> None:
    """While somebody holds the right to write, everything can be read.

    Source: DESIGN 4, R-STORE-03.
    """
    await store.commit(commit_of(submitted("t")))
    with contextlib.closing(sqlite3.connect(path)) as rival:
        rival.execute("BEGIN IMMEDIATE")
        commit = asyncio.ensure_future(store.commit(commit_of(started(submitted("t")))))
        for _ in range(20):
            assert await store.get("t") == submitted("t").record
        assert not commit.done()
        rival.rollback()
        await commit
    assert await store.get("t") == started(submitted("t")).record


# --- what is remembered and moved -----------------------------------------------------


async def test_tasks_beyond_those_remembered_are_looked_up(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are live, each goes on from where it stands.  Source: ours."""
    monkeypatch.setattr(_sqlite_writer, "HEADS_MAX", 2)
    lives = [whole_life(f"t{number}") for number in range(7)]
    for moves in itertools.zip_longest(*lives):
        for move in moves:
            await store.commit(commit_of(move))
    assert await store.verify() == []
    assert all([await store.get(m[0].record.task_id) == m[-1].record for m in lives])


async def test_finalized_tasks_are_not_remembered(store: SqliteStore) -> None:
    """A store of millions of tasks remembers the live ones.  Source: ours."""
    await asyncio.gather(*(stored(store, whole_life(f"t{number}")) for number in range(9)))
    await store.commit(commit_of(submitted("live")))
    assert store._session is not None
    assert list(store._session.writer._heads) == ["live"]


async def test_changes_are_moved_into_the_file_when_idle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anybody waiting for it, and then never again for nothing.  Source: DESIGN 4."""
    monkeypatch.setattr(_sqlite_writer, "IDLE_S", 0.001)
    async with opened(lambda: SqliteStore(path)) as store:
        await until(lambda: path.stat().st_size > 0)
        await store.commit(commit_of(submitted("t" * 50_000)))
        await until(lambda: b"t" * 1_000 in path.read_bytes())


async def test_changes_are_moved_into_the_file_when_there_are_many(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a load that never rests, the log of changes stays small.  Source: DESIGN 4."""
    monkeypatch.setattr(_sqlite_writer, "CHANGES_BYTES_MAX", 1_000_000)
    log = path.with_name(path.name + "-wal")
    async with opened(lambda: SqliteStore(path)) as store:
        for number in range(60):
            move = submitted(f"t{number}")
            data = {**move.event.data, "metadata": {"long": "x" * 100_000}}
            await store.commit(commit_of(move._replace(event=replace(move.event, data=data))))
        assert log.stat().st_size < 3_000_000


# --- retention ------------------------------------------------------------------------


async def test_purged_events_are_not_missed(path: Path) -> None:
    """Acknowledged and gone on purpose is not lost, whichever were the newest.  Source: ours."""
    for round_ in range(3):
        async with opened(lambda: SqliteStore(path)) as store:
            await store.commit(commit_of(*whole_life(f"t{round_}", at=AT + round_)))
            await store.commit(commit_of(*whole_life("last", at=AT + 9)))
            assert await store.purge(AT + 1e9, keep=1) == [f"t{round_}"]
            assert await store.purge(AT + 1e9) == ["last"]
            assert await store.verify() == []
    lock = path.with_name(path.name + ".lock")
    assert lock.read_bytes()[:42].split()[1] == b"24"
    # What is lost after a purge is still noticed.
    copy = path.read_bytes()
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(*whole_life("lost")))
    path.write_bytes(copy)
    async with opened(lambda: SqliteStore(path)) as store:
        assert await store.verify() == [
            "the file: its newest 4 events are lost, or it is an old copy"
        ]


async def test_a_purge_is_all_or_nothing(path: Path, handles: list[sqlite3.Connection]) -> None:
    """When it fails nothing is gone, and the next one does it.  Source: R-STORE-12."""
    async with opened(lambda: SqliteStore(path)) as store:
        await stored(store, whole_life("t"), watches=[WEB])
        handles[0].execute(
            "CREATE TRIGGER no BEFORE DELETE ON watch BEGIN SELECT raise(FAIL, 'no'); END"
        )
        with pytest.raises(StoreError, match="nothing was written"):
            await store.purge(AT + 1e9)
        assert await store.events("t") == [move.event for move in whole_life("t")]
        handles[0].execute("DROP TRIGGER no")
        assert await store.purge(AT + 1e9) == ["t"]
        assert await store.verify() == []


async def test_a_large_task_is_purged_alone(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many events are let go at once, and no more than one task that has more."""
    monkeypatch.setattr(_sqlite_reader, "PURGED_EVENTS_MAX", 10)
    for number in range(5):
        await store.commit(commit_of(*whole_life(f"t{number}", at=AT + number)))
    assert await store.purge(AT + 1e9) == ["t0", "t1"]
    monkeypatch.setattr(_sqlite_reader, "PURGED_EVENTS_MAX", 1)
    assert await store.purge(AT + 1e9) == ["t2"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("UPDATE task SET phase = 'finalized' WHERE task_id = 'b'", "its row says finalized"),
        ("UPDATE task SET snapshot = '{}' WHERE task_id = 'a'", "its record cannot be read"),
    ],
)
async def test_what_cannot_be_trusted_is_not_purged(
    damage: str, why: str, damaged: Callable[..., SqliteStore]
) -> None:
    """A person may want to see it; the others go.  Source: issue 3, items 5 and 7."""
    broken = damaged(damage)
    async with opened(lambda: broken) as store:
        gone = await store.purge(AT + 1e9)
        kept = "a" if "'a'" in damage else "b"
        assert gone == [task_id for task_id in ("a", "c") if task_id != kept]
        assert store.quarantined()[kept].startswith(why)
        assert asked(broken._path, "SELECT task_id FROM task WHERE task_id <> 'b'") == (
            [("a",)] if kept == "a" else []
        )


async def test_free_pages_are_given_back_when_idle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few at a time, and not those that will soon be used again.  Source: issue 3, item 7."""
    monkeypatch.setattr(_sqlite_writer, "IDLE_S", 0.001)
    monkeypatch.setattr(_sqlite_writer, "FREE_PAGES_MAX", 20)
    monkeypatch.setattr(_sqlite_writer, "PAGES_GIVEN_MAX", 7)
    async with opened(lambda: SqliteStore(path)) as store:
        for number in range(9):
            first, *rest = whole_life(f"t{number}", at=AT + number)
            await store.commit(commit_of(bulky(first), *rest))
        await until(lambda: path.stat().st_size > 9 * 100_000)
        assert len(await store.purge(AT + 1e9)) == 9
        await until(lambda: asked(path, "PRAGMA freelist_count") == [(20,)])
        await until(lambda: path.stat().st_size < 60 * 4096)
        assert await store.verify() == []


async def test_what_is_forgotten_is_gone_from_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From free space, and from the log of changes as soon as nobody reads.  Source: R-STORE-14."""
    monkeypatch.setattr(_sqlite_writer, "IDLE_S", 0.001)
    log = path.with_name(f"{path.name}-wal")

    def held() -> int:
        return sum(file.read_bytes().count(b"canary") for file in (path, log))

    async with opened(lambda: SqliteStore(path)) as store:
        for number in range(3):
            first, *rest = whole_life(f"t{number}", at=AT + number)
            metadata = {"said": f"canary {number} " * 900}
            first = first._replace(event=with_metadata(first.event, metadata))
            await store.commit(commit_of(first, *rest))
        assert held() > 0
        with contextlib.closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            assert len(await store.purge(AT + 1e9)) == 3
            await until(lambda: log.stat().st_size > 0)
            assert held() > 0
        await until(lambda: held() == 0)
        assert await store.verify() == []


async def test_a_file_of_the_first_version_is_brought_up_and_purged(path: Path) -> None:
    """It keeps its free pages, having no map of them.  Source: DESIGN 4."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        for statement in _sqlite_schema.MIGRATIONS[0]:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {_sqlite_schema.APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(*whole_life("t")))
        assert await store.purge(AT + 1e9) == ["t"]
        assert await store.verify() == []


# --- what cannot be read --------------------------------------------------------------


@pytest.fixture
async def damaged(path: Path) -> Callable[..., SqliteStore]:
    """A function that changes a stored file by SQL, and makes a store over it."""
    async with opened(lambda: SqliteStore(path)) as store:
        for moves in (whole_life("a"), whole_life("b")[:2], whole_life("c")):
            task_id = moves[0].record.task_id
            await stored(store, moves, watches=[replace(WEB, task_id=task_id)])

    def damage(*statements: str) -> SqliteStore:
        changed(path, *statements)
        return SqliteStore(path)

    return damage


@pytest.mark.parametrize(
    "snapshot",
    [
        "'{}'",
        "'not JSON'",
        "''",
        "CAST(x'ff00fe' AS TEXT)",
        'replace(snapshot, \'"phase":"running"\', \'"phase":"completed"\')',
        "(SELECT snapshot FROM task WHERE task_id = 'a')",
    ],
)
async def test_a_record_that_cannot_be_read_is_named(
    snapshot: str, damaged: Callable[..., SqliteStore]
) -> None:
    """Whoever wants it is told which it is; whoever wants all that is due gets the others.

    Source: R-STORE-10.
    """
    broken = damaged(f"UPDATE task SET snapshot = {snapshot} WHERE task_id = 'b'")
    async with opened(lambda: broken) as store:
        with pytest.raises(StoreCorrupt, match=r"^task 'b': its record") as caught:
            await store.get("b")
        assert caught.value.task_id == "b"
        assert list(store.quarantined()) == ["b"]
        assert store.quarantined()["b"].startswith("its record")
        page = await store.page(TaskQuery(limit=2))
        assert [record.task_id for record in page.records] == ["c", "a"]
        assert (page.total, page.next_cursor) == (3, None)
        for records in (await store.unfinished(), await store.due(AT + 1e9, (0.0, ""))):
            assert "b" not in {record.task_id for record in records}
        assert await store.get("a") == whole_life("a")[-1].record
        (finding,) = await store.verify()
        assert finding.startswith("task 'b': its record")


@pytest.mark.parametrize(
    "change",
    [
        "trigger = 'jump'",
        "source = 'no phase'",
        "dest = 'no phase'",
        "data = 'not JSON'",
        "data = '[1]'",
        "data = CAST(x'ff' AS TEXT)",
        "actor = CAST(x'ff' AS TEXT)",
    ],
)
async def test_an_event_that_cannot_be_read_is_named(
    change: str, damaged: Callable[..., SqliteStore]
) -> None:
    """Its task and its number; the log of no other task is touched.  Source: DESIGN 4."""
    where = "seq = 2 AND task = (SELECT n FROM task WHERE task_id = 'b')"
    broken = damaged(f"UPDATE event SET {change} WHERE {where}")
    async with opened(lambda: broken) as store:
        with pytest.raises(StoreCorrupt, match=r"^task 'b': event 2 cannot be read$"):
            await store.events("b")
        assert await store.events("b", 0, 1) == [submitted("b").event]
        assert len(await store.events("a")) == 4
        assert await store.verify() == [
            "task 'b': the hash chain breaks at event 2",
            "task 'b': event 2 cannot be read",
        ]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (
            """
            UPDATE event SET dest = 'waiting_for_godot'
            WHERE seq = 2 AND task = (SELECT n FROM task WHERE task_id = 'b')
            """,
            "event 2 cannot be read",
        ),
        (
            """
            UPDATE task SET snapshot = json_set(snapshot, '$.phase', 'waiting_for_godot')
            WHERE task_id = 'b'
            """,
            "its record cannot be read",
        ),
    ],
)
async def test_a_phase_of_another_lifecycle_says_what_is_missing(
    damage: str, why: str, damaged: Callable[..., SqliteStore]
) -> None:
    """Nothing is broken then: only the lifecycle was not named.  Source: R-STORE-10."""
    broken = damaged(damage)
    async with opened(lambda: broken) as store:
        findings = await store.verify()
    hint = f"{why}: it has a phase 'waiting_for_godot', so name the lifecycle that has it"
    assert f"task 'b': {hint}" in findings


@pytest.mark.parametrize(
    "change", ["config = '[1]'", "config = '{'", "channel = CAST(x'ff' AS TEXT)"]
)
async def test_a_watch_that_cannot_be_read_is_named(
    change: str, damaged: Callable[..., SqliteStore]
) -> None:
    """Source: DESIGN 4."""
    where = "task = (SELECT n FROM task WHERE task_id = 'b')"
    broken = damaged(f"UPDATE watch SET {change} WHERE {where}")
    async with opened(lambda: broken) as store:
        assert await store.watches("b") == []
        assert [watch.task_id for watch in await store.behind()] == ["a", "c"]
        assert len(await store.behind(1)) == 1
        assert await store.behind(0) == []
        assert store.quarantined() == {"b": "a watch cannot be read"}
        assert len(await store.watches("a")) == 1
        assert await store.verify() == ["task 'b': a watch cannot be read"]


async def test_an_error_that_somebody_keeps_holds_back_no_reader(
    damaged: Callable[..., SqliteStore],
) -> None:
    """What is read after it is as of then, not as of the error.  Source: ours."""
    where = "seq = 1 AND task = (SELECT n FROM task WHERE task_id = 'b')"
    broken = damaged(f"UPDATE event SET trigger = 'jump' WHERE {where}")
    async with opened(lambda: broken) as store:
        with pytest.raises(StoreCorrupt) as kept:
            await store.events("b")
        await store.commit(commit_of(submitted("new")))
        assert await store.get("new") == submitted("new").record
        del kept


async def test_pages_of_bad_rows_are_walked_across(path: Path) -> None:
    """However many of them stand side by side, nobody behind them is lost.

    Source: I37, R-STORE-10.
    """
    async with opened(lambda: SqliteStore(path)) as store:
        for number in range(9):
            await store.commit(commit_of(submitted(f"t{number}", at=AT + number)))
    changed(path, "UPDATE task SET snapshot = '{}' WHERE task_id BETWEEN 't2' AND 't7'")
    async with opened(lambda: SqliteStore(path)) as store:
        for limit in range(1, 5):
            seen: list[str] = []
            query = TaskQuery(limit=limit)
            while True:
                page = await store.page(query)
                seen.extend(record.task_id for record in page.records)
                assert len(seen) <= 3
                if page.next_cursor is None:
                    break
                query = replace(query, cursor=page.next_cursor)
            assert seen == ["t8", "t1", "t0"]
        assert [r.task_id for r in await store.unfinished("t0", 2)] == ["t1", "t8"]
        assert [r.task_id for r in await store.due(AT + 9e9, (0.0, ""), 2)] == ["t0", "t1"]
        assert await store.unfinished("", 0) == []
        assert await store.due(AT + 9e9, (0.0, ""), 0) == []


async def test_a_record_on_a_bad_page_stops_no_list(path: Path) -> None:
    """SQLite itself gives up at it: the others are read one by one.  Source: I37."""
    async with opened(lambda: SqliteStore(path)) as store:
        for task_id in "abc":
            move = submitted(task_id)
            closed = ("long " * 20_000,) if task_id == "b" else ()
            await store.commit(commit_of(move._replace(record=replace(move.record, closed=closed))))
    at = (path.read_bytes().index(b"long " * 400) // 4096 + 3) * 4096
    # The first four bytes of such a page are the number of the next.
    flipped(path, at, b"\x7f\xff\xff\xff")
    async with opened(lambda: SqliteStore(path)) as store:
        found = [await store.unfinished(), await store.due(AT + 9e9, (0.0, ""))]
        found.append(list((await store.page(TaskQuery())).records))
        for records in found:
            assert {record.task_id for record in records} == {"a", "c"}
        assert list(store.quarantined()) == ["b"]


async def test_a_name_that_is_not_unicode_names_nothing(store: SqliteStore) -> None:
    """It is refused with an error of ours.  Source: ours."""
    with pytest.raises(StoreError, match="not Unicode"):
        await store.get("half a \ud800 pair")


# --- verify ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "findings"),
    [
        (
            "UPDATE task SET chain = zeroblob(16) WHERE task_id = 'b'",
            ["task 'b': the hash chain does not end where its record says"],
        ),
        (
            "UPDATE event SET chain = zeroblob(16) WHERE task = 2 AND seq = 1",
            ["task 'b': the hash chain breaks at event 1"],
        ),
        (
            "UPDATE event SET actor = 'eve' WHERE task = 2 AND seq = 2",
            ["task 'b': the hash chain breaks at event 2"],
        ),
        (
            "UPDATE event SET data = '{}' WHERE task = 2 AND seq = 2",
            [
                "task 'b': the hash chain breaks at event 2",
                "task 'b': event 2 holds no data of start (KeyError)",
            ],
        ),
        (
            "UPDATE task SET owner = 'eve', due = NULL, shown = 'failed' WHERE task_id = 'b'",
            [
                "task 'b': column owner is not what its record says",
                "task 'b': column shown is not what its record says",
                "task 'b': column due is not what its record says",
            ],
        ),
        (
            "UPDATE task SET snapshot = replace(snapshot, '\"attempt\":1', '\"attempt\":2')",
            [
                f"task '{task_id}': the record is not what its log amounts to"
                for task_id in ("a", "b", "c")
            ],
        ),
        (
            "UPDATE task SET snapshot = replace(snapshot, '\"calls\":', '\"cells\":')",
            [
                f"task '{task_id}': its record has a field that no record has"
                for task_id in ("a", "b", "c")
            ],
        ),
        (
            "DELETE FROM task WHERE task_id = 'b'",
            [
                "table event: rows that belong to no task",
                "table watch: rows that belong to no task",
            ],
        ),
    ],
)
async def test_each_finding_is_a_sentence(
    change: str, findings: list[str], damaged: Callable[..., SqliteStore]
) -> None:
    """What is wrong, with which task; all others are checked all the same.  Source: T28."""
    broken = damaged(change)
    async with opened(lambda: broken) as store:
        assert await store.verify() == findings


async def test_events_cannot_be_moved_to_another_task(path: Path) -> None:
    """Two tasks that differ in nothing but their ids: the chain knows them apart.

    Source: R-STORE-06.
    """
    async with opened(lambda: SqliteStore(path)) as store:
        for task_id in ("a", "b"):
            await stored(store, whole_life(task_id)[:2])
    changed(
        path,
        "UPDATE event SET task = 9 WHERE task = 1 AND seq = 2",
        "UPDATE event SET task = 1 WHERE task = 2 AND seq = 2",
        "UPDATE event SET task = 2 WHERE task = 9 AND seq = 2",
        "UPDATE task SET chain = (SELECT chain FROM event WHERE task = n AND seq = 2)",
    )
    async with opened(lambda: SqliteStore(path)) as store:
        assert await store.verify() == [
            "task 'a': the hash chain breaks at event 2",
            "task 'b': the hash chain breaks at event 2",
        ]


async def test_many_tasks_are_verified_part_by_part(store: SqliteStore) -> None:
    """More than are checked as of one moment.  Source: ours."""
    await asyncio.gather(*(stored(store, whole_life(f"t{n:03}")) for n in range(230)))
    assert await store.verify() == []


def flipped(path: Path, at: int, new: bytes) -> None:
    """Overwrite bytes of the file, as a bad disk would."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(new)


def bulky(move: Move) -> Move:
    """A move whose event needs many pages."""
    return move._replace(event=with_metadata(move.event, {"long": "long " * 20_000}))


def with_metadata(event: Event, metadata: object) -> Event:
    """The event with more in its payload."""
    return replace(event, data={**event.data, "metadata": metadata})


async def test_a_task_on_a_bad_page_is_a_finding(path: Path) -> None:
    """SQLite itself cannot read it; whoever wants it is told, and the others are not harmed."""
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(submitted("a")))
        await store.commit(commit_of(bulky(submitted("b"))))
        await store.commit(commit_of(submitted("c")))
    page = path.read_bytes().index(b"long " * 400) // 4096 + 3
    # The first four bytes of such a page are the number of the next.
    flipped(path, page * 4096, b"\x7f\xff\xff\xff")
    async with opened(lambda: SqliteStore(path)) as store:
        with pytest.raises(StoreCorrupt, match="malformed"):
            await store.events("b")
        assert await store.events("c") == [submitted("c").event]
        findings = await store.verify()
    assert any(finding.startswith("the file: ") for finding in findings)
    assert "the task in row 2 cannot be read: database disk image is malformed" in findings
    assert not any("'a'" in finding or "'c'" in finding for finding in findings)


async def test_a_file_that_falls_apart_while_open_is_a_finding(path: Path) -> None:
    """Even its head is rubbish: everything raises, and `verify` still answers.  Source: ours."""
    async with opened(lambda: SqliteStore(path)) as store:
        await store.commit(commit_of(submitted("a")))
    async with opened(lambda: SqliteStore(path)) as store:
        head = path.read_bytes()[:4096]
        flipped(path, 0, b"\xa5" * 4096)
        with pytest.raises(StoreCorrupt, match="not a database"):
            await store.get("a")
        findings = await store.verify()
        flipped(path, 0, head)
    assert findings[0].startswith("the file: ")
    assert findings[-1].startswith("the tasks behind row 0 cannot be found: ")


@pytest.mark.parametrize("column", ["at", "epoch", "trigger", "source", "dest", "actor", "data"])
async def test_a_change_to_any_event_is_noticed(column: str, path: Path) -> None:
    """Bad disk or bad intent: every column of every event is in the chain.

    Source: T28, R-STORE-06.
    """
    lives = every_phase()
    async with opened(lambda: SqliteStore(path)) as store:
        for moves in lives:
            await stored(store, moves)
    sound = path.read_bytes()
    for seq in range(1, 1 + max(len(moves) for moves in lives)):
        path.write_bytes(sound)
        number = column in {"at", "epoch"}
        changed_to = f"{column} + 1" if number else f"ifnull({column}, '') || ' '"
        changed(path, f"UPDATE event SET {column} = {changed_to} WHERE seq = {seq}")
        async with opened(lambda: SqliteStore(path)) as store:
            findings = await store.verify()
        for moves in lives:
            finding = f"task {moves[0].record.task_id!r}: the hash chain breaks at event {seq}"
            assert (finding in findings) == (seq <= len(moves))


# --- verify: what stands beside the log -----------------------------------------------


async def traveller(task: TaskContext) -> str:
    """Asks where to and when, then for leave, again and again until it is denied."""
    where = await task.ask("Where to?", {})
    await task.ask("When?", {}, default="soon")
    await task.ask("With whom?", {}, default=None)
    while True:
        await task.authorize("book", {"seats": [1, "é"]}, allow_edit=True)
        await task.progress(f"booked for {where}")


T0: Final = "t"
T1: Final = "u"
#: Some of what can be said of what the traveller asks, in this order.
SAID: Final[tuple[JsonObject, ...]] = (
    {"value": {"deep": [1e22, -0.0, 10**30, "東京 🗼", None]}},
    {"decline": True},
    {"decline": True, "reason": "秘"},
    {"decision": "approve"},
    {"decision": "approve", "reason": "why not?", "arguments": {"seats": [1, "é"]}},
    # To Python that is the same, and to JSON it is not.
    {"decision": "approve", "arguments": {"seats": [True, "é"]}},
    {"decision": "approve", "arguments": {"seats": [2, "é"]}},
    {"decision": "deny", "reason": "enough"},
)


async def test_whatever_is_said_with_a_token_fits_its_claim(path: Path) -> None:
    """What `verify` thinks that a claim is for is what the engine claims it for."""
    store = SqliteStore(path)
    async with asyncio.timeout(60), Engine({"traveller": traveller}, store=store) as engine:
        await engine.submit("no token", owner="ada")
        await engine.submit("no agent", owner="ada", token=T1)
        task = await engine.submit(
            [Part(text="é"), Part(data=[0.1, 5e-324])],
            owner="ada",
            agent="traveller",
            token=T0,
            metadata={"b": 1.0, "a": [{}]},
        )
        for number, said in enumerate(SAID):
            (ask,) = (await task.rest()).asks
            body: JsonObject = {"ask": ask.key, **said}
            token = f"t{number}"
            if "decline" in said:
                reason = said.get("reason")
                assert reason is None or isinstance(reason, str)
                await task.decline(ask.key, reason=reason, token=token)
                continue
            if "decision" not in said:
                answer = Answer.model_validate(body)
                await engine.answer(task.task_id, answer, owner="ada", token=token)
                continue
            body["digest"] = ask.digest
            kind = Approval if said["decision"] == "approve" else Denial
            decision = kind.model_validate(body)
            await engine.decide(task.task_id, decision, owner=None, actor="bob", token=token)
        await task.over()
        assert await store.verify() == []
    assert asked(path, "SELECT count(*) FROM claim") == [(len(SAID) + 2,)]
    changed(path, "UPDATE claim SET digest = upper(digest) || 'f'")
    async with opened(lambda: store):
        assert len(await store.verify()) == len(SAID) + 2


@pytest.fixture
async def claiming(path: Path) -> Callable[..., SqliteStore]:
    """As `damaged`: two tasks with a token each, and a watch that has seen the second."""
    async with opened(lambda: SqliteStore(path)) as store:
        for task_id in ("a", "b"):
            moves = whole_life(task_id, token=f"m {task_id}")
            await store.commit(commit_of(*moves, claims=[claim_of(moves[0])]))
        await store.put_watch(Watch("w", "b", "web", {"secret": "hush"}, 4))

    def damage(*statements: str) -> SqliteStore:
        changed(path, *statements)
        return SqliteStore(path)

    return damage


@pytest.mark.parametrize(
    ("change", "findings"),
    [
        ("DELETE FROM watch", []),
        (
            "UPDATE claim SET digest = 'f' || substr(digest, 2) WHERE task = 2",
            ["task 'b': the claim of token 'm b' is not for what event 1 says"],
        ),
        (
            "UPDATE claim SET digest = CAST(x'ff' AS TEXT) WHERE task = 2",
            ["task 'b': the claim of token 'm b' is not for what event 1 says"],
        ),
        (
            "UPDATE claim SET token = 'm c' WHERE task = 2",
            [
                "task 'b': nobody claims token 'm b' of event 1",
                "task 'b': its claim of token 'm c' belongs to no event",
            ],
        ),
        (
            f"UPDATE claim SET token = '{'long ' * 50}' WHERE task = 2",
            [
                "task 'b': nobody claims token 'm b' of event 1",
                f"task 'b': its claim of token {'long ' * 16!r} belongs to no event",
            ],
        ),
        (
            "UPDATE claim SET token = CAST(x'ff' AS TEXT) WHERE task = 2",
            [
                "task 'b': nobody claims token 'm b' of event 1",
                r"task 'b': its claim of token '\udcff' belongs to no event",
            ],
        ),
        (
            "UPDATE claim SET owner = 'eve' WHERE task = 2",
            [
                "task 'b': nobody claims token 'm b' of event 1",
                "task 'b': its claim of token 'm b' is that of another owner",
            ],
        ),
        (
            "UPDATE claim SET task = 1 WHERE task = 2",
            [
                "task 'a': its claim of token 'm b' belongs to no event",
                "task 'b': nobody claims token 'm b' of event 1",
            ],
        ),
        (
            "UPDATE claim SET task = 9 WHERE task = 2",
            [
                "table claim: rows that belong to no task",
                "task 'b': nobody claims token 'm b' of event 1",
            ],
        ),
        (
            "DELETE FROM claim WHERE task = 1",
            ["task 'a': nobody claims token 'm a' of event 1"],
        ),
        (
            "UPDATE watch SET cursor = 5",
            ["task 'b': a watch is said to have seen event 5, and there are 4"],
        ),
        (
            "UPDATE watch SET cursor = -1",
            ["task 'b': a watch is said to have seen event -1, and there are 4"],
        ),
        (
            "DROP TABLE claim",
            [f"task {task!r}: its claims cannot be read: no such table: claim" for task in "ab"],
        ),
        (
            "DROP TABLE watch",
            [f"task {task!r}: its watches cannot be read: no such table: watch" for task in "ab"],
        ),
        ("UPDATE watch SET task = 9", ["table watch: rows that belong to no task"]),
        ('UPDATE watch SET config = \'{"secret": "hush\'', ["task 'b': a watch cannot be read"]),
    ],
)
async def test_a_claim_or_a_watch_that_does_not_fit_its_log_is_found(
    change: str, findings: list[str], claiming: Callable[..., SqliteStore]
) -> None:
    """Or a repeated message could make a second task.  Source: the fault harness."""
    broken = claiming(change)
    async with opened(lambda: broken) as store:
        assert await store.verify() == findings


async def test_a_watch_or_a_claim_of_the_wrong_type_is_found(
    claiming: Callable[..., SqliteStore], path: Path
) -> None:
    """A flipped bit in the head of a row makes a text of a number: that stops nothing."""
    for table in ("claim", "watch"):
        (sql,) = asked(path, f"SELECT sql FROM sqlite_schema WHERE name = '{table}'")[0]
        lax = str(sql).replace("STRICT, ", "").replace("STRICT", "")
        changed(
            path,
            "PRAGMA writable_schema = ON",
            f"UPDATE sqlite_schema SET sql = '{lax}' WHERE name = '{table}'",
        )
    broken = claiming(
        "UPDATE watch SET cursor = x'05'",
        "UPDATE claim SET token = x'05' WHERE task = 1",
        "UPDATE claim SET digest = x'05' WHERE task = 2",
    )
    async with opened(lambda: broken) as store:
        assert await store.verify() == [
            "task 'a': nobody claims token 'm a' of event 1",
            r"task 'a': its claim of token '\x05' belongs to no event",
            "task 'b': the claim of token 'm b' is not for what event 1 says",
            "task 'b': a watch is said to have seen no number of an event",
        ]


async def test_a_claim_is_judged_only_by_a_log_that_can_be_read(
    claiming: Callable[..., SqliteStore],
) -> None:
    """What an event says that was changed fits no claim, and need not even be a token."""
    other = "replace(data, '\"m b\"', '[1]')"
    broken = claiming(
        'UPDATE event SET data = \'{"token":"m a"}\' WHERE task = 1 AND seq = 1',
        f"UPDATE event SET data = {other} WHERE task = 2 AND seq = 1",
    )
    async with opened(lambda: broken) as store:
        findings = await store.verify()
    assert "task 'a': the hash chain breaks at event 1" in findings
    assert "task 'a': the claim of token 'm a' is not for what event 1 says" in findings
    assert "task 'b': the hash chain breaks at event 1" in findings
    assert "task 'b': its claim of token 'm b' belongs to no event" in findings


# --- how much it reads ----------------------------------------------------------------


async def test_a_page_of_nothing_has_no_next(store: SqliteStore) -> None:
    """Who asks for no tasks gets the count, and no cursor that leads nowhere.  Source: ours."""
    await store.commit(commit_of(submitted("t")))
    page = await store.page(TaskQuery(limit=0, shown=frozenset({Phase.SUBMITTED})))
    assert (page.records, page.total, page.next_cursor) == ((), 1, None)
