"""Where the peer of `bench.mcp` lives: a virtual environment of its own, made on first use.

It is beside the checkout's own and ignores itself.  Its Python is ours, and pip gives both
the same mcp, pydantic, starlette and uvicorn; the table of versions says so or not.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
HOME: Final = ROOT / ".venv-mcp-peer"
PYTHON: Final = HOME / "bin" / "python"
#: The peer.
PINS: Final = ("fastmcp==4.1.4", "fastmcp-tasks==4.1.4")
#: It would run without them, only slower; our half has them.
SAME_SERVER: Final = ("uvloop", "httptools")


def peer_python() -> Path:
    """The peer's interpreter; makes its environment on the first call, which takes a minute."""
    packages = (*PINS, *SAME_SERVER)
    stamp, wanted = HOME / "installed", "\n".join((sys.version, *packages))
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        print(f"making {HOME.name}: {', '.join(packages)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", HOME], check=True)
        subprocess.run([PYTHON, "-m", "pip", "install", "-qq", *packages], check=True)
        (HOME / ".gitignore").write_text("*\n", encoding="utf-8")
        stamp.write_text(wanted, encoding="utf-8")
    return PYTHON
