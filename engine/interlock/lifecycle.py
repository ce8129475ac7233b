"""What a lifecycle is made of, for rows and conditions of one's own (`Lifecycle.extend`).

`changes` holds what a row may do to the record; effects are what the engine does when the row is
committed.  A guard is pure: it reads the record and the signal, and looks nowhere else.
"""

from interlock import _changes as changes
from interlock._effects import (
    ArmTimer,
    DisarmTimer,
    Effect,
    Publish,
    Release,
    ResumeTurn,
    StartTurn,
    StopTurn,
    TimerKind,
)
from interlock._event import Event, Signal
from interlock._guards import Guard, guard
from interlock._machine import LIFECYCLE, Lifecycle, Move
from interlock._phases import Phase, PhaseSet, Trigger
from interlock._record import TaskRecord
from interlock._transitions import Row

__all__ = [
    "LIFECYCLE",
    "ArmTimer",
    "DisarmTimer",
    "Effect",
    "Event",
    "Guard",
    "Lifecycle",
    "Move",
    "Phase",
    "PhaseSet",
    "Publish",
    "Release",
    "ResumeTurn",
    "Row",
    "Signal",
    "StartTurn",
    "StopTurn",
    "TaskRecord",
    "TimerKind",
    "Trigger",
    "changes",
    "guard",
]
