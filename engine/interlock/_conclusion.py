"""What the end of a turn means for its task."""

import logging
from typing import Final

from interlock._agent import result_parts
from interlock._cell import Choice
from interlock._clock import Clock
from interlock._event import Data
from interlock._phases import Phase, Trigger
from interlock._record import TaskRecord
from interlock._turn import Raised, TurnEnd
from interlock.errors import EngineError, Rejected, ResultInvalid, Retryable
from interlock.models import Limits

#: Characters of what an agent says of its failure: a sentence for people, not a payload.
MESSAGE_CHARS_MAX: Final = 2_000

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
            return _failure(end.error, record, limits, clock)
        try:
            parts = result_parts(end.value, bytes_max=limits.payload_bytes_max)
        except ResultInvalid as error:
            return _failure(error, record, limits, clock)
        return Trigger.COMPLETE, {"parts": parts}

    return choose


def log_failure(record: TaskRecord, end: TurnEnd) -> None:
    """The traceback of an agent's failure: it goes to the log and nowhere else."""
    stopped = record.phase is Phase.CANCELLING
    if isinstance(end, Raised) and not stopped and not isinstance(end.error, Rejected):
        _log.error("task %s: the agent failed", record.task_id, exc_info=end.error)


def _failure(
    error: BaseException, record: TaskRecord, limits: Limits, clock: Clock
) -> tuple[Trigger, Data]:
    match error:
        case Rejected():
            return Trigger.REJECT, {"code": error.code, "message": _words(error)}
        case Retryable() if record.attempt < limits.retry.attempts_max:
            return Trigger.RETRY, {
                "code": error.code,
                "message": _words(error),
                "not_before": clock.now() + limits.retry.delay_s(record.attempt),
            }
        case EngineError():
            # Our own errors say what is so, in words that are safe to show.
            return Trigger.FAIL, {"code": error.code, "message": _words(error)}
        case _:
            kind = type(error).__name__
            return Trigger.FAIL, {"code": "agent_error", "message": f"the agent raised {kind}"}


def _words(error: EngineError) -> str:
    """The message, short enough for an event, and without halves of characters."""
    return str(error)[:MESSAGE_CHARS_MAX].encode(errors="replace").decode()
