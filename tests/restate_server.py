"""A real Restate server for tests: fetched once with npm, started on free ports, always stopped.

with restate_server() as server:
    RestateStore(f"{server.url}?admin={server.admin}&...")
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fetching import alone

VERSION: Final = "1.7.12"
#: Where the server is kept between runs.
CACHE: Final = Path.home() / ".cache" / "interlock-tests" / f"restate-{VERSION}"
_BINARY: Final = CACHE / "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server"
#: Seconds to start and to stop.
_START_S: Final = 60.0
_STOP_S: Final = 10.0

#: Of a server for tests: small, quiet, and quick to notice a worker that hangs.
_SETTINGS: Final = {
    "RESTATE_DISABLE_TELEMETRY": "true",
    "RESTATE_DEFAULT_NUM_PARTITIONS": "1",
    "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE": "64 MB",
    "RESTATE_BIND_IP": "127.0.0.1",
    "RESTATE_LISTEN_MODE": "tcp",
    "RESTATE_LOG_FILTER": "warn",
    "RESTATE_LOG_DISABLE_ANSI_CODES": "true",
    # Each call has a connection of its own, so that workers which share a port share the calls.
    "RESTATE_WORKER__INVOKER__HTTP2_STREAMS_PER_CONNECTION_LIMIT": "1",
    "RESTATE_WORKER__INVOKER__HTTP2_KEEP_ALIVE_INTERVAL": "1s",
    "RESTATE_WORKER__INVOKER__HTTP2_KEEP_ALIVE_TIMEOUT": "1s",
}


#: Runs the server, and kills it as it is told: by SIGKILL also when whoever started it is gone.
_GUARD: Final = '"$@" & server=$!; read signal; kill -s "${signal:-KILL}" $server; wait $server'


class RestateServer:
    """A server in a directory of its own, which may be killed and started again."""

    def __init__(self, place: Path, settings: Mapping[str, str]) -> None:
        self._place: Final = place
        ingress, admin, node = free_port(), free_port(), free_port()
        #: `restate://host:port`, where calls come in.
        self.url: Final = f"restate://127.0.0.1:{ingress}"
        #: `http://host:port` of its administration.
        self.admin: Final = f"http://127.0.0.1:{admin}"
        #: What it has to say.
        self.log: Final = place / "log"
        self._healths: Final = (f"{self.admin}/health", _health(ingress))
        own = {"PATH", "HOME", "TMPDIR"}
        self._env: Final = {
            **{name: value for name, value in os.environ.items() if name in own},
            **_SETTINGS,
            "RESTATE_INGRESS__BIND_PORT": str(ingress),
            "RESTATE_ADMIN__BIND_PORT": str(admin),
            "RESTATE_BIND_PORT": str(node),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it, and wait until it answers.

        Raises:
            RuntimeError: it does not.
        """
        data = str(self._place / "data")
        command = [str(restate_binary()), "--base-dir", data, "--node-name", "n1", "--no-logo"]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "guard", *command],
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                cwd=self._place,
            )
        for url in self._healths:
            _answers(url, self._process, self.log)

    def kill(self) -> None:
        """As if the power had failed."""
        self._end(b"KILL\n")

    def stop(self) -> None:
        """Let it end of itself, if it will; harmless when it has."""
        self._end(b"TERM\n")

    def _end(self, how: bytes) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as guard:
            guard.write(how)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            # The guard is the parent of the server, which notices that its pipes are gone.
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of the loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _fetch() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("tests of the Restate host need npm, to fetch the Restate server")
    CACHE.mkdir(parents=True, exist_ok=True)
    # Here, and not in a folder above; by `--prefix` npm would not read the machine's settings.
    (CACHE / "package.json").write_text('{"private": true}', encoding="utf-8")
    package = f"@restatedev/restate-server@{VERSION}"
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", package],
        cwd=CACHE,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"npm could not fetch the Restate server:\n{done.stderr[-2_000:]}")


def restate_binary() -> Path:
    """The server's program, which npm fetches if it was never needed before.

    Raises:
        RuntimeError: it is not there and cannot be fetched.
    """
    with alone():
        if not _BINARY.exists():
            _fetch()
    if not _BINARY.exists():
        raise RuntimeError(f"npm fetched no Restate server for this machine into {CACHE}")
    return _BINARY


@contextlib.contextmanager
def restate_server(settings: Mapping[str, str] | None = None) -> Generator[RestateServer]:
    """Run a server with nothing in it; `settings` are further variables of its environment."""
    with tempfile.TemporaryDirectory(prefix="restate-", ignore_cleanup_errors=True) as place:
        server = RestateServer(Path(place), settings or {})
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _health(ingress: int) -> str:
    return f"http://127.0.0.1:{ingress}/restate/health"


def _answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it answers well."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        with (
            contextlib.suppress(OSError, urllib.error.URLError),
            urllib.request.urlopen(url, timeout=1.0) as answer,  # noqa: S310  our own address
        ):
            if answer.status == HTTPStatus.OK:
                return
        time.sleep(0.05)
    said = log.read_text(errors="replace")[-2_000:]
    raise RuntimeError(f"the Restate server did not start:\n{said}")
