"""Where DBOS lives: a virtual environment of its own, made when it is not there."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).parents[1] / ".venv-dbos"
PYTHON: Final = HOME / "bin" / "python"
PINS: Final = ("dbos==3.4.0",)
#: Seconds that an installation may take.
_INSTALL_S: Final = 180


def dbos_python() -> Path:
    """Its interpreter; the first call makes the environment, with this Python.

    Raises:
        RuntimeError: it cannot be installed.
    """
    stamp, wanted = HOME / "installed", "\n".join(PINS)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return PYTHON
    print(f"making {HOME.name}: {', '.join(PINS)}", flush=True)
    if uv := shutil.which("uv"):
        commands = [
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(HOME)],
            [uv, "pip", "install", "--quiet", "--python", str(PYTHON), *PINS],
        ]
    else:
        commands = [
            [sys.executable, "-m", "venv", "--clear", str(HOME)],
            [str(PYTHON), "-m", "pip", "install", "-qq", *PINS],
        ]
    for command in commands:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_INSTALL_S
        )
        if done.returncode:
            raise RuntimeError(f"DBOS cannot be installed: {done.stderr.strip()[-300:]}")
    (HOME / ".gitignore").write_text("*\n", encoding="utf-8")
    stamp.write_text(wanted, encoding="utf-8")
    return PYTHON
