"""The page about one machine says what is there: its lines are typed in, in a folder.

R-DOCS-20 (its commands, with a backup and a restore), R-DOCS-21 (its unit files, proxies and
container fit its configuration), R-DOCS-22 (old tasks go the old way after an upgrade).
"""

import asyncio
import configparser
import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from doc_blocks import Block, blocks_on
from example_files import module_at
from interlock import Engine, Limits, Toolbox
from interlock_adapters import cli
from interlock_adapters.config import Config, load_config
from interlock_adapters.config._parts import A2AConfig
from interlock_adapters.service import Service
from support import soon

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "howto" / "deploy.md"
#: What each language is for; "text" is the file of logrotate.
CHECKED: Final = frozenset({"console", "yaml", "ini", "nginx", "caddy", "python", "text"})
RUN_S: Final = 60
ANALYZE: Final = shutil.which("systemd-analyze")
INTERLOCK: Final = "/opt/interlock/venv/bin/interlock"


@pytest.fixture(autouse=True)
def forgotten() -> Generator[None]:
    """Modules of the project are forgotten, and so is where they were."""
    path, had = [*sys.path], {*sys.modules}
    yield
    sys.path[:] = path
    for name in ({*sys.modules} - had) & {"agent", "agent_example"}:
        del sys.modules[name]


def blocks() -> list[Block]:
    """Those of the page, in its order."""
    return list(blocks_on(PAGE))


def file_of(name: str) -> str:
    """The file of that name that the page shows."""
    (text,) = (block.text for block in blocks() if block.text.startswith(f"# {name}\n"))
    return text


def unit(name: str) -> configparser.ConfigParser:
    """A unit file of the page; of a key that is said twice the last counts."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys have capitals
    parser.read_string(file_of(f"/etc/systemd/system/{name}"))
    return parser


class Machine:
    """A folder in the place of a machine, and a service on its store."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root: Final = folder
        self._patch: Final = monkeypatch
        self._here = folder
        self._running = contextlib.AsyncExitStack()
        self.task = ""
        for name in ("opt/interlock", "var/lib/interlock", "var/lib/interlock-backups"):
            (folder / name).mkdir(parents=True)

    def at(self, text: str) -> str:
        """With the paths of the page in this folder."""
        return re.sub(r"(?<![\w.])/(opt|var)/", rf"{self.root}/\1/", text)

    async def start(self) -> Engine:
        """As systemd does it."""
        (self._here / "app.yaml").write_text(self.at(file_of("app.yaml")))
        service = Service.of(load_config(self._here / "app.yaml"))
        return await self._running.enter_async_context(service.engine)

    async def stop(self) -> None:
        """The same."""
        await self._running.aclose()

    async def type_in(self, line: str) -> None:
        """One line of the page, which must succeed."""
        words = shlex.split(self.at(line).removeprefix("runuser -u interlock -- "))
        match words:
            case ["cd", folder]:
                self._here = self._here / folder
                self._patch.chdir(self._here)
            case ["systemctl", "stop", "interlock"]:
                await self.stop()
            case ["systemctl", "start", "interlock"]:
                engine = await self.start()
                task = await engine.task(self.task, owner="ada")
                await task.answer((await soon(task.rest())).asks[0].key, "Lisbon")
                assert (await soon(task.rest())).asks[0].tool == "book"
            case ["interlock", *_] | ["sed" | "rm" | "mkdir" | "mv" | "cp", *_]:
                said = self.at(line).removeprefix("runuser -u interlock -- ")
                await asyncio.to_thread(ran, said)
            case _:
                pytest.fail(f"nobody can run {line}")

    async def submit(self) -> None:
        """Have the service running, with a task that waits."""
        engine = await self.start()
        task = await engine.submit("A trip, please.", owner="ada")
        assert (await soon(task.rest())).asks
        self.task = task.task_id


def ran(line: str) -> None:
    """A line as the shell runs it; ours runs in this process."""
    if line.startswith("interlock "):
        command, *targets = re.split(r" 2?> ", line)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(shlex.split(command)[1:])
        assert code == 0, (line, out.getvalue(), err.getvalue())
        for target, said in zip(targets, (out, err), strict=False):
            Path(target).write_text(said.getvalue())
        return
    subprocess.run(["/bin/sh", "-c", line], timeout=RUN_S, check=True)


async def test_its_lines_can_be_typed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a service that runs while it is backed up, and goes on from the copy.  R-DOCS-20."""
    machine = Machine(tmp_path, monkeypatch)
    for block in blocks():
        if block.language != "console" or block.reason is not None:
            continue
        lines = [line for line in block.text.splitlines() if line.startswith("$ ")]
        if "interlock backup" in lines[0]:
            await machine.submit()
        for line in lines:
            await machine.type_in(line.removeprefix("$ "))
        if "interlock init" in block.text:
            text = machine.at(file_of("app.yaml"))
            (tmp_path / "opt/interlock/travel/app.yaml").write_text(text)
    await machine.stop()
    aside = {path.name for path in (tmp_path / "var/lib/interlock/aside").iterdir()}
    assert {"tasks.db", "tasks.db.lock"} <= aside


def test_its_tokens_are_known_by_what_the_page_makes_of_them(tmp_path: Path) -> None:
    """The line that is cut out of what `token` says is one of the file.  R-DOCS-20."""
    (cut,) = (line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("$ sed"))
    said = "The token is shown this once.\n\n    - {hash: h, subject: ada}\n\n"
    for name in ("ada.line", "prometheus.line"):
        (tmp_path / name).write_text(said)
    subprocess.run(["/bin/sh", "-c", cut.removeprefix("$ ")], cwd=tmp_path, check=True)
    assert (tmp_path / "tokens.yaml").read_text() == "- {hash: h, subject: ada}\n" * 2


def configured(tmp_path: Path) -> Config:
    """The configuration of the page."""
    path = tmp_path / "app.yaml"
    path.write_text(file_of("app.yaml"))
    (tmp_path / "tokens.yaml").write_text("[]")
    return load_config(path)


def test_its_units_fit_its_configuration(tmp_path: Path) -> None:
    """The times, the folder of the store, the commands.  R-DOCS-21."""
    config, service = configured(tmp_path), unit("interlock.service")["Service"]
    assert float(service["TimeoutStopSec"]) > config.limits.drain_s
    assert str(config.store) == f"sqlite:////var/lib/{service['StateDirectory']}/tasks.db"
    backup = unit("interlock-backup.service")["Service"]["ExecStart"]
    assert str(config.store) in backup
    for line in (service["ExecStartPre"], service["ExecStart"]):
        program, *words = shlex.split(line)
        assert program == INTERLOCK
        cli._parser().parse_args(words)
    words = shlex.split(shlex.split(backup)[2].removeprefix(f"exec {INTERLOCK} "))
    cli._parser().parse_args(words)
    assert unit("interlock-backup.timer")["Timer"]["OnCalendar"]
    rotation = file_of("/etc/logrotate.d/interlock")
    assert "copytruncate" in rotation
    assert rotation.splitlines()[1].startswith("/var/log/interlock/*.log")


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd")
def test_systemd_finds_nothing_wrong_with_its_units(tmp_path: Path) -> None:
    """But for a program that is not here.  R-DOCS-21."""
    names = ["interlock.service", "interlock-backup.service", "interlock-backup.timer"]
    for name in names:
        text = file_of(f"/etc/systemd/system/{name}").replace(INTERLOCK, "/bin/true")
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [ANALYZE or "", "verify", *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_its_proxies_and_container_fit_its_configuration(tmp_path: Path) -> None:
    """Names, ports, bounds, extras.  R-DOCS-21."""
    config = configured(tmp_path)
    nginx = file_of("/etc/nginx/sites-enabled/agents.example")
    caddy = file_of("/etc/caddy/Caddyfile")
    place = f"{config.server.host}:{config.server.port}"
    assert config.server.url == "https://agents.example"
    for text in (nginx, caddy):
        assert place in text
        assert "agents.example" in text
    assert A2AConfig().body_bytes_max == 4 * 2**20
    assert "client_max_body_size 4m;" in nginx
    assert "max_size 4MiB" in caddy
    docker = file_of("Dockerfile")
    (command,) = re.findall(r"^CMD (.*)$", docker, re.MULTILINE)
    cli._parser().parse_args(json.loads(command)[1:])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extras in re.findall(r"interlock\[([a-z,]+)\]", PAGE.read_text("utf-8")):
        assert {*extras.split(",")} <= {*project["optional-dependencies"]}


async def test_old_tasks_go_the_old_way(tmp_path: Path) -> None:
    """The way that a task's first run wrote down is its way after an upgrade.  R-DOCS-22."""
    # Two files: one that is written twice in a second may be run as it was compiled before.
    before, path = tmp_path / "before" / "agent.py", tmp_path / "agent.py"
    before.parent.mkdir()
    new, limits = file_of("agent.py"), Limits(park_after_s=0)
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    before.write_text(new.replace("return 2", "return 1"))
    old = module_at(before)
    async with Engine(old.agent, tools=Toolbox([old.book]), store=url, limits=limits) as engine:
        task = await engine.submit("A trip.", owner="ada")
        assert (await soon(task.rest())).asks
    path.write_text(new)
    module = module_at(path)
    tools = Toolbox([module.book])
    async with Engine(module.agent, tools=tools, store=url, limits=limits) as engine:
        for task_id, day in ((task.task_id, "soon"), (None, "Monday")):
            again = (
                await engine.submit("A trip.", owner="ada")
                if task_id is None
                else await engine.task(task_id, owner="ada")
            )
            while asks := (await soon(again.rest())).asks:
                answers = {"Where shall it go?": "Oslo", "When?": "Monday"}
                await again.answer(asks[0].key, answers[asks[0].prompt])
            assert await again.result() == f"Oslo {day} is booked for 180 euros"
