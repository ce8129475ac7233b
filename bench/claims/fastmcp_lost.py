"""fastmcp-tasks: as it comes, a process that dies leaves nothing of a task that it acknowledged.

To keep tasks it needs a Redis or Valkey server; there is no other backend.
"""

import asyncio
import importlib
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.claims._seen import killed, marks, note, tell

fastmcp: Final[Any] = importlib.import_module("fastmcp")
tasks: Final[Any] = importlib.import_module("fastmcp_tasks")
senders: Final[Any] = importlib.import_module("fastmcp_tasks.client")
MODULE: Final = "bench.claims.fastmcp_lost"


async def _run(folder: Path, *, again: bool) -> str:
    logging.disable(logging.WARNING)
    server = fastmcp.FastMCP("claim")
    server.add_extension(tasks.TasksExtension())

    async def hold() -> str:
        await asyncio.sleep(60)
        return "held"

    server.tool(task=True)(hold)
    async with fastmcp.Client(server) as client:
        if not again:
            task = await tasks.call_tool_task(client, "hold", {})
            note(folder / "task", task.task_id)
            await asyncio.sleep(60)
        (task_id,) = marks(folder / "task")
        try:
            return str((await senders._send_get(client.session, task_id)).status)
        except Exception as error:  # noqa: BLE001  whatever it says is the finding
            return str(error)


def _main() -> None:
    if sys.argv[1:2] == ["child"]:
        asyncio.run(_run(Path(sys.argv[2]), again=False))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        killed(MODULE, folder, lambda: bool(marks(folder / "task")))
        said = asyncio.run(_run(folder, again=True))
    tell(
        holds="not found" in said.lower(),
        seen=f"killed after it had said that the task is made; then tasks/get says: {said}",
    )


if __name__ == "__main__":
    _main()
