"""What becomes of a token whose task was purged, and nobody told the objects.  R-RST-08.

A stand-in for the server answers what the objects would; what they do themselves is in
`test_objects`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest

from interlock import MemoryStore
from interlock.stores import TokenTaken
from interlock.testing._store_contract import claim_of, commit_of, submitted, whole_life
from interlock_adapters.restate import RestateStore
from interlock_adapters.restate._wire import claim_json
from support import soon

OLD: Final = whole_life("old", token="m1")  # noqa: S106  no password
NEW: Final = submitted("new", token="m1")  # noqa: S106  as above


class Server:
    """Two objects: the token is the old task's until that one forgets it."""

    def __init__(self, *, forgets: bool) -> None:
        #: Whether the object of the old task finds that it is finalized.
        self.forgets = forgets
        self.is_free = False
        self.calls: Final[list[str]] = []
        self._serving: Final[set[asyncio.Task[None]]] = set()

    @contextlib.asynccontextmanager
    async def store(self, projection: MemoryStore) -> AsyncGenerator[RestateStore]:
        """A store that calls it, open."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            store = RestateStore(f"restate://127.0.0.1:{port}?serve=off", projection=projection)
            await store.open()
            try:
                yield store
            finally:
                await store.close()
                await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        # Until the client hangs up.
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                _, _, rest = head.partition("content-length: ")
                await reader.readexactly(int(rest.split("\r\n")[0]))
                body = json.dumps(self._answer(head.split(" ")[1])).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    def _answer(self, path: str) -> Any:  # noqa: ANN401  any JSON
        _, _, task_id, handler = path.split("/")
        self.calls.append(f"{handler} {task_id}")
        if handler == "forget":
            self.is_free = self.forgets
            return self.forgets
        if self.is_free:
            return {"is": "done"}
        return {"is": "taken", "claim": claim_json(claim_of(OLD[0]))}


async def test_a_token_whose_task_is_gone_is_free() -> None:
    """Its object is told now; who came with the token would try it again and again.  R-RST-08."""
    server = Server(forgets=True)
    async with server.store(MemoryStore()) as store:
        await soon(store.commit(commit_of(NEW, claims=[claim_of(NEW)])))
    assert server.calls == ["append new", "forget old", "append new"]


async def test_a_token_whose_task_is_just_being_made_is_taken() -> None:
    """The projection does not have it yet, and its object knows better.  R-RST-08, I19."""
    server = Server(forgets=False)
    async with server.store(MemoryStore()) as store:
        with pytest.raises(TokenTaken) as taken:
            await soon(store.commit(commit_of(NEW, claims=[claim_of(NEW)])))
    assert taken.value.claim == claim_of(OLD[0])
    assert server.calls == ["append new", "forget old"]


async def test_a_token_whose_task_is_there_costs_no_further_call() -> None:
    """As with each repeat of a request.  I19."""
    server = Server(forgets=True)
    memory = MemoryStore()
    await memory.commit(commit_of(*OLD, claims=[claim_of(OLD[0])]))
    async with server.store(memory) as store:
        with pytest.raises(TokenTaken):
            await soon(store.commit(commit_of(NEW, claims=[claim_of(NEW)])))
    assert server.calls == ["append new"]
