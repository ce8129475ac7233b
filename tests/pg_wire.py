"""A wire between a store and its server that can be cut at the worst moment.

Only the connection on which a given text is seen is cut, at the first time that it is seen.
"""

import asyncio
import contextlib
import enum
from collections.abc import AsyncGenerator
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Cut(enum.Enum):
    """What becomes of the request in which the text is seen."""

    #: The server never gets it.
    REQUEST = "request"
    #: The server does it, and nobody learns of that.
    ANSWER = "answer"
    #: The client is cut off at once, and the server gets it when it is let go.
    LATE = "late"


class Wire:
    """Passes everything on, until it is told to cut."""

    def __init__(self, url: str) -> None:
        self._url: Final = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        self._cut: tuple[bytes, Cut] | None = None
        self._pipes: Final[set[asyncio.Task[None]]] = set()
        self._port = 0
        #: Set when it has been cut.
        self.is_cut: Final = asyncio.Event()
        #: Set by the test: what is late may arrive.
        self.let_go: Final = asyncio.Event()
        #: Set when what was late was answered.
        self.has_arrived: Final = asyncio.Event()

    @property
    def url(self) -> str:
        """The way to the server that leads through here."""
        return make_conninfo(**{**self._url, "port": str(self._port)})

    def cut(self, text: bytes, how: Cut) -> None:
        """Cut the next connection on which a client says this."""
        self._cut = (text, how)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator["Wire"]:
        """Pass on for as long as the block lasts."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for pipe in list(self._pipes):
                pipe.cancel()
            await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", int(self._url["port"]))
        answers = asyncio.create_task(_pump(there, writer))
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                while data := await reader.read(65_536):
                    if self._cut is not None and self._cut[0] in data:
                        await self._do_cut(data, there, back, writer, answers)
                        break
                    back.write(data)
                    await back.drain()
        finally:
            answers.cancel()
            writer.close()
            back.close()
            self._pipes.discard(task)

    async def _do_cut(
        self,
        data: bytes,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
        answers: "asyncio.Task[None]",
    ) -> None:
        assert self._cut is not None
        (_, how), self._cut = self._cut, None
        answers.cancel()
        await asyncio.gather(answers, return_exceptions=True)
        if how is Cut.ANSWER:
            back.write(data)
            await there.read(1)
        writer.close()
        self.is_cut.set()
        if how is Cut.LATE:
            await self.let_go.wait()
            back.write(data)
            await there.read(1)
            self.has_arrived.set()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
