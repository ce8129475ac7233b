"""The parts of `bench.scale`: its wire, its load, and what it reads of processes.

Source: R-SCALE-50.
"""

import asyncio
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def part(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  a module of the bench
    """A module of the bench, which is no package of ours and not installed."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    return importlib.import_module(f"bench._scale_{name}")


def name_of(pid: int) -> str:
    """The name of the program that a process runs."""
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


@contextmanager
def worker(path: Path) -> Generator[tuple[int, int]]:
    """A worker on a file of SQLite; its port and process id."""
    command = [sys.executable, "-m", "bench._scale_worker", f"sqlite:///{path}", "0"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready "), line
        yield json.loads(line.removeprefix("ready "))["port"], process.pid
    finally:
        process.communicate()  # Its input ends, and so does it.
    assert process.returncode == 0


async def test_a_load_lives_parks_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-SCALE-50: each shape of life completes; what is parked waits, and each goes on once."""
    driver, proc = part("driver", monkeypatch), part("proc", monkeypatch)
    with worker(tmp_path / "tasks.db") as (port, pid):
        for shape in ("step", "ask"):
            sample = await driver.load([port], shape, 0.0, 0.2, 2)
            assert sample.lives > 0
            assert 0 < sample.p50_ms <= sample.p99_ms
        parked = await driver.park([port], 7, 30.0)
        assert len({task["id"] for task in parked.tasks}) == 7
        held = await driver.ask_all([port], "held")
        assert held[0]["live"] == 0
        assert await driver.view(port, parked.tasks[0]["id"]) > 0
        assert len(await driver.resume([port], parked.tasks, 3)) == 3
        assert proc.cpu_s([pid]) > 0
        assert proc.rss_mib([pid]) > 1
        assert proc.threads(pid) >= 1
        assert pid in proc.descendants(os.getpid(), name_of(pid))


async def test_a_worker_says_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-SCALE-50: a driver learns that something failed; it is not counted as a life."""
    wire = part("wire", monkeypatch)
    with worker(tmp_path / "tasks.db") as (port, _):
        connection = await wire.Worker.at(port)
        with pytest.raises(wire.WorkerFailed, match="view: UnknownTask"):
            await connection.ask("view", id="nobody")
        with pytest.raises(wire.WorkerFailed, match="nothing of the kind"):
            await connection.ask("nothing of the kind")
        connection.close()


async def test_a_worker_that_is_gone_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-SCALE-50: a connection that ends is a failure, and not an empty answer."""
    wire = part("wire", monkeypatch)

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        connection = await wire.Worker.at(server.sockets[0].getsockname()[1])
        with pytest.raises(wire.WorkerFailed, match="is gone"):
            await connection.ask("life")
        connection.close()


def test_the_dead_children_of_a_process_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-SCALE-50: a server is charged for those of its processes that have ended."""
    proc = part("proc", monkeypatch)
    before = proc.cpu_s([os.getpid()])
    burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert proc.cpu_s([os.getpid()]) - before >= 0.19


def test_statements_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-SCALE-50: a statement is of the kind that it says, and an unknown one shows itself."""
    statements = part("statements", monkeypatch)
    assert statements.kind_of("SELECT commit_v1($1,\n $2)") == "commit"
    assert statements.kind_of("SELECT snapshot FROM task WHERE x") == "read a record"
    assert statements.kind_of("SELECT  new\nthing") == "SELECT new thing"


def test_no_time_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-SCALE-50: what does not fit into the time is named in the report and not begun."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    scale = importlib.import_module("bench.scale")
    found = scale.Findings(scale.QUICK, began=time.monotonic() - scale.QUICK.budget_s + 1)
    assert not found.has_time("four processes", 5.0)
    assert "Not measured" in [table.title for table in scale.report_of(found, "here").tables]
