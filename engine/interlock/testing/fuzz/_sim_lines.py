"""Taking the baton away between any two lines of some modules: what a lock would have prevented.

It needs CPython 3.12 (`sys.monitoring`).  Before that, threads are interrupted only where they
touch something that they share: a lock, a queue, the event loop, time.
"""

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

#: Whether it can be done here.
LINES_ARE_SEEN: Final = sys.version_info >= (3, 12)
#: Where a thread may be interrupted here, in words.
INTERRUPTED: Final = (
    "between any two lines"
    if LINES_ARE_SEEN
    else "at yield points only (between any two lines: CPython 3.12 and later)"
)
#: The number by which the interpreter knows us; debuggers, coverage and profilers have others.
_TOOL: Final = 4
_WRAPPERS: Final = (staticmethod, classmethod, property)


@lru_cache(maxsize=64)
def codes_of(module: ModuleType) -> tuple[CodeType, ...]:
    """All code that a module defines."""
    found: dict[CodeType, None] = {}
    left: list[Any] = list(vars(module).values())
    while left:
        thing = left.pop()
        if isinstance(thing, CodeType):
            if thing.co_filename == module.__file__ and thing not in found:
                found[thing] = None
                left += thing.co_consts
        elif isinstance(thing, FunctionType):
            left += [thing.__code__, getattr(thing, "__wrapped__", None)]
        elif type(thing) in _WRAPPERS:
            left += [getattr(thing, name, None) for name in ("__func__", "fget", "fset")]
        elif isinstance(thing, type) and thing.__module__ == module.__name__:
            left += vars(thing).values()
    return tuple(found)


@contextmanager
def interrupted(modules: Sequence[ModuleType], between: Callable[[], None]) -> Generator[None]:
    """While this lasts `between` is called before each line of these modules, if it can be."""
    if sys.version_info < (3, 12) or not modules:
        yield
        return
    monitoring = sys.monitoring
    codes = [code for module in modules for code in codes_of(module)]

    def line(_code: CodeType, _number: int) -> None:
        between()

    monitoring.use_tool_id(_TOOL, "interlock")
    monitoring.register_callback(_TOOL, monitoring.events.LINE, line)
    try:
        for code in codes:
            monitoring.set_local_events(_TOOL, code, monitoring.events.LINE)
        yield
    finally:
        for code in codes:
            monitoring.set_local_events(_TOOL, code, 0)
        monitoring.register_callback(_TOOL, monitoring.events.LINE, None)
        monitoring.free_tool_id(_TOOL)
