"""Checks of what no type checker saw: what is stored once and is wrong can never be read again."""

import math
import sys
from collections.abc import Mapping
from typing import Final, cast

from pydantic import ValidationError

from interlock._agent import Content
from interlock._form import faults_of
from interlock._memory import OWN
from interlock.errors import InvalidInput
from interlock.models import JsonObject, parts_of

#: Characters of an owner, a context id or a token: names, not payloads.
NAME_CHARS_MAX: Final = 1_024
#: Characters of all that a request carries: a few headers.
CARRIED_CHARS_MAX: Final = 16_384


def actor_of(actor: str | None, owner: str | None) -> str | None:
    """Who acts: the actor, and where none is named the owner; None when there is neither.

    Raises:
        InvalidInput: the actor is no name.
    """
    if actor is None or actor == "":
        return owner
    problems = name_problems({"actor": actor})
    if not problems and not is_unicode(actor):
        problems.append("actor has half a character; whole text is accepted")
    if problems:
        raise InvalidInput(problems)
    return actor


def named(actor: str | None) -> str:
    """The actor.

    Raises:
        InvalidInput: there is none.
    """
    if not actor:
        raise InvalidInput(["a caller without an owner must say who acts"])
    return actor


def stored_parts(content: Content) -> list[JsonObject]:
    """Content as it is stored.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return [part.to_json() for part in parts_of(content)]
    except ValidationError as error:
        raise InvalidInput(faults_of(error)) from None


def name_problems(names: Mapping[str, object], *, needed: str = "") -> list[str]:
    """What is wrong with owners, tokens and the like; only the `needed` one may not be None."""
    accepted = f"a text of 1 to {NAME_CHARS_MAX} characters is accepted"
    problems: list[str] = []
    for what, name in names.items():
        if name is None and what != needed:
            continue
        if not isinstance(name, str):
            problems.append(f"{what} is of type {type(name).__name__}; {accepted}")
        elif not 1 <= len(name) <= NAME_CHARS_MAX:
            problems.append(f"{what} has {len(name)} characters; {accepted}")
        elif what in {"owner", "actor"} and name.startswith(OWN):
            problems.append(f"{what} begins with {OWN!r}, and such names are the engine's own")
    return problems


def text_problems(**texts: object) -> list[str]:
    """What is wrong with texts, each of which may be None."""
    return [
        f"{what} is of type {type(text).__name__}; text is accepted"
        for what, text in texts.items()
        if text is not None and not isinstance(text, str)
    ]


def is_unicode(text: str) -> bool:
    """Whether it is whole: half of a surrogate pair cannot be stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_cursor(cursor: object) -> bool:
    """Whether it can be the place between two pages: a time, and the id of a task."""
    match cursor:
        case (float() as at, str() as task_id):
            return math.isfinite(at) and is_unicode(task_id)
        case _:
            return False


def is_time(seconds: object) -> bool:
    """Whether a deadline can be made of it: a whole number may be beyond all floats."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return False
    return 0 < seconds <= sys.float_info.max


def is_metadata(metadata: object) -> bool:
    """Whether it is a mapping of texts, or None."""
    if metadata is None:
        return True
    if not isinstance(metadata, Mapping):
        return False
    return all(isinstance(key, str) for key in cast("Mapping[object, object]", metadata))


def carried_of(carried: Mapping[str, str] | None) -> dict[str, str]:
    """What a request carries, by names in lower case.

    Raises:
        InvalidInput: it is no mapping of texts, or too large; it is not quoted.
    """
    if carried is None:
        return {}
    given = cast("object", carried)
    pairs = (
        cast("Mapping[object, object]", given).items() if isinstance(given, Mapping) else [given]
    )
    if not all(_are_texts(pair) for pair in pairs):
        raise InvalidInput(["carried is not what is accepted: a mapping of names to texts"])
    size = sum(len(name) + len(value) for name, value in carried.items())
    if size > CARRIED_CHARS_MAX:
        raise InvalidInput([f"carried has {size} characters; at most {CARRIED_CHARS_MAX} are"])
    return {name.lower(): value for name, value in carried.items()}


def _are_texts(pair: object) -> bool:
    if not isinstance(pair, tuple):
        return False
    return all(isinstance(text, str) for text in cast("tuple[object, ...]", pair))


def check_place(after: object) -> None:
    """See that a place in a log is one.

    Raises:
        InvalidInput: it is none.
    """
    if isinstance(after, bool) or not isinstance(after, int) or after < 0:
        raise InvalidInput([f"after is {after!r:.80}; 0 and more is accepted"])
