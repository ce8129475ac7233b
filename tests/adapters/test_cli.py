"""The command line, as a shell sees it: what is printed, where, and the exit code.

The module is long because there are many commands and each can fail in many ways.
"""

import asyncio
import contextlib
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from interlock import Engine, Limits, NewWatch, TaskContext, Trigger
from interlock_adapters import cli
from interlock_adapters.cli._ink import BOLD, wants_colour

#: A first start of the interpreter on a busy machine; more than this is a hang.
RUN_S: Final = 60


COMMANDS: Final = (
    *("demo", "init", "serve", "token", "diagram", "check", "crosscheck", "verify", "doctor"),
    *("tasks", "show", "answer", "decline", "approve", "deny", "cancel", "resume", "purge"),
    "backup",
)


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
        async with asyncio.timeout(60), Engine(agent, store=f"sqlite:///{path}") as engine:
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
    for command in COMMANDS:
        assert command in err


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Source: R-CLI-01."""
    code, _, err = run(["dance"], capsys)
    assert code == cli.MISUSED
    assert "'demo'" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Source: R-CLI-01."""
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
    """A record that does not follow from its log is noticed.  Source: DESIGN 4, R-CLI-02."""
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE event SET data = replace(data, 'hello', 'howdy')")
    connection.close()
    code, out, err = run(["verify", f"sqlite:///{store}"], capsys)
    assert code == cli.FAILED
    assert out
    findings = len(out.splitlines())
    assert f"{store} has {findings} finding" in err


async def test_a_store_that_is_in_use_is_checked_beside_it(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It only reads: it was once refused, since it opened the store itself.  Source: R-CLI-02."""
    async with asyncio.timeout(60), Engine(agent, store=f"sqlite:///{store}") as engine:
        await (await engine.submit("again", owner="ada")).rest()
        said = await asyncio.to_thread(run, ["verify", f"sqlite:///{store}"], capsys)
    assert said == (cli.OK, f"{store} is sound\n", "")


def test_a_copy_of_an_older_version_stays_one(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be the way back after an upgrade.  Source: R-CLI-02."""
    with sqlite3.connect(store) as connection:
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    before = store.read_bytes()
    assert run(["verify", f"sqlite:///{store}"], capsys) == (cli.OK, f"{store} is sound\n", "")
    assert store.read_bytes() == before


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
    """An empty store has no findings: a slip in the name must not look like that.

    Source: R-CLI-02.
    """
    path = tmp_path / "nowhere.db"
    code, out, err = run(["verify", f"sqlite:///{path}"], capsys)
    assert (code, out, err) == (cli.FAILED, "", f"interlock: there is no file {path}\n")
    assert not path.exists()


@pytest.mark.parametrize("url", ["tasks.db", "sqlite:///", "mysql://host/db", "memory:"])
def test_a_store_that_is_no_sqlite_url_is_explained(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Source: ours."""
    code, _, err = run(["verify", url], capsys)
    assert code == cli.MISUSED
    assert f"{url!r} is not sqlite:///PATH, for instance sqlite:///tasks.db" in err


# --- doctor ---------------------------------------------------------------------------------


async def asks(task: TaskContext) -> str:
    """Wait for an answer; without one it takes Rome."""
    return await task.ask("Which city?", default="Rome")


async def crashes(task: TaskContext) -> str:
    """Never ends: whoever opens the store again finds it running."""
    await task.call(asyncio.Event().wait)
    return "never"


async def crashes_again(task: TaskContext) -> str:
    """The same, and nobody need be asked whether what it does was done."""
    await task.call(asyncio.Event().wait, idempotent=True)
    return "never"


NOW: Final = Limits(park_after_s=0.0, drain_s=0.0, grace_s=0.001, recoveries_max=1)


@pytest.fixture
def trouble(tmp_path: Path) -> tuple[Path, str]:
    """A store with a task that crashed too often, and that task."""
    path = tmp_path / "trouble.db"

    async def crash() -> str:
        task_id, seen = "", 0
        for _ in range(3):
            engine = Engine(crashes_again, store=f"sqlite:///{path}", limits=NOW)
            async with asyncio.timeout(60), engine:
                if not task_id:
                    task_id = (await engine.submit("go", owner="ada")).task_id
                # What this very life of it comes to: the log has those before.
                async for event in engine.subscribe(task_id, owner="ada", after=seen):
                    seen = event.seq
                    if event.trigger in {Trigger.ASK, Trigger.CALL}:
                        break
        return task_id

    return path, asyncio.run(crash())


def test_a_store_with_nothing_to_do_is_well(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is in it is counted, and the SQLite that reads it is named.  Source: issue 3, item 5."""
    code, out, err = run(["doctor", f"sqlite:///{store}"], capsys)
    assert (code, err) == (cli.OK, "")
    assert "tasks: 1 finalized" in out
    assert "finalized: 1 completed" in out
    assert f"SQLite {sqlite3.sqlite_version}" in out


def test_the_doctor_says_the_same_as_json(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For whoever watches many stores.  Source: issue 3, item 5."""
    code, out, err = run(["doctor", f"sqlite:///{store}", "--json"], capsys)
    found = json.loads(out)
    assert (code, err, found["phases"]) == (cli.OK, "", {"finalized": 1})
    assert found["needs_a_person"] is False
    assert found["quarantined"] == {"count": 0, "named": []}


async def test_the_doctor_looks_beside_a_running_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes no lock and changes nothing.  Source: issue 3, item 5, R-CLI-03."""
    path = tmp_path / "tasks.db"
    async with asyncio.timeout(60), Engine(asks, store=f"sqlite:///{path}") as engine:
        handle = await engine.submit("hello", owner="ada")
        await handle.rest()
        code, out, _ = await asyncio.to_thread(run, ["doctor", f"sqlite:///{path}"], capsys)
        assert code == cli.OK
        assert "tasks: 1 waiting_input" in out
        assert f"  {handle.task_id}  of ada: ask-1, for " in out
        assert f"  {handle.task_id}  of ada: ask-1, in 24.0 h" in out or "ask-1, in 1.0 d" in out
        await handle.answer("ask-1", "Oslo")
        assert await handle.result() == "Oslo"


async def test_a_task_that_cannot_be_read_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it lies behind all that can be, and is met by two readings.  Source: R-CLI-03."""
    path = tmp_path / "tasks.db"

    async def asks(task: TaskContext) -> None:
        await task.ask("Where to?")

    async with asyncio.timeout(60), Engine(asks, store=f"sqlite:///{path}") as engine:
        made = [await engine.submit("x", owner="ada") for _ in range(3)]
        for handle in made:
            await handle.rest()
    first, *others = sorted(handle.task_id for handle in made)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE task SET snapshot = '{}' WHERE task_id != ?", (first,))
        db.commit()
    _, out, _ = run(["doctor", f"sqlite:///{path}", "--json"], capsys)
    told = json.loads(out)["quarantined"]
    assert told["count"] == 2
    assert [each["task_id"] for each in told["named"]] == others


def test_what_needs_a_person_is_said_first_and_is_an_exit_code(
    trouble: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator, an unreadable task: something has to be done.

    Source: issue 3, item 5, R-CLI-03.
    """
    path, task_id = trouble
    code, out, _ = run(["doctor", f"sqlite:///{path}"], capsys)
    assert code == cli.FAILED
    assert (
        "waiting for an operator (interlock resume TASK_ID --again, --skip or --from-scratch): 1"
        in out
    )
    assert f"  {task_id}  of ada, for " in out
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE task SET snapshot = '{}'")
        db.commit()
    code, out, _ = run(["doctor", f"sqlite:///{path}"], capsys)
    assert code == cli.FAILED
    assert f"{task_id}  its record cannot be read" in out


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("UPDATE task SET phase = 'finalized'", "its row says finalized, and its record does not"),
        ("UPDATE event SET trigger = 'jump' WHERE seq = 2", "event 2 cannot be read"),
        ("DELETE FROM event WHERE seq = 2", "events are missing from its log"),
    ],
)
def test_each_kind_of_damage_is_named(
    damage: str, why: str, trouble: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that is fine is not all there is.  Source: issue 3, item 5."""
    path, task_id = trouble
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(damage)
        db.commit()
    code, out, _ = run(["doctor", f"sqlite:///{path}", "--json"], capsys)
    found = json.loads(out)
    assert code == cli.FAILED
    assert found["quarantined"] == {"count": 1, "named": [{"task_id": task_id, "why": why}]}


def test_whatever_may_matter_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stuck watches, abandoned turns, open calls, many waits: none of them is an alarm."""
    path = tmp_path / "tasks.db"
    url = f"sqlite:///{path}"

    async def fill() -> tuple[str, str]:
        let_go, begun = asyncio.Event(), asyncio.Event()

        async def misbehaves(task: TaskContext) -> str:
            """Will not end when the engine says so; the loop of this test must still close."""
            begun.set()
            while not let_go.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await let_go.wait()
            return task.input.text

        limits = Limits(grace_s=0.01, drain_s=0.0)
        async with asyncio.timeout(60), Engine(misbehaves, store=url, limits=limits) as engine:
            hook = NewWatch("w", "nowhere", {"token": "sk-canary-7f3a"})
            stuck = await engine.submit("go", owner="ada", watches=[hook])
            await begun.wait()  # One that has not begun is cancelled at once.
            await stuck.cancel()
            await stuck.over()
        async with asyncio.timeout(60), Engine(asks, store=url) as engine:
            for _ in range(25):
                await (await engine.submit("hello", owner="ada")).rest()
        async with asyncio.timeout(60), Engine(crashes, store=url, limits=NOW) as engine:
            calling = await engine.submit("go", owner="ada")
            async for event in calling.events():
                if event.trigger is Trigger.CALL:
                    break
        let_go.set()
        return stuck.task_id, calling.task_id

    stuck, calling = asyncio.run(fill())
    code, out, _ = run(["doctor", url], capsys)
    assert code == cli.OK
    assert f"  {stuck}  w (nowhere): given up after attempt 1" in out
    assert f"ended with a turn that would not stop: 1\n  {stuck}" in out
    assert f"  {calling}  running: wait-1" in out
    assert "waiting, the longest first: 25" in out
    assert len(re.findall(r"^  \w+  of ada: ask-1, for \d+ s$", out, re.MULTILINE)) == 20
    assert "  and 5 more" in out
    assert "sk-canary" not in out + run(["doctor", url, "--json"], capsys)[1]


def test_the_doctor_shows_what_others_wrote_without_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys are an agent's, names of watches a client's; a terminal obeys both.  Source: T20."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    evil = "\x1b[2J\x1b]0;owned\x07"

    async def asks_so(task: TaskContext) -> str:
        return await task.ask("Which city?", key=f"city{evil}")

    async def fill() -> None:
        async with asyncio.timeout(60), Engine(asks_so, store=url) as engine:
            await (await engine.submit("hello", owner="ada")).rest()

    asyncio.run(fill())
    code, out, _ = run(["doctor", url], capsys)
    assert code == cli.OK
    assert "city\ufffd[2J" in out
    assert all(sign.isprintable() or sign == "\n" for sign in out)


def test_an_interrupted_call_is_for_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next start asks, and the doctor says so.  Source: issue 3, in-doubt calls."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}"

    async def crash() -> str:
        async with asyncio.timeout(60), Engine(crashes, store=url, limits=NOW) as engine:
            handle = await engine.submit("go", owner="ada")
            async for event in handle.events():
                if event.trigger is Trigger.CALL:
                    break
        async with asyncio.timeout(60), Engine(crashes, store=url, limits=NOW) as engine:
            await (await engine.task(handle.task_id, owner="ada")).rest()
        return handle.task_id

    task_id = asyncio.run(crash())
    code, out, _ = run(["doctor", url], capsys)
    assert code == cli.FAILED
    assert (
        f"whether an interrupted call was done: 1\n  {task_id}  of ada: interlock:in-doubt-" in out
    )


def test_a_bad_page_does_not_stop_the_doctor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What SQLite itself cannot read is named, and the rest is counted.  Source: I37."""
    path = tmp_path / "tasks.db"

    async def fill() -> list[str]:
        async with asyncio.timeout(60), Engine(asks, store=f"sqlite:///{path}") as engine:
            handles = [
                await engine.submit(text, owner="ada") for text in ("hello", "long " * 9_000)
            ]
            for handle in handles:
                await handle.rest()
        return [handle.task_id for handle in handles]

    _, bad = asyncio.run(fill())
    page = path.read_bytes().index(b"long " * 400) // 4096 + 3
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\x7f\xff\xff\xff")
    code, out, _ = run(["doctor", f"sqlite:///{path}", "--json"], capsys)
    found = json.loads(out)
    assert (code, found["waiting"]) == (cli.FAILED, 2)
    ((named),) = found["quarantined"]["named"]
    assert named["task_id"] == bad
    assert "malformed" in named["why"]


def test_what_is_older_than_retention_is_counted(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next sweep of a server with the limits as they come takes it.  Decision 0008."""
    with contextlib.closing(sqlite3.connect(store)) as db:
        db.execute("UPDATE task SET updated_at = 1")
        db.commit()
    code, out, _ = run(["doctor", f"sqlite:///{store}"], capsys)
    assert (code, out.splitlines()[-1]) == (
        cli.OK,
        "finalized, and older than retention lets them be: 1",
    )


def test_a_store_that_lost_something_is_not_well(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was acknowledged is gone: an old copy, or a bad disk.  Source: DESIGN 4."""
    lock = store.with_name(store.name + ".lock")
    lock.write_bytes(f"{1:<20}\n{99:<20}\n".encode())
    code, out, _ = run(["doctor", f"sqlite:///{store}"], capsys)
    assert code == cli.FAILED
    assert "LOST: the newest 95 events are gone" in out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_the_doctor_reads_where_nothing_may_be_written(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy on a medium that is read only is looked at like any other.  Source: R-CLI-03."""
    store.parent.chmod(0o500)
    try:
        code, out, _ = run(["doctor", f"sqlite:///{store}"], capsys)
    finally:
        store.parent.chmod(0o700)
    assert (code, "tasks: 1 finalized" in out) == (cli.OK, True)


@pytest.mark.parametrize("content", [None, b"this is no database, however long it goes on\n" * 99])
def test_what_the_doctor_cannot_read_is_another_exit_code(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made, and nothing is said to be well.  Source: issue 3, item 5."""
    path = tmp_path / "nowhere.db"
    if content is not None:
        path.write_bytes(content)
    code, out, err = run(["doctor", f"sqlite:///{path}"], capsys)
    assert (code, out) == (cli.MISUSED, "")
    assert str(path) in err
    assert path.exists() == (content is not None)


# --- resume ---------------------------------------------------------------------------------


def test_an_operator_lets_a_task_go_on(
    trouble: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The next start goes on from the decision.  Source: issue 3, bad input, R-CLI-04."""
    path, task_id = trouble
    at = ["resume", task_id, "--store", f"sqlite:///{path}"]
    code, out, err = run([*at, "--from-scratch"], capsys)
    assert (code, out, err) == (cli.OK, f"task {task_id} goes on at the next start\n", "")
    assert run(["doctor", f"sqlite:///{path}"], capsys)[0] == cli.OK
    code, _, err = run([*at, "--again"], capsys)
    assert code == cli.FAILED
    assert f"task '{task_id}' is running, and no operator is asked about it" in err

    async def go_on() -> object:
        async with asyncio.timeout(60), Engine(agent, store=f"sqlite:///{path}") as engine:
            return await (await engine.task(task_id, owner="ada")).result()

    assert asyncio.run(go_on()) == "go"
    code, out, _ = run(["verify", f"sqlite:///{path}"], capsys)
    assert (code, out) == (cli.OK, f"{path} is sound\n")


def test_a_decision_that_is_not_offered_is_refused(
    trouble: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A crash is no entry of the log that could be skipped.  Source: issue 3, bad input."""
    path, task_id = trouble
    code, out, err = run(["resume", task_id, "--store", f"sqlite:///{path}", "--skip"], capsys)
    assert (code, out) == (cli.FAILED, "")
    assert "'again'" in err
    assert run(["doctor", f"sqlite:///{path}"], capsys)[0] == cli.FAILED


def test_a_task_that_is_not_there_cannot_be_resumed(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Source: issue 3, bad input."""
    code, _, err = run(["resume", "t", "--store", f"sqlite:///{store}", "--again"], capsys)
    assert (code, err) == (cli.FAILED, "interlock: no task 't'\n")
    nowhere = store.with_name("nowhere.db")
    code, _, err = run(["resume", "t", "--store", f"sqlite:///{nowhere}", "--again"], capsys)
    assert (code, err) == (cli.FAILED, f"interlock: there is no file {nowhere}\n")


async def test_a_running_server_is_not_written_behind(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock says who has it, and what to do.  Source: issue 3, bad input, R-CLI-04."""
    async with asyncio.timeout(60), Engine(agent, store=f"sqlite:///{store}"):
        arguments = ["resume", "t", "--store", f"sqlite:///{store}", "--again"]
        code, _, err = await asyncio.to_thread(run, arguments, capsys)
    assert code == cli.FAILED
    assert f"{store} is open already, in process {os.getpid()}; stop it first" in err


@pytest.mark.parametrize("how", [[], ["--again", "--skip"]])
def test_one_decision_is_needed(how: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Source: ours."""
    code, _, err = run(["resume", "t", "--store", "sqlite:///tasks.db", *how], capsys)
    assert code == cli.MISUSED
    assert "--again" in err


# --- demo -----------------------------------------------------------------------------------


def test_the_demo_plays_by_itself_where_there_is_no_terminal() -> None:
    """And succeeds, with nothing on the side, and no agent library.  Source: issue 2, item 7."""
    code = "sys.modules['mcp'] = sys.modules['smolagents'] = None"
    done = interlock("demo", "--pace", "0", code=code)
    assert (done.returncode, done.stderr) == (cli.OK, "")
    assert "running ─complete→ completed" in done.stdout
    assert "cancelling ─stopped→ cancelled" in done.stdout


@pytest.mark.parametrize("package", ["a2a", "httpx", "starlette", "uvicorn"])
def test_a_missing_extra_says_what_to_install(package: str) -> None:
    """Source: STYLE 2.9, R-CLI-08."""
    done = interlock("demo", "--auto", code=f"sys.modules[{package!r}] = None")
    assert (done.returncode, done.stdout) == (cli.FAILED, "")
    assert "pip install 'interlock[demo]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("package", ["mcp", "smolagents"])
def test_an_agent_whose_extras_are_missing_says_what_to_install(package: str) -> None:
    """Which the plain demo does not need.  Source: issue 4, build 7."""
    code = f"sys.modules[{package!r}] = None"
    done = interlock("demo", "--auto", "--agent", "smolagents", code=code)
    assert (done.returncode, done.stdout) == (cli.FAILED, "")
    assert f"{package} is missing" in done.stderr
    assert "pip install 'interlock[smolagents,mcp]'" in done.stderr
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


def test_an_agent_that_nobody_plays_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Naming those whom somebody does.  Source: ours."""
    code, _, err = run(["demo", "--agent", "parrot"], capsys)
    assert code == cli.MISUSED
    assert "'parrot'" in err
    assert "smolagents" in err


@pytest.mark.parametrize("pace", ["fast", "-1", "6", "nan"])
def test_a_pace_that_nobody_could_follow_is_refused(
    pace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Source: ours."""
    code, _, err = run(["demo", "--pace", pace], capsys)
    assert code == cli.MISUSED
    assert "is not a number of seconds from 0 to 5" in err
