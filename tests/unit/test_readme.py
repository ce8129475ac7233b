"""What the README shows is what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _between(marker: str, language: str) -> str:
    found = re.search(
        rf"<!-- {marker} -->\n```{language}\n(.*?)```\n<!-- /{marker} -->", README, re.DOTALL
    )
    assert found is not None, marker
    return found.group(1)


@pytest.mark.parametrize("name", ["embed", "tools"])
def test_an_example_is_the_file_that_a_test_runs(name: str) -> None:
    """The README's code is that of examples/ without its docstring.  Source: R-PKG-05."""
    program = (ROOT / f"examples/{name}.py").read_text(encoding="utf-8")
    code = re.sub(r'\A"""[^"]*"""\n+', "", program)
    assert _between(name, "python") == code


def test_the_fuzzed_agent_passes_its_own_test(tmp_path: Path) -> None:
    """As somebody pastes it into a file, and without another line."""
    (tmp_path / "test_mine.py").write_text(_between("fuzz", "python"), encoding="utf-8")
    for command in (["pytest", "-q", "test_mine.py"], ["interlock_adapters.cli", "fuzz"]):
        what = [] if command[0] == "pytest" else ["test_mine:target", "--runs", "5"]
        done = subprocess.run(
            [sys.executable, "-m", *command, *what],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "invariants of yours: nobody_pays_twice\n" in done.stdout


def test_what_the_readmes_have_fuzzed_is_in_a_new_project(tmp_path: Path) -> None:
    """The command as it is written there, and in the project's own README.  Source: R-SVC-42."""

    def done(*words: str, folder: Path, code: int = 0) -> str:
        command = [sys.executable, "-m", "interlock_adapters.cli", *words]
        ran = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    done("init", "demo", folder=tmp_path)
    project = tmp_path / "demo"
    made = (project / "README.md").read_text(encoding="utf-8")
    written = re.compile(
        r"^(?:\$|   ) interlock (?:fuzz|record TASK_ID .* --agent) (\S+)", re.MULTILINE
    )
    names = written.findall(README), written.findall(made)
    assert [len(each) for each in names] == [2, 1]
    (name,) = {*names[0], *names[1]}
    assert "\nno failure\n" in done("fuzz", name, "--runs", "3", folder=project)
    # What somebody tries first has no engine without a network, and is told which has.
    assert f"as {name} of `interlock init`" in done("fuzz", "app.yaml", folder=project, code=2)


def test_the_picture_is_drawn_from_the_table() -> None:
    """The README's picture is specs/lifecycle.mmd, which a golden test redraws.  Source: ours."""
    assert _between("lifecycle", "mermaid") == (ROOT / "specs/lifecycle.mmd").read_text("utf-8")


def test_both_commands_are_on_the_first_screen() -> None:
    """Within the first thirty lines.  Source: the project's rules."""
    first_screen = "\n".join(README.splitlines()[:30])
    assert "make demo" in first_screen
    assert "make test" in first_screen
