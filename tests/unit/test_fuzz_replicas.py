"""Several engines on one store, fuzzed: they die, fall silent and wake, and every oracle looks on.

Requirements R-FUZZ-83 to R-FUZZ-87; invariants I17, I23, I24, I32, I40.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

import interlock._replica as replicas
from fuzz_examples import LIMITS, SCRIPTS, agent
from interlock import Engine, Phase, Trigger
from interlock._cell import Cell
from interlock._runtime import Runtime
from interlock._sqlite import SqliteStore
from interlock._store import MemoryStore, TaskQuery, TurnWanted
from interlock.errors import InvalidInput
from interlock.testing._store_contract import commit_of, submitted
from interlock.testing.fuzz import ALL_FAULTS, Target, fuzz, replay
from interlock.testing.fuzz import _run as runs
from interlock.testing.fuzz._drive import Ran


def target() -> Target:
    """The example agent."""
    return Target.of(lambda: Engine(agent, store="memory:", limits=LIMITS), inputs=SCRIPTS)


def ran(seeds: Sequence[int]) -> list[Ran]:
    """What these runs come to; the first that fails is the last."""
    plan = runs._planned(target(), ALL_FAULTS, (), 2, None)
    made: list[Ran] = []
    for seed in seeds:
        made.append(runs._once(plan, seed)(None))
        if made[-1].failure is not None:
            break
    return made


def kind(seeds: Sequence[int]) -> str:
    """What fails in one of these runs; which are those that come to it soon."""
    failure = ran(seeds)[-1].failure
    assert failure is not None, "nothing fails"
    return failure.kind


def test_two_replicas_are_sound() -> None:
    """Whatever dies, stops or falls silent; turns are claimed and recovered.  Source: R-FUZZ-83."""
    report = fuzz(target(), runs=40, replicas=2)
    assert report.failures == ()
    triggers = {key[1] for key in report.hits}
    assert {Trigger.CLAIM, Trigger.RECOVER} <= triggers


def test_nobody_is_to_begin_a_turn_while_every_heart_has_stopped() -> None:
    """The run of this seed was called a fault of the engine.  Source: R-FUZZ-83."""
    assert fuzz(target(), seed=469, runs=1, replicas=2).failures == ()


def test_a_run_of_replicas_is_its_seed() -> None:
    """Same seed, same trace and same logs; its tape is the same run.  Source: R-FUZZ-84."""
    plan = runs._planned(target(), ALL_FAULTS, (), 2, None)
    for seed in range(4):
        first, again = (runs._once(plan, seed)(None) for _ in range(2))
        taped = runs._once(plan, seed)(first.tape)
        assert first.digest == again.digest == taped.digest
        assert first.trace == again.trace == taped.trace
    assert replay(target(), 0, replicas=2) is None


def test_a_turn_that_nobody_claims_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two replicas run it in one epoch (I17, I23).  Source: R-FUZZ-85."""
    claims = replicas.Replica._is_claimed

    async def takes(self: replicas.Replica, cell: Cell, wanted: TurnWanted) -> bool | None:
        if cell.record.phase is not Phase.RUNNING:
            return await claims(self, cell, wanted)
        cell.held = True  # As if its claim were durable.
        self._hands.resume_turn(cell)
        return True

    monkeypatch.setattr(replicas.Replica, "_is_claimed", takes)
    assert kind(range(300)) in {"I17", "I23"}


def test_a_former_holder_that_goes_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not fenced off when another has taken its turn (I17).  Source: R-FUZZ-85."""
    monkeypatch.setattr(replicas, "_TAKES", frozenset[Trigger]())
    assert kind(range(300)) in {"I17", "I23", "I24", "turns"}


def test_a_replica_that_does_not_look_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never learns what others did (I24).  Source: R-FUZZ-85."""

    async def looked(_self: replicas.Replica, _task_ids: object) -> None:
        pass

    monkeypatch.setattr(replicas.Replica, "_looked", looked)
    assert kind(range(65, 165)) in {"I24", "I21", "I29", "hang"}


def test_a_turn_that_nobody_wants_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is lost, and its task stands still (I29).  Source: R-FUZZ-85."""

    def wants(*_args: object) -> None:
        pass

    monkeypatch.setattr(replicas.Replica, "wanted", wants)
    assert kind(range(100)) in {"I29", "timer", "I28", "I21"}


def test_ends_that_nobody_tidies_up_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who concluded a task has died, and it is never finalized (I21).  Source: R-FUZZ-85."""

    async def tidy(_self: Runtime, _seen: object) -> None:
        pass

    monkeypatch.setattr(Runtime, "tidy", tidy)
    assert kind(range(32, 232)) in {"I21", "I28"}


def test_a_real_store_has_to_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer is compared with that of a memory; it is empty at the end.  Source: R-FUZZ-86."""
    url = f"sqlite:///{tmp_path}/tasks.db"
    assert fuzz(target(), runs=2, replicas=2, store=url).failures == ()
    # What is found is run once more, and made shorter: on an empty store each time.
    count = MemoryStore.open_tasks

    async def one_more(self: MemoryStore, owner: str) -> int:
        return await count(self, owner) + 1

    monkeypatch.setattr(MemoryStore, "open_tasks", one_more)
    (failure,) = fuzz(target(), runs=2, for_s=1.0, replicas=2, store=url).failures
    assert failure.kind == "store"
    assert failure.message.startswith("open_tasks")


async def test_a_store_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    """Nothing of anybody's is lost.  Source: R-FUZZ-87."""
    path = tmp_path / "tasks.db"
    store = SqliteStore(path)
    await store.open()
    await store.commit(commit_of(submitted("mine")))
    await store.close()
    with pytest.raises(InvalidInput, match="holds 1 tasks"):
        fuzz(target(), runs=1, store=f"sqlite:///{path}")
    await store.open()
    assert (await store.page(TaskQuery())).total == 1
    await store.close()


def test_what_cannot_be_is_refused() -> None:
    """Source: R-FUZZ-87."""
    with pytest.raises(InvalidInput, match="replicas is 0"):
        fuzz(target(), runs=1, replicas=0)
    with pytest.raises(InvalidInput, match="jobs=1"):
        fuzz(target(), runs=1, jobs=2, store="postgresql://ada:secret@nowhere/tasks")
    with pytest.raises(InvalidInput) as refused:
        fuzz(target(), runs=1, store="nonsense://ada:secret@nowhere/tasks")
    assert "secret" not in str(refused.value)
