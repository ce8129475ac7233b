"""Waiting tasks whose asks name who may answer: looked for once, for all who want to know.

No store finds tasks by whom their asks name, so a look reads a bounded number of them.  Everybody
without a role wants one for each page of an inbox, and an open page a new one at each change: they
share a look that begins after they asked, and looks take a tenth of the time at most.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

from interlock import Engine, TaskQuery, TaskRecord

#: Waiting tasks looked through for one page of an inbox, at most: it may come to be short.
INBOX_SCANNED_MAX: Final = 1_000
#: After a look there is none for so many times as long as it took, and so many seconds at most.
_REST_TIMES: Final = 9.0
_REST_MAX_S: Final = 2.0

#: Reads the tasks.
Look: TypeAlias = Callable[[], Awaitable[Sequence[TaskRecord]]]


class Looks:
    """Looks one after another, each for all who asked before it began."""

    def __init__(self) -> None:
        self._next: asyncio.Future[Sequence[TaskRecord]] | None = None
        self._turn: Final = asyncio.Lock()
        self._rested_at = 0.0

    async def found(self, look: Look) -> Sequence[TaskRecord]:
        """What a look finds that has not begun yet; whoever asked first says how it is done."""
        if self._next is None or self._next.done():  # It was cancelled with its loop.
            self._next = asyncio.ensure_future(self._looked(look))
            # Nobody may be left who wants to hear of it.
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    async def _looked(self, look: Look) -> Sequence[TaskRecord]:
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(max(0.0, self._rested_at - clock()))
            # Whoever asks from here on might miss what has just been read.
            self._next = None
            began = clock()
            try:
                return await look()
            finally:
                took = clock() - began
                self._rested_at = clock() + min(_REST_TIMES * took, _REST_MAX_S)


_LOOKS: Final[WeakKeyDictionary[Engine, dict[str | None, Looks]]] = WeakKeyDictionary()


async def that_name(engine: Engine, query: TaskQuery) -> Sequence[TaskRecord]:
    """Of the tasks of a query those with an ask that names who may answer it, as they are now.

    The query is the same for everybody but for its `owner_prefix`.

    Raises:
        StoreError: they cannot be read.
    """

    async def look() -> Sequence[TaskRecord]:
        found: list[TaskRecord] = []
        scanned, cursor = 0, query.cursor
        while True:
            page = await engine.page(replace(query, cursor=cursor))
            found += (r for r in page.records if any(ask.approvers for ask in r.asks))
            scanned, cursor = scanned + query.limit, page.next_cursor
            if cursor is None or scanned >= INBOX_SCANNED_MAX:
                return found

    looks = _LOOKS.setdefault(engine, {}).setdefault(query.owner_prefix, Looks())
    return await looks.found(look)
