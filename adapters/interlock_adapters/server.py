"""Serves an ASGI application with uvicorn, until the process is told to end.

    raise SystemExit(serve(a2a_app(engine, settings), port=8000))

What follows the signal is the application's: `a2a_app` answers whoever waits, ends streams
where they can be taken up again, lets turns come to a point of their journal, and parks them.
"""

import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

try:
    import uvicorn

    from interlock_adapters._http.patience import Patience, patient
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "interlock_adapters.server needs the server extra: pip install 'interlock[server]'",
        name=_missing.name,
    ) from _missing

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["NOT_STARTED", "OK", "Patience", "gc_tuned", "serve"]

#: Exit codes: it ended as it was told to; it did not come up, and the log says why.
OK: Final = 0
NOT_STARTED: Final = 3

#: Seconds for connections whose clients do not read or write on, after the waits have ended.
LINGER_S: Final = 5


#: Objects that may be made beyond those let go of before the newest are searched for garbage;
#: Python's own is 700.
_NEWEST_MAX: Final = 10_000
#: Objects that an interpreter itself begins with as frozen: 3.12 does, with 375.  Whoever freezes
#: what a service has imported has many more.
_INTERPRETERS_MAX: Final = 5_000


def serve(
    app: "ASGIApp",
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    sockets: Sequence[socket.socket] = (),
    log_level: str = "info",
    patience: Patience | None = None,
    on_listening: Callable[[], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; returns the process's exit code, which is 0 then.

    `sockets` that listen already take the place of `host` and `port`.  `patience` bounds how
    long clients are waited for, and how many there may be.  `on_listening` is called once, when
    the application is up and clients can connect.
    """
    config = config_of(app, patience or Patience(), host=host, port=port, log_level=log_level)
    server = _Server(config, on_listening)
    with _an_end_that_is_none_of_an_error(), gc_tuned():
        server.run([*sockets] or None)
    return OK if server.started else NOT_STARTED


class _Server(uvicorn.Server):
    """One that says when it listens."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_listening: Final = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started and self._on_listening is not None:
            self._on_listening()


def config_of(
    app: "ASGIApp", patience: Patience, *, host: str, port: int, log_level: str
) -> uvicorn.Config:
    """What uvicorn is told."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=log_level,
        http=patient(patience),
        ws="none",  # No face speaks WebSocket.
        limit_concurrency=patience.connections,
        timeout_keep_alive=patience.idle_s,
        timeout_graceful_shutdown=LINGER_S,
    )


class _WithoutQueries(logging.Filter):
    """Takes the query out of the line about a request: people put tokens there, and searches."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        match record.args:
            case (client, method, str(path), *rest) if "?" in path:
                record.args = (client, method, path.partition("?")[0], *rest)
            case _:
                pass
        return True


logging.getLogger("uvicorn.access").addFilter(_WithoutQueries())


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


@contextmanager
def gc_tuned() -> Generator[None]:
    """Have Python's collector of garbage interrupt requests seldom; `serve` does so itself.

    For whoever serves in another way: enter it when everything is imported, and before the first
    request.  What is there then is there for good and is not looked at again: after the imports of
    a service that is 100,000 objects, and 65 ms of each search through them.  Two thousand open
    streams had Python search every few seconds, for most of a second.  A process whose collector
    was set up already is left alone.
    """
    newest_max, *further = gc.get_threshold()
    is_frozen = gc.get_freeze_count() > _INTERPRETERS_MAX
    if not gc.isenabled() or newest_max >= _NEWEST_MAX or is_frozen:
        yield
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEWEST_MAX, *further)
    try:
        yield
    finally:
        gc.set_threshold(newest_max, *further)
        gc.unfreeze()


def _heard(_number: int, _frame: FrameType | None) -> None:
    """Do nothing more: it was acted on."""
