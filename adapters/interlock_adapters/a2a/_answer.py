"""A client's message as an answer or a decision: typed, never guessed.

An answer that fits nothing is an error which names what would fit, and the wait goes on.
Free text is never a decision, in any language, unless somebody configured a vocabulary.

What is accepted, by what is open:

* one ask of kind input and nothing else: a text part (for a form with a single field, or a
  single one that is required, the value of that field), or a data part with the value itself;
* one ask of kind auth and nothing else, whose policy says `by_text`, and a vocabulary: also
  a text that is one of its words, for the digest that the ask has;
* several, or any of kind auth: only the typed forms, `{ask, value}`, `{ask, decline, reason?}`
  and `{ask, digest, decision, arguments?, reason?}`, in a data part.

A data part is the answer, and texts beside it are remarks, kept in the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from interlock import Answer, Approval, AskKind, Denial, OpenAsk
from interlock.models import Decision, JsonObject, JsonValue
from interlock_adapters.a2a._map import invalid
from interlock_adapters.vocabulary import Vocabulary


class Declined(BaseModel):
    """Somebody will not answer an ask of kind input."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, strict=True)
    ask: str = Field(min_length=1)
    decline: Literal[True] = True
    reason: str | None = None


Said: TypeAlias = Answer | Declined | Approval | Denial

_ANSWER: Final[TypeAdapter[Answer]] = TypeAdapter(Answer)
_DECISION: Final[TypeAdapter[Approval | Denial]] = TypeAdapter(Decision)


def said_of(
    parts: Sequence[JsonObject], asks: Sequence[OpenAsk], vocabulary: Vocabulary | None = None
) -> Said:
    """What the parts, as the log keeps them, say about the open asks.

    Whether an answer fits its schema, or the digest is the right one, is for the engine.

    Raises:
        InvalidParamsError: nothing that can be told without guessing.
    """
    assert asks, "nobody asked"
    return _Hearing(asks, vocabulary).said(parts)


def accepted(asks: Sequence[OpenAsk], vocabulary: Vocabulary | None = None) -> str:
    """What a message may say now, in words."""
    return _Hearing(asks, vocabulary).accepted()


@dataclass(frozen=True, slots=True)
class _Hearing:
    """What is open, and in which words it may be answered."""

    asks: Sequence[OpenAsk]
    vocabulary: Vocabulary | None

    def said(self, parts: Sequence[JsonObject]) -> Said:
        if any("raw" in part or "url" in part for part in parts):
            raise self._unclear("a file answers nothing")
        data = [part["data"] for part in parts if "data" in part]
        texts = [str(part["text"]) for part in parts if "text" in part]
        if len(data) > 1:
            raise self._unclear("more than one data part")
        if data:
            return self._typed(data[0])
        if len(texts) > 1:
            raise self._unclear("more than one text part")
        words = self._words()
        if words is not None:
            return self._decided(texts[0], words)
        ask = self._the_question("a text")
        return Answer(ask=ask.key, value=_as_field(texts[0], ask.schema))

    def _words(self) -> Vocabulary | None:
        """The words that may decide, if words may decide what is open."""
        if len(self.asks) == 1 and self.asks[0].kind is AskKind.AUTH and self.asks[0].by_text:
            return self.vocabulary
        return None

    def _decided(self, text: str, words: Vocabulary) -> Said:
        """What a word means, for exactly what the ask is about as it stands."""
        (ask,) = self.asks
        verdict = words.verdict(text)
        if verdict is None:
            raise self._unclear("the text is neither yes nor no")
        decided = {"ask": ask.key, "digest": ask.digest, "decision": verdict}
        return _DECISION.validate_python(decided)

    def _typed(self, data: JsonValue) -> Said:
        try:
            if isinstance(data, dict) and "ask" in data:
                if "decision" in data:
                    return _DECISION.validate_python(data)
                if "value" in data:
                    return _ANSWER.validate_python(data)
                if "decline" in data:
                    return Declined.model_validate(data)
        except ValidationError as error:
            problems = [
                f"{'.'.join(str(step) for step in fault['loc']) or 'it'}: {fault['msg']}"
                for fault in error.errors(include_url=False, include_input=False)
            ]
            raise self._unclear(*problems) from None
        return Answer(ask=self._the_question("data without a name").key, value=data)

    def _the_question(self, what: str) -> OpenAsk:
        """The one ask that an answer without a name can mean."""
        if any(ask.kind is AskKind.AUTH for ask in self.asks):
            raise self._unclear(f"{what} decides nothing")
        if len(self.asks) > 1:
            raise self._unclear(f"{len(self.asks)} asks are open, and {what} names none")
        return self.asks[0]

    def accepted(self) -> str:
        forms = [_form(ask) for ask in self.asks]
        if len(self.asks) == 1 and self.asks[0].kind is AskKind.INPUT:
            forms.append("a text part, or a data part with the value itself")
        words = self._words()
        if words is not None:
            forms.append(words.accepted())
        return "; ".join(forms)

    def _unclear(self, *problems: str) -> Exception:
        return invalid("message.parts", *problems, f"accepted is: {self.accepted()}")


def _as_field(text: str, schema: JsonObject) -> JsonValue:
    """The text, or the form that it fills in: of one field, or with one that is required.

    Of a form in alternatives it is the first, as a tool's that may also be declined.
    """
    match schema.get("anyOf"):
        case [dict(first), *_]:
            return _as_field(text, first)
        case _:
            pass
    fields = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(fields, dict):
        return text
    required = schema.get("required")
    wanted = required if isinstance(required, list) and len(fields) > 1 else list(fields)
    match wanted:
        case [str(name)]:
            return {name: text}
        case _:
            return text


def _form(ask: OpenAsk) -> str:
    if ask.kind is AskKind.INPUT:
        return (
            f'a data part {{"ask": "{ask.key}", "value": …}} that fits the schema asked with, '
            f'or {{"ask": "{ask.key}", "decline": true}}'
        )
    edit = ', "arguments": {…}' if ask.allow_edit else ""
    return (
        f'a data part {{"ask": "{ask.key}", "digest": "{ask.digest}", '
        f'"decision": "approve" or "deny"{edit}}}'
    )
