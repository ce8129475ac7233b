"""What is over and done with is forgotten in time: the store must not grow for ever.

A sweep asks the store to purge what is too old, then what is too many, a bounded number
of tasks at a time; between two of them everybody else gets to write.  It runs when the
engine opens, beside everything else, and again every so often.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable
from typing import Final

from interlock._clock import Alarm, Clock, give_way
from interlock._store import Store
from interlock.errors import StoreError
from interlock.models import Retention

#: Tasks that are purged in one go.
TASKS_AT_ONCE: Final = 100

_log: Final = logging.getLogger("interlock.retention")


class Sweeper:
    """Purges finalized tasks by age and by number, from `start` until `close`."""

    def __init__(
        self, store: Store, clock: Clock, retention: Retention, on_purged: Callable[[str], None]
    ) -> None:
        """`on_purged(task_id)` is called for each task that is gone."""
        self._store: Final = store
        self._clock: Final = clock
        self._retention: Final = retention
        self._on_purged: Final = on_purged
        self._alarm: Alarm | None = None
        self._sweep: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Sweep now, beside whatever else is done, and then every so often."""
        if self._retention.age_s is not None or self._retention.tasks_max is not None:
            self._ring()

    async def close(self) -> None:
        """Finish the purge that was begun, and begin no other."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._sweep is not None:
            await asyncio.wait([self._sweep])

    def _ring(self) -> None:
        self._sweep = asyncio.get_running_loop().create_task(self._swept(), name="retention")

    async def _swept(self) -> None:
        rule, now = self._retention, self._clock.now()
        gone = 0
        try:
            if rule.age_s is not None:
                gone += await self._purged(now - rule.age_s, keep=0)
            if rule.tasks_max is not None:
                gone += await self._purged(now - rule.at_least_s, keep=rule.tasks_max)
        except StoreError as error:
            _log.warning("what is over cannot be purged now: %s", error)
        except Exception:  # noqa: BLE001  a store is foreign code; the next sweep may be better
            _log.exception("the store raised what it must not")
        if gone:
            _log.info("%d finalized tasks were purged", gone)
        self._sweep = None
        if not self._closed:
            self._alarm = self._clock.call_later(rule.every_s, self._ring)

    async def purged(self, before: float, limit: int) -> list[str]:
        """Purge at most `limit` tasks that changed last before `before`; which those were.

        Raises:
            StoreError: the store could not go on.
        """
        return [gone async for gone in self._going(before, keep=0, limit=limit)]

    async def _purged(self, before: float, *, keep: int) -> int:
        """Purge until none is left to go; how many there were."""
        return len([gone async for gone in self._going(before, keep=keep)])

    async def _going(
        self, before: float, *, keep: int, limit: float = math.inf
    ) -> AsyncGenerator[str]:
        """Each task that went, a few purged at a time, until none or `limit` is left to go."""
        while limit > 0 and not self._closed:
            gone = await self._store.purge(before, keep=keep, limit=int(min(limit, TASKS_AT_ONCE)))
            if not gone:
                break
            for task_id in gone:
                self._on_purged(task_id)
                yield task_id
            limit -= len(gone)
            await give_way()  # A store that never waits must not hold up everybody.
