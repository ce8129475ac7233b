"""a2a-sdk: an agent may publish any state after any other, as long as none of them is final."""

import asyncio
from typing import Final

from a2a.server.context import ServerCallContext
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import GetTaskRequest, TaskState

from bench.claims._a2a_arm import handler_of, sent
from bench.claims._seen import tell

#: Backwards, and out of a wait that nobody answered.
WALK: Final = (
    TaskState.TASK_STATE_INPUT_REQUIRED,
    TaskState.TASK_STATE_SUBMITTED,
    TaskState.TASK_STATE_AUTH_REQUIRED,
    TaskState.TASK_STATE_WORKING,
)


async def _main() -> None:
    seen: list[str] = []
    gate = asyncio.Semaphore(0)

    async def work(updater: TaskUpdater) -> None:
        for state in WALK:
            await gate.acquire()
            await updater.update_status(state)
        await asyncio.sleep(60)

    handler = handler_of(work, InMemoryTaskStore())
    task = await sent(handler)
    for _ in WALK:
        gate.release()
        await asyncio.sleep(0.2)
        found = await handler.on_get_task(GetTaskRequest(id=task.id), ServerCallContext())
        assert found is not None
        seen.append(TaskState.Name(found.status.state).removeprefix("TASK_STATE_").lower())
    wanted = [TaskState.Name(state).removeprefix("TASK_STATE_").lower() for state in WALK]
    tell(holds=seen == wanted, seen=f"GetTask in turn: {', '.join(seen)}")


if __name__ == "__main__":
    asyncio.run(_main())
