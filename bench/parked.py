"""A hundred thousand tasks that wait for an answer, parked on SQLite.

    python -m bench.parked [--tasks N] [--resumes N]

What they hold while they wait (threads, asyncio tasks, memory), how soon the engine is
ready after its process was killed and after it was closed, and how soon one of them,
picked at random, goes on to its end.  Each part has a process of its own, on one file.
"""

import argparse
import asyncio
import ctypes
import gc
import os
import random
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from bench._agent import agent
from bench._process import in_process
from bench._report import Bar, Report, Table, percentile
from interlock import Engine, Limits, Phase
from interlock.models import Answer

TASKS: Final = 100_000
RESUMES: Final = 500
#: Clients that make tasks at once: enough for big batches, few enough to keep the queue short.
CLIENTS: Final = 200
#: Tasks made before anything is measured, so that every thread and cache is there.
WARM_UP: Final = 1_000
TASKS_PER_OWNER: Final = 500
#: The coroutine of a task that asks is let go at once.
LIMITS: Final = Limits(park_after_s=0.0, running_turns_max=2 * CLIENTS)

RSS_MIB: Final = 64.0
RESUMED_MS: Final = 25.0
READY_S: Final = 2.0


class Held(NamedTuple):
    """What the process holds."""

    threads: int
    asyncio_tasks: int
    rss_mib: float


class Parked(NamedTuple):
    """What it took to park them all, and what they hold."""

    before: Held
    after: Held
    took_s: float
    ids: list[str]


class Ready(NamedTuple):
    """Seconds from the call of `Engine.start` until it did what is asked of it first."""

    started_s: float
    viewed_s: float
    submitted_s: float
    held: Held


def held() -> Held:
    """What the process holds now, its garbage and free heap aside."""
    gc.collect()
    # glibc keeps freed pages at the ready.  They would hide what tasks hold, or pass for it.
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    threads = len(list(Path("/proc/self/task").iterdir()))
    return Held(threads, len(asyncio.all_tasks()), pages * os.sysconf("SC_PAGESIZE") / 2**20)


# --- the parts, each in a process of its own ------------------------------------------------


async def park(database: str, tasks: int) -> Parked:
    """Make them all, and wait until the last is parked."""
    engine = Engine(agent, store=f"sqlite:///{database}", limits=LIMITS)
    await engine.start()
    await _park(engine, WARM_UP, "warm")
    before, began = held(), time.perf_counter()
    ids = await _park(engine, tasks, "owner")
    took_s = time.perf_counter() - began
    # The process is killed now: the engine is never closed.
    return Parked(before, held(), took_s, ids)


async def _park(engine: Engine, count: int, owner: str) -> list[str]:
    """Run so many tasks to their question, and wait until nothing of them is live."""
    numbers = iter(range(count))
    ids: list[str] = []

    async def client() -> None:
        for number in numbers:
            owned_by = f"{owner} {number // TASKS_PER_OWNER}"
            handle = await engine.submit(f"ask about trip {number}", owner=owned_by)
            record = await handle.rest()
            assert record.phase is Phase.WAITING_INPUT, record.phase
            ids.append(handle.task_id)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
    # The last of them are just being unwound, and nobody is told when.
    while engine.statistics().live:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return ids


async def restart(database: str, task_id: str) -> Ready:
    """Open the engine with all of them parked, look at one, and make a new one."""
    engine = Engine(agent, store=f"sqlite:///{database}", limits=LIMITS)
    began = time.perf_counter()
    await engine.start()
    started_s = time.perf_counter() - began
    view = await engine.view(task_id, owner=None)
    assert view.record.phase is Phase.WAITING_INPUT, view.record.phase
    viewed_s = time.perf_counter() - began
    await engine.submit("hello", owner="somebody new")
    submitted_s = time.perf_counter() - began
    found = Ready(started_s, viewed_s, submitted_s, held())
    await engine.drain()
    return found


async def resume(database: str, ids: list[str]) -> list[float]:
    """Answer one after the other; milliseconds from each answer to its durable completion."""
    took_ms: list[float] = []
    async with Engine(agent, store=f"sqlite:///{database}", limits=LIMITS) as engine:
        for task_id in ids:
            record = await engine.record(task_id, owner=None)
            answer = Answer(ask=record.asks[0].key, value="Oslo")
            began = time.perf_counter()
            await engine.answer(task_id, answer, owner=record.owner)
            over = await engine.over(task_id, owner=record.owner)
            took_ms.append((time.perf_counter() - began) * 1e3)
            assert over.record.shown is Phase.COMPLETED, over.record.shown
    return took_ms


# --- the findings ---------------------------------------------------------------------------


def report_of(
    parked: Parked, restarts: dict[str, list[Ready]], took_ms: list[float], size_mb: float
) -> Report:
    """Everything that was found, and the bars."""
    count = len(parked.ids)
    report = Report("parked", f"{count:,} parked tasks on SQLite")
    rows: list[tuple[str, ...]] = [
        ("before the first", *_cells(parked.before)),
        ("after the last", *_cells(parked.after)),
        *((f"restarted after {how}", *_cells(of[-1].held)) for how, of in restarts.items()),
    ]
    report.tables.append(Table("Held", ("when", "threads", "asyncio tasks", "RSS, MiB"), rows))
    rows = [
        (how, *(f"{max(values):.3f}" for values in list(zip(*of, strict=True))[:3]))
        for how, of in restarts.items()
    ]
    header = ("after", "started, s", "and one viewed, s", "and one submitted, s")
    report.tables.append(Table("Restart, the worst", header, rows))
    shares = [f"{percentile(took_ms, share):.2f}" for share in (0.5, 0.95, 0.99)]
    waits: list[tuple[str, ...]] = [
        (f"one of {len(took_ms)}, picked at random", *shares, f"{max(took_ms):.2f}")
    ]
    columns = ("what", "p50, ms", "p95, ms", "p99, ms", "worst, ms")
    report.tables.append(Table("From the answer to the durable completion", columns, waits))
    rows = [(f"{parked.took_s:.0f}", f"{count / parked.took_s:.0f}", f"{size_mb:.0f}")]
    report.tables.append(Table("Parking them", ("took, s", "tasks a second", "file, MB"), rows))
    report.samples["answer to completion, ms"] = took_ms
    p99_ms = percentile(took_ms, 0.99)
    growth = [after - before for before, after in zip(parked.before, parked.after, strict=True)]
    ready = max(one.submitted_s for of in restarts.values() for one in of)
    report.bars += [
        Bar("threads more", growth[0], 0),
        Bar("asyncio tasks more", growth[1], 0),
        Bar("RSS growth", growth[2], RSS_MIB, " MiB"),
        Bar("a random one resumes to completion, p99", p99_ms, RESUMED_MS, " ms"),
        Bar("restart until one is viewed and one submitted, worst", ready, READY_S, " s"),
    ]
    return report


def _cells(found: Held) -> tuple[str, str, str]:
    return str(found.threads), str(found.asyncio_tasks), f"{found.rss_mib:.1f}"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Tasks that wait, parked")
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--resumes", type=int, default=RESUMES)
    options = parser.parse_args()
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".data-") as folder:
        database = f"{folder}/parked.db"
        parked = in_process(partial(park, database, options.tasks))
        again = partial(restart, database, parked.ids[0])
        restarts = {
            "a kill": [in_process(again)],
            "a drain": [in_process(again) for _ in range(2)],
        }
        picked = random.Random(3).sample(parked.ids, options.resumes)  # noqa: S311  no secret
        took_ms = in_process(partial(resume, database, picked))
        size_mb = Path(database).stat().st_size / 1e6
    report_of(parked, restarts, took_ms, size_mb).finish()


if __name__ == "__main__":
    main()
