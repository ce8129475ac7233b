"""Where the peer lives: a virtual environment of its own, made when it is not there.

It is beside the checkout's own, and ignores itself.  The peer needs CPython 3.13 and older
versions of what we use: neither environment sees the other.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
HOME: Final = ROOT / ".venv-peer"
PYTHON: Final = HOME / "bin" / "python"
#: The peer, and what it takes for it to start: with mcp 2 it does not.
PINS: Final = ("agent-runtime-sdk==0.1.0", "mcp[ws]>=1.10,<2")
#: It would run without them, only slower; our half has them.
SAME_SERVER: Final = ("uvloop", "httptools")
VERSION: Final = "3.13"


def peer_python() -> Path:
    """The peer's interpreter; makes its environment on the first call, which takes a minute.

    Raises:
        RuntimeError: there is no Python 3.13 to make it with.
    """
    packages = (*PINS, *SAME_SERVER)
    stamp, wanted = HOME / "installed", "\n".join(packages)
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        print(f"making {HOME.name}: {', '.join(packages)}", flush=True)
        _make()
        subprocess.run([PYTHON, "-m", "pip", "install", "-qq", *packages], check=True)
        (HOME / ".gitignore").write_text("*\n", encoding="utf-8")
        stamp.write_text(wanted, encoding="utf-8")
    return PYTHON


def _make() -> None:
    if python := _interpreter():
        subprocess.run([python, "-m", "venv", "--clear", HOME], check=True)
    elif uv := shutil.which("uv"):
        command = [uv, "venv", "--quiet", "--clear", "--seed", "--python", VERSION, str(HOME)]
        subprocess.run(command, check=True)
    else:
        raise RuntimeError(f"the peer needs Python {VERSION}; put python{VERSION} on the PATH")


def _interpreter() -> str:
    """The first that is what its name says: a version manager's shim may be nothing."""
    name = f"python{VERSION}"
    managed = sorted(Path.home().glob(f".pyenv/versions/{VERSION}.*/bin/{name}"))
    for python in (shutil.which(name), *map(str, managed)):
        if python and _works(python):
            return python
    return ""


def _works(python: str) -> bool:
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
    return said.returncode == 0 and f" {VERSION}." in said.stdout
