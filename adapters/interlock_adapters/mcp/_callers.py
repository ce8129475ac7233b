"""Who waits for a task that cannot be reached in any other way.

A caller who waits has no handle.  When the last of those leaves who wait for a task that one
of them made, nobody comes back for it: it is given up.  Once a handle or a state of it is out,
somebody may come back with that, and leaving means nothing.

Repeats of a call are known by its token, and count from before they are written down: a client
that tries again must not find its task cancelled because the first try was hung up.
"""

from dataclasses import dataclass, field
from typing import Final


@dataclass(slots=True, eq=False)
class Crowd:
    """The calls that wait for one task, or are on their way to it."""

    calls: int = 0
    #: One of them made the task.
    made: bool = False
    #: Somebody outside can come back to it.
    told: bool = False


class Callers:
    """The crowds of this process that repeats can join, by owner and token."""

    def __init__(self) -> None:
        self._crowds: Final[dict[tuple[str, str], Crowd]] = {}

    def seat(self, owner: str, token: str | None) -> "Seat":
        """A place for one more call; it is there until it leaves."""
        key = None if token is None else (owner, token)
        crowd = Crowd() if key is None else self._crowds.setdefault(key, Crowd())
        crowd.calls += 1
        return Seat(self, crowd, key)

    def crowd(self, key: tuple[str, str] | None) -> Crowd | None:
        """Who is there now by that token."""
        return None if key is None else self._crowds.get(key)

    def emptied(self, key: tuple[str, str] | None) -> None:
        """The last of a crowd has left."""
        if key is not None:
            self._crowds.pop(key, None)


@dataclass(slots=True, eq=False)
class Seat:
    """One call in its crowd."""

    callers: Callers
    crowd: Crowd
    #: By which a repeat finds the crowd; None where there can be none.
    key: tuple[str, str] | None
    _left: bool = field(default=False)

    def made(self) -> None:
        """The call has made the task."""
        self.crowd.made = True

    def told(self) -> None:
        """A handle of the task is out, or a state to come back with."""
        self.crowd.told = True

    def leave(self) -> bool:
        """Wait no longer; whether nobody is left now who could come back to the task."""
        if self._left:
            return False
        self._left = True
        self.crowd.calls -= 1
        if self.crowd.calls:
            return False
        self.callers.emptied(self.key)
        return self.crowd.made and not self.crowd.told
