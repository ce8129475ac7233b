"""Words for a terminal: what others wrote, so that it commands nothing, and lengths of time."""

from typing import Final

_DAY_S: Final = 86_400.0
_HOUR_S: Final = 3_600.0
_MINUTE_S: Final = 60.0


def clean(text: str) -> str:
    """Text of somebody else's on one line, without control characters: a terminal obeys them."""
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else "\ufffd" for c in text)


def span(seconds: float) -> str:
    """A length of time, as exact as anybody needs it."""
    for unit_s, name in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f} {name}"
    return f"{max(0.0, seconds):.0f} s"


def left(seconds: float) -> str:
    """How long it is until something, or since."""
    return f"in {span(seconds)}" if seconds >= 0 else f"{span(-seconds)} ago"
