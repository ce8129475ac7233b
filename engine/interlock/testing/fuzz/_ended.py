"""A process dies on a real event loop: what it runs is ended, or left if it will not end."""

import asyncio
import weakref
from contextlib import suppress
from typing import Any, Final

#: How often a task is cancelled before it is left.
_TIMES: Final = 10
#: Seconds of real time that all of them have to end, each time.
_WITHIN_S: Final = 0.05

#: Those that would not end.
_LEFT: Final["weakref.WeakSet[asyncio.Task[Any]]"] = weakref.WeakSet()


def end_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel every task of a loop that does not run, until they have ended; leave the others."""
    for _ in range(_TIMES):
        tasks = [task for task in asyncio.all_tasks(loop) if task not in _LEFT]
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=_WITHIN_S))
    for task in asyncio.all_tasks(loop):
        _LEFT.add(task)
        left: Any = task
        left._log_destroy_pending = False  # noqa: SLF001  nobody is to hear of it
        coroutine: Any = task.get_coro()
        with suppress(BaseException):
            coroutine.close()
