"""fastmcp-tasks: what a tool did before it asked is done again when the answer comes.

While it waits no worker is held.  The answer has to come within an hour.
"""

import asyncio
import importlib
import logging
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.claims._seen import marks, note, tell

fastmcp: Final[Any] = importlib.import_module("fastmcp")
tasks: Final[Any] = importlib.import_module("fastmcp_tasks")
store: Final[Any] = importlib.import_module("fastmcp_tasks.input_store")
types: Final[Any] = importlib.import_module("mcp_types")

FORM: Final = {"type": "object", "properties": {"city": {"type": "string"}}}


async def _main(folder: Path) -> None:
    logging.disable(logging.WARNING)
    server = fastmcp.FastMCP("claim")
    server.add_extension(tasks.TasksExtension(url="memory://"))

    async def book(ctx: Any) -> Any:  # noqa: ANN401  the peer's
        note(folder / "marks", "paid")
        if ctx.input_responses is None:
            form = types.ElicitRequestFormParams(message="Which city?", requested_schema=FORM)
            return types.InputRequiredResult(
                input_requests={"city": types.ElicitRequest(params=form)}
            )
        return "booked"

    book.__annotations__ = {"ctx": fastmcp.Context, "return": Any}
    server.tool(task=True)(book)

    async def answered(*_: object) -> dict[str, str]:
        return {"city": "Lisbon"}

    async with fastmcp.Client(server, elicitation_handler=answered) as client:
        task = await tasks.call_tool_task(client, "book", {})
        await task.result()
    times, ttl_s = len(marks(folder / "marks")), store.INPUT_TTL_SECONDS
    tell(
        holds=times == 2 and ttl_s == 3600,
        seen=f"one question: what stood before it ran {times} times; a question is kept {ttl_s} s",
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(_main(Path(place)))
