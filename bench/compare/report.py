"""The report: one table of ratios, what we are behind in and why, and the numbers behind it."""

import json
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from bench._report import Bar, Table, machine
from bench.compare import folded, plot
from bench.compare.measure import Found
from bench.compare.plan import ARMS, KINDS, OURS_A2A, OURS_EMBEDDED, OURS_MCP, Arm
from bench.compare.rows import (
    GROWN_ROWS,
    ROWS,
    Cell,
    GrownRow,
    Row,
    by_round,
    cells,
    digits,
    grown_of,
    growth,
    has,
    p50,
    times,
)
from bench.compare.why import LIKE, WHY

#: Cost of an operation among many tasks over the cost among the least.
GROWTH_MAX: Final = 1.2
#: The issue's bar on tails: p99 over p50, submit to completed, 16 at once on SQLite.
TAIL_MAX: Final = 3.0
#: More of one round are kept as quantiles.
SAMPLES_MAX: Final = 200
#: Ours with a disk, beside peers that keep nothing.
_DURABLE_BESIDE: Final = (
    (OURS_A2A, "a2a-sdk, memory"),
    (OURS_A2A, "fasta2a"),
    (OURS_MCP, "fastmcp-tasks"),
    (OURS_EMBEDDED, "LangGraph, memory"),
)
MACHINES: Final = ("python-statemachine", "xstate-statemachine")
MACHINE_ROWS: Final = (
    ("trigger_us", "trigger, CPU µs"),
    ("make_us", "making a task, CPU µs"),
    ("bytes", "memory of one task, bytes of RSS"),
)


class Behind(NamedTuple):
    """A row that a peer wins."""

    row: str
    peer: str
    better: float
    why: str


def shortened(samples: list[float]) -> list[float]:
    """The samples; of very many their hundredths, from the least to the greatest."""
    if len(samples) > SAMPLES_MAX:
        cuts = statistics.quantiles(samples, n=100)
        samples = [min(samples), *cuts, max(samples)]
    return [round(sample, 4) for sample in samples]


@dataclass(slots=True)
class Compared:
    """Everything that the report says."""

    found: Found
    machines: dict[str, list[dict[str, float]]]
    quick: bool
    took_s: float
    load: tuple[float, float]
    #: What it was measured on.
    place: dict[str, str] = field(default_factory=machine)
    dots: list[plot.Dot] = field(default_factory=list[plot.Dot])
    behind: list[Behind] = field(default_factory=list[Behind])

    @classmethod
    def kept(cls, folder: Path) -> Self:
        """The same again, of what `finish` kept; of very many samples from their hundredths."""
        of: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        found = Found(
            grown=of["grown"],
            versions=of["versions"],
            failed=of["failed"],
            syncs=of["syncs_per_s"],
        )
        for name, rounds in of["samples"].items():
            found.rounds[name].update(rounds)
        before, after = of["load"]
        return cls(found, of["machines"], of["quick"], of["took_s"], (before, after), of["machine"])

    def finish(self, folder: Path) -> str:
        """Write report.md, report.json and report.svg; the Markdown."""
        folder.mkdir(parents=True, exist_ok=True)
        tables = [*self._ratios(), *self._numbers(), *self._many(), self._kept(), self._lacking()]
        bars = list(self._bars())
        text = self._markdown(tables, bars)
        (folder / "report.md").write_text(text, encoding="utf-8")
        (folder / "report.svg").write_text(
            plot.svg(self.dots, "How many times better Interlock is; left of 1x it is behind"),
            encoding="utf-8",
        )
        (folder / "report.json").write_text(
            json.dumps(self._json(tables, bars)) + "\n", encoding="utf-8"
        )
        return text

    def _note(self, key: str, row: str, peer: str, better: float) -> str:
        """Of a ratio: its cell, with what the picture and the list of losses want of it."""
        self.dots.append(plot.Dot(row, peer, better))
        if better >= LIKE:
            return f"{digits(better)}x"
        why = WHY.get((key, peer)) or WHY.get((key, ""), "not explained yet")
        self.behind.append(Behind(row, peer, better, why))
        return f"**{digits(better)}x**"

    def _ratios(self) -> Iterable[Table]:
        peers = [arm for arm in ARMS if arm.beside]
        columns = [*(arm.name for arm in peers), *MACHINES]
        lines: list[tuple[str, ...]] = []
        for key, name in MACHINE_ROWS:
            said = {m: self._note(key, name, m, self._machine_times(m, key)) for m in MACHINES}
            lines.append((name, *(said.get(column, "") for column in columns)))
        for row in ROWS:
            if not row.contest:
                continue
            made = cells(row, self.found)
            lines.append((row.name, *(self._cell(row, arm, made) for arm in peers), "", ""))
        for grown_row in GROWN_ROWS:
            if not grown_row.part:
                cells_ = (self._grown_cell(grown_row, arm) for arm in peers)
                lines.append((f"many waiting: {grown_row.name}", *cells_, "", ""))
        beside = tuple(arm.beside for arm in peers)
        lines.insert(0, ("beside which of ours", *beside, "`fire`", "`fire`"))
        yield Table("How many times better Interlock is", ("", *columns), lines)
        yield self._durable_beside()

    def _cell(self, row: Row, arm: Arm, made: dict[str, Cell]) -> str:
        cell = made.get(arm.name)
        if cell is None or cell.better is None:
            return "has none" if row.needs in arm.lacks else ""
        return self._note(row.key, row.name, arm.name, cell.better)

    def _grown_cell(self, row: GrownRow, arm: Arm) -> str:
        theirs = grown_of(arm, self.found)
        ours = grown_of(next(o for o in ARMS if o.name == arm.beside), self.found)
        if theirs is None or ours is None:
            return ""
        of_them, of_us = row.number(theirs), row.number(ours)
        if row.key == "parked-kb":
            # As many of each, since what a process takes once is part of it.
            count = min(theirs.made, ours.made)
            of_them, of_us = theirs.kb_each(count), ours.kb_each(count)
        if of_them is None or of_us is None:
            return ""
        better = times(of_them, of_us, more=row.more, least=row.least)
        return self._note(row.key, f"many waiting: {row.name}", arm.name, better)

    def _machine_times(self, peer: str, key: str) -> float:
        pairs = zip(self.machines[peer], self.machines["interlock"], strict=True)
        return p50([theirs[key] / ours[key] for theirs, ours in pairs])

    def _durable_beside(self) -> Table:
        arms = {arm.name: arm for arm in ARMS}
        lines: list[tuple[str, ...]] = []
        for row in filter(lambda row: row.contest, ROWS):
            line = [row.name]
            for ours, theirs in _DURABLE_BESIDE:
                pairs = list(
                    zip(
                        by_round(row, arms[theirs], self.found),
                        by_round(row, arms[ours], self.found),
                        strict=False,
                    )
                )
                better = p50([times(t, o, more=row.more) for t, o in pairs]) if pairs else None
                bold = better is not None and better < LIKE
                said = "" if better is None else f"{digits(better)}x"
                line.append(f"**{said}**" if bold else said)
            if any(line[1:]):
                lines.append(tuple(line))
        header = ("", *(f"{ours} beside {theirs}" for ours, theirs in _DURABLE_BESIDE))
        return Table(
            "Ours on the disk beside theirs in memory: how many times better", header, lines
        )

    def _numbers(self) -> Iterable[Table]:
        lines: list[tuple[str, ...]] = [
            (name, *(digits(p50([one[key] for one in of])) for of in self.machines.values()))
            for key, name in MACHINE_ROWS
        ]
        yield Table("The bare machine: medians", ("", *self.machines), lines)
        for kind in KINDS:
            arms = [arm for arm in ARMS if arm.kind == kind]
            lines = []
            for row in ROWS:
                made = cells(row, self.found)
                if any(arm.name in made for arm in arms):
                    lines.append((row.name, *(self._number(row, arm, made) for arm in arms)))
            header = ("", *(arm.name for arm in arms))
            yield Table(
                f"{kind}: medians over the rounds (ratio: least to greatest)", header, lines
            )

    def _number(self, row: Row, arm: Arm, made: dict[str, Cell]) -> str:
        cell = made.get(arm.name)
        if cell is None:
            return "has none" if row.needs in arm.lacks else ""
        said = digits(cell.value)
        if cell.spread:
            said += f" ({digits(cell.spread[0])} to {digits(cell.spread[1])}x)"
        return said

    def _many(self) -> Iterable[Table]:
        arms = [arm for arm in ARMS if grown_of(arm, self.found)]
        lines: list[tuple[str, ...]] = []
        for arm in arms:
            grown, of = grown_of(arm, self.found), self.found.grown[arm.name]
            assert grown is not None
            numbers = (digits(row.number(grown)) for row in GROWN_ROWS)
            what = "waiting" if of["waiting"] else "completed"
            end = of["failed"] or ""
            lines.append((arm.name, f"{grown.made:,} {what}", *numbers, end))
        header = ("", "tasks", *(row.name for row in GROWN_ROWS), "ended by")
        yield Table("Many tasks that wait", header, lines)
        lines = []
        for arm in arms:
            for level, of_metric in growth(arm, self.found):
                cost = (of_metric.get(m) for m in ("cpu, all", "life, alone", "ask", "answer"))
                said = (
                    f"**{c:.2f}**" if c and c > GROWTH_MAX else f"{c:.2f}" if c else "-"
                    for c in cost
                )
                lines.append((arm.name, f"{level:,}", *said))
        header = ("", "tasks", "CPU of all", "submit → completed", "ask", "answer")
        yield Table("Cost of an operation among many tasks, over the same among few", header, lines)

    def _kept(self) -> Table:
        lines: list[tuple[str, ...]] = [
            (arm.name, arm.kind, arm.kept, ", ".join(f"{n} {v}" for n, v in of.items()))
            for arm in ARMS
            if (of := self.found.versions.get(arm.name))
        ]
        return Table(
            "Where tasks are kept, and on which versions", ("", "as", "kept", "versions"), lines
        )

    def _lacking(self) -> Table:
        lines: list[tuple[str, ...]] = [
            (arm.name, row.name, arm.lacks[row.needs])
            for arm in ARMS
            for row in ROWS
            if row.needs in arm.lacks and not has(arm, row)
        ]
        return Table("Has no such thing", ("", "row", "because"), lines)

    def _bars(self) -> Iterable[Bar]:
        life = next(row for row in ROWS if row.key == "load-p50")
        tail = next(row for row in ROWS if row.key == "load-p99")
        for arm in ARMS:
            if not arm.beside and arm.durable and (middle := by_round(life, arm, self.found)):
                shares = [
                    t / m for t, m in zip(by_round(tail, arm, self.found), middle, strict=True)
                ]
                name = f"{arm.name}: p99 / p50, submit → completed, 16 at once"
                yield Bar(name, p50(shares), TAIL_MAX, "x")
            if not arm.beside:
                for level, of in growth(arm, self.found):
                    for metric, what in (("cpu, all", "CPU"), ("life, alone", "time")):
                        name = f"{arm.name}, {level:,} tasks: {what} of an operation / among few"
                        yield Bar(name, of[metric], GROWTH_MAX, "x")

    def _markdown(self, tables: list[Table], bars: list[Bar]) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.place.items())
        ran = (
            f"{facts}; {platform.machine()}. Load {self.load[0]:.1f} before and "
            f"{self.load[1]:.1f} after; it took {self.took_s / 60:.0f} minutes.\n"
        )
        disk = (
            f"The disk makes a page durable {p50(self.found.syncs):,.0f} times a second, one "
            "after the other. Of more durable tasks a second than that, several share a sync.\n"
        )
        legend = (
            "A ratio is the peer's number over ours, or ours over the peer's where more is "
            "better; the median over the rounds. Arms of a table took turns. **Bold** is behind.\n"
        )
        parts = [
            "# The comparison\n",
            *(["**Quick: small sizes, one round; not to be quoted.**\n"] if self.quick else []),
            ran,
            disk,
            "![How many times better](report.svg)\n",
            legend,
            self._behind_text(),
            *(table.markdown() for table in tables),
            *(f"{one.table.markdown()}\n({one.said})\n" for one in folded.folded()),
            "```\n" + "\n".join(bar.line() for bar in bars) + "\n```\n",
        ]
        if self.found.failed:
            lines = [f"- {name}: {why}" for name, why in self.found.failed.items()]
            parts.insert(2, "Not everything ran:\n\n" + "\n".join(lines) + "\n")
        return "\n".join(parts)

    def _behind_text(self) -> str:
        others = [(row, peer, better) for row, peer, better in folded.behind()]
        rows: list[tuple[str, ...]] = [
            (b.row, b.peer, f"{b.better:.2f}x", b.why) for b in self.behind
        ]
        rows += [
            (row, peer, f"{better:.2f}x", WHY.get((row, "agent-runtime-sdk"), WHY["peer", ""]))
            for row, peer, better in others
        ]
        return Table("Where Interlock is behind", ("row", "beside", "ours", "why"), rows).markdown()

    def _json(self, tables: list[Table], bars: list[Bar]) -> dict[str, object]:
        return {
            "title": "The comparison",
            "quick": self.quick,
            "machine": self.place,
            "load": self.load,
            "took_s": self.took_s,
            "bars": [asdict(bar) | {"passed": bar.passed} for bar in bars],
            "behind": [one._asdict() for one in self.behind],
            "ratios": [dot._asdict() for dot in self.dots],
            "tables": [asdict(table) for table in tables],
            "syncs_per_s": self.found.syncs,
            "machines": self.machines,
            "samples": {
                name: {metric: list(map(shortened, of)) for metric, of in rounds.items()}
                for name, rounds in self.found.rounds.items()
            },
            "grown": self.found.grown,
            "versions": self.found.versions,
            "failed": self.found.failed,
        }
