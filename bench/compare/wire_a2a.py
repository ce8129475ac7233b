"""A peer that is an A2A server: JSON-RPC of version 1.0 over raw sockets and prepared bytes.

A server that answers before its task is over (fasta2a) is asked again until it is.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from bench._client import Connection, call, message
from bench.compare.idle import Idle
from bench.compare.protocol import REQUEST

#: Longer is a hang.
PATIENCE_S: Final = 60.0
ASKED: Final = "TASK_STATE_INPUT_REQUIRED"
COMPLETED: Final = "TASK_STATE_COMPLETED"
CANCELLED: Final = "TASK_STATE_CANCELED"
_PENDING: Final = ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING")

#: Task and context.
Names = tuple[str, str]


class Wire:
    """One server; as many connections as there are requests at once."""

    def __init__(self, port: int, path: str) -> None:
        self._port: Final = port
        self._path: Final = path
        self._idle: Final = Idle[Connection]()

    async def life(self) -> None:
        """See `Peer.life`."""
        task = await self._until(await self._send(message(REQUEST)), COMPLETED)
        assert "artifacts" in task, task

    async def ask(self) -> Names:
        """See `Peer.ask`."""
        task = await self._until(await self._send(message(f"ask {REQUEST}")), ASKED)
        return task["id"], task["contextId"]

    async def answer(self, asked: Names) -> None:
        """See `Peer.answer`."""
        task_id, context_id = asked
        said = message("Oslo", task_id=task_id, context_id=context_id)
        await self._until(await self._send(said), COMPLETED)

    async def cancel(self, asked: Names) -> None:
        """See `Peer.cancel`."""
        await self._until(await self._ask("CancelTask", {"id": asked[0]}), CANCELLED)

    async def first(self) -> float:
        """See `Peer.first`; the stream is read to its end."""
        request = call("SendStreamingMessage", message(REQUEST), self._path)
        first, events = 0.0, list[bytes]()
        async with self._connection() as connection:
            began = time.perf_counter()
            async for event in connection.stream(request):
                first = first or time.perf_counter() - began
                events.append(event)
        assert COMPLETED.encode() in events[-1], events[-1]
        return first

    async def _send(self, params: dict[str, Any]) -> dict[str, Any]:
        task: dict[str, Any] = (await self._ask("SendMessage", params))["task"]
        return task

    async def _until(self, task: dict[str, Any], state: str) -> dict[str, Any]:
        """The task, once it is so; asked for again without a pause."""
        began = time.perf_counter()
        while task["status"]["state"] != state:
            waiting = state == CANCELLED and task["status"]["state"] == ASKED
            if not waiting and task["status"]["state"] not in _PENDING:
                raise RuntimeError(f"not {state}: {task}")
            if time.perf_counter() - began > PATIENCE_S:
                raise RuntimeError(f"not {state} in {PATIENCE_S:g} s: {task}")
            task = await self._ask("GetTask", {"id": task["id"]})
        return task

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        request = call(method, params, self._path)
        async with self._connection() as connection, asyncio.timeout(PATIENCE_S):
            answer = json.loads(await connection.post(request))
        if "error" in answer:
            raise RuntimeError(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection]:
        connection = self._idle.get() or await Connection.open(self._port)
        yield connection
        # One that failed is not used again.
        self._idle.put(connection)
