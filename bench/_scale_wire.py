"""How the drivers of `bench.scale` talk to its workers: a line of JSON each way, over TCP.

The same for every arm, and cheap, so that what is behind it is what is measured.  Nothing but the
standard library: a peer's worker runs in an environment of its own.
"""

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Self

#: A request that takes longer is a hang.
PATIENCE_S: Final = 60.0
#: Begins the line by which a worker says that it is ready; libraries may print others before.
READY: Final = "ready "

Json = dict[str, Any]
#: What a worker does, by the name of it.
Deeds = Mapping[str, Callable[[Json], Awaitable[Json]]]


class WorkerFailed(RuntimeError):
    """A worker could not do what it was asked for, or is gone."""


async def serve(deeds: Deeds, said: Json) -> None:
    """Say on standard output where it listens, with `said`; serve until standard input ends."""
    busy: set[asyncio.Task[None]] = set()

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await _done(deeds, json.loads(line))).encode() + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            pass  # The driver is gone, or this worker is to end.
        finally:
            busy.discard(task)
            writer.close()

    # Not in the pool of threads: it would count among those that tasks hold.
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(over.set)

    server = await asyncio.start_server(session, "127.0.0.1", 0, limit=2**20)
    threading.Thread(target=wait, daemon=True).start()
    port = server.sockets[0].getsockname()[1]
    print(READY + json.dumps({**said, "port": port}), flush=True)
    await over.wait()
    server.close()
    for task in list(busy):
        task.cancel()


async def _done(deeds: Deeds, request: Json) -> Json:
    try:
        return await deeds[request["do"]](request)
    except Exception as error:  # noqa: BLE001  whatever it is, the driver is told
        return {"error": f"{type(error).__name__}: {error}"}


class Worker:
    """A connection to a worker; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader: Final = reader
        self._writer: Final = writer

    @classmethod
    async def at(cls, port: int) -> Self:
        """Connect to the worker that listens there."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))

    async def ask(self, do: str, **what: object) -> Json:
        """Have it done.

        Raises:
            WorkerFailed: it was not, or the worker is gone.
            TimeoutError: it takes too long.
        """
        self._writer.write(json.dumps({"do": do, **what}).encode() + b"\n")
        line = b""
        # Whether the connection ends in order or is reset, nobody answers.
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                line = await self._reader.readline()
        if not line:
            raise WorkerFailed(f"the worker is gone that was asked to {do}")
        answer: Json = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{do}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
