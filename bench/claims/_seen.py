"""What the programs of claims share: how they tell what they saw, and a child that is killed.

Needs the standard library alone, so that it runs in every peer's environment.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: Seconds for a child to do what it is to be killed at.
PATIENCE_S: Final = 60.0


def tell(*, holds: bool, seen: str) -> None:
    """Say on the last line whether the claim was seen to hold, and what was seen."""
    print(json.dumps({"holds": holds, "seen": seen}), flush=True)


def note(path: Path, line: str) -> None:
    """Leave a mark outside, as a payment would."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def marks(path: Path) -> list[str]:
    """The marks that were left, in their order."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def killed(module: str, folder: Path, ready: Callable[[], bool]) -> None:
    """Run a program of claims as a child, and kill it as soon as that is so.

    Raises:
        RuntimeError: it ended by itself, or took too long.
    """
    with (folder / "child.log").open("w", encoding="utf-8") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", module, "child", str(folder)], stdout=log, stderr=log
        )
        until = time.monotonic() + PATIENCE_S
        try:
            while not ready():
                if child.poll() is not None or time.monotonic() > until:
                    said = (folder / "child.log").read_text(encoding="utf-8")
                    raise RuntimeError(f"{module} did not come so far: {said[-500:]}")
                time.sleep(0.02)
        finally:
            child.kill()
            child.wait()
