"""A bound on how long something may take, on the engine's clock, that can stand still."""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from interlock._at_once import first_of
from interlock._clock import Alarm, Clock

V = TypeVar("V")


class TimeIsUp(Exception):
    """It took longer than it may."""


class Stopwatch:
    """Gives some work so many seconds; the time that people take does not count."""

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock: Final = clock
        self._left_s = seconds
        #: Done when the time is up.
        self.late: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._alarm: Alarm | None = None
        self._since = 0.0
        self._pauses = 0

    async def time(self, work: Coroutine[Any, Any, V]) -> V:
        """What the work comes to.

        When its time is up it is cancelled, and not waited for: what it is stuck in may never
        end.  When the caller is cancelled so is the work, and its end is waited for; what it
        has done by then is not lost.

        Raises:
            TimeIsUp: it took too long.
        """
        doing = asyncio.ensure_future(work)
        self._go()
        try:
            await first_of(doing, self.late)
        except asyncio.CancelledError:
            doing.cancel()
            await asyncio.wait({doing})
            if doing.cancelled():
                raise
            return doing.result()
        finally:
            self._halt()
        if not doing.done():
            doing.add_done_callback(_seen)
            doing.cancel()
            raise TimeIsUp
        return doing.result()

    @contextmanager
    def paused(self) -> Generator[None]:
        """A block whose time does not count."""
        self._halt()
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            self._go()

    def _go(self) -> None:
        if self._left_s is not None and self._alarm is None and not self._pauses:
            self._since = self._clock.now()
            self._alarm = self._clock.call_later(self._left_s, self._ring)

    def _halt(self) -> None:
        if self._alarm is not None and self._left_s is not None:
            self._alarm.cancel()
            self._alarm = None
            self._left_s = max(0.0, self._left_s - (self._clock.now() - self._since))

    def _ring(self) -> None:
        if not self.late.done():
            self.late.set_result(None)


def _seen(doing: "asyncio.Future[Any]") -> None:
    """Nobody waits for it any more, so nobody is told what it raised."""
    if not doing.cancelled():
        doing.exception()
