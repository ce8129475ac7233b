"""What the end of a turn means for its task."""

import logging
from collections.abc import Sequence
from typing import Final

from interlock._agent import result_parts
from interlock._call import MESSAGE_CHARS_MAX, words_of
from interlock._cell import Choice
from interlock._clock import Clock
from interlock._event import OWN, Data
from interlock._journal import KEY_CHARS_MAX
from interlock._json import storable
from interlock._memory import AGAIN, FROM_SCRATCH, OPERATOR, SKIP
from interlock._payload import Asked
from interlock._phases import Phase, Trigger
from interlock._record import AskKind, TaskRecord
from interlock._threaded import Raised, TurnEnd
from interlock.errors import (
    Denied,
    EngineError,
    NotAccepting,
    Rejected,
    ReplayDiverged,
    ResultInvalid,
    Retryable,
    TaskParked,
)
from interlock.models import JsonValue, Limits

#: Errors that are looked at, one the cause of another, for what is behind a failure.
CAUSES_MAX: Final = 16

#: Who may answer what an operator is asked.
OPERATOR_NAME: Final = OWN + "operator"

_log: Final = logging.getLogger("interlock.agent")


def conclusion(end: TurnEnd, limits: Limits, clock: Clock) -> Choice:
    """The trigger that a turn's end fires, decided when it is its turn in the inbox.

    A cancel that came first makes any end a `stopped`.  Asks that the agent left open are
    withdrawn before the end itself.
    """

    def choose(record: TaskRecord) -> tuple[Trigger, Data]:
        if record.phase is Phase.CANCELLING:
            return Trigger.STOPPED, {}
        if record.asks:
            return Trigger.WITHDRAW, {"key": record.asks[0].key}
        if isinstance(end, Raised):
            error = _alone(end.error)
            if isinstance(error, ReplayDiverged):
                why = f"When it was run again it went another way: {words_of(error)}."
                return Trigger.ASK, operator_ask(record, why, about=error)
            return _failure(error, record, limits, clock)
        try:
            parts = result_parts(end.value, bytes_max=limits.payload_bytes_max)
        except ResultInvalid as error:
            return _failure(error, record, limits, clock)
        return Trigger.COMPLETE, {"parts": parts}

    return choose


def _alone(error: BaseException) -> BaseException:
    """The error, out of the groups that hold nothing else."""
    within: Sequence[BaseException] = getattr(error, "exceptions", ())
    is_group = issubclass(type(error), BaseExceptionGroup)
    return _alone(within[0]) if is_group and len(within) == 1 else error


def turned_away(end: TurnEnd) -> bool:
    """Whether a turn failed only because an engine refused it something while closing.

    So it is too where the agent, or what it is made with, raised an error of its own `from` that
    one.  An error of ours that it raised instead, such as `Rejected`, is its verdict.
    """
    return isinstance(end, Raised) and _turned_away(end.error)


def _turned_away(error: BaseException, causes_max: int = CAUSES_MAX) -> bool:
    if isinstance(error, NotAccepting | TaskParked):
        return True
    if isinstance(error, EngineError) or not causes_max:
        return False
    if issubclass(type(error), BaseExceptionGroup):
        within: Sequence[BaseException] = getattr(error, "exceptions", ())
        return all(_turned_away(each, causes_max - 1) for each in within)
    return error.__cause__ is not None and _turned_away(error.__cause__, causes_max - 1)


def operator_ask(record: TaskRecord, why: str, *, about: ReplayDiverged | None = None) -> Data:
    """What an operator is asked about a task whose turns cannot go on (see `Engine.resume`)."""
    task_id = record.task_id
    number = 1 + sum(key.startswith(OPERATOR) for key in record.closed)
    choices: list[JsonValue] = [AGAIN, FROM_SCRATCH]
    skip = ""
    asked: Asked = {
        "epoch": record.epoch,
        "key": f"{OPERATOR}{number}",
        "kind": AskKind.INPUT.value,
        "prompt": "",
        "schema": {},
        # It waits as long as the task may live: a crash or a new version is nobody's answer.
        # Beyond that it is the task that runs out of time, not the ask.
        "due": record.identity.due + 1.0,
        "on_expire": "fail",
        "approvers": [OPERATOR_NAME],
        # Beyond the agent's own: it must not be refused.
        "asks_max": len(record.closed) + 1,
    }
    if about is not None:
        # Whoever raised it; a key of ours is short and clean.
        key = storable(about.key, KEY_CHARS_MAX)
        asked["about"] = {"kind": about.kind, "key": key}
        choices.append(SKIP)
        skip = f", or ignoring what the log has of {key!r}"
    asked["prompt"] = (
        f"The agent cannot go on. {why} An operator decides whether it is run again as it "
        f"is, from scratch{skip}: by Engine.resume, or with interlock resume {task_id}."
    )
    asked["schema"] = {"type": "string", "enum": choices}
    return dict(asked)


def log_failure(record: TaskRecord, end: TurnEnd) -> None:
    """The traceback of an agent's failure: it goes to the log and nowhere else."""
    stopped = record.phase is Phase.CANCELLING
    if not isinstance(end, Raised) or stopped or isinstance(end.error, Rejected):
        return
    if isinstance(end.error, Denied):
        # Nothing is broken: a person said no, and the agent had nothing to say to that.
        _log.warning("task %s: the agent lets Denied through: %r", record.task_id, end.error.key)
    else:
        _log.error("task %s: the agent failed", record.task_id, exc_info=end.error)


def _failure(
    error: BaseException, record: TaskRecord, limits: Limits, clock: Clock
) -> tuple[Trigger, Data]:
    match error:
        case Rejected():
            return Trigger.REJECT, {"code": _code(error), "message": words_of(error)}
        case Retryable() if record.attempt < limits.retry.attempts_max:
            return Trigger.RETRY, {
                "code": _code(error),
                "message": words_of(error),
                "not_before": clock.now() + limits.retry.delay_s(record.attempt),
            }
        case EngineError():
            # Our own errors say what is so, in words that are safe to show.
            return Trigger.FAIL, {"code": _code(error), "message": words_of(error)}
        case _:
            kind = type(error).__name__
            return Trigger.FAIL, {"code": "agent_error", "message": f"the agent raised {kind}"}


def _code(error: EngineError) -> str:
    """The code, which a class of the agent's own may have spoilt."""
    return storable(str(error.code), MESSAGE_CHARS_MAX)
