"""A peer that is an MCP server with the Tasks extension (SEP-2663): `bench.mcp_peer_client`.

There is no first event: neither server tells of a task unasked, and clients poll.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from bench.compare.idle import Idle
from bench.mcp_peer_client import Client


class Wire:
    """One server; as many clients as there are requests at once."""

    def __init__(self, port: int, _path: str) -> None:
        self._port: Final = port
        self._idle: Final = Idle[Client]()

    async def life(self) -> None:
        """See `Peer.life`."""
        async with self._client() as client:
            await client.life()

    async def ask(self) -> tuple[str, str]:
        """See `Peer.ask`."""
        async with self._client() as client:
            return await client.ask()

    async def answer(self, asked: tuple[str, str]) -> None:
        """See `Peer.answer`."""
        async with self._client() as client:
            await client.answer(*asked)

    async def cancel(self, asked: tuple[str, str]) -> None:
        """See `Peer.cancel`."""
        async with self._client() as client:
            await client.cancelled(asked[0])

    async def first(self) -> float:
        """See `Peer.first`."""
        raise NotImplementedError

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[Client]:
        client = self._idle.get() or await Client.open(self._port)
        yield client
        self._idle.put(client)
