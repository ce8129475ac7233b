"""A peer that is a library: it and what measures it are one process, in the peer's environment.

    python -m bench.compare.embedded MODULE DATABASE

It reads a part's name and settings from standard input, one line of JSON each, and writes what
was found, one line each.  It ends when its standard input does.
"""

import asyncio
import gc
import importlib
import json
import os
import platform
import sys
from importlib.metadata import version
from typing import Any

from bench.compare import parts


async def _main(module: Any, database: str, told: int) -> None:  # noqa: ANN401
    async with module.opened(database) as peer:
        probe = parts.Probe(os.getpid())
        versions = {"Python": platform.python_version()}
        versions |= {package: version(package) for package in module.PACKAGES}
        _tell(told, {"versions": versions})
        # Of every library alike: what was imported is not searched for garbage again.
        gc.collect()
        gc.freeze()
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        # No thread is spent on it: threads are counted.
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            asked = json.loads(line)
            try:
                found = await parts.done(peer, probe, asked.pop("part"), asked)
            except Exception as error:  # noqa: BLE001  whatever it is, the runner is told
                found = {"error": f"{type(error).__name__}: {error}"}
            _tell(told, found)
    # Threads of the peer may not end.
    os._exit(0)


def _tell(told: int, what: dict[str, Any]) -> None:
    os.write(told, json.dumps(what).encode() + b"\n")


def main() -> None:
    """Serve until standard input closes."""
    _, module, database = sys.argv
    # Whatever the peer prints must not come between.
    told = os.dup(1)
    os.dup2(2, 1)
    uvloop = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(importlib.import_module(f"bench.compare.{module}"), database, told))


if __name__ == "__main__":
    main()
