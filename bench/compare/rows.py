"""The rows of the report: how each number is made of what was found, and what it is called."""

import statistics
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from bench._report import percentile
from bench.compare.measure import Found
from bench.compare.plan import ARMS, Arm

#: Less is as good as nothing, and no ratio is made of it.
LEAST: Final = 1e-4


def p50(samples: list[float]) -> float:
    """The median."""
    return statistics.median(samples)


def p99(samples: list[float]) -> float:
    """The sample that all but a hundredth are below."""
    return percentile(samples, 0.99)


class Row(NamedTuple):
    """A line of the report."""

    key: str
    name: str
    #: What an arm needs to have it; "" for every arm.
    needs: str
    metric: str
    number: Callable[[list[float]], float] = p50
    more: bool = False
    #: Whether less is better, or more; a thread more or less is neither.
    contest: bool = True


ROWS: Final = (
    Row("load-p50", "submit → completed, 16 at once, p50, ms", "life", "life"),
    Row("load-p99", "submit → completed, 16 at once, p99, ms", "life", "life", p99),
    Row("load-rate", "submit → completed, 16 at once, tasks/s", "life", "lives/s", more=True),
    Row("load-cpu", "submit → completed, 16 at once, CPU ms of one", "life", "cpu"),
    Row("life", "submit → completed, one client, p50, ms", "life", "life, alone"),
    Row("life-cpu", "submit → completed, one client, CPU ms", "life", "cpu, alone"),
    Row("first", "submit → first event, p50, ms", "first", "first"),
    Row("ask", "submit → its question is seen, p50, ms", "ask", "ask"),
    Row("answer", "answer → completed, p50, ms", "answer", "answer"),
    Row("cancel", "cancel of a waiting task → cancelled, p50, ms", "cancel", "cancel"),
    Row("many-rate", "durable tasks/s, 100 at once", "durable", "many lives/s", more=True),
    Row("rss", "RSS under load, MB", "", "rss"),
    Row("threads", "threads under load", "", "threads", contest=False),
)


class Cell(NamedTuple):
    """One number of an arm, and how it compares."""

    value: float
    #: How many times better ours is, and the least and the most of the rounds; None for ours.
    better: float | None = None
    spread: tuple[float, float] | None = None


def has(arm: Arm, row: Row) -> bool:
    """Whether the arm has such a thing."""
    if row.needs == "durable":
        return arm.durable
    return not row.needs or row.needs in arm.rows


def cells(row: Row, found: Found) -> dict[str, Cell]:
    """Of each arm that has the row."""
    made: dict[str, Cell] = {}
    for arm in ARMS:
        numbers = by_round(row, arm, found)
        if numbers:
            made[arm.name] = Cell(p50(numbers), *compared(row, arm, numbers, found))
    return made


def by_round(row: Row, arm: Arm, found: Found) -> list[float]:
    """The arm's number in each round, without the rounds that it could not do."""
    if not has(arm, row) or arm.name not in found.rounds:
        return []
    return [row.number(samples) for samples in found.rounds[arm.name][row.metric] if samples]


def compared(
    row: Row, arm: Arm, numbers: list[float], found: Found
) -> tuple[float | None, tuple[float, float] | None]:
    """By how much ours is better: round by round, then the median, the least and the most."""
    if not (arm.beside and row.contest):
        return None, None
    beside = next(other for other in ARMS if other.name == arm.beside)
    pairs = list(zip(numbers, by_round(row, beside, found), strict=False))
    if not pairs:
        return None, None
    ratios = [times(theirs, ours, more=row.more) for theirs, ours in pairs]
    return p50(ratios), (min(ratios), max(ratios))


def times(theirs: float, ours: float, *, more: bool = False, least: float = LEAST) -> float:
    """How many times better ours is."""
    over, under = (ours, theirs) if more else (theirs, ours)
    return max(over, least) / max(under, least)


class Grown(NamedTuple):
    """What many tasks of an arm cost."""

    made: int
    #: MB more than before the first, by how many there are.
    held: list[tuple[int, float]]
    threads_more: float
    idle_share: float
    made_s: float
    restart_s: float | None
    started_s: float | None
    answer_ms: float | None

    @property
    def kb(self) -> float:
        """How many kB each of them holds."""
        return self.kb_each(self.made)

    def kb_each(self, count: int) -> float:
        """How many kB each of so many holds; between two counts on a line."""
        least, most = (0, 0.0), self.held[-1]
        for at in self.held:
            least, most = (at, most) if at[0] <= count else (least, min(at, most))
        share = (count - least[0]) / ((most[0] - least[0]) or 1)
        return (least[1] + share * (most[1] - least[1])) * 1e3 / count


def grown_of(arm: Arm, found: Found) -> Grown | None:
    """None if it was not measured."""
    of = found.grown.get(arm.name)
    if not of or not of.get("made"):
        return None
    restart: dict[str, float] = of.get("restart", {})
    # After the last filling and once more when all was quiet: the later number counts.
    held = dict(of["held"])
    return Grown(
        of["made"],
        [(made, rss - of["before"]["rss"]) for made, rss in held.items()],
        of["after"]["threads"] - of["before"]["threads"],
        of["after"]["share"],
        of["made"] / of["fill_s"],
        restart.get("s"),
        restart.get("started_s"),
        restart.get("answer_ms"),
    )


class GrownRow(NamedTuple):
    """A line of the report about many tasks."""

    key: str
    name: str
    #: Of `Grown`.
    attribute: str
    more: bool = False
    least: float = LEAST
    #: Whether it is no contest but a part of another row.
    part: bool = False

    def number(self, grown: Grown) -> float | None:
        """None if the arm has none."""
        number: float | None = getattr(grown, self.attribute)
        return number


GROWN_ROWS: Final = (
    GrownRow("parked-kb", "RSS of one, kB", "kb", least=0.1),
    GrownRow("parked-threads", "threads more", "threads_more", part=True),
    # Half a percent of a core is what any event loop with a timer takes.
    GrownRow("parked-idle", "of a core, idle", "idle_share", least=0.005),
    GrownRow("parked-rate", "made a second, 32 at once", "made_s", more=True),
    GrownRow("restart", "kill -9 → up, and one answered, s", "restart_s"),
    GrownRow("restart-up", "of it until it is up, s", "started_s", part=True),
    GrownRow("restart-answer", "answer → completed, ms", "answer_ms", part=True),
)


def growth(arm: Arm, found: Found) -> Iterable[tuple[int, dict[str, float]]]:
    """By number of tasks: the median ratio to the same arm with the least number, by metric."""
    for level, samples in found.grown.get(arm.name, {}).get("levels", {}).items():
        yield int(level), {metric: p50(ratios) for metric, ratios in samples.items()}


def digits(number: float | None) -> str:
    """Three of them that say something."""
    if number is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
