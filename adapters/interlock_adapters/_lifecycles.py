"""Lifecycles by the name that a command line gives them: `MODULE:LIFECYCLE`."""

import argparse
import importlib
import sys
from pathlib import Path

from interlock import LIFECYCLE, Lifecycle


class NoLifecycle(Exception):
    """There is none of that name; says why."""


class Unsound(Exception):
    """It cannot be loaded; lists every finding."""


def declare(parser: argparse.ArgumentParser) -> None:
    """The argument that names one."""
    parser.add_argument(
        "lifecycle",
        nargs="?",
        metavar="MODULE:LIFECYCLE",
        help="where a lifecycle of yours is (default: the one that is shipped)",
    )


def declare_option(parser: argparse.ArgumentParser) -> None:
    """The option that names one, where a store comes first."""
    parser.add_argument(
        "--lifecycle",
        metavar="MODULE:LIFECYCLE",
        help="where the lifecycle of yours is that its tasks live by (default: the shipped one)",
    )


def lifecycle_named(where: str | None) -> Lifecycle:
    """The lifecycle of that name, else the shipped one; modules of this directory are found.

    Raises:
        NoLifecycle: there is none.
        Unsound: it is there, and is not sound.
    """
    if where is None:
        return LIFECYCLE
    module, _, name = where.partition(":")
    if not module or not name:
        hint = "write MODULE:LIFECYCLE, for instance app.lifecycle:LIFECYCLE"
        raise NoLifecycle(f"{where}: {hint}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = getattr(importlib.import_module(module), name)
    except ValueError as error:  # What `Lifecycle` raises.
        raise Unsound(f"{where}: {error}") from None
    except Exception as error:  # noqa: BLE001  whatever somebody's module may raise
        raise NoLifecycle(f"{where}: {type(error).__name__}: {error}") from None
    if not isinstance(found, Lifecycle):
        raise NoLifecycle(f"{where}: it is a {type(found).__name__}, not a Lifecycle")
    return found
