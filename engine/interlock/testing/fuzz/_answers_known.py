"""Values that a service itself names: the bounds of its schemas, and the numbers of its code.

A threshold is crossed by chance only where it is near; so a value just below each, at it and just
above is among the answers (the dictionary of other fuzzers).
"""

import functools
import inspect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final, cast

from interlock._json import is_finite
from interlock._local_tools import LocalTools
from interlock._toolbox import Toolbox
from interlock.models import JsonObject, JsonValue
from interlock.policy import When
from interlock.testing.fuzz._answers_pattern import matching
from interlock.testing.fuzz._tape import Tape

#: So many numbers, and so many texts, are kept of one service: more would each be tried too seldom.
_KEPT_MAX: Final = 48
#: A longer text is not made of the length that a schema names.
_LENGTH_MAX: Final = 2_000
_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_LENGTHS: Final = frozenset({"minLength", "maxLength"})
_VALUES: Final = frozenset({"const", "default"})
_LISTS: Final = frozenset({"enum", "examples"})


@dataclass(frozen=True, slots=True)
class Known:
    """Numbers and texts, in the order in which they were found."""

    numbers: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()


def known_of(schemas: Iterable[JsonValue], codes: Iterable[CodeType] = ()) -> Known:
    """What schemas name, and the numbers that are written in code."""
    numbers: dict[float, None] = {}
    texts: dict[str, None] = {}
    for schema in schemas:
        for value in _named(schema):
            if isinstance(value, str):
                texts[value] = None
            else:
                numbers.update(dict.fromkeys(_around(value)))
    for code in codes:
        for value in _written(code):
            numbers.update(dict.fromkeys(_around(value)))
    return Known(tuple(numbers)[:_KEPT_MAX], tuple(texts)[:_KEPT_MAX])


def known_in(tools: Toolbox | None, agents: Iterable[object]) -> Known:
    """What a service's policies, tools and agents name."""
    schemas: list[JsonValue] = []
    functions: list[object] = []
    for policy in () if tools is None else tools.policies.rules.values():
        if isinstance(policy.confirm, When):
            schemas.append(policy.confirm.when)
        elif callable(policy.confirm):
            functions.append(policy.confirm)
        schemas += [wanted.form for wanted in policy.required_inputs]
    for source in () if tools is None else tools._sources.values():  # noqa: SLF001  nobody else asks
        if isinstance(source, LocalTools):  # Others may tell only when they are open.
            schemas += [tool.input_schema for tool in source.tools()]
            functions += [made._fn for made in source._functions.values()]  # noqa: SLF001  as above
    return known_of(schemas, _codes_of((*functions, *agents)))


def _codes_of(things: Iterable[object]) -> Iterator[CodeType]:
    for thing in things:
        inner: Any = inspect.unwrap(thing) if callable(thing) else thing
        while isinstance(inner, functools.partial):
            inner = inner.func  # pyright: ignore[reportUnknownMemberType]
        code = _code_of(inner)
        if isinstance(code, CodeType):
            yield code


def _code_of(thing: object) -> object:
    if (code := getattr(thing, "__code__", None)) is not None:
        return code
    # An instance that is called has its code on its class.
    return getattr(vars(type(thing)).get("__call__"), "__code__", None)


def _named(schema: JsonValue) -> Iterator[float | str]:
    """Every number and text that a schema bounds or lists."""
    left: list[JsonValue] = [schema]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node[::-1]
        elif isinstance(node, dict):
            yield from _of_keywords(node)
            left += list(node.values())[::-1]


def _of_keywords(node: JsonObject) -> Iterator[float | str]:
    for keyword, value in node.items():
        if keyword in _BOUNDS and is_finite(value):
            yield value
        elif keyword in _LENGTHS and isinstance(value, int) and value < _LENGTH_MAX:
            yield from ("a" * length for length in range(max(value - 1, 0), value + 2))
        elif keyword in _VALUES or keyword in _LISTS:
            every = value if keyword in _LISTS and isinstance(value, list) else [value]
            yield from (v for v in every if isinstance(v, str) or is_finite(v))
        elif keyword == "pattern" and isinstance(value, str):
            made = matching(value, Tape(given=()))
            yield from [] if made is None else [made]


def _written(code: CodeType) -> Iterator[float]:
    """The numbers in code, and in what it defines."""
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from _written(value)
        elif isinstance(value, tuple | frozenset):
            several = cast("Iterable[object]", value)
            yield from sorted(each for each in several if is_finite(each))
        elif is_finite(value):
            yield value


def _around(value: float) -> tuple[float, ...]:
    """It, and its neighbours; whole ones also of a number that is not whole."""
    if isinstance(value, int) or value.is_integer():
        whole = int(value)
        return (whole, whole - 1, whole + 1)
    return (value, math.floor(value), math.ceil(value), value - 0.01, value + 0.01)
