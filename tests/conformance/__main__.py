"""`python -m conformance [--scenario NAME] [--store URL]`: the MCP face, judged by others.

Installs what is missing, starts the fixture, runs the legs of the bar and a session of an
independent client, prints what came of it, and exits with 1 if anything failed.
"""

# ruff: noqa: T201  (it prints its findings)

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from conformance import mcpdo
from conformance.install import CONFORMANCE_2, RESULTS, install
from conformance.legs import HEADINGS, LEGS, Leg, Outcome, run, table

#: The fixture drains its tasks; one that does not end is killed.
_STOP_S: Final = 30


@contextmanager
def fixture(results: Path, store: str) -> Generator[str]:
    """The fixture, serving in a process of its own; its URL.

    Raises:
        RuntimeError: it did not start, or did not end as it should.
    """
    for old in results.glob("tasks.db*"):
        old.unlink()
    log = results / "server.log"
    command = [sys.executable, "-m", "conformance.fixture_server", "--store", store]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with log.open("w", encoding="utf-8") as errors:
        server = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    assert server.stdout is not None
    try:
        if not (url := server.stdout.readline().strip()):
            raise RuntimeError(f"the fixture did not start: see {log}")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()
    if server.returncode != 0:
        raise RuntimeError(f"the fixture ended with {server.returncode}: see {log}")


def legs(names: list[str], url: str, environment: Mapping[str, str]) -> list[Outcome]:
    """Run the scenarios of these names, or everything."""
    chosen = [Leg(name, CONFORMANCE_2, ("--scenario", name)) for name in names] or LEGS
    outcomes: list[Outcome] = []
    for leg in chosen:
        print(f"running {leg.name}", flush=True)
        outcomes.append(run(leg, url, RESULTS / leg.name.replace(" ", "-"), environment))
    return outcomes


def show(outcomes: list[Outcome], session: Mapping[str, str]) -> int:
    """Print what came of it; how much failed."""
    print(f"\n{table(HEADINGS, [outcome.row for outcome in outcomes])}\n")
    for outcome in outcomes:
        for word, checks in (("warning", outcome.warned), ("FAILED", outcome.failed)):
            for check in checks:
                print(f"{word}: {outcome.leg}: {check.scenario}: {check.name}: {check.message}")
    for step, problem in session.items():
        print(f"mcpdo: {step} {f'FAILED: {problem}' if problem else 'passed'}")
    failed = sum(len(outcome.failed) for outcome in outcomes)
    failed += sum(bool(problem) for problem in session.values())
    print(f"\n{failed} failed; the results are in {RESULTS}")
    return failed


def main() -> None:
    """Run, and exit with 1 if anything failed."""
    parser = argparse.ArgumentParser(description="Runs MCP's conformance suites against us.")
    parser.add_argument(
        "--scenario", action="append", default=[], help="only this one of 0.2; may be repeated"
    )
    kept = f"sqlite:///{RESULTS / 'tasks.db'}"
    parser.add_argument("--store", default=kept, help="of the fixture; memory: is quicker")
    options = parser.parse_args()
    environment = install()
    RESULTS.mkdir(parents=True, exist_ok=True)
    with fixture(RESULTS, options.store) as url:
        outcomes = legs(options.scenario, url, environment)
        session = {} if options.scenario else mcpdo.run(url, environment)
    sys.exit(1 if show(outcomes, session) else 0)


if __name__ == "__main__":
    main()
