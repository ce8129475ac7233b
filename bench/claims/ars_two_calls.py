"""agent-runtime-sdk: of two calls of one tool in one message, the second runs unseen.

A person is asked twice about the first.
"""

import asyncio
import os
import tempfile
from pathlib import Path

from bench.claims._ars_arm import app_of, call, message, quiet, shown, tool_noting
from bench.claims._seen import marks, tell

STEPS = (
    (("pay", {"amount": 5}), ("pay", {"amount": 5000})),
    (("final_answer", {"answer": "done"}),),
)


async def _main(folder: Path) -> tuple[list[object], list[str], str]:
    app = app_of(STEPS, tool_noting(folder / "paid"))
    asked: list[object] = []
    task = (await call(app, "message/send", message("Pay.")))["result"]
    while task["status"]["state"] == "auth-required":
        asked.append(shown(task)["args"])
        await asyncio.sleep(1)  # A quicker answer may be an error, -32603.
        answer = message({"approve": True}, task=task["id"])
        task = (await call(app, "message/send", answer))["result"]
    return asked, sorted(marks(folder / "paid"), key=int), task["status"]["state"]


if __name__ == "__main__":
    kept = quiet()
    with tempfile.TemporaryDirectory() as place:
        asked, paid, state = asyncio.run(_main(Path(place)))
    os.dup2(kept, 1)
    tell(
        holds=asked == [{"amount": 5}] * 2 and paid == ["5", "5000"],
        seen=f"a person was shown {asked}; paid were {', '.join(paid)}; the task is {state}",
    )
    os._exit(0)
