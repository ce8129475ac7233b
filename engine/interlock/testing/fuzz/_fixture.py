"""What the pytest fixture `interlock_fuzz` is: it fuzzes something, and fails the test.

The plugin itself is in `interlock_adapters`: pytest loads it in every run of everybody, before
anything measures coverage, and it must not load the engine then.
"""

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final, Protocol

import pytest

from interlock.testing.fuzz._coverage import coverage_of
from interlock.testing.fuzz._faults import ALL_FAULTS
from interlock.testing.fuzz._render import text_of
from interlock.testing.fuzz._report import Report, invariants_of
from interlock.testing.fuzz._reproduction import About
from interlock.testing.fuzz._run import fuzz
from interlock.testing.fuzz._target import Target

#: How many runs a test makes that says neither `runs` nor `for_s`.
RUNS: Final = 100

_SHARES: Final = ("transitions", "guards")


class Fuzzes(Protocol):
    """What the fixture is."""

    def __call__(
        self,
        found: object,
        *,
        transitions: float = 0.0,
        guards: float = 0.0,
        name: str = "",
        **options: Any,  # noqa: ANN401  those of `fuzz`
    ) -> Report:
        """Fuzz an engine, an agent, ... (`Target.of`); a failure fails the test.

        `transitions` and `guards` are how many per cent of them must be covered.  `name` is how
        the reproduction names what was fuzzed, `module:name`; without, it is looked for among
        the globals of the test's module, of those that it imports, and of its own.  Other
        options are those of `fuzz`; the invariants are those that the test's module marks,
        unless others are given.
        """
        ...


def fuzzes_for(module: ModuleType | None, marked: Mapping[str, Any]) -> Fuzzes:
    """The fixture of a test in that module, with the options of its markers."""

    def fuzzes(
        found: object,
        *,
        transitions: float = 0.0,
        guards: float = 0.0,
        name: str = "",
        **options: Any,  # noqa: ANN401  those of `fuzz`
    ) -> Report:
        given = {**marked, **options}
        bounds = {share: float(given.pop(share, 0.0)) for share in _SHARES}
        bounds["transitions"] = transitions or bounds["transitions"]
        bounds["guards"] = guards or bounds["guards"]
        return _fuzzed(found, name or _name(found, module), module, bounds, given)

    return fuzzes


def _fuzzed(
    found: object,
    where: str,
    module: ModuleType | None,
    bounds: Mapping[str, float],
    options: dict[str, Any],
) -> Report:
    target = Target.of(found)
    if "runs" not in options and "for_s" not in options:
        options["runs"] = RUNS
    if "invariants" not in options and module is not None:
        options["invariants"] = invariants_of(module)
    report = fuzz(target, **options)
    covered = coverage_of(report, target.lifecycle.table)
    shares = {"transitions": covered.transitions, "guards": covered.guards}
    under = [
        f"{what}: {shares[what]} is under {percent:g} %"
        for what, percent in bounds.items()
        if shares[what].percent < percent
    ]
    checked = module.__name__ if module is not None and options.get("invariants") else ""
    about = About(
        where,
        under,
        frozenset(options.get("faults", ALL_FAULTS)),
        checked,
        threaded=bool(target.lines_of),
    )
    if report.failures or under:
        pytest.fail(text_of(report, target.lifecycle, about), pytrace=False)
    return report


def _name(found: object, module: ModuleType | None) -> str:
    """How the reproduction finds it: by where it is a global, or else a name to be filled in."""
    imported = [] if module is None else [v for v in vars(module).values() if inspect.ismodule(v)]
    for place in (module, *imported, inspect.getmodule(found)):
        for name, value in vars(place).items() if place is not None else ():
            if place is not None and value is found and not name.startswith("_"):
                return f"{place.__name__}:{name}"
    return "your_module:your_engine"
