"""The phases of a task and the triggers that move it, and nothing else.

A phase is the only record of where a task stands.  There is no flag beside it:
"is it over?", "is it waiting?" are questions about the phase, answered here.
"""

import enum
from typing import Final


class Phase(enum.StrEnum):
    """Where one task stands in its life."""

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


class Trigger(enum.StrEnum):
    """What happened to a task, or is asked of it.  A fact or an imperative."""

    SUBMIT = "submit"
    REJECT = "reject"
    START = "start"
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


WAITING: Final = frozenset({Phase.WAITING_INPUT, Phase.WAITING_AUTH})
OUTCOMES: Final = frozenset(
    {Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED, Phase.TIMED_OUT, Phase.REJECTED}
)
#: Phases in which a task can still be cancelled or run out of time.
LIVE: Final = frozenset({Phase.SUBMITTED, Phase.RUNNING}) | WAITING
#: Nothing more will happen that a client can see.
OVER: Final = OUTCOMES | {Phase.FINALIZED}
#: What a client is shown: `finalized` is shown as the outcome it came from.
VISIBLE: Final = frozenset(Phase) - {Phase.FINALIZED}
