"""`python -m faults.smol [--kinds K] [--seed S] [--tiny] [--only KIND/POINT/K]`: see the README.

Imports everything once, and forks a process for each life of a task.  One task is killed at one
point, or at several in turn, then it is left to complete, and what it left behind is audited.
"""

import argparse
import dataclasses
import json
import multiprocessing
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple, cast

from faults.evidence import Finding
from faults.failpoints import Plan
from faults.smol_agents import KINDS, KindName
from faults.smol_audit import audited
from faults.smol_life import LOG, Life, live

#: Around each append to the journal, and around each thing that is done outside.
POINTS: Final = (
    "before_commit",
    "syncing",
    "after_commit",
    "acknowledged",
    "before_effect",
    "after_effect",
    "before_model",
    "after_model",
)
#: Names of what is not a point.
TORN, SEVERAL, MUTANT, UNHARMED = "torn", "several", "forget_doubts", "unharmed"
#: Less than a page: of what was written last, the end is missing.
TORN_BYTES_MAX: Final = 4_000
#: Tasks of each kind that are killed several times.
SEVERAL_TASKS: Final = 30
#: Most of the time a life waits for the disk.
WORKERS: Final = 4
#: Runs of one kind at one point: an agent whose life has more commits would never end.
RUNS_MAX: Final = 400
FINDINGS_SHOWN: Final = 20


class Run(NamedTuple):
    """One task: how its lives end, before the one that completes it."""

    kind: KindName
    #: Of `POINTS`, or another name.
    point: str
    number: int
    lives: Sequence[Life]

    @property
    def name(self) -> str:
        """By what it can be run again."""
        return f"{self.kind}/{self.point}/{self.number}"


class Job(NamedTuple):
    """The runs of one kind at one point."""

    kind: KindName
    point: str
    #: The runs, from 1 on; None goes on until a task is completed before its kill.
    numbers: Sequence[int] | None = None


@dataclasses.dataclass
class Tally:
    """What runs came to."""

    findings: list[Finding] = dataclasses.field(default_factory=list[Finding])
    figures: Counter[str] = dataclasses.field(default_factory=Counter[str])
    kills: Counter[str] = dataclasses.field(default_factory=Counter[str])

    def add(self, other: "Tally") -> None:
        """Count others in."""
        self.findings += other.findings
        self.figures += other.figures
        self.kills += other.kills


def run_of(seed: str, kind: KindName, point: str, number: int) -> Run:
    """How the lives of one task end."""
    dice = random.Random(f"{seed}/{kind}/{point}/{number}")  # noqa: S311  it must be repeatable
    life = Life(Path(), kind)
    if point == UNHARMED:
        return Run(kind, point, number, [])
    if point == MUTANT:
        plan = Plan("after_effect", number)
        return Run(kind, point, number, [life._replace(plan=plan, forgets_doubts=True)])
    if point == SEVERAL:
        life = life._replace(park_after_s=dice.choice([0.0, None]))
        return Run(kind, point, number, [_random(life, dice) for _ in range(dice.randint(2, 6))])
    if point == TORN:
        # It dies before anybody is told that this is durable.
        plan, off = Plan("after_commit", number), dice.randint(1, TORN_BYTES_MAX)
        return Run(kind, point, number, [life._replace(plan=plan, torn_off=off)])
    after_us = dice.randint(0, dice.choice([100, 1_000, 3_000]))
    return Run(kind, point, number, [life._replace(plan=Plan(point, number, after_us))])


def _random(life: Life, dice: random.Random) -> Life:
    if dice.random() < 0.3:
        return life._replace(within_s=0.005 + dice.random() * 0.3)
    plan = Plan(dice.choice(POINTS), dice.randint(1, 12), after_us=dice.randint(0, 3_000))
    return life._replace(plan=plan)


def ran(run: Run, root: Path) -> Tally:
    """Let a task live and be killed, and audit it; its directory stays if there are findings."""
    directory = Path(tempfile.mkdtemp(dir=root, prefix=run.name.replace("/", "-") + "-"))
    tally, completed = Tally(figures=Counter(runs=1)), False
    last = Life(directory, run.kind, forgets_doubts=run.point == MUTANT)
    for life in [*run.lives, last]:
        code = live(life._replace(directory=directory))
        if code == 0:
            completed = True
            break
        if code == -signal.SIGKILL or (code == -signal.SIGALRM and life.within_s is not None):
            tally.kills[TORN if life.torn_off else life.plan.point or "at random"] += 1
            continue
        said = _end_of(directory / LOG)
        tally.findings.append(Finding("life", run.name, f"a life ended with {code}: {said}"))
        break
    if completed:
        tally.figures["completed"] = 1
        judged = audited(directory, run.kind, tally.kills.total())
        tally.figures += judged.figures
        tally.findings += [found._replace(task=run.name) for found in judged.findings]
        tally.findings += _expected_doubt(run, tally)
    elif not tally.findings:
        tally.findings.append(Finding("life", run.name, "the last life was killed too"))
    if not tally.findings:
        shutil.rmtree(directory)
    return tally


def _expected_doubt(run: Run, tally: Tally) -> Iterator[Finding]:
    """A kill right after something was done leaves it in doubt, or it may be done again."""
    asked = tally.figures["in doubt"] + tally.figures["safe tools repeated"]
    if run.point == "after_effect" and tally.kills and not asked:
        yield Finding("doubts", run.name, "killed right after the effect, and nobody was asked")


def _end_of(log: Path) -> str:
    if not log.exists():
        return "nothing was said"
    return " ".join(log.read_text(encoding="utf-8").splitlines()[-3:])


def worked(job: Job, seed: str, root: Path) -> Tally:
    """Every run of a job."""
    total = Tally()
    for number in job.numbers or count(1):
        tally = ran(run_of(seed, job.kind, job.point, number), root)
        total.add(tally)
        if job.numbers is None and not tally.kills:
            break  # It is completed before it comes there so often.
        if number > RUNS_MAX:
            total.findings.append(Finding("life", job.kind, f"{job.point} never ends"))
            break
    return total


def jobs_of(kinds: Sequence[KindName], *, tiny: bool) -> list[Job]:
    """All that is to be done, the longest first."""
    if tiny:
        return [
            Job(kind, point, numbers)
            for kind in kinds
            for point, numbers in (("after_commit", [9]), ("after_effect", [2]))
        ]
    several = range(1, SEVERAL_TASKS + 1)
    return [
        *(Job(kind, point) for point in (*POINTS, TORN) for kind in kinds),
        *(Job(kind, SEVERAL, several) for kind in kinds),
        *(Job(kind, UNHARMED, [1]) for kind in kinds),
    ]


def results(jobs: Sequence[Job], seed: str, root: Path) -> Iterator[tuple[Job, Tally]]:
    """What each job came to, worked off by several processes."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        yield from zip(jobs, pool.map(partial(worked, seed=seed, root=root), jobs), strict=True)


def mutant(kind: KindName, seed: str, root: Path) -> Tally:
    """What finding the planted bug, or not, comes to."""
    tally = worked(Job(kind, MUTANT, [2]), seed, root)
    print(f"mutant {MUTANT}: {dict(Counter(found.rule for found in tally.findings))}")
    if any(found.rule == "done_once" for found in tally.findings):
        for directory in root.glob(f"{kind}-{MUTANT}-*"):
            shutil.rmtree(directory)
        return Tally(figures=Counter({"mutants found": 1}))
    return Tally(findings=[Finding("mutant", MUTANT, "a planted bug was not found")])


COLUMNS: Final = (
    "runs",
    "kills",
    "completed",
    "tools",
    "tools run twice",
    "in doubt",
    "prompts",
    "prompts repeated",
    "safe tools repeated",
)


def table(tallies: dict[str, Tally]) -> str:
    """The figures, a line for each agent."""
    lines = [["agent", *COLUMNS, "findings"]]
    for name, tally in tallies.items():
        figures = tally.figures + Counter(kills=tally.kills.total())
        counts = [figures[column] for column in COLUMNS]
        lines.append([name, *(str(number) for number in (*counts, len(tally.findings)))])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def everything(options: argparse.Namespace, root: Path) -> Tally:
    """All that was asked for, and its table."""
    kinds = cast("list[KindName]", options.kinds.split(",") if options.kinds else [*KINDS])
    jobs = jobs_of(kinds, tiny=options.tiny)
    if options.only:
        kind, point, number = options.only.split("/")
        jobs, kinds = [Job(kind, point, [int(number)])], [kind]
    tallies: dict[str, Tally] = {kind: Tally() for kind in kinds}
    for job, tally in results(jobs, options.seed, root):
        tallies[job.kind].add(tally)
        runs, kills = tally.figures["runs"], tally.kills.total()
        print(
            f"{job.kind}/{job.point}: {runs} runs, {kills} kills, {len(tally.findings)} findings",
            flush=True,
        )
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    tallies["all"] = total
    print(table(tallies))
    if not options.only:
        total.add(mutant(kinds[0], options.seed, root))
    return total


def main() -> None:
    """Run, and exit with 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Kills agents of smolagents, and audits them.")
    parser.add_argument("--kinds", default="", help=f"some of {','.join(KINDS)}")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--tiny", action="store_true", help="a few kills of each kind")
    parser.add_argument("--only", default="", help="one run, as a finding names it")
    parser.add_argument("--json", default="", help="a file for the figures")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    root = Path(tempfile.mkdtemp(dir=Path(__file__).parent, prefix=".data-"))
    total = everything(options, root)
    for found in total.findings[:FINDINGS_SHOWN]:
        print("  ", *found)
    counts = ", ".join(f"{name} {number}" for name, number in sorted(total.kills.items()))
    print(f"kills {total.kills.total()}: {counts}")
    print(f"findings {len(total.findings)}, {time.monotonic() - began:.0f} s")
    if total.findings:
        again = f"python -m faults.smol --seed {options.seed} --only "
        print(f"{root} is kept; again: {again}{total.findings[0].task}")
    else:
        shutil.rmtree(root)
    if options.json:
        Path(options.json).write_text(json.dumps(vars(total)), encoding="utf-8")
    sys.exit(1 if total.findings else 0)


if __name__ == "__main__":
    main()
