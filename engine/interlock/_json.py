"""JSON at the border: what is stored is JSON, and what is approved has a digest."""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn, TypeGuard, cast

from pydantic import BaseModel

from interlock.errors import ResultInvalid
from interlock.models import JsonValue, Part

#: Levels of arrays and objects in one value: a store writes some 250, with what is around it.
NESTING_MAX: Final = 200

_TOO_DEEP: Final = f"nested deeper than {NESTING_MAX} levels"
#: Characters of the place of a fault, and of one name in it.
PLACE_CHARS_MAX: Final = 80
NAME_CHARS_MAX: Final = 40

#: Made once: `json.dumps` would make one for each value, which is a third of what it costs.
_canonical: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
).encode
#: The same of what is JSON for certain.
_digested: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False
).encode


def encoded(value: object, *, what: str, bytes_max: int) -> bytes:
    """The value as canonical JSON: sorted keys, no spaces, no NaN.

    Raises:
        ResultInvalid: it is not JSON, longer than `bytes_max`, or nested too deep.
    """
    try:
        encoded = _canonical(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        # Only the kind of fault, and its place: the value itself may hold a secret.
        fault = _fault_in(value) or type(error).__name__
        raise ResultInvalid(f"{what} {_is(what)} not JSON: {fault}") from None
    if len(encoded) > bytes_max:
        size = f"{len(encoded)} bytes of JSON; at most {bytes_max} fit"
        raise ResultInvalid(f"{what} {_is(what)} {size}")
    # Of what has fewer brackets than that nothing can be as deep: so nearly everything.
    if encoded.count(b"[") + encoded.count(b"{") > NESTING_MAX and not _is_flat(value):
        raise ResultInvalid(f"{what} {_is(what)} {_TOO_DEEP}, which is too deep")
    return encoded


def _is(what: str) -> str:
    return "are" if what.startswith("the arguments") else "is"


def _fault_in(value: object) -> str | None:
    """The first thing in a value that is not JSON, by its type and its place; None: not found."""
    todo = [iter([("", 0, value)])]
    while todo:
        if (found := next(todo[-1], None)) is None:
            todo.pop()
            continue
        at, depth, one = found
        fault = _TOO_DEEP if depth >= NESTING_MAX and _is_container(one) else _fault_of(one)
        if fault is not None:
            return f"at {at}: {fault}" if at else fault
        todo.append(_inside(at, depth, one))
    return None


def _inside(at: str, depth: int, one: object) -> Iterator[tuple[str, int, object]]:
    """What a value holds, each with its place."""
    match one:
        case dict():
            inner: Iterable[tuple[object, object]] = cast("dict[object, object]", one).items()
        case list() | tuple():
            inner = enumerate(cast("Sequence[object]", one))
        case _:
            inner = ()
    for key, value in inner:
        yield f"{at}/{_step(key)}"[:PLACE_CHARS_MAX], depth + 1, value


def _fault_of(one: object) -> str | None:
    """What keeps one value from being JSON, what is in it aside."""
    match one:
        case None | int():
            return None
        case float():
            return None if math.isfinite(one) else "NaN or Infinity"
        case str():
            return None if is_unicode(one) else "a text with half a character"
        case list() | tuple():
            return None
        case dict():
            return _fault_of_keys(cast("dict[object, object]", one))
        case _:
            return f"a value of type {type(one).__name__:.{NAME_CHARS_MAX}}"


def _fault_of_keys(keys: Iterable[object]) -> str | None:
    kinds: set[str] = set()
    for key in keys:
        if not isinstance(key, str | int | float | None):
            return f"a key of type {type(key).__name__:.{NAME_CHARS_MAX}}"
        if (fault := _fault_of(key)) is not None:
            return f"a key that is {fault}"
        kinds.add("text" if isinstance(key, str) else "null" if key is None else "number")
    return None if len(kinds) <= 1 else f"keys of several types ({', '.join(sorted(kinds))})"


def _step(key: object) -> str:
    """A place, if it is an index or has a name as fields have one: any other may be a secret."""
    match key:
        case str() if len(key) <= NAME_CHARS_MAX and key.isidentifier() and is_unicode(key):
            return key
        case int() if key.bit_length() < NAME_CHARS_MAX:
            return str(int(key))
        case _:
            return "?"


def is_unicode(text: str) -> bool:
    """Whether it is whole: half of a surrogate pair cannot be stored."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_finite(value: object) -> TypeGuard[float]:
    """Whether it is a number that a float can hold: a whole one may be beyond all of them."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def is_time(seconds: object) -> bool:
    """Whether a deadline can be made of it."""
    return is_finite(seconds) and seconds > 0


def _is_flat(value: object) -> bool:
    """Whether a value that is JSON has no more levels than a store can write."""
    level = [value]
    for _ in range(NESTING_MAX):
        level = [inner for outer in level for inner in _containers_in(outer)]
    return not level


def _is_container(one: object) -> bool:
    return isinstance(one, dict | list | tuple)


def _containers_in(value: object) -> Iterator[object]:
    match value:
        case dict():
            inner: Iterable[object] = cast("dict[str, object]", value).values()
        case list() | tuple():
            inner = cast("Sequence[object]", value)
        case _:
            inner = ()
    yield from (one for one in inner if _is_container(one))


def own_copy(value: object, *, what: str, bytes_max: int) -> JsonValue:
    """A copy that nobody else holds, as JSON has it (tuples are lists, keys are text).

    Raises:
        ResultInvalid: as for `encoded`.
    """
    # As text, since of bytes it would be asked first in which of five ways they are one.
    copy: JsonValue = json.loads(encoded(value, what=what, bytes_max=bytes_max).decode())
    return copy


def copied(value: JsonValue) -> JsonValue:
    """A copy that nobody else holds, of what is JSON already."""
    if isinstance(value, dict):
        return {name: copied(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner) for inner in value]
    return value


def _refused(value: object, *_given: object, **_named: object) -> NoReturn:
    kind = "object" if isinstance(value, dict) else "array"
    raise TypeError(f"this {kind} is a task's own and cannot be changed: copy.deepcopy() it first")


def _thawed(value: "_FrozenDict | _FrozenList") -> tuple[object, ...]:
    """How `copy` and `pickle` make another one: an ordinary one.  A deep copy is all one's own."""
    return (dict, (dict(value),)) if isinstance(value, dict) else (list, ([*value],))


#: The type checkers would want each of these with the signature of what cannot be called.
_CANNOT: Final[Any] = _refused
_COPIED: Final[Any] = _thawed


class _FrozenDict(dict[str, JsonValue]):
    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _CANNOT
    __reduce__ = _COPIED


class _FrozenList(list[JsonValue]):
    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = clear = extend = _CANNOT
    insert = pop = remove = reverse = sort = _CANNOT
    __reduce__ = _COPIED


def frozen(value: JsonValue) -> JsonValue:
    """The same JSON, which raises TypeError when anybody changes it.  A deep copy of it can be.

    Of what is shown to many and acted on later: who masks a field of it for a page would
    change what runs.
    """
    match value:
        case _FrozenDict() | _FrozenList():
            return value
        case dict():
            return _FrozenDict({name: frozen(inner) for name, inner in value.items()})
        case list():
            return _FrozenList([frozen(inner) for inner in value])
        case _:
            return value


def dumped(value: Any) -> Any:
    """The value with every model in it as JSON; what else has no JSON is left to be refused.

    Not `to_jsonable_python`: that would take bytes and sets, and call them text and lists.
    """
    match value:
        case Part():
            return value.to_json()
        case BaseModel():
            return value.model_dump(mode="json")
        case dict():
            items = cast("dict[object, object]", value).items()
            return {key: dumped(inner) for key, inner in items}
        case list() | tuple():
            return [dumped(inner) for inner in cast("Sequence[object]", value)]
        case _:
            return value


def is_small(values: Iterable[object], chars_max: int) -> bool:
    """Whether JSON values have no more text, and no more of anything else, than so many signs."""
    left = chars_max
    todo = [*values]
    while todo and left >= 0:
        value = todo.pop()
        match value:
            case str():
                left -= len(value)
            case dict():
                inner = cast("dict[str, object]", value)
                todo += inner.keys()
                todo += inner.values()
            case list() | tuple():
                todo += cast("Sequence[object]", value)
            case int():
                left -= value.bit_length() // 3  # As many digits, more or less.
            case _:
                pass
        left -= 8  # What any value costs, however short.
    return left >= 0


def storable(text: str, chars_max: int) -> str:
    """The beginning of a text, with a question mark for each half of a character."""
    return text[:chars_max].encode(errors="replace").decode()


def same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two JSON values have the same digest: to Python True is 1, to a tool it is not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is not type(other):
        return False
    # A float as it is written: 0.0 is not -0.0.
    return repr(one) == repr(other) if isinstance(one, float) else one == other


def digest(value: object) -> str:
    """32 hexadecimal digits that stand for the value; the value must be JSON."""
    return fingerprint(_digested(value).encode())


def fingerprint(canonical: bytes) -> str:
    """The digest of a value that is canonical JSON already (see `encoded`)."""
    return hashlib.sha256(canonical).hexdigest()[:32]
