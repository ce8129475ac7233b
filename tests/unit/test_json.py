"""JSON at the border: canonical, bounded, copied, and never quoted in an error."""

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock._json import NESTING_MAX, digest, encoded, frozen, is_small, own_copy, same
from interlock.errors import ResultInvalid
from interlock.models import JsonValue

JSON: Final[st.SearchStrategy[JsonValue]] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, -0.0, 1.0, "", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)

CANARY = "sk-canary-7f3a"


class Secretive:
    """Not JSON; its text holds a secret."""

    def __repr__(self) -> str:
        """A text that must never be shown."""
        return CANARY


def endless() -> object:
    """A list that holds itself."""
    ring: list[object] = []
    ring.append(ring)
    return ring


def test_json_is_written_in_one_way_only() -> None:
    """Equal values have equal bytes, whatever the order in which they were built."""
    one = encoded({"b": [1, None], "a": "é"}, what="it", bytes_max=100)
    other = encoded({"a": "é", "b": [1, None]}, what="it", bytes_max=100)
    assert one == other == '{"a":"é","b":[1,null]}'.encode()


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, b"bytes", float("nan"), float("inf"), {"a": {"b": {3j}}}, "\ud800"],
)
def test_what_is_not_json_is_refused(value: object) -> None:
    """NaN, bytes, half a surrogate pair and foreign objects have no JSON.  Source: R-STORE-09."""
    with pytest.raises(ResultInvalid, match="the result is not JSON"):
        encoded(value, what="the result", bytes_max=100)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), "a value of type datetime"),
        ({"ok": 1, "when": [True, b""]}, "at /when/1: a value of type bytes"),
        ({"a": {"b": float("nan")}}, "at /a/b: NaN or Infinity"),
        (("x", {"a_b": "\ud800"}), "at /1/a_b: a text with half a character"),
        ({"a": {(1, 2): 1}}, "at /a: a key of type tuple"),
        ({"a": {1: 1, "b": 2}}, "at /a: keys of several types (number, text)"),
        ({"a": {None: 1, "b": 2}}, "at /a: keys of several types (null, text)"),
        ({"a": {float("inf"): 1}}, "at /a: a key that is NaN or Infinity"),
        ({"a": {"\ud800": 1}}, "at /a: a key that is a text with half a character"),
        ({"an address": {"x" * 41: b""}}, "at /?/?: a value of type bytes"),
        ({"x" * 40: {"y" * 40: {"z": b""}}}, f"at /{'x' * 40}/{'y' * 38}: a value of type bytes"),
        (type("T" * 99, (), {})(), f"a value of type {'T' * 40}"),
        ([10**5_000], "ValueError"),
        ({10**5_000: b""}, "at /?: a value of type bytes"),
    ],
)
def test_a_fault_is_told_by_its_type_and_its_place(value: object, fault: str) -> None:
    """Of a large value nobody finds it otherwise.  Source: ours, I38."""
    for what, said in (
        ("the result", "the result is"),
        ("the arguments of f", "the arguments of f are"),
    ):
        with pytest.raises(ResultInvalid) as caught:
            encoded(value, what=what, bytes_max=100)
        assert str(caught.value) == f"{said} not JSON: {fault}"


def test_a_value_without_an_end_is_refused() -> None:
    """A circle is a fault of the value, not of the interpreter."""
    with pytest.raises(ResultInvalid):
        encoded(endless(), what="the result", bytes_max=100)


def test_a_value_deeper_than_the_interpreter_goes_is_refused() -> None:
    """A bomb of brackets costs its sender an error, and us nothing."""
    bomb: list[object] = []
    for _ in range(200_000):
        bomb = [bomb]
    with pytest.raises(ResultInvalid):
        encoded(bomb, what="the result", bytes_max=10)


def test_the_levels_of_a_value_are_bounded() -> None:
    """A store writes no more of them, whatever the interpreter can.  Source: R-ENG-10."""
    deepest: JsonValue = [{"a": [], "b": 1}]
    for _ in range(NESTING_MAX - 3):
        deepest = [deepest, []]
    assert encoded(deepest, what="it", bytes_max=9_999)
    flat: list[JsonValue] = [{} for _ in range(NESTING_MAX)]
    assert encoded(flat, what="it", bytes_max=9_999)
    with pytest.raises(ResultInvalid, match=f"deeper than {NESTING_MAX} levels"):
        encoded([deepest], what="it", bytes_max=9_999)


def test_the_bound_is_on_bytes_and_inclusive() -> None:
    """Two characters may be four bytes.  Source: R-ENG-10."""
    assert encoded("éé", what="it", bytes_max=6) == '"éé"'.encode()
    with pytest.raises(ResultInvalid, match="it is 6 bytes of JSON; at most 5 fit"):
        encoded("éé", what="it", bytes_max=5)


def test_the_error_does_not_quote_the_value() -> None:
    """The value may hold a secret, and errors are shown.  Source: I38."""
    for value in ({"key": Secretive()}, {CANARY: float("nan")}, [CANARY, "\ud800"]):
        with pytest.raises(ResultInvalid) as caught:
            encoded(value, what="it", bytes_max=100)
        assert CANARY not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_an_own_copy_shares_nothing_with_the_value() -> None:
    """What was shown to an approver cannot be changed behind their back.  Source: I13."""
    value = {"to": ["bob"], "amount": 1}
    copy = own_copy(value, what="it", bytes_max=100)
    value["to"] = ["mallory"]
    assert copy == {"to": ["bob"], "amount": 1}


def test_an_own_copy_is_what_json_would_give_back() -> None:
    """Tuples become lists and keys become text now, not after a restart."""
    assert own_copy({1: (2, 3)}, what="it", bytes_max=100) == {"1": [2, 3]}


def test_an_own_copy_has_the_same_bounds() -> None:
    """A copy is no way round the size."""
    with pytest.raises(ResultInvalid):
        own_copy("long", what="it", bytes_max=3)


def test_a_digest_stands_for_the_value_and_not_for_its_order() -> None:
    """32 hexadecimal digits, equal for equal JSON and different for anything else."""
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert len(digest([])) == 32
    assert digest(["pay", {"amount": 1}]) != digest(["pay", {"amount": 1000}])


def test_a_digest_tells_one_from_true_and_from_one_point_nought() -> None:
    """To Python they are equal; to a tool they are not.  Source: I14."""
    assert len({digest(value) for value in ([1], [True], [1.0])}) == 3


@given(JSON, JSON)
def test_two_values_are_the_same_if_their_digests_are(one: JsonValue, other: JsonValue) -> None:
    """And a value is the same as its copy.  Source: I13."""
    assert same(one, other) == (digest(one) == digest(other))
    assert same(one, copy.deepcopy(one))


#: Alike to Python or to the eye, and yet not the same.
ALIKE: Final[list[tuple[JsonValue, JsonValue]]] = [
    ({"n": 1}, {"n": True}),
    ([1], [1.0]),
    ([[]], [{}]),
    ({"a": 1}, {"b": 1}),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_python_takes_for_equal_may_be_another_value(one: JsonValue, other: JsonValue) -> None:
    """One is not true, and an argument is as it is written.  Source: I13, I14."""
    assert not same(one, other)
    assert same([one, {"x": other}], [one, {"x": other}])


@pytest.mark.parametrize(
    ("value", "small"),
    [
        ({"a": ["x" * 50, None, True, 1.5, 7]}, True),
        ({"a": "x" * 200}, False),
        ({"x" * 200: 1}, False),
        ([[0]] * 30, False),
        (10**500, False),
        (("x", "y"), True),
    ],
)
def test_what_is_small_is_so_in_every_way(value: object, small: bool) -> None:  # noqa: FBT001
    """Many empty lists, a long key and a long number are memory too."""
    assert is_small([value], 200) is small


@given(JSON)
def test_what_is_frozen_is_the_same_json(value: JsonValue) -> None:
    """To everybody who only looks, and to whoever writes it down.  Source: I13."""
    cold = frozen(value)
    assert cold == value
    assert same(cold, value)
    assert frozen(cold) is cold
    assert digest(cold) == digest(value)
    assert repr(cold) == repr(value)
    for thawed in (copy.deepcopy(cold), pickle.loads(pickle.dumps(cold))):  # noqa: S301  ours
        assert type(thawed) is type(value)
        assert same(thawed, value)


CHANGES: Final[dict[str, Callable[[Any], object]]] = {
    "a value": lambda it: it.__setitem__("a", 2),
    "a value deep in it": lambda it: it["b"][1].update(c=4),
    "one that goes": lambda it: it.pop("a"),
    "one deleted": lambda it: it.__delitem__("a"),
    "all of them": lambda it: it.clear(),
    "one that is not there": lambda it: it.setdefault("x", 1),
    "the last": lambda it: it.popitem(),
    "merged": lambda it: it.__ior__({"a": 2}),
    "an element": lambda it: it["b"].__setitem__(0, 2),
    "one more": lambda it: it["b"].append(2),
    "several": lambda it: it["b"].extend([2]),
    "added": lambda it: it["b"].__iadd__([2]),
    "in between": lambda it: it["b"].insert(0, 2),
    "an order": lambda it: it["b"].reverse(),
    "sorted": lambda it: it["b"].sort(key=str),
    "taken out": lambda it: it["b"].remove(1),
    "an element that goes": lambda it: it["b"].pop(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_frozen_cannot_be_changed(change: str) -> None:
    """The error says what to do instead."""
    cold = frozen({"a": 1, "b": [1, {"c": 3}]})
    with pytest.raises(TypeError, match=r"copy\.deepcopy"):
        CHANGES[change](cold)
    assert cold == {"a": 1, "b": [1, {"c": 3}]}
    CHANGES[change](copy.deepcopy(cold))
