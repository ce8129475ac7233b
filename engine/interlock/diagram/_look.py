"""How a picture looks: what differs from the neutral drawing, by the id of a box or an arrow.

A layer (one task's path, what tests covered) is a `Look` on the same picture: nothing moves.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_COLOUR: Final = re.compile("#[0-9a-f]{6}")
_KIND: Final = re.compile("[a-z][a-z0-9-]*")
#: Points; beyond it an arrow hides what is under it.
WIDTH_PT_MAX: Final = 12.0


@dataclass(frozen=True, slots=True)
class Style:
    """How one box or arrow differs from the others.

    Raises:
        ValueError: a colour is not `#rrggbb` in small letters, the width is not within 0 and 12
            points, or the kind is no plain word.
    """

    #: Of the line, `#rrggbb`; "" for the usual one.
    colour: str = ""
    #: Of a box, inside.
    fill: str = ""
    #: Of the line, in points.
    width: float | None = None
    dashed: bool = False
    #: Drawn, but in the background.
    faint: bool = False
    #: A line of its own under the rest of the label.
    note: str = ""
    #: A class of the element in the SVG, beside its usual ones: `taken`, `never`.
    kind: str = ""

    @property
    def is_usual(self) -> bool:
        """Whether it is drawn as without a style, but for a note."""
        said = (self.colour, self.fill, self.width, self.dashed, self.faint)
        return said == ("", "", None, False, False)

    def __post_init__(self) -> None:
        for colour in (self.colour, self.fill):
            if colour and not _COLOUR.fullmatch(colour):
                raise ValueError(f"{colour!r} is no colour: #rrggbb, in small letters")
        if self.width is not None and not 0 < self.width <= WIDTH_PT_MAX:
            raise ValueError(f"a line is up to {WIDTH_PT_MAX:g} points wide, not {self.width!r}")
        if self.kind and not _KIND.fullmatch(self.kind):
            raise ValueError(f"{self.kind!r} is no kind: small letters, digits and hyphens")


@dataclass(frozen=True, slots=True)
class Look:
    """A style for some boxes and arrows, another for all the rest, and a title."""

    title: str = "The life of a task"
    #: By the id of a box or an arrow (`state-running`, `edge-running-completed`).
    styles: Mapping[str, Style] = field(default_factory=dict[str, Style])
    rest: Style = Style()

    def of(self, name: str) -> Style:
        """The style of the box or arrow with that id."""
        return self.styles.get(name, self.rest)


NEUTRAL: Final = Look()
