"""What the lifecycle costs: `fire` against the bare library, and a record's memory.

    python -m bench.lifecycle

The bare arm is the library alone on the same topology: one `transitions.Machine` for
all, the same rows without guards and changes, fired on a slotted object that holds a
phase.  Both arms walk the same life, trigger by trigger.
"""

import gc
import multiprocessing
import statistics
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter
from transitions import Machine

from bench._report import Bar, Report, Table, arms_in_turn
from interlock._event import AGENT, ENGINE, Signal
from interlock._machine import LIFECYCLE, fire
from interlock._phases import Phase, Trigger
from interlock._record import TaskRecord
from interlock._transitions import TABLE

ROUNDS: Final = 9
FIRINGS: Final = 4_000
TASKS: Final = 100_000
TOGETHER: Final = 20_000
SCHEMA: Final = TypeAdapter(str).json_schema()

Step = tuple[Trigger, str, dict[str, Any]]
Run = Callable[[], None]


class Bare:
    """The least that the library can fire on."""

    __slots__ = ("phase",)
    phase: Phase


def life(name: str) -> list[Step]:
    """Nine triggers that leave a task alive: it works, asks, is allowed, and asks again."""
    question = {
        "kind": "input",
        "prompt": "Which city?",
        "schema": SCHEMA,
        "due": 9e9,
        "on_expire": "fail",
        "asks_max": 9,
    }
    tool = {"tool": "book", "arguments": {"for": name, "price": 99}, "digest": name}
    permission = {**question, **tool, "kind": "auth", "schema": {}}
    artifact: dict[str, Any] = {"artifact_id": name, "parts": [{"text": name}]}
    room = {"epoch": 1, "log_events_max": 10_000}
    return [
        (Trigger.START, ENGINE, {"run_s": 600.0}),
        (Trigger.PROGRESS, AGENT, {**room, "message": "looking", "fraction": 0.5}),
        (Trigger.ASK, AGENT, {**question, "epoch": 1, "key": "ask-1"}),
        (Trigger.PROVIDE_INPUT, "ada", {"key": "ask-1", "value": "Oslo"}),
        (Trigger.EMIT, AGENT, {**room, "epoch": 2, "n": 1, "artifact": artifact}),
        (Trigger.ASK, AGENT, {**permission, "epoch": 2, "key": "ask-2"}),
        (Trigger.APPROVE, "ada", approval(name)),
        (Trigger.EMIT, AGENT, {**room, "epoch": 3, "n": 2, "artifact": artifact}),
        (Trigger.ASK, AGENT, {**question, "epoch": 3, "key": "ask-3"}),
    ]


def approval(name: str) -> dict[str, Any]:
    """The owner's yes to exactly what was asked."""
    return {
        "key": "ask-2",
        "digest": name,
        "arguments": {"for": name, "price": 99},
        "edited": False,
    }


def born(at: float) -> TaskRecord:
    """A task that was just submitted, with ids of its own as in real life."""
    data: dict[str, Any] = {
        "task_id": uuid.uuid4().hex,
        "owner": "ada",
        "context_id": uuid.uuid4().hex,
        "parts": [],
        "due": at + 86_400,
        "token": uuid.uuid4().hex,
    }
    return LIFECYCLE.submit(Signal(Trigger.SUBMIT, data, "ada", at)).record


def bare_machine() -> Machine:
    """The library on our topology, with nothing of ours in it."""
    machine = Machine(
        model=None, states=Phase, initial=None, auto_transitions=False, model_attribute="phase"
    )
    for row in TABLE:
        if row.source is not None:
            machine.add_transition(row.trigger.value, row.source, row.dest)
    return machine


def timed(run: Run) -> float:
    """CPU microseconds of one firing, of many."""
    began = time.process_time()
    run()
    return (time.process_time() - began) / FIRINGS * 1e6


def pair(record: TaskRecord, signal: Signal, machine: Machine) -> dict[str, Run]:
    """One step of the life, as each arm does it."""
    trigger, source = machine.events[signal.trigger.value].trigger, record.phase

    def bare() -> None:
        model = Bare()
        for _ in range(FIRINGS):
            model.phase = source
            trigger(model)

    def ours() -> None:
        for _ in range(FIRINGS):
            fire(record, signal)

    return {"bare": bare, "fire": ours}


def measure_firing(report: Report) -> None:
    """The cost of each trigger of the life, and the ratio over the whole of it."""
    machine = bare_machine()
    record = born(time.time())
    pairs: list[tuple[str, dict[str, Run]]] = []
    for step, (trigger, actor, data) in enumerate(life(record.task_id), start=1):
        signal = Signal(trigger, data, actor, time.time())
        dest = fire(record, signal).record
        pairs.append((f"{step} {trigger} from {record.phase}", pair(record, signal, machine)))
        record = dest
    costs: dict[str, dict[str, list[float]]] = {}
    for arm in arms_in_turn(("bare", "fire"), ROUNDS):
        for name, runs in pairs:
            costs.setdefault(name, {}).setdefault(arm, []).append(timed(runs[arm]))
    rows: list[tuple[str, ...]] = []
    whole = {"bare": 0.0, "fire": 0.0}
    for name, of in costs.items():
        medians = {arm: statistics.median(of[arm]) for arm in whole}
        for arm in whole:
            whole[arm] += medians[arm]
            report.samples.setdefault(f"{name}, {arm}, us", of[arm])
        rows.append((name, *row(medians)))
    rows.append(("the whole life", *row(whole)))
    header = ("trigger", "bare, us", "fire, us", "ratio")
    report.tables.append(Table("CPU of one firing", header, rows))
    report.bars.append(Bar("fire / bare trigger", whole["fire"] / whole["bare"], 2.0, "x"))


def row(of: dict[str, float]) -> tuple[str, ...]:
    """The two costs and their ratio, for people."""
    return f"{of['bare']:.1f}", f"{of['fire']:.1f}", f"{of['fire'] / of['bare']:.2f}"


def resident_mb() -> float:
    """What the process holds now, in MB of a million bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def moved(record: TaskRecord, step: Step) -> TaskRecord:
    """The record after one more step, taken now."""
    trigger, actor, data = step
    return fire(record, Signal(trigger, data, actor, time.time())).record


def lived() -> TaskRecord:
    """A task that was walked through all nine triggers."""
    record = born(time.time())
    for step in life(record.task_id):
        record = moved(record, step)
    assert record.seq == 10
    return record


def grow() -> float:
    """MB that many live tasks hold, each walked through its life when it is made."""
    lived()
    gc.collect()
    base = resident_mb()
    tasks = [lived() for _ in range(TASKS)]
    assert all(task.phase is Phase.WAITING_INPUT for task in tasks)
    return resident_mb() - base


def grow_together() -> dict[str, float]:
    """Bytes that a task holds when all have come to the same point of their life."""
    lived()
    gc.collect()
    base = resident_mb()
    tasks = [born(time.time()) for _ in range(TOGETHER)]
    held = {"submit": (resident_mb() - base) * 1e6 / TOGETHER}
    for number in range(9):
        for index, record in enumerate(tasks):
            tasks[index] = moved(record, life(record.task_id)[number])
        name = f"{number + 1} {tasks[0].phase}"
        held[name] = (resident_mb() - base) * 1e6 / TOGETHER
    return held


def measure_memory(report: Report) -> None:
    """How much a hundred thousand live records hold; each part in a fresh process."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        growth_mb: float = pool.apply(grow)
    with spawn.Pool(1) as pool:
        held: dict[str, float] = pool.apply(grow_together)
    rows: list[tuple[str, ...]] = [(name, f"{size:.0f}") for name, size in held.items()]
    title = f"If {TOGETHER:,} tasks do each step together"
    report.tables.append(Table(title, ("after", "RSS, bytes a task, worst so far"), rows))
    report.samples["bytes a task, by step"] = list(held.values())
    name = f"RSS growth of {TASKS:,} live records, made and fired through 9 triggers"
    report.bars.append(Bar(name, growth_mb, 100.0, " MB", aim=60.0))


def main() -> None:
    """Measure, print, keep."""
    report = Report("lifecycle", "The lifecycle")
    measure_firing(report)
    measure_memory(report)
    report.finish()


if __name__ == "__main__":
    main()
