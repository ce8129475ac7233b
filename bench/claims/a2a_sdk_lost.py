"""a2a-sdk: a task that worked when the process died says `working` for ever; nobody goes on.

Its store on SQLite keeps the task, so a client can still read it.
"""

import asyncio
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from a2a.server.context import ServerCallContext
from a2a.server.tasks import DatabaseTaskStore, TaskUpdater
from a2a.types import GetTaskRequest, TaskState

from bench.claims._a2a_arm import handler_of, sent
from bench.claims._seen import killed, marks, note, tell

#: Of a package that we do not have.
sqlalchemy: Final[Any] = importlib.import_module("sqlalchemy.ext.asyncio")
MODULE: Final = "bench.claims.a2a_sdk_lost"
#: Seconds that the second process is given to take the task up.
WAITED_S: Final = 3


async def _run(folder: Path, *, again: bool) -> str:
    async def work(updater: TaskUpdater) -> None:
        note(folder / "runs", "run")
        await updater.start_work()
        await asyncio.sleep(60)

    store = DatabaseTaskStore(
        sqlalchemy.create_async_engine(f"sqlite+aiosqlite:///{folder}/tasks.db")
    )
    await store.initialize()
    handler = handler_of(work, store)
    if not again:
        task = await sent(handler)
        for _ in range(100):  # Until the store has it.
            await asyncio.sleep(0.05)
            found = await store.get(task.id, ServerCallContext())
            if found is not None and found.status.state == TaskState.TASK_STATE_WORKING:
                break
        note(folder / "task", task.id)
        await asyncio.sleep(60)
    (task_id,) = marks(folder / "task")
    await asyncio.sleep(WAITED_S)
    found = await handler.on_get_task(GetTaskRequest(id=task_id), ServerCallContext())
    return "-" if found is None else TaskState.Name(found.status.state)


def _main() -> None:
    if sys.argv[1:2] == ["child"]:
        asyncio.run(_run(Path(sys.argv[2]), again=False))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        killed(MODULE, folder, lambda: bool(marks(folder / "task")))
        state = asyncio.run(_run(folder, again=True))
        runs = len(marks(folder / "runs"))
    tell(
        holds=(state, runs) == ("TASK_STATE_WORKING", 1),
        seen=f"killed while it worked; {WAITED_S} s after the next start GetTask says {state}, "
        f"and the agent ran {runs} time in all",
    )


if __name__ == "__main__":
    _main()
