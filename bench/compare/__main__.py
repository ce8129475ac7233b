"""Interlock beside its peers: one command, one report.

    python -m bench.compare [--quick] [--only KIND...] [--without-growth]
    python -m bench.compare --again

The report goes to `bench/results/report.md`, `report.json` and `report.svg`; with `--quick`, which
takes some minutes and is not to be quoted, to `bench/results/quick/`.  Each peer has a virtual
environment of its own, made on the first run.  What is measured stands in `parts`, who takes part
in `plan`, what the rows are in `rows`.  `--again` measures nothing: it writes the report of what
was kept once more, after a change to `why` or `rows`.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence

from bench import _place
from bench._place import ROOT
from bench._report import RESULTS, arms_in_turn
from bench.compare.measure import Found, compare_round, grow
from bench.compare.plan import ARMS, KINDS, QUICK, Arm, Sizes, ours
from bench.compare.report import Compared
from bench.durable import file_system


def machines(rounds: int) -> dict[str, list[dict[str, float]]]:
    """The bare machines, each time in a fresh process; they take turns."""
    pythons = {
        "interlock": ours(),
        "transitions": ours(),
        "python-statemachine": _place.MACHINES.python(),
        "xstate-statemachine": _place.MACHINES.python(),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for name in arms_in_turn([*pythons], rounds):
        command = [str(pythons[name]), "-W", "ignore", "-m", "bench.compare.machine", name]
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        one = json.loads(said.stdout)
        found[name].append({key: one[key] for key in ("trigger_us", "make_us", "bytes")})
    return found


def rounds(arms: Sequence[Arm], folder: str, sizes: Sizes, found: Found) -> None:
    """All rounds of the arms of each kind."""
    for number in range(sizes.rounds):
        for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
            of_kind = [arm for arm in arms if arm.kind == kind]
            if not of_kind:
                continue
            say(f"round {number + 1} of {sizes.rounds}: {kind}")
            order = of_kind if number % 2 == 0 else of_kind[::-1]
            compare_round(order, folder, sizes, found)


def growths(arms: Sequence[Arm], folder: str, sizes: Sizes, found: Found) -> None:
    """Many tasks, arm by arm."""
    for arm in arms:
        if not arm.grows:
            continue
        say(f"many tasks: {arm.name}")
        try:
            grow(arm, folder, sizes, found)
        except RuntimeError as error:
            # A peer at its limit ends its own rows, and nobody else's.
            found.failed[f"{arm.name}, many tasks"] = str(error)[:300]


def there(arm: Arm, found: Found) -> bool:
    """Whether it has an environment; the others go on without it."""
    try:
        arm.python()
    except RuntimeError as error:
        found.failed[arm.name] = str(error)[:300]
        return False
    return True


def say(what: str) -> None:
    """Where it is."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Interlock beside its peers")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--without-growth", action="store_true")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    target = RESULTS / "quick" if options.quick else RESULTS
    if options.again:
        print(Compared.kept(target).finish(target))
        return
    sizes = QUICK if options.quick else Sizes()
    found = Found()
    arms = [arm for arm in ARMS if arm.kind in options.only and there(arm, found)]
    began, load = time.perf_counter(), os.getloadavg()[0]
    if options.quick:
        target.mkdir(exist_ok=True)
        (target / ".gitignore").write_text("*\n", encoding="utf-8")

    def report() -> str:
        took_s = time.perf_counter() - began
        loads = (load, os.getloadavg()[0])
        return Compared(found, of_machines, options.quick, took_s, loads).finish(target)

    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=ROOT / "bench", prefix=".data-") as folder:
        file_system(folder)
        say("the bare machines")
        of_machines = machines(sizes.machine_rounds)
        rounds(arms, folder, sizes, found)
        report()  # What was found so far is not lost by what comes.
        if not options.without_growth:
            growths(arms, folder, sizes, found)
    print(report())
    print(f"kept in {target.relative_to(ROOT)}/report.md, .json and .svg")


if __name__ == "__main__":
    main()
