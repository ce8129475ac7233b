"""The example of a lifecycle of one's own, run as its user would run it: over A2A and MCP.

Requirements: R-PIC-12.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from starlette.applications import Starlette

from example_files import EXAMPLES, module_at
from mcp_face import ERAS, Era, accept, connected, raw, text
from mcp_servers import listening, serving
from support import soon

RECEIPT: Final = {"reference": "RF18-5390", "by": "transfer"}
SOLD: Final = "A ticket to Rome, paid by transfer (RF18-5390)."


def application(directory: Path) -> Starlette:
    """Its application, with its tasks in that directory."""
    module = module_at(EXAMPLES / "payment.py")
    made = module.make_app(f"sqlite:///{directory}/tickets.db")
    assert isinstance(made, Starlette)
    return made


@asynccontextmanager
async def shop(directory: Path) -> AsyncGenerator[str]:
    """The example, served; where."""
    async with listening() as found, serving(application(directory), found) as url:
        yield url


async def rpc(url: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of one A2A call."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    at = url.removesuffix("/mcp").rstrip("/") + "/a2a/rpc"
    async with httpx.AsyncClient(timeout=60) as http:
        answer = (await http.post(at, json=body, headers={"A2A-Version": "1.0"})).json()
    assert "error" not in answer, answer["error"]
    result: dict[str, Any] = answer["result"]
    return result


def said(name: str, part: dict[str, Any], **ids: str) -> dict[str, Any]:
    """The parameters of a SendMessage."""
    return {"message": {"role": "ROLE_USER", "messageId": name, "parts": [part], **ids}}


async def test_a2a_shows_a_payment_as_input_that_is_required(tmp_path: Path) -> None:
    """With the phase's own name for whoever knows it; a list by state finds it."""
    async with shop(tmp_path) as url:
        sent = await rpc(url, "SendMessage", said("m1", {"text": "a ticket"}))
        task_id = sent["task"]["id"]
        await rpc(url, "SendMessage", said("m2", {"text": "Rome"}, taskId=task_id))
        task = await rpc(url, "GetTask", {"id": task_id})
        found = await rpc(url, "ListTasks", {"status": "TASK_STATE_INPUT_REQUIRED"})
        paid = said("m3", {"data": RECEIPT}, taskId=task_id)
        done = (await rpc(url, "SendMessage", paid))["task"]
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert task["metadata"]["interlock/phase"] == "waiting_payment"
    assert [each["id"] for each in found["tasks"]] == [task_id]
    assert done["status"]["state"] == "TASK_STATE_COMPLETED"
    assert done["artifacts"][-1]["parts"][0]["text"] == SOLD


@pytest.mark.parametrize("era", ERAS)
async def test_mcp_asks_for_a_payment_as_for_any_input(era: Era, tmp_path: Path) -> None:
    """Live, or in rounds."""
    answers = [accept(value="Rome"), accept(**RECEIPT)]
    async with shop(tmp_path) as url, connected(url, era, answers=answers) as host:
        result = await soon(host.client.call_tool("sell", {"message": "a ticket"}))
    assert text(result) == SOLD


async def test_a_task_of_mcp_waits_for_a_payment(tmp_path: Path) -> None:
    """`input_required`, and it is answered over the Tasks extension."""
    async with shop(tmp_path) as url, connected(url, tasks=True, answers=()) as host:
        task_id = await host.created("sell", {"message": "a ticket"})
        seen = await host.get(task_id)
        (city,) = seen.input_requests or {}
        await host.update(task_id, {city: raw(accept(value="Rome"))})
        seen = await host.get(task_id)
        assert seen.status == "input_required"
        (payment,) = seen.input_requests or {}
        await host.update(task_id, {payment: raw(accept(**RECEIPT))})
        done = await host.get(task_id)
    assert done.status == "completed"


async def test_a_stream_ends_where_a_task_waits_for_a_payment(tmp_path: Path) -> None:
    """As for any input: a client reads to the end before it answers."""
    async with shop(tmp_path) as url:
        sent = await rpc(url, "SendMessage", said("m1", {"text": "a ticket"}))
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "SendStreamingMessage",
            "params": said("m2", {"text": "Rome"}, taskId=sent["task"]["id"]),
        }
        at = url.removesuffix("/mcp").rstrip("/") + "/a2a/rpc"
        headers = {"A2A-Version": "1.0", "accept": "text/event-stream"}
        async with httpx.AsyncClient(timeout=60) as http:
            told = await soon(http.post(at, json=body, headers=headers))
    assert '"interlock/phase":"waiting_payment"' in told.text.replace(" ", "")
