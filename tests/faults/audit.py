"""The auditor: compares the file, the clients' journals and the world, and believes nobody.

It knows nothing of the engine's code, nor of the protocols': rules of MCP are in `audit_mcp.py`.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faults.audit_mcp import MCP_RULES, closed_otherwise
from faults.evidence import (
    DOUBT,
    OPERATOR,
    OUTCOMES,
    Evidence,
    Finding,
    Found,
    Rule,
    is_in,
    read_file,
    said_by,
    sent_by,
    whose,
)
from faults.world import Effect, effects_in

#: Of a journal and of a log, where a client gave up.
LINES_SHOWN: Final = 6


@dataclass
class Report:
    """What the audit came to."""

    findings: list[Finding]
    figures: Counter[str] = field(default_factory=Counter[str])


def audit_directory(directory: Path) -> Report:
    """What a round left behind, checked."""
    tasks, claims = read_file(directory / "tasks.db")
    journal = [
        json.loads(line)
        for path in sorted(directory.glob("client-*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return audit(Evidence(tasks, claims, journal, effects_in(directory / "world.jsonl")))


def audit(evidence: Evidence) -> Report:
    """Every rule, applied to all there is."""
    findings = [
        Finding(name, task_id, what)
        for name, rule in RULES.items()
        for task_id, what in rule(evidence)
    ]
    return Report(findings, figures_of(evidence))


# --- the log by itself ------------------------------------------------------------------


def sequence(evidence: Evidence) -> Found:
    """Numbers are 1 to n, each once, and the task stands where its log ends."""
    for task_id, task in evidence.tasks.items():
        numbers = [entry.seq for entry in task.log]
        if numbers != list(range(1, len(numbers) + 1)):
            yield task_id, f"its events are numbered {numbers}"
        if not task.log or (task.seq, task.phase) != (task.log[-1].seq, task.log[-1].dest):
            yield task_id, f"it is {task.phase} at {task.seq}, and its log ends elsewhere"


def continuity(evidence: Evidence) -> Found:
    """Every event begins where the one before it ended."""
    for task_id, task in evidence.tasks.items():
        where: str | None = None
        for entry in task.log:
            if entry.source != where:
                yield task_id, f"event {entry.seq} begins in {entry.source}, not in {where}"
            where = entry.dest


def epochs(evidence: Evidence) -> Found:
    """Epochs never fall, and each recovery begins a new one."""
    for task_id, task in evidence.tasks.items():
        epoch = 0
        for entry in task.log:
            if entry.epoch < epoch or (
                entry.trigger in {"claim", "recover"} and entry.epoch == epoch
            ):
                yield task_id, f"event {entry.seq} has epoch {entry.epoch} after {epoch}"
            epoch = max(epoch, entry.epoch)


def outcome(evidence: Evidence) -> Found:
    """Every task reaches exactly one outcome, and is finalized."""
    for task_id, task in evidence.tasks.items():
        reached = [entry.dest for entry in task.log if entry.dest in OUTCOMES]
        if len(reached) != 1:
            yield task_id, f"it reached {reached or 'no outcome'}"
        if task.phase != "finalized":
            yield task_id, f"it was left {task.phase}"


def shown_once(evidence: Evidence) -> Found:
    """No artifact, no line of progress and no question is in the log twice."""
    for task_id, task in evidence.tasks.items():
        told = Counter(
            [("emit", entry.data["artifact"]["artifact_id"]) for entry in task.having("emit")]
            + [("progress", entry.data["message"]) for entry in task.having("progress")]
            + [("ask", entry.data["key"]) for entry in task.having("ask")]
            + [("note", entry.data["key"]) for entry in task.having("note")]
        )
        for (kind, name), times in told.items():
            if times > 1:
                yield task_id, f"{kind} {name!r} is there {times} times"


def unfailing(evidence: Evidence) -> Found:
    """No task fails but by a person's word, and none needs an operator."""
    words = [
        line["said"]["ask"]
        for line in evidence.journal
        if isinstance(line.get("said", {}).get("value"), dict)
        and line["said"]["value"]["decision"] == "fail"
    ]
    for task_id, task in evidence.tasks.items():
        asked = [entry.data["key"] for entry in task.having("ask")]
        for key in asked:
            if key.startswith(OPERATOR):
                yield task_id, "its agent could not go on, and an operator was asked"
        for entry in task.having("fail", "reject"):
            if entry.data.get("code") != "call_in_doubt" or not set(asked) & set(words):
                yield task_id, f"it failed: {entry.data.get('code')}, {entry.data.get('message')}"


# --- the log and what clients were told -------------------------------------------------


def acknowledged(evidence: Evidence) -> Found:
    """What was acknowledged is in the log, as it was sent."""
    for said in said_by(evidence):
        if said.fate != "acked" or (said.is_mcp and said.op == "cancel" and not said.key):
            continue  # What MCP acknowledges of a cancel is another rule's.
        task = evidence.tasks.get(said.task_id)
        if task is None:
            yield said.task_id, f"{said.op} was acknowledged, and there is no such task"
        elif said.op == "cancel" and any(entry.dest == "cancelling" for entry in task.log):
            continue  # It was stopping already, for whatever reason: a repeat is not written down.
        elif "call" in said.line and said.key and closed_otherwise(task, said):
            continue  # The answer to a round says what the call came to, and not what was taken.
        elif not any(is_in(entry, said) for entry in task.log):
            yield said.task_id, f"{said.op} {said.line} was acknowledged and is not in the log"


def seen_through(evidence: Evidence) -> Found:
    """No client had to give a task up: none was gone, and none took for ever."""
    for number, line in enumerate(evidence.journal):
        if "gave_up" in line:
            task = evidence.tasks.get(line["gave_up"])
            # The lines of one client follow one another.
            noted = evidence.journal[max(0, number - LINES_SHOWN) : number]
            last = [] if task is None else [entry.trigger for entry in task.log[-LINES_SHOWN:]]
            what = f"a client gave it up: {line['why']}; it noted {noted}"
            yield line["gave_up"], f"{what}, and its log ends with {last}"


def refused(evidence: Evidence) -> Found:
    """An answer to a question that a client saw is refused only if somebody else closed it."""
    for said in said_by(evidence):
        task = evidence.tasks.get(said.task_id)
        if said.fate != "refused" or not said.key or task is None:
            continue
        taken = said.is_mcp and any(is_in(entry, said) for entry in task.log)
        if not taken and not closed_otherwise(task, said):
            yield said.task_id, f"{said.op} for {said.key!r} was refused: {said.why}"


def one_task(evidence: Evidence) -> Found:
    """One message makes one task, however often it is sent."""
    made: dict[str, set[str]] = defaultdict(set)
    for said in said_by(evidence):
        if said.op == "submit" and said.fate == "acked":
            made[said.line["token"]].add(said.task_id)
    for task_id, task in evidence.tasks.items():
        for entry in task.having("submit"):
            made[entry.data["token"]].add(task_id)
    for token, ids in made.items():
        if ids != {evidence.claims.get(token)}:
            yield ",".join(sorted(ids)), f"message {token} made these; {evidence.claims.get(token)}"


def unasked(evidence: Evidence) -> Found:
    """Nothing is in the log in a client's name that no client sent."""
    tokens = {line["token"] for line in evidence.journal if "token" in line}
    # Over MCP an answer has no token that its client knows: it must be what was sent.
    sent = [said for said in sent_by(evidence) if said.is_mcp]
    for task_id, task in evidence.tasks.items():
        for entry in task.having("submit", "provide_input", "approve", "deny", "decline"):
            of_mcp = any(said.task_id == task_id and is_in(entry, said) for said in sent)
            if entry.data.get("token") not in tokens and not of_mcp:
                yield task_id, f"event {entry.seq} is a {entry.trigger} that nobody sent"


def shown(evidence: Evidence) -> Found:
    """What was shown to a client is in the log, where it was said to be."""
    for line in evidence.journal:
        if "seen" not in line:
            continue
        task = evidence.tasks.get(line["seen"])
        entry = None if task is None else next((e for e in task.log if e.seq == line["seq"]), None)
        if entry is None or line.get("phase", entry.dest) != entry.dest:
            yield line["seen"], f"{line} was shown and is not in the log"
        elif line.get("trigger", entry.trigger) != entry.trigger:
            yield line["seen"], f"{line} was shown, and the log has {entry.trigger}"


def delivered(evidence: Evidence) -> Found:
    """What a completed task came to holds every answer that was given to it."""
    for task_id, task in evidence.tasks.items():
        for end in task.having("complete"):
            results = end.data["parts"][0]["data"]["results"]
            for entry in task.having("provide_input"):
                own = not entry.data["key"].startswith("interlock:")
                if own and entry.data["value"] not in results:
                    yield task_id, f"the answer to {entry.data['key']!r} is not in its result"
            defaults = {e.data["key"]: e.data.get("default") for e in task.having("ask")}
            for entry in task.having("decline"):
                if defaults.get(entry.data["key"]) not in results:
                    yield task_id, f"{entry.data['key']!r} was declined, and its default not taken"


# --- the log and the world --------------------------------------------------------------


def done_once(evidence: Evidence) -> Found:
    """No call that must not be repeated was done twice without a person's word."""
    words = _words(evidence)
    for call, effects in _by_call(evidence.effects).items():
        allowed = 1 + words[call]
        if not effects[0].idempotent and len(effects) > allowed:
            yield _task_of(call), f"{call} was done {len(effects)} times, and {allowed} was allowed"


def intended(evidence: Evidence) -> Found:
    """Everything that was done was in the log before it, as what it was, and each time."""
    for call, effects in _by_call(evidence.effects).items():
        task = evidence.tasks.get(_task_of(call))
        key = call.partition("/")[2]
        begun = [] if task is None else [e for e in task.having("call") if e.data["key"] == key]
        if len(effects) > len(begun):
            yield _task_of(call), f"{call} was done {len(effects)} times, begun {len(begun)} times"
        for entry in begun:
            if (entry.data["name"], entry.data["idempotent"]) != effects[0][1:3]:
                yield _task_of(call), f"{call} is in the log as something else"


def happened(evidence: Evidence) -> Found:
    """What the log says was done was done, unless it is a person's word."""
    done = _by_call(evidence.effects)
    for task_id, task in evidence.tasks.items():
        for entry in task.having("called"):
            seen = entry.data.get("by") is None and entry.data.get("error") is None
            if seen and f"{task_id}/{entry.data['key']}" not in done:
                yield task_id, f"{entry.data['key']} is said to be done, and was not"


def as_approved(evidence: Evidence) -> Found:
    """What was approved is exactly what was done, and nothing without leave."""
    for effect in evidence.effects:
        if effect.name != "book":
            continue
        task = evidence.tasks.get(_task_of(effect.call))
        leaves = [] if task is None else task.having("approve")
        approved = [e.data["arguments"] for e in leaves if e.data["key"] == effect.leave]
        if approved != [effect.what]:
            yield _task_of(effect.call), f"{effect.what} was done, and {approved} approved"


RULES: Final[dict[str, Rule]] = {
    rule.__name__: rule
    for rule in (
        sequence,
        continuity,
        epochs,
        outcome,
        shown_once,
        unfailing,
        acknowledged,
        seen_through,
        refused,
        one_task,
        unasked,
        shown,
        delivered,
        done_once,
        intended,
        happened,
        as_approved,
        *MCP_RULES,
    )
}


def _words(evidence: Evidence) -> Counter[str]:
    """How often a person said that a call is to be run again, by call."""
    words: Counter[str] = Counter()
    for line in evidence.journal:
        said = line.get("said", {})
        if str(said.get("ask", "")).startswith(DOUBT) and "value" in said:
            # interlock:in-doubt-2-charge-1~2: how often it was begun, and the call.
            _, _, key = said["ask"].removeprefix(DOUBT).partition("-")
            again = said["value"]["decision"] == "run_again"
            words[f"{whose(evidence, line)}/{key.partition('~')[0]}"] += again
    return words


def _by_call(effects: Iterable[Effect]) -> dict[str, list[Effect]]:
    by_call: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        by_call[effect.call].append(effect)
    return by_call


def _task_of(call: str) -> str:
    return call.partition("/")[0]


def figures_of(evidence: Evidence) -> Counter[str]:
    """What there was to judge."""
    figures: Counter[str] = Counter(tasks=len(evidence.tasks), effects=len(evidence.effects))
    for task in evidence.tasks.values():
        figures["events"] += len(task.log)
        figures["recoveries"] += len(task.having("recover"))
        doubts = [e for e in task.having("ask") if e.data["key"].startswith(DOUBT)]
        figures["in doubt"] += len(doubts)
        for entry in task.log:
            if entry.dest in OUTCOMES:
                figures[entry.dest] += 1
    for effects in _by_call(evidence.effects).values():
        kind = "repeats of idempotent calls" if effects[0].idempotent else "repeats by a word"
        figures[kind] += len(effects) - 1
    for said in said_by(evidence):
        figures[said.fate] += 1
        figures["said over MCP"] += said.is_mcp
    return figures
