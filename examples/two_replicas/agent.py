"""A travel agent that says of each step which replica made it.  `run.py` beside it runs two."""

import asyncio
import os

from interlock import TaskContext

#: Which replica this process is.
REPLICA = os.environ.get("REPLICA", "?")
#: Seconds that each step takes.
STEP_S = float(os.environ.get("STEP_S", "0.5"))


async def look_up(offer: int) -> str:
    await asyncio.sleep(STEP_S)
    return f"offer {offer} was looked up on {REPLICA}"


async def send(letter: int) -> str:
    await asyncio.sleep(STEP_S)
    return f"letter {letter} was sent on {REPLICA}"


def book(flight: str) -> str:
    """Book a flight."""
    return f"{flight} was booked on {REPLICA}"


async def agent(task: TaskContext) -> str:
    for offer in range(1, 3):
        await task.call(look_up, offer, idempotent=True)
    # Parks the task until somebody says yes, on whichever replica.
    booked = await task.call_tool("book", {"flight": "TP1"})
    # If the process dies in the middle, another one goes on at the letter that was under way:
    # what is done is in the log, and is not done again.
    for letter in range(1, 7):
        await task.call(send, letter, idempotent=True)
    return booked.text
