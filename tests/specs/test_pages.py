"""The hand-written pages of `specs/` name what there is, and lead nowhere else.

Source: R-PKG-08.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SPECS: Final = ROOT / "specs"
PACKAGES: Final = ("engine/interlock", "adapters/interlock_adapters")
LINK: Final = re.compile(r"\]\(([^)#:]+)\)")
QUOTED: Final = re.compile(r"`([a-z0-9_*]+)`")


def unnamed(modules: Iterable[str], page: str) -> list[str]:
    """The modules that a page has neither by name nor by a pattern, as `_sqlite*` is one."""
    patterns = QUOTED.findall(page)
    return [module for module in modules if not any(fnmatch(module, p) for p in patterns)]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_its_place_in_the_architecture(package: str) -> None:
    """What a stranger opens is explained before it is opened.  Source: R-PKG-08."""
    modules = sorted(
        path.stem
        for path in (ROOT / package).iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem[:2] != "__"
    )
    assert modules
    assert unnamed(modules, (SPECS / "architecture.md").read_text(encoding="utf-8")) == []


def test_a_module_that_is_nowhere_is_found() -> None:
    """By its name or a pattern, in quotes; a word of a sentence is no name.  Source: R-PKG-08."""
    page = "`_sqlite*` and `cli` keep a_record."
    assert unnamed(["_sqlite", "_sqlite_rows", "cli", "a_record"], page) == ["a_record"]


def test_a_word_has_one_meaning() -> None:
    """Each word of the glossary once.  Source: R-PKG-08."""
    page = (SPECS / "glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^\| ([^|]+) \| ", page, re.MULTILINE)
    assert len(words) > 50
    assert [word for word in words if words.count(word) > 1] == []


def test_every_decision_is_in_the_list() -> None:
    """In order, under its title's number, and nothing else.  Source: R-PKG-08."""
    folder = SPECS / "decisions"
    there = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert LINK.findall((folder / "README.md").read_text(encoding="utf-8")) == there
    for name in there:
        title = (folder / name).read_text(encoding="utf-8").splitlines()[0]
        assert title.startswith(f"# {name[:4]}: ")


@pytest.mark.parametrize("page", sorted(SPECS.rglob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file of this repository, from where the page is.  Source: R-PKG-08."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
