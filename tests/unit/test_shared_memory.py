"""Replicas on one memory: who dies, who is only taken for dead, and hints that are lost or late.

Requirement R-FUZZ-82; invariants I17, I23.
"""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from interlock._store import Commit, TurnWanted
from interlock.errors import StoreError
from interlock.testing import ManualClock, SharedMemory, SharedMemoryStore
from interlock.testing._store_contract import commit_of, started, submitted


def wanting(task_id: str) -> Commit:
    """A new task that wants a turn."""
    return replace(commit_of(submitted(task_id)), turn=TurnWanted(task_id, 0))


async def settled() -> None:
    """Let everything happen that can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Runs:
    """Takes turns, and holds them until told."""

    def __init__(self, store: SharedMemoryStore) -> None:
        self.store = store
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Future[bool]] = {}

    async def begin(self, slots: int = 4) -> "Runs":
        """Open the store, and take turns."""
        await self.store.open()
        await self.store.turns.start(self.run, slots=slots)
        return self

    async def run(self, turn: TurnWanted) -> bool:
        """See `RunTurn`."""
        self.began.append(turn.task_id)
        end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.ends[turn.task_id] = end
        return await end


class Two:
    """A memory, its clock, and two replicas."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.memory = SharedMemory(self.clock, dead_after_s=5.0)
        self.a = Runs(self.memory.store("a"))
        self.b = Runs(self.memory.store("b"))


async def with_a_turn_at_a() -> Two:
    """The first replica has the turn of task t, and the other is there."""
    two = Two()
    await two.a.begin()
    await two.a.store.commit(wanting("t"))
    await two.b.begin()
    await settled()
    assert (two.a.began, two.b.began) == (["t"], [])
    return two


async def test_nothing_of_a_replica_that_was_killed_reaches_the_store() -> None:
    """Source: R-FUZZ-82."""
    two = await with_a_turn_at_a()
    two.memory.kill("a")
    for what in (
        two.a.store.commit(commit_of(started(submitted("t")))),
        two.a.store.get("t"),
        two.a.store.moved({"t": 1}),
        two.a.store.open(),
    ):
        with pytest.raises(StoreError, match="'a' was killed"):
            await what
    record = await two.b.store.get("t")
    assert record is not None
    assert record.seq == 1
    assert not two.a.store.turns.is_sure()


async def test_the_end_of_a_run_that_died_is_not_heard() -> None:
    """Its turn comes again although it ended just after.  Source: R-FUZZ-82."""
    two = await with_a_turn_at_a()
    two.memory.kill("a")
    two.a.ends["t"].set_result(True)
    await settled()
    assert two.b.began == []
    two.clock.advance(5.0)
    await settled()
    assert two.b.began == ["t"]


async def test_another_may_take_the_place_of_one_that_died() -> None:
    """Under the same name, and with none of its turns.  Source: R-FUZZ-82."""
    two = await with_a_turn_at_a()
    with pytest.raises(ValueError, match="'a' is open"):
        two.memory.store("a")
    two.memory.kill("a")
    again = await Runs(two.memory.store("a")).begin()
    await settled()
    assert again.began == []
    two.clock.advance(5.0)
    await settled()
    assert sorted(again.began + two.b.began) == ["t"]


async def test_a_silent_replica_loses_its_turns_and_may_still_write() -> None:
    """It is taken for dead, and is not: a zombie.  Source: R-FUZZ-82, I17, I23."""
    two = await with_a_turn_at_a()
    two.memory.silence("a")
    two.clock.advance(2.4)
    assert two.a.store.turns.is_sure()
    two.clock.advance(0.1)
    assert not two.a.store.turns.is_sure()
    two.clock.advance(2.4)
    await settled()
    assert two.b.began == []
    two.clock.advance(0.1)
    await settled()
    assert two.b.began == ["t"]
    assert two.memory.holder("t") == "b"
    assert not two.a.store.turns.is_sure()
    await two.a.store.commit(commit_of(started(submitted("t"))))
    record = await two.b.store.get("t")
    assert record is not None
    assert record.seq == 2


async def test_a_zombie_doubts_until_its_stale_runs_are_over() -> None:
    """When it is awake, too; what came of them is nobody's business.  Source: R-FUZZ-82, I23."""
    two = await with_a_turn_at_a()
    two.memory.silence("a")
    two.clock.advance(5.0)
    two.memory.wake("a")
    await settled()
    assert not two.a.store.turns.is_sure()
    two.a.ends["t"].set_result(True)
    await settled()
    assert two.a.store.turns.is_sure()
    assert two.memory.holder("t") == "b"
    assert two.memory.wanted == [TurnWanted("t", 0)]


async def test_a_short_silence_changes_nothing() -> None:
    """Source: R-FUZZ-82."""
    two = await with_a_turn_at_a()
    two.memory.silence("a")
    two.clock.advance(4.9)
    two.memory.wake("a")
    two.clock.advance(60.0)
    await settled()
    assert two.b.began == []
    assert two.a.store.turns.is_sure()


async def test_nothing_is_handed_to_a_silent_replica() -> None:
    """Source: R-FUZZ-82."""
    two = await with_a_turn_at_a()
    two.memory.silence("a")
    for number in range(4):
        await two.b.store.commit(wanting(f"u{number}"))
    await settled()
    assert len(two.b.began) == 4
    await two.b.store.commit(wanting("u4"))
    await settled()
    assert two.a.began == ["t"]
    two.memory.wake("a")
    await settled()
    assert two.a.began == ["t", "u4"]


async def test_replicas_take_turns() -> None:
    """Whoever has waited longest is handed the next one, or who is chosen.  R-FUZZ-82."""
    two = await with_a_turn_at_a()
    for number in range(3):
        await two.a.store.commit(wanting(f"u{number}"))
    await settled()
    assert (two.a.began, two.b.began) == (["t", "u1"], ["u0", "u2"])
    assert [name for name, _ in two.memory.handed] == ["a", "b", "a", "b"]


async def test_a_turn_given_back_does_not_spin() -> None:
    """Whoever still takes turns gets it again only after a while.  Source: R-FUZZ-82."""
    two = Two()
    await two.a.begin()
    await two.a.store.commit(wanting("t"))
    await settled()
    two.a.ends["t"].set_result(False)
    await settled()
    assert two.a.began == ["t"]
    two.clock.advance(1.0)
    await settled()
    assert two.a.began == ["t", "t"]


def _heard(heard: list[str], name: str, task_id: str) -> None:
    heard.append(name + task_id)


async def test_hints_reach_everybody_who_listens() -> None:
    """At once, late, or never.  Source: R-FUZZ-82."""
    two = Two()
    heard: list[str] = []
    for runs in (two.a, two.b):
        await runs.begin()
        runs.store.on_hint(partial(_heard, heard, runs.store.name))
    await two.a.store.commit(commit_of(submitted("1")))
    await settled()
    assert heard == ["a1", "b1"]
    two.memory.hint_s = 2.0
    await two.a.store.commit(commit_of(submitted("2")))
    await settled()
    assert heard == ["a1", "b1"]
    two.clock.advance(2.0)
    assert heard == ["a1", "b1", "a2", "b2"]
    two.memory.hint_s, two.memory.drop_hints = 0.0, True
    await two.a.store.commit(commit_of(submitted("3")))
    await settled()
    assert len(heard) == 4
    assert await two.b.store.moved({"1": 1, "3": 0}) == {"3"}
