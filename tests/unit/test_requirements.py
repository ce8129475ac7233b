"""Requirements and tests name each other, and none is forgotten.  Source: R-PKG-07.

Docstrings are read, and nothing is run: `make specs-check` does this in a moment.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("specs/requirements.md", "specs/invariants.md")
#: How requirements, invariants and attacks are called.
ID: Final = re.compile(r"\b(?:R-[A-Z0-9]+-\d{2}|I\d{2}|T\d{1,2})\b")
ROW: Final = re.compile(rf"^\| *({ID.pattern}) *\|", re.MULTILINE)


def given(page: str) -> list[str]:
    """The ids that the rows of a page give."""
    return ROW.findall(page)


def cited(text: str) -> frozenset[str]:
    """The ids that a file of tests names in what it says of itself, its classes and its tests."""
    return frozenset(id_ for said in _docstrings(ast.parse(text)) for id_ in ID.findall(said))


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """Those of tests; a helper is nobody's proof."""
    yield ast.get_docstring(tree) or ""
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name.startswith("test_"):
                yield ast.get_docstring(node) or ""
            case ast.ClassDef():  # a machine of Hypothesis: its rules and invariants are methods
                yield ast.get_docstring(node) or ""
                for method in node.body:
                    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                        yield ast.get_docstring(method) or ""
            case _:
                pass


def findings(ids: AbstractSet[str], files: Mapping[str, AbstractSet[str]]) -> list[str]:
    """What is missing on either side; empty if nothing is."""
    named = frozenset[str]().union(*files.values())
    return [
        *(f"{id_}: no test names it" for id_ in sorted(ids - named)),
        *(
            f"{path}: there is no {id_}"
            for path, its in sorted(files.items())
            for id_ in sorted(its - ids)
        ),
        *(f"{path}: names no requirement" for path, its in sorted(files.items()) if not its),
    ]


@cache
def ids_of_the_pages() -> tuple[str, ...]:
    """Every id that the two pages give, in their order."""
    return tuple(id_ for page in PAGES for id_ in given((ROOT / page).read_text(encoding="utf-8")))


@cache
def files_of_tests() -> Mapping[str, frozenset[str]]:
    """Every file of tests, and the ids that it names."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    return {
        path.relative_to(ROOT).as_posix(): cited(path.read_text(encoding="utf-8")) for path in paths
    }


def test_an_id_stands_for_one_thing() -> None:
    """Two rows of one id are two promises that nobody can tell apart.  Source: R-PKG-07."""
    ids = ids_of_the_pages()
    assert [id_ for id_ in ids if ids.count(id_) > 1] == []
    assert len(ids) > 150


def test_every_requirement_has_a_test_and_every_file_of_tests_a_requirement() -> None:
    """Both ways, and nothing is named that is not there.  Source: R-PKG-07."""
    found = findings(frozenset(ids_of_the_pages()), files_of_tests())
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("ids", "files", "found"),
    [
        ({"R-ENG-01"}, {"test_a.py": {"R-ENG-01"}}, []),
        ({"R-ENG-01", "I07"}, {"test_a.py": {"R-ENG-01"}}, ["I07: no test names it"]),
        ({"I07"}, {"test_a.py": {"I07", "R-ENG-99"}}, ["test_a.py: there is no R-ENG-99"]),
        (
            {"I07"},
            {"test_a.py": {"I07"}, "test_b.py": set[str]()},
            ["test_b.py: names no requirement"],
        ),
    ],
)
def test_what_is_missing_is_found(
    ids: AbstractSet[str], files: Mapping[str, AbstractSet[str]], found: list[str]
) -> None:
    """The check can fail, in each of its ways.  Source: R-PKG-07."""
    assert findings(ids, files) == found


def test_ids_are_read_where_they_count() -> None:
    """In rows of the pages; in the docstrings of tests and not of helpers.  Source: R-PKG-07."""
    assert given("| id | what |\n|---|---|\n| R-A2A-01 | as I07 |\n| T5 | x |\nnot I08\n") == [
        "R-A2A-01",
        "T5",
    ]
    text = (
        '"""R-PKG-01."""\n'
        'def helper():\n    """I01."""\n'
        'async def test_a():\n    """Source: I02, T15."""\n    x = "I03"\n'
        'class Machine:\n    """I04."""\n    def rule(self):\n        """I05: so."""\n'
    )
    assert cited(text) == {"R-PKG-01", "I02", "T15", "I04", "I05"}
