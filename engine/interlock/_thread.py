"""Plain functions on threads of their own, awaited from the event loop."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

V = TypeVar("V")
_log = logging.getLogger("interlock.thread")


def on_a_thread(work: Callable[[], V], name: str) -> "asyncio.Future[V]":
    """Run `work`, which must not raise, on a new thread; the future of what it returns.

    Not on the loop's shared pool: a few functions that wait would keep all others out.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[V] = loop.create_future()

    def settle(value: V) -> None:
        if not done.done():
            done.set_result(value)

    def main() -> None:
        value = work()
        try:
            loop.call_soon_threadsafe(partial(settle, value))
        except RuntimeError:
            # The loop is closed: the engine is gone, and with it whoever would listen.
            _log.warning("thread %r outlived the event loop", name)

    within = contextvars.copy_context()
    # A daemon, since a function that never returns must not keep the process alive.
    threading.Thread(target=within.run, args=(main,), name=name, daemon=True).start()
    return done
