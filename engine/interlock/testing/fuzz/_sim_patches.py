"""What blocks, and what differs from run to run, replaced for as long as a run lasts.

Each of these still does what the real one does for threads that are no part of the run, and
for whoever keeps it until after the run.  What was taken by name before (`from time import
sleep`), and locks that were made before, are not replaced.
"""

import concurrent.futures.thread
import itertools
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import GenericAlias
from typing import Any, Final, TypeAlias, cast

from interlock.testing.fuzz._sim_schedule import Process
from interlock.testing.fuzz._sim_threads import REAL_LOCK, SimThread, Threads, enter, here

_NEVER: Final = -1.0

#: What is replaced: where, by which name, and with what.
_Patch: TypeAlias = tuple[Any, str, Any]


class SimLock:
    """`threading.Lock`."""

    def __init__(self) -> None:
        self._real = REAL_LOCK()

    def acquire(self, blocking: bool = True, timeout: float = _NEVER) -> bool:  # noqa: FBT001, FBT002  as threading has it
        """See `threading.Lock.acquire`; `timeout` in virtual seconds."""
        threads = here()
        if threads is None:
            return self._real.acquire(blocking, timeout)
        threads.preempt()
        if self._real.acquire(blocking=False):
            return True
        if not blocking:
            return False
        limit = None if timeout < 0 else timeout
        free = threads.block(lambda: not self._real.locked(), limit, "a lock")
        return free and self._real.acquire(blocking=False)

    def release(self) -> None:
        """See `threading.Lock.release`."""
        threads = here()
        if threads is not None and threads.over and not self._real.locked():
            return  # Whoever is ended while it gets a lock back leaves a block that has none.
        self._real.release()
        if threads is not None:
            threads.preempt()

    def locked(self) -> bool:
        """See `threading.Lock.locked`."""
        return self._real.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._real = REAL_LOCK()


class SimRLock:
    """`threading.RLock`."""

    def __init__(self) -> None:
        self._lock: Final = SimLock()
        self._owner: int | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = _NEVER) -> bool:  # noqa: FBT001, FBT002  as threading has it
        """See `threading.RLock.acquire`; `timeout` in virtual seconds."""
        me = threading.get_ident()
        if self._owner == me:
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        """See `threading.RLock.release`.

        Raises:
            RuntimeError: it is another thread's.
        """
        if self._owner != threading.get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()

    # What `threading.Condition` asks of it.

    def _release_save(self) -> tuple[int, int | None]:
        saved = self._count, self._owner
        self._count, self._owner = 0, None
        self._lock.release()
        return saved

    def _acquire_restore(self, saved: tuple[int, int | None]) -> None:
        self._lock.acquire()
        self._count, self._owner = saved

    def _is_owned(self) -> bool:
        return self._owner == threading.get_ident()

    def _at_fork_reinit(self) -> None:
        self._owner, self._count = None, 0


class SimSimpleQueue:
    """`queue.SimpleQueue`."""

    def __class_getitem__(cls, item: object) -> GenericAlias:
        return GenericAlias(cls, item)

    def __init__(self) -> None:
        self._real: Final[queue.SimpleQueue[Any]] = _REAL_QUEUE()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ANN401, FBT001, FBT002  as queue has it
        """See `queue.SimpleQueue.put`."""
        self._real.put(item, block, timeout)
        threads = here()
        if threads is not None:
            threads.preempt()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401, FBT001, FBT002  as queue has it
        """See `queue.SimpleQueue.get`; `timeout` in virtual seconds.

        Raises:
            queue.Empty: nothing came.
        """
        threads = here()
        if threads is None:
            return self._real.get(block, timeout)
        if block:
            threads.block(lambda: not self._real.empty(), timeout, "a queue")
        return self._real.get_nowait()

    def put_nowait(self, item: Any) -> None:  # noqa: ANN401  as queue has it
        """See `queue.SimpleQueue.put_nowait`."""
        self.put(item)

    def get_nowait(self) -> Any:  # noqa: ANN401  as queue has it
        """See `queue.SimpleQueue.get_nowait`; raises queue.Empty."""
        return self.get(block=False)

    def empty(self) -> bool:
        """See `queue.SimpleQueue.empty`."""
        return self._real.empty()

    def qsize(self) -> int:
        """See `queue.SimpleQueue.qsize`."""
        return self._real.qsize()


_REAL_QUEUE: Final[type[queue.SimpleQueue[Any]]] = queue.SimpleQueue
#: Where a `threading.Thread` keeps the thread of the run that it is.
THREAD: Final = "_interlock_sim_thread"


def _sim_thread(thread: threading.Thread) -> SimThread | None:
    return cast("SimThread | None", vars(thread).get(THREAD))


def _stopped(thread: threading.Thread) -> None:
    """Whoever has it, after the run too, is told that it has ended."""

    def join(timeout: float | None = None) -> None:
        del timeout  # It has ended by then.

    vars(thread).update(is_alive=lambda: False, join=join)


def _thread_patches(threads: Threads, otherwise: Callable[[], Process]) -> list[_Patch]:
    real_start, real_join = threading.Thread.start, threading.Thread.join
    real_is_alive = threading.Thread.is_alive
    active: dict[int, threading.Thread] = vars(threading)["_active"]

    def start(self: threading.Thread) -> None:
        if here() is None:
            real_start(self)
            return

        def main() -> None:
            active[threading.get_ident()] = self
            try:
                self.run()
            except Exception as error:  # noqa: BLE001  as threading does
                told = (type(error), error, error.__traceback__, self)
                threading.excepthook(threading.ExceptHookArgs(told))
            finally:
                active.pop(threading.get_ident(), None)
                _stopped(self)

        def made(thread: SimThread) -> None:
            own = vars(self)
            own[THREAD], own["_ident"] = thread, thread.number

        vars(vars(self)["_started"])["_flag"] = True
        threads.start(main, self.name, otherwise, made)

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        mine = _sim_thread(self)
        if mine is None:
            real_join(self, timeout)
        elif here() is not None:
            threads.block(lambda: mine.done, timeout, f"the end of thread {mine.name!r}")

    def is_alive(self: threading.Thread) -> bool:
        mine = _sim_thread(self)
        return real_is_alive(self) if mine is None else not mine.done

    return [
        (threading.Thread, "start", start),
        (threading.Thread, "join", join),
        (threading.Thread, "is_alive", is_alive),
    ]


def _time_patches(threads: Threads, wall: Callable[[], float]) -> list[_Patch]:
    def virtual(name: str, now: Callable[[], float]) -> list[_Patch]:
        real: Callable[[], float] = getattr(time, name)
        real_ns: Callable[[], int] = getattr(time, name + "_ns")

        def seconds() -> float:
            return real() if here() is None else now()

        def nanoseconds() -> int:
            return real_ns() if here() is None else round(now() * 1e6) * 1000

        return [(time, name, seconds), (time, name + "_ns", nanoseconds)]

    real_sleep = time.sleep

    def sleep(seconds: float) -> None:
        if here() is None:
            real_sleep(seconds)
        else:
            threads.block(lambda: False, seconds, f"{seconds} s to pass")

    monotonic = virtual("monotonic", threads.time)
    taken = monotonic[0][2]
    return [
        *virtual("time", wall),
        *monotonic,
        *virtual("perf_counter", threads.time),
        (time, "sleep", sleep),
        (threading, "_time", taken),
        (queue, "time", taken),
    ]


def _unlike_patches(seed: int) -> list[_Patch]:
    """Random bytes, and names that are counted."""
    drawn = random.Random(seed)  # noqa: S311  nothing in a run is a secret
    real = os.urandom

    def urandom(size: int) -> bytes:
        return real(size) if here() is None else drawn.randbytes(size)

    counted = [
        (holder, name, itertools.count(1).__next__)
        for holder, name in (
            (threading, "_counter"),
            (concurrent.futures.thread.ThreadPoolExecutor, "_counter"),
        )
        if hasattr(holder, name)
    ]
    return [(os, "urandom", urandom), (random, "_urandom", urandom), *counted]


def _lock_patches() -> list[_Patch]:
    real_rlock = threading.RLock

    def lock() -> Any:  # noqa: ANN401  the one or the other
        return REAL_LOCK() if here() is None else SimLock()

    def rlock() -> Any:  # noqa: ANN401  the one or the other
        return real_rlock() if here() is None else SimRLock()

    return [
        (threading, "Lock", lock),
        (threading, "_allocate_lock", lock),
        (threading, "RLock", rlock),
        (queue, "SimpleQueue", SimSimpleQueue),
    ]


@contextmanager
def replaced(
    threads: Threads,
    *,
    seed: int,
    wall: Callable[[], float],
    otherwise: Callable[[], Process],
) -> Generator[None]:
    """While this lasts everything that threads share, and time, are those of the run.

    `wall` is the time in seconds since 1970; `otherwise` is whose a thread is that the driver
    starts.

    Raises:
        RuntimeError: another run lasts.
    """
    patches = [
        *_lock_patches(),
        *_thread_patches(threads, otherwise),
        *_time_patches(threads, wall),
        *_unlike_patches(seed),
    ]
    saved = [(holder, name, getattr(holder, name)) for holder, name, _ in patches]
    state = random.getstate()
    enter(threads)
    try:
        for holder, name, value in patches:
            setattr(holder, name, value)
        random.seed(seed)
        yield
    finally:
        for holder, name, value in saved:
            setattr(holder, name, value)
        random.setstate(state)
        enter(None)
        _forget_pools()


def _forget_pools() -> None:
    """Nobody waits for the pools of a run when the interpreter ends."""
    pools: dict[threading.Thread, object] = vars(concurrent.futures.thread)["_threads_queues"]
    for thread in list(pools):
        if _sim_thread(thread) is not None:
            del pools[thread]
