"""The code that a page of the documentation shows, as its reader has it."""

import re
from collections.abc import Sequence
from pathlib import Path


def blocks_of(page: str, language: str) -> list[str]:
    """The code of a language, in the order of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def written(blocks: Sequence[str], folder: Path) -> list[str]:
    """Write files whose first lines are their names in a comment; gives the names."""
    names: list[str] = []
    for block in blocks:
        name, _, code = block.removeprefix("# ").partition("\n")
        (folder / name).write_text(code)
        names.append(name)
    return names
