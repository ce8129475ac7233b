"""A store that processes share, in a configuration: found early, and its password seen nowhere.

R-SCALE-30 (any URL of a store that a package declares, checked before anything starts),
R-SCALE-31 (a password in it is seen nowhere), R-SCALE-32 (a server that is not there).  T20.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

import service_cli
from interlock import LIFECYCLE, Engine, Limits, Phase, TaskContext
from interlock.errors import InvalidInput, StoreError
from interlock_adapters._shown.config import as_written, without_secrets
from interlock_adapters.config import Config, PostgresConfig, load_config
from interlock_adapters.postgres import PostgresStore
from interlock_adapters.restate import RestateStore
from interlock_adapters.server import NOT_STARTED
from interlock_adapters.service import Service
from pg_server import free_port

CANARY: Final = "canary-of-the-store-7f3a9"
#: A lifecycle of one's own.
LONGER: Final = LIFECYCLE.extend(Phase.further("waiting_shared", like=Phase.WAITING_INPUT))
#: A first start of the interpreter on a busy machine; more than this is a hang.
RUN_S: Final = 60


async def agent(task: TaskContext) -> str:
    """Do nothing."""
    return task.task_id


def config(store: str, **said: object) -> Config:
    """A service without a file."""
    return Config.model_validate({"agent": agent, "store": store, **said})


def loaded(folder: Path, text: str, **environ: str) -> Config:
    """What a file says."""
    path = folder / "app.yaml"
    path.write_text(f"agent: json:dumps\n{text}\n", encoding="utf-8")
    return load_config(path, environ=environ)


# --- what is accepted -----------------------------------------------------------------------


def test_the_url_names_the_store() -> None:
    """Nothing is connected to.  R-SCALE-30."""
    for url in ("postgresql://db/tasks", "postgres://db/tasks"):
        service = Service.of(config(url))
        assert isinstance(service.engine._store, PostgresStore)
        assert service.engine.is_replica
    further = {"lifecycle": LONGER, "limits": Limits(grace_s=3.0)}
    url = "restate://h:8080?projection=postgresql%3A%2F%2Fdb%2Ftasks"
    restate = Service.of(config(url, **further)).engine._store
    assert isinstance(restate, RestateStore)
    # Its handlers fire, too.
    assert (restate.lifecycle, restate.grace_s) == (LONGER, 3.0)
    assert not Service.of(config("memory:")).engine.is_replica


def test_how_a_process_is_a_replica_is_said_beside_it() -> None:
    """In the words of the store's own settings.  R-SCALE-30."""
    said = PostgresConfig(connections=3, patience_s=1.0, heartbeat_s=0.2, dead_after_s=2.0)
    store = Service.of(config("postgresql://db/tasks", postgres=said)).engine._store
    # The same file may be used with another store, as where it is tried out.
    assert not Service.of(config("memory:", postgres=said)).engine.is_replica
    assert isinstance(store, PostgresStore)
    assert (store._connections, store._patience_s) == (3, 1.0)
    assert (store._turns._heartbeat_s, store._turns._dead_after_s) == (0.2, 2.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: postgresql://db:port/tasks", "app.yaml:2: store: the URL of the store has a port"),
        ("store: restate://db?admin=x", "app.yaml:2: store: admin in the store's URL is not http"),
        (
            "store: postgresql://db/tasks\npostgres: {heartbeat_s: 5}",
            "app.yaml:3: postgres: a dead_after_s of more than twice heartbeat_s is accepted",
        ),
        ("store: cockroach://db/tasks", "app.yaml:2: store: 'memory:', sqlite:///"),
    ],
)
def test_what_is_wrong_with_it_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """Before anything starts.  R-SCALE-30."""
    with pytest.raises(InvalidInput) as caught:
        Service.of(loaded(tmp_path, text))
    assert said in caught.value.problems[0]


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("postgresql://db/tasks", "interlock_adapters.postgres", "postgres"),
        ("restate://h", "interlock_adapters.restate", "restate"),
    ],
)
def test_an_extra_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str
) -> None:
    """With what brings it.  R-SCALE-30."""
    importlib.import_module(module)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidInput) as caught:
        Service.of(config(url))
    assert f"pip install 'interlock[{extra}]'" in str(caught.value)


def test_a_part_of_a_service_needs_others_on_its_store() -> None:
    """A worker of nobody, and faces of what nobody runs.  R-SCALE-30."""
    with pytest.raises(InvalidInput, match="is accepted for a worker"):
        Service.of(config("memory:"), faces=False)
    with pytest.raises(InvalidInput, match="nobody else can run the agents"):
        Service.of(config("memory:"), turns=False)
    with pytest.raises(InvalidInput, match="takes_turns=False needs a store that"):
        Engine(agent, store="memory:", takes_turns=False)


# --- what is seen of it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://app:{CANARY}@db:5432/tasks", "postgresql://db:5432/tasks"),
        (f"postgresql://db/tasks?password={CANARY}", "postgresql://db/tasks?(secret)"),
        (f"postgresql://app:a/{CANARY}@db/tasks", "postgresql://db/tasks"),
        (f"postgresql://app:a?{CANARY}@db/tasks", "postgresql://db/tasks"),
        (f"postgresql://app:a@{CANARY}@db/tasks", "postgresql://db/tasks"),
        (f"postgresql://app:{CANARY}@a:1,b:2/tasks", "postgresql://a:1,b:2/tasks"),
        (f"restate://h?projection=postgresql://a:{CANARY}@db/t", "restate://h?(secret)"),
        ("sqlite:///of@home.db", "sqlite:///of@home.db"),
        ("memory:", "memory:"),
    ],
)
def test_of_a_url_the_address_is_shown(url: str, said: str) -> None:
    """However badly a password is quoted.  R-SCALE-31, T20."""
    assert without_secrets(url) == said
    assert CANARY not in as_written(url)


def test_what_a_file_has_beside_the_environment_is_not_shown(tmp_path: Path) -> None:
    """A reference is no secret, and what stands beside it may be one.  R-SCALE-31, T20."""
    environ = {"HOST": "db", "PASSWORD": CANARY, "URL": f"postgresql://app:{CANARY}@db/tasks"}
    for text, said in (
        ("postgresql://app:${PASSWORD}@db/tasks", "postgresql://app:${PASSWORD}@db/tasks"),
        (f"postgresql://app:{CANARY}@${{HOST}}/tasks", "postgresql://${HOST}/tasks"),
        (f"postgresql://app:{CANARY}${{HOST}}@db/tasks", "postgresql://db/tasks"),
        (f"${{NO:-postgresql://app:{CANARY}@db/tasks}}", "${NO}"),
        (f"postgresql://${{HOST}}/t?password={CANARY}", "postgresql://${HOST}/t?(secret)"),
        ("${URL}", "${URL}"),
    ):
        found = loaded(tmp_path, f"store: '{text}'", **environ)
        assert found.shown()["store"] == said
        assert CANARY not in f"{found!r} {found} {found.shown()}"


def test_a_password_is_in_no_fault(tmp_path: Path) -> None:
    """Where the URL is what is wrong.  R-SCALE-31, T20."""
    for url in (
        f"cockroach://app:{CANARY}@db/tasks",
        f"postgresql://app:{CANARY}@db:port/tasks",
        f"postgresql://app:a/{CANARY}@db/tasks",
        f"postgresql://db/tasks?passwort={CANARY}",
        f"restate://app:{CANARY}@h",
        f"restate://h?projection=postgresql://app:{CANARY}@db:x/tasks",
        f"restate://h?secret={CANARY}",
    ):
        with pytest.raises(InvalidInput) as caught:
            Service.of(loaded(tmp_path, f"store: {url}"))
        assert CANARY not in f"{caught.value} {caught.value.problems}", url


def ran(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What comes of a command, as a process of its own."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [sys.executable, service_cli.__file__, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def test_a_server_that_is_not_there_is_told_in_a_line_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By serve; check connects to nothing.  R-SCALE-31, R-SCALE-32, T20."""
    (tmp_path / "app.yaml").write_text(
        "agent: json:dumps\nstore: postgresql://app:${PASSWORD}@127.0.0.1:${DB_PORT}/tasks\n"
    )
    port = str(free_port())
    monkeypatch.setenv("PASSWORD", CANARY)
    monkeypatch.setenv("DB_PORT", port)
    assert service_cli.main(["check", str(tmp_path / "app.yaml")]) == 0
    checked = capsys.readouterr()
    assert f"postgresql://127.0.0.1:{port}/tasks" in checked.out
    served = ran(tmp_path, "serve", "--port", "0")
    assert (served.returncode, served.stdout) == (NOT_STARTED, "")
    assert f"it cannot start: 127.0.0.1:{port}/tasks: no connection" in served.stderr
    assert "Traceback" not in served.stderr
    assert CANARY not in checked.out + checked.err + served.stderr


async def test_a_password_is_not_shown_by_the_management_api(pg_url: str) -> None:
    """Nor by what is printed of the objects.  R-SCALE-31, T20."""
    url = pg_url.replace("postgres@", f"postgres:{CANARY}@")
    service = Service.of(config(url))
    here = httpx.ASGITransport(service.app, client=("127.0.0.1", 1))
    async with (
        service.lifespan(),
        httpx.AsyncClient(transport=here, base_url="http://127.0.0.1:8000") as client,
    ):
        said = await client.get("/manage/config")
        statistics = await client.get("/manage/statistics")
    printed = f"{service.config!r} {service.engine!r} {service.engine._store!r}"
    assert said.json()["store"] == pg_url.replace("postgres@", "")
    assert CANARY not in said.text + statistics.text + printed


async def test_a_server_that_does_not_let_in_is_an_error_without_the_password(pg_url: str) -> None:
    """As whoever embeds it sees it.  R-SCALE-31, R-SCALE-32, T20."""
    url = pg_url.replace("postgres@", f"nobody-there:{CANARY}@")
    with pytest.raises(StoreError) as caught:
        async with Service.of(config(url)).lifespan():
            pass
    assert "nobody-there" in str(caught.value)
    assert CANARY not in repr(caught.value)
