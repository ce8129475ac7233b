"""Checks of what no type checker saw: what is stored once and is wrong can never be read again."""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

from pydantic import ValidationError

from interlock._agent import Content
from interlock._event import MACHINES, OWN, Data
from interlock._form import faults_of
from interlock._json import encoded, is_finite, is_time, is_unicode, same
from interlock._machine import Lifecycle
from interlock._phases import Phase
from interlock._record import Ask
from interlock._store import TaskQuery
from interlock._toolbox import Toolbox
from interlock.errors import InvalidInput, ResultInvalid
from interlock.models import Approval, Denial, JsonObject, JsonValue, Limits, Part, parts_of

#: Characters of an owner, a context id or a token: names, not payloads.
NAME_CHARS_MAX: Final = 1_024
#: Bytes of one in UTF-8: an index of PostgreSQL has room for an owner and a token of that size.
NAME_BYTES_MAX: Final = 1_280
#: The largest number of events or tasks that anybody asks for, or from which on.
COUNT_MAX: Final = 2**31 - 1
#: Characters of all that a request carries: a few headers.
CARRIED_CHARS_MAX: Final = 16_384
#: What is said of a name of `MACHINES`.
_ACTS: Final = (
    f"the engine itself acts; a name other than {', '.join(sorted(MACHINES))} is accepted"
)


def check_settings(
    *, tools: object, store: object, limits: object, clock: object, lifecycle: object
) -> None:
    """Check that an engine is made of what it takes: sooner than when it starts.

    Raises:
        TypeError: something is of another kind.
    """
    # A store may find its methods when they are called, and a clock may be anybody's.
    is_store = any(hasattr(type(store), name) for name in ("commit", "__getattr__"))
    is_clock = hasattr(clock, "call_later") and not isinstance(clock, type)
    checks = (
        ("tools", tools, tools is None or isinstance(tools, Toolbox), "a Toolbox([...])"),
        ("store", store, isinstance(store, str) or is_store, "a store, or the URL of one,"),
        ("limits", limits, limits is None or isinstance(limits, Limits), "Limits(...)"),
        ("clock", clock, clock is None or is_clock, "a Clock"),
        ("lifecycle", lifecycle, isinstance(lifecycle, Lifecycle), "LIFECYCLE.extend(...)"),
    )
    for name, given, is_of_kind, accepted in checks:
        if not is_of_kind:
            kind = f"of type {type(given).__name__}"
            if isinstance(given, type):
                kind = f"the class {given.__name__}"
            raise TypeError(f"{name} is {kind}; {accepted} is accepted")


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


def checked(value: object, what: str, bytes_max: int) -> bytes:
    """The value as canonical JSON, once it is clear that it is JSON and not too large.

    Raises:
        InvalidInput: it is not.
    """
    try:
        return encoded(value, what=what, bytes_max=bytes_max)
    except ResultInvalid as error:
        raise InvalidInput([str(error)]) from None


def roles_of(roles: Sequence[str]) -> list[str]:
    """The roles that somebody acts in.

    Raises:
        InvalidInput: they are no sequence of names.
    """
    given = cast("object", roles)
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InvalidInput(
            [f"roles is of type {type(given).__name__}; a list of names is accepted"]
        )
    named = list(roles)
    for role in named:
        if problems := name_problems({"a role": role}, needed="a role"):
            raise InvalidInput(problems)
    return named


def spoken(
    said: JsonObject,
    *,
    token: str | None,
    message: Sequence[Part],
    roles: Sequence[str],
    bytes_max: int,
) -> dict[str, JsonValue]:
    """What every answer and decision puts into the log.

    Raises:
        InvalidInput: something is not of its kind, not JSON or too large.
    """
    if problems := name_problems({"token": token}):
        raise InvalidInput(problems)
    parts: list[JsonValue] = [*stored_parts(message)]
    acting: list[JsonValue] = [*roles_of(roles)]
    checked([said, parts, token, acting], "the answer", bytes_max)
    data: dict[str, JsonValue] = {"key": said["ask"], "token": token, "message": parts}
    # Not before: logs in which nobody acts in a role stay what they are.
    if acting:
        data["roles"] = acting
    return data


def answered(data: Mapping[str, JsonValue], said: JsonObject) -> Data:
    """The payload of an answer, of what `spoken` gives."""
    return {**data, "value": said["value"]}


def decided(
    data: Mapping[str, JsonValue],
    decision: Approval | Denial,
    said: JsonObject,
    ask: Ask | None,
    *,
    grace_s: float,
) -> Data:
    """The payload of a decision on an ask, of what `spoken` gives."""
    given: dict[str, Any] = {**data, "digest": decision.digest, "reason": decision.reason}
    if isinstance(decision, Denial):
        return given | {"grace_s": grace_s}
    asked = None if ask is None else ask.arguments
    final = asked if decision.arguments is None else said["arguments"]
    return given | {"arguments": final, "edited": not same(final, asked)}


def name_problems(names: Mapping[str, object], *, needed: str = "") -> list[str]:
    """What is wrong with owners, tokens and the like; only the `needed` one may not be None."""
    accepted = f"a text of 1 to {NAME_CHARS_MAX} characters is accepted"
    fitting = f"at most {NAME_BYTES_MAX} in UTF-8 are accepted"
    problems: list[str] = []
    for what, name in names.items():
        if name is None and what != needed:
            continue
        if not isinstance(name, str):
            problems.append(f"{what} is of type {type(name).__name__}; {accepted}")
        elif not 1 <= len(name) <= NAME_CHARS_MAX:
            problems.append(f"{what} has {len(name)} characters; {accepted}")
        elif (size := len(name.encode(errors="surrogatepass"))) > NAME_BYTES_MAX:
            problems.append(f"{what} has {size} bytes; {fitting}")
        elif what in {"owner", "actor", "a role"} and name.startswith(OWN):
            problems.append(f"{what} begins with {OWN!r}, and such names are the engine's own")
        elif what in {"owner", "actor"} and name in MACHINES:
            # Whoever is called so could submit, and then answer nothing that the task asks (I25).
            problems.append(f"{what} is {name!r}, under which {_ACTS}")
    return problems


def text_problems(**texts: object) -> list[str]:
    """What is wrong with texts, each of which may be None."""
    return [
        f"{what} is of type {type(text).__name__}; text is accepted"
        for what, text in texts.items()
        if text is not None and not isinstance(text, str)
    ]


def check_kind(value: object, what: str, *kinds: type[object]) -> None:
    """See that something is of one of these types.

    Raises:
        InvalidInput: it is not; it is not quoted.
    """
    if not isinstance(value, kinds):
        accepted = " or ".join(kind.__name__ for kind in kinds)
        raise InvalidInput([f"{what} is of type {type(value).__name__}; {accepted} is accepted"])


def check_task_id(task_id: object) -> None:
    """See that the id of a task is a text.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(task_id, str):
        kind = type(task_id).__name__
        raise InvalidInput([f"the id of a task is a text, and this is of type {kind}"])


def is_cursor(cursor: object) -> bool:
    """Whether it can be the place between two pages: a time, and the id of a task."""
    match cursor:
        case (float() as at, str() as task_id):
            return math.isfinite(at) and is_unicode(task_id)
        case _:
            return False


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


def query_problems(query: TaskQuery) -> list[str]:
    """What is wrong with what a query asks for, its cursor aside."""
    names: dict[str, object] = {
        "owner": query.owner,
        "owner_prefix": query.owner_prefix,
        "context_id": query.context_id,
        "search": query.search,
    }
    problems = text_problems(**names)
    limit = cast("object", query.limit)
    if not _is_count(limit):
        problems.append(f"limit is {limit!r:.80}; 0 to {COUNT_MAX} tasks are accepted")
    since = cast("object", query.updated_since)
    if since is not None and not is_finite(since):
        problems.append("updated_since is no time; seconds since 1970, and finite, are accepted")
    shown = cast("object", query.shown)
    if shown is not None and not _are_phases(shown):
        problems.append("shown is no set of phases; one as {Phase.WAITING_AUTH} is accepted")
    for what, name in names.items():
        if not isinstance(name, str):
            continue
        if not is_unicode(name):
            problems.append(f"{what} has half a character; whole text is accepted")
        elif len(name) > NAME_CHARS_MAX:
            problems.append(
                f"{what} has {len(name)} characters; at most {NAME_CHARS_MAX} are accepted"
            )
    return problems


def _are_phases(shown: object) -> bool:
    if not isinstance(shown, AbstractSet):
        return False
    return all(isinstance(phase, Phase) for phase in cast("AbstractSet[object]", shown))


def check_purge(older_than_s: object, limit: object) -> None:
    """See that an age is one in seconds, and a limit a number of tasks.

    Raises:
        InvalidInput: one is none.
    """
    problems: list[str] = []
    if older_than_s != 0 and not is_time(older_than_s):
        problems.append("older_than_s is no number of seconds; 0 and more, and finite, is accepted")
    if not _is_count(limit) or limit == 0:
        problems.append(f"limit is no number of tasks; 1 to {COUNT_MAX} is accepted")
    if problems:
        raise InvalidInput(problems)


def check_place(after: object) -> None:
    """See that a place in a log is one.

    Raises:
        InvalidInput: it is none.
    """
    if not _is_count(after):
        raise InvalidInput([f"after is {after!r:.80}; 0 to {COUNT_MAX} is accepted"])


def _is_count(value: object) -> bool:
    """Whether it is a number of things that any store can count to."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and 0 <= cast("int", value) <= COUNT_MAX
