"""Where a server process kills itself, or lets its disk misbehave: a test's, never a user's.

A point has a name; `passed` counts the passages, and at the one that was planned the
process is gone, by SIGKILL, as if by the kernel.
"""

import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple

from interlock import _sqlite_schema
from interlock._journal import Journal

#: Around the write and the sync of a commit, in the order in which they come.  `syncing` is
#: inside of COMMIT, which writes and then waits for the disk: a thread kills in the middle.
COMMIT_POINTS: Final = (
    "begin",
    "write",
    "before_commit",
    "syncing",
    "after_commit",
    "acknowledged",
    "checkpoint",
    "after_checkpoint",
)
#: Around what a client is told, and around what is done outside.
OTHER_POINTS: Final = ("before_answer", "after_answer", "before_effect", "after_effect")
POINTS: Final = COMMIT_POINTS + OTHER_POINTS


class Plan(NamedTuple):
    """What is to go wrong in one life of a server."""

    point: str = ""
    #: At which passage; 0 is never.
    nth: int = 0
    #: From the beginning of COMMIT to the kill at `syncing`, in microseconds.
    after_us: int = 0
    #: What the disk does from its 20th transaction to its 40th: "", "slow", "full", "readonly".
    disk: str = ""


_counts: Final[Counter[str]] = Counter()
_plan = Plan()


def follow(plan: Plan) -> None:
    """Let go wrong what is planned, from now on, in this process."""
    global _plan  # noqa: PLW0603  one process, one plan
    _plan = plan
    connect: Any = sqlite3.connect

    def connected(database: object, **options: object) -> object:
        # A reader's is a URI.
        factory = sqlite3.Connection if str(database).startswith("file:") else _Connection
        return connect(database, factory=factory, **options)

    acknowledge = _sqlite_schema.FileLock.acknowledge

    def acknowledged(lock: _sqlite_schema.FileLock, events: int) -> None:
        acknowledge(lock, events)
        passed("acknowledged")

    # In this process only: there is no such door in the engine.
    setattr(sqlite3, "connect", connected)  # noqa: B010
    setattr(_sqlite_schema.FileLock, "acknowledge", acknowledged)  # noqa: B010


def passed(point: str) -> None:
    """Count the passage; the last thing that happens, if it is the one that was planned."""
    if _is_now(point):
        die()


def die() -> None:
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def _is_now(point: str) -> bool:
    _counts[point] += 1
    return point == _plan.point and _counts[point] == _plan.nth


class _Connection(sqlite3.Connection):
    """The connection that writes, with its points."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.startswith("BEGIN"):
            passed("begin")
            self._misbehave()
        elif sql == "COMMIT":
            return self._commit()
        elif "wal_checkpoint" in sql:
            passed("checkpoint")
            cursor = super().execute(sql, parameters)
            passed("after_checkpoint")
            return cursor
        cursor = super().execute(sql, parameters)
        if sql.startswith("INSERT"):
            passed("write")
        return cursor

    def _commit(self) -> sqlite3.Cursor:
        passed("before_commit")
        if _plan.disk == "slow":
            time.sleep(0.1)
        if _is_now("syncing"):
            threading.Thread(target=_die_later, args=(_plan.after_us,), daemon=True).start()
        cursor = super().execute("COMMIT")
        passed("after_commit")
        return cursor

    def _misbehave(self) -> None:
        number = _counts["begin"]
        if _plan.disk == "full" and number in (20, 40):
            (pages,) = super().execute("PRAGMA page_count").fetchone()
            bound = pages if number == 20 else 2**30
            super().execute(f"PRAGMA max_page_count = {bound}").fetchone()
        if _plan.disk == "readonly" and number in (20, 40):
            super().execute(f"PRAGMA query_only = {number == 20:d}")


def _die_later(after_us: int) -> None:
    end = time.perf_counter_ns() + after_us * 1_000
    while time.perf_counter_ns() < end:
        time.sleep(0)
    die()


def forget_doubts() -> None:
    """A planted bug: a call that is in doubt is simply made again."""

    async def nothing(*_: object) -> None:
        return None

    setattr(Journal, "_in_doubt", nothing)  # noqa: B010


Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class AnswerPoints:
    """ASGI middleware: the points around what a client is told."""

    def __init__(self, app: Callable[[Any, Any, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Serve, counting what is sent."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                passed("before_answer")
            await send(message)
            if message["type"] == "http.response.body":
                passed("after_answer")

        await self._app(scope, receive, sending)
