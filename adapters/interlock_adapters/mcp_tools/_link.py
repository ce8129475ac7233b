"""One connection to an MCP server, owned by a task of its own.

The SDK's client must be entered and left in one asyncio task (its cancel scopes are bound to
it), while calls come from many.  So a task enters it, waits, and leaves it; everybody else
uses the session, which any task may.

In the handshake era a server asks its questions on the connection, not as the answer to a
call.  Whose call it was is known over HTTP, where the question comes on the answer's stream
and the SDK carries the caller's context; over pipes it is known while one call is open.
Otherwise the question is refused, rather than put to somebody else's task.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Final, Protocol, cast

import anyio
import mcp_types as wire
from mcp import MCPError
from mcp.client import Client, ClientRequestContext, ClientSession, IncomingMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from interlock import Clock
from interlock_adapters.mcp_tools._http import FORGOTTEN
from interlock_adapters.mcp_tools._target import Command, Mode, Target, way_to
from interlock_adapters.mcp_tools._task import TasksExtension
from interlock_adapters.mcp_tools._wait import limit

LOG: Final = logging.getLogger("interlock.mcp")

#: Seconds for saying goodbye; a server that takes longer is left.
LEAVE_S: Final = 10.0


class Caller(Protocol):
    """A leg of a call that is open on a connection, and can be asked."""

    async def elicited(self, params: wire.ElicitRequestParams) -> wire.ElicitResult:
        """Put a question to the task whose call it is."""
        ...


#: The leg in whose name something is done.
CALLER: Final[ContextVar[Caller | None]] = ContextVar("interlock_mcp_caller", default=None)


class Link:
    """A connection, from `open` to `close`; `lost` once it is known to be of no more use."""

    def __init__(
        self,
        target: Target,
        headers: Mapping[str, str],
        mode: Mode,
        *,
        clock: Clock,
        answer_bytes_max: int,
        tools_changed: Callable[[], None],
    ) -> None:
        self._target: Final = target
        self._headers: Final = headers
        self._mode: Final = mode
        self._clock: Final = clock
        self._answer_bytes_max: Final = answer_bytes_max
        self._tools_changed: Final = tools_changed
        #: Legs that are open here.
        self.callers: Final[set[Caller]] = set()
        self.lost = False
        self._has_strays = False
        self._idle: Final = asyncio.Event()
        self._idle.set()
        self._leave: Final = asyncio.Event()
        self._scope: Final = anyio.CancelScope()
        self._ready: asyncio.Future[Client | Exception] | None = None
        self._owner: asyncio.Task[None] | None = None
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The SDK's client."""
        assert self._client is not None, "the link was opened"
        return self._client

    @property
    def session(self) -> ClientSession:
        """What requests are sent by."""
        return self.client.session

    @property
    def version(self) -> str:
        """The revision of the protocol that is spoken."""
        return self.client.protocol_version

    @property
    def is_modern(self) -> bool:
        """Whether it is of the era in which the server asks by ending a call."""
        return self.version in MODERN_PROTOCOL_VERSIONS

    async def open(self) -> None:
        """Connect.

        Raises:
            Exception: whatever the SDK raises if it cannot.
        """
        self._ready = asyncio.get_running_loop().create_future()
        # Without the caller's context: this outlives the call that it is opened for.
        self._owner = asyncio.create_task(self._own(self._ready), context=contextvars.Context())
        try:
            await asyncio.wait({self._ready})
        except BaseException:
            await self.close()
            raise
        outcome = self._ready.result()
        if isinstance(outcome, Exception):
            await self.close()
            raise outcome
        self._client = outcome

    def enter(self, caller: Caller) -> None:
        """A leg begins here."""
        self.callers.add(caller)
        self._idle.clear()

    def leave(self, caller: Caller, *, cut: bool = False) -> None:
        """A leg has ended, or was cut: a question of its call's may still be on its way.

        Where questions are not told apart, that must not be put to whoever calls next.
        """
        self.callers.discard(caller)
        if cut and (not self.is_modern or isinstance(self._target, Command)):
            self._has_strays = True
            self.lose()  # A process that hangs is not tried again either.
        if not self.callers:
            self._idle.set()

    def forgot(self, error: MCPError) -> bool:
        """Whether the server says that it knows this session no longer, and did nothing."""
        return (error.code, error.message) == FORGOTTEN and not self.is_modern

    async def retire(self) -> None:
        """Close it when nobody is on it any more."""
        self.lost = True
        await self._idle.wait()
        await self.close()

    def lose(self) -> None:
        """Note that it is cut: whoever needs one next opens another."""
        self.lost = True

    async def close(self) -> None:
        """Leave, and wait until that is done; a server that does not let go is cut off."""
        self.lost = True
        is_first = not self._leave.is_set()
        self._leave.set()
        if self._owner is None:
            return
        if is_first and (self._ready is None or not self._ready.done()):
            # Once, and not by the scope, which would cut short what cleans up after a process.
            self._owner.cancel()
        try:
            async with limit(self._clock, LEAVE_S):
                await asyncio.wait({self._owner})
        except TimeoutError:
            self._scope.cancel()
            await asyncio.wait({self._owner})

    async def _own(self, ready: asyncio.Future[Client | Exception]) -> None:
        failure: Exception = ConnectionError("the connection was closed")
        try:
            with self._scope:
                way = way_to(
                    self._target,
                    self._headers,
                    answer_bytes_max=self._answer_bytes_max,
                    lost=self.lose,
                )
                async with Client(
                    way.server,
                    mode=self._mode,
                    cache=None,
                    elicitation_callback=self._elicited,
                    message_handler=self._noticed,
                    extensions=[TasksExtension()],
                ) as client:
                    way.settle()
                    ready.set_result(client)
                    await self._leave.wait()
        except Exception as error:  # noqa: BLE001  (the border to the SDK: `open` raises it)
            failure = first_of(error)
            LOG.debug("an MCP connection ended: %s", type(failure).__name__)
        finally:
            self.lost = True
            if not ready.done():
                ready.set_result(failure)

    async def _noticed(self, message: IncomingMessage) -> None:
        if isinstance(message, wire.ToolListChangedNotification):
            self._tools_changed()

    async def _elicited(
        self, context: ClientRequestContext, params: wire.ElicitRequestParams
    ) -> wire.ElicitResult | wire.ErrorData:
        del context  # it says on which connection, and no more
        caller = CALLER.get()
        if caller is None and len(self.callers) == 1 and not self._has_strays:
            caller = next(iter(self.callers))
        if caller not in self.callers:
            caller = None
        if caller is None:
            why = "it is not known which of several open calls asks"
            return wire.ErrorData(code=wire.INVALID_REQUEST, message=why)
        return await caller.elicited(params)


def first_of(error: Exception) -> Exception:
    """The first of several failures that came together."""
    found: BaseException = error
    while isinstance(found, BaseExceptionGroup):
        found = cast("BaseExceptionGroup[BaseException]", found).exceptions[0]
    return found if isinstance(found, Exception) else error
