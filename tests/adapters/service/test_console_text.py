"""What others wrote, made fit to be looked at.  R-SVC-78; T6, T22."""

from collections.abc import Iterable
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from interlock import JsonObject, JsonValue
from interlock_adapters.console._text import SHOWN_CHARS_MAX, difference, json_text, shown, whole

#: Few different ones, so that there is much that might be the same.
DIGITS: Final = st.lists(st.integers(0, 3), max_size=40)
#: Values in a body, at most.
MANY: Final = 20_000


def numbers(given: Iterable[int]) -> JsonObject:
    """An object with a list of them."""
    listed: list[JsonValue] = [*given]
    return {"x": listed}


@given(DIGITS, DIGITS, st.integers(1, 20))
def test_a_difference_has_all_of_both_sides(one: list[int], other: list[int], times: int) -> None:
    """In their order, nothing twice, also where it is too much to be compared in full."""
    before, after = numbers(one * times), numbers(other * times)
    lines = difference(before, after)
    if before == after:
        assert lines == []
        return
    gone = [line.text for line in lines if line.change != "new"]
    new = [line.text for line in lines if line.change != "gone"]
    assert (gone, new) == (json_text(before).split("\n"), json_text(after).split("\n"))


def test_a_difference_of_very_much_is_worked_out_at_once() -> None:
    """Repeated lines took the cube of their number.  Source: T22; a stranger's review."""
    before, after = numbers(n % 7 for n in range(MANY)), numbers(n * 3 % 7 for n in range(MANY))
    lines = difference(before, after)
    assert sum(line.change == "same" for line in lines) >= MANY // 7
    other = difference(before, numbers(n * 3 % 7 for n in range(MANY - 1)))
    assert len(other) > MANY


def test_values_that_are_edited_in_place_are_found_one_by_one() -> None:
    """Wherever they are, and however much is between them."""
    before, after = numbers(range(MANY)), numbers([-1, *range(1, MANY - 1), -2])
    changed = [line for line in difference(before, after) if line.change != "same"]
    assert [(line.change, line.text.strip().rstrip(",")) for line in changed] == [
        ("gone", "0"),
        ("new", "-1"),
        ("gone", str(MANY - 1)),
        ("new", "-2"),
    ]


def test_what_is_compared_is_not_cut() -> None:
    """Two texts that differ far behind would look the same.  Source: T6."""
    text = "x" * 2 * SHOWN_CHARS_MAX
    (gone, new) = (
        line.text
        for line in difference({"a": f"{text}1"}, {"a": f"{text}2"})
        if line.change != "same"
    )
    assert (gone[-2:], new[-2:]) == ('1"', '2"')


def test_what_cannot_be_seen_is_shown_as_its_code() -> None:
    """In all of a text, which is only cut where nobody decides by it."""
    text = f"a\u202eb\t\n{'é' * SHOWN_CHARS_MAX}\U000e0001"
    assert whole(text) == f"a\\u202eb\t\n{'é' * SHOWN_CHARS_MAX}\\U000e0001"
    assert shown(text).endswith("(6 characters more)")
