"""Serves an application for `bench.peer`: the same uvicorn for both halves and the MCP server.

It writes one line of JSON when it listens, and ends when its standard input closes.  Whatever
is printed after that is thrown away: smolagents prints every step, and the peer has no
setting against it.
"""

import asyncio
import json
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any, Final, TypeAlias

import uvicorn
import uvloop

#: Makes the application for a server that listens at this port.
Half: TypeAlias = Callable[[int], AbstractAsyncContextManager[Any]]
#: Seconds for requests that never end: the peer has some.
DRAIN_S: Final = 1


async def _serve(half: Half, packages: tuple[str, ...]) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = listener.getsockname()[1]
    async with half(port) as app:
        config = uvicorn.Config(
            app,
            http="httptools",
            lifespan="auto",
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=DRAIN_S,
        )
        versions = {"Python": platform.python_version(), **{p: version(p) for p in packages}}
        server = _Server(config, {"port": port, "versions": versions})
        threading.Thread(target=_wait_for_the_end, args=(server,), daemon=True).start()
        await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Says that it listens once it does, and the application has started."""

    def __init__(self, config: uvicorn.Config, ready: dict[str, Any]) -> None:
        super().__init__(config)
        self._ready: Final = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        await super().startup(sockets=sockets)
        _tell_once(self._ready)


def _tell_once(ready: dict[str, Any]) -> None:
    os.write(1, json.dumps(ready).encode() + b"\n")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _wait_for_the_end(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True
    time.sleep(3 * DRAIN_S)
    # Threads of tasks that wait would keep the process for ever.
    os._exit(0)


def serve(half: Half, *packages: str) -> None:
    """Serve until standard input closes; the first line says the versions of the packages."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(half, packages))
