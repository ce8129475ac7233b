"""MCP's tools and results as ours: total maps, without I/O.

The gate judges what came against the schemas and makes artifacts of what is large; here only
the form is changed.  The mapping is told in specs/mcp_tools.md.
"""

import binascii
from typing import Final, assert_never

import mcp_types as wire
from pydantic import ValidationError

from interlock import JsonObject, Part, Tool, ToolResult
from interlock.errors import ToolError

#: Characters of base64 that are checked on the event loop: about a millisecond.
INLINE_CHARS_MAX: Final = 1_000_000


def tool_of(source: str, tool: wire.Tool) -> Tool:
    """A tool as it is offered; its hints are its own word, as everywhere."""
    hints = tool.annotations or wire.ToolAnnotations()
    return Tool(
        name=tool.name,
        source=source,
        description=tool.description or "",
        title=tool.title or hints.title,
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        idempotent=bool(hints.idempotent_hint or hints.read_only_hint),
    )


def result_of(source: str, result: wire.CallToolResult) -> ToolResult:
    """What a call came to.

    Raises:
        ToolError: binary content is not what it says, or a number is none of JSON's.
    """
    try:
        parts = tuple(part_of(source, block) for block in result.content)
        if "structured_content" not in result.model_fields_set:
            return ToolResult(parts=parts, is_error=result.is_error)
        return ToolResult(
            parts=parts, structured=result.structured_content, is_error=result.is_error
        )
    except ValidationError:
        raise ToolError(f"MCP server {source!r} sent what is no JSON") from None


def chars_of(result: wire.CallToolResult) -> int:
    """How much base64 there is to be checked."""
    return sum(len(_binary(block)) for block in result.content)


def part_of(source: str, block: wire.ContentBlock) -> Part:
    """One piece of content.

    Raises:
        ToolError: binary content is not what it says.
    """
    match block:
        case wire.TextContent(text=text):
            return Part(text=text)
        case wire.ImageContent() | wire.AudioContent():
            return Part(raw=_checked(source, block.data), media_type=block.mime_type)
        case wire.ResourceLink():
            return _link(block)
        case wire.EmbeddedResource(resource=resource):
            return _resource(source, resource)
        case _:
            assert_never(block)


def _link(link: wire.ResourceLink) -> Part:
    about: JsonObject = {"name": link.name}
    if link.title is not None:
        about["title"] = link.title
    if link.description is not None:
        about["description"] = link.description
    if link.mime_type is None:
        return Part(url=link.uri, metadata=about)
    return Part(url=link.uri, media_type=link.mime_type, metadata=about)


def _resource(source: str, resource: wire.TextResourceContents | wire.BlobResourceContents) -> Part:
    about: JsonObject = {"uri": resource.uri}
    match resource:
        case wire.TextResourceContents(text=text):
            return Part(text=text, media_type=resource.mime_type, metadata=about)
        case wire.BlobResourceContents(blob=blob):
            kind = resource.mime_type or "application/octet-stream"
            return Part(raw=_checked(source, blob), media_type=kind, metadata=about)


def _binary(block: wire.ContentBlock) -> str:
    match block:
        case wire.ImageContent(data=data) | wire.AudioContent(data=data):
            return data
        case wire.EmbeddedResource(resource=wire.BlobResourceContents(blob=blob)):
            return blob
        case _:
            return ""


def _checked(source: str, data: str) -> str:
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except ValueError:  # also what is not ASCII
        raise ToolError(f"MCP server {source!r} sent binary content that is no base64") from None
    return data
