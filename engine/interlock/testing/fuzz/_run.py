"""Many runs of a target: what they covered, and each way in which one failed, shrunk."""

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from interlock.errors import InvalidInput
from interlock.testing.fuzz._again import REPLAY, Runs, confirmed, run_twice
from interlock.testing.fuzz._drive import STUCK, Ran, ran
from interlock.testing.fuzz._drive_world import Plan
from interlock.testing.fuzz._faults import ALL_FAULTS
from interlock.testing.fuzz._replicas import kind_of_run
from interlock.testing.fuzz._replicas_moves import REPLICA_FAULTS
from interlock.testing.fuzz._report import (
    USER,
    Failure,
    Invariant,
    Report,
    check_invariants,
    name_of_check,
)
from interlock.testing.fuzz._shrink import shrunk
from interlock.testing.fuzz._target import Target

#: Runs between two looks at the time and at what was found, whatever the number of jobs: so the
#: same seeds are run.
ROUND: Final = 32
#: Seconds beyond `for_s` in which failures are shrunk.
SHRINKS_S: Final = 10.0
#: How many runs there are where neither a number nor a time is given.
RUNS: Final = 1_000

#: Tapes that are tried at most to find a plainer one that differs when it is repeated.
_TRIES_TWICE: Final = 60

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
    replicas: int = 1,
    store: str | None = None,
) -> Report:
    """Run the target with the seeds `seed`, `seed + 1`, ...: `runs` of them, or for some seconds.

    It ends before that once `failures_max` kinds of failures were found; until then an invariant
    of yours that was found broken is not looked at any more.  Each failure is shrunk: to the
    same tape wherever it is, unless `for_s` was given and is over by `SHRINKS_S`.  A run that
    does not come back ends all at once, and is not shrunk.
    `on_run` is told what each run came to, in the order of the seeds.  `jobs` is how many
    processes run at once, where the system can fork; the same seeds give the same report
    whatever it is, but for the seconds.
    With `replicas` so many engines share one store, and requests go to any of them; `store` is
    the URL of an empty one that keeps the tasks instead of a memory, and is emptied after each run.

    Raises:
        InvalidInput: there is no such fault, the numbers are none, an invariant is, or the store
            cannot be opened or is not empty.
    """
    _check(faults, runs, for_s, jobs, replicas, store)
    check_invariants(invariants)
    began = time.monotonic()
    until = math.inf if for_s is None else began + for_s
    most = RUNS if runs is None and for_s is None else runs
    reports: list[Report] = []
    found: dict[str, tuple[Plan, Ran]] = {}
    is_over = False
    while not is_over:
        # Of what is known to be broken no more is said: it would hide what else a run breaks.
        left = [c for c in invariants if f"{USER}:{name_of_check(c)}" not in found]
        plan, known = _planned(target, faults, left, replicas, store), len(found)
        with closing(plan), _runner(plan, jobs) as runner:
            while not is_over and len(found) == known:
                count = ROUND if most is None else min(ROUND, most - len(reports))
                first = seed + len(reports)
                for one in runner(range(first, first + count)):
                    report = _report_of(one)
                    reports.append(report)
                    if one.failure is not None:
                        found.setdefault(one.failure.kind, (plan, one))
                    if on_run is not None:
                        on_run(report)
                    if time.monotonic() >= until or STUCK in found:
                        is_over = True
                        break
                is_over |= len(found) >= failures_max or len(reports) == most
    failures: dict[str, Failure] = {}
    for plan, one in found.values():
        with closing(plan):
            failure = _shrunk(plan, one, max(until, time.monotonic()) + SHRINKS_S)
        without = tuple(name_of_check(c) for c in invariants if c not in plan.invariants)
        failures.setdefault(failure.kind, replace(failure, without=without))
    seconds = time.monotonic() - began
    return replace(Report.merged(reports), seconds=seconds, failures=tuple(failures.values()))


def replay(
    target: Target,
    seed: int,
    tape: Sequence[int] | None = None,
    *,
    faults: AbstractSet[str] = ALL_FAULTS,
    invariants: Sequence[Invariant] = (),
    replicas: int = 1,
    store: str | None = None,
) -> Failure | None:
    """Run once more what `fuzz` ran: by the tape of a failure, or all of the run of a seed.

    The faults have to be those of then.  None if nothing fails; a run that comes out otherwise
    when it is repeated fails, too.

    Raises:
        InvalidInput: there is no such fault, or an invariant is none.
    """
    _check(faults, None, None, 1, replicas, store)
    check_invariants(invariants)
    with closing(_planned(target, faults, invariants, replicas, store)) as plan:
        return run_twice(_once(plan, seed), seed, tape).failure


def _planned(
    target: Target,
    faults: AbstractSet[str],
    invariants: Sequence[Invariant],
    replicas: int,
    store: str | None,
) -> Plan:
    if replicas > 1 and faults >= ALL_FAULTS:
        faults = faults | REPLICA_FAULTS
    return Plan(target, frozenset(faults), tuple(invariants), target.lifecycle, replicas, store)


def _once(plan: Plan, seed: int) -> Runs:
    """Runs a seed, or a tape of it."""
    return partial(ran, plan, seed, make=kind_of_run(plan))


def _check(
    faults: AbstractSet[str],
    runs: int | None,
    for_s: float | None,
    jobs: int,
    replicas: int,
    store: str | None,
) -> None:
    problems: list[str] = []
    if isinstance(faults, str):
        problems.append("faults is a text; a set of names is accepted")
    elif unknown := sorted(faults - ALL_FAULTS - REPLICA_FAULTS):
        accepted = ", ".join(sorted(ALL_FAULTS | REPLICA_FAULTS))
        problems.append(f"there is no fault {', '.join(unknown)}; accepted are {accepted}")
    if runs is not None and runs < 1:
        problems.append(f"runs is {runs}; 1 or more is accepted")
    if for_s is not None and for_s <= 0:
        problems.append(f"for_s is {for_s}; a number of seconds above 0 is accepted")
    if jobs < 1:
        problems.append(f"jobs is {jobs}; 1 or more is accepted")
    if replicas < 1:
        problems.append(f"replicas is {replicas}; 1 or more is accepted")
    if store is not None and jobs > 1:
        problems.append("a store is driven by one job at a time; jobs=1 is accepted with it")
    if problems:
        raise InvalidInput(problems)


def _shrunk(plan: Plan, failed: Ran, until: float) -> Failure:
    failure = failed.failure
    assert failure is not None
    if failure.kind == STUCK:
        return failure
    once = _once(plan, failure.seed)
    if failure.kind == REPLAY:
        twice = partial(run_twice, once, failure.seed)
        return shrunk(failed, twice, tries_max=_TRIES_TWICE, until=until)
    if (again := confirmed(failure, once)).kind == REPLAY:
        return again
    return confirmed(shrunk(failed, once, until=until), once)


def _report_of(one: Ran) -> Report:
    failures = () if one.failure is None else (one.failure,)
    return Report(
        runs=1,
        lives=one.lives,
        steps=len(one.trace),
        hits=one.hits,
        guards=one.guards,
        failures=failures,
        digests=(one.digest,),
        outcomes=one.outcomes,
        errors=one.errors,
        notes=one.notes,
        ends=one.ends,
    )


@contextmanager
def _runner(plan: Plan, jobs: int) -> Generator[_Runner]:
    """What runs seeds: here, or in processes that are forked off."""
    if jobs == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield lambda seeds: (_of_seed(plan, seed, seeds) for seed in seeds)
        return
    _PLANS.append(plan)  # Agents cannot be sent to a process; they are there when it is forked.
    try:
        context: Any = multiprocessing.get_context("fork")
        # Whoever interrupts all of them is heard by the first.
        with context.Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
            yield lambda seeds: pool.imap(
                _ran, [(seed, seeds) for seed in seeds], max(1, len(seeds) // (4 * jobs))
            )
    finally:
        _PLANS.pop()


def _ran(job: tuple[int, Sequence[int]]) -> Ran:
    return _of_seed(_PLANS[-1], *job)


def _of_seed(plan: Plan, seed: int, seeds: Sequence[int]) -> Ran:
    """The run of a seed; the first one of each round is repeated, and must be the same."""
    once = _once(plan, seed)
    made = run_twice(once, seed) if seed == seeds[0] else once(None)
    return replace(made, logs=())  # Nobody compares them any more.
