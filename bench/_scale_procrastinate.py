"""The floor of `bench.scale`: procrastinate alone, as its documentation has it.

    python -m bench._scale_procrastinate URL

A life is a job that was deferred and whose task returned, in one process: no record, no log of
its own, no journal, nothing fenced.
"""

import asyncio
import itertools
import sys
import time
from typing import Final

import procrastinate
import uvloop

from bench._scale_wire import Json, serve

#: As many jobs at once as an engine has turns.
SLOTS: Final = 64


async def main(url: str) -> None:
    """Work, and defer what the driver asks for."""
    began = time.perf_counter()
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
    numbers = itertools.count()
    waiting: dict[int, asyncio.Future[None]] = {}

    @app.task(name="step", queue="bench")
    async def step(number: int, text: str) -> None:
        del text
        waiting.pop(number).set_result(None)

    async def life(_request: Json) -> Json:
        number, over = next(numbers), asyncio.get_running_loop().create_future()
        waiting[number] = over
        await step.defer_async(number=number, text="please pay 7 euros to bob " * 7)
        await over
        return {}

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(
                queues=["bench"],
                concurrency=SLOTS,
                delete_jobs="always",
                install_signal_handlers=False,
            )
        )
        await serve({"life": life}, {"started_s": time.perf_counter() - began})
        worker.cancel()
        await asyncio.wait([worker])


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
