"""The auditor must be able to fail: for each rule, evidence in which only that is wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from faults.audit import RULES, audit
from faults.audit_mcp import MCP_RULES
from faults.evidence import Entry, Evidence, Kept
from faults.world import Effect

Json = dict[str, Any]
STEPS = [{"do": "ask", "name": "ask-0"}, {"do": "charge", "name": "charge-1"}]
SUBMIT: Json = {"op": "submit", "task": "", "token": "m1", "steps": STEPS}
ANSWER: Json = {
    "op": "answer",
    "task": "t",
    "token": "m2",
    "said": {"ask": "ask-0", "value": "yes"},
}
APPROVE: Json = {
    "op": "approve",
    "task": "t",
    "token": "m3",
    "said": {"ask": "leave", "digest": "d", "decision": "approve"},
    "shown": {"seat": "1"},
}
AGAIN: Json = {
    "op": "answer",
    "task": "t",
    "token": "m4",
    "said": {"ask": "interlock:in-doubt-1-charge-1", "value": {"decision": "run_again"}},
}


def sound() -> Evidence:
    """A task that asked, charged, and booked with leave; all is well."""
    log: list[tuple[int, str, str | None, str, Json]] = [
        (0, "submit", None, "submitted", {"token": "m1", "parts": [{"data": {"steps": STEPS}}]}),
        (1, "start", "submitted", "running", {}),
        (1, "progress", "running", "running", {"message": "half"}),
        (1, "ask", "running", "waiting_input", {"key": "ask-0"}),
        (
            1,
            "provide_input",
            "waiting_input",
            "running",
            {"key": "ask-0", "value": "yes", "token": "m2"},
        ),
        (1, "call", "running", "running", call("charge-1", "charge")),
        (2, "recover", "running", "running", {}),
        (2, "ask", "running", "waiting_input", {"key": "interlock:in-doubt-1-charge-1"}),
        (
            2,
            "provide_input",
            "waiting_input",
            "running",
            {"key": AGAIN["said"]["ask"], "value": AGAIN["said"]["value"], "token": "m4"},
        ),
        (2, "call", "running", "running", call("charge-1", "charge")),
        (2, "called", "running", "running", {"key": "charge-1", "value": "charge done"}),
        (2, "ask", "running", "waiting_auth", {"key": "leave"}),
        (
            2,
            "approve",
            "waiting_auth",
            "running",
            {"key": "leave", "digest": "d", "arguments": {"seat": "1"}, "token": "m3"},
        ),
        (2, "call", "running", "running", call("book-1", "book")),
        (2, "called", "running", "running", {"key": "book-1", "value": "book done"}),
        (2, "cancel", "running", "running", {}),
        (2, "complete", "running", "completed", {"parts": [{"data": {"results": ["yes"]}}]}),
        (2, "finalize", "completed", "finalized", {}),
    ]
    entries = [Entry(number, *fields) for number, fields in enumerate(log, start=1)]
    journal = [line for number, sent in enumerate(SENT) for line in told(f"n{number}", sent)]
    journal.append({"seen": "t", "seq": 4, "phase": "waiting_input", "trigger": "ask"})
    effects = [charged(), charged(), booked({"seat": "1"})]
    task = Kept("t", "finalized", len(entries), entries)
    return Evidence({"t": task}, {"m1": "t"}, journal, effects)


SENT: list[Json] = [SUBMIT, ANSWER, APPROVE, AGAIN, {"op": "cancel", "task": "t"}]


def told(number: str, sent: Json) -> list[Json]:
    """What a client writes down of a message that was acknowledged."""
    return [{"n": number, "fate": "sent", **sent}, {"n": number, "fate": "acked", "task": "t"}]


def call(key: str, name: str) -> Json:
    """What the log has of a call that begins."""
    return {"key": key, "name": name, "idempotent": False}


def charged() -> Effect:
    """A charge, done."""
    return Effect("t/charge-1", "charge", idempotent=False, pid=1, what="charge-1")


def booked(what: Json) -> Effect:
    """A booking, done."""
    return Effect("t/book-1", "book", idempotent=False, pid=1, what=what, leave="leave")


def without(evidence: Evidence, trigger: str) -> None:
    """Take the first event of that kind out, and close the gap."""
    task = evidence.tasks["t"]
    gone = next(entry for entry in task.log if entry.trigger == trigger)
    task.log.remove(gone)
    task.log[:] = [entry._replace(seq=seq) for seq, entry in enumerate(task.log, start=1)]
    task.seq = len(task.log)


def change(evidence: Evidence, trigger: str, **fields: Any) -> None:
    """Change the last event of that kind."""
    log = evidence.tasks["t"].log
    where = max(at for at, entry in enumerate(log) if entry.trigger == trigger)
    log[where] = log[where]._replace(**fields)


def lost_submission(evidence: Evidence) -> None:
    """A task that was acknowledged is gone."""
    evidence.journal += told("lost", SUBMIT | {"token": "m9"})
    evidence.journal[-1]["task"] = "gone"
    evidence.claims["m9"] = "gone"


def repeated_event(evidence: Evidence) -> None:
    """An event is in the log twice."""
    log = evidence.tasks["t"].log
    log.insert(3, log[2])


def missing_event(evidence: Evidence) -> None:
    """A number is missing."""
    del evidence.tasks["t"].log[2]


def other_answer(evidence: Evidence) -> None:
    """The log has another answer than the one that was acknowledged."""
    log = evidence.tasks["t"].log
    log[4] = log[4]._replace(data=log[4].data | {"value": "no"})


def failed_by_itself(evidence: Evidence) -> None:
    """The agent broke, for no reason that anybody gave."""
    log = evidence.tasks["t"].log
    log[-2] = log[-2]._replace(trigger="fail", dest="failed", data={"code": "agent_error"})


def stuck(evidence: Evidence) -> None:
    """An operator was asked how the task is to go on."""
    log = evidence.tasks["t"].log
    log[3] = log[3]._replace(data={"key": "interlock:operator-1"})


def given_up(evidence: Evidence) -> None:
    """A client waited in vain."""
    evidence.journal.append({"gave_up": "t", "why": "it takes too long"})


def refused_in_vain(evidence: Evidence) -> None:
    """An answer was refused although the question was open."""
    evidence.journal[3] = {"n": "n1", "fate": "refused", "why": "nothing is asked"}
    without(evidence, "cancel")


def second_task(evidence: Evidence) -> None:
    """The same message made a second task."""
    first = evidence.tasks["t"]
    log = [first.log[0], Entry(2, 0, "cancel", "submitted", "cancelled", {})]
    log.append(Entry(3, 0, "finalize", "cancelled", "finalized", {}))
    evidence.tasks["u"] = replace(first, task_id="u", seq=3, log=log)


def two_outcomes(evidence: Evidence) -> None:
    """A completed task failed as well."""
    log = evidence.tasks["t"].log
    log[-1] = log[-1]._replace(seq=len(log) + 1, source="failed")
    log.insert(-1, Entry(len(log), 2, "fail", "completed", "failed", {}))
    evidence.tasks["t"].seq += 1


def unfinished(evidence: Evidence) -> None:
    """It stopped half-way."""
    task = evidence.tasks["t"]
    del task.log[-2:]
    task.phase, task.seq = "running", len(task.log)


def done_again(evidence: Evidence) -> None:
    """Done once more than a person said."""
    evidence.effects.append(charged())
    log = evidence.tasks["t"].log
    log.insert(9, log[9])
    log[:] = [entry._replace(seq=seq) for seq, entry in enumerate(log, start=1)]
    evidence.tasks["t"].seq += 1
    evidence.journal[-1]["seq"] = 4


def word_not_given(evidence: Evidence) -> None:
    """The person said that it is done, and it was done again."""
    answer = {"decision": "use_value", "value": "done"}
    said = {"ask": AGAIN["said"]["ask"], "value": answer}
    evidence.journal[6] = evidence.journal[6] | {"said": said}
    log = evidence.tasks["t"].log
    log[8] = log[8]._replace(data=log[8].data | {"value": answer})


def unknown_effect(evidence: Evidence) -> None:
    """Something was done of which the log does not know."""
    evidence.effects.append(Effect("t/fetch-1", "fetch", idempotent=True, pid=1, what="x"))


def done_before_it_began(evidence: Evidence) -> None:
    """Done twice with a person's word, but begun once."""
    without(evidence, "call")
    evidence.journal[-1]["seq"] = 4


def not_done(evidence: Evidence) -> None:
    """The log says that it was done."""
    evidence.effects[:] = evidence.effects[:2]


def other_arguments(evidence: Evidence) -> None:
    """What was done is not what was approved."""
    evidence.effects[-1] = booked({"seat": "2"})


def shown_and_lost(evidence: Evidence) -> None:
    """A client saw an event that is not in the log."""
    evidence.journal.append({"seen": "t", "seq": 99, "phase": "running"})


def shown_otherwise(evidence: Evidence) -> None:
    """A client saw another event by that number."""
    evidence.journal[-1]["trigger"] = "progress"


def old_epoch(evidence: Evidence) -> None:
    """A turn of an old epoch wrote."""
    change(evidence, "complete", epoch=1)


def recovered_in_place(evidence: Evidence) -> None:
    """A recovery that began no epoch."""
    log = evidence.tasks["t"].log
    log[:] = [entry._replace(epoch=min(entry.epoch, 1)) for entry in log]


def jump(evidence: Evidence) -> None:
    """An event begins where the one before it did not end."""
    change(evidence, "cancel", source="waiting_auth")


def told_twice(evidence: Evidence) -> None:
    """A line of progress was written by the replay as well."""
    log = evidence.tasks["t"].log
    log.insert(3, log[2])
    log[:] = [entry._replace(seq=seq) for seq, entry in enumerate(log, start=1)]
    evidence.tasks["t"].seq += 1
    evidence.journal[-1]["seq"] = 5


def answer_not_used(evidence: Evidence) -> None:
    """The agent never got an answer that was acknowledged."""
    change(evidence, "complete", data={"parts": [{"data": {"results": ["no"]}}]})


def nobody_said_it(evidence: Evidence) -> None:
    """An answer came from nowhere."""
    change(evidence, "approve", data={"key": "leave", "arguments": {"seat": "1"}, "token": "m0"})
    evidence.journal[4:6] = []


PLANTED: list[tuple[Callable[[Evidence], None], str]] = [
    (repeated_event, "sequence"),
    (missing_event, "sequence"),
    (jump, "continuity"),
    (old_epoch, "epochs"),
    (recovered_in_place, "epochs"),
    (two_outcomes, "outcome"),
    (unfinished, "outcome"),
    (told_twice, "shown_once"),
    (lost_submission, "acknowledged"),
    (other_answer, "acknowledged"),
    (failed_by_itself, "unfailing"),
    (stuck, "unfailing"),
    (given_up, "seen_through"),
    (refused_in_vain, "refused"),
    (second_task, "one_task"),
    (nobody_said_it, "unasked"),
    (shown_and_lost, "shown"),
    (shown_otherwise, "shown"),
    (answer_not_used, "delivered"),
    (done_again, "done_once"),
    (word_not_given, "done_once"),
    (unknown_effect, "intended"),
    (done_before_it_began, "intended"),
    (not_done, "happened"),
    (other_arguments, "as_approved"),
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


@pytest.mark.parametrize("trigger", ["submit", "provide_input", "approve", "cancel"])
def test_an_acknowledged_trigger_that_is_lost_is_found(trigger: str) -> None:
    """Of each kind that a client can fire."""
    evidence = sound()
    without(evidence, trigger)
    assert "acknowledged" in {finding.rule for finding in audit(evidence).findings}


def test_a_cancel_of_what_stops_already_is_in_no_log() -> None:
    """A repeat is accepted and not written down, whatever it was that stopped the task."""
    evidence = sound()
    log = evidence.tasks["t"].log
    log[:] = [
        entry._replace(trigger="deny", dest="cancelling") if entry.trigger == "cancel" else entry
        for entry in log
    ]
    assert "acknowledged" not in {finding.rule for finding in audit(evidence).findings}


def test_every_rule_has_a_violation_that_it_finds() -> None:
    """A rule that never fired may be one that cannot.  Source: R-JRN-09."""
    of_mcp = {rule.__name__ for rule in MCP_RULES}  # They are in `test_audit_mcp.py`.
    assert RULES.keys() - of_mcp == {rule for _, rule in PLANTED}
