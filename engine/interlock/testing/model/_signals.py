"""Records without what does not matter, and every signal that somebody may fire at one.

Times are abstract: of each deadline it is only known whether it has passed.  A signal comes
`EARLY`, before them all, or `LATE`, after them all; that two deadlines of one task pass in the
order of their times is not modelled, so that more may happen here than in life, and never less.
A log is never full here: `log_has_room` always holds.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from interlock._effects import TimerKind
from interlock._event import AGENT, ENGINE, TIMER, Signal
from interlock._machine import Lifecycle
from interlock._phases import Group, Phase, Trigger, group_of
from interlock._record import (
    TIMER_TRIGGER,
    Active,
    Ask,
    AskKind,
    Details,
    Ended,
    Identity,
    Queued,
    Stopping,
    TaskRecord,
    Waiting,
)

EARLY: Final = 10.0
DUE: Final = 50.0
LATE: Final = 90.0
#: The epoch of every canonical record: turns are known by how many epochs ago they lived.
EPOCH: Final = 9
#: Older than this is all the same to a guard that compares epochs.
LAG_MAX: Final = 2

_OWNER: Final = "client"
_IDENTITY: Final = Identity("t", _OWNER, "c", 0.0, DUE)
_RUN_S: Final = DUE - EARLY
_ARGUMENTS: Final[dict[str, Any]] = {"n": 1}
_CALL: Final = "call-1"

#: What an agent may want to happen when nobody answers, and after a no.
_VARIANTS: Final = {
    AskKind.INPUT: (("fail", "stop"), ("default", "tell_agent")),
    AskKind.AUTH: (("deny", "stop"), ("deny", "tell_agent")),
}


class Bounds(NamedTuple):
    """How much may happen in one life."""

    asks: int
    retries: int
    recoveries: int


class Offer(NamedTuple):
    """A signal that somebody may fire: who, and how a trace says it."""

    by: str
    says: str
    signal: Signal
    #: How many epochs ago the turn that reports began; 0 for everybody else.
    lag: int = 0


def canonical(record: TaskRecord) -> TaskRecord:
    """The record without times, numbers that only grow, and the order of what is closed."""
    return TaskRecord(
        _IDENTITY,
        record.phase,
        _without_times(record.details),
        1,
        EPOCH,
        record.attempt,
        0.0,
        tuple(sorted(record.closed)),
        record.calls,
    )


def _without_times(details: Details) -> Details:
    match details:
        case Queued(not_before=due):
            return Queued(None if due is None else DUE)
        case Active(run_due=due, recoveries=recoveries):
            return Active(None if due is None else DUE, recoveries)
        case Waiting(asks=asks, run_left_s=left):
            plain = (replace(ask, prompt="", asked_at=0.0, due=DUE) for ask in asks)
            return Waiting(tuple(plain), None if left is None else _RUN_S)
        case Stopping(cause=cause):
            return Stopping(cause, DUE)
        case Ended(outcome=outcome, abandoned=abandoned):
            return Ended(outcome, None, None, abandoned)


def submission() -> Signal:
    """The first signal of a task."""
    data: dict[str, Any] = {
        "task_id": "t", "owner": _OWNER, "context_id": "c", "parts": [], "due": DUE,
    }  # fmt: skip
    return Signal(Trigger.SUBMIT, data, _OWNER, EARLY)


def finalization(*, turn_alive: bool, owed: bool) -> Signal:
    """That nothing is left, if nothing is."""
    data = {"turn_alive": turn_alive, "deliveries_left": int(owed)}
    return Signal(Trigger.FINALIZE, data, ENGINE, EARLY)


def recovery(bounds: Bounds) -> Signal:
    """That the turn was lost with its process."""
    data = {"run_s": _RUN_S, "recoveries_max": bounds.recoveries}
    return Signal(Trigger.RECOVER, data, ENGINE, EARLY)


def operator_question(record: TaskRecord) -> Signal:
    """What is asked about a task that takes its process down."""
    key = f"operator-{sum(key.startswith('operator') for key in record.closed)}"
    return Signal(Trigger.ASK, _question(key, AskKind.INPUT, "fail", "stop", 99, 0), ENGINE, EARLY)


def stopped_without_a_turn() -> Signal:
    """What the engine says itself where there is no turn that could."""
    return Signal(Trigger.STOPPED, {"epoch": EPOCH}, ENGINE, EARLY)


def keys_of(record: TaskRecord) -> tuple[str, ...]:
    """Every key that was ever asked."""
    return (*record.closed, *(ask.key for ask in record.asks))


def offers(lifecycle: Lifecycle, record: TaskRecord, bounds: Bounds) -> Iterator[Offer]:
    """Everything that may come in, whether it is let through or not."""
    yield from _of_clients(record)
    for lag in range(LAG_MAX + 1):
        yield from _of_a_turn(lifecycle, record, bounds, lag)
    yield from _of_timers(record)
    for at in (EARLY, LATE):
        start = Signal(Trigger.START, {"run_s": _RUN_S}, ENGINE, at)
        yield Offer("engine", "start", start)


def _of_clients(record: TaskRecord) -> Iterator[Offer]:
    yield Offer("client", "cancel", Signal(Trigger.CANCEL, {"grace_s": 10.0}, _OWNER, EARLY))
    for key in keys_of(record):
        for at in (EARLY, LATE):
            yield from _answers(key, at)


def _answers(key: str, at: float) -> Iterator[Offer]:
    late = " too late" if at == LATE else ""
    right: dict[str, Any] = {
        "key": key, "value": "v", "digest": f"of {key}", "arguments": _ARGUMENTS, "edited": False,
        "grace_s": 10.0,
    }  # fmt: skip
    for trigger in (Trigger.PROVIDE_INPUT, Trigger.DECLINE, Trigger.APPROVE, Trigger.DENY):
        yield Offer("client", f"{trigger} {key}{late}", Signal(trigger, right, _OWNER, at))
    own = Signal(Trigger.APPROVE, right, AGENT, at)
    yield Offer("client", f"approve {key} in the name of the agent", own)
    for trigger in (Trigger.APPROVE, Trigger.DENY):
        other = Signal(trigger, {**right, "digest": "of another"}, _OWNER, at)
        yield Offer("client", f"{trigger} something else as {key}{late}", other)
    edited = Signal(Trigger.APPROVE, {**right, "arguments": {"n": 2}, "edited": True}, _OWNER, at)
    yield Offer("client", f"approve {key} with other arguments{late}", edited)


def _of_a_turn(
    lifecycle: Lifecycle, record: TaskRecord, bounds: Bounds, lag: int
) -> Iterator[Offer]:
    epoch = EPOCH - lag
    told: dict[str, Any] = {
        "epoch": epoch, "code": "c", "message": "m", "parts": [], "not_before": DUE,
        "log_events_max": 99, "key": _CALL, "value": 1, "name": "f", "arguments": {},
        "idempotent": True, "n": 1, "artifact": {}, "fraction": None,
    }  # fmt: skip
    names = [
        Trigger.COMPLETE, Trigger.FAIL, Trigger.REJECT, Trigger.STOPPED, Trigger.EMIT,
        Trigger.PROGRESS, Trigger.NOTE, Trigger.CALL, Trigger.CALLED,
    ]  # fmt: skip
    if record.attempt <= bounds.retries:
        names.append(Trigger.RETRY)
    by = "zombie" if lag else "turn"
    for trigger in names:
        yield Offer(by, trigger.value, Signal(trigger, told, AGENT, EARLY), lag)
    for key in keys_of(record):
        data = {"epoch": epoch, "key": key}
        yield Offer(by, f"withdraw {key}", Signal(Trigger.WITHDRAW, data, AGENT, EARLY), lag)
        again = _question(key, AskKind.INPUT, "fail", "stop", 99, lag)
        yield Offer(by, f"ask {key} again", Signal(Trigger.ASK, again, AGENT, EARLY), lag)
    yield from _questions(lifecycle, record, bounds, lag)


def _questions(
    lifecycle: Lifecycle, record: TaskRecord, bounds: Bounds, lag: int
) -> Iterator[Offer]:
    by = "zombie" if lag else "turn"
    key = f"k{sum(key.startswith('k') for key in keys_of(record)) + 1}"
    for kind, variants in _VARIANTS.items():
        for on_expire, on_deny in variants:
            data = _question(key, kind, on_expire, on_deny, bounds.asks, lag)
            says = f"ask {key} ({kind}, {on_expire}, {on_deny})"
            yield Offer(by, says, Signal(Trigger.ASK, data, AGENT, EARLY), lag)
    for phase in lifecycle.phases:
        if group_of(phase) is not Group.WAITING or phase.kin is phase:
            continue
        kind = AskKind.AUTH if phase.kin is Phase.WAITING_AUTH else AskKind.INPUT
        for on_expire, on_deny in _VARIANTS[kind]:
            data = _question(key, kind, on_expire, on_deny, bounds.asks, lag)
            signal = Signal(Trigger.ASK, {**data, "phase": str(phase)}, AGENT, EARLY)
            yield Offer(by, f"ask {key} ({phase}, {on_expire}, {on_deny})", signal, lag)


def _question(
    key: str, kind: AskKind, on_expire: str, on_deny: str, asks_max: int, lag: int
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "epoch": EPOCH - lag, "key": key, "kind": kind.value, "prompt": "", "schema": {},
        "due": DUE, "on_expire": on_expire, "on_deny": on_deny, "asks_max": asks_max,
    }  # fmt: skip
    if kind is AskKind.AUTH:
        data |= {"tool": "f", "arguments": _ARGUMENTS, "digest": f"of {key}"}
    return data


def _of_timers(record: TaskRecord) -> Iterator[Offer]:
    """Of every kind, in time, too early, and for what is no longer there.

    A timer that was armed for something else rings early for what there is now.
    """
    for kind in TimerKind:
        if kind is TimerKind.RETRY:
            continue  # It queues the task, and `start` is the engine's.
        keys = keys_of(record) if kind is TimerKind.ASK else ("",)
        for key in keys:
            for at in (EARLY, LATE):
                data = {"key": key, "timer": kind.value, "grace_s": 10.0, "epoch": EPOCH}
                which = " ".join([kind.value, *([key] if key else [])])
                says = f"{which} {'is due' if at == LATE else 'rings before its time'}"
                yield Offer("timer", says, Signal(TIMER_TRIGGER[kind], data, TIMER, at))


def open_ask(record: TaskRecord, key: str) -> Ask | None:
    """The open ask of that key: another word for `TaskRecord.ask`, which guards use."""
    return next((ask for ask in record.asks if ask.key == key), None)
