"""The page for a new user of the fuzz kit does what it says.

Sources: R-FUZZ-46 (its code runs), R-FUZZ-47 (its commands and workflow do).
"""

import argparse
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from doc_pages import blocks_of, written
from interlock_adapters.cli import _fuzz as cli_fuzz
from interlock_adapters.cli import _mutate as cli_mutate
from interlock_adapters.cli import _record as cli_record

PAGE: Final = (Path(__file__).parents[2] / "docs" / "fuzzing.md").read_text(encoding="utf-8")
RUN_S: Final = 120
#: The time of a real run, and that of a test.
LENGTH: Final = re.compile(r"--for \d+s|--runs \d+")
SHORT: Final = "--runs 12"


def blocks(language: str) -> list[str]:
    """The code of a language, in the order of the page."""
    return blocks_of(PAGE, language)


def in_folder(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run something there."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def fuzz(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run an `interlock fuzz` of the page, only shorter."""
    code = (
        "import argparse, sys; from interlock_adapters.cli import _fuzz as c;"
        "p = argparse.ArgumentParser(); c.declare(p); sys.exit(c.run(p.parse_args()))"
    )
    words = shlex.split(LENGTH.sub(SHORT, line))
    assert words[:2] == ["interlock", "fuzz"]
    return in_folder(folder, "-c", code, *words[2:])


def test_the_service_of_the_page_is_short_and_its_commands_run(tmp_path: Path) -> None:
    """R-FUZZ-46, R-FUZZ-47.  They find nothing wrong, and the report says what it says there."""
    names = written(blocks("python"), tmp_path)
    assert names == ["service.py", "target.py", "checked.py", "test_service.py", "test_machine.py"]
    assert len((tmp_path / "service.py").read_text().strip().splitlines()) <= 20
    lines = [line for block in blocks("console") for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        done = fuzz(tmp_path, line.removeprefix("$ "))
        assert done.returncode == 0, done.stdout + done.stderr
        for words in ("transitions: ", "guards: ", "never taken: ", "no failure"):
            assert words in done.stdout


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    """R-FUZZ-46.  The fixture, and the machine of Hypothesis."""
    written(blocks("python"), tmp_path)
    (tmp_path / "conftest.py").write_text(
        "from hypothesis import settings\n"
        "settings.register_profile('few', max_examples=5, stateful_step_count=8, deadline=None)\n"
        "settings.load_profile('few')\n"
    )
    known = importlib.metadata.entry_points(group="pytest11", name="interlock")
    plugin = [] if known else ["-p", "interlock_adapters._pytest_plugin"]
    done = in_folder(tmp_path, "-m", "pytest", "-q", *plugin, "--strict-markers", ".")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_workflow_of_the_page_is_one_and_its_command_runs(tmp_path: Path) -> None:
    """R-FUZZ-47.  It is YAML, and what it calls is there and writes what it keeps."""
    written(blocks("python"), tmp_path)
    (block,) = blocks("yaml")
    workflow: dict[str, Any] = yaml.safe_load(block)
    steps: list[dict[str, Any]] = workflow["jobs"]["fuzz"]["steps"]
    (line,) = [s["run"] for s in steps if str(s.get("run", "")).startswith("interlock")]
    done = fuzz(tmp_path, line.replace("${{ github.run_number }}", "7"))
    assert done.returncode == 0, done.stdout + done.stderr
    kept = steps[-1]["with"]["path"].split()
    assert kept == ["fuzz.xml", "fuzz.txt", "hits.json"]
    assert all((tmp_path / name).stat().st_size for name in kept)


@pytest.mark.parametrize(("command", "module"), [("record", cli_record), ("mutate", cli_mutate)])
def test_the_other_commands_are_called_as_the_page_says(command: str, module: Any) -> None:  # noqa: ANN401
    """R-FUZZ-47.  Their options are there."""
    (line,) = re.findall(rf"^    interlock {command} (.*)$", PAGE, re.MULTILINE)
    parser = argparse.ArgumentParser()
    module.declare(parser)
    options = parser.parse_args(shlex.split(line))
    if command == "mutate":
        assert cli_mutate.understood(options) == ("app.lifecycle:LIFECYCLE", ["tests"])
        assert options.jobs == 2


def test_the_page_names_every_option() -> None:
    """R-FUZZ-47."""
    parser = argparse.ArgumentParser()
    cli_fuzz.declare(parser)
    for option in re.findall(r"--[a-z-]+", parser.format_help()):
        assert option == "--help" or f"`{option}" in PAGE, option
