"""What a stranger meets first: faults in one line, an open door that is refused, a front page.

R-SVC-30, R-SVC-35, R-SVC-38, R-SVC-39.  T2 (open to everyone).
"""

import logging
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.routing import Mount

import service_cli
from interlock import Engine, TaskContext
from interlock.errors import InvalidInput
from interlock_adapters.auth import OpenToEveryone
from interlock_adapters.config import (
    A2AConfig,
    AuthConfig,
    Config,
    FacesConfig,
    GrpcConfig,
    McpFaceConfig,
    ServerConfig,
    TokenConfig,
    load_config,
)
from interlock_adapters.server import NOT_STARTED
from interlock_adapters.service import Service

AGENT: Final = '''\
async def agent(task):
    return "x"


def book(city: str) -> str:
    """Book."""
    return city
'''
#: More than this is a hang.
RUN_S: Final = 60


async def agent(task: TaskContext) -> str:
    """Ask."""
    return await task.ask("Where to?")


def config(**said: object) -> Config:
    """A service without a file."""
    return Config.model_validate({"agent": agent, "store": "memory:", "name": "Travel", **said})


@asynccontextmanager
async def served(app: Any, service: Service) -> AsyncGenerator[httpx.AsyncClient]:  # noqa: ANN401  ASGI
    """A client on this machine."""
    here = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        service.lifespan(),
        httpx.AsyncClient(transport=here, base_url="http://127.0.0.1:8000") as client,
    ):
        yield client


# --- it cannot start ------------------------------------------------------------------------


def started(folder: Path, text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What comes of serving what cannot start."""
    (folder / "agent.py").write_text(AGENT, encoding="utf-8")
    (folder / "app.yaml").write_text(f"agent: agent:agent\n{text}", encoding="utf-8")
    return subprocess.run(
        [sys.executable, service_cli.__file__, "serve", "--port", "0", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "said", "code"),
    [
        ("store: sqlite:///t.db\n", "t.db is open", NOT_STARTED),
        ("store: sqlite:///new.db\n", "new.db has schema 9999", NOT_STARTED),
        ("store: sqlite:///no/such/t.db\n", "no/such", NOT_STARTED),
        ("store: memory\ntools: [agent:book]\npolicies: {boook: {confirm: always}}\n", "boook", 1),
        (
            "store: memory\nmcp: {air: {url: 'http://127.0.0.1:9/mcp', retry: {attempts: 1}}}\n",
            "air",
            NOT_STARTED,
        ),
        ("store: memory\npolicies: nofile.yaml\n", "app.yaml:3: policies: nofile.yaml", 1),
        ("store: memory:\n", "is quoted", 1),
    ],
)
async def test_what_cannot_start_is_told_without_a_traceback(
    tmp_path: Path, text: str, said: str, code: int
) -> None:
    """And it is not said where everything is.  R-SVC-38."""
    store = f"sqlite:///{tmp_path}"
    async with Engine(agent, store=f"{store}/new.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "new.db")) as db, db:
        db.execute("PRAGMA user_version = 9999")
    async with Engine(agent, store=f"{store}/t.db"):
        done = started(tmp_path, text)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr, done.stderr
    assert sum("INFO" not in line for line in done.stderr.splitlines()) <= 2, done.stderr


async def test_a_port_of_grpc_that_is_taken_is_told() -> None:
    """With its place.  R-SVC-33, R-SVC-38."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        service = Service.of(config(faces={"a2a": {"grpc": {"port": port}}}))
        with pytest.raises(InvalidInput, match=rf"faces.a2a.grpc: .*{port}"):
            async with service.lifespan():
                pass


def test_a_rule_that_names_no_tool_is_a_fault_before_anything_starts() -> None:
    """Unless a server that nobody asked yet may have it.  R-SVC-39."""
    rules: Any = {"boook": {"confirm": "always"}}
    with pytest.raises(InvalidInput, match=r"policies: .*boook"):
        Service.of(config(policies=rules))
    Service.of(config(policies=rules, mcp={"air": {"url": "http://air.example/mcp"}}))


# --- open to everyone -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "server",
    [
        {"url": "https://travel.example"},
        {"allowed_hosts": ["travel.example"]},
        {"allowed_hosts": ["*"]},
        {"url": "http://10.0.0.7:8000"},
        {"host": "0.0.0.0"},  # noqa: S104  that is the point
    ],
)
async def test_what_is_called_from_elsewhere_asks_who_calls(
    server: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Behind a proxy everybody comes from this machine.  R-SVC-35, R-SVC-39, T2."""
    service = Service.of(config(server=server))
    with pytest.raises(OpenToEveryone):
        service.refuse_open()
    with pytest.raises(OpenToEveryone):
        async with service.lifespan():
            pass
    path = tmp_path / "app.yaml"
    path.write_text(f"agent: json:dumps\nstore: memory\nserver: {server}\n", encoding="utf-8")
    assert service_cli.main(["check", str(path)]) == 1
    assert "there is no authentication" in capsys.readouterr().err
    token = TokenConfig(hash=f"sha256:{'0' * 64}", subject="ada")
    Service.of(config(server=server, auth=AuthConfig(tokens=(token,)))).refuse_open()
    said = {**server, "dangerously_open_to_everyone": True}
    Service.of(config(server=said)).refuse_open()


@pytest.mark.parametrize(
    "server",
    [{"url": "http://localhost:9"}, {"url": "http://[::1]:9"}, {"allowed_hosts": ["a.localhost"]}],
)
def test_this_machine_may_be_called_by_its_own_names(server: dict[str, Any]) -> None:
    """R-SVC-35."""
    Service.of(config(server=server)).refuse_open()


def test_a_name_of_grpc_counts_as_well() -> None:
    """R-SVC-33, T2."""
    faces = FacesConfig(a2a=A2AConfig(grpc=GrpcConfig(url="travel.example:443")))
    with pytest.raises(OpenToEveryone):
        Service.of(config(faces=faces)).refuse_open()


# --- paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faces",
    [
        {"a2a": A2AConfig(rpc_path="/console")},
        {"a2a": A2AConfig(rest_path="/manage/")},
        {"mcp": McpFaceConfig(path="/manage/mcp")},
        {"mcp": McpFaceConfig(path="/healthz")},
        {"mcp": McpFaceConfig(path="/a2a/rpc")},
        {"a2a": A2AConfig(rest_path="/x", rpc_path="/x/")},
    ],
)
def test_faces_have_paths_of_their_own(faces: dict[str, Any], tmp_path: Path) -> None:
    """R-SVC-31."""
    with pytest.raises(ValidationError, match="another"):
        FacesConfig(**faces)
    path = tmp_path / "app.yaml"
    path.write_text("agent: a:b\nfaces:\n  mcp: {path: /manage}\n", encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        load_config(path)
    (told,) = caught.value.problems
    assert told.startswith(f"{path}:3: faces: mcp.path: /manage is at /manage")


async def test_the_front_page_leads_to_what_is_there() -> None:
    """To the console, and without one it says what there is.  R-SVC-30."""
    service = Service.of(config())
    async with served(service.app, service) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    service = Service.of(config(faces=FacesConfig(console=False, mcp=None)))
    async with served(service.app, service) as client:
        assert (await client.get("/")).json() == {
            "name": "Travel",
            "agent_card": "/.well-known/agent-card.json",
            "management": "/manage",
            "health": "/healthz",
        }


async def test_a_service_below_a_path_says_so_or_warns(caplog: pytest.LogCaptureFixture) -> None:
    """Its card would lead elsewhere.  R-SVC-36."""
    for url, warned in ((None, 1), ("http://127.0.0.1:8000/agent", 0)):
        service = Service.of(config(server=ServerConfig(url=url)))
        app = Starlette(routes=[Mount("/agent", service.app)])
        caplog.clear()
        with caplog.at_level(logging.WARNING, "interlock.service"):
            async with served(app, service) as client:
                card = (await client.get("/agent/.well-known/agent-card.json")).json()
                answer = await client.get("/agent/")
        assert answer.headers["location"] == "/agent/console"
        assert len(caplog.messages) == warned, caplog.messages
        if not warned:
            assert card["supportedInterfaces"][0]["url"] == f"{url}/a2a/rpc"
