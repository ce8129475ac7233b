"""Interlock's A2A face against a2a-sdk's own handler, side by side on one machine.

    python -m bench.a2a [--rounds N]

SendMessage to COMPLETED over JSON-RPC at concurrency 16: CPU per request of the server
process.  Streaming to the first event, and a follow-up that answers a question to
COMPLETED: median latency, one client at a time.  Every round starts every arm anew, in
alternating order; ratios are taken round by round, and a number is the median of them.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import uvloop

from bench._client import Connection, call, message
from bench._process import ServerProcess
from bench._report import Bar, Report, Table, arms_in_turn, percentile

ARMS: Final = {
    "sdk": "bench._sdk_arm:sdk",
    "sdk-artifact": "bench._sdk_arm:sdk_artifact",
    "interlock-memory": "bench._interlock_arm:memory",
    "interlock-sqlite": "bench._interlock_arm:sqlite",
}
BASE: Final = "sdk"
CONCURRENCY: Final = 16
WARM_UP: Final = 320
REQUESTS: Final = 2_400
STREAMS: Final = 200
FOLLOW_UPS: Final = 200

COMPLETED: Final = b"TASK_STATE_COMPLETED"
RESULT: Final = b"done: "

#: What one arm measured, by metric; a sample for each round.
Findings = dict[str, list[float]]


def send(text: str = "hello there") -> bytes:
    """A SendMessage that makes a task."""
    return call("SendMessage", message(text))


def expect(answer: bytes, *wanted: bytes) -> None:
    """Stop the bench when a server does not do the work."""
    if not all(part in answer for part in wanted):
        raise RuntimeError(f"{wanted} is not in {answer!r}")


async def load(port: int, count: int) -> list[float]:
    """SendMessage from 16 clients at once; the seconds that each request took."""
    requests = [send() for _ in range(count)]
    took: list[float] = []

    async def client() -> None:
        async with await Connection.open(port) as connection:
            while requests:
                request = requests.pop()
                began = time.perf_counter()
                answer = await connection.post(request)
                took.append(time.perf_counter() - began)
                expect(answer, COMPLETED, RESULT)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CONCURRENCY):
            clients.create_task(client())
    return took


async def first_events(port: int) -> list[float]:
    """Seconds from SendStreamingMessage to the first event of its stream."""
    took: list[float] = []
    async with await Connection.open(port) as connection:
        for _ in range(STREAMS):
            request = call("SendStreamingMessage", message("hello there"))
            events: list[bytes] = []
            began = time.perf_counter()
            async for event in connection.stream(request):
                if not events:
                    took.append(time.perf_counter() - began)
                events.append(event)
            expect(events[-1], COMPLETED)
    return took


async def follow_ups(port: int) -> list[float]:
    """Seconds from the answer to a question to the completed task."""
    took: list[float] = []
    async with await Connection.open(port) as connection:
        for _ in range(FOLLOW_UPS):
            task = (await connection.ask("SendMessage", message("ask me")))["task"]
            assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED", task
            answer = message("Oslo", task_id=task["id"], context_id=task["contextId"])
            request = call("SendMessage", answer)
            began = time.perf_counter()
            done = await connection.post(request)
            took.append(time.perf_counter() - began)
            expect(done, COMPLETED, RESULT)
    return took


async def measure(server: ServerProcess, found: Findings) -> None:
    """One round of one arm, on a fresh server."""
    await load(server.port, WARM_UP)
    cpu_s, began = server.cpu_s(), time.perf_counter()
    took = await load(server.port, REQUESTS)
    wall_s = time.perf_counter() - began
    found["cpu_ms"].append((server.cpu_s() - cpu_s) / REQUESTS * 1e3)
    found["rps"].append(REQUESTS / wall_s)
    found["p50_ms"].append(percentile(took, 0.5) * 1e3)
    found["p99_ms"].append(percentile(took, 0.99) * 1e3)
    found["first_event_ms"].append(percentile(await first_events(server.port), 0.5) * 1e3)
    found["follow_up_ms"].append(percentile(await follow_ups(server.port), 0.5) * 1e3)
    found["rss_mb"].append(server.resident_mb())


def compare(report: Report, found: dict[str, Findings]) -> None:
    """Medians, ratios to the baseline, and the bars."""
    middle = {arm: medians(of) for arm, of in found.items()}
    # Round by round, so that what slowed a whole round slows both sides of its ratio.
    ratios = {arm: by_round(of, found[BASE]) for arm, of in found.items()}
    typical = {arm: medians(of) for arm, of in ratios.items()}
    metrics = tuple(middle[BASE])
    for arm, of in found.items():
        report.samples |= {f"{arm}, {metric}": samples for metric, samples in of.items()}
    rows: list[tuple[str, ...]] = [
        (arm, *(f"{of[metric]:.3g}" for metric in metrics)) for arm, of in middle.items()
    ]
    report.tables.append(Table("Medians over the rounds", ("arm", *metrics), rows))
    rows = [
        (arm, *(spread(of[metric]) for metric in metrics))
        for arm, of in ratios.items()
        if arm != BASE
    ]
    title = f"Ratio to {BASE} in the same round: median (least to greatest)"
    report.tables.append(Table(title, ("arm", *metrics), rows))
    report.bars += bars(typical)


def medians(of: Findings) -> dict[str, float]:
    """One number for each metric."""
    return {metric: statistics.median(samples) for metric, samples in of.items()}


def by_round(of: Findings, base: Findings) -> Findings:
    """Each sample as a share of what the baseline had in the same round."""
    return {
        metric: [sample / part for sample, part in zip(samples, base[metric], strict=True)]
        for metric, samples in of.items()
    }


def spread(samples: list[float]) -> str:
    """The median and what it lies between."""
    return f"{statistics.median(samples):.2f} ({min(samples):.2f} to {max(samples):.2f})"


def bars(ratios: dict[str, dict[str, float]]) -> Iterable[Bar]:
    """What issue 2 promises of the arms that ran."""
    for store, limit, aim in (("memory", 0.6, 0.45), ("sqlite", 0.9, 0.8)):
        if ours := ratios.get(f"interlock-{store}"):
            yield Bar(f"CPU per SendMessage / {BASE}, {store}", ours["cpu_ms"], limit, "x", aim)
    if memory := ratios.get("interlock-memory"):
        for metric, name in (
            ("first_event_ms", "streaming to the first event"),
            ("follow_up_ms", "follow-up to COMPLETED"),
        ):
            yield Bar(f"{name}, p50 / {BASE}, memory", memory[metric], 1.0, "x")


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Interlock against a2a-sdk's own handler")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS])
    options = parser.parse_args()
    found: dict[str, Findings] = {arm: defaultdict(list) for arm in options.arms}
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".data-") as folder:
        for number, arm in enumerate(arms_in_turn(options.arms, options.rounds)):
            with ServerProcess(ARMS[arm], f"{folder}/{number}.db") as server:
                uvloop.run(measure(server, found[arm]))
    report = Report("a2a", f"A2A over JSON-RPC, {options.rounds} rounds")
    compare(report, found)
    report.finish()


if __name__ == "__main__":
    main()
