"""Builds the sdist and the wheel so that anybody gets the same bytes from the same files."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
#: The build backend is downloaded; more than this is a hang.
_BUILD_S: Final = 300
_SECTION: Final = re.compile(
    r"^## \[(?P<version>[^\]]+)\] - (?P<day>\d{4}-\d{2}-\d{2})$", re.MULTILINE
)


class Built(NamedTuple):
    """What was built, and the hash of the sdist, in which everything is."""

    sdist: Path
    wheel: Path
    sha256: str


def sha256_of(path: Path) -> str:
    """The hash of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def released(changelog: str) -> tuple[str, date] | None:
    """The version and the day of the newest dated section; None if there is none."""
    found = _SECTION.search(changelog)
    return found and (found["version"], date.fromisoformat(found["day"]))


def epoch(changelog: str) -> int:
    """The time in seconds that every packed file is given: the day of the release, in UTC.

    Before the first release that is the start of 2026, which a zip archive can hold.
    """
    found = released(changelog)
    day = date(2026, 1, 1) if found is None else found[1]
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def built(into: Path, root: Path = ROOT) -> Built:
    """Build the sdist, and the wheel from it, into a folder that is emptied first.

    Raises:
        RuntimeError: it cannot be built; the message is what the builder said.
    """
    shutil.rmtree(into, ignore_errors=True)
    stamp = str(epoch((root / "CHANGELOG.md").read_text(encoding="utf-8")))
    done = subprocess.run(
        (sys.executable, "-m", "build", "--outdir", into, root),
        env={**os.environ, "SOURCE_DATE_EPOCH": stamp},
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_S,
    )
    if done.returncode:
        raise RuntimeError(f"the build failed\n{done.stdout}\n{done.stderr}")
    (sdist,), (wheel,) = into.glob("*.tar.gz"), into.glob("*.whl")
    return Built(sdist, wheel, sha256_of(sdist))
