"""What each keyword of a JSON schema asks of a value: the table `KEYWORDS`, row by row.

A check sees one value under one schema and returns its faults.  It knows nothing of how the
schema was reached, of bounds or of references: `_schema.py` walks.  The module is long because
the table is: a row and its check stand together.

Equality is JSON's: 1 and 1.0 are one number, 3.0 is an integer, true is not 1.  Faults never
quote a text of the value: it may be a secret, and its sender knows it.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from operator import ge, gt, le, lt
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeGuard

from interlock._formats import FORMATS, PATTERN_CHARS_MAX, compiled
from interlock.models import JsonObject, JsonValue

#: Characters of a name, path or number that a fault quotes.
QUOTED_CHARS_MAX: Final = 80
#: Faults of one value that are looked for: whoever sent it mends these first, and to find all
#: that is wrong in a long list would keep everybody else waiting.
FAULTS_MAX: Final = 50
#: Alternatives of an `anyOf` or `oneOf` whose first fault is quoted.
ALTERNATIVES_QUOTED_MAX: Final = 3

TYPES: Final = ("null", "boolean", "integer", "number", "string", "array", "object")


class Unchecked(Exception):
    """The value cannot be judged within our bounds, which makes it a bad answer."""


class Walk(Protocol):
    """Whoever takes a check from one schema to the next."""

    def faults(self, value: JsonValue, schema: JsonValue, at: str) -> list[str]:
        """The faults of a value under a schema."""
        ...

    def referred(self, value: JsonValue, ref: str, at: str) -> list[str]:
        """The faults of a value under the schema that a reference points at."""
        ...


class Here(NamedTuple):
    """A value, the schema it is under, and where it stands."""

    walk: Walk
    value: JsonValue
    schema: JsonObject
    at: str

    def under(self, schema: JsonValue) -> list[str]:
        """The faults of the same value under another schema."""
        return self.walk.faults(self.value, schema, self.at)

    def within(self, name: str | int, value: JsonValue, schema: JsonValue) -> list[str]:
        """The faults of a part of the value."""
        return self.walk.faults(value, schema, inside(self.at, name))

    def each(self, judged: Iterable[list[str]]) -> list[str]:
        """The faults of several parts, as they are judged, until there are more than enough."""
        faults: list[str] = []
        for of_one in judged:
            faults += of_one
            if len(faults) > FAULTS_MAX:
                break
        return faults

    def unless(self, fits: bool, what: str) -> list[str]:  # noqa: FBT001  (a fact, no option)
        """One fault, or none."""
        return [] if fits else [fault(self.at, what)]


# --- JSON as JSON sees it, and how a fault shows it ----------------------------------


def is_number(value: JsonValue) -> TypeGuard[int | float]:
    """Python's booleans are integers; JSON's are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_list(value: JsonValue) -> list[JsonValue]:
    """The items of an array; none of anything else."""
    return value if isinstance(value, list) else []


def as_fields(value: JsonValue) -> JsonObject:
    """The fields of an object; none of anything else."""
    return value if isinstance(value, dict) else {}


def kind_of(value: JsonValue) -> str:
    """One of `TYPES`, and a number is a number also when it is an integer."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "number"


def canonical(value: JsonValue) -> str:
    """A text that two values share exactly if they are equal to JSON."""
    match value:
        case bool() | None:
            return str(value)
        case int():
            return hex(value)
        case float():
            return hex(int(value)) if value.is_integer() else value.hex()
        case list():
            return f"[{','.join(map(canonical, value))}]"
        case dict():
            fields = sorted(f"{name!r}:{canonical(inner)}" for name, inner in value.items())
            return f"{{{','.join(fields)}}}"
        case _:
            return repr(value)


def clip(text: str) -> str:
    """As much of a text as a fault quotes."""
    return text if len(text) <= QUOTED_CHARS_MAX else text[: QUOTED_CHARS_MAX - 3] + "..."


def quote(value: JsonValue) -> str:
    """A name, or a value that stands in the schema."""
    return clip(repr(value))


def fault(at: str, what: str) -> str:
    """The sentence; a path comes from outside and may hold anything, so it is escaped."""
    return f"at {clip(repr(at or '/')[1:-1])}: {what}"


def inside(at: str, name: str | int) -> str:
    """The path of a part."""
    return f"{at}/{str(name).replace('~', '~0').replace('/', '~1')}"


def found(pattern: str, text: str, at: str) -> bool:
    """Whether a pattern is found in a text.

    Raises:
        Unchecked: the text is longer than patterns are run on.
    """
    if len(text) > PATTERN_CHARS_MAX:
        raise Unchecked(fault(at, f"more than {PATTERN_CHARS_MAX} characters meet a pattern"))
    return compiled(pattern).search(text) is not None


# --- checks on one value -------------------------------------------------------------

Check: TypeAlias = Callable[[Here, JsonValue], list[str]]


def _nothing(_here: Here, _wanted: JsonValue) -> list[str]:
    return []


def _type(here: Here, wanted: JsonValue) -> list[str]:
    names = wanted if isinstance(wanted, list) else [wanted]
    kind, value = kind_of(here.value), here.value
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if kind in names or ("integer" in names and kind == "number" and whole):
        return []
    return [fault(here.at, f"expected {' or '.join(map(str, names))}, got {kind}")]


def _enum(here: Here, wanted: JsonValue) -> list[str]:
    fits = canonical(here.value) in map(canonical, as_list(wanted))
    return here.unless(fits, f"not one of {clip(', '.join(map(repr, as_list(wanted))))}")


def _const(here: Here, wanted: JsonValue) -> list[str]:
    return here.unless(canonical(here.value) == canonical(wanted), f"not {quote(wanted)}")


def _bound(kind: str, fits: Callable[[float, float], bool], says: str) -> Check:
    """A limit on a number, or on the length of anything else."""

    def check(here: Here, wanted: JsonValue) -> list[str]:
        value = here.value
        if value is None or kind_of(value) != kind or not is_number(wanted):
            return []
        size = value if isinstance(value, int | float) else len(value)
        return here.unless(fits(size, wanted), says.format(clip(str(size)), wanted))

    return check


def _multiple_of(here: Here, wanted: JsonValue) -> list[str]:
    if not is_number(here.value) or not is_number(wanted):
        return []
    # As written in decimal: 0.3 is a multiple of 0.1, which binary floats deny.
    fits = (Fraction(str(here.value)) / Fraction(str(wanted))).denominator == 1
    return here.unless(fits, f"{clip(str(here.value))} is no multiple of {wanted}")


def _pattern(here: Here, wanted: JsonValue) -> list[str]:
    if not isinstance(here.value, str):
        return []
    fits = found(str(wanted), here.value, here.at)
    return here.unless(fits, f"does not match the pattern {quote(wanted)}")


def _format(here: Here, wanted: JsonValue) -> list[str]:
    is_one = FORMATS.get(str(wanted))
    if is_one is None or not isinstance(here.value, str):
        return []
    return here.unless(is_one(here.value), f"is no {wanted}")


# --- checks on the parts of a value --------------------------------------------------


def _properties(here: Here, wanted: JsonValue) -> list[str]:
    schemas = as_fields(wanted)
    named = ((name, value) for name, value in as_fields(here.value).items() if name in schemas)
    return here.each(here.within(name, value, schemas[name]) for name, value in named)


def _pattern_properties(here: Here, wanted: JsonValue) -> list[str]:
    return here.each(
        here.within(name, value, schema)
        for pattern, schema in as_fields(wanted).items()
        for name, value in as_fields(here.value).items()
        if found(pattern, name, here.at)
    )


def _additional_properties(here: Here, wanted: JsonValue) -> list[str]:
    named = as_fields(here.schema.get("properties"))
    patterns = as_fields(here.schema.get("patternProperties"))
    others = {
        name: value
        for name, value in as_fields(here.value).items()
        if name not in named and not any(found(pattern, name, here.at) for pattern in patterns)
    }
    if wanted is False:
        return here.each([fault(here.at, f"unknown field {quote(name)}")] for name in others)
    return here.each(here.within(name, value, wanted) for name, value in others.items())


def _property_names(here: Here, wanted: JsonValue) -> list[str]:
    # No path begins with these words, so a name is never taken for the value under it.
    names = ((name, f"the name {inside(here.at, name)}") for name in as_fields(here.value))
    return here.each(here.walk.faults(name, wanted, at) for name, at in names)


def _required(here: Here, wanted: JsonValue) -> list[str]:
    if not isinstance(here.value, dict):
        return []
    missing = (name for name in as_list(wanted) if name not in here.value)
    return [fault(here.at, f"missing field {quote(name)}") for name in missing]


def _items(here: Here, wanted: JsonValue) -> list[str]:
    first = len(as_list(here.schema.get("prefixItems")))
    rest = enumerate(as_list(here.value)[first:], first)
    return here.each(here.within(index, value, wanted) for index, value in rest)


def _prefix_items(here: Here, wanted: JsonValue) -> list[str]:
    pairs = enumerate(zip(as_list(here.value), as_list(wanted), strict=False))
    return here.each(here.within(index, *pair) for index, pair in pairs)


def _unique_items(here: Here, wanted: JsonValue) -> list[str]:
    items = as_list(here.value) if wanted else []
    return here.unless(len(set(map(canonical, items))) == len(items), "holds an item twice")


def _all_of(here: Here, wanted: JsonValue) -> list[str]:
    return here.each(here.under(schema) for schema in as_list(wanted))


def _any_of(here: Here, wanted: JsonValue) -> list[str]:
    return _chosen(here, as_list(wanted), fitting_max=len(as_list(wanted)))


def _one_of(here: Here, wanted: JsonValue) -> list[str]:
    return _chosen(here, as_list(wanted), fitting_max=1)


def _chosen(here: Here, schemas: list[JsonValue], *, fitting_max: int) -> list[str]:
    judged = [here.under(schema) for schema in schemas]
    fitting = sum(not faults for faults in judged)
    if fitting == 0:
        # One fault of each, clipped: faults of faults of alternatives would grow without bound.
        first = "; ".join(clip(faults[0]) for faults in judged[:ALTERNATIVES_QUOTED_MAX])
        return [fault(here.at, f"fits none of {len(judged)} alternatives ({first})")]
    return here.unless(fitting <= fitting_max, f"fits {fitting} alternatives, one is wanted")


def _not(here: Here, wanted: JsonValue) -> list[str]:
    return here.unless(bool(here.under(wanted)), "fits what is excluded")


def _ref(here: Here, wanted: JsonValue) -> list[str]:
    return here.walk.referred(here.value, str(wanted), here.at)


# --- the table -----------------------------------------------------------------------

#: A schema, and the path to it from the keyword that holds it.
Located: TypeAlias = tuple[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a keyword may be set to, and the schemas in that."""

    name: str
    accepts: Callable[[JsonValue], bool]
    inner: Callable[[JsonValue], list[Located]] = lambda _wanted: []


@dataclass(frozen=True, slots=True)
class Keyword:
    """One row: what the keyword may be set to, and what it asks of a value."""

    shape: Shape
    check: Check


def _is_count(wanted: JsonValue) -> bool:
    return is_number(wanted) and wanted >= 0 and int(wanted) == wanted


def _is_pattern(wanted: JsonValue) -> bool:
    try:
        compiled(wanted if isinstance(wanted, str) else "(")
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _is_type(wanted: JsonValue) -> bool:
    names = wanted if isinstance(wanted, list) else [wanted]
    return bool(names) and all(name in TYPES for name in names)


def _listed(wanted: JsonValue) -> list[Located]:
    return [(f"/{index}", inner) for index, inner in enumerate(as_list(wanted))]


def _named(wanted: JsonValue) -> list[Located]:
    return [(inside("", name), inner) for name, inner in as_fields(wanted).items()]


_ANYTHING: Final = Shape("anything", lambda _wanted: True)
_SCHEMA: Final = Shape("a schema", lambda _wanted: True, lambda wanted: [("", wanted)])
_SCHEMAS: Final = Shape("a list of schemas", lambda wanted: as_list(wanted) != [], _listed)
_BY_NAME: Final = Shape("schemas by name", lambda wanted: isinstance(wanted, dict), _named)
_BY_PATTERN: Final = Shape(
    "schemas by regular expression",
    lambda wanted: isinstance(wanted, dict) and all(map(_is_pattern, wanted)),
    _named,
)
_NUMBER: Final = Shape("a number", is_number)
_STEP: Final = Shape("a number above 0", lambda wanted: is_number(wanted) and wanted > 0)
_COUNT: Final = Shape("a whole number, 0 or more", _is_count)
_FLAG: Final = Shape("true or false", lambda wanted: isinstance(wanted, bool))
_TEXT: Final = Shape("a text", lambda wanted: isinstance(wanted, str))
_VALUES: Final = Shape("a list", lambda wanted: isinstance(wanted, list))
_NAMES: Final = Shape(
    "a list of names",
    lambda wanted: isinstance(wanted, list) and all(isinstance(name, str) for name in wanted),
)
_REGEX: Final = Shape("a regular expression", _is_pattern)
_TYPES: Final = Shape(f"one or more of {', '.join(TYPES)}", _is_type)

KEYWORDS: Final[dict[str, Keyword]] = {
    "$ref": Keyword(_TEXT, _ref),
    "$defs": Keyword(_BY_NAME, _nothing),
    "definitions": Keyword(_BY_NAME, _nothing),
    "type": Keyword(_TYPES, _type),
    "enum": Keyword(_VALUES, _enum),
    "const": Keyword(_ANYTHING, _const),
    "minimum": Keyword(_NUMBER, _bound("number", ge, "{} is less than the minimum {}")),
    "maximum": Keyword(_NUMBER, _bound("number", le, "{} is more than the maximum {}")),
    "exclusiveMinimum": Keyword(_NUMBER, _bound("number", gt, "{} is not above {}")),
    "exclusiveMaximum": Keyword(_NUMBER, _bound("number", lt, "{} is not below {}")),
    "multipleOf": Keyword(_STEP, _multiple_of),
    "minLength": Keyword(_COUNT, _bound("string", ge, "{} characters, the least is {}")),
    "maxLength": Keyword(_COUNT, _bound("string", le, "{} characters, the most is {}")),
    "pattern": Keyword(_REGEX, _pattern),
    "format": Keyword(_TEXT, _format),
    "properties": Keyword(_BY_NAME, _properties),
    "patternProperties": Keyword(_BY_PATTERN, _pattern_properties),
    "additionalProperties": Keyword(_SCHEMA, _additional_properties),
    "propertyNames": Keyword(_SCHEMA, _property_names),
    "required": Keyword(_NAMES, _required),
    "minProperties": Keyword(_COUNT, _bound("object", ge, "{} fields, the least is {}")),
    "maxProperties": Keyword(_COUNT, _bound("object", le, "{} fields, the most is {}")),
    "items": Keyword(_SCHEMA, _items),
    "prefixItems": Keyword(_SCHEMAS, _prefix_items),
    "minItems": Keyword(_COUNT, _bound("array", ge, "{} items, the least is {}")),
    "maxItems": Keyword(_COUNT, _bound("array", le, "{} items, the most is {}")),
    "uniqueItems": Keyword(_FLAG, _unique_items),
    "allOf": Keyword(_SCHEMAS, _all_of),
    "anyOf": Keyword(_SCHEMAS, _any_of),
    "oneOf": Keyword(_SCHEMAS, _one_of),
    "not": Keyword(_SCHEMA, _not),
}
