"""What every bench shares: medians, the bars it is held to, and where its findings go.

A bench informs; it never gates a change, so a missed bar is printed and not raised.
"""

import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

RESULTS: Final = Path(__file__).parent / "results"
#: Versions that decide a number as much as our own code does.
VERSIONS_OF: Final = ("a2a-sdk", "transitions", "pydantic", "uvicorn", "uvloop", "httptools")


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise about a number: the measured value is not above the limit, or not below."""

    name: str
    measured: float
    limit: float
    unit: str = ""
    #: What we would like to see; printed, never judged.
    aim: float | None = None
    #: Whether the limit is the least that will do, not the most.
    least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the promise is kept."""
        return self.measured >= self.limit if self.least else self.measured <= self.limit

    def line(self) -> str:
        """The verdict in one line."""
        aim = "" if self.aim is None else f" (aim {self.aim:g})"
        verdict = "PASS" if self.passed else "FAIL"
        sign = ">=" if self.least else "<="
        return f"{verdict}  {self.name}: {self.measured:.3g}{self.unit} {sign} {self.limit:g}{aim}"


@dataclass(frozen=True, slots=True)
class Table:
    """Findings as rows; the first cell of a row names it."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        body = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return f"### {self.title}\n\n{body}\n"


@dataclass(slots=True)
class Report:
    """The findings of one run of one bench."""

    name: str
    title: str
    tables: list[Table] = field(default_factory=list[Table])
    bars: list[Bar] = field(default_factory=list[Bar])
    #: Every sample behind a median, so that a reader may judge the spread.
    samples: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def finish(self, *, keep: bool = True) -> None:
        """Print the findings, and keep them as JSON and as Markdown."""
        text = self._markdown()
        print(text)
        if not keep:
            return
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.md").write_text(text, encoding="utf-8")
        findings = {
            "title": self.title,
            "machine": machine(),
            "bars": [asdict(bar) | {"passed": bar.passed} for bar in self.bars],
            "tables": [asdict(table) for table in self.tables],
            "samples": self.samples,
        }
        (RESULTS / f"{self.name}.json").write_text(
            json.dumps(findings, indent=1) + "\n", encoding="utf-8"
        )

    def _markdown(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in machine().items())
        parts = [f"## {self.title}\n", f"{facts}\n", *(table.markdown() for table in self.tables)]
        parts.append("```\n" + "\n".join(bar.line() for bar in self.bars) + "\n```\n")
        return "\n".join(parts)


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    return {
        "Python": platform.python_version(),
        **{name: version(name) for name in VERSIONS_OF},
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "date": time.strftime("%Y-%m-%d"),
    }


def percentile(samples: Iterable[float], share: float) -> float:
    """The sample below which that share of the samples lies."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def arms_in_turn(arms: Sequence[str], rounds: int) -> Iterable[str]:
    """A B C, then C B A, and so on: a drift of the machine falls on every arm alike."""
    for count in range(rounds):
        yield from arms if count % 2 == 0 else reversed(arms)
