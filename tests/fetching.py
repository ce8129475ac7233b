"""What tests fetch for themselves is fetched by one process, while the others wait for it."""

import fcntl
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone() -> Generator[None]:
    """A block that only one process on this machine is in; look again in it what is there."""
    with (Path(tempfile.gettempdir()) / "interlock-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
