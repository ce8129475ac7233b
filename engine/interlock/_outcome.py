"""What a leg of a tool call came to, in the form that the log keeps.

`{"result": ...}` or `{"unfinished": ...}`.  What a person gave for the result of a call of which
nobody knew whether it was done is a plain value, whatever it looks like.
"""

from typing import Final, cast

from pydantic import TypeAdapter

from interlock.models import JsonObject, JsonValue, Part
from interlock.tools import ToolOutcome, ToolResult, Unfinished

_RESULT, _UNFINISHED = "result", "unfinished"
_RESULT_OF: Final = TypeAdapter(ToolResult)
_UNFINISHED_OF: Final = TypeAdapter(Unfinished)


def said_of(outcome: ToolOutcome) -> JsonObject:
    """In the form of the log."""
    if isinstance(outcome, Unfinished):
        return {_UNFINISHED: outcome.model_dump(mode="json")}
    parts: list[JsonValue] = [part.to_json() for part in outcome.parts]
    said: JsonObject = {"parts": parts}
    if "structured" in outcome.model_fields_set:
        said["structured"] = outcome.structured
    if outcome.is_error:
        said["is_error"] = True
    return {_RESULT: said}


def outcome_of(said: JsonValue) -> ToolOutcome:
    """As it was.

    Raises:
        ValidationError: it is in no form of the log.
    """
    kept = cast("JsonObject", said)
    if _UNFINISHED in kept:
        return _UNFINISHED_OF.validate_python(kept[_UNFINISHED])
    return _RESULT_OF.validate_python(kept[_RESULT])


def told_of(said: JsonValue) -> ToolResult:
    """What a person says that it was: a plain value, which begins nothing."""
    if isinstance(said, str):
        return ToolResult(parts=(Part(text=said),))
    return ToolResult(structured=said)
