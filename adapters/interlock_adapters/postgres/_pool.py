"""Connections to a PostgreSQL server: made on demand, used again, thrown away when they break.

A pool of our own, because what matters here is what happens while the server is away: a
connection is tried for at once when somebody wants one, however often that failed before,
and every wait has an end.  What is said of a failure never holds the password of the URL.
"""

import asyncio
import contextlib
import logging
import re
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from interlock.errors import InvalidInput, StoreCorrupt, StoreError, Unstorable

T = TypeVar("T")
Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

_log: Final = logging.getLogger("interlock.postgres")

#: Seconds after which the server gives up a statement, and after which we give up the server.
STATEMENT_S: Final = 12.0
ANSWER_S: Final = 15.0
#: Seconds to make a connection to one address in, unless the URL says otherwise.
CONNECT_S: Final = 5
#: Addresses that the name of a host may stand for.
_ADDRESSES: Final = 2
#: Seconds between two tries while the server is away: the first and the longest.
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}", re.ASCII)
#: One port, or one for each of several hosts.
_PORTS: Final = re.compile(r"[0-9]*(,[0-9]*)*", re.ASCII)
#: So that a server which is gone without a word is missed: see libpq.
_KEEPALIVE: Final = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
#: Failures after which the same may simply be tried again: class 40 is deadlocks and the like,
#: 55P03 a lock that could not be had in time, 57014 a statement that took too long.
_AGAIN: Final = ("40", "55P03", "57014")
#: The server, or the way to it, is not there: shutting down, starting, recovering, overloaded,
#: read only since another one was promoted.
_AWAY: Final = ("08", "57P", "53", "25006")
#: Those of them after which a connection made before will not do any more: to read only is how a
#: server stays that another one has taken the place of.
_OVER: Final = ("57P", "25006")
#: What was to be written is larger than can be: an index entry, a row, a value.
_TOO_LARGE: Final = ("54", "22P05", "22021")


class Unreachable(StoreError):
    """The server did not answer; what was asked of it may have been done or not."""


class Raised(StoreError):
    """A function in the database refused (`RAISE` without a code of its own)."""


@dataclass(frozen=True, slots=True)
class Place:
    """A database, and the schema in it."""

    #: As libpq wants it, with the password.
    conninfo: str = field(repr=False)
    schema: str
    #: For people: without user, password or options.
    shown: str
    password: str = field(repr=False)
    #: Seconds to make a connection in, with all the hosts that may have to be tried for it.
    connect_s: float = CONNECT_S

    @classmethod
    def of(cls, url: str, schema: str) -> "Place":
        """Take a URL (or a connection string) of libpq apart.

        Raises:
            InvalidInput: it is none; what it says is not repeated, it may hold a password.
        """
        if not _SCHEMA.fullmatch(schema):
            raise InvalidInput([f"{schema!r} is no name of a schema: a-z, 0-9 and _, 40 at most"])
        try:
            given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value}
        except psycopg.Error:
            raise InvalidInput(["the URL of the store is none that PostgreSQL knows"]) from None
        if not _PORTS.fullmatch(given.get("port", "")):
            # libpq would quote it, and it may be the beginning of a password with a slash in it.
            raise InvalidInput(["the URL of the store has a port that is no number"])
        settings = {
            "search_path": schema,
            "statement_timeout": str(int(STATEMENT_S * 1_000)),
            "lock_timeout": str(int(STATEMENT_S * 1_000)),
            "idle_in_transaction_session_timeout": str(int(ANSWER_S * 1_000)),
            "default_transaction_isolation": "read\\ committed",
            "jit": "off",
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        defaults = {
            **_KEEPALIVE,
            "fallback_application_name": "interlock",
            "connect_timeout": str(CONNECT_S),
            # Of several hosts only the one that can be written to will do.
            "target_session_attrs": "read-write",
        }
        fixed = {
            "client_encoding": "UTF8",
            "options": f"{given.get('options', '')} {options}".strip(),
        }
        conninfo = make_conninfo(**{**defaults, **given, **fixed})
        host = given.get("host") or given.get("hostaddr") or "localhost"
        shown = f"{host}:{given.get('port', '5432')}/{given.get('dbname', '')}"
        # An "@" of a password that should have been escaped makes the rest of it a host.
        shown = shown.rsplit("@", 1)[-1]
        return cls(conninfo, schema, shown, given.get("password", ""), _connect_s(given))

    def error(self, error: BaseException, what: str) -> StoreError:
        """What went wrong, as an error of ours that quotes no value and no secret."""
        state = error.sqlstate if isinstance(error, psycopg.Error) else None
        if state is None:
            said = str(error).strip().splitlines()
            why = said[-1].strip() if said else type(error).__name__
            if "@" in why or (self.password and self.password in why):
                why = type(error).__name__
            return Unreachable(f"{self.shown}: {what}: {why}")
        primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        why = f"{self.shown}: {what}: {primary or 'no reason given'} ({state})"
        if state.startswith(_TOO_LARGE):
            return Unstorable(why)
        if state.startswith("XX"):
            return StoreCorrupt(why)
        if state == "P0001":
            return Raised(why)
        return Unreachable(why) if state.startswith(_AWAY) else StoreError(why)


def _connect_s(given: Mapping[str, str]) -> float:
    """How long it may take to come to the last of the hosts, when no other one says a word."""
    hosts = (given.get("host") or given.get("hostaddr") or "").count(",") + 1
    said = given.get("connect_timeout", "")
    each = max(CONNECT_S, int(said)) if said.isdecimal() else CONNECT_S
    return hosts * _ADDRESSES * each + 1


def is_to_repeat(error: BaseException) -> bool:
    """Whether the server undid it for a reason that passes: a deadlock, a lock, a time-out."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_AGAIN)


class Pool:
    """At most so many connections, for one event loop."""

    def __init__(self, place: Place, size: int) -> None:
        self.place: Final = place
        self._free: Final = asyncio.Semaphore(size)
        self._idle: Final[list[Connection]] = []
        self._closed = False

    async def connect(self) -> Connection:
        """A connection of the caller's own, to be closed by it.

        Raises:
            StoreError: there is none to be had.
        """
        db: Connection | None = None
        try:
            async with asyncio.timeout(self.place.connect_s):
                db = await psycopg.AsyncConnection.connect(
                    self.place.conninfo, autocommit=True, prepare_threshold=2
                )
                # Whoever commits here is promised that it is on disk.
                await db.execute(
                    "SELECT set_config('synchronous_commit', 'on', false)"
                    " WHERE current_setting('synchronous_commit') = 'off'"
                )
        except (psycopg.Error, OSError, TimeoutError, asyncio.CancelledError) as error:
            if db is not None:
                await _let_go(db)
            if isinstance(error, asyncio.CancelledError):
                raise
            # Its cause would quote the URL.
            raise self.place.error(error, "no connection") from None
        return db

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """One that nobody else uses in the block; it must be left without a transaction.

        Raises:
            StoreError: there is none to be had.
        """
        async with self._free:
            if self._closed:
                raise StoreError(f"{self.place.shown} is not open")
            db = self._idle.pop() if self._idle else await self.connect()
            try:
                yield db
            finally:
                await self._give(db)

    async def _give(self, db: Connection) -> None:
        if self._closed or db.pgconn.transaction_status != TransactionStatus.IDLE:
            await _let_go(db)
        else:
            self._idle.append(db)

    async def ask(
        self,
        query: Callable[[Connection], Awaitable[T]],
        what: str,
        *,
        patience_s: float,
        answer_s: float | None = None,
    ) -> T:
        """Do what may be done twice, again and again until the server answers.

        Args:
            query: what is done with a connection.
            what: what cannot be done, for the error.
            patience_s: after so many seconds a failure is final.
            answer_s: seconds in which each try must be answered, if not `ANSWER_S`.

        Raises:
            StoreError: it failed, for good or for too long.
        """
        deadline = time.monotonic() + patience_s
        pause_s = _PAUSE_S
        while True:
            try:
                return await self.once(query, what, answer_s=answer_s)
            except Unreachable as error:
                if time.monotonic() + pause_s >= deadline or self._closed:
                    raise
                _log.debug("%s; trying again", error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def once(
        self,
        query: Callable[[Connection], Awaitable[T]],
        what: str,
        *,
        answer_s: float | None = None,
    ) -> T:
        """Do it once.  If the server does not answer, it may have been done all the same.

        Raises:
            Unreachable: the server did not answer, or asks to try again.
            StoreError: it refused.
        """
        within_s = ANSWER_S if answer_s is None else answer_s
        before = cancels()
        async with self.connection() as db:
            late: list[BaseException] = []

            def cut() -> None:
                late.append(TimeoutError(f"no answer within {within_s:g} s"))
                _cut_off(db)

            alarm = asyncio.get_running_loop().call_later(within_s, cut)
            try:
                return await query(db)
            except (psycopg.Error, OSError, TimeoutError) as error:
                if late and cancels() > before:
                    # psycopg 3.2 waits for the server to take note of a cancel, and forgets it.
                    raise asyncio.CancelledError from None
                state = getattr(error, "sqlstate", None) or ""
                if db.closed or state.startswith(_OVER):
                    await _let_go(db)
                    # What happened to one has happened to all that were made before.
                    await self._drop_idle()
                # The cause may quote values.
                if is_to_repeat(error):
                    raise Unreachable(str(self.place.error(error, what))) from None
                raise self.place.error(late[0] if late else error, what) from None
            finally:
                alarm.cancel()
                if late:
                    await _let_go(db)  # Also where the answer came in that very moment.

    async def _drop_idle(self) -> None:
        idle = list(self._idle)
        self._idle.clear()
        for db in idle:
            await _let_go(db)

    async def close(self) -> None:
        """Close those that nobody uses now, and the others as soon as they are given back."""
        self._closed = True
        await self._drop_idle()


def cancels() -> int:
    """How many times this task was cancelled, whatever became of that."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _cut_off(db: Connection) -> None:
    """Hang up on a server that does not answer; whoever waits for it is told.

    Without a word: the driver, if it is cancelled, has the server cancel the statement, and a
    commit which waits for a standby would then be made although no standby has it.
    """
    with contextlib.suppress(OSError, psycopg.Error):
        # The very descriptor: for another one there may be no room, and then nobody hangs up.
        way = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=db.pgconn.socket)
        try:
            way.shutdown(socket.SHUT_RDWR)
        finally:
            way.detach()


async def _let_go(db: Connection) -> None:
    with contextlib.suppress(Exception):
        await db.close()
