"""What a command line names as `MODULE:NAME`: an engine, an agent, a factory of one."""

import importlib
import sys
from pathlib import Path
from types import ModuleType


class NotFound(Exception):
    """There is nothing of that name; says why in one line."""


def module_and_object(where: str) -> tuple[ModuleType, object]:
    """The module, and what it has by that name; modules of this directory are found.

    Raises:
        NotFound: there is none.
    """
    module, _, name = where.partition(":")
    if not module or not name:
        hint = "write MODULE:NAME, for instance shop.service:engine"
        raise NotFound(f"{where}: {hint}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise NotFound(f"{where}: {error}") from None
    except Exception as error:
        raise NotFound(f"{where}: {module} raises {type(error).__name__}: {error}") from error
    found: object = imported
    for part in name.split("."):
        if not hasattr(found, part):
            names = ", ".join(sorted(n for n in vars(imported) if not n.startswith("_")))
            raise NotFound(f"{where}: {module} has no {name}; it has {names or 'nothing'}")
        found = getattr(found, part)
    return imported, found
