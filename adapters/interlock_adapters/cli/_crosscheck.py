"""`interlock crosscheck`: has interpreters that others wrote live the same lives."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from interlock_adapters.cli import _lifecycles
from interlock_adapters.cli._common import FAILED, MISUSED, OK, NotFound, complain, count, positive
from interlock_adapters.cli._lifecycles import Unsound, lifecycle_named
from interlock_adapters.crosscheck import MACHINES, PLAYERS, SEED, STEPS, Player, Raised, crosscheck

#: Rows that were never taken, unless all are wanted: further phases have a hundred and more.
_NAMED_MAX: Final = 5


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    _lifecycles.declare(parser)
    parser.add_argument(
        "--steps",
        type=positive,
        default=STEPS,
        metavar="N",
        help="how many steps of tasks to compare (default: %(default)s)",
    )
    parser.add_argument(
        "--machines",
        type=count,
        default=MACHINES,
        metavar="N",
        help="how many small random machines to compare as well (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=SEED,
        metavar="S",
        help="of the random choices: the same seed, the same walks (default: %(default)s)",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"name every row that was never taken, and not the first {_NAMED_MAX}",
    )


def run(options: argparse.Namespace, players: Sequence[Player] = PLAYERS) -> int:
    """Compare and say what came of it: 0 no difference, 1 some, 2 nothing to compare with."""
    try:
        lifecycle = lifecycle_named(options.lifecycle)
    except (NotFound, Unsound) as error:
        return complain(str(error), MISUSED)
    try:
        report = crosscheck(
            lifecycle,
            steps=options.steps,
            machines=options.machines,
            seed=options.seed,
            players=players,
        )
    except ModuleNotFoundError as missing:
        return complain(str(missing), MISUSED)
    except Raised as error:
        return complain(str(error), FAILED)
    sys.stdout.write(f"{report.told(None if options.all else _NAMED_MAX)}\n")
    return FAILED if report.differences else OK
