"""Forms: what an agent may ask with, and how an answer becomes the agent's value."""

import datetime as dt
import enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from interlock._form import Form, form_of
from interlock.errors import InvalidInput
from interlock.models import JsonObject


class Colour(enum.Enum):
    """One of two."""

    RED = "red"
    BLUE = "blue"


class City(BaseModel):
    """A model whose validator knows more than its schema."""

    name: str
    zip_code: str = Field(pattern=r"^\d{5}$")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == "Atlantis":
            raise ValueError("nobody knows that city")
        return name


class Strict(BaseModel):
    """A model that converts nothing."""

    model_config = ConfigDict(strict=True)

    day: dt.date
    colour: Colour
    pair: tuple[int, int]


@pytest.mark.parametrize(
    ("like", "answer", "value"),
    [
        (str, "hello", "hello"),
        (int, 3, 3),
        (bool, True, True),
        (list[int], [1, 2], [1, 2]),
        (int | None, None, None),
        (Literal["a", "b"], "b", "b"),
        (dt.date, "2026-11-24", dt.date(2026, 11, 24)),
        (Colour, "red", Colour.RED),
        (Annotated[int, Field(ge=1)], 1, 1),
        (City, {"name": "Rome", "zip_code": "00100"}, City(name="Rome", zip_code="00100")),
    ],
)
def test_any_type_that_pydantic_knows_is_a_form(like: type, answer: object, value: object) -> None:
    """The agent gets a value of the type that it asked with.  Source: R-AGENT-03."""
    form = form_of(like)
    assert form.problems_of(answer) == []  # type: ignore[arg-type]
    assert form.value_of(answer) == value  # type: ignore[arg-type]


def test_a_strict_model_takes_the_answers_that_its_schema_describes() -> None:
    """An answer is JSON: a strict date comes as text, a strict enum as its value."""
    answer = {"day": "2026-11-24", "colour": "blue", "pair": [1, 2]}
    form = form_of(Strict)
    assert form.problems_of(answer) == []  # type: ignore[arg-type]
    value = form.value_of(answer)  # type: ignore[arg-type]
    assert value == Strict(day=dt.date(2026, 11, 24), colour=Colour.BLUE, pair=(1, 2))


def test_a_field_that_is_described_at_length_can_be_asked_for() -> None:
    """Metadata that cannot be hashed is metadata all the same."""
    described: Any = Annotated[str, Field(min_length=2), {"shown as": ["a city"]}]
    form = form_of(described)
    assert form.value_of("Rome") == "Rome"
    assert form.schema["minLength"] == 2


def test_a_schema_is_a_form_and_its_value_is_the_answer() -> None:
    """Without a type there is nothing to convert to.  Source: R-AGENT-03."""
    schema: JsonObject = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = form_of(schema)
    assert form.schema == schema
    assert form.value_of({"n": 1}) == {"n": 1}
    assert form.problems_of({"n": "the schema is checked elsewhere"}) == []


def test_a_schema_is_copied_so_that_nobody_changes_an_open_question() -> None:
    """The agent may build its next schema in the same dict."""
    schema: JsonObject = {"type": "string"}
    form = form_of(schema)
    schema["type"] = "integer"
    assert form.schema == {"type": "string"}


def test_what_a_validator_finds_is_said_with_its_place() -> None:
    """The client is told what to mend, and where."""
    problems = form_of(City).problems_of({"name": "Atlantis", "zip_code": "00100"})
    assert problems == ["at /name: Value error, nobody knows that city"]
    assert form_of(int).problems_of("x")[0].startswith("at /: ")


class Fragile(BaseModel):
    """A model whose validator fails, with a secret in its message."""

    n: int

    @field_validator("n")
    @classmethod
    def _fails(cls, _n: int) -> int:
        raise RuntimeError("sk-canary-7f3a")


def test_a_validator_that_fails_says_nothing_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is the agent's code: its message goes to the log only.  Source: I38."""
    problems = form_of(Fragile).problems_of({"n": 1})
    assert problems == ["it could not be checked: the form raised RuntimeError"]
    assert "sk-canary-7f3a" in caplog.text


def test_the_value_of_an_answer_that_does_not_fit_is_an_error() -> None:
    """Nobody gets a half-made model."""
    with pytest.raises(ValidationError):
        form_of(City).value_of({"name": "Rome"})


def test_a_schema_that_cannot_be_checked_is_refused_at_once() -> None:
    """Not at the first answer, when it is too late.  Source: DESIGN 2."""
    with pytest.raises(InvalidInput, match="keyword"):
        form_of({"dependentSchemas": {}})


def test_the_form_of_a_type_is_made_once() -> None:
    """A schema costs as much as a thousand answers."""
    assert form_of(City) is form_of(City)
    assert isinstance(form_of(City), Form)
