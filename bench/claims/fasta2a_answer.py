"""fasta2a: an answer to a task that waits for input makes another task; the first waits on."""

import asyncio
from typing import Any

from bench.claims._fasta2a_arm import call, message, served
from bench.claims._seen import tell


async def _work(storage: Any, task_id: str) -> None:  # noqa: ANN401  the peer's
    await storage.update_task(task_id, state="input-required")


async def _sent(app: Any, number: int, **names: str) -> dict[str, Any]:  # noqa: ANN401
    task: dict[str, Any] = (await call(app, "message/send", message(number, **names)))["result"]
    found: dict[str, Any] = task.get("task", task)
    return found


async def _main() -> None:
    async with served(_work) as app:
        first = await _sent(app, 1)
        await asyncio.sleep(0.2)
        names = {"taskId": first["id"], "contextId": first["contextId"]}
        second = await _sent(app, 2, **names)
        await asyncio.sleep(0.2)
        now = (await call(app, "tasks/get", {"id": first["id"]}))["result"]
    another, state = second["id"] != first["id"], now["status"]["state"]
    tell(
        holds=another and state == "input-required",
        seen=f"the answer came back as {'another' if another else 'the same'} task; "
        f"the one that it named says {state}",
    )


if __name__ == "__main__":
    asyncio.run(_main())
