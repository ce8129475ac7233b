"""Which code is somebody's own, and not the interpreter's, a library's or the engine's."""

import sys
import sysconfig
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Final

import interlock

_NOT_OWN: Final = frozenset(
    {Path(interlock.__file__).parent}
    | {Path(sysconfig.get_paths()[name]) for name in ("stdlib", "purelib", "platlib")}
)


@lru_cache(maxsize=4_096)
def is_own(file: str | None) -> bool:
    """Whether a file of code is somebody's own."""
    if file is None or file.startswith("<"):
        return False
    return not any(library in Path(file).parents for library in _NOT_OWN)


def own_modules(roots: Iterable[ModuleType]) -> tuple[ModuleType, ...]:
    """These modules, and all of one's own that they have something of, directly or not."""
    found: dict[str, ModuleType] = {}
    left = list(roots)
    while left:
        module = left.pop()
        if module.__name__ in found or not is_own(getattr(module, "__file__", None)):
            continue
        found[module.__name__] = module
        for value in list(vars(module).values()):
            home = value.__name__ if isinstance(value, ModuleType) else _home(value)
            if home is not None and (other := sys.modules.get(home)) is not None:
                left.append(other)
    return tuple(found.values())


def _home(value: object) -> str | None:
    home = getattr(type(value) if not callable(value) else value, "__module__", None)
    return home if isinstance(home, str) else None
