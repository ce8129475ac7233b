"""Every store that processes share keeps the promises of `SharedStore` and of `Turns`.

Requirements R-FUZZ-80, R-FUZZ-81; invariants I17, I18, I23.
"""

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

import pytest

from interlock._clock import SystemClock
from interlock._shared import RunTurn, SharedStore, shared
from interlock._store import Commit, TurnWanted
from interlock.errors import StoreError
from interlock.testing import (
    DURABLE_STORE_CHECKS,
    SHARED_STORE_CHECKS,
    STORE_CHECKS,
    ManualClock,
    MemoryTurns,
    SharedMemory,
    SharedMemoryStore,
    SharedStoreCheck,
    SharedStoreMaker,
    StoreCheck,
    check_turns_of_the_dead_are_handed_out_again,
)
from interlock.testing._shared_memory import _Entry

#: Seconds of real time that a check of a sound store takes at most.
WAIT_S = 60


def name_of(check: object) -> str:
    """The promise, for the name of the test."""
    return getattr(check, "__name__", repr(check)).removeprefix("check_")


class Place:
    """Makes stores that are all over one memory."""

    def __init__(self, memory: SharedMemory | None = None) -> None:
        self.memory = SharedMemory(SystemClock()) if memory is None else memory
        self._made = 0

    def __call__(self) -> SharedMemoryStore:
        """One more."""
        self._made += 1
        return self.memory.store(f"replica-{self._made}")


@pytest.mark.parametrize("check", [*STORE_CHECKS, *DURABLE_STORE_CHECKS], ids=name_of)
async def test_a_shared_memory_is_a_store(check: StoreCheck) -> None:
    """One view is as good as another, also after it was closed.  Source: `Store`, R-FUZZ-80."""
    async with asyncio.timeout(WAIT_S):
        await check(Place())


@pytest.mark.parametrize("check", SHARED_STORE_CHECKS, ids=name_of)
async def test_a_shared_memory_keeps_its_promises(check: SharedStoreCheck) -> None:
    """Source: the docstrings of `SharedStore` and `Turns`, R-FUZZ-80, I17, I18, I23."""
    assert shared(Place()())
    async with asyncio.timeout(WAIT_S):
        await check(Place())


async def test_the_turns_of_a_replica_that_died_are_handed_out_again() -> None:
    """Source: `Turns`, R-FUZZ-80."""
    place = Place()

    async def kill(store: SharedStore) -> None:
        assert isinstance(store, SharedMemoryStore)
        place.memory.kill(store.name, at_once=True)

    async with asyncio.timeout(WAIT_S):
        await check_turns_of_the_dead_are_handed_out_again(place, kill)


async def test_a_replica_that_died_keeps_its_turns_for_a_while() -> None:
    """Nobody knows at once that it is gone, but for a queue that is told.  Source: R-FUZZ-80."""
    clock = ManualClock()
    place = Place(SharedMemory(clock, dead_after_s=5.0))

    async def kill(store: SharedStore) -> None:
        assert isinstance(store, SharedMemoryStore)
        place.memory.kill(store.name)
        clock.advance(4.9)
        assert place.memory.holder("a") == store.name
        clock.advance(0.1)
        assert place.memory.holder("a") == "replica-2"

    async with asyncio.timeout(WAIT_S):
        await check_turns_of_the_dead_are_handed_out_again(place, kill)


# --- broken ones: a check that nothing can fail proves nothing ---------------------------


class ClosesForAll(SharedMemoryStore):
    """Who closes closes for everybody."""

    async def close(self) -> None:
        """See `Store.close`."""
        for replica in self._memory._replicas.values():
            replica.dead = True


class KnowsNobody(SharedMemoryStore):
    """Nobody ever moves."""

    async def moved(self, seen: Mapping[str, int]) -> AbstractSet[str]:
        """See `SharedStore.moved`."""
        del seen
        return set()


class ForgetsWhoIsGone(SharedMemoryStore):
    """Who is gone has not moved."""

    async def moved(self, seen: Mapping[str, int]) -> AbstractSet[str]:
        """See `SharedStore.moved`."""
        moved = await super().moved(seen)
        return {task_id for task_id in moved if await self.get(task_id) is not None}


class HintsForever(SharedMemoryStore):
    """Who wants no hints any more still gets them."""

    def on_hint(self, hint: Callable[[str], None] | None) -> None:
        """See `SharedStore.on_hint`."""
        if hint is not None:
            super().on_hint(hint)


class HintsOfOthers(SharedMemoryStore):
    """A hint names something else."""

    def on_hint(self, hint: Callable[[str], None] | None) -> None:
        """See `SharedStore.on_hint`."""
        super().on_hint(hint and (lambda task_id: hint(task_id + "?")))


class WantsNothing(SharedMemoryStore):
    """The turn of a commit is forgotten."""

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        await super().commit(replace(commit, turn=None))


class WantsTwice(SharedMemoryStore):
    """The turn of a commit is wanted twice."""

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        await super().commit(commit)
        if commit.turn is not None:
            self._memory.want(commit.turn)


class WantsFirst(SharedMemoryStore):
    """The turn is wanted whatever comes of the commit."""

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        if commit.turn is not None:
            self._memory.want(commit.turn)
        await super().commit(replace(commit, turn=None))


class WantsAtOnce(SharedMemoryStore):
    """A turn does not wait for its time."""

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        if commit.turn is not None:
            commit = replace(commit, turn=replace(commit.turn, not_before=None))
        await super().commit(commit)


class OnceForEach(SharedMemoryStore):
    """Each replica has a queue of its own: both are handed each turn."""

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        await super().commit(commit)
        for replica in self._memory._replicas.values():
            if commit.turn is not None and replica.run is not None:
                self._memory._hand(_Entry(commit.turn, 0, 0.0), replica)


class _Turns(MemoryTurns):
    def __init__(self, store: SharedMemoryStore) -> None:
        super().__init__(store._memory, store._replica)


class Greedy(_Turns):
    """It takes more than it has slots for."""

    async def start(self, run: RunTurn, *, slots: int) -> None:
        """See `Turns.start`."""
        await super().start(run, slots=slots + 1)


class NeverRests(_Turns):
    """It goes on taking turns."""

    async def rest(self) -> None:
        """See `Turns.rest`."""


class NeverWaits(_Turns):
    """It stops with turns that are out."""

    async def stop(self) -> None:
        """See `Turns.stop`."""
        self._replica.run = None


class KeepsWhatItGaveBack(_Turns):
    """What a run gave back is taken for done."""

    async def start(self, run: RunTurn, *, slots: int) -> None:
        """See `Turns.start`."""

        async def ran(turn: TurnWanted) -> bool:
            await run(turn)
            return True

        await super().start(ran, slots=slots)


class SwallowsErrors(_Turns):
    """A run that raised is taken for done."""

    async def start(self, run: RunTurn, *, slots: int) -> None:
        """See `Turns.start`."""

        async def ran(turn: TurnWanted) -> bool | None:
            try:
                return await run(turn)
            except Exception:  # noqa: BLE001
                return True

        await super().start(ran, slots=slots)


class CountsNothing(_Turns):
    """Nothing ever waits for a slot."""

    async def waiting(self) -> int:
        """See `Turns.waiting`."""
        return 0


class NeverSure(_Turns):
    """It always doubts."""

    def is_sure(self) -> bool:
        """See `Turns.is_sure`."""
        return False


class LeavesTheLost(_Turns):
    """Tasks at work that nobody wants stay where they are."""

    async def start(self, run: RunTurn, *, slots: int) -> None:
        """See `Turns.start`."""
        wants = self._memory.want_again

        async def nothing() -> None:
            pass

        vars(self._memory)["want_again"] = nothing
        await super().start(run, slots=slots)
        vars(self._memory)["want_again"] = wants


def broken(kind: type[SharedMemoryStore] | type[_Turns]) -> SharedStoreMaker:
    """A maker of stores that break a promise."""
    sound = Place()

    def make() -> SharedStore:
        store = sound()
        if issubclass(kind, SharedMemoryStore):
            return kind(store._memory, store._replica)
        vars(store)["turns"] = kind(store)
        return store

    return make


def apart() -> SharedStore:
    """Stores that have nothing in common."""
    return Place()()


BROKEN: tuple[type[SharedMemoryStore] | type[_Turns], ...] = (
    ClosesForAll,
    KnowsNobody,
    ForgetsWhoIsGone,
    HintsForever,
    HintsOfOthers,
    WantsNothing,
    WantsTwice,
    WantsFirst,
    WantsAtOnce,
    OnceForEach,
    Greedy,
    NeverRests,
    NeverWaits,
    KeepsWhatItGaveBack,
    SwallowsErrors,
    CountsNothing,
    NeverSure,
    LeavesTheLost,
)


@pytest.mark.parametrize("kind", BROKEN)
async def test_the_contract_notices_a_store_that_breaks_it(
    kind: type[SharedMemoryStore] | type[_Turns], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source: STYLE 2.10, R-FUZZ-81."""
    monkeypatch.setattr("interlock.testing._shared_contract._FORGOTTEN_S", 0.2)
    for check in SHARED_STORE_CHECKS:
        if await fails(check, broken(kind)):
            return
    pytest.fail("no check says so")


async def test_the_contract_notices_stores_that_share_nothing() -> None:
    """Source: STYLE 2.10, R-FUZZ-81."""
    for check in SHARED_STORE_CHECKS[:2]:
        assert await fails(check, apart)


async def fails(check: SharedStoreCheck, maker: SharedStoreMaker) -> bool:
    """Whether it says that the store is broken."""
    try:
        async with asyncio.timeout(WAIT_S):
            await check(maker)
    except (AssertionError, TimeoutError, StoreError):
        return True
    return False
