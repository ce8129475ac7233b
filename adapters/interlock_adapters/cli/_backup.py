"""`interlock backup`: a copy of a store's file, also while a server has it open, and checked.

A database has tools of its own for that.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from interlock import backup
from interlock.errors import StoreError
from interlock_adapters.cli import _lifecycles
from interlock_adapters.cli._common import (
    FAILED,
    MISUSED,
    OK,
    SQLITE,
    complain,
    only_file,
    store_place,
)
from interlock_adapters.cli._lifecycles import lifecycle_named
from interlock_adapters.cli._tasks_text import Bar

#: What stands in for it where there is no file.
_NO_BACKUP: Final = (
    "only SQLite files are copied here; a database is saved with its own tools: pg_dump, or "
    "continuous archiving (and a Restate server's own directory with it)"
)


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "from_store",
        nargs="?",
        metavar=f"{SQLITE}PATH",
        type=store_place,
        help="what is copied; it may be in use",
    )
    parser.add_argument("target", type=Path, metavar="FILE", help="the copy, a new file")
    parser.add_argument(
        "--store", metavar=f"{SQLITE}PATH", type=store_place, help="the same as an option"
    )
    parser.add_argument("--json", action="store_true", help="what came of it as JSON")
    _lifecycles.declare_option(parser)


def run(options: argparse.Namespace) -> int:
    """Copy and check: 0 the copy is sound, 1 it is not, or there is none."""
    lifecycle = lifecycle_named(options.lifecycle)
    if (options.from_store is None) == (options.store is None):
        return complain(f"say once what is copied, {SQLITE}PATH, before FILE", MISUSED)
    path = only_file(options.from_store or options.store, _NO_BACKUP)
    try:
        with Bar() as bar:
            made = backup(path, options.target, progress=bar, lifecycle=lifecycle)
    except StoreError as error:
        return complain(str(error), FAILED)
    if options.json:
        sys.stdout.write(f"{json.dumps(asdict(made), indent=2)}\n")
    else:
        sys.stdout.write("".join(f"{finding}\n" for finding in made.findings))
        size = f"{made.tasks:,} tasks, {made.events:,} events, {made.file_bytes / 1e6:.1f} MB"
        sys.stdout.write(f"{made.path}: {size}\n")
    if made.findings:
        many = f"{len(made.findings)} finding{'s' * (len(made.findings) > 1)}"
        return complain(f"the copy has {many}, and so has what was copied", FAILED)
    return OK
