"""Wakes the pages that list tasks when any task has changed.

An engine tells of the changes of one task (`Engine.subscribe`) and not of all.  So while
somebody looks at a list, the newest change is looked at now and then: one look for all pages
together, and none while nobody looks.  Who has an observer on the engine calls `heard` instead,
and nothing is looked at, unless other processes share the store; what is purged is missed at the
next sign of life of a page.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from interlock import Engine, TaskQuery
from interlock.errors import EngineError

_log: Final = logging.getLogger("interlock.console")
#: Seconds from one look to the next, and from one beat that was heard of to the next.
LOOK_S: Final = 1.0


class Pulse:
    """Counts changes, and wakes who waits for the next one."""

    def __init__(
        self,
        engine: Engine,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        look_s: float = LOOK_S,
        looks: bool = True,
    ) -> None:
        """Look at the tasks of `engine` every `look_s` seconds while somebody listens.

        Not `looks` is for who calls `heard`.
        """
        self._engine: Final = engine
        self._sleep: Final = sleep
        self._look_s: Final = look_s
        self._looks: Final = looks
        #: The next beat of those that were heard of, and when the last one was.
        self._due: asyncio.TimerHandle | None = None
        self._beaten_at = -look_s
        self._listeners = 0
        self._looking: asyncio.Task[None] | None = None
        #: How often something changed.
        self.beats: int = 0
        self._next: asyncio.Event | None = None

    def beat(self) -> None:
        """Say that something changed."""
        self.beats += 1
        if self._next is not None:
            self._next.set()
            self._next = None

    def heard(self) -> None:
        """Something was committed: beat now, or when `look_s` have passed since the last time.

        Each beat has every open page made anew, which a busy engine must not pay for each commit.
        """
        if self._listeners and self._due is None:
            loop = asyncio.get_running_loop()
            at = max(loop.time(), self._beaten_at + self._look_s)
            self._due = loop.call_at(at, self._beat_heard)

    def _beat_heard(self) -> None:
        self._due = None
        self._beaten_at = asyncio.get_running_loop().time()
        self.beat()

    async def after(self, beats: int, within_s: float) -> int:
        """Wait until there were more beats than that, or so long; how many there are then."""
        if self.beats == beats:
            if self._next is None:
                self._next = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._next.wait(), within_s)
        return self.beats

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """A block in which somebody waits for changes."""
        self._listeners += 1
        if self._looks and self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                await self._stop_looking()

    async def _stop_looking(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self) -> None:
        seen: object = None
        while True:
            try:
                page = await self._engine.page(TaskQuery(limit=1))
                newest = [(record.task_id, record.seq) for record in page.records]
                if seen is not None and seen != (newest, page.total):
                    self.beat()
                seen = (newest, page.total)
            except EngineError as error:  # It closes, or the store has a moment.
                _log.debug("the console cannot look for changes: %s", error.code)
            await self._sleep(self._look_s)
