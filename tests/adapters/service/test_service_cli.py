"""`interlock serve`, `check`, `init` and `token`, as processes on loopback.

R-SVC-38, R-SVC-39, R-SVC-40, R-SVC-41.  T2 (open to everyone), T20 (secrets).
"""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import pytest
import yaml

import service_cli
from interlock_adapters.auth import BearerTokens, TokenEntry

#: A first start of the interpreter on a busy machine; more than this is a hang.
RUN_S: Final = 60
PROGRAM: Final = str(Path(service_cli.__file__))

AGENT: Final = """\
from interlock import Engine, TaskContext
from interlock_adapters.config import Config
from interlock_adapters.service import Service


async def ask(task: TaskContext) -> str:
    return await task.ask("Where to?")


def config() -> Config:
    return Config(agent=ask, store="memory:", name="Made")


def service() -> Service:
    return Service(Engine(ask, store="memory:"))


engine = Engine(ask, store="memory:")
nothing = 7
"""


def environ(**said: str) -> dict[str, str]:
    """That of a process of ours."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **said}


@dataclass
class Done:
    """What came of a command."""

    returncode: int
    stdout: str
    stderr: str


class Interlock(Protocol):
    """Runs a command to its end, in this process and in a folder."""

    def __call__(self, *arguments: str, cwd: Path) -> Done:
        """What came of it."""
        ...


@pytest.fixture
def interlock(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Generator[Interlock]:
    """Commands whose modules are those of their folder, and forgotten afterwards."""
    path, modules = [*sys.path], {*sys.modules}

    def run(*arguments: str, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        for name in {"shop", "agent"} & {*sys.modules}:
            del sys.modules[name]
        try:
            code = service_cli.main([*arguments])
        except SystemExit as left:  # argparse leaves by itself
            code = int(left.code or 0)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    yield run
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if name in {"shop", "agent"}:
            del sys.modules[name]


@dataclass
class Served:
    """A server that is up."""

    process: subprocess.Popen[str]
    said: str
    client: httpx.Client

    def stop(self) -> int:
        """Tell it to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(RUN_S)


@contextmanager
def serving(cwd: Path, *arguments: str, log: str = "log") -> Generator[Served]:
    """A server on a free port, until the block ends; what it complains of is in a file."""
    with (cwd / log).open("w", encoding="utf-8") as complaints:
        process = subprocess.Popen(
            [sys.executable, PROGRAM, "serve", *arguments, "--port", "0"],
            cwd=cwd,
            env=environ(),
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or "who may call" not in lines[-1]:
                lines.append(process.stdout.readline())
                assert lines[-1], (cwd / log).read_text(encoding="utf-8")
            said = "".join(lines)
            found = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert found is not None, said
            # The port is bound: whoever connects now waits until it listens.
            transport = httpx.HTTPTransport(retries=8)
            with httpx.Client(base_url=found[0], transport=transport, timeout=RUN_S) as client:
                yield Served(process, said, client)
        finally:
            process.kill()
            process.wait(RUN_S)
            assert process.stdout is not None
            process.stdout.close()


def send(client: httpx.Client, text: str, task_id: str = "") -> dict[str, Any]:
    """Send a message over A2A; the task that it is about."""
    message = {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}]}
    if task_id:
        message["taskId"] = task_id
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    answer = client.post("/a2a/rpc", json=body, headers={"A2A-Version": "1.0"}).json()
    task: dict[str, Any] = answer["result"]["task"]
    return task


def phase_of(client: httpx.Client, task_id: str, wanted: str) -> None:
    """Follow the log of a task until it is in a phase."""
    with client.stream("GET", f"/manage/tasks/{task_id}/events/stream") as stream:
        for line in stream.iter_lines():
            if f'"dest":"{wanted}"' in line:
                return
    pytest.fail(f"it never came to be {wanted}")


def app(tmp_path: Path, text: str) -> Path:
    """A folder with an agent, and that configuration."""
    (tmp_path / "shop.py").write_text(AGENT, encoding="utf-8")
    path = tmp_path / "app.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_service_is_stopped_and_started_and_its_task_is_there(tmp_path: Path) -> None:
    """Every face answers; a parked task outlives SIGTERM.  R-SVC-38."""
    app(tmp_path, "agent: shop:ask\nname: Shop\nstore: sqlite:///t.db\n")
    with serving(tmp_path) as first:
        assert first.said.startswith("Shop:\n")
        assert f"{first.client.base_url}/console\n" in first.said
        assert first.client.get("/readyz").json() == {"status": "ready"}
        assert first.client.get("/healthz").json() == {"status": "alive"}
        card = first.client.get("/.well-known/agent-card.json").json()
        assert card["supportedInterfaces"][0]["url"] == f"{first.client.base_url}/a2a/rpc"
        initialize = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            },
        }
        accept = {"accept": "application/json, text/event-stream"}
        answer = first.client.post("/mcp", json=initialize, headers=accept)
        assert '"name":"Shop"' in answer.text
        task_id = send(first.client, "hi")["id"]
        assert first.stop() == 0
    with serving(tmp_path, "app.yaml") as second:
        found = second.client.get(f"/manage/tasks/{task_id}").json()
        assert "waiting_input" in json.dumps(found)
        done = send(second.client, "Lisbon", task_id)
        assert done["status"]["state"] == "TASK_STATE_COMPLETED"
        assert second.stop() == 0


def test_the_log_is_json_if_that_is_said(tmp_path: Path) -> None:
    """Each line of what happens while it is served, uvicorn's too.  R-SVC-38."""
    app(tmp_path, "agent: shop:ask\nname: Shop\nstore: 'memory:'\nlog: {json: true}\n")
    with serving(tmp_path) as served:
        assert served.client.get("/readyz").status_code == 200
        assert served.stop() == 0
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    objects = [json.loads(line) for line in lines if line.startswith("{")]
    assert any("startup complete" in str(said) for said in objects), lines
    plain = [line for line in lines if not line.startswith("{")]
    assert len(plain) <= 2, plain  # What uvicorn says before the service is opened.


@pytest.mark.parametrize(("named", "name"), [("shop:config", "Made"), ("shop:engine", "agent")])
def test_what_python_has_is_served_as_well(tmp_path: Path, named: str, name: str) -> None:
    """R-SVC-38."""
    app(tmp_path, "")
    with serving(tmp_path, named, "--submit", "hello") as made:
        assert made.client.get("/.well-known/agent-card.json").json()["name"] == name
        (task,) = made.client.get("/manage/tasks").json()["tasks"]
        phase_of(made.client, task["task_id"], "waiting_input")


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["no.yaml"], "no.yaml: No such file or directory", 1),
        (["shop:nothing"], "it is of type int; a Service, a Config or an Engine, or a function", 1),
        (["shop:nobody"], "shop has no nobody", 1),
        (["shop:service", "--port", "1"], "a Service says by itself where it is", 1),
        (["shop:service", "--host", "::1"], "a Service says by itself where it is", 1),
        (["shop"], "write MODULE:NAME", 1),
        (["shop:ask"], "of an agent it is a file that says agent: shop:ask", 1),
        (["app.yaml", "--host", "ü..x"], "'ü..x' is no host; a name or an address", 1),
        (["app.yaml", "--host", "0.0.0.0"], "reachable from other machines", 2),  # noqa: S104
        (["app.yaml", "--host", "::"], "reachable from other machines", 2),
        (["app.yaml", "--port", "70000"], "'70000' is not a port from 0 to 65535", 2),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(
    interlock: Interlock, tmp_path: Path, arguments: list[str], said: str, code: int
) -> None:
    """And what must not be: open to everyone, unless that is said.  R-SVC-38, T2."""
    app(tmp_path, "agent: shop:ask\nstore: 'memory:'\nserver: {port: 0}\n")
    done = interlock("serve", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "level"), [([], logging.WARNING), (["--log-level", "error"], logging.ERROR)]
)
def test_the_level_of_the_command_line_is_that_of_our_own_log_too(
    interlock: Interlock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    level: int,
) -> None:
    """And without one it is the configuration's, of a service that cannot start.  R-SVC-38."""
    ours = logging.getLogger("interlock")
    monkeypatch.setattr(ours, "level", ours.level)
    store = "sqlite:///shop.py/t.db"
    app(
        tmp_path, f"agent: shop:ask\nstore: {store}\nlog: {{level: warning}}\nserver: {{port: 0}}\n"
    )
    assert interlock("serve", *arguments, cwd=tmp_path).returncode == 3
    assert ours.level == level


def test_a_port_that_is_taken_is_told(interlock: Interlock, tmp_path: Path) -> None:
    """R-SVC-38."""
    app(tmp_path, "agent: shop:ask\nstore: 'memory:'\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = interlock("serve", "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert f"127.0.0.1 port {port}: Address already in use" in done.stderr


# --- check --------------------------------------------------------------------------------


def test_check_says_every_fault_and_starts_nothing(interlock: Interlock, tmp_path: Path) -> None:
    """R-SVC-39."""
    app(tmp_path, "agent: shop:ask\nstore: sqlite:///t.db\n")
    good = interlock("check", "app.yaml", cwd=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("app.yaml: it can be served\n")
    assert not (tmp_path / "t.db").exists()
    app(tmp_path, "agent: shop:gone\ntools: [shop:lost]\nlifecycle: shop:ask\n")
    bad = interlock("check", "app.yaml", cwd=tmp_path)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert [line.partition(": ")[2].partition(": ")[0] for line in bad.stderr.splitlines()] == [
        "app.yaml:1",
        "app.yaml:3",
        "app.yaml:2",
    ]
    assert interlock("check", "no.yaml", cwd=tmp_path).returncode == 1


def test_check_without_a_file_is_of_the_lifecycle(interlock: Interlock, tmp_path: Path) -> None:
    """As it was before.  R-SVC-39."""
    done = interlock("check", cwd=tmp_path)
    assert done.returncode == 0
    assert "sound" in done.stdout


# --- init ---------------------------------------------------------------------------------


def test_a_new_project_is_sound_runs_and_asks(interlock: Interlock, tmp_path: Path) -> None:
    """Without a key or a network, up to the first approval.  R-SVC-40."""
    made = interlock("init", "demo", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    demo = tmp_path / "demo"
    files = {str(p.relative_to(demo)) for p in demo.rglob("*") if p.is_file()}
    assert files == {
        "app.yaml",
        "agent.py",
        "policies.yaml",
        "README.md",
        ".gitignore",
        "conftest.py",
        "tests/test_agent.py",
    }
    checked = interlock("check", "app.yaml", cwd=demo)
    assert checked.returncode == 0, checked.stderr
    with serving(demo, "--submit", "Plan me a trip, please.") as served:
        (task,) = served.client.get("/manage/tasks").json()["tasks"]
        phase_of(served.client, task["task_id"], "waiting_input")
        assert "Where shall it go?" in served.client.get("/console/inbox").text
        (task,) = served.client.get("/manage/tasks").json()["tasks"]
        answer = {"ask": task["asks"][0]["key"], "value": "Lisbon"}
        answered = served.client.post(f"/manage/tasks/{task['task_id']}/answer", json=answer)
        assert answered.status_code == 200, answered.text
        phase_of(served.client, task["task_id"], "waiting_auth")
        assert "May I book this flight?" in served.client.get("/console/inbox").text
        assert served.stop() == 0
    assert "Traceback" not in (demo / "log").read_text(encoding="utf-8")


def test_the_test_of_a_new_project_passes(interlock: Interlock, tmp_path: Path) -> None:
    """R-SVC-40."""
    assert interlock("init", cwd=tmp_path).returncode == 0
    known = any(entry.name == "interlock" for entry in entry_points(group="pytest11"))
    plugin = [] if known else ["-p", "interlock_adapters._pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin],
        cwd=tmp_path,
        env=environ(PYTEST_ADDOPTS=""),
        capture_output=True,
        text=True,
        timeout=RUN_S * 2,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout


def test_what_is_there_is_not_overwritten(interlock: Interlock, tmp_path: Path) -> None:
    """And nothing is written beside it.  R-SVC-40."""
    (tmp_path / "policies.yaml").write_text("mine", encoding="utf-8")
    done = interlock("init", ".", cwd=tmp_path)
    assert done.returncode == 1
    assert "policies.yaml is there already" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["policies.yaml"]
    assert (tmp_path / "policies.yaml").read_text(encoding="utf-8") == "mine"


# --- token --------------------------------------------------------------------------------


async def test_a_token_is_told_once_and_its_line_knows_it(
    interlock: Interlock, tmp_path: Path
) -> None:
    """The token alone on the standard output, its hash on the other.  R-SVC-41, T20."""
    done = interlock(
        "token", "--subject", "ada", "--role", "approver", "--role", "auditor",
        "--name", 'Ada ${HOME} "L"', "--expires", "90d", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    token = done.stdout.removesuffix("\n")
    assert re.fullmatch(r"ilk_[A-Za-z0-9_-]{43}", token)
    assert token not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "sha256:" in line)
    (entry,) = yaml.safe_load(line)
    known = BearerTokens([TokenEntry.model_validate(entry)])
    principal = await known.authenticate({"authorization": f"Bearer {token}"})
    assert principal is not None
    assert (principal.subject, sorted(principal.roles)) == ("ada", ["approver", "auditor"])
    text = f"agent: shop:ask\nstore: 'memory:'\nauth:\n  tokens:\n{line}\n"
    app(tmp_path, text)
    checked = interlock("check", "app.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--subject", ""],
        ["--subject", "x" * 300],
        ["--subject", "anonymous"],
        ["--subject", "agent"],
        ["--subject", "ada", "--role", "king"],
        ["--subject", "ada", "--expires", "tomorrow"],
        [],
    ],
)
def test_a_token_of_nobody_is_refused(
    interlock: Interlock, arguments: list[str], tmp_path: Path
) -> None:
    """R-SVC-41."""
    done = interlock("token", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
