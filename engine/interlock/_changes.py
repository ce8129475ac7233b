"""How each move changes what the record holds.  Pure: a change touches its draft only."""

from collections.abc import Callable
from typing import TypeAlias

from interlock._event import Signal
from interlock._payload import NOT_MADE
from interlock._phases import Phase
from interlock._record import (
    OUTCOME_OF,
    Active,
    Ask,
    AskKind,
    Details,
    Ended,
    Queued,
    StopCause,
    Stopping,
    TaskRecord,
    Waiting,
)


class Draft:
    """The next record while it is being made: the throw-away model of the machine.

    `phase` is written by the machine alone.
    """

    __slots__ = (
        "attempt",
        "calls",
        "closed",
        "details",
        "epoch",
        "held",
        "phase",
        "record",
        "refused",
        "row",
    )

    def __init__(self, record: TaskRecord) -> None:
        self.record: TaskRecord = record
        self.phase: Phase = record.phase
        self.details: Details = record.details
        self.epoch: int = record.epoch
        self.attempt: int = record.attempt
        self.closed: tuple[str, ...] = record.closed
        self.calls: tuple[str, ...] = record.calls
        self.row: object = None
        #: The guards that were asked already, of rows that share them.
        self.held: object = None
        self.refused: object = None


Change: TypeAlias = Callable[[Draft, Signal], None]


def unchanged(_draft: Draft, _signal: Signal) -> None:
    """The move says it all."""


def started(draft: Draft, signal: Signal) -> None:
    """A new turn: next epoch, next attempt, the run clock starts."""
    draft.epoch += 1
    draft.attempt += 1
    draft.details = Active(_due(signal.at, signal.data["run_s"]))


def recovered(draft: Draft, signal: Signal) -> None:
    """The turn was lost: next epoch, same attempt, a fresh run clock."""
    assert isinstance(draft.details, Active)
    draft.epoch += 1
    draft.details = Active(_due(signal.at, signal.data["run_s"]), draft.details.recoveries + 1)


def fenced(draft: Draft, _signal: Signal) -> None:
    """Whoever ran the turn reports in vain from now on."""
    draft.epoch += 1


def asked(draft: Draft, signal: Signal) -> None:
    """One more open ask; the run clock stops with the first."""
    ask = _ask_of(signal)
    match draft.details:
        case Waiting(asks=asks, run_left_s=left):
            draft.details = Waiting((*asks, ask), left)
        case Active(run_due=due):
            draft.details = Waiting((ask,), None if due is None else max(0.0, due - signal.at))
        case _:
            raise AssertionError(draft.details)


def answered(draft: Draft, signal: Signal) -> None:
    """One ask less; after the last the turn goes on under a new epoch."""
    _close(draft, signal)
    if isinstance(draft.details, Active):
        draft.epoch += 1


def withdrawn(draft: Draft, signal: Signal) -> None:
    """One ask less; the turn that asked is still there, so its epoch stands."""
    _close(draft, signal)


def call_begun(draft: Draft, signal: Signal) -> None:
    """One more call of which nobody knows yet what it came to."""
    key = signal.data["key"]
    if key not in draft.calls:
        draft.calls = (*draft.calls, key)


def call_ended(draft: Draft, signal: Signal) -> None:
    """One less."""
    key = signal.data["key"]
    assert key in draft.calls
    draft.calls = tuple(call for call in draft.calls if call != key)
    was_made = signal.data.get("error", {}).get("code") != NOT_MADE
    if was_made and isinstance(draft.details, Active):
        draft.details = Active(draft.details.run_due)  # It got further than before.


def requeued(draft: Draft, signal: Signal) -> None:
    """Back in the queue, not before its back-off is over."""
    draft.details = Queued(signal.data["not_before"])


def stopped_by_client(draft: Draft, signal: Signal) -> None:
    """The turn was told to stop because a client asked for it."""
    _stop(draft, signal, StopCause.CLIENT, signal.data.get("reason"))


def stopped_by_denial(draft: Draft, signal: Signal) -> None:
    """The turn was told to stop because a tool call was denied."""
    _stop(draft, signal, StopCause.DENIED, signal.data.get("reason"))


def stopped_by_decline(draft: Draft, signal: Signal) -> None:
    """The turn was told to stop because somebody would not say what it needs."""
    _stop(draft, signal, StopCause.DECLINED, signal.data.get("reason"))


def stopped_by_expiry(draft: Draft, signal: Signal) -> None:
    """The turn was told to stop because nobody answered in time."""
    _stop(draft, signal, StopCause.ASK_EXPIRED, f"nobody answered {signal.data['key']!r} in time")


def stopped_by_deadline(draft: Draft, signal: Signal) -> None:
    """The turn was told to stop because the task ran out of time."""
    _stop(draft, signal, _deadline(signal), None)


def cancelled_unstarted(draft: Draft, signal: Signal) -> None:
    """No turn was there to stop."""
    draft.details = Ended(Phase.CANCELLED, StopCause.CLIENT, signal.data.get("reason"))


def timed_out_unstarted(draft: Draft, signal: Signal) -> None:
    """It ran out of time in the queue."""
    draft.details = Ended(Phase.TIMED_OUT, _deadline(signal))


def completed(draft: Draft, _signal: Signal) -> None:
    """The result itself stays in the log: it may be large."""
    draft.details = Ended(Phase.COMPLETED)


def failed(draft: Draft, signal: Signal) -> None:
    """The agent raised, or returned what is no result."""
    draft.details = Ended(Phase.FAILED, signal.data["code"], signal.data["message"])


def rejected(draft: Draft, signal: Signal) -> None:
    """The agent, or whoever admits tasks, will not do it."""
    draft.details = Ended(Phase.REJECTED, signal.data["code"], signal.data["message"])


def stopped(draft: Draft, _signal: Signal) -> None:
    """The turn has really ended: the outcome is what the recorded cause leads to."""
    draft.details = _ended_by_stop(draft.details, abandoned=False)


def abandoned(draft: Draft, _signal: Signal) -> None:
    """The turn would not end: it is fenced off, and the record says so."""
    draft.epoch += 1
    draft.details = _ended_by_stop(draft.details, abandoned=True)


def _due(at: float, after_s: float | None) -> float | None:
    return None if after_s is None else at + after_s


def _deadline(signal: Signal) -> StopCause:
    return StopCause.RUN_DEADLINE if signal.data["timer"] == "run" else StopCause.TASK_DEADLINE


def _close(draft: Draft, signal: Signal) -> None:
    key = signal.data["key"]
    assert isinstance(draft.details, Waiting)
    left = tuple(ask for ask in draft.details.asks if ask.key != key)
    assert len(left) == len(draft.details.asks) - 1
    draft.closed = (*draft.closed, key)
    if left:
        draft.details = Waiting(left, draft.details.run_left_s)
    else:
        draft.details = Active(_due(signal.at, draft.details.run_left_s))


def _stop(draft: Draft, signal: Signal, cause: StopCause, message: str | None) -> None:
    if isinstance(draft.details, Waiting):
        draft.closed = (*draft.closed, *(ask.key for ask in draft.details.asks))
    draft.details = Stopping(cause, signal.at + signal.data["grace_s"], message)


def _ended_by_stop(details: Details, *, abandoned: bool) -> Ended:
    assert isinstance(details, Stopping)
    return Ended(OUTCOME_OF[details.cause], details.cause, details.message, abandoned)


def _ask_of(signal: Signal) -> Ask:
    data = signal.data
    return Ask(
        key=data["key"],
        kind=AskKind(data["kind"]),
        prompt=data["prompt"],
        schema=data["schema"],
        asked_at=signal.at,
        due=data["due"],
        on_expire=data["on_expire"],
        default=data.get("default"),
        tool=data.get("tool"),
        arguments=data.get("arguments"),
        digest=data.get("digest"),
        allow_edit=data.get("allow_edit", False),
        on_deny=data.get("on_deny", "stop"),
        approvers=tuple(data.get("approvers", ())),
        by_text=data.get("by_text", False),
        phase=Phase(data["phase"]) if "phase" in data else None,
    )
