"""What people are asked for before a tool is called: a form with exactly what is missing."""

from collections.abc import Sequence
from typing import Final, cast

from interlock.models import JsonObject, JsonValue
from interlock.policy import RequiredInput
from interlock.tools import Tool

#: Where a schema keeps what its `$ref`s point to.
_DEFS: Final = frozenset({"$defs", "definitions"})


def inputs_form(tool: Tool, wanted: Sequence[RequiredInput]) -> JsonObject:
    """The schema of what is asked for: those fields, and no others."""
    known = tool.input_schema.get("properties")
    properties: JsonObject = {}
    for one in wanted:
        own = known.get(one.target) if isinstance(known, dict) else None
        schema = own if isinstance(own, dict) else {}
        if one.form is not None:
            schema = _moved(one.form, one.name)
        field: JsonObject = {**schema, "x-argument": one.target}
        if one.description is not None:
            field["description"] = one.description
        if one.has_default:
            field["default"] = one.default
        if field.get("type") == "string" and not {"pattern", "enum", "const"} & field.keys():
            field["pattern"] = r"\S"  # A blank is no input.
        properties[one.name] = field
    form: JsonObject = {
        "type": "object",
        "properties": properties,
        "required": [one.name for one in wanted if not one.has_default],
        "additionalProperties": False,
    }
    for name in _DEFS & tool.input_schema.keys():
        form[name] = tool.input_schema[name]
    return form


def _moved(form: JsonObject, name: str) -> JsonObject:
    """A form as part of a larger one: what it refers to in itself is somewhere else there."""
    place = "#/properties/" + name.replace("~", "~0").replace("/", "~1").replace("%", "%25")

    def moved(node: JsonValue) -> JsonValue:
        match node:
            case dict():
                return {key: _ref(key, inner) or moved(inner) for key, inner in node.items()}
            case list():
                return [moved(inner) for inner in node]
            case _:
                return node

    def _ref(key: str, inner: JsonValue) -> str | None:
        is_own = key == "$ref" and isinstance(inner, str) and inner.startswith("#")
        return place + cast("str", inner)[1:] if is_own else None

    return cast("JsonObject", moved(form))
