"""`interlock crosscheck`: has interpreters that others wrote live the same lives."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from interlock_adapters import _lifecycles
from interlock_adapters._lifecycles import NoLifecycle, Unsound, lifecycle_named
from interlock_adapters.crosscheck import MACHINES, PLAYERS, SEED, STEPS, Player, crosscheck

_OK: Final = 0
_FOUND: Final = 1
_MISUSED: Final = 2


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    _lifecycles.declare(parser)
    parser.add_argument(
        "--steps",
        type=_count,
        default=STEPS,
        metavar="N",
        help="how many steps of tasks to compare (default: %(default)s)",
    )
    parser.add_argument(
        "--machines",
        type=_count,
        default=MACHINES,
        metavar="N",
        help="how many small machines by lot to compare (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=SEED,
        metavar="S",
        help="what chance begins with: the same seed, the same walks (default: %(default)s)",
    )


def run(options: argparse.Namespace, players: Sequence[Player] = PLAYERS) -> int:
    """Compare and say what came of it: 0 no difference, 1 some, 2 nothing to compare with."""
    try:
        lifecycle = lifecycle_named(options.lifecycle)
    except (NoLifecycle, Unsound) as error:
        return _complain(str(error))
    try:
        report = crosscheck(
            lifecycle,
            steps=options.steps,
            machines=options.machines,
            seed=options.seed,
            players=players,
        )
    except ModuleNotFoundError as missing:
        return _complain(str(missing))
    sys.stdout.write(f"{report}\n")
    return _FOUND if report.differences else _OK


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def _complain(what: str) -> int:
    sys.stderr.write(f"interlock: {what}\n")
    return _MISUSED
