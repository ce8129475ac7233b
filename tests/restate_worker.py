"""A worker of the Restate host that tests run, and kill, as a process of its own.

    python restate_worker.py URL FILE

Its agent does what the request says; each thing that it does outside is a line of FILE.  It says
"ready" when its engine is open, and drains when its input ends.
"""

import asyncio
import os
import sys
from pathlib import Path

from interlock import Agent, Engine, TaskContext
from interlock_adapters.restate import RestateStore


def agent_of(file: Path) -> Agent:
    """An agent that notes in that file what it does."""

    async def step(name: str, wait_s: float) -> str:
        """Begin, take a while, end."""
        await asyncio.to_thread(_note, file, f"begin {name}")
        await asyncio.sleep(wait_s)
        await asyncio.to_thread(_note, file, f"end {name}")
        return name

    async def agent(task: TaskContext) -> str:
        """`ask`, `approve`, `stop`, or `steps N SECONDS`: that many calls, which take so long."""
        what, *how = task.input.text.split()
        if what == "ask":
            city = await task.ask("Which city?", {"type": "string"})
            return f"to {city}"
        if what == "approve":
            arguments = await task.authorize("book", {"seats": 2})
            return f"booked {arguments}"
        if what == "stop":
            try:
                await asyncio.sleep(3_600.0)
            finally:
                _note(file, f"stopped {task.task_id}")
        for number in range(int(how[0])):
            await task.call(step, f"{task.task_id}/{number}", float(how[1]), idempotent=True)
        return "done"

    return agent


def _note(file: Path, line: str) -> None:
    with file.open("a") as out:
        out.write(line + "\n")


async def main(url: str, file: Path) -> None:
    """Work until nobody gives input any more."""
    async with Engine(agent_of(file), store=RestateStore(url)):
        sys.stdout.write(f"ready {os.getpid()}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
