"""Why a task stops, in words that are the same over every protocol."""

from typing import Final

from interlock import StopCause

#: For each cause, as the record's own code: while the turn is still to end, and once it has.
STOPS: Final[dict[str, tuple[str, str]]] = {
    StopCause.CLIENT: ("The task is being cancelled.", "The task was cancelled."),
    StopCause.DENIED: (
        "The task is stopping: a tool call was denied.",
        "The task was stopped: a tool call was denied.",
    ),
    StopCause.DECLINED: (
        "The task is stopping: a question was declined.",
        "The task was stopped: a question was declined.",
    ),
    StopCause.ASK_EXPIRED: (
        "The task is stopping: nobody answered in time.",
        "The task failed: nobody answered in time.",
    ),
    StopCause.TASK_DEADLINE: (
        "The task is stopping: its time is over.",
        "The task ran out of time.",
    ),
    StopCause.RUN_DEADLINE: (
        "The task is stopping: it ran for too long.",
        "The task ran for too long.",
    ),
}
assert STOPS.keys() == set(StopCause)
