"""Which mutants of a lifecycle a test-suite misses: each is tried in a pytest of its own."""

import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock._machine import Lifecycle
from interlock.diagram import Key, hits_of_json
from interlock.testing.fuzz._mutants import VARIABLE, Mutant, mutants_of, refused

#: Seconds after which the tests of one mutant have failed: some hang instead.  It is that of the
#: tests as they are, so many times over, and some for the start of a process.
SLOWER_TIMES: Final = 5.0
SLOWER_S: Final = 20.0
#: Seconds for the tests as they are.
TESTS_S: Final = 1_800.0

#: Exit codes of pytest that say that tests ran: all passed, or some failed.
_PASSED, _FAILED = 0, 1


class TestsFail(Exception):
    """The tests do not pass with the lifecycle as it is; says what pytest said."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class Mutation:
    """What came of it."""

    #: Mutants whose tests were run, and that some test noticed.
    killed: tuple[Mutant, ...]
    #: Those that no test noticed.
    survived: tuple[Mutant, ...]
    #: Those of rows that no test takes: none can notice them.
    untaken: tuple[Mutant, ...]
    #: Left out by `limit`.
    skipped: int
    #: Changes that `Lifecycle` itself refuses to load.
    refused: int

    @property
    def missed(self) -> tuple[Mutant, ...]:
        """Every mutant that the tests let through."""
        return (*self.survived, *self.untaken)


def mutate(
    lifecycle: Lifecycle,
    where: str,
    arguments: Sequence[str],
    *,
    limit: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    on_mutant: Callable[[int, int], None] | None = None,
) -> Mutation:
    """Run pytest with these arguments once for each mutant of the lifecycle at `module:NAME`.

    `limit` is how many at most, drawn by `seed`.  `on_mutant` is told how many are done, of how
    many.

    Raises:
        TestsFail: the tests do not pass as they are, or there are none.
    """
    if importlib.util.find_spec("pytest") is None:
        raise TestsFail("mutants are tried with pytest, which is missing: pip install pytest")
    taken, seconds = _baseline(where, arguments)
    every = mutants_of(lifecycle.table)
    untaken = tuple(mutant for mutant in every if not taken.get(mutant.row))
    worth = [mutant for mutant in every if taken.get(mutant.row)]
    chosen = worth
    if limit is not None and limit < len(worth):
        drawn = random.Random(seed).sample(range(len(worth)), limit)  # noqa: S311  no secret
        chosen = [worth[at] for at in sorted(drawn)]
    bound = SLOWER_S + SLOWER_TIMES * seconds
    notices: list[bool] = []

    def tried(mutant: Mutant) -> bool:
        said = {"lifecycle": where, "mutant": mutant.id}
        return _run(said, arguments, bound)[0] != _PASSED

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for noticed in pool.map(tried, chosen):
            notices.append(noticed)
            if on_mutant is not None:
                on_mutant(len(notices), len(chosen))
    return Mutation(
        tuple(m for m, noticed in zip(chosen, notices, strict=True) if noticed),
        tuple(m for m, noticed in zip(chosen, notices, strict=True) if not noticed),
        untaken,
        len(worth) - len(chosen),
        refused(lifecycle.table),
    )


def _baseline(where: str, arguments: Sequence[str]) -> tuple[dict[Key, int], float]:
    """How often the tests take each row as it is, and how many seconds they need.

    Raises:
        TestsFail: see `mutate`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hits.json"
        code, said, seconds = _run({"lifecycle": where, "count": str(path)}, arguments, TESTS_S)
        if code != _PASSED:
            raise TestsFail(f"the tests do not pass with the lifecycle as it is:\n{said}")
        return dict(hits_of_json(path.read_bytes())), seconds


def _run(
    said: dict[str, str], arguments: Sequence[str], seconds_max: float
) -> tuple[int, str, float]:
    """What pytest exits with, what it said at last, and how many seconds it took."""
    command = [
        *(sys.executable, "-m", "pytest", "-p", "interlock.testing.fuzz._mutant_plugin"),
        *("-x", "-q", "-p", "no:cacheprovider", *arguments),
    ]
    environment = {**os.environ, VARIABLE: json.dumps(said), "PYTHONDONTWRITEBYTECODE": "1"}
    began = os.times().elapsed
    try:
        done = subprocess.run(  # noqa: S603  the tests of whoever calls
            command,
            env=environment,
            timeout=seconds_max,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return _FAILED, f"they took longer than {seconds_max:g} s", seconds_max
    return done.returncode, done.stdout[-4_000:], os.times().elapsed - began


def text_of(mutation: Mutation) -> str:
    """For people."""
    tried = len(mutation.killed) + len(mutation.survived)
    lines = [f"{tried} mutants tried: your tests notice {len(mutation.killed)}"]
    lines += [f"  missed: {mutant.text}" for mutant in mutation.survived]
    if mutation.untaken:
        rows = list(dict.fromkeys(mutant.text.rpartition(":")[0] for mutant in mutation.untaken))
        lines.append(
            f"{len(mutation.untaken)} more are in {len(rows)} rows that no test takes, "
            "so none can notice them:"
        )
        lines += [f"  never taken: {row}" for row in rows]
    if mutation.skipped:
        lines.append(f"{mutation.skipped} were left out by the limit")
    lines.append(f"{mutation.refused} more the lifecycle itself refuses to load")
    return "\n".join([*lines, ""])
