"""How many lives a second the engine makes durable, with SQLite syncing every commit.

    python -m bench.durable [--rounds N]

A hundred clients at once, three arms: the engine; the engine with a transaction for each
commit instead of one for many; and the floor (`bench._floor`), a bare writer of a log.
Two lives: a plain one, and one that asks and is answered.  Every arm makes the same number
of commits for a life.  Arms take turns, each time in a process of its own.
"""

import argparse
import asyncio
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from bench import _floor
from bench._process import in_process
from bench._report import Bar, Report, Table, arms_in_turn, percentile
from interlock import Engine, Limits, Phase, TaskContext
from interlock._sqlite import SqliteStore
from interlock._sqlite_batch import Job
from interlock._store import Commit

CLIENTS: Final = 100
WARM_UP: Final = 300
#: As long as what the floor writes.
REQUEST: Final = "please pay 7 euros to bob " * 7
LIVES: Final = {
    "plain": ("start", "agent_done", "finalize"),
    "asking": tuple(move for move, _, _ in _floor.MOVES),
}
#: Lives of one sample: some seconds of each arm.
COUNTS: Final = {"interlock": 3_000, "one by one": 1_000, "floor": 6_000}

GROUPED_TIMES: Final = 2.5
FLOOR_TIMES: Final = 0.4
P99_MS: Final = 100.0

#: One life from beginning to end, of one of the clients.
Life: TypeAlias = Callable[[], Awaitable[None]]


class Sample(NamedTuple):
    """What one arm did in one process."""

    lives_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    commits: float


class Counted(SqliteStore):
    """Counts commits and the events in them."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.counted: Final = Counter[str]()

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        self.counted["commits"] += 1
        await super().commit(commit)


class OneByOne(Counted):
    """A transaction for each commit; the next is ready before the last is done."""

    async def open(self) -> None:
        """See `Store.open`."""
        await super().open()
        session = self._opened()

        def add(job: Job) -> None:
            session.writer.put([job])

        session.add = add  # type: ignore[method-assign]


async def plain(_task: TaskContext) -> str:
    """Submit, start, complete, finalize."""
    return "done"


async def asking(task: TaskContext) -> str:
    """Submit, start, ask, answer, progress, complete, finalize."""
    await task.ask("May I?")
    await task.progress("paying")
    return "done"


async def interlock(kind: type[Counted], life: str, count: int, database: str) -> Sample:
    """Through the engine, from the submission to the durable completion."""
    agent = plain if life == "plain" else asking
    store = kind(database)

    async def live() -> None:
        handle = await engine.submit(REQUEST, owner="ada")
        if agent is asking:
            record = await handle.rest()
            await handle.answer(record.asks[0].key, "yes")
        assert (await handle.over()).shown is Phase.COMPLETED

    async with Engine(agent, store=store, limits=Limits(running_turns_max=CLIENTS)) as engine:
        await load(live, WARM_UP)
        sample = await load(live, count)
    return sample._replace(commits=store.counted["commits"] / (count + WARM_UP))


async def floor(life: str, count: int, database: str) -> Sample:
    """Through the bare writer."""
    store, moves = _floor.Floor(database), LIVES[life]
    await load(lambda: _floor.live(store, moves), WARM_UP)
    sample = await load(lambda: _floor.live(store, moves), count)
    return sample._replace(commits=len(moves) + 1)


async def load(life: Life, count: int) -> Sample:
    """Live so often, a hundred at once."""
    took_ms: list[float] = []
    begun = iter(range(count))

    async def client() -> None:
        for _ in begun:
            began = time.perf_counter()
            await life()
            took_ms.append((time.perf_counter() - began) * 1e3)

    wall_s, cpu_s = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as clients:
        for _ in repeat(None, CLIENTS):
            clients.create_task(client())
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    p50_ms, p99_ms = (percentile(took_ms, share) for share in (0.5, 0.99))
    return Sample(count / wall_s, p50_ms, p99_ms, cpu_s / count * 1e6, 0)


ARMS: Final[dict[str, Callable[[str, int, str], Awaitable[Sample]]]] = {
    "interlock": partial(interlock, Counted),
    "one by one": partial(interlock, OneByOne),
    "floor": floor,
}


def file_system(folder: str) -> str:
    """Where the files lie: durable on a disk, and in memory only for show."""
    command = ["df", "--output=source,fstype", folder]
    found = subprocess.run(command, capture_output=True, check=True, text=True)
    where = " ".join(found.stdout.split("\n")[1].split())
    if "tmpfs" in where:
        raise SystemExit(f"{folder} is in memory ({where}): there is nothing to measure")
    return where


def compare(report: Report, life: str, of: dict[str, list[Sample]]) -> None:
    """The medians, and the ratios round by round."""
    rows: list[tuple[str, ...]] = []
    for arm, samples in of.items():
        middle = [statistics.median(values) for values in zip(*samples, strict=True)]
        rows.append((arm, *(f"{value:.3g}" if value < 1e3 else f"{value:.0f}" for value in middle)))
        report.samples[f"{life}, {arm}, lives a second"] = [one.lives_s for one in samples]
        report.samples[f"{life}, {arm}, p99 ms"] = [one.p99_ms for one in samples]
    header = ("arm", "lives a second", "p50, ms", "p99, ms", "CPU of one, us", "commits of one")
    report.tables.append(Table(f"A {life} life: medians over the rounds", header, rows))
    for base, limit in (("one by one", GROUPED_TIMES), ("floor", FLOOR_TIMES)):
        pairs = zip(of["interlock"], of[base], strict=True)
        ratio = statistics.median(ours.lives_s / theirs.lives_s for ours, theirs in pairs)
        commits = f"{of['interlock'][0].commits:.0f} commits to {of[base][0].commits:.0f}"
        name = f"{life}: lives a second / {base}, {commits}"
        report.bars.append(Bar(name, ratio, limit, "x", least=True))
    p99_ms = statistics.median(sample.p99_ms for sample in of["interlock"])
    report.bars.append(Bar(f"{life}: one life, p99", p99_ms, P99_MS, " ms"))


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Durable lives a second")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found = {life: {arm: list[Sample]() for arm in ARMS} for life in LIVES}
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".data-") as folder:
        disk = file_system(folder)
        for number, arm in enumerate(arms_in_turn([*ARMS], options.rounds)):
            for life in LIVES:
                run = partial(ARMS[arm], life, COUNTS[arm], f"{folder}/{life}-{number}.db")
                found[life][arm].append(in_process(run))
    report = Report("durable", f"Durable lives, {CLIENTS} clients at once, on {disk}")
    for life, of in found.items():
        compare(report, life, of)
    # As the issue words it, and as the prototype was: it knows no life but the one of 7 commits.
    pairs = zip(found["plain"]["interlock"], found["asking"]["floor"], strict=True)
    ratio = statistics.median(ours.lives_s / theirs.lives_s for ours, theirs in pairs)
    ours, theirs = found["plain"]["interlock"][0], found["asking"]["floor"][0]
    what = f"submit to completed ({ours.commits:.0f} commits)"
    name = f"{what} / a life of the floor ({theirs.commits:.0f} commits)"
    report.bars.append(Bar(name, ratio, FLOOR_TIMES, "x", least=True))
    report.finish()


if __name__ == "__main__":
    main()
