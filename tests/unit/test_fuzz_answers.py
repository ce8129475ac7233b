"""Answers made of a JSON schema: those that fit do, and those that do not do not.

R-FUZZ-10.
"""

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from interlock import Policies, Policy, RequiredInput, Toolbox, When
from interlock._schema import problems_of
from interlock.models import JsonObject
from interlock.testing.fuzz._answers import edited, fitting, unfitting
from interlock.testing.fuzz._answers_known import Known, known_in, known_of
from interlock.testing.fuzz._tape import Tape


class Leaf(BaseModel):
    """A model within a model."""

    tags: list[str] = Field(min_length=1, max_length=3)
    when: str | None = None


class Order(BaseModel):
    """A form as agents have them."""

    item: Literal["tea", "coffee"]
    amount: int = Field(ge=2, le=5)
    price: float = Field(gt=0, lt=1)
    leaf: Leaf
    code: str = Field(pattern=r"^[A-Z]+-\d+$")
    sure: bool = False


SCHEMAS: list[JsonObject] = [
    Order.model_json_schema(),
    {"type": "string", "minLength": 12, "maxLength": 14},
    {"type": "string", "format": "date-time"},
    {"type": "integer", "multipleOf": 5, "minimum": 3},
    {"type": "array", "items": {"type": "integer"}, "minItems": 2},
    {"type": "array", "prefixItems": [{"const": 1}, {"enum": ["a", "b"]}], "minItems": 2},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "null"}}}, {"required": ["a"]}]},
    {"type": ["string", "null"]},
    {"oneOf": [{"type": "integer"}, {"type": "boolean"}]},
    {"type": "object", "required": ["free"], "additionalProperties": {"type": "string"}},
    {"type": "integer", "examples": [7], "not": {"maximum": 6}},
]


@given(schema=st.sampled_from(SCHEMAS), seed=st.integers(0, 10_000))
def test_what_is_made_to_fit_fits(schema: JsonObject, seed: int) -> None:
    """Every answer that is made for a schema is one.  Source: R-FUZZ-10."""
    made = fitting(schema, Tape(seed))
    assert made is not None
    assert problems_of(made[0], schema) == []


@given(schema=st.sampled_from(SCHEMAS), seed=st.integers(0, 10_000))
def test_what_is_made_not_to_fit_does_not(schema: JsonObject, seed: int) -> None:
    """Every answer that is made to be wrong is.  Source: R-FUZZ-10."""
    made = unfitting(schema, Tape(seed))
    assert made is not None
    assert problems_of(made[0], schema) != []


def test_what_accepts_anything_has_no_wrong_answer() -> None:
    """And what accepts nothing has no right one."""
    assert unfitting({}, Tape()) is None
    assert fitting({"not": {}}, Tape()) is None


def test_a_schema_that_refers_to_itself_is_not_followed_for_ever() -> None:
    """A tree ends."""
    tree: JsonObject = {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "$ref": "#/$defs/node",
    }
    for seed in range(20):
        assert fitting(tree, Tape(seed)) is not None


@pytest.mark.parametrize("schema", [{}, {"properties": {"n": {"type": "integer"}}}])
def test_edited_arguments_are_others_that_fit(schema: dict[str, Any]) -> None:
    """What an approver may send instead.  Source: R-FUZZ-10."""
    before: JsonObject = {"n": 1}
    for seed in range(20):
        made = edited(before, schema, Tape(seed))
        assert made is not None
        assert made != before
        assert problems_of(made, schema) == []
    assert edited(before, {"const": {"n": 1}}, Tape()) is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"^DE\d{20}$",
        r"^[A-Z]{2}-\d+$",
        r"(a|bc)\1x?",
        r"^(?=.*\d)[a-z\d]{8,}$",
        r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$",
        r"^(?P<q>['\"]).*?(?P=q)$",
        r"^(a)?(?(1)b|c)$",
        r"^(?!x)\w+$",
        "(?i)abc",
        "^$",
    ],
)
def test_a_pattern_is_met_also_by_the_plainest_choices(pattern: str) -> None:
    """It is made of the pattern (R-FUZZ-10)."""
    schema: JsonObject = {"type": "string", "pattern": pattern}
    for tape in (Tape(given=()), *map(Tape, range(10))):
        made = fitting(schema, tape)
        assert made is not None
        assert problems_of(made[0], schema) == []


def test_a_pattern_that_is_met_also_has_its_length() -> None:
    """What may be repeated is, until the text is long enough (R-FUZZ-10)."""
    schema: JsonObject = {"type": "string", "pattern": "^[a-z]+$", "minLength": 30}
    made = fitting(schema, Tape(given=()))
    assert made is not None
    assert problems_of(made[0], schema) == []


def test_what_no_text_matches_is_given_up() -> None:
    """And nothing is made that does not fit (R-FUZZ-10)."""
    assert fitting({"type": "string", "pattern": "^a(?!b)b$"}, Tape(given=())) is None


def many(schema: JsonObject, known: Known | None = None) -> list[Any]:
    """Answers by many tapes."""
    made = [fitting(schema, Tape(seed), known or Known()) for seed in range(400)]
    return [each[0] for each in made if each is not None]


def test_numbers_without_a_bound_are_of_every_size() -> None:
    """A threshold anywhere is crossed; the plainest is still a small one.  Source: R-FUZZ-10."""
    assert {-1, 0, 1, 10, 100, 1_000, 2**31} <= set(many({"type": "integer"}))
    assert {-1, 0.0, 100, 2**31} <= set(many({"type": "number"}))
    assert {1, 10, 2**31} <= set(many({"type": "integer", "minimum": 1}))
    assert {0, 500, 1_000} <= set(many({"type": "integer", "minimum": 0, "maximum": 1_000}))
    assert {-1_000, 3} <= set(many({"type": "integer", "maximum": 3}))
    assert fitting({"type": "integer"}, Tape(given=())) == (0,)


def test_texts_are_also_empty_long_and_of_other_scripts() -> None:
    """As far as the schema takes them.  Source: R-FUZZ-10."""
    texts = many({"type": "string"})
    assert "" in texts
    assert any(len(text) > 200 for text in texts)
    assert any(not text.isascii() for text in texts)
    assert all(2 <= len(text) <= 5 for text in many({"minLength": 2, "maxLength": 5}))
    assert fitting({"type": "string"}, Tape(given=())) == ("a",)


def dear(arguments: JsonObject) -> bool:
    """A policy in code."""
    return int(str(arguments["seats"])) > 77


async def book(flight: str, price: Annotated[int, Field(le=5_000)]) -> str:
    """A tool with a bound of its own."""
    return f"{flight} {price}"


async def pay(seats: int) -> int:
    """A tool without one."""
    return seats


def buyer(_task: Any) -> bool:  # noqa: ANN401
    """An agent that compares."""
    return any(n > 432.5 for n in (1, 2))


def test_what_a_service_compares_with_is_crossed() -> None:
    """Bounds of policies, inputs and tools, and numbers of code.  Source: R-FUZZ-10."""
    wanted = RequiredInput(name="flight", schema={"enum": ["TP1", "TP2"]})
    when = When(when={"properties": {"price": {"minimum": 200}, "to": {"const": "LIS"}}})
    rules = {"book": Policy(confirm=when, required_inputs=(wanted,)), "pay": Policy(confirm=dear)}
    known = known_in(Toolbox([book, pay], policies=Policies(rules)), [buyer])
    numbers = {199, 200, 201, 4_999, 5_000, 5_001, 76, 77, 78, 432, 432.5, 433}
    assert numbers <= set(known.numbers)
    assert {"TP1", "TP2", "LIS"} <= set(known.texts)
    assert {199, 200, 201, 432, 433} <= set(many({"type": "integer"}, known))
    assert {"TP1", "LIS"} <= set(many({"type": "string"}, known))
    assert set(many({"type": "integer", "maximum": 1}, known)).isdisjoint(numbers)


def test_what_schemas_name_is_found_wherever_it_is() -> None:
    """Also lengths and patterns.  Source: R-FUZZ-10."""
    schema: JsonObject = {"anyOf": [{"maxLength": 3}, {"items": {"pattern": "^x-[0-9]$"}}]}
    assert known_of([schema]).texts == ("aa", "aaa", "aaaa", "x-0")
    assert known_of([{"minimum": True, "const": None}]).numbers == ()
    # No answer is made of a number that is beyond all floats, and none fails for it.
    assert known_of([{"minimum": 10**400, "maximum": 7}]).numbers == (7, 6, 8)


def test_arguments_without_a_schema_are_edited_in_their_values() -> None:
    """An edit that changes nothing that matters finds nothing.  Source: R-FUZZ-10."""
    before: JsonObject = {"euros": 90, "to": "ada", "now": True, "of": {"n": 1.5}, "ids": [7]}
    made = [edited(before, {}, Tape(seed)) for seed in range(200)]
    for name in before:
        values = [each[name] for each in made if each is not None and each[name] != before[name]]
        assert values, name
        assert all(type(value) is type(before[name]) for value in values)
    assert 10 < sum(each is not None and "edited" in each for each in made) < 80
    assert edited(before, {}, Tape(given=())) == {**before, "euros": 91}
    assert edited({"none": None, "empty": []}, {}, Tape(given=())) == {"none": 1, "empty": []}
    assert edited({}, {}, Tape(given=())) == {"edited": 1}
    for seed in range(20):
        assert edited({"x": 1e308}, {}, Tape(seed)) != {"x": 1e308}
