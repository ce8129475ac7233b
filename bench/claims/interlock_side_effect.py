"""Interlock: what an agent does beside its task before it asks is done again; a call is not."""

import asyncio
import tempfile
from pathlib import Path

from bench.claims._seen import marks, note, tell
from interlock import Engine, Limits, TaskContext


async def _main(folder: Path) -> None:
    async def pay() -> None:
        note(folder / "called", "paid")

    async def agent(task: TaskContext) -> str:
        note(folder / "beside", "paid")
        await task.call(pay)
        return await task.ask("Which city?")

    limits = Limits(park_after_s=0)
    async with Engine(agent, store=f"sqlite:///{folder / 'tasks.db'}", limits=limits) as engine:
        task = await engine.submit("go", owner="ada")
        (ask,) = (await task.rest()).asks
        await task.answer(ask.key, "Lisbon")
        await task.result()
    beside, called = len(marks(folder / "beside")), len(marks(folder / "called"))
    tell(
        holds=(beside, called) == (2, 1),
        seen=f"one question: what stood before it ran {beside} times, by task.call {called}",
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(_main(Path(place)))
