"""What processes have used and hold, from Linux's /proc."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_MIB: Final = os.sysconf("SC_PAGESIZE") / 2**20


def descendants(pid: int, name: str) -> list[int]:
    """The processes below that one whose program has this name, parents first."""
    found: list[int] = []
    for child in _children(pid):
        try:
            comm = Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            continue  # It ended.
        if comm == name[:15]:
            found.append(child)
        found += descendants(child, name)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, thread.read_text(encoding="ascii").split())
        except FileNotFoundError:
            continue
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds, user and system, of them and of their children that ended.

    A process that has just ended may be missing until its parent has waited for it.
    """
    ticks = 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # Behind the name, which may hold anything.  See proc(5): utime, stime, cutime, cstime.
        fields = stat.rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks * _TICK_S


def rss_mib(pids: Iterable[int]) -> float:
    """Resident memory that is not shared with others, in MiB."""
    pages = 0
    for pid in pids:
        try:
            statm = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pages += int(statm[1]) - int(statm[2])
    return pages * _PAGE_MIB


def threads(pid: int) -> int:
    """How many it has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def disk_bytes(place: Path) -> int:
    """What the files of a directory take on the disk."""
    found = 0
    for file in place.rglob("*"):
        try:
            found += file.lstat().st_blocks * 512
        except FileNotFoundError:
            continue  # A log that was just merged.
    return found
