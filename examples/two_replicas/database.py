"""A PostgreSQL server for as long as the example runs, made with the programs of this machine."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def _programs() -> Path:
    """The directory of the newest server; Debian leaves it out of PATH."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    places = Path("/usr/lib/postgresql").glob("*/bin")
    if found_there := sorted(places, key=lambda place: int(place.parent.name.split(".")[0])):
        return found_there[-1]
    raise SystemExit("There is no PostgreSQL here: apt-get install postgresql, or say DATABASE_URL")


@contextmanager
def database() -> Generator[str]:
    """The URL of an empty database, which is gone afterwards; DATABASE_URL names another."""
    if url := os.environ.get("DATABASE_URL"):
        yield url
        return
    programs = _programs()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="two-replicas-", ignore_cleanup_errors=True) as home:
        if user is not None:
            os.chown(home, pwd.getpwnam(user).pw_uid, -1)

        def run(program: str, *arguments: str) -> None:
            line = [str(programs / program), "-D", f"{home}/data", *arguments]
            subprocess.run(  # noqa: S603  ours
                line, check=True, user=user, cwd=home, stdout=subprocess.DEVNULL
            )

        run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        run("pg_ctl", "start", "--wait", "-l", f"{home}/log", "-o", options)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--mode=immediate")
