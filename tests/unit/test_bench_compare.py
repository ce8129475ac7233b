"""The parts of `bench.compare` that turn samples into what the report says.

Source: R-CMP-01, R-CMP-02, R-CMP-03.
"""

import importlib
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]


def part(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  a module of the bench
    """A module of the bench, which is no package of ours and not installed."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    return importlib.import_module(f"bench.compare.{name}")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  of the bench
    """Two rounds, in the second of which the machine was twice as slow."""
    found = part("measure", monkeypatch).Found()
    for name, ms in (("Interlock, SQLite", 2.0), ("LangGraph, SQLite", 6.0)):
        found.rounds[name]["life"] += [[ms, ms], [2 * ms, 2 * ms]]
        found.rounds[name]["lives/s"] += [[1000 / ms], [500 / ms]]
    return found


def row(name: str, rows: Any) -> Any:  # noqa: ANN401  of the bench
    """The row of that key."""
    return next(each for each in rows.ROWS if each.key == name)


def test_a_ratio_is_taken_round_by_round(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    """A slow round slows both sides, and more is better where it is.  Source: R-CMP-01."""
    rows = part("rows", monkeypatch)
    for name in ("load-p50", "load-rate"):
        cell = rows.cells(row(name, rows), found)["LangGraph, SQLite"]
        assert cell.better == pytest.approx(3)
        assert cell.spread == pytest.approx((3, 3))


def test_an_arm_is_not_compared_in_what_it_does_not_have(
    found: Any,  # noqa: ANN401  of the bench
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no such row, and the report has a reason.  Source: R-CMP-02."""
    rows, plan = part("rows", monkeypatch), part("plan", monkeypatch)
    found.rounds["LangGraph, SQLite"]["cancel"].append([1.0])
    assert "LangGraph, SQLite" not in rows.cells(row("cancel", rows), found)
    names = {arm.name for arm in plan.ARMS}
    for arm in plan.ARMS:
        assert set(arm.lacks) == set(plan.ALL) - set(arm.rows), arm.name
        assert not arm.beside or arm.beside in names


def test_waiting_tasks_are_compared_at_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process takes once would be shared by more of them.  Source: R-CMP-01."""
    rows = part("rows", monkeypatch)
    held = [(1_000, 10.0), (10_000, 28.0)]
    grown = rows.Grown(10_000, held, 0, 0.0, 1.0, None, None, None)
    assert grown.kb == pytest.approx(2.8)
    assert grown.kb_each(1_000) == pytest.approx(10)
    assert grown.kb_each(5_500) == pytest.approx(19_000 / 5_500)
    assert grown.kb_each(500) == pytest.approx(10)


def test_a_row_that_is_behind_is_said_with_its_reason(
    found: Any,  # noqa: ANN401  of the bench
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In Markdown, JSON and picture, quick or not.  Source: R-CMP-03."""
    report = part("report", monkeypatch)
    found.rounds["LangGraph, SQLite"]["life"] = [[1.0], [1.0]]
    found.syncs = [1_000.0]
    one = {"trigger_us": 1.0, "make_us": 1.0, "bytes": 1.0}
    machines = {name: [one] for name in ("interlock", "transitions", *report.MACHINES)}
    compared = report.Compared(found, machines, quick=True, took_s=1.0, load=(0.0, 0.0))
    text = compared.finish(tmp_path)
    assert "not to be quoted" in text
    assert "**0.375x**" in text
    assert {behind.row for behind in compared.behind} == {
        "submit → completed, 16 at once, p50, ms",
        "submit → completed, 16 at once, p99, ms",
    }
    assert (tmp_path / "report.json").read_text(encoding="utf-8").startswith('{"title"')
    picture = ET.parse(tmp_path / "report.svg")  # noqa: S314  we wrote it
    titles = [each.text for each in picture.iter() if each.tag.endswith("}title")]
    assert "submit → completed, 16 at once, p50, ms, LangGraph, SQLite: 0.375x" in titles
