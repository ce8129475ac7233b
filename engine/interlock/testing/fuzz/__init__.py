"""Fuzz an engine of your own: simulated lives, faults, and a test for whatever goes wrong.

`interlock fuzz MODULE:NAME` does it from the command line; `fuzz` and `replay` from Python.
What is here is loaded when it is asked for: a run needs more than a plain import should cost.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from interlock.testing.fuzz._faults import ALL_FAULTS
    from interlock.testing.fuzz._fixture import Fuzzes
    from interlock.testing.fuzz._recorded import Diverged, check_recorded
    from interlock.testing.fuzz._report import Failure, Invariant, Report, invariant, invariants_of
    from interlock.testing.fuzz._run import fuzz, replay
    from interlock.testing.fuzz._target import Target

__all__ = [
    "ALL_FAULTS",
    "Diverged",
    "Failure",
    "Fuzzes",
    "Invariant",
    "Report",
    "Target",
    "check_recorded",
    "fuzz",
    "invariant",
    "invariants_of",
    "replay",
]

_HOMES: Final = {
    "_faults": ("ALL_FAULTS",),
    "_fixture": ("Fuzzes",),
    "_recorded": ("Diverged", "check_recorded"),
    "_report": ("Failure", "Invariant", "Report", "invariant", "invariants_of"),
    "_run": ("fuzz", "replay"),
    "_target": ("Target",),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """What is public, from the module that has it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found
