"""What a service asks of a store that other processes share: is it there, what is in it.

A replica knows only what it did itself.  Whoever routes requests, and whoever looks at metrics,
wants to know what is so for all of them.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from interlock import Engine, Phase
from interlock.errors import EngineError, UnknownTask
from interlock_adapters._http.asgi import App, Receive, Scope, Send

_log: Final = logging.getLogger("interlock.service")

#: Seconds that a look at the store may take until it counts as away, and that it stands for.
LOOK_S: Final = 2.0
FRESH_S: Final = 1.0
#: Seconds between two counts that nobody asked for: exporters send what they find.
COUNT_S: Final = 15.0
#: A count that takes long is made the less often, so that it costs no more than this share.
SHARE: Final = 0.05
#: The id of no task: engines make others.
_NOBODY: Final = "interlock-readiness"


class StoreWatch:
    """Whether the store of an engine answers, looked at once a second at most."""

    def __init__(self, engine: Engine, *, look_s: float = LOOK_S, fresh_s: float = FRESH_S) -> None:
        """Look at the store that `engine` shares with others; times are seconds."""
        self._engine: Final = engine
        self._look_s: Final = look_s
        self._fresh_s: Final = fresh_s
        self._looked_at = float("-inf")
        self._said: str | None = None
        self._one: Final = asyncio.Lock()

    async def why_not(self) -> str | None:
        """Why nothing can be done with it now; None when it answers."""
        async with self._one:
            if time.monotonic() - self._looked_at >= self._fresh_s:
                self._said = await self._looked()
                self._looked_at = time.monotonic()
            return self._said

    async def _looked(self) -> str | None:
        try:
            async with asyncio.timeout(self._look_s):
                await self._engine.record(_NOBODY, owner=None)
        except UnknownTask:
            return None
        except (EngineError, TimeoutError) as error:
            # Anybody may ask: no address, and nothing else of the store is told.
            _log.warning("the store does not answer: %s", str(error) or "it takes too long")
            return "the store does not answer"
        return None


class Counted:
    """Tells how many tasks there are in each phase, over all replicas."""

    def __init__(
        self,
        engine: Engine,
        tell: Callable[[Mapping[Phase, int]], None],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Tell of the store that `engine` shares with others."""
        self._engine: Final = engine
        self._tell: Final = tell
        self._sleep: Final = sleep
        self._next_at = float("-inf")
        self._one: Final = asyncio.Lock()

    async def look(self) -> None:
        """Count, unless that was done just now; a store that is away changes nothing."""
        async with self._one:
            began = time.monotonic()
            if began < self._next_at:
                return
            try:
                self._tell(await self._engine.counts())
            except EngineError as error:
                _log.warning("tasks cannot be counted: %s", error)
            now = time.monotonic()
            self._next_at = now + max(FRESH_S, (now - began) / SHARE)

    @asynccontextmanager
    async def life(self) -> AsyncGenerator[None]:
        """A block in which tasks are counted every now and then."""
        looking = asyncio.create_task(self._again_and_again())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _again_and_again(self) -> None:
        while True:
            await self.look()
            await self._sleep(COUNT_S)

    def before(self, page: App) -> App:
        """A page that shows numbers of this moment."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            await self.look()
            await page(scope, receive, send)

        return counted
