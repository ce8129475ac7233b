"""JSON schemas as forms, and what a person filled in as JSON.  R-SVC-74; T6, T22."""

import json
from typing import Final, cast

import pytest

from interlock import JsonObject, JsonValue
from interlock_adapters.console._forms import FIELDS_MAX, Field, FormView, filled, form_view
from interlock_adapters.console._text import difference, shown, web_url

TYPES: dict[str, JsonValue] = {
    "name": {"type": "string"},
    "story": {"type": "string"},
    "count": {"type": "integer", "minimum": 0, "maximum": 9},
    "price": {"type": "number"},
    "sure": {"type": "boolean"},
    "day": {"type": "string", "format": "date"},
    "class": {"enum": ["economy", 1, None]},
    "tags": {"type": "array", "items": {"type": "string"}},
    "more": {"$ref": "#/$defs/more"},
    "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
}
SCHEMA: JsonObject = {
    "type": "object",
    "$defs": {"more": {"type": "object"}},
    "properties": TYPES,
    "required": ["name", "count"],
}
VALUE: JsonObject = {
    "name": "Ada",
    "story": "one\ntwo",
    "count": 3,
    "price": 4.0,
    "sure": True,
    "day": "2027-02-28",
    "class": None,
    "tags": ["a"],
    "more": {"b": [1]},
    "either": None,
}


def posted_of(view: FormView) -> dict[str, str]:
    """What a browser sends of a form that nobody touched."""
    sent = {"raw": view.raw.replace("\n", "\r\n"), "mode": "raw" if view.is_raw else "fields"}
    for each in view.fields:
        sent[f"v:{each.name}"] = each.text.replace("\n", "\r\n")
        if not each.required and each.given:
            sent[f"g:{each.name}"] = "1"
    return sent


def field(view: FormView, name: str) -> Field:
    """One field."""
    return next(each for each in view.fields if each.name == name)


def test_each_type_has_its_kind_of_field() -> None:
    """Whatever has none is JSON as text.  Source: R-SVC-74."""
    view = form_view(SCHEMA, VALUE)
    assert {each.name: each.kind for each in view.fields} == {
        "name": "text",
        "story": "long",
        "count": "integer",
        "price": "number",
        "sure": "boolean",
        "day": "date",
        "class": "choice",
        "tags": "json",
        "more": "json",
        "either": "json",
    }
    assert (field(view, "count").minimum, field(view, "count").maximum) == ("0", "9")
    assert field(view, "class").choices == (('"economy"', "economy"), ("1", "1"), ("null", "null"))
    assert [each.name for each in view.fields if each.required] == ["name", "count"]


#: Whatever an agent may make up of a schema, and of what fits it or does not.
MADE_UP: Final[list[tuple[JsonObject, JsonValue]]] = [
    (SCHEMA, VALUE),
    (SCHEMA, {"name": "", "count": -(10**30)}),
    (SCHEMA, {"name": 'a "b" <c> &amp;', "count": 1, "extra": {"x": None}}),
    (SCHEMA, {"name": "tab\there \x07 bell", "count": 1, "day": "someday"}),
    (SCHEMA, {"name": "\r\n", "count": 1, "story": "\n\nafter"}),
    (SCHEMA, {"name": 7, "count": "seven", "sure": "yes", "class": "none of them"}),
    (SCHEMA, {"name": "x", "count": 1.0, "price": 1e300}),
    (SCHEMA, [1, 2]),
    ({}, {"a": 1}),
    ({}, None),
    ({"type": "string"}, "text"),
    ({"type": "integer"}, 12),
    ({"type": "boolean"}, False),
    ({"enum": ["a", "b"]}, "b"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "loop"),
    ({"type": "object", "properties": {"": {}}}, {"": 1}),
    ({"properties": {f"p{n}": {} for n in range(FIELDS_MAX + 1)}}, {"p1": 1}),
]


@pytest.mark.parametrize(("schema", "value"), MADE_UP)
def test_a_form_that_nobody_touched_amounts_to_what_was_in_it(
    schema: JsonObject, value: JsonValue
) -> None:
    """Whatever an agent made up: looking at it and approving it changes nothing."""
    view = form_view(schema, value)
    for sent in (posted_of(view), posted_of(view) | {"mode": "raw"}):
        made = filled(schema, value, sent)
        assert made.problems == {}
        assert json.dumps(made.value, sort_keys=True) == json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", " 42 ", 42),
        ("count", "-0", 0),
        ("price", "2.50", 2.5),
        ("price", "7", 7),
        ("sure", "false", False),
        ("class", "1", 1),
        ("tags", '["x", "y"]', ["x", "y"]),
        ("story", "a\r\nb", "a\nb"),
        ("name", "true", "true"),
    ],
)
def test_what_is_typed_is_of_its_type(name: str, text: str, value: JsonValue) -> None:
    """Text stays text, numbers are numbers.  Source: R-SVC-74."""
    sent = posted_of(form_view(SCHEMA, VALUE)) | {f"v:{name}": text, f"g:{name}": "1"}
    made = filled(SCHEMA, VALUE, sent)
    assert made.is_good
    got = cast("JsonObject", made.value)[name]
    assert (type(got), got) == (type(value), value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("count", "", "a whole number"),
        ("count", "1.5", "a whole number"),
        ("count", "٣", "a whole number"),
        ("count", "9" * 5_000, "a whole number"),
        ("price", "nan", "a number"),
        ("price", "1e999", "a number"),
        ("price", "1" * 500, "a number"),
        ("class", '"first"', "choose one"),
        ("tags", "[1,", "this is no JSON (line 1"),
        ("tags", "[NaN]", "NaN is no JSON"),
        ("tags", "[1, {}, [-1e999]]", "-1e999 is more than any number that can be stored"),
        ("tags", '{"a": 1, "a": 2}', "a key is there twice"),
        ("tags", "[" * 5_000, "nests deeper"),
        ("tags", "[" + "0," * 30_000 + "0]", "values"),
    ],
)
def test_what_is_nothing_of_its_kind_is_said_where_it_is(name: str, text: str, says: str) -> None:
    """And what was typed is still there to be mended.  Source: R-SVC-74, T22."""
    sent = posted_of(form_view(SCHEMA, VALUE)) | {f"v:{name}": text, f"g:{name}": "1"}
    made = filled(SCHEMA, VALUE, sent)
    assert list(made.problems) == [name]
    assert says in made.problems[name]
    again = form_view(SCHEMA, VALUE, posted=sent, problems=made.problems)
    assert field(again, name).text == text
    assert says in field(again, name).problem


def test_an_optional_field_is_given_or_left_out() -> None:
    """By its box; an empty text is a value.  Source: R-SVC-74."""
    sent = posted_of(form_view(SCHEMA, VALUE))
    del sent["g:sure"]
    made = filled(SCHEMA, VALUE, sent)
    assert "sure" not in cast("JsonObject", made.value)
    assert "name" in cast("JsonObject", made.value)


def test_a_form_without_a_value_starts_empty_or_with_defaults() -> None:
    """The schema's own.  Source: R-SVC-74."""
    schema: JsonObject = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 4}},
        "required": ["a", "b"],
    }
    view = form_view(schema, None, has_value=False)
    assert [(each.name, each.text) for each in view.fields] == [("a", ""), ("b", "4")]
    assert form_view({}, None, has_value=False).is_raw
    assert filled(schema, None, {"mode": "raw", "raw": '{"a": "x"}'}).value == {"a": "x"}


def test_raw_json_that_is_none_is_said_above_the_form() -> None:
    """It is in no field of the form.  Source: R-SVC-74."""
    sent = {"mode": "raw", "raw": "{"}
    made = filled(SCHEMA, VALUE, sent)
    view = form_view(SCHEMA, VALUE, posted=sent, problems=made.problems)
    assert view.is_raw
    assert view.raw == "{"
    assert "this is no JSON" in view.problems[0]


def test_a_difference_shows_lines_and_not_the_order_of_keys() -> None:
    """Else every edit would look like many.  Source: R-SVC-78."""
    assert difference({"a": 1, "b": 2}, {"b": 2, "a": 1}) == []
    lines = difference({"a": 1, "b": 2}, {"a": 1, "b": 3})
    assert [(each.change, each.text) for each in lines if each.change != "same"] == [
        ("gone", '  "b": 2'),
        ("new", '  "b": 3'),
    ]
    # 1, 1.0 and true are not the same for a tool.
    assert difference(1, [True][0]) != []
    assert difference(1, 1.0) != []


def test_what_nobody_could_see_is_shown_as_its_code() -> None:
    """T8: what an approver reads is what is there."""
    assert shown("pay 100\u202e001\u2066 \u200bEUR\x00\x1b[2K") == (
        "pay 100\\u202e001\\u2066 \\u200bEUR\\u0000\\u001b[2K"
    )
    assert shown("Grüße\n\t漢字 👍") == "Grüße\n\t漢字 👍"
    assert shown("\U000e0041") == "\\U000e0041"
    assert shown("x" * 30_000).endswith("(10,000 characters more)")


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://example.org/a?b=c", True),
        ("http://example.org", True),
        ("javascript:alert(1)", False),
        ("JAVASCRIPT:alert(1)", False),
        (" javascript:alert(1)", False),
        ("data:text/html,<script>", False),
        ("//example.org", False),
        ("https://", False),
        ("https://[", False),
        ("https://a b", False),
        ("java\nscript:x", False),
    ],
)
def test_a_link_is_to_a_web_page_or_none(url: str, *, is_one: bool) -> None:
    """What runs when it is clicked is no page.  Source: R-SVC-73."""
    assert (web_url(url) == url) is is_one
