"""Plain functions on threads of their own, awaited from the event loop."""

import asyncio
import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

V = TypeVar("V")
#: What a worker is told to do next; None ends it.
_Job: TypeAlias = Callable[[], None] | None
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


def tried(work: Callable[[], V]) -> Callable[[], V]:
    """Do it; gives what returns what it returned, or raises what it raised."""
    try:
        value = work()
    except BaseException as error:  # noqa: BLE001  it is raised where somebody waits for it
        return partial(_raise, error)
    return lambda: value


def _raise(error: BaseException) -> NoReturn:
    raise error


class Workers:
    """Threads for the blocking functions of one turn: as many as are needed at once, and reused.

    To start a thread takes longer than to wake one, and holds up the event loop meanwhile.
    """

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self._loop: Final = asyncio.get_running_loop()
        self._idle: Final[list[queue.SimpleQueue[_Job]]] = []
        self._over = False

    def run(self, work: Callable[[], V]) -> "asyncio.Future[V]":
        """Run `work`, which must not raise, on a thread; the future of what it returns."""
        done: asyncio.Future[V] = self._loop.create_future()
        within = contextvars.copy_context()
        jobs = self._idle.pop() if self._idle else self._started()
        jobs.put(partial(self._job, within, work, done, jobs))
        return done

    def close(self) -> None:
        """Let every thread end that has nothing to do, and the others when they are done."""
        self._over = True
        while self._idle:
            self._idle.pop().put(None)

    def _started(self) -> "queue.SimpleQueue[_Job]":
        jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        # A daemon, since a function that never returns must not keep the process alive.
        threading.Thread(target=_serve, args=(jobs,), name=self._name, daemon=True).start()
        return jobs

    def _job(
        self,
        within: contextvars.Context,
        work: Callable[[], Any],
        done: "asyncio.Future[Any]",
        jobs: "queue.SimpleQueue[_Job]",
    ) -> None:
        """On the thread: do it, and say what it came to."""
        value = within.run(work)
        try:
            self._loop.call_soon_threadsafe(self._settle, done, value, jobs)
        except RuntimeError:
            # The loop is closed: the engine is gone, and with it whoever would listen.
            _log.warning("thread %r outlived the event loop", self._name)
            jobs.put(None)

    def _settle(
        self, done: "asyncio.Future[Any]", value: object, jobs: "queue.SimpleQueue[_Job]"
    ) -> None:
        if self._over:
            jobs.put(None)
        else:
            self._idle.append(jobs)
        if not done.done():
            done.set_result(value)


def _serve(jobs: "queue.SimpleQueue[_Job]") -> None:
    while (job := jobs.get()) is not None:
        job()
