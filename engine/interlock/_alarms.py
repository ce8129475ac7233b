"""Deadlines: the store knows them all, this keeps one alarm set for the earliest.

However many tasks wait, there is one alarm.  What is due is read from the store when
it rings, so a deadline needs no memory here and survives a restart.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from interlock._clock import Alarm, Clock
from interlock._record import TaskRecord
from interlock._store import Store
from interlock.errors import StoreCorrupt, StoreError, UnknownTask

#: Called for each task with a deadline that passed.
Fire: TypeAlias = Callable[[TaskRecord, float], Awaitable[None]]

#: Seconds until the deadlines are read again after the store failed.
STORE_RETRY_S: Final = 1.0

#: Seconds that an alarm is set for at most: the clock of the deadlines may be put forward,
#: and the clock of the alarm does not notice.
ALARM_MAX_S: Final = 60.0

_NEVER: Final = float("inf")
_FIRST: Final = (float("-inf"), "")
#: Sorts behind every task id.
_LAST_ID: Final = chr(0x10FFFF)

_log: Final = logging.getLogger("interlock.alarms")


class Alarms:
    """Fires what is due, in the order in which it is due."""

    def __init__(
        self, store: Store, clock: Clock, fire: Fire, *, look_s: float | None = None
    ) -> None:
        """Fire by `fire`.

        Where others set deadlines in the same store, it is looked for them every `look_s` seconds.
        """
        self._look_s: Final = look_s
        self._store: Final = store
        self._clock: Final = clock
        self._fire: Final = fire
        self._alarm: Alarm | None = None
        self._rings_at = _NEVER
        #: The earliest deadline armed while the store was being read.
        self._meanwhile = _NEVER
        #: Deadlines up to here were fired; what is left of them waits for something else.
        self._handled = _FIRST
        self._run: asyncio.Task[None] | None = None
        #: The earliest deadline that could not be fired, and when that is tried again.
        self._failed = _NEVER
        self._retry: Alarm | None = None
        self._closed = False

    def start(self) -> None:
        """Fire what became due while nobody watched, then keep watch."""
        self._closed = False
        self._ring()

    def arm(self, due: float) -> None:
        """A task has this deadline now."""
        if self._closed:
            return
        if self._run is not None:
            self._meanwhile = min(self._meanwhile, due)
            return
        if due <= self._handled[0]:
            self._handled = (due, "")
        if due < self._rings_at:
            self._set(due)

    def look_again(self) -> None:
        """Look for all that is overdue: what others wrote may have been seen too late."""
        self._handled = _FIRST

    async def close(self) -> None:
        """Stop watching."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._run is not None:
            await asyncio.wait([self._run])
        if self._retry is not None:
            self._retry.cancel()

    def _set(self, due: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._rings_at = due
        longest_s = ALARM_MAX_S if self._look_s is None else self._look_s
        delay_s = min(max(0.0, due - self._clock.now()), longest_s)
        self._alarm = self._clock.call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._rings_at = _NEVER
        if self._run is None and not self._closed:
            self._run = asyncio.get_running_loop().create_task(self._serve(), name="alarms")

    async def _serve(self) -> None:
        now = self._clock.now()
        following: float | None
        try:
            while not self._closed and (due := await self._store.due(now, self._handled)):
                before = self._handled
                for record in due:
                    await self._fired(record, now)
                if self._handled == before:
                    break  # No place is known behind these: they would be given for ever.
            self._handled = (now, _LAST_ID)
            following = await self._store.next_due(now)
        except Exception as error:  # noqa: BLE001  a store is foreign code; the clocks go on
            if isinstance(error, StoreError):
                _log.warning("deadlines are late, since the store failed: %s", error)
            else:
                _log.exception("the store raised what it must not")
            following = self._clock.now() + STORE_RETRY_S
        meanwhile, self._meanwhile, self._run = self._meanwhile, _NEVER, None
        if self._closed:
            return
        if following is not None:
            self._set(following)
        elif self._look_s is not None:
            self._set(_NEVER)
        if meanwhile is not _NEVER:
            self.arm(meanwhile)

    def _try_later(self, record: TaskRecord) -> None:
        """One alarm for all that could not be fired, however often that is met."""
        self._failed = min(self._failed, _NEVER if record.due is None else record.due)
        if self._retry is None:
            self._retry = self._clock.call_later(STORE_RETRY_S, self._try_again)

    def _try_again(self) -> None:
        due, self._failed, self._retry = self._failed, _NEVER, None
        if due < _NEVER:
            self.arm(due)

    async def _fired(self, record: TaskRecord, now: float) -> None:
        try:
            await self._fire(record, now)
        except StoreCorrupt as error:
            # Asking again would not make it readable: the others are not to wait for that.
            _log.error("its deadline could not be fired: %s", error)
        except StoreError:
            raise  # It is not handled: it comes again when the store is asked again.
        except UnknownTask:
            pass  # It was purged meanwhile, and its deadlines with it.
        except Exception:  # noqa: BLE001  a fault of one task must not stop the clocks of all
            _log.exception("task %s: its deadline could not be fired", record.task_id)
            self._try_later(record)
        place = (_NEVER if record.due is None else record.due, record.task_id)
        if self._handled < place <= (now, _LAST_ID):
            self._handled = place
        else:
            # What the store finds it by is not what its record says: damage of one task, whose
            # place would pass by others that are due, or go back and fire it without end.
            _log.error("task %s: it was found by a deadline that it does not have", record.task_id)
