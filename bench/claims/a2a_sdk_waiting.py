"""a2a-sdk: a task that waits for input holds asyncio tasks in the process."""

import asyncio

from a2a.server.context import ServerCallContext
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import Message, Part, Role, SendMessageRequest, Task, TaskState

from bench.claims._a2a_arm import handler_of
from bench.claims._seen import tell

WAITING = 100


async def _main() -> None:
    async def work(updater: TaskUpdater) -> None:
        await updater.requires_input()

    handler = handler_of(work, InMemoryTaskStore())
    before = len(asyncio.all_tasks())
    for number in range(WAITING):
        message = Message(message_id=str(number), role=Role.ROLE_USER, parts=[Part(text="go")])
        task = await handler.on_message_send(
            SendMessageRequest(message=message), ServerCallContext()
        )
        assert isinstance(task, Task)
        assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    await asyncio.sleep(1)
    more = len(asyncio.all_tasks()) - before
    tell(holds=more >= WAITING, seen=f"{WAITING} that wait: {more} asyncio tasks more")


if __name__ == "__main__":
    asyncio.run(_main())
