"""An engine's A2A face on a free loopback port, for as long as a block lasts."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Final

import uvicorn

from interlock import Engine
from interlock.errors import EngineError
from interlock_adapters.a2a import A2ASettings, Stopping, a2a_app

#: Seconds that a server has to come up, and then to go away.
START_S: Final = 30.0
STOP_S: Final = 15.0


class NotServed(Exception):
    """The server did not come up; the message says why."""


class _Server(uvicorn.Server):
    """A server that tells when it is up."""

    def __init__(self, config: uvicorn.Config, told: Callable[[], None]) -> None:
        super().__init__(config)
        self._told: Final = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told()


class _ServerThread:
    """Runs the engine and its server on a thread and a loop of their own."""

    def __init__(self, engine: Engine, settings: A2ASettings, listener: socket.socket) -> None:
        self._engine: Final = engine
        self._listener: Final = listener
        self._here: Final = asyncio.get_running_loop()
        self._settled: Final = asyncio.Event()
        self._reason = "the server did not start"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: Final = Stopping()
        app = a2a_app(engine, settings, owns_engine=False, stopping=self._stopping)
        config = uvicorn.Config(
            app, log_config=None, log_level="warning", timeout_graceful_shutdown=2
        )
        self._server: Final = _Server(config, self._settle)
        # A daemon: should it hang in spite of all bounds, the process can end all the same.
        self._thread: Final = threading.Thread(target=self._run, name="demo", daemon=True)

    async def start(self) -> None:
        """Return when it serves.

        Raises:
            NotServed: it never will.
        """
        self._thread.start()
        try:
            async with asyncio.timeout(START_S):
                await self._settled.wait()
        except TimeoutError:
            raise NotServed(f"the server did not start within {START_S:g} s") from None
        if not self._server.started:
            raise NotServed(self._reason)

    async def stop(self) -> None:
        """Return when the server has stopped and the engine has drained."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # It is closed: nobody waits in it.
                self._loop.call_soon_threadsafe(self._stopping.begin)
        self._server.should_exit = True
        await asyncio.to_thread(self._thread.join, STOP_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except EngineError as error:
            self._reason = f"the engine did not start: {error}"
        finally:
            self._settle()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._engine:
            await self._server.serve([self._listener])

    def _settle(self) -> None:
        # The loop is closed if whoever waited has given up.
        with contextlib.suppress(RuntimeError):
            self._here.call_soon_threadsafe(self._settled.set)


@contextlib.asynccontextmanager
async def served(engine: Engine, settings: A2ASettings) -> AsyncGenerator[str]:
    """Serve the engine, which this starts and drains; gives the URL.

    Raises:
        NotServed: it did not come up.
    """
    with socket.socket() as listener:
        # Bound here, so that the port is ours before anybody hears of it.
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = _ServerThread(engine, settings.model_copy(update={"url": url}), listener)
        try:
            await thread.start()
            yield url
        finally:
            await thread.stop()
