"""What others wrote, made fit to be looked at: JSON as text, times, and nothing hidden in it.

Jinja escapes what goes into a page; here it is seen to that a reader is shown what is there.
A right-to-left override or a character of no width can make arguments look like others: it is
shown as its code.
"""

import difflib
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from interlock import JsonValue

#: Characters of one text on a page; what is longer is cut, and said to be.
SHOWN_CHARS_MAX: Final = 20_000
#: Characters that change what others look like, or cannot be seen.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_PLAIN: Final = frozenset("\n\t")
#: The last character with a code of four digits.
_BMP: Final = 0xFFFF

Change: TypeAlias = Literal["same", "gone", "new"]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a difference, and what becomes of it."""

    change: Change
    text: str


def shown(text: str) -> str:
    """Text as it is, with what nobody could see in it as its code (U+202E: `202e`, escaped)."""
    cut = text[:SHOWN_CHARS_MAX]
    if not cut.isascii() or not cut.isprintable():
        cut = "".join(map(_visible, cut))
    left = len(text) - SHOWN_CHARS_MAX
    return cut if left <= 0 else f"{cut}… ({left:,} characters more)"


def _visible(char: str) -> str:
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
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for what, a, a_end, b, b_end in matcher.get_opcodes():
        if what == "equal":
            yield from (DiffLine("same", shown(line)) for line in before[a:a_end])
            continue
        yield from (DiffLine("gone", shown(line)) for line in before[a:a_end])
        yield from (DiffLine("new", shown(line)) for line in after[b:b_end])
