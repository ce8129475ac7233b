"""What the fixture has beside tools: resources, prompts, completion, logging, subscriptions."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import mcp_types as wire
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.exceptions import MCPError

from conformance.fixture_tools import Request

#: One transparent pixel.
PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
#: A WAV file with two samples of silence.
SILENCE: Final = base64.b64encode(
    b"RIFF\x28\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"
    b"\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data\x04\x00\x00\x00\x00\x00\x00\x00"
).decode("ascii")

_WATCHED: Final = "test://watched-resource"
_TEMPLATE: Final = "test://template/{id}/data"
_OF_TEMPLATE: Final = re.compile(r"test://template/([^/]+)/data")
_CONTEXT_FORM: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"context": {"type": "string"}},
    "required": ["context"],
}
_RESOURCES: Final[
    Mapping[str, tuple[str, wire.TextResourceContents | wire.BlobResourceContents]]
] = {
    contents.uri: (name, contents)
    for name, contents in (
        (
            "Static text",
            wire.TextResourceContents(
                uri="test://static-text",
                mime_type="text/plain",
                text="This is the content of the static text resource.",
            ),
        ),
        (
            "Static binary",
            wire.BlobResourceContents(
                uri="test://static-binary", mime_type="image/png", blob=PIXEL
            ),
        ),
        (
            "Watched",
            wire.TextResourceContents(uri=_WATCHED, mime_type="text/plain", text="It changes."),
        ),
    )
}


def add_rest(server: Server[Any]) -> None:
    """Register everything that is no tool."""
    add = server.add_request_handler
    add("resources/list", wire.PaginatedRequestParams, _list_resources)
    add("resources/templates/list", wire.PaginatedRequestParams, _list_templates)
    add("resources/read", wire.ReadResourceRequestParams, _read)
    add("resources/subscribe", wire.SubscribeRequestParams, _done)
    add("resources/unsubscribe", wire.UnsubscribeRequestParams, _done)
    add("prompts/list", wire.PaginatedRequestParams, _list_prompts)
    add("prompts/get", wire.GetPromptRequestParams, _prompt)
    add("completion/complete", wire.CompleteRequestParams, _complete)
    add("logging/setLevel", wire.SetLevelRequestParams, _done)


class Replay(EventStore):
    """What was sent, by stream, so that a stream can be taken up again."""

    def __init__(self) -> None:
        self._sent: Final[list[tuple[str, wire.JSONRPCMessage | None]]] = []

    async def store_event(self, stream_id: str, message: wire.JSONRPCMessage | None) -> str:
        """See `EventStore`."""
        self._sent.append((stream_id, message))
        return str(len(self._sent))

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        """See `EventStore`."""
        if not last_event_id.isdecimal() or not 0 < int(last_event_id) <= len(self._sent):
            return None
        after = int(last_event_id)
        stream_id, _ = self._sent[after - 1]
        for number, (stream, message) in enumerate(self._sent[after:], after + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


async def _done(_request: Request, _params: wire.RequestParams) -> wire.EmptyResult:
    return wire.EmptyResult()


async def _list_resources(
    _request: Request, _params: wire.PaginatedRequestParams
) -> wire.ListResourcesResult:
    return wire.ListResourcesResult(
        resources=[
            wire.Resource(uri=uri, name=name, description=name, mime_type=contents.mime_type)
            for uri, (name, contents) in _RESOURCES.items()
        ]
    )


async def _list_templates(
    _request: Request, _params: wire.PaginatedRequestParams
) -> wire.ListResourceTemplatesResult:
    template = wire.ResourceTemplate(
        uri_template=_TEMPLATE, name="Template", mime_type="application/json"
    )
    return wire.ListResourceTemplatesResult(resource_templates=[template])


async def _read(
    _request: Request, params: wire.ReadResourceRequestParams
) -> wire.ReadResourceResult:
    if (found := _RESOURCES.get(params.uri)) is not None:
        return wire.ReadResourceResult(contents=[found[1]])
    if (fits := _OF_TEMPLATE.fullmatch(params.uri)) is not None:
        data = {"id": fits[1], "templateTest": True, "data": f"Data for ID: {fits[1]}"}
        made = wire.TextResourceContents(
            uri=params.uri, mime_type="application/json", text=json.dumps(data)
        )
        return wire.ReadResourceResult(contents=[made])
    raise MCPError(wire.INVALID_PARAMS, "Resource not found", {"uri": params.uri})


def _argument(name: str) -> wire.PromptArgument:
    return wire.PromptArgument(name=name, description="For the test.", required=True)


async def _list_prompts(
    _request: Request, _params: wire.PaginatedRequestParams
) -> wire.ListPromptsResult:
    told = {
        "test_simple_prompt": (),
        "test_prompt_with_arguments": ("arg1", "arg2"),
        "test_prompt_with_embedded_resource": ("resourceUri",),
        "test_prompt_with_image": (),
        "test_input_required_result_prompt": (),
    }
    return wire.ListPromptsResult(
        prompts=[
            wire.Prompt(name=name, description="For the test.", arguments=[*map(_argument, takes)])
            for name, takes in told.items()
        ]
    )


async def _prompt(
    _request: Request, params: wire.GetPromptRequestParams
) -> wire.GetPromptResult | wire.InputRequiredResult:
    given = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            return _messages(_text("This is a simple prompt for testing."))
        case "test_prompt_with_arguments":
            said = f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"
            return _messages(_text(said))
        case "test_prompt_with_embedded_resource":
            embedded = wire.TextResourceContents(
                uri=given["resourceUri"],
                mime_type="text/plain",
                text="Embedded resource content for testing.",
            )
            return _messages(
                wire.EmbeddedResource(resource=embedded),
                _text("Please process the embedded resource above."),
            )
        case "test_prompt_with_image":
            image = wire.ImageContent(data=PIXEL, mime_type="image/png")
            return _messages(image, _text("Please analyze the image above."))
        case "test_input_required_result_prompt":
            return _asks(params)
        case _:
            raise MCPError(wire.INVALID_PARAMS, "Unknown prompt")


def _asks(params: wire.GetPromptRequestParams) -> wire.GetPromptResult | wire.InputRequiredResult:
    answer = (params.input_responses or {}).get("user_context")
    if isinstance(answer, wire.ElicitResult) and answer.content is not None:
        return _messages(_text(f"With the context: {answer.content.get('context')}"))
    question = wire.ElicitRequestFormParams(
        message="What context should the prompt use?", requested_schema=dict(_CONTEXT_FORM)
    )
    return wire.InputRequiredResult(
        input_requests={"user_context": wire.ElicitRequest(params=question)}
    )


def _text(said: str) -> wire.TextContent:
    return wire.TextContent(text=said)


def _messages(*content: wire.ContentBlock) -> wire.GetPromptResult:
    return wire.GetPromptResult(
        messages=[wire.PromptMessage(role="user", content=block) for block in content]
    )


async def _complete(_request: Request, params: wire.CompleteRequestParams) -> wire.CompleteResult:
    known = ("paris", "park", "party", "test")
    values = [word for word in known if word.startswith(params.argument.value)]
    return wire.CompleteResult(completion=wire.Completion(values=values, total=len(values)))
