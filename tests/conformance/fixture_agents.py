"""The agents of the fixture, each a tool of the MCP face.

What each is called, takes, asks and gives is fixed by the conformance suite.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Final, NamedTuple, cast

from pydantic import BaseModel, Field

from conformance.fixture_rest import PIXEL, SILENCE
from interlock import Agent, JsonObject, Part, TaskContext
from interlock_adapters.mcp import McpFault, McpTool

#: Between two reports of progress, so that each is sent on its own.
_PAUSE_S: Final = 0.05
#: What works for a while before it fails.
_A_WHILE_S: Final = 1.0
_INTERNAL_ERROR: Final = -32603

_NOTHING: Final[JsonObject] = {"type": "object", "properties": {}}
_DEFAULTS: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    },
}


def _titled(**titles: str) -> list[JsonObject]:
    return [{"const": value, "title": title} for value, title in titles.items()]


_ENUMS: Final = cast(
    "JsonObject",
    {
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
            "titledSingle": {
                "type": "string",
                "oneOf": _titled(value1="First", value2="Second", value3="Third"),
            },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {
                "type": "array",
                "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
            },
            "titledMulti": {
                "type": "array",
                "items": {"anyOf": _titled(value1="First", value2="Second", value3="Third")},
            },
        },
    },
)


class Named(BaseModel):
    """A name."""

    name: str


class User(BaseModel):
    """Who somebody is."""

    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


class Message(BaseModel):
    """What to ask."""

    message: str


class Okay(BaseModel):
    """A yes."""

    ok: bool


class Colour(BaseModel):
    """A colour."""

    color: str


class Work(BaseModel):
    """How much to do."""

    seconds: float = Field(ge=0)
    label: str = ""


class File(BaseModel):
    """Which file."""

    filename: str


class Confirmation(BaseModel):
    """A yes or a no."""

    confirm: bool


class Both(Confirmation):
    """A name and a yes: the suite says both to either question."""

    name: str


def _given(task: TaskContext) -> Mapping[str, object]:
    """The arguments of the call."""
    return cast("Mapping[str, object]", task.input.data)


# --- what is given back at once -----------------------------------------------------------


async def simple_text(_task: TaskContext) -> str:
    """Give a text."""
    return "This is a simple text response for testing."


async def image_content(_task: TaskContext) -> Part:
    """Give an image."""
    return Part(raw=PIXEL, media_type="image/png")


async def audio_content(_task: TaskContext) -> Part:
    """Give a sound."""
    return Part(raw=SILENCE, media_type="audio/wav")


async def embedded_resource(_task: TaskContext) -> Part:
    """Give a resource."""
    return Part(
        text="This is an embedded resource content.",
        media_type="text/plain",
        metadata={"uri": "test://embedded-resource"},
    )


async def multiple_content_types(_task: TaskContext) -> list[Part]:
    """Give a text, an image and a resource."""
    return [
        Part(text="Multiple content types test:"),
        Part(raw=PIXEL, media_type="image/png"),
        Part(
            text=json.dumps({"test": "data", "value": 123}),
            media_type="application/json",
            metadata={"uri": "test://mixed-content-resource"},
        ),
    ]


async def greet(task: TaskContext) -> str:
    """Greet somebody."""
    return f"Hello, {_given(task)['name']}!"


async def progress(task: TaskContext) -> str:
    """Report progress."""
    for fraction in (0.0, 0.5, 1.0):
        await task.progress(f"{fraction:.0%} done", fraction)
        await asyncio.sleep(_PAUSE_S)
    return "done"


async def error_handling(_task: TaskContext) -> str:
    """Fail."""
    raise RuntimeError("This tool intentionally returns an error for testing")


# --- what asks ----------------------------------------------------------------------------


async def elicitation(task: TaskContext) -> str:
    """Ask who somebody is."""
    user = await task.ask(str(_given(task)["message"]), User)
    return f"User response: {user.model_dump_json()}"


async def elicitation_defaults(task: TaskContext) -> str:
    """Ask with defaults of every type (SEP-1034)."""
    said = await task.ask("Who are you?", _DEFAULTS)
    return f"Elicitation completed: {json.dumps(said)}"


async def elicitation_enums(task: TaskContext) -> str:
    """Ask with choices of every form (SEP-1330)."""
    said = await task.ask("What do you choose?", _ENUMS)
    return f"Elicitation completed: {json.dumps(said)}"


async def asks_name(task: TaskContext) -> str:
    """Ask for a name."""
    user = await task.ask("What is your name?", Named, key="user_name")
    return f"Hello, {user.name}!"


async def asks_yes(task: TaskContext) -> str:
    """Ask for a yes."""
    said = await task.ask("Please confirm", Okay, key="confirm")
    return f"state-ok: {said.ok}"


async def asks_twice(task: TaskContext) -> str:
    """Ask for a name, then for a colour."""
    user = await task.ask("Step 1: What is your name?", Named, key="step1")
    taste = await task.ask("Step 2: What is your favorite color?", Colour, key="step2")
    return f"{user.name} likes {taste.color}."


async def streaming_elicitation(task: TaskContext) -> str:
    """Show something, then ask: in 2026-07-28 no request may be on the stream."""
    await task.progress("about to ask")
    user = await task.ask("What is your name?", Named)
    return f"Hello, {user.name}!"


# --- what becomes a task ------------------------------------------------------------------


async def slow_compute(task: TaskContext) -> str:
    """Take some seconds, and stop at once when told to."""
    work = Work.model_validate(task.input.data)
    await asyncio.sleep(work.seconds)
    return f"{work.label}: done after {work.seconds} s"


async def failing_job(_task: TaskContext) -> str:
    """Fail after a while."""
    await asyncio.sleep(_A_WHILE_S)
    raise RuntimeError("The job fails, as it always does.")


async def protocol_error_job(_task: TaskContext) -> str:
    """End with an error of the protocol."""
    raise McpFault(_INTERNAL_ERROR, "The job ends with an error of the protocol.")


async def confirm_delete(task: TaskContext) -> str:
    """Ask before a file would be deleted."""
    name = _given(task)["filename"]
    said = await task.ask(f"Delete {name}?", Confirmation)
    return f"Deleted {name}." if said.confirm else f"Kept {name}."


async def multi_input(task: TaskContext) -> str:
    """Ask two things at once."""
    first, second = await asyncio.gather(
        task.ask("Who is the first?", Both), task.ask("Who is the second?", Both)
    )
    return f"{first.name} and {second.name}"


async def with_task(task: TaskContext) -> str:
    """Greet whoever was asked for before there was a task."""
    return f"Hi {_given(task)['name']}"


class _Tool(NamedTuple):
    """An agent, and how it is offered."""

    agent: Agent
    settings: McpTool


def _tool(name: str, agent: Agent, **settings: object) -> _Tool:
    fields = {"input": _NOTHING, "tasks": "never", **settings}
    description = (agent.__doc__ or "").strip()
    return _Tool(
        agent,
        McpTool.model_validate({"name": name, "agent": name, "description": description} | fields),
    )


_TOOLS: Final = (
    _tool("test_simple_text", simple_text),
    _tool("test_image_content", image_content),
    _tool("test_audio_content", audio_content),
    _tool("test_embedded_resource", embedded_resource),
    _tool("test_multiple_content_types", multiple_content_types),
    _tool("test_tool_with_progress", progress),
    _tool("test_error_handling", error_handling),
    _tool("test_elicitation", elicitation, input=Message),
    _tool("test_elicitation_sep1034_defaults", elicitation_defaults),
    _tool("test_elicitation_sep1330_enums", elicitation_enums),
    _tool("test_streaming_elicitation", streaming_elicitation),
    _tool("test_input_required_result_elicitation", asks_name),
    _tool("test_input_required_result_request_state", asks_yes),
    _tool("test_input_required_result_tampered_state", asks_yes),
    _tool("test_input_required_result_multi_round", asks_twice),
    _tool("greet", greet, input=Named),
    _tool("slow_compute", slow_compute, input=Work, tasks="optional"),
    _tool("failing_job", failing_job, tasks="required"),
    _tool("protocol_error_job", protocol_error_job, tasks="optional"),
    _tool("confirm_delete", confirm_delete, input=File, tasks="optional"),
    _tool("multi_input", multi_input, tasks="optional"),
    _tool("test_tool_with_task", with_task, input=Named, tasks="required", ask_first=("name",)),
)

AGENTS: Final[Mapping[str, Agent]] = {tool.settings.name: tool.agent for tool in _TOOLS}
TOOLS: Final = tuple(tool.settings for tool in _TOOLS)
