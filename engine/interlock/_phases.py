"""The phases of a task and the triggers that move it, and nothing else.

A phase is the only record of where a task stands.  There is no flag beside it:
"is it over?", "is it waiting?" are questions about the phase, answered here.
"""

import enum
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final, Self


class Phase(enum.StrEnum):
    """Where one task stands in its life.

    An extended lifecycle has further phases in which a task waits (`further`): instances of
    this class as well, that iterating over it does not give.
    """

    #: The phase below that it behaves like, and is shown as where there is no word for it.
    kin: "Phase"

    SUBMITTED = "submitted"
    RUNNING = "running"
    WAITING_INPUT = "waiting_input"
    WAITING_AUTH = "waiting_auth"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    REJECTED = "rejected"
    FINALIZED = "finalized"

    def __new__(cls, value: str) -> Self:
        """Make a phase, which is its own kin."""
        phase = str.__new__(cls, value)
        phase._value_ = value
        phase.kin = phase
        return phase

    @classmethod
    def _missing_(cls, value: object) -> "Phase | None":
        return _FURTHER.get(value) if isinstance(value, str) else None

    @classmethod
    def further(cls, name: str, like: "Phase") -> "Phase":
        """A phase of this process for `Lifecycle.extend`, in which a task waits.

        `like` is `WAITING_INPUT` or `WAITING_AUTH`: it is left by a value or by a decision, and
        protocols that have no word for it show it as that.  The same again is the same phase.

        Raises:
            ValueError: `like` is no phase to wait in, or the name is taken or is none.
        """
        like = Phase(like)
        known = _FURTHER.get(name) or cls._value2member_map_.get(name)
        if isinstance(known, Phase):
            if known.kin is like and known is not like:
                return known
            raise ValueError(f"phase {name!r} is there already, and is like {known.kin}")
        if like not in {cls.WAITING_INPUT, cls.WAITING_AUTH}:
            raise ValueError(
                f"{name!r} is like {like}; like waiting_input or waiting_auth it may be"
            )
        if not name.isidentifier() or not name.isascii() or name != name.lower():
            raise ValueError(f"{name!r} is no name of a phase; letters as in 'waiting_payment' are")
        phase = str.__new__(cls, name)
        phase._name_ = name.upper()
        phase._value_ = name
        phase.kin = like
        _FURTHER[name] = phase
        return phase


#: By name; a store that was written under an extended lifecycle is read by it.
_FURTHER: Final[dict[object, Phase]] = {}


class PhaseSet(AbstractSet[Phase]):
    """Phases, and with each those further ones that are like it."""

    def __init__(self, phases: Iterable[Phase]) -> None:
        self._kin: Final = frozenset(phase.kin for phase in phases)

    @classmethod
    def _from_iterable(cls, it: Iterable[Phase]) -> frozenset[Phase]:  # type: ignore[override]
        """What a union and the like come to: these very phases, and none that is like them."""
        return frozenset(it)

    def __contains__(self, phase: object) -> bool:
        return isinstance(phase, Phase) and phase.kin in self._kin

    def __iter__(self) -> Iterator[Phase]:
        yield from self._kin
        yield from (phase for phase in _FURTHER.values() if phase.kin in self._kin)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __hash__(self) -> int:
        return hash(self._kin)

    def __repr__(self) -> str:
        return f"PhaseSet({', '.join(sorted(self))})"


class Trigger(enum.StrEnum):
    """What happened to a task, or is asked of it.  A fact or an imperative."""

    SUBMIT = "submit"
    REJECT = "reject"
    START = "start"
    CLAIM = "claim"
    RECOVER = "recover"
    EMIT = "emit"
    PROGRESS = "progress"
    CALL = "call"
    CALLED = "called"
    NOTE = "note"
    ASK = "ask"
    WITHDRAW = "withdraw"
    PROVIDE_INPUT = "provide_input"
    DECLINE = "decline"
    APPROVE = "approve"
    DENY = "deny"
    EXPIRE = "expire"
    OVERRUN = "overrun"
    CANCEL = "cancel"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    STOPPED = "stopped"
    ABANDON = "abandon"
    FINALIZE = "finalize"


#: What closes an ask by what somebody says to it.
ANSWERS: Final = frozenset({Trigger.PROVIDE_INPUT, Trigger.DECLINE, Trigger.APPROVE, Trigger.DENY})
#: What closes the ask that it names, by whatever came first.
CLOSES: Final = ANSWERS | {Trigger.EXPIRE, Trigger.WITHDRAW}

_WAITS: Final = (Phase.WAITING_INPUT, Phase.WAITING_AUTH)
_ENDS: Final = (
    Phase.COMPLETED,
    Phase.FAILED,
    Phase.CANCELLED,
    Phase.TIMED_OUT,
    Phase.REJECTED,
)
WAITING: Final = PhaseSet(_WAITS)
OUTCOMES: Final = PhaseSet(_ENDS)
#: Phases in which a task can still be cancelled or run out of time.
LIVE: Final = PhaseSet((Phase.SUBMITTED, Phase.RUNNING, *_WAITS))
#: Phases in which the turn of a task is somebody's to run, or to stop.
AT_WORK: Final = PhaseSet((Phase.RUNNING, Phase.CANCELLING))
#: Nothing more will happen that a client can see.
OVER: Final = PhaseSet((*_ENDS, Phase.FINALIZED))
#: What a client is shown: `finalized` is shown as the outcome it came from.
VISIBLE: Final = PhaseSet(phase for phase in Phase if phase is not Phase.FINALIZED)


class Group(enum.StrEnum):
    """The stretch of a task's life that a phase belongs to: what pictures draw together."""

    LIVE = "live"
    WAITING = "waiting"
    STOPPING = "stopping"
    OUTCOME = "outcome"
    END = "end"


def group_of(phase: Phase) -> Group:
    """The stretch of life that a phase belongs to."""
    if phase in WAITING:
        return Group.WAITING
    if phase in LIVE:
        return Group.LIVE
    if phase in OUTCOMES:
        return Group.OUTCOME
    return Group.END if phase is Phase.FINALIZED else Group.STOPPING
