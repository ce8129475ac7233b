"""What others wrote, made fit to be looked at: JSON as text, times, and nothing hidden in it.

Jinja escapes what goes into a page; here it is seen to that a reader is shown what is there.
A right-to-left override or a character of no width can make arguments look like others: it is
shown as its code.
"""

import difflib
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from interlock import JsonValue

#: Characters of one text on a page; what is longer is cut, and said to be.  What somebody
#: decides about is not: an agent could put anything behind the cut.
SHOWN_CHARS_MAX: Final = 20_000
#: Characters that change what others look like, or cannot be seen.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_PLAIN: Final = frozenset("\n\t")
#: What is looked up; the rest is nearly all of nearly every text.
_MAYBE_HIDDEN: Final = re.compile(r"[^\n\t -~]")
#: The last character with a code of four digits.
_BMP: Final = 0xFFFF

#: Lines of one side times lines of the other, for which the least difference is looked for:
#: that takes time by the cube of them, and nobody else is served meanwhile.
_COMPARED_MAX: Final = 300 * 300

Change: TypeAlias = Literal["same", "gone", "new"]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a difference, and what becomes of it."""

    change: Change
    text: str


def whole(text: str) -> str:
    """All of a text, with what nobody could see in it as its code (U+202E: `202e`, escaped)."""
    return _MAYBE_HIDDEN.sub(_visible, text)


def shown(text: str) -> str:
    """The same, but for what is too long to be read: nobody decides by that."""
    left = len(text) - SHOWN_CHARS_MAX
    cut = whole(text[:SHOWN_CHARS_MAX])
    return cut if left <= 0 else f"{cut}… ({left:,} characters more)"


def _visible(found: re.Match[str]) -> str:
    char = found[0]
    if char in _PLAIN or unicodedata.category(char) not in _HIDDEN:
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= _BMP else f"\\U{ord(char):08x}"


def json_text(value: JsonValue) -> str:
    """JSON on several lines, as it would be typed in."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def shown_json(value: JsonValue) -> str:
    """JSON to be looked at."""
    return shown(json_text(value))


def time_text(at: float) -> str:
    """A time of day in UTC, for people."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at:g} s"


def time_iso(at: float) -> str:
    """The same for a `datetime` attribute; empty for what no calendar has."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return ""


def web_url(url: str) -> str | None:
    """The URL if a browser may be sent there: http or https to a named host."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname)
    except ValueError:
        return None
    plain = url.isascii() and url.isprintable() and " " not in url
    return url if plain and named and parts.scheme in {"http", "https"} else None


def difference(asked: JsonValue, final: JsonValue) -> list[DiffLine]:
    """Line by line what was asked and what is to run; empty if that is the same."""
    # In one order: which came first in an object says nothing.
    before, after = (
        json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).split("\n")
        for value in (asked, final)
    )
    return [] if before == after else list(_lines(before, after))


def _lines(before: list[str], after: list[str]) -> Iterator[DiffLine]:
    head = _same(before, after)
    tail = _same(before[head:][::-1], after[head:][::-1])
    a, b = before[head : len(before) - tail], after[head : len(after) - tail]
    yield from _all("same", before[:head])
    yield from _changed(a, b)
    yield from _all("same", before[len(before) - tail :])


def _changed(a: list[str], b: list[str]) -> Iterator[DiffLine]:
    """What lies between the first line that is different and the last."""
    if len(a) * len(b) <= _COMPARED_MAX:
        matcher = difflib.SequenceMatcher(a=a, b=b, autojunk=False)
        blocks = matcher.get_opcodes()
    elif len(a) == len(b):  # Values are other values: line by line.
        blocks = [
            ("equal" if a[n] == b[n] else "replace", n, n + 1, n, n + 1) for n in range(len(a))
        ]
    else:
        blocks = [("replace", 0, len(a), 0, len(b))]
    for what, a_at, a_end, b_at, b_end in blocks:
        if what == "equal":
            yield from _all("same", a[a_at:a_end])
            continue
        yield from _all("gone", a[a_at:a_end])
        yield from _all("new", b[b_at:b_end])


def _same(one: list[str], other: list[str]) -> int:
    """How many lines both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (x, y) in pairs if x != y), min(len(one), len(other)))


def _all(change: Change, lines: list[str]) -> Iterator[DiffLine]:
    return (DiffLine(change, whole(line)) for line in lines)
