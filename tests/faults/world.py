"""The world outside the engine: what was done there stays done, whoever is killed.

One line for each execution, in a file that the engine knows nothing of.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

#: Where the lines go; set once, by the process that does things.
_FILE: Final = "FAULTS_WORLD"


class Effect(NamedTuple):
    """One execution of a call."""

    #: `task/key`, as the engine names the call to the service.
    call: str
    name: str
    idempotent: bool
    pid: int
    #: What it was done with.
    what: Any
    #: The key of the ask by which it was approved; "" where it needs no leave.
    leave: str = ""
    #: When, in seconds of a clock that all processes of this machine share and nobody sets.
    at: float = 0.0


def settle(path: Path) -> None:
    """Say where this process does things."""
    os.environ[_FILE] = str(path)


def do(effect: Effect) -> None:
    """Do it: durable, and whole or not at all, when it returns."""
    write_line(Path(os.environ[_FILE]), effect._replace(at=time.monotonic())._asdict())


def write_line(path: Path, line: dict[str, Any], *, synced: bool = True) -> None:
    """Append one line of JSON, and wait for the disk unless whoever writes is not killed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        if synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def effects_in(path: Path) -> list[Effect]:
    """What was done, in its order."""
    if not path.exists():
        return []
    return [Effect(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
