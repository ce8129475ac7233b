"""The command line: `interlock demo`, `init`, `serve`, `tasks`, `diagram`, `check`, `fuzz`, ...

Exit codes: 0 all is well; 1 it failed, or found something; 2 it was called wrongly, or the
doctor cannot read the store; 130 it was interrupted.
"""

import argparse
import asyncio
import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeAlias

from interlock import Lifecycle, SystemClock, examine, stored_findings
from interlock.errors import StoreError
from interlock.stores import Store
from interlock_adapters._shown.config import without_secrets
from interlock_adapters.cli import _backup as cli_backup
from interlock_adapters.cli import _check as cli_check
from interlock_adapters.cli import _crosscheck as cli_crosscheck
from interlock_adapters.cli import _diagram as cli_diagram
from interlock_adapters.cli import _fuzz as cli_fuzz
from interlock_adapters.cli import _init as cli_init
from interlock_adapters.cli import _lifecycles
from interlock_adapters.cli import _mutate as cli_mutate
from interlock_adapters.cli import _record as cli_record
from interlock_adapters.cli import _serve as cli_serve
from interlock_adapters.cli import _tasks as cli_tasks
from interlock_adapters.cli import _token as cli_token
from interlock_adapters.cli import _worker as cli_worker
from interlock_adapters.cli._common import (
    FAILED,
    MISUSED,
    OK,
    SQLITE,
    NotFound,
    complain,
    only_file,
    store_place,
)
from interlock_adapters.cli._doctor import as_json, as_text
from interlock_adapters.cli._lifecycles import Unsound, lifecycle_named
from interlock_adapters.cli._tasks_desk import DeskError
from interlock_adapters.cli._tasks_store import opened_by_none

__all__ = ["FAILED", "INTERRUPTED", "MISUSED", "OK", "main"]

INTERRUPTED: Final = 130

#: Seconds that each step of the demo's agent takes unless told otherwise.
PACE_S: Final = 0.3
PACE_S_MAX: Final = 5.0

#: Who can play the demo's agent; the first does unless told otherwise.
AGENTS: Final = ("function", "smolagents")

#: What stands in for the doctor where there is no file.
_NO_DOCTOR: Final = (
    "the doctor looks at SQLite files; here interlock tasks --phase waiting_input says what waits, "
    "interlock verify checks logs, and the database's own tools check its files"
)

_Run: TypeAlias = Callable[[argparse.Namespace], int]
_Add: TypeAlias = Callable[..., argparse.ArgumentParser]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a sign shows a question mark instead of a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return MISUSED
    run: _Run = options.run
    if arguments is None and run is cli_fuzz.run:
        cli_fuzz.with_known_hashes()
    try:
        code = run(options)
        sys.stdout.flush()
    except (NotFound, Unsound) as error:
        return complain(str(error), MISUSED)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(file=sys.stderr)
        return complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read has gone (`interlock demo | head`): let the last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="interlock", description="A task engine for AI agents on one state machine."
    )
    parser.add_argument("--version", action="version", version=f"interlock {version('interlock')}")
    parser.set_defaults(run=None)
    add = parser.add_subparsers(title="commands", metavar="COMMAND").add_parser

    demo = _command(
        add, "demo", _demo, "watch an A2A client drive a real agent: no key, no network"
    )
    demo.add_argument(
        "--auto",
        action="store_true",
        help="let a script play the client (as it does where there is no terminal)",
    )
    demo.add_argument(
        "--agent",
        choices=AGENTS,
        default=AGENTS[0],
        help="an async function, or an agent of smolagents whose tools are those of an MCP server "
        "(default: %(default)s)",
    )
    demo.add_argument("--db", type=Path, metavar="PATH", help="keep the tasks in this SQLite file")
    demo.add_argument(
        "--pace",
        type=_seconds,
        default=PACE_S,
        metavar="SECONDS",
        help="how long each step of the agent takes (default: %(default)s)",
    )

    for name, module, summary in (
        ("init", cli_init, "write a project that runs as it is"),
        ("serve", cli_serve, "serve an agent: A2A, MCP, management and console"),
        ("worker", cli_worker, "run the agents of a service beside other processes"),
        ("token", cli_token, "make a bearer token, and the line by which a service knows it"),
    ):
        module.declare(_command(add, name, module.run, summary))

    cli_diagram.declare(
        _command(add, "diagram", cli_diagram.run, "draw the lifecycle of a task, or export it")
    )
    cli_check.declare(
        _command(add, "check", cli_check.run, "see whether a lifecycle or a service is sound")
    )
    cli_crosscheck.declare(
        _command(
            add,
            "crosscheck",
            cli_crosscheck.run,
            "have interpreters that others wrote live the same lives",
        )
    )
    _add_stores(add)
    _add_tests(add)
    return parser


def _add_stores(add: _Add) -> None:
    verify = _command(add, "verify", _verify, "check the tasks of a store against their logs")
    verify.add_argument(
        "store", metavar=f"{SQLITE}PATH|postgresql://...", type=store_place, help="the store"
    )
    _lifecycles.declare_option(verify)

    doctor = _command(
        add, "doctor", _look_after, "report what needs attention in a store, running or not"
    )
    doctor.add_argument("store", metavar=f"{SQLITE}PATH", type=store_place, help="the store")
    doctor.add_argument("--json", action="store_true", help="the same as JSON")
    _lifecycles.declare_option(doctor)
    cli_tasks.declare(partial(_command, add))
    cli_backup.declare(
        _command(add, "backup", cli_backup.run, "copy a store, running or not, and check the copy")
    )


def _add_tests(add: _Add) -> None:
    cli_fuzz.declare(
        _command(add, "fuzz", cli_fuzz.run, "drive an engine of yours through simulated lives")
    )
    cli_record.declare(
        _command(add, "record", cli_record.run, "make a regression test of a task of a store")
    )
    cli_mutate.declare(
        _command(add, "mutate", cli_mutate.run, "see which faults of a lifecycle your tests miss")
    )


def _command(add: _Add, name: str, run: _Run, summary: str) -> argparse.ArgumentParser:
    command = add(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    command.set_defaults(run=run)
    return command


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= PACE_S_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds from 0 to {PACE_S_MAX:g}"
        )
    return seconds


def _demo(options: argparse.Namespace) -> int:
    needs, extras = "the demo needs its extra", "demo"
    try:
        # Of extras: the other commands do without.
        from interlock_adapters.demo.player import player_of  # noqa: PLC0415
        from interlock_adapters.demo.story import FAILURES, Demo, play  # noqa: PLC0415

        needs, extras = "this agent needs its extras", "smolagents,mcp"
        player = player_of(options.agent)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in {"interlock", "interlock_adapters"}:
            raise
        return complain(
            f"{missing.name} is missing: {needs}, pip install 'interlock[{extras}]'", FAILED
        )
    auto = options.auto or not (sys.stdin.isatty() and sys.stdout.isatty())
    try:
        asyncio.run(play(Demo(auto, options.pace, options.db, player), sys.stdout))
    except FAILURES as error:
        return complain(f"the demo failed: {error}", FAILED)
    return OK


def _verify(options: argparse.Namespace) -> int:
    place: Path | str = options.store
    lifecycle = lifecycle_named(options.lifecycle)
    if isinstance(place, Path) and not place.is_file():
        return complain(f"there is no file {place}", FAILED)
    path = place if isinstance(place, Path) else without_secrets(place)
    try:
        if isinstance(place, Path):
            findings = stored_findings(place, lifecycle=lifecycle)
        else:
            findings = asyncio.run(_findings(opened_by_none(place), lifecycle))
    except StoreError as error:
        return complain(f"{path} cannot be checked: {error}", FAILED)
    except (DeskError, ModuleNotFoundError) as error:
        return complain(str(error), FAILED)
    for finding in findings:
        print(finding)
    if findings:
        return complain(f"{path} has {len(findings)} finding{'s' * (len(findings) > 1)}", FAILED)
    print(f"{path} is sound")
    return OK


async def _findings(store: Store, lifecycle: Lifecycle) -> list[str]:
    await store.open()
    try:
        return await store.verify(lifecycle)
    finally:
        await store.close()


def _look_after(options: argparse.Namespace) -> int:
    now = SystemClock().now()
    lifecycle_named(options.lifecycle)  # So that its phases are known.
    try:
        found = examine(only_file(options.store, _NO_DOCTOR), now=now)
    except StoreError as error:
        return complain(str(error), MISUSED)
    print(as_json(found) if options.json else as_text(found, now=now))
    return FAILED if found.needs_a_person else OK
