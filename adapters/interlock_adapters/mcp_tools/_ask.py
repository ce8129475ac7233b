"""What an MCP server asks for (elicitation) as questions of a task, and answers on their way back.

Whoever is asked can always decline: the form of every question takes a refusal beside what
the server wants.  Only people are asked: a server that wants a language model or a list of
folders (sampling, roots) is refused.
"""

from collections.abc import Collection, Mapping
from typing import ClassVar, Final, assert_never
from urllib.parse import urlsplit

import mcp_types as wire
from pydantic import BaseModel, ConfigDict, ValidationError

from interlock import JsonObject, JsonValue, Question
from interlock.errors import ToolError

#: Questions in one answer of a server: more are no dialogue.
QUESTIONS_MAX: Final = 32
#: Characters of what a person is to read.
MESSAGE_CHARS_MAX: Final = 16_384
#: Characters of a server's own name for a question that are kept as the question's.
NAME_CHARS_MAX: Final = 64

#: The answer to a question by URL: the person has been there.
DONE: Final[JsonObject] = {
    "type": "object",
    "properties": {"done": {"const": True}},
    "required": ["done"],
    "additionalProperties": False,
}


class Asked(BaseModel):
    """What is kept of a question until its answer comes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    #: The server's name for it.
    key: str
    #: It sent the person to a URL, and wants to know no more than that they were there.
    by_url: bool = False
    #: The field that refuses: not one that the server asked for.
    refusal: str = "decline"


def questions_of(
    source: str, requests: Mapping[str, wire.InputRequest], answered: Collection[str] = ()
) -> tuple[dict[str, Question], dict[str, Asked]]:
    """The questions that are new, by names of ours, and what to keep of them.

    Raises:
        ToolError: a request is one that is not answered here.
    """
    if len(requests) > QUESTIONS_MAX:
        raise ToolError(f"MCP server {source!r} asks more than {QUESTIONS_MAX} questions at once")
    questions: dict[str, Question] = {}
    asked: dict[str, Asked] = {}
    for number, (key, request) in enumerate(requests.items()):
        if key in answered:
            continue
        name = key if _is_plain(key) else f"question {number}"
        while name in questions:
            name += "'"
        questions[name], asked[name] = question_of(source, key, _elicitation(source, request))
    return questions, asked


def question_of(source: str, key: str, params: wire.ElicitRequestParams) -> tuple[Question, Asked]:
    """One question; it says which server asks, since a person must know whom they tell.

    Raises:
        ToolError: it cannot be put to a person.
    """
    if len(params.message) > MESSAGE_CHARS_MAX:
        raise ToolError(f"MCP server {source!r} asks more than a person can read")
    prompt = f"{source} asks: {params.message}"
    match params:
        case wire.ElicitRequestURLParams(url=url):
            if urlsplit(url).scheme not in {"http", "https"}:
                raise ToolError(f"MCP server {source!r} sends people to what is no web page")
            form: JsonObject = {"anyOf": [DONE, _refusal("decline")]}
            return Question(prompt=f"{prompt}\n{url}", form=form), Asked(key=key, by_url=True)
        case wire.ElicitRequestFormParams(requested_schema=wanted):
            word = _unused(wanted)
            form = {"anyOf": [dict(wanted), _refusal(word)]}
            # References in the server's schema point at the root, which is ours now.
            form |= {name: wanted[name] for name in ("$defs", "definitions") if name in wanted}
            try:
                question = Question(prompt=prompt, form=form)
            except ValidationError:
                raise ToolError(f"MCP server {source!r} asks with what is no form") from None
            return question, Asked(key=key, refusal=word)
        case _:
            assert_never(params)


def answer_of(source: str, asked: Asked, answer: JsonValue) -> wire.ElicitResult:
    """An answer as the server gets it.

    Raises:
        ToolError: MCP has no way to say that.
    """
    if answer == {asked.refusal: True}:
        return wire.ElicitResult(action="decline")
    if asked.by_url:
        return wire.ElicitResult(action="accept")
    try:
        return wire.ElicitResult.model_validate({"action": "accept", "content": answer})
    except ValidationError:
        # Not what it says: the answer may be a secret.
        raise ToolError(f"MCP server {source!r} asked for what MCP cannot carry") from None


def responses_of(
    source: str, asked: Mapping[str, Asked], answers: JsonObject
) -> dict[str, wire.ElicitResult]:
    """The answers by the server's names; to a question without one, that nobody answers.

    Raises:
        ToolError: MCP has no way to say one of them.
    """
    return {
        one.key: answer_of(source, one, answers[name]) if name in answers else dismissed()
        for name, one in asked.items()
    }


def dismissed() -> wire.ElicitResult:
    """Nobody answers."""
    return wire.ElicitResult(action="cancel")


def _elicitation(source: str, request: wire.InputRequest) -> wire.ElicitRequestParams:
    match request:
        case wire.ElicitRequest(params=params):
            return params
        case wire.CreateMessageRequest() | wire.ListRootsRequest():
            raise ToolError(f"MCP server {source!r} wants {request.method}, which is refused")
        case _:
            assert_never(request)


def _refusal(word: str) -> JsonObject:
    return {
        "type": "object",
        "properties": {word: {"const": True}},
        "required": [word],
        "additionalProperties": False,
    }


def _unused(wanted: Mapping[str, JsonValue]) -> str:
    fields = wanted.get("properties")
    word = "decline"
    while isinstance(fields, dict) and word in fields:
        word += "_"
    return word


def _is_plain(key: str) -> bool:
    return (
        0 < len(key) <= NAME_CHARS_MAX
        and key.isascii()
        and all(char.isalnum() or char in "_-." for char in key)
    )
