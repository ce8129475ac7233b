"""The least agent on fasta2a that its claims need; runs where that package is."""

import importlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

fasta2a: Final[Any] = importlib.import_module("fasta2a")
broker: Final[Any] = importlib.import_module("fasta2a.broker")
storage: Final[Any] = importlib.import_module("fasta2a.storage")


class Worker(fasta2a.Worker):  # type: ignore[misc]  # it is in the peer's environment only
    """Does with each task what it is told."""

    def __init__(self, broker: Any, storage: Any, work: Any) -> None:  # noqa: ANN401
        super().__init__(broker=broker, storage=storage)  # pyright: ignore[reportUnknownMemberType]
        self.work: Final[Any] = work

    async def run_task(self, params: Any) -> None:  # noqa: ANN401
        """As fasta2a calls it."""
        await self.work(self.storage, params["id"])

    async def cancel_task(self, params: Any) -> None:  # noqa: ANN401
        """As fasta2a calls it."""

    def build_message_history(self, history: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """As fasta2a calls it."""
        return []

    def build_artifacts(self, result: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """As fasta2a calls it."""
        return []


@asynccontextmanager
async def served(work: Any) -> AsyncGenerator[Any]:  # noqa: ANN401
    """An application around such an agent, in memory: there is no other storage."""
    queue, store = broker.InMemoryBroker(), storage.InMemoryStorage()
    app = fasta2a.FastA2A(storage=store, broker=queue)
    async with app.task_manager, Worker(queue, store, work).run():
        yield app


async def call(app: Any, method: str, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """One call of JSON-RPC over HTTP, by ASGI; what came back."""
    body = json.dumps({"jsonrpc": "2.0", "id": "1", "method": method, "params": params})
    said: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body.encode(), "more_body": False}

    async def send(part: dict[str, Any]) -> None:
        said.append(part.get("body", b""))

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }
    await app(scope, receive, send)
    answer: dict[str, Any] = json.loads(b"".join(said))
    return answer


def message(number: int, **more: str) -> dict[str, Any]:
    """The parameters of message/send."""
    part = {"kind": "text", "text": "go"}
    return {
        "message": {
            "kind": "message",
            "messageId": str(number),
            "role": "user",
            "parts": [part],
            **more,
        }
    }
