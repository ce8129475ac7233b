"""The rounds of the comparison: which arm does what, in whose turn."""

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench._report import arms_in_turn
from bench.compare.plan import Arm, Sizes
from bench.compare.running import Running, running

#: Metric -> the samples of each round.
Rounds = defaultdict[str, list[list[float]]]


@dataclass(slots=True)
class Found:
    """All that was found."""

    #: By arm.
    rounds: dict[str, Rounds] = field(default_factory=lambda: defaultdict(lambda: Rounds(list)))
    grown: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    versions: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    #: An arm that could not go on, and why.
    failed: dict[str, str] = field(default_factory=dict[str, str])
    #: Syncs of the disk in a second, a sample for each round.
    syncs: list[float] = field(default_factory=list[float])

    def note(self, arm: Arm, samples: dict[str, list[float]], prefix: str = "") -> None:
        """Samples of the round that is under way."""
        for metric, values in samples.items():
            self.rounds[arm.name][prefix + metric][-1] += values

    def begin(self, arms: Sequence[Arm], metrics: Sequence[str]) -> None:
        """A round."""
        for arm in arms:
            for metric in metrics:
                self.rounds[arm.name][metric].append([])


LOAD: Final = ("life", "lives/s", "cpu", "threads", "rss")
ALONE: Final = ("life, alone", "first", "ask", "answer", "cancel", "cpu, alone", "cpu, all")
WARM: Final = "warm-up"
MANY: Final = "many "
METRICS: Final = (*LOAD, *ALONE, *(f"{MANY}{metric}" for metric in LOAD))


class Turns:
    """The arms of a kind, each in a fresh process, for one round."""

    def __init__(self, arms: Sequence[Arm], folder: str, found: Found, stack: ExitStack) -> None:
        self.alive: Final[dict[str, tuple[Arm, Running]]] = {}
        self._found: Final = found
        for arm in arms:
            try:
                process = stack.enter_context(running(arm, folder, f"round-{len(found.syncs)}"))
            except RuntimeError as error:
                found.failed[f"{arm.name}, start"] = str(error)[:300]
                continue
            found.versions[arm.name] = process.versions
            self.alive[arm.name] = (arm, process)

    def do(self, name: str, what: str, part: str, **settings: Any) -> None:  # noqa: ANN401
        """Have one arm do a part; a peer at its limit ends its own rows, and nobody else's."""
        arm, process = self.alive[name]
        try:
            done = process.do(part, **settings)
        except RuntimeError as error:
            self._found.failed[f"{name}, {what or 'under load'}"] = str(error)[:300]
            return
        if what != WARM:
            self._found.note(arm, done, what)


def compare_round(arms: Sequence[Arm], folder: str, sizes: Sizes, found: Found) -> None:
    """One round of all arms of a kind."""
    found.begin(arms, METRICS)
    found.syncs.append(syncs_per_s(folder, sizes.syncs))
    warm = {"count": sizes.warm_up, "until_s": sizes.warm_up_s}
    load = {"count": sizes.load, "until_s": sizes.load_s}
    with ExitStack() as stack:
        turns = Turns(arms, folder, found, stack)
        for name in turns.alive:
            turns.do(name, WARM, "lives", at_once=sizes.at_once, **warm)
        for name in arms_in_turn([*turns.alive], sizes.blocks):
            rows = [*turns.alive[name][0].rows]
            turns.do(name, "", "one_by_one", count=sizes.block, rows=rows, until_s=sizes.block_s)
        for name in turns.alive:
            turns.do(name, "", "lives", at_once=sizes.at_once, **load)
        for name, (arm, _) in turns.alive.items():
            if arm.durable:
                turns.do(name, MANY, "lives", at_once=sizes.many, **load)


def syncs_per_s(folder: str, count: int) -> float:
    """How often the disk can make a page durable, one after the other: what a commit waits for."""
    with Path(folder, "synced").open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(count):
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
        return count / (time.perf_counter() - began)


def grow(arm: Arm, folder: str, sizes: Sizes, found: Found) -> None:
    """Tasks that wait, more and more: what they hold, what the next one costs, and a restart.

    At each level, blocks of work on the process that has so many tasks and on one that has the
    least level take turns; what is said is the ratio.
    """
    waiting, restarts = "ask" in arm.rows, arm.durable and "answer" in arm.rows
    grown: dict[str, Any] = {"waiting": waiting, "levels": {}, "held": [], "made": 0}
    found.grown[arm.name] = grown
    with running(arm, folder, "full") as full, running(arm, folder, "control") as control:
        for process in (full, control):
            process.do("lives", count=sizes.warm_up, at_once=16, until_s=sizes.warm_up_s)
        grown["before"] = full.do("idle", seconds=sizes.idle_s)
        least, made, filled_s, key = sizes.levels[0], 0, 0.0, None
        for level in sizes.levels:
            left_s = sizes.fill_s - filled_s
            if grown.get("failed") or left_s <= 0:
                break
            part = full.do("fill", count=level - made, until_s=left_s, waiting=waiting)
            made, key, grown["failed"] = made + part["made"], part["key"] or key, part["failed"]
            filled_s += part["took_s"]
            grown["held"].append((made, part["rss"]))
            if level == least and made == least:
                control.do("fill", count=least, until_s=sizes.fill_s, waiting=waiting)
            # Beside one that has as many there is nothing to compare.
            if made > least and not part["failed"]:
                grown["levels"][made] = beside(arm, full, control, sizes)
        full.do("idle", seconds=sizes.settle_s)
        after = full.do("idle", seconds=sizes.idle_s)
        grown["held"].append((made, after["rss"]))
        grown |= {"made": made, "after": after, "fill_s": filled_s}
        if restarts and key is not None:
            full.kill()
    if restarts and key is not None:
        grown["restart"] = restarted(arm, folder, key)


def beside(arm: Arm, full: Running, control: Running, sizes: Sizes) -> dict[str, list[float]]:
    """By metric, for each pair of blocks: the one's number over the other's."""
    rows = [row for row in arm.rows if row in ("life", "ask", "answer")]
    samples: dict[str, list[float]] = defaultdict(list)
    pair: dict[str, dict[str, list[float]]] = {}
    processes = {"full": full, "control": control}
    for turn in arms_in_turn([*processes], sizes.growth_blocks):
        pair[turn] = processes[turn].do(
            "one_by_one", count=sizes.growth_block, rows=rows, until_s=sizes.growth_block_s
        )
        if len(pair) == len(processes):
            for metric in pair["full"]:
                of = {side: statistics.median(pair[side][metric]) for side in pair}
                if of["control"]:  # A clock may be too coarse for what is very little.
                    samples[metric].append(of["full"] / of["control"])
            pair = {}
    return samples


def restarted(arm: Arm, folder: str, key: Any) -> dict[str, float]:  # noqa: ANN401  the arm's own
    """After a kill: seconds until it is ready again and a task that waited is completed."""
    began = time.perf_counter()
    with running(arm, folder, "full") as again:
        answered = again.do("answer", key=key)
        return {
            "s": time.perf_counter() - began,
            "started_s": again.started_s,
            "answer_ms": answered["ms"],
        }
