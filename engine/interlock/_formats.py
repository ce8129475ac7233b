"""What a text may have to look like: the formats that are checked, and patterns."""

import re
from collections.abc import Callable
from datetime import date, datetime, time
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

#: Characters of a text that a pattern is run on: bounds what a slow pattern can cost.
PATTERN_CHARS_MAX: Final = 10_000

_DATE: Final = r"\d{4}-\d\d-\d\d"
_TIME: Final = r"\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?"


def _shaped(shape: str, parse: Callable[[str], object] = str) -> Callable[[str], bool]:
    """Texts of a shape that can also be parsed."""
    pattern = re.compile(shape, re.ASCII | re.IGNORECASE)

    def is_one(text: str) -> bool:
        if len(text) > PATTERN_CHARS_MAX or pattern.fullmatch(text) is None:
            return False
        try:
            parse(text.upper())
        except ValueError:
            return False
        return True

    return is_one


#: The formats that are checked; any other is an annotation.
FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "date": _shaped(_DATE, date.fromisoformat),
    "date-time": _shaped(f"{_DATE}[T ]{_TIME}", datetime.fromisoformat),
    "time": _shaped(_TIME, time.fromisoformat),
    "email": _shaped(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)*"),
    "uri": _shaped(r"[a-z][a-z0-9+.-]*:[^\s<>\"{}|\\^`]*"),
    "uuid": _shaped(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"),
    "ipv4": _shaped(r"[0-9.]+", IPv4Address),
    "ipv6": _shaped(r"[0-9a-f:.]+", IPv6Address),
}


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """A schema's pattern as Python's, but a final `$` is the very end of the text.

    To Python it also matches before a last newline, which no author of a schema expects.
    """
    body = pattern.removesuffix("$")
    escaped = (len(body) - len(body.rstrip("\\"))) % 2 == 1
    return re.compile(pattern if escaped or body == pattern else f"{body}\\Z")
