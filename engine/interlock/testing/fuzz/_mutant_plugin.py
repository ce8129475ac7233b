"""In the pytest of `interlock mutate`: makes the lifecycle wrong, or counts what is taken of it.

Named with `-p` by the command alone; a lifecycle is changed before any test, and any conftest,
is imported, in place, so that whoever imports it gets the changed one.
"""

import atexit
import importlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from interlock import _machine
from interlock._changes import Draft
from interlock._event import Signal
from interlock._machine import Lifecycle
from interlock._phases import Trigger
from interlock._transitions import Row
from interlock.diagram import Key, hits_to_json
from interlock.testing.fuzz._mutants import VARIABLE, install, mutants_of

_Fire = Callable[[Draft, Signal], bool]


@pytest.hookimpl
def pytest_load_initial_conftests() -> None:
    """Change the lifecycle.

    By now pytest has put what its `pythonpath` says on the path, and has imported no conftest.
    """
    said = os.environ.get(VARIABLE)
    if said is None:
        return
    wanted: dict[str, str] = json.loads(said)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module, _, name = wanted["lifecycle"].partition(":")
    lifecycle = getattr(importlib.import_module(module), name)
    if not isinstance(lifecycle, Lifecycle):
        raise pytest.UsageError(f"{wanted['lifecycle']} is no Lifecycle")
    if "count" in wanted:
        _count(lifecycle, Path(wanted["count"]))
        return
    table = next(m.table for m in mutants_of(lifecycle.table) if m.id == wanted["mutant"])
    install(lifecycle, table)


def _count(lifecycle: Lifecycle, path: Path) -> None:
    """Write down how often each row is taken until the end of this process."""
    hits: Counter[Key] = Counter()

    def counting(fire: _Fire) -> _Fire:
        def counted(draft: Draft, signal: Signal) -> bool:
            moved = fire(draft, signal)
            if moved and draft.row is not None:
                hits[cast("Row", draft.row).key] += 1
            return moved

        return counted

    firings = cast("dict[Trigger, _Fire]", vars(lifecycle)["_fire"])
    firings.update({trigger: counting(fire) for trigger, fire in firings.items()})
    made = _machine.firing

    def firing(table: Sequence[Row]) -> dict[Trigger, _Fire]:
        return {trigger: counting(fire) for trigger, fire in made(table).items()}

    # What is made of its rows later counts as well: the fuzz kit lives by a copy of them.
    _machine.firing = firing
    # Also of whatever pytest leaves by itself.
    atexit.register(lambda: path.write_text(hits_to_json(hits), encoding="utf-8"))
