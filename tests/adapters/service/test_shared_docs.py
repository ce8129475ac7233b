"""The page about more than one process says what is there.

R-SCALE-42 (its commands succeed), R-SCALE-43 (its YAML and Python are sound, its keys and links are
there, and what it says of defaults is so).
"""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml

from doc_pages import blocks_of, written
from example_files import module_at
from interlock import Engine, Limits, TaskContext
from interlock_adapters import cli
from interlock_adapters.cli import _serve as cli_serve
from interlock_adapters.config import Config, PostgresConfig, load_config
from interlock_adapters.service import Service
from pg_server import PgServer, programs
from support import soon

ROOT: Final = Path(__file__).parents[3]
DOCS: Final = ROOT / "docs"
PAGE: Final = (DOCS / "scale.md").read_text(encoding="utf-8")
#: As the page has them; the tests take databases that are there.
DATABASE: Final = "postgresql://db.example/tasks"
RESTORED: Final = "postgresql://db.example/restored"
RUN_S: Final = 60


def lines() -> list[str]:
    """What is typed in, in the order of the page."""
    typed = [line for block in blocks_of(PAGE, "console") for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in typed)
    return [line.removeprefix("$ ") for line in typed]


@pytest.fixture(autouse=True)
def forgotten() -> Generator[None]:
    """Modules of a project are forgotten, and so is where they were."""
    path, had = [*sys.path], {*sys.modules}
    yield
    sys.path[:] = path
    for name in ({*sys.modules} - had) & {"agent", "replica_example"}:
        del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project, in which one is."""
    assert cli.main(["init", str(tmp_path / "demo")]) == 0
    monkeypatch.chdir(tmp_path / "demo")
    return tmp_path / "demo"


def set_in(project: Path, said: object) -> Path:
    """The project's file with some other values."""
    path = project / "app.yaml"
    known: Any = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(cast("Any", yaml).safe_dump({**known, **cast("Any", said)}))
    return path


async def agent(task: TaskContext) -> str:
    """Ask."""
    return await task.ask("Where to?")


def ran(line: str) -> None:
    """Run a line that is not for a server to stay; it succeeds."""
    program, *words = shlex.split(line)
    if program == "interlock":
        assert cli.main(words) == 0, line
        return
    command = [str(programs() / program), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, (line, done.stderr)


async def test_its_commands_succeed(
    project: Path, pg_url: str, pg_server: PgServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a replica that runs; those that serve come up to where they would.  R-SCALE-42."""
    restored = pg_server.create()
    set_in(project, {"store": pg_url})
    async with Engine(agent, store=pg_url) as engine:
        record = await soon((await engine.submit("x", owner="ada")).rest())
        for line in lines():
            typed = line.replace(DATABASE, pg_url).replace(RESTORED, restored)
            typed = typed.replace("TASK_ID", record.task_id)
            if (words := shlex.split(typed))[1] in {"serve", "worker"}:
                options = cli._parser().parse_args([*words[1:-1], "0"])
                service, listener = cli_serve._prepared(options)
                listener.close()
                assert service.engine.is_replica
                assert words[-2] == "--port"
            else:
                await asyncio.to_thread(ran, typed)
        assert await soon((await engine.task(record.task_id, owner="ada")).result()) == "Lisbon"
    said = capsys.readouterr().out
    assert said.count("is sound") == 2
    pg_server.drop(restored)


def test_its_configurations_can_be_served(project: Path) -> None:
    """Each in the place of what a new project has.  R-SCALE-43."""
    for block in blocks_of(PAGE, "yaml"):
        path = set_in(project, yaml.safe_load(block))
        service = Service.of(load_config(path, environ={**os.environ, "DB_PASSWORD": "x"}))
        assert service.engine.is_replica


def test_its_module_is_one(tmp_path: Path) -> None:
    """It opens nothing.  R-SCALE-43."""
    assert written(blocks_of(PAGE, "python"), tmp_path) == ["replica.py"]
    assert module_at(tmp_path / "replica.py").engine.is_replica


def test_its_keys_and_files_are_there() -> None:
    """What it names is so named.  R-SCALE-43."""
    named = set(re.findall(r"`(limits|postgres|server|quotas)\.(\w+)`", PAGE))
    assert ("postgres", "dead_after_s") in named
    for part, key in named:
        assert hasattr(getattr(Config(agent=agent), part), key), key
    assert {key for part, key in named if part == "postgres"} <= {*PostgresConfig.model_fields}
    for name in re.findall(r"`(\w+_(?:max|s))`", PAGE):
        assert name in {*Limits.model_fields, *PostgresConfig.model_fields}, name
    headings = {
        re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^#+ (.*)$", (DOCS / "service.md").read_text("utf-8"), re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, heading = target.partition("#")
        assert (DOCS / file).exists(), target
        assert not heading or heading in headings, target


def test_other_pages_lead_to_it() -> None:
    """From the first page, and from that of the service.  R-SCALE-43."""
    assert "(docs/scale.md)" in (ROOT / "README.md").read_text("utf-8")
    assert "(scale.md)" in (DOCS / "service.md").read_text("utf-8")
