"""Signals for a walk: for any trigger some data that fit a record, or almost.

One set of data serves all triggers: who reads a field, finds it.  So a trigger that only a
custom lifecycle knows gets it too, and has a chance to be fired.
"""

import random
from collections.abc import Sequence
from typing import Any, Final

from interlock import AskKind, OpenAsk, Phase, Signal, StopCause, TaskRecord, Trigger
from interlock._event import AGENT, TIMER
from interlock._phases import ANSWERS
from interlock._record import TIMER_TRIGGER

_BEGAN: Final = 1000.0
_TASK_S: Final = 10_000.0
_ASK_S: Final = 50.0
_RUN_S: Final = 500.0
_OWNER: Final = "ada"
_STRANGER: Final = "mallory"
#: How many of the things about a signal are wrong, when it is not to fit.
_WRONG: Final = 0.2
#: How often the time is: few triggers mind, and those should not go unseen.
_UNTIMELY: Final = 0.4

_BY_TIMER: Final = frozenset(TIMER_TRIGGER.values()) - {Trigger.START}
_BY_CLIENT: Final = ANSWERS | {Trigger.CANCEL}


def begun() -> Signal:
    """The signal that submits a task."""
    data: dict[str, Any] = {
        "task_id": "t",
        "owner": _OWNER,
        "context_id": "c",
        "parts": [],
        "token": None,
    }
    return Signal(Trigger.SUBMIT, {**data, "due": _BEGAN + _TASK_S}, _OWNER, _BEGAN)


def signal_for(
    trigger: Trigger,
    record: TaskRecord,
    rng: random.Random,
    *,
    fits: bool,
    further: Sequence[Phase] = (),
) -> Signal:
    """One occurrence of the trigger; if it is to fit, nothing about it is wrong on purpose.

    `further` are the phases that an extended lifecycle has to wait in, for asks that name one.
    """
    wrong = _Wrong(rng, 0.0 if fits else _WRONG)
    ask = _ask_for(trigger, record, rng)
    at = max(record.updated_at, _time_for(trigger, record, rng, ask))
    if not fits and rng.random() < _UNTIMELY:
        # Too early for a timer and what waits for one, or too late for an answer.
        at = rng.choice([record.updated_at, record.updated_at, at + 2 * _TASK_S])
    actor = _actor_for(trigger, rng)
    if wrong():
        actor = rng.choice([_OWNER, _STRANGER, AGENT, TIMER])
    data: dict[str, Any] = {
        **_of_turns(record, rng, wrong, at),
        **_of_asks(record, rng, wrong, ask, at),
        "key": _key_for(trigger, record, rng, wrong, ask),
    }
    waits_in = rng.choice([None, *further])
    if waits_in is not None:
        kind = AskKind.AUTH if waits_in.kin is Phase.WAITING_AUTH else AskKind.INPUT
        data |= {"phase": waits_in.value, "kind": kind.value}
    return Signal(trigger, data, actor, at)


class _Wrong:
    """Whether the next thing is to be wrong."""

    def __init__(self, rng: random.Random, likely: float) -> None:
        self._rng, self._likely = rng, likely

    def __call__(self) -> bool:
        return self._rng.random() < self._likely


def _ask_for(trigger: Trigger, record: TaskRecord, rng: random.Random) -> OpenAsk | None:
    wanted = {
        Trigger.PROVIDE_INPUT: AskKind.INPUT,
        Trigger.DECLINE: AskKind.INPUT,
        Trigger.APPROVE: AskKind.AUTH,
        Trigger.DENY: AskKind.AUTH,
    }.get(trigger)
    fitting = [ask for ask in record.asks if wanted in {None, ask.kind}]
    asks = fitting or list(record.asks)
    return rng.choice(asks) if asks else None


def _time_for(
    trigger: Trigger, record: TaskRecord, rng: random.Random, ask: OpenAsk | None
) -> float:
    """Soon after the last event, or when the timer of the trigger is due."""
    if trigger is Trigger.EXPIRE and ask is not None:
        return ask.due
    dues = [timer.due for timer in record.timers() if TIMER_TRIGGER[timer.kind] is trigger]
    return rng.choice(dues) if dues else record.updated_at + rng.random()


def _actor_for(trigger: Trigger, rng: random.Random) -> str:
    if trigger in _BY_TIMER:
        return TIMER
    if trigger in _BY_CLIENT:
        return _OWNER
    # Whoever fires a trigger that is not ours: nobody here knows.
    return AGENT if trigger in Trigger.__members__.values() else rng.choice([_OWNER, AGENT, TIMER])


def _key_for(
    trigger: Trigger,
    record: TaskRecord,
    rng: random.Random,
    wrong: _Wrong,
    ask: OpenAsk | None,
) -> str:
    known = [*record.closed, *record.calls, *(each.key for each in record.asks), "nobody's"]
    if wrong():
        return rng.choice(known)
    if trigger is Trigger.CALLED and record.calls:
        return rng.choice(record.calls)
    if trigger in {Trigger.ASK, Trigger.CALL} or ask is None:
        return f"k{record.seq}"
    return ask.key


def _of_turns(record: TaskRecord, rng: random.Random, wrong: _Wrong, at: float) -> dict[str, Any]:
    """What start, reports, deadlines and the end carry."""
    kinds = [timer.kind.value for timer in record.timers()]
    return {
        "epoch": record.epoch - wrong(),
        "run_s": rng.choice([None, _RUN_S]),
        "grace_s": 30.0,
        "timer": rng.choice([*(kind for kind in kinds if kind in {"run", "task"}), "task"]),
        "not_before": rng.choice([None, at + 5.0, at + 5.0, at + 5.0]),
        "recoveries_max": 0 if wrong() else 100,
        "log_events_max": 0 if wrong() else 10_000,
        "code": StopCause.DENIED.value,
        "message": "because",
        "reason": None,
        "turn_alive": wrong(),
        "deliveries_left": int(wrong()),
        "parts": [],
        "result": None,
    }


def _of_asks(
    record: TaskRecord, rng: random.Random, wrong: _Wrong, ask: OpenAsk | None, at: float
) -> dict[str, Any]:
    """What asks and their answers carry; an answer is to the ask, if there is one."""
    digest = f"digest {record.seq}" if ask is None or ask.digest is None else ask.digest
    return {
        "kind": rng.choice(list(AskKind)).value,
        "prompt": "?",
        "schema": {"type": "object", "properties": {"seats": {"type": "integer"}}},
        "due": at + _ASK_S,
        "on_expire": rng.choice(["fail", "deny", "default"]),
        "on_deny": rng.choice(["stop", "tell_agent"]),
        "default": {},
        "tool": "book",
        "arguments": {"seats": rng.choice([2, "two"])} if wrong() else {"seats": 1},
        "digest": "another" if wrong() else digest,
        "allow_edit": rng.random() < 1 / 2,
        "approvers": rng.choice([[], [_OWNER]]),
        "asks_max": 0 if wrong() else 100,
        "value": 5 if wrong() else {},
        "edited": False,
    }
