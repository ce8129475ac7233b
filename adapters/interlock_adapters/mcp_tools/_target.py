"""Where an MCP server is, and how it is spoken to; no connection yet."""

import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Self, TextIO, TypeAlias, cast
from urllib.parse import urlsplit

import anyio
from mcp import StdioServerParameters, stdio_client
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp.shared.message import SessionMessage
from mcp_types.version import LATEST_MODERN_VERSION

from interlock_adapters.mcp_tools._http import McpHttp

#: Which family of protocol revisions is spoken; "auto" asks the server.
Era: TypeAlias = Literal["auto", "legacy", "modern"]

Mode: TypeAlias = str
#: What the SDK calls the eras.
MODES: Final[Mapping[str, Mode]] = {
    "auto": "auto",
    "legacy": "legacy",
    "modern": LATEST_MODERN_VERSION,
}


@dataclass(frozen=True, slots=True)
class InProcess:
    """A server of this process, for tests."""

    server: MCPServer | Server[Any]

    def __str__(self) -> str:
        return "in process"


@dataclass(frozen=True, slots=True)
class Command:
    """A server that is started as a process, and spoken to by its pipes."""

    parameters: StdioServerParameters = field(repr=False)

    def __str__(self) -> str:
        # Arguments and environment may hold secrets.
        return self.parameters.command


@dataclass(frozen=True, slots=True)
class Address:
    """A server behind a URL."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        # A query may hold a secret.
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


Target: TypeAlias = InProcess | Command | Address


@dataclass(eq=False)
class Way:
    """How one connection goes: what the SDK's client is to be made of, and what it tells us."""

    #: What `Client` takes.
    server: MCPServer | Server[Any] | Transport
    #: Call it when the connection stands.
    settle: Callable[[], None]


def way_to(
    target: Target,
    headers: Mapping[str, str],
    *,
    answer_bytes_max: int,
    lost: Callable[[], None],
) -> Way:
    """The way to a server; `lost` is called as soon as it is known to be cut."""
    match target:
        case InProcess(server):
            return Way(server, _nothing)
        case Command(parameters):
            return Way(_piped(parameters, lost), _nothing)
        case Address(url):
            http = McpHttp(headers, answer_bytes_max=answer_bytes_max)
            return Way(_posted(url, http, answer_bytes_max), http.settle)


def _nothing() -> None:
    """There is nothing to be said to this kind of connection."""


@asynccontextmanager
async def _posted(url: str, http: McpHttp, bytes_max: int) -> AsyncGenerator[Any]:
    opened = streamable_http_client(url, http_client=http, max_sse_event_size=bytes_max)
    async with http, opened as streams:
        yield streams


@asynccontextmanager
async def _piped(
    parameters: StdioServerParameters, lost: Callable[[], None]
) -> AsyncGenerator[Any]:
    # Not the SDK's default, which is what it was when the SDK was imported, perhaps closed since.
    async with stdio_client(parameters, errlog=_errors()) as (read, write):
        yield _Watched(read, lost), write


def _errors() -> TextIO:
    """Where a server's process may complain: as we do, if that is something with a descriptor."""
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # None, a buffer, closed
        return cast("TextIO", sys.__stderr__)
    return sys.stderr


class _Watched:
    """A stream from a server that says when it has ended: nobody else would before a call."""

    def __init__(self, inner: Any, lost: Callable[[], None]) -> None:  # noqa: ANN401
        self._inner: Final = inner
        self._lost: Final = lost

    async def receive(self) -> SessionMessage | Exception:
        try:
            received: SessionMessage | Exception = await self._inner.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._lost()
            raise
        return received

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
