"""Clients that speak MCP (2026-07-28) as it is on the wire, and write the same journal.

Some speak the Tasks extension, and get a handle: `tasks/get`, `tasks/update`, `tasks/cancel`.
Others wait, and answer in rounds of `input_required`.  A call that got no answer is repeated
under the same key, and must be the same task.

What is theirs in the journal: `"by": "mcp"`, `call` is the key of a call whose caller never
learns which task it is, `is` how a task was said to be, and `ignored` the fate of an answer
that was left alone.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import httpx

from faults.client import PAUSE_S, Client, Errand, GaveUp, Json, patiently

VERSION: Final = "2026-07-28"
#: What `server.TOOL` is called; clients know nothing else of the server.
TOOL: Final = "work"
KEY: Final = "interlock/idempotencyKey"
IGNORED: Final = "interlock/ignored"
INPUT_REQUIRED: Final = "input_required"
#: What a client is told of a disk that is full, and of "later".
INTERNAL: Final = -32603
TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
#: Of its tasks, a client looks at so many once more in the end.
LOOKED_BACK_MAX: Final = 40

_META: Final = "io.modelcontextprotocol/"
_HANDLES: Final[Json] = {"elicitation": {"form": {}}, "extensions": {f"{_META}tasks": {}}}
_WAITS: Final[Json] = {"elicitation": {"form": {}}}


class Reply(NamedTuple):
    """What is said to one question."""

    #: For the journal: `op`, `said`, and `shown` if something is approved.
    what: Json
    #: What is sent.
    sent: Json


class Wire(Protocol):
    """How requests are sent."""

    async def attempt(self, method: str, name: str, params: Json) -> Json | None:
        """One attempt: `result` or `error`; None if it came to nothing and is worth another.

        `name` is of the tool or the task; `params` have whatever the caller says in `_meta`.
        """
        ...


class McpClient(Client):
    """A client of MCP: now with a handle, now waiting."""

    HEADERS: ClassVar[dict[str, str]] = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
    }

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._ended: list[Handled] = []

    def errand(self, http: httpx.AsyncClient) -> Errand:
        """See `Client`."""
        if self.dice.random() < 0.3:
            return Waiting(self, RawWire(http, _WAITS))
        handled = Handled(self, RawWire(http, _HANDLES))
        self._ended.append(handled)
        return handled

    async def farewell(self, http: httpx.AsyncClient) -> None:
        """What was over stays so: the last server is asked once more."""
        del http
        for handled in self._ended[-LOOKED_BACK_MAX:]:
            await handled.look_back()


class RawWire:
    """JSON-RPC as it is, over HTTP."""

    def __init__(self, http: httpx.AsyncClient, can: Json) -> None:
        self._http = http
        self._said: Final[Json] = {
            f"{_META}protocolVersion": VERSION,
            f"{_META}clientInfo": {"name": "faults", "version": "1"},
            f"{_META}clientCapabilities": can,
        }

    async def attempt(self, method: str, name: str, params: Json) -> Json | None:
        """See `Wire`."""
        headers = {"mcp-method": method, "mcp-name": name}
        body = self._body(method, params)
        try:
            response = await self._http.post("/mcp", json=body, headers=headers)
        except httpx.TransportError:
            return None
        answer = _answer(response)
        if answer is None or answer.get("error", {}).get("code") == INTERNAL:
            return None
        return answer

    async def listen(self, task_id: str) -> AsyncGenerator[Json]:
        """How a task is, as it changes, until the stream ends or breaks."""
        method = "subscriptions/listen"
        body = self._body(method, {"notifications": {"taskIds": [task_id]}})
        headers = {"mcp-method": method}
        try:
            async with self._http.stream("POST", "/mcp", json=body, headers=headers) as response:
                async for line in response.aiter_lines():
                    data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                    told: Json = json.loads(data) if data else {}
                    if told.get("method") == "notifications/tasks":
                        yield told["params"]
        except httpx.TransportError:
            await asyncio.sleep(PAUSE_S)

    def _body(self, method: str, params: Json) -> Json:
        params = {**params, "_meta": self._said | params.get("_meta", {})}
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


class Call(Errand):
    """One call, whatever becomes of it."""

    def __init__(self, client: Client, wire: Wire) -> None:
        super().__init__(client)
        self._wire = wire
        #: What it came to.
        self.result: Json = {}
        self._key = client.new_id("mcp")
        self._steps = client.steps()
        self._done: set[str] = set()

    @property
    def _call(self) -> Json:
        arguments = {"steps": self._steps}
        return {"name": TOOL, "arguments": arguments, "_meta": {KEY: self._key}}

    def _note(self, number: str, fate: str, **line: Any) -> None:
        self._client.note(n=number, fate=fate, by="mcp", **line)

    def _submitting(self, **line: Any) -> str:
        """Write down that the call is about to be made."""
        number = self._client.new_id("call")
        self._note(number, "sent", op="submit", task="", token=self._key, steps=self._steps, **line)
        return number

    def _replies(self, requests: Mapping[str, Json]) -> dict[str, Reply]:
        """What is said to questions that are new: to some of them, or to all."""
        keys = [key for key in requests if key not in self._done]
        if len(keys) > 1 and self._dice.random() < 0.5:
            keys = self._dice.sample(keys, self._dice.randint(1, len(keys) - 1))
        return {key: self._reply(key, requests[key]["params"]) for key in keys}

    def _reply(self, key: str, asked: Json) -> Reply:
        dice = self._dice
        fields: Json = asked["requestedSchema"]["properties"]
        if "decision" in fields:
            return _decision(key, fields, dice.choice(["approve"] * 5 + ["edit"] * 2 + _NO))
        word = dice.random()
        if word < 0.06:
            return Reply({"op": "decline", "said": {"ask": key}}, {"action": "decline"})
        if word < 0.09:
            return Reply({"op": "cancel", "said": {"ask": key}}, {"action": "cancel"})
        value = self._client.answer_to(key)
        # What is no text is asked for as a text that holds JSON.
        given = value if isinstance(value, str) else json.dumps(value)
        what = {"op": "answer", "said": {"ask": key, "value": value}}
        return Reply(what, {"action": "accept", "content": {"value": given}})

    def _saying(self, replies: Mapping[str, Reply], **line: Any) -> dict[str, str]:
        """Write down what is about to be said; the numbers of the lines, by key."""
        numbers = {key: self._client.new_id("said") for key in replies}
        for key, reply in replies.items():
            self._note(numbers[key], "sent", **reply.what, **line)
        return numbers

    async def _surely(self, method: str, name: str, params: Json) -> Json:
        """Call until there is an answer: `result` or `error`."""
        return await patiently(method, partial(self._wire.attempt, method, name, params))


class Handled(Call):
    """A call that becomes a task, of which its client has the handle."""

    def __init__(self, client: Client, wire: Wire) -> None:
        super().__init__(client, wire)
        self._status = ""
        self._open: dict[str, Json] = {}
        self._listens = False

    async def look_back(self) -> None:
        """See that it is still as it was; a look that fails is a finding."""
        if self._status in TERMINAL:
            try:
                await self._look()
            except (GaveUp, TimeoutError) as error:
                why = str(error) or "it takes too long"
                self._client.note(gave_up=self._task_id, why=why)

    async def _run(self) -> None:
        dice = self._dice
        cancel_at = dice.randint(1, 6) if dice.random() < 0.12 else 0
        self._listens = dice.random() < 0.35
        await self._submit()
        if dice.random() < 0.15:  # Again, as after an answer that got lost.
            await self._submit()
        await self._end(cancel_at)
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() * 0.3)
            await self._look()

    async def _end(self, cancel_at: int = 0) -> None:
        """Answer and look until it is over; `cancel_at` is at which look it is cancelled."""
        looks = 0
        while self._status not in TERMINAL:
            looks += 1
            if looks == cancel_at:
                await self._cancel()
            if any(key not in self._done for key in self._open):
                await self._update()
            if self._listens:
                await self._listen()
            else:
                await asyncio.sleep(PAUSE_S)
            if self._status not in TERMINAL:
                await self._look()

    async def _submit(self) -> None:
        number = self._submitting()
        answer = await self._surely("tools/call", TOOL, self._call)
        if "error" in answer:
            raise GaveUp(f"tools/call: {answer['error']['message']}")
        result = answer["result"]
        if result.get("resultType") != "task":
            raise GaveUp(f"tools/call: no handle came, but {result}")
        self._task_id = result["taskId"]
        self._note(number, "acked", task=self._task_id)

    async def _update(self) -> None:
        replies = self._replies(self._open)
        numbers = self._saying(replies, task=self._task_id)
        params = {
            "taskId": self._task_id,
            "inputResponses": {key: reply.sent for key, reply in replies.items()},
        }
        answer = await self._surely("tasks/update", self._task_id, params)
        if "error" in answer:
            # The question may be closed; if it is not, it is asked again.
            for number in numbers.values():
                self._note(number, "refused", why=answer["error"]["message"])
            return
        ignored = answer["result"].get("_meta", {}).get(IGNORED, {})
        for key, number in numbers.items():
            if key in ignored:
                self._note(number, "ignored", why=ignored[key])
            else:
                self._note(number, "acked")
            self._done.add(key)

    async def _cancel(self) -> None:
        number = self._client.new_id("call")
        self._note(number, "sent", op="cancel", task=self._task_id)
        answer = await self._surely("tasks/cancel", self._task_id, {"taskId": self._task_id})
        if "error" in answer:
            self._note(number, "refused", why=answer["error"]["message"])
        else:
            self._note(number, "acked")
            await self._look()

    async def _look(self) -> None:
        answer = await self._surely("tasks/get", self._task_id, {"taskId": self._task_id})
        if "error" in answer:
            raise GaveUp(f"tasks/get: {answer['error']['message']}")
        self._take(answer["result"])

    async def _listen(self) -> None:
        """Be told how it is until it wants something, or the stream ends."""
        assert isinstance(self._wire, RawWire)
        async with aclosing(self._wire.listen(self._task_id)) as told:
            async for task in told:
                self._take(task)
                if any(key not in self._done for key in self._open):
                    return

    def _take(self, task: Json) -> None:
        self._status, self._open = task["status"], task.get("inputRequests", {})
        seen: Json = {"is": self._status, "task": self._task_id}
        seen |= {name: task[name] for name in ("result", "error") if name in task}
        self.result = task.get("result", {})
        self._client.note(by="mcp", asks=[*self._open], **seen)


class Waiting(Call):
    """A call whose caller waits, and comes again with what it was asked."""

    async def _run(self) -> None:
        await self._end(await self._made())
        if self._dice.random() < 0.3:
            # Again, as after an answer that got lost: it comes to the same.
            await asyncio.sleep(self._dice.random() * 0.3)
            result = await self._made()
            if result.get("resultType") == INPUT_REQUIRED:
                raise GaveUp(f"it was over, and now it is {result}")

    async def _end(self, result: Json) -> None:
        """Come again with answers until it is over."""
        while result.get("resultType") == INPUT_REQUIRED:
            result = await self._round(result)

    async def _made(self) -> Json:
        """The call, as it is at first."""
        number = self._submitting(call=self._key)
        answer = await self._called({})
        if "error" in answer:
            raise GaveUp(f"tools/call: {answer['error']['message']}")
        self._note(number, "acked")
        return self._seen(answer["result"])

    async def _round(self, result: Json) -> Json:
        """What comes of answers to one round; of none, if the server had to stop."""
        requests: dict[str, Json] = result.get("inputRequests") or {}
        state = result["requestState"]
        replies = self._replies(requests)
        numbers = self._saying(replies, task="", call=self._key)
        sent = {key: reply.sent for key, reply in replies.items()}
        answer = await self._called({"requestState": state, "inputResponses": sent})
        if "error" in answer:
            for number in numbers.values():
                self._note(number, "refused", why=answer["error"]["message"])
            answer = await self._called({"requestState": state})
        else:
            for number in numbers.values():
                self._note(number, "acked")
            self._done |= numbers.keys()
        if "error" in answer:
            raise GaveUp(f"requestState: {answer['error']['message']}")
        if not requests:
            await asyncio.sleep(PAUSE_S)
        return self._seen(answer["result"])

    async def _called(self, more: Json) -> Json:
        call = self._call | more
        if self._dice.random() < 0.3:
            call["_meta"]["progressToken"] = self._key
        return await self._surely("tools/call", TOOL, call)

    def _seen(self, result: Json) -> Json:
        seen: Json = {"is": "completed", "call": self._key, "asks": []}
        if result.get("resultType") == INPUT_REQUIRED:
            seen |= {"is": INPUT_REQUIRED, "asks": [*(result.get("inputRequests") or {})]}
        else:
            seen["result"] = self.result = result
        self._client.note(by="mcp", **seen)
        return result


#: A person's no to an authorisation, by the form and by declining the form.
_NO: Final = ["deny", "decline"]


def _decision(key: str, fields: Json, word: str) -> Reply:
    """What is said to an authorisation."""
    if word == "decline":
        return Reply({"op": "deny", "said": {"ask": key}}, {"action": "decline"})
    content: Json = {"decision": "deny" if word == "deny" else "approve"}
    said: Json = {"ask": key, "decision": content["decision"]}
    shown = json.loads(fields["arguments"]["default"])
    if word == "edit":
        said["arguments"] = {**shown, "class": "first"}
        content["arguments"] = json.dumps(said["arguments"])
    what = {"op": content["decision"], "said": said, "shown": shown}
    return Reply(what, {"action": "accept", "content": content})


def _answer(response: httpx.Response) -> Json | None:
    """The one answer in a body, as JSON or at the end of a stream; None if there is none."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        lines = [line[5:] for line in response.text.splitlines() if line.startswith("data:")]
        messages = [json.loads(line) for line in lines if line.strip()]
        return next((message for message in messages if "method" not in message), None)
    try:
        answer: Json = response.json()
    except ValueError:
        return None
    return answer if "result" in answer or "error" in answer else None
