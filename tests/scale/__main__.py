"""`python -m scale [--kills N] [--seed S] [--host H] [--round R] [--keep]`: see the README."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from faults.evidence import Finding
from scale.audit import summary
from scale.hosts import HOSTS
from scale.replica import MUTANTS
from scale.rounds import BLOWS, Place, Tally, placed, round_of

#: One store lives so many kills, then it is audited.
KILLS_A_ROUND: Final = 25
#: Of one round; the rest is like them.
FINDINGS_SHOWN: Final = 20
#: How replicas live, in turn.
LIVES: Final[tuple[dict[str, Any], ...]] = (
    {"agent": "coroutine", "park_after_s": 0.05},
    {"agent": "thread", "park_after_s": 0.0},
    {"agent": "generator", "park_after_s": None},
    {"agent": "coroutine", "park_after_s": None},
)


class Plan(NamedTuple):
    """One round."""

    name: str
    #: Of `BLOWS`.
    blows: str
    times: int
    life: dict[str, Any]


def plans(kills: int) -> Iterator[Plan]:
    """Every round, in order: of kills, of other blows, of planted bugs."""
    for number in range(-(-kills // KILLS_A_ROUND)):
        times = min(KILLS_A_ROUND, kills - number * KILLS_A_ROUND)
        yield Plan(f"kills-{number}", "kills", times, LIVES[number % len(LIVES)])
    yield Plan("stops", "stops", 4, LIVES[0])
    yield Plan("stops-threads", "stops", 4, LIVES[1])
    yield Plan("brinks", "brinks", 4, LIVES[0])
    yield Plan("restarts", "restarts", 8, LIVES[0])
    yield Plan("rolls", "rolls", 8, LIVES[3])
    for mutant in MUTANTS:
        blows, times = MUTANT_BLOWS[mutant]
        yield Plan(mutant, blows, times, LIVES[0] | {"mutant": mutant})


#: What shows each planted bug.
MUTANT_BLOWS: Final[dict[str, tuple[str, int]]] = {
    "answer_early": ("kills", 6),
    "unfenced": ("stops", 2),
    "call_twice": ("kills", 12),
    "always_sure": ("brinks", 2),
}


async def run(options: argparse.Namespace) -> bool:
    """Every round, and the figures; whether nothing was found."""
    began = time.monotonic()
    total = Tally()
    async with placed(HOSTS[options.host](), clients=options.clients) as place:
        for plan in plans(options.kills):
            if options.round in {"", plan.name}:
                tally = await one_round(place, plan, options)
                add(total, tally)
                took_s = time.monotonic() - began
                print(
                    f"round {plan.name}: {listed(tally.blows)}, {tally.figures['tasks']} tasks, "
                    f"{len(tally.findings)} findings, {took_s:.0f} s",
                    flush=True,
                )
    show(total, time.monotonic() - began)
    return not total.findings


async def one_round(place: Place, plan: Plan, options: argparse.Namespace) -> Tally:
    """A round in a directory of its own, which is kept if anything was found."""
    directory = Path(tempfile.mkdtemp(dir=Path(__file__).parent, prefix=".data-"))
    seed = f"{options.seed}/{plan.name}"
    again = f"{directory} is kept; again: make scale SEED={options.seed} "
    again += f"SCALE_HOST={options.host} SCALE_KILLS={options.kills} SCALE_ROUND={plan.name}"
    try:
        tally = await round_of(place, directory, seed, BLOWS[plan.blows], plan.times, **plan.life)
    except BaseException:
        print(f"round {plan.name} broke off; {again}")
        raise
    if plan.name in MUTANTS:
        print(f"mutant {plan.name}: {dict(Counter(f.rule for f in tally.findings))}")
        tally = judged(tally)
    for finding in tally.findings[:FINDINGS_SHOWN]:
        print("  ", *finding)
    if tally.findings or options.keep:
        print(again)
    else:
        shutil.rmtree(directory)
    return tally


def judged(mutant: Tally) -> Tally:
    """What finding a planted bug, or not, comes to."""
    if mutant.findings:
        return Tally(figures=Counter({"mutants found": 1}))
    return Tally(findings=[Finding("mutant", "", "a planted bug was not found")])


def add(total: Tally, tally: Tally) -> None:
    """Count a round in."""
    total.blows += tally.blows
    total.figures += tally.figures
    total.findings += tally.findings
    handed = defaultdict(list, total.handovers)
    for blow, seconds in tally.handovers.items():
        handed[blow] += seconds
    total.handovers = dict(handed)


def show(total: Tally, took_s: float) -> None:
    """The figures."""
    print(listed(total.blows))
    print(listed(total.figures))
    for blow, seconds in total.handovers.items():
        print(f"from {blow} to the next claim elsewhere, {summary(seconds)}")
    print(f"findings {len(total.findings)}, {took_s:.0f} s")


def listed(counts: Counter[str]) -> str:
    """Names and numbers."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def main() -> None:
    """Run, and exit with 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Two replicas on one store, under blows.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--host", choices=sorted(HOSTS), default="postgres")
    parser.add_argument("--round", default="", help="only this one, by its name")
    parser.add_argument("--keep", action="store_true", help="keep what each round left behind")
    options = parser.parse_args()
    names = [plan.name for plan in plans(options.kills)]
    if options.round and options.round not in names:
        parser.error(f"there is no round {options.round!r}; there are {', '.join(names)}")
    print(f"seed {options.seed}")
    sys.exit(0 if asyncio.run(run(options)) else 1)


if __name__ == "__main__":
    main()
