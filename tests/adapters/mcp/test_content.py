"""What a task comes to, as content, a structured result or an error of MCP."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as wire
import pytest

from interlock import Answer, Part, TaskContext, TaskView
from interlock.errors import EngineError, Rejected
from interlock_adapters.mcp._content import CODE, result_of
from interlock_adapters.mcp._errors import McpFault
from interlock_adapters.mcp_tools._content import part_of
from support import OWNER, World, opened

PNG = "iVBORw0KGgo="
LINK = "https://example.org/trip.html"


async def view_of(
    agent: Callable[[TaskContext], Awaitable[object]],
    meanwhile: Callable[[World, str], Awaitable[object]] | None = None,
) -> TaskView:
    """A task of the agent's that is over, and its log."""
    async with opened(agent) as world:
        handle = await world.submit()
        if meanwhile is not None:
            await handle.rest()
            await meanwhile(world, handle.task_id)
        await handle.over()
        return await world.engine.view(handle.task_id, owner=OWNER)


async def result_for(
    value: object, *, wrap: bool = False, shows: tuple[dict[str, Any], ...] = ()
) -> wire.CallToolResult:
    """What an agent that shows this, and returns that, comes to."""

    async def agent(task: TaskContext) -> object:
        for artifact in shows:
            await task.emit(**artifact)
        return value

    result = result_of(await view_of(agent), artifacts=True, wrap=wrap)
    assert isinstance(result, wire.CallToolResult)
    assert not result.is_error
    return result


def dumped(result: wire.CallToolResult) -> list[dict[str, Any]]:
    """The content as it is sent."""
    return [
        block.model_dump(by_alias=True, mode="json", exclude_none=True) for block in result.content
    ]


# --- results --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wrap", "texts", "structured"),
    [
        (None, False, [], None),
        ("done", False, ["done"], None),
        ({"sum": 3}, False, ['{"sum": 3}'], {"sum": 3}),
        ([1, 2], False, ["[1, 2]"], {"result": [1, 2]}),
        (Part(data=None), False, ["null"], {"result": None}),
        ({"sum": 3}, True, ['{"sum": 3}'], {"result": {"sum": 3}}),
        (3, True, ["3"], {"result": 3}),
        # The declared result is a text, or null: it has a structure all the same.
        ("done", True, ["done"], {"result": "done"}),
        (None, True, [], {"result": None}),
        ([Part(text="a"), Part(text="b")], True, ["a", "b"], None),
        # Of several values the last is the result, and all of them are told.
        (
            [Part(data={"n": 1}), Part(text="and"), Part(data={"n": 2})],
            False,
            ['{"n": 1}', "and", '{"n": 2}'],
            {"n": 2},
        ),
        ({"ville": "Orléans"}, False, ['{"ville": "Orléans"}'], {"ville": "Orléans"}),
    ],
)
async def test_a_result_is_content_and_what_has_a_structure_is_structured(
    value: object, *, wrap: bool, texts: list[str], structured: object
) -> None:
    """MCP, tools: structured content, and the same as text for clients that know none.

    Source: R-MCP-08.
    """
    result = await result_for(value, wrap=wrap)
    assert [block["text"] for block in dumped(result)] == texts
    assert result.structured_content == structured


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            Part(raw=PNG, media_type="image/png"),
            {"type": "image", "data": PNG, "mimeType": "image/png"},
        ),
        (
            Part(raw=PNG, media_type="Audio/WAV"),
            {"type": "audio", "data": PNG, "mimeType": "Audio/WAV"},
        ),
        # No client could decode it.
        (Part(raw="no base64", media_type="image/png"), {"type": "text", "text": "no base64"}),
        (
            Part(url=LINK, media_type="text/html", filename="trip.html"),
            {"type": "resource_link", "name": "trip.html", "uri": LINK, "mimeType": "text/html"},
        ),
        (Part(url=LINK), {"type": "resource_link", "name": LINK, "uri": LINK}),
        (
            Part(text="<p>", media_type="text/html", metadata={"uri": "file:///a"}),
            {
                "type": "resource",
                "resource": {"uri": "file:///a", "mimeType": "text/html", "text": "<p>"},
            },
        ),
    ],
)
async def test_a_part_is_content_of_its_kind(part: Part, block: dict[str, Any]) -> None:
    """Binary parts by their media type; a link has a name, as it must."""
    assert dumped(await result_for(part)) == [block]


async def test_a_file_has_an_address_of_its_own() -> None:
    """In the order of the result; a name with a slash, or of another script, is no path."""

    async def agent(_task: TaskContext) -> list[Part]:
        return [
            Part(raw=PNG, media_type="application/pdf", filename="../a b.pdf"),
            Part(text="and"),
            Part(raw=PNG),
        ]

    view = await view_of(agent)
    result = result_of(view, artifacts=True, wrap=False)
    assert isinstance(result, wire.CallToolResult)
    base = f"interlock:///{view.record.task_id}"
    first, _, second = (block.get("resource") for block in dumped(result))
    assert first == {
        "uri": f"{base}/1/..%2Fa%20b.pdf",
        "mimeType": "application/pdf",
        "blob": PNG,
    }
    # Of what kind it is nobody has said.
    assert second == {"uri": f"{base}/2/file", "blob": PNG}


@pytest.mark.parametrize(
    "block",
    [
        wire.TextContent(text="hello"),
        wire.ImageContent(data=PNG, mime_type="image/png"),
        wire.AudioContent(data=PNG, mime_type="audio/wav"),
        wire.ResourceLink(
            name="trip", uri=LINK, title="A trip", description="By bus", mime_type="text/html"
        ),
        wire.ResourceLink(name="trip", uri=LINK),
        wire.EmbeddedResource(
            resource=wire.TextResourceContents(uri="file:///a", text="b", mime_type="text/plain")
        ),
        wire.EmbeddedResource(resource=wire.TextResourceContents(uri="file:///a", text="")),
        wire.EmbeddedResource(
            resource=wire.BlobResourceContents(uri="file:///a", blob=PNG, mime_type="image/png")
        ),
    ],
)
async def test_content_of_another_server_goes_through_a_task_unchanged(
    block: wire.ContentBlock,
) -> None:
    """The inverse of `mcp_tools._content.part_of`, through the log."""
    assert (await result_for([part_of("maps", block)])).content == [block]


# --- artifacts ------------------------------------------------------------------------------


async def test_artifacts_come_before_the_result_each_as_it_is_in_the_end() -> None:
    """Where first shown; replaced or appended to; a text that goes on is one text."""
    shows: tuple[dict[str, Any], ...] = (
        {"content": "To be", "artifact_id": "a"},
        {"content": "draft", "artifact_id": "b"},
        {"content": " or not", "artifact_id": "a", "append": True},
        {"content": "final", "artifact_id": "b"},
        {"content": Part(data={"n": 1}), "artifact_id": "a", "append": True},
        {"content": "x", "artifact_id": "a", "append": True},
        {"content": [Part(text="1"), Part(text="2")], "artifact_id": "c"},
    )
    result = await result_for({"ok": True}, shows=shows)
    texts = [block["text"] for block in dumped(result)]
    assert texts == ["To be or not", '{"n": 1}', "x", "final", "1", "2", '{"ok": true}']
    # What was shown on the way is not what was returned.
    assert result.structured_content == {"ok": True}


async def test_data_shown_on_the_way_is_no_structured_result() -> None:
    """Only what is returned is."""
    result = await result_for("ok", shows=({"content": Part(data={"n": 1})},))
    assert result.structured_content is None


async def test_artifacts_may_be_left_out() -> None:
    """As the tool's settings want it."""

    async def agent(task: TaskContext) -> str:
        await task.emit("shown")
        return "returned"

    result = result_of(await view_of(agent), artifacts=False, wrap=False)
    assert isinstance(result, wire.CallToolResult)
    assert [block["text"] for block in dumped(result)] == ["returned"]


# --- other ends -----------------------------------------------------------------------------


class OwnError(EngineError):
    """One whose code looks like a fault, and is none."""

    code = "jsonrpc:soon"


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (KeyError("password=hunter2"), "the agent raised KeyError", "agent_error"),
        (Rejected("not my job"), "not my job", "rejected"),
        (OwnError("later"), "later", "jsonrpc:soon"),
    ],
)
async def test_a_failure_is_a_result_that_the_callers_model_can_read(
    error: Exception, text: str, code: str
) -> None:
    """MCP, tools: errors of a tool are results.  What the agent did not say is not told.

    Source: R-MCP-08.
    """

    async def agent(task: TaskContext) -> None:
        await task.emit("half of it")
        raise error

    result = result_of(await view_of(agent), artifacts=True, wrap=True)
    assert isinstance(result, wire.CallToolResult)
    sent = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    assert sent.pop("_meta") == {CODE: code}
    assert sent == {
        "content": [{"type": "text", "text": text}],
        "isError": True,
    } | ({"resultType": "complete"} if "resultType" in sent else {})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (McpFault(-32602, "no such seat"), {"code": -32602, "message": "no such seat"}),
        (McpFault(7, ""), {"code": 7, "message": "the call failed"}),
    ],
)
async def test_a_fault_is_an_error_of_json_rpc(error: Exception, told: Mapping[str, Any]) -> None:
    """SEP-2663: `failed` is for these."""

    async def agent(_task: TaskContext) -> None:
        raise error

    result = result_of(await view_of(agent), artifacts=True, wrap=False)
    assert isinstance(result, wire.ErrorData)
    assert result.model_dump(exclude_none=True) == told


async def test_a_result_that_is_no_json_is_our_callers_fault_of_the_server() -> None:
    """-32603, and the reason."""

    async def agent(_task: TaskContext) -> object:
        return object()

    result = result_of(await view_of(agent), artifacts=True, wrap=False)
    assert isinstance(result, wire.ErrorData)
    assert (result.code, result.data) == (wire.INTERNAL_ERROR, {"reason": "result_invalid"})
    assert result.message


async def _cancel(world: World, task_id: str) -> None:
    await world.engine.cancel(task_id, owner=OWNER, reason="changed my mind")


async def _decline(world: World, task_id: str) -> None:
    await world.engine.decline(task_id, "ask-1", owner=OWNER)


async def _wait(world: World, _task_id: str) -> None:
    await world.elapse(10.0)


@pytest.mark.parametrize(
    ("meanwhile", "text", "code"),
    [
        (_cancel, "The task was cancelled. changed my mind", "cancelled_by_client"),
        (_decline, "The task was stopped: a question was declined.", "declined"),
        (_wait, "The task failed: nobody answered in time.", "ask_expired"),
    ],
)
async def test_a_task_that_was_stopped_says_why(
    meanwhile: Callable[[World, str], Awaitable[object]], text: str, code: str
) -> None:
    """In plain words, and by the engine's code."""

    async def agent(task: TaskContext) -> object:
        return await task.ask("?", expires_s=5.0)

    result = result_of(await view_of(agent, meanwhile), artifacts=True, wrap=False)
    assert isinstance(result, wire.CallToolResult)
    assert result.is_error
    assert [block["text"] for block in dumped(result)] == [text]
    assert json.loads(json.dumps(result.meta)) == {CODE: code}


async def test_what_was_answered_is_not_told() -> None:
    """Only what the agent returned is, not what it was told on the way."""

    async def agent(task: TaskContext) -> str:
        await task.ask("Your password?")
        return "thanks"

    async def answers(world: World, task_id: str) -> None:
        answer = Answer(ask="ask-1", value="hunter2")
        await world.engine.answer(task_id, answer, owner=OWNER)

    result = result_of(await view_of(agent, answers), artifacts=True, wrap=True)
    assert "hunter2" not in result.model_dump_json()
