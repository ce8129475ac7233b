"""What is measured, for every peer alike.  Standard library only, as `bench.compare.protocol`."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from bench.compare.protocol import Peer

#: Numbers by what they are, each a list: one sample for each time it was done.
Found = dict[str, list[float]]

#: Whoever makes tasks that wait does it from so many places at once.
FILLERS: Final = 32
#: A task that takes longer to ask is stuck, and ends the filling.
STUCK_S: Final = 20.0


class Probe:
    """What a process uses and holds; Linux."""

    def __init__(self, pid: int) -> None:
        self._pid: Final = pid

    def cpu_s(self) -> float:
        """CPU seconds of all its threads, those that ended included, user and system."""
        # The clock id of a process, as clock_getcpuclockid(3) makes it: /proc counts in
        # hundredths of a second, which is too coarse here.
        return time.clock_gettime(~self._pid << 3 | 2)

    def rss_mb(self) -> float:
        """What it holds now, its garbage included; MB of a million bytes."""
        statm = Path(f"/proc/{self._pid}/statm").read_text(encoding="ascii")
        return int(statm.split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6

    def threads(self) -> int:
        """How many it has."""
        return len(list(Path(f"/proc/{self._pid}/task").iterdir()))


async def lives(peer: Peer, probe: Probe, *, count: int, at_once: int, until_s: float) -> Found:
    """So many lives, or as many as there is time for, from so many clients at once.

    "life": milliseconds of each; "cpu": the peer's, ms for one.
    """
    took: list[float] = []
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            begun = time.perf_counter()
            await peer.life()
            took.append((time.perf_counter() - begun) * 1e3)
            if time.perf_counter() - began > until_s:
                return

    cpu_s, began = probe.cpu_s(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(at_once)))
    wall_s, cpu_s = time.perf_counter() - began, probe.cpu_s() - cpu_s
    return {
        "life": took,
        "lives/s": [len(took) / wall_s],
        "cpu": [cpu_s / len(took) * 1e3],
        "threads": [probe.threads()],
        "rss": [probe.rss_mb()],
    }


async def one_by_one(
    peer: Peer, probe: Probe, *, count: int, rows: list[str], until_s: float
) -> Found:
    """One client, one thing after the other; milliseconds of each.

    "cpu, alone": the peer's for a life; "cpu": its for one round of all, both in ms.
    """
    found: Found = {}
    done = 0

    async def timed(name: str, work: Awaitable[Any]) -> Any:  # noqa: ANN401  what the work gives
        begun = time.perf_counter()
        result = await work
        found.setdefault(name, []).append((time.perf_counter() - begun) * 1e3)
        return result

    cpu_s, began = probe.cpu_s(), time.perf_counter()
    lives_cpu_s = 0.0
    while done < count and (not done or time.perf_counter() - began < until_s):
        done += 1
        if "life" in rows:
            before_s = probe.cpu_s()
            await timed("life, alone", peer.life())
            lives_cpu_s += probe.cpu_s() - before_s
        if "first" in rows:
            found.setdefault("first", []).append(await peer.first() * 1e3)
        if "ask" in rows:
            asked = await timed("ask", peer.ask())
            if "answer" in rows:
                await timed("answer", peer.answer(asked))
        if "cancel" in rows:
            await timed("cancel", peer.cancel(await peer.ask()))
    found["cpu, alone"] = [lives_cpu_s / done * 1e3]
    found["cpu, all"] = [(probe.cpu_s() - cpu_s) / done * 1e3]
    return found


async def fill(
    peer: Peer, probe: Probe, *, count: int, until_s: float, waiting: bool
) -> dict[str, Any]:
    """Make so many tasks that wait (or are over), or as many as there is time for.

    "key" names one of them; "failed" says what ended it early, if something did.
    """
    left, keys, failed = iter(range(count)), list[Any](), list[str]()
    began = time.perf_counter()
    make: Callable[[], Awaitable[Any]] = peer.ask if waiting else peer.life

    async def client() -> None:
        for _ in left:
            if failed or time.perf_counter() - began > until_s:
                return
            try:
                async with asyncio.timeout(STUCK_S):
                    keys.append(await make())
            except Exception as error:  # noqa: BLE001  a peer at its limit is a finding
                failed.append(f"{type(error).__name__}: {error}"[:200])

    await asyncio.gather(*(client() for _ in range(FILLERS)))
    return {
        "made": len(keys),
        "took_s": time.perf_counter() - began,
        "key": keys[-1] if keys else None,
        "failed": failed[0] if failed else "",
        "rss": probe.rss_mb(),
    }


async def idle(probe: Probe, *, seconds: float) -> dict[str, Any]:
    """What it holds and uses while nobody asks it for anything."""
    cpu_s, began = probe.cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (probe.cpu_s() - cpu_s) / (time.perf_counter() - began)
    return {"share": share, "rss": probe.rss_mb(), "threads": probe.threads()}


async def one_answer(peer: Peer, key: Any) -> dict[str, Any]:  # noqa: ANN401
    """Milliseconds to answer a task that was left waiting, until it is completed."""
    began = time.perf_counter()
    await peer.answer(key)
    return {"ms": (time.perf_counter() - began) * 1e3}


async def done(peer: Peer, probe: Probe, part: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Do the part of that name."""
    if part == "answer":
        return await one_answer(peer, settings["key"])
    if part == "idle":
        return await idle(probe, **settings)
    if part == "fill":
        return await fill(peer, probe, **settings)
    whole = lives if part == "lives" else one_by_one
    return await whole(peer, probe, **settings)
