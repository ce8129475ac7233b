"""Colours of a terminal, and whether to use them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TextIO


@dataclass(frozen=True, slots=True)
class Ink:
    """How a piece of text looks; call it with the text."""

    #: The numbers of an SGR sequence, with semicolons.
    code: str

    def __call__(self, text: str) -> str:
        """The text in this ink; blanks stay blanks."""
        return f"\x1b[{self.code}m{text}\x1b[0m" if text.strip() else text


PLAIN: Final = Ink("0")
BOLD: Final = Ink("1")
DIM: Final = Ink("2")
GREEN: Final = Ink("1;32")
YELLOW: Final = Ink("1;33")
RED: Final = Ink("1;31")
CYAN: Final = Ink("36")


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream is a terminal whose user has not asked for plain text."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
