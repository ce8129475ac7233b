"""`interlock mutate`: which changes of a lifecycle a test-suite lets through.

Sources: R-FUZZ-44 (mutants), R-FUZZ-45 (the command).
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from interlock import LIFECYCLE, Phase, Signal, Trigger, fire
from interlock._lint import lint
from interlock._machine import Lifecycle
from interlock._record import Queued
from interlock._transitions import TABLE
from interlock.errors import IllegalTrigger
from interlock.testing.fuzz._mutants import install, mutants_of, refused
from interlock.testing.fuzz._mutate import TestsFail, mutate, text_of
from interlock_adapters.cli import _mutate as cli_mutate
from lives import task

#: A suite that takes one row, and looks at nothing but where it leads.
WEAK: Final = """
from interlock import Phase, Signal, Trigger, fire
from interlock._record import Queued
from lives import task

def test_a_task_is_rejected() -> None:
    reject = Signal(Trigger.REJECT, {"epoch": 3, "code": "no", "message": "No."}, "engine", 1.0)
    move = fire(task(Phase.SUBMITTED, Queued()), reject)
    assert move.record.phase is Phase.REJECTED
"""
#: A suite that only fuzzes.
FUZZED: Final = """
from interlock import TaskContext
from interlock.testing.fuzz import Target, fuzz

async def agent(task: TaskContext) -> str:
    return "done"

def test_it_lives() -> None:
    assert not fuzz(Target.of(agent), runs=5).failures
"""
REJECT: Final = (Phase.SUBMITTED, Trigger.REJECT, Phase.REJECTED)
CANCEL: Final = (Phase.SUBMITTED, Trigger.CANCEL, Phase.CANCELLED)


def test_every_mutant_could_be_loaded_and_differs_in_one_row() -> None:
    """R-FUZZ-44.  What the lint refuses nobody can run."""
    mutants = mutants_of(TABLE)
    assert len({mutant.id for mutant in mutants}) == len(mutants) > 100
    assert refused(TABLE) > 0
    for mutant in mutants:
        assert lint(mutant.table) == []
        changed = [row for row in mutant.table if row not in TABLE]
        gone = [row for row in TABLE if row not in mutant.table]
        assert len(gone) == 1
        assert len(changed) <= 1


def test_guards_and_effects_have_mutants_too() -> None:
    """R-FUZZ-44."""
    texts = [mutant.text for mutant in mutants_of(TABLE)]
    for words in ("without report_is_current", "without Publish", "the other way", "leads to"):
        assert any(words in text for text in texts)


def test_a_lifecycle_is_changed_in_place() -> None:
    """R-FUZZ-44.  Whoever imported it, or its `fire`, has the changed one."""
    lifecycle = Lifecycle(TABLE)
    held = lifecycle.fire
    cancel = Signal(Trigger.CANCEL, {"grace_s": 5.0}, "ada", 1.0)
    assert held(task(Phase.SUBMITTED, Queued()), cancel).record.phase is Phase.CANCELLED
    table = [row for row in TABLE if (row.source, row.trigger, row.dest) != CANCEL]
    install(lifecycle, table)
    with pytest.raises(IllegalTrigger):
        held(task(Phase.SUBMITTED, Queued()), cancel)
    assert fire(task(Phase.SUBMITTED, Queued()), cancel).record.phase is Phase.CANCELLED
    assert len(LIFECYCLE.table) == len(TABLE)


def _move(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go where the suite is, with what can be imported here and no plugin that it does not use."""
    monkeypatch.chdir(path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_what_a_suite_misses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-FUZZ-45.  It takes one row: where it leads is noticed, its effects are not."""
    (tmp_path / "test_weak.py").write_text(WEAK)
    _move(tmp_path, monkeypatch)
    mutation = mutate(LIFECYCLE, "interlock:LIFECYCLE", ["test_weak.py"], jobs=2)
    assert any("it leads to" in mutant.text for mutant in mutation.killed)
    assert any("without Publish" in mutant.text for mutant in mutation.survived)
    assert {mutant.row for mutant in (*mutation.killed, *mutation.survived)} == {REJECT}
    assert all(mutant.row != REJECT for mutant in mutation.untaken)
    text = text_of(mutation)
    assert "missed: submitted --reject--> rejected: without Publish" in text
    assert "never taken: running --complete--> completed" in text


def test_what_a_fuzz_test_takes_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-FUZZ-45.  It lives by a copy of the lifecycle, whose guards count.

    It once counted for nothing: no mutant was tried, and every row was "never taken".
    """
    (tmp_path / "test_fuzzed.py").write_text(FUZZED)
    _move(tmp_path, monkeypatch)
    arguments = ["test_fuzzed.py"]
    mutation = mutate(LIFECYCLE, "interlock:LIFECYCLE", arguments, limit=1, seed=1)
    complete = (Phase.RUNNING, Trigger.COMPLETE, Phase.COMPLETED)
    assert all(mutant.row != complete for mutant in mutation.untaken)
    assert len(mutation.killed) + len(mutation.survived) == 1


def test_tests_that_fail_by_themselves_are_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-FUZZ-45."""
    (tmp_path / "test_red.py").write_text("def test_red() -> None:\n    assert 1 == 2\n")
    _move(tmp_path, monkeypatch)
    with pytest.raises(TestsFail, match="1 failed"):
        mutate(LIFECYCLE, "interlock:LIFECYCLE", ["test_red.py"])


def test_the_command_says_what_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-45.  Exit code 1, and no lifecycle need be named."""
    (tmp_path / "test_weak.py").write_text(WEAK)
    _move(tmp_path, monkeypatch)
    parser = argparse.ArgumentParser()
    cli_mutate.declare(parser)
    options = parser.parse_args(["--limit", "1", "--", "test_weak.py", "-k", "rejected"])
    assert cli_mutate.run(options) == 1
    out = capsys.readouterr().out
    assert "1 mutants tried" in out
    assert "left out by the limit" in out


#: Words of the command line, the lifecycle that is meant, and what is pytest's.
LINES: Final[list[tuple[str, str, str]]] = [
    ("-- -k x", "interlock:LIFECYCLE", "-k x"),
    ("app.life:L --jobs 2 -- t -- u", "app.life:L", "t -- u"),
    ("--jobs 2 app:L", "app:L", ""),
    ("", "interlock:LIFECYCLE", ""),
]


@pytest.mark.parametrize(("line", "lifecycle", "pytests"), LINES)
def test_what_is_pytests_comes_behind_two_dashes(line: str, lifecycle: str, pytests: str) -> None:
    """R-FUZZ-45.  Options may stand before and behind the lifecycle."""
    parser = argparse.ArgumentParser()
    cli_mutate.declare(parser)
    options = parser.parse_args(line.split())
    assert cli_mutate.understood(options) == (lifecycle, pytests.split())
    assert options.jobs == (2 if "--jobs" in line else 1)


def test_a_test_that_is_named_as_a_lifecycle_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """R-FUZZ-45.  It says where it belongs."""
    parser = argparse.ArgumentParser()
    cli_mutate.declare(parser)
    with pytest.raises(SystemExit):
        cli_mutate.run(parser.parse_args(["tests/test_x.py::test_y"]))
    assert "what is pytest's comes behind --" in capsys.readouterr().err
