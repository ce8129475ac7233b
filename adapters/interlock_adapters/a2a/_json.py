"""What A2A's JSON says of what the log holds: parts, asks, artifacts, answers.  Pure.

Only these functions know the names of both sides.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

from interlock import Event, Trigger
from interlock.models import JsonValue
from interlock_adapters._shown.times import utc
from interlock_adapters.a2a._map import FRACTION

#: A message of the protocol in its JSON form.
Json: TypeAlias = dict[str, Any]

#: Where a submission's metadata keeps what A2A says beside the metadata of its message.
KEPT: Final = "a2a"
#: Levels of nesting shown as structure.  Protobuf readers stop at 100 messages, three for
#: each level here, and a task that nobody's library can read would be worse than a text.
NESTING_SHOWN_MAX: Final = 24

#: What a client may do about an open ask of each kind.
CAN: Final[dict[str, list[str]]] = {
    "input": [Trigger.PROVIDE_INPUT.value, Trigger.DECLINE.value, Trigger.CANCEL.value],
    "auth": [Trigger.APPROVE.value, Trigger.DENY.value, Trigger.CANCEL.value],
}

#: Bits of an integer that every double can hold, if not to the last digit.
INTEGER_BITS_MAX: Final = 1_023

#: The log's names for the fields of a part that JSON names otherwise.
_PART_NAMES: Final = {"media_type": "mediaType"}


def dumped(value: object) -> str:
    """JSON as it goes over the wire: in one line, and no longer than it must be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def rfc3339(at: float) -> str:
    """A time, seconds since 1970, as clients read it.

    Down to whole microseconds, so that whoever filters by a time they were shown finds it.
    """
    return f"{utc(at).isoformat()[:-6]}Z"


def part_shown(kept: Mapping[str, Any]) -> Json:
    """A part as the log keeps it (`models.Part.to_json`), as JSON shows it."""
    shown: Json = {}
    for name, content in kept.items():
        if name == "data":
            shown["data"] = _shallow(content)
        elif name == "metadata" and content:
            shown["metadata"] = _shallow(content)
        elif content is not None:
            shown[_PART_NAMES.get(name, name)] = content
    if "raw" in shown and not _is_base64(shown["raw"]):
        # An agent's mistake that is in the log already: show what there is.
        shown["text"] = shown.pop("raw")
    return shown


def ask_json(event: Event, *, is_open: bool) -> Json:
    """What the data part of an ask says."""
    data = event.data
    kind = data["kind"]
    said: Json = {"ask": data["key"], "kind": str(kind), "schema": data["schema"]}
    if kind == "auth":
        for name in ("tool", "arguments", "digest"):
            said[name] = data.get(name)
        said["allow_edit"] = bool(data.get("allow_edit", False))
    said["due"] = rfc3339(data["due"])
    if is_open:
        said["can"] = CAN[kind]
    return said


def ask_parts(event: Event, *, is_open: bool) -> list[Json]:
    said = _shallow(ask_json(event, is_open=is_open))
    return [{"text": event.data["prompt"]}, {"data": said, "mediaType": "application/json"}]


def put_fraction(message: Json, event: Event) -> None:
    fraction = event.data.get("fraction")
    if fraction is not None and math.isfinite(fraction):
        message["metadata"] = {FRACTION: fraction}


def artifact_shown(chunk: Mapping[str, Any]) -> Json:
    """A chunk as the log keeps it (`models.Artifact`), as an artifact."""
    shown: Json = {
        "artifactId": chunk["artifact_id"],
        "parts": [part_shown(part) for part in chunk["parts"]],
    }
    for name in ("name", "description", "metadata"):
        if chunk.get(name):
            shown[name] = _shallow(chunk[name])
    return shown


def put_kept(message: Json, metadata: Mapping[str, Any]) -> None:
    """Write the metadata of a submission into its message, undoing `a2a._request`."""
    own = {name: _shallow(value) for name, value in metadata.items() if name != KEPT}
    if own:
        message["metadata"] = own
    kept = metadata.get(KEPT)
    if not isinstance(kept, dict):
        return  # Not from us: another face lets its callers name their metadata as they like.
    said = cast("Json", kept)
    for name, shown in (("extensions", "extensions"), ("reference_task_ids", "referenceTaskIds")):
        if _are_texts(said.get(name)):
            message[shown] = said[name]


def _are_texts(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(isinstance(item, str) for item in cast("list[object]", value))


def answer_part(event: Event) -> Json:
    """What somebody answered by another protocol, which left no message."""
    data = event.data
    said: Json = {"ask": data["key"]}
    if event.trigger is Trigger.PROVIDE_INPUT:
        said["value"] = data["value"]
        return {"data": said}
    if event.trigger is Trigger.DECLINE:
        said["decline"] = True
    else:
        said |= {"digest": data["digest"], "decision": event.trigger.value}
    if data.get("edited"):
        said["arguments"] = data["arguments"]
    if data.get("reason"):
        said["reason"] = data["reason"]
    return {"data": said}


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


def _shallow(value: JsonValue, depth: int = 1) -> JsonValue:
    """The value, with what protobuf's readers would choke on as texts."""
    match value:
        case dict() | list() if depth > NESTING_SHOWN_MAX:
            return json.dumps(value)
        case int() if value.bit_length() > INTEGER_BITS_MAX:
            return str(value)
        case dict():
            return {name: _shallow(item, depth + 1) for name, item in value.items()}
        case list():
            return [_shallow(item, depth + 1) for item in value]
        case _:
            return value
