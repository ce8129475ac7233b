"""An A2A client of version 0.3 for `bench.peer`: JSON-RPC over plain httpx, the same for both.

It reads no more of an answer than the state of the task.  A connection has one request at a
time, so that nobody waits for a free one.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx

JsonObject = dict[str, Any]

#: Longer is a hang.
PATIENCE_S: Final = 30.0
#: Between two looks at a task that will end without a word.
POLL_S: Final = 0.01
OVER: Final = frozenset({"completed", "failed", "canceled", "rejected"})

APPROVE: Final = "approve"
DENY: Final = "deny"


class Failed(Exception):
    """The server answered with an error, or with nothing that is JSON-RPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}".strip())
        self.code = code


@dataclass(frozen=True, slots=True)
class Shown:
    """A task as an answer or an event shows it."""

    state: str
    task_id: str
    context_id: str
    #: The parts of the status' message.
    parts: Sequence[JsonObject]
    #: All texts: the peer's result is in that message, and ours an artifact.
    text: str

    @classmethod
    def of(cls, result: JsonObject) -> Self:
        """What a Task says, or a status update."""
        status = result["status"]
        message: JsonObject = status.get("message") or {}
        parts: list[JsonObject] = message.get("parts", [])
        artifacts: list[JsonObject] = result.get("artifacts") or []
        shown = [*parts, *(part for artifact in artifacts for part in artifact["parts"])]
        text = "\n".join(part.get("text", "") for part in shown)
        return cls(
            status["state"], result.get("taskId") or result["id"], result["contextId"], parts, text
        )


class Client:
    """One keep-alive connection to a server on loopback."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/"
        # Without TLS no certificates are loaded, of which 64 clients would take seconds.
        self._http = httpx.AsyncClient(
            timeout=PATIENCE_S,
            trust_env=False,
            transport=httpx.AsyncHTTPTransport(verify=False, trust_env=False),
        )

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the connection."""
        await self._http.aclose()

    async def send(self, text: str) -> Shown:
        """A new task, when it is over or waits."""
        return await self._task("message/send", _message([_text(text)]))

    async def answer(self, asked: Shown, text: str = "Oslo") -> Shown:
        """The answer to a question; the task, when it is over or waits again."""
        return await self._task("message/send", _message([_text(text)], asked))

    async def decide(self, asked: Shown, decision: str) -> Shown:
        """An approval or a denial of what is asked, in the form that the server wants."""
        data = _decision(asked, decision)
        return await self._task("message/send", _message([{"kind": "data", "data": data}], asked))

    async def get(self, task_id: str) -> Shown:
        """The task as it stands."""
        return await self._task("tasks/get", {"id": task_id})

    async def cancel(self, task_id: str) -> Shown:
        """The task as the server shows it once it was told to cancel it."""
        return await self._task("tasks/cancel", {"id": task_id})

    async def stream(self, text: str) -> AsyncGenerator[Shown]:
        """A new task, at each event with a state."""
        request = _request("message/stream", _message([_text(text)]))
        async with self._http.stream("POST", self._url, json=request) as response:
            async for line in response.aiter_lines():
                if line.startswith("data:"):
                    result = _result(json.loads(line[5:]))
                    if "status" in result:
                        yield Shown.of(result)

    async def over(self, task_id: str, within_s: float) -> str:
        """The state that it ends with, or its last one; polls, for what no answer tells."""
        give_up = time.monotonic() + within_s
        while True:
            try:
                state = (await self.get(task_id)).state
            except Failed as error:
                return str(error)
            if state in OVER or time.monotonic() > give_up:
                return state
            await asyncio.sleep(POLL_S)

    async def _task(self, method: str, params: JsonObject) -> Shown:
        response = await self._http.post(self._url, json=_request(method, params))
        try:
            answer: JsonObject = response.json()
        except ValueError:
            raise Failed(response.status_code, response.text[:80]) from None
        return Shown.of(_result(answer))


def _request(method: str, params: JsonObject) -> JsonObject:
    return {"jsonrpc": "2.0", "id": uuid.uuid4().hex, "method": method, "params": params}


def _message(parts: list[JsonObject], to: Shown | None = None) -> JsonObject:
    message: JsonObject = {
        "kind": "message",
        "messageId": uuid.uuid4().hex,
        "role": "user",
        "parts": parts,
    }
    if to is not None:
        message |= {"taskId": to.task_id, "contextId": to.context_id}
    return {"message": message, "configuration": {"blocking": True}}


def _text(text: str) -> JsonObject:
    return {"kind": "text", "text": text}


def _decision(asked: Shown, decision: str) -> JsonObject:
    """Ours names what it decides, by the digest that was shown; the peer's is a yes or no."""
    for part in asked.parts:
        shown = _asked(part)
        if shown is not None:
            return {"ask": shown["ask"], "digest": shown["digest"], "decision": decision}
    return {"approve": decision == APPROVE}


def _asked(part: JsonObject) -> JsonObject | None:
    data: JsonObject = part.get("data") or {}
    return data if "digest" in data else None


def _result(answer: JsonObject) -> JsonObject:
    if "error" in answer:
        raise Failed(answer["error"]["code"], str(answer["error"].get("message")))
    result: JsonObject = answer["result"]
    return result
