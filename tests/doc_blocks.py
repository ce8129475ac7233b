"""The blocks of code on a page of Markdown, where they are, and which of them nobody runs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

#: What says, right before a block, that no test runs it, and why.
NOT_RUN: Final = re.compile(r"\A\s*<!--\s*not run:\s*(.*?)\s*-->\s*\Z", re.DOTALL)
_NAME: Final = re.compile(r"\A# ([\w./-]+\.\w+)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code."""

    page: Path
    #: The number of its first line of code, from 1.
    line: int
    #: The word after the fence; nothing for one that is only indented.
    language: str
    text: str
    #: Why it is not run; None if it is.
    reason: str | None

    @property
    def place(self) -> str:
        """Where a reader finds it."""
        return f"{self.page.name}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name of the file that it is, if its first line says so."""
        named = _NAME.match(self.text)
        return None if named is None else named[1]


def blocks_on(page: Path) -> Iterator[Block]:
    """The blocks of a page in order; directives of MyST are no code."""
    before = ""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type in {"fence", "code_block"} and not token.info.startswith("{"):
            assert token.map is not None
            said = NOT_RUN.match(before)
            language = token.info.split()[0] if token.info.split() else ""
            line = token.map[0] + 1 + (token.type == "fence")
            yield Block(page, line, language, token.content, said[1] if said else None)
        before = token.content if token.type == "html_block" else ""
