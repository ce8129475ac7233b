"""Time, behind a port: the engine never reads a clock of its own."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol


class Alarm(Protocol):
    """Something armed that can be forgotten."""

    def cancel(self) -> None:
        """Forget it; harmless once it has fired."""


class Clock(Protocol):
    """What the engine needs of time."""

    def now(self) -> float:
        """Seconds since 1970: deadlines outlive the process, so the clock is the wall's."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        """Call `callback` once on the event loop, `delay_s` seconds from now."""
        ...


def rung(clock: Clock, after_s: float) -> "tuple[asyncio.Future[None], Alarm]":
    """A future that is done when the time is over, and the alarm that does it.

    Where no time is to pass no clock is asked: one that is moved by hand may stand still.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    if after_s <= 0:
        return over, loop.call_soon(_ring, over)
    return over, clock.call_later(after_s, partial(_ring, over))


def _ring(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


async def give_way(rounds: int = 1) -> None:
    """Let the event loop go round so often: everybody else who can go on does."""
    loop = asyncio.get_running_loop()
    for _ in range(rounds):
        passed: asyncio.Future[None] = loop.create_future()
        loop.call_soon(passed.set_result, None)
        await passed


class SystemClock:
    """The machine's clock, and the running event loop's timers."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        """Arm a timer on the running loop."""
        return asyncio.get_running_loop().call_later(delay_s, callback)
