"""`interlock check`: proves what is promised of a lifecycle, or shows how it breaks.

Of a configuration it says whether that can be served.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from interlock import LIFECYCLE, Lifecycle
from interlock.lifecycle import Row
from interlock.testing.model import ModelReport, Violation, check_model
from interlock_adapters.cli import _serve as cli_serve
from interlock_adapters.cli._common import FAILED, MISUSED, OK, NotFound, complain, count
from interlock_adapters.cli._lifecycles import Unsound, lifecycle_named

#: What makes a lifecycle sound (`interlock._lint`).
_FACTS: Final = (
    "every phase is reached, and an outcome from every phase",
    "an outcome leads to finalized, and nothing follows that",
    "every live phase can be cancelled and runs out of time, and no row turns that aside",
    "every wait expires and can be declined, and what is stopped has a grace time",
    "no two rows compete, and each (source, trigger) has a row for all the rest",
    "every phase has its words in A2A and MCP",
)


#: What bounds the worlds of `--model`: how much of it as it comes, and what it is.
_BOUNDS: Final = {
    "crashes": (2, "how often the process dies"),
    "asks": (2, "how many questions the agent asks"),
    "retries": (1, "how many attempts may follow the first"),
}


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "lifecycle",
        nargs="?",
        metavar="MODULE:LIFECYCLE|FILE.yaml",
        help="where a lifecycle of yours is (default: the one that is shipped), or the "
        "configuration of a service",
    )
    parser.add_argument(
        "--model",
        action="store_true",
        help="go through everything that can happen to one task, crashes and lost turns included",
    )
    for name, (default, of) in _BOUNDS.items():
        parser.add_argument(
            f"--{name}",
            type=count,
            metavar="N",
            help=f"with --model: {of} (default: {default})",
        )


def run(options: argparse.Namespace) -> int:
    """Check and say what came of it: 0 as promised, 1 not so, 2 nothing to check."""
    is_config = cli_serve.is_config(options.lifecycle)
    if (why := _misused(options, is_config=is_config)) is not None:
        return complain(why, MISUSED)
    if is_config:
        return cli_serve.check(Path(options.lifecycle))
    try:
        lifecycle = lifecycle_named(options.lifecycle)
    except NotFound as error:
        return complain(str(error), MISUSED)
    except Unsound as error:
        return complain(str(error), FAILED)
    sys.stdout.write("\n".join([*_explained(lifecycle), ""]))
    if not options.model:
        return OK
    report = check_model(
        lifecycle,
        crashes=_bound(options, "crashes"),
        asks=_bound(options, "asks"),
        retries=_bound(options, "retries"),
    )
    sys.stdout.write(_told(report))
    return OK if report.ok else FAILED


def _misused(options: argparse.Namespace, *, is_config: bool) -> str | None:
    """Why something that was asked for would not be done, if so."""
    if is_config and options.model:
        return "--model goes with a lifecycle, and not with a configuration"
    given = [f"--{name}" for name in _BOUNDS if vars(options)[name] is not None]
    return f"{given[0]} goes with --model only" if given and not options.model else None


def _bound(options: argparse.Namespace, name: str) -> int:
    given: int | None = vars(options)[name]
    default, _ = _BOUNDS[name]
    return default if given is None else given


def _explained(lifecycle: Lifecycle) -> Iterator[str]:
    """What was looked at, and what is more than in the shipped one."""
    rows, phases = len(lifecycle.table), len(lifecycle.phases)
    yield f"{rows} rows, {phases} phases: sound"
    yield from (f"  {fact}" for fact in _FACTS)
    further = [phase for phase in lifecycle.phases if phase.kin is not phase]
    for phase in further:
        ways_in = _triggers(r for r in lifecycle.table if r.dest is phase and r.source is not phase)
        ways_out = _triggers(
            r for r in lifecycle.table if r.source is phase and r.dest is not phase
        )
        yield f"{phase}: a task waits there as in {phase.kin}, which protocols show"
        yield f"  entered by {ways_in}"
        yield f"  left by {ways_out}"
    # What those phases bring along by themselves is no row of anybody's own.
    known = {row.key: _signature(row) for row in LIFECYCLE.extend(*further).table}
    for row in lifecycle.table:
        if known.get(row.key) != _signature(row):
            instead = ", instead of the shipped one" if row.key in known else ""
            requires = ", ".join(guard.name for guard in row.requires) or "nothing"
            when = "" if row.when is None else f" [{row.when.name}]"
            move = f"{row.trigger} from {row.source or '(new)'} to {row.dest}{when}"
            yield f"a row of yours: {move}, requires {requires}{instead}"


def _signature(row: Row) -> tuple[object, ...]:
    """What it does, and on which conditions: guards of one name are the same."""
    guards = (*row.requires, row.when)
    return row.change, row.effects, tuple(guard and guard.name for guard in guards)


def _triggers(rows: Iterable[Row]) -> str:
    return ", ".join(dict.fromkeys(row.trigger.value for row in rows))


def _told(report: ModelReport) -> str:
    return "\n".join([f"{report}\n", *map(_drawn, report.violations)])


def _drawn(violation: Violation) -> str:
    return f"```mermaid\n{violation.trace.to_mermaid()}```\n"
