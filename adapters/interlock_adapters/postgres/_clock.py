"""The time of the database server, and its hints about what moved."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg
from psycopg import sql

from interlock import Alarm
from interlock.errors import StoreError
from interlock_adapters.postgres._pool import Connection, Pool, cancels

_log: Final = logging.getLogger("interlock.postgres")

#: Seconds between two looks at the server's clock.
MEASURE_S: Final = 10.0
#: An answer that took longer says too little, unless there is none better.
_ROUND_TRIP_S: Final = 0.05
#: Of the text of one notification; PostgreSQL takes 7,999.
_HINT_BYTES_MAX: Final = 7_500
#: Seconds without a word after which the listener asks whether the server is still there.
_LISTEN_S: Final = 5.0
_RECONNECT_S: Final = 0.5
#: Where procrastinate tells of new jobs in the queue of our turns.
QUEUE_CHANNEL: Final = "procrastinate_queue_v1#interlock"


class ServerClock:
    """The wall clock of the server: this machine's steady clock, and how far that is away.

    It is exact to half the time that an answer takes, and between two measurements it goes as
    evenly as this machine's clock does.
    """

    def __init__(self) -> None:
        # Until it is measured, and if it never can be, this machine's own.
        self._offset_s = time.time() - time.monotonic()
        self._error_s = float("inf")
        self._measured_at = float("-inf")

    def now(self) -> float:
        """Seconds since 1970."""
        return time.monotonic() + self._offset_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        """Arm a timer on the running loop."""
        return asyncio.get_running_loop().call_later(delay_s, callback)

    async def measure(self, pool: Pool) -> None:
        """Ask the server for the time.

        Raises:
            StoreError: it does not say.
        """

        async def look(db: Connection) -> None:
            before = time.monotonic()
            cursor = await db.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            after = time.monotonic()
            row = await cursor.fetchone()
            assert row is not None
            self.learn(float(row[0]), before, after)

        await pool.once(look, "its clock cannot be read")

    def learn(self, server: float, before: float, after: float) -> None:
        """The server's time, read at a moment between these two of the steady clock."""
        error_s = (after - before) / 2
        is_old = after - self._measured_at > 6 * MEASURE_S
        if error_s <= max(_ROUND_TRIP_S, self._error_s) or is_old:
            self._offset_s = server - (before + after) / 2
            self._error_s, self._measured_at = error_s, after

    async def keep(self, pool: Pool) -> None:
        """Measure again every so often, until cancelled."""
        while not was_cancelled():
            await asyncio.sleep(MEASURE_S)
            try:
                await self.measure(pool)
            except StoreError as error:
                _log.debug("%s", error)


def was_cancelled() -> bool:
    """Whether somebody has cancelled this task, and it goes on nevertheless.

    Before Python 3.12 `asyncio.wait_for`, by which psycopg waits, loses a cancel that comes
    just as what it waits for is there.
    """
    return cancels() > 0


class Hints:
    """Tells the other processes which tasks moved, and hears it from them.

    What is told is gathered and sent apart from the commits: a commit that notifies waits for
    all others that do.  A hint may get lost; nobody relies on one.
    """

    def __init__(self, pool: Pool, sender: str) -> None:
        """`sender` marks our own, which tell us nothing new."""
        self._pool: Final = pool
        self._sender: Final = sender
        self._channel: Final = f"interlock_{pool.place.schema}"
        self._moved: Final[dict[str, None]] = {}
        self._stirred: Final = asyncio.Event()
        #: Called on the event loop with the id of a task.
        self.hint: Callable[[str], None] | None = None
        #: Called when procrastinate's queue says that there is a new job.
        self.stir: Callable[[], None] | None = None
        #: Set while somebody hears what others tell.
        self.is_listening: Final = asyncio.Event()

    def tell(self, task_id: str) -> None:
        """Let the others know, soon."""
        self._moved[task_id] = None
        self._stirred.set()

    async def send(self) -> None:
        """Send what is told, until cancelled."""
        while not was_cancelled():
            await self._stirred.wait()
            self._stirred.clear()
            texts = list(_texts(self._sender, list(self._moved)))
            self._moved.clear()

            async def notify(db: Connection, texts: list[str] = texts) -> None:
                await db.execute(
                    "SELECT pg_notify(%s, said) FROM unnest(%s::text[]) AS said",
                    (self._channel, texts),
                )

            try:
                await self._pool.once(notify, "a hint cannot be sent")
            except StoreError as error:
                _log.debug("%s", error)

    async def listen(self) -> None:
        """Hear what others tell, until cancelled; a connection that breaks is made again."""
        while not was_cancelled():
            with contextlib.suppress(StoreError):
                db = await self._pool.connect()
                try:
                    await self._hear(db)
                except (psycopg.Error, OSError, TimeoutError) as error:
                    _log.debug(
                        "hints are not heard: %s", self._pool.place.error(error, "listening")
                    )
                finally:
                    self.is_listening.clear()
                    await db.close()
            await asyncio.sleep(_RECONNECT_S)

    async def _hear(self, db: Connection) -> None:
        for channel in (self._channel, QUEUE_CHANNEL):
            await db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        self.is_listening.set()
        while not was_cancelled():
            async for notice in db.notifies(timeout=_LISTEN_S):
                if notice.channel == self._channel:
                    self._heard(notice.payload)
                elif self.stir is not None:
                    self.stir()
            async with asyncio.timeout(_LISTEN_S):
                await db.execute("SELECT 1")

    def _heard(self, said: str) -> None:
        try:
            sender, *task_ids = json.loads(said)
        except (ValueError, TypeError, RecursionError):
            return  # Anybody may notify anything.
        for task_id in task_ids:
            if sender != self._sender and self.hint is not None and isinstance(task_id, str):
                try:
                    self.hint(task_id)
                except Exception:  # noqa: BLE001  foreign code; the listener goes on
                    _log.exception("whoever is told of task %r failed", task_id)


def _texts(sender: str, task_ids: list[str]) -> Iterator[str]:
    """The notifications that name all of them."""
    names: list[Any] = [sender]
    size = 0
    for task_id in task_ids:
        cost = len(json.dumps(task_id)) + 2
        if cost > _HINT_BYTES_MAX:
            continue  # Nobody relies on a hint.
        if size + cost > _HINT_BYTES_MAX:
            yield json.dumps(names)
            names, size = [sender], 0
        names.append(task_id)
        size += cost
    yield json.dumps(names)
