"""Waiting on the engine's clock, so that a test can move the time that an MCP server is given."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from interlock import Clock


async def pause(clock: Clock, seconds: float) -> None:
    """Do nothing until the clock says that so much time has passed."""
    over = asyncio.Event()
    alarm = clock.call_later(seconds, over.set)
    try:
        await over.wait()
    finally:
        alarm.cancel()


@asynccontextmanager
async def limit(clock: Clock, seconds: float) -> AsyncGenerator[None]:
    """A block that takes no longer.

    Raises:
        TimeoutError: it would have.
    """
    async with asyncio.timeout(None) as timeout:

        def strike() -> None:
            timeout.reschedule(asyncio.get_running_loop().time())

        alarm = clock.call_later(seconds, strike)
        try:
            yield
        finally:
            alarm.cancel()
