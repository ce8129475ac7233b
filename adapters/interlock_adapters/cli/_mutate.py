"""`interlock mutate`: makes a lifecycle wrong in one place at a time, and runs your tests."""

import argparse
import re
import sys
from typing import Final

from interlock.testing.fuzz._mutate import TestsFail, mutate, text_of
from interlock_adapters.cli._common import FAILED, MISUSED, OK, NotFound, complain, jobs, positive
from interlock_adapters.cli._lifecycles import Unsound, lifecycle_named

#: Where the shipped one is.
SHIPPED: Final = "interlock:LIFECYCLE"
#: One colon: `tests/test_x.py::test_y` is a test.
_NAME: Final = re.compile(r"[\w.]+:[\w.]+")


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    _declare_options(parser)
    # argparse would take the words behind `--` for ours where an option stands before them.
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="[MODULE:LIFECYCLE] -- PYTEST_ARGUMENTS",
        help=f"the lifecycle that your tests load (default: the shipped one, {SHIPPED}), and what "
        "pytest is called with: interlock mutate app:LIFECYCLE -- tests -k lifecycle",
    )


def _declare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="try so many, drawn at random by --seed (default: all of rows that the tests take)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="see --limit")
    parser.add_argument(
        "--jobs", type=jobs, default=1, metavar="N", help="pytests at once (default: 1)"
    )


def understood(options: argparse.Namespace) -> tuple[str, list[str]]:
    """The lifecycle, and what pytest is called with; options between the two are taken in."""
    words: list[str] = options.words
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="interlock mutate")
    _declare_options(parser)
    parser.add_argument("lifecycle", nargs="?", default=SHIPPED)
    before = argparse.Namespace(limit=options.limit, seed=options.seed, jobs=options.jobs)
    given = parser.parse_args(words[:at], before)
    options.limit, options.seed, options.jobs = given.limit, given.seed, given.jobs
    where: str = given.lifecycle
    if _NAME.fullmatch(where) is None:
        parser.error(f"{where!r} is no MODULE:LIFECYCLE; what is pytest's comes behind --")
    return where, words[at + 1 :]


def run(options: argparse.Namespace) -> int:
    """Try every mutant: 0 none is missed, 1 some are, 2 called wrongly or the tests fail."""
    where, arguments = understood(options)
    shown = sys.stderr.isatty()

    def progress(done: int, of: int) -> None:
        if shown:
            sys.stderr.write(f"\r\x1b[Kmutant {done} of {of}")
            sys.stderr.flush()

    try:
        lifecycle = lifecycle_named(where)
        mutation = mutate(
            lifecycle,
            where,
            arguments,
            limit=options.limit,
            seed=options.seed,
            jobs=options.jobs,
            on_mutant=progress,
        )
    except (NotFound, Unsound, TestsFail) as error:
        return complain(str(error), MISUSED)
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
    sys.stdout.write(text_of(mutation))
    return FAILED if mutation.missed else OK
