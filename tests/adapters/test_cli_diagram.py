"""`interlock diagram`, as a shell sees it: what is printed or written, and the exit code."""

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from interlock import LIFECYCLE, Engine, Phase, TaskContext, Trigger, diagram
from interlock_adapters import cli
from interlock_adapters.cli._diagram import FORMATS, Drawn

RUN_S: Final = 60
PLAIN: Final = Drawn(LIFECYCLE, diagram.picture_of(LIFECYCLE))


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """See `io.TextIOWrapper`."""
        return True


def run(
    arguments: Sequence[str], capsysbinary: pytest.CaptureFixture[bytes]
) -> tuple[int, bytes, bytes]:
    """Run the command in this process: the exit code, and what went where."""
    try:
        code = cli.main(["diagram", *arguments])
    except SystemExit as left:  # argparse leaves by itself
        code = int(left.code or 0)
    out, err = capsysbinary.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in {"text", "png"}])
def test_every_format_prints_what_the_library_makes(
    name: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As UTF-8, whatever the terminal speaks.  Source: R-PIC-18."""
    made = FORMATS[name][0](PLAIN)
    assert isinstance(made, str)
    assert run(["--format", name], capsysbinary) == (cli.OK, made.encode(), b"")


def test_mermaid_is_what_comes_without_a_word(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Source: ours."""
    code, out, _ = run([], capsysbinary)
    assert (code, out) == (cli.OK, diagram.mermaid(LIFECYCLE).encode())


@pytest.mark.parametrize("name", FORMATS)
def test_the_name_of_a_file_says_the_format(
    name: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Source: ours."""
    make, ending = FORMATS[name]
    path = tmp_path / f"life{ending}"
    assert run(["--output", str(path)], capsysbinary) == (cli.OK, b"", b"")
    made = make(PLAIN)
    assert path.read_bytes() == (made.encode() if isinstance(made, str) else made)


def test_a_name_that_says_no_format_is_asked_about(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Mermaid in a file called .pdf would be no help.  Source: ours."""
    path = tmp_path / "life.pdf"
    code, _, err = run(["--output", str(path)], capsysbinary)
    assert code == cli.MISUSED
    assert b"--format" in err
    assert not path.exists()
    assert run(["--format", "svg", "--output", str(path)], capsysbinary)[0] == cli.OK


def test_a_file_that_cannot_be_written_is_said_in_one_line(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Source: ours."""
    code, _, err = run(["--output", str(tmp_path / "no" / "life.svg")], capsysbinary)
    assert code == cli.FAILED
    assert err.count(b"\n") == 1
    assert b"cannot be written: No such file or directory" in err


def test_a_png_does_not_go_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """It would ring bells and change its colours.  Source: R-PIC-18."""
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Terminal(shown, encoding="utf-8"))
    code, _, err = run(["--format", "png"], capsysbinary)
    assert (code, shown.getvalue()) == (cli.MISUSED, b"")
    assert b"--output" in err


def test_a_png_goes_through_a_pipe(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Source: ours."""
    code, out, _ = run(["--format", "png"], capsysbinary)
    assert (code, out[:8]) == (cli.OK, b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("name", ["svg", "png"])
def test_pictures_need_no_program_of_the_system(name: str) -> None:
    """With an empty PATH, as in a container.  Source: R-PIC-04."""
    done = subprocess.run(
        [sys.executable, "-m", "interlock_adapters.cli", "diagram", "--format", name],
        capture_output=True,
        check=False,
        env={"PATH": "", "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=RUN_S,
    )
    assert done.returncode == cli.OK
    assert done.stdout.startswith({"svg": b"<svg ", "png": b"\x89PNG"}[name])


def test_without_the_extra_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """One line, and no traceback.  Source: R-PIC-18, R-CLI-08."""
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    code, out, err = run(["--format", "svg"], capsysbinary)
    assert (code, out) == (cli.FAILED, b"")
    assert b"pip install 'interlock[diagram]'" in err
    assert run(["--format", "dot"], capsysbinary)[0] == cli.OK


OWN: Final = """
from interlock import LIFECYCLE, Phase
OURS = LIFECYCLE.extend(Phase.further("waiting_signature", like=Phase.WAITING_AUTH))
"""


def test_a_lifecycle_of_ones_own_is_drawn_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In every format but the one whose places are written down.  Source: R-PIC-18."""
    (tmp_path / "lives_of_ours.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    code, out, err = run(["lives_of_ours:OURS", "--format", "svg"], capsysbinary)
    assert (code, err) == (cli.OK, b"")
    assert b'id="state-waiting_signature"' in out
    code, _, err = run(["lives_of_ours:OURS", "--format", "text"], capsysbinary)
    assert code == cli.MISUSED
    assert b"try svg" in err
    code, _, err = run(["lives_of_ours:THEIRS"], capsysbinary)
    assert code == cli.MISUSED
    assert err.count(b"\n") == 1


# --- layers -----------------------------------------------------------------------------------


async def asks(task: TaskContext) -> str:
    """Ask once."""
    return await task.ask("Which city?", key="city")


@pytest.fixture
def store(tmp_path: Path) -> tuple[str, str]:
    """A store with a task that waits and one that is over, and the latter."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}"

    async def fill() -> str:
        async with asyncio.timeout(60), Engine(asks, store=url) as engine:
            await (await engine.submit("go", owner="ada")).rest()
            handle = await engine.submit("go", owner="ada")
            await handle.rest()
            await handle.answer("city", "Rome")
            await handle.result()
            return handle.task_id

    return url, asyncio.run(fill())


def test_the_path_of_a_task_is_lit(
    store: tuple[str, str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In a picture, and on a page where it can be replayed.  Source: R-PIC-05, R-PIC-06."""
    url, task_id = store
    at = ["--task", task_id, "--store", url]
    code, out, err = run([*at, "--format", "svg"], capsysbinary)
    assert (code, err) == (cli.OK, b"")
    assert b'id="edge-waiting_input-running" class="move' in out
    assert b"4 provide_input" in out
    code, out, err = run([*at, "--format", "html", "--population", "--coverage", url], capsysbinary)
    assert (code, err) == (cli.OK, b"")
    data = json.loads(out.partition(b'id="data">')[2].partition(b"</script>")[0])
    assert [layer["name"] for layer in data["layers"]] == [
        "lifecycle", "path", "population", "coverage", "replay",
    ]  # fmt: skip
    assert data["events"][-1]["state"] == "state-finalized"
    assert ["state-waiting_input", "waiting_input", "1 now"] in data["layers"][2]["notes"]


async def test_a_running_server_is_not_in_the_way(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Nothing is locked, and nothing is written.  Source: R-PIC-05."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    async with asyncio.timeout(60), Engine(asks, store=url) as engine:
        await (await engine.submit("go", owner="ada")).rest()
        arguments = ["--population", "--store", url, "--format", "mermaid"]
        code, out, _ = await asyncio.to_thread(run, arguments, capsysbinary)
    assert code == cli.OK
    assert b"1 now" in out


def test_a_file_of_coverage_is_shown(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """What a fuzz run leaves behind.  Source: R-PIC-05."""
    path = tmp_path / "covered.json"
    hits: dict[diagram.Key, int] = {(Phase.RUNNING, Trigger.COMPLETE, Phase.COMPLETED): 7}
    path.write_text(diagram.hits_to_json(hits), encoding="utf-8")
    assert diagram.hits_of_json(path.read_bytes()) == hits
    code, out, _ = run(["--coverage", str(path), "--format", "svg"], capsysbinary)
    assert code == cli.OK
    assert f"Coverage: 1 of {len(LIFECYCLE.table)} rows".encode() in out


def test_what_is_different_from_another_version_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """From the shipped one, or one of one's own.  Source: R-PIC-05."""
    (tmp_path / "versions_of_ours.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    at = ["versions_of_ours:OURS", "--against", "shipped", "--format", "svg"]
    code, out, _ = run(at, capsysbinary)
    assert code == cli.OK
    assert b'id="state-waiting_signature" class="state group-waiting new"' in out
    at = ["--against", "versions_of_ours:OURS", "--format", "svg"]
    code, out, _ = run(at, capsysbinary)
    assert b'id="state-waiting_signature" class="state group-waiting gone"' in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "t"], "--task and --population need --store"),
        (["--population"], "--task and --population need --store"),
        (["--population", "--store", "tasks.db"], "is not sqlite:///PATH"),
        (["--coverage", "nowhere.json"], "nowhere.json cannot be read: No such file"),
        (["--coverage", "sqlite:///"], "is not sqlite:///PATH"),
        (["--against", "nothing"], "write MODULE:LIFECYCLE"),
        (["--against", "shipped", "--format", "scxml"], "scxml has no layers: try html"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(
    arguments: list[str], said: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In one line, with what would do.  Source: R-PIC-18."""
    code, out, err = run(arguments, capsysbinary)
    assert (code, out, err.count(b"\n")) == (cli.MISUSED, b"", 1)
    assert said.encode() in err


def test_what_is_not_in_the_store_is_said(
    store: tuple[str, str], tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A task, a file, two layers on one picture, a file of something else."""
    url, task_id = store
    notes = tmp_path / "notes.json"
    notes.write_text('{"format": "diary"}', encoding="utf-8")
    for arguments, said in (
        (["--task", "t", "--store", url], "no task 't'"),
        (["--task", "\ud800", "--store", url], "no task"),
        (["--population", "--store", f"{url}.gone"], "there is no file"),
        (["--coverage", str(notes)], "is no file of coverage"),
        (["--task", task_id, "--coverage", url, "--store", url], "shows one layer"),
    ):
        code, out, err = run(arguments, capsysbinary)
        assert code in {cli.FAILED, cli.MISUSED}
        assert (out, err.count(b"\n")) == (b"", 1)
        assert said.encode() in err


def test_coverage_of_another_lifecycle_says_to_name_it(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Once for each phase, and not once for each of its rows.  Source: R-PIC-18."""
    moves = [
        {"source": source, "trigger": "ask", "dest": "waiting_for_godot", "count": 1}
        for source in ("running", "waiting_for_godot", "waiting_for_estragon")
    ]
    hits = tmp_path / "hits.json"
    hits.write_text(json.dumps({"format": "interlock-coverage/1", "moves": moves}))
    code, _, err = run(["--coverage", str(hits)], capsysbinary)
    assert code == cli.MISUSED
    for name in ("waiting_for_estragon", "waiting_for_godot"):
        assert err.decode().count(f"a phase '{name}': name the lifecycle that has it") == 1
    assert b"at /" not in err


# --- less of it -------------------------------------------------------------------------------


def test_a_simple_picture_has_a_title_of_its_own(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """In every format that has a place for one.  Source: R-PIC-20."""
    simple = diagram.simplified(LIFECYCLE)
    for name in ("svg", "dot", "plantuml", "html"):
        code, out, err = run(["--format", name, "--simple", "--title", "An order"], capsysbinary)
        assert (code, err) == (cli.OK, b"")
        assert b"An order" in out
        assert b"The life of a task" not in out
    code, out, _ = run(["--simple"], capsysbinary)
    assert (code, out) == (cli.OK, diagram.mermaid(simple).encode())
    assert (
        b"The life of a task, one ask at a time"
        in run(["--simple", "--format", "svg"], capsysbinary)[1]
    )


def test_the_title_is_also_that_of_a_layer(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A path, a coverage, a difference.  Source: R-PIC-20."""
    hits = tmp_path / "hits.json"
    hits.write_text(diagram.hits_to_json({(None, Trigger.SUBMIT, Phase.SUBMITTED): 2}))
    words = ["--coverage", str(hits), "--format", "svg", "--title", "Our tests"]
    code, out, _ = run([*words, "--only-taken"], capsysbinary)
    assert code == cli.OK
    assert b"Our tests" in out
    assert b"Coverage:" not in out
    assert b'id="state-submitted"' in out
    assert b'id="state-running"' not in out
    assert b'id="state-running"' in run(words, capsysbinary)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only-taken"], b"--coverage says was never taken"),
        (["--simple", "--format", "scxml"], b"scxml is the whole lifecycle: try html, svg"),
        (["--title", "x", "--format", "json"], b"json has no title: try html, svg"),
        (["--title", "x", "--format", "mermaid"], b"mermaid has no title: try html, svg"),
        (["--against", "nope"], b"or `shipped` for the one that is shipped"),
    ],
)
def test_less_of_what_cannot_be_less_is_a_misuse(
    words: list[str], said: bytes, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """And a title that nothing shows is said to be none.  Source: R-PIC-20."""
    code, out, err = run(words, capsysbinary)
    assert (code, out) == (cli.MISUSED, b"")
    assert said in err
