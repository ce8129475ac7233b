"""Whoever installs an extra is told of every licence that asks for something.  Source: R-REL-09."""

import tomllib
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from typing import Final

import pytest

from release.licences import ALLOWED, WORDS, closure, findings, licences_of

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "licences.md"


def told(folder: Path, *lines: str) -> Distribution:
    """A distribution of which these lines are known."""
    place = folder / "thing-1.0.dist-info"
    place.mkdir()
    text = "\n".join(("Metadata-Version: 2.4", "Name: thing", "Version: 1.0", *lines, "", ""))
    (place / "METADATA").write_text(text, encoding="utf-8")
    return PathDistribution(place)


def test_every_licence_of_every_extra_is_known() -> None:
    """A new dependency with another licence is for a person to decide on.  Source: R-REL-09."""
    brought = closure("interlock", "all")
    assert len(brought) > 80
    assert not findings(brought.values()), "\n".join(findings(brought.values()))


def test_all_brings_what_each_extra_brings() -> None:
    """So to check `all` is to check each.  Source: R-REL-09."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = closure("interlock", "all")
    for extra in project["optional-dependencies"].keys() - {"all", "dev", "docs"}:
        assert closure("interlock", extra).keys() <= brought.keys(), extra


def test_the_page_has_a_word_on_each_that_needs_one() -> None:
    """And on no other.  Source: R-REL-10."""
    page = PAGE.read_text(encoding="utf-8")
    rows = {
        tuple(cell.strip().strip("`") for cell in line.strip("|").split("|")[:3])
        for line in page.splitlines()
        if line.startswith("| `")
    }
    assert {(name, word.licence, word.extra) for word in WORDS for name in word.names} == rows
    for word in WORDS:
        for name in word.names:
            assert name in closure("interlock", word.extra), "the page names the extra"


@pytest.mark.parametrize(
    ("lines", "licences"),
    [
        (["License-Expression: MIT"], {"MIT"}),
        (["License-Expression: GPL-2.0-only OR MIT"], {"MIT"}),
        (["License-Expression: MIT AND MPL-2.0"], {"MIT", "MPL-2.0"}),
        (
            ["License-Expression: (GPL-2.0-only OR MIT) AND EPL-2.0"],
            {"GPL-2.0-only", "MIT", "EPL-2.0"},
        ),
        (["License-Expression: GPL-2.0-only", "License: MIT"], {"GPL-2.0-only"}),
        (["Classifier: License :: OSI Approved :: BSD License"], {"BSD-3-Clause"}),
        (["Classifier: License :: OSI Approved", "License: MIT AND MPL-2.0"], {"MIT", "MPL-2.0"}),
        (["License: Do as you like"], set[str]()),
        ([], set[str]()),
    ],
)
def test_a_licence_is_read_where_it_stands(
    lines: list[str], licences: set[str], tmp_path: Path
) -> None:
    """The three places in which metadata have it, newest first.  Source: R-REL-09."""
    assert licences_of(told(tmp_path, *lines)) == licences


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("License-Expression: MIT", None),
        ("License-Expression: GPL-3.0-only", "thing 1.0: GPL-3.0-only is not on the list"),
        ("License-Expression: MPL-2.0", "thing 1.0: MPL-2.0 is not on the list"),
        ("Keywords: none", "thing 1.0: its metadata name no licence"),
    ],
)
def test_what_is_not_on_the_list_is_found(line: str, finding: str | None, tmp_path: Path) -> None:
    """A word on one distribution is none on another.  Source: R-REL-09."""
    assert findings([told(tmp_path, line)]) == ([] if finding is None else [finding])
    assert "MPL-2.0" not in ALLOWED
