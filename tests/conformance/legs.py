"""The legs of the bar: which suite is run how, and what came of it."""

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from conformance.install import CONFORMANCE_1, CONFORMANCE_2, Package

#: A leg takes some ten seconds; one that hangs is ended.
_LEG_S: Final = 300
_SCENARIOS: Final = re.compile(r"\((\d+) scenarios\)")
#: What the suites append to the name of a scenario.
_STAMP: Final = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")


class Leg(NamedTuple):
    """One run of a suite."""

    name: str
    suite: Package
    options: tuple[str, ...]


LEGS: Final = (
    Leg("0.1.16", CONFORMANCE_1, ("--suite", "all")),
    Leg("0.2 2025-11-25", CONFORMANCE_2, ("--suite", "all", "--spec-version", "2025-11-25")),
    Leg("0.2 2026-07-28", CONFORMANCE_2, ("--suite", "all", "--spec-version", "2026-07-28")),
    Leg("0.2 all", CONFORMANCE_2, ("--suite", "all")),
)


class Check(NamedTuple):
    """One check that did not just succeed."""

    scenario: str
    name: str
    message: str


@dataclass
class Outcome:
    """What a leg came to."""

    leg: str
    scenarios: int = 0
    #: How many checks were of which status; INFO is no check.
    statuses: Counter[str] = field(default_factory=Counter[str])
    failed: list[Check] = field(default_factory=list[Check])
    warned: list[Check] = field(default_factory=list[Check])

    @property
    def row(self) -> tuple[object, ...]:
        """As a line of the table."""
        passed, skipped = self.statuses["SUCCESS"], self.statuses["SKIPPED"]
        return self.leg, self.scenarios, passed, len(self.failed), skipped, len(self.warned)


HEADINGS: Final = ("leg", "scenarios", "passed", "failed", "skipped", "warnings")


def run(leg: Leg, url: str, into: Path, environment: Mapping[str, str]) -> Outcome:
    """Run a leg against the server at `url`; its files are left in `into`."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    command = [str(leg.suite.path), "server", "--url", url, *leg.options, "-o", str(into)]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, timeout=_LEG_S
        )
    except subprocess.TimeoutExpired:
        return Outcome(leg.name, failed=[Check("", "leg", f"not done after {_LEG_S} s")])
    (into / "said.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    outcome = read(leg.name, into)
    if said := _shortfall(done, outcome):
        outcome.failed.append(Check("", "leg", said))
    return outcome


def _shortfall(done: subprocess.CompletedProcess[str], outcome: Outcome) -> str:
    """What of a run is not in its results."""
    told = _SCENARIOS.search(done.stdout)
    wanted = int(told[1]) if told else 1
    if outcome.scenarios < max(wanted, 1):
        code = f"exit code {done.returncode}: {done.stderr.strip()[-500:]}"
        return f"{wanted} scenarios were to run, {outcome.scenarios} left results; {code}"
    if done.returncode != 0 and not outcome.failed:
        return f"exit code {done.returncode}, and no check failed: {done.stderr.strip()[-500:]}"
    return ""


def read(name: str, into: Path) -> Outcome:
    """What the files of a leg say.  A scenario that left none has failed."""
    outcome = Outcome(name)
    for folder in sorted(path for path in into.iterdir() if path.is_dir()):
        outcome.scenarios += 1
        scenario = _STAMP.sub("", folder.name).removeprefix("server-")
        checks = folder / "checks.json"
        if not checks.exists():
            outcome.failed.append(Check(scenario, "scenario", "broke off: see said.txt"))
            continue
        for check in json.loads(checks.read_text(encoding="utf-8")):
            status = check["status"]
            outcome.statuses[status] += status != "INFO"
            told = Check(scenario, check["id"], check.get("errorMessage") or check["description"])
            if status == "WARNING":
                outcome.warned.append(told)
            elif status not in {"SUCCESS", "INFO", "SKIPPED"}:
                outcome.failed.append(told)
    return outcome


def table(headings: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Columns, the first to the left and the others to the right."""
    cells = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(headings))]
    lines = (
        [
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    )
    return "\n".join("  ".join(line) for line in lines)
