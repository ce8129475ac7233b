"""What replicas run: the agents of the fault harness, and one that works until it is stopped."""

import asyncio
import os
import time
from typing import Any, Final

from faults.agent import AGENTS as OF_FAULTS
from faults.agent import by_coroutine
from faults.world import Effect, do
from interlock import TaskContext

#: Seconds between two signs of life of an agent that works.
TICK_S: Final = 0.02
#: Seconds after which it stops by itself, so that nothing is left behind.
TICKS_S: Final = 30.0


def tick(task_id: str, kind: str) -> None:
    """A sign of life."""
    do(Effect(f"{task_id}/{kind}", kind, idempotent=True, pid=os.getpid(), what=""))


def block(task_id: str) -> str:
    """Works on a thread, which nobody can end from outside."""
    end = time.monotonic() + TICKS_S
    while time.monotonic() < end:
        tick(task_id, "block")
        time.sleep(TICK_S)
    return "nobody stopped it"


async def steered(task: TaskContext) -> Any:
    """Works on, blocks a thread, shows things, or takes the steps that it is told."""
    given: Any = task.input.data
    match given:
        case {"tick": _}:
            for _ in range(int(TICKS_S / TICK_S)):
                tick(task.task_id, "tick")
                await asyncio.sleep(TICK_S)
            return "nobody stopped it"
        case {"block": _}:
            return await task.call(block, task.task_id)
        case {"show": int(times)}:
            for number in range(times):
                await task.progress(f"line {number}")
                await task.emit(f"chunk {number}", artifact_id=f"artifact-{number}")
                await asyncio.sleep(TICK_S)
            return {"results": []}
        case _:
            return await by_coroutine(task)


AGENTS: Final[dict[str, Any]] = {**OF_FAULTS, "steered": steered}
