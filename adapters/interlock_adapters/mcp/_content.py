"""What a task comes to as MCP shows it: content, a structured result, or an error."""

import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import mcp_types as wire

from interlock import Ended, JsonObject, JsonValue, Part, Phase, StopCause, TaskView, Trigger
from interlock_adapters._stops import STOPS
from interlock_adapters.mcp._errors import FAULT

#: Where a result says why it is an error (ours).
CODE: Final = "interlock/code"
#: Codes of failures that are nobody's but ours: an error of JSON-RPC, not a result.
_OURS: Final = frozenset({"result_invalid", "engine_bug"})

#: Those for which the message is the reason that somebody gave.
_BY_PEOPLE: Final = frozenset({StopCause.CLIENT, StopCause.DENIED, StopCause.DECLINED})


def result_of(
    view: TaskView, *, artifacts: bool, wrap: bool
) -> wire.CallToolResult | wire.ErrorData:
    """What a task that is over comes to.

    With `artifacts` what it showed on its way comes before what it returned.  With `wrap` a
    structured result is `{"result": ...}` whatever it is; otherwise only what is no object.
    """
    details = view.record.details
    assert isinstance(details, Ended)
    if details.outcome is not Phase.COMPLETED:
        return _failure(details)
    completed = next(e for e in reversed(view.events) if e.trigger is Trigger.COMPLETE)
    shown = [*_artifacts(view)] if artifacts else []
    returned = [Part.model_validate(part) for part in completed.data["parts"]]
    names = _names(view.record.task_id)
    content = [_block(part, names) for part in (*shown, *returned)]
    values = _values(returned, wrap=wrap)
    if not values:
        return wire.CallToolResult(content=content)
    structured = values[-1]
    if wrap or not isinstance(structured, dict):
        structured = {"result": structured}
    return wire.CallToolResult(content=content, structured_content=structured)


def _values(returned: Sequence[Part], *, wrap: bool) -> list[JsonValue]:
    """What of a result has a structure.

    Where one is declared that is no object, a text is one, and so is nothing.
    """
    values = [part.data for part in returned if "data" in part.model_fields_set]
    if values or not wrap:
        return values
    match returned:
        case []:
            return [None]
        case [Part(text=str() as text)]:
            return [text]
        case _:
            return []


def _failure(details: Ended) -> wire.CallToolResult | wire.ErrorData:
    code, message = details.code or "", details.message
    if (number := _fault(code)) is not None:
        return wire.ErrorData(code=number, message=message or "the call failed")
    if code in _OURS:
        return wire.ErrorData(
            code=wire.INTERNAL_ERROR, message=message or "internal error", data={"reason": code}
        )
    _, said = STOPS.get(code, (None, None))
    # A deadline's message says no more than that; a person's says why.
    heard = message if said is None or code in _BY_PEOPLE else None
    told = " ".join(words for words in (said, heard) if words) or "The task failed."
    return wire.CallToolResult(
        content=[wire.TextContent(text=told)], is_error=True, _meta={CODE: code}
    )


def _fault(code: str) -> int | None:
    """The code of JSON-RPC that an agent raised."""
    try:
        return int(code.removeprefix(FAULT)) if code.startswith(FAULT) else None
    except ValueError:  # It is an agent's own code that looks like one.
        return None


def _artifacts(view: TaskView) -> Iterator[Part]:
    """What the task showed, each artifact where it was first shown and as it is now."""
    shown: dict[str, list[JsonObject]] = {}
    for event in view.events:
        if event.trigger is not Trigger.EMIT:
            continue
        chunk: Mapping[str, Any] = event.data["artifact"]
        kept = shown.setdefault(chunk["artifact_id"], [])
        if not chunk.get("append"):
            kept.clear()
        _append(kept, chunk["parts"])
    for parts in shown.values():
        yield from map(Part.model_validate, parts)


def _append(kept: list[JsonObject], parts: Sequence[JsonObject]) -> None:
    """Add a chunk; a text that goes on is one text, as a model reads it."""
    match kept, parts:
        case [*_, {"text": str(before)} as last], [{"text": str(more)} as first, *rest] if (
            len(last) == 1 == len(first)
        ):
            kept[-1] = {"text": f"{before}{more}"}
            kept += rest
        case _:
            kept += parts


def _names(task_id: str) -> Iterator[str]:
    """Addresses for what has none."""
    number = 0
    while True:
        number += 1
        yield f"interlock:///{task_id}/{number}"


def _block(part: Part, names: Iterator[str]) -> wire.ContentBlock:
    """One part as content; what `mcp_tools._content` made of content, as that content."""
    about = part.metadata or {}
    uri = about.get("uri")
    if part.text is not None and isinstance(uri, str):
        text = wire.TextResourceContents(uri=uri, mime_type=part.media_type, text=part.text)
        return wire.EmbeddedResource(resource=text)
    if part.text is not None:
        return wire.TextContent(text=part.text)
    if part.url is not None:
        return _link(part, part.url, about)
    if part.raw is not None:
        return _binary(part, part.raw, uri, names)
    return wire.TextContent(text=json.dumps(part.data, ensure_ascii=False))


def _binary(part: Part, raw: str, uri: JsonValue, names: Iterator[str]) -> wire.ContentBlock:
    if not _is_base64(raw):
        # An agent's mistake that is in the log already: show what there is, as over A2A.
        return wire.TextContent(text=raw)
    kind = part.media_type or ""
    if isinstance(uri, str):
        where = uri
    elif kind.lower().startswith("image/"):
        return wire.ImageContent(data=raw, mime_type=kind)
    elif kind.lower().startswith("audio/"):
        return wire.AudioContent(data=raw, mime_type=kind)
    else:
        where = f"{next(names)}/{quote(part.filename or 'file', safe='')}"
    blob = wire.BlobResourceContents(uri=where, mime_type=part.media_type, blob=raw)
    return wire.EmbeddedResource(resource=blob)


def _is_base64(text: str) -> bool:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # also what is not ASCII
        return False
    return True


def _link(part: Part, url: str, about: Mapping[str, JsonValue]) -> wire.ResourceLink:
    name = about.get("name")
    title, description = about.get("title"), about.get("description")
    return wire.ResourceLink(
        name=name if isinstance(name, str) else part.filename or url,
        uri=url,
        mime_type=part.media_type,
        title=title if isinstance(title, str) else None,
        description=description if isinstance(description, str) else None,
    )
