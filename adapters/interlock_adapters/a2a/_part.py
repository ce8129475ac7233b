"""Content between protobuf and the engine: parts, and the JSON inside them.

Protobuf keeps every number of a JSON value as a double.  Read back, a double without a
fraction becomes an integer again: 3 and 3.0 are one number in JSON, but digests are taken
over the text.  Other readers of protobuf may print 3.0.
"""

import base64
import math
from collections.abc import Mapping
from typing import Any, Final, cast

from a2a.types import Part
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct, Value

from interlock.models import JsonObject, JsonValue

#: Doubles beyond it do not say which integer they stand for.
INTEGER_EXACT_MAX: Final = 2**53


class NotJson(ValueError):
    """A value that protobuf can hold and JSON cannot."""


def put_value(value: Value, content: JsonValue) -> None:
    """Write JSON into a protobuf value."""
    ParseDict(cast("Any", content), value)


def put_struct(struct: Struct, content: Mapping[str, JsonValue]) -> None:
    """Write a JSON object into a protobuf struct."""
    ParseDict(dict(content), struct)


def json_of(value: Value) -> JsonValue:
    """The JSON that a protobuf value holds.

    Raises:
        NotJson: it holds NaN or an infinity.
    """
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return _number(value.number_value)
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return object_of(value.struct_value)
        case "list_value":
            return [json_of(item) for item in value.list_value.values]
        case _:
            return None


def object_of(struct: Struct) -> JsonObject:
    """The JSON object that a protobuf struct holds.

    Raises:
        NotJson: somewhere in it is NaN or an infinity.
    """
    return {name: json_of(item) for name, item in struct.fields.items()}


def _number(number: float) -> int | float:
    if not math.isfinite(number):
        raise NotJson("NaN and infinities are not JSON")
    if number.is_integer() and abs(number) <= INTEGER_EXACT_MAX:
        return int(number)
    return number


def part_json(part: Part) -> JsonObject:
    """The part in the form that the log keeps.

    Raises:
        NotJson: its data or metadata are not.
        ValueError: it has no content.
    """
    kept: JsonObject
    match part.WhichOneof("content"):
        case "text":
            kept = {"text": part.text}
        case "data":
            kept = {"data": json_of(part.data)}
        case "raw":
            kept = {"raw": base64.b64encode(part.raw).decode()}
        case "url":
            kept = {"url": part.url}
        case _:
            raise ValueError("a part has one of: text, data, raw, url")
    if part.media_type:
        kept["media_type"] = part.media_type
    if part.filename:
        kept["filename"] = part.filename
    if part.HasField("metadata"):
        kept["metadata"] = object_of(part.metadata)
    return kept
