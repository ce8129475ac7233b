"""Tasks in every phase, and for each trigger the signals that a sound engine would fire.

Everything is dated: signals come at `EARLY`, before any deadline, except the timers' own and
what waits for one, which come at `LATE`, after them all.
"""

import itertools
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, Final, TypedDict, Unpack

from interlock._effects import ArmTimer, DisarmTimer, Effect, StartTurn, TimerKind
from interlock._event import AGENT, ENGINE, TIMER, Signal
from interlock._phases import OUTCOMES, Phase, Trigger
from interlock._record import (
    Active,
    Ask,
    AskKind,
    Details,
    Ended,
    Identity,
    OnDeny,
    OnExpire,
    Queued,
    StopCause,
    Stopping,
    TaskRecord,
    Waiting,
)
from interlock._transitions import TABLE, Row
from interlock.models import JsonObject, JsonValue

EARLY: Final = 10.0
RETRY_DUE: Final = 40.0
ASK_DUE: Final = 50.0
RUN_DUE: Final = 60.0
TASK_DUE: Final = 70.0
GRACE_DUE: Final = 80.0
LATE: Final = 90.0

OWNER: Final = "ada"
EPOCH: Final = 3
IDENTITY: Final = Identity("t", OWNER, "c", 1.0, TASK_DUE)

#: For each trigger the guards' input beside what is computed from the record.
SUBMITTED: Final[dict[str, Any]] = {
    "task_id": "t", "owner": OWNER, "context_id": "c", "parts": [{"text": "hello"}],
    "due": TASK_DUE, "token": "m1",
}  # fmt: skip


class Policy(TypedDict, total=False):
    """What an ask may say beyond its kind."""

    schema: JsonObject
    on_expire: OnExpire
    on_deny: OnDeny
    default: JsonValue
    digest: str
    allow_edit: bool
    approvers: tuple[str, ...]


SEATS: Final[JsonObject] = {
    "type": "object",
    "properties": {"seats": {"type": "integer", "maximum": 9}},
}


def ask(key: str, kind: AskKind = AskKind.INPUT, **policy: Unpack[Policy]) -> Ask:
    """An open ask: for a text, or for leave to book one seat."""
    if kind is AskKind.INPUT:
        return replace(Ask(key, kind, "?", {"type": "string"}, 5.0, ASK_DUE), **policy)
    made = Ask(key, kind, "May I?", SEATS, 5.0, ASK_DUE, tool="book", arguments={"seats": 1})
    return replace(replace(made, digest=f"digest of {key}"), **policy)


def task(phase: Phase, details: Details) -> TaskRecord:
    """A record in the midst of its life."""
    return TaskRecord(IDENTITY, phase, details, 7, EPOCH, 2, 9.0, ("old",), ("begun",))


def waiting(*asks: Ask, run_left_s: float | None = 20.0) -> TaskRecord:
    """A record that waits for exactly these."""
    auth = any(each.kind is AskKind.AUTH for each in asks)
    phase = Phase.WAITING_AUTH if auth else Phase.WAITING_INPUT
    return task(phase, Waiting(asks, run_left_s))


def _ended(outcome: Phase) -> Ended:
    return Ended(outcome, None if outcome is Phase.COMPLETED else "code")


def _waits(*others: Ask, kind: AskKind) -> Iterator[TaskRecord]:
    expiries: tuple[OnExpire, ...] = ("fail", "deny", "default")
    denials: tuple[OnDeny, ...] = ("stop", "tell_agent")
    for on_expire, on_deny in itertools.product(expiries, denials):
        first = ask("k", kind, on_expire=on_expire, on_deny=on_deny, default="d")
        yield waiting(first, *others)


def _waiting_input() -> list[TaskRecord]:
    without_limit = waiting(ask("k"), run_left_s=None)
    return [*_waits(kind=AskKind.INPUT), *_waits(ask("l"), kind=AskKind.INPUT), without_limit]


def _waiting_auth() -> list[TaskRecord]:
    more, text = ask("l", AskKind.AUTH), ask("m")
    return [
        *_waits(kind=AskKind.AUTH),
        *_waits(text, kind=AskKind.AUTH),
        *_waits(more, text, kind=AskKind.AUTH),
        *_waits(more, kind=AskKind.INPUT),
    ]


RECORDS: Final[dict[Phase, list[TaskRecord]]] = {
    Phase.SUBMITTED: [task(Phase.SUBMITTED, Queued(due)) for due in (None, RETRY_DUE)],
    Phase.RUNNING: [
        task(Phase.RUNNING, details)
        for details in (Active(), Active(RUN_DUE), Active(RUN_DUE, recoveries=2))
    ],
    Phase.WAITING_INPUT: _waiting_input(),
    Phase.WAITING_AUTH: _waiting_auth(),
    Phase.CANCELLING: [
        task(Phase.CANCELLING, Stopping(cause, GRACE_DUE, "why")) for cause in StopCause
    ],
    **{outcome: [task(outcome, _ended(outcome))] for outcome in OUTCOMES},
    Phase.FINALIZED: [task(Phase.FINALIZED, _ended(outcome)) for outcome in sorted(OUTCOMES)],
}
"""Every kind of record in each phase: with and without limits, for each policy and cause."""
assert RECORDS.keys() == set(Phase)


def amended(row: Row, **changes: Any) -> Row:  # noqa: ANN401  (fields of a row)
    """The row with other fields; rows have identity, so it is another one."""
    return Row(**{**{field.name: getattr(row, field.name) for field in fields(row)}, **changes})


def named(effect: Effect) -> str:
    """An effect as the spec and the stories write it."""
    match effect:
        case ArmTimer(kind=kind) | DisarmTimer(kind=kind):
            return f"{type(effect).__name__}({kind})"
        case StartTurn(replay=True):
            return "StartTurn(replay)"
        case _:
            return type(effect).__name__


def has_all_limits(record: TaskRecord) -> bool:
    """Whether every timer that the phase can have is armed."""
    match record.details:
        case Queued(not_before=limit) | Active(run_due=limit) | Waiting(run_left_s=limit):
            return limit is not None
        case _:
            return True


def signals(record: TaskRecord, trigger: Trigger) -> list[Signal]:
    """Signals of that trigger that nothing about the record speaks against.

    For a trigger that the phase does not know: one that names what is there.
    """
    by_key: dict[Trigger, tuple[str, float, list[AskKind]]] = {
        Trigger.WITHDRAW: (AGENT, EARLY, list(AskKind)),
        Trigger.PROVIDE_INPUT: (OWNER, EARLY, [AskKind.INPUT]),
        Trigger.DECLINE: (OWNER, EARLY, [AskKind.INPUT]),
        Trigger.APPROVE: (OWNER, EARLY, [AskKind.AUTH]),
        Trigger.DENY: (OWNER, EARLY, [AskKind.AUTH]),
        Trigger.EXPIRE: (TIMER, LATE, list(AskKind)),
    }
    if trigger in by_key:
        actor, at, wanted = by_key[trigger]
        asks = [each for each in record.asks if each.kind in wanted]
        if not record.asks:
            asks = [ask("k")]
        return [Signal(trigger, _about(each, record), actor, at) for each in asks]
    if trigger is Trigger.ASK:
        return [_asking(record, kind) for kind in AskKind]
    if trigger is Trigger.OVERRUN:
        kinds = {timer.kind for timer in record.timers()} & {TimerKind.RUN, TimerKind.TASK}
        return [
            Signal(trigger, {"timer": kind.value, "grace_s": 10.0}, TIMER, LATE)
            for kind in sorted(kinds) or [TimerKind.TASK]
        ]
    actor, at, data = _others(record)[trigger]
    return [Signal(trigger, data, actor, at)]


def _about(each: Ask, record: TaskRecord) -> dict[str, Any]:
    """Fields of every trigger that concerns one ask; more than one needs does no harm."""
    return {
        "key": each.key, "epoch": record.epoch, "grace_s": 10.0, "value": "a text",
        "digest": each.digest, "arguments": each.arguments, "edited": False,
    }  # fmt: skip


def _asking(record: TaskRecord, kind: AskKind) -> Signal:
    data: dict[str, Any] = {
        "epoch": record.epoch, "key": "new", "kind": kind.value, "prompt": "?", "schema": {},
        "due": ASK_DUE, "on_expire": "fail", "asks_max": 9,
    }  # fmt: skip
    return Signal(Trigger.ASK, data, AGENT, EARLY)


_ROOM: Final = {"log_events_max": 99}
_CALL: Final[dict[str, Any]] = {
    "key": "book-1", "name": "book", "arguments": {"args": [], "kwargs": {}}, "idempotent": False,
    **_ROOM,
}  # fmt: skip


def _others(record: TaskRecord) -> dict[Trigger, tuple[str, float, dict[str, Any]]]:
    reported = {"epoch": record.epoch, "code": "code", "message": "message"}
    run = {"run_s": 30.0}
    return {
        Trigger.SUBMIT: (OWNER, EARLY, SUBMITTED),
        Trigger.REJECT: (AGENT, EARLY, reported),
        Trigger.START: (ENGINE, RETRY_DUE, run),
        Trigger.CLAIM: (ENGINE, EARLY, {"epoch": record.epoch}),
        Trigger.RECOVER: (ENGINE, EARLY, {**run, "recoveries_max": 3}),
        Trigger.CALL: (AGENT, EARLY, {**reported, **_CALL}),
        Trigger.CALLED: (AGENT, EARLY, {**reported, "key": "begun", "value": 1}),
        Trigger.NOTE: (AGENT, EARLY, {**reported, "key": "time-1", "value": 1, **_ROOM}),
        Trigger.EMIT: (AGENT, EARLY, {**reported, "n": 1, "artifact": {}, "log_events_max": 99}),
        Trigger.PROGRESS: (AGENT, EARLY, {**reported, "fraction": 0.5, "log_events_max": 99}),
        Trigger.CANCEL: (OWNER, EARLY, {"grace_s": 10.0, "reason": "changed my mind"}),
        Trigger.COMPLETE: (AGENT, EARLY, {**reported, "parts": [{"text": "done"}]}),
        Trigger.FAIL: (AGENT, EARLY, reported),
        Trigger.RETRY: (AGENT, EARLY, {**reported, "not_before": RETRY_DUE}),
        Trigger.STOPPED: (AGENT, EARLY, reported),
        Trigger.ABANDON: (TIMER, LATE, reported),
        Trigger.FINALIZE: (ENGINE, EARLY, {"turn_alive": False, "deliveries_left": 0}),
    }


def row_for(record: TaskRecord, signal: Signal) -> Row | None:
    """The row that the table's rule 3 names: the first whose conditions all hold."""
    for row in TABLE:
        if (row.source, row.trigger) == (record.phase, signal.trigger):
            conditions = [*row.requires, *([] if row.when is None else [row.when])]
            if all(guard.holds(record, signal) for guard in conditions):
                return row
    return None


def everything() -> Iterator[tuple[TaskRecord, Signal]]:
    """Every record with every signal that its phase has a row for."""
    declared = {(row.source, row.trigger) for row in TABLE}
    for phase, trigger in itertools.product(Phase, Trigger):
        if (phase, trigger) in declared:
            for record in RECORDS[phase]:
                for signal in signals(record, trigger):
                    yield record, signal
