"""Several things done at once by one turn, all of which may ask before it is parked.

The thread of a waiting task is let go at once.  Where several calls are met at once, the first
that asks must not take the others with it before they have asked, too: each has a share in the
turn, and gives it back when it waits or is done.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, Final, TypeVar

V = TypeVar("V")


class Share:
    """A reason not to park yet; given back once."""

    def __init__(self, returned: Callable[[], None]) -> None:
        self._returned: Final = returned
        self._held = True

    def give_back(self) -> None:
        """It waits now, or is done; again is nothing."""
        if self._held:
            self._held = False
            self._returned()


#: The share of what is done here.
_SHARE: Final[ContextVar[Share | None]] = ContextVar("interlock_share", default=None)


def now_waiting() -> None:
    """Whoever does this waits for somebody: the turn may be parked as far as it is concerned."""
    share = _SHARE.get()
    if share is not None:
        share.give_back()


async def at_once(share: Callable[[], Share], works: Sequence[Coroutine[Any, Any, V]]) -> list[V]:
    """What they come to, in their order; `share` makes a share of the turn."""
    shares = [share() for _ in works]
    now_waiting()
    return await asyncio.gather(*map(_with, shares, works))


async def _with(share: Share, work: Coroutine[Any, Any, V]) -> V:
    _SHARE.set(share)
    try:
        return await work
    finally:
        share.give_back()
