"""JSON schemas as forms: which fields a person fills in, and the JSON that comes of them.

An object with properties has a field for each; whatever has no field of its own kind is JSON as
text, and so is everything in raw mode.  Whether a value fits is judged by the engine.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast

from interlock import JsonObject, JsonValue
from interlock.forms import target_of
from interlock_adapters._http.asgi import excess_in, once
from interlock_adapters.console._text import json_text

Kind: TypeAlias = Literal["text", "long", "integer", "number", "boolean", "choice", "date", "json"]

#: Fields of one form; an object with more is edited as JSON.
FIELDS_MAX: Final = 50
#: Choices of one field.
_CHOICES_MAX: Final = 200
#: Text that is longer, or can be, has several lines.
_LINE_CHARS_MAX: Final = 80
#: References followed one after the other.
_REFS_MAX: Final = 20
#: What a name in a posted form begins with.
VALUE, GIVEN, RAW, MODE = "v:", "g:", "raw", "mode"
#: Whole numbers written longer are no numbers that anybody typed.
_DIGITS_MAX: Final = 400
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form, filled in."""

    #: The property; "" is the whole value.
    name: str
    kind: Kind
    label: str
    help: str
    required: bool
    #: Whether it is part of the value; one that is required always is.
    given: bool
    #: What is in it.
    text: str
    #: For a choice: JSON texts and what is shown of them.
    choices: tuple[tuple[str, str], ...] = ()
    minimum: str | None = None
    maximum: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FormView:
    """A form as it is shown: its fields, or its raw JSON, and what is wrong with it."""

    fields: tuple[Field, ...]
    raw: str
    #: It is edited as JSON; `fields` may be empty then.
    is_raw: bool
    #: The value is an object of which each field is a property.
    is_object: bool
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class Filled:
    """What came of a posted form."""

    value: JsonValue = None
    problems: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def is_good(self) -> bool:
        """Whether there is a value."""
        return not self.problems


class _NoValueError(Exception):
    """A field holds nothing of its kind; the message says what would do."""


def form_view(
    schema: JsonObject,
    value: JsonValue,
    *,
    has_value: bool = True,
    posted: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    said: tuple[str, ...] = (),
) -> FormView:
    """The form of a schema, filled in with a value, or with what somebody posted before."""
    fields = _fields_of(schema, value, has_value=has_value)
    faults = problems or {}
    raw = json_text(value) if has_value else ""
    is_raw = not fields
    if posted is not None:
        is_raw = posted.get(MODE) == RAW
        raw = posted.get(RAW, raw)
        fields = tuple(_as_posted(each, posted, faults.get(each.name, "")) for each in fields)
    is_object = bool(fields) and fields[0].name != ""
    general = tuple(fault for name, fault in faults.items() if not _is_shown(name, fields))
    return FormView(fields, raw, is_raw, is_object, (*general, *said))


def filled(
    schema: JsonObject, value: JsonValue, posted: Mapping[str, str], *, has_value: bool = True
) -> Filled:
    """The value that a posted form amounts to, which `form_view` made of the same."""
    fields = _fields_of(schema, value, has_value=has_value)
    if posted.get(MODE) == RAW or not fields:
        return _raw(posted.get(RAW, ""))
    made = Filled()
    properties: JsonObject = {}
    for each in fields:
        if not each.required and f"{GIVEN}{each.name}" not in posted:
            continue
        try:
            properties[each.name] = _value(each, posted.get(f"{VALUE}{each.name}", ""))
        except _NoValueError as error:
            made.problems[each.name] = str(error)
    if not made.problems:
        made.value = properties[""] if fields[0].name == "" else properties
    return made


def _is_shown(name: str, fields: tuple[Field, ...]) -> bool:
    return any(each.name == name for each in fields)


def _raw(text: str) -> Filled:
    try:
        return Filled(_json(text))
    except _NoValueError as error:
        return Filled(problems={RAW: str(error)})


# --- fields of a schema --------------------------------------------------------------


def _fields_of(schema: JsonObject, value: JsonValue, *, has_value: bool) -> tuple[Field, ...]:
    """A field for each property; one for a value that is no object; none if only JSON will do."""
    whole = _resolved(schema, schema)
    properties = whole.get("properties")
    if isinstance(properties, dict) and (isinstance(value, dict) or not has_value):
        given = value if isinstance(value, dict) else {}
        names = [*properties, *(name for name in given if name not in properties)]
        if not 0 < len(names) <= FIELDS_MAX or "" in names:
            return ()
        needed = whole.get("required")
        required = needed if isinstance(needed, list) else []
        return tuple(
            _field(
                name,
                _resolved(schema, properties.get(name)),
                given.get(name),
                is_given=name in given,
                required=name in required,
            )
            for name in names
        )
    one = _field("", whole, value, is_given=has_value, required=True)
    return () if one.kind == "json" else (one,)


def _resolved(root: JsonObject, schema: JsonValue) -> JsonObject:
    """The schema itself, where it says only where it is to be found."""
    for _ in range(_REFS_MAX):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            break
        schema = target_of(root, cast("str", schema["$ref"]))
    return schema if isinstance(schema, dict) else {}


def _field(
    name: str, schema: JsonObject, value: JsonValue, *, is_given: bool, required: bool
) -> Field:
    if not is_given and "default" in schema:
        value = schema["default"]
    kind = _kind_of(schema, value, is_given=is_given or "default" in schema)
    choices = tuple(_choices_of(schema)) if kind == "choice" else ()
    has_text = is_given or "default" in schema
    return Field(
        name=name,
        kind=kind,
        label=_words(schema.get("title")) or name or "Answer",
        help=_words(schema.get("description")),
        required=required,
        given=required or is_given,
        text=_text_of(kind, value) if has_text else ("false" if kind == "boolean" else ""),
        choices=choices,
        minimum=_bound(schema.get("minimum")),
        maximum=_bound(schema.get("maximum")),
    )


def _kind_of(schema: JsonObject, value: JsonValue, *, is_given: bool) -> Kind:
    """The kind of field, which must be able to hold the value that there is."""
    choices = schema.get("enum")
    if isinstance(choices, list) and 0 < len(choices) <= _CHOICES_MAX:
        fits = not is_given or json.dumps(value) in {json.dumps(each) for each in choices}
        return "choice" if fits else "json"
    match schema.get("type"):
        case "string" if not is_given or isinstance(value, str):
            return _kind_of_text(schema, value if isinstance(value, str) else "")
        case "integer" if not is_given or _is_whole(value):
            return "integer"
        case "number" if not is_given or _is_whole(value) or isinstance(value, float):
            return "number"
        case "boolean" if not is_given or isinstance(value, bool):
            return "boolean"
        case _:
            return "json"


def _kind_of_text(schema: JsonObject, value: str) -> Kind:
    """As a browser can hold the text: it drops what ends lines, and control characters."""
    if any(char < " " and char != "\n" for char in value):
        return "json"
    if schema.get("format") == "date" and (not value or _DATE.fullmatch(value)):
        return "date"
    return "long" if "\n" in value or len(value) > _LINE_CHARS_MAX else "text"


def _is_whole(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _choices_of(schema: JsonObject) -> Iterator[tuple[str, str]]:
    for choice in cast("list[JsonValue]", schema["enum"]):
        yield json.dumps(choice), choice if isinstance(choice, str) else json.dumps(choice)


def _text_of(kind: Kind, value: JsonValue) -> str:
    match kind:
        case "text" | "long" | "date":
            return value if isinstance(value, str) else ""
        case "json":
            return json_text(value)
        case _:
            return json.dumps(value)


def _words(said: JsonValue) -> str:
    return said if isinstance(said, str) else ""


def _bound(number: JsonValue) -> str | None:
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return json.dumps(number) if is_number else None


def _as_posted(each: Field, posted: Mapping[str, str], problem: str) -> Field:
    key = f"{VALUE}{each.name}"
    given = each.required or f"{GIVEN}{each.name}" in posted
    text = posted.get(key, "false" if each.kind == "boolean" else each.text)
    return Field(
        name=each.name,
        kind=each.kind,
        label=each.label,
        help=each.help,
        required=each.required,
        given=given,
        text=text,
        choices=each.choices,
        minimum=each.minimum,
        maximum=each.maximum,
        problem=problem,
    )


# --- values of fields ----------------------------------------------------------------


def _value(each: Field, text: str) -> JsonValue:
    """What a field holds.

    Raises:
        _NoValueError: nothing of its kind.
    """
    match each.kind:
        case "text" | "date":
            return text
        case "long":
            # A form sends every end of a line as two characters.
            return text.replace("\r\n", "\n")
        case "boolean":
            return text == "true"
        case "integer":
            return _whole(text.strip())
        case "number":
            return _number(text.strip())
        case _:
            if each.kind == "choice" and text not in {code for code, _ in each.choices}:
                raise _NoValueError("choose one")
            return _json(text)


def _whole(text: str) -> int:
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > _DIGITS_MAX:
        raise _NoValueError("a whole number is accepted, as 42")
    return int(text)


def _number(text: str) -> int | float:
    try:
        return _whole(text)
    except _NoValueError:
        pass
    try:
        number = float(text) if len(text) <= _DIGITS_MAX else math.inf
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise _NoValueError("a number is accepted, as 4.2")
    return number


def _json(text: str) -> JsonValue:
    """The JSON of a text, which is bounded like a body that is JSON.

    Raises:
        _NoValueError: it is none.
    """
    if (excess := excess_in(text)) is not None:
        raise _NoValueError(excess)
    try:
        value = json.loads(
            text, parse_constant=_refused, parse_float=_finite, object_pairs_hook=once
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _NoValueError(f"this is no JSON ({where}: {error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise _NoValueError(f"this is no JSON ({error})") from None
    return cast("JsonValue", value)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NoValueError(f"{text:.40} is more than any number that can be stored")
    return number


def _refused(name: str) -> JsonValue:
    raise ValueError(f"{name} is no JSON")
