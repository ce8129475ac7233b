"""The servers and workers of `bench.scale`: real ones, on loopback, all gone at the end."""

import contextlib
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
from psycopg import sql

from bench import _place
from bench._process import ROOT
from bench._scale_path import TESTS
from bench._scale_proc import cpu_s, descendants, disk_bytes, rss_mib, threads
from bench._scale_wire import READY
from pg_server import PgServer
from restate_server import RestateServer, free_port, restate_server

#: Seconds that a worker has to start, and to end.
START_S: Final = 60.0
STOP_S: Final = 20.0
#: Of a database server that is in earnest, as far as one machine of two cores can be.
PG_SETTINGS: Final = ("shared_buffers=128MB", "max_wal_size=1GB")
RESTATE_SETTINGS: Final = {
    "RESTATE_DEFAULT_NUM_PARTITIONS": "8",
    "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "256 MB",
}
_TABLES: Final = (
    "SELECT relname FROM pg_class"
    " WHERE relnamespace = 'interlock'::regnamespace AND relkind = 'r' AND relname <> 'version'"
)
_SQLITE_ROWS: Final = (
    "SELECT count(*) FROM task",
    "SELECT count(*) FROM event",
    "SELECT count(*) FROM claim",
    "SELECT count(*) FROM watch",
)
_BYTES: Final = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class"
    " WHERE relnamespace = 'interlock'::regnamespace AND relkind = 'r'"
)


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to live."""

    name: str
    #: The module of its workers.
    module: str = "bench._scale_worker"
    #: Which servers it needs: "restate" needs PostgreSQL, too.
    server: str = ""
    python: Callable[[], Path] = lambda: Path(sys.executable)
    #: What its workers can do: lives of which shapes, and whether tasks can be parked.
    shapes: tuple[str, ...] = ("step", "ask")
    #: In how many processes it may be.
    processes: tuple[int, ...] = (1, 2, 4)


SQLITE: Final = Arm("SQLite", processes=(1,))
POSTGRES: Final = Arm("PostgreSQL", server="postgres")
RESTATE: Final = Arm("Restate", server="restate")
ALONE: Final = Arm(
    "procrastinate alone",
    "bench._scale_procrastinate",
    "postgres",
    shapes=("step",),
    processes=(1,),
)
DBOS: Final = Arm("DBOS", "bench._scale_dbos", "postgres", _place.DBOS.python, ("step",), (1,))


class Size(NamedTuple):
    """What a store takes on its servers."""

    rows: int
    #: In the database, and in the directory of Restate.
    database_bytes: int
    server_bytes: int


class Hosts:
    """The servers, started when first needed; use it in a `with` block."""

    def __init__(self, folder: Path, *pg_settings: str) -> None:
        """`folder` is where all data go; `pg_settings` are on top of ours."""
        self.folder: Final = folder
        self._settings: Final = pg_settings
        self._stack: Final = contextlib.ExitStack()
        self._postgres: PgServer | None = None
        self._restate: RestateServer | None = None
        self._numbers: Final = itertools.count(1)

    def __enter__(self) -> Self:
        # What servers write goes to the disk of the checkout: /tmp may be memory.
        self.folder.chmod(0o711)  # The database server runs as somebody else.
        self._stack.callback(setattr, tempfile, "tempdir", tempfile.tempdir)
        tempfile.tempdir = str(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def postgres(self) -> PgServer:
        """The PostgreSQL server."""
        if self._postgres is None:
            server = PgServer(*PG_SETTINGS, *self._settings)
            self._postgres = self._stack.enter_context(server)
        return self._postgres

    def restate(self) -> RestateServer:
        """The Restate server."""
        if self._restate is None:
            self._restate = self._stack.enter_context(restate_server(RESTATE_SETTINGS))
        return self._restate

    def url(self, arm: Arm) -> str:
        """The URL of an empty store."""
        match arm.server:
            case "postgres":
                return self.postgres().create()
            case "restate":
                options = {
                    "admin": self.restate().admin,
                    "projection": self.postgres().create(),
                    "serve": f"127.0.0.1:{free_port()}",
                    "share": "1",
                    "namespace": f"Bench{next(self._numbers)}",
                }
                return f"{self.restate().url}?{urlencode(options)}"
            case _:
                return f"sqlite:///{self.folder}/{next(self._numbers)}.db"

    def pids(self, arm: Arm) -> list[int]:
        """Its servers' processes, as of now."""
        names = {"postgres": ["postgres"], "restate": ["postgres", "restate-server"]}
        return [pid for name in names.get(arm.server, ()) for pid in descendants(os.getpid(), name)]

    def connections(self, arm: Arm, url: str) -> int:
        """How many there are to its database."""
        if arm.server != "postgres":
            return 0
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as db:
            row = db.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
        return 0 if row is None else int(row[0])

    def size(self, arm: Arm, url: str) -> Size:
        """What the tasks of a store take."""
        if not arm.server:
            path = Path(url.removeprefix("sqlite:///"))
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
                rows = sum(file.execute(count).fetchone()[0] for count in _SQLITE_ROWS)
            return Size(rows, sum(p.stat().st_size for p in path.parent.glob(f"{path.name}*")), 0)
        if arm.server == "restate":
            database = dict(parse_qsl(urlsplit(url).query))["projection"]
            directory = disk_bytes(self.restate().log.parent)
        else:
            database, directory = url, 0
        with psycopg.connect(database, autocommit=True, connect_timeout=10) as db:
            size = db.execute(_BYTES).fetchone()
            rows = 0
            for (name,) in db.execute(_TABLES).fetchall():
                count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("interlock", name))
                found = db.execute(count).fetchone()
                rows += 0 if found is None else int(found[0])
        return Size(rows, 0 if size is None else int(size[0]), directory)


class Held(NamedTuple):
    """What processes hold: of the workers, of one on average."""

    rss_mib: float
    threads: float
    server_rss_mib: float


class Workers:
    """So many workers on one store."""

    def __init__(self, processes: Sequence["subprocess.Popen[str]"], ready: Sequence[str]) -> None:
        """Those that were started, and what they said."""
        said = [json.loads(line) for line in ready]
        self.pids: Final = [process.pid for process in processes]
        self.ports: Final[list[int]] = [one["port"] for one in said]
        #: Seconds that each took to open its engine, Python and imports aside.
        self.started_s: Final[list[float]] = [one["started_s"] for one in said]

    def cpu_s(self) -> float:
        """CPU seconds of all of them."""
        return cpu_s(self.pids)

    def held(self, servers: Sequence[int]) -> Held:
        """What they and those servers hold now."""
        count = len(self.pids)
        number = sum(map(threads, self.pids)) / count
        return Held(rss_mib(self.pids) / count, number, rss_mib(servers))


@contextlib.contextmanager
def workers(arm: Arm, url: str, count: int, folder: Path, *more: str) -> Generator[Workers]:
    """Run so many workers on that store, which end with the block.

    Raises:
        RuntimeError: one did not start; with what it said.
    """
    command = [str(arm.python()), "-m", arm.module, url, *more]
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    if arm.python() != Path(sys.executable):
        del env["PYTHONPATH"]  # Its environment is not ours.
    errors = folder / "errors"
    processes: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            with errors.open("a") as log:
                processes.append(
                    subprocess.Popen(
                        command,
                        cwd=ROOT,
                        env=env,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                    )
                )
        yield Workers(processes, [_ready(arm, process, errors) for process in processes])
    finally:
        for process in processes:
            _end(process)


def _ready(arm: Arm, process: "subprocess.Popen[str]", errors: Path) -> str:
    """What it says when it is ready."""
    assert process.stdout is not None
    alarm = threading.Timer(START_S, process.kill)
    alarm.start()
    try:
        for line in process.stdout:
            if line.startswith(READY):
                return line.removeprefix(READY)
    finally:
        alarm.cancel()
    said = errors.read_text(encoding="utf-8", errors="replace").strip()
    raise RuntimeError(f"a worker on {arm.name} did not start: {said[-400:]}")


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
