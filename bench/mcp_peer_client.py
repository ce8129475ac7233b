"""The client of `bench.mcp`: raw sockets and prepared bytes, the same for every server.

It speaks just enough of MCP 2026-07-28 for the Tasks extension (SEP-2663): one POST for each
request, with the headers and the `_meta` that a client has to send, on a connection that is
kept.  A request is made before the clock starts, and of an answer no more is read than its
status; a task's result is read once it is over, after the clock has stopped.
"""

import json
import time
from typing import Any, Final, NamedTuple, Self

from bench._client import Connection

VERSION: Final = "2026-07-28"
_SAID: Final = "io.modelcontextprotocol"
_META: Final[dict[str, Any]] = {
    f"{_SAID}/protocolVersion": VERSION,
    f"{_SAID}/clientInfo": {"name": "bench", "version": "1"},
    f"{_SAID}/clientCapabilities": {"elicitation": {}, "extensions": {f"{_SAID}/tasks": {}}},
}
COMPLETED: Final = b'"status":"completed"'
WORKING: Final = b'"status":"working"'
ASKING: Final = b'"status":"input_required"'
CANCELLED: Final = b'"status":"cancelled"'
#: More questions how a task is than any needs: it hangs.
POLLS_MAX: Final = 100_000


class Life(NamedTuple):
    """How long a task took, as its client sees it; milliseconds."""

    create: float
    completed: float
    #: How often the client asked how it is.
    polls: int
    task_id: str


class Client:
    """One client of a server; one request at a time."""

    def __init__(self, port: int, connection: Connection) -> None:
        self._port: Final = port
        self._connection: Final = connection
        self._numbers = 0

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect to a server on loopback."""
        return cls(port, await Connection.open(port))

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the connection."""
        await self._connection.__aexit__()

    async def life(self) -> Life:
        """A task that adds two numbers, from its creation until it is known to be completed."""
        self._numbers += 1
        numbers = {"a": self._numbers, "b": 1}
        call = self._call("add", numbers)
        begun = time.perf_counter()
        answer = await self._connection.post(call)
        created = time.perf_counter()
        task_id = _task_id(answer)
        get = self._get(task_id)
        polls = 0
        while COMPLETED not in answer:
            if polls == POLLS_MAX:
                raise RuntimeError(f"it does not end: {answer!r}")
            answer = await self._connection.post(get)
            polls += 1
        over = time.perf_counter()
        found = json.loads(answer)["result"]["result"]["structuredContent"]
        assert found == {"result": self._numbers + 1}, found
        return Life((created - begun) * 1e3, (over - begun) * 1e3, polls, task_id)

    async def hold(self) -> str:
        """A task that works until it is cancelled."""
        return _task_id(await self._connection.post(self._call("hold", {})))

    async def add(self) -> str:
        """A task that is completed."""
        task_id = _task_id(await self._connection.post(self._call("add", {"a": 1, "b": 1})))
        get = self._get(task_id)
        while COMPLETED not in await self._connection.post(get):
            pass
        return task_id

    async def ask(self) -> tuple[str, str]:
        """A task that asks a question, once that is seen: its id, and the key of the question."""
        task_id = _task_id(await self._connection.post(self._call("ask", {})))
        answer = await self._until(task_id, ASKING)
        (key,) = json.loads(answer)["result"]["inputRequests"]
        return task_id, key

    async def answer(self, task_id: str, key: str) -> None:
        """Answer that question, until the task is known to be completed."""
        reply = {"action": "accept", "content": {"city": "Oslo"}}
        params = {"taskId": task_id, "inputResponses": {key: reply}}
        await self._connection.post(self._request("tasks/update", task_id, params))
        await self._until(task_id, COMPLETED)

    async def cancelled(self, task_id: str) -> None:
        """Stop a task, until it is known to be stopped."""
        await self.cancel(task_id)
        await self._until(task_id, CANCELLED)

    async def _until(self, task_id: str, status: bytes) -> bytes:
        get, answer = self._get(task_id), b""
        for _ in range(POLLS_MAX):
            answer = await self._connection.post(get)
            if status in answer:
                return answer
            if b'"error"' in answer or b'"status":"failed"' in answer:
                break
        raise RuntimeError(f"not {status!r}: {answer!r}")

    async def get(self, task_id: str, status: bytes) -> float:
        """Milliseconds to know how a task is; it is in that status."""
        get = self._get(task_id)
        begun = time.perf_counter()
        answer = await self._connection.post(get)
        over = time.perf_counter()
        assert status in answer, answer
        return (over - begun) * 1e3

    async def cancel(self, task_id: str) -> None:
        """Stop a task."""
        await self._connection.post(self._request("tasks/cancel", task_id, {"taskId": task_id}))

    def _call(self, tool: str, arguments: dict[str, int]) -> bytes:
        return self._request("tools/call", tool, {"name": tool, "arguments": arguments})

    def _get(self, task_id: str) -> bytes:
        return self._request("tasks/get", task_id, {"taskId": task_id})

    def _request(self, method: str, name: str, params: dict[str, Any]) -> bytes:
        asked: dict[str, Any] = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": method,
            "params": {**params, "_meta": _META},
        }
        body = json.dumps(asked).encode()
        head = (
            "POST /mcp HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{self._port}\r\n"
            "Content-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\n"
            f"MCP-Protocol-Version: {VERSION}\r\n"
            f"Mcp-Method: {method}\r\n"
            f"Mcp-Name: {name}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _task_id(answer: bytes) -> str:
    """Of the task that a call became.

    Raises:
        RuntimeError: it became none.
    """
    result = json.loads(answer).get("result", {})
    if result.get("resultType") != "task":
        raise RuntimeError(answer)
    task_id: str = result["taskId"]
    return task_id
