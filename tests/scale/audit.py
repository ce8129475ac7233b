"""The auditor of replicas: the rules of the fault harness, and those of several processes.

What is left is read through the store's own URL; what each replica did is read from its
witness (`witness.py`), what streams showed from their readers (`load.py`), what was done to
whom from the cluster (`cluster.py`).
"""

import itertools
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults.audit import RULES as OF_FAULTS
from faults.audit import Report, figures_of
from faults.evidence import Entry, Evidence, Finding, Found, Kept
from faults.world import Effect, effects_in
from interlock import TaskQuery
from interlock.stores import SharedStore
from interlock.testing import violations
from interlock_adapters._callers.principal import ANONYMOUS
from scale.cluster import witnessed_in

Json = dict[str, Any]

#: With these a process takes a task's turn; each begins an epoch.
TAKES: Final = frozenset({"start", "claim", "recover"})
#: What only the holder of a turn may write.
REPORTS: Final = frozenset(
    {
        "call",
        "called",
        "note",
        "ask",
        "withdraw",
        "emit",
        "progress",
        "complete",
        "fail",
        "reject",
        "retry",
        "stopped",
    }
)
#: What an A2A stream does not show.
QUIET: Final = frozenset({"claim", "recover", "call", "called", "note", "finalize"})


@dataclass
class Scaled(Evidence):
    """All there is to go by, of several replicas."""

    #: Lines of witnesses, in the order of time.
    witnessed: list[Json] = field(default_factory=list[Json])
    #: Lines of readers, as each wrote them.
    read: list[Json] = field(default_factory=list[Json])
    #: What was done to replicas and their server.
    blows: list[Json] = field(default_factory=list[Json])
    #: What the engine's own checks say: `Store.verify`, and the oracle of its log.
    broken: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def takes(self) -> dict[str, list[Json]]:
        """Who took the turn of each task, in the order of time."""
        taken: dict[str, list[Json]] = defaultdict(list)
        for line in self.witnessed:
            if line.get("trigger") in TAKES:
                taken[line["committed"]].append(line)
        return taken


async def audit_store(store: SharedStore, directory: Path) -> Report:
    """What a round left behind, checked."""
    return judged(await gathered(store, directory))


async def gathered(store: SharedStore, directory: Path) -> Scaled:
    """The evidence of a directory and a store."""
    journal = _lines(directory, "client-*.jsonl")
    tasks: dict[str, Kept] = {}
    broken: list[tuple[str, str]] = []
    await store.open()
    try:
        query = TaskQuery(limit=500)
        while True:
            page = await store.page(query)
            for record in page.records:
                events = await store.events(record.task_id)
                log = [
                    Entry(
                        event.seq,
                        event.epoch,
                        str(event.trigger),
                        None if event.source is None else str(event.source),
                        str(event.dest),
                        dict(event.data),
                    )
                    for event in events
                ]
                tasks[record.task_id] = Kept(record.task_id, str(record.phase), record.seq, log)
                broken += [(record.task_id, what) for what in violations(events)]
            if page.next_cursor is None:
                break
            query = TaskQuery(limit=500, cursor=page.next_cursor)
        claims: dict[str, str] = {}
        for token in {line["token"] for line in journal if "token" in line}:
            claim = await store.claim(ANONYMOUS, token)
            if claim is not None:
                claims[token] = claim.task_id
        broken += [("", what) for what in await store.verify()]
    finally:
        await store.close()
    return Scaled(
        tasks,
        claims,
        journal,
        effects_in(directory / "world.jsonl"),
        witnessed_in(directory),
        _lines(directory, "stream-*.jsonl"),
        _lines(directory, "blows.jsonl"),
        broken,
    )


def judged(evidence: Scaled) -> Report:
    """Every rule, applied to all there is."""
    findings = [
        Finding(name, task_id, what)
        for name, rule in OF_FAULTS.items()
        for task_id, what in rule(evidence)
    ] + [
        Finding(rule.__name__, task_id, what) for rule in RULES for task_id, what in rule(evidence)
    ]
    figures = figures_of(evidence)
    figures["streams"] = sum("after" in line for line in evidence.read)
    figures["tasks read"] = len({line["task"] for line in evidence.read})
    figures["claims"] = sum(len(task.having("claim")) for task in evidence.tasks.values())
    return Report(findings, figures)


# --- who did what -----------------------------------------------------------------------


def sound(evidence: Scaled) -> Found:
    """The engine's own checks find nothing: records are folds of logs, and logs obey the table."""
    yield from evidence.broken


def durable(evidence: Scaled) -> Found:
    """What a store told a replica that it had written is in the log, as it was written."""
    logs = {
        (task_id, entry.seq): (entry.epoch, entry.trigger, entry.dest)
        for task_id, task in evidence.tasks.items()
        for entry in task.log
    }
    for line in evidence.witnessed:
        if "committed" in line:
            written = (line["epoch"], line["trigger"], line["dest"])
            kept = logs.get((line["committed"], line["seq"]))
            if kept != written:
                yield line["committed"], f"event {line['seq']} was committed: {written}, not {kept}"


def one_holder(evidence: Scaled) -> Found:
    """Each epoch was begun by one process, and only that one reports in it."""
    holders: dict[tuple[str, int], int] = {}
    for task_id, lines in evidence.takes().items():
        for line in lines:
            if holders.setdefault((task_id, line["epoch"]), line["pid"]) != line["pid"]:
                yield task_id, f"two processes began epoch {line['epoch']}"
    for line in evidence.witnessed:
        if line.get("trigger") in REPORTS or "called" in line:
            task_id = line.get("committed") or line["called"]
            # The line of a holder that was killed in the very instant may be missing.
            if holders.get((task_id, line["epoch"]), line["pid"]) != line["pid"]:
                yield task_id, f"{line} is of a process that did not hold the turn"


def no_stale_start(evidence: Scaled) -> Found:
    """Nobody begins a call of a task that another one has taken up by then."""
    takes = evidence.takes()
    for line in evidence.witnessed:
        if "called" not in line:
            continue
        later = _newer(takes[line["called"]], line["epoch"], line["at"], line["pid"])
        if later is not None:
            late_s = line["at"] - later["at"]
            yield line["called"], f"{line['key']} was begun {late_s:.3f} s after another's claim"


def no_stale_effect(evidence: Scaled) -> Found:
    """Nothing is done for a task by a process from which another one has taken it.

    But for what was begun before: a process may be stopped between the two.
    """
    takes = evidence.takes()
    done: dict[tuple[int, str], list[Effect]] = defaultdict(list)
    for effect in evidence.effects:
        done[effect.pid, effect.call].append(effect)
    begun: dict[tuple[int, str], list[Json]] = defaultdict(list)
    for line in evidence.witnessed:
        if "called" in line:
            begun[line["pid"], f"{line['called']}/{line['key']}"].append(line)
    for (pid, call), effects in done.items():
        task_id = call.partition("/")[0]
        for effect, line in itertools.zip_longest(effects, begun[pid, call][: len(effects)]):
            at = effect.at if line is None else line["at"]
            before = [take for take in takes[task_id] if take["at"] <= at]
            own = max((take["epoch"] for take in before if take["pid"] == pid), default=None)
            if own is None:
                continue  # The line of its claim may be under way.
            if (later := _newer(before, own, at, pid)) is not None:
                late_s = effect.at - later["at"]
                yield task_id, f"{call} was done by {pid} {late_s:.3f} s after another's claim"


def _newer(takes: list[Json], epoch: int, at: float, pid: int) -> Json | None:
    """Somebody else's claim with a later epoch that was over by then."""
    return next((t for t in takes if t["epoch"] > epoch and t["at"] < at and t["pid"] != pid), None)


# --- what streams showed ----------------------------------------------------------------


def gapless(evidence: Scaled) -> Found:
    """Each stream shows everything after its place, in order and once, until it ends or is cut."""
    for (task_id, number), lines in _streams(evidence).items():
        task = evidence.tasks.get(task_id)
        if task is None:
            yield task_id, "a stream showed it, and it is not there"
            continue
        shown = [line for line in lines if "shown" in line]
        if not shown:
            continue
        begins = shown[0]
        after = lines[0]["after"] or begins["place"]
        if begins["shown"] != "task" or begins["place"] != after:
            yield task_id, f"stream {number} after {after} begins with {begins}"
        visible = [entry.seq for entry in task.log if entry.seq > after and _is_shown(entry)]
        seen = [*dict.fromkeys(line["seq"] for line in shown[1:])]
        if seen != visible[: len(seen)]:
            yield task_id, f"stream {number} showed {seen} after {after}, and the log {visible}"
        times = Counter((line["shown"], line["seq"]) for line in shown[1:])
        twice = [what for what, count in times.items() if count > 1]
        if twice:
            yield task_id, f"stream {number} showed {twice} twice"


def read_to_the_end(evidence: Scaled) -> Found:
    """Every reader saw everything, down to the outcome, and was never refused."""
    seen: dict[str, set[int]] = defaultdict(set)
    #: Where each began.
    firsts: dict[str, int] = {}
    for line in evidence.read:
        if "shown" in line and line["shown"] != "task":
            seen[line["task"]].add(line["seq"])
        elif "shown" in line:
            firsts.setdefault(line["task"], line["place"])
        if "unread" in line:
            yield line["task"], f"its reader gave up: {line['unread']}"
        # "Internal" is what a reader is told while the store is away.
        if line.get("error", {}).get("code", -32603) != -32603:
            yield line["task"], f"its reader was refused: {line['error']}"
    for task_id in {line["task"] for line in evidence.read}:
        task = evidence.tasks.get(task_id)
        if task is None or task_id not in firsts:
            continue
        first = firsts[task_id]
        visible = {entry.seq for entry in task.log if entry.seq > first and _is_shown(entry)}
        if missing := visible - seen[task_id]:
            yield task_id, f"its reader never saw {sorted(missing)}"


def _streams(evidence: Scaled) -> dict[tuple[str, int], list[Json]]:
    streams: dict[tuple[str, int], list[Json]] = defaultdict(list)
    for line in evidence.read:
        if "stream" in line:
            streams[line["task"], line["stream"]].append(line)
    return streams


def _is_shown(entry: Entry) -> bool:
    # A repeated cancel changes nothing.
    return entry.trigger not in QUIET and not (
        entry.trigger == "cancel" and entry.source == entry.dest
    )


RULES: Final = (
    sound,
    durable,
    one_holder,
    no_stale_start,
    no_stale_effect,
    gapless,
    read_to_the_end,
)


# --- how long it took -------------------------------------------------------------------


def handovers(evidence: Scaled, blow: str) -> list[float]:
    """Seconds from each such blow until somebody else took up a task that its victim held."""
    taken: list[float] = []
    takes = evidence.takes()
    for hit in evidence.blows:
        if hit["blow"] != blow:
            continue
        for task_id in _held(evidence, hit["pid"], hit["at"]):
            taken += [
                line["at"] - hit["at"]
                for line in takes[task_id]
                if line["at"] > hit["at"] and line["pid"] != hit["pid"]
            ][:1]
    return taken


def _held(evidence: Scaled, pid: int, at: float) -> Iterator[str]:
    """Tasks at work whose turn that process had then, as far as was written down."""
    last: dict[str, tuple[int, str]] = {}
    for line in evidence.witnessed:
        if line["at"] > at:
            break
        if "committed" in line:
            holder = (
                line["pid"] if line["trigger"] in TAKES else last.get(line["committed"], (0,))[0]
            )
            last[line["committed"]] = (holder, line["dest"])
    for task_id, (holder, phase) in last.items():
        if holder == pid and phase in {"running", "cancelling"}:
            yield task_id


def summary(seconds: list[float]) -> str:
    """Figures of durations, in seconds."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    return (
        f"{len(ordered)}: median {statistics.median(ordered):.2f} s, "
        f"p90 {ordered[int(len(ordered) * 0.9)]:.2f} s, longest {ordered[-1]:.2f} s"
    )


def _lines(directory: Path, pattern: str) -> list[Json]:
    return [
        json.loads(line)
        for path in sorted(directory.glob(pattern))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
