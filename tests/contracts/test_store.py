"""Every store keeps the promises of `interlock._store.Store`: the forgetful and the durable one."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from interlock._event import Event
from interlock._phases import OUTCOMES, OVER, Phase
from interlock._record import TaskRecord
from interlock._sqlite import SqliteStore
from interlock._store import (
    Commit,
    MemoryStore,
    Store,
    TaskPage,
    TaskQuery,
    TokenTaken,
    Watch,
)
from interlock.errors import Conflict
from interlock.testing._store_contract import (
    DURABLE_STORE_CHECKS,
    STORE_CHECKS,
    StoreCheck,
    check_verify_finds_tampering,
)


def name_of(check: StoreCheck) -> str:
    """The promise, for the name of the test."""
    return getattr(check, "__name__", repr(check)).removeprefix("check_")


@pytest.mark.parametrize("check", STORE_CHECKS, ids=name_of)
async def test_the_memory_store_keeps_its_promises(check: StoreCheck) -> None:
    """Source: the docstrings of `Store`, R-STORE-01."""
    async with asyncio.timeout(60):
        await check(MemoryStore)


@pytest.mark.parametrize("check", [*STORE_CHECKS, *DURABLE_STORE_CHECKS], ids=name_of)
async def test_the_sqlite_store_keeps_its_promises(check: StoreCheck, tmp_path: Path) -> None:
    """Source: the docstrings of `Store`, R-STORE-01."""
    async with asyncio.timeout(60):
        await check(lambda: SqliteStore(tmp_path / "tasks.db"))


async def test_the_memory_store_notices_tampering() -> None:
    """A record that its log does not amount to becomes a sentence.  Source: `Store.verify`."""
    store = MemoryStore()

    def the_store() -> Store:
        return store

    async def tamper(task_id: str) -> None:
        kept = store._tasks[task_id]
        kept.record = replace(kept.record, attempt=9)

    async with asyncio.timeout(60):
        await check_verify_finds_tampering(the_store, tamper)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE task SET snapshot = replace(snapshot, '\"attempt\":1', '\"attempt\":9')",
        "UPDATE task SET snapshot = '{}'",
        "UPDATE task SET owner = 'mallory'",
        "UPDATE task SET due = 1.5",
        "UPDATE event SET data = replace(data, 'done', 'dome') WHERE seq = 3",
        "UPDATE event SET actor = 'mallory' WHERE seq = 2",
        "UPDATE event SET at = at + 1 WHERE seq = 2",
        "DELETE FROM event WHERE seq = 4",
        "DELETE FROM event WHERE seq = 2",
    ],
)
async def test_the_sqlite_store_notices_tampering(change: str, tmp_path: Path) -> None:
    """Changed, cut or lost: a record, a column, an event.  Source: INVARIANTS T28."""

    async def tamper(task_id: str) -> None:
        db = sqlite3.connect(tmp_path / "tasks.db")
        (number,) = db.execute("SELECT n FROM task WHERE task_id = ?", (task_id,)).fetchone()
        which = ("AND" if "WHERE" in change else "WHERE", "task" if " event" in change else "n")
        done = db.execute(f"{change} {which[0]} {which[1]} = ?", (number,))
        assert done.rowcount == 1
        db.commit()
        db.close()

    async with asyncio.timeout(60):
        await check_verify_finds_tampering(lambda: SqliteStore(tmp_path / "tasks.db"), tamper)


# --- stores that break one promise each -----------------------------------------------


class OverwritesConflicts(MemoryStore):
    """Says yes to a stale commit."""

    async def commit(self, commit: Commit) -> None:
        """Swallow the conflict."""
        with suppress(Conflict):
            await super().commit(commit)


class ForgetsTokens(MemoryStore):
    """Lets a token be used again."""

    async def commit(self, commit: Commit) -> None:
        """Write without the claim that is taken."""
        try:
            await super().commit(commit)
        except TokenTaken:
            await super().commit(replace(commit, claims=()))


class WritesBeforeItLooks(MemoryStore):
    """Refuses a taken token when the rest is written already."""

    async def commit(self, commit: Commit) -> None:
        """Write everything but the claims, then look at them."""
        await super().commit(replace(commit, claims=()))
        for claim in commit.claims:
            taken = self._claims.setdefault((claim.owner, claim.token), claim)
            if taken is not claim:
                raise TokenTaken(taken)


class KeepsTheLastEventOnly(MemoryStore):
    """Loses all but the last event of a commit."""

    async def commit(self, commit: Commit) -> None:
        """Drop the others."""
        await super().commit(commit)
        kept = self._tasks[commit.record.task_id].events
        del kept[-len(commit.events) : -1]


class StartsOneLate(MemoryStore):
    """Takes `after` for the first event that is wanted."""

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """One event too many."""
        return await super().events(task_id, max(0, after - 1), limit)


class KnowsNoLimit(MemoryStore):
    """Returns all events."""

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """Ignore the limit."""
        del limit
        return await super().events(task_id, after)


class RepeatsTies(MemoryStore):
    """Walks its pages by time alone."""

    async def page(self, query: TaskQuery) -> TaskPage:
        """Begin again with all that changed at the time of the cursor."""
        if query.cursor is not None:
            query = replace(query, cursor=(query.cursor[0], chr(0x10FFFF)))
        return await super().page(replace(query, limit=min(query.limit, 1_000)))


class CountsThePage(MemoryStore):
    """Takes the length of a page for the total."""

    async def page(self, query: TaskQuery) -> TaskPage:
        """Count what is shown."""
        page = await super().page(query)
        return replace(page, total=len(page.records))


class NeverEnds(MemoryStore):
    """Always says that there is another page."""

    async def page(self, query: TaskQuery) -> TaskPage:
        """Give a cursor whenever there is a task."""
        page = await super().page(query)
        last = page.records[-1:]
        return replace(page, next_cursor=(last[0].updated_at, last[0].task_id) if last else None)


class FiltersNothing(MemoryStore):
    """Shows everybody's tasks to everybody."""

    async def page(self, query: TaskQuery) -> TaskPage:
        """Forget the owner."""
        return await super().page(replace(query, owner=None))


class SearchesInLowerCase(MemoryStore):
    """Takes upper and lower case for the same, as SQLite's LIKE does."""

    async def page(self, query: TaskQuery) -> TaskPage:
        """Look in lower case."""
        search = query.search
        return await super().page(replace(query, search=search and search.lower()))


class SearchesAnywhere(MemoryStore):
    """Takes the end of an owner for its beginning."""

    async def page(self, query: TaskQuery) -> TaskPage:
        """Search for what an owner should begin with."""
        if query.owner_prefix is None or query.search is not None:
            return await super().page(query)
        return await super().page(replace(query, owner_prefix=None, search=query.owner_prefix))


class CountsWhatIsWanted(MemoryStore):
    """Counts only the phases that a page would show."""

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """Leave the others out."""
        found = await super().counts(query)
        return {p: n for p, n in found.items() if query.shown is None or p in query.shown}


class CountsOutcomesAsFinalized(MemoryStore):
    """Counts by the phase that a task is in, and not by the one that is shown."""

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """Of all of a page."""
        page = await super().page(replace(query, shown=None, limit=1_000, cursor=None))
        return Counter(record.phase for record in page.records)


class ForgetsAnything(MemoryStore):
    """Forgets what still goes on."""

    async def forget(self, task_id: str) -> bool:
        """Whatever it is."""
        return await super().forget(task_id) or self._tasks.pop(task_id, None) is not None


class LeavesOutcomesUnfinished(MemoryStore):
    """Forgets tasks that are over and not finalized yet."""

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """Only those that are not over."""
        found = await super().unfinished(after, limit)
        return [record for record in found if record.phase not in OVER]


class CountsEverybody(MemoryStore):
    """Counts the open tasks of all owners."""

    async def open_tasks(self, owner: str) -> int:
        """The sum."""
        del owner
        return sum(self._open.values())


class RingsTooLate(MemoryStore):
    """Takes a deadline for passed only when it is over."""

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """Leave out what is due just now."""
        found = await super().due(now, after, limit)
        return [record for record in found if record.due != now]


class RingsAgain(MemoryStore):
    """Returns what was handled."""

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """Begin with the one named."""
        return await super().due(now, (after[0], ""), limit)


class RingsForThePast(MemoryStore):
    """Takes the deadline that was asked about for the next one."""

    async def next_due(self, after: float) -> float | None:
        """Look from just before."""
        return await super().next_due(after - 0.001)


class KeepsTheOldWatch(MemoryStore):
    """Never replaces a watch."""

    async def put_watch(self, watch: Watch) -> None:
        """Add it only."""
        if all(kept.watch_id != watch.watch_id for kept in await self.watches(watch.task_id)):
            await super().put_watch(watch)


class BringsWatchesBack(MemoryStore):
    """Writes what was delivered, whoever dropped or replaced the watch meanwhile."""

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """Put it where it was."""
        kept = await super().advance_watch(before, after)
        if before.task_id in self._tasks and not kept:
            await self.put_watch(after)
        return kept


class MovesCursorsBack(MemoryStore):
    """Believes whoever came last."""

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """Look at nothing but whether it is still the same."""
        kept = await super().advance_watch(before, after)
        if kept:
            await self.put_watch(after)
        return kept


class BelievesTheLateAboutTries(MemoryStore):
    """Keeps the cursor, and takes the rest from one who is behind."""

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """Mix the two."""
        for kept in await self.watches(before.task_id):
            if kept.watch_id == before.watch_id:
                after = replace(after, cursor=max(kept.cursor, after.cursor))
        return await super().advance_watch(before, after)


class ComparesTries(MemoryStore):
    """Takes a watch for another one as soon as anything about it has changed."""

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """Only from exactly there."""
        if before not in await self.watches(before.task_id):
            return False
        return await super().advance_watch(before, after)


class ServesTheDead(MemoryStore):
    """Goes on about watches that were given up."""

    async def behind(self, limit: int = 100) -> list[Watch]:
        """All that have not seen everything."""
        found = [one for watches in self._watches.values() for one in watches.values()]
        return [w for w in found if w.cursor < self._tasks[w.task_id].record.seq][:limit]


class DropsAnything(MemoryStore):
    """Claims to have removed what was never there."""

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """Always yes."""
        await super().drop_watch(task_id, watch_id)
        return True


class PurgesWhatIsOver(MemoryStore):
    """Takes a task that is over for one that is finalized."""

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """Let those go first that still have something to deliver."""
        over = [t for t, kept in self._tasks.items() if kept.record.phase in OUTCOMES]
        for task_id in over:
            del self._tasks[task_id]
        return over + await super().purge(before, keep=keep, limit=limit)


class RemembersTokens(MemoryStore):
    """Purges tasks, and keeps their tokens for ever."""

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """Put the claims back."""
        claims = dict(self._claims)
        gone = await super().purge(before, keep=keep, limit=limit)
        self._claims.update(claims)
        return gone


class PurgesTheNewest(MemoryStore):
    """Keeps none."""

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """Forget what was to be kept."""
        del keep
        return await super().purge(before, limit=limit)


@pytest.mark.parametrize(
    "broken",
    [
        OverwritesConflicts,
        ForgetsTokens,
        WritesBeforeItLooks,
        KeepsTheLastEventOnly,
        StartsOneLate,
        KnowsNoLimit,
        RepeatsTies,
        CountsThePage,
        NeverEnds,
        FiltersNothing,
        SearchesInLowerCase,
        SearchesAnywhere,
        CountsWhatIsWanted,
        CountsOutcomesAsFinalized,
        ForgetsAnything,
        LeavesOutcomesUnfinished,
        CountsEverybody,
        RingsTooLate,
        RingsAgain,
        RingsForThePast,
        KeepsTheOldWatch,
        BringsWatchesBack,
        MovesCursorsBack,
        BelievesTheLateAboutTries,
        ComparesTries,
        ServesTheDead,
        DropsAnything,
        PurgesWhatIsOver,
        RemembersTokens,
        PurgesTheNewest,
    ],
)
async def test_the_contract_notices_a_store_that_breaks_it(broken: type[MemoryStore]) -> None:
    """A check that nothing can fail proves nothing.  Source: STYLE 2.10, R-STORE-01."""
    failed: list[str] = []
    for check in STORE_CHECKS:
        try:
            async with asyncio.timeout(60):
                await check(broken)
        except AssertionError:
            failed.append(name_of(check))
    assert failed


async def test_the_contract_notices_a_store_that_forgets() -> None:
    """The memory store is not durable, and every durable check says so but for reopening it."""
    for check in DURABLE_STORE_CHECKS[:2]:
        with pytest.raises(AssertionError):
            await check(MemoryStore)
