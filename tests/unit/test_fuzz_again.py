"""What no run decides is found: a run that is repeated comes out otherwise.

R-FUZZ-21 (what is not repeatable is a failure), R-FUZZ-22 (what agents raise is told),
R-FUZZ-23 (what the user's own functions raise ends in a failure).
"""

import random
import sys
import types
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from interlock import Engine, Event, SyncTaskContext, TaskContext, TaskRecord
from interlock.errors import InvalidInput, Rejected
from interlock.testing.fuzz._again import REPLAY
from interlock.testing.fuzz._report import invariant
from interlock.testing.fuzz._reproduction import About, pasted
from interlock.testing.fuzz._run import ROUND, fuzz, replay
from interlock.testing.fuzz._target import Target


async def throws_dice(task: TaskContext) -> None:
    """It decides by something of its own."""
    await task.emit(f"thrown: {random.Random().random()}", artifact_id="dice")  # noqa: S311


def test_an_agent_that_decides_by_itself_is_found() -> None:
    """A round repeats its first run; the message names what differs.  Source: R-FUZZ-21."""
    report = fuzz(Target.of(throws_dice), runs=1)
    [failure] = report.failures
    assert failure.kind == REPLAY
    assert "'artifact' of event 3 (emit) was ..." in failure.message
    assert failure.message.count("'thrown: 0.") == 2
    assert "random.Random()" in failure.message
    assert failure.steps == ("ada submits 'hello' -> accepted",)
    again = replay(Target.of(throws_dice), failure.seed, failure.tape)
    assert again is not None
    assert again.kind == REPLAY


@pytest.mark.parametrize("seed", range(3))
def test_a_failure_that_does_not_come_again_says_so(seed: int) -> None:
    """Whoever pastes its test would see it pass.  Source: R-FUZZ-21."""
    looks = count(1)

    def fails_once(_record: TaskRecord, _log: Sequence[Event]) -> bool:
        return next(looks) != 20 * (seed + 1)

    async def works(task: TaskContext) -> str:
        return task.input.text

    [failure] = fuzz(Target.of(works), seed=seed, invariants=[fails_once]).failures
    assert failure.kind == REPLAY
    assert "user:fails_once came: it does not hold" in failure.message
    # By itself, or in the run that is repeated.
    assert "nothing failed" in failure.message


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_remembered_beside_the_tasks_is_no_failure(jobs: int) -> None:
    """A cache makes the first run another one, and its logs the same.  Source: R-FUZZ-21."""
    cache: dict[str, str] = {}

    async def remembers(task: TaskContext) -> str:
        if task.input.text not in cache:
            cache[task.input.text] = task.input.text
        return cache[task.input.text]

    assert fuzz(Target.of(remembers), runs=ROUND + 1, jobs=jobs).failures == ()


async def stumbles(task: TaskContext) -> str:
    """It has a bug."""
    who: str = await task.ask("Who?", str)
    return f"{len(who) + who}"  # type: ignore[operator]


def leaves(_task: SyncTaskContext) -> None:
    """It ends more than itself."""
    raise SystemExit(3)


def rejects(_task: SyncTaskContext) -> None:
    """It means it."""
    raise Rejected("not this one")


def test_what_agents_raise_is_counted_with_its_place() -> None:
    """One that always fails is not green in silence.  Source: R-FUZZ-22."""
    report = fuzz(Target.of({"a": stumbles, "b": leaves, "c": rejects}), runs=40)
    assert report.failures == ()
    assert sum(report.outcomes.values()) == report.lives
    assert report.outcomes["failed"] > 0
    assert report.outcomes["rejected"] > 0
    assert "completed" not in report.outcomes
    kinds = {what.partition(":")[0] for what in report.errors}
    assert kinds == {"TypeError at test_fuzz_again.py", "SystemExit at test_fuzz_again.py"}


def test_an_invariant_that_raises_is_one_that_does_not_hold() -> None:
    """With seed and trace, and not the end of everything.  Source: R-FUZZ-23."""

    def looks_too_far(_record: TaskRecord, log: Sequence[Event]) -> object:
        return log[2].data["nothing"]

    [failure] = fuzz(Target.of(stumbles), runs=40, invariants=[looks_too_far]).failures
    assert failure.kind == "user:looks_too_far"
    assert "it raises KeyError: 'nothing' at test_fuzz_again.py:" in failure.message
    assert failure.steps == ("ada submits 'hello' -> accepted",)


def test_a_factory_that_raises_ends_in_a_failure() -> None:
    """And so does what is called before a run.  Source: R-FUZZ-23."""
    made = count()

    def factory() -> Engine:
        if next(made) > 30:
            raise RuntimeError("no database here")
        return Engine(stumbles)

    def begin() -> None:
        raise OSError("nothing to clear")

    [failure] = fuzz(Target.of(factory), runs=30).failures
    assert failure.kind == "raised"
    assert "RuntimeError: no database here at test_fuzz_again.py" in failure.message
    [failure] = fuzz(Target.of(stumbles, begin=begin), runs=2).failures
    assert "OSError: nothing to clear" in failure.message


def test_each_invariant_is_a_kind_of_its_own() -> None:
    """So shrinking goes from one to no other.  Source: R-FUZZ-17."""

    def one(_record: TaskRecord, log: Sequence[Event]) -> bool:
        return all(event.trigger != "complete" for event in log)

    def other(_record: TaskRecord, log: Sequence[Event]) -> bool:
        return all(event.trigger != "cancel" for event in log)

    async def works(task: TaskContext) -> str:
        return await task.ask("Who?", str)

    report = fuzz(Target.of(works), runs=64, invariants=[one, other], failures_max=2)
    kinds = {failure.kind: failure for failure in report.failures}
    assert set(kinds) == {"user:one", "user:other"}
    for name, failure in kinds.items():
        assert (failure.kind, failure.message) == (name, "it does not hold")


def test_an_invariant_that_is_always_broken_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is known is not looked at any more.  Source: R-FUZZ-35."""

    def first(_record: TaskRecord, _log: Sequence[Event]) -> bool:
        return False

    def later(_record: TaskRecord, log: Sequence[Event]) -> bool:
        return all(event.trigger != "complete" for event in log)

    async def works(_task: TaskContext) -> str:
        return "done"

    report = fuzz(Target.of(works), runs=64, invariants=[first, later], failures_max=2)
    assert [failure.kind for failure in report.failures] == ["user:first", "user:later"]
    assert report.runs == 64
    # The test to paste goes the second's way, which the first would end at once.
    module = types.ModuleType("shop_of_two")
    vars(module).update(target=Target.of(works), first=invariant(first), later=invariant(later))
    monkeypatch.setitem(sys.modules, "shop_of_two", module)
    for failure in report.failures:
        source = pasted(failure, About("shop_of_two:target", invariants="shop_of_two"))
        assert ('not in {"first"}' in source) == (failure.kind == "user:later")
        tests: dict[str, Any] = {}
        exec(source.replace("found.message", "found.kind"), tests)  # noqa: S102  our own
        (test,) = (value for name, value in tests.items() if name.startswith("test_"))
        with pytest.raises(AssertionError, match=failure.kind):
            test()
    alone = fuzz(Target.of(works), runs=64, invariants=[first, later])
    assert ([failure.kind for failure in alone.failures], alone.runs) == (["user:first"], 32)


async def _awaited(_record: TaskRecord, _log: Sequence[Event]) -> bool:
    return False


def test_an_invariant_that_nobody_would_await_is_refused() -> None:
    """R-FUZZ-16."""
    with pytest.raises(InvalidInput, match=r"_awaited is no plain function.*is accepted"):
        fuzz(Target.of(stumbles), runs=1, invariants=[_awaited])
    with pytest.raises(InvalidInput, match=r"of type int; a plain function.*is accepted"):
        replay(Target.of(stumbles), 1, invariants=[7])  # type: ignore[list-item]
