"""The HTTP client under an MCP client: one request that fails takes no other with it.

The SDK lets an exception of a request end the whole connection, with every other call that is
open on it.  So once a connection stands, a request that fails is answered here, in the words
of the protocol, and only its own caller hears of it.  Answers are bounded in size.
"""

import logging
import math
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast

import httpx2
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST

#: Seconds until a connection stands.  How long an answer may take is the gate's to say.
CONNECT_S: Final = 30.0

#: Names the session that a request of the handshake era belongs to.
SESSION: Final = "mcp-session-id"
#: The error of a request whose session the server knows no longer: it did nothing.
FORGOTTEN: Final = (INVALID_REQUEST, "Session terminated")

#: Headers that belong to the transport: nobody else may set them.
RESERVED: Final = frozenset(
    (
        *("accept", "accept-encoding", "connection", "content-length", "content-type", "host"),
        *("last-event-id", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)


class _WithoutQueries(logging.Filter):
    """Takes the queries out of the addresses in a line: a server's may be its key."""

    _ADDRESS: Final = re.compile(r"(https?://[^\s?#'\"]*)\?[^\s'\"]*")

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        said = record.getMessage()
        if "?" in said:
            # What it was made of is shown by some formatters as well.
            record.msg, record.args = self._ADDRESS.sub(r"\1", said), ()
        return True


# The one names the address of each request at INFO, the other of each connection at DEBUG.
for _name in ("httpx2", "mcp.client.streamable_http"):
    logging.getLogger(_name).addFilter(_WithoutQueries())


def header_problems(headers: Mapping[str, str]) -> list[str]:
    """What is wrong with headers, by their names: their values may be secrets."""
    problems = [problem for name in headers for problem in name_problems(name)]
    return problems + [
        f"header {name!r}: its value cannot be sent"
        for name, value in headers.items()
        if not value.isascii() or not value.isprintable()
    ]


def name_problems(name: str) -> list[str]:
    """What is wrong with the name of a header."""
    lower = name.lower()
    if not lower or not lower.isascii() or not lower.replace("-", "").replace("_", "").isalnum():
        return [f"header {name!r:.80}: that is no name of a header"]
    if lower in RESERVED or lower.startswith("mcp-"):
        return [f"header {name!r:.80} belongs to the transport"]
    return []


class McpHttp(httpx2.AsyncClient):
    """An HTTP client whose requests fail one by one, once the connection stands."""

    def __init__(self, headers: Mapping[str, str], *, answer_bytes_max: int) -> None:
        super().__init__(
            # What is not packed cannot unpack to more than was counted.
            headers={**headers, "accept-encoding": "identity"},
            # A call may wait long for a person, and its time is the gate's.
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        )
        self._answer_bytes_max: Final = answer_bytes_max
        self._settled = False

    def settle(self) -> None:
        """The connection stands: failures before were its own, later ones are of one request."""
        self._settled = True

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:  # noqa: ANN401
        """See `httpx2.AsyncClient`."""
        try:
            response = await super().send(request, **options)
        except httpx2.TransportError as error:
            if not self._settled:
                raise
            return _failure(request, f"no connection ({type(error).__name__})")
        if response.status_code == 404 and SESSION in request.headers:  # noqa: PLR2004
            # However the server puts it: to a known request, that is all that 404 can mean.
            await response.aclose()
            return _failure(request, FORGOTTEN[1], status=404, code=FORGOTTEN[0])
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            return _failure(request, "the answer is packed, and that was not asked for")
        # The SDK bounds every event of a stream, which as a whole may go on for days.
        endless = response.headers.get("content-type", "").startswith("text/event-stream")
        body = cast("httpx2.AsyncByteStream", response.stream)
        response.stream = _Bounded(body, math.inf if endless else self._answer_bytes_max)
        return response


def _failure(
    request: httpx2.Request, why: str, *, status: int = 503, code: int = CONNECTION_CLOSED
) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": why}}
    return httpx2.Response(status, json=body, request=request)


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends in an error of the kind that the SDK takes for that of one answer."""

    def __init__(self, body: httpx2.AsyncByteStream, bytes_max: float) -> None:
        self._body: Final = body
        self._left = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body:
                self._left -= len(chunk)
                if self._left < 0:
                    raise httpx2.StreamError("the answer is too long")
                yield chunk
        except httpx2.TransportError as error:
            raise httpx2.StreamError(f"cut off ({type(error).__name__})") from None

    async def aclose(self) -> None:
        await self._body.aclose()
