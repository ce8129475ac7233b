"""The events of a task as a stream (`text/event-stream`): a gap-free part of its log.

Each event has its number as `id`, by which a reader goes on (`Last-Event-ID`).  The stream
ends with the task, after an event called `end`; who asks for more after that is answered 204,
upon which browsers stop asking.  It ends without that when the server stops.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Final

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from interlock import OUTCOMES, Event
from interlock.errors import InvalidInput
from interlock_adapters._callers.access import Access
from interlock_adapters._http.shutdown import HangUp, Stopping

#: Milliseconds after which a browser takes up a stream again that broke off.
RETRY_MS: Final = 1_000
#: Seconds between two signs of life: proxies cut off what is silent for a minute.
BEAT_S: Final = 15.0
#: Bytes of encoded events that are kept for further readers.
KEPT_BYTES_MAX: Final = 16_777_216
#: No log is longer, and no number in JSON is exact beyond.
PLACE_MAX: Final = 2**53

_BEAT: Final = b": there\n"


class Encoder:
    """Encodes each event once for all its readers, as long as it is kept."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._kept: Final[OrderedDict[tuple[str, int], bytes]] = OrderedDict()
        self._bytes_max: Final = bytes_max
        #: Of all that is kept.
        self.bytes_kept = 0
        #: How many were encoded so far.
        self.encoded = 0

    def of(self, task_id: str, event: Event) -> bytes:
        """The event as it goes over the wire; the log never changes, so its number names it."""
        key = (task_id, event.seq)
        known = self._kept.get(key)
        if known is not None:
            self._kept.move_to_end(key)
            return known
        # As ASCII no text has a line break in it that could end an event.
        said = json.dumps(event.to_json(), separators=(",", ":"))
        made = b"id: %d\ndata: %b\n\n" % (event.seq, said.encode())
        self.encoded += 1
        self._kept[key] = made
        self.bytes_kept += len(made)
        while self.bytes_kept > self._bytes_max:
            self.bytes_kept -= len(self._kept.popitem(last=False)[1])
        return made


def place_of(after: int | None, last_event_id: str | None) -> int:
    """Where a stream goes on: what the browser saw last, and else what was asked for.

    Raises:
        InvalidInput: it is no number of an event.
    """
    if not last_event_id:
        return after or 0
    # More digits than a place has could not be read as a number.
    digits = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 16  # noqa: PLR2004  as said
    if not digits or int(last_event_id) > PLACE_MAX:
        raise InvalidInput(["the Last-Event-ID is no id of an event; it is a number from 0 on"])
    return int(last_event_id)


async def event_stream(
    access: Access, task_id: str, after: int, encoder: Encoder, stopping: Stopping
) -> Response:
    """The response that streams what comes after event number `after`.

    Raises:
        UnknownTask, LimitReached, NotAccepting: see `Access.subscribe`.
        InvalidInput: the log is not that long.
    """
    record = await access.record(task_id)
    if after > record.seq:
        raise InvalidInput([f"after is beyond the log, whose last event is {record.seq}"])
    # An event that is there already comes at once: whoever may not read hears of it before the
    # stream has begun.
    events = access.subscribe(task_id, max(0, after - 1))
    first = await anext(events, None)
    if first is not None and first.seq <= after and first.dest in OUTCOMES:
        await events.aclose()
        first = None
    if first is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return _Stream(task_id, first, events, after, encoder, stopping)


class _Stream(Response):
    """Sends events as they come."""

    media_type = "text/event-stream"
    charset = "utf-8"

    def __init__(
        self,
        task_id: str,
        first: Event,
        events: AsyncGenerator[Event],
        after: int,
        encoder: Encoder,
        stopping: Stopping,
    ) -> None:
        self.status_code = HTTPStatus.OK
        self.background: BackgroundTask | None = None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})
        self._task_id: Final = task_id
        self._first: Final = first
        self._events: Final = events
        self._after: Final = after
        self._encoder: Final = encoder
        self._stopping: Final = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one reader."""
        del scope
        async with aclosing(self._events):
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self._sent_headers(),
                }
            )
            with suppress(TimeoutError):
                async with self._stopping.patience(hang_up=HangUp(receive)):
                    await self._send_all(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _sent_headers(self) -> list[tuple[bytes, bytes]]:
        # It has no length.
        return [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def _send_all(self, send: Send) -> None:
        await _send(send, b"retry: %d\n\n" % RETRY_MS)
        beating = asyncio.ensure_future(_beat(send))
        try:
            last = self._first
            async for event in self._all():
                last = event
                if event.seq > self._after:
                    await _send(send, self._encoder.of(self._task_id, event))
            if last.dest in OUTCOMES:
                said = json.dumps({"phase": last.dest.value})
                await _send(send, b"event: end\ndata: %b\n\n" % said.encode())
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _all(self) -> AsyncIterator[Event]:
        yield self._first
        async for event in self._events:
            yield event


async def _beat(send: Send) -> None:
    while True:
        await asyncio.sleep(BEAT_S)
        await _send(send, _BEAT)


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
