"""`python -m release.matrix [LEG ...] [--again]`: the tests on every Python, lowest and highest.

A leg is one Python and one end of the range that `pyproject.toml` allows.  It has an environment of
its own below `.matrix/`, and runs what users get: the wheel, and the tests of the unpacked sdist,
so that the tree may be edited meanwhile.  A leg that is green for this very sdist is not run again.
"""

# ruff: noqa: T201  (it prints its findings)

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree as ET

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from release.building import Built, built

ROOT: Final = Path(__file__).resolve().parents[2]
PLACE: Final = ROOT / ".matrix"
UV: Final = (sys.executable, "-m", "uv")
#: The Pythons of the classifiers; a test compares them.
PYTHONS: Final = ("3.11", "3.12", "3.13")
RESOLUTIONS: Final = {"lowest": "lowest-direct", "highest": "highest"}
#: Real servers that are killed, and a browser: on one leg, since they test no library's interface.
SLOW: Final = (
    "tests/faults",
    "tests/scale",
    "tests/adapters/service/test_console_browser.py",
)
SLOW_LEG: Final = "3.13-highest"
#: What the table says of the environment; the rest is in `versions.txt` of the leg.
SHOWN: Final = ("pydantic", "a2a-sdk", "mcp", "fastapi", "starlette")
#: An installation downloads; more than this is a hang.
_INSTALL_S: Final = 600
#: A leg takes ten minutes on an idle core, and up to half an hour on a busy one.
_LEG_S: Final = 3_600


class Leg(NamedTuple):
    """One Python, and one end of the range of versions."""

    python: str
    end: str

    @property
    def name(self) -> str:
        """As it is asked for."""
        return f"{self.python}-{self.end}"

    @property
    def place(self) -> Path:
        """Its folder."""
        return PLACE / self.name


LEGS: Final = tuple(Leg(python, end) for python in PYTHONS for end in RESOLUTIONS)


class Result(NamedTuple):
    """What came of a leg."""

    leg: str
    #: Of the sdist that was tested.
    sha256: str
    python: str
    versions: Mapping[str, str]
    passed: int
    failed: int
    skipped: int
    seconds: float
    #: Lower bounds that are not what was installed.
    untrue: Sequence[str]

    @property
    def is_green(self) -> bool:
        """Whether everything ran and nothing failed."""
        return self.passed > 0 and not self.failed and not self.untrue

    @property
    def row(self) -> tuple[str, ...]:
        """A row of the table."""
        return (
            self.leg,
            self.python,
            *(self.versions.get(name, "-") for name in SHOWN),
            str(self.passed),
            str(self.failed),
            str(self.skipped),
            f"{self.seconds:.0f}",
        )


HEADINGS: Final = ("leg", "Python", *SHOWN, "passed", "failed", "skipped", "seconds")


def interpreters(pythons: Sequence[str]) -> dict[str, Path]:
    """An interpreter for each version: of PATH, of uv, or of pyenv.

    Raises:
        LookupError: one or more are missing; all of them are named.
    """
    found = {version: path for version in pythons if (path := _interpreter(version)) is not None}
    if missing := [version for version in pythons if version not in found]:
        raise LookupError(
            f"no Python {', '.join(missing)} on PATH, of uv or of pyenv; "
            f"try: uv python install {' '.join(missing)}"
        )
    return found


def _interpreter(version: str) -> Path | None:
    said = subprocess.run(
        (*UV, "python", "find", "--no-python-downloads", "--system", version),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout.strip()
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [Path(said)] if said else []
    candidates += sorted(pyenv.glob(f"{version}.*/bin/python"))
    # A shim of pyenv is there for a version that is not switched on, and then says nothing.
    return next((path for path in candidates if _version_of(path) == version), None)


def _version_of(python: Path) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    told = subprocess.run(
        (python, "-I", "-c", code), capture_output=True, text=True, check=False, timeout=60
    )
    return told.stdout.strip()


def untrue_bounds(project: Mapping[str, Any], installed: Mapping[str, str]) -> list[str]:
    """The lower bounds of the extras that were not what ran, so that nobody knows if they work.

    `project` is the table of that name in `pyproject.toml`.  The extras `dev` and `docs` are not
    looked at: only this project uses them.
    """
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(x for name in extras if name not in {"dev", "docs"} for x in extras[name]),
    ]
    found: list[str] = []
    for wanted in sorted(map(Requirement, lines), key=str):
        name = canonicalize_name(wanted.name)
        if name == canonicalize_name(project["name"]) or (
            wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})
        ):
            continue
        bound = next((spec.version for spec in wanted.specifier if spec.operator == ">="), None)
        if bound is None:
            found.append(f"{name} has no lower bound")
        elif Version(bound) != Version(installed[name]):
            found.append(f"{name}>={bound} is declared, and {installed[name]} was tested")
    return list(dict.fromkeys(found))


def counts(junit: Path) -> tuple[int, int, int]:
    """How many tests passed, failed and were skipped, by the report of pytest."""
    passed = failed = skipped = 0
    for case in ET.parse(junit).getroot().iter("testcase"):  # noqa: S314  (pytest wrote it)
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, aligned."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )


def known(leg: Leg, sha256: str) -> Result | None:
    """What came of the leg before, if it was green and the sdist is the same."""
    try:
        result = Result(**json.loads((leg.place / "result.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        return None
    return result if result.is_green and result.sha256 == sha256 else None


def kept(leg: Leg, result: Result) -> None:
    """Write down what came of a leg."""
    leg.place.mkdir(parents=True, exist_ok=True)
    told = json.dumps(result._asdict(), indent=2)
    (leg.place / "result.json").write_text(f"{told}\n", encoding="utf-8")


def installed(leg: Leg, base: Path, source: Path, wheel: Path) -> tuple[Path, dict[str, str]]:
    """Make the environment of a leg: its interpreter, and the versions in it.

    Raises:
        subprocess.CalledProcessError: uv could not; its output was shown.
    """
    home = leg.place / "venv"
    _uv("venv", "--clear", "--python", base, home)
    python = home / "bin" / "python"
    project = source / "pyproject.toml"
    into = ("pip", "install", "--python", python)
    # A version that must be compiled is not one that users get.
    wheels = ("--only-binary", ":all:") if leg.end == "lowest" else ()
    resolution = ("--resolution", RESOLUTIONS[leg.end])
    _uv(*into, *resolution, *wheels, "-r", project, "--extra", "all")
    versions = _frozen(python)
    pins = leg.place / "versions.txt"
    pins.write_text("".join(f"{name}=={at}\n" for name, at in versions.items()), encoding="utf-8")
    # The tools of the tests are the newest that go with it.
    _uv(*into, "-r", project, "--extra", "dev", "--constraint", pins)
    _uv(*into, "--no-deps", wheel)
    return python, versions


def _uv(*arguments: str | Path) -> None:
    subprocess.run((*UV, *arguments, "--quiet"), check=True, timeout=_INSTALL_S)


def _frozen(python: Path) -> dict[str, str]:
    said = subprocess.run(
        (*UV, "pip", "list", "--format=json", "--python", python),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    return {canonicalize_name(one["name"]): one["version"] for one in json.loads(said)}


def run(leg: Leg, base: Path, of: Built) -> Result:
    """Run a leg from the beginning, and keep what came of it.

    An environment that cannot be made, or a run that does not end, is a failure of the leg.
    """
    shutil.rmtree(leg.place, ignore_errors=True)
    leg.place.mkdir(parents=True)
    with tarfile.open(of.sdist) as packed:
        packed.extractall(leg.place, filter="data")
    (source,) = (path for path in leg.place.iterdir() if path.is_dir())
    text = (source / "pyproject.toml").read_text(encoding="utf-8")
    begun = time.monotonic()
    versions: dict[str, str] = {}
    untrue: list[str] = []
    try:
        python, versions = installed(leg, base, source, of.wheel)
        if leg.end == "lowest":
            untrue = untrue_bounds(tomllib.loads(text)["project"], versions)
        passed, failed, skipped = _tested(leg, python, source)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as problem:
        print(problem, file=sys.stderr)
        passed, failed, skipped = 0, 1, 0
    result = Result(
        leg.name,
        of.sha256,
        _exact_version_of(base),
        versions,
        passed,
        failed,
        skipped,
        time.monotonic() - begun,
        untrue,
    )
    kept(leg, result)
    if result.is_green:  # a red one is for looking at
        shutil.rmtree(leg.place / "venv")
        shutil.rmtree(source)
    return result


def _tested(leg: Leg, python: Path, source: Path) -> tuple[int, int, int]:
    """Run the tests; how many passed, failed and were skipped."""
    junit = leg.place / "junit.xml"
    left_out = () if leg.name == SLOW_LEG else SLOW
    with (leg.place / "pytest.log").open("w", encoding="utf-8") as log:
        subprocess.run(
            (
                *("nice", "-n", "10", python, "-m", "pytest", "-q", f"--junitxml={junit}"),
                *("--numprocesses=auto", "--dist=worksteal"),
                # Some tests note what they measured, for which the usual kind has no place.
                *("-o", "junit_family=xunit1"),
                # The wheel is what is tested, and not the source beside the tests.
                *("-o", "pythonpath=tests"),
                *(f"--ignore={path}" for path in left_out),
            ),
            cwd=source,
            env={**_environment(), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_LEG_S,
        )
    # Without a report it did not come to its end.
    return counts(junit) if junit.exists() else (0, 1, 0)


def _environment() -> dict[str, str]:
    """Ours, without what would bring the tree in."""
    return {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}


def _exact_version_of(python: Path) -> str:
    code = "import platform; print(platform.python_version())"
    return subprocess.run(
        (python, "-I", "-c", code), check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def chosen(names: Sequence[str]) -> list[Leg]:
    """The legs of these names, or all.

    Raises:
        ValueError: there is none of a name.
    """
    legs = {leg.name: leg for leg in LEGS}
    if unknown := [name for name in names if name not in legs]:
        raise ValueError(f"no leg {', '.join(unknown)}; there are: {', '.join(legs)}")
    return [legs[name] for name in names] or list(LEGS)


def main() -> int:
    """Run what is asked for; 0 if all legs are green, 1 if one is not, 2 if it could not begin."""
    parser = argparse.ArgumentParser(prog="release.matrix")
    parser.add_argument("legs", nargs="*", metavar="LEG", help=", ".join(leg.name for leg in LEGS))
    parser.add_argument("--again", action="store_true", help="also those that are green already")
    arguments = parser.parse_args()
    try:
        legs = chosen(arguments.legs)
        bases = interpreters(list(dict.fromkeys(leg.python for leg in legs)))
    except (LookupError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 2
    of = built(PLACE / "dist")
    results: list[Result] = []
    for leg in legs:
        result = None if arguments.again else known(leg, of.sha256)
        if result is None:
            print(f"running {leg.name}", flush=True)
            result = run(leg, bases[leg.python], of)
        results.append(result)
    print(f"\n{table(HEADINGS, [result.row for result in results])}\n")
    for result in results:
        for bound in result.untrue:
            print(f"UNTRUE: {result.leg}: {bound}")
        if not result.is_green:
            print(f"FAILED: {result.leg}: see .matrix/{result.leg}/pytest.log")
    return 0 if all(result.is_green for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
