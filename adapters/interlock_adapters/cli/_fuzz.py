"""`interlock fuzz`: drives an engine of one's own through simulated lives, with faults.

It needs no network, no key and no real time: the clock, the store, the schedule and every fault
are simulated, and a failure comes with the decisions that reproduce it.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final, TypeAlias

from interlock import Lifecycle, diagram
from interlock.errors import InvalidInput
from interlock.testing.fuzz._coverage import SHARES, coverage_of, noted_in, under
from interlock.testing.fuzz._faults import ALL_FAULTS
from interlock.testing.fuzz._render import BRIEFLY, html_of, json_of, junit_of, svg_of, text_of
from interlock.testing.fuzz._replicas_moves import REPLICA_FAULTS
from interlock.testing.fuzz._report import Invariant, Report, invariants_of, name_of_check
from interlock.testing.fuzz._reproduction import About, hash_seed
from interlock.testing.fuzz._run import fuzz
from interlock.testing.fuzz._target import Target
from interlock_adapters.cli._common import FAILED, MISUSED, OK, NotFound, complain, jobs, positive
from interlock_adapters.cli._found import module_and_object

#: Seconds of fuzzing where neither `--for` nor `--runs` is given.
DEFAULT_S: Final = 60.0

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?")
_BOUND: Final = re.compile(rf"({'|'.join(SHARES)})=([0-9]+(?:\.[0-9]+)?)")
#: Seconds between two lines of progress.
_PROGRESS_S: Final = 0.2

_Render: TypeAlias = Callable[[Report, Lifecycle, About], str]

#: What makes a report, by the ending of its file.
FORMATS: Final[dict[str, _Render]] = {
    ".txt": text_of,
    ".json": json_of,
    ".xml": junit_of,
    ".html": html_of,
    ".svg": svg_of,
}


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "target",
        metavar="MODULE:NAME",
        help="what is fuzzed: an Engine, an agent, a mapping of agents, a factory of one, or a "
        "Target with inputs of its own",
    )
    parser.add_argument(
        "--for",
        dest="for_s",
        type=_duration,
        metavar="TIME",
        help=f"how long: 60s, 500ms, 5m (default: {DEFAULT_S:g}s)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--runs",
        type=positive,
        metavar="N",
        help="how many runs; with --for whichever is over first",
    )
    length.add_argument(
        "--replay", type=_seed, metavar="SEED", help="the one run of a seed once more"
    )
    _declare_run(parser)
    _declare_report(parser)


def _declare_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="of the first run (default: 0)"
    )
    parser.add_argument(
        "--faults",
        type=_faults,
        default=ALL_FAULTS,
        metavar="A,B",
        help=f"which faults to put in, or none: {', '.join(sorted(ALL_FAULTS))}; with replicas "
        f"also {', '.join(sorted(REPLICA_FAULTS))} (default: all)",
    )
    parser.add_argument(
        "--jobs", type=jobs, default=1, metavar="N", help="processes at once (default: 1)"
    )
    parser.add_argument(
        "--replicas",
        type=positive,
        default=1,
        metavar="N",
        help="so many engines share one store, and die or fall silent one by one (default: 1)",
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        help="an empty store of its own that keeps the tasks instead of a memory, such as "
        "postgresql://...; it is emptied after every run, and --jobs has to be 1",
    )


def _declare_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--failures",
        type=positive,
        default=1,
        metavar="N",
        help="end once so many kinds of failures were found (default: 1)",
    )
    parser.add_argument(
        "--fail-under",
        type=_bound,
        action="append",
        default=[],
        metavar="WHAT=PERCENT",
        help="fail unless so much is covered: transitions=100, guards=80; or so many of the "
        "lives completed: completed=50; not looked at with --replay",
    )
    parser.add_argument(
        "--fail-on-notes",
        action="store_true",
        help="fail also if there is a note: an ask that could not be answered, an agent that did "
        "not end when it was told to, or something that one left behind",
    )
    parser.add_argument(
        "--report",
        type=_report_path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"write the report there, too; its name ends in {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--coverage",
        type=_path,
        metavar="FILE",
        help="write how often each row was taken, for `interlock diagram --coverage`",
    )


def with_known_hashes() -> None:
    """Begin this process anew with PYTHONHASHSEED=0, unless somebody says another.

    It decides the order of sets of texts, and can only be set before: so a seed is the same run
    everywhere.  Not where a process cannot become another program.
    """
    if os.name != "posix" or "PYTHONHASHSEED" in os.environ or sys.flags.ignore_environment:
        return
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def run(options: argparse.Namespace) -> int:
    """Fuzz and say what came of it: 0 all held, 1 something did not or is under, 2 misused."""
    where: str = options.target
    try:
        module, target = target_named(where)
    except NotFound as error:
        return complain(str(error), MISUSED)
    lifecycle = target.lifecycle
    invariants = invariants_of(module)
    problems: list[str] = []
    try:
        report = _fuzzed(options, target, invariants, problems)
    except InvalidInput as error:
        return complain(str(error), MISUSED)
    bounds: list[tuple[str, float]] = options.fail_under if options.replay is None else []
    noted = noted_in(report) if options.fail_on_notes else []
    about = About(
        where,
        [*under(coverage_of(report, lifecycle.table), bounds), *noted],
        options.faults,
        module.__name__ if invariants else "",
        hash_seed=hash_seed(),
        checked=[name_of_check(check) for check in invariants],
        threaded=bool(target.lines_of),
        replicas=options.replicas,
    )
    sys.stdout.write(text_of(report, lifecycle, about, named_max=BRIEFLY))
    if options.replay is not None and not report.failures:
        sys.stdout.write(f"seed {options.replay} fails in nothing\n")
    problems += _written(options, report, lifecycle, about)
    for problem in problems:
        complain(problem, FAILED)
    return FAILED if report.failures or about.under or problems else OK


def target_named(where: str) -> tuple[ModuleType, Target]:
    """What a command line names as `MODULE:NAME`, made ready to be driven, and its module.

    Raises:
        NotFound: there is none, or it cannot be driven or made.
    """
    module, found = module_and_object(where)
    try:
        target = Target.of(found)
        _ = target.lifecycle  # Which a factory of the user's own makes.
    except InvalidInput as error:
        raise NotFound(f"{where}: {error}") from None
    except Exception as error:
        raise NotFound(f"{where} raises {type(error).__name__}: {error}") from error
    return module, target


def _fuzzed(
    options: argparse.Namespace,
    target: Target,
    invariants: Sequence[Invariant],
    problems: list[str],
) -> Report:
    """What came of it; why that is not all goes to `problems`.

    Raises:
        InvalidInput: as `fuzz`, there is nobody whom a fault could meet, or a time is given for
            one run.
    """
    alone = options.faults & REPLICA_FAULTS
    if alone and options.replicas == 1 and options.store is None:
        named = " and ".join(sorted(alone))
        raise InvalidInput([f"{named}: accepted with --replicas 2 or more"])
    runs: int | None = options.runs
    for_s: float | None = options.for_s
    if options.replay is not None and for_s is not None:
        raise InvalidInput(["--for is not allowed with --replay, which is one run"])
    if options.replay is not None:
        runs = 1
    elif runs is None and for_s is None:
        for_s = DEFAULT_S
    progress = _Progress(sys.stderr.isatty(), runs, for_s)
    try:
        return fuzz(
            target,
            seed=options.seed if options.replay is None else options.replay,
            runs=runs,
            for_s=for_s,
            faults=options.faults,
            invariants=invariants,
            jobs=options.jobs,
            failures_max=options.failures,
            on_run=progress.on_run,
            replicas=options.replicas,
            store=options.store,
        )
    except KeyboardInterrupt:
        problems.append("interrupted: this is what was found by then")
        return progress.so_far
    finally:
        progress.over()


class _Progress:
    """One line on a terminal, written over and over; nothing anywhere else."""

    def __init__(self, shown: bool, runs: int | None, for_s: float | None) -> None:  # noqa: FBT001
        self._shown: Final = shown
        self._runs: Final = runs
        self._for_s: Final = for_s
        self._began: Final = time.monotonic()
        self._next = 0.0
        self._done = self._lives = 0
        self._failed: Final[set[str]] = set()
        self._rows: Final[set[diagram.Key]] = set()
        self._reports: Final[list[Report]] = []

    @property
    def so_far(self) -> Report:
        """What all runs came to that are done; their failures are as they were met."""
        seconds = time.monotonic() - self._began
        return replace(Report.merged(self._reports), seconds=seconds)

    def on_run(self, report: Report) -> None:
        """One run is done."""
        self._reports.append(report)
        self._done += report.runs
        self._lives += report.lives
        self._failed.update(failure.kind for failure in report.failures)
        self._rows.update(report.hits)
        passed = time.monotonic() - self._began
        if not self._shown or passed < self._next:
            return
        self._next = passed + _PROGRESS_S
        of = f" of {self._runs:,}" if self._runs else ""
        until = f" of {self._for_s:g} s" if self._for_s else " s"
        failed = f", FAILED {', '.join(sorted(self._failed))}" if self._failed else ""
        line = (
            f"run {self._done:,}{of}, {self._lives:,} lives, {len(self._rows)} rows, "
            f"{passed:.0f}{until}{failed}"
        )
        sys.stderr.write(f"\r\x1b[K{line[:100]}")
        sys.stderr.flush()

    def over(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _written(
    options: argparse.Namespace, report: Report, lifecycle: Lifecycle, about: About
) -> list[str]:
    """Write every file that was asked for; what could not be, in sentences."""
    files: list[tuple[Path, Callable[[], str]]] = [
        (path, partial(FORMATS[path.suffix.lower()], report, lifecycle, about))
        for path in options.report
    ]
    if options.coverage is not None:
        files.append((options.coverage, partial(diagram.hits_to_json, report.hits)))
    problems: list[str] = []
    for path, make in files:
        try:
            path.write_text(make(), encoding="utf-8")
        except OSError as error:
            problems.append(f"{path} cannot be written: {error.strerror}")
        except diagram.GraphvizMissing as missing:
            problems.append(f"{path} is not written: {missing}")
    return problems


# --- arguments ---------------------------------------------------------------------------


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if seconds <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 60s, 500ms, 5m or 1h, or seconds as a number"
        )
    return seconds


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; it is a whole number from 0 on")
    return int(text)


def _faults(text: str) -> frozenset[str]:
    if text in {"none", "all"}:
        return ALL_FAULTS if text == "all" else frozenset()
    named = frozenset(text.split(","))
    if unknown := sorted(named - ALL_FAULTS - REPLICA_FAULTS):
        known = ", ".join(["none", "all", *sorted(ALL_FAULTS), *sorted(REPLICA_FAULTS)])
        raise argparse.ArgumentTypeError(f"no fault is called {unknown[0]!r}; there is {known}")
    return named


def _bound(text: str) -> tuple[str, float]:
    match = _BOUND.fullmatch(text)
    percent = float(match[2]) if match else -1.0
    if match is None or not 0 <= percent <= 100:  # noqa: PLR2004  of a hundred
        raise argparse.ArgumentTypeError(
            f"{text!r} is no bound; write {'=PERCENT, '.join(SHARES)}=PERCENT, from 0 to 100"
        )
    return match[1], percent


def _report_path(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in FORMATS:
        raise argparse.ArgumentTypeError(
            f"{text!r}: the name of a report ends in {', '.join(FORMATS)}"
        )
    return _path(text)


def _path(text: str) -> Path:
    """Somewhere that can be written to: that is seen before a minute is spent."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: there is no directory {path.parent}")
    return path
