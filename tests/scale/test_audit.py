"""The auditor of replicas must be able to fail: evidence in which only one thing is wrong.

Source: R-SCALE-01, R-SCALE-02.  Invariants: I17, I18, I23, I24, I32.
"""

from collections.abc import Callable
from typing import Any

import pytest

from faults.evidence import Entry, Kept
from faults.world import Effect
from scale.audit import RULES, Scaled, handovers, judged

Json = dict[str, Any]

#: Two replicas.
A, B = 11, 22


def evidence() -> Scaled:
    """A task that B took over from A, in the middle of a call that may be repeated; all is well."""
    steps = [{"do": "fetch", "name": "f"}]
    call = {"key": "f", "name": "fetch", "idempotent": True}
    log: list[tuple[int, str, str | None, str, Json]] = [
        (0, "submit", None, "submitted", {"token": "m", "parts": [{"data": {"steps": steps}}]}),
        (1, "start", "submitted", "running", {}),
        (1, "progress", "running", "running", {"message": "half"}),
        (1, "call", "running", "running", call),
        (2, "claim", "running", "running", {}),
        (2, "call", "running", "running", call),
        (2, "called", "running", "running", {"key": "f", "value": "done"}),
        (2, "complete", "running", "completed", {"parts": [{"data": {"results": ["done"]}}]}),
        (2, "finalize", "completed", "finalized", {}),
    ]
    entries = [Entry(number, *fields) for number, fields in enumerate(log, start=1)]
    task = Kept("t", "finalized", len(entries), entries)
    submit = {"n": "1", "op": "submit", "token": "m", "steps": steps}
    journal: list[Json] = [
        {**submit, "fate": "sent", "task": ""},
        {"n": "1", "fate": "acked", "task": "t"},
    ]
    witnessed = [committed(entry, A if entry.seq < 5 else B) for entry in entries]
    witnessed += [began(A, 1, 4.5), began(B, 2, 6.5)]
    witnessed.sort(key=lambda line: line["at"])
    effects = [fetched(A, 4.6), fetched(B, 6.6)]
    read = [
        {"task": "t", "stream": 1, "after": 1},
        shown(1, "task", 1),
        shown(1, "statusUpdate", 2),
        {"task": "t", "stream": 1, "cut": "ReadError"},
        {"task": "t", "stream": 2, "after": 2},
        shown(2, "task", 2),
        shown(2, "statusUpdate", 3),
        shown(2, "artifactUpdate", 8, place=7),
        shown(2, "statusUpdate", 8),
    ]
    blows: list[Json] = [{"blow": "kill", "pid": A, "at": 4.75}]
    return Scaled({"t": task}, {"m": "t"}, journal, effects, witnessed, read, blows)


def committed(entry: Entry, pid: int) -> Json:
    """What a witness wrote of an event; events come a second apart."""
    about = {"committed": "t", "seq": entry.seq, "epoch": entry.epoch}
    at = float(entry.seq)
    return {**about, "trigger": entry.trigger, "dest": entry.dest, "pid": pid, "at": at}


def began(pid: int, epoch: int, at: float) -> Json:
    """What a witness wrote of a call."""
    return {"called": "t", "key": "f", "epoch": epoch, "pid": pid, "at": at}


def fetched(pid: int, at: float) -> Effect:
    """What was done outside."""
    return Effect("t/f", "fetch", idempotent=True, pid=pid, what="f", at=at)


def shown(stream: int, kind: str, seq: int, place: int | None = None) -> Json:
    """What a reader wrote of a thing that a stream showed."""
    place = seq if place is None else place
    return {"task": "t", "stream": stream, "shown": kind, "seq": seq, "place": place}


# --- one thing that is wrong ------------------------------------------------------------


def check_of_the_engine(found: Scaled) -> None:
    """The record is not the fold of its log."""
    found.broken.append(("t", "the record is not what its log amounts to"))


def lost_commit(found: Scaled) -> None:
    """The store said that it was written."""
    found.witnessed.append(committed(Entry(10, 2, "call", "running", "running", {}), B))


def overwritten_commit(found: Scaled) -> None:
    """Two replicas wrote the same event."""
    found.witnessed.append(committed(Entry(6, 1, "progress", "running", "running", {}), A))


def two_holders(found: Scaled) -> None:
    """Both took up the same epoch."""
    found.witnessed.append(committed(found.tasks["t"].log[4], A))


def stale_report(found: Scaled) -> None:
    """A reports in the epoch of B."""
    line = next(line for line in found.witnessed if line.get("trigger") == "called")
    line["pid"] = A


def stale_start(found: Scaled) -> None:
    """A begins a call after B has taken the task up."""
    found.witnessed.append(began(A, 1, 5.5))


def stale_effect(found: Scaled) -> None:
    """A does something after B has taken the task up."""
    found.effects.append(fetched(A, 5.5))


def gap(found: Scaled) -> None:
    """A stream leaves something out, which another one showed."""
    found.read.insert(2, shown(1, "statusUpdate", 3))
    del found.read[3]


def doubled(found: Scaled) -> None:
    """A stream shows something again."""
    found.read.insert(7, shown(2, "statusUpdate", 3))


def out_of_order(found: Scaled) -> None:
    """A stream shows the later thing first."""
    found.read[6], found.read[7] = found.read[7], found.read[6]


def begins_elsewhere(found: Scaled) -> None:
    """A stream begins beyond the place that its reader named."""
    found.read[5] = shown(2, "task", 3)


def hidden_thing(found: Scaled) -> None:
    """A stream shows what is not to be seen."""
    found.read.insert(7, shown(2, "statusUpdate", 5))


def never_shown(found: Scaled) -> None:
    """The end was never shown."""
    del found.read[-2:]


def refused_reader(found: Scaled) -> None:
    """A replica does not know the place that another one named."""
    found.read.insert(5, {"task": "t", "stream": 2, "error": {"code": -32602}})


def reader_gave_up(found: Scaled) -> None:
    """A reader waits for ever."""
    found.read.append({"task": "t", "unread": "it takes too long"})


PLANTED: list[tuple[Callable[[Scaled], None], str]] = [
    (check_of_the_engine, "sound"),
    (lost_commit, "durable"),
    (overwritten_commit, "durable"),
    (two_holders, "one_holder"),
    (stale_report, "one_holder"),
    (stale_start, "no_stale_start"),
    (stale_effect, "no_stale_effect"),
    (gap, "gapless"),
    (doubled, "gapless"),
    (out_of_order, "gapless"),
    (begins_elsewhere, "gapless"),
    (hidden_thing, "gapless"),
    (never_shown, "read_to_the_end"),
    (refused_reader, "read_to_the_end"),
    (reader_gave_up, "read_to_the_end"),
]


def test_sound_evidence_has_no_findings() -> None:
    """Else the tests below would prove nothing.  Source: R-SCALE-01."""
    assert judged(evidence()).findings == []


@pytest.mark.parametrize(
    ("plant", "rule"), PLANTED, ids=lambda given: getattr(given, "__name__", "")
)
def test_a_planted_violation_is_found(plant: Callable[[Scaled], None], rule: str) -> None:
    """Whatever is broken, the rule that is about it says so.  Source: R-SCALE-01."""
    found = evidence()
    plant(found)
    assert rule in {finding.rule for finding in judged(found).findings}


def test_every_rule_has_a_violation_that_it_finds() -> None:
    """A rule that never fired may be one that cannot.  Source: R-SCALE-01."""
    assert {rule.__name__ for rule in RULES} == {rule for _, rule in PLANTED}


def test_a_handover_is_timed_from_the_blow_to_the_claim_of_another() -> None:
    """Of what the victim held, and of nothing else.  Source: R-SCALE-02."""
    found = evidence()
    assert handovers(found, "kill") == [0.25]
    found.blows[0]["pid"] = B
    assert handovers(found, "kill") == []
