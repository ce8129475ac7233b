"""What the event loop of a simulated run is made of: numbered tasks, handles, and their ends."""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager, suppress
from types import CellType, CodeType, CoroutineType
from typing import Any

from interlock.testing.fuzz._sim_schedule import DRIVER, PROCESS, Process


class SimFuture(asyncio.Future[Any]):
    """One with a number: sets of them are in the same order in every run."""

    number: int = 0

    def __hash__(self) -> int:
        return self.number


class SimTask(asyncio.Task[Any]):
    """One with a number, and a process that it ends with."""

    number: int = 0
    process: Process = DRIVER
    #: Whether it has begun.
    begun: bool = False
    #: asyncio's own.
    _log_destroy_pending: bool

    def __hash__(self) -> int:
        return self.number

    def leave(self) -> None:
        """It is left as it stands at the end of the run, which is no fault."""
        self._log_destroy_pending = False
        # What its coroutine makes of that is heard no more.
        with suppress(BaseException):
            coroutine = self.get_coro()
            assert coroutine is not None
            coroutine.close()


class SimHandle(asyncio.Handle):
    """A callback, and whose it is."""

    __slots__ = ("late", "process", "task")

    #: asyncio's own.
    _callback: Callable[..., object]

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
    ) -> None:
        super().__init__(callback, args, loop, context)
        self.process = context.get(PROCESS, DRIVER)
        #: The number of the task that it belongs to, and whether it may come late.
        self.task, self.late = 0, False
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, SimTask):
            self.task, self.late = owner.number, owner.begun
            owner.begun = True

    def go(self) -> None:
        """Call back."""
        self._run()

    def drop(self) -> None:
        """It is never called: what it was to begin is closed."""
        if not self.cancelled():
            dropped(self._callback, self._args)


class SimTimer(asyncio.TimerHandle):
    """A callback for later, and whose it is."""

    __slots__ = ("beats", "late", "process", "task")

    #: asyncio's own.
    _callback: Callable[..., object]

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.process = context.get(PROCESS, DRIVER)
        self.task, self.late = 0, False
        #: Whether nothing is due then, and the engine only looks whether something is.
        self.beats = False

    def go(self) -> None:
        """Call back."""
        self._run()

    def drop(self) -> None:
        """It is never called: what it was to begin is closed."""
        if not self.cancelled():
            dropped(self._callback, self._args)


@contextmanager
def quiet() -> Generator[None]:
    """Whatever is unwound may complain, and nobody is to hear it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def dropped(callback: Callable[..., object], args: Sequence[object]) -> None:
    """Close the coroutines that it was to begin: nobody is told that they were not awaited."""
    owner = getattr(callback, "__self__", None)
    cells: Sequence[CellType] = getattr(callback, "__closure__", None) or ()
    held = getattr(owner, "__dict__", {}).values()
    with suppress(BaseException):
        for each in (*args, *held, *(cell.cell_contents for cell in cells)):
            if isinstance(each, CoroutineType):
                each.close()


def born(
    coro: Coroutine[Any, Any, Any],
    loop: asyncio.AbstractEventLoop,
    name: str,
    context: contextvars.Context,
    number: int,
) -> SimTask:
    """A task that has its number before anything keeps it in a set."""
    task = SimTask.__new__(SimTask)
    task.number = number
    SimTask.__init__(task, coro, loop=loop, name=name, context=context)
    return task


def place(task: SimTask) -> str:
    """Where its innermost coroutine stands."""
    at: Any = task.get_coro()
    while True:
        inner = getattr(at, "cr_await", None) or getattr(at, "ag_await", None)
        if not hasattr(inner, "cr_frame") and not hasattr(inner, "ag_frame"):
            break
        at = inner
    frame = getattr(at, "cr_frame", None) or getattr(at, "ag_frame", None)
    if frame is None:
        return "somewhere"
    code: CodeType = frame.f_code
    file = code.co_filename.rpartition("/")[2]
    return f"in {code.co_qualname} ({file}:{frame.f_lineno})"
