"""Where a peer lives: a virtual environment of its own, made when it is not there.

It is beside the checkout's own and ignores itself; neither environment sees the other.  `uv`
makes it where there is one, and `venv` with pip otherwise.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
#: Of the peers that do not run on ours.
NEWER: Final = "3.13"
#: Seconds that an installation may take.
_INSTALL_S: Final = 600


@dataclass(frozen=True, slots=True)
class Place:
    """One environment: its folder is `.venv-` and the name."""

    name: str
    pins: tuple[str, ...]
    #: Whether it needs Python `NEWER`.
    newer: bool = False

    @property
    def home(self) -> Path:
        """Its folder."""
        return ROOT / f".venv-{self.name}"

    def python(self) -> Path:
        """Its interpreter; the first call makes the environment, which takes a minute.

        Raises:
            RuntimeError: it cannot be made, or the Python that it needs is not there.
        """
        executable, stamp = self.home / "bin" / "python", self.home / "installed"
        wanted = "\n".join((NEWER if self.newer else sys.version, *self.pins))
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return executable
        print(f"making {self.home.name}: {', '.join(self.pins)}", flush=True)
        self._make(executable)
        (self.home / ".gitignore").write_text("*\n", encoding="utf-8")
        stamp.write_text(wanted, encoding="utf-8")
        return executable

    def _make(self, executable: Path) -> None:
        python = interpreter() if self.newer else sys.executable
        if uv := shutil.which("uv"):
            _run(uv, "venv", "-q", "--clear", "--python", python or NEWER, str(self.home))
            _run(uv, "pip", "install", "-q", "--python", str(executable), *self.pins)
        elif python:
            _run(python, "-m", "venv", "--clear", str(self.home))
            _run(str(executable), "-m", "pip", "install", "-qq", *self.pins)
        else:
            raise RuntimeError(f"{self.name} needs Python {NEWER}: put python{NEWER} on the PATH")


def interpreter() -> str:
    """A Python `NEWER` that works, or ""; a version manager's shim may be nothing."""
    name = f"python{NEWER}"
    managed = sorted(Path.home().glob(f".pyenv/versions/{NEWER}.*/bin/{name}"))
    for python in (shutil.which(name), *map(str, managed)):
        if python and _works(python):
            return python
    return ""


def _works(python: str) -> bool:
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
    return said.returncode == 0 and f" {NEWER}." in said.stdout


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")


#: They would run without these, only slower; our half has them.
_SAME_SERVER: Final = ("uvloop==0.23.0", "httptools==0.9.0")
#: With mcp 2 the first does not start.
ARS: Final = Place(
    "peer", ("agent-runtime-sdk==0.1.1", "mcp[ws]>=1.10,<2", *_SAME_SERVER), newer=True
)
MCP: Final = Place("mcp-peer", ("fastmcp==4.1.4", "fastmcp-tasks==4.1.4", *_SAME_SERVER))
DBOS: Final = Place("dbos", ("dbos==3.4.0", "pysqlite3-binary==0.5.4.post2", "uvloop==0.23.0"))
A2A_SDK: Final = Place(
    "a2a-sdk", ("a2a-sdk[http-server,sqlite]==1.3.0", "uvicorn==0.54.0", *_SAME_SERVER)
)
FASTA2A: Final = Place("fasta2a", ("fasta2a==2.1.1", "uvicorn==0.54.0", *_SAME_SERVER))
LANGGRAPH: Final = Place(
    "langgraph",
    ("langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2", "uvloop==0.23.0"),
)
MACHINES: Final = Place("machines", ("python-statemachine==3.2.2", "xstate-statemachine==0.11.0"))
