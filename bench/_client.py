"""A client so cheap that the server is what is measured: raw sockets, fixed bytes.

It speaks just enough HTTP/1.1 for JSON-RPC over keep-alive connections on loopback, and
checks every answer by looking for bytes, since parsing would cost more than the server.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from typing import Any, Final, Self

#: A request that takes longer is a hang.
PATIENCE_S: Final = 30.0

_numbers: Final = itertools.count(1)


def message(text: str, *, task_id: str = "", context_id: str = "") -> dict[str, Any]:
    """The parameters of SendMessage: a user's text, with a message id of its own."""
    said: dict[str, Any] = {
        "messageId": f"m-{next(_numbers):012d}",
        "role": "ROLE_USER",
        "parts": [{"text": text}],
    }
    if task_id:
        said |= {"taskId": task_id, "contextId": context_id}
    return {"message": said}


def call(method: str, params: dict[str, Any], path: str = "/rpc", token: str = "") -> bytes:
    """The whole HTTP request of one JSON-RPC call, by whose token it is if there is one."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\n"
        "Host: localhost\r\n"
        + (f"Authorization: Bearer {token}\r\n" if token else "")
        + "Content-Type: application/json\r\n"
        "A2A-Version: 1.0\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """One keep-alive connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect to a server on loopback."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call, and parse the answer; for set-up, where its cost does not count."""
        answer: dict[str, Any] = json.loads(await self.post(call(method, params)))
        if "error" in answer:
            raise RuntimeError(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    async def post(self, request: bytes) -> bytes:
        """Send prepared bytes; the body of the answer."""
        self._writer.write(request)
        head = await self._head()
        return await self._reader.readexactly(_length(head))

    async def stream(self, request: bytes) -> AsyncGenerator[bytes]:
        """Send prepared bytes; each event of the answer as it arrives.  Read it to its end."""
        self._writer.write(request)
        head = await self._head()
        if b"text/event-stream" not in head:
            raise RuntimeError(await self._reader.readexactly(_length(head)))
        pending = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            pending += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
            *lines, pending = pending.split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    yield line[5:].strip()
        await self._reader.readexactly(2)

    async def _head(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head)
        return head.lower()


def _length(head: bytes) -> int:
    _, _, after = head.partition(b"content-length:")
    return int(after.split(b"\r\n", 1)[0])
