"""`interlock fuzz` as a shell sees it, and the pytest fixture, on a service with a fault.

Sources: R-FUZZ-35 (the command), R-FUZZ-36 (bad input), R-FUZZ-37 (the pytest plugin).
"""

import argparse
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from interlock.diagram import hits_of_json
from interlock.testing.fuzz._render import BRIEFLY
from interlock.testing.fuzz._sim import LINES_ARE_SEEN
from interlock_adapters.cli import _fuzz as cli_fuzz

RUN_S: Final = 120

SERVICE: Final = """
from interlock import Engine, Limits, TaskContext
from interlock.testing.fuzz import invariant

async def agent(task: TaskContext) -> str:
    size = await task.ask("which size?", int)
    await task.progress("packing")
    return f"shoes of {size}"

engine = Engine(agent, limits=Limits(ask_s=60, grace_s=5))
number = 3

def broken_factory():
    raise RuntimeError("no database here")
"""
#: The same with an invariant that does not hold.
FAULTY: Final = (
    SERVICE
    + """
@invariant
def nobody_is_served(record, log):
    assert all(e.dest != "completed" for e in log), f"{record.task_id} was served"
"""
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A directory with the service, in which the command is run."""
    (tmp_path / "fuzzed_service.py").write_text(SERVICE)
    (tmp_path / "fuzzed_faulty.py").write_text(FAULTY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("fuzzed_", "test_pasted"))]:
        del sys.modules[name]


def run(*arguments: str) -> int:
    """Run the command: its exit code."""
    parser = argparse.ArgumentParser()
    cli_fuzz.declare(parser)
    try:
        return cli_fuzz.run(parser.parse_args(arguments))
    except SystemExit as left:  # argparse leaves by itself
        return int(left.code or 0)


def test_a_service_that_holds_exits_with_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-35.  Without a terminal there is no line of progress."""
    assert run("fuzzed_service:engine", "--runs", "10", "--coverage", "hits.json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("fuzzed_service:engine: 10 runs, ")
    assert out.endswith("no failure\n")
    assert hits_of_json((here / "hits.json").read_bytes()).total() > 10


def test_a_failure_comes_with_a_test_that_reproduces_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-35.  Pasted into a file it fails, and passes once the fault is mended."""
    reports = [f"--report=out{ending}" for ending in cli_fuzz.FORMATS]
    assert run("fuzzed_faulty:engine", "--runs", "30", *reports) == 1
    out = capsys.readouterr().out
    assert "FAILED user:nobody_is_served: " in out
    written = (here / "out.txt").read_text()
    assert written.count("never taken") > out.count("never taken") == BRIEFLY
    assert written.partition("\nFAILED")[2] == out.partition("\nFAILED")[2] != ""
    (failure,) = json.loads((here / "out.json").read_text())["failures"]
    assert len(failure["steps"]) <= 15
    assert "<svg" in (here / "out.svg").read_text()
    assert "<svg" in (here / "out.html").read_text()
    assert ET.parse(here / "out.xml").getroot()[0].get("failures") == "1"  # noqa: S314  our own
    (here / "test_pasted.py").write_text(failure["test"])
    red = pytest_run("test_pasted.py")
    assert red.returncode == 1, red.stdout
    assert "nobody_is_served" in red.stdout
    mended = FAULTY.replace('!= "completed"', '!= "rejected"')
    (here / "fuzzed_faulty.py").write_text(mended)
    green = pytest_run("test_pasted.py")
    assert green.returncode == 0, green.stdout


def test_a_seed_is_replayed_and_another_job_finds_the_same(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-35."""
    assert here.is_dir()
    assert run("fuzzed_faulty:engine", "--runs", "30", "--faults", "crash,clock") == 1
    first = re.search(r"seed (\d+), ", out := capsys.readouterr().out)
    assert first is not None
    assert 'faults={"clock", "crash"}' in out
    again = ("--replay", first[1], "--faults", "crash,clock")
    assert run("fuzzed_faulty:engine", *again) == 1
    assert f"seed {first[1]}, " in capsys.readouterr().out
    bounds = ("--fail-under", "transitions=99")
    assert run("fuzzed_service:engine", "--replay", "3", "--faults", "none", *bounds) == 0
    assert "seed 3 fails in nothing" in capsys.readouterr().out


#: An agent that always fails, and two invariants that do not hold.
CRASHY: Final = (
    FAULTY.replace("shoes of {size}", "shoes of {size.nonsense}")
    + """
@invariant
def nobody_cancels(record, log):
    return all(e.trigger != "cancel" for e in log)

@invariant
def nobody_answers(record, log):
    return all(e.trigger != "provide_input" for e in log)
"""
)


def test_an_agent_that_always_fails_is_seen(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R-FUZZ-22, R-FUZZ-35.  And fails a bound that wants some lives completed."""
    (here / "fuzzed_crashy.py").write_text(CRASHY.replace("@invariant", ""))
    command = ("fuzzed_crashy:engine", "--runs", "20")
    assert run(*command) == 0
    out = capsys.readouterr().out
    assert "  outcomes: 0 completed, " in out
    assert re.search(r"agents raised: AttributeError at fuzzed_crashy.py:8 \(\d+ times\)\n", out)
    assert run(*command, "--fail-under", "completed=1") == 1
    assert "completed: 0 of " in capsys.readouterr().out


STUBBORN: Final = """
import asyncio

from interlock import Engine

async def agent(task):
    while True:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            continue

engine = Engine(agent)
"""


def test_a_note_fails_whoever_wants_that(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R-FUZZ-64, R-FUZZ-35.  An agent that does not end when it is told to breaks no promise."""
    (here / "fuzzed_stubborn.py").write_text(STUBBORN)
    command = ("fuzzed_stubborn:engine", "--runs", "10")
    assert run(*command) == 0
    assert run(*command, "--fail-on-notes") == 1
    out = capsys.readouterr().out
    assert re.search(r"\nnote: the agent did not end when it was told to, .* \(\d+ times\)\n", out)
    assert run("fuzzed_service:engine", "--runs", "10", "--fail-on-notes") == 0


def test_a_time_and_a_number_of_runs_end_it_whichever_is_first(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-16, R-FUZZ-35."""
    assert here.is_dir()
    assert run("fuzzed_service:engine", "--for", "5m", "--runs", "3") == 0
    assert ": 3 runs, " in capsys.readouterr().out
    assert run("fuzzed_service:engine", "--for", "1ms", "--runs", "100000") == 0
    assert ": 1 runs, " in capsys.readouterr().out


def test_more_than_one_kind_of_failure_is_found(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-35.  Each invariant is one."""
    (here / "fuzzed_crashy.py").write_text(CRASHY)
    assert run("fuzzed_crashy:engine", "--runs", "65", "--failures", "3") == 1
    out = capsys.readouterr().out
    assert ": 65 runs, " in out  # And not one round, with which the first failure ends it.
    assert "FAILED user:nobody_cancels: it does not hold" in out
    assert "FAILED user:nobody_answers: it does not hold" in out
    assert out.endswith("2 kinds of failure\n")


SALTED: Final = """
from interlock import Engine, TaskContext
from interlock.testing.fuzz import invariant

NAMES = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"}

async def agent(task: TaskContext) -> str:
    for name in NAMES:
        await task.emit(name, artifact_id=name)
    return "ok"

engine = Engine(agent)

@invariant
def alpha_is_first(record, log):
    shown = [e.data["artifact"]["artifact_id"] for e in log if e.trigger == "emit"]
    assert shown[:1] in ([], ["nothing"]), str(shown[0])
"""


def test_the_command_is_the_same_with_any_salt_of_hashes(here: Path) -> None:
    """R-FUZZ-35.  The order of sets is set before; whoever sets another has that one."""
    (here / "fuzzed_salted.py").write_text(SALTED)
    code = "import sys; from interlock_adapters.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "fuzz", "fuzzed_salted:engine", "--runs", "1"]

    def told(salt: str | None) -> str:
        others = {k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED"}
        given = {} if salt is None else {"PYTHONHASHSEED": salt}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_S,
            env={**others, **given},
        )
        assert done.returncode == 1, done.stderr
        return done.stdout.partition("FAILED")[2]

    unsaid = told(None)
    assert "PYTHONHASHSEED=0" in unsaid
    assert unsaid == told("0")
    assert "PYTHONHASHSEED=7" in told("7")


def test_coverage_below_a_bound_fails(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R-FUZZ-35.  And is told of in every report."""
    bounds = ("--fail-under", "transitions=100", "--fail-under", "guards=0")
    assert run("fuzzed_service:engine", "--runs", "3", *bounds, "--report", "out.xml") == 1
    out = capsys.readouterr().out
    assert re.search(r"\ntransitions: \d+ of \d+ \([0-9.]+ %\) is under 100 %\n", out)
    assert "guards: " not in out.partition("is under")[2]
    assert "is under 100 %" in (here / "out.xml").read_text()


def test_on_a_terminal_there_is_a_line_of_progress(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-FUZZ-35.  On stderr, so that the report can be piped; and it is taken away."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert here.is_dir()
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run("fuzzed_service:engine", "--runs", "4") == 0
    assert "run 1 of 4, " in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fuzzed_service"], "write MODULE:NAME"),
        (["nowhere:engine"], "No module named 'nowhere'"),
        (["fuzzed_service:engin"], "fuzzed_service has no engin; it has Engine, "),
        (["fuzzed_service:number"], "an agent, a mapping of names to agents"),
        (["fuzzed_service:broken_factory"], "RuntimeError: no database here"),
        (["fuzzed_service:engine", "--for", "soon"], "write 60s, 500ms, 5m or 1h"),
        (["fuzzed_service:engine", "--for", "0s"], "write 60s, 500ms, 5m or 1h"),
        (["fuzzed_service:engine", "--runs", "-1"], "not a whole number from 1 on"),
        (["fuzzed_service:engine", "--faults", "fire"], "there is none, all, clock, "),
        (["fuzzed_service:engine", "--faults", ""], "no fault is called ''"),
        (["fuzzed_service:engine", "--faults", "silence"], "with --replicas 2 or more"),
        (["fuzzed_service:engine", "--jobs", "0"], "from 1 to 64"),
        (["fuzzed_service:engine", "--seed", "x"], "a whole number from 0 on"),
        (["fuzzed_service:engine", "--fail-under", "100"], "write transitions=PERCENT"),
        (["fuzzed_service:engine", "--fail-under", "guards=101"], "from 0 to 100"),
        (["fuzzed_service:engine", "--report", "out.pdf"], "ends in .txt, .json, .xml"),
        (["fuzzed_service:engine", "--report", "no/out.txt"], "there is no directory no"),
        (["fuzzed_service:engine", "--coverage", "no/hits.json"], "there is no directory no"),
        (["fuzzed_service:engine", "--runs", "1", "--replay", "1"], "not allowed with"),
        (["fuzzed_service:engine", "--for", "1s", "--replay", "1"], "not allowed with --replay"),
    ],
)
def test_bad_input_is_told_what_is_accepted(
    here: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-36.  In one line, with exit code 2."""
    assert here.is_dir()
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err.splitlines()[-1]


def test_a_report_that_cannot_be_written_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-36.  What was found is printed all the same, and the rest is written."""
    (here / "out.txt").mkdir()
    written = ("--report", "out.txt", "--report", "out.json")
    assert run("fuzzed_service:engine", "--runs", "1", *written) == 1
    out, err = capsys.readouterr()
    assert "no failure" in out
    assert "out.txt cannot be written: Is a directory" in err
    assert (here / "out.json").is_file()


def pytest_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Another pytest, in this directory, with our plugin."""
    known = importlib.metadata.entry_points(group="pytest11", name="interlock")
    plugin = [] if known else ["-p", "interlock_adapters._pytest_plugin"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


PLUGGED: Final = """
import pytest
import fuzzed_faulty
import fuzzed_service
import fuzzed_stubborn
from interlock.testing.fuzz import invariant

@invariant
def nobody_is_served(record, log):
    return all(event.dest != "completed" for event in log)

def test_it_breaks(interlock_fuzz):
    interlock_fuzz(fuzzed_service.engine, runs=30)

@pytest.mark.interlock_fuzz(runs=7, invariants=())
def test_it_holds(interlock_fuzz):
    assert interlock_fuzz(fuzzed_service.engine, transitions=5).runs == 7

@pytest.mark.interlock_fuzz(runs=2, invariants=())
def test_it_covers_little(interlock_fuzz):
    interlock_fuzz(fuzzed_service.engine, transitions=100)

@pytest.mark.interlock_fuzz(runs=10, invariants=(), fail_on_notes=True)
def test_it_does_not_end(interlock_fuzz):
    interlock_fuzz(fuzzed_stubborn.engine)

@pytest.mark.interlock_fuzz(runs=10, invariants=())
def test_it_need_not_end(interlock_fuzz):
    interlock_fuzz(fuzzed_stubborn.engine)
"""


def test_the_fixture_fails_a_test_with_trace_and_reproduction(here: Path) -> None:
    """R-FUZZ-37.  A marker gives options; the test's module gives invariants."""
    (here / "test_plugged.py").write_text(PLUGGED)
    (here / "fuzzed_stubborn.py").write_text(STUBBORN)
    done = pytest_run("--strict-markers", "test_plugged.py")
    assert done.returncode == 1
    assert "3 failed, 2 passed" in done.stdout
    for words in (
        "FAILED user:nobody_is_served: it does not hold",
        "import fuzzed_service",
        "target = Target.of(fuzzed_service.engine)",
        "invariants=invariants_of(test_plugged)",
        "is under 100 %",
        "note: the agent did not end when it was told to",
    ):
        assert words in done.stdout
    assert "Traceback" not in done.stdout


BESIDE: Final = """
from interlock.testing.fuzz import invariant

@invariant
def nobody_is_served(record, log):
    return all(event.dest != "completed" for event in log)
"""
BARE: Final = """
import fuzzed_beside

def test_it_breaks(interlock_fuzz):
    interlock_fuzz(fuzzed_beside.engine, runs=30)
"""


def test_the_fixture_finds_the_invariants_beside_what_is_fuzzed(here: Path) -> None:
    """R-FUZZ-37.  As the command does: a test that has none of its own is no green for nothing."""
    served = (here / "fuzzed_service.py").read_text()
    (here / "fuzzed_beside.py").write_text(served + BESIDE)
    (here / "test_beside.py").write_text(BARE)
    done = pytest_run("test_beside.py")
    assert done.returncode == 1
    assert "FAILED user:nobody_is_served" in done.stdout
    assert "invariants=invariants_of(fuzzed_beside)" in done.stdout


MISUSED: Final = """
import pytest
import fuzzed_service
from interlock.testing.fuzz import Target

TARGET = Target.of(fuzzed_service.engine, inputs=["only this"])

def too_long(record, log):
    assert len(log) < 3, "too long"

@pytest.mark.interlock_fuzz(run=50)
def test_option(interlock_fuzz):
    interlock_fuzz(fuzzed_service.engine)

@pytest.mark.interlock_fuzz(faults="crash")
def test_faults(interlock_fuzz):
    interlock_fuzz(fuzzed_service.engine)

@pytest.mark.interlock_fuzz(transitions=1000)
def test_bound(interlock_fuzz):
    interlock_fuzz(fuzzed_service.engine)

def test_nothing(interlock_fuzz):
    interlock_fuzz(7)

@pytest.mark.interlock_fuzz(runs=2, transitions=100)
def test_no_bound(interlock_fuzz):
    interlock_fuzz(fuzzed_service.engine, transitions=0)

def test_given(interlock_fuzz):
    interlock_fuzz(TARGET, invariants=[too_long], runs=9)
"""


def test_the_fixture_is_told_what_it_is_called_wrongly_with(here: Path) -> None:
    """R-FUZZ-37.  In one line each; and what is called for goes before what is marked."""
    (here / "test_misused.py").write_text(MISUSED)
    done = pytest_run("--strict-markers", "test_misused.py")
    assert "5 failed, 1 passed" in done.stdout
    for words in (
        "interlock_fuzz: there is no option run; accepted are completed, fail_on_notes, ",
        "interlock_fuzz: faults is a text; a set of names is accepted",
        "interlock_fuzz: transitions is 1000; per cent from 0 to 100 are accepted",
        "interlock_fuzz: int cannot be fuzzed",
        "target = Target.of(test_misused.TARGET)",
    ):
        assert words in done.stdout
    assert "Traceback" not in done.stdout
    # The test that is printed for the last one is red by itself.
    shown = done.stdout.partition("reproduce it with this test:")[2]
    lines = [line.removeprefix("    ") for line in shown.splitlines()[1:]]
    source = "\n".join(lines).partition("found.message")
    (here / "test_pasted.py").write_text("".join(source[:2]).lstrip() + "\n")
    assert "invariants=[test_misused.too_long]" in source[0]
    red = pytest_run("test_pasted.py")
    assert red.returncode == 1
    assert "too_long: too long" in red.stdout


def test_the_plugin_loads_nothing_of_the_engine() -> None:
    """R-FUZZ-37.  pytest loads it in every run, before coverage is measured."""
    code = (
        "import sys, interlock_adapters._pytest_plugin;"
        "print([m for m in sys.modules if m.partition('.')[0] in ('interlock', 'pydantic')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=RUN_S
    )
    assert done.stdout == "[]\n"


def test_the_commands_load_without_the_extra() -> None:
    """R-FUZZ-36.  pytest and Hypothesis are wanted by tests alone."""
    code = (
        "import sys; from interlock_adapters.cli import _fuzz, _mutate, _record;"
        "import interlock.testing.fuzz._recorded;"
        "print([m for m in sys.modules if m.partition('.')[0] in ('pytest', 'hypothesis')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=RUN_S
    )
    assert done.stdout == "[]\n"


def test_a_target_that_carries_its_inputs_is_fuzzed_by_its_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so is one whose agent runs on a thread: it is said how.  Source: R-FUZZ-35."""
    (here / "fuzzed_target.py").write_text(
        "from interlock.testing.fuzz import Target\n"
        "HEARD = set()\n"
        "def agent(task):\n"
        "    HEARD.add(str(task.input.data))\n"
        "target = Target.of(agent, inputs=[{'order': 7}])\n"
        "wrong = lambda: Target.of(agent, inputs=[7])\n"
    )
    assert run("fuzzed_target:target", "--runs", "10") == 0
    how = "between any two lines" if LINES_ARE_SEEN else "at yield points only"
    assert f"plain functions on threads: interrupted {how}" in capsys.readouterr().out
    assert {"{'order': 7}"} == sys.modules["fuzzed_target"].HEARD
    assert run("fuzzed_target:wrong", "--runs", "10") == 2
    assert "is accepted" in capsys.readouterr().err
    assert run("fuzzed_service:engine", "--runs", "5") == 0
    assert "on threads" not in capsys.readouterr().out


INTERRUPTED: Final = """
import signal

from interlock.testing.fuzz import Target

RUNS = []


async def agent(task):
    return await task.ask("how many?", int)


def begin():
    RUNS.append(1)
    if len(RUNS) == 5:
        signal.raise_signal(signal.SIGINT)


target = Target.of(agent, begin=begin)
"""


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_shows_what_was_found_by_then(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-FUZZ-65.  And writes the files that were asked for."""
    (here / "fuzzed_patience.py").write_text(INTERRUPTED)
    reports = ("--report", "out.json", "--coverage", "hits.json")
    assert run("fuzzed_patience:target", "--runs", "90", *reports) == 1
    told = capsys.readouterr()
    assert "interrupted" in told.err
    assert "task lives" in told.out
    assert 0 < json.loads((here / "out.json").read_text())["runs"] < 90
    assert json.loads((here / "hits.json").read_text())
