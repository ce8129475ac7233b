"""Every error this package raises on purpose, divided by whose fault it is and what to do now.

It is long because there is one for each thing that a caller would do something about.

* `EngineError`
    * `Refused`             the trigger was not accepted; the task did not change
        * `IllegalTrigger`      the phase has no such transition
        * `GuardRefused`        it has one, and a guard refused it (`reason` is stable)
            * `AnswerInvalid`       the answer does not fit the ask's schema (`problems`)
    * `InvalidInput`        the caller's data is not acceptable (`problems`)
    * `UnknownTask`         no task of this owner has that id
    * `NotFinalized`        the task cannot be forgotten yet
    * `TokenReused`         the idempotency token came before with another body
    * `LimitReached`        a bound of ours; try again after `retry_after_s`
    * `NotAccepting`        the engine is draining or closed; try elsewhere or later
    * `StoreError`          the store could not keep its word; nothing was acknowledged
        * `Conflict`            somebody else moved the task first
        * `StoreCorrupt`        what is stored contradicts itself
        * `Unstorable`          what was to be stored is nothing that can be
        * `StoreTooNew`         the store was written by a newer version
        * `StoreLocked`         another process has the store open
    * `ResultInvalid`       an agent returned or emitted something that is not JSON or too large
    * `Rejected`            raised by an agent that will not do the task
    * `Retryable`           raised by an agent for a failure that may pass
    * `Denied`              raised inside an agent: what it asked leave for was denied
    * `CallFailed`          raised inside an agent: the function that it called raised
    * `ToolRefused`         raised inside an agent: the gate did not let a tool call through
    * `PluginFailed`        raised inside an agent: a plugin raised, so the call was not made
    * `ToolError`           raised by a tool, with words that the agent may be told
        * `ToolTimedOut`        it did not answer in time
    * `UnknownTool`         no tool has that name
    * `UnknownSource`       no source of tools has that name
    * `AmbiguousTool`       several tools have it
    * `SourceUnavailable`   where tools come from cannot be reached
    * `CallInDoubt`         a person let the task fail: nobody knows whether a call was done
    * `ReplayDiverged`      an agent that is run again asks for something else than before
    * `TaskNotCompleted`    the result was wanted of a task that ended otherwise
    * `DeliveryFailed`      (in `interlock`) raised by a deliverer of notifications
    * `EngineBug`           an invariant is broken: ours; never caught inside
* `TaskStopped`             (BaseException) raised inside an agent whose task is being stopped
* `TaskParked`              (BaseException) raised inside a plain function whose task waits
"""

from collections.abc import Iterable, Sequence
from typing import Final

from interlock._phases import ANSWERS, OUTCOMES, Phase, Trigger

__all__ = [
    "AmbiguousTool",
    "AnswerInvalid",
    "CallFailed",
    "CallInDoubt",
    "Conflict",
    "Denied",
    "EngineBug",
    "EngineError",
    "GuardRefused",
    "IllegalTrigger",
    "InvalidInput",
    "LimitReached",
    "NotAccepting",
    "NotFinalized",
    "PluginFailed",
    "Refused",
    "Rejected",
    "ReplayDiverged",
    "ResultInvalid",
    "Retryable",
    "SourceUnavailable",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "StoreTooNew",
    "TaskNotCompleted",
    "TaskParked",
    "TaskStopped",
    "TokenReused",
    "ToolError",
    "ToolRefused",
    "ToolTimedOut",
    "UnknownSource",
    "UnknownTask",
    "UnknownTool",
    "Unstorable",
]


#: What callers ask for; all other triggers are the agent's, timers' and the engine's own.
_OF_CALLERS: Final = ANSWERS | {Trigger.SUBMIT, Trigger.CANCEL}


class EngineError(Exception):
    """Base of every error raised on purpose by this package; `code` is stable and public."""

    code: str = "engine_error"


class Refused(EngineError):
    """The trigger was not accepted, and the task did not change."""

    code = "refused"

    def __init__(
        self,
        task_id: str,
        phase: Phase,
        trigger: Trigger,
        why: str,
        *,
        allowed: Iterable[Trigger] = (),
        shown: Phase | None = None,
    ) -> None:
        self.task_id = task_id
        self.phase = phase
        #: The phase as a client is shown it: that of its outcome for a finalized task.
        self.shown: Phase = shown or phase
        self.trigger = trigger
        #: What the task would accept now.
        self.allowed: tuple[Trigger, ...] = tuple(allowed)
        # Whoever asked for what callers may ask for is told of that only.
        told = [t for t in self.allowed if t in _OF_CALLERS or trigger not in _OF_CALLERS]
        instead = f"; it would accept: {', '.join(told)}" if told else ""
        super().__init__(f"task {task_id!r} is {phase}: {why}{instead}")


class IllegalTrigger(Refused):
    """The task's phase has no transition for that trigger.

    `closed` is the key of the ask that it was for, if something else closed that before.
    """

    code = "illegal_trigger"

    def __init__(
        self,
        task_id: str,
        phase: Phase,
        trigger: Trigger,
        *,
        allowed: Iterable[Trigger] = (),
        shown: Phase | None = None,
        closed: str | None = None,
    ) -> None:
        self.closed = closed
        late = ""
        if closed is not None:
            how = "it was answered, it expired, or the task was stopped"
            late = f", since ask {closed!r} is closed: {how}"
        why = f"{trigger} is not accepted{late}"
        super().__init__(task_id, phase, trigger, why, allowed=allowed, shown=shown)


class GuardRefused(Refused):
    """The phase has a transition for the trigger, and a guard refused it."""

    code = "guard_refused"

    def __init__(
        self,
        task_id: str,
        phase: Phase,
        trigger: Trigger,
        reason: str,
        explanation: str,
        *,
        allowed: Iterable[Trigger] = (),
    ) -> None:
        #: The guard's name, stable: `ask_is_open`, `digest_matches`, `report_is_current`...
        self.reason = reason
        super().__init__(task_id, phase, trigger, f"{trigger} was refused: {explanation}")
        # Not in the words: the trigger itself is one of them, when it is made otherwise or later.
        self.allowed = tuple(allowed)


class AnswerInvalid(GuardRefused):
    """The answer does not fit the schema of the ask, which stays open."""

    code = "answer_invalid"

    def __init__(
        self, task_id: str, phase: Phase, trigger: Trigger, reason: str, problems: Sequence[str]
    ) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__(task_id, phase, trigger, reason, "; ".join(problems))


class InvalidInput(EngineError):
    """The caller's data is not acceptable; nothing was stored."""

    code = "invalid_input"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("; ".join(problems))


class UnknownTask(EngineError):
    """No task of this owner has that id."""

    code = "unknown_task"

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"no task {task_id!r}")


class NotFinalized(EngineError):
    """The task cannot be forgotten: it goes on, or somebody is still to be told of its end."""

    code = "not_finalized"

    def __init__(self, task_id: str, shown: Phase) -> None:
        self.task_id = task_id
        #: The phase that it is in, as a client is shown it.
        self.shown = shown
        more = (
            "somebody has still to be told of its end" if shown in OUTCOMES else "cancel it first"
        )
        super().__init__(f"task {task_id!r} is {shown} and cannot be forgotten: {more}")


class TokenReused(EngineError):
    """The idempotency token was used before with another body."""

    code = "token_reused"

    def __init__(self, token: str) -> None:
        self.token = token
        super().__init__(
            f"token {token!r} was used before with another body; use a new token for a new request"
        )


class LimitReached(EngineError):
    """A bound of ours is reached; try again after `retry_after_s` seconds."""

    code = "limit_reached"

    def __init__(self, limit: str, maximum: int, *, retry_after_s: float | None = None) -> None:
        self.limit = limit
        self.maximum = maximum
        #: Seconds; None when trying again will not help.
        self.retry_after_s = retry_after_s
        again = "" if retry_after_s is None else f"; try again after {retry_after_s:g} s"
        super().__init__(f"{limit} is {maximum}{again}")


class NotAccepting(EngineError):
    """The engine is not open: it was not started, or it is draining or closed."""

    code = "not_accepting"

    def __init__(self, why: str, *, retry_after_s: float = 5.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(why)


class StoreError(EngineError):
    """The store could not keep its word; nothing of the request was acknowledged."""

    code = "store_error"


class Conflict(StoreError):
    """Somebody else moved the task first; re-read and fire again."""

    code = "conflict"

    def __init__(self, task_id: str, expected_seq: int) -> None:
        self.task_id = task_id
        self.expected_seq = expected_seq
        super().__init__(f"task {task_id!r} is no longer at event {expected_seq}")


class StoreCorrupt(StoreError):
    """What is stored contradicts itself; it is reported, never repaired silently."""

    code = "store_corrupt"

    def __init__(self, why: str, *, task_id: str | None = None) -> None:
        self.why = why
        #: The one task that cannot be read; None when it is the store itself.
        self.task_id = task_id
        super().__init__(why if task_id is None else f"task {task_id!r}: {why}")


class Unstorable(StoreError):
    """What was to be stored cannot be, however often it is tried."""

    code = "unstorable"


class StoreTooNew(StoreError):
    """The store's schema is newer than this code; upgrade the package."""

    code = "store_too_new"


class StoreLocked(StoreError):
    """Another process has the store open."""

    code = "store_locked"


class ResultInvalid(EngineError):
    """An agent returned, asked or emitted something that is not JSON or too large."""

    code = "result_invalid"


class Rejected(EngineError):
    """Raised by an agent that will not do the task; the message is shown to the client."""

    code = "rejected"


class Retryable(EngineError):
    """Raised by an agent for a failure that may pass; the message is shown to the client.

    With `Limits.retry.attempts_max` at 1, the default, nothing is tried again.
    """

    code = "retryable"


class Denied(EngineError):
    """Raised inside an agent: it may not do what it asked leave for, or nobody answered."""

    code = "denied"

    def __init__(self, key: str, reason: str | None) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"{key} was denied" + (f": {reason}" if reason else ""))


class CallFailed(EngineError):
    """Raised inside an agent: the function that it called through its task raised.

    The first time as at every replay, with the kind of the exception and not its message,
    which may hold a secret.  A function that has something to say returns it.
    """

    code = "call_failed"

    def __init__(self, name: str, kind: str, message: str = "") -> None:
        self.name = name
        #: The name of the exception's class.
        self.kind = kind
        super().__init__(f"{name} raised {kind}" + (f": {message}" if message else ""))


class ToolRefused(EngineError):
    """Raised inside an agent: the gate did not let a tool call through, and it was not made."""

    code = "tool_refused"

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.name = name
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__(f"{name} was not called: {'; '.join(problems)}")


class PluginFailed(EngineError):
    """Raised inside an agent: a plugin raised.  With the kind of its exception, not the message."""

    code = "plugin_failed"

    def __init__(self, plugin: str, hook: str, kind: str, *, done: bool = False) -> None:
        self.plugin = plugin
        self.hook = hook
        #: The name of the exception's class.
        self.kind = kind
        #: The tool was called before: a retry must not call it again.
        self.done = done
        super().__init__(f"plugin {plugin!r} failed in {hook} ({kind})")


class ToolError(EngineError):
    """Raised by a tool, or a source of tools, with words that the agent may be told."""

    code = "tool_error"

    def __init__(self, message: str = "", *, done: bool = False) -> None:
        #: It was called all the same, or may have been: a retry must not call it again.
        self.done = done
        super().__init__(message)


class ToolTimedOut(ToolError):
    """A tool did not answer in the time that its policy gives it; nobody knows what it did."""

    code = "tool_timed_out"


class UnknownTool(EngineError):
    """No tool has that name."""

    code = "unknown_tool"

    def __init__(self, name: str, known: Sequence[str], *, hint: str = "") -> None:
        self.name = name
        self.known: tuple[str, ...] = tuple(known)
        more = f"; {hint}" if hint else ""
        super().__init__(f"no tool {name!r:.80}; there are: {', '.join(known) or 'none'}{more}")


class UnknownSource(EngineError):
    """No source of tools has that name."""

    code = "unknown_source"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known: tuple[str, ...] = tuple(known)
        super().__init__(
            f"no source of tools {name!r:.80}; there are: {', '.join(known) or 'none'}"
        )


class AmbiguousTool(EngineError):
    """Several tools have that name; say `source/tool`."""

    code = "ambiguous_tool"

    def __init__(self, name: str, named: Sequence[str]) -> None:
        self.name = name
        self.named: tuple[str, ...] = tuple(named)
        super().__init__(f"{name!r} is the name of several tools; say one of: {', '.join(named)}")


class SourceUnavailable(EngineError):
    """Where tools come from cannot be reached, or does not do what it should."""

    code = "source_unavailable"

    def __init__(self, source: str, why: str) -> None:
        self.source = source
        self.why = why
        super().__init__(f"tool source {source!r} is not available: {why}")


class CallInDoubt(EngineError):
    """A crash came between the begin of a call and its end, and a person let the task fail."""

    code = "call_in_doubt"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"nobody knows whether {name} was done")


class ReplayDiverged(EngineError):
    """An agent that is run again asks for something else than it asked before.

    It ends the turn, whatever the agent catches, and an operator is told of it.  The answer in
    the log is to the question in the log: it is never handed to another one.  An agent must ask
    in the same order whenever it is run again; where branches of it race, give their asks keys
    of their own.
    """

    code = "replay_diverged"

    def __init__(self, key: str, recorded: str, asked: str, *, kind: str = "ask") -> None:
        self.key = key
        #: Of what kind the entry of the log is: `ask`, `call` or `note`.
        self.kind = kind
        self.recorded = recorded
        self.asked = asked
        super().__init__(
            f"{key}: the log has {recorded}, and now the agent asks {asked} (an agent that is run "
            "again must ask and call the same in the same order: take time and chance from "
            "journal_time and journal_random, and keep its questions when its version changes)"
        )


class TaskNotCompleted(EngineError):
    """The result was wanted of a task that ended otherwise."""

    code = "task_not_completed"

    def __init__(self, task_id: str, outcome: Phase, cause: str | None, why: str | None) -> None:
        self.task_id = task_id
        self.outcome = outcome
        #: The stable code of the ending: `agent_error`, `denied`, `task_deadline`...
        self.cause = cause
        super().__init__(f"task {task_id!r} is {outcome} ({cause})" + (f": {why}" if why else ""))


class EngineBug(EngineError):
    """An invariant of the engine is broken; please report.  Never caught inside the package."""

    code = "engine_bug"


class TaskStopped(BaseException):
    """The task is being stopped: raised inside a synchronous agent at its next call.

    A BaseException, so that `except Exception` in an agent cannot swallow it.
    """


class TaskParked(BaseException):
    """The task waits, and its thread is let go: raised inside a plain function that asked.

    It is run again from its first line when the answer is there.  A BaseException, as above.
    """
