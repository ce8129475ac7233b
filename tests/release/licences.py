"""Under which licences the things are that an extra brings, and which of them are known to be fine.

What a distribution says of itself is read, and no service is asked.  A licence that is not on the
list is a finding, for a person to decide on.
"""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: Permissive: whoever ships the software names the authors and passes the text on.
ALLOWED: Final = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
    }
)
#: The classifiers of old that say it without an SPDX name.
CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
#: Distributions whose metadata name none, with what the text that they carry, or their source, is.
SILENT: Final = {
    "protobuf": "BSD-3-Clause",
    "smolagents": "Apache-2.0",
}


class Word(NamedTuple):
    """A licence that needs a word, by which distributions it is used, and in which extra."""

    licence: str
    names: tuple[str, ...]
    extra: str


#: What is not permissive; `docs/licences.md` has the word on each.
WORDS: Final = (
    Word("LGPL-3.0-only", ("psycopg", "psycopg-binary", "psycopg-pool"), "postgres"),
    Word("MPL-2.0", ("certifi",), "a2a"),
    Word("MPL-2.0", ("hypothesis",), "testing"),
    Word("MPL-2.0", ("tqdm",), "smolagents"),
)


def closure(name: str, extra: str) -> dict[str, Distribution]:
    """What an installation of the extra brings to this interpreter, by its name, without `name`.

    Raises:
        PackageNotFoundError: something of it is not installed.
    """
    found: dict[str, Distribution] = {}
    done: set[tuple[str, str]] = set()
    left = [(canonicalize_name(name), extra), (canonicalize_name(name), "")]
    while left:
        at = left.pop()
        if at in done:
            continue
        done.add(at)
        found.setdefault(at[0], distribution(at[0]))
        for wanted in _wanted(found[at[0]], at[1]):
            inner = canonicalize_name(wanted.name)
            left += [(inner, ""), *((inner, more) for more in wanted.extras)]
    del found[canonicalize_name(name)]
    return found


def _wanted(of: Distribution, extra: str) -> Iterator[Requirement]:
    for line in of.requires or ():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
            yield wanted


def licences_of(told: Distribution) -> frozenset[str]:
    """The licences that its metadata name; with "OR" one that is allowed, if there is one.

    Empty if they name none.
    """
    if expression := _field(told, "License-Expression"):
        return _of_expression(expression)
    classified = frozenset(_classified(told))
    if classified:
        return classified
    # Of old anything could be written here, a whole text as well: it counts if it names licences.
    said = _of_expression(_field(told, "License"))
    if said <= ALLOWED | {word.licence for word in WORDS}:
        return said
    if (known := SILENT.get(canonicalize_name(told.metadata["Name"]))) is not None:
        return frozenset({known})
    return frozenset()


def _classified(told: Distribution) -> Iterator[str]:
    for line in told.metadata.get_all("Classifier") or ():
        kind, _, name = str(line).rpartition(" :: ")
        if kind.startswith("License") and name != "OSI Approved":
            yield CLASSIFIERS.get(name, name)


def _field(told: Distribution, name: str) -> str:
    return next(iter(told.metadata.get_all(name) or ()), "")


def _of_expression(expression: str) -> frozenset[str]:
    """With brackets every name in it counts, rather than that one of them is overlooked."""
    alternatives = re.split(r"\s+OR\s+", expression) if "(" not in expression else [expression]
    choices = [
        frozenset(name.strip("() ") for name in re.split(r"\s+(?:AND|OR)\s+", choice))
        for choice in alternatives
    ]
    return next((choice for choice in choices if choice <= ALLOWED), choices[0])


def findings(distributions: Iterable[Distribution]) -> list[str]:
    """What somebody must decide on, one line each; empty if nothing is new."""
    known = {(name, word.licence) for word in WORDS for name in word.names}
    found: list[str] = []
    for told in distributions:
        name = canonicalize_name(told.metadata["Name"])
        its = licences_of(told)
        if not its:
            found.append(f"{name} {told.version}: its metadata name no licence")
        found += (
            f"{name} {told.version}: {licence} is not on the list"
            for licence in sorted(its - ALLOWED)
            if (name, licence) not in known
        )
    return sorted(found)
