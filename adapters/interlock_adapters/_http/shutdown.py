"""The end of waiting: the server stops, or the client has hung up.

Servers let open requests finish before they tell an application to shut down, and a request
may wait for as long as a task lives.  So the face listens itself: to the signals that stop
the server, and to the connection of a request that waits.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, MutableMapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any, Final, TypeAlias

#: Seconds for streams to end by themselves before sse-starlette cuts off what is left: a
#: reader that does not read must not keep the server.
STREAM_GRACE_S: Final = 2.0

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_Handler: TypeAlias = Callable[[int, FrameType | None], Any]


class HangUp:
    """Hears it when the client of one HTTP request hangs up."""

    def __init__(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
        """Listen, once somebody asks, to what comes after the request's body."""
        self._receive: Final = receive

    async def heard(self) -> bool:
        """Wait for it; False if something else came."""
        message = await self._receive()
        if message["type"] == "http.request":
            # Nobody read the body: some operations have none.
            message = await self._receive()
        return bool(message["type"] == "http.disconnect")


class Stopping:
    """Ends what waits in a face when the server stops.

    One may be shared by all the faces of an engine.  The lifespans of `a2a_app` and `mcp_app`
    are blocks of `serving`; whoever stops a server without a signal calls `begin` before that.
    """

    def __init__(self) -> None:
        """Not begun."""
        self._begun = False
        self._waits: Final[set[asyncio.Timeout]] = set()

    @property
    def begun(self) -> bool:
        """Whether nothing waits any more."""
        return self._begun

    def begin(self) -> None:
        """End every wait: what waited is answered with the task as it is, streams end.

        Call it in the event loop of the engine.  A repeat changes nothing.
        """
        self._begun = True
        for wait in self._waits:
            _end(wait)

    @asynccontextmanager
    async def patience(
        self, within_s: float | None = None, hang_up: HangUp | None = None
    ) -> AsyncGenerator[None]:
        """A block that waits for so long, and while the client is there and the server runs.

        Raises:
            TimeoutError: it had to wait longer.
        """
        async with asyncio.timeout(0 if self._begun else within_s) as wait:
            listening = asyncio.ensure_future(_listen(hang_up, wait)) if hang_up else None
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)
                if listening is not None:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)

    @contextmanager
    def serving(self) -> Generator[None]:
        """A block at whose end it begins, or before: on the signal that stops the server.

        SIGTERM and SIGINT are listened to where somebody handles them, in the main thread;
        who does is told after us.
        """
        self._begun = False  # An application may be served again.
        with ExitStack() as serving:
            if threading.current_thread() is threading.main_thread():
                for number in _SIGNALS:
                    server = signal.getsignal(number)
                    if callable(server) and server is not signal.default_int_handler:
                        serving.enter_context(_Ear(self, server).at(number))
            serving.callback(self.begin)
            yield


class _Ear:
    """Stands before the server's handler of a signal."""

    def __init__(self, stopping: Stopping, server: _Handler) -> None:
        self._stopping: Final = stopping
        self._server: Final = server
        self._loop: Final = asyncio.get_running_loop()
        self._in_grace = False

    @property
    def should_exit(self) -> bool:
        """Whether sse-starlette is to cut off streams: it asks the handler of SIGTERM.

        It takes that for a method of uvicorn's, and would not give them time to end.
        """
        server = getattr(self._server, "__self__", None)
        return not self._in_grace and bool(getattr(server, "should_exit", False))

    @contextmanager
    def at(self, number: int) -> Generator[None]:
        """Listen to the signal until the block ends."""
        handler = self._handle
        signal.signal(number, handler)
        try:
            yield
        finally:
            # Somebody else's may have come since.
            if signal.getsignal(number) is handler:
                signal.signal(number, self._server)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._in_grace = True
        with suppress(RuntimeError):  # The loop is closed: nothing waits in it.
            self._loop.call_soon_threadsafe(self._heard)
        self._server(number, frame)

    def _heard(self) -> None:
        self._stopping.begin()
        self._loop.call_later(STREAM_GRACE_S, self._end_grace)

    def _end_grace(self) -> None:
        self._in_grace = False


async def _listen(hang_up: HangUp, wait: asyncio.Timeout) -> None:
    if await hang_up.heard():
        _end(wait)


def _end(wait: asyncio.Timeout) -> None:
    if not wait.expired():
        wait.reschedule(asyncio.get_running_loop().time())
