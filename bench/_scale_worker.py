"""A worker of `bench.scale`: an engine on a store, in a process of its own.

    python -m bench._scale_worker URL [PARK_AFTER_S]

See `bench._scale_wire` for how it is spoken to.  It ends when its standard input does.
"""

import asyncio
import ctypes
import gc
import sys
import time
from typing import Final

import uvloop

from bench._scale_wire import Deeds, Json, serve
from interlock import Engine, Limits, Phase, TaskContext
from interlock.models import Answer

#: As long as what the other durable benches write.
REQUEST: Final = "please pay 7 euros to bob " * 7


async def step(number: int) -> int:
    """What the agent does outside."""
    return number + 1


async def agent(task: TaskContext) -> str:
    """Ask if the first word says so, and make one call, which is written down."""
    if task.input.text.startswith("ask"):
        await task.ask("May I?")
    return f"done {await task.call(step, 1, idempotent=True)}"


def deeds_of(engine: Engine) -> Deeds:
    """What a driver may ask for."""

    async def life(request: Json) -> Json:
        """One life from the submission to the durable completion."""
        handle = await engine.submit(REQUEST, owner=request["owner"])
        record = await handle.over()
        assert record.shown is Phase.COMPLETED, record.shown
        return {}

    async def park(request: Json) -> Json:
        """Submit one that asks, and wait for its question."""
        handle = await engine.submit(f"ask {REQUEST}", owner=request["owner"])
        record = await handle.rest()
        assert record.phase is Phase.WAITING_INPUT, record.phase
        return {"id": handle.task_id, "ask": record.asks[0].key, "owner": request["owner"]}

    async def answer(request: Json) -> Json:
        """Answer, and wait for the durable completion."""
        said, owner = Answer(ask=request["ask"], value="yes"), request["owner"]
        await engine.answer(request["id"], said, owner=owner)
        view = await engine.over(request["id"], owner=owner)
        assert view.record.shown is Phase.COMPLETED, view.record.shown
        return {}

    async def held(_request: Json) -> Json:
        """Let go of garbage and of free pages, which would pass for what tasks hold."""
        # What was parked last is just being unwound, and nobody is told when.
        while engine.statistics().live:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return {"live": engine.statistics().live, "tasks": len(asyncio.all_tasks())}

    async def view(request: Json) -> Json:
        """Read one."""
        found = await engine.view(request["id"], owner=None)
        return {"phase": found.record.phase.value}

    return {"life": life, "park": park, "answer": answer, "held": held, "view": view}


async def main(url: str, park_after_s: float) -> None:
    """Open the engine, say how long that took, and serve."""
    limits = Limits(park_after_s=park_after_s)
    began = time.perf_counter()
    async with Engine(agent, store=url, limits=limits) as engine:
        await serve(deeds_of(engine), {"started_s": time.perf_counter() - began})


if __name__ == "__main__":
    _, place, *rest = sys.argv
    uvloop.run(main(place, float(rest[0]) if rest else 5.0))
