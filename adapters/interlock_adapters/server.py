"""Serves an ASGI application with uvicorn, until the process is told to end.

    raise SystemExit(serve(a2a_app(engine, settings), port=8000))

What follows the signal is the application's: `a2a_app` answers whoever waits, ends streams
where they can be taken up again, lets turns come to a point of their journal, and parks them.
"""

import signal
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

try:
    import uvicorn
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "interlock_adapters.server needs the server extra: pip install 'interlock[server]'",
        name=missing.name,
    ) from missing

if TYPE_CHECKING:
    from starlette.applications import Starlette

#: Exit codes: it ended as it was told to; it did not come up, and the log says why.
OK: Final = 0
NOT_STARTED: Final = 3

#: Seconds for connections whose clients do not read or write on, after the waits have ended.
LINGER_S: Final = 5


def serve(
    app: "Starlette",
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    sockets: Sequence[socket.socket] = (),
    log_level: str = "info",
) -> int:
    """Serve until SIGTERM or SIGINT; returns the process's exit code, which is 0 then.

    `sockets` that listen already take the place of `host` and `port`.
    """
    config = uvicorn.Config(
        app, host=host, port=port, log_level=log_level, timeout_graceful_shutdown=LINGER_S
    )
    server = uvicorn.Server(config)
    with _an_end_that_is_none_of_an_error():
        server.run([*sockets] or None)
    return OK if server.started else NOT_STARTED


@contextmanager
def _an_end_that_is_none_of_an_error() -> Generator[None]:
    """When uvicorn has shut down it raises the signal once more, for whoever was there before.

    By default that would end the process as if nobody had heard it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _heard) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard(_number: int, _frame: FrameType | None) -> None:
    """Do nothing more: it was acted on."""
