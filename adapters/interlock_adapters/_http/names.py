"""The addresses of hosts that strangers name: looked up a few at a time, apart from all else.

A name may take its name server's own sweet time, and a lookup by the machine's resolver
cannot be called off: its thread is busy until there is an answer.  So a lookup keeps its
place for as long as it lasts, also when nobody waits for it any more, and the threads are
nobody else's.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

#: Finds the addresses of (host, port), as text; raises OSError when there are none.
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


def literal(host: str) -> str | None:
    """The address that a host is already, in one of the ways to write it; None for a name."""
    try:
        if ":" in host:
            return str(ipaddress.IPv6Address(host))
        # Reads decimal, hex and short forms, as the machine's resolver does.
        return str(ipaddress.IPv4Address(socket.inet_aton(host)))
    except (OSError, ValueError):
        return None


class Lookups:
    """Looks up names, at most so many at once.  Closed by `aclose`; usable again after it."""

    def __init__(self, places: int, resolve: Resolver | None = None) -> None:
        """Ask `resolve`, by default the machine's resolver on threads of our own."""
        self._resolve: Final = resolve or self._on_a_thread
        self._threads_max: Final = places
        self._places: Final = asyncio.Semaphore(places)
        self._running: Final[set[asyncio.Task[Sequence[str]]]] = set()
        #: Made when it is first needed.
        self._pool: ThreadPoolExecutor | None = None

    async def place(self) -> None:
        """Wait for a free place, for the one `look_up` that must follow at once."""
        await self._places.acquire()

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name, once `place` was given.

        Raises:
            OSError: there are none, or the lookups were closed meanwhile.
        """
        running = asyncio.ensure_future(self._asked(host, port))
        self._running.add(running)
        running.add_done_callback(self._give_back)
        await asyncio.wait([running])
        if running.cancelled():
            raise OSError("closed before there was an answer")
        return running.result()

    async def aclose(self) -> None:
        """Let go of every lookup; a thread ends when its name server has answered."""
        for running in self._running:
            running.cancel()
        if self._running:
            await asyncio.wait(self._running)
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    async def _asked(self, host: str, port: int) -> Sequence[str]:
        return await self._resolve(host, port)

    def _give_back(self, running: asyncio.Task[Sequence[str]]) -> None:
        self._running.discard(running)
        self._places.release()
        if not running.cancelled():
            running.exception()  # Heard, also when nobody waits for it any more.

    async def _on_a_thread(self, host: str, port: int) -> Sequence[str]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads_max, "interlock names")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _by_the_machine, host, port)


def _by_the_machine(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]
