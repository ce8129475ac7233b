"""Interlock: of a call that was under way when the process died, a person is asked.

Nobody knows whether it was made.  What had ended before is not made again.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.claims._seen import killed, marks, note, tell
from interlock import Engine, TaskContext

MODULE: Final = "bench.claims.interlock_in_doubt"


async def _run(folder: Path, *, again: bool) -> tuple[str, str]:
    async def first() -> str:
        note(folder / "marks", "first")
        return "first"

    async def pay() -> str:
        note(folder / "marks", "paid")
        if not again:
            await asyncio.sleep(60)  # The other side has it; its answer is on the way.
        return "paid"

    async def agent(task: TaskContext) -> str:
        await task.call(first)
        return await task.call(pay)

    async with Engine(agent, store=f"sqlite:///{folder / 'tasks.db'}") as engine:
        if not again:
            note(folder / "task", (await engine.submit("go", owner="ada")).task_id)
            await asyncio.sleep(60)
        (task_id,) = marks(folder / "task")
        task = await engine.task(task_id, owner="ada")
        (ask,) = (await task.rest()).asks
        await task.answer(ask.key, {"decision": "use_value", "value": "paid"})
        return ask.prompt, str(await task.result())


def _main() -> None:
    if sys.argv[1:2] == ["child"]:
        asyncio.run(_run(Path(sys.argv[2]), again=False))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        killed(MODULE, folder, lambda: "paid" in marks(folder / "marks"))
        prompt, result = asyncio.run(_run(folder, again=True))
        done = marks(folder / "marks")
    tell(
        holds=done == ["first", "paid"] and result == "paid",
        seen=f"killed while it paid; the next start asked: “{prompt}”. Answered, it was "
        f"completed, and had paid {done.count('paid')} time in all",
    )


if __name__ == "__main__":
    _main()
