"""The transition table: the one place where the life of a task is declared.

Rule 1: a move that is not a row here does not exist.
Rule 2: nothing here acts.  Guards read; changes touch only the draft of the next
        record; effects are data, run by the engine after the commit.
Rule 3: rows are in the order of a task's life.  `requires` are conditions without
        which the trigger is refused, each with its reason; `when` chooses between
        the rows of one (source, trigger): the first that holds wins, and the last
        of them has none.
Rule 4: what a guard needs to know of the world comes in with the signal; it never
        looks out.

`specs/transitions.md` says the same for people; a test compares the two row by row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, get_args

from interlock import _changes as change
from interlock import _guards as guards
from interlock._changes import Change
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
from interlock._guards import Guard
from interlock._phases import OUTCOMES, WAITING, Phase, Trigger

#: Where a move begins, what it is, and where it leads.
Key: TypeAlias = tuple[Phase | None, Trigger, Phase]


def _is(value: object, kind: type | tuple[type, ...], name: str, accepted: str) -> None:
    """The types say it as well; rows are written by people who may not check them."""
    if not isinstance(value, kind):
        raise TypeError(f"Row: {name} is or has {value!r:.60}; {accepted}")


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One move.  `source` is None for the row that makes a task.

    Raises:
        TypeError: something is not of its kind; says what is.
    """

    trigger: Trigger
    source: Phase | None
    dest: Phase
    change: Change
    effects: tuple[Effect, ...] = (Publish(),)
    requires: tuple[Guard, ...] = ()
    when: Guard | None = None

    def __post_init__(self) -> None:
        """Refuse what would come out far from here: in a picture, or at the first move."""
        _is(self.trigger, Trigger, "trigger", "a Trigger is accepted, as Trigger.CANCEL")
        phase = "a Phase is accepted, as Phase.RUNNING or one that Phase.further made"
        if self.source is not None:
            _is(self.source, Phase, "source", f"{phase}, or None")
        _is(self.dest, Phase, "dest", phase)
        if not callable(self.change):
            accepted = "a function of interlock.lifecycle.changes is accepted"
            raise TypeError(f"Row: change is {self.change!r:.60}; {accepted}")
        effects = "a tuple of effects of interlock.lifecycle is accepted, as (Publish(),)"
        _is(self.effects, tuple, "effects", effects)
        for effect in self.effects:
            _is(effect, get_args(Effect), "effects", effects)
        made = "what @guard('why it is refused') makes of a predicate"
        requires = f"a tuple of guards is accepted, each {made}"
        _is(self.requires, tuple, "requires", requires)
        for guard in self.requires:
            _is(guard, Guard, "requires", requires)
        if self.when is not None:
            _is(self.when, Guard, "when", f"a guard is accepted, {made}, or None")

    @property
    def key(self) -> Key:
        """What finds it: no two rows of a table have all three in common."""
        return self.source, self.trigger, self.dest


Effects: TypeAlias = tuple[Effect, ...]
P, T, K = Phase, Trigger, TimerKind

_STOP: Final[Effects] = (StopTurn(), ArmTimer(K.GRACE), Publish())
_STOP_RUN: Final[Effects] = (DisarmTimer(K.RUN), DisarmTimer(K.TASK), *_STOP)
STOP_WAIT: Final[Effects] = (DisarmTimer(K.ASK), DisarmTimer(K.TASK), *_STOP)
_END_UNSTARTED: Final[Effects] = (
    DisarmTimer(K.RETRY),
    DisarmTimer(K.TASK),
    Publish(),
    Release(),
)
_END_RUN: Final[Effects] = (DisarmTimer(K.RUN), DisarmTimer(K.TASK), Publish(), Release())
_END_STOP: Final[Effects] = (DisarmTimer(K.GRACE), Publish(), Release())
_ASK: Final[Effects] = (DisarmTimer(K.RUN), ArmTimer(K.ASK), Publish())
ASK_AGAIN: Final[Effects] = (ArmTimer(K.ASK), Publish())
_RESUME: Final[Effects] = (DisarmTimer(K.ASK), ArmTimer(K.RUN), ResumeTurn(), Publish())
WAIT_ON: Final[Effects] = (DisarmTimer(K.ASK), Publish())

_REPORTED: Final = (guards.report_is_current,)
MAY_ASK: Final = (guards.report_is_current, guards.key_is_new, guards.asks_are_left)
MAY_DECLINE: Final = (
    guards.ask_is_open,
    guards.ask_wants_a_value,
    guards.caller_may_answer,
    guards.answer_is_in_time,
)
MAY_ANSWER: Final = (*MAY_DECLINE, guards.answer_fits)
MAY_DECIDE: Final = (
    guards.ask_is_open,
    guards.ask_wants_a_decision,
    guards.caller_may_answer,
    guards.answer_is_in_time,
    guards.digest_matches,
)
MAY_APPROVE: Final = (*MAY_DECIDE, guards.edit_is_allowed, guards.arguments_fit)
MAY_EXPIRE: Final = (guards.a_timer_fired, guards.ask_is_open, guards.ask_is_due)
MAY_WITHDRAW: Final = (guards.report_is_current, guards.ask_is_open)
MAY_WRITE: Final = (guards.report_is_current, guards.log_has_room)
MAY_END_CALL: Final = (guards.report_is_current, guards.call_is_open)
OVERDUE: Final = (guards.a_timer_fired, guards.deadline_has_passed)


def close_one(
    trigger: Trigger,
    source: Phase,
    requires: tuple[Guard, ...],
    to: Change = change.answered,
    *,
    stays: Guard | None = None,
) -> Iterator[Row]:
    """One ask less: after the last the turn goes on, else the wait does."""
    yield Row(trigger, source, P.RUNNING, to, _RESUME, requires, guards.it_is_the_last_ask)
    if source is P.WAITING_AUTH:
        stays = guards.another_decision_is_open
    if stays is not None:
        yield Row(trigger, source, source, to, WAIT_ON, requires, stays)
    yield Row(trigger, source, P.WAITING_INPUT, to, WAIT_ON, requires)


TABLE: Final[tuple[Row, ...]] = (
    Row(T.SUBMIT, None, P.SUBMITTED, change.unchanged, (ArmTimer(K.TASK), Publish())),
    # Before and while it runs.  A recovered task that was cancelling has no turn to wait for.
    # A turn that was fenced off rejects nothing, also not while its task waits to be tried again.
    # The engine itself never rejects what has not begun: what it will not admit is a refused
    # submission and no task, and a turn says one last thing, so none has a word left when its task
    # waits for the next attempt.  The first row is there for an admission that looks at tasks
    # which are queued; no life of the shipped engine takes it, and the fuzz kit fires it itself.
    Row(T.REJECT, P.SUBMITTED, P.REJECTED, change.rejected, _END_UNSTARTED, _REPORTED),
    Row(T.REJECT, P.RUNNING, P.REJECTED, change.rejected, _END_RUN, _REPORTED),
    Row(
        T.START,
        P.SUBMITTED,
        P.RUNNING,
        change.started,
        (DisarmTimer(K.RETRY), ArmTimer(K.RUN), StartTurn(), Publish()),
        (guards.back_off_is_over,),
    ),
    # Where processes share a store, whoever takes up a turn that another one wanted says so first:
    # with that, nothing that a former holder still reports counts.
    Row(T.CLAIM, P.RUNNING, P.RUNNING, change.fenced, (StartTurn(replay=True),), _REPORTED),
    Row(
        T.RECOVER,
        P.RUNNING,
        P.RUNNING,
        change.recovered,
        (DisarmTimer(K.RUN), ArmTimer(K.RUN), StartTurn(replay=True), Publish()),
        (guards.recoveries_are_left,),
    ),
    Row(T.RECOVER, P.CANCELLING, P.CANCELLING, change.fenced, (StopTurn(), Publish())),
    # What the agent shows while it works; another branch of it may be waiting.
    *(
        Row(trigger, source, source, change.unchanged, (Publish(),), MAY_WRITE)
        for trigger in (T.EMIT, T.PROGRESS)
        for source in (P.RUNNING, P.WAITING_INPUT, P.WAITING_AUTH)
    ),
    # The journal: what the agent does outside, written down before and after.  Nothing begins
    # while somebody is asked; what was begun may end at any time before the task's end.
    Row(T.CALL, P.RUNNING, P.RUNNING, change.call_begun, (), MAY_WRITE),
    *(
        Row(T.CALLED, source, source, change.call_ended, (), MAY_END_CALL)
        for source in (P.RUNNING, P.WAITING_INPUT, P.WAITING_AUTH, P.CANCELLING)
    ),
    *(
        Row(T.NOTE, source, source, change.unchanged, (), MAY_WRITE)
        for source in (P.RUNNING, P.WAITING_INPUT, P.WAITING_AUTH)
    ),
    # Asking.  Parallel branches ask at once: any open decision shows as waiting_auth.
    Row(T.ASK, P.RUNNING, P.WAITING_AUTH, change.asked, _ASK, MAY_ASK, guards.asks_for_a_decision),
    Row(T.ASK, P.RUNNING, P.WAITING_INPUT, change.asked, _ASK, MAY_ASK),
    Row(
        T.ASK,
        P.WAITING_INPUT,
        P.WAITING_AUTH,
        change.asked,
        ASK_AGAIN,
        MAY_ASK,
        guards.asks_for_a_decision,
    ),
    Row(T.ASK, P.WAITING_INPUT, P.WAITING_INPUT, change.asked, ASK_AGAIN, MAY_ASK),
    Row(T.ASK, P.WAITING_AUTH, P.WAITING_AUTH, change.asked, ASK_AGAIN, MAY_ASK),
    # Coming back.  A value can never close a decision, so waiting_auth stays.
    *close_one(T.PROVIDE_INPUT, P.WAITING_INPUT, MAY_ANSWER),
    Row(
        T.PROVIDE_INPUT,
        P.WAITING_AUTH,
        P.WAITING_AUTH,
        change.answered,
        WAIT_ON,
        MAY_ANSWER,
    ),
    # Nobody has to answer: the ask says what it comes to that somebody will not.
    Row(
        T.DECLINE,
        P.WAITING_INPUT,
        P.CANCELLING,
        change.stopped_by_decline,
        STOP_WAIT,
        MAY_DECLINE,
        guards.decline_stops_the_task,
    ),
    *close_one(T.DECLINE, P.WAITING_INPUT, MAY_DECLINE),
    Row(
        T.DECLINE,
        P.WAITING_AUTH,
        P.CANCELLING,
        change.stopped_by_decline,
        STOP_WAIT,
        MAY_DECLINE,
        guards.decline_stops_the_task,
    ),
    Row(T.DECLINE, P.WAITING_AUTH, P.WAITING_AUTH, change.answered, WAIT_ON, MAY_DECLINE),
    *close_one(T.APPROVE, P.WAITING_AUTH, MAY_APPROVE),
    Row(
        T.DENY,
        P.WAITING_AUTH,
        P.CANCELLING,
        change.stopped_by_denial,
        STOP_WAIT,
        MAY_DECIDE,
        guards.denial_stops_the_task,
    ),
    *close_one(T.DENY, P.WAITING_AUTH, MAY_DECIDE),
    *(
        row
        for source in (P.WAITING_INPUT, P.WAITING_AUTH)
        for row in (
            Row(
                T.EXPIRE,
                source,
                P.CANCELLING,
                change.stopped_by_expiry,
                STOP_WAIT,
                MAY_EXPIRE,
                guards.expiry_stops_the_task,
            ),
            *close_one(T.EXPIRE, source, MAY_EXPIRE),
            *close_one(T.WITHDRAW, source, MAY_WITHDRAW, change.withdrawn),
        )
    ),
    # Stopping.  A submitted task has no turn yet, so it need not wait for one.
    Row(T.CANCEL, P.SUBMITTED, P.CANCELLED, change.cancelled_unstarted, _END_UNSTARTED),
    Row(T.CANCEL, P.RUNNING, P.CANCELLING, change.stopped_by_client, _STOP_RUN),
    *(
        Row(T.CANCEL, source, P.CANCELLING, change.stopped_by_client, STOP_WAIT)
        for source in sorted(WAITING)
    ),
    # A repeat is accepted and changes nothing.
    Row(T.CANCEL, P.CANCELLING, P.CANCELLING, change.unchanged, ()),
    Row(T.OVERRUN, P.SUBMITTED, P.TIMED_OUT, change.timed_out_unstarted, _END_UNSTARTED, OVERDUE),
    Row(T.OVERRUN, P.RUNNING, P.CANCELLING, change.stopped_by_deadline, _STOP_RUN, OVERDUE),
    *(
        Row(T.OVERRUN, source, P.CANCELLING, change.stopped_by_deadline, STOP_WAIT, OVERDUE)
        for source in sorted(WAITING)
    ),
    # The agent's own end.
    Row(T.COMPLETE, P.RUNNING, P.COMPLETED, change.completed, _END_RUN, _REPORTED),
    Row(T.FAIL, P.RUNNING, P.FAILED, change.failed, _END_RUN, _REPORTED),
    Row(
        T.RETRY,
        P.RUNNING,
        P.SUBMITTED,
        change.requeued,
        (DisarmTimer(K.RUN), ArmTimer(K.RETRY), Publish()),
        _REPORTED,
    ),
    # Stopping is not stopped: the outcome begins when the turn has ended, or is given up.
    *(
        row
        for trigger, to, requires in (
            (T.STOPPED, change.stopped, _REPORTED),
            (T.ABANDON, change.abandoned, (guards.a_timer_fired, guards.grace_has_passed)),
        )
        for row in (
            Row(
                trigger,
                P.CANCELLING,
                P.TIMED_OUT,
                to,
                _END_STOP,
                requires,
                guards.stopped_by_a_deadline,
            ),
            Row(
                trigger,
                P.CANCELLING,
                P.FAILED,
                to,
                _END_STOP,
                requires,
                guards.stopped_by_a_failure,
            ),
            Row(trigger, P.CANCELLING, P.CANCELLED, to, _END_STOP, requires),
        )
    ),
    # Leaving.
    *(
        Row(T.FINALIZE, outcome, P.FINALIZED, change.unchanged, (), (guards.nothing_is_left,))
        for outcome in sorted(OUTCOMES)
    ),
)
