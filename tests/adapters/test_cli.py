"""The command line, as a shell sees it: what is printed, where, and the exit code."""

import asyncio
import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from interlock import Engine, TaskContext
from interlock_adapters import cli
from interlock_adapters._ink import BOLD, wants_colour

#: A first start of the interpreter on a busy machine; more than this is a hang.
RUN_S: Final = 60


def interlock(
    *arguments: str, code: str = "", environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, after some code."""
    program = f"import sys\n{code}\nfrom interlock_adapters.cli import main\nsys.exit(main())"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=RUN_S,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **(environ or {})},
    )


def run(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command in this process: the exit code, and what went where."""
    try:
        code = cli.main(arguments)
    except SystemExit as left:  # argparse leaves by itself
        code = int(left.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


async def agent(task: TaskContext) -> str:
    """Repeat what was said."""
    return task.input.text


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one completed task."""
    path = tmp_path / "tasks.db"

    async def fill() -> None:
        async with asyncio.timeout(5), Engine(agent, store=f"sqlite:///{path}") as engine:
            await (await engine.submit("hello", owner="ada")).result()

    asyncio.run(fill())
    return path


# --- in general -----------------------------------------------------------------------------


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    """In one place only.  Source: STYLE 2.9."""
    assert run(["--version"], capsys) == (0, f"interlock {version('interlock')}\n", "")


def test_a_call_without_a_command_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """And is not a success: a script that forgot the command should stop.  Source: ours."""
    code, out, err = run([], capsys)
    assert (code, out) == (cli.MISUSED, "")
    for command in ("demo", "diagram", "verify"):
        assert command in err


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Source: ours."""
    code, _, err = run(["dance"], capsys)
    assert code == cli.MISUSED
    assert "'demo'" in err


@pytest.mark.parametrize("command", ["demo", "diagram", "verify"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Source: ours."""
    code, out, _ = run([command, "--help"], capsys)
    assert code == cli.OK
    assert f"usage: interlock {command}" in out


def test_a_reader_who_leaves_early_is_no_traceback() -> None:
    """`interlock diagram | head -1` is what people do.  Source: ours."""
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [sys.executable, "-m", "interlock_adapters.cli", "diagram"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        os.close(writing)
        _, err = process.communicate(timeout=RUN_S)
    assert err == b""
    assert process.returncode == cli.FAILED


def test_colour_is_for_terminals_whose_user_wants_it() -> None:
    """Source: no-color.org."""

    class Terminal(io.StringIO):
        """A stream that says it is a terminal."""

        def isatty(self) -> bool:
            """See `io.StringIO`."""
            return True

    assert wants_colour(Terminal(), {})
    assert not wants_colour(io.StringIO(), {})
    assert not wants_colour(Terminal(), {"NO_COLOR": "1"})
    assert wants_colour(Terminal(), {"NO_COLOR": ""})
    assert not wants_colour(Terminal(), {"TERM": "dumb"})
    assert BOLD("  ") == "  "


# --- diagram --------------------------------------------------------------------------------


def test_the_diagram_is_that_of_the_lifecycle(capsys: pytest.CaptureFixture[str]) -> None:
    """Source: DESIGN 9."""
    code, out, err = run(["diagram"], capsys)
    assert (code, err) == (cli.OK, "")
    assert out.startswith("stateDiagram-v2")
    assert "running --> completed" in out


def test_the_diagram_for_a_terminal_needs_no_renderer(capsys: pytest.CaptureFixture[str]) -> None:
    """Source: ours."""
    code, out, err = run(["diagram", "--format", "text"], capsys)
    assert (code, err) == (cli.OK, "")
    assert "│ waiting_input │" in out
    assert "\x1b" not in out


def test_a_sign_that_cannot_be_shown_is_a_question_mark() -> None:
    """Where only ASCII is, that is better than a traceback.  Source: ours."""
    environ = {"PYTHONIOENCODING": "ascii"}
    done = interlock("diagram", "--format", "text", environ=environ)
    assert (done.returncode, done.stderr) == (cli.OK, "")
    assert "? waiting_input ?" in done.stdout


# --- verify ---------------------------------------------------------------------------------


def test_a_sound_store_is_said_to_be_sound(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Source: DESIGN 4."""
    assert run(["verify", f"sqlite:///{store}"], capsys) == (cli.OK, f"{store} is sound\n", "")


def test_every_finding_is_printed_and_the_exit_code_tells(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that does not follow from its log is noticed.  Source: DESIGN 4."""
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE event SET data = replace(data, 'hello', 'howdy')")
    connection.close()
    code, out, err = run(["verify", f"sqlite:///{store}"], capsys)
    assert code == cli.FAILED
    assert out
    findings = len(out.splitlines())
    assert f"{store} has {findings} finding" in err


async def test_a_store_that_is_in_use_is_left_alone(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is read while its owner writes.  Source: DESIGN 4, the lock file."""
    async with asyncio.timeout(5), Engine(agent, store=f"sqlite:///{store}"):
        code, out, err = await asyncio.to_thread(run, ["verify", f"sqlite:///{store}"], capsys)
    assert (code, out) == (cli.FAILED, "")
    assert f"{store} cannot be checked: " in err


def test_a_file_that_is_no_store_cannot_be_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Source: ours."""
    path = tmp_path / "notes.txt"
    path.write_text("this is no database, and long enough to be none for certain\n" * 20)
    code, out, err = run(["verify", f"sqlite:///{path}"], capsys)
    assert (code, out) == (cli.FAILED, "")
    assert f"{path} cannot be checked: " in err


def test_a_store_that_is_not_there_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty store has no findings: a slip in the name must not look like that.  Source: ours."""
    path = tmp_path / "nowhere.db"
    code, out, err = run(["verify", f"sqlite:///{path}"], capsys)
    assert (code, out, err) == (cli.FAILED, "", f"interlock: there is no file {path}\n")
    assert not path.exists()


@pytest.mark.parametrize("url", ["tasks.db", "sqlite:///", "postgresql://host/db", "memory:"])
def test_a_store_that_is_no_sqlite_url_is_explained(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Source: ours."""
    code, _, err = run(["verify", url], capsys)
    assert code == cli.MISUSED
    assert f"{url!r} is not sqlite:///PATH, for instance sqlite:///tasks.db" in err


# --- demo -----------------------------------------------------------------------------------


def test_the_demo_plays_by_itself_where_there_is_no_terminal() -> None:
    """And succeeds, with nothing on the side.  Source: issue 2, item 7."""
    done = interlock("demo", "--pace", "0")
    assert (done.returncode, done.stderr) == (cli.OK, "")
    assert "running ─complete→ completed" in done.stdout
    assert "cancelling ─stopped→ cancelled" in done.stdout


@pytest.mark.parametrize("package", ["a2a", "httpx", "starlette", "uvicorn"])
def test_a_missing_extra_says_what_to_install(package: str) -> None:
    """Source: STYLE 2.9."""
    done = interlock("demo", "--auto", code=f"sys.modules[{package!r}] = None")
    assert (done.returncode, done.stdout) == (cli.FAILED, "")
    assert "pip install 'interlock[demo]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("package", ["a2a", "uvicorn"])
def test_the_other_commands_need_no_extra(package: str) -> None:
    """Source: STYLE 2.2."""
    done = interlock("diagram", code=f"sys.modules[{package!r}] = None")
    assert (done.returncode, done.stderr) == (cli.OK, "")


def test_a_demo_that_fails_says_how_in_one_line(tmp_path: Path) -> None:
    """Source: issue 2, item 7."""
    done = interlock("demo", "--auto", "--db", str(tmp_path))
    assert done.returncode == cli.FAILED
    assert done.stderr.startswith("interlock: the demo failed: the engine did not start: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("pace", ["fast", "-1", "6", "nan"])
def test_a_pace_that_nobody_could_follow_is_refused(
    pace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Source: ours."""
    code, _, err = run(["demo", "--pace", pace], capsys)
    assert code == cli.MISUSED
    assert "is not a number of seconds from 0 to 5" in err
