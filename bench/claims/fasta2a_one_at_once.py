"""fasta2a: its worker runs one task at a time; a slow one holds up the others."""

import asyncio
import time
from typing import Any

from bench.claims._fasta2a_arm import call, message, served
from bench.claims._seen import tell

SLOW_S = 0.5
SENT = 4


async def _work(storage: Any, task_id: str) -> None:  # noqa: ANN401  the peer's
    await asyncio.sleep(SLOW_S)
    await storage.update_task(task_id, state="completed")


async def _main() -> None:
    begun = time.monotonic()
    answered: list[float] = []

    async def send(app: Any, number: int) -> None:  # noqa: ANN401
        await call(app, "message/send", message(number))
        answered.append(time.monotonic() - begun)

    async with served(_work) as app:
        await asyncio.gather(*(send(app, number) for number in range(SENT)))
    tell(
        holds=answered[-1] > (SENT - 1.5) * SLOW_S,
        seen=f"{SENT} sent at once, each {SLOW_S} s long: message/send answered after "
        + ", ".join(f"{at:.1f}" for at in answered)
        + " s",
    )


if __name__ == "__main__":
    asyncio.run(_main())
