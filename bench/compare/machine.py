"""The bare machine: what one trigger costs and one task holds, in one library.

    python -m bench.compare.machine interlock|transitions|python-statemachine|xstate-statemachine

The same nine triggers through the same five phases, each with one guard that is asked and lets
through, and one action.  Interlock's are its own rows of the shipped lifecycle, with all their
guards; a firing of it checks the data too and makes the next record and the effects, which
the others leave to their user.  Standard library only beside the arm's own package.
"""

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

PHASES: Final = ("submitted", "running", "waiting_input", "waiting_auth", "completed")
ROWS: Final = (
    ("start", "submitted", "running"),
    ("progress", "running", "running"),
    ("ask_input", "running", "waiting_input"),
    ("provide_input", "waiting_input", "running"),
    ("emit", "running", "running"),
    ("ask_auth", "running", "waiting_auth"),
    ("approve", "waiting_auth", "running"),
    ("complete", "running", "completed"),
)
WALK: Final = (
    "start",
    "progress",
    "ask_input",
    "provide_input",
    "emit",
    "ask_auth",
    "approve",
    "emit",
    "ask_input",
)
LIVES: Final = 600
HELD: Final = {"interlock": 20_000, "transitions": 20_000}
HELD_OTHERS: Final = 3_000


class Machine(NamedTuple):
    """How a library makes a task, and walks it through the nine triggers."""

    make: Callable[[], Any]
    walk: Callable[[Any], Any]


def interlock() -> Machine:
    """`fire` on a record, as `bench.lifecycle` times it."""
    lifecycle: Any = importlib.import_module("bench.lifecycle")

    def walk(record: Any) -> Any:  # noqa: ANN401  a record
        for step in lifecycle.life(record.task_id):
            record = lifecycle.moved(record, step)
        return record

    return Machine(lambda: lifecycle.born(time.time()), walk)


def transitions() -> Machine:
    """One machine for all tasks, each an object that holds nothing but its phase."""
    library: Any = importlib.import_module("transitions")

    class Task:
        __slots__ = ("done", "state")

        def __init__(self) -> None:
            self.state, self.done = PHASES[0], 0

        def allowed(self) -> bool:
            return True

        def note(self) -> None:
            self.done += 1

    machine = library.Machine(
        model=None, states=list(PHASES), initial=PHASES[0], auto_transitions=False
    )
    for trigger, source, dest in ROWS:
        machine.add_transition(trigger, source, dest, conditions="allowed", before="note")
    events = [machine.events[trigger].trigger for trigger in WALK]

    def walk(task: Any) -> Any:  # noqa: ANN401  a Task
        for event in events:
            event(task)
        return task

    return Machine(Task, walk)


def python_statemachine() -> Machine:
    """A StateMachine for each task, as its documentation has it."""
    library: Any = importlib.import_module("statemachine")

    def allowed(_self: object) -> bool:
        return True

    def note(self: Any) -> None:  # noqa: ANN401  an instance of what is made below
        self.done = getattr(self, "done", 0) + 1

    states = {name: library.State(initial=name == PHASES[0]) for name in PHASES[:-1]}
    states[PHASES[-1]] = library.State(final=True)
    body: dict[str, Any] = {"allowed": allowed, "note": note, **states}
    for trigger, source, dest in ROWS:
        body[trigger] = states[source].to(states[dest], cond="allowed", on="note")
    kind: Any = type("Life", (library.StateMachine,), body)

    def walk(task: Any) -> Any:  # noqa: ANN401  a StateMachine
        for trigger in WALK:
            task.send(trigger)
        return task

    return Machine(kind, walk)


def xstate_statemachine() -> Machine:
    """A SyncInterpreter for each task, on one machine."""
    library: Any = importlib.import_module("xstate_statemachine")
    states: dict[str, dict[str, Any]] = {PHASES[-1]: {"type": "final"}}
    for name in PHASES[:-1]:
        states[name] = {"on": {}}
    for trigger, source, dest in ROWS:
        states[source]["on"][trigger] = {"target": dest, "guard": "allowed", "actions": ["note"]}
    configuration = {"id": "life", "initial": PHASES[0], "context": {"done": 0}, "states": states}

    def note(_machine: Any, context: Any, _event: Any, _action: Any) -> None:  # noqa: ANN401
        context["done"] += 1

    def allowed(_context: object, _event: object) -> bool:
        return True

    guards = {"allowed": allowed}
    logic = library.MachineLogic(guards=guards, actions={"note": note})
    machine = library.create_machine(configuration, logic=logic)

    def walk(task: Any) -> Any:  # noqa: ANN401  an interpreter
        for trigger in WALK:
            task.send(trigger)
        return task

    return Machine(lambda: library.SyncInterpreter(machine).start(), walk)


ARMS: Final[dict[str, Callable[[], Machine]]] = {
    "interlock": interlock,
    "transitions": transitions,
    "python-statemachine": python_statemachine,
    "xstate-statemachine": xstate_statemachine,
}


def measured(machine: Machine, held: int) -> dict[str, float]:
    """CPU of one trigger and of one task's making, and what a task holds."""
    machine.walk(machine.make())
    gc.collect()
    # First, while there is no freed memory that they could lie in.
    before = _resident()
    kept = [machine.walk(machine.make()) for _ in range(held)]
    bytes_each = (_resident() - before) / held
    del kept
    began = time.process_time()
    tasks = [machine.make() for _ in range(LIVES)]
    made_s = time.process_time() - began
    began = time.process_time()
    for task in tasks:
        machine.walk(task)
    walked_s = time.process_time() - began
    return {
        "trigger_us": walked_s / LIVES / len(WALK) * 1e6,
        "make_us": made_s / LIVES * 1e6,
        "bytes": bytes_each,
    }


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def main() -> None:
    """One arm, once."""
    name = sys.argv[1]
    found: dict[str, Any] = dict(measured(ARMS[name](), HELD.get(name, HELD_OTHERS)))
    found["version"] = "" if name == "interlock" else version(name)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
