"""Threads of blocking functions, and of agents, and what the event loop waits for of them."""

import asyncio
import gc
import inspect
import threading
from contextvars import ContextVar
from typing import Any, Final

from interlock._at_once import first_of
from interlock._thread import Workers
from interlock._threaded import Crossing
from interlock.errors import TaskParked
from support import pause, soon, until

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
    """There are as many threads as are needed at once.  Source: `_thread`, R-AGENT-02."""
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


# --- what is waited for -------------------------------------------------------------------


async def test_the_first_of_several_ends_the_wait_and_the_others_stay() -> None:
    """Neither its end nor its being given up is anything to them.  Source: `asyncio.wait`."""
    loop = asyncio.get_running_loop()
    for ends in ("done", "given up"):
        one, other = loop.create_future(), loop.create_future()
        waits = asyncio.ensure_future(first_of(one, other))
        await pause()
        assert not waits.done()
        if ends == "done":
            other.set_exception(OSError())
            await soon(waits)
            assert isinstance(other.exception(), OSError)
        else:
            waits.cancel()
            await soon(asyncio.wait([waits]))
            assert waits.cancelled()
            assert not other.done()
        assert not one.done()


async def five() -> int:
    """Something that an agent asks for."""
    return 5


async def test_a_thread_gets_what_came_first_the_end_or_that_it_is_let_go() -> None:
    """And what it no longer waits for is cancelled.  Source: `TaskContext`, stop."""
    loop = asyncio.get_running_loop()
    crossing = Crossing(five(), loop)
    await pause()
    crossing.cancel()
    end = await soon(asyncio.to_thread(crossing.end))
    assert end is not None
    assert end.result() == 5
    waits = asyncio.Event().wait()
    cut = Crossing(waits, loop)
    await pause()
    cut.cancel()
    assert await soon(asyncio.to_thread(cut.end)) is None
    await until(lambda: inspect.getcoroutinestate(waits) == inspect.CORO_CLOSED)


async def test_what_fails_when_the_thread_was_let_go_is_nobodys_news() -> None:
    """A simulated schedule found it: a crossing that was parked, and whose thread had gone."""
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: told.append(context))

    async def parked() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise TaskParked from None

    crossing = Crossing(parked(), loop)
    await pause()
    crossing.cancel()
    assert await soon(asyncio.to_thread(crossing.end)) is None
    await pause()
    del crossing
    gc.collect()
    assert told == []


async def test_what_is_on_its_way_to_a_thread_is_waited_for_until_it_has_it() -> None:
    """What is still under way, or was taken, is not.  Source: bench.smolagents."""
    loop = asyncio.get_running_loop()
    under_way = Crossing(asyncio.Event().wait(), loop)
    await pause()
    await soon(under_way.taken())
    under_way.cancel()
    crossing = Crossing(five(), loop)
    await pause()
    one, other = (asyncio.ensure_future(crossing.taken()) for _ in range(2))
    await pause()
    assert not one.done()
    assert not other.done()
    await soon(asyncio.to_thread(crossing.end))
    await soon(asyncio.gather(one, other, crossing.taken()))
