"""One task: who it belongs to, its phase, and the data which that phase owns.

The record is a fold of the task's log and nothing else: whatever is in it can be
computed again from the events (`_machine.fold`).  Only `_machine` makes the next one.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from pydantic import TypeAdapter

from interlock._effects import TimerKind
from interlock._json import frozen
from interlock._phases import Phase, Trigger
from interlock.models import JsonObject, JsonValue

OnExpire: TypeAlias = Literal["fail", "deny", "default"]
OnDeny: TypeAlias = Literal["stop", "tell_agent"]


class AskKind(enum.StrEnum):
    """What an ask wants: a value, or a decision about a tool call."""

    INPUT = "input"
    AUTH = "auth"


class StopCause(enum.StrEnum):
    """Why a task is being stopped; set once, on the way into `cancelling`."""

    CLIENT = "cancelled_by_client"
    DENIED = "denied"
    DECLINED = "declined"
    ASK_EXPIRED = "ask_expired"
    TASK_DEADLINE = "task_deadline"
    RUN_DEADLINE = "run_deadline"


#: The outcome that each cause leads to once the turn has ended.
OUTCOME_OF: Final[dict[StopCause, Phase]] = {
    StopCause.CLIENT: Phase.CANCELLED,
    StopCause.DENIED: Phase.CANCELLED,
    StopCause.DECLINED: Phase.CANCELLED,
    StopCause.ASK_EXPIRED: Phase.FAILED,
    StopCause.TASK_DEADLINE: Phase.TIMED_OUT,
    StopCause.RUN_DEADLINE: Phase.TIMED_OUT,
}
assert OUTCOME_OF.keys() == set(StopCause)


@dataclass(frozen=True, slots=True)
class Ask:
    """One open question of a task.  Times are seconds since 1970."""

    key: str
    kind: AskKind
    prompt: str
    #: JSON schema of the answer (input), or of the tool's arguments (auth); {} accepts anything.
    schema: JsonObject
    asked_at: float
    due: float
    on_expire: OnExpire = "fail"
    default: JsonValue = None
    #: Auth only: what would be done, and the digest that an approval must name.
    tool: str | None = None
    arguments: JsonObject | None = None
    digest: str | None = None
    allow_edit: bool = False
    on_deny: OnDeny = "stop"
    #: Principals who may answer; empty is anybody to whom the adapter shows the task.
    approvers: tuple[str, ...] = ()
    #: Auth only: whether plain words may decide it, where an adapter has a vocabulary.
    by_text: bool = False
    #: The phase of an extended lifecycle in which the task waits for it.
    phase: Phase | None = None

    def __post_init__(self) -> None:
        """Nobody to whom it is shown changes what is decided by it (I13)."""
        for name in ("schema", "default", "arguments"):
            object.__setattr__(self, name, frozen(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Queued:
    """Submitted: waiting for a slot, and after a retry for its back-off."""

    not_before: float | None = None


@dataclass(frozen=True, slots=True)
class Active:
    """Running, until `run_due` at the latest."""

    run_due: float | None = None
    #: How often it was recovered since somebody last answered, or it began.
    recoveries: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Waiting for answers; the run clock stands still with `run_left_s` to go."""

    asks: tuple[Ask, ...]
    run_left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Stopping:
    """Cancelling: the turn was told to stop, and has until `grace_due`."""

    cause: StopCause
    grace_due: float
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """Over.  The outcome outlives `finalized`; `code` is None only for a completed task."""

    outcome: Phase
    code: str | None = None
    message: str | None = None
    #: The turn would not end in its grace time; its thread may still be running, fenced off.
    abandoned: bool = False


Details: TypeAlias = Queued | Active | Waiting | Stopping | Ended

OWNED: Final[dict[Phase, type[Details]]] = {
    Phase.SUBMITTED: Queued,
    Phase.RUNNING: Active,
    Phase.WAITING_INPUT: Waiting,
    Phase.WAITING_AUTH: Waiting,
    Phase.CANCELLING: Stopping,
    Phase.COMPLETED: Ended,
    Phase.FAILED: Ended,
    Phase.CANCELLED: Ended,
    Phase.TIMED_OUT: Ended,
    Phase.REJECTED: Ended,
    Phase.FINALIZED: Ended,
}
assert OWNED.keys() == set(Phase)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a task is from its first event on and never changes."""

    task_id: str
    owner: str
    context_id: str
    created_at: float
    #: When the task itself runs out of time, waits included.
    due: float


class Timer(NamedTuple):
    """A deadline of a task: `key` is the ask's for kind ask and '' for the others."""

    kind: TimerKind
    key: str
    due: float


#: The trigger that a timer of each kind fires.
TIMER_TRIGGER: Final[dict[TimerKind, Trigger]] = {
    TimerKind.RETRY: Trigger.START,
    TimerKind.RUN: Trigger.OVERRUN,
    TimerKind.TASK: Trigger.OVERRUN,
    TimerKind.ASK: Trigger.EXPIRE,
    TimerKind.GRACE: Trigger.ABANDON,
}
assert TIMER_TRIGGER.keys() == set(TimerKind)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task at one moment: the fold of its log up to `seq`."""

    identity: Identity
    phase: Phase
    details: Details
    #: Sequence number of the last event; 0 before the first.
    seq: int
    #: The fencing number: a report of an older epoch changes nothing.
    epoch: int
    #: How often the task was started, retries included.
    attempt: int
    #: When it last changed for whoever looks: `finalize` does not show.
    updated_at: float
    #: Keys of the asks that are closed, in the order in which they closed.  Never reused.
    closed: tuple[str, ...] = ()
    #: Keys of the calls that were begun and whose end nobody recorded, oldest first.
    calls: tuple[str, ...] = ()

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.identity.task_id

    @property
    def owner(self) -> str:
        """Whom the task belongs to."""
        return self.identity.owner

    @property
    def context_id(self) -> str:
        """The conversation the task is part of."""
        return self.identity.context_id

    @property
    def shown(self) -> Phase:
        """The phase a client is shown: a finalized task is shown as its outcome."""
        if self.phase is Phase.FINALIZED:
            assert isinstance(self.details, Ended)
            return self.details.outcome
        return self.phase

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The open asks, oldest first."""
        return self.details.asks if isinstance(self.details, Waiting) else ()

    def ask(self, key: str) -> Ask | None:
        """The open ask of that key."""
        if isinstance(self.details, Waiting):
            for ask in self.details.asks:
                if ask.key == key:
                    return ask
        return None

    def timers(self) -> Iterator[Timer]:
        """Every deadline that is armed now.  An outcome phase has none."""
        match self.details:
            case Ended():
                return
            case Stopping(grace_due=due):
                # The task's own deadline has nothing left to stop.
                yield Timer(TimerKind.GRACE, "", due)
                return
            case Queued(not_before=due):
                if due is not None:
                    yield Timer(TimerKind.RETRY, "", due)
            case Active(run_due=due):
                if due is not None:
                    yield Timer(TimerKind.RUN, "", due)
            case Waiting(asks=asks):
                for ask in asks:
                    yield Timer(TimerKind.ASK, ask.key, ask.due)
        yield Timer(TimerKind.TASK, "", self.identity.due)

    @property
    def due(self) -> float | None:
        """The earliest deadline, or None when the task is over: the first of `timers`."""
        # Read at every commit, so without the detour over timer objects.
        match self.details:
            case Ended():
                return None
            case Stopping(grace_due=due):
                return due
            case Waiting(asks=asks):
                first = min(ask.due for ask in asks)
            case Queued(not_before=due) | Active(run_due=due):
                first = self.identity.due if due is None else due
        return min(first, self.identity.due)

    def to_json(self) -> bytes:
        """The snapshot that a store keeps beside the log.

        Raises:
            ValueError: something in it is not of its kind, so that nobody could read it.
        """
        return _RECORD.dump_json(self, warnings="error")

    @staticmethod
    def from_json(snapshot: bytes | str) -> "TaskRecord":
        """The inverse of `to_json`; raises ValueError on anything else."""
        record = _RECORD.validate_json(snapshot)
        if not isinstance(record.details, OWNED[record.phase.kin]):
            owned = type(record.details).__name__
            raise ValueError(f"phase {record.phase} does not own {owned}")  # noqa: TRY004
        return record


_RECORD: Final = TypeAdapter(TaskRecord)
