"""What a leg of a tool call came to, in the form that the log keeps.

`{"result": ...}` or `{"unfinished": ...}`.  Anything else is a value that a person gave for the
result of a call of which nobody knew whether it was done.
"""

from typing import Final

from pydantic import TypeAdapter, ValidationError

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
    """As it was, or what a person says that it was."""
    try:
        match said:
            case {"result": kept, **more} if not more:
                return _RESULT_OF.validate_python(kept)
            case {"unfinished": kept, **more} if not more:
                return _UNFINISHED_OF.validate_python(kept)
            case str():
                return ToolResult(parts=(Part(text=said),))
            case _:
                return ToolResult(structured=said)
    except ValidationError:
        return ToolResult(structured=said)
