"""Temporal: without its server nothing runs; a client does not even start."""

import asyncio
import importlib
import socket
from typing import Any, Final

from bench.claims._seen import tell

client: Final[Any] = importlib.import_module("temporalio.client")


async def _main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    try:
        await client.Client.connect(f"127.0.0.1:{port}")
        said = "connected"
    except RuntimeError as error:
        said = str(error).partition("\n")[0].replace(str(port), "PORT")[:120]
    tell(holds=said != "connected", seen=f"Client.connect says: {said}")


if __name__ == "__main__":
    asyncio.run(_main())
