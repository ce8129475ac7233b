"""The defaults of a tool's schema, put into arguments: what runs is what is judged and shown.

At every depth, since a condition may be on what lies within, and so may what an approver looks
for.  A default of null that its own schema does not take is how some write that there is none.
One with which the call does not fit any more is put in all the same, and the call is refused: left
out, it would run unseen.
"""

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, cast

from interlock._keywords import Unchecked, as_fields, as_list, found, inside
from interlock._schema import Judgement, target_of
from interlock.models import JsonObject, JsonValue
from interlock.tools import Tool


def with_defaults(tool: Tool, arguments: JsonObject) -> JsonObject:
    """The arguments with the defaults of the tool's schema, which is one that can be checked.

    The same object where none is missing.
    """
    schema = tool.input_schema
    return cast("JsonObject", _Filling(schema).filled(arguments, [schema], ""))


class _Filling:
    """Puts the defaults of one schema in their places.

    A value is gone into once, with all the schemas that it is under: once for each of them is
    exponential.  What it is under is judged as it was given, so that one judgement does for all.
    """

    def __init__(self, root: JsonObject) -> None:
        self._root: Final = root
        self._judgement: Final = Judgement(root)

    def filled(self, value: JsonValue, schemas: Iterable[JsonValue], at: str) -> JsonValue:
        """The value with what it lacks; the same object if that is nothing."""
        match value:
            case dict():
                under = list(self._under(value, schemas, at))
                made = self._fields(value, under, at)
                same = len(made) == len(value) and all(made[n] is value[n] for n in value)
                return value if same else made
            case list():
                under = list(self._under(value, schemas, at))
                items = [
                    self.filled(item, _of_item(under, index), inside(at, index))
                    for index, item in enumerate(value)
                ]
                same = all(one is other for one, other in zip(items, value, strict=True))
                return value if same else items
            case _:
                return value  # Nothing can lack in it.

    def _under(
        self, value: JsonValue, schemas: Iterable[JsonValue], at: str
    ) -> Iterator[JsonObject]:
        """Each schema that the value is under by these, once."""
        todo = deque(schemas)
        seen: set[int] = set()
        while todo:
            schema = todo.popleft()
            if not isinstance(schema, dict) or id(schema) in seen:
                continue
            seen.add(id(schema))
            yield schema
            if isinstance(ref := schema.get("$ref"), str):
                todo.append(target_of(self._root, ref))
            todo.extend(as_list(schema.get("allOf")))
            for name in ("anyOf", "oneOf"):
                choices = as_list(schema.get(name))
                fitting = [one for one in choices if self._judgement.fits(value, one, at)]
                if len(fitting) == 1:  # Of several nobody knows which the tool goes by.
                    todo.extend(fitting)

    def _fields(self, value: JsonObject, under: list[JsonObject], at: str) -> JsonObject:
        made = {
            name: self.filled(one, _of_field(under, name), inside(at, name))
            for name, one in value.items()
        }
        for schema in under:
            for name, said in as_fields(schema.get("properties")).items():
                if name not in made and self._has_default(said, inside(at, name)):
                    # As it stands: filled in turn, one of a schema that holds itself had no end.
                    made[name] = copy.deepcopy(as_fields(said)["default"])
        return made

    def _has_default(self, schema: JsonValue, at: str) -> bool:
        if not isinstance(schema, dict) or "default" not in schema:
            return False
        return schema["default"] is not None or self._judgement.fits(None, schema, at)


def _of_field(schemas: list[JsonObject], name: str) -> Iterator[JsonValue]:
    """What a field of that name is under, by each schema of its object."""
    for schema in schemas:
        known = as_fields(schema.get("properties"))
        patterns = as_fields(schema.get("patternProperties"))
        named = [known[name]] if name in known else []
        named += [one for pattern, one in patterns.items() if _is_found(pattern, name)]
        yield from named or [schema.get("additionalProperties")]


def _is_found(pattern: str, name: str) -> bool:
    try:
        return found(pattern, name, "")
    except Unchecked:
        return False  # Such a name is refused.


def _of_item(schemas: list[JsonObject], index: int) -> Iterator[JsonValue]:
    """What an item is under, by each schema of its array."""
    for schema in schemas:
        first = as_list(schema.get("prefixItems"))
        yield first[index] if index < len(first) else schema.get("items")
