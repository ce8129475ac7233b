"""What is written on a picture, broken into lines, and how much room that takes.

Sizes are computed here and not by whoever draws: a picture laid out by the fonts of one
machine would be another one on the next.
"""

import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from interlock.diagram._picture import Arrow, Box, Clause

#: What a piece of text is: each has a font of its own.
Kind: TypeAlias = Literal["name", "trigger", "condition", "effect", "note"]


class Span(NamedTuple):
    """Some text in one font."""

    kind: Kind
    text: str


#: What stands on one line.
Line: TypeAlias = tuple[Span, ...]

#: Longer lines are broken: labels that are wider than the boxes cover each other.
LINE_CHARS_MAX: Final = 32
#: Points; `SIZE_PT` of the letters, `LINE_PT` from one line to the next.
SIZE_PT: Final[dict[Kind, float]] = {
    "name": 15,
    "trigger": 11.5,
    "condition": 11.5,
    "effect": 10.5,
    "note": 11.5,
}
LINE_PT: Final = 14.0
NAME_LINE_PT: Final = 20.0

_NARROW: Final = frozenset("iljtfrI.,:;'|![]()/ -`")
_WIDE: Final = frozenset("mwMW@%+")
_EM_NARROW, _EM_WIDE, _EM_CAPITAL, _EM_USUAL, _EM_SYMBOL = 0.39, 0.92, 0.75, 0.62, 1.1
_BOLD: Final = 1.12
_BETWEEN_SPANS_PT: Final = 4.5


def lines_of(clauses: Sequence[Clause], note: str = "") -> list[Line]:
    """A label: the clauses, what all of them do said once at the end, and a note."""
    effects = dict.fromkeys(clause.effects for clause in clauses)
    lines: list[Line] = []
    for clause in clauses:
        own = clause.effects if len(effects) > 1 else ()
        lines += _flowed(_spans(clause, own))
    if len(effects) == 1:
        (shared,) = effects
        lines += _flowed([Span("effect", text) for text in _listed("/ ", shared)])
    lines += [(Span("note", text),) for text in _wrapped(note)]
    return lines


def lines_of_arrow(arrow: Arrow, note: str = "") -> list[Line]:
    """What is written beside an arrow."""
    return lines_of(arrow.clauses, note)


def lines_of_box(box: Box, note: str = "") -> list[Line]:
    """What is written in a box; the first line is the name of the phase."""
    return [(Span("name", box.name),), *lines_of(box.stays, note)]


def lines_of_caption(title: str, legend: Sequence[str]) -> list[Line]:
    """What stands under the picture."""
    lines: list[Line] = [(Span("name", title),)]
    return lines + [(Span("effect", text),) for text in legend]


def plain(line: Line) -> str:
    """The line without its fonts."""
    return " ".join(span.text for span in line)


def width_pt(lines: Iterable[Line]) -> float:
    """How wide the widest line is in a font that is wider than most."""
    return max(map(_line_width_pt, lines), default=0.0)


def height_pt(lines: Iterable[Line]) -> float:
    """How high all lines are."""
    return sum(line_pt(line) for line in lines)


def line_pt(line: Line) -> float:
    """How high one line is."""
    return NAME_LINE_PT if line[0].kind == "name" else LINE_PT


def _line_width_pt(line: Line) -> float:
    return sum(map(_span_pt, line)) + _BETWEEN_SPANS_PT * (len(line) - 1)


def _span_pt(span: Span) -> float:
    width = SIZE_PT[span.kind] * sum(map(_em, span.text))
    return width * _BOLD if span.kind in {"name", "note"} else width


def _em(sign: str) -> float:
    if sign in _NARROW:
        return _EM_NARROW
    if sign in _WIDE:
        return _EM_WIDE
    wide = unicodedata.east_asian_width(sign) in {"W", "F", "A"}
    if wide or not (sign.isascii() or sign.isalnum()):
        return _EM_SYMBOL
    return _EM_CAPITAL if sign.isupper() else _EM_USUAL


def _spans(clause: Clause, effects: Sequence[str]) -> Iterator[Span]:
    for text in _listed("", clause.triggers):
        yield Span("trigger", text)
    if clause.condition:
        for text in _wrapped(f"[{clause.condition}]"):
            yield Span("condition", text)
    for text in _listed("/ ", effects):
        yield Span("effect", text)


def _flowed(spans: Iterable[Span]) -> Iterator[Line]:
    """As many on a line as fit."""
    line: list[Span] = []
    for span in spans:
        if line and len(plain((*line, span))) > LINE_CHARS_MAX:
            yield tuple(line)
            line = []
        line.append(span)
    if line:
        yield tuple(line)


def _listed(before: str, words: Sequence[str]) -> list[str]:
    """Words with commas between, broken after one; never within."""
    lines: list[str] = []
    for index, word in enumerate(words):
        said = word + ("," if index < len(words) - 1 else "")
        if lines and len(lines[-1]) + 1 + len(said) <= LINE_CHARS_MAX:
            lines[-1] += f" {said}"
        else:
            lines.append(said if lines else before + said)
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, LINE_CHARS_MAX, break_long_words=False, break_on_hyphens=False)
