"""The guards in front of every HTTP face, called as a server calls them."""

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource

from interlock_adapters._http.asgi import (
    BODY_BYTES_MAX,
    DEPTH_MAX,
    VALUES_MAX,
    App,
    BodyLimit,
    Excess,
    Message,
    OneLine,
    Receive,
    Scope,
    Send,
    SseIds,
    excess_of,
)
from interlock_adapters._http.origin import FrontDoor

KEY = "interlock/event"


class Peer:
    """A client behind a server: sends these messages, keeps what comes back."""

    def __init__(self, *messages: Message, hangs: bool = False) -> None:
        self.messages = list(messages)
        self.hangs = hangs
        self.asked = 0
        self.got: list[Message] = []

    async def receive(self) -> Message:
        """See ASGI; after the last message it hangs, or has hung up."""
        self.asked += 1
        if self.messages:
            return self.messages.pop(0)
        if self.hangs:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """See ASGI."""
        self.got.append(message)

    async def call(self, app: App, *, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Make the request."""
        scope = {"type": "http", "headers": list(headers)}
        async with asyncio.timeout(60):
            await app(scope, self.receive, self.send)

    @property
    def code(self) -> int:
        """The status code of the answer."""
        assert isinstance(self.got[0]["status"], int)
        return self.got[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers of the answer."""
        return dict(self.got[0]["headers"])


class Echo:
    """An application that answers with the body it was given, and remembers its calls."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.after: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})
        assert not message["more_body"]
        self.after.append(await receive())


def part(body: bytes, *, more: bool = False) -> Message:
    """One message of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


def length(size: int) -> list[tuple[bytes, bytes]]:
    """A declared length."""
    return [(b"content-type", b"application/json"), (b"content-length", str(size).encode())]


def check_problem(peer: Peer, code: int, detail: str) -> None:
    """The answer is one problem, whole, and the connection is not used again."""
    start, body = peer.got
    assert start["status"] == code
    assert peer.headers[b"content-type"] == b"application/problem+json"
    assert peer.headers[b"content-length"] == str(len(body["body"])).encode()
    assert peer.headers[b"connection"] == b"close"
    problem = json.loads(body["body"])
    assert (problem["status"], problem["detail"]) == (code, detail)


# --- bodies -------------------------------------------------------------------------------


async def test_a_body_arrives_whole_and_then_the_hang_up() -> None:
    """In one message, however many it came in; a long answer can still be abandoned."""
    app, peer = Echo(), Peer(part(b"[1,", more=True), part(b"2", more=True), part(b"]"))
    await peer.call(BodyLimit(app), headers=length(5))
    assert peer.got[1]["body"] == b"[1,2]"
    assert app.after == [{"type": "http.disconnect"}]


async def test_a_request_without_a_body_passes() -> None:
    """A GET has an empty one; a server may leave the fields out.  Source: ASGI 3.0, HTTP."""
    peer = Peer({"type": "http.request"})
    await peer.call(BodyLimit(Echo()))
    assert (peer.code, peer.got[1]["body"]) == (200, b"")


@pytest.mark.parametrize("declared", [b"60817408", b"4194305", b"9" * 5000])
async def test_a_declared_length_over_the_bound_is_refused_before_reading(declared: bytes) -> None:
    """Nothing is received, nothing is parsed.  Source: INVARIANTS T22, R-A2A-16."""
    app, peer = Echo(), Peer(hangs=True)
    await peer.call(BodyLimit(app), headers=[(b"content-length", declared)])
    check_problem(peer, 413, f"the body has more than {BODY_BYTES_MAX} bytes")
    assert (peer.asked, app.scopes) == (0, [])


async def test_a_body_that_grows_over_the_bound_is_refused_there() -> None:
    """Chunked, or with a length that lies; what comes after is not read.  Source: T22."""
    app, peer = Echo(), Peer(*(part(b"x" * 4, more=True) for _ in range(100)))
    await peer.call(BodyLimit(app, max_bytes=10), headers=length(8))
    check_problem(peer, 413, "the body has more than 10 bytes")
    assert (peer.asked, app.scopes) == (3, [])


async def test_a_body_of_exactly_the_bound_passes() -> None:
    """The bound is what is allowed."""
    peer = Peer(part(b"x" * 10))
    await peer.call(BodyLimit(Echo(), max_bytes=10), headers=length(10))
    assert peer.code == 200


async def test_a_body_that_does_not_come_is_given_up() -> None:
    """A slow client holds a connection for a bounded time.  Source: INVARIANTS T23."""
    app, peer = Echo(), Peer(part(b"[", more=True), hangs=True)
    await peer.call(BodyLimit(app, read_s=0), headers=length(2))
    check_problem(peer, 408, "the body was not read within 0 s")
    assert app.scopes == []


async def test_a_client_that_hangs_up_is_not_answered() -> None:
    """Half a request reaches nobody."""
    app, peer = Echo(), Peer(part(b"[", more=True))
    await peer.call(BodyLimit(app), headers=length(2))
    assert (peer.got, app.scopes) == ([], [])


async def test_json_that_nests_too_deep_is_refused() -> None:
    """Before any parser recurses into it.  Source: INVARIANTS T22, R-A2A-16."""
    app, peer = Echo(), Peer(part(b"[" * 100_000 + b"]" * 100_000))
    await peer.call(BodyLimit(app))
    check_problem(peer, 400, f"the JSON nests deeper than {DEPTH_MAX} levels")
    assert app.scopes == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_no_encoding_hides_how_much_there_is(encoding: str) -> None:
    """U+2200 has the byte of a quote in UTF-16, and parsers take that for JSON.

    Source: INVARIANTS T22; a stranger's review.
    """
    text = json.dumps(["\u2200", *([[0]] * VALUES_MAX)], ensure_ascii=False)
    app, peer = Echo(), Peer(part(text.encode(encoding)))
    await peer.call(BodyLimit(app))
    check_problem(peer, 400, "the body is not UTF-8, as JSON is")
    assert app.scopes == []


@pytest.mark.parametrize(
    ("body", "deeper"),
    [
        (b"", False),
        (b"[[[]]]", False),
        (b"[[[[]]]]", True),
        (b'{"a":{"b":{"c":1}}}', False),
        (b'{"a":{"b":[{"c":1}]}}', True),
        (b"[[[]],[[]],[[]],[[]]]", False),
        (b'["[[[[[[", "]]\\"{{{{"]', False),
        (b'[{"[":[[{}]]}]', True),
        (b"[[[[", True),
        (b"[[[", False),
        (b"}]}][][", False),
        (b'"[[[[[[[[', False),
        (b'"\\"[[[[[[[[', False),
    ],
)
def test_depth_counts_brackets_outside_of_texts(body: bytes, *, deeper: bool) -> None:
    """Broken JSON is for the parser to refuse, unless it would recurse into it."""
    wanted = Excess.DEPTH if deeper else None
    assert excess_of(body, depth_max=3, values_max=100) is wanted


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b"", 1),
        (b"7", 1),
        (b"[1]", 2),
        (b"[1,2,3]", 4),
        (b'{"a":1,"b":[2,{"c":3}]}', 6),
        (b'["1,2,3,[,{", "\\",[,"]', 3),
        (b'["\\\\",1,"\\\\\\",[,",2]', 5),
        (b'"1,2,3,4', 1),
    ],
)
def test_values_are_counted_outside_of_texts(body: bytes, values: int) -> None:
    """As many as a comma or a bracket begins.  Source: INVARIANTS T22."""
    assert excess_of(body, depth_max=9, values_max=values) is None
    if values > 1:
        assert excess_of(body, depth_max=9, values_max=values - 1) is Excess.VALUES


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'"' + b'\\"' * 2_000_000, None),
        (b'["",' + b'"' * 4_000_000, None),
        (b'[[],"",' + b"," * 20_000 + b'"' * 4_000_000, Excess.VALUES),
        (b'"' + b"\\" * 4_000_000, None),
        (b"[" + b"[]," * 1_000_000 + b"[]]", Excess.VALUES),
        (b"[" + b'"",' * 1_000_000 + b'""]', Excess.VALUES),
        (b"[" * 2_000_000 + b"]" * 2_000_000, Excess.DEPTH),
        (b"]" * 4_000_000 + b"[" * 101, None),
        (b'"' + b", " * 2_000_000 + b'"', None),
    ],
)
def test_a_hostile_body_is_judged_in_linear_time(body: bytes, wanted: Excess | None) -> None:
    """Megabytes of quotes or of small arrays cost a few scans, not one for each byte."""
    assert excess_of(body, depth_max=DEPTH_MAX, values_max=VALUES_MAX) is wanted


async def test_json_of_too_many_values_is_refused() -> None:
    """Before anybody copies it.  Source: INVARIANTS T22, R-A2A-16."""
    app, peer = Echo(), Peer(part(b"[" + b"0," * 20_000 + b"0]"))
    await peer.call(BodyLimit(app))
    check_problem(peer, 413, f"the JSON has more than {VALUES_MAX} values")
    assert app.scopes == []


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_not_a_request_passes_untouched(kind: str) -> None:
    """A lifespan has no body, and no stream."""
    app, peer = Echo(), Peer()
    scope = {"type": kind}
    for guard in (BodyLimit(app), SseIds(app, key=KEY), FrontDoor(app, url="http://a.test")):
        await guard(scope, peer.receive, peer.send)
    assert app.scopes == [scope] * 3
    assert peer.asked == 0


# --- who may call -------------------------------------------------------------------------

HOST = (b"host", b"agent.test")
JSON = (b"content-type", b"application/json")
EMPTY = (b"content-length", b"0")


@pytest.mark.parametrize(
    ("method", "headers", "code"),
    [
        ("POST", [HOST, JSON], 200),
        ("POST", [JSON], 200),
        ("POST", [HOST, HOST, JSON], 421),
        ("POST", [(b"host", b"agent.test, localhost"), JSON], 421),
        ("POST", [(b"host", b"\xe4gent.test"), JSON], 421),
        ("POST", [HOST, JSON, JSON], 415),
        ("POST", [HOST], 200),
        ("POST", [HOST, EMPTY], 200),
        ("POST", [HOST, (b"content-length", b"1")], 415),
        ("POST", [HOST, (b"transfer-encoding", b"chunked")], 415),
        ("POST", [HOST, EMPTY, (b"content-type", b"text/plain")], 415),
        ("GET", [HOST, (b"content-type", b"text/plain")], 200),
        ("GET", [HOST, (b"origin", b"http://agent.test"), (b"origin", b"http://agent.test")], 403),
        ("GET", [(b"origin", b"http://")], 403),
        ("GET", [(b"origin", b"http://AGENT.test")], 200),
    ],
)
async def test_the_front_door_reads_five_headers(
    method: str, headers: list[tuple[bytes, bytes]], code: int
) -> None:
    """Whatever is given twice is nothing that we allow.  Source: RFC 9110 §5.3, §7.2."""
    app, peer = Echo(), Peer(part(b""))
    scope = {"type": "http", "method": method, "headers": headers}
    await FrontDoor(app, url="http://agent.test")(scope, peer.receive, peer.send)
    assert peer.code == code
    assert len(app.scopes) == (code == 200)


# --- ids of a stream ----------------------------------------------------------------------


class Stream:
    """An application that answers with these pieces; `seen` is what the peer had got then."""

    def __init__(self, *pieces: bytes, media_type: bytes = b"text/event-stream") -> None:
        self.pieces = pieces
        self.media_type = media_type
        self.peer: Peer | None = None
        self.seen: list[int] = []

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """See ASGI."""
        headers = [(b"Content-Type", self.media_type + b"; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if self.peer is not None:
                self.seen.append(len(self.peer.got))
        await send({"type": "http.response.body"})


async def passed(app: Stream) -> list[bytes]:
    """The pieces as they come out of the guard."""
    peer = app.peer = Peer()
    await peer.call(SseIds(app, key=KEY))
    return [message["body"] for message in peer.got[1:-1]]


def event(said: object, *, end: str = "\r\n", compact: bool = True) -> bytes:
    """An event as a server writes it."""
    text = json.dumps(said, separators=(",", ":") if compact else None)
    return f"data: {text}{end}{end}".encode()


def update(place: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    """A status update with a place."""
    return {"statusUpdate": {"taskId": "t", "metadata": {KEY: place, "interlock/seq": 7}} | more}


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
async def test_each_event_gets_the_id_that_its_metadata_names(end: str, *, compact: bool) -> None:
    """Whoever wrote it, and in whatever envelope; the JSON is not touched.  Source: DESIGN 6."""
    said: list[object] = [
        update("7"),
        {"jsonrpc": "2.0", "id": 1, "result": {"task": {"metadata": {KEY: "t:8"}}}},
        {"result": {"kind": "status-update", "metadata": {KEY: "9"}}},
    ]
    events = [event(one, end=end, compact=compact) for one in said]
    ids = [f"id: {place}{end}".encode() for place in ("7", "t:8", "9")]
    assert await passed(Stream(*events)) == [a + b for a, b in zip(ids, events, strict=True)]


async def test_several_events_in_one_piece_get_an_id_each() -> None:
    """A server may write them together."""
    first, second, ping = event(update("1")), event(update("2")), b": ping\r\n\r\n"
    [out] = await passed(Stream(first + ping + second))
    assert out == b"id: 1\r\n" + first + ping + b"id: 2\r\n" + second


@pytest.mark.parametrize(
    "piece",
    [
        b"retry: 100\n\n",
        event({"error": {"code": -32603}}),
        event({"statusUpdate": {"metadata": {KEY: 7}}}),
        event({"statusUpdate": {"metadata": {KEY: "7\nid: 9"}}}),
        event({"statusUpdate": {"metadata": {KEY: ""}}}),
        event([update("7"), update("8")]),
        b"id: 3\r\n" + event(update("7")),
        b"event: error\r\nid: 3\r\n" + event(update("7")),
        b'data: {"interlock/event": "1", broken "interlock/event": "2"}\n\n',
    ],
)
async def test_an_event_that_names_no_place_passes_untouched(piece: bytes) -> None:
    """Or has an id already, or one that could not stand on a line."""
    assert await passed(Stream(piece)) == [piece]


@pytest.mark.parametrize("end", ["\r\n", "\n"])
async def test_a_sign_of_life_is_no_event_to_any_client(end: str) -> None:
    """That of httpx-sse makes an event of an empty line once it has seen an id.  R-A2A-09."""
    shown, ping = event(update("1"), end=end), f": ping{end}{end}".encode()
    wire = b"".join(await passed(Stream(shown, ping, shown, ping, ping, shown)))
    headers = {"content-type": "text/event-stream"}
    events = EventSource(httpx.Response(200, headers=headers, content=wire)).iter_sse()
    assert [(one.id, json.loads(one.data)) for one in events] == [("1", update("1"))] * 3


@pytest.mark.parametrize("guard", [partial(SseIds, key=KEY), OneLine])
@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
async def test_what_an_agent_says_ends_no_line_for_any_client(
    guard: Callable[[App], App], end: str
) -> None:
    """httpx, and all that read lines by it, take these for ends of lines.  R-A2A-09."""
    said = {"result": {"text": f"one{end}two é \\{end}", "metadata": {KEY: "1"}}}
    body = f"data: {json.dumps(said, ensure_ascii=False)}\n\n".encode()
    peer = Peer()
    await peer.call(guard(Stream(body)))
    headers = {"content-type": "text/event-stream"}
    wire = b"".join(message.get("body", b"") for message in peer.got)
    answer = httpx.Response(200, headers=headers, content=wire)
    [data] = [line for line in answer.iter_lines() if line and not line.startswith("id:")]
    assert json.loads(data.removeprefix("data:")) == said


@pytest.mark.parametrize("place", ["7", None])
async def test_an_agents_own_data_cannot_name_the_place(place: str | None) -> None:
    """The same key in a part is the agent's business: the reader would resume elsewhere."""
    metadata = {} if place is None else {KEY: place}
    said = {
        "result": {
            "artifactUpdate": {
                "artifact": {"parts": [{"data": {KEY: "666"}}, {"data": {KEY: "667"}}]},
                "metadata": metadata,
            }
        }
    }
    [out] = await passed(Stream(event(said)))
    assert out == (b"" if place is None else b"id: 7\r\n") + event(said)


async def test_nothing_waits_for_the_next_piece() -> None:
    """Each is with the client before the application goes on; halves are passed as they are."""
    whole = event(update("1"))
    half = len(whole) // 2
    app = Stream(whole[:half], whole[half:], whole)
    assert await passed(app) == [whole[:half], whole[half:], b"id: 1\r\n" + whole]
    assert app.seen == [2, 3, 4]


async def test_an_answer_that_is_no_stream_passes_untouched() -> None:
    """Even if it looks like one."""
    whole = event(update("1"))
    assert await passed(Stream(whole, media_type=b"application/json")) == [whole]


async def test_an_answer_that_names_no_media_type_passes_untouched() -> None:
    """A server may leave the headers out.  Source: ASGI 3.0, HTTP."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body", "body": b""})

    peer = Peer()
    await peer.call(SseIds(app, key=KEY))
    assert [message["type"] for message in peer.got] == [
        "http.response.start",
        "http.response.body",
    ]


async def test_a_disconnect_reaches_the_application() -> None:
    """A reader that leaves frees its place."""
    heard: list[Message] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        heard.append(await receive())

    await Peer().call(SseIds(app, key=KEY))
    assert heard == [{"type": "http.disconnect"}]
