"""A client of A2A that chooses which replica the balancer gives its next request to."""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any, Final

import httpx

from faults.world import Effect, effects_in
from scale.audit import TAKES
from scale.cluster import PAUSE_S, Cluster

Json = dict[str, Any]

#: Seconds for anything that is to come about.
SOON_S: Final = 60.0
_NUMBERS: Final = itertools.count(1)


class Caller:
    """Speaks to replicas through the balancer."""

    def __init__(self, cluster: Cluster, http: httpx.AsyncClient) -> None:
        self._cluster = cluster
        self._http = http

    async def call(self, method: str, params: Json, *, at: int | None = None) -> Json:
        """What a method gives; with `at` it is that replica which is asked."""
        proxy = self._cluster.proxy
        if at is not None:
            proxy.next = at
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        response = await self._http.post(
            f"{proxy.url}/rpc", json=body, headers={"A2A-Version": "1.0"}, timeout=SOON_S
        )
        assert at is None or proxy.served[-1].replica == at
        answer: Json = response.json()
        assert "error" not in answer, answer
        result: Json = answer["result"]
        return result

    async def send(self, data: Json, *, task: Json | None = None, at: int | None = None) -> Json:
        """Send a message with that content: a new task, or to one that is there."""
        message: Json = {
            "messageId": f"said-{next(_NUMBERS)}",
            "role": "ROLE_USER",
            "parts": [{"data": data}],
        }
        if task is not None:
            message |= {"taskId": task["id"], "contextId": task["contextId"]}
        params = {"message": message, "configuration": {"returnImmediately": True}}
        sent: Json = (await self.call("SendMessage", params, at=at))["task"]
        return sent

    async def look(self, task_id: str, *, at: int | None = None) -> Json:
        """The task."""
        return await self.call("GetTask", {"id": task_id}, at=at)

    async def reaches(self, task_id: str, *phases: str) -> Json:
        """The task once it is in one of these phases, whoever is asked."""
        async with asyncio.timeout(SOON_S):
            while phase_of(task := await self.look(task_id)) not in phases:  # noqa: ASYNC110
                await asyncio.sleep(PAUSE_S)
        return task

    async def holder(self, task_id: str) -> int:
        """Which replica has the task's turn."""
        pids = [replica.pid for replica in self._cluster.replicas]
        taken: list[int] = []

        def is_taken() -> bool:
            taken[:] = [
                line["pid"]
                for line in self._cluster.witnessed()
                if line.get("committed") == task_id and line["trigger"] in TAKES
            ]
            return bool(taken)

        await comes_true(is_taken)
        return pids.index(taken[-1])

    def effects(self, task_id: str) -> list[Effect]:
        """What was done outside for a task."""
        effects = effects_in(self._cluster.directory / "world.jsonl")
        return [effect for effect in effects if effect.call.startswith(f"{task_id}/")]


async def comes_true(fact: Callable[[], bool]) -> float:
    """Wait until something is so; how many seconds that took."""
    began = time.monotonic()
    async with asyncio.timeout(SOON_S):
        while not fact():  # noqa: ASYNC110  another process does it
            await asyncio.sleep(PAUSE_S)
    return time.monotonic() - began


def phase_of(task: Json) -> str:
    """The phase of a task, as its metadata says it."""
    phase: str = task["metadata"]["interlock/phase"]
    return phase


def asks_of(task: Json) -> list[Json]:
    """What is asked in the status of a task."""
    parts = task["status"].get("message", {}).get("parts", [])
    return [part["data"] for part in parts if "ask" in part.get("data", {})]
