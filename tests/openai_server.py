"""An HTTP server on loopback that speaks the OpenAI chat completions API, and says what it is told.

It answers one request after the other with the next reply of its script, streaming or not as the
request wants, and keeps every request.
"""

import json
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from interlock.testing import ModelTurn

__all__ = ["Broken", "Cut", "OpenAiServer", "served"]


@dataclass(frozen=True)
class Broken:
    """A reply that is an HTTP error; its body quotes what must not get about."""

    status: int
    body: str = '{"error": {"message": "bad key sk-secret"}}'


@dataclass(frozen=True)
class Cut:
    """The connection ends without a reply, or in the middle of a stream."""


@dataclass
class OpenAiServer:
    """A running server."""

    url: str
    #: What is answered, request by request.
    script: list[ModelTurn | Broken | Cut]
    #: The bodies of the requests.
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: list[str | None] = field(default_factory=list[str | None])
    #: Set to let a stream that waits go on.
    on: threading.Event = field(default_factory=threading.Event)
    #: A stream stands in its middle.
    midway: threading.Event = field(default_factory=threading.Event)
    #: Streams stand in their middle until `on` is set.
    waits: bool = False
    #: Streams whose reader went away.
    left: int = 0

    def next(self) -> ModelTurn | Broken | Cut:
        """The next reply."""
        return self.script[len(self.asked) - 1]


class _Handler(BaseHTTPRequestHandler):
    """Answers requests of one server."""

    protocol_version = "HTTP/1.1"
    answers: OpenAiServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Print nothing."""

    def do_POST(self) -> None:
        """Answer a request."""
        answers = self.answers
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        answers.asked.append(body)
        answers.keys.append(self.headers["Authorization"])
        reply = answers.next()
        match reply:
            case Cut():
                self.close_connection = True
                if body.get("stream"):
                    self._begin("text/event-stream")
                    self._chunk(_delta({"content": "half"}))
                    self.connection.close()
            case Broken(status, text):
                self._send(status, text)
            case ModelTurn() if body.get("stream"):
                self._stream(reply)
            case ModelTurn():
                self._send(200, json.dumps(_completion(reply)))

    def _send(self, status: int, text: str) -> None:
        raw = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _begin(self, media_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, event: object) -> None:
        raw = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
        self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
        self.wfile.flush()

    def _stream(self, turn: ModelTurn) -> None:
        self._begin("text/event-stream")
        try:
            for at, event in enumerate(_deltas(turn)):
                if at == 1:
                    self.answers.midway.set()
                    if self.answers.waits:
                        self._wait()
                self._chunk(event)
            self._chunk("[DONE]")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.answers.left += 1
            self.close_connection = True

    def _wait(self) -> None:
        """Stand still until somebody says so; sending on finds out whether anybody reads."""
        while not self.answers.on.wait(0.01):
            self._chunk(_delta({"content": " and"}))


def _call(call: Any, index: int) -> dict[str, Any]:  # noqa: ANN401  a call of a script
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"index": index, "id": call.id or f"call_{index}", "type": "function"} | {
        "function": function
    }


def _usage(turn: ModelTurn) -> dict[str, int]:
    total = turn.input_tokens + turn.output_tokens
    return {
        "prompt_tokens": turn.input_tokens,
        "completion_tokens": turn.output_tokens,
        "total_tokens": total,
    }


def _whole(kind: str, choices: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    head = {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "scripted"}
    return {**head, "choices": list(choices), **more}


def _completion(turn: ModelTurn) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": turn.text}
    if turn.calls:
        said["tool_calls"] = [_call(call, at) for at, call in enumerate(turn.calls)]
    reason = "tool_calls" if turn.calls else "stop"
    choice = {"index": 0, "message": said, "finish_reason": reason}
    return _whole("chat.completion", [choice], usage=_usage(turn))


def _delta(delta: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return _whole("chat.completion.chunk", [choice])


def _deltas(turn: ModelTurn) -> Generator[dict[str, Any]]:
    """A turn as a stream: words, then calls whose arguments come in two pieces."""
    yield _delta({"role": "assistant", "content": ""})
    for word in (turn.text or "").split():
        yield _delta({"content": f"{word} "})
    for at, call in enumerate(turn.calls):
        whole = _call(call, at)
        text = whole["function"]["arguments"]
        half = len(text) // 2
        first = {**whole, "function": {"name": call.name, "arguments": text[:half]}}
        rest = {"index": at, "function": {"arguments": text[half:]}}
        yield _delta({"tool_calls": [first]})
        yield _delta({"tool_calls": [rest]})
    yield _whole("chat.completion.chunk", [], usage=_usage(turn))


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Raise what is no hanging up."""
        del request, client_address
        if not isinstance(sys.exception(), OSError):
            raise  # noqa: PLE0704  it is called where it is handled


@contextmanager
def served(*script: ModelTurn | Broken | Cut) -> Generator[OpenAiServer]:
    """A server on a port of its own, while the block runs."""
    server = _Server(("127.0.0.1", 0), _Handler)
    port: Final = server.server_address[1]
    answers = OpenAiServer(f"http://127.0.0.1:{port}/v1", list(script))
    server.RequestHandlerClass = type("Handler", (_Handler,), {"answers": answers})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        answers.on.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
