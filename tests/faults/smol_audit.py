"""What must hold of a task of an agent of smolagents that was killed: by the file and the world.

The file is read as it is; what the engine says of its own log is only one rule of many.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults.evidence import Entry, Finding, Kept, read_file
from faults.smol_agents import KINDS, MODEL, Kind, KindName, receipts
from faults.smol_life import DOUBT, OUTCOME, STORE, WORLD
from faults.world import Effect, effects_in

#: What a call came to that was begun and then not made.
_NOT_MADE: Final = "not_made"


@dataclass
class Judged:
    """What the audit of one task came to."""

    findings: list[Finding] = field(default_factory=list[Finding])
    figures: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True)
class Case:
    """All there is to go by."""

    kind: Kind
    task: Kept
    effects: Sequence[Effect]
    outcome: dict[str, Any]
    kills: int

    def once(self) -> list[Effect]:
        """What must not be done twice, each as often as it was done."""
        return [effect for effect in self.effects if not effect.idempotent]

    def executions(self, *, model: bool) -> Counter[str]:
        """How often each prompt, or each call of a tool, was made, in the order of the first."""
        return Counter(e.call for e in self.effects if (e.name == MODEL) == model)

    def begun(self, *, model: bool) -> Counter[str]:
        """How often each was begun by the log, in the order of the first."""
        calls = self.task.having("call")
        return Counter(e.data["key"] for e in calls if (e.data["name"] == MODEL) == model)


def audited(directory: Path, kind: KindName, kills: int) -> Judged:
    """Look at what the lives of one task left behind."""
    tasks, _ = read_file(directory / STORE)
    (task,) = tasks.values()
    outcome = json.loads((directory / OUTCOME).read_text(encoding="utf-8"))
    return judged(Case(KINDS[kind], task, effects_in(directory / WORLD), outcome, kills))


def judged(case: Case) -> Judged:
    """What is wrong, and how often what is right was done."""
    said = Judged()
    for rule in (_completed, _done_once, _models, _doubts):
        for what in rule(case):
            said.findings.append(Finding(rule.__name__.strip("_"), case.task.task_id, what))
    figures = said.figures
    figures["in doubt"] = len(_doubts_asked(case))
    figures["prompts"] = len(case.begun(model=True))
    figures["prompts repeated"] = _repeats(case.executions(model=True))
    figures["tools"] = len(case.once())
    figures["tools run twice"] = _repeats(Counter(effect.call for effect in case.once()))
    figures["safe tools repeated"] = _repeats(
        Counter(e.call for e in case.effects if e.idempotent and e.name != MODEL)
    )
    return said


def _repeats(counts: Counter[str]) -> int:
    return counts.total() - len(counts)


def _completed(case: Case) -> Iterator[str]:
    """It completed, with the result of what was really done."""
    if len(case.task.having("complete")) != 1:
        yield f"it is {case.task.phase}"
    gave = receipts([effect.what["gave"] for effect in case.once()])
    answered = receipts([str(case.outcome["result"])])
    if answered != gave:
        yield f"the answer says {answered}, and what was done is {gave}"
    yield from case.outcome["broken"]
    yield from case.outcome["verify"]


def _done_once(case: Case) -> Iterator[str]:
    """What must not be done twice was done once, what was denied never, what else as begun."""
    for call, count in Counter(effect.call for effect in case.once()).items():
        if count > 1:
            yield f"{call} was done {count} times"
    done = sorted(_shown(e.name, e.what["arguments"]) for e in case.once())
    wanted = sorted(_shown(name, arguments) for name, arguments in case.kind.effects)
    if done != wanted:
        yield f"done is {done}, and wanted {wanted}"
    begun = case.begun(model=False)
    for effect in case.effects:
        key = effect.call.partition("/")[2]
        if effect.idempotent and effect.name != MODEL:
            count = case.executions(model=False)[effect.call]
            if count > begun[key]:
                yield f"{key} was done {count} times, and begun {begun[key]} times"


def _shown(name: str, arguments: Any) -> str:
    return f"{name}{json.dumps(arguments, sort_keys=True)}"


def _models(case: Case) -> Iterator[str]:
    """A prompt is made again only where its answer was not written down."""
    made, begun = case.executions(model=True), case.begun(model=True)
    if len(made) != len(begun):
        yield f"{len(made)} prompts were made, and {len(begun)} are in the log"
    # An agent makes one after the other, so both are in the same order.
    for key, times in zip(begun, made.values(), strict=False):
        if times > begun[key]:
            yield f"prompt {key} was made {times} times, and begun {begun[key]} times"
    if (again := _repeats(begun)) > case.kills:
        yield f"{again} prompts were begun again, after {case.kills} kills"
    ended: set[str] = set()
    for entry in case.task.having("call", "called"):
        key = entry.data["key"]
        if entry.trigger == "called":
            ended.add(key)
        elif key in ended and entry.data["name"] == MODEL:
            yield f"prompt {key} was begun after its answer was known"


def _doubts(case: Case) -> Iterator[str]:
    """Somebody was asked about a call that a crash left open and that is not safe, and only then.

    The name of the ask says how often the call had been begun.
    """
    left = _left_open(case.task.log)
    asked = _doubts_asked(case)
    for name in sorted(left - asked):
        yield f"{name}: nobody was asked"
    for name in sorted(asked - left):
        yield f"{name}: nobody had to be asked"


def _doubts_asked(case: Case) -> set[str]:
    keys = (str(entry.data["key"]) for entry in case.task.having("ask"))
    return {key.removeprefix(DOUBT) for key in keys if key.startswith(DOUBT)}


def _left_open(log: Sequence[Entry]) -> set[str]:
    """What was begun and not ended when a turn was begun again."""
    begun: Counter[str] = Counter()
    unsafe: set[str] = set()
    left: set[str] = set()
    for entry in log:
        match entry.trigger:
            case "call":
                key = entry.data["key"]
                begun[key] += 1
                if not entry.data["idempotent"]:
                    unsafe.add(key)
            case "called":
                unsafe.discard(entry.data["key"])
                if entry.data.get("error", {}).get("code") == _NOT_MADE:
                    begun[entry.data["key"]] -= 1
            case "recover":
                left |= {f"{begun[key]}-{key}" for key in unsafe}
            case _:
                pass
    return left
