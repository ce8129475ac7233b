"""Threads of blocking functions: reused within a turn, and gone with it."""

import threading
from contextvars import ContextVar
from typing import Final

from interlock._thread import Workers
from support import soon, until

NUMBER: Final[ContextVar[int]] = ContextVar("number")


def here() -> int:
    """The thread that runs this."""
    return threading.get_ident()


async def test_a_thread_that_is_done_is_used_again() -> None:
    """Starting one takes longer than waking one, and holds up the loop.  Source: bench."""
    workers = Workers("w")
    first = await soon(workers.run(here))
    assert await soon(workers.run(here)) == first
    assert first != threading.get_ident()
    workers.close()


async def test_what_blocks_does_not_keep_others_waiting() -> None:
    """There are as many threads as are needed at once.  Source: `_thread`."""
    workers, go = Workers("w"), threading.Event()
    blocked = workers.run(lambda: go.wait(5.0))
    await soon(workers.run(here))
    assert not blocked.done()
    go.set()
    assert await soon(blocked)
    workers.close()


async def test_no_thread_is_left_when_they_are_closed() -> None:
    """Neither an idle one nor one that was busy then.  Source: I30."""
    before = set(threading.enumerate())
    workers, go = Workers("w"), threading.Event()
    late = workers.run(lambda: go.wait(5.0))
    await soon(workers.run(here))
    workers.close()
    go.set()
    await soon(late)
    await until(lambda: set(threading.enumerate()) <= before)


async def test_each_job_has_the_context_of_who_wants_it() -> None:
    """A reused thread remembers nothing of the job before.  Source: ours."""
    workers = Workers("w")
    NUMBER.set(1)
    assert await soon(workers.run(NUMBER.get)) == 1
    NUMBER.set(2)
    assert await soon(workers.run(NUMBER.get)) == 2
    workers.close()
