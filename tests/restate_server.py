"""A real Restate server for tests: fetched once with npm, started on free ports, always stopped.

    with restate_server() as server:
        RestateStore(f"{server.url}?admin={server.admin}&...")
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VERSION: Final = "1.7.12"
#: Where the server is kept between runs.
CACHE: Final = Path.home() / ".cache" / "interlock-tests" / f"restate-{VERSION}"
_BINARY: Final = (
    CACHE / "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server"
)
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


@dataclass(frozen=True, slots=True)
class RestateServer:
    """A server that runs."""

    #: `restate://host:port`, where calls come in.
    url: str
    #: `http://host:port` of its administration.
    admin: str
    pid: int
    #: What it has to say.
    log: Path


def free_port() -> int:
    """A port of the loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def restate_binary() -> Path:
    """The server's program, which npm fetches if it was never needed before.

    Raises:
        RuntimeError: it is not there and cannot be fetched.
    """
    if not _BINARY.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError("tests of the Restate host need npm, to fetch the Restate server")
        CACHE.mkdir(parents=True, exist_ok=True)
        package = f"@restatedev/restate-server@{VERSION}"
        subprocess.run(  # noqa: S603  our own arguments
            [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", ".", package],
            cwd=CACHE,
            check=True,
            capture_output=True,
            timeout=300,
        )
    if not _BINARY.exists():
        raise RuntimeError(f"npm fetched no Restate server for this machine into {CACHE}")
    return _BINARY


@contextlib.contextmanager
def restate_server(settings: Mapping[str, str] | None = None) -> Generator[RestateServer]:
    """Run a server with nothing in it; `settings` are further variables of its environment."""
    ingress, admin, node = free_port(), free_port(), free_port()
    env = {
        **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR"}},
        **_SETTINGS,
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_BIND_PORT": str(node),
        **(settings or {}),
    }
    binary = restate_binary()
    with tempfile.TemporaryDirectory(prefix="restate-") as place:
        log = Path(place, "log")
        command = [str(binary), "--base-dir", f"{place}/data", "--node-name", "n1", "--no-logo"]
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603  our own arguments
                command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=place
            )
        try:
            for url in (f"http://127.0.0.1:{admin}/health", _health(ingress)):
                _answers(url, process, log)
            at = f"http://127.0.0.1:{admin}"
            yield RestateServer(f"restate://127.0.0.1:{ingress}", at, process.pid, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _health(ingress: int) -> str:
    return f"http://127.0.0.1:{ingress}/restate/health"


def _answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it answers well."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError):
            with urllib.request.urlopen(url, timeout=1.0) as answer:  # noqa: S310  our own address
                if answer.status == 200:  # noqa: PLR2004
                    return
        time.sleep(0.05)
    said = log.read_text(errors="replace")[-2_000:]
    raise RuntimeError(f"the Restate server did not start:\n{said}")
