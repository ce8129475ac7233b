"""Interlock as an MCP server beside fastmcp-tasks 4.1.4, the comparable package, in one run.

    python -m bench.mcp [--rounds N] [--quick]

Both serve the Tasks extension (SEP-2663) of MCP 2026-07-28 over loopback HTTP, each in a
process of its own under the same uvicorn, with its defaults.  The tool is the same: async,
and adds two numbers that its schema checks.  **The peer keeps tasks in memory (`memory://`);
ours are durable**: SQLite with synchronous=FULL, and a handle
is not given out before its task is on the disk.  A third server is ours with `store="memory:"`, to
say what the disk costs; no bar is about it.

What is timed, by one client of raw bytes, one request at a time:

- create: `tools/call` until the handle of the task is there;
- get: `tasks/get` of a task that has just completed, of the tasks of the warm-up, each in its
  turn, which completed hundreds of tasks ago, and of one that works;
- create -> completed: `tools/call`, then `tasks/get` without a pause until it says completed.

The servers take turns after each run of 25 samples (A B C, C B A), so that a neighbour's load
falls on all alike.  The same **in turn**, a server after each sample, is there to say what a
request costs that comes to a server whose memory two others have just driven out of the
caches: it adds the same to all of them, and so brings every ratio nearer to 1.  No bar is
about it: who asks a server once, asks it again.

With eight clients at once, where one server at a time is loaded, it is lives a second, and
the CPU time of the server for each.  The same through the SDK's client, which costs as much
as a server, is there to say what a user of it sees.

A bar is a ratio of medians within a round, and of these the median over the rounds.  The
peer's environment, `.venv-mcp-peer`, is made on the first run.  `--quick` keeps nothing.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import uvloop
from mcp.client import Client as SdkClient

from bench._place import MCP
from bench._report import Bar, Report, Table, percentile
from bench.mcp_peer_client import COMPLETED, WORKING, Client
from bench.peer_process import Server
from interlock_adapters.mcp_tools._task import (
    Created,
    Detailed,
    GetTask,
    TaskParams,
    TasksExtension,
)

PEER: Final = "fastmcp-tasks, memory"
OURS: Final = "Interlock, SQLite"
FLOOR: Final = "Interlock, memory"
ARMS: Final = (PEER, OURS, FLOOR)

CREATE: Final = "create"
GET_COMPLETED: Final = "get, completed"
GET_OLD: Final = "get, completed long ago"
GET_WORKING: Final = "get, working"
LIFE: Final = "create -> completed"
CREATE_IN_TURN: Final = "create, in turn"
GET_IN_TURN: Final = "get, working, in turn"
LIFE_IN_TURN: Final = "create -> completed, in turn"
POLLS: Final = "polls of a life"
SDK_CREATE: Final = "create, SDK client"
SDK_LIFE: Final = "create -> completed, SDK client"
THROUGHPUT: Final = "lives/s, 8 clients"
SYNC: Final = "one write and sync of the disk, ms"
CPU: Final = "CPU ms of the server for a life, 8 clients"

#: What the issue promises: ours over the peer's.
LIMIT: Final = 0.6
AT_ONCE: Final = 8
IN_TURN: Final = (CREATE_IN_TURN, GET_IN_TURN, LIFE_IN_TURN)
TIMED: Final = (
    *(CREATE, GET_COMPLETED, GET_OLD, GET_WORKING, LIFE),
    *(*IN_TURN, SDK_CREATE, SDK_LIFE),
)
BARS: Final = (CREATE, GET_COMPLETED, GET_WORKING, LIFE)
WARM_UP: Final = 150
#: Samples of one server before it is the next one's turn.
RUN: Final = 25
SYNCS: Final = 100

#: By arm and metric.
Samples = defaultdict[str, defaultdict[str, list[float]]]


class Counts(NamedTuple):
    """How much is done in one round, for each server."""

    lives: int = 600
    gets: int = 600
    sdk: int = 150
    #: Of each of the eight clients.
    each: int = 60


QUICK: Final = Counts(lives=150, gets=150, sdk=50, each=25)


def no_samples() -> Samples:
    """Of a round that begins."""
    return defaultdict(lambda: defaultdict(list))


@contextmanager
def running(folder: str) -> Generator[dict[str, Server]]:
    """A fresh server of each arm."""
    with ExitStack() as servers:
        ours, module = sys.executable, "mcp_peer_interlock"
        peer = servers.enter_context(Server(MCP.python(), "mcp_peer_fastmcp"))
        durable = servers.enter_context(Server(ours, module, f"{folder}/tasks.db"))
        floor = servers.enter_context(Server(ours, module, "memory:"))
        yield {PEER: peer, OURS: durable, FLOOR: floor}


async def in_turn(count: int, sample: Callable[[str], Awaitable[None]], *, run: int = RUN) -> None:
    """Take so many samples of each arm, in runs: A B C, C B A, and so on."""
    for number in range(count // run):
        for arm in ARMS if number % 2 == 0 else ARMS[::-1]:
            for _ in range(run):
                await sample(arm)


async def one_client(servers: dict[str, Server], counts: Counts, found: Samples) -> None:
    """What one client sees: tasks made and completed, and looked at."""
    async with AsyncExitStack() as stack:
        clients = {
            arm: await stack.enter_async_context(await Client.open(server.port))
            for arm, server in servers.items()
        }

        old: dict[str, list[str]] = {arm: [] for arm in clients}

        async def warm_up(arm: str) -> None:
            old[arm].append((await clients[arm].life()).task_id)

        async def life(arm: str) -> None:
            lived = await clients[arm].life()
            found[arm][CREATE].append(lived.create)
            found[arm][LIFE].append(lived.completed)
            found[arm][POLLS].append(lived.polls)

        async def life_in_turn(arm: str) -> None:
            lived = await clients[arm].life()
            found[arm][CREATE_IN_TURN].append(lived.create)
            found[arm][LIFE_IN_TURN].append(lived.completed)

        await in_turn(WARM_UP, warm_up)
        await in_turn(counts.lives, life)
        await in_turn(counts.lives, life_in_turn, run=1)
        completed = {arm: await client.add() for arm, client in clients.items()}
        working = {arm: await client.hold() for arm, client in clients.items()}

        async def get_completed(arm: str) -> None:
            took = await clients[arm].get(completed[arm], COMPLETED)
            found[arm][GET_COMPLETED].append(took)

        async def get_old(arm: str) -> None:
            # One after the other, so that none of them is at hand because it was just read.
            old[arm].append(old[arm].pop(0))
            found[arm][GET_OLD].append(await clients[arm].get(old[arm][-1], COMPLETED))

        async def get_working(arm: str) -> None:
            found[arm][GET_WORKING].append(await clients[arm].get(working[arm], WORKING))

        async def get_in_turn(arm: str) -> None:
            found[arm][GET_IN_TURN].append(await clients[arm].get(working[arm], WORKING))

        for get in (get_completed, get_old, get_working):
            await in_turn(counts.gets, get)
        await in_turn(counts.gets, get_in_turn, run=1)
        for arm, client in clients.items():
            await client.cancel(working[arm])


async def sdk_client(servers: dict[str, Server], counts: Counts, found: Samples) -> None:
    """Tasks made and completed through the SDK's client."""
    async with AsyncExitStack() as stack:
        clients = {
            arm: await stack.enter_async_context(
                SdkClient(
                    f"http://127.0.0.1:{server.port}/mcp",
                    mode="2026-07-28",
                    extensions=[TasksExtension()],
                )
            )
            for arm, server in servers.items()
        }

        async def life(arm: str) -> None:
            session = clients[arm].session
            begun = time.perf_counter()
            made = await session.call_tool("add", {"a": 1, "b": 1}, allow_claimed=True)
            created = time.perf_counter()
            assert isinstance(made, Created), made
            asked = GetTask(params=TaskParams(taskId=made.task_id))
            while (await session.send_request(asked, Detailed)).status != "completed":
                pass
            over = time.perf_counter()
            found[arm][SDK_CREATE].append((created - begun) * 1e3)
            found[arm][SDK_LIFE].append((over - begun) * 1e3)

        await in_turn(RUN, life)
        for arm in ARMS:
            del found[arm][SDK_CREATE], found[arm][SDK_LIFE]
        await in_turn(counts.sdk, life)


async def at_once(servers: dict[str, Server], counts: Counts, found: Samples) -> None:
    """Eight clients of one server, each with one task after the other."""

    async def lives(port: int) -> None:
        async with await Client.open(port) as client:
            for _ in range(counts.each):
                await client.life()

    for arm, server in servers.items():
        cpu, begun = server.cpu_s(), time.perf_counter()
        await asyncio.gather(*(lives(server.port) for _ in range(AT_ONCE)))
        took, used = time.perf_counter() - begun, server.cpu_s() - cpu
        done = AT_ONCE * counts.each
        found[arm][THROUGHPUT].append(done / took)
        found[arm][CPU].append(used / done * 1e3)


def syncs(folder: str, found: Samples) -> None:
    """What the disk costs today: a page is written and synced, as the last step of a commit."""
    with Path(folder, "synced").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            found[OURS][SYNC].append((time.perf_counter() - begun) * 1e3)


async def measure(servers: dict[str, Server], counts: Counts, found: Samples) -> None:
    """One round."""
    await one_client(servers, counts, found)
    await sdk_client(servers, counts, found)
    await at_once(servers, counts, found)


def ratios(rounds: Sequence[Samples], metric: str, over: str = PEER) -> list[float]:
    """Ours over another, by round."""
    return [
        statistics.median(found[OURS][metric]) / statistics.median(found[over][metric])
        for found in rounds
    ]


def all_of(rounds: Sequence[Samples], arm: str, metric: str) -> list[float]:
    """The samples of all rounds."""
    return [sample for found in rounds for sample in found[arm][metric]]


def number_rows(rounds: Sequence[Samples]) -> list[tuple[str, ...]]:
    """By metric: p50 and p95 of each arm, and ours over the peer's."""
    rows: list[tuple[str, ...]] = []
    for metric in TIMED:
        cells = [f"{metric}, ms"]
        for arm in ARMS:
            samples = all_of(rounds, arm, metric)
            cells.append(f"{statistics.median(samples):.2f} / {percentile(samples, 0.95):.2f}")
        rows.append((*cells, _spread(ratios(rounds, metric))))
    for metric in (POLLS, THROUGHPUT, CPU):
        medians = (statistics.median(all_of(rounds, arm, metric)) for arm in ARMS)
        cells = [metric, *(f"{number:.3g}" for number in medians)]
        rows.append((*cells, _spread(ratios(rounds, metric))))
    synced = all_of(rounds, OURS, SYNC)
    cell = f"{statistics.median(synced):.2f} / {percentile(synced, 0.95):.2f}"
    return [*rows, (SYNC, "-", cell, "-", "-")]


def _spread(of_rounds: Sequence[float]) -> str:
    least, most = min(of_rounds), max(of_rounds)
    return f"{statistics.median(of_rounds):.2f} ({least:.2f} to {most:.2f})"


def versions(servers: dict[str, dict[str, str]]) -> Table:
    """What each server runs on."""
    packages = dict.fromkeys(name for of in servers.values() for name in of)
    lines = [(name, *(servers[arm].get(name, "-") for arm in ARMS)) for name in packages]
    lines.append(("tasks are kept", "in memory", "on the disk, synchronous=FULL", "in memory"))
    return Table("Versions", ("", *ARMS), lines)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Interlock beside fastmcp-tasks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    count, counts = (1, QUICK) if options.quick else (options.rounds, Counts())
    rounds: list[Samples] = []
    of: dict[str, dict[str, str]] = {}
    for number in range(count):
        print(f"round {number + 1} of {count}", flush=True)
        # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
        parent = Path(__file__).parent
        with (
            tempfile.TemporaryDirectory(dir=parent, prefix=".data-") as folder,
            running(folder) as servers,
        ):
            of = {arm: server.versions for arm, server in servers.items()}
            rounds.append(no_samples())
            syncs(folder, rounds[-1])
            uvloop.run(measure(servers, counts, rounds[-1]))
    report = Report("mcp", f"Interlock as an MCP server beside fastmcp-tasks, rounds: {count}")
    header = ("p50 / p95, or the median", *ARMS, "ours over the peer's, p50")
    report.tables += [Table("Numbers", header, number_rows(rounds)), versions(of)]
    for metric in BARS:
        ratio = statistics.median(ratios(rounds, metric))
        report.bars.append(
            Bar(f"{metric}, p50: SQLite / fastmcp-tasks in memory", ratio, LIMIT, "x")
        )
    for arm in ARMS:
        report.samples |= {
            f"{arm}, {metric}": [round(sample, 4) for sample in all_of(rounds, arm, metric)]
            for metric in rounds[0][arm]
        }
    report.finish(keep=not options.quick)


if __name__ == "__main__":
    main()
