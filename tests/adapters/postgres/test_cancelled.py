"""A cancel that is lost on its way ends what was cancelled all the same.  R-PG-05."""

import asyncio
from typing import Any, cast

from interlock_adapters.postgres._clock import Hints, was_cancelled
from support import soon


class Deaf:
    """A pool that loses a cancel, as `asyncio.wait_for` did before Python 3.12."""

    place: Any = type("Place", (), {"schema": "interlock"})()

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def once(self, _query: object, _what: str) -> None:
        """The answer comes together with the cancel."""
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


async def test_what_sends_hints_ends_though_the_driver_lost_the_cancel() -> None:
    """A store could not be closed with psycopg 3.2 on Python 3.11: found on every Python."""
    pool = Deaf()
    hints = Hints(cast("Any", pool), "me")
    hints.tell("a task")
    sending = asyncio.ensure_future(hints.send())
    await soon(pool.asked.wait())
    sending.cancel()
    await soon(asyncio.wait([sending]))
    assert sending.done()


async def test_who_was_not_cancelled_goes_on() -> None:
    """Nor is a timeout that was met a cancel."""
    assert not was_cancelled()
    try:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    except TimeoutError:
        pass
    assert not was_cancelled()
