"""What is read from the files of a suite, and what of it fails the run."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.install import Package
from conformance.legs import HEADINGS, Check, Leg, read, run, table

_AT = "2026-11-29T03-46-55-312Z"


def _left(into: Path, scenario: str, *checks: tuple[str, str, str | None]) -> None:
    """What the suite leaves of a scenario."""
    folder = into / f"server-{scenario}-{_AT}"
    folder.mkdir(parents=True)
    said: list[dict[str, Any]] = [
        {"id": name, "status": status, "description": "It holds.", "errorMessage": message}
        for name, status, message in checks
    ]
    (folder / "checks.json").write_text(json.dumps(said), encoding="utf-8")


def test_checks_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    """A warning and a skip fail nothing; an INFO is no check."""
    statuses = ("SUCCESS", "SUCCESS", "SKIPPED", "WARNING", "INFO")
    _left(tmp_path, "ping", *((f"ping-{n}", status, None) for n, status in enumerate(statuses)))
    outcome = read("leg", tmp_path)
    assert dict(zip(HEADINGS, outcome.row, strict=True)) == {
        "leg": "leg",
        "scenarios": 1,
        "passed": 2,
        "failed": 0,
        "skipped": 1,
        "warnings": 1,
    }
    assert outcome.warned == [Check("ping", "ping-3", "It holds.")]


@pytest.mark.parametrize("status", ["FAILURE", "SOMETHING_NEW"])
def test_a_check_that_fails_is_told_with_its_message(tmp_path: Path, status: str) -> None:
    """A status that is not known has failed, too.  Source: R-MCP-13."""
    _left(tmp_path, "tools-list", ("tools-list", status, "no tools"))
    assert read("leg", tmp_path).failed == [Check("tools-list", "tools-list", "no tools")]


def test_a_scenario_that_leaves_nothing_has_failed(tmp_path: Path) -> None:
    """The suite writes no checks for one that raised.  Source: R-MCP-13."""
    (tmp_path / f"server-ping-{_AT}").mkdir()
    assert [check.scenario for check in read("leg", tmp_path).failed] == ["ping"]


@pytest.mark.parametrize(
    ("program", "left", "failed"),
    [
        ("print('Running (1 scenarios)')", ["ping"], ""),
        ("print('Running client scenario')", ["ping"], ""),
        ("print('Running (2 scenarios)')", ["ping"], "2 scenarios were to run, 1 left results"),
        ("print('Running (0 scenarios)')", [], "0 scenarios were to run, 0 left results"),
        ("raise SystemExit('no such suite')", [], "exit code 1: no such suite"),
        ("raise SystemExit('it broke off')", ["ping"], "no check failed: it broke off"),
    ],
)
def test_a_suite_that_does_not_run_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, left: list[str], failed: str
) -> None:
    """Its exit code and the number of its scenarios are compared with what it left."""
    script, into = tmp_path / "suite", tmp_path / "left"
    made = f"import os; [os.makedirs({str(into)!r} + f'/server-{{n}}-{_AT}') for n in {left!r}]"
    written = "; ".join(
        f"open({str(into / f'server-{name}-{_AT}' / 'checks.json')!r}, 'w').write('[]')"
        for name in left
    )
    script.write_text(f"#!{sys.executable}\n{made}\n{written}\n{program}\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(Package, "path", script)
    leg = Leg("leg", Package("v0", "suite", "0"), ())
    outcome = run(leg, "http://127.0.0.1:1/mcp", into, {})
    messages = [check.message for check in outcome.failed]
    assert len(messages) == bool(failed)
    assert all(failed in message for message in messages)


def test_the_table_is_in_columns() -> None:
    """Names to the left, figures to the right."""
    assert table(("leg", "n"), [("a long one", 7), ("b", 123)]).splitlines() == [
        "leg           n",
        "a long one    7",
        "b           123",
    ]
