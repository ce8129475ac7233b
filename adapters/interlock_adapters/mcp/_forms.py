"""Asks as elicitations of MCP, and what comes back to them as answers: pure.

MCP's forms are flat: an object of texts, numbers, booleans and choices.  An ask may want any
JSON.  What is flat goes as it is (`mcp._fields`); one value becomes a form of one field,
`value`; and what no form can show is asked for as a text that holds JSON.

What a form cannot say, such as a pattern, is told in words, and an answer is checked against
all that the ask wants, whatever was shown of it.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import mcp_types as wire
from mcp_types.version import LATEST_MODERN_VERSION, MODERN_PROTOCOL_VERSIONS

from interlock import Answer, Approval, AskKind, Denial, JsonObject, JsonValue, OpenAsk
from interlock.errors import InvalidInput
from interlock.forms import problems_of
from interlock_adapters._http.asgi import excess_in
from interlock_adapters.mcp._fields import VALUE, Form, form_of, lone, wants_secret

#: Characters of a prompt: more is nothing that a person reads.
MESSAGE_CHARS_MAX: Final = 16_384
#: Characters of a field's name that a refusal quotes.
NAME_CHARS_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class Declined:
    """A person says that they will not answer."""

    ask: str


@dataclass(frozen=True, slots=True)
class Dismissed:
    """A person closed the question without a word."""

    ask: str


Said: TypeAlias = Answer | Approval | Denial | Declined | Dismissed


def elicitation_of(
    ask: OpenAsk, *, console: str | None = None, version: str = LATEST_MODERN_VERSION
) -> wire.ElicitRequest:
    """The question that a client puts to a person (MCP, elicitation).

    `version` is the client's, of the protocol: until 2025-06-18 forms know less.  With
    `console`, the address of a page where people decide, an authorisation sends them there,
    and so does what wants a secret, which must not be asked for in another way (`is_secret`).
    A prompt is cut after `MESSAGE_CHARS_MAX` characters, what would run never is: what is
    approved is what was shown.  (`Limits.payload_bytes_max` bounds it.)
    """
    message = _short(ask.prompt)
    by_form = console is None or (ask.kind is AskKind.INPUT and not is_secret(ask))
    if ask.kind is AskKind.INPUT and by_form:
        return _by_form(message, form_of(ask.schema, version).shown)
    if console is None:
        return _by_form(f"{message}{_would_run(ask)}", _decision(ask))
    there = _there(ask)
    url = wire.ElicitRequestURLParams(
        message=f"{message}\n{there}",
        url=console,
        elicitation_id=None if version in MODERN_PROTOCOL_VERSIONS else _id_of(ask, console),
    )
    return wire.ElicitRequest(params=url)


def is_secret(ask: OpenAsk) -> bool:
    """Whether the value it wants is none that a host or its model may see (MCP, elicitation)."""
    return ask.kind is AskKind.INPUT and wants_secret(ask.schema)


def _there(ask: OpenAsk) -> str:
    if ask.kind is AskKind.INPUT:
        return "It asks for a secret: answer it there."
    return f"Decide about {ask.tool} there." if ask.tool else "Decide about it there."


def said_of(ask: OpenAsk, result: wire.ElicitResult) -> Said | None:
    """What a person said to an ask; None if they only went to the page where they decide.

    Raises:
        InvalidInput: it is not what the form wants, or not all that the ask wants.
    """
    match result.action:
        case "cancel":
            return Dismissed(ask.key)
        case "decline":
            return _declined(ask)
        case "accept" if ask.kind is AskKind.AUTH:
            return _decided(ask, result.content) if result.content else None
        case "accept" if is_secret(ask) and not result.content:
            return None
        case "accept":
            content = cast("JsonObject", result.content or {})
            value = _value(form_of(ask.schema), content)
            _check_all(ask.schema, value)
            return Answer(ask=ask.key, value=value)


def _declined(ask: OpenAsk) -> Said:
    if ask.kind is AskKind.AUTH:
        return Denial(ask=ask.key, digest=_digest(ask), decision="deny")
    _, refusal = lone(ask.schema)
    return Declined(ask.key) if refusal is None else Answer(ask=ask.key, value=refusal)


# --- a value --------------------------------------------------------------------------------


def _value(form: Form, content: JsonObject) -> JsonValue:
    """The value that a filled form stands for.

    Raises:
        InvalidInput: the form was not filled as it must be.
    """
    given = _given(form, content)
    match form.style:
        case "fields":
            left_out = {name: None for name in form.null_if_absent if name not in given}
            return {**given, **left_out}
        case "value":
            return given.get(VALUE)
        case "text":
            return _read(cast("str", given[VALUE]), VALUE)


def _given(form: Form, content: JsonObject) -> JsonObject:
    """What was filled in.

    Hosts send null for what they leave empty, and a choice of several as JSON text where forms
    know none.

    Raises:
        InvalidInput: a field is unknown, missing or of another type.
    """
    if unknown := [_quoted(name) for name in content if name not in form.fields]:
        accepted = ", ".join(map(repr, form.fields))
        raise InvalidInput(
            [f"at /: unknown field {name}; accepted: {accepted}" for name in unknown]
        )
    given: JsonObject = {}
    nulls: JsonObject = {}
    for name, value in content.items():
        if value is None and name in form.nullable:
            nulls[name] = None
        elif value is None and name not in form.required:
            continue
        elif isinstance(value, str) and form.fields[name]["type"] == "array":
            given[name] = _read(value, name)
        else:
            given[name] = value
    if problems := problems_of(given, form.shown):
        raise InvalidInput(problems)
    return {**given, **nulls}


def _check_all(schema: JsonObject, value: JsonValue) -> None:
    """See that a value is all that its ask wants.

    Raises:
        InvalidInput: it is not.
    """
    if problems := problems_of(value, schema):
        # Without the way to refuse, it is told what is wrong with what was meant.
        wanted, _ = lone(schema)
        raise InvalidInput(problems_of(value, wanted) or problems)


# --- a decision -----------------------------------------------------------------------------


def _decided(ask: OpenAsk, content: Mapping[str, Any]) -> Said:
    """A decision, for exactly what the ask is about.

    Raises:
        InvalidInput: it is none.
    """
    form = _decision(ask)
    given = _given(Form.plain(form), dict(content))
    reason = cast("str | None", given.get("reason")) or None
    if given["decision"] == "deny":
        return Denial(ask=ask.key, digest=_digest(ask), decision="deny", reason=reason)
    edited = given.get("arguments")
    arguments = None if edited is None else _arguments(ask, cast("str", edited))
    return Approval(
        ask=ask.key, digest=_digest(ask), decision="approve", arguments=arguments, reason=reason
    )


def _arguments(ask: OpenAsk, edited: str) -> JsonObject:
    """The arguments that somebody approves instead.

    Raises:
        InvalidInput: they are none of the tool's.
    """
    arguments = _read(edited, "arguments")
    if not isinstance(arguments, dict):
        raise InvalidInput(["at /arguments: no JSON object; the tool's arguments are accepted"])
    if problems := problems_of(arguments, ask.schema):
        raise InvalidInput([f"arguments: {problem}" for problem in problems])
    return arguments


def _decision(ask: OpenAsk) -> JsonObject:
    """The form of an authorisation."""
    fields: dict[str, JsonValue] = {
        "decision": {"type": "string", "title": "Decision", "enum": ["approve", "deny"]},
        "reason": {"type": "string", "title": "Reason", "description": "Why, if you like."},
    }
    if ask.allow_edit:
        fields["arguments"] = {
            "type": "string",
            "title": "Arguments",
            "description": "As JSON; change them to have the tool called with others.",
            "default": _written(ask.arguments, indent=None),
        }
    return {"type": "object", "properties": fields, "required": ["decision"]}


def _digest(ask: OpenAsk) -> str:
    assert ask.digest is not None  # Every authorisation is of something.
    return ask.digest


def _id_of(ask: OpenAsk, console: str) -> str:
    """A name that no other question of this server has, and this one always has (2025-11-25)."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{console}#{ask.key}/{ask.asked_at}/{ask.digest}"))


# --- words ----------------------------------------------------------------------------------


def _by_form(message: str, schema: JsonObject) -> wire.ElicitRequest:
    return wire.ElicitRequest(
        params=wire.ElicitRequestFormParams(message=message, requested_schema=schema)
    )


def _would_run(ask: OpenAsk) -> str:
    if ask.tool is None:
        return ""
    return f"\n{ask.tool} would run with:\n{_written(ask.arguments, indent=2)}"


def _written(arguments: JsonObject | None, *, indent: int | None) -> str:
    """Arguments for people, who see every character of them."""
    text = json.dumps(arguments or {}, indent=indent, ensure_ascii=False)
    # What is invisible, or turns the direction of writing, could show other arguments.
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text
    )


def _read(given: str, name: str) -> JsonValue:
    """The JSON in a text, which is bounded like a body that is JSON (T22).

    Raises:
        InvalidInput: there is none, or too much of it.
    """
    if (excess := excess_in(given)) is not None:
        raise InvalidInput([f"at /{name}: {excess}"])
    try:
        value: JsonValue = json.loads(given)
        # An escape can make half of a character, which no log can hold.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise InvalidInput([f"at /{name}: no JSON text, which is accepted"]) from None
    return value


def _quoted(name: str) -> str:
    """A name from outside, which may be anything."""
    return repr(name if len(name) <= NAME_CHARS_MAX else f"{name[:NAME_CHARS_MAX]}...")


def _short(message: str) -> str:
    if len(message) <= MESSAGE_CHARS_MAX:
        return message
    cut = len(message) - MESSAGE_CHARS_MAX
    return f"{message[:MESSAGE_CHARS_MAX]} … ({cut} characters more)"
