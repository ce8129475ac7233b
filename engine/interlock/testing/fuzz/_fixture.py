"""What the pytest fixture `interlock_fuzz` is: it fuzzes something, and fails the test.

The plugin itself is in `interlock_adapters`: pytest loads it in every run of everybody, before
anything measures coverage, and it must not load the engine then.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final, Protocol

import pytest

from interlock.errors import InvalidInput
from interlock.testing.fuzz._coverage import SHARES, coverage_of, noted_in, under
from interlock.testing.fuzz._faults import ALL_FAULTS
from interlock.testing.fuzz._render import text_of
from interlock.testing.fuzz._report import Invariant, Report, invariants_of, name_of_check
from interlock.testing.fuzz._reproduction import About, hash_seed, name_in
from interlock.testing.fuzz._run import fuzz
from interlock.testing.fuzz._target import Target

#: How many runs a test makes that says neither `runs` nor `for_s`.
RUNS: Final = 100

#: So much of what was not covered is named where nobody wants it covered.
_NAMED_MAX: Final = 3
#: The option by which a note fails a test.
NOTES: Final = "fail_on_notes"
#: The options of `fuzz`.
_OPTIONS: Final = frozenset(inspect.signature(fuzz).parameters) - {"target"}


class Fuzzes(Protocol):
    """What the fixture is."""

    def __call__(
        self,
        found: object,
        *,
        transitions: float | None = None,
        guards: float | None = None,
        completed: float | None = None,
        fail_on_notes: bool = False,
        name: str = "",
        **options: Any,  # noqa: ANN401  those of `fuzz`
    ) -> Report:
        """Fuzz an engine, an agent, ... (`Target.of`); a failure fails the test.

        `transitions` and `guards` are how many per cent of them must be covered, `completed` how
        many per cent of all lives must have completed; 0 if nothing is said.  With
        `fail_on_notes` what fails nothing and is worth a word fails it, too.  `name` is how
        the reproduction names what was fuzzed, `module:name`; without, it is looked for among
        the globals of the test's module, of those that it imports, and of its own.  Other
        options are those of `fuzz`; the invariants are those that the test's module marks and
        those of the module that has what is fuzzed, unless others are given.
        """
        ...


def fuzzes_for(module: ModuleType | None, marked: Mapping[str, Any]) -> Fuzzes:
    """The fixture of a test in that module, with the options of its markers."""

    def fuzzes(
        found: object,
        *,
        transitions: float | None = None,
        guards: float | None = None,
        completed: float | None = None,
        fail_on_notes: bool = False,
        name: str = "",
        **options: Any,  # noqa: ANN401  those of `fuzz`
    ) -> Report:
        bounds = {"transitions": transitions, "guards": guards, "completed": completed}
        given = {**marked, **options, **{k: v for k, v in bounds.items() if v is not None}}
        if fail_on_notes:
            given[NOTES] = True
        _check(given)
        said = str(given.pop("name", ""))
        where = name or said or _name(found, module)
        shares = {k: given.pop(k, 0.0) for k in SHARES}
        return _fuzzed(found, where, module, shares, given)

    return fuzzes


def _check(given: Mapping[str, Any]) -> None:
    """Fail the test if an option, of the marker or of the call, is none."""
    accepted = ", ".join(sorted({*_OPTIONS, *SHARES, NOTES, "name"}))
    problems = [
        f"there is no option {name}; accepted are {accepted}"
        for name in given
        if name not in {*_OPTIONS, *SHARES, NOTES, "name"}
    ]
    problems += [
        f"{share} is {given[share]!r}; per cent from 0 to 100 are accepted"
        for share in SHARES
        if share in given and not _is_percent(given[share])
    ]
    if problems:
        pytest.fail(f"interlock_fuzz: {'; '.join(problems)}", pytrace=False)


def _is_percent(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 100  # noqa: PLR2004  of a hundred


def _fuzzed(
    found: object,
    where: str,
    module: ModuleType | None,
    bounds: Mapping[str, float],
    options: dict[str, Any],
) -> Report:
    if "runs" not in options and "for_s" not in options:
        options["runs"] = RUNS
    counts_notes = bool(options.pop(NOTES, False))
    sources = _with_invariants(module, sys.modules.get(where.partition(":")[0]))
    marked = tuple(dict.fromkeys(check for each in sources for check in invariants_of(each)))
    checks: Sequence[Invariant] = options.setdefault("invariants", marked)
    try:
        target = Target.of(found)
        report = fuzz(target, **options)
    except InvalidInput as error:
        pytest.fail(f"interlock_fuzz: {error}", pytrace=False)
    covered = coverage_of(report, target.lifecycle.table)
    below = [*under(covered, bounds.items()), *(noted_in(report) if counts_notes else [])]
    source = next((m for m in sources if tuple(checks) == invariants_of(m)), None)
    about = About(
        where,
        below,
        frozenset(options.get("faults", ALL_FAULTS)),
        "" if source is None else source.__name__,
        () if source is not None else [_name(check, module, "your_invariant") for check in checks],
        hash_seed(),
        checked=[name_of_check(check) for check in checks],
        threaded=bool(target.lines_of),
        replicas=options.get("replicas", 1),
    )
    if report.failures or below:
        named = {} if below else {"named_max": _NAMED_MAX}
        pytest.fail(text_of(report, target.lifecycle, about, **named), pytrace=False)
    return report


def _with_invariants(*modules: ModuleType | None) -> list[ModuleType]:
    """Those that mark some, each once."""
    there = dict.fromkeys(module for module in modules if module is not None)
    return [module for module in there if invariants_of(module)]


def _name(found: object, module: ModuleType | None, otherwise: str = "your_engine") -> str:
    """How the reproduction finds it: by where it is a global, or else a name to be filled in."""
    imported = [] if module is None else [v for v in vars(module).values() if inspect.ismodule(v)]
    places = (module, *imported, inspect.getmodule(found))
    return name_in(found, places) or f"your_module:{otherwise}"
