"""What does not come back to a run: it is seen by the real time that passes, and named.

A function that goes round in circles, or waits for something real, holds up the whole run, and
nothing of the simulation can go on to see that.
"""

import _thread
import ctypes
import linecache
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Protocol

from interlock.testing.fuzz._own import is_own
from interlock.testing.fuzz._sim_schedule import Schedule, StepLimit

#: Seconds of real time after which one step of a run is taken for stuck.
STUCK_S: Final = 10.0
#: How often it is looked in that time.
_LOOKS: Final = 4
#: Where somebody looks into it who takes his time.
_DEBUGGERS: Final = frozenset({"bdb", "pdb"})


class Stuck(StepLimit):
    """A step of the run does not come to its end."""


class Unstick(KeyboardInterrupt):
    """Raised where a run is stuck; whoever catches it is stopped at his next step."""


def stack(ident: int) -> list[FrameType]:
    """Where a thread stands, the innermost frame first."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001  there is no other way
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def is_debugged(ident: int) -> bool:
    """Whether a thread stands in a debugger."""
    return any(frame.f_globals.get("__name__") in _DEBUGGERS for frame in stack(ident))


def where(ident: int) -> str:
    """The line of somebody's own at which a thread stands, in words."""
    frames = stack(ident)
    if not frames:
        return "nowhere"
    frame = next((f for f in frames if is_own(f.f_code.co_filename)), frames[0])
    file, line = frame.f_code.co_filename, frame.f_lineno
    said = linecache.getline(file, line).strip()
    place = f"{file.rpartition('/')[2]}:{line} in {frame.f_code.co_qualname}"
    return f"at {place}: `{said}`" if said else f"at {place}"


def stuck_at(ident: int, name: str | None) -> Stuck:
    """What is said of a thread of that name; None: that of the event loop."""
    who = "the event loop" if name is None else f"thread {name!r}"
    return Stuck(
        f"{who} has not come back for {STUCK_S:g} s of real time: it goes round in circles, or "
        f"waits for something real, {where(ident)}"
    )


def throw(ident: int, error: type[BaseException]) -> None:
    """Raise it in another thread, as soon as that runs a line of Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))


class _Thread(Protocol):
    """One of a run."""

    ident: int

    @property
    def name(self) -> str: ...


class Watch:
    """Looks at the thread of the event loop from beside, and interrupts it where it is stuck.

    An interrupt by the user is kept, too: agents catch much.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule: Final = schedule
        #: Who has the baton; None: the event loop's own thread.
        self.at: _Thread | None = None
        #: The run is over, and threads are given their time to end.
        self.off = False
        self._ident = 0
        self._is_main = False
        self._fired = False
        self._before: Any = None
        self._guard: Final = _thread.allocate_lock()

    @contextmanager
    def watching(self) -> Generator[None]:
        """While this lasts."""
        over = _thread.allocate_lock()
        over.acquire()
        self._ident = _thread.get_ident()
        self._is_main = self._ident == threading.main_thread().ident
        if self._is_main:
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        _thread.start_new_thread(self._watch, (over,))
        try:
            yield
        finally:
            with self._guard:  # From here on it is not interrupted any more.
                over.release()
            if self._is_main:
                signal.signal(signal.SIGINT, self._before)

    def _watch(self, over: _thread.LockType) -> None:
        # Threads that take turns between their lines go on, and nothing comes of it: that counts.
        seen, looks = self._schedule.progress, 0
        while not over.acquire(timeout=STUCK_S / _LOOKS):
            progress = self._schedule.progress
            looks = looks + 1 if progress == seen else 0
            seen = progress
            at = self.at
            ident = self._ident if at is None else at.ident
            if looks < _LOOKS or is_debugged(ident):
                continue
            with self._guard:
                if over.acquire(blocking=False):
                    return
                if not self.off:
                    self._fire(stuck_at(ident, None if at is None else at.name))
            looks = 0

    def _fire(self, stuck: Stuck) -> None:
        self._schedule.stop = stuck
        if self._is_main and hasattr(signal, "pthread_kill"):
            self._fired = True
            signal.pthread_kill(self._ident, signal.SIGINT)  # Also where it waits outside Python.
        else:
            throw(self._ident, Unstick)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._fired:
            self._fired = False
            raise Unstick
        if callable(self._before):
            try:
                self._before(number, frame)
            except KeyboardInterrupt as interrupt:
                self._schedule.stop = interrupt
                raise
