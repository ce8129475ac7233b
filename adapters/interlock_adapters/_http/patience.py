"""How long the HTTP server waits for a client, and for how many of them.

uvicorn waits for ever for the head of a request, takes one of any length, and keeps whatever a
client does not read.  `Patient` stands before its protocols and ends that.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

try:
    import resource
except ModuleNotFoundError:  # Windows has no such limits.
    resource = None  # type: ignore[assignment]

#: Files that a process has open besides its connections: the store, logs, calls of its own.
_OTHER_FILES: Final = 128
#: Connections beyond the bound that are told so (503); those beyond them are hung up on.
_TOLD: Final = 64

TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


def _connections() -> int:
    """As many as the process may have files open for, up to many."""
    if resource is None:
        return 10_000
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return 10_000
    return max(64, min(10_000, allowed - _OTHER_FILES))


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds on clients.  Times are seconds."""

    #: For the head of a request, from the connection or from the head's first byte.
    head_s: float = 10.0
    #: Bytes of one head.
    head_bytes_max: int = 65_536
    #: For a client to read on, when it has left unread what the system and we keep for it.
    stall_s: float = 60.0
    #: Without a request, after an answer.
    idle_s: int = 5
    #: Open at once; None: as many as the limit of open files has room for, up to 10,000.
    connections_max: int | None = None

    @property
    def connections(self) -> int:
        """Connections that are served at once."""
        return self.connections_max or _connections()


class Patient(asyncio.Protocol):
    """Comes before a protocol of uvicorn's, whose attributes it reads."""

    patience: ClassVar[Patience]
    #: uvicorn's.
    transport: asyncio.Transport
    connections: set[Any]
    cycle: Any
    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    #: Bytes that came since the last head was whole.
    _came: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, if there is room, and wait for a head."""
        super().connection_made(transport)
        if len(self.connections) > self.patience.connections + _TOLD:
            cast("asyncio.Transport", transport).abort()
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; its head may be whole now, or grow too long."""
        super().data_received(data)
        if self._is_serving() or self.transport.is_closing():
            self._came = 0
            self._heard()
            return
        self._came += len(data)
        if self._came > self.patience.head_bytes_max:
            self.transport.write(TOO_LARGE)
            self.transport.close()
        elif self._head is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._heard()
        self._moved()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read, and what is kept for it is enough."""
        super().pause_writing()
        self._moved()
        loop = asyncio.get_running_loop()
        # It would not read a farewell either.
        self._stall = loop.call_later(self.patience.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads on."""
        self._moved()
        super().resume_writing()

    def _await_head(self) -> None:
        loop = asyncio.get_running_loop()
        self._head = loop.call_later(self.patience.head_s, self._give_up)

    def _heard(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _moved(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _give_up(self) -> None:
        # A handshake of another protocol has taken the connection over.
        if self.transport.get_protocol() is self:
            self.transport.close()

    def _is_serving(self) -> bool:
        """Whether a head was whole, and its answer is not."""
        return self.cycle is not None and not self.cycle.response_complete


def patient(patience: Patience) -> type[asyncio.Protocol]:
    """The protocol of uvicorn's that is best here, with patience."""
    return type("PatientProtocol", (Patient, AutoHTTPProtocol), {"patience": patience})
