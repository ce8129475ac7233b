"""The page of comparison says nothing without evidence.

R-DOCS-25 (each row names what shows it, and that is there), R-DOCS-26 (each claim has a program,
and its result is kept), R-DOCS-27 (the sizes are those of the results).
"""

import ast
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
CLAIMS: Final = ROOT / "bench" / "claims"
TREES: Final = "Installed into an empty environment"


def results() -> dict[str, list[list[str]]]:
    """The rows of each table of the last run, by its title."""
    path = ROOT / "bench" / "results" / "claims.json"
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert all(bar["passed"] for bar in said["bars"])
    return {table["title"]: table["rows"] for table in said["tables"]}


def programs() -> set[str]:
    """The claims that can be run."""
    return {path.stem for path in CLAIMS.glob("*.py") if not path.stem.startswith("_")}


def evidence() -> list[tuple[str, str]]:
    """The rows whose last column is `seen`, and what stands there."""
    rows: list[tuple[str, str]] = []
    seen = False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            seen = False
        elif cells[-1] == "seen":
            seen = True
        elif seen and not set(line) <= set("|- "):
            rows.append((cells[0], cells[-1]))
    return rows


@pytest.mark.parametrize("row", evidence(), ids=lambda row: row[0][:40])
def test_a_row_names_what_shows_it(row: tuple[str, str]) -> None:
    """A program, a result or a test, which is there.  R-DOCS-25."""
    named = re.findall(r"`([^`]+)`", row[1])
    assert named, row
    for name in named:
        if name.startswith("tests/"):
            file, _, test = name.partition(": ")
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert test in {getattr(node, "name", "") for node in tree.body}, name
        elif name.startswith("bench/results/"):
            assert (ROOT / name).exists(), name
        else:
            assert name in programs(), name


def test_the_page_has_many_rows_and_uses_every_claim() -> None:
    """A claim that nobody cites is deleted, or cited.  R-DOCS-26."""
    assert len(evidence()) > 40
    cited = {name for _, cell in evidence() for name in re.findall(r"`(\w+)`", cell)}
    assert cited == programs()


def test_every_claim_has_a_sentence_and_a_result() -> None:
    """Which its program says and found.  R-DOCS-26."""
    kept = {row[0].strip("`"): row for row in results()["Claims"]}
    assert kept.keys() == programs()
    for name, row in kept.items():
        text = (CLAIMS / f"{name}.py").read_text(encoding="utf-8")
        said = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        assert said.partition(": ")[2] == row[2], name
        assert row[3]


def test_its_sizes_are_those_of_the_results() -> None:
    """Each in the order of the results, with its licence.  R-DOCS-27."""
    table = PAGE.partition("## What it takes")[2].partition("\n## ")[0]
    told = re.findall(r"^\| [^|]+ \| (\d+) \| (\d+) \| [^|]+ \| ([^|]+) \|$", table, re.MULTILINE)
    kept = [
        (row[2], row[3], "none is said" if row[4] == "-" else row[4].removesuffix(" License"))
        for row in results()[TREES]
    ]
    assert told == kept


def test_its_links_lead_somewhere() -> None:
    """To files that are there.  R-DOCS-25."""
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
