"""A real PostgreSQL server for tests, on a free port of this machine, and nobody else's.

    with PgServer() as server:
        url = server.create()          # a fresh database
        server.stop_immediately()      # as if the power had failed
        server.start()

It is made by `initdb` in a directory of its own and is gone at the end of the block, also
when a test fails.  PostgreSQL refuses to run as root: then it runs as an ordinary user.  It
does not outlive the process that started it either, whatever becomes of that.
`pg_server` is the fixture, one server for a whole session: import it in a `conftest.py`.
"""

import contextlib
import functools
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from signal import SIGKILL
from typing import Final, Self

import psycopg
import pytest

from fetching import alone

#: Where Debian puts the servers, which it leaves out of PATH; the newest is taken.
_DEBIAN: Final = Path("/usr/lib/postgresql")
#: Whom it runs as where we are root, the first that there is.
_USERS: Final = ("postgres", "nobody")
#: Seconds until it answers: what was stopped by force first recovers, beside whatever else runs.
_START_S: Final = 120.0
#: Runs the server, and stops it by the signal that it is told; by SIGQUIT (immediately) when
#: whoever started it is gone, even by kill -9.
_GUARD: Final = '"$@" & server=$!; read signal; kill -s "${signal:-QUIT}" $server; wait $server'
_SETTINGS: Final = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=on",
    "max_connections=200",
    "shared_buffers=16MB",
    "max_wal_size=256MB",
    "min_wal_size=32MB",
    "dynamic_shared_memory_type=mmap",
    "max_wal_senders=0",
    "wal_level=minimal",
    "logging_collector=off",
    "log_min_messages=warning",
    "deadlock_timeout=100ms",
)


class PgMissing(RuntimeError):
    """There is no PostgreSQL here, and none could be installed."""


def _newest() -> Path | None:
    """The directory of the newest server programs."""
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    versions = sorted(
        (place for place in _DEBIAN.glob("*/bin") if (place / "initdb").exists()),
        key=lambda place: int(place.parent.name.split(".")[0]),
    )
    return versions[-1] if versions else None


@functools.cache
def programs() -> Path:
    """The directory with `initdb` and `pg_ctl`, installed from Debian if need be.

    Raises:
        PgMissing: it is not there and cannot be installed.
    """
    with alone():
        if _newest() is None and os.geteuid() == 0 and shutil.which("apt-get"):
            install = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]
            # Without a cluster of its own, which would be started and left running.
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
            subprocess.run(install, env=quiet, capture_output=True, check=False, timeout=600)
    if (found := _newest()) is None:
        raise PgMissing(
            "these tests need a PostgreSQL server: put `initdb` and `pg_ctl` on PATH, or "
            "`apt-get install postgresql`; they are never skipped"
        )
    return found


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ordinary_user() -> pwd.struct_passwd | None:
    """Whom the server runs as; None is ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PgMissing(f"PostgreSQL refuses to run as root, and none of {_USERS} is a user here")


class PgServer:
    """One server.  `start` and `stop` may be called again and again; the data stay."""

    def __init__(self, *settings: str) -> None:
        """Settings ("name=value") on top of small ones."""
        self._settings: Final = (*_SETTINGS, *settings)
        self._user: Final = _ordinary_user()
        self._home: Path | None = None
        self._names: Final = itertools.count(1)
        self._spare: Final[list[str]] = []
        self._process: subprocess.Popen[bytes] | None = None
        #: The TCP port, the same after every start.
        self.port = free_port()

    def __enter__(self) -> Self:
        """Make it and start it."""
        self._home = Path(tempfile.mkdtemp(prefix="interlock-pg-"))
        try:
            if self._user is not None:
                os.chown(self._home, self._user.pw_uid, self._user.pw_gid)
            self._run(
                [
                    "initdb",
                    "--no-sync",
                    "--auth=trust",
                    "--username=postgres",
                    "--encoding=UTF8",
                    "--locale=C",
                    f"--pgdata={self._data}",
                ]
            )
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it at once and remove all that it wrote."""
        try:
            self.stop_immediately()
        finally:
            if self._home is not None:
                shutil.rmtree(self._home, ignore_errors=True)

    def url(self, database: str) -> str:
        """The URL of a database of that name, which may not be there."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self) -> str:
        """A fresh, empty database; its URL."""
        if self._spare:
            return self._spare.pop()
        name = f"t{next(self._names)}"
        with psycopg.connect(self.url("template1"), autocommit=True, connect_timeout=10) as db:
            # Cheaper than a copy of files and a checkpoint, where it is known.
            strategy = " STRATEGY wal_log" if db.info.server_version >= 150000 else ""
            db.execute(f"CREATE DATABASE {name}{strategy}".encode())
        return self.url(name)

    def drop(self, url: str) -> None:
        """Give back a database that `create` made: whoever is connected is thrown out.

        It is emptied and kept for the next `create`, which costs a tenth of a new one.
        """
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            schemas = db.execute(
                "SELECT quote_ident(nspname) FROM pg_namespace"
                " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
            ).fetchall()
            for (schema,) in schemas:
                db.execute(f"DROP SCHEMA {schema} CASCADE".encode())
            db.execute("CREATE SCHEMA public")
        self._spare.append(url)

    def start(self) -> None:
        """Start it and wait until it accepts connections; harmless when it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        options = itertools.chain.from_iterable(("-c", setting) for setting in self._settings)
        with (self._root / "log").open("ab") as log:
            program = str(programs() / "postgres")
            self._process = subprocess.Popen(
                self._as_user(
                    ["sh", "-c", _GUARD, "sh", program, "-D", str(self._data)],
                    ["-p", str(self.port), *options],
                ),
                cwd=self._root,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._run(
            ["pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-d", "template1"], until=True
        )

    def stop(self) -> None:
        """Stop it in order: connections are cut, the last changes written; harmless if stopped."""
        self._stop(b"INT\n")

    def stop_immediately(self) -> None:
        """Stop it as a failure of the machine would: it recovers when it starts again."""
        self._stop(b"QUIT\n")

    def log(self) -> str:
        """What it has logged so far."""
        return (self._root / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def _root(self) -> Path:
        if self._home is None:
            raise RuntimeError("the server is used outside of its `with` block")
        return self._home

    @property
    def _data(self) -> Path:
        return self._root / "data"

    def _stop(self, signal: bytes) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(signal, timeout=60)
        except subprocess.TimeoutExpired:
            # It is one session: the guard and the server with all its children.
            os.killpg(process.pid, SIGKILL)
            process.wait()

    def _as_user(self, *lines: Sequence[str]) -> list[str]:
        """The command as the ordinary user runs it."""
        line = list(itertools.chain.from_iterable(lines))
        if self._user is None:
            return line
        user = self._user
        return [
            "setpriv",
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            *line,
        ]

    def _run(self, command: Sequence[str], *, until: bool = False) -> None:
        """Run one of its programs; with `until`, again until it succeeds.

        Raises:
            RuntimeError: it failed, with what it said and what the server logged.
        """
        program, *arguments = command
        line = self._as_user([str(programs() / program), *arguments])
        said = ""
        wait = ["--timeout=1"] if until else []
        give_up_at = time.monotonic() + _START_S
        while True:
            done = subprocess.run(
                [*line, *wait],
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=120,
            )
            if done.returncode == 0:
                return
            said = (done.stdout + done.stderr).decode(errors="replace")
            if not until or self._process is None or time.monotonic() >= give_up_at:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                break
        log = self.log()[-2000:] if (self._root / "log").exists() else ""
        raise RuntimeError(f"{command[0]} failed: {said}\n{log}")


@pytest.fixture(scope="session")
def pg_server() -> Generator[PgServer]:
    """One server for the whole session; each test makes databases of its own."""
    with PgServer() as server:
        yield server


@pytest.fixture
def pg_url(pg_server: PgServer) -> Generator[str]:
    """A fresh database, dropped at the end."""
    url = pg_server.create()
    yield url
    pg_server.drop(url)


@pytest.fixture
def own_pg_server() -> Generator[PgServer]:
    """A server for this test alone, which may stop it."""
    with PgServer() as server:
        yield server
