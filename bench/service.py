"""A whole service under load: two thousand readers of two hundred tasks, and submits beside them.

    python -m bench.service [--rounds N] [--readers N] [--every S] [--arms ...]

`Service.of(config)` with bearer tokens and SQLite, served as a user would.  Submits are measured
alone, then while every task emits an event each second to ten readers, then alone again; the
ratio is of the one to the mean of the others.  What every reader saw is held against the log.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import uvloop

from bench._client import Connection, call, message
from bench._process import ServerProcess
from bench._report import Bar, Report, Table, arms_in_turn, percentile
from bench._service_readers import ARMS, PATIENCE_S, Audit, Tasks, read
from bench._service_server import RPC_PATH, SUBMITTER, token_of

READERS: Final = 2_000
TASKS: Final = 200
#: A person or program has ten of the tasks and a hundred streams: within the usual quota.
OWNERS: Final = 20
#: Seconds between two events of a task.
EVERY_S: Final = 1.0
#: Clients that submit.
CONCURRENCY: Final = 16
WARM_UP_S: Final = 1.5
ALONE_S: Final = 4.0
LOADED_S: Final = 10.0
#: Seconds after the first event until the load counts as steady.
SETTLED_S: Final = 1.5
#: Files of a process besides those of its readers.
OTHER_FILES: Final = 500

KEPT: Final = 0.5

COMPLETED: Final = b"TASK_STATE_COMPLETED"
RESULT: Final = b"done: "


#: Begins the readers of the tasks.
Start: TypeAlias = Callable[[Tasks], None]


class Load(NamedTuple):
    """Which readers there are."""

    arm: str
    readers: int
    every_s: float


class Round(NamedTuple):
    """One server, before, under and after the load."""

    alone: list[float]
    loaded: list[float]
    #: Submits a second.
    alone_rps: float
    loaded_rps: float
    #: Of the server, as a share of one core, and of the readers' process in all.
    alone_cpu: float
    loaded_cpu: float
    readers_cpu_s: float
    #: Seconds that it took to open all streams.
    opening_s: float
    #: Seconds from the first event to the last.
    emitting_s: float
    rss_mb: float
    audit: Audit

    @property
    def ratio(self) -> float:
        """What is left of the rate."""
        return self.loaded_rps / self.alone_rps

    @property
    def streams_cpu(self) -> float:
        """What the load costs the server, as a share of one core.

        Submits cost what they cost alone.  Unlike the ratio it does not follow how much of a core
        a busy machine leaves to the server, now and a moment later.
        """
        return self.loaded_cpu - self.loaded_rps * self.alone_cpu / self.alone_rps

    def on_time(self, load: Load) -> float:
        """Events that were emitted, as a share of those that were to be."""
        return self.audit.emitted / (TASKS * self.emitting_s / load.every_s)


class Rate(NamedTuple):
    """What clients got done in a while."""

    rps: float
    took: list[float]
    cpu: float


def send(text: str, owner: str = SUBMITTER, *, at_once: bool = False) -> bytes:
    """A SendMessage that makes a task."""
    params = message(text)
    if at_once:
        params["configuration"] = {"returnImmediately": True}
    return call("SendMessage", params, RPC_PATH, token_of(owner))


async def submitted(server: ServerProcess, for_s: float) -> Rate:
    """SendMessage to COMPLETED from 16 clients, for so long."""
    took: list[float] = []
    began, cpu_s = time.perf_counter(), server.cpu_s()

    async def client() -> None:
        async with await Connection.open(server.port) as connection:
            while (at := time.perf_counter()) - began < for_s:
                answer = await connection.post(send("hello there"))
                took.append(time.perf_counter() - at)
                if COMPLETED not in answer or RESULT not in answer:
                    raise RuntimeError(answer)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CONCURRENCY):
            clients.create_task(client())
    wall_s = time.perf_counter() - began
    return Rate(len(took) / wall_s, took, (server.cpu_s() - cpu_s) / wall_s)


async def say(server: ServerProcess, text: str) -> None:
    """Have a task tell the emitting ones something."""
    async with await Connection.open(server.port) as connection:
        await connection.post(send(text))


async def emitting(server: ServerProcess, every_s: float) -> Tasks:
    """Make the tasks that are read; each waits for "go"."""
    tasks: list[tuple[str, str]] = []
    async with await Connection.open(server.port) as connection:
        for number in range(TASKS):
            owner = f"owner-{number % OWNERS}"
            # Evenly over the time from one event to the next.
            text = f"emit {number / TASKS * every_s} {every_s}"
            answer = await connection.post(send(text, owner, at_once=True))
            tasks.append((json.loads(answer)["result"]["task"]["id"], owner))
    return tasks


async def measured(server: ServerProcess, load: Load, pipe: Pipe, start: Start) -> Round:
    """One round, on a fresh server, which still runs after it."""
    await submitted(server, WARM_UP_S)
    before = await submitted(server, ALONE_S)
    began = time.perf_counter()
    start(await emitting(server, load.every_s))
    await heard(pipe)
    opening_s = time.perf_counter() - began
    began = time.perf_counter()
    await say(server, "go")
    await asyncio.sleep(SETTLED_S)
    loaded = await submitted(server, LOADED_S)
    rss_mb = server.resident_mb()
    await say(server, "stop")
    emitting_s = time.perf_counter() - began
    pipe.send("stop")
    readers_cpu_s: float = await heard(pipe)
    after = await submitted(server, ALONE_S)
    return Round(
        [*before.took, *after.took],
        loaded.took,
        statistics.mean((before.rps, after.rps)),
        loaded.rps,
        statistics.mean((before.cpu, after.cpu)),
        loaded.cpu,
        readers_cpu_s,
        opening_s,
        emitting_s,
        rss_mb,
        Audit(0, 0, [], 0, 0, []),
    )


async def heard(pipe: Pipe) -> Any:  # noqa: ANN401  whatever the readers say
    """The next thing that the readers say."""
    if not await asyncio.to_thread(pipe.poll, PATIENCE_S):
        raise RuntimeError("the readers say nothing")
    return pipe.recv()


def one_round(load: Load, database: str) -> Round:
    """A server, its readers, and the audit when the server has ended."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with ServerProcess(str(OWNERS), database, module="bench._service_server") as server:

        def start(tasks: Tasks) -> None:
            given = (theirs, load.arm, server.port, tasks, load.readers // TASKS)
            spawn.Process(target=read, args=given, daemon=True).start()
            theirs.close()

        found = uvloop.run(measured(server, load, ours, start))
    ours.send(database)
    if not ours.poll(PATIENCE_S):
        raise RuntimeError("the audit does not end")
    audit: Audit = ours.recv()
    for child in multiprocessing.active_children():
        child.join()
    return found._replace(audit=audit)


def allow_files(readers: int) -> None:
    """Let this process and its children have a file for each reader."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = readers + OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed} open files are needed, and {hard} allowed: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))


# --- the findings ---------------------------------------------------------------------------


def report_of(found: dict[Load, list[Round]], readers: int, every_s: float) -> Report:
    """Everything that was found, and the bars."""
    title = f"{readers:,} readers of {TASKS} tasks that emit each {every_s:g} s, and submits"
    report = Report("service", f"A service with auth on SQLite: {title}")
    rates: list[tuple[str, ...]] = []
    streams: list[tuple[str, ...]] = []
    for load, rounds in found.items():
        for number, one in enumerate(rounds, 1):
            name = f"{load.arm}, round {number}"
            times = [
                f"{percentile(took, share) * 1e3:.0f}"
                for took in (one.alone, one.loaded)
                for share in (0.5, 0.99)
            ]
            rates.append(
                (
                    name,
                    f"{one.alone_rps:.0f}",
                    f"{one.loaded_rps:.0f}",
                    f"{one.ratio:.2f}",
                    *times,
                    f"{one.alone_cpu:.2f}",
                    f"{one.loaded_cpu:.2f}",
                    f"{one.streams_cpu:.2f}",
                )
            )
            delays = one.audit.delays_ms
            streams.append(
                (
                    name,
                    f"{one.audit.readers - one.audit.wrong} of {one.audit.readers}",
                    f"{one.audit.delivered:,}",
                    f"{one.on_time(load):.2f}",
                    *(f"{percentile(delays, share):.0f}" for share in (0.5, 0.99)),
                    f"{one.opening_s:.1f}",
                    f"{one.rss_mb:.0f}",
                )
            )
        report.samples[f"{load.arm}, ratio"] = [one.ratio for one in rounds]
        report.samples[f"{load.arm}, streams"] = [one.streams_cpu for one in rounds]
    header = ("arm", "alone, /s", "loaded, /s", "ratio", "alone p50, ms", "p99", "loaded p50, ms")
    report.tables.append(
        Table(
            "Submits to COMPLETED",
            (*header, "p99", "CPU alone", "CPU loaded", "of it streams"),
            rates,
        )
    )
    columns = ("arm", "readers who saw the log", "delivered", "emitted of wanted")
    report.tables.append(
        Table("Streams", (*columns, "delay p50, ms", "p99", "opened in, s", "RSS, MB"), streams)
    )
    report.bars += [bar for load, rounds in found.items() for bar in bars(load, rounds)]
    return report


def bars(load: Load, rounds: list[Round]) -> Iterable[Bar]:
    """What issue 8 promises."""
    wrong = sum(one.audit.wrong for one in rounds)
    missing = sum(load.readers - one.audit.readers for one in rounds)
    name = load.arm
    yield Bar(f"{name}: readers who did not see every event, in order", wrong + missing, 0)
    emitted = min(one.on_time(load) for one in rounds)
    yield Bar(f"{name}: events emitted of those wanted, least", emitted, 0.9, "x", least=True)
    ratio = statistics.median(one.ratio for one in rounds)
    yield Bar(f"{name}: submits loaded / alone, median", ratio, KEPT, "x", least=True)
    cpu = statistics.median(one.streams_cpu for one in rounds)
    yield Bar(f"{name}: what streams take of a core, median", cpu, 1 - KEPT)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="A service under load")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--readers", type=int, default=READERS)
    parser.add_argument("--every", type=float, default=EVERY_S, metavar="SECONDS")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS])
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    allow_files(options.readers)
    found: dict[Load, list[Round]] = defaultdict(list)
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".data-") as folder:
        for number, arm in enumerate(arms_in_turn(options.arms, options.rounds)):
            load = Load(arm, options.readers // TASKS * TASKS, options.every)
            one = one_round(load, f"{folder}/{number}.db")
            found[load].append(one)
            for problem in one.audit.first_wrong:
                print(f"{arm}: {problem}", flush=True)
    report_of(found, options.readers, options.every).finish(keep=options.keep)


if __name__ == "__main__":
    main()
