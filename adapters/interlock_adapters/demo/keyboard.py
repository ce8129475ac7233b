"""Lines from a terminal, without ever holding up the event loop or the end of the process."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Final

#: A terminal hands over whole lines; longer ones than this are cut.
_LINE_BYTES_MAX: Final = 4096


class Keyboard:
    """Reads lines from a file descriptor, each when it is asked for."""

    def __init__(self, fd: int) -> None:
        self._fd: Final = fd
        self._line: asyncio.Future[str | None] | None = None

    async def line(self) -> str | None:
        """The next line, without its end; None at the end of the input.

        A wait that is given up loses nothing: the next one gets the line.
        """
        if self._line is None:
            self._line = asyncio.get_running_loop().create_future()
            # Not `input()`, whose lock would be held when the process ends, and not a thread
            # of the loop's pool, which is waited for at the end.
            threading.Thread(target=self._read, args=(self._line,), daemon=True).start()
        line = await asyncio.shield(self._line)
        self._line = None
        return line

    def _read(self, future: "asyncio.Future[str | None]") -> None:
        try:
            read = os.read(self._fd, _LINE_BYTES_MAX)
        except OSError:
            read = b""  # The terminal is gone.
        line = read.decode(errors="replace").strip() if read else None
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            future.get_loop().call_soon_threadsafe(_give, future, line)


def _give(future: "asyncio.Future[str | None]", line: str | None) -> None:
    if not future.done():
        future.set_result(line)


@contextlib.contextmanager
def on_interrupt(act: Callable[[], None]) -> Generator[None]:
    """Call `act` on the loop for Ctrl-C, instead of ending the process."""
    loop = asyncio.get_running_loop()

    def handle(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
