"""Answers against JSON schemas: a named subset of draft 2020-12, and no library.

An answer is checked against the schema that was stored with its ask, also after a restart,
when the agent's model class is not at hand.  The subset is the table in `_keywords.py` (all
that pydantic emits for a model, all that an MCP form or tool uses) and the annotations below;
any other keyword is refused when the ask is made, because to ignore it would be to accept
answers that it forbids.  Keywords that start with `x-` are ignored.

* `$ref` is a pointer into the same document: `#`, `#/$defs/City`.
* `format` is checked leniently (a time may lack its offset, as a browser's field sends it),
  and only for the names in `FORMATS`; others are annotations.
* `pattern` is a Python regular expression, searched for anywhere in the text.  A schema is
  trusted like the agent's code: a pattern that takes exponential time is not detected, only
  the text it is run on is bounded.
"""

import math
from collections import deque
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Final
from urllib.parse import unquote

from interlock._keywords import (
    FAULTS_MAX,
    KEYWORDS,
    Here,
    Located,
    Unchecked,
    as_list,
    fault,
    quote,
)
from interlock.errors import InvalidInput
from interlock.models import JsonObject, JsonValue

#: Levels of arrays and objects, in values and in schemas.  Forms have five; a bomb has millions.
NESTING_MAX: Final = 64
#: Schemas in schemas while one value is judged: five calls each, within the interpreter's 1000.
CHECKS_DEEP_MAX: Final = 120
#: Bits of an integer: the range of a double, which is what JSON's readers agree on.
INTEGER_BITS_MAX: Final = 1024
#: Digits of a place in an array.
_INDEX_DIGITS_MAX: Final = 9

#: Keywords that say nothing about which values fit.
ANNOTATIONS: Final = frozenset(
    (
        *("$comment", "$id", "$schema", "title", "description", "default", "example", "examples"),
        *("deprecated", "readOnly", "writeOnly", "discriminator", "enumNames"),
        *("contentEncoding", "contentMediaType", "contentSchema"),
    )
)


def problems_of(value: JsonValue, schema: JsonObject) -> list[str]:
    """The faults of a value under a schema that `check_schema` accepts; [] if it fits.

    Of very many not all are looked for, and the last sentence says that there are more.
    Pure, and total: no JSON value makes it raise.
    """
    try:
        return first_of(_faults_of(value, schema))
    except Unchecked as error:
        return [str(error)]


def fits(value: JsonValue, schema: JsonObject) -> bool:
    """Whether a value fits a schema that `check_schema` accepts.

    Raises:
        Unchecked: nobody can tell; `problems_of` takes that for a fault of the value.
    """
    return not _faults_of(value, schema)


def _faults_of(value: JsonValue, schema: JsonObject) -> list[str]:
    unfit = _unfit(value)
    if unfit is not None:
        raise Unchecked(fault("", unfit))
    return Judgement(schema).faults(value, schema, "")


def first_of(faults: list[str]) -> list[str]:
    """As many faults as an error tells."""
    return faults if len(faults) <= FAULTS_MAX else [*faults[:FAULTS_MAX], "and more faults"]


def check_schema(schema: JsonObject) -> None:
    """Accept a schema for use with `problems_of`.

    Raises:
        InvalidInput: it asks for what is not understood here; `problems` lists all of that.
    """
    unfit = _unfit(schema)
    problems = list(_unsupported(schema)) if unfit is None else [_at("#", unfit)]
    if problems:
        raise InvalidInput(problems)


def _unfit(value: JsonValue) -> str | None:
    """What keeps a value from being looked at: too deep, or beyond JSON."""
    todo = [(value, 1)]
    while todo:
        node, depth = todo.pop()
        match node:
            case float() if not math.isfinite(node):
                return "holds NaN or Infinity, which is not JSON"
            case int() if node.bit_length() > INTEGER_BITS_MAX:
                return "holds an integer beyond what JSON's readers agree on"
            case list() | dict() if depth > NESTING_MAX:
                return f"nested deeper than {NESTING_MAX} levels"
            case list():
                todo.extend((inner, depth + 1) for inner in node)
            case dict():
                todo.extend((inner, depth + 1) for inner in node.values())
            case _:
                pass
    return None


class Judgement:
    """One judgement: every reference is followed once for each place in the value."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._known: dict[tuple[str, str], list[str]] = {}
        self._depth = 0

    def faults(self, value: JsonValue, schema: JsonValue, at: str) -> list[str]:
        """See `Walk`."""
        if not isinstance(schema, dict):
            return [] if schema is True else [fault(at, "nothing is allowed here")]
        if self._depth == CHECKS_DEEP_MAX:
            raise Unchecked(fault(at, "schemas within schemas, too deep to be checked"))
        self._depth += 1
        here = Here(self, value, schema, at)
        faults: list[str] = []
        for name, wanted in schema.items():
            if name in KEYWORDS:
                faults += KEYWORDS[name].check(here, wanted)
        self._depth -= 1
        return faults

    def fits(self, value: JsonValue, schema: JsonValue, at: str) -> bool:
        """Whether the value at that place fits; not if nobody can tell."""
        depth = self._depth
        try:
            return not self.faults(value, schema, at)
        except Unchecked:
            self._depth = depth
            return False

    def referred(self, value: JsonValue, ref: str, at: str) -> list[str]:
        """See `Walk`."""
        # Without the memory, alternatives that refer to themselves take exponential time.
        known = self._known.get((at, ref))
        if known is None:
            known = self._known[at, ref] = self.faults(value, target_of(self._root, ref), at)
        return known


def target_of(root: JsonValue, ref: str) -> JsonValue:
    """What a reference points at; None if at nothing, since null is no schema."""
    if ref != "#" and not ref.startswith("#/"):
        return None
    node = root
    for step in unquote(ref).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list) and _is_index(name) and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node


def _is_index(name: str) -> bool:
    """Whether a step of a pointer is a place in an array; Python reads no longer numbers."""
    return name.isascii() and name.isdecimal() and len(name) <= _INDEX_DIGITS_MAX


# --- is a schema in the subset? ------------------------------------------------------


def _unsupported(root: JsonObject) -> Iterator[str]:
    """What is not understood, outer schemas first."""
    todo: deque[Located] = deque([("#", root)])
    refs: dict[str, JsonValue] = {}
    while todo:
        at, schema = todo.popleft()
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict):
            yield _at(at, "a schema is an object, true or false")
            continue
        yield from _unknown(at, schema)
        for name, wanted in schema.items():
            keyword = KEYWORDS.get(name)
            if keyword is not None and not keyword.shape.accepts(wanted):
                yield _at(at, f"{name} must be {keyword.shape.name}")
            elif keyword is not None:
                todo += [(f"{at}/{name}{to}", sub) for to, sub in keyword.shape.inner(wanted)]
        ref = schema.get("$ref")
        if isinstance(ref, str) and ref not in refs:
            refs[ref] = target_of(root, ref)
            if refs[ref] is None:
                yield _at(at, f"$ref {quote(ref)} leads nowhere in this schema")
            else:
                todo.append((ref, refs[ref]))
    yield from _circles(refs)


def _unknown(at: str, schema: JsonObject) -> Iterator[str]:
    for name in schema:
        if name not in KEYWORDS and name not in ANNOTATIONS and not name.startswith("x-"):
            yield _at(at, f"keyword {quote(name)} is not supported")


def _circles(refs: dict[str, JsonValue]) -> Iterator[str]:
    """References that lead back to themselves without going into the value."""
    try:
        TopologicalSorter({ref: set(_followed(to)) for ref, to in refs.items()}).prepare()
    except CycleError as error:
        yield _at("#", f"$ref goes round in a circle: {quote(error.args[1])}")


def _followed(schema: JsonValue) -> Iterator[str]:
    """The references that judge the same value as the schema does."""
    if not isinstance(schema, dict):
        return
    if isinstance(ref := schema.get("$ref"), str):
        yield ref
    for name in ("allOf", "anyOf", "oneOf"):
        for alternative in as_list(schema.get(name)):
            yield from _followed(alternative)
    yield from _followed(schema.get("not"))


def _at(at: str, what: str) -> str:
    return f"schema {fault(at, what)}"
