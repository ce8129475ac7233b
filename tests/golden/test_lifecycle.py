"""The drawn lifecycle, checked in so that a diff shows what moved.  `make rewrite` redraws it.

Of the SVG only what it says is compared, and not where it stands: that is Graphviz's to decide,
and another version of it may decide otherwise.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from interlock import diagram
from interlock._machine import LIFECYCLE
from interlock._phases import Phase

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
SVG: Final = ROOT / "docs/img/lifecycle.svg"
PNG: Final = ROOT / "docs/img/lifecycle.png"
MARKED: Final = re.compile("(?<=<!-- lifecycle -->\n).*?(?=<!-- /lifecycle -->)", re.DOTALL)
PLACE: Final = re.compile(r' (?:x|y|cx|cy|r|d|width|height|viewBox)="[^"]*"')


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("lifecycle.mmd", diagram.mermaid),
        ("lifecycle.dot", diagram.dot),
        ("lifecycle.puml", diagram.plantuml),
    ],
)
def test_the_diagram_in_the_specs_shows_the_table(
    name: str, draw: Callable[[diagram.Declared], str]
) -> None:
    """The picture, the docs and the code come from one table.  Source: R-PIC-03."""
    path = ROOT / "specs" / name
    if os.environ.get("REWRITE"):
        path.write_text(draw(LIFECYCLE), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == draw(LIFECYCLE)


def test_the_diagram_in_the_readme_is_that_of_the_specs() -> None:
    """Between the two markers, as a block that forges draw.  Source: R-PIC-03."""
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    assert "<!-- lifecycle -->" in text
    block = f"```mermaid\n{diagram.mermaid(LIFECYCLE)}```\n"
    if os.environ.get("REWRITE"):
        text = MARKED.sub(lambda _: block, text)
        README.write_text(text, encoding="utf-8")
    assert MARKED.findall(text) == [block]


def test_the_picture_in_the_docs_says_what_the_table_says() -> None:
    """All but the places; the PNG beside it is not compared.  Source: R-PIC-03."""
    drawn = diagram.svg(LIFECYCLE)
    if os.environ.get("REWRITE"):
        SVG.write_text(drawn, encoding="utf-8")
        PNG.write_bytes(diagram.png(LIFECYCLE))
    assert PLACE.sub("", SVG.read_text(encoding="utf-8")) == PLACE.sub("", drawn)
    assert PNG.read_bytes().startswith(b"\x89PNG")


def test_the_simple_picture_in_the_docs_says_what_the_table_says() -> None:
    """A lifecycle of one's own, as an agent sees it that asks one thing at a time: R-PIC-20."""
    payment = Phase.further("waiting_payment", like=Phase.WAITING_INPUT)
    simple = diagram.simplified(LIFECYCLE.extend(payment))
    drawn = diagram.svg(simple, diagram.Look("The life of an order"))
    path = ROOT / "docs/img/simple.svg"
    if os.environ.get("REWRITE"):
        path.write_text(drawn, encoding="utf-8")
    assert PLACE.sub("", path.read_text(encoding="utf-8")) == PLACE.sub("", drawn)
