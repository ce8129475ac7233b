"""Connections that wait for their next request."""

import time
from typing import Final, Generic, TypeVar

C = TypeVar("C")

#: uvicorn closes a connection that was idle for 5 seconds.
KEPT_S: Final = 3.0


class Idle(Generic[C]):
    """The one that was used last comes first; one that waited too long is not used again."""

    def __init__(self) -> None:
        self._kept: Final[list[tuple[float, C]]] = []

    def get(self) -> C | None:
        """One of them, if there is a fresh one."""
        while self._kept:
            since, connection = self._kept.pop()
            if time.monotonic() - since < KEPT_S:
                return connection
        return None

    def put(self, connection: C) -> None:
        """For the next request."""
        self._kept.append((time.monotonic(), connection))
