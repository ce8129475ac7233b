"""A clock that moves only when a test says so."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

from interlock._clock import Alarm


class _Armed:
    """One alarm: a callback, until it has fired or was cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Forget it; harmless once it has fired."""
        self.callback = None

    def fire(self) -> None:
        """Call back, once."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class ManualClock:
    """Time stands still but in `advance`, which fires alarms in the order of their time."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start
        self._order: Final = itertools.count()
        self._heap: list[tuple[float, int, _Armed]] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """The time that the test has reached, seconds since 1970."""
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        """Arm `callback`: it fires inside `advance`, never inside this call."""
        armed = _Armed(callback)
        heapq.heappush(self._heap, (self._now + max(delay_s, 0.0), next(self._order), armed))
        for count, waiter in self._waiters:
            if self.alarms >= count and not waiter.done():
                waiter.set_result(None)
        return armed

    def advance(self, seconds: float) -> None:
        """Move time on, firing every alarm that falls due on the way, at its own time."""
        assert seconds >= 0, "time does not run backwards"
        until = self._now + seconds
        while self._heap and self._heap[0][0] <= until:
            at, _, armed = heapq.heappop(self._heap)
            self._now = max(self._now, at)
            armed.fire()
        self._now = until

    @property
    def alarms(self) -> int:
        """How many alarms are armed."""
        return sum(armed.callback is not None for _, _, armed in self._heap)

    async def until_armed(self, count: int = 1) -> None:
        """Wait until at least so many alarms are armed: now is the time to `advance`."""
        if self.alarms >= count:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((count, waiter))
        try:
            await waiter
        finally:
            self._waiters.remove((count, waiter))
