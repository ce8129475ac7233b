"""A client of A2A 0.3 as it is on the wire: JSON-RPC, and nothing of ours or of an SDK in it."""

import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeAlias

from a2a_faces import Faces
from support import soon

Json: TypeAlias = dict[str, Any]

_IDS: Final = itertools.count(1)
#: States in which a task is over.
OVER: Final = frozenset({"completed", "failed", "canceled", "rejected"})


def part_of(said: object) -> Json:
    """A part: of a text, or of data."""
    if isinstance(said, str):
        return {"kind": "text", "text": said}
    return {"kind": "data", "data": said}


FILE: Final[Json] = {"kind": "file", "file": {"bytes": "MQ==", "mimeType": "image/png"}}


class LegacyPeer:
    """Speaks version 0.3 in the name of one user."""

    def __init__(self, faces: Faces, user: str = "ada", **headers: str) -> None:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        self._headers: Final = {"A2A-Version": "0.3", "x-user": user, **more}
        self._faces: Final = faces

    async def call(
        self, method: str, params: Json, headers: Mapping[str, str] | None = None
    ) -> Json:
        """The response to one call, which always is one of JSON-RPC."""
        body = {"jsonrpc": "2.0", "id": next(_IDS), "method": method, "params": params}
        answer = await soon(self._faces.rpc(body, {**self._headers, **(headers or {})}))
        assert answer.status_code == 200
        response: Json = answer.json()
        assert response["id"] == body["id"]
        assert ("result" in response) is not ("error" in response)
        return response

    async def send(self, *said: object, task: str = "", **more: Any) -> Json:  # noqa: ANN401
        """The task that a message/send gives."""
        return task_of(await self.sent(*said, task=task, **more))

    async def sent(self, *said: object, task: str = "", **more: Any) -> Json:  # noqa: ANN401
        """The response to a message/send, whatever it is."""
        headers = more.pop("headers", None)
        return await self.call("message/send", params_of(*said, task=task, **more), headers)

    async def get(self, task_id: str) -> Json:
        """The task that a tasks/get gives."""
        return task_of(await self.call("tasks/get", {"id": task_id}))

    async def cancel(self, task_id: str) -> Json:
        """The task that a tasks/cancel gives."""
        return task_of(await self.call("tasks/cancel", {"id": task_id}))

    async def refusal(self, *said: object, task: str = "", **more: Any) -> Json:  # noqa: ANN401
        """The error that a message/send gives, and by which nothing changed."""
        before = await self.get(task) if task else None
        error = error_of(await self.sent(*said, task=task, **more))
        assert before is None or await self.get(task) == before
        return error

    @asynccontextmanager
    async def stream(self, *said: object, task: str = "") -> AsyncGenerator[AsyncGenerator[Json]]:
        """What a message/stream shows."""
        body = {
            "jsonrpc": "2.0",
            "id": next(_IDS),
            "method": "message/stream",
            "params": params_of(*said, task=task),
        }
        path = self._faces.settings.rpc_path
        async with self._faces.http.stream("POST", path, json=body, headers=self._headers) as sent:
            assert sent.headers["content-type"].startswith("text/event-stream")
            async with aclosing(_events(sent.aiter_lines())) as events:
                yield events


async def _events(lines: AsyncIterator[str]) -> AsyncGenerator[Json]:
    async for line in lines:
        if line.startswith("data:"):
            response: Json = json.loads(line.removeprefix("data:"))
            yield response["result"]


def params_of(
    *said: object,
    task: str = "",
    message_id: str | None = None,
    blocking: bool = True,
    parts: list[Json] | None = None,
) -> Json:
    """The parameters of a message/send."""
    message: Json = {
        "kind": "message",
        "role": "user",
        "messageId": message_id or f"legacy-{next(_IDS)}",
        "parts": [part_of(one) for one in said] if parts is None else parts,
    }
    if task:
        message["taskId"] = task
    return {"message": message, "configuration": {"blocking": blocking}}


def task_of(response: Json) -> Json:
    """The task in a response that must not be an error."""
    assert "error" not in response, response
    task: Json = response["result"]
    assert task["kind"] == "task"
    return task


def error_of(response: Json) -> Json:
    """The error in a response that must be one, and never "internal"."""
    assert "error" in response, response
    error: Json = response["error"]
    assert error["code"] in {-32602, -32001, -32002, -32004}, error
    assert error["message"]
    return error


def state_of(task: Json) -> str:
    """The state of a task, or of an update of it."""
    return str(task["status"]["state"])


def texts_of(task: Json) -> list[str]:
    """What the status of a task says in words."""
    parts: list[Json] = task["status"].get("message", {}).get("parts", [])
    return [part["text"] for part in parts if part["kind"] == "text"]


def asks_of(task: Json) -> list[Json]:
    """What the status of a task asks."""
    parts: list[Json] = task["status"].get("message", {}).get("parts", [])
    return [part["data"] for part in parts if part["kind"] == "data"]


def result_of(task: Json) -> list[Any]:
    """What a completed task came to: the contents of its artifact."""
    assert state_of(task) == "completed", task["status"]
    (result,) = [one for one in task.get("artifacts", []) if one["artifactId"] == "result"]
    return [part.get("text", part.get("data")) for part in result["parts"]]


def decision(ask: Json, decided: str = "approve", **more: object) -> Json:
    """A structured decision about an ask that was shown."""
    return {"ask": ask["ask"], "digest": ask["digest"], "decision": decided, **more}
