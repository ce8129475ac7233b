"""The peer of `bench.scale`: DBOS on PostgreSQL, as its quickstart has it.

    python -m bench._scale_dbos URL

A life is a workflow with one step, started and awaited in one process; nothing is handed to
another process, as it would be through one of its queues, which poll.  It runs in an environment
of its own (`bench._place`) and so uses nothing but DBOS and the standard library.
"""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedFunctionDecorator=false

import asyncio
import sys
import time

from bench._scale_wire import Json, serve


async def main(url: str) -> None:
    """Serve."""
    from dbos import DBOS, DBOSConfig  # type: ignore[import-not-found]  # noqa: PLC0415  its own place

    began = time.perf_counter()
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "run_admin_server": False,
        "log_level": "WARNING",
    }
    DBOS(config=config)

    @DBOS.step()  # type: ignore[untyped-decorator]
    async def step(number: int) -> int:
        return number + 1

    @DBOS.workflow()  # type: ignore[untyped-decorator]
    async def agent(text: str) -> str:
        del text
        return f"done {await step(1)}"

    async def life(_request: Json) -> Json:
        handle = await DBOS.start_workflow_async(agent, "please pay 7 euros to bob " * 7)
        await handle.get_result()
        return {}

    DBOS.launch()
    await serve({"life": life}, {"started_s": time.perf_counter() - began})
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
