"""What the machine asks the world to do.  Data only: nothing here acts.

An effect carries no copy of what the record already says (which epoch to start,
when a timer is due): it names the work, and the record that came with it is the
instruction.  So an effect can never disagree with the record.
"""

import enum
from dataclasses import dataclass
from typing import TypeAlias


class TimerKind(enum.StrEnum):
    """What a timer limits; each kind fires one trigger (see `_record.TIMER_TRIGGER`)."""

    RETRY = "retry"
    RUN = "run"
    TASK = "task"
    ASK = "ask"
    GRACE = "grace"


@dataclass(frozen=True, slots=True)
class StartTurn:
    """Run the agent under the record's epoch; with `replay` it has run before."""

    replay: bool = False


@dataclass(frozen=True, slots=True)
class ResumeTurn:
    """Every ask is answered: hand the answers to the turn and let it go on."""


@dataclass(frozen=True, slots=True)
class StopTurn:
    """Interrupt the turn; its report must follow as `stopped` or `abandon`."""


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """The record now has a timer of this kind."""

    kind: TimerKind


@dataclass(frozen=True, slots=True)
class DisarmTimer:
    """The record no longer has the timer of this kind that it had."""

    kind: TimerKind


@dataclass(frozen=True, slots=True)
class Publish:
    """Show the new phase to whoever watches."""


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing more will run: let go of the task as soon as nothing is left to deliver."""


Effect: TypeAlias = StartTurn | ResumeTurn | StopTurn | ArmTimer | DisarmTimer | Publish | Release
