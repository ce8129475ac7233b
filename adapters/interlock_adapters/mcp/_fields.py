"""The forms of MCP, made of JSON schemas: pure.

A form (`requestedSchema`) is an object of fields, and a field is a text, a number, a boolean,
or a choice of one or several texts (`PrimitiveSchemaDefinition`, 2025-11-25 and later).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from mcp_types.version import LATEST_MODERN_VERSION

from interlock import JsonObject, JsonValue
from interlock.forms import problems_of, target_of

Style: TypeAlias = Literal["fields", "value", "text"]

#: The one field of a form that is made of a single value.
VALUE: Final = "value"
#: Characters of a schema that a person is shown.
SCHEMA_CHARS_MAX: Final = 4_096
#: Versions whose forms know no choice of several, and no titles beside choices but `enumNames`.
_OLDER: Final = frozenset({"2024-11-05", "2025-03-26", "2025-06-18"})
#: Steps along references and alternatives within a schema.
_STEPS_MAX: Final = 64

#: Where schemas are kept that others refer to.
_HELD: Final = ("$defs", "definitions")
#: Keywords that say nothing about values, and are not shown.
_IDLE: Final = frozenset(
    (
        *(*_HELD, "$comment", "$id", "$schema", "example", "examples"),
        *("deprecated", "readOnly", "writeOnly", "discriminator"),
        *("contentEncoding", "contentMediaType", "contentSchema"),
    )
)
_WORDS: Final = frozenset({"title", "description"})
_TEXTS: Final = _WORDS | {"type", "default"}
#: What MCP knows of each type of field.
_KNOWN: Final[dict[str, frozenset[str]]] = {
    "string": _TEXTS | {"minLength", "maxLength", "format", "enum", "enumNames", "oneOf"},
    "number": _TEXTS | {"minimum", "maximum"},
    "integer": _TEXTS | {"minimum", "maximum"},
    "boolean": _TEXTS,
    "array": _TEXTS | {"minItems", "maxItems", "items"},
}
#: The type of a field by that of its choices.
_KINDS: Final[dict[type, str]] = {bool: "boolean", int: "number", float: "number", str: "string"}
_FORMATS: Final = frozenset({"email", "uri", "date", "date-time"})
_NUMERIC: Final = frozenset({"number", "integer"})
#: What MCP does not know, of which types, and how it is told in words.
_TOLD: Final[dict[str, tuple[frozenset[str], Callable[[JsonValue], str]]]] = {
    "pattern": (frozenset({"string"}), "of the pattern {}".format),
    "format": (frozenset({"string"}), "of the format {}".format),
    "exclusiveMinimum": (_NUMERIC, "above {}".format),
    "exclusiveMaximum": (_NUMERIC, "below {}".format),
    "multipleOf": (_NUMERIC, "a multiple of {}".format),
    "enum": (_NUMERIC | {"boolean"}, lambda options: f"one of {_listed(options)}"),
    "const": (_NUMERIC | {"boolean"}, lambda value: f"only {json.dumps(value)}"),
    # A person ticks each of several choices once anyhow.
    "uniqueItems": (frozenset({"array"}), lambda _wanted: ""),
}


@dataclass(frozen=True, slots=True)
class Form:
    """A form, and how the value is got back that was filled into it."""

    #: The `requestedSchema`.
    shown: JsonObject
    #: The value is the object of the fields; or the field `value`; or JSON text in that field.
    style: Style
    #: Fields that may be null, or left empty instead.
    nullable: frozenset[str] = frozenset()
    #: Those of them that the ask wants to be there.
    null_if_absent: frozenset[str] = frozenset()

    @classmethod
    def plain(cls, shown: JsonObject) -> "Form":
        """One whose fields are the value."""
        return cls(shown, "fields")

    @property
    def fields(self) -> dict[str, JsonObject]:
        """The fields by name."""
        return cast("dict[str, JsonObject]", self.shown["properties"])

    @property
    def required(self) -> list[str]:
        """The fields that must be filled."""
        return cast("list[str]", self.shown.get("required", []))


def form_of(schema: JsonObject, version: str = LATEST_MODERN_VERSION) -> Form:
    """The form for what an ask wants.

    However old the version, a filled form is read as one of the latest: see `_older`.
    """
    wanted, _ = lone(schema)
    form = _flat(wanted) or _single(wanted)
    if form is None:
        return Form(_object({VALUE: _as_json(wanted)}, [VALUE]), "text")
    if version not in _OLDER:
        return form
    older = {name: _older(field) for name, field in form.fields.items()}
    return Form(_object(older, form.required), form.style, form.nullable, form.null_if_absent)


def wants_secret(schema: JsonValue) -> bool:
    """Whether some of it is marked as a secret, wherever it stands.

    Forms must not ask for one: what is filled in is seen by the host and its model.
    """
    match schema:
        case dict():
            marked = schema.get("writeOnly") is True or schema.get("format") == "password"
            return marked or any(wants_secret(inner) for inner in schema.values())
        case list():
            return any(wants_secret(inner) for inner in schema)
        case _:
            return False


def lone(schema: JsonObject) -> tuple[JsonObject, JsonObject | None]:
    """A schema without its way to refuse, and what an answer is that refuses.

    A host has a button for that.  See `mcp_tools._ask`, which offers it beside what a server wants.
    """
    match schema.get("anyOf"):
        case [dict(first), dict(second)] if word := _refusal(second):
            # References point at the root, which is another now.
            return {**first, **_held(schema)}, {word: True}
        case _:
            return schema, None


def _refusal(schema: JsonObject) -> str | None:
    """The field by which it refuses; None if it is an alternative that is an agent's own."""
    match schema:
        case {"type": "object", "properties": dict(fields), "required": [str(word)]} if (
            fields == {word: {"const": True}} and word.rstrip("_") == "decline"
        ):
            return word
        case _:
            return None


# --- whole forms ----------------------------------------------------------------------------


def _flat(wanted: JsonObject) -> Form | None:
    """A schema of an object as a form, if all of its fields are."""
    schema, may_be_null = _opened(wanted, wanted)
    fields, needed = schema.get("properties"), cast("list[str]", schema.get("required", []))
    known = _TEXTS | {"properties", "required", "additionalProperties"}
    if may_be_null or schema.get("type", "object") != "object" or not isinstance(fields, dict):
        return None
    if not all(key in known or _is_idle(key) for key in schema) or not set(needed) <= set(fields):
        return None
    if schema.get("additionalProperties") not in (None, True, False, {}):
        return None
    shown: dict[str, JsonObject] = {}
    nullable: set[str] = set()
    for name, field in fields.items():
        made = _field(field, wanted)
        if made is None:
            return None
        shown[name], may_be_null = made
        if may_be_null:
            nullable.add(name)
    form = _object(shown, [name for name in needed if name not in nullable])
    return Form(form, "fields", frozenset(nullable), frozenset(nullable & set(needed)))


def _single(wanted: JsonObject) -> Form | None:
    """A form of one field, if a form has such fields."""
    made = _field(wanted, wanted)
    if made is None:
        return None
    field, may_be_null = made
    nullable = frozenset({VALUE} if may_be_null else ())
    return Form(_object({VALUE: field}, [] if may_be_null else [VALUE]), "value", nullable)


def _object(fields: Mapping[str, JsonValue], required: list[str]) -> JsonObject:
    shown: JsonObject = {"type": "object", "properties": dict(fields)}
    if required:
        shown["required"] = cast("list[JsonValue]", required)
    return shown


def _as_json(wanted: JsonObject) -> JsonObject:
    """A field for what no form can show."""
    schema = json.dumps(wanted, ensure_ascii=False)
    if len(schema) > SCHEMA_CHARS_MAX:
        schema = f"{schema[:SCHEMA_CHARS_MAX]} … ({len(schema) - SCHEMA_CHARS_MAX} more)"
    return {
        "type": "string",
        "title": "Value",
        "description": f"JSON text of this schema: {schema}",
    }


# --- one field ------------------------------------------------------------------------------


def _field(schema: JsonValue, root: JsonObject) -> tuple[JsonObject, bool] | None:
    """A field, if MCP has such, and whether its value may also be null."""
    if not isinstance(schema, dict):
        return None
    wanted, may_be_null = _opened(schema, root)
    kind = _kind(wanted)
    if kind is None:
        return None
    field: JsonObject = {}
    told: list[str] = []
    for key, value in wanted.items():
        if key in _KNOWN[kind] and not (key == "format" and value not in _FORMATS):
            field[key] = value
        elif key in _TOLD and kind in _TOLD[key][0]:
            told.append(_TOLD[key][1](value))
        elif key == "const" and kind == "string":
            field["enum"] = [value]
        elif not _is_idle(key) and key != "enumNames":
            return None
    field["type"] = kind
    if not _has_choices(field, root):
        return None
    _explain(field, told)
    # That null is one of the types says nothing where the choices say otherwise.
    return field, may_be_null and not problems_of(None, {**schema, **_held(root)})


def _kind(wanted: JsonObject) -> str | None:
    """The type of a field; that of its choices where none is said."""
    match wanted:
        case {"type": kind}:
            return kind if isinstance(kind, str) and kind in _KNOWN else None
        case {"oneOf": _}:
            return "string"
        case {"enum": [_, *_] as options}:
            kinds = {_KINDS.get(type(one)) for one in options}
            return kinds.pop() if len(kinds) == 1 else None
        case {"const": only}:
            return _KINDS.get(type(only))
        case _:
            return None


def _has_choices(field: JsonObject, root: JsonObject) -> bool:
    """See that the choices of a field are of MCP's kinds, and put them in its form.

    False if they are not.
    """
    match field:
        case {"type": "array"}:
            several = _several(field.get("items"), root)
            field["items"] = several
            return several is not None
        case {"oneOf": options}:
            titled = _titled(options)
            field["oneOf"] = titled
            return titled is not None and "enum" not in field
        case {"enum": options}:
            return _are_texts(options)
        case _:
            return True


def _several(items: JsonValue, root: JsonObject) -> JsonObject | None:
    """What may be chosen several of; None if it is no choice."""
    if not isinstance(items, dict):
        return None
    wanted, may_be_null = _opened(items, root)
    said = {key: wanted[key] for key in wanted if not _is_idle(key) and key not in _WORDS}
    if may_be_null or said.pop("type", "string") != "string":
        return None
    match said:
        case {"enum": options} if len(said) == 1 and _are_texts(options):
            return {"type": "string", "enum": options}
        case {"const": str(only)} if len(said) == 1:
            return {"type": "string", "enum": [only]}
        case {"anyOf": options} | {"oneOf": options} if len(said) == 1:
            titled = _titled(options)
            return None if titled is None else {"anyOf": titled}
        case _:
            return None


def _titled(options: JsonValue) -> list[JsonValue] | None:
    """Choices with titles; None if they are others."""
    if not isinstance(options, list) or not options:
        return None
    titled: list[JsonValue] = []
    for option in options:
        match option:
            case {"const": str(const), **rest} if rest.keys() <= {"title", "description", "type"}:
                title = rest.get("title")
                titled.append({"const": const, "title": title if isinstance(title, str) else const})
            case _:
                return None
    return titled


def _explain(field: JsonObject, told: list[str]) -> None:
    """Put what is told in words into a field, and leave out words that are none."""
    for key in ("title", "description"):
        if not isinstance(field.get(key, ""), str):
            del field[key]
    names, options = field.get("enumNames"), field.get("enum")
    if names is not None and not (
        _are_texts(names) and isinstance(options, list) and len(cast("str", names)) == len(options)
    ):
        del field["enumNames"]
    if words := "; ".join(word for word in told if word):
        before = field.get("description")
        field["description"] = f"{before} ({words})" if before else f"It is {words}."
    if "default" in field and problems_of(field["default"], field):
        del field["default"]


def _older(field: JsonObject) -> JsonObject:
    """A field for a version whose forms know less."""
    if field["type"] == "array":
        shown = {key: value for key, value in field.items() if key in {"title", "description"}}
        items = cast("JsonObject", field["items"])
        options = items.get("enum") or [
            one["const"] for one in cast("list[JsonObject]", items["anyOf"])
        ]
        words = f"JSON text, a list of some of: {_listed(options)}"
        before = shown.get("description")
        shown["description"] = f"{before} ({words})" if before else words
        return {"type": "string", **shown}
    if "oneOf" not in field:
        return field
    titled = cast("list[JsonObject]", field["oneOf"])
    return {
        **{key: value for key, value in field.items() if key != "oneOf"},
        "enum": [one["const"] for one in titled],
        "enumNames": [one["title"] for one in titled],
    }


# --- schemas --------------------------------------------------------------------------------


def _opened(schema: JsonObject, root: JsonObject) -> tuple[JsonObject, bool]:
    """What a schema wants beside null, with its references followed; and whether null fits."""
    may_be_null = False
    for _ in range(_STEPS_MAX):
        match schema:
            case {"$ref": str(ref), **rest}:
                target = target_of(root, ref)
                if not isinstance(target, dict):
                    break
                schema = {**target, **rest}
            case {"allOf": [dict(one)], **rest}:
                schema = {**one, **rest}
            case {"anyOf": [dict(one), {"type": "null"}], **rest} | {
                "anyOf": [{"type": "null"}, dict(one)],
                **rest,
            }:
                may_be_null, schema = True, {**one, **rest}
            case {"type": [str(one), "null"] | ["null", str(one)], **rest}:
                may_be_null, schema = True, {**rest, "type": one}
            case {"enum": list(options), **rest} if None in options and len(options) > 1:
                may_be_null = may_be_null or "type" not in rest
                schema = {**rest, "enum": [one for one in options if one is not None]}
            case _:
                break
    if may_be_null and schema.get("default", "") is None:
        schema = {key: value for key, value in schema.items() if key != "default"}
    return schema, may_be_null


def _held(root: JsonObject) -> JsonObject:
    return {key: root[key] for key in _HELD if key in root}


def _is_idle(key: str) -> bool:
    return key in _IDLE or key.startswith("x-")


def _are_texts(options: JsonValue) -> bool:
    return isinstance(options, list) and all(isinstance(one, str) for one in options)


def _listed(options: JsonValue) -> str:
    return ", ".join(
        json.dumps(one, ensure_ascii=False) for one in cast("list[JsonValue]", options)
    )
