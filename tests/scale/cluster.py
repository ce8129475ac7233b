"""Two replicas on one store, a balancer before them, and what is done to them."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faults.run import Server, Trouble, forker, stop
from faults.world import write_line
from scale.proxy import Proxy, proxied
from scale.replica import Life

#: Replicas of a cluster.
REPLICAS: Final = 2
#: Between two looks at something that nobody tells.
PAUSE_S: Final = 0.02


@dataclass
class Cluster:
    """What there is, and what happens to it; each blow is written down for the audit."""

    replicas: list[Server]
    proxy: Proxy
    life: Life

    @property
    def directory(self) -> Path:
        """Where everybody writes things down."""
        return Path(self.life.directory)

    async def start(self, number: int, life: Life | None = None) -> None:
        """Start that replica, and wait until it serves.

        Raises:
            Trouble: it did not come up.
        """
        replica = self.replicas[number]
        await replica.start(life or self.life)
        if not await replica.ready():
            raise Trouble(f"replica {number} did not come up")

    async def kill(self, number: int) -> None:
        """Kill it, and wait until it is gone."""
        replica = self.replicas[number]
        self.blow("kill", replica.pid)
        replica.kill()
        await replica.ended()

    async def drain(self, number: int) -> None:
        """Stop it as an operator does: it hands its turns over."""
        replica = self.replicas[number]
        self.blow("drain", replica.pid)
        await stop(replica)

    def freeze(self, number: int) -> None:
        """Stop it where it is."""
        replica = self.replicas[number]
        self.blow("freeze", replica.pid)
        replica.signal(signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """Let it go on as if nothing had been."""
        replica = self.replicas[number]
        self.blow("thaw", replica.pid)
        replica.signal(signal.SIGCONT)

    async def frozen(self, number: int, within_s: float) -> bool:
        """Wait until it has stopped itself; False if it does not."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            if _is_stopped(self.replicas[number].pid):
                return True
            await asyncio.sleep(PAUSE_S)
        return False

    def blow(self, what: str, pid: int = 0) -> None:
        """Write down what was done to whom, and when."""
        line = {"blow": what, "pid": pid, "at": time.monotonic()}
        write_line(self.directory / "blows.jsonl", line)

    def witnessed(self) -> list[dict[str, Any]]:
        """What replicas wrote down so far."""
        return witnessed_in(self.directory)


@contextlib.asynccontextmanager
async def forkers() -> AsyncGenerator[list[Server]]:
    """The processes that fork replicas, one for each, for as long as a block lasts."""
    async with contextlib.AsyncExitStack() as stack:
        coming = [stack.enter_async_context(forker("scale.replica")) for _ in range(REPLICAS)]
        yield [*await asyncio.gather(*coming)]


@contextlib.asynccontextmanager
async def clustered(replicas: list[Server], life: Life) -> AsyncGenerator[Cluster]:
    """Replicas that are not started yet, and a balancer, for as long as a block lasts."""
    ports = [int(replica.url.rpartition(":")[2]) for replica in replicas]
    async with proxied(ports) as proxy:
        try:
            yield Cluster(replicas, proxy, life)
        finally:
            # Nobody is left, whatever went wrong.
            for replica in replicas:
                if replica.pid:
                    replica.kill()
                    await replica.ended()


def _is_stopped(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return stat.rpartition(")")[2].split()[0] == "T"


def witnessed_in(directory: Path) -> list[dict[str, Any]]:
    """What replicas wrote down, in the order of time."""
    lines = [
        json.loads(line)
        for path in sorted(directory.glob("replica-*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return sorted(lines, key=lambda line: line["at"])
