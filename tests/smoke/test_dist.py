"""What is in the two files of a release, and that others who build them get the same."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Final

import pytest

from release.building import ROOT, Built, built, sha256_of

ADAPTERS: Final = "adapters/interlock_adapters"
#: What is no module and is needed at run time.
ASSETS: Final = (
    "interlock/diagram/page.html",
    "interlock_adapters/console/static/console.css",
    "interlock_adapters/console/static/console.js",
    "interlock_adapters/console/templates/base.html",
    "interlock_adapters/cli/_init_project/app.yaml.txt",
)
#: What the tests of the repository need, beside the two packages.
SOURCES: Final = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
    *("bench/README.md", "docs/licences.md", "examples/embed.py", "specs/glossary.md"),
    *("tests/README.md", "tests/support.py"),
)
#: What only a checkout has.
FOREIGN: Final = (".git/", ".venv", "__pycache__", "_build/", ".db", ".matrix")


@pytest.fixture(scope="module")
def in_wheel(wheel: Path) -> frozenset[str]:
    """The names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as packed:
        return frozenset(name for name in packed.namelist() if not name.endswith("/"))


@pytest.fixture(scope="module")
def in_sdist(dist: Built) -> frozenset[str]:
    """The names of the files in the sdist, below its one folder."""
    with tarfile.open(dist.sdist) as packed:
        return frozenset(one.name.partition("/")[2] for one in packed if one.isfile())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(packed.read(name).decode())


def test_the_wheel_holds_our_two_packages_and_nothing_else(in_wheel: frozenset[str]) -> None:
    """No tests, specs or benches are installed.  Source: STYLE 2.1, R-PKG-03, R-REL-04."""
    tops = {name.partition("/")[0] for name in in_wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "interlock",
        "interlock_adapters",
    }
    assert {"interlock/py.typed", "interlock_adapters/py.typed"} <= in_wheel
    modules = {name.rpartition("/")[2] for name in in_wheel if name.endswith(".py")}
    assert not [name for name in modules if name.startswith(("test_", "conftest"))]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in in_wheel)


def test_the_wheel_holds_every_file_of_the_two_packages(in_wheel: frozenset[str]) -> None:
    """Templates, styles and the files of a new project as well as modules.  Source: R-REL-04."""
    assert in_wheel.issuperset(ASSETS)
    for source, package in (("engine", "interlock"), ("adapters", "interlock_adapters")):
        there = {
            path.relative_to(ROOT / source).as_posix()
            for path in (ROOT / source / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        packed = {name for name in in_wheel if name.startswith(f"{package}/")}
        assert packed == there


def test_the_sdist_holds_what_the_tests_need(in_sdist: frozenset[str]) -> None:
    """So that whoever packages it can run them; and nothing of a checkout.  Source: R-REL-05."""
    assert in_sdist.issuperset(SOURCES)
    assert not [name for name in in_sdist if any(part in name for part in FOREIGN)]


def test_the_metadata_say_what_they_must(metadata: Message) -> None:
    """Licence, Pythons, types and the README as Markdown; no address, for there is none yet.

    Source: R-REL-06.
    """
    assert metadata["Name"] == "interlock"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert metadata.get_all("Project-URL", []) == []


def test_an_index_takes_both(dist: Built) -> None:
    """The README can be shown, and no field is wrong.  Source: R-REL-06."""
    command = (sys.executable, "-m", "twine", "--no-color", "check", "--strict")
    done = subprocess.run(
        (*command, dist.sdist, dist.wheel), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_whoever_builds_it_elsewhere_gets_the_same_bytes(dist: Built, tmp_path: Path) -> None:
    """In another folder, with other times on the files, from the sdist.  Source: R-REL-07."""
    with tarfile.open(dist.sdist) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    for path in source.rglob("*"):
        path.touch()
    again = built(tmp_path / "dist", source)
    assert sha256_of(again.wheel) == sha256_of(dist.wheel)
    assert sha256_of(again.sdist) == dist.sha256


def test_a_file_that_is_missing_from_the_sdist_is_missed(dist: Built, tmp_path: Path) -> None:
    """The comparison of bytes can fail.  Source: R-REL-07."""
    with tarfile.open(dist.sdist) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    shutil.rmtree(source / ADAPTERS / "console" / "static")
    again = built(tmp_path / "dist", source)
    assert sha256_of(again.wheel) != sha256_of(dist.wheel)
