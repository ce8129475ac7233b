"""What people are asked for before a tool is called: a form with exactly what is missing."""

from collections.abc import Sequence
from typing import Final

from interlock.models import JsonObject
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
        schema = one.form if one.form is not None else own if isinstance(own, dict) else {}
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
