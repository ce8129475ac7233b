"""`python -m release`: everything that a release consists of, in `dist/`; publishes nothing.

The sdist and the wheel, built twice with the same bytes and checked by twine; the bill of materials
of `interlock[all]` in a clean environment, and the licences in it; the hashes of all three.
"""

# ruff: noqa: T201  (it prints its findings)

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from release.building import ROOT, Built, built, epoch, released, sha256_of
from release.licences import findings

DIST: Final = ROOT / "dist"
#: An installation downloads, and the bill is compared with its schema; more than this is a hang.
_STEP_S: Final = 600


class NotReadyError(Exception):
    """Something is missing of a release; the message says what to do."""


def checked_version(pyproject: str, changelog: str) -> str:
    """The version of the project, of which the changelog tells and nothing is still to be sorted.

    Raises:
        NotReadyError: the two files do not say the same, or it is a development version.
    """
    version: str = tomllib.loads(pyproject)["project"]["version"]
    if "dev" in version:
        raise NotReadyError(f"{version} is a development version: set `version` in pyproject.toml")
    newest = released(changelog)
    if newest is None or newest[0] != version:
        raise NotReadyError(f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD` at its top")
    unreleased = changelog.partition("## [Unreleased]")[2].partition("\n## [")[0].strip()
    if unreleased:
        raise NotReadyError(f"CHANGELOG.md: move what is under [Unreleased] to [{version}]")
    return version


def built_twice() -> Built:
    """Build, and build again elsewhere, for the same bytes.

    Raises:
        NotReadyError: the second build is another.
    """
    of = built(DIST)
    with tempfile.TemporaryDirectory() as folder:
        again = built(Path(folder) / "dist")
        for one, other in ((of.sdist, again.sdist), (of.wheel, again.wheel)):
            if sha256_of(one) != sha256_of(other):
                raise NotReadyError(f"{one.name} is another one each time that it is built")
    return of


def bill(of: Built, version: str, environment: Mapping[str, str]) -> Path:
    """Write the bill of materials of the wheel with every extra, and look at the licences in it.

    Raises:
        NotReadyError: a licence is not on the list.
    """
    path = DIST / f"interlock-{version}.cdx.json"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "venv"
        python = home / "bin" / "python"
        _run("-m", "uv", "venv", "--quiet", "--python", sys.executable, home)
        _run("-m", "uv", "pip", "install", "--quiet", "--python", python, f"{of.wheel}[all]")
        (packages,) = home.glob("lib/*/site-packages")
        if found := findings(distributions(path=[str(packages)])):
            raise NotReadyError("\n".join(("licences (docs/licences.md):", *found)))
        _run(
            *("-m", "cyclonedx_py", "environment", "--output-reproducible", "--short-PURLs"),
            *("--mc-type", "library", "--pyproject", ROOT / "pyproject.toml"),
            *("--output-file", path, python),
            environment=environment,
        )
    return path


def _run(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a module of this interpreter.

    Raises:
        NotReadyError: it failed; what it said was shown.
    """
    done = subprocess.run(
        (sys.executable, *arguments),
        env=None if environment is None else {**os.environ, **environment},
        check=False,
        timeout=_STEP_S,
    )
    if done.returncode:
        raise NotReadyError(f"failed: {' '.join(map(str, arguments))}")


def main() -> int:
    """0 if `dist/` is a release, 1 if something is missing."""
    parser = argparse.ArgumentParser(prog="release", description="Builds a release into dist/.")
    parser.add_argument("--rehearse", action="store_true", help="whatever the version is")
    arguments = parser.parse_args()
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    try:
        version: str = (
            tomllib.loads(pyproject)["project"]["version"]
            if arguments.rehearse
            else checked_version(pyproject, changelog)
        )
        of = built_twice()
        _run("-m", "twine", "check", "--strict", of.sdist, of.wheel)
        made = bill(of, version, {"SOURCE_DATE_EPOCH": str(epoch(changelog))})
    except (NotReadyError, RuntimeError) as missing:
        print(missing, file=sys.stderr)
        return 1
    sums = "".join(f"{sha256_of(path)}  {path.name}\n" for path in (of.sdist, of.wheel, made))
    (DIST / "SHA256SUMS").write_text(sums, encoding="utf-8")
    print(f"\n{sums}\n`dist/` is {version}.  Nothing was published.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
