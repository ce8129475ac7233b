"""The defaults of a tool's schema, put into arguments: what runs is what is judged and shown.

At every depth, since a condition may be on what lies within, and so may what an approver looks
for.  A default of null that its own schema does not take is how some write that there is none.
"""

import copy
from collections.abc import Iterator
from typing import Final, cast

from interlock._keywords import Unchecked, as_fields, as_list
from interlock._schema import fits, target_of
from interlock.models import JsonObject, JsonValue
from interlock.tools import Tool


def with_defaults(tool: Tool, arguments: JsonObject) -> JsonObject:
    """The arguments with the defaults of the tool's schema, which is one that can be checked.

    The same object where none is missing.
    """
    schema = tool.input_schema
    return cast("JsonObject", _Filling(schema).filled(arguments, schema))


class _Filling:
    """Puts the defaults of one schema in their places."""

    def __init__(self, root: JsonObject) -> None:
        self._root: Final = root

    def filled(self, value: JsonValue, schema: JsonValue) -> JsonValue:
        """The value with what it lacks; the same object if that is nothing."""
        if not isinstance(value, dict | list) or not isinstance(schema, dict):
            return value  # Nothing can lack in it.
        for further in self._further(value, schema):
            value = self.filled(value, further)
        match value:
            case dict():
                return self._object(value, schema)
            case list():
                made = [self.filled(item, schema.get("items")) for item in value]
                same = all(one is other for one, other in zip(made, value, strict=True))
                return value if same else made
            case _:
                raise AssertionError("what is filled in stays of its kind")

    def _further(self, value: JsonValue, schema: JsonObject) -> Iterator[JsonValue]:
        """The schemas that the same value is under as well."""
        if isinstance(ref := schema.get("$ref"), str):
            yield target_of(self._root, ref)
        yield from as_list(schema.get("allOf"))
        for name in ("anyOf", "oneOf"):
            fitting = [one for one in as_list(schema.get(name)) if self._fits(value, one)]
            if len(fitting) == 1:  # Of several nobody knows which the tool goes by.
                yield fitting[0]

    def _object(self, value: JsonObject, schema: JsonObject) -> JsonObject:
        known, others = as_fields(schema.get("properties")), schema.get("additionalProperties")
        made = {name: self.filled(one, known.get(name, others)) for name, one in value.items()}
        for name, said in known.items():
            if name not in value and isinstance(said, dict) and self._has_default(said):
                # As it stands: filled in turn, one of a schema that holds itself had no end.
                made[name] = copy.deepcopy(said["default"])
        same = len(made) == len(value) and all(made[name] is value[name] for name in value)
        return value if same else made

    def _has_default(self, schema: JsonObject) -> bool:
        if "default" not in schema:
            return False
        return schema["default"] is not None or self._fits(None, schema)

    def _fits(self, value: JsonValue, schema: JsonValue) -> bool:
        try:
            return fits(value, schema, self._root)
        except Unchecked:
            return False
