"""A balancer: each connection goes to the next replica that takes one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def balanced(ports: Sequence[int]) -> AsyncGenerator[str]:
    """The URL of a balancer in front of these ports of this machine."""
    turns = 0

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turns
        for _ in ports:
            port = ports[turns % len(ports)]
            turns += 1
            with suppress(OSError):
                there, to_there = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_pump(reader, to_there), _pump(there, writer))
                return
        writer.close()

    async with await asyncio.start_server(accepted, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
