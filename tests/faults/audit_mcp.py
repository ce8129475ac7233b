"""Rules for what was said over MCP, which has no numbers of events to go by.

A client of MCP knows how a task was said to be, in the order in which it asked.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from faults.evidence import OUTCOMES, Evidence, Found, Json, Kept, Rule, Said, is_in, said_by, whose

TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
#: What a caller is told in a result that is an error.  One who waits has no status to read.
_FAILED: Final = OUTCOMES - {"completed", "cancelled"}
CODE: Final = "interlock/code"


def closed_otherwise(task: Kept, said: Said) -> bool:
    """Whether the question was closed by something else than this answer to it."""
    if any(entry.data["key"] == said.key for entry in task.having("expire", "withdraw")):
        return True
    if task.having("cancel", "overrun"):
        return True
    # Over MCP several questions are answered at once, and one answer may stop the task.
    return said.is_mcp and any(
        entry.dest == "cancelling" for entry in task.log if entry.data.get("key") != said.key
    )


def left_alone(evidence: Evidence) -> Found:
    """An answer that was left alone had been taken before, or its question was closed."""
    for said in said_by(evidence):
        task = evidence.tasks.get(said.task_id)
        if said.fate != "ignored" or task is None:
            continue
        if not any(is_in(entry, said) for entry in task.log) and not closed_otherwise(task, said):
            yield said.task_id, f"{said.op} for {said.key!r} was left alone: {said.why}"


def none_taken(evidence: Evidence) -> Found:
    """What was refused was not taken all the same."""
    for said in said_by(evidence):
        task = evidence.tasks.get(said.task_id)
        if said.fate != "refused" or not said.is_mcp or said.op == "cancel" or task is None:
            continue
        if any(is_in(entry, said) for entry in task.log):
            yield said.task_id, f"{said.op} for {said.key!r} was refused, and is there: {said.why}"


def asked_once(evidence: Evidence) -> Found:
    """What a client is asked is in the log, and it is not asked what it has answered."""
    answered: dict[str, set[str]] = defaultdict(set)
    sent: dict[str, Json] = {}
    for line in evidence.journal:
        if line.get("fate") == "sent":
            sent[line["n"]] = line
        elif line.get("fate") == "acked" and "said" in sent[line["n"]]:
            began = sent[line["n"]]
            answered[whose(evidence, began)].add(began["said"]["ask"])
        elif "is" in line:
            task_id = whose(evidence, line)
            task = evidence.tasks.get(task_id)
            asked = [] if task is None else task.having("ask")
            known = {str(entry.data["key"]) for entry in asked}
            for key in line["asks"]:
                if key not in known:
                    yield task_id, f"{key!r} was asked, and is not in the log"
                if key in answered[task_id]:
                    yield task_id, f"{key!r} was asked once more after it was answered"


def settled(evidence: Evidence) -> Found:
    """What is over stays over, and what it came to is the same whenever it is looked at."""
    came_to: dict[str, Json] = {}
    for line in evidence.journal:
        if "is" not in line:
            continue
        task_id = whose(evidence, line)
        what = {name: line.get(name) for name in ("is", "result", "error")}
        if what != came_to.get(task_id, what):
            yield task_id, f"it was {came_to[task_id]}, and then {what}"
        if line["is"] in TERMINAL:
            came_to.setdefault(task_id, what)


def stopped(evidence: Evidence) -> Found:
    """A task whose cancel was acknowledged asks nothing more, and stops unless it was over."""
    sent: dict[str, Json] = {}
    cancelled: set[str] = set()
    for line in evidence.journal:
        if line.get("by") != "mcp":
            continue
        if line.get("fate") == "sent":
            sent[line["n"]] = line
        elif line.get("fate") == "acked" and sent[line["n"]]["op"] == "cancel":
            cancelled.add(whose(evidence, sent[line["n"]]))
        elif "is" in line and (task_id := whose(evidence, line)) in cancelled:
            task = evidence.tasks.get(task_id)
            log = [] if task is None else task.log
            stops = any(e.trigger == "cancel" or e.dest == "cancelling" for e in log)
            if line["is"] not in TERMINAL and (not stops or line["asks"]):
                yield task_id, f"its cancel was acknowledged, and it is {line['is']}"


def concluded(evidence: Evidence) -> Found:
    """What a client was told that a task came to is what the log says."""
    for line in evidence.journal:
        if line.get("is") not in TERMINAL:
            continue
        task = evidence.tasks.get(whose(evidence, line))
        if task is None:
            yield whose(evidence, line), f"it is {line['is']}, and there is no such task"
        else:
            yield from ((task.task_id, why) for why in _misconcluded(task, line))


def _misconcluded(task: Kept, line: Json) -> Iterator[str]:
    end = next((entry for entry in task.log if entry.dest in OUTCOMES), None)
    outcome = None if end is None else end.dest
    result: Json = line.get("result", {})
    match line["is"]:
        case "completed" if result.get("isError"):
            # A caller who waits has nothing but a result.
            fits = outcome in (_FAILED | {"cancelled"} if "call" in line else _FAILED)
        case "completed":
            fits = outcome == "completed"
        case status:
            fits = outcome == status
    if end is None or not fits:
        yield f"it is said to be {line['is']}, and the log says {outcome}"
    elif outcome == "completed":
        yield from _misreported(task, end.data, result)
    elif result.get("_meta", {}).get(CODE) != end.data.get("code") and "code" in end.data:
        yield f"it is said to have failed for {result.get('_meta')}, and the log says {end.data}"


def _misreported(task: Kept, completed: Json, result: Json) -> Iterator[str]:
    """How a result differs from what the agent showed and returned."""
    returned = completed["parts"][0]["data"]
    if result.get("structuredContent") != returned:
        yield f"its result is said to be {result.get('structuredContent')}, and it is {returned}"
    shown = [entry.data["artifact"]["parts"][0]["text"] for entry in task.having("emit")]
    told = [block.get("text") for block in result.get("content", [])][:-1]
    if told != shown:
        yield f"it is said to have shown {told}, and it showed {shown}"


MCP_RULES: Final[tuple[Rule, ...]] = (
    left_alone,
    none_taken,
    asked_once,
    settled,
    stopped,
    concluded,
)
