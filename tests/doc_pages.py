"""The code that a page of the documentation shows, as its reader has it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Curl:
    """What a command of curl asks for, of which a page shows these options."""

    method: str = "GET"
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: str | None = None
    #: Whether it shows a stream as that comes (`-N`).
    streams: bool = False

    @classmethod
    def of(cls, words: Sequence[str]) -> "Curl":
        """The command's words, without its name."""
        asked = cls()
        given = iter(words)
        for word in given:
            match word:
                case "-X":
                    asked.method = next(given)
                case "-H":
                    name, _, value = next(given).partition(": ")
                    asked.headers[name] = value
                case "-d":
                    asked.body = next(given)
                    asked.method = "POST" if asked.method == "GET" else asked.method
                case "-N" | "-s" | "-sN" | "-i":
                    asked.streams = asked.streams or "N" in word
                case _:
                    asked.url = word
        return asked
