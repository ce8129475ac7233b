"""`python -m faults [--kills N] [--seed S] [--round R] [--keep]`: see the README."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from faults.agent import AGENTS
from faults.evidence import Finding
from faults.run import Tally, forker, round_of
from faults.scenarios import SCENARIOS
from faults.server import MUTANTS, Life

#: One file lives so many kills, then it is audited.
KILLS_A_ROUND: Final = 25
#: A planted bug shows sooner.
MUTANT_KILLS: Final = 12
#: Of one round; the rest is like them.
FINDINGS_SHOWN: Final = 20
#: How a waiting task is kept, in turn: parked soon, at once, never.
PARKING: Final = (0.05, 0.0, None)


def life_of(directory: Path, number: int) -> Life:
    """How the servers of a round live."""
    agent = [*AGENTS][number % len(AGENTS)]
    park_after_s = PARKING[number // len(AGENTS) % len(PARKING)]
    return Life(str(directory), agent, park_after_s=park_after_s)


async def run(options: argparse.Namespace) -> bool:
    """Every round, and the figures; whether nothing was found."""
    began = time.monotonic()
    total = Tally()
    chosen = [options.round] if options.round else [*rounds(options.kills)]
    for name in chosen:
        tally = await one_round(name, options)
        add(total, tally)
        line = f"round {name}: {tally.kills.total()} kills, {tally.tasks} tasks, "
        print(
            line + f"{len(tally.findings)} findings, {time.monotonic() - began:.0f} s", flush=True
        )
    show(total, time.monotonic() - began)
    return not total.findings


def rounds(kills: int) -> Iterator[str]:
    """The names of the rounds: numbers for those of kills, then scenarios, then mutants."""
    yield from (str(number) for number in range(-(-kills // KILLS_A_ROUND)))
    yield from SCENARIOS
    yield from MUTANTS


async def one_round(name: str, options: argparse.Namespace) -> Tally:
    """A round in a directory of its own, which is kept if anything was found."""
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    directory = Path(tempfile.mkdtemp(dir=Path(__file__).parent, prefix=".data-"))
    seed = f"{options.seed}/{name}"
    again = f"{directory} is kept; again: make faults SEED={options.seed} "
    again += f"FAULTS_KILLS={options.kills} FAULTS_ROUND={name}"
    try:
        async with forker() as server:
            if name in SCENARIOS:
                life = life_of(directory, [*SCENARIOS].index(name))
                tally = await SCENARIOS[name](server, directory, seed, life)
            elif name in MUTANTS:
                life = life_of(directory, 0)._replace(mutant=name)
                tally = await round_of(server, directory, seed, MUTANT_KILLS, life)
            else:
                number = int(name)
                kills = min(KILLS_A_ROUND, options.kills - number * KILLS_A_ROUND)
                life = life_of(directory, number)
                tally = await round_of(server, directory, seed, kills, life)
    except BaseException:
        print(f"round {name} broke off; {again}")
        raise
    if name in MUTANTS:
        print(f"mutant {name}: {dict(Counter(f.rule for f in tally.findings))}")
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
    total.kills += tally.kills
    total.figures += tally.figures
    total.findings += tally.findings


def show(total: Tally, took_s: float) -> None:
    """The figures."""

    def listed(counts: Counter[str]) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

    print(f"kills {total.kills.total()}: {listed(total.kills)}")
    print(listed(total.figures))
    print(f"findings {len(total.findings)}, {took_s:.0f} s")


def main() -> None:
    """Run, and exit with 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Kills a server, and audits what is left.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--round", default="", help="only this one: a number, scenario or mutant")
    parser.add_argument("--keep", action="store_true", help="keep what each round left behind")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    sys.exit(0 if asyncio.run(run(options)) else 1)


if __name__ == "__main__":
    main()
