"""Lifecycles by the name that a command line gives them: `MODULE:LIFECYCLE`."""

import argparse

from interlock import LIFECYCLE, Lifecycle
from interlock_adapters.cli._common import NotFound, placed


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
        NotFound: there is none.
        Unsound: it is there, and is not sound.
    """
    if where is None:
        return LIFECYCLE
    hint = "write MODULE:LIFECYCLE, for instance app.lifecycle:LIFECYCLE"
    name, load = placed(where, hint)
    try:
        found: object = getattr(load(), name)
    except ValueError as error:  # What `Lifecycle` raises.
        raise Unsound(f"{where}: {error}") from None
    except Exception as error:  # noqa: BLE001  whatever somebody's module may raise
        raise NotFound(f"{where}: {type(error).__name__}: {error}") from None
    if not isinstance(found, Lifecycle):
        raise NotFound(f"{where}: it is of type {type(found).__name__}, not Lifecycle")
    return found
