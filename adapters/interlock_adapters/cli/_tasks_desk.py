"""What the commands about tasks do, wherever the tasks are: behind a server, or in a file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

#: A task, an event or a page as the management API has it.
Json: TypeAlias = dict[str, Any]
#: Told how much is done, and of how much; 0 where nobody knows.
Tell: TypeAlias = Callable[[str, int, int], None]


class DeskError(Exception):
    """It cannot be done; says why in one line."""


@dataclass(frozen=True)
class Wanted:
    """Which tasks, newest change first."""

    phases: Sequence[str]
    search: str | None
    limit: int


class Desk(Protocol):
    """Does it.  Every method raises DeskError."""

    #: When a change that was accepted has its effect.
    when: str

    def tasks(self, wanted: Wanted) -> Json:
        """Tasks, and how many there are in all."""
        ...

    def task(self, task_id: str) -> Json:
        """One task with its journal."""
        ...

    def events(self, task_id: str) -> list[Json]:
        """Its log."""
        ...

    def act(self, task_id: str, action: str, body: Json) -> Json:
        """Answer, approve, deny, decline, cancel or resume; the task after it."""
        ...

    def forget(self, task_id: str) -> None:
        """Forget a finalized task."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""

    def purge(self, older_than_s: float, tell: Tell) -> int:
        """Forget finalized tasks that old; how many they were."""
        ...
