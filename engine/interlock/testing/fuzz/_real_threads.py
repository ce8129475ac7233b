"""Real threads of an engine: whether one is doing something, or each waits for the event loop.

For what drives an engine on a real loop, without the simulation's threads.  A thread of an agent
or a tool is at rest where it waits for the loop, and nothing is on its way to it.  To look at
threads between two steps of theirs would make a run another one each time.
"""

import asyncio
import concurrent.futures
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any, Final

from interlock import _thread
from interlock._thread import Workers
from interlock._threaded import Crossing

#: How the names of the engine's threads begin (`_threaded`, `_journal`, `_turn`).
_NAMES: Final = ("turn ", "call ", "tools of ")
#: Rounds of the event loop in which what one signal leads to has happened.
_ROUNDS: Final = 60
#: Looks at threads that are busy, and seconds of real time between two: a second in all.
_LOOKS_MAX: Final = 1_000
_LOOK_S: Final = 0.001
#: Looks at those that were not at rest after that once.
_LEFT_LOOKS: Final = 10


class RealThreads:
    """The threads that engines begin on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count what threads tell the loop from now on."""
        self._told = 0
        self._before: Final = weakref.WeakSet(threading.enumerate())
        #: Those that were busy for too long: a run does not wait for them again.
        self._left: Final[weakref.WeakSet[threading.Thread]] = weakref.WeakSet()
        tell = loop.call_soon_threadsafe

        def counted(*args: Any, **options: Any) -> asyncio.Handle:  # noqa: ANN401  the loop's own
            self._told += 1
            return tell(*args, **options)

        vars(loop)["call_soon_threadsafe"] = counted

    def leave(self) -> None:
        """A process died: its threads are nobody's any more."""
        self._left.update(self._own())

    async def settle(self, workers: Callable[[], Iterable[Workers]]) -> None:
        """Let all happen that happens without time going on, on the loop and on threads.

        A thread that sleeps, or waits for something else than the loop, is waited for a second.
        `workers` says those of the turns that live: one may begin meanwhile.
        """
        for look in range(_LOOKS_MAX):
            told = self._told
            for _ in range(_ROUNDS):
                await asyncio.sleep(0)
            busy = self._busy(workers)
            if not busy and told == self._told:
                return
            if look > _LEFT_LOOKS and busy <= set(self._left):
                return
            if busy:
                await asyncio.sleep(_LOOK_S)
        self._left.update(self._busy(workers))

    def _own(self) -> set[threading.Thread]:
        every = (t for t in threading.enumerate() if t not in self._before)
        return {thread for thread in every if thread.name.startswith(_NAMES)}

    def _busy(self, workers: Callable[[], Iterable[Workers]]) -> set[threading.Thread]:
        own = self._own()
        if not own:
            return own
        idle = [jobs for each in workers() for jobs in each._idle]  # noqa: SLF001  the kit looks inside
        frames = sys._current_frames()  # noqa: SLF001  there is no public way
        return {t for t in own if not _is_at_rest(frames.get(t.ident or 0), idle)}


_CROSSING: Final[Any] = Crossing
_FUTURE: Final[Any] = concurrent.futures.Future
#: Where a thread waits for the event loop, and where a tool's waits for its next call.
_CROSSES: Final[CodeType] = _CROSSING.end.__code__
_AWAITS: Final[CodeType] = _FUTURE.result.__code__
_SERVES: Final[CodeType] = _thread._serve.__code__  # noqa: SLF001  the kit looks inside


def _is_at_rest(frame: FrameType | None, idle: Iterable[object]) -> bool:
    """Whether a thread waits for the loop, and what it waits for is not there yet."""
    is_innermost = True
    while frame is not None:
        code, names = frame.f_code, frame.f_locals
        if code is _CROSSES:
            task = names["self"]._task  # noqa: SLF001  as above
            return task is not None and not task.done()
        if code is _AWAITS:
            return not names["self"].done()
        if code is _SERVES:
            return is_innermost and any(names["jobs"] is jobs for jobs in idle)
        is_innermost = False
        frame = frame.f_back
    return False
