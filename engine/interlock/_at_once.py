"""Several things done at once by one turn, all of which may ask before it is parked.

The thread of a waiting task is let go at once.  Where several calls are met at once, the first
that asks must not take the others with it before they have asked, too: each has a share in the
turn, and gives it back when it waits or is done.  Here is also how the first of several ends
a wait.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, Final, TypeVar

V = TypeVar("V")


class Share:
    """A reason not to park yet."""

    def __init__(self, taken: Callable[[], None], returned: Callable[[], None]) -> None:
        self._taken: Final = taken
        self._returned: Final = returned
        self._held = False
        self._over = False
        self.take()

    def take(self) -> None:
        """It goes on; again is nothing."""
        if not self._held and not self._over:
            self._held = True
            self._taken()

    def give_back(self) -> None:
        """It waits now; again is nothing."""
        if self._held:
            self._held = False
            self._returned()

    def end(self) -> None:
        """It is done, whatever it has left behind."""
        self._over = True
        self.give_back()


#: The share of what is done here.
_SHARE: Final[ContextVar[Share | None]] = ContextVar("interlock_share", default=None)


def now_waiting() -> None:
    """Whoever does this waits for somebody: the turn may be parked as far as it is concerned."""
    share = _SHARE.get()
    if share is not None:
        share.give_back()


def now_working() -> None:
    """Whoever does this has what it waited for, and may ask again."""
    share = _SHARE.get()
    if share is not None:
        share.take()


async def at_once(share: Callable[[], Share], works: Sequence[Coroutine[Any, Any, V]]) -> list[V]:
    """What they come to, in their order; `share` makes a share of the turn."""
    shares = [share() for _ in works]
    now_waiting()
    if len(works) == 1:
        return [await _alone(shares[0], works[0])]
    begun = [*map(_begun, shares, works)]
    try:
        return await asyncio.gather(*begun)
    except BaseException:
        # Who goes on without them must not be overtaken by what they still do.
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        raise


async def _alone(share: Share, work: Coroutine[Any, Any, V]) -> V:
    """One is done right here: a task of its own would only be waited for."""
    before = _SHARE.set(share)
    try:
        return await work
    finally:
        share.end()
        _SHARE.reset(before)


def _begun(share: Share, work: Coroutine[Any, Any, V]) -> "asyncio.Task[V]":
    task = asyncio.ensure_future(_with(share, work))

    def over(_task: "asyncio.Task[V]") -> None:
        # Not in the coroutine: one that is cancelled before its first step never comes there.
        share.end()
        work.close()

    task.add_done_callback(over)
    return task


async def _with(share: Share, work: Coroutine[Any, Any, V]) -> V:
    _SHARE.set(share)
    return await work


async def first_of(*futures: "asyncio.Future[Any]") -> None:
    """Wait until one of them is done, and leave them all as they are.

    As `asyncio.wait` does, at half its price: every call of a tool waits so twice.
    """
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def over(_done: "asyncio.Future[Any]") -> None:
        if not first.done():
            first.set_result(None)

    for future in futures:
        future.add_done_callback(over)
    try:
        await first
    finally:
        for future in futures:
            future.remove_done_callback(over)
