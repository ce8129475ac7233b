"""What the engine adds to smolagents: by tool call, by replay, and by parked task.

    python -m bench.smolagents [--steps N] [--tasks N]

The same `ToolCallingAgent` with the same scripted model and tool in memory, bare and on the
engine with its SQLite store: what a step takes, and what of it the gate and the journal are.
Then an agent of many steps that asks at the end is run again from the log, and many agents
wait at once.  Each part has a process of its own.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from smolagents import LogLevel, Tool, ToolCallingAgent  # type: ignore[import-untyped]

from bench._process import in_process
from bench._report import Bar, Report, Table, percentile
from bench.parked import Held, held
from interlock import Engine, Limits, Phase, SyncTaskContext, Toolbox, ToolCall, ToolResult
from interlock.errors import EngineError
from interlock.testing import ModelTurn, ScriptedModel
from interlock_adapters.smolagents import SmolAgent
from interlock_adapters.smolagents_testing import ScriptedSmolModel

STEPS: Final = 200
TASKS: Final = 1_000
#: Tasks parked before anything is measured: the allocator keeps what the first ones needed.
WARM_UP: Final = 1_000
CLIENTS: Final = 16
REPLAYS: Final = 3

CALL_MS: Final = 1.0
REPLAY_S: Final = 2.0
PARKED_KIB: Final = 4.0
LIMITS: Final = Limits(park_after_s=0.0, open_tasks_per_owner_max=10_000)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def add_async(a: int, b: int) -> int:
    """Add two numbers, on the event loop."""
    return a + b


def script(steps: int, tool: str, *, asks: bool) -> ScriptedModel:
    """So many steps of one tool call each, a question if wanted, and an answer."""
    turns: list[ModelTurn] = [ModelTurn.calling(tool, a=n, b=1) for n in range(steps)]
    if asks:
        turns.append(ModelTurn.calling("ask_user", question="Go on?"))
    return ScriptedModel(*turns, ModelTurn.calling("final_answer", answer="done"))


def agent_of(steps: int, tool: str = "add", *, asks: bool = False) -> SmolAgent:
    """The agent, for the engine."""

    def make(_task: SyncTaskContext, tools: list[Any]) -> ToolCallingAgent:
        model = ScriptedSmolModel(script(steps, tool, asks=asks))
        return ToolCallingAgent(tools=tools, model=model, max_steps=steps + 5)

    return SmolAgent(make, artifacts=False)


# --- the parts, each in a process of its own ------------------------------------------------


class Add(Tool):  # type: ignore[misc]  # the library has no types
    """The same tool as the library has it."""

    name = "add"
    description = "Add two numbers."
    inputs = {  # noqa: RUF012  the library's own form
        "a": {"type": "integer", "description": "a"},
        "b": {"type": "integer", "description": "b"},
    }
    output_type = "integer"

    def forward(self, a: int, b: int) -> int:
        """Add them."""
        return a + b


def bare(steps: int) -> float:
    """Milliseconds for a step of the agent without the engine."""
    model = ScriptedSmolModel(script(steps, "add", asks=False))
    made: Any = ToolCallingAgent(
        tools=[Add()], model=model, max_steps=steps + 5, verbosity_level=LogLevel.OFF
    )
    began = time.perf_counter()
    made.run("go")
    return (time.perf_counter() - began) * 1e3 / steps


class OnEngine(NamedTuple):
    """What it took on the engine."""

    step_ms: float
    #: For each tool call: through the gate, into the journal, and back.
    calls_ms: list[float]


async def on_engine(steps: int, tool: str, store: str) -> OnEngine:
    """The same with the engine."""
    calls_ms: list[float] = []
    call_tools = SyncTaskContext.call_tools

    def timed(task: SyncTaskContext, calls: Sequence[ToolCall]) -> list[ToolResult | EngineError]:
        began = time.perf_counter()
        results = call_tools(task, calls)
        calls_ms.append((time.perf_counter() - began) * 1e3)
        assert all(isinstance(result, ToolResult) for result in results), results
        return results

    setattr(SyncTaskContext, "call_tools", timed)  # noqa: B010  in this process only
    tools = Toolbox([add, add_async])
    async with Engine(agent_of(steps, tool), tools=tools, store=store, limits=LIMITS) as engine:
        task = await engine.submit("go", owner="bench")
        began = time.perf_counter()
        await task.result()
        took_ms = (time.perf_counter() - began) * 1e3
    return OnEngine(took_ms / steps, calls_ms)


async def replayed(steps: int, database: str) -> list[float]:
    """Seconds from the answer to the end, the steps before it run again from the log."""
    took_s: list[float] = []
    agent, tools = agent_of(steps, asks=True), Toolbox([add])
    for _ in range(REPLAYS):
        store = f"sqlite:///{database}"
        async with Engine(agent, tools=tools, store=store, limits=LIMITS) as engine:
            task = await engine.submit("go", owner="bench")
            await task.rest()
        async with Engine(agent, tools=tools, store=store, limits=LIMITS) as engine:
            again = await engine.task(task.task_id, owner="bench")
            began = time.perf_counter()
            await again.answer(again.record.asks[0].key, "yes")
            await again.result()
            took_s.append(time.perf_counter() - began)
    return took_s


async def parked(tasks: int, database: str) -> tuple[Held, Held]:
    """What is held before and after so many agents wait."""
    agent = agent_of(1, asks=True)
    store = f"sqlite:///{database}"
    async with Engine(agent, tools=Toolbox([add]), store=store, limits=LIMITS) as engine:
        await _park(engine, WARM_UP)
        before = held()
        await _park(engine, tasks)
        return before, held()


async def _park(engine: Engine, count: int) -> None:
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            task = await engine.submit(f"task {number}", owner="bench")
            record = await task.rest()
            assert record.phase is Phase.WAITING_INPUT, record.phase

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
    # The last of them are just being unwound, and nobody is told when.
    while engine.statistics().live:  # noqa: ASYNC110
        await asyncio.sleep(0)


# --- the findings ---------------------------------------------------------------------------


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="smolagents on the engine")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--tasks", type=int, default=TASKS)
    options = parser.parse_args()
    steps: int = options.steps
    # On the disk of the checkout: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".data-") as folder:
        alone_ms = in_process(partial(_alone, steps))
        arms = {
            (tool, where): in_process(partial(on_engine, steps, tool, store))
            for tool in ("add", "add_async")
            for where, store in (
                ("SQLite", f"sqlite:///{folder}/{tool}.db"),
                ("memory", "memory:"),
            )
        }
        took_s = in_process(partial(replayed, steps, f"{folder}/replay.db"))
        before, after = in_process(partial(parked, options.tasks, f"{folder}/parked.db"))
    report = Report("smolagents", f"smolagents on the engine, {steps} steps of one tool call")
    rows: list[tuple[str, ...]] = [("bare", "-", f"{alone_ms:.2f}", "1.00", "-", "-")]
    for (tool, where), arm in arms.items():
        shares = [f"{percentile(arm.calls_ms, share):.2f}" for share in (0.5, 0.99)]
        rows.append((where, tool, f"{arm.step_ms:.2f}", f"{arm.step_ms / alone_ms:.2f}", *shares))
        report.samples[f"{tool} on {where}, ms"] = arm.calls_ms
    columns = ("store", "tool", "step, ms", "x bare", "gate and journal p50, ms", "p99, ms")
    report.tables.append(Table("A step, and what of it is the gate and the journal", columns, rows))
    each_kib = (after.rss_mib - before.rss_mib) * 1024 / options.tasks
    rows = [(f"{max(took_s):.2f}", f"{max(took_s) * 1e3 / steps:.1f}")]
    report.tables.append(Table("Replay", ("worst, s", "by step, ms"), rows))
    rows = [
        (when, str(of.threads), str(of.asyncio_tasks), f"{of.rss_mib:.1f}")
        for when, of in (("before", before), (f"{options.tasks:,} parked", after))
    ]
    report.tables.append(Table("Parked", ("when", "threads", "asyncio tasks", "RSS, MiB"), rows))
    p50_ms = percentile(arms["add", "SQLite"].calls_ms, 0.5)
    report.bars += [
        Bar("gate and journal of a tool call on SQLite, p50", p50_ms, CALL_MS, " ms"),
        Bar(f"replay of {steps} steps, worst", max(took_s), REPLAY_S, " s"),
        Bar("threads more, parked", after.threads - before.threads, 0),
        Bar("RSS of a parked task", each_kib, PARKED_KIB, " KiB"),
    ]
    report.finish()


async def _alone(steps: int) -> float:
    return bare(steps)


if __name__ == "__main__":
    main()
