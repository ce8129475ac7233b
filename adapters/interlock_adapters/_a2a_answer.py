"""A client's message as an answer or a decision: typed, never guessed.

An answer that fits nothing is an error which names what would fit, and the wait goes on.
Free text is never a decision, in any language: there is no vocabulary here.

What is accepted, by what is open:

* one ask of kind input and nothing else: a text part (for a form with a single field, the
  value of that field), or a data part with the value itself;
* several, or any of kind auth: only the two typed forms, `{ask, value}` and
  `{ask, digest, decision, arguments?, reason?}`, in a data part.

A data part is the answer, and texts beside it are remarks, kept in the log.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from interlock import Answer, Approval, AskKind, Denial, OpenAsk
from interlock.models import Decision, JsonObject, JsonValue
from interlock_adapters._a2a_map import invalid

Said: TypeAlias = Answer | Approval | Denial

_ANSWER: Final[TypeAdapter[Answer]] = TypeAdapter(Answer)
_DECISION: Final[TypeAdapter[Approval | Denial]] = TypeAdapter(Decision)


def said_of(parts: Sequence[JsonObject], asks: Sequence[OpenAsk]) -> Said:
    """What the parts, as the log keeps them, say about the open asks.

    Whether an answer fits its schema, or the digest is the right one, is for the engine.

    Raises:
        InvalidParamsError: nothing that can be told without guessing.
    """
    assert asks, "nobody asked"
    if any("raw" in part or "url" in part for part in parts):
        raise _unclear("a file answers nothing", asks=asks)
    data = [part["data"] for part in parts if "data" in part]
    texts = [part["text"] for part in parts if "text" in part]
    if len(data) > 1:
        raise _unclear("more than one data part", asks=asks)
    if data:
        return _typed(data[0], asks)
    if len(texts) > 1:
        raise _unclear("more than one text part", asks=asks)
    ask = _the_question(asks, "a text")
    return Answer(ask=ask.key, value=_as_field(texts[0], ask.schema))


def _typed(data: JsonValue, asks: Sequence[OpenAsk]) -> Said:
    try:
        if isinstance(data, dict) and "ask" in data:
            if "decision" in data:
                return _DECISION.validate_python(data)
            if "value" in data:
                return _ANSWER.validate_python(data)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(step) for step in fault['loc']) or 'it'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise _unclear(*problems, asks=asks) from None
    return Answer(ask=_the_question(asks, "data without a name").key, value=data)


def _the_question(asks: Sequence[OpenAsk], what: str) -> OpenAsk:
    """The one ask that an answer without a name can mean."""
    if any(ask.kind is AskKind.AUTH for ask in asks):
        raise _unclear(f"{what} decides nothing", asks=asks)
    if len(asks) > 1:
        raise _unclear(f"{len(asks)} asks are open, and {what} names none", asks=asks)
    return asks[0]


def _as_field(text: JsonValue, schema: JsonObject) -> JsonValue:
    """The text, or the form of one field that it fills in."""
    fields = schema.get("properties")
    if schema.get("type") == "object" and isinstance(fields, dict) and len(fields) == 1:
        return dict.fromkeys(fields, text)
    return text


def accepted(asks: Sequence[OpenAsk]) -> str:
    """What a message may say now, in words."""
    forms = [_form(ask) for ask in asks]
    if len(asks) == 1 and asks[0].kind is AskKind.INPUT:
        forms.append("a text part, or a data part with the value itself")
    return "; ".join(forms)


def _form(ask: OpenAsk) -> str:
    if ask.kind is AskKind.INPUT:
        return f'a data part {{"ask": "{ask.key}", "value": …}} that fits the schema asked with'
    edit = ', "arguments": {…}' if ask.allow_edit else ""
    return (
        f'a data part {{"ask": "{ask.key}", "digest": "{ask.digest}", '
        f'"decision": "approve" or "deny"{edit}}}'
    )


def _unclear(*problems: str, asks: Sequence[OpenAsk]) -> Exception:
    return invalid("message.parts", *problems, f"accepted is: {accepted(asks)}")
