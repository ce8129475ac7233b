"""`interlock check`, with and without `--model`: what it prints, and what it comes to.

Requirements: R-PIC-13, R-PIC-14.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import pytest

from interlock_adapters.cli import _check as cli_check

_BROKEN: Final = """
from interlock import LIFECYCLE, Lifecycle, Trigger
from interlock._transitions import TABLE, Row

def open_to_all(row):
    if row.trigger is not Trigger.COMPLETE:
        return row
    return Row(row.trigger, row.source, row.dest, row.change, row.effects)

BROKEN = Lifecycle([open_to_all(row) for row in TABLE])
"""


def _run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    cli_check.declare(parser)
    return cli_check.run(parser.parse_args(arguments))


def test_without_the_model_only_the_table_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """A table that loads is sound, and what that means is said."""
    assert _run() == 0
    said = capsys.readouterr().out
    assert said.startswith("76 rows, 11 phases: sound\n  every phase is reached")
    assert "worlds" not in said


_OWN: Final = """
import interlock
from interlock import Phase

PAYMENT = Phase.further("waiting_payment", like=Phase.WAITING_INPUT)
PAYING = interlock.LIFECYCLE.extend(PAYMENT)
"""

_UNSOUND: Final = (
    _OWN
    + """
LEAKY = interlock.Lifecycle([row for row in PAYING.table if row.trigger.value != "expire"])
"""
)


def test_what_a_lifecycle_of_ones_own_has_more_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How a task comes there and away, and how others see it.  Source: R-PIC-13."""
    (tmp_path / "own_life.py").write_text(_OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert _run("own_life:PAYING") == 0
    said = capsys.readouterr().out
    assert "waiting_payment: a task waits there as in waiting_input, which protocols show" in said
    assert "  entered by ask, approve, deny, expire, withdraw\n" in said
    assert "  left by ask, provide_input, decline, expire, withdraw, cancel, overrun\n" in said


_OWN_ROWS: Final = (
    _OWN
    + """
from interlock import Trigger
from interlock.lifecycle import Row, changes, guard

@guard("it is paid for")
def is_paid(record, signal):
    return False

paid = Row(Trigger.RETRY, PAYMENT, Phase.WAITING_AUTH, changes.unchanged, when=is_paid)
rest = Row(Trigger.RETRY, PAYMENT, PAYMENT, changes.unchanged)
RICHER = interlock.LIFECYCLE.extend(PAYMENT, rows=[paid, rest])

def eased(row):
    if row.trigger is not Trigger.COMPLETE:
        return row
    return Row(row.trigger, row.source, row.dest, row.change, row.effects)

EASED = interlock.Lifecycle([eased(row) for row in PAYING.table])

ignored = Row(Trigger.CANCEL, PAYMENT, PAYMENT, changes.unchanged, when=is_paid)

def deaf():
    return interlock.LIFECYCLE.extend(PAYMENT, rows=[ignored])
"""
)


def test_every_row_of_ones_own_is_listed_with_its_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of further phases, and those that stand in for a shipped one: R-PIC-13."""
    (tmp_path / "own_rows.py").write_text(_OWN_ROWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert _run("own_rows:PAYING") == 0
    assert "a row of yours" not in capsys.readouterr().out
    assert _run("own_rows:RICHER") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("a row of")]
    start = "a row of yours: retry from waiting_payment to"
    assert said == [
        f"{start} waiting_auth [is_paid], requires nothing",
        f"{start} waiting_payment, requires nothing",
    ]
    assert _run("own_rows:EASED") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("a row of")]
    eased = "complete from running to completed, requires nothing, instead of the shipped one"
    assert said == [f"a row of yours: {eased}"]


def test_a_lifecycle_that_ignores_a_cancel_is_not_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was, and the cancel came back as done.  Sources: R-PIC-13, R-LIFE-22."""
    (tmp_path / "deaf_life.py").write_text(_OWN_ROWS + "\nDEAF = deaf()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert _run("deaf_life:DEAF") != 0
    assert (
        "cancel from waiting_payment to waiting_payment [is_paid]: cancel may lead from there to "
        "cancelling only"
    ) in capsys.readouterr().err


def test_every_finding_of_an_unsound_lifecycle_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the exit code is that of a finding, so that CI stops.  Source: R-PIC-13."""
    (tmp_path / "unsound_life.py").write_text(_UNSOUND)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert _run("unsound_life:LEAKY") == 1
    said = capsys.readouterr().err
    for phase in ("waiting_input", "waiting_auth", "waiting_payment"):
        assert f"{phase}: a wait that nothing ends: no row for expire" in said


def test_a_violation_is_printed_with_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way as lines, then as a Mermaid diagram."""
    (tmp_path / "broken_life.py").write_text(_BROKEN)
    monkeypatch.chdir(tmp_path)
    assert _run("broken_life:BROKEN", "--model", "--crashes", "1", "--asks", "0") == 1
    printed = capsys.readouterr().out
    assert "I17: a turn that was fenced off changed the task by " in printed
    assert "  1. client    submit  [submitted, epoch 0]\n" in printed
    assert "```mermaid\nsequenceDiagram\n    participant client\n" in printed


def test_a_lifecycle_that_is_not_there_is_a_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was checked, and the exit code says so."""
    assert _run("nowhere:LIFECYCLE", "--model") == 2
    assert capsys.readouterr().err.startswith("interlock: ")


@pytest.mark.parametrize("bound", ["crashes", "asks", "retries"])
def test_a_bound_of_what_is_not_looked_at_is_a_misuse(
    bound: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was ignored, and the check said sound.  Source: R-PIC-13."""
    assert _run(f"--{bound}", "0") == 2
    assert capsys.readouterr() == ("", f"interlock: --{bound} goes with --model only\n")
    assert _run("app.yaml", "--model") == 2
    assert "not with a configuration" in capsys.readouterr().err


def test_a_bound_is_a_whole_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is refused before anything is checked."""
    with pytest.raises(SystemExit):
        _run("--model", "--crashes", "-1")
    assert "--crashes" in capsys.readouterr().err
