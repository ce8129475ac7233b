"""Time, behind a port: the engine never reads a clock of its own."""

import asyncio
import time
from collections.abc import Callable
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


class SystemClock:
    """The machine's clock, and the running event loop's timers."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        """Arm a timer on the running loop."""
        return asyncio.get_running_loop().call_later(delay_s, callback)
