"""Answers that fit a JSON schema, and answers that do not: made of the schema, by a tape."""

import math
from collections.abc import Sequence
from typing import Final, cast

from interlock._schema import problems_of
from interlock.models import JsonObject, JsonValue
from interlock.testing.fuzz._answers_known import Known, known_of
from interlock.testing.fuzz._answers_pattern import matching
from interlock.testing.fuzz._tape import Tape

#: How deep values are made at most; a schema may refer to itself.
_DEEP_MAX: Final = 8
#: How far numbers are from each other that are near to a bound.
_SPAN: Final = 8.0
#: Numbers of other sizes, where no bound is against them; the last does not go into 32 bits.
_WIDE: Final = (-1, 10, 100, 1_000, -1_000, 2**31)
#: Texts of other kinds than a word: none, one of several scripts, and a long one of two lines.
_STRANGE: Final = ("", "\u00e9 \u4e2d \U0001f600", "a long text\n" + "b" * 300)
#: One edit in so many adds an argument, where others could be changed.
_ADDED: Final = 6
#: How often it is tried to make a value that fits.
_TRIES: Final = 8

_FORMATS: Final = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "time": "03:04:05",
    "email": "ada@example.org",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "duration": "PT1S",
}
_NOTHING: Final = Known()
#: Texts of which one may match a pattern.
_SAMPLES: Final = ("a", "abc", "0", "123", "A1", "AB-123", "a@example.org", "2026-01-02", "x" * 8)
#: Values of which most schemas refuse one.
_WRONG: Final[tuple[JsonValue, ...]] = (
    None,
    "no such value",
    -1_000_003,
    [],
    {},
    True,
    0.5,
    "",
    {"no such field": 1},
    [None],
    10**12,
)


def fitting(schema: JsonObject, tape: Tape, known: Known = _NOTHING) -> tuple[JsonValue] | None:
    """A value that fits the schema, alone in a tuple; None if none was found.

    Numbers and texts that are `known` are among those that are tried.
    """
    for _ in range(_TRIES):
        value = _Maker(schema, tape, known).made(schema, 0)
        if not problems_of(value, schema):
            return (value,)
    for value in (*_list(schema.get("examples")), schema.get("default"), *_WRONG):
        if not problems_of(value, schema):
            return (value,)
    return None


def unmet(schema: JsonObject) -> str:
    """Why no value was found that fits, in words."""
    left: list[JsonValue] = [schema]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            pattern = node.get("pattern")
            if isinstance(pattern, str) and matching(pattern, Tape()) is None:
                return f"no text was made for the pattern {pattern!r}; examples in the schema help"
            left += node.values()
        elif isinstance(node, list):
            left += node
    return "no value was made that fits its schema; examples in the schema help"


def unfitting(schema: JsonObject, tape: Tape) -> tuple[JsonValue] | None:
    """A value that does not fit the schema, alone in a tuple; None if none was found."""
    good = fitting(schema, tape)
    values: list[JsonValue] = [*_WRONG, *known_of([schema]).numbers]  # One beyond a bound.
    if good is not None and isinstance(good[0], dict):
        # One that is nearly right: a field less, or a field of another kind.
        values += [_without(good[0], name) for name in good[0]]
        values += [_with_another(good[0], name) for name in good[0]]
    wrong = [value for value in values if problems_of(value, schema)]
    return (tape.pick(wrong),) if wrong else None


def _without(value: JsonObject, left_out: str) -> JsonObject:
    return {name: inner for name, inner in value.items() if name != left_out}


def _with_another(value: JsonObject, changed: str) -> JsonObject:
    return {name: [None] if name == changed else inner for name, inner in value.items()}


class _Maker:
    """Makes one value; places in it are chosen by the tape, the plainest first."""

    def __init__(self, root: JsonObject, tape: Tape, known: Known) -> None:
        self._root: Final = root
        self._tape: Final = tape
        self._known: Final = known

    def made(self, schema: JsonValue, deep: int) -> JsonValue:
        if not isinstance(schema, dict) or deep > _DEEP_MAX:
            return None
        inner = self._chosen(schema)
        if inner is not None:
            return self.made(inner, deep + 1)
        if "const" in schema:
            return schema["const"]
        enum = _list(schema.get("enum"))
        return self._tape.pick(enum) if enum else self._typed(schema, deep)

    def _chosen(self, schema: JsonObject) -> JsonValue:
        """The schema that one stands for; None if it stands for itself."""
        if isinstance(ref := schema.get("$ref"), str):
            return self._referred(ref)
        for several in ("anyOf", "oneOf"):
            if alternatives := _list(schema.get(several)):
                return self._tape.pick(alternatives)
        if parts := _list(schema.get("allOf")):
            merged = {k: v for p in parts if isinstance(p, dict) for k, v in p.items()}
            return {**merged, **{k: v for k, v in schema.items() if k != "allOf"}}
        return None

    def _referred(self, ref: str) -> JsonValue:
        node: JsonValue = self._root
        for name in ref.removeprefix("#").strip("/").split("/") if ref != "#" else []:
            plain = name.replace("~1", "/").replace("~0", "~")
            node = node.get(plain) if isinstance(node, dict) else None
        return node

    def _typed(self, schema: JsonObject, deep: int) -> JsonValue:
        kinds = schema.get("type")
        kind = self._tape.pick(kinds) if isinstance(kinds, list) and kinds else kinds
        if kind is None:
            kind = "object" if "properties" in schema else "string"
        match kind:
            case "object":
                return self._object(schema, deep)
            case "array":
                return self._array(schema, deep)
            case "string":
                return self._text(schema)
            case "integer" | "number":
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return self._tape.chance(2)
            case _:
                return None

    def _object(self, schema: JsonObject, deep: int) -> JsonObject:
        properties = schema.get("properties")
        fields = properties if isinstance(properties, dict) else {}
        required = _list(schema.get("required"))
        made: JsonObject = {}
        for name, inner in fields.items():
            if name in required or (deep < 2 and self._tape.chance(2)):  # noqa: PLR2004  shallow
                made[name] = self.made(inner, deep + 1)
        named = [name for name in required if isinstance(name, str)]
        made.update({name: "a" for name in named if name not in made})
        return made

    def _array(self, schema: JsonObject, deep: int) -> list[JsonValue]:
        least = _number_in(schema, "minItems", 0)
        most = _number_in(schema, "maxItems", least + 2)
        count = int(least) + self._tape.choose(int(max(most - least, 0)) + 1)
        first = _list(schema.get("prefixItems"))
        return [
            self.made(first[n] if n < len(first) else schema.get("items", {}), deep + 1)
            for n in range(count)
        ]

    def _text(self, schema: JsonObject) -> str:
        if isinstance(pattern := schema.get("pattern"), str):
            made = matching(pattern, self._tape, int(_number_in(schema, "minLength", 0)))
            if made is not None:
                return made
            # A look ahead, or the like, was not met by chance.
            samples = [text for text in _SAMPLES if problems_of(text, schema) == []]
            return self._tape.pick(samples or ["a"])
        if isinstance(name := schema.get("format"), str) and name in _FORMATS:
            return _FORMATS[name]
        least = int(_number_in(schema, "minLength", 0))
        most = _number_in(schema, "maxLength", math.inf)
        length = int(min(max(1, least) + self._tape.choose(4), max(most, least)))
        plain = "abcdefghij"[:length] if length <= 10 else "a" * length  # noqa: PLR2004  its length
        known, strange = (
            [text for text in texts if least <= len(text) <= most]
            for texts in (self._known.texts, _STRANGE)
        )
        # A word twice: what is strange ends many lives early.
        pools = [pool for pool in ([plain], [plain], known, strange) if pool]
        return self._tape.pick(self._tape.pick(pools))

    def _number(self, schema: JsonObject, *, whole: bool) -> int | float:
        step = _number_in(schema, "multipleOf", 1)
        low = max(_number_in(schema, name, -math.inf) for name in ("minimum", "exclusiveMinimum"))
        high = min(_number_in(schema, name, math.inf) for name in ("maximum", "exclusiveMaximum"))
        is_stepped = whole or "multipleOf" in schema
        above = _number_in(schema, "exclusiveMinimum", -math.inf)
        below = _number_in(schema, "exclusiveMaximum", math.inf)
        places = self._near(schema, low, high, step if is_stepped else None)
        # What is out of bounds is for who wants to be wrong; there may be no number within them.
        near = [n for n in places if above < n < below] or places
        far = [
            [n for n in numbers if low <= n <= high and above < n < below]
            for numbers in (_WIDE, self._known.numbers)
        ]
        if is_stepped:
            far = [[n for n in numbers if n % step == 0] for numbers in far]
        value = self._tape.pick(self._tape.pick([near, *(numbers for numbers in far if numbers)]))
        return int(value) if whole else value

    def _near(
        self, schema: JsonObject, low: float, high: float, step: float | None
    ) -> Sequence[float]:
        """The bounds themselves, or 0 and what is near it, and some between; the plainest first."""
        has_high = high < math.inf
        if low == -math.inf:
            low = min(0.0, high - _SPAN)
        high = high if has_high else low + _SPAN * (step or 1)
        if step is None:
            return (low, (low + high) / 2, high, (3 * low + high) / 4)
        first, last = math.ceil(low / step), math.floor(high / step)
        first += first * step <= low and "exclusiveMinimum" in schema
        last -= last * step >= high and "exclusiveMaximum" in schema
        places = (first, last, (first + last) // 2, min(first + 1, last))
        return [place * step for place in places]


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _number_in(schema: JsonObject, name: str, otherwise: float) -> float:
    value = schema.get(name)
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return cast("float", value) if is_one else otherwise


def edited(arguments: JsonObject, schema: JsonObject, tape: Tape) -> JsonObject | None:
    """Other arguments than these that fit the schema; None if none were found.

    Where the schema says nothing of them one of their values is another, and sometimes there is
    one more.
    """
    for _ in range(_TRIES if _says_fields(schema) else 0):
        made = fitting(schema, tape)
        if made is not None and isinstance(made[0], dict):
            changed = {**arguments, **made[0]}
            if changed != arguments and not problems_of(changed, schema):
                return changed
    others = [
        {**arguments, name: other} for name, value in arguments.items() for other in _others(value)
    ]
    more: list[JsonObject] = [{**arguments, "edited": 1}, {**arguments, "edited": "x"}]
    for changes in (more, others) if tape.chance(_ADDED) else (others, more):
        # One more is no other number where a float has no digits left for it.
        differ = [changed for changed in changes if changed != arguments]
        fit = [changed for changed in differ if not problems_of(changed, schema)]
        if fit:
            return tape.pick(fit)
    return None


def _says_fields(schema: JsonObject) -> bool:
    return any(name in schema for name in ("properties", "$ref", "anyOf", "oneOf", "allOf"))


def _others(value: JsonValue) -> list[JsonValue]:
    """Values near one, of its kind."""
    match value:
        case bool():
            return [not value]
        case int() | float():
            return [value + 1, value - 1]
        case str():
            return [value + "x"]
        case list():
            return [[*value, value[-1]], value[:-1]] if value else [["x"]]
        case dict():
            return [{**value, name: o} for name, inner in value.items() for o in _others(inner)]
        case _:
            return [1, "x"]
