"""The drawn lifecycle, checked in so that a diff shows what moved.  `make rewrite` redraws it."""

import os
import re
from pathlib import Path
from typing import Final

from interlock._diagram import mermaid
from interlock._machine import LIFECYCLE

ROOT: Final = Path(__file__).parents[2]
DRAWN: Final = ROOT / "specs/lifecycle.mmd"
README: Final = ROOT / "README.md"
MARKED: Final = re.compile("(?<=<!-- lifecycle -->\n).*?(?=<!-- /lifecycle -->)", re.DOTALL)


def test_the_diagram_in_the_specs_shows_the_table() -> None:
    """The picture, the docs and the code come from one table and cannot differ."""
    if os.environ.get("REWRITE"):
        DRAWN.write_text(mermaid(LIFECYCLE), encoding="utf-8")
    assert DRAWN.read_text(encoding="utf-8") == mermaid(LIFECYCLE)


def test_the_diagram_in_the_readme_is_that_of_the_specs() -> None:
    """Between the two markers, as a block that forges draw."""
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    assert "<!-- lifecycle -->" in text
    block = f"```mermaid\n{mermaid(LIFECYCLE)}```\n"
    if os.environ.get("REWRITE"):
        text = MARKED.sub(lambda _: block, text)
        README.write_text(text, encoding="utf-8")
    assert MARKED.findall(text) == [block]
