"""Who waits for a task that cannot be reached in any other way.

A caller who waits has no handle.  When the last of those leaves who wait for a task that one
of them made, nobody comes back for it: it is given up.  Once a handle or a state of it is out,
somebody may come back with that, and leaving means nothing.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from interlock.errors import NotAccepting


@dataclass(slots=True)
class _Crowd:
    callers: int = 0
    #: One of them made the task, and nobody else was told of it.
    alone: bool = False


class Callers:
    """The calls of this process that wait, by task."""

    def __init__(self) -> None:
        self._crowds: Final[dict[str, _Crowd]] = {}

    @contextmanager
    def waiting(self, task_id: str, *, made: bool, give_up: Callable[[], None]) -> Generator[None]:
        """Wait for a task, which this call has just made, or not.

        Whatever is raised ends the wait: `give_up` is called where nobody is left.
        """
        crowd = self._crowds.setdefault(task_id, _Crowd())
        crowd.callers += 1
        crowd.alone = crowd.alone or made
        gone = True
        try:
            yield
            gone = False
        except NotAccepting:
            gone = False  # It is we who go, and the task goes on when we are back.
            raise
        finally:
            crowd.callers -= 1
            if not crowd.callers:
                del self._crowds[task_id]
                if gone and crowd.alone:
                    give_up()

    def told(self, task_id: str) -> None:
        """A handle of the task is out, or a state to come back with."""
        if task_id in self._crowds:
            self._crowds[task_id].alone = False

    def abandoned(self, task_id: str) -> bool:
        """Whoever made the task has gone before they waited: whether nobody else waits for it."""
        if task_id in self._crowds:
            self._crowds[task_id].alone = True
            return False
        return True
