"""Many runs of a target: what they covered, and each way in which one failed, shrunk."""

import multiprocessing
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeAlias

from interlock.errors import InvalidInput
from interlock.testing.fuzz._drive import Ran, ran
from interlock.testing.fuzz._drive_world import Plan
from interlock.testing.fuzz._faults import ALL_FAULTS
from interlock.testing.fuzz._report import Failure, Invariant, Report
from interlock.testing.fuzz._shrink import shrunk
from interlock.testing.fuzz._target import Target

#: Runs between two looks at the time and at what was found, whatever the number of jobs: so the
#: same seeds are run.
ROUND: Final = 32
#: How many runs there are where neither a number nor a time is given.
RUNS: Final = 1_000

#: Runs these seeds, in this order.
_Runner: TypeAlias = Callable[[Sequence[int]], Iterable[Ran]]

#: What a process that was forked off runs.
_PLANS: Final[list[Plan]] = []


def fuzz(
    target: Target,
    *,
    seed: int = 0,
    runs: int | None = None,
    for_s: float | None = None,
    faults: AbstractSet[str] = ALL_FAULTS,
    invariants: Sequence[Invariant] = (),
    jobs: int = 1,
    on_run: Callable[[Report], None] | None = None,
    failures_max: int = 1,
) -> Report:
    """Run the target with the seeds `seed`, `seed + 1`, ...: `runs` of them, or for some seconds.

    It ends before that once `failures_max` kinds of failures were found.  Each is shrunk.
    `on_run` is told what each run came to, in the order of the seeds.  `jobs` is how many
    processes run at once, where the system can fork; the same seeds give the same report
    whatever it is, but for the seconds.

    Raises:
        InvalidInput: there is no such fault, or the numbers are none.
    """
    _check(faults, runs, for_s, jobs)
    plan = Plan(target, frozenset(faults), tuple(invariants), target.lifecycle)
    began = time.monotonic()
    most = RUNS if runs is None and for_s is None else runs
    reports: list[Report] = []
    found: dict[str, Ran] = {}
    with _runner(plan, jobs) as runner:
        while most is None or len(reports) < most:
            count = ROUND if most is None else min(ROUND, most - len(reports))
            first = seed + len(reports)
            for one in runner(range(first, first + count)):
                report = _report_of(one)
                reports.append(report)
                if one.failure is not None:
                    found.setdefault(one.failure.kind, one)
                if on_run is not None:
                    on_run(report)
            spent = time.monotonic() - began
            if len(found) >= failures_max or (for_s is not None and spent >= for_s):
                break
    failures = tuple(_shrunk(plan, one) for one in found.values())
    every = Report.merged(reports)
    return Report(
        every.runs,
        every.lives,
        every.steps,
        time.monotonic() - began,
        every.hits,
        every.guards,
        failures,
        every.digests,
    )


def replay(
    target: Target,
    seed: int,
    tape: Sequence[int] | None = None,
    *,
    faults: AbstractSet[str] = ALL_FAULTS,
    invariants: Sequence[Invariant] = (),
) -> Failure | None:
    """Run once more what `fuzz` ran: by the tape of a failure, or all of the run of a seed.

    The faults have to be those of then.  None if nothing fails.
    """
    _check(faults, None, None, 1)
    plan = Plan(target, frozenset(faults), tuple(invariants), target.lifecycle)
    return ran(plan, seed, tape).failure


def _check(faults: AbstractSet[str], runs: int | None, for_s: float | None, jobs: int) -> None:
    problems: list[str] = []
    if unknown := sorted(faults - ALL_FAULTS):
        accepted = ", ".join(sorted(ALL_FAULTS))
        problems.append(f"there is no fault {', '.join(unknown)}; accepted are {accepted}")
    if runs is not None and runs < 1:
        problems.append(f"runs is {runs}; 1 or more is accepted")
    if for_s is not None and for_s <= 0:
        problems.append(f"for_s is {for_s}; a number of seconds above 0 is accepted")
    if jobs < 1:
        problems.append(f"jobs is {jobs}; 1 or more is accepted")
    if problems:
        raise InvalidInput(problems)


def _shrunk(plan: Plan, failed: Ran) -> Failure:
    assert failed.failure is not None
    return shrunk(failed, partial(ran, plan, failed.failure.seed))


def _report_of(one: Ran) -> Report:
    failures = () if one.failure is None else (one.failure,)
    return Report(1, one.lives, len(one.trace), 0.0, one.hits, one.guards, failures, (one.digest,))


@contextmanager
def _runner(plan: Plan, jobs: int) -> Generator[_Runner]:
    """What runs seeds: here, or in processes that are forked off."""
    if jobs == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield lambda seeds: (ran(plan, seed) for seed in seeds)
        return
    _PLANS.append(plan)  # Agents cannot be sent to a process; they are there when it is forked.
    try:
        context: Any = multiprocessing.get_context("fork")
        with context.Pool(jobs) as pool:
            yield lambda seeds: pool.map(_ran, seeds, max(1, len(seeds) // (4 * jobs)))
    finally:
        _PLANS.pop()


def _ran(seed: int) -> Ran:
    return ran(_PLANS[-1], seed)
