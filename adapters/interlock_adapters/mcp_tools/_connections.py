"""The connections of one MCP server: a shared one, those of single calls, and what is listed.

The shared one is made once for all that wait for it, and again when it is lost.  A call that
carries headers of its caller's has a connection of its own, since headers belong to a
connection.  Everything that is begun here is ended by `stop`.
"""

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import mcp_types as wire
from mcp import MCPError
from pydantic import ValidationError

from interlock import Clock, Tool
from interlock.errors import InvalidInput, SourceUnavailable
from interlock_adapters.mcp_tools._discovery import listed
from interlock_adapters.mcp_tools._limits import McpLimits
from interlock_adapters.mcp_tools._link import Link
from interlock_adapters.mcp_tools._target import Mode, Target
from interlock_adapters.mcp_tools._wait import limit, pause

LOG: Final = logging.getLogger("interlock.mcp")

#: Characters of a server's own words that are passed on.
WORDS_CHARS_MAX: Final = 500
#: Characters of a header's value from which on it is looked for in a server's words.
SECRET_CHARS_MIN: Final = 6
#: Seconds that goodbyes have, such as word to a server that its task is not wanted any more.
FAREWELL_S: Final = 5.0
#: Answers to "tell me of changes" after which there is no sense in asking again.
NO_CHANGES_TOLD: Final = frozenset(
    (wire.METHOD_NOT_FOUND, wire.INVALID_REQUEST, wire.INVALID_PARAMS)
)


class Connections:
    """What there is between us and one MCP server."""

    def __init__(
        self,
        name: str,
        target: Target,
        headers: Mapping[str, str],
        *,
        mode: Mode,
        shared: bool,
        limits: McpLimits,
        clock: Clock,
    ) -> None:
        self.name: Final = name
        self.limits: Final = limits
        self.clock: Final = clock
        #: As it was last listed.
        self.tools: tuple[Tool, ...] = ()
        #: Whether it was there when it was last looked for.
        self.available = False
        self._target: Final = target
        self._headers: Final = headers
        self._mode: Final = mode
        self._shared: Final = shared
        self._open = False
        self._link: Link | None = None
        #: Every connection that is not closed yet.
        self._links: Final[set[Link]] = set()
        self._connecting: asyncio.Task[Link | SourceUnavailable | InvalidInput] | None = None
        #: What goes on by itself until `stop`, and what `stop` waits for.
        self._chores: Final[set[asyncio.Task[None]]] = set()
        self._farewells: Final[set[asyncio.Task[None]]] = set()
        self._stale = False
        self._listing = False

    async def start(self, *, optional: bool) -> None:
        """Find out what tools there are.

        Raises:
            SourceUnavailable: it is not there, and not optional.
            InvalidInput: two of its tools have one name, and it is not optional.
        """
        self._open = True
        try:
            await self._discover()
        except (SourceUnavailable, InvalidInput) as error:
            if not optional:
                await self.stop()
                raise
            LOG.warning("started without its tools, since it is optional: %s", error)
            self.chore(self._discover_later())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End everything that was begun, and wait until it has ended."""
        await self._farewells_said()
        self._open = False
        tasks: set[asyncio.Task[Any]] = set(self._chores)
        if self._connecting is not None:
            tasks.add(self._connecting)
        for task in tasks:
            task.cancel()
        self._link = None
        closing = {asyncio.create_task(link.close()) for link in tuple(self._links)}
        if tasks | closing:
            await asyncio.wait(tasks | closing)
        if self._farewells:
            await asyncio.wait(self._farewells)
        # A chore that was cancelled before its first step has not said so itself.
        self._listing = self._stale = False
        self._links.clear()
        self.tools = ()
        self.available = False

    async def _farewells_said(self) -> None:
        if not self._farewells:
            return
        try:
            async with limit(self.clock, FAREWELL_S):
                await asyncio.wait(self._farewells)
        except TimeoutError:
            for task in self._farewells:
                task.cancel()

    @asynccontextmanager
    async def borrowed(self, carried: Mapping[str, str]) -> AsyncGenerator[Link]:
        """A connection for one leg: the shared one, or one of its own.

        Raises:
            SourceUnavailable: there is none to be had.
        """
        if self._shared and not carried:
            yield await self._linked()
            return
        link = await self._single(carried)
        try:
            yield link
        finally:
            self.farewell(self._closed(link))

    def chore(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background until it is done or all is stopped."""
        self._begin(work, self._chores)

    def farewell(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background that `stop` waits for."""
        self._begin(work, self._farewells)

    def _begin(self, work: Coroutine[Any, Any, None], where: set[asyncio.Task[None]]) -> None:
        # Without the context of the call that happens to be under way.
        task = asyncio.create_task(work, context=contextvars.Context())
        where.add(task)
        task.add_done_callback(where.discard)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("work for MCP server %r failed: %s", self.name, self.words_of(error))

    # --- connecting ------------------------------------------------------------------

    async def _linked(self) -> Link:
        if self._link is not None and not self._link.lost:
            return self._link
        if not self._open:
            raise SourceUnavailable(self.name, "it is closed")
        connecting = self._connecting
        if connecting is None or connecting.done():
            connecting = asyncio.create_task(self._connect(), context=contextvars.Context())
            self._connecting = connecting
        # Whoever is cancelled here leaves it to the others who wait.
        await asyncio.wait({connecting})
        if connecting.cancelled():
            raise SourceUnavailable(self.name, "it is closed")
        match connecting.result():
            case Link() as link:
                return link
            case SourceUnavailable(why=why):
                raise SourceUnavailable(self.name, why)
            case InvalidInput(problems=problems):
                raise InvalidInput(problems)

    async def _connect(self) -> Link | SourceUnavailable | InvalidInput:
        """A new connection, and what is listed over it."""
        if self._link is not None:
            self.farewell(self._retired(self._link))
            self._link = None
        link = self._new({})
        try:
            async with limit(self.clock, self.limits.connect_s):
                await link.open()
                self.tools = await listed(self.name, link.session)
        except (SourceUnavailable, InvalidInput) as error:
            self.available = False
            self.farewell(self._closed(link))
            return error
        except Exception as error:  # noqa: BLE001  (the border to the SDK)
            self.available = False
            self.farewell(self._closed(link))
            return SourceUnavailable(self.name, self.words_of(error))
        except BaseException:
            self.farewell(self._closed(link))
            raise
        self.available = True
        if self._shared:
            self._link = link
            self.chore(self._watch(link))
        else:
            self.farewell(self._closed(link))
        return link

    async def _single(self, carried: Mapping[str, str]) -> Link:
        if not self._open:
            raise SourceUnavailable(self.name, "it is closed")
        link = self._new(carried)
        try:
            async with limit(self.clock, self.limits.connect_s):
                await link.open()
        except Exception as error:  # noqa: BLE001  (the border to the SDK)
            self.farewell(self._closed(link))
            raise SourceUnavailable(self.name, self.words_of(error, carried)) from None
        except BaseException:
            self.farewell(self._closed(link))
            raise
        return link

    def _new(self, carried: Mapping[str, str]) -> Link:
        link = Link(
            self._target,
            {**self._headers, **carried},
            self._mode,
            clock=self.clock,
            answer_bytes_max=self.limits.answer_bytes_max,
            tools_changed=self.list_again,
        )
        self._links.add(link)
        return link

    async def _closed(self, link: Link) -> None:
        await link.close()
        self._links.discard(link)

    async def _retired(self, link: Link) -> None:
        await link.retire()
        self._links.discard(link)

    # --- what is listed --------------------------------------------------------------

    async def _discover(self) -> None:
        for tried in range(1, self.limits.attempts):
            try:
                await self._linked()
            except SourceUnavailable as error:
                LOG.info("try %d: %s", tried, error)
                await pause(self.clock, self.limits.backoff_s(tried))
            else:
                return
        await self._linked()

    async def _discover_later(self) -> None:
        tried = self.limits.attempts
        while True:
            await pause(self.clock, self.limits.backoff_s(tried))
            try:
                await self._linked()
            except (SourceUnavailable, InvalidInput) as error:
                LOG.info("try %d: %s", tried, error)
                tried += 1
            else:
                LOG.info("MCP server %r is there, with %d tools", self.name, len(self.tools))
                return

    def list_again(self) -> None:
        """What is listed may have changed: ask again, soon."""
        self._stale = True
        if self._open and not self._listing:
            self._listing = True
            self.chore(self._list())

    async def _list(self) -> None:
        try:
            while self._stale:
                self._stale = False
                await self._list_once()
                # A server may say so without end; what it says meanwhile is not lost.
                await pause(self.clock, self.limits.backoff_first_s)
        finally:
            self._listing = False

    async def refresh(self, check: Callable[[Sequence[Tool]], None]) -> None:
        """List the tools anew, and take them if `check` has nothing against them.

        Raises:
            SourceUnavailable: it is not there; the tools stay as they were.
            InvalidInput: two of its tools have one name; likewise.
            Exception: what `check` raises; likewise.
        """
        before = self.tools
        found = await self._found()
        try:
            check(found)
        except Exception:
            # They were taken already if it had to be connected to anew.
            self.tools = before
            raise
        self.tools = found

    async def _found(self) -> tuple[Tool, ...]:
        try:
            async with limit(self.clock, self.limits.connect_s), self.borrowed({}) as link:
                found = await listed(self.name, link.session)
        except (SourceUnavailable, InvalidInput):
            raise
        except Exception as error:  # noqa: BLE001  (the border to the SDK)
            raise SourceUnavailable(self.name, self.words_of(error)) from None
        return found

    async def _list_once(self) -> None:
        try:
            async with limit(self.clock, self.limits.connect_s), self.borrowed({}) as link:
                self.tools = await listed(self.name, link.session)
        except Exception as error:  # noqa: BLE001  (the border to the SDK)
            why = self.words_of(error)
            LOG.warning("the tools of MCP server %r stay as they were: %s", self.name, why)

    async def _watch(self, link: Link) -> None:
        """Hear of changes, where a server tells of them on request; others tell by themselves."""
        told = link.client.server_capabilities.tools if link.is_modern else None
        if not link.is_modern or (told is not None and not told.list_changed):
            return
        tried = 0
        while not link.lost:
            try:
                async with link.client.listen(tools_list_changed=True) as changes:
                    if not changes.honored.tools_list_changed:
                        return
                    if tried:
                        self.list_again()
                    async for _ in changes:
                        tried = 0
                        self.list_again()
            except MCPError as error:
                if error.code in NO_CHANGES_TOLD:
                    return
            except RuntimeError as error:  # the SDK's: the stream was cut, the session is over
                LOG.debug("no word of changes from %r: %s", self.name, type(error).__name__)
            tried += 1
            await pause(self.clock, self.limits.backoff_s(tried))

    # --- words -----------------------------------------------------------------------

    def words_of(self, error: BaseException, carried: Mapping[str, str] | None = None) -> str:
        """What is wrong, fit for a log: without what we sent in confidence."""
        match error:
            case SourceUnavailable(why=why):
                said = why
            case InvalidInput(problems=problems):
                said = "; ".join(problems)
            case MCPError():
                said = f"{error.message} ({error.code})"
            case TimeoutError():
                said = f"no answer within {self.limits.connect_s:g} s"
            case ValidationError():
                said = "what it says is not MCP"
            case OSError(strerror=str() as strerror):
                said = strerror
            case _:
                said = type(error).__name__
        return self.hidden(said, carried or {})[:WORDS_CHARS_MAX]

    def hidden(self, text: str, carried: Mapping[str, str]) -> str:
        """A server's words without the values of our headers, which it may repeat."""
        for value in (*self._headers.values(), *carried.values()):
            for secret in sorted({value, *value.split()}, key=len, reverse=True):
                if len(secret) >= SECRET_CHARS_MIN:
                    text = text.replace(secret, "***")
        return text
