"""`interlock record`: makes a regression test of a task that a service really had."""

import argparse
import sys
from pathlib import Path

from interlock import stored_log
from interlock.errors import StoreError, UnknownTask
from interlock.testing.fuzz._record import name_of_test, recorded_test
from interlock_adapters.cli._common import (
    FAILED,
    MISUSED,
    OK,
    SQLITE,
    NotFound,
    complain,
    sqlite_path,
)
from interlock_adapters.cli._fuzz import target_named


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("task", metavar="TASK_ID", help="the task, over or not")
    parser.add_argument(
        "--store",
        metavar=f"{SQLITE}PATH",
        type=sqlite_path,
        required=True,
        help="where it is; it may be in use",
    )
    parser.add_argument(
        "--agent",
        metavar="MODULE:NAME",
        required=True,
        help="what the test runs: the engine, an agent, or a factory of one",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write it there, or into that directory, instead of printing it",
    )


def run(options: argparse.Namespace) -> int:
    """Print or write the test: 0 done, 1 there is no such task, 2 called wrongly."""
    output: Path | None = options.output
    try:
        # It also makes the phases of a lifecycle of one's own known, which the log may have.
        target_named(options.agent)
    except NotFound as error:
        return complain(str(error), MISUSED)
    try:
        log = stored_log(options.store, options.task)
    except (StoreError, UnknownTask) as error:
        return complain(str(error), FAILED)
    source = recorded_test(log, options.task, options.agent)
    if output is None:
        sys.stdout.write(source)
        return OK
    if output.is_dir():
        output /= f"{name_of_test(options.task)}.py"
    try:
        output.write_text(source, encoding="utf-8")
    except OSError as error:
        return complain(f"{output} cannot be written: {error.strerror}", FAILED)
    sys.stderr.write(
        f"interlock: {output} holds what the task was asked and answered: look for secrets in it\n"
    )
    if output.parent.resolve() != Path.cwd():
        module = options.agent.partition(":")[0]
        sys.stderr.write(
            f"interlock: run `python -m pytest {output}`, so that {module} is found, or say "
            'pythonpath = ["."] in the settings of pytest\n'
        )
    return OK
