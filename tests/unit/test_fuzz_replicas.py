"""Several engines on one store, fuzzed: they die, fall silent and wake, and every oracle looks on.

Requirements R-FUZZ-83 to R-FUZZ-87; invariants I17, I23, I24, I32, I40.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

import interlock._replica as replicas
from fuzz_examples import LIMITS, SCRIPTS, agent, plain
from interlock import Engine, Phase, Toolbox, Trigger
from interlock._cell import Cell
from interlock._runtime import Runtime
from interlock._sqlite import SqliteStore
from interlock._store import TaskQuery, TurnWanted
from interlock.errors import InvalidInput
from interlock.testing._store_contract import commit_of, submitted
from interlock.testing.fuzz import ALL_FAULTS, Target, fuzz, replay
from interlock.testing.fuzz import _run as runs
from interlock.testing.fuzz._drive import Ran

REPLICATED = frozenset({*ALL_FAULTS, "silence", "hints"})


def target() -> Target:
    """An engine of every kind of agent."""
    return Target.of(
        lambda: Engine({"agent": agent, "plain": plain}, limits=LIMITS), inputs=SCRIPTS
    )


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
    """What fails in one of these runs."""
    failure = ran(seeds)[-1].failure
    assert failure is not None, "nothing fails"
    return failure.kind
