"""Our verdicts are those of the reference library, on random schemas and on models."""

import datetime as dt
import decimal
import enum
import json
import uuid
from typing import Annotated, Final, Literal, Protocol, TypeAlias, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
)

from interlock._schema import check_schema, problems_of
from interlock.models import JsonObject, JsonValue

NAMES: Final = st.sampled_from(["a", "b", "ab", "n_a", ""])
TEXTS: Final = st.sampled_from(["", "a", "ab", "abc", "A", "𝄞", "10.0.0.1", "::1", "2026-11-24"])
#: Binary fractions, on which the library's division of floats is exact.
NUMBERS: Final = st.one_of(
    st.integers(-4, 12),
    st.sampled_from([-0.5, 0.0, 1.0, 1.5, 2.25, 4.0]),
    st.sampled_from([10**20, -(2**70), 1e15]),
)
SCALARS: Final = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES: Final[st.SearchStrategy[JsonValue]] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PATTERNS: Final = st.sampled_from(["^a", "b$", "^[a-z]*$", "^n_", "", "."])
COUNTS: Final = st.sampled_from([0, 1, 2, 2.0, 3])
TYPE_NAMES: Final = st.sampled_from(
    ["null", "boolean", "integer", "number", "string", "array", "object"]
)
REFS: Final = st.sampled_from(["#/$defs/x", "#/$defs/y", "#/$defs/z"])
#: Formats on which the library, with its checker on and no extras, decides as we do.
CHECKED_FORMATS: Final = st.sampled_from(["date", "ipv4", "ipv6", "made-up"])


Schemas: TypeAlias = st.SearchStrategy[JsonValue]


def _subset(inner: Schemas) -> Schemas:
    """Schemas that hold such schemas, by any of the keywords we know."""
    some, by_name = st.lists(inner, min_size=1, max_size=3), st.dictionaries(NAMES, inner)
    keywords: dict[str, st.SearchStrategy[object]] = {
        "type": TYPE_NAMES | st.lists(TYPE_NAMES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "minimum": NUMBERS,
        "maximum": NUMBERS,
        "exclusiveMinimum": NUMBERS,
        "exclusiveMaximum": NUMBERS,
        "multipleOf": st.sampled_from([1, 2, 3, 0.5, 0.25, 1.0]),
        "minLength": COUNTS,
        "maxLength": COUNTS,
        "pattern": PATTERNS,
        "format": CHECKED_FORMATS,
        "properties": by_name,
        "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "required": st.lists(NAMES, max_size=2, unique=True),
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "items": inner,
        "prefixItems": some,
        "minItems": COUNTS,
        "maxItems": COUNTS,
        "uniqueItems": st.booleans(),
        "allOf": some,
        "anyOf": some,
        "oneOf": some,
        "not": inner,
        "title": st.just("t"),
        "x-ours": st.booleans(),
    }

    def with_keywords(names: list[str]) -> Schemas:
        return cast("Schemas", st.fixed_dictionaries({name: keywords[name] for name in names}))

    return st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True).flatmap(
        with_keywords
    )


def _referring(keyword: str | None, ref: str) -> JsonValue:
    return {"$ref": ref} if keyword is None else {keyword: {"$ref": ref}}


def _document(root: JsonValue, x: JsonValue, y: JsonValue) -> JsonObject:
    definitions: JsonObject = {"x": x, "y": {"allOf": [y, x]}, "z": {"$ref": "#/$defs/y"}}
    if not isinstance(root, dict):
        return {"not": not root, "$defs": definitions}
    return {**root, "$defs": definitions}


PLAIN: Final[Schemas] = st.recursive(st.booleans(), _subset, max_leaves=6)
#: References that go into the value; inside a definition, others would go round in circles.
GOING_IN: Final[Schemas] = st.builds(
    _referring, st.sampled_from(["items", "additionalProperties", "propertyNames"]), REFS
)
ANYWHERE: Final[Schemas] = st.builds(_referring, st.none(), REFS)
SCHEMAS: Final = st.builds(
    _document,
    st.recursive(PLAIN | GOING_IN | ANYWHERE, _subset, max_leaves=4),
    PLAIN | GOING_IN,
    PLAIN | GOING_IN,
)


class Verdict(Protocol):
    """The library, as much of it as we ask."""

    def __call__(self, value: JsonValue, /) -> bool:
        """Whether the value fits."""
        ...


def _oracle(schema: JsonObject, *, formats: bool) -> Verdict:
    checker = Draft202012Validator.FORMAT_CHECKER if formats else None
    return cast("Verdict", Draft202012Validator(schema, format_checker=checker).is_valid)  # pyright: ignore[reportUnknownMemberType]


@settings(max_examples=3 * settings().max_examples)
@given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=6))
def test_our_verdict_on_any_schema_of_the_subset_is_the_librarys(
    schema: JsonObject, values: list[JsonValue]
) -> None:
    """Two readers of JSON Schema 2020-12, one verdict on each value.  Source: R-ENG-04."""
    check_schema(schema)
    fits = _oracle(schema, formats=True)
    for value in values:
        assert (problems_of(value, schema) == []) == fits(value), value


# --- what pydantic makes of models ---------------------------------------------------


class Colour(enum.StrEnum):
    """Becomes an `enum`, and a key."""

    RED = "red"
    BLUE = "blue"


class City(BaseModel):
    """A form as agents write them."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=5, pattern="^[a-z]")]
    people: Annotated[int, Field(ge=0, lt=10)] = 0
    colour: Colour | None = None


class Cat(BaseModel):
    """One of a pair told apart by a field."""

    kind: Literal["cat"]
    lives: Annotated[float, Field(gt=0, multiple_of=0.5)]


class Dog(BaseModel):
    """The other, with a set."""

    kind: Literal["dog"]
    tags: set[Literal["good", "loud"]]


class Node(BaseModel):
    """Refers to itself, twice."""

    children: list["Node"] = []
    by_name: dict[Annotated[str, StringConstraints(pattern="^n")], "Node"] = {}


class Everything(BaseModel):
    """One field for each way in which pydantic writes a type."""

    pair: tuple[int, str] | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    cities: Annotated[list[City], Field(max_length=2)] = []
    scores: dict[Colour, float] = {}
    mode: Literal["x", 1, True] | None = "x"
    day: dt.date | None = None
    when: dt.datetime | dt.time | None = None
    took: dt.timedelta | None = None
    id: uuid.UUID | None = None
    price: Annotated[decimal.Decimal, Field(max_digits=4)] | None = None
    link: AnyUrl | None = None
    password: SecretStr | None = Field(default=None, deprecated=True, examples=["x"])
    blob: Annotated[bytes, Field(max_length=4)] = b""
    anything: object = None
    tree: Node | None = None


ZOO: Final[tuple[object, ...]] = (
    *(City, Cat | Dog, Node, Everything, list[City], int | None, Colour, dict[str, list[int]]),
    *(tuple[int, ...], Literal["a", "b"], frozenset[str], bool, object, dt.date, decimal.Decimal),
)
MODELS: Final[tuple[type[BaseModel], ...]] = (City, Cat, Dog, Node, Everything)
FIELD_NAMES: Final = sorted({name for model in MODELS for name in model.model_fields})

#: Values that come near the models': random ones alone would never get past the first field.
WORDS: Final = st.sampled_from(
    ["cat", "dog", "red", "good", "loud", "x", "abc", "abcdefg", "2026-11-24", "10:00", "nn"]
)


def _near(schema: JsonObject) -> Schemas:
    text = json.dumps(schema)
    names = st.sampled_from(["n", "red", *(name for name in FIELD_NAMES if f'"{name}"' in text)])
    return st.recursive(
        SCALARS | WORDS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=8,
    )


@pytest.mark.parametrize("form", ZOO, ids=str)
@settings(max_examples=max(20, settings().max_examples // 5))
@given(data=st.data())
def test_forms_of_agents_are_judged_as_the_library_does(form: object, data: st.DataObject) -> None:
    """All that pydantic emits is in the subset; formats are ours, so they may refuse more."""
    schema = TypeAdapter(cast("type[object]", form)).json_schema()
    check_schema(schema)
    fits = _oracle(schema, formats=False)
    for value in data.draw(st.lists(_near(schema), min_size=1, max_size=5)):
        faults = problems_of(value, schema)
        if fits(value):
            assert all(" is no " in fault or "fits none" in fault for fault in faults)
        else:
            assert faults, value


def test_what_a_model_writes_fits_its_schema() -> None:
    """One value for every way in which pydantic writes a type."""
    whole = Everything(
        pair=(1, "a"),
        pet=Cat(kind="cat", lives=1.5),
        cities=[City(name="ulm", colour=Colour.RED)],
        scores={Colour.BLUE: 0.5},
        day=dt.date(2026, 11, 24),
        when=dt.datetime(2026, 11, 24, 10, 0, 0, 5, tzinfo=dt.UTC),
        took=dt.timedelta(days=1, seconds=0.5),
        id=uuid.UUID(int=7),
        price=decimal.Decimal("-12.5"),
        link=AnyUrl("https://a.example/b"),
        password=SecretStr("x"),
        blob=b"abc",
        anything={"a": [1]},
        tree=Node(children=[Node()], by_name={"n1": Node()}),
    )
    for model in (whole, Everything(), Dog(kind="dog", tags={"good"})):
        schema = type(model).model_json_schema(mode="serialization")
        check_schema(schema)
        value = json.loads(model.model_dump_json(warnings=False))
        assert problems_of(value, schema) == []
