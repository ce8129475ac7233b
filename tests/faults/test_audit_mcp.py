"""The rules of MCP must be able to fail: evidence in which only one thing is wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from faults.audit import audit
from faults.audit_mcp import MCP_RULES
from faults.evidence import Entry, Evidence, Kept

Json = dict[str, Any]
STEPS = [{"do": "both", "name": "both-0"}, {"do": "emit", "name": "emit-1"}]
RESULTS: Json = {"results": ["yes", "none given"]}
RESULT: Json = {
    "content": [{"type": "text", "text": "emit-1"}, {"type": "text", "text": "..."}],
    "structuredContent": RESULTS,
}


def log_of(task_id: str, answered_by: str | None) -> list[Entry]:
    """The log of a task that asked two things: one was answered, one declined."""
    log: list[tuple[str, str | None, str, Json]] = [
        (
            "submit",
            None,
            "submitted",
            {"token": f"key {task_id}", "parts": [{"data": {"steps": STEPS}}]},
        ),
        ("start", "submitted", "running", {}),
        ("ask", "running", "waiting_input", {"key": "both-0-a"}),
        ("ask", "waiting_input", "waiting_input", {"key": "both-0-b", "default": "none given"}),
        (
            "provide_input",
            "waiting_input",
            "waiting_input",
            {"key": "both-0-a", "value": "yes", "token": answered_by},
        ),
        ("decline", "waiting_input", "running", {"key": "both-0-b", "token": answered_by}),
        ("emit", "running", "running", {"artifact": {"artifact_id": "a", "parts": [SHOWN]}}),
        ("complete", "running", "completed", {"parts": [{"data": RESULTS}]}),
        ("finalize", "completed", "finalized", {}),
    ]
    return [Entry(seq, 1, *fields) for seq, fields in enumerate(log, start=1)]


SHOWN: Json = {"text": "emit-1"}


def cancelled() -> list[Entry]:
    """The log of a task that was cancelled."""
    log: list[tuple[str, str | None, str, Json]] = [
        ("submit", None, "submitted", {"token": "key c", "parts": [{"data": {"steps": STEPS}}]}),
        ("start", "submitted", "running", {}),
        ("cancel", "running", "cancelling", {}),
        ("stopped", "cancelling", "cancelled", {}),
        ("finalize", "cancelled", "finalized", {}),
    ]
    return [Entry(seq, 1, *fields) for seq, fields in enumerate(log, start=1)]


def said(number: str, fate: str, **sent: Any) -> list[Json]:
    """What a client writes down of something that it says."""
    return [
        {"n": number, "fate": "sent", "by": "mcp", **sent},
        {"n": number, "fate": fate, "by": "mcp"},
    ]


def answers(number: str, fate: str = "acked", **whose: str) -> list[Json]:
    """An answer and a refusal to answer, said at once."""
    yes = {"op": "answer", "said": {"ask": "both-0-a", "value": "yes"}}
    no = {"op": "decline", "said": {"ask": "both-0-b"}}
    return said(f"{number}a", fate, **yes, **whose) + said(f"{number}b", fate, **no, **whose)


def looked(status: str, *asks: str, **seen: Any) -> Json:
    """How a task was said to be."""
    return {"by": "mcp", "is": status, "asks": [*asks], **seen}


def submitted(task_id: str, call: str = "") -> list[Json]:
    """A call that became a task; whoever waits never learns which."""
    sent: Json = {"op": "submit", "task": "", "token": f"key {task_id}", "steps": STEPS}
    if call:
        sent["call"] = call
    lines = said(f"s{task_id}", "acked", **sent)
    return lines if call else [lines[0], {**lines[1], "task": task_id}]


def sound() -> Evidence:
    """A task with a handle, a call that was waited for, and one that was cancelled."""
    tasks = {
        "h": Kept("h", "finalized", 9, log_of("h", None)),
        "w": Kept("w", "finalized", 9, log_of("w", "mcp w/both-0-a")),
        "c": Kept("c", "finalized", 5, cancelled()),
    }
    journal = [
        *submitted("h"),
        looked("input_required", "both-0-a", "both-0-b", task="h"),
        *answers("h", task="h"),
        *answers("h2", "ignored", task="h"),
        looked("working", task="h"),
        looked("completed", task="h", result=RESULT),
        looked("completed", task="h", result=RESULT),
        *submitted("w", "key w"),
        looked("input_required", "both-0-a", "both-0-b", call="key w"),
        *answers("w", task="", call="key w"),
        looked("completed", call="key w", result=RESULT),
        *submitted("c"),
        *said("cc", "acked", op="cancel", task="c"),
        looked("working", task="c"),
        looked("cancelled", task="c"),
    ]
    claims = {f"key {task_id}": task_id for task_id in tasks}
    return Evidence(tasks, claims, journal, [])


def at(evidence: Evidence, **fields: Any) -> int:
    """Where the first line with those fields is."""
    return next(
        n
        for n, line in enumerate(evidence.journal)
        if all(line.get(name) == value for name, value in fields.items())
    )


def put(evidence: Evidence, where: int, **fields: Any) -> None:
    """Change one line."""
    evidence.journal[where] = evidence.journal[where] | fields


def change(evidence: Evidence, task_id: str, trigger: str, **data: Any) -> None:
    """Change what the log has of an event."""
    log = evidence.tasks[task_id].log
    where = next(n for n, entry in enumerate(log) if entry.trigger == trigger)
    log[where] = log[where]._replace(data=log[where].data | data)


def lost_answer(evidence: Evidence) -> None:
    """An acknowledged answer is not in the log as it was sent."""
    change(evidence, "h", "provide_input", value="no")


def lost_answer_of_a_round(evidence: Evidence) -> None:
    """The same, of a caller who waits."""
    change(evidence, "w", "provide_input", value="no")


def lost_refusal(evidence: Evidence) -> None:
    """It was declined, and somebody answered it."""
    log = evidence.tasks["h"].log
    log[5] = log[5]._replace(trigger="provide_input", data={"key": "both-0-b", "value": "x"})


def lost_call(evidence: Evidence) -> None:
    """A call whose caller waits left no task."""
    del evidence.tasks["w"], evidence.claims["key w"]


def second_task(evidence: Evidence) -> None:
    """A call that was repeated became another task."""
    evidence.journal += submitted("h")
    put(evidence, len(evidence.journal) - 1, task="c")


def nobody_said_it(evidence: Evidence) -> None:
    """A decline that no client sent."""
    change(evidence, "h", "decline", key="both-0-c")


def default_not_taken(evidence: Evidence) -> None:
    """A question was declined, and its default is not what the agent got."""
    change(evidence, "h", "ask", default="x")
    change(evidence, "h", "decline", key="both-0-a")


def left_alone_in_vain(evidence: Evidence) -> None:
    """An answer was left alone as already given, and was not."""
    put(evidence, at(evidence, n="h2a"), said={"ask": "both-0-a", "value": "other"})


def refused_and_taken(evidence: Evidence) -> None:
    """An answer was refused, and is in the log."""
    put(evidence, at(evidence, n="ha", fate="acked"), fate="refused", why="closed")


def refused_in_vain(evidence: Evidence) -> None:
    """An answer to an open question was refused, and nothing closed it."""
    where = at(evidence, n="ha")
    put(evidence, where, said={"ask": "both-0-a", "value": "other"})
    put(evidence, where + 1, fate="refused", why="closed")


def asked_again(evidence: Evidence) -> None:
    """A question came back after it was answered."""
    put(evidence, at(evidence, **{"is": "working"}), asks=["both-0-a"])


def asked_a_waiting_caller_again(evidence: Evidence) -> None:
    """The same, in a round."""
    where = at(evidence, **{"is": "completed", "call": "key w"})
    evidence.journal.insert(where, looked("input_required", "both-0-b", call="key w"))


def asked_what_is_not_there(evidence: Evidence) -> None:
    """A question that is not in the log."""
    put(evidence, at(evidence, **{"is": "input_required"}), asks=["both-0-z"])


def went_on(evidence: Evidence) -> None:
    """It was over, and it is not."""
    evidence.journal.append(looked("working", task="h"))


def came_to_something_else(evidence: Evidence) -> None:
    """A result that was seen is another one later."""
    evidence.journal.append(looked("completed", task="h", result=RESULT | {"content": []}))


def came_to_something_else_for_a_waiting_caller(evidence: Evidence) -> None:
    """The same, when the call is repeated."""
    evidence.journal.append(looked("completed", call="key w", result=RESULT | {"content": []}))


def cancel_lost(evidence: Evidence) -> None:
    """An acknowledged cancel did nothing."""
    log = evidence.tasks["c"].log
    log[2] = log[2]._replace(trigger="progress", dest="running", data={"message": "half"})


def asked_after_the_cancel(evidence: Evidence) -> None:
    """It was cancelled, and asks."""
    where = at(evidence, **{"is": "working", "task": "c"})
    put(evidence, where, **{"is": "input_required", "asks": ["x"]})


def another_end(evidence: Evidence) -> None:
    """It is said to be cancelled, and is completed."""
    for where, line in enumerate(evidence.journal):
        if line.get("is") == "completed" and line.get("task") == "h":
            evidence.journal[where] = looked("cancelled", task="h")


def failed_although_completed(evidence: Evidence) -> None:
    """A caller who waited was told of an error."""
    where = at(evidence, **{"is": "completed", "call": "key w"})
    put(evidence, where, result={"isError": True, "content": []})


def another_result(evidence: Evidence) -> None:
    """A caller who waited got something that the agent did not return."""
    where = at(evidence, **{"is": "completed", "call": "key w"})
    put(evidence, where, result=RESULT | {"structuredContent": {"results": []}})


def an_artifact_is_missing(evidence: Evidence) -> None:
    """What the agent showed is not in the result."""
    where = at(evidence, **{"is": "completed", "call": "key w"})
    put(evidence, where, result=RESULT | {"content": RESULT["content"][1:]})


PLANTED: list[tuple[Callable[[Evidence], None], str]] = [
    (lost_answer, "acknowledged"),
    (lost_answer_of_a_round, "acknowledged"),
    (lost_refusal, "acknowledged"),
    (lost_call, "acknowledged"),
    (second_task, "one_task"),
    (nobody_said_it, "unasked"),
    (default_not_taken, "delivered"),
    (refused_in_vain, "refused"),
    (left_alone_in_vain, "left_alone"),
    (refused_and_taken, "none_taken"),
    (asked_again, "asked_once"),
    (asked_a_waiting_caller_again, "asked_once"),
    (asked_what_is_not_there, "asked_once"),
    (went_on, "settled"),
    (came_to_something_else, "settled"),
    (came_to_something_else_for_a_waiting_caller, "settled"),
    (cancel_lost, "stopped"),
    (asked_after_the_cancel, "stopped"),
    (another_end, "concluded"),
    (failed_although_completed, "concluded"),
    (another_result, "concluded"),
    (an_artifact_is_missing, "concluded"),
]


def test_sound_evidence_has_no_findings() -> None:
    """Else the tests below would prove nothing."""
    assert audit(sound()).findings == []


@pytest.mark.parametrize(
    ("plant", "rule"), PLANTED, ids=lambda given: getattr(given, "__name__", "")
)
def test_a_planted_violation_is_found(plant: Callable[[Evidence], None], rule: str) -> None:
    """Whatever is broken, the rule that is about it says so."""
    evidence = sound()
    plant(evidence)
    assert rule in {finding.rule for finding in audit(evidence).findings}


def test_every_rule_of_mcp_has_a_violation_that_it_finds() -> None:
    """A rule that never fired may be one that cannot.  Source: R-JRN-09."""
    assert {rule.__name__ for rule in MCP_RULES} <= {rule for _, rule in PLANTED}
