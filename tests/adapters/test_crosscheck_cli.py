"""`interlock crosscheck`: what it says, and with which exit code."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from interlock.diagram._document import Declared
from interlock_adapters.cli._crosscheck import declare, run
from interlock_adapters.crosscheck import MACHINES, PLAYERS, SEED, STEPS, Player

FEW: Final = ("--steps", "40", "--machines", "2")
ABSENT: Final = [replace(player, name="no-such-distribution") for player in PLAYERS]


def called(*arguments: str, players: Sequence[Player] = PLAYERS) -> int:
    """The command, called with these arguments."""
    parser = argparse.ArgumentParser()
    declare(parser)
    return run(parser.parse_args(arguments), players)


def test_it_says_what_ran_and_that_nothing_differs(capsys: pytest.CaptureFixture[str]) -> None:
    """Interpreters with their versions, steps and rows.  Source: R-PIC-09."""
    assert called(*FEW) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"interpreter: python-statemachine {PLAYERS[0].version}, from SCXML"
    assert lines[1] == f"interpreter: xstate-statemachine {PLAYERS[1].version}, from XState JSON"
    assert lines[2].startswith("lives of tasks: 40 steps in ")
    assert lines[-2].startswith("2 machines by lot: 240 steps in ")
    assert lines[-1] == "no differences"


def nothing(_declared: Declared) -> str:
    """A document that says nothing."""
    return "{}"


def test_a_difference_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """With what it is, on the output."""
    wrong = replace(PLAYERS[1], export=nothing)
    assert called(*FEW, players=[wrong]) == 1
    assert "xstate-statemachine cannot run the lifecycle: " in capsys.readouterr().out


def test_without_an_interpreter_it_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to compare with."""
    assert called(*FEW, players=ABSENT) == 2
    assert "pip install 'interlock[crosscheck]'" in capsys.readouterr().err


def beside(path: Path, monkeypatch: pytest.MonkeyPatch, module: str, text: str) -> None:
    """Go where a module of that name is."""
    (path / f"{module}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(path)


def test_a_lifecycle_of_ones_own_is_found_beside_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a module is for `python -m`."""
    module = "from interlock import LIFECYCLE as MINE\nN = 1\n"
    beside(tmp_path, monkeypatch, "crosschecked_app", module)
    assert called(*FEW, "crosschecked_app:MINE") == 0
    assert called(*FEW, "crosschecked_app:N") == 2
    assert "crosschecked_app:N: it is of type int, not Lifecycle" in capsys.readouterr().err


GUARDED: Final = """
from dataclasses import replace
import interlock
from interlock import Phase, Trigger
from interlock.lifecycle import guard

@guard("it waits elsewhere")
def waits_here(record, signal):
    {body}

def changed(row):
    if row.trigger is Trigger.PROVIDE_INPUT and row.when is None:
        return replace(row, requires={requires})
    return row

MINE = interlock.Lifecycle([changed(row) for row in interlock.LIFECYCLE.table])
"""
#: It may rely on those before it: of a key that is closed nothing is open.
RELIES: Final = "return record.ask(signal.data['key']).key == signal.data['key']"


def test_a_guard_that_relies_on_those_before_it_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine would not ask it.  It was once a traceback."""
    text = GUARDED.format(body=RELIES, requires="(*row.requires, waits_here)")
    beside(tmp_path, monkeypatch, "crosschecked_relies", text)
    assert called("--steps", "400", "--machines", "0", "crosschecked_relies:MINE") == 0


def test_a_guard_that_raises_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is asked it is a fault of the lifecycle."""
    text = GUARDED.format(body=RELIES, requires="(waits_here, *row.requires)")
    beside(tmp_path, monkeypatch, "crosschecked_raises", text)
    assert called("--steps", "400", "--machines", "0", "crosschecked_raises:MINE") == 1
    said = capsys.readouterr().err
    assert "waits_here raises AttributeError" in said
    assert "for provide_input in waiting_" in said


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("no_such_module_anywhere:LIFECYCLE", "No module named"),
        ("interlock:NOTHING", "NOTHING"),
        ("interlock", "write MODULE:LIFECYCLE"),
        (":LIFECYCLE", "write MODULE:LIFECYCLE"),
    ],
)
def test_what_names_no_lifecycle_is_refused(
    where: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the reason, and nothing on the output."""
    assert called(where) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{where}: " in said.err
    assert why in said.err


def test_of_rows_that_were_never_taken_a_few_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of 181 rows 150 may be: a wall that nobody reads.  Source: R-PIC-09."""
    assert called(*FEW) == 0
    briefly = [line for line in capsys.readouterr().out.splitlines() if "never taken: " in line]
    assert called(*FEW, "--all") == 0
    whole = [line for line in capsys.readouterr().out.splitlines() if "never taken: " in line]
    assert len(briefly) == len(whole) == 2
    for short, long in zip(briefly, whole, strict=True):
        named, _, more = short.rpartition(" and ")
        assert long.startswith(named)
        assert more == f"{long.count(', ') + 1 - 5} more"


def test_numbers_are_counted_from_nought(capsys: pytest.CaptureFixture[str]) -> None:
    """And everything has a default that is worth running."""
    for wrong in ("-1", "many", "1.5", "0"):  # With none nothing is walked, nor different.
        with pytest.raises(SystemExit):
            called("--steps", wrong)
        assert "is not a whole number from 1 on" in capsys.readouterr().err
    parser = argparse.ArgumentParser()
    declare(parser)
    defaults = parser.parse_args([])
    assert (defaults.steps, defaults.machines, defaults.seed) == (STEPS, MACHINES, SEED)
    assert STEPS >= 5_000
    assert MACHINES >= 100
