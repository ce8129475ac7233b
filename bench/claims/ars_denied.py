"""agent-runtime-sdk: a task that a person denied is `failed`, and then not there any more."""

import asyncio
import os
import tempfile
from pathlib import Path

from bench.claims._ars_arm import app_of, call, message, quiet, tool_noting
from bench.claims._seen import marks, tell

STEPS = ((("pay", {"amount": 5}),), (("final_answer", {"answer": "done"}),))


async def _main(folder: Path) -> tuple[str, str, int]:
    app = app_of(STEPS, tool_noting(folder / "paid"))
    task = (await call(app, "message/send", message("Pay.")))["result"]
    await asyncio.sleep(1)  # A quicker answer may be an error, -32603.
    answer = message({"approve": False}, task=task["id"])
    over = (await call(app, "message/send", answer))["result"]
    then = await call(app, "tasks/get", {"id": task["id"]})
    return over["status"]["state"], str(then.get("error")), len(marks(folder / "paid"))


if __name__ == "__main__":
    kept = quiet()
    with tempfile.TemporaryDirectory() as place:
        state, then, paid = asyncio.run(_main(Path(place)))
    os.dup2(kept, 1)
    tell(
        holds=state == "failed" and "-32001" in then and not paid,
        seen=f"denied: {state}; then tasks/get says: {then}; nothing was paid",
    )
    os._exit(0)
