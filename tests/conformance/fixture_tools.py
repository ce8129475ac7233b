"""The tools of the fixture that no agent can be: they speak the protocol themselves.

What each is called and does is fixed by the conformance suite.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import mcp_types as wire
from mcp.server.connection import allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    PromptsListChanged,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

Request: TypeAlias = ServerRequestContext[Any, Any]
Result: TypeAlias = wire.CallToolResult | wire.InputRequiredResult
Run: TypeAlias = Callable[[Request, wire.CallToolRequestParams], Awaitable[Result]]

#: Who asks at once for something of each kind, says so by this.
_ASKED: Final = "asked"
#: Between two lines of a log, and around the end of a stream.
_PAUSE_S: Final = 0.05

_NOTHING: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
_PROMPT: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"prompt": {"type": "string"}},
    "required": ["prompt"],
}
_MIRRORED: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
}
_ADDRESS: Final[Mapping[str, Any]] = {
    "$anchor": "addressDef",
    "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}
#: Words of JSON Schema 2020-12 that a listing must keep (SEP-1613, SEP-2106).
_WORDY: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": _ADDRESS},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
NAME_FORM: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}


@dataclass(frozen=True, slots=True)
class PlainTool:
    """A tool, and what it does."""

    listed: wire.Tool
    run: Run


def plain_tools(bus: InMemorySubscriptionBus) -> dict[str, PlainTool]:
    """All of them.  The first can be called with no arguments, as the suite does."""

    async def tools_changed(_request: Request, _params: wire.CallToolRequestParams) -> Result:
        return await _published(bus, ToolsListChanged())

    async def prompts_changed(_request: Request, _params: wire.CallToolRequestParams) -> Result:
        return await _published(bus, PromptsListChanged())

    told: tuple[tuple[str, str, Mapping[str, Any], Run], ...] = (
        ("test_tool_with_logging", "Logs three lines.", _NOTHING, _logging),
        ("test_logging_tool", "Logs three lines, if it may.", _NOTHING, _logging),
        ("test_reconnection", "Ends the stream before it answers.", _NOTHING, _reconnection),
        ("test_sampling", "Has the client's model say something.", _PROMPT, _sampling),
        ("test_missing_capability", "Needs sampling.", _NOTHING, _missing_capability),
        ("test_trigger_tool_change", "Says that the tools changed.", _NOTHING, tools_changed),
        ("test_trigger_prompt_change", "Says that the prompts did.", _NOTHING, prompts_changed),
        ("test_x_mcp_header", "Has an argument repeated in a header.", _MIRRORED, _said_back),
        ("json_schema_2020_12_tool", "Has a wordy schema.", _WORDY, _said_back),
        ("test_input_required_result_sampling", "Asks a model.", _NOTHING, _asks_model),
        ("test_input_required_result_list_roots", "Asks for roots.", _NOTHING, _asks_roots),
        ("test_input_required_result_multiple_inputs", "Asks for all.", _NOTHING, _asks_all),
        ("test_input_required_result_capabilities", "Asks what it may.", _NOTHING, _asks_some),
    )
    return {
        name: PlainTool(
            wire.Tool(name=name, description=description, input_schema=dict(schema)), run
        )
        for name, description, schema, run in told
    }


def text(said: str) -> wire.CallToolResult:
    """A result of one text."""
    return wire.CallToolResult(content=[wire.TextContent(text=said)])


def name_request(message: str = "What is your name?") -> wire.ElicitRequest:
    """A question for a name."""
    params = wire.ElicitRequestFormParams(message=message, requested_schema=dict(NAME_FORM))
    return wire.ElicitRequest(params=params)


def sampling_request(prompt: str) -> wire.CreateMessageRequest:
    """A question for the client's model."""
    said = wire.SamplingMessage(role="user", content=wire.TextContent(text=prompt))
    return wire.CreateMessageRequest(
        params=wire.CreateMessageRequestParams(messages=[said], max_tokens=100)
    )


async def _published(bus: InMemorySubscriptionBus, event: ServerEvent) -> Result:
    await bus.publish(event)
    return text("told")


async def _logging(request: Request, _params: wire.CallToolRequestParams) -> Result:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        # In 2026-07-28 a request says whether it wants to hear of it.
        if "info" in allowed_log_levels(request.protocol_version, request.meta):
            params = wire.LoggingMessageNotificationParams(level="info", data=line)
            await request.session.send_notification(
                wire.LoggingMessageNotification(params=params), request.request_id
            )
        await asyncio.sleep(_PAUSE_S)
    return text("logged")


async def _reconnection(request: Request, _params: wire.CallToolRequestParams) -> Result:
    # Time for the first event to leave: by it the client takes the stream up again.
    await asyncio.sleep(_PAUSE_S)
    if request.close_sse_stream is not None:
        await request.close_sse_stream()
    await asyncio.sleep(_PAUSE_S)
    return text("fetched on another stream")


async def _sampling(request: Request, params: wire.CallToolRequestParams) -> Result:
    prompt = str((params.arguments or {}).get("prompt", ""))
    said = await request.session.send_request(
        sampling_request(prompt),
        wire.CreateMessageResult,
        metadata=ServerMessageMetadata(related_request_id=request.request_id),
    )
    return text(f"LLM response: {said.content}")


async def _missing_capability(request: Request, _params: wire.CallToolRequestParams) -> Result:
    if not _can_sample(request):
        raise MCPError(
            wire.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "this needs sampling",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return text("the client can sample")


async def _said_back(_request: Request, params: wire.CallToolRequestParams) -> Result:
    return text(f"called with {params.arguments}")


async def _asks_model(_request: Request, params: wire.CallToolRequestParams) -> Result:
    return _asked_for(
        params, {"capital_question": sampling_request("What is the capital of France?")}
    )


async def _asks_roots(_request: Request, params: wire.CallToolRequestParams) -> Result:
    return _asked_for(params, {"client_roots": wire.ListRootsRequest()})


async def _asks_all(_request: Request, params: wire.CallToolRequestParams) -> Result:
    if params.request_state not in {None, _ASKED}:
        raise MCPError(wire.INVALID_PARAMS, "this requestState was not made here")
    everything: dict[str, wire.InputRequest] = {
        "user_name": name_request(),
        "greeting": sampling_request("Generate a greeting"),
        "client_roots": wire.ListRootsRequest(),
    }
    return _asked_for(params, everything, _ASKED)


async def _asks_some(request: Request, params: wire.CallToolRequestParams) -> Result:
    requests: dict[str, wire.InputRequest] = {}
    if _can_sample(request):
        requests["greeting"] = sampling_request("Generate a greeting")
    capabilities = request.session.client_capabilities
    if capabilities is not None and capabilities.elicitation is not None:
        requests["user_name"] = name_request()
    return _asked_for(params, requests) if requests else text("the client can do nothing")


def _asked_for(
    params: wire.CallToolRequestParams,
    requests: Mapping[str, wire.InputRequest],
    state: str | None = None,
) -> Result:
    """Everything was answered, or what is wanted."""
    answers = params.input_responses or {}
    if requests.keys() <= answers.keys():
        return text(f"answered: {', '.join(answers)}")
    return wire.InputRequiredResult(input_requests=dict(requests), request_state=state)


def _can_sample(request: Request) -> bool:
    capabilities = request.session.client_capabilities
    return capabilities is not None and capabilities.sampling is not None
