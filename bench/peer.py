"""Interlock beside agent-runtime-sdk 0.1.1, the comparable package, in one run.

    python -m bench.peer [--rounds N] [--quick]

The same scripted model, MCP server and A2A v0.3 client drive both; each is a server with
its defaults in a process of its own, on the same uvicorn.  The peer keeps tasks in memory,
ours on the disk (SQLite, synchronous=FULL).  Its environment is made on the first run.
`--quick` takes three minutes, and keeps nothing.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from bench._report import Bar, Report, Table, percentile
from bench.peer_measure import (
    LOADS,
    QUICK,
    Counts,
    Findings,
    approvals,
    asks,
    cancels,
    parked,
    throughput,
)
from bench.peer_process import ARMS, OURS, PEER, Arm, Server, running

All = dict[Arm, Findings]

#: What its tasks do, by their first word.
DOES: Final = {"say": "no tool", "work": "one tool call"}
#: What is less is as good as nothing: 100 kB, 0.1 ms.
LEAST: Final = 0.1


class Row(NamedTuple):
    """A line of the table: how its number is made of the samples of a metric."""

    name: str
    metric: str
    number: Callable[[list[float]], float] = statistics.median
    #: Whether more is better; None for what is no contest.
    more: bool | None = False
    #: Whether the bench promises to be no worse than the peer here.
    bar: bool = False


def p50(samples: list[float]) -> float:
    """The median."""
    return statistics.median(samples)


def p99(samples: list[float]) -> float:
    """The sample that all but a hundredth are below."""
    return percentile(samples, 0.99)


def rows() -> Iterable[Row]:
    """The table."""
    for kind, at_once in LOADS:
        name, load = f"{DOES[kind]}, {at_once} at once", f"{kind} {at_once}"
        yield Row(f"{name}: submit → completed, p50 ms", load, p50, bar=True)
        yield Row(f"{name}: p99 ms", load, p99)
        yield Row(f"{name}: tasks/s", f"tasks/s {load}", more=True, bar=True)
        yield Row(f"{name}: CPU ms per task of the server", f"cpu {load}")
    for name, metric in (
        ("ask visible, message/send", "ask"),
        ("ask visible, message/stream", "ask, streamed"),
        ("answer → completed", "answer"),
        ("approval asked for", "pay"),
        ("approve → completed", "approve"),
        ("deny → over", "deny"),
    ):
        yield Row(f"{name}, p50 ms", metric, p50, bar=metric != "deny")
        yield Row(f"{name}, p99 ms", metric, p99)
    yield Row("cancel in a tool → reply, p50 ms", "cancel working")
    yield Row("cancel in a tool → over, p50 ms", "cancel working, over")
    yield Row("cancel of a waiting task → reply, p50 ms", "cancel waiting", bar=True)
    yield Row("threads with the parked tasks", "threads", bar=True)
    yield Row("threads more than before", "threads more", more=None)
    yield Row("RSS with the parked tasks, MB", "rss")
    yield Row("RSS more than before, MB", "rss more", bar=True)
    yield Row("open files more than before", "files more", more=None)
    yield Row("submit → completed beside them, p50 ms", "say, beside")
    yield Row("then answered and completed, tasks/s", "answered/s", more=True)


#: What is counted and not timed.
SAID: Final = {
    "an answer at once": "answer",
    "an answer at once, to a stream": "answer to a stream",
    "an approval at once": "approve",
    "a denial": "deny",
    "a denial, by tasks/get": "denied, later",
    "a cancel in a tool": "cancel working",
    "a cancel in a tool, by tasks/get": "cancel working, later",
    "a cancel of a waiting task": "cancel waiting",
    "a cancel of a waiting task, by tasks/get": "cancel waiting, later",
    "an answer to each parked task": "parked, answered",
}
#: What the numbers alone do not say.
NOTES: Final[list[tuple[str, ...]]] = [
    (
        "ask visible, approval asked for",
        "the peer looks for a question at once, and then every 200 ms: either 20 ms or 220 ms",
    ),
    ("answer, approve", "the peer looks every 100 ms; ours runs the agent again from the log"),
    (
        "deny, an answer at once",
        "the peer's errors (-32603) are counted below, and their time is not taken",
    ),
    (
        "a cancel in a tool",
        (
            "without MCP it sleeps in Python, and nothing can stop it: ours says so after 2 s, "
            "and the peer answers at once with an error while its thread goes on"
        ),
    ),
    ("a cancel of a waiting task", "the peer never answers: 4 s are the bench's patience"),
    ("parked, then answered", "the peer kept a thread for each; ours kept nothing but the log"),
]


async def alone(server: Server, counts: Counts, found: Findings) -> None:
    """All that is measured with few tasks; the cancels last, for what they leave behind."""
    found.versions.update(server.versions)
    await throughput(server, counts, found)
    await asks(server.port, counts, found)
    await approvals(server.port, counts, found)
    await cancels(server.port, counts, found)


def measure(arm: Arm, folder: Path, counts: Counts, found: Findings) -> None:
    """One round of one arm, on two fresh servers."""
    for number, part in enumerate((alone, parked)):
        with (
            tempfile.TemporaryDirectory(dir=folder) as data,
            running(arm, f"{data}/{number}.db") as server,
        ):
            uvloop.run(part(server, counts, found))


def numbers(row: Row, found: All) -> dict[Arm, float]:
    """Of each arm."""
    return {arm: row.number(of.samples[row.metric]) for arm, of in found.items()}


def times(row: Row, of: dict[Arm, float], *, mcp: bool) -> float:
    """By how much ours is better: the peer's number over ours, or the other way round."""
    peer, ours = of[Arm(PEER, mcp)], of[Arm(OURS, mcp)]
    over, under = (ours, peer) if row.more else (peer, ours)
    return max(over, LEAST) / max(under, LEAST)


def digits(number: float) -> str:
    """Three of them that say something."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def compare(report: Report, found: All) -> None:
    """The numbers, what was said, and the bars."""
    lines: list[tuple[str, ...]] = []
    for row in rows():
        of = numbers(row, found)
        cells = [row.name]
        for mcp in (False, True):
            better = times(row, of, mcp=mcp)
            cells += [digits(of[Arm(half, mcp)]) for half in (PEER, OURS)]
            cells.append("" if row.more is None else f"{digits(better)}x")
            if row.bar:
                name = f"{row.name}: better than the peer{', MCP' * mcp}"
                report.bars.append(Bar(name, better, 1.0, "x", least=True))
        lines.append(tuple(cells))
    header = ("", PEER, OURS, "better", f"{PEER}, MCP", f"{OURS}, MCP", "better")
    report.tables.append(Table("Numbers", header, lines))
    report.tables += [said(found), versions(found), Table("Notes", ("on", "that"), NOTES)]
    for arm, of_arm in found.items():
        report.samples |= {f"{arm.name}, {m}": s for m, s in of_arm.samples.items()}


def said(found: All) -> Table:
    """How often each answer came."""
    lines = [
        (
            name,
            *(
                "; ".join(f"{what} ({n})" for what, n in of.said[kind].most_common())
                for of in found.values()
            ),
        )
        for name, kind in SAID.items()
    ]
    return Table("What was said", ("to", *(arm.name for arm in found)), lines)


def versions(found: All) -> Table:
    """What each half runs on."""
    halves = {half: found[Arm(half, mcp=True)].versions for half in (PEER, OURS)}
    packages = dict.fromkeys(name for of in halves.values() for name in of)
    lines = [(name, *(of.get(name, "-") for of in halves.values())) for name in packages]
    lines.append(("tasks are kept", "in memory", "on the disk: SQLite, synchronous=FULL"))
    return Table("Versions", ("", *halves), lines)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Interlock beside agent-runtime-sdk")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rounds, counts = (1, QUICK) if options.quick else (options.rounds, Counts())
    found: All = {arm: Findings() for arm in ARMS}
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".data-") as folder:
        for number in range(rounds):
            for arm in ARMS if number % 2 == 0 else ARMS[::-1]:
                print(f"round {number + 1} of {rounds}: {arm.name}", flush=True)
                measure(arm, Path(folder), counts, found[arm])
    parked_tasks = f"{counts.parked} parked tasks"
    report = Report("peer", f"Interlock beside agent-runtime-sdk, rounds: {rounds}, {parked_tasks}")
    compare(report, found)
    report.finish(keep=not options.quick)


if __name__ == "__main__":
    main()
