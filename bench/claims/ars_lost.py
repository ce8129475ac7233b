"""agent-runtime-sdk: a task that waits when the process dies is gone."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from bench.claims._ars_arm import app_of, call, message, quiet, tool_noting
from bench.claims._seen import killed, marks, note, tell

MODULE = "bench.claims.ars_lost"
STEPS = ((("pay", {"amount": 5}),), (("final_answer", {"answer": "done"}),))


async def _run(folder: Path, *, again: bool) -> str:
    app = app_of(STEPS, tool_noting(folder / "paid"))
    if not again:
        task = (await call(app, "message/send", message("Pay.")))["result"]
        assert task["status"]["state"] == "auth-required"
        note(folder / "task", task["id"])
        await asyncio.sleep(60)
    (task_id,) = marks(folder / "task")
    answer = await call(app, "tasks/get", {"id": task_id})
    return str(answer.get("error") or answer["result"]["status"]["state"])


def _main() -> None:
    if sys.argv[1:2] == ["child"]:
        asyncio.run(_run(Path(sys.argv[2]), again=False))
        return
    kept = quiet()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        killed(MODULE, folder, lambda: bool(marks(folder / "task")))
        said = asyncio.run(_run(folder, again=True))
    os.dup2(kept, 1)
    tell(holds="-32001" in said, seen=f"killed while it waited; then tasks/get says: {said}")


if __name__ == "__main__":
    _main()
