"""One A2A server on loopback, in a process of its own.

    python -m bench._server MODULE:ARM [DATABASE]

It prints its port when it listens, and ends when its standard input closes, so that it
never outlives the bench.  Every arm is the same uvicorn with uvloop and httptools, and
no OpenTelemetry; only the application differs.
"""

import asyncio
import importlib
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import uvicorn
import uvloop
from starlette.applications import Starlette

#: Makes the application, given where its database may be.
Arm: TypeAlias = Callable[[str], AbstractAsyncContextManager[Starlette]]


async def serve(arm: Arm, database: str) -> None:
    """Serve one arm until standard input closes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    async with arm(database) as app:
        config = uvicorn.Config(
            app, http="httptools", lifespan="off", log_level="warning", access_log=False
        )
        server = uvicorn.Server(config)
        threading.Thread(target=_wait_for_the_end, args=(server,), daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        await server.serve(sockets=[listener])


def _wait_for_the_end(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True


def main() -> None:
    """Run the arm that the command line names."""
    _, name, *rest = sys.argv
    module, _, function = name.partition(":")
    # Only the arm that is asked for is imported: the others must not weigh on it.
    arm: Arm = getattr(importlib.import_module(module), function)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arm, rest[0] if rest else ""))


if __name__ == "__main__":
    main()
