"""What a message says about the open asks: typed, or refused; and how requests are read."""

import json
from typing import Any, Final

import pytest
from a2a.types import InvalidParamsError, Part, SendMessageRequest
from a2a.utils.errors import A2AError
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from interlock import Answer, Approval, AskKind, Denial, JsonObject, JsonValue, OpenAsk
from interlock_adapters.a2a._answer import Declined, Said, accepted, said_of
from interlock_adapters.a2a._part import json_of, object_of, part_json, put_struct, put_value
from interlock_adapters.a2a._request import ID_CHARS_MAX, sent_of, sent_of_json
from interlock_adapters.a2a._settings import A2ASettings
from interlock_adapters.vocabulary import ENGLISH_AND_CHINESE, Vocabulary

SETTINGS: Final = A2ASettings(name="Tests", description="Reads.")
TEXT: Final[JsonObject] = {"type": "string"}
CITY: Final[JsonObject] = {"type": "object", "properties": {"city": TEXT}, "required": ["city"]}
TRIP: Final[JsonObject] = {"type": "object", "properties": {"city": TEXT, "days": {}}}
TO_CITY: Final[JsonObject] = {**TRIP, "required": ["city"]}
WHOLE_TRIP: Final[JsonObject] = {**TRIP, "required": ["city", "days"]}


def question(key: str = "q", schema: JsonObject = TEXT) -> OpenAsk:
    """An ask for a value."""
    return OpenAsk(key, AskKind.INPUT, "?", schema, 0.0, 1.0)


def decision(key: str = "d", *, allow_edit: bool = False, by_text: bool = False) -> OpenAsk:
    """An ask for leave."""
    return OpenAsk(
        key, AskKind.AUTH, "?", {}, 0.0, 1.0, digest="d1", allow_edit=allow_edit, by_text=by_text
    )


APPROVED: Final[JsonObject] = {"ask": "d", "digest": "d1", "decision": "approve"}
DENIED: Final[JsonObject] = {"ask": "d", "digest": "d1", "decision": "deny", "reason": "no"}


@pytest.mark.parametrize(
    ("parts", "asks", "said"),
    [
        ([{"text": "Oslo"}], [question()], Answer(ask="q", value="Oslo")),
        ([{"text": "yes"}], [question(schema={})], Answer(ask="q", value="yes")),
        ([{"text": "Oslo"}], [question(schema=CITY)], Answer(ask="q", value={"city": "Oslo"})),
        ([{"text": "Oslo"}], [question(schema=TRIP)], Answer(ask="q", value="Oslo")),
        ([{"text": "Oslo"}], [question(schema=TO_CITY)], Answer(ask="q", value={"city": "Oslo"})),
        ([{"text": "Oslo"}], [question(schema=WHOLE_TRIP)], Answer(ask="q", value="Oslo")),
        ([{"data": {"city": "Oslo"}}], [question()], Answer(ask="q", value={"city": "Oslo"})),
        ([{"data": None}], [question()], Answer(ask="q", value=None)),
        ([{"data": {"ask": "a field"}}], [question()], Answer(ask="q", value={"ask": "a field"})),
        ([{"data": {"ask": "x", "value": 1}}], [question()], Answer(ask="x", value=1)),
        (
            [{"text": "please"}, {"data": {"ask": "q", "value": 1}}],
            [question(), decision()],
            Answer(ask="q", value=1),
        ),
        ([{"data": {"ask": "q", "decline": True}}], [question()], Declined(ask="q")),
        (
            [{"text": "sorry"}, {"data": {"ask": "q", "decline": True, "reason": "no idea"}}],
            [question(), decision()],
            Declined(ask="q", reason="no idea"),
        ),
        # Without its name it is a value: the form of a tool that may be declined has it.
        ([{"data": {"decline": True}}], [question()], Answer(ask="q", value={"decline": True})),
        ([{"data": APPROVED}], [decision()], Approval.model_validate(APPROVED)),
        (
            [{"data": {**APPROVED, "arguments": {"n": 2}}}],
            [question(), decision()],
            Approval.model_validate({**APPROVED, "arguments": {"n": 2}}),
        ),
        ([{"data": DENIED}], [decision()], Denial.model_validate(DENIED)),
        ([{"data": DENIED}], [question()], Denial.model_validate(DENIED)),
    ],
)
def test_a_message_says_one_thing(parts: list[JsonObject], asks: list[OpenAsk], said: Said) -> None:
    """Whether it fits is for the engine.  Source: R-A2A-04."""
    assert said_of(parts, asks) == said


@pytest.mark.parametrize(
    ("parts", "asks", "why"),
    [
        ([{"text": "a"}, {"text": "b"}], [question()], "more than one text part"),
        ([{"data": 1}, {"data": 2}], [question()], "more than one data part"),
        ([{"url": "u:"}, {"text": "a"}], [question()], "a file answers nothing"),
        ([{"text": "yes"}], [decision()], "a text decides nothing"),
        ([{"text": "yes"}], [question(), decision()], "a text decides nothing"),
        ([{"data": True}], [decision()], "data without a name decides nothing"),
        ([{"data": {"decision": "approve"}}], [decision()], "data without a name"),
        ([{"text": "Oslo"}], [question(), question("r")], "2 asks are open, and a text names none"),
        ([{"data": {"ask": "q", "value": 1, "x": 1}}], [question()], "x: Extra inputs"),
        ([{"data": {"ask": "q", "decline": False}}], [question()], "decline: Input should be True"),
        ([{"data": {"ask": "q", "decline": True, "value": 1}}], [question()], "decline: Extra"),
        ([{"data": {"ask": "q", "decline": True, "why": 1}}], [question()], "why: Extra inputs"),
        ([{"data": {"ask": 1, "value": 1}}], [question()], "ask: Input should be a valid string"),
        ([{"data": {"ask": "d", "decision": "approve"}}], [decision()], "digest: Field required"),
        ([{"data": {**APPROVED, "decision": "ok"}}], [decision()], "'approve', 'deny'"),
        ([{"data": {**DENIED, "arguments": {}}}], [decision()], "arguments: Extra inputs"),
        ([{"data": {**APPROVED, "arguments": [1]}}], [decision()], "arguments: Input should be"),
    ],
)
def test_what_is_not_clear_is_refused_with_what_would_be(
    parts: list[JsonObject], asks: list[OpenAsk], why: str
) -> None:
    """Every refusal names the forms that are accepted.  Source: R-A2A-04."""
    with pytest.raises(InvalidParamsError) as caught:
        said_of(parts, asks)
    assert why in str(caught.value)
    assert accepted(asks) in str(caught.value)


@pytest.mark.parametrize(("text", "decided"), [("Yes ", "approve"), ("不行", "deny")])
def test_a_word_decides_what_may_be_decided_by_text(text: str, decided: str) -> None:
    """For the digest that the ask has now."""
    said = said_of([{"text": text}], [decision(by_text=True)], ENGLISH_AND_CHINESE)
    assert said.model_dump(exclude_none=True) == {"ask": "d", "digest": "d1", "decision": decided}


@pytest.mark.parametrize(
    ("parts", "asks", "vocabulary"),
    [
        ([{"text": "yes"}], [decision(by_text=True)], None),
        ([{"text": "yes"}], [decision()], ENGLISH_AND_CHINESE),
        ([{"text": "yes"}], [decision(by_text=True), question()], ENGLISH_AND_CHINESE),
        (
            [{"text": "yes"}],
            [decision(by_text=True), decision("e", by_text=True)],
            ENGLISH_AND_CHINESE,
        ),
        ([{"data": "yes"}], [decision(by_text=True)], ENGLISH_AND_CHINESE),
        ([{"data": True}], [decision(by_text=True)], ENGLISH_AND_CHINESE),
        ([{"text": "yes"}, {"text": "yes"}], [decision(by_text=True)], ENGLISH_AND_CHINESE),
        ([{"text": "sure"}], [decision(by_text=True)], ENGLISH_AND_CHINESE),
    ],
)
def test_a_word_decides_nothing_else(
    parts: list[JsonObject], asks: list[OpenAsk], vocabulary: Vocabulary | None
) -> None:
    """The deployment, the policy and the situation must all allow it, and the text be a word."""
    with pytest.raises(InvalidParamsError) as caught:
        said_of(parts, asks, vocabulary)
    assert accepted(asks, vocabulary) in str(caught.value)


def test_a_word_is_an_answer_where_a_value_is_wanted() -> None:
    """A vocabulary is for decisions."""
    said = said_of([{"text": "yes"}], [question()], ENGLISH_AND_CHINESE)
    assert said == Answer(ask="q", value="yes")


def test_the_words_are_told_only_where_they_count() -> None:
    """An error that names what would not be taken would be a trap."""
    assert "同意" in accepted([decision(by_text=True)], ENGLISH_AND_CHINESE)
    assert "同意" not in accepted([decision()], ENGLISH_AND_CHINESE)
    assert "同意" not in accepted([decision(by_text=True), question()], ENGLISH_AND_CHINESE)


def test_the_forms_that_are_accepted_name_their_asks() -> None:
    """So that a client can build them from the error alone."""
    forms = accepted([question(), decision(allow_edit=True)])
    assert '{"ask": "q", "value": …}' in forms
    assert '{"ask": "q", "decline": true}' in forms
    assert (
        '{"ask": "d", "digest": "d1", "decision": "approve" or "deny", "arguments": {…}}' in forms
    )


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not x.is_integer()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


@given(JSON)
def test_json_comes_through_protobuf_as_it_was(content: JsonValue) -> None:
    """Integers stay integers: digests are taken over the text."""
    value = Value()
    put_value(value, content)
    # As text: 1 and 1.0 are equal to Python.
    assert json.dumps(json_of(value), sort_keys=True) == json.dumps(content, sort_keys=True)


@pytest.mark.parametrize(
    "kept",
    [
        {"text": "a"},
        {"text": ""},
        {"data": {"n": 1}, "media_type": "application/json"},
        {"raw": "AQI=", "filename": "a.png"},
        {"url": "https://a.test", "metadata": {"n": [1.5, None]}},
    ],
)
def test_a_part_is_kept_as_it_was_said(kept: JsonObject) -> None:
    """In the form of the engine's own parts."""
    shown = {"mediaType" if name == "media_type" else name: kept[name] for name in kept}
    assert part_json(ParseDict(shown, Part())) == kept


def test_a_struct_is_written_whole() -> None:
    """As a card's extensions have them."""
    part = Part()
    put_struct(part.metadata, {"a": {"b": [1]}})
    assert object_of(part.metadata) == {"a": {"b": [1]}}


IDS: Final = st.sampled_from(
    ["", "m", "é", "\ud800", "x" * (ID_CHARS_MAX + 1), "interlock:m", 5, None]
)
TEXTS: Final = st.sampled_from(["", "hello", "é", "\ud800", 5, None, ["a"]])
PARTS: Final = st.one_of(
    st.lists(st.fixed_dictionaries({}, optional={"text": TEXTS, "data": TEXTS, "x": TEXTS})),
    st.just("parts"),
    st.lists(st.just("part")),
)
MESSAGES: Final = st.fixed_dictionaries(
    {"role": st.sampled_from(["ROLE_USER", "ROLE_AGENT", "ROLE_BOSS", 1, 2, None])},
    optional={
        "messageId": IDS, "taskId": IDS, "contextId": IDS, "parts": PARTS,
        "metadata": st.just({"a": 1}), "message_id": IDS, "later": IDS,
    },
)  # fmt: skip


@given(st.fixed_dictionaries({}, optional={"message": MESSAGES, "tenant": IDS, "x": IDS}))
def test_the_short_way_of_reading_reads_alike(params: dict[str, Any]) -> None:
    """What it does not read as protobuf would, it leaves to protobuf."""
    short = sent_of_json(params)
    if short is None:
        return
    request = ParseDict(params, SendMessageRequest(), ignore_unknown_fields=True)
    assert sent_of(request, SETTINGS) == short


@pytest.mark.parametrize("message_id", ["", "interlock:mcp t/who", "x" * (ID_CHARS_MAX + 1)])
def test_a_name_that_no_message_may_have_is_refused(message_id: str) -> None:
    """Tokens that begin so are ours: who took one would keep an answer out."""
    message = {"messageId": message_id, "role": "ROLE_USER", "parts": [{"text": "x"}]}
    assert sent_of_json({"message": message}) is None
    request = ParseDict({"message": message}, SendMessageRequest())
    with pytest.raises(InvalidParamsError, match="message_id"):
        sent_of(request, SETTINGS)


def test_the_short_way_is_taken_by_a_plain_message() -> None:
    """Else it would be there for nothing."""
    parts = [{"text": "hello"}]
    message = {"messageId": "m", "taskId": "t", "role": "ROLE_USER", "parts": parts}
    assert sent_of_json({"message": message}) is not None


@pytest.mark.parametrize(
    ("accepted_modes", "fits"),
    [
        ([], True),
        (["text/plain"], True),
        (["TEXT/PLAIN; charset=utf-8"], True),
        (["text/*"], True),
        (["*/*"], True),
        (["image/png", "application/json"], True),
        (["image/*"], False),
        (["text"], False),
    ],
)
def test_output_modes_need_one_in_common(accepted_modes: list[str], fits: bool) -> None:  # noqa: FBT001
    """Source: A2A 1.0 §3.2.2; ranges as in HTTP, parameters do not count."""
    request = SendMessageRequest()
    ParseDict({"message_id": "m", "role": 1, "parts": [{"text": "a"}]}, request.message)
    request.configuration.accepted_output_modes.extend(accepted_modes)
    try:
        sent_of(request, SETTINGS)
    except A2AError:
        assert not fits
    else:
        assert fits
