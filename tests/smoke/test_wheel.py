"""The distribution as a stranger gets it: built, installed alone and with each extra, imported.

`make smoke` runs this; it builds virtual environments, so `make test` leaves it out.
"""

import json
import re
import subprocess
import venv
import zipfile
from pathlib import Path
from typing import Final

import pytest

#: An installation downloads; more than this is a hang.
INSTALL_S: Final = 300

CORE: Final = (
    "interlock",
    "interlock.errors",
    "interlock.models",
    "interlock_adapters",
    "interlock_adapters.cli",
)
#: What each extra promises beyond the core.  A module of a new extra is added here.
PROMISED: Final[dict[str, tuple[str, ...]]] = {
    "a2a": ("interlock_adapters.a2a",),
    "auth": ("interlock_adapters.auth",),
    "crosscheck": ("interlock_adapters.crosscheck",),
    "diagram": ("interlock.diagram", "pygraphviz"),
    "grpc": ("interlock_adapters.a2a", "interlock_adapters.a2a._grpc"),
    "mcp": ("interlock_adapters.mcp_tools", "interlock_adapters.mcp_testing"),
    "postgres": ("interlock_adapters.postgres",),
    "prometheus": ("interlock_adapters.prometheus", "interlock_adapters.telemetry"),
    "restate": ("interlock_adapters.restate", "interlock_adapters.postgres"),
    "server": ("interlock_adapters.server",),
    "service": (
        "interlock_adapters.config",
        "interlock_adapters.console",
        "interlock_adapters.management",
        "interlock_adapters.service",
    ),
    "smolagents": ("interlock_adapters.smolagents", "interlock_adapters.smolagents_testing"),
    "telemetry": ("interlock_adapters.telemetry", "interlock_adapters.logs"),
    "testing": ("interlock.testing.hypothesis", "interlock.testing.fuzz._fixture"),
    "yaml": ("interlock_adapters.policies",),
    "all": ("interlock_adapters.service", "interlock_adapters.a2a._grpc"),
    "demo": ("interlock_adapters.a2a", "interlock_adapters.demo.story"),
}
#: What the core must never need: the runtime closure of its two dependencies is small.
CLOSURE: Final = frozenset(
    {
        "annotated-types",
        "interlock",
        "pip",
        "pydantic",
        "pydantic-core",
        "setuptools",
        "six",
        "transitions",
        "typing-extensions",
        "typing-inspection",
    }
)
PROBE: Final = """
import importlib, json, sys
answers = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as missing:
        answers[name] = str(missing)
    else:
        answers[name] = "ok"
print(json.dumps(answers))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end; its output, or an error that shows it."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def installed(wheel: Path, extra: str, folder: Path) -> Path:
    """The interpreter of a new environment that holds the wheel with one extra."""
    home = folder / (extra or "core")
    venv.create(home, with_pip=True, clear=True)
    python = home / "bin" / "python"
    target = f"{wheel}[{extra}]" if extra else str(wheel)
    run(python, "-m", "pip", "install", "--quiet", target, cwd=folder)
    return python


def imports(python: Path, modules: tuple[str, ...], folder: Path) -> dict[str, str]:
    """What importing each of the modules says."""
    # -I: neither the working directory nor the environment may help.
    answers: dict[str, str] = json.loads(run(python, "-I", "-c", PROBE, *modules, cwd=folder))
    return answers


def test_the_core_imports_alone_and_names_the_missing_extra(wheel: Path, tmp_path: Path) -> None:
    """No extra: the engine imports, and an adapter says what to install.

    Source: STYLE 2.9, R-PKG-01.
    """
    python = installed(wheel, "", tmp_path)
    assert imports(python, CORE, tmp_path) == dict.fromkeys(CORE, "ok")

    needing = {
        "interlock_adapters.a2a": "a2a",
        "interlock_adapters.auth": "auth",
        "interlock_adapters.config": "yaml",
        "interlock_adapters.console": "service",
        "interlock_adapters.management": "service",
        "interlock_adapters.mcp_tools": "mcp",
        "interlock_adapters.postgres": "postgres",
        "interlock_adapters.prometheus": "prometheus",
        "interlock_adapters.restate": "restate",
        "interlock_adapters.service": "service",
        "interlock_adapters.telemetry": "telemetry",
        "interlock_adapters.smolagents": "smolagents",
        "interlock_adapters.policies": "yaml",
    }
    refusals = imports(python, tuple(needing), tmp_path)
    for module, extra in needing.items():
        assert f"pip install 'interlock[{extra}]'" in refusals[module], module

    listed = json.loads(run(python, "-m", "pip", "list", "--format=json", cwd=tmp_path))
    assert {package["name"].lower().replace("_", "-") for package in listed} <= CLOSURE


@pytest.mark.parametrize("extra", PROMISED)
def test_an_extra_brings_what_its_modules_need(wheel: Path, extra: str, tmp_path: Path) -> None:
    """Each extra alone is enough for the modules that it promises.

    Source: STYLE 2.12, R-PKG-02.
    """
    python = installed(wheel, extra, tmp_path)
    wanted = CORE + PROMISED[extra]
    assert imports(python, wanted, tmp_path) == dict.fromkeys(wanted, "ok")


def test_every_extra_that_is_declared_is_smoked(wheel: Path) -> None:
    """A new extra needs a promise here; `dev` and `docs` are not for users.  Source: R-PKG-02."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = packed.read(name).decode()
    declared = set(re.findall(r"^Provides-Extra: (.+)$", metadata, re.MULTILINE))
    assert declared - {"dev", "docs"} == PROMISED.keys()
