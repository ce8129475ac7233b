"""The agent of every Interlock arm: completes at once, asks first, or sleeps."""

import asyncio
import time

from interlock import TaskContext

#: Longer than any bench waits for it.
SLEEP_S = 10.0


async def agent(task: TaskContext) -> str:
    """Do what the first word of the request says."""
    text = task.input.text
    match text.split():
        case ["ask", "timed", *_]:
            # CLOCK_MONOTONIC is one for all processes, so the reader can take the difference.
            await task.ask(f"Which city? {time.perf_counter()!r}")
        case ["ask", *_]:
            await task.ask("Which city?")
        case ["sleep", *_]:
            await task.progress("sleeping")
            await asyncio.sleep(SLEEP_S)
        case _:
            pass
    return f"done: {text}"
