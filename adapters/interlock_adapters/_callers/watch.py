"""What outlives its credential: who may call is asked again while a request goes on.

A stream is open for as long as a task lives, and its credential may run out, or be withdrawn,
or be of other roles by then.  So it is judged again every `RECHECK_S`, by the same headers;
when it is no good any more, or somebody else's, nothing more is told.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from interlock_adapters._http.asgi import App, Message, Receive, Scope, Send

#: Seconds after which a request that still goes on is judged again.
RECHECK_S: Final = 5.0

StillGood: TypeAlias = Callable[[], Awaitable[bool]]

_HANG_UP: Final[Message] = {"type": "http.disconnect"}


class Recheck:
    """Asks every `RECHECK_S` whether a credential is good, and says once when it is not."""

    def __init__(self, still_good: StillGood, lapsed: Callable[[], Awaitable[None]]) -> None:
        """Nothing is asked before `arm`."""
        self._still_good: Final = still_good
        self._lapsed: Final = lapsed
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Future[None] | None = None

    def arm(self) -> None:
        """Ask a while from now.  Most requests are over by then, so this costs a timer only."""
        self._timer = asyncio.get_running_loop().call_later(RECHECK_S, self._ask)

    async def end(self) -> None:
        """The request is over: ask no more, but let what was begun come to its end."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)

    def _ask(self) -> None:
        self._asking = asyncio.ensure_future(self._asked())

    async def _asked(self) -> None:
        if not await self._still_good():
            await self._lapsed()
        elif self._timer is not None:
            self.arm()


class Watched:
    """One HTTP request whose response ends with its credential.

    The application is told that its client has hung up; what it still sends goes nowhere.  A
    response that was not begun is the refusal that a new request would get.
    """

    def __init__(
        self, receive: Receive, send: Send, refuse: Callable[[Send], Awaitable[None]]
    ) -> None:
        """`refuse` sends that refusal."""
        self._receive: Final = receive
        self._send: Final = send
        self._refuse: Final = refuse
        #: One message after the other: the end may come while the application sends.
        self._sending: Final = asyncio.Lock()
        self._over: Final = asyncio.Event()
        self._is_read = self._is_begun = self._is_ended = self._is_cut = False

    async def serve(self, app: App, scope: Scope, still_good: StillGood) -> None:
        """Have the application answer, for as long as the credential is good."""
        recheck = Recheck(still_good, self._cut)
        recheck.arm()
        try:
            await app(scope, self._received, self._sent)
        finally:
            await recheck.end()

    async def _cut(self) -> None:
        async with self._sending:
            self._is_cut = True
            # First: a server may raise instead of sending what is left to be sent.
            self._over.set()
            if self._is_begun and not self._is_ended:
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _sent(self, message: Message) -> None:
        async with self._sending:
            begins = message["type"] == "http.response.start"
            if self._is_cut:
                if begins and not self._is_begun:
                    self._is_begun = True
                    await self._refuse(self._send)
                return
            self._is_begun = self._is_begun or begins
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._is_ended = True
            await self._send(message)

    async def _received(self) -> Message:
        if not self._is_read:
            message = await self._receive()
            self._is_read = message["type"] == "http.request" and not message.get("more_body")
            return message
        if self._over.is_set():
            return _HANG_UP
        # From now on nothing comes but the end.
        coming = asyncio.ensure_future(self._receive())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait([coming, over], return_when=asyncio.FIRST_COMPLETED)
            return _HANG_UP if self._over.is_set() else coming.result()
        finally:
            coming.cancel()
            over.cancel()
            await asyncio.gather(coming, over, return_exceptions=True)


class Lapsed(Exception):
    """The credential of a call is no good any more."""


@asynccontextmanager
async def good(still_good: StillGood | None) -> AsyncGenerator[None]:
    """A block that is left when a credential is no good any more; None is never.

    Raises:
        Lapsed: it is.
    """
    if still_good is None:
        yield
        return
    is_over = False

    async def cut() -> None:
        nonlocal is_over
        is_over = True
        wait.reschedule(asyncio.get_running_loop().time())

    recheck = Recheck(still_good, cut)
    try:
        async with asyncio.timeout(None) as wait:
            recheck.arm()
            yield
    except TimeoutError:
        if is_over:
            raise Lapsed from None
        raise
    finally:
        await recheck.end()
