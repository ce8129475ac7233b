"""Between JSON schemas, by which tools are checked, and what smolagents says of their inputs.

What an agent is told is a simplification; the gate checks by the schema of the tool itself.
"""

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from interlock import JsonObject, JsonValue

__all__ = ["identifier", "inputs_of", "omissible", "schema_of"]

#: What smolagents knows, and JSON schema too.
TYPES: Final = frozenset({"string", "boolean", "integer", "number", "array", "object", "null"})
#: How deep references are followed: a schema may refer to itself.
DEPTH_MAX: Final = 8
#: Values that references may add to a schema: each of them is in every prompt.  References are
#: followed less deep where that many would not do: a schema that refers to itself in ten places
#: has a hundred million of them eight levels down.
ADDED_MAX: Final = 4_096
#: Keywords that smolagents reads, in a way of its own, or that refer elsewhere.
_UNUSED: Final = frozenset({"anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "nullable"})


def identifier(name: str) -> str:
    """A name that can be written in Python, as smolagents wants it of tools."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not name or name[0].isdigit():
        name = f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def inputs_of(schema: JsonObject) -> dict[str, dict[str, Any]]:
    """The `inputs` of a smolagents tool whose arguments fit the schema."""
    whole = _opened(schema)
    properties = cast("dict[str, JsonValue]", whole.get("properties") or {})
    required = cast("Sequence[str]", whole.get("required") or ())
    return {name: _input(said, name in required) for name, said in properties.items()}


def omissible(schema: JsonObject) -> frozenset[str]:
    """Arguments that may be left out and may not be null: a model that sends null means neither."""
    whole = _opened(schema)
    properties = cast("dict[str, JsonValue]", whole.get("properties") or {})
    required = cast("Sequence[str]", whole.get("required") or ())
    return frozenset(
        name
        for name, said in properties.items()
        if name not in required
        and isinstance(said, dict)
        and (types := _types(said))
        and "null" not in types
    )


def _input(said: JsonValue, required: bool) -> dict[str, Any]:  # noqa: FBT001  one caller
    given = said if isinstance(said, dict) else {}
    types = _types(given)
    known = [name for name in types if name != "null"]
    made: dict[str, Any] = {name: given[name] for name in given if name not in _UNUSED}
    made["type"] = known[0] if len(known) == 1 else known or "any"
    made["description"] = str(given.get("description") or given.get("title") or "see the tool")
    if not required or "null" in types:
        made["nullable"] = True
    return made


def _types(said: Mapping[str, JsonValue]) -> list[str]:
    """The types that a value may have; none where the schema does not say."""
    given = said.get("type")
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list):
        return [str(name) for name in given if name in TYPES]
    types: list[str] = []
    for name in ("anyOf", "oneOf"):
        for branch in cast("Sequence[JsonValue]", said.get(name) or ()):
            found = _types(branch) if isinstance(branch, dict) else []
            if not found:
                return []
            types += [each for each in found if each not in types]
    return types


def _opened(schema: JsonObject) -> JsonObject:
    """The schema with what it refers to in place, as deep as there is room for."""
    for depth in range(DEPTH_MAX, 0, -1):
        try:
            return _Opening(schema, depth).whole()
        except OverflowError:
            continue
    return _Opening(schema, 0).whole()


class _Opening:
    """Puts what a schema refers to in its place."""

    def __init__(self, root: JsonObject, depth: int) -> None:
        """Follow references from `root` on, so many levels."""
        self._root: Final = root
        self._depth: Final = depth
        self._added = 0

    def whole(self) -> JsonObject:
        """The schema.

        Raises:
            OverflowError: more than `ADDED_MAX` values would be added to it.
        """
        return cast("JsonObject", self._value(self._root, self._depth))

    def _value(self, value: JsonValue, depth: int) -> JsonValue:
        if depth < self._depth:
            self._added += 1
            if self._added > ADDED_MAX:
                raise OverflowError
        if isinstance(value, list):
            return [self._value(each, depth) for each in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str):
            others = {name: each for name, each in value.items() if name != "$ref"}
            if depth == 0:
                return others
            target = _referred(reference, self._root)
            return self._value({**target, **others}, depth - 1)
        left_out = ("$defs", "definitions")
        return {
            name: self._value(each, depth) for name, each in value.items() if name not in left_out
        }


def _referred(reference: str, root: JsonObject) -> JsonObject:
    """What a reference within the schema means; anything for one that leads nowhere."""
    found: JsonValue = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def schema_of(inputs: Mapping[str, Mapping[str, Any]]) -> JsonObject:
    """The JSON schema of the arguments of a smolagents tool."""
    properties: JsonObject = {}
    required: list[JsonValue] = []
    for name, said in inputs.items():
        kept = {key: value for key, value in said.items() if key not in ("nullable", "type")}
        given: Any = said["type"]
        types = cast("list[str]", given if isinstance(given, list) else [given])
        # An image or a sound has no type in JSON, and `any` is none.
        if all(each in TYPES for each in types):
            if said.get("nullable") and "null" not in types:
                types = [*types, "null"]
            kept["type"] = types[0] if len(types) == 1 else list(types)
        properties[name] = cast("JsonValue", kept)
        if not said.get("nullable"):
            required.append(name)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
