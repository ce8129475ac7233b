"""A copy of a stored file, beside a running server or without one, that is whole or is not there.

R-SVC-05.  Threats: T28.
"""

import asyncio
import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from interlock import Engine, Limits, SqliteStore, TaskContext, backup
from interlock import _sqlite_backup as backing_up
from interlock._sqlite_doctor import looking_at
from interlock._sqlite_schema import MIGRATIONS, opened_for_writing
from interlock._store import Store
from interlock.errors import StoreCorrupt, StoreError, StoreTooNew
from interlock.testing import ManualClock
from interlock.testing._store_contract import (
    commit_of,
    every_phase,
    started,
    stored,
    submitted,
    whole_life,
)
from support import OWNER, drained, soon


async def agent(task: TaskContext) -> str:
    """Asks once."""
    return await task.ask("Which city?")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    (tmp_path / "copies").mkdir()
    return tmp_path / "tasks.db"


@pytest.fixture
def target(path: Path) -> Path:
    """Where a copy shall be."""
    return path.parent / "copies" / "copy.db"


async def fill(store: Store) -> None:
    """Tasks in every phase."""
    await store.open()
    for moves in every_phase():
        await stored(store, moves)


@pytest.fixture
def source(path: Path) -> Path:
    """A file with tasks in every phase, which nobody has open."""

    async def made() -> None:
        store = SqliteStore(path)
        await fill(store)
        await store.close()

    asyncio.run(made())
    return path


def removed(*paths: Path) -> None:
    """Take files away."""
    for path in paths:
        path.unlink()


def there(target: Path) -> list[str]:
    """What lies where the copy goes."""
    return sorted(each.name for each in target.parent.iterdir())


def test_a_copy_of_a_stopped_file_is_the_same(source: Path, target: Path) -> None:
    """As large as it says, and nothing else lies beside it.  Source: R-SVC-05."""
    before = source.read_bytes()
    made = backup(source, target)
    lives = every_phase()
    assert (made.path, made.findings) == (str(target), ())
    assert (made.tasks, made.events) == (len(lives), sum(map(len, lives)))
    assert made.file_bytes == target.stat().st_size
    assert there(target) == ["copy.db"]
    assert source.read_bytes() == before


async def test_a_copy_is_a_store(source: Path, target: Path) -> None:
    """Task by task the same, and sound.  Source: R-SVC-05."""
    backup(source, target)
    copy = SqliteStore(target)
    await copy.open()
    for moves in every_phase():
        record = moves[-1].record
        assert await copy.get(record.task_id) == record
        assert await copy.events(record.task_id) == [move.event for move in moves]
    assert await copy.verify() == []
    await copy.close()


async def test_a_copy_beside_a_running_server_is_of_one_moment(
    path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed meanwhile is not in it, nor does it begin anew.  Source: R-SVC-05."""
    monkeypatch.setattr(backing_up, "PAGES_AT_ONCE", 4)
    store = SqliteStore(path)
    await fill(store)
    for number in range(60):
        await store.commit(commit_of(*whole_life(f"more {number}")))
    loop = asyncio.get_running_loop()
    copied: list[int] = []

    def progress(what: str, done: int, of: int) -> None:
        if what != "copying":
            return
        assert max(copied, default=0) < done <= of, "it began anew"
        copied.append(done)
        late = store.commit(commit_of(submitted(f"late {len(copied)}")))
        asyncio.run_coroutine_threadsafe(late, loop).result(5.0)

    made = await asyncio.to_thread(backup, path, target, progress=progress)
    assert len(copied) > 5
    assert made.findings == ()
    assert made.tasks == len(every_phase()) + 60
    # The server never noticed.
    assert await store.get("late 1") is not None
    assert await store.verify() == []
    await store.close()


def test_progress_is_told_to_the_end(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First what is copied, then what is checked; each up to all there is.  Source: R-SVC-05."""
    monkeypatch.setattr(backing_up, "PAGES_AT_ONCE", 4)
    told: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, of: int) -> None:
        told.append((what, done, of))

    backup(source, target, progress=progress)
    whats = [what for what, _, _ in told]
    assert whats == sorted(whats, reverse=True)
    for what in ("copying", "checking"):
        mine = [(done, of) for which, done, of in told if which == what]
        assert mine == sorted(mine)
        assert mine[-1][0] == mine[-1][1]
    assert whats.count("copying") > 2


async def test_an_engine_goes_on_from_a_copy(path: Path, target: Path) -> None:
    """Also by way of the first place, once all is moved away.  Source: R-SVC-05."""
    clock = ManualClock()
    engine = Engine(agent, store=SqliteStore(path), clock=clock, limits=Limits())
    await engine.start()
    handle = await engine.submit("go", owner=OWNER)
    await soon(handle.rest())
    await asyncio.to_thread(backup, path, target)
    await handle.answer("ask-1", "Rome")
    assert await soon(handle.result()) == "Rome"
    await drained(engine, clock)
    with pytest.raises(StoreError, match="is there already"):
        backup(target, path)
    removed(path)
    with pytest.raises(StoreError, match=r"tasks.db.lock is there, of another database"):
        backup(target, path)
    removed(*path.parent.glob("tasks.db*"))
    backup(target, path)
    store = SqliteStore(path)
    engine = Engine(agent, store=store, clock=clock, limits=Limits())
    await engine.start()
    again = await engine.task(handle.task_id, owner=OWNER)
    await again.answer("ask-1", "Oslo")
    assert await soon(again.result()) == "Oslo"
    assert await store.verify() == []
    await drained(engine, clock)


def test_nothing_is_ever_replaced(source: Path, target: Path) -> None:
    """Not a file, not a link to nowhere, not what lies beside.  Source: R-SVC-05."""
    for beside in ("", "-wal", "-shm", "-journal", ".lock"):
        other = target.with_name(target.name + beside)
        other.write_text("precious")
        with pytest.raises(StoreError, match="is there"):
            backup(source, target)
        assert other.read_text() == "precious"
        other.unlink()
    target.symlink_to(source.parent / "nowhere")
    with pytest.raises(StoreError, match="is there already"):
        backup(source, target)
    target.unlink()
    with pytest.raises(StoreError, match="is there already"):
        backup(source, source)
    assert there(target) == []


@pytest.mark.parametrize("link", [os.link, None], ids=["links", "no links"])
def test_what_turns_up_meanwhile_is_not_replaced(
    link: object, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is quicker has the name; on file systems without links too.  Source: R-SVC-05."""

    def no_link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link or no_link)
    with pytest.raises(StoreError, match="is there by now"):
        backup(source, target, progress=lambda _what, _done, _of: _touched(target))
    assert target.read_text() == "precious"
    assert there(target) == ["copy.db"]
    target.unlink()
    assert backup(source, target).findings == ()
    assert there(target) == ["copy.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def _touched(path: Path) -> None:
    path.write_text("precious")


def test_what_is_given_up_leaves_nothing(source: Path, target: Path) -> None:
    """Whether while copying or while checking.  Source: R-SVC-05."""
    for when in ("copying", "checking"):

        def progress(what: str, _done: int, _of: int, when: str = when) -> None:
            if what == when:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backup(source, target, progress=progress)
        assert there(target) == []


def test_a_file_that_cannot_be_opened_is_a_failure_of_the_store(path: Path) -> None:
    """It may be gone since it was looked for, or somebody else's alone.  Source: R-ENG-19."""
    with pytest.raises(StoreError, match="cannot be read"), looking_at(path):
        pass


def test_what_is_no_store_is_not_copied(path: Path, target: Path) -> None:
    """Nothing, something else, or of a newer version.  Source: R-SVC-05."""
    with pytest.raises(StoreError, match="there is no file"):
        backup(path, target)
    path.write_text("no database at all, but long enough to be looked at as if it were one" * 20)
    with pytest.raises(StoreCorrupt):
        backup(path, target)
    path.unlink()
    asked(path, ["CREATE TABLE other (x)"])
    with pytest.raises(StoreCorrupt, match="something else"):
        backup(path, target)
    asked(path, [f"PRAGMA application_id = {0x494C4B31}", f"PRAGMA user_version = {VERSION + 1}"])
    with pytest.raises(StoreTooNew):
        backup(path, target)
    good = path.with_name("good.db")
    opened_for_writing(good).db.close()
    with pytest.raises(StoreError, match="cannot be written"):
        backup(good, target / "no" / "x.db")
    assert there(target) == []


VERSION = len(MIGRATIONS)


def asked(path: Path, statements: Sequence[str]) -> None:
    """Run the statements."""
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


async def test_what_is_wrong_is_copied_and_told(path: Path, target: Path) -> None:
    """The rest of it is still worth having.  Source: R-SVC-05, I37, T28."""
    store = SqliteStore(path)
    await store.open()
    for name in ("good", "bad"):
        await store.commit(commit_of(submitted(name), started(submitted(name))))
    await store.close()
    asked(
        path,
        [
            "UPDATE task SET snapshot = '{}' WHERE task_id = 'bad'",
            "INSERT INTO claim (owner, token, task, digest) VALUES ('ada', 'm', 99, 'd')",
        ],
    )
    made = backup(path, target)
    assert made.tasks == 2
    assert "table claim: rows that belong to no task" in made.findings
    assert any("'bad'" in finding for finding in made.findings), made.findings
    assert not any("'good'" in finding for finding in made.findings), made.findings
    copy = SqliteStore(target)
    await copy.open()
    assert await copy.get("good") is not None
    await copy.close()
