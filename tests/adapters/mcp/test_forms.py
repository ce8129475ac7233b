"""Asks as forms of MCP, and filled forms as answers: there and back."""

import datetime as dt
import enum
import json
from typing import Any, Final, Literal, cast

import mcp_types as wire
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types._v2025_11_25 import PrimitiveSchemaDefinition as Primitive25
from mcp_types._v2026_07_28 import PrimitiveSchemaDefinition as Primitive26
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from interlock import Answer, Approval, AskKind, Denial, JsonObject, JsonValue, OpenAsk
from interlock.errors import InvalidInput
from interlock.forms import check_schema, form_of, problems_of
from interlock_adapters._http.asgi import VALUES_MAX
from interlock_adapters.mcp._fields import SCHEMA_CHARS_MAX, VALUE
from interlock_adapters.mcp._fields import form_of as shown_of
from interlock_adapters.mcp._forms import (
    MESSAGE_CHARS_MAX,
    Declined,
    Dismissed,
    elicitation_of,
    said_of,
)
from interlock_adapters.mcp_tools._ask import question_of

OLD: Final = "2025-06-18"
VERSIONS: Final = (OLD, "2025-11-25", LATEST_MODERN_VERSION)
PAGE: Final = "https://desk.example.org/t1"
FIELDS: Final[dict[str, TypeAdapter[Any]]] = {
    "2025-11-25": TypeAdapter(Primitive25),
    LATEST_MODERN_VERSION: TypeAdapter(Primitive26),
}


def asks(schema: JsonObject, prompt: str = "Well?") -> OpenAsk:
    """An ask for a value."""
    check_schema(schema)
    return OpenAsk(key="k", kind=AskKind.INPUT, prompt=prompt, schema=schema, asked_at=1.0, due=2.0)


def leave(arguments: JsonObject | None, **changes: JsonValue) -> OpenAsk:
    """An ask for leave to call a tool."""
    asked: dict[str, Any] = {
        "key": "k",
        "kind": AskKind.AUTH,
        "prompt": "May it?",
        "schema": {"type": "object", "properties": {"seat": {"type": "string"}}},
        "asked_at": 1.0,
        "due": 2.0,
        "tool": "book",
        "arguments": arguments,
        "digest": "d1",
    }
    return OpenAsk(**{**asked, **cast("dict[str, Any]", changes)})


def form(ask: OpenAsk, version: str = LATEST_MODERN_VERSION) -> wire.ElicitRequestFormParams:
    """The form of an ask, after a journey over the wire."""
    sent = elicitation_of(ask, version=version).model_dump_json(by_alias=True, exclude_none=True)
    params = wire.ElicitRequest.model_validate_json(sent).params
    assert isinstance(params, wire.ElicitRequestFormParams)
    return params


def fields(schema: JsonObject, version: str = LATEST_MODERN_VERSION) -> JsonObject:
    """The fields of the form of a schema."""
    return cast("JsonObject", form(asks(schema), version).requested_schema["properties"])


def accept(**content: JsonValue) -> wire.ElicitResult:
    """A form that was filled, after a journey over the wire."""
    return wire.ElicitResult.model_validate_json(
        json.dumps({"action": "accept", "content": content})
    )


def said(schema: JsonObject, **content: JsonValue) -> JsonValue:
    """The value of a filled form."""
    answer = said_of(asks(schema), accept(**content))
    assert isinstance(answer, Answer)
    assert answer.ask == "k"
    return answer.value


def refused(ask: OpenAsk, **content: JsonValue) -> str:
    """What is said of a form that was filled wrongly."""
    with pytest.raises(InvalidInput) as caught:
        said_of(ask, accept(**content))
    return "; ".join(caught.value.problems)


# --- forms that are flat as they come -------------------------------------------------------

DEFAULTS: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Who?", "default": "John Doe"},
        "age": {"type": "integer", "minimum": 0, "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
        "mail": {"type": "string", "format": "email", "minLength": 3, "maxLength": 80},
    },
    "required": ["name"],
}
CHOICES: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2"]},
        "titledSingle": {
            "type": "string",
            "oneOf": [
                {"const": "value1", "title": "First"},
                {"const": "value2", "title": "Second"},
            ],
        },
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["One", "Two"]},
        "untitledMulti": {
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2"]},
            "minItems": 1,
            "maxItems": 2,
            "default": ["option1"],
        },
        "titledMulti": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"const": "value1", "title": "First"},
                    {"const": "value2", "title": "Second"},
                ]
            },
        },
    },
}
CHOSEN: Final[JsonObject] = {
    "untitledSingle": "option1",
    "titledSingle": "value1",
    "legacyEnum": "opt1",
    "untitledMulti": ["option1", "option2"],
    "titledMulti": ["value1", "value2"],
}
MANY: Final = ("untitledMulti", "titledMulti")


@pytest.mark.parametrize("schema", [DEFAULTS, CHOICES], ids=["sep1034", "sep1330"])
@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_form_of_mcp_goes_as_it_is(schema: JsonObject, version: str) -> None:
    """SEP-1034, SEP-1330: defaults, and choices with and without titles, `enumNames` too."""
    assert form(asks(schema), version).requested_schema == schema


def test_a_filled_form_is_the_value() -> None:
    """As MCP's conformance suite fills them; 88 is a number."""
    answer: JsonObject = {"name": "Jane", "age": 25, "score": 88, "status": "inactive"}
    assert said(DEFAULTS, **answer, verified=False) == {**answer, "verified": False}
    assert said(CHOICES, **CHOSEN) == CHOSEN


def test_an_older_client_gets_no_field_that_it_does_not_know() -> None:
    """2025-06-18: `enumNames`, no `oneOf`; a choice of several is JSON text."""
    shown = fields(CHOICES, OLD)
    assert shown["titledSingle"] == {
        "type": "string",
        "enum": ["value1", "value2"],
        "enumNames": ["First", "Second"],
    }
    for name, option in zip(MANY, ("option1", "value1"), strict=True):
        field = cast("JsonObject", shown[name])
        assert field.keys() == {"type", "description"}
        assert field["type"] == "string"
        assert f'"{option}"' in str(field["description"])
    filled = CHOSEN | {name: json.dumps(CHOSEN[name]) for name in MANY}
    assert said(CHOICES, **filled) == CHOSEN
    assert "/titledMulti" in refused(asks(CHOICES), **(filled | {"titledMulti": "value1"}))
    assert "/titledMulti" in refused(asks(CHOICES), **(filled | {"titledMulti": '["value3"]'}))


# --- models ---------------------------------------------------------------------------------


class Cabin(enum.StrEnum):
    """Where one sits."""

    FIRST = "first"
    SECOND = "second"


class Stars(enum.IntEnum):
    """A choice of numbers, which MCP does not have."""

    ONE = 1
    TWO = 2


class Trip(BaseModel):
    """All of it is flat."""

    model_config = ConfigDict(extra="forbid")

    city: str = Field(min_length=1, description="Where to?")
    cabin: Cabin = Cabin.SECOND
    seats: int = Field(gt=0, le=9)
    price: float = Field(gt=0)
    on: dt.date
    at: dt.time | None = None
    note: str | None
    extras: list[Cabin] = []
    kind: Literal["bus", "train"] = "bus"
    only: Literal["x"] = "x"
    stars: Stars = Stars.ONE
    code: str = Field(default="a1", pattern="^[a-z][0-9]$")


def test_a_model_comes_out_as_a_flat_form() -> None:
    """Without `$defs` and `anyOf`; what a form cannot say is said in words."""
    schema = form_of(Trip).schema
    assert form(asks(schema)).requested_schema == {
        "type": "object",
        "properties": {
            "city": {
                "type": "string",
                "title": "City",
                "description": "Where to?",
                "minLength": 1,
            },
            "cabin": {
                "type": "string",
                "title": "Cabin",
                "description": "Where one sits.",
                "enum": ["first", "second"],
                "default": "second",
            },
            "seats": {
                "type": "integer",
                "title": "Seats",
                "description": "It is above 0.",
                "maximum": 9,
            },
            "price": {"type": "number", "title": "Price", "description": "It is above 0."},
            "on": {"type": "string", "title": "On", "format": "date"},
            "at": {"type": "string", "title": "At", "description": "It is of the format time."},
            "note": {"type": "string", "title": "Note"},
            "extras": {
                "type": "array",
                "title": "Extras",
                "items": {"type": "string", "enum": ["first", "second"]},
                "default": [],
            },
            "kind": {"type": "string", "title": "Kind", "enum": ["bus", "train"], "default": "bus"},
            "only": {"type": "string", "title": "Only", "enum": ["x"], "default": "x"},
            "stars": {
                "type": "integer",
                "title": "Stars",
                "description": "A choice of numbers, which MCP does not have. (one of 1, 2)",
                "default": 1,
            },
            "code": {
                "type": "string",
                "title": "Code",
                "description": "It is of the pattern ^[a-z][0-9]$.",
                "default": "a1",
            },
        },
        "required": ["city", "seats", "price", "on"],
    }


def test_what_a_form_does_not_say_is_checked_all_the_same() -> None:
    """A pattern, a bound that is excluded, a choice of numbers, a format."""
    ask = asks(form_of(Trip).schema)
    fit: JsonObject = {"city": "Rome", "seats": 1, "price": 9.5, "on": "2026-11-24"}
    # What the model wants to be there, and may be null, is null where it was left empty.
    assert said(ask.schema, **fit, at=None) == {**fit, "at": None, "note": None}
    wrong: JsonObject = {"seats": 0, "price": 0, "stars": 3, "code": "x", "at": "noon"}
    for name, value in wrong.items():
        assert f"/{name}" in refused(ask, **(fit | {name: value}))


class Empty(BaseModel):
    """Nothing but a confirmation."""


def test_a_form_may_have_no_fields() -> None:
    """To accept it is the answer."""
    schema = form_of(Empty).schema
    assert form(asks(schema)).requested_schema == {"type": "object", "properties": {}}
    assert said(schema) == {}
    result = wire.ElicitResult(action="accept")
    assert said_of(asks(schema), result) == Answer(ask="k", value={})


# --- single values, and what no form can show -----------------------------------------------


@pytest.mark.parametrize(
    ("like", "field", "value"),
    [
        (str, {"type": "string"}, "Rome"),
        (int, {"type": "integer"}, 3),
        (float, {"type": "number"}, 2.5),
        (bool, {"type": "boolean"}, False),
        (
            Cabin,
            {
                "type": "string",
                "title": "Cabin",
                "description": "Where one sits.",
                "enum": ["first", "second"],
            },
            "first",
        ),
        (
            list[Literal["a", "b"]],
            {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
            ["b"],
        ),
        (
            set[Literal["a", "b"]],
            {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
            ["b"],
        ),
    ],
)
def test_a_single_value_is_a_form_of_one_field(
    like: type[Any], field: JsonObject, value: JsonValue
) -> None:
    """Its field is `value`."""
    schema = form_of(like).schema
    assert form(asks(schema)).requested_schema == {
        "type": "object",
        "properties": {VALUE: field},
        "required": [VALUE],
    }
    assert said(schema, value=value) == value
    assert "value" in refused(asks(schema), other=value)


@pytest.mark.parametrize("content", [{}, {"value": None}])
def test_a_value_that_may_be_null_may_be_left_empty(content: JsonObject) -> None:
    """Then it is null."""
    schema = form_of(cast("Any", int | None)).schema
    assert "required" not in form(asks(schema)).requested_schema
    assert said(schema, **content) is None
    assert said(schema, value=3) == 3


def test_a_choice_without_null_must_be_made() -> None:
    """That null is one of the types says nothing there."""
    schema: JsonObject = {"type": ["string", "null"], "enum": ["a"]}
    assert form(asks(schema)).requested_schema["required"] == [VALUE]
    with_null: JsonObject = {"type": ["string", "null"], "enum": ["a", None]}
    assert "required" not in form(asks(with_null)).requested_schema
    assert said(with_null) is None


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, ["anything"]),
        ({"type": "object"}, {"a": 1}),
        ({"type": "array", "items": {"type": "string"}}, ["a"]),
        ({"type": "array", "items": {"type": "object"}}, [{"a": 1}]),
        (
            {"type": "object", "properties": {"a": {"type": "object"}}, "required": ["a"]},
            {"a": {"b": None}},
        ),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, 7),
        (
            {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}},
            {"a": 1},
        ),
    ],
)
def test_what_no_form_can_show_is_asked_for_as_json_text(
    schema: JsonObject, value: JsonValue
) -> None:
    """One text, whose description says of which schema."""
    assert fields(schema) == {
        VALUE: {
            "type": "string",
            "title": "Value",
            "description": f"JSON text of this schema: {json.dumps(schema)}",
        }
    }
    assert said(schema, value=json.dumps(value)) == value
    assert "JSON" in refused(asks(schema), value="{")
    assert "JSON" in refused(asks(schema), value="NaN")
    if schema:
        assert "/" in refused(asks(schema), value="null")


@pytest.mark.parametrize("text", ["", "NaN", "[" * 100_000, '"\\ud800"', f"1{'0' * 400}"])
def test_json_text_that_no_log_could_hold_is_refused(text: str) -> None:
    """Also what Python takes for JSON, and half of a character."""
    assert refused(asks({}), value=text)
    edited = leave({}, allow_edit=True, schema={})
    assert refused(edited, decision="approve", arguments=f'{{"a": {text}}}')


def test_json_text_is_bounded_like_a_body_that_is_json() -> None:
    """What is in a text the bound of the body does not see: to check it took seconds (T22)."""
    many = f"[{'0,' * VALUES_MAX}0]"
    assert f"over {VALUES_MAX} values" in refused(asks({"type": "array"}), value=many)
    edited = leave({}, allow_edit=True, schema={})
    assert "values" in refused(edited, decision="approve", arguments=f'{{"a": {many}}}')


def test_a_schema_is_shown_as_far_as_a_person_reads() -> None:
    """The rest is counted."""
    schema: JsonObject = {"type": "array", "title": "x" * (2 * SCHEMA_CHARS_MAX)}
    description = str(cast("JsonObject", fields(schema)[VALUE])["description"])
    assert len(description) < SCHEMA_CHARS_MAX + 100
    assert description.endswith("more)")


def test_a_prompt_is_shown_as_far_as_a_person_reads() -> None:
    """The rest is counted."""
    long = "x" * (MESSAGE_CHARS_MAX + 7)
    assert form(asks({}, long)).message == f"{'x' * MESSAGE_CHARS_MAX} … (7 characters more)"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"confirm": "notabool"}, "/confirm: expected boolean, got string"),
        ({"confirm": 1}, "/confirm: expected boolean"),
        ({"confirm": None}, "/confirm: expected boolean, got null"),
        ({}, "missing field 'confirm'"),
        ({"confirm": True, "other": 1}, "unknown field 'other'"),
        ({"confirm": True, "other": None}, "unknown field 'other'; accepted: 'confirm', 'seats'"),
        ({"confirm": True, "seats": "2"}, "/seats: expected integer, got string"),
    ],
)
def test_a_form_that_was_filled_wrongly_is_no_answer(content: JsonObject, problem: str) -> None:
    """What is accepted is said; a number as a text is not guessed."""
    schema: JsonObject = {
        "type": "object",
        "properties": {"confirm": {"type": "boolean"}, "seats": {"type": "integer"}},
        "required": ["confirm"],
    }
    assert problem in refused(asks(schema), **content)
    assert said(schema, confirm=True, seats=None) == {"confirm": True}


# --- to refuse ------------------------------------------------------------------------------


def test_a_question_of_another_server_is_asked_as_that_server_asks_it() -> None:
    """There and back through `mcp_tools._ask`: its way to refuse is the host's button."""
    wanted = DEFAULTS | {"$defs": {"x": {"type": "string"}}}
    params = wire.ElicitRequestFormParams(message="Who?", requested_schema=wanted)
    question, _ = question_of("maps", "k", params)
    ask = asks(form_of(question.form).schema)
    assert form(ask).requested_schema == DEFAULTS
    assert said(ask.schema, name="Jane") == {"name": "Jane"}
    assert "/name: expected string, got number" in refused(ask, name=1)
    declined = said_of(ask, wire.ElicitResult(action="decline"))
    assert declined == Answer(ask="k", value={"decline": True})
    assert problems_of({"decline": True}, ask.schema) == []


def test_references_hold_beside_a_way_to_refuse() -> None:
    """They point at the root, which is another one then."""
    refusal: JsonObject = {
        "type": "object",
        "properties": {"decline_": {"const": True}},
        "required": ["decline_"],
        "additionalProperties": False,
    }
    inner: JsonObject = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A~1b"}}}
    schema: JsonObject = {
        "anyOf": [inner, refusal],
        "$defs": {"A/b": {"type": "string", "enum": ["x"]}},
    }
    assert fields(schema) == {"a": {"type": "string", "enum": ["x"]}}
    assert said(schema, a="x") == {"a": "x"}
    declined = said_of(asks(schema), wire.ElicitResult(action="decline"))
    assert declined == Answer(ask="k", value={"decline_": True})


def test_an_alternative_that_looks_like_a_refusal_is_none() -> None:
    """Only what `mcp_tools._ask` makes: an agent's own alternatives are all shown."""
    alike: JsonObject = {
        "type": "object",
        "properties": {"declined_at": {"const": True}},
        "required": ["declined_at"],
    }
    ask = asks({"anyOf": [{"type": "string"}, alike]})
    assert "declined_at" in str(form(ask).requested_schema)
    assert said_of(ask, wire.ElicitResult(action="decline")) == Declined("k")


@pytest.mark.parametrize("ask", [asks({}), leave({})], ids=["input", "auth"])
def test_a_question_that_is_closed_without_a_word_is_dismissed(ask: OpenAsk) -> None:
    """Whatever it is about."""
    assert said_of(ask, wire.ElicitResult(action="cancel")) == Dismissed("k")


def test_a_question_can_be_declined() -> None:
    """A form without a way to refuse, too; a decline of leave denies it."""
    decline = wire.ElicitResult(action="decline")
    assert said_of(asks({"type": "string"}), decline) == Declined("k")
    assert said_of(leave({}), decline) == Denial(ask="k", digest="d1", decision="deny")


# --- authorisations -------------------------------------------------------------------------


def test_leave_is_asked_for_exactly_what_would_run() -> None:
    """In full, readable, and with nothing in it that cannot be seen."""
    hidden = "1A\u202e\u200b\x7f"
    params = form(leave({"seat": hidden, "to": "Orléans", "n": "x" * MESSAGE_CHARS_MAX}))
    message = params.message
    assert message.startswith("May it?\nbook would run with:\n{\n")
    assert r'"seat": "1A\u202e\u200b\u007f"' in message
    assert '"to": "Orléans"' in message
    shown = json.loads(message[message.index("{") :])
    assert shown == {"seat": hidden, "to": "Orléans", "n": "x" * MESSAGE_CHARS_MAX}
    assert params.requested_schema["required"] == ["decision"]
    assert list(params.requested_schema["properties"]) == ["decision", "reason"]


def test_leave_is_given_or_not_in_words_that_were_offered() -> None:
    """With the digest of what was shown."""
    ask = leave({"seat": "1A"})
    yes = Approval(ask="k", digest="d1", decision="approve", reason="fine")
    assert said_of(ask, accept(decision="approve", reason="fine")) == yes
    no = Denial(ask="k", digest="d1", decision="deny", reason="too dear")
    assert said_of(ask, accept(decision="deny", reason="too dear")) == no
    bare = Denial(ask="k", digest="d1", decision="deny")
    assert said_of(ask, accept(decision="deny", reason=None)) == bare
    assert "decision" in refused(ask, decision="yes")
    assert "decision" in refused(ask, reason="fine")
    assert said_of(ask, accept()) is None
    # These may not be edited, so nobody can.
    assert "arguments" in refused(ask, decision="approve", arguments="{}")


def test_other_arguments_can_be_approved_where_they_may_be_edited() -> None:
    """As JSON text, with those that were asked about to begin with."""
    ask = leave({"seat": "1A"}, allow_edit=True)
    field = form(ask).requested_schema["properties"]["arguments"]
    assert (field["type"], field["default"]) == ("string", '{"seat": "1A"}')
    approved = said_of(ask, accept(decision="approve", arguments='{"seat": "2B"}'))
    assert isinstance(approved, Approval)
    assert approved.arguments == {"seat": "2B"}
    approved = said_of(ask, accept(decision="approve", arguments=None))
    assert isinstance(approved, Approval)
    assert approved.arguments is None
    for wrong in ("", "{", "[]", "null", '{"seat": 1}', '{"seat": NaN}'):
        assert "arguments" in refused(ask, decision="approve", arguments=wrong)


def test_a_client_that_can_is_sent_to_the_page() -> None:
    """By URL; going there decides nothing.  The id was dropped in 2026-07-28."""
    ask = leave({"seat": "1A"})
    params = elicitation_of(ask, console=PAGE).params
    assert isinstance(params, wire.ElicitRequestURLParams)
    assert (params.url, params.elicitation_id) == (PAGE, None)
    assert "May it?" in params.message
    assert "book" in params.message
    assert said_of(ask, wire.ElicitResult(action="accept")) is None


def test_questions_by_url_are_told_apart() -> None:
    """2025-11-25: the id is unique within the server, and the same however often it is asked."""

    def name(ask: OpenAsk, page: str) -> str | None:
        params = elicitation_of(ask, console=page, version="2025-11-25").params
        assert isinstance(params, wire.ElicitRequestURLParams)
        return params.elicitation_id

    ask = leave({})
    names = [name(ask, PAGE), name(ask, PAGE + "2"), name(leave({}, key="k2"), PAGE)]
    assert len({*names, None}) == 4
    assert name(ask, PAGE) == names[0]


def test_a_value_is_asked_for_by_a_form_whatever_page_there_is() -> None:
    """The page is for decisions."""
    params = elicitation_of(asks({"type": "string"}), console=PAGE).params
    assert isinstance(params, wire.ElicitRequestFormParams)


def test_leave_for_what_is_no_tool_is_asked_for_in_its_own_words() -> None:
    """There is nothing to be shown beside them."""
    assert form(leave(None, tool=None)).message == "May it?"


# --- any schema -----------------------------------------------------------------------------

NAMES: Final = st.sampled_from(["a", "b", "value", "decline", ""])
TEXTS: Final = st.sampled_from(["", "a", "ab", "2026-11-24", "null", "[1]", "𝄞"])
SCALARS: Final = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 9), st.sampled_from([0.5, 2.0, -1.25]), TEXTS
)
VALUES: Final[st.SearchStrategy[Any]] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OPTIONS: Final = st.lists(TEXTS, min_size=1, max_size=3, unique=True)
TITLED: Final = OPTIONS.map(lambda texts: [{"const": text, "title": text or "-"} for text in texts])
WORDS: Final = st.fixed_dictionaries(
    {}, optional={"title": TEXTS, "description": TEXTS, "deprecated": st.booleans()}
)
NUMERIC: Final = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"])},
    optional={
        "minimum": st.integers(-1, 1),
        "exclusiveMaximum": st.integers(3, 9),
        "multipleOf": st.sampled_from([0.5, 1, 2]),
        "default": SCALARS,
    },
)
FLAT: Final[st.SearchStrategy[Any]] = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(2, 9),
            "pattern": st.sampled_from(["^a", "b$", ""]),
            "format": st.sampled_from(["date", "ipv4", "made-up"]),
            "default": SCALARS,
        },
    ),
    NUMERIC,
    st.fixed_dictionaries({"type": st.just("boolean")}, optional={"default": SCALARS}),
    st.fixed_dictionaries({"type": st.just("string"), "enum": OPTIONS}),
    st.fixed_dictionaries({"enum": st.lists(SCALARS, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"const": SCALARS}),
    st.fixed_dictionaries({"type": st.just("string"), "oneOf": TITLED}),
    st.fixed_dictionaries(
        {
            "type": st.just("array"),
            "items": st.one_of(
                st.fixed_dictionaries({"type": st.just("string"), "enum": OPTIONS}),
                st.fixed_dictionaries({"anyOf": TITLED}),
                st.just({"$ref": "#/$defs/choice"}),
            ),
        },
        optional={"uniqueItems": st.booleans(), "minItems": st.integers(0, 1)},
    ),
    st.just({"$ref": "#/$defs/choice"}),
    st.just({"$ref": "#/$defs/perhaps"}),
)


def _merged(one: JsonObject, other: JsonObject) -> JsonObject:
    return one | other


def rooted(schema: JsonObject) -> JsonObject:
    """The schema, with what it may refer to."""
    return {**schema, "$defs": DEFS}


FIELD: Final[st.SearchStrategy[Any]] = st.one_of(
    FLAT,
    st.builds(_merged, FLAT, WORDS),
    FLAT.map(lambda one: {"anyOf": [one, {"type": "null"}], "default": None}),
    NUMERIC.map(lambda one: one | {"type": [one["type"], "null"]}),
)
DEFS: Final[JsonObject] = {
    "choice": {"type": "string", "enum": ["", "a"], "title": "Choice"},
    "perhaps": {"anyOf": [{"$ref": "#/$defs/choice"}, {"type": "null"}]},
}


def _of_fields(named: dict[str, JsonValue]) -> st.SearchStrategy[Any]:
    required = st.lists(st.sampled_from([*named, "a"]), unique=True, max_size=3)
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.just(named)},
        optional={
            "required": required,
            "additionalProperties": st.just(value=False),
            "title": TEXTS,
        },
    )


def _object(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(NAMES, inner, max_size=3).flatmap(_of_fields)


FORMS: Final = _object(FIELD)
#: Schemas of all kinds: most of them are no forms.
SCHEMAS: Final[st.SearchStrategy[Any]] = st.recursive(
    FIELD | st.just(cast("JsonObject", {})),
    lambda inner: st.one_of(
        _object(inner),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=5,
)


def fitting(schema: JsonObject) -> st.SearchStrategy[Any]:
    """Values, most of which fit."""
    made: st.SearchStrategy[Any] = SCALARS | VALUES
    match schema:
        case {"$ref": str(ref)}:
            made = fitting(cast("Any", DEFS)[ref.rpartition("/")[2]])
        case {"properties": dict(named)}:
            required = cast("list[str]", schema.get("required", []))
            by_name = {name: fitting(cast("JsonObject", one)) for name, one in named.items()}
            made = st.fixed_dictionaries(
                {name: by_name[name] for name in by_name if name in required},
                optional={name: by_name[name] for name in by_name if name not in required},
            )
        case {"anyOf": list(several)} | {"oneOf": list(several)}:
            made = st.one_of(*(fitting(cast("JsonObject", one)) for one in several))
        case {"enum": list(options)}:
            made = st.sampled_from(options)
        case {"const": only}:
            made = st.just(only)
        case {"type": "array", "items": dict(items)}:
            made = st.lists(fitting(items), max_size=2)
        case {"type": "null"}:
            made = st.none()
        case _:
            pass
    return made


def filled(schema: JsonObject, value: JsonValue) -> dict[str, Any]:
    """A form that a person fills to say this."""
    match shown_of(schema).style:
        case "fields":
            return cast("dict[str, Any]", value)
        case "value":
            return {VALUE: value}
        case "text":
            return {VALUE: json.dumps(value)}


@given(st.data())
def test_a_filled_form_gives_back_exactly_the_value(data: st.DataObject) -> None:
    """Whatever the schema: as fields, as one value, or as JSON text."""
    schema = rooted(data.draw(st.one_of(FORMS, FIELD, SCHEMAS)))
    value: JsonValue = data.draw(fitting(schema))
    if problems_of(value, schema):
        return
    made = shown_of(schema)
    if made.style == "fields" and not (isinstance(value, dict) and value.keys() <= {*made.fields}):
        return  # No form asks for what is not in it.
    assert json.dumps(said(schema, **filled(schema, value))) == json.dumps(value)


def _are_mixed(options: list[Any]) -> bool:
    """Whether these are choices that no single field has; null is no choice of its own."""
    kinds = {str: "text", bool: "flag", int: "number", float: "number"}
    found = {kinds[type(one)] for one in options if one is not None}
    return len(found) != 1 or (len(options) == 1 and options[0] is None)


@given(FORMS)
def test_what_is_flat_is_shown_as_fields(schema: JsonObject) -> None:
    """Unless a field is no field, or one is wanted that nobody can give."""
    named = cast("dict[str, JsonObject]", schema["properties"])
    mixed = any(
        _are_mixed(cast("list[Any]", choice.get("enum", [choice.get("const")])))
        for field in named.values()
        for choice in [*cast("list[JsonObject]", field.get("anyOf", [])), field]
        if {"enum", "const"} & set(choice) and "type" not in choice
    )
    wanted = set(cast("list[str]", schema.get("required", [])))
    style = shown_of(rooted(schema)).style
    assert style == "fields" or mixed or not wanted <= set(named)


@given(st.one_of(FORMS, SCHEMAS), st.sampled_from(VERSIONS))
def test_any_ask_is_a_form_that_the_protocol_has(schema: JsonObject, version: str) -> None:
    """Every field is one of the version's `PrimitiveSchemaDefinition`, and says what it is.

    Source: R-MCP-03.
    """
    requested = form(asks(rooted(schema)), version).requested_schema
    assert requested.keys() <= {"type", "properties", "required"}
    assert set(requested.get("required", [])) <= set(requested["properties"])
    for field in requested["properties"].values():
        FIELDS.get(version, FIELDS["2025-11-25"]).validate_python(field)
        assert not {"$ref", "anyOf", "const", "pattern", "not"} & set(field)
        if version == OLD:
            assert field["type"] != "array"
            assert "oneOf" not in field


@given(SCHEMAS, st.dictionaries(NAMES, SCALARS | st.lists(TEXTS, max_size=2), max_size=3))
def test_whatever_is_filled_in_is_an_answer_that_fits_or_is_refused(
    schema: JsonObject, content: dict[str, Any]
) -> None:
    """Nothing else happens.  Source: R-MCP-03."""
    ask = asks(rooted(schema))
    try:
        answer = said_of(ask, accept(**content))
    except InvalidInput:
        return
    assert isinstance(answer, Answer)
    assert problems_of(answer.value, ask.schema) == []
