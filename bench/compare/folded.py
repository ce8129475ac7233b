"""What other benches found of a peer, and are not asked again: their files, with date and load."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench._report import RESULTS, Table

_HINT: Final = {"peer": "make bench-peer", "mcp": "make bench-mcp"}


class Folded(NamedTuple):
    """A table of another bench, and where it is from."""

    name: str
    said: str
    table: Table


def folded(folder: Path = RESULTS) -> list[Folded]:
    """Of the benches whose findings are there; one that is not is named."""
    made: list[Folded] = []
    for name, title in (
        ("peer", "agent-runtime-sdk, both halves on smolagents with the same scripted model"),
        ("mcp", "fastmcp-tasks, with both clients"),
        ("durable", "Durable tasks a second beside the floor"),
        ("parked", "100,000 parked"),
    ):
        file = folder / f"{name}.json"
        if not file.exists():
            hint = _HINT.get(name, f"python -m bench.{name}")
            made.append(Folded(name, f"not measured here yet: `{hint}`", Table(title, ("",), [])))
            continue
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        machine = found["machine"]
        when = f"{machine['date']}, load {machine['load']}, Python {machine['Python']}"
        said = f"`bench/results/{name}.md`: {when}"
        for table in found["tables"][: 2 if name == "durable" else 1]:
            rows = [tuple(row) for row in table["rows"]]
            heading = f"{title}: {table['title']}"
            made.append(Folded(name, said, Table(heading, tuple(table["header"]), rows)))
    return made


def behind(folder: Path = RESULTS) -> list[tuple[str, str, float]]:
    """Rows of `bench.peer` in which ours is behind: row, column, how many times better ours is."""
    file = folder / "peer.json"
    if not file.exists():
        return []
    table = json.loads(file.read_text(encoding="utf-8"))["tables"][0]
    made: list[tuple[str, str, float]] = []
    for row in table["rows"]:
        for column, name in ((3, "agent-runtime-sdk"), (6, "agent-runtime-sdk, MCP")):
            said = row[column].removesuffix("x").replace(",", "")
            if said and float(said) < 1:
                made.append((row[0], name, float(said)))
    return made
