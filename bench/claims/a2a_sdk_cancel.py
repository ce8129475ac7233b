"""a2a-sdk: a cancel is answered `canceled` while the thread of the agent still works."""

import asyncio
import tempfile
import threading
import time
from pathlib import Path

from a2a.server.context import ServerCallContext
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import CancelTaskRequest, TaskState

from bench.claims._a2a_arm import handler_of, sent
from bench.claims._seen import marks, note, tell


async def _main(folder: Path) -> None:
    begun = threading.Event()

    def pay() -> None:
        note(folder / "marks", "begun")
        begun.set()
        time.sleep(1.5)
        note(folder / "marks", "paid")

    async def work(updater: TaskUpdater) -> None:
        await updater.start_work()
        await asyncio.to_thread(pay)

    handler = handler_of(work, InMemoryTaskStore())
    task = await sent(handler)
    await asyncio.to_thread(begun.wait)
    found = await handler.on_cancel_task(CancelTaskRequest(id=task.id), ServerCallContext())
    assert found is not None
    state, then = TaskState.Name(found.status.state), marks(folder / "marks")
    await asyncio.sleep(2)
    later = marks(folder / "marks")
    tell(
        holds=(state, then, later) == ("TASK_STATE_CANCELED", ["begun"], ["begun", "paid"]),
        seen=f"CancelTask says {state}; the thread had {then[-1]}, and {later[-1]} after it",
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(_main(Path(place)))
