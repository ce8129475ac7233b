"""The service of `bench.service`, as a user would have it, in a process of its own.

    python -m bench._service_server OWNERS DATABASE

It prints its port when it listens, and ends when its standard input closes.  Bearer tokens,
SQLite, and every face that needs no further port; only bounds are raised, and by no more than
the load needs.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from typing import Final

from interlock import Limits, TaskContext
from interlock_adapters.auth import hashed
from interlock_adapters.config import (
    AuthConfig,
    Config,
    LogConfig,
    QuotaConfig,
    ServerConfig,
    TokenConfig,
)
from interlock_adapters.service import Service

#: The path of JSON-RPC in the service.
RPC_PATH: Final = "/a2a/rpc"
#: Whoever submits while the others watch.
SUBMITTER: Final = "submitter"


def token_of(owner: str) -> str:
    """The token of an owner: no secret, since it serves on loopback for a minute."""
    return f"ilk_{owner:x<40}"


class Control:
    """When the emitting tasks begin and end; of the server's process."""

    def __init__(self) -> None:
        self.go: Final = asyncio.Event()
        self.stop: Final = asyncio.Event()
        self.began = 0.0


_CONTROL: Final = Control()


async def agent(task: TaskContext) -> str:
    """Complete at once, or emit at an even pace from "go" to "stop"."""
    match task.input.text.split():
        case ["emit", offset_s, every_s]:
            return await _emit(task, float(offset_s), float(every_s))
        case ["go"]:
            _CONTROL.began = time.perf_counter()
            _CONTROL.go.set()
        case ["stop"]:
            _CONTROL.stop.set()
        case _:
            pass
    return f"done: {task.input.text}"


async def _emit(task: TaskContext, offset_s: float, every_s: float) -> str:
    await _CONTROL.go.wait()
    number = 0
    while True:
        due = _CONTROL.began + offset_s + number * every_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if _CONTROL.stop.is_set():
            return f"emitted {number}"
        number += 1
        # CLOCK_MONOTONIC is one for all processes, so the reader can take the difference.
        await task.progress(f"step {number} at {time.perf_counter()!r}")


def config_of(database: str, owners: int, port: int) -> Config:
    """The service: what is not said is as it comes."""
    names = [f"owner-{number}" for number in range(owners)] + [SUBMITTER]
    tokens = tuple(TokenConfig(hash=hashed(token_of(name)), subject=name) for name in names)
    return Config(
        name="bench",
        agent=agent,
        store=f"sqlite:///{database}",
        server=ServerConfig(port=port),
        auth=AuthConfig(tokens=tokens),
        # Of one client there are as many requests as can be made.
        quotas=QuotaConfig(requests_per_minute=1e7, burst=100_000, concurrent=2_000),
        # The emitting tasks run all at once, and what is submitted beside them as usual.
        limits=Limits(running_turns_max=1_000),
        log=LogConfig(level="warning"),
    )


def main() -> None:
    """Serve until standard input closes."""
    _, owners, database = sys.argv
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = int(listener.getsockname()[1])
    service = Service.of(config_of(database, int(owners), port))
    threading.Thread(target=_wait_for_the_end, daemon=True).start()
    # Connections wait in the backlog until it serves.
    print(port, flush=True)
    raise SystemExit(service.serve(sockets=[listener]))


def _wait_for_the_end() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
