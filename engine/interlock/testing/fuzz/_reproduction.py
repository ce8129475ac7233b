"""A failure as a pytest test that reproduces it: to be pasted, and kept."""

import itertools
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from interlock.testing.fuzz._faults import ALL_FAULTS
from interlock.testing.fuzz._moves import SECOND
from interlock.testing.fuzz._report import Failure

#: Characters of a line of the test.
_WIDTH: Final = 88
_NO_NAME: Final = re.compile(r"[^a-z0-9]+")


def name_of(failure: Failure) -> str:
    """The name of the test."""
    kind = _NO_NAME.sub("_", failure.kind.lower()).strip("_") or "failure"
    return f"test_{kind}_of_seed_{failure.seed}"


@dataclass(frozen=True, slots=True)
class About:
    """What a report is about, beside what came of it."""

    #: What was fuzzed, as `module:name`.
    where: str
    #: Which bounds the coverage is below, in sentences.
    under: Sequence[str] = ()
    #: The faults that were on: a run is only the same with the same ones.
    faults: frozenset[str] = ALL_FAULTS
    #: The module whose marked invariants were checked; "" for none.
    invariants: str = ""
    #: Invariants that were given instead, each as `module:name`.
    given: Sequence[str] = ()
    #: PYTHONHASHSEED, which no run decides; "random" if it was not set, "" if nobody knows.
    hash_seed: str = ""
    #: Whether plain functions of it run on threads.
    threaded: bool = False
    #: How many engines shared a store.
    replicas: int = 1
    #: The names of all invariants that were checked.
    checked: Sequence[str] = ()


def pasted(failure: Failure, about: About) -> str:
    """The source of a test."""
    module, _, name = about.where.partition(":")
    checks = [given.partition(":") for given in about.given]
    imports = sorted({module, about.invariants, *(place for place, _, _ in checks)} - {""})
    helpers = ["Target", *(["invariants_of"] if about.invariants else []), "replay"]
    options = ""
    if about.faults != ALL_FAULTS:
        named = ", ".join(f'"{fault}"' for fault in sorted(about.faults))
        options += f", faults={{{named}}}" if named else ", faults=frozenset()"
    known: list[str] = []
    if about.invariants and failure.without:
        names = ", ".join(f'"{name}"' for name in failure.without)
        known = [
            "    # Those that were found broken before would hide it.",
            f"    checks = invariants_of({about.invariants})",
            f"    checks = [check for check in checks if check.__name__ not in {{{names}}}]",
        ]
        options += ", invariants=checks"
    elif about.invariants:
        options += f", invariants=invariants_of({about.invariants})"
    elif checks:
        left = [(place, check) for place, _, check in checks if check not in failure.without]
        named = ", ".join(f"{place}.{check}" for place, check in left)
        options += f", invariants=[{named}]"
    if about.replicas > 1:
        options += f", replicas={about.replicas}"
    tape = textwrap.fill(
        ", ".join(map(str, failure.tape)),
        _WIDTH,
        initial_indent=" " * 8,
        subsequent_indent=" " * 8,
    )
    tape = f"[\n{tape},\n    ]" if failure.tape else "[]"
    return "\n".join(
        [
            *(f"import {each}" for each in imports),
            f"from interlock.testing.fuzz import {', '.join(helpers)}",
            "",
            "",
            f"def {name_of(failure)}() -> None:",
            *_said(failure),
            *_salted(about),
            f"    tape = {tape}",
            f"    target = Target.of({module}.{name})",
            *known,
            f"    found = replay(target, {failure.seed}, tape{options})",
            "    assert found is None, found.message",
            "",
        ]
    )


def _said(failure: Failure) -> list[str]:
    """What went wrong, as comments: whatever is in a message, it ends no line of ours."""
    words = f"{failure.kind}: {failure.message}"
    trace = [*merged(failure.steps), *failure.after]
    lines = [*textwrap.wrap(_plain(words), _WIDTH - 6), *map(_plain, trace)]
    return [f"    # {line}" for line in lines]


def merged(steps: Iterable[str]) -> list[str]:
    """The steps of a trace; seconds that pass one after the other as one step."""
    lines: list[str] = []
    for step, same in itertools.groupby(steps):
        count = len(list(same))
        passes = step == SECOND and count > 1
        lines += [f"{count} seconds pass"] if passes else [step] * count
    return lines


def _salted(about: About) -> list[str]:
    """By what the order of sets came to be: no run can decide it."""
    if not about.hash_seed:
        return []
    if about.hash_seed == "random":
        return ["    # PYTHONHASHSEED was not set; with sets of texts it may not come again."]
    return [f"    # Where sets of texts matter it comes with PYTHONHASHSEED={about.hash_seed}."]


def hash_seed() -> str:
    """PYTHONHASHSEED, as this process has it; "random" if it has none."""
    ignored = sys.flags.ignore_environment
    return "random" if ignored else os.environ.get("PYTHONHASHSEED", "random")


def name_in(found: object, places: Iterable[ModuleType | None]) -> str | None:
    """`module:name` of something that is a global of one of these."""
    for place in places:
        for name, value in vars(place).items() if place is not None else ():
            if place is not None and value is found and not name.startswith("_"):
                return f"{place.__name__}:{name}"
    return None


def _plain(text: str) -> str:
    """In one line, without what an editor or a terminal would act on."""
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()
