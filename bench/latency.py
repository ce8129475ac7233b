"""How soon people see what an agent does, on a SQLite store that syncs every commit.

    python -m bench.latency

Embedded: a subscriber in the same process.  HTTP: an A2A stream from a server process of
its own.  Both on loopback, one task at a time.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, TypeAlias

import uvloop

from bench._agent import agent
from bench._client import Connection, call, message
from bench._process import ServerProcess
from bench._report import Bar, Report, Table, percentile
from interlock import Engine, Event, Phase, Trigger

WARM_UP: Final = 20
SHOWN_IN_MS: Final = 5.0
CANCELLED_IN_MS: Final = 20.0

#: Milliseconds by what was measured.
Found: TypeAlias = dict[str, list[float]]
ASKED: Final = "agent asks -> client sees input-required"
ANSWERED: Final = "answer -> completed"
CANCELLED: Final = "cancel of a sleeping agent -> cancelled"
LIMITS: Final = {ASKED: SHOWN_IN_MS, ANSWERED: SHOWN_IN_MS, CANCELLED: CANCELLED_IN_MS}


def since_ms(began: float) -> float:
    """Milliseconds from then to now."""
    return (time.perf_counter() - began) * 1e3


# --- embedded -----------------------------------------------------------------------------


async def until(events: AsyncIterator[Event], trigger: Trigger) -> Event:
    """Follow a subscription to the first event of that trigger."""
    async for event in events:
        if event.trigger is trigger:
            return event
    raise RuntimeError(f"the stream ended without {trigger}")


async def embedded_ask(engine: Engine, found: Found) -> None:
    """One task that asks and is answered."""
    handle = await engine.submit("ask timed", owner="ada")
    events = handle.events()
    asked = await until(events, Trigger.ASK)
    found[ASKED].append(since_ms(float(asked.data["prompt"].split()[-1])))
    began = time.perf_counter()
    await handle.answer(asked.data["key"], "Oslo")
    await until(events, Trigger.COMPLETE)
    found[ANSWERED].append(since_ms(began))


async def embedded_cancel(engine: Engine, found: Found) -> None:
    """One task that is cancelled in its sleep."""
    handle = await engine.submit("sleep", owner="ada")
    events = handle.events()
    await until(events, Trigger.PROGRESS)
    began = time.perf_counter()
    await handle.cancel()
    stopped = await until(events, Trigger.STOPPED)
    found[CANCELLED].append(since_ms(began))
    assert stopped.dest is Phase.CANCELLED, stopped


async def embedded(store: str, count: int) -> Found:
    """Everything in one process."""
    found: Found = defaultdict(list)
    async with Engine(agent, store=store) as engine:
        await repeat(count, found, lambda: embedded_ask(engine, found))
        await repeat(count, found, lambda: embedded_cancel(engine, found))
    return found


# --- over HTTP ----------------------------------------------------------------------------


async def shown(events: AsyncIterator[bytes], *signs: bytes) -> bytes:
    """Follow a stream to the first event that shows all the signs."""
    async for event in events:
        if all(sign in event for sign in signs):
            return event
    raise RuntimeError(f"the stream ended without {signs}")


def prompt_of(event: bytes) -> tuple[str, str, float]:
    """The task's id, its context's, and when the agent asked."""
    result: dict[str, Any] = json.loads(event)["result"]
    update = result.get("statusUpdate") or result["task"]
    parts = update["status"]["message"]["parts"]
    text = next(part["text"] for part in parts if "text" in part)
    asked_at = float(text.split()[2])
    return update.get("taskId") or update["id"], update["contextId"], asked_at


async def stream_ask(port: int, found: Found) -> None:
    """One task that asks on a stream, and is answered from a second connection."""
    async with await Connection.open(port) as watching, await Connection.open(port) as answering:
        stream = watching.stream(call("SendStreamingMessage", message("ask timed")))
        async with aclosing(stream) as events:
            event = await shown(events, b"TASK_STATE_INPUT_REQUIRED")
            seen = time.perf_counter()
            task_id, context_id, asked_at = prompt_of(event)
            found[ASKED].append((seen - asked_at) * 1e3)
            answer = message("Oslo", task_id=task_id, context_id=context_id)
            request = call("SendMessage", answer)
            began = time.perf_counter()
            done = await answering.post(request)
            found[ANSWERED].append(since_ms(began))
            if b"TASK_STATE_COMPLETED" not in done:
                raise RuntimeError(done)


async def stream_cancel(port: int, found: Found) -> None:
    """One task that is cancelled in its sleep, and its stream."""
    async with await Connection.open(port) as watching, await Connection.open(port) as acting:
        stream = watching.stream(call("SendStreamingMessage", message("sleep")))
        async with aclosing(stream) as events:
            event = json.loads(await shown(events, b"sleeping"))["result"]
            request = call("CancelTask", {"id": event["statusUpdate"]["taskId"]})
            began = time.perf_counter()
            acted = asyncio.create_task(acting.post(request))
            await shown(events, b"TASK_STATE_CANCELED")
            found[CANCELLED].append(since_ms(began))
            await acted


async def over_http(port: int, count: int) -> Found:
    """Everything over loopback."""
    found: Found = defaultdict(list)
    await repeat(count, found, lambda: stream_ask(port, found))
    await repeat(count, found, lambda: stream_cancel(port, found))
    return found


async def repeat(count: int, found: Found, once: Callable[[], Awaitable[None]]) -> None:
    """Run it often, and forget the first runs, in which everything is cold."""
    known = set(found)
    for number in range(count + WARM_UP):
        await once()
        if number == WARM_UP - 1:
            for name in set(found) - known:
                found[name].clear()


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="How soon people see what an agent does")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--only", choices=["embedded", "HTTP"])
    options = parser.parse_args()
    found: dict[str, Found] = {}
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".data-") as folder:
        if options.only != "HTTP":
            run = embedded(f"sqlite:///{folder}/embedded.db", options.count)
            found["embedded"] = uvloop.run(run)
        if options.only != "embedded":
            arm = "bench._interlock_arm:sqlite"
            with ServerProcess(arm, f"{folder}/http.db") as server:
                found["HTTP"] = uvloop.run(over_http(server.port, options.count))
    report = Report("latency", "Latency on a durable SQLite store")
    rows: list[tuple[str, ...]] = []
    for way, of in found.items():
        for name, samples in of.items():
            report.samples[f"{way}, {name}, ms"] = samples
            shares = [percentile(samples, share) for share in (0.5, 0.95, 0.99)]
            rows.append((f"{way}: {name}", *(f"{ms:.2f}" for ms in shares)))
            report.bars.append(Bar(f"{way}, {name}, p50", shares[0], LIMITS[name], " ms"))
    report.tables.append(Table("Milliseconds", ("what", "p50", "p95", "p99"), rows))
    report.finish()


if __name__ == "__main__":
    main()
