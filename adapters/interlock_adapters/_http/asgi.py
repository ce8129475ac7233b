"""Small guards in front of every HTTP face: pure ASGI, no framework, no protocol.

`BodyLimit` reads a request's body before anybody parses it, and answers itself when it is
too large, too slow, too deep or of too many values.  `SseIds` gives the events of a stream the
ids by which a reader resumes, and `OneLine` keeps each of them on its line for every reader.  All
let everything else pass as it is.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from enum import Enum
from http import HTTPStatus
from itertools import accumulate
from typing import Any, Final, TypeAlias, TypeVar, cast

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
V = TypeVar("V")
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Bytes of one body: a few of the largest payloads that an engine takes by default.
BODY_BYTES_MAX: Final = 4 * 1_048_576
#: Seconds for the whole of a body: 4 MiB over a slow mobile line.
READ_S: Final = 30.0
#: Levels of objects and arrays in a body.  People nest five deep; parsers of ours break
#: somewhere beyond a hundred, each in its own way.
DEPTH_MAX: Final = 100
#: Values in a body: each comma and each opening bracket outside of texts is one more.  What
#: parses and copies them (protobuf, pydantic, ourselves) takes 5 to 25 µs for each, and nobody
#: else is served meanwhile: 0.2 s at worst over JSON-RPC, 0.3 s over REST, 0.5 s over gRPC of
#: version 0.3, measured for this many; without a bound, 4 MiB of `[0,0,…` took 8 s.
VALUES_MAX: Final = 20_000
#: How a refusal is written (RFC 9457).
PROBLEM_JSON: Final = "application/problem+json"

_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))
#: One level up, one level down, as signed bytes.
_STEP: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
#: What an event's JSON wraps around the thing that has the metadata.
_ENVELOPES: Final = frozenset({"result", "task", "message", "statusUpdate", "artifactUpdate"})


class _GoneError(Exception):
    """The client hung up before its request was whole."""


class _RefusedError(Exception):
    """The request goes no further; `code` and the message are the answer."""

    def __init__(self, code: HTTPStatus, why: str) -> None:
        self.code = code
        super().__init__(why)


class BodyLimit:
    """Reads each body before the application is called, within bounds.

    A refusal is a `application/problem+json` (RFC 9457): 413 over `max_bytes` or
    `values_max`, 408 after `read_s` seconds, 400 over `depth_max` levels of JSON, or where
    there is much of it in another encoding than UTF-8 (RFC 8259 §8.1).
    """

    def __init__(
        self,
        app: App,
        *,
        max_bytes: int = BODY_BYTES_MAX,
        read_s: float = READ_S,
        depth_max: int = DEPTH_MAX,
        values_max: int = VALUES_MAX,
    ) -> None:
        """Stand in front of `app`."""
        self._app: Final = app
        self._max_bytes: Final = max_bytes
        self._read_s: Final = read_s
        self._depth_max: Final = depth_max
        self._values_max: Final = values_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; only HTTP requests have a body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except _RefusedError as refusal:
            await refuse(send, refusal.code, str(refusal))
            return
        except _GoneError:
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            # After the body, whoever listens hears when the client hangs up.
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        declared = next((v for n, v in scope["headers"] if n == b"content-length"), b"")
        # A length is ten digits or it is too much; more could not be read as a number.
        if declared.isdigit() and (len(declared) > 10 or int(declared) > self._max_bytes):  # noqa: PLR2004  as said
            raise self._too_large()
        try:
            async with asyncio.timeout(self._read_s):
                body = await self._read_all(receive)
        except TimeoutError:
            why = f"the body was not read within {self._read_s:g} s"
            raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT, why) from None
        match excess_of(body, depth_max=self._depth_max, values_max=self._values_max):
            case Excess.DEPTH:
                why = f"the JSON nests deeper than {self._depth_max} levels"
                raise _RefusedError(HTTPStatus.BAD_REQUEST, why)
            case Excess.VALUES:
                why = f"the JSON has more than {self._values_max} values"
                raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)
            case Excess.ENCODING:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, "the body is not UTF-8, as JSON is")
            case None:
                return body

    async def _read_all(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._max_bytes:
                raise self._too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks) if len(chunks) > 1 else chunk

    def _too_large(self) -> _RefusedError:
        why = f"the body has more than {self._max_bytes} bytes"
        return _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)


class Excess(Enum):
    """What a JSON text has too much of."""

    DEPTH = "depth"
    VALUES = "values"
    #: Which nobody counts through.
    ENCODING = "encoding"


def excess_in(text: str) -> str | None:
    """What a text that is to be read as JSON has too much of, in words: as much as a body may."""
    if excess_of(text.encode(errors="replace"), depth_max=DEPTH_MAX, values_max=VALUES_MAX):
        return f"it nests deeper than {DEPTH_MAX}, or has over {VALUES_MAX} values"
    return None


def excess_of(body: bytes, *, depth_max: int, values_max: int) -> Excess | None:
    """What a JSON text has too much of, if anything.

    Of broken JSON it says how deep a parser would go into it, and how much it would find
    there, or less.  The time is linear, 20 ms at most for 4 MiB.
    """
    # Three scans settle nearly every body, of any encoding that a parser would take.
    opened = body.count(b"[") + body.count(b"{")
    if opened <= depth_max and opened + body.count(b",") < values_max:
        return None
    if 0 in body:
        return Excess.ENCODING  # UTF-16 or UTF-32, where a quote may be half of another letter.
    # Two backslashes are none of the quote's; what is left before a quote escapes it.
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * values_max:  # A value has at most a name and itself to quote.
        return Excess.VALUES
    outside = b"".join(bare.split(b'"')[::2])
    # As many brackets as there can be among so many values.
    brackets = outside.translate(_STEP, _NO_BRACKET)[: 2 * values_max]
    if max(accumulate(memoryview(brackets).cast("b"), initial=0)) > depth_max:
        return Excess.DEPTH
    values = 1 + outside.count(b"[") + outside.count(b"{") + outside.count(b",")
    return Excess.VALUES if values > values_max else None


def once(pairs: list[tuple[str, V]]) -> dict[str, V]:
    """An object of JSON, as `object_pairs_hook`; of a key that is there twice the last would win.

    Raises:
        ValueError: one is.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is there twice")
    return made


async def refuse(
    send: Send, code: HTTPStatus, why: str, further: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with a problem (RFC 9457), and that the connection is at its end.

    `further` are headers besides those of every refusal.
    """
    problem = {"type": "about:blank", "title": code.phrase, "status": code.value, "detail": why}
    body = json.dumps(problem).encode()
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        # What is left of the request is not worth reading.
        (b"connection", b"close"),
        *further,
    ]
    await send({"type": "http.response.start", "status": code.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})


#: What ends a line for `str.splitlines`, and so for clients that read lines by it (httpx does, and
#: httpx-sse did until 0.4.2), but in no server-sent event; and what says the same in JSON, in whose
#: texts alone it can be.
_LINE_ENDS: Final = {
    char.encode(): json.dumps(char)[1:-1].encode() for char in ("\x85", "\u2028", "\u2029")
}


def in_one_line(body: bytes) -> bytes:
    """Events whose data are JSON, with no more ends of lines in them than everybody sees."""
    if not body.isascii():
        for char, escaped in _LINE_ENDS.items():
            body = body.replace(char, escaped)
    return body


class OneLine:
    """Escapes in a `text/event-stream` of JSON what only some take for the end of a line."""

    def __init__(self, app: App) -> None:
        """Stand in front of `app`."""
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        streams = False

        async def pass_on(message: Message) -> None:
            nonlocal streams
            if message["type"] == "http.response.start":
                streams = _is_event_stream(message)
            elif streams and message.get("body"):
                message = {**message, "body": in_one_line(message["body"])}
            await send(message)

        await self._app(scope, receive, pass_on)


#: Nothing but a comment, and the end of the event that it is not.
_COMMENT: Final = re.compile(rb":[^\r\n]*(\r\n\r\n|\n\n)")


class SseIds:
    """Gives each event of a `text/event-stream` the id that its JSON names.

    The id is the value of `key` in the metadata of what the event shows.  The JSON is not touched
    but for what `OneLine` escapes, and nothing waits for anything: what is sent is passed on at
    once.

    A comment, which shows that the stream lives, loses the empty line after it: to clients of
    httpx-sse that would be an event without data once an event had an id, and those of the SDK 0.3
    take it for a broken one.
    """

    def __init__(self, app: App, *, key: str) -> None:
        """Stand in front of `app`."""
        self._app: Final = app
        self._key: Final = key
        self._quoted: Final = json.dumps(key).encode()
        # An id is a word; `[ ]?` is how the two common writers of JSON differ.
        self._named: Final = re.compile(
            re.escape(self._quoted) + rb':[ ]?"([A-Za-z0-9._:-]{1,64})"'
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        streams = False
        whole = True

        async def pass_on(message: Message) -> None:
            nonlocal streams, whole
            if message["type"] == "http.response.start":
                streams = _is_event_stream(message)
            elif streams and message["type"] == "http.response.body":
                sent = message.get("body", b"")
                body = in_one_line(sent)
                if body is not sent:
                    message = {**message, "body": body}
                if whole and _COMMENT.fullmatch(body):
                    await send({**message, "body": body.rstrip() + b"\r\n"})
                    return
                # Writers send whole events; a piece of one is passed on as it is.
                began_whole, whole = whole, body.endswith((b"\n\n", b"\r\n\r\n")) or not body
                if began_whole and whole:
                    message = {**message, "body": self._with_ids(body)}
            await send(message)

        await self._app(scope, receive, pass_on)

    def _with_ids(self, body: bytes) -> bytes:
        if self._quoted not in body:
            return body
        if body.startswith(b"id:") and body.count(b"\r\n\r\n") + body.count(b"\n\n") == 1:
            return body  # One event, which has its id: the rest would take longer than the event.
        return b"".join(self._with_id(event) for event in _events(body))

    def _with_id(self, event: bytes) -> bytes:
        event_id = self._id_of(event)
        if event_id is None or event.startswith(b"id:") or b"\nid:" in event:
            return event
        end = b"\r\n" if event.endswith(b"\r\n") else b"\n"
        return b"id: " + event_id + end + event

    def _id_of(self, event: bytes) -> bytes | None:
        named = self._named.findall(event)
        if not named:
            return None
        if event.count(self._quoted) == 1:
            return cast("bytes", named[0])
        # Somebody's data uses the same key: only the metadata is ours.
        lines = (line for line in event.splitlines() if line.startswith(b"data:"))
        try:
            said = json.loads(b"\n".join(line[5:] for line in lines))
        except ValueError:
            return None
        value = _metadata_of(said).get(self._key)
        if isinstance(value, str) and value.encode() in named:
            return value.encode()
        return None


def _is_event_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in start.get("headers", ())
    )


def _events(body: bytes) -> Iterator[bytes]:
    """Whole events, each with the empty line that ends it."""
    end = b"\r\n\r\n" if body.endswith(b"\r\n\r\n") else b"\n\n"
    *events, _ = body.split(end)
    return (event + end for event in events)


def _metadata_of(said: object) -> dict[str, Any]:
    """The metadata of what an event shows: inside an envelope or two, or none."""
    while isinstance(said, dict):
        envelope = cast("dict[str, Any]", said)
        if isinstance(envelope.get("metadata"), dict):
            return cast("dict[str, Any]", envelope["metadata"])
        said = next((v for k, v in envelope.items() if k in _ENVELOPES), None)
    return {}
