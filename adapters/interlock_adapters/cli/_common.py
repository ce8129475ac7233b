"""What the commands of the command line have in common: exit codes, complaints, arguments."""

import argparse
import importlib
import re
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

from interlock_adapters._shown.config import without_secrets

OK: Final = 0
#: It failed, or found something.
FAILED: Final = 1
MISUSED: Final = 2

SQLITE: Final = "sqlite:///"
JOBS_MAX: Final = 64
_UNITS_S: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_AGE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(s|m|min|h|d)")


class NotFound(Exception):
    """There is nothing of that name; says why in one line."""


def complain(what: str, code: int) -> int:
    """Say what is wrong, in one line; gives the exit code back."""
    sys.stderr.write(f"interlock: {what}\n")
    return code


def placed(where: str, hint: str) -> tuple[str, Callable[[], ModuleType]]:
    """`MODULE:NAME`: the name, and what imports the module; those of this directory are found.

    Raises:
        NotFound: it is not written so; says the hint.
    """
    module, _, name = where.partition(":")
    if not module or not name:
        raise NotFound(f"{where}: {hint}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return name, lambda: importlib.import_module(module)


def sqlite_path(url: str) -> Path:
    """The file of a store by its URL: an argument's type."""
    scheme, found, path = url.partition(SQLITE)
    if scheme or not found or not path:
        raise argparse.ArgumentTypeError(
            f"{without_secrets(url)!r} is not {SQLITE}PATH, for instance {SQLITE}tasks.db"
        )
    return Path(path)


def store_place(url: str) -> Path | str:
    """The file of a store, or the URL of one that processes share: an argument's type."""
    scheme, found, _ = url.partition("://")
    if found and scheme in {other.name for other in entry_points(group="interlock.stores")}:
        return url
    try:
        return sqlite_path(url)
    except argparse.ArgumentTypeError as error:
        others = "or a store that processes share, as postgresql://host/database"
        raise argparse.ArgumentTypeError(f"{error}, {others}") from None


def only_file(place: Path | str, why: str) -> Path:
    """The file of a store.

    Raises:
        NotFound: it is none; says why a file is needed.
    """
    if isinstance(place, str):
        raise NotFound(f"{without_secrets(place)}: {why}")
    return place


def count(text: str) -> int:
    """A whole number from 0 on: an argument's type."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 on: an argument's type."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def jobs(text: str) -> int:
    """So many processes at once: an argument's type."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= JOBS_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of jobs from 1 to {JOBS_MAX}")
    return int(text)


def age(text: str) -> float:
    """Seconds of a length of time, as `30d`: an argument's type."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no length of time, as 90s, 45min, 12h or 30d"
        )
    return float(found[1]) * _UNITS_S[found[2]]
