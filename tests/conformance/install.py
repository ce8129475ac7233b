"""Installs the suites, and a Node that runs them, into a folder of this checkout.

The versions are exact: a suite that moved would be another bar.
"""

# ruff: noqa: T201  (it prints its findings)

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

#: Everything that is installed, run or written; not in the repository.
HERE: Final = Path(__file__).resolve().parents[2] / ".conformance"
RESULTS: Final = HERE / "results"

#: What the inspector wants; the suites want 22.
_NODE_MIN: Final = (22, 19)
#: A registry that does not answer is no reason to wait for ever.
_INSTALL_S: Final = 300


class Package(NamedTuple):
    """A package of npm, in a folder of its own: two versions of one do not share."""

    folder: str
    name: str
    version: str
    #: Its program.
    program: str = ""

    @property
    def path(self) -> Path:
        """Where its program is."""
        return HERE / self.folder / "node_modules" / ".bin" / self.program

    @property
    def is_there(self) -> bool:
        """Whether this very version is installed."""
        told = HERE / self.folder / "node_modules" / self.name / "package.json"
        if not told.exists():
            return False
        found = json.loads(told.read_text(encoding="utf-8"))["version"]
        return bool(found == self.version or found.startswith(f"{self.version}."))


NODE: Final = Package("node", "node", "22", "node")
CONFORMANCE_1: Final = Package("v1", "@modelcontextprotocol/conformance", "0.1.16", "conformance")
CONFORMANCE_2: Final = Package(
    "v2", "@modelcontextprotocol/conformance", "0.2.0-alpha.12", "conformance"
)
INSPECTOR: Final = Package("inspector", "@modelcontextprotocol/inspector", "2.12.0", "mcpdo")


def install() -> dict[str, str]:
    """Install what is missing; the environment in which the programs run.

    Raises:
        OSError, subprocess.SubprocessError: npm is not there, or did not do it.
    """
    environment = dict(os.environ)
    if _node_version(environment) < _NODE_MIN:
        _install(NODE, environment)
        environment["PATH"] = f"{NODE.path.parent}{os.pathsep}{environment['PATH']}"
    for package in (CONFORMANCE_1, CONFORMANCE_2, INSPECTOR):
        _install(package, environment)
    return environment


def _node_version(environment: dict[str, str]) -> tuple[int, ...]:
    if (node := shutil.which("node", path=environment["PATH"])) is None:
        return ()
    said = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(int(number) for number in said.strip().removeprefix("v").split(".")[:2])


def _install(package: Package, environment: dict[str, str]) -> None:
    if package.is_there:
        return
    if (npm := shutil.which("npm", path=environment["PATH"])) is None:
        raise FileNotFoundError("npm is not on PATH: the conformance suites come from it")
    folder = HERE / package.folder
    folder.mkdir(parents=True, exist_ok=True)
    # Without one, npm looks for a project further up.
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    wanted = f"{package.name}@{package.version}"
    print(f"installing {wanted} into {folder}", flush=True)
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", wanted],
        check=False,
        cwd=folder,
        env=environment,
        timeout=_INSTALL_S,
    )
    if done.returncode:
        raise SystemExit(f"npm could not install {wanted}; what it says is above")
