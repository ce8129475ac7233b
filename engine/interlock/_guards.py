"""The conditions of the table: pure predicates on (record, signal), each with its reason.

A guard reads as an assertion and answers True or False, nothing else: `_machine`
treats any other answer as a bug.  `explain` is filled from the signal's data.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from interlock._effects import TimerKind
from interlock._event import MACHINES, OWN, TIMER, Signal
from interlock._json import same
from interlock._keywords import quote
from interlock._phases import Phase
from interlock._record import OUTCOME_OF, Active, Ask, AskKind, Queued, Stopping, TaskRecord
from interlock._schema import problems_of

#: The timers that limit the task itself; those of asks and retries fire other triggers.
_DEADLINES: Final = frozenset({TimerKind.RUN, TimerKind.TASK})

#: What an approver begins with that is a role.
ROLE: Final = "role:"


def roles_among(approvers: Sequence[str]) -> list[str]:
    """The roles that are named among approvers, without what marks them."""
    return [approver.removeprefix(ROLE) for approver in approvers if approver.startswith(ROLE)]


Predicate: TypeAlias = Callable[[TaskRecord, Signal], bool]
Problems: TypeAlias = Callable[[TaskRecord, Signal], list[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """A named predicate, and what to tell a caller whom it refuses."""

    name: str
    holds: Predicate
    explanation: str
    #: For guards that judge an answer: every fault of it, as sentences.
    problems: Problems | None = None

    def explain(self, signal: Signal) -> str:
        """Why the signal was refused, with its own data filled in."""
        return self.explanation.format_map(_Quoted(signal.data))


class _Quoted(dict[str, str]):
    """Shows what an explanation names, and no more of it than a refusal should carry."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data

    def __missing__(self, name: str) -> str:
        return quote(self._data[name]) if name in self._data else f"({name} not given)"


def guard(explanation: str) -> Callable[[Predicate], Guard]:
    """Make a predicate a guard named after the function."""

    def made(predicate: Predicate) -> Guard:
        return Guard(predicate.__name__, predicate, explanation)

    return made


def _ask_named(record: TaskRecord, signal: Signal) -> Ask | None:
    return record.ask(signal.data["key"])


# --- who reports, and in whose name -------------------------------------------------


@guard("the report is of epoch {epoch}, which is no longer the current one")
def report_is_current(record: TaskRecord, signal: Signal) -> bool:
    """A turn that was fenced off (lost, abandoned, taken over) changes nothing."""
    return bool(signal.data["epoch"] == record.epoch)


def is_approver(ask: Ask, name: str, roles: Iterable[str]) -> bool:
    """Whether somebody of that name, who acts in these roles, is among the approvers of an ask.

    Everybody is where it names none.  Who shows asks to people uses this too.
    """
    if not ask.approvers or (name in ask.approvers and not name.startswith(ROLE)):
        return True
    return any(f"{'' if r.startswith(OWN) else ROLE}{r}" in ask.approvers for r in roles)


@guard("who asks may not answer {key}: its approvers are others")
def caller_may_answer(record: TaskRecord, signal: Signal) -> bool:
    """Never the agent itself (I25); without a list of approvers, whoever the adapter let in.

    An approver `role:NAME` is whoever acts in that role, and never somebody of that name.  One
    with a name of the engine's own is also who acts in that, which no caller can say he does.
    """
    if signal.actor in MACHINES:
        return False
    ask = _ask_named(record, signal)
    return ask is not None and is_approver(ask, signal.actor, signal.data.get("roles", ()))


@guard("only a timer may do that")
def a_timer_fired(_record: TaskRecord, signal: Signal) -> bool:
    """Nobody can make a deadline pass by saying so."""
    return signal.actor == TIMER


# --- asks ----------------------------------------------------------------------------


@guard("key {key} was used before; keys of one task are never reused")
def key_is_new(record: TaskRecord, signal: Signal) -> bool:
    """A late answer must never meet another question (I06)."""
    return signal.data["key"] not in record.closed and _ask_named(record, signal) is None


@guard("a task may ask {asks_max} times over its life, and this one has")
def asks_are_left(record: TaskRecord, signal: Signal) -> bool:
    """Bounds the record, which carries every key."""
    asks_max: int = signal.data["asks_max"]
    return len(record.closed) + len(record.asks) < asks_max


@guard("")
def asks_for_a_decision(_record: TaskRecord, signal: Signal) -> bool:
    """The new ask is of kind auth, and of no phase of its own."""
    return bool(signal.data["kind"] == AskKind.AUTH) and "phase" not in signal.data


@guard("ask {key} is not open: it was answered, it expired, or there never was one")
def ask_is_open(record: TaskRecord, signal: Signal) -> bool:
    """The first valid answer wins; every later one meets this (I07)."""
    return _ask_named(record, signal) is not None


@guard("ask {key} wants a decision (approve or deny), not a value")
def ask_wants_a_value(record: TaskRecord, signal: Signal) -> bool:
    """An answer meant for a question can never approve a payment (I08)."""
    ask = _ask_named(record, signal)
    return ask is not None and ask.kind is AskKind.INPUT


@guard("ask {key} wants a value, not a decision")
def ask_wants_a_decision(record: TaskRecord, signal: Signal) -> bool:
    """The other way round (I08)."""
    ask = _ask_named(record, signal)
    return ask is not None and ask.kind is AskKind.AUTH


@guard("the time for answering {key} is over")
def answer_is_in_time(record: TaskRecord, signal: Signal) -> bool:
    """Log order decides between an answer and an expiry, by the same clock (I09, I10)."""
    ask = _ask_named(record, signal)
    return ask is not None and signal.at < ask.due


@guard("ask {key} is not due yet")
def ask_is_due(record: TaskRecord, signal: Signal) -> bool:
    """A stale or early timer changes nothing."""
    ask = _ask_named(record, signal)
    return ask is not None and signal.at >= ask.due


def _problems_of_the_value(record: TaskRecord, signal: Signal) -> list[str]:
    ask = _ask_named(record, signal)
    return [] if ask is None else problems_of(signal.data["value"], ask.schema)


def _problems_of_the_arguments(record: TaskRecord, signal: Signal) -> list[str]:
    ask = _ask_named(record, signal)
    return [] if ask is None else problems_of(signal.data["arguments"], ask.schema)


answer_fits: Final = Guard(
    "answer_fits",
    lambda record, signal: not _problems_of_the_value(record, signal),
    "the answer does not fit the schema of {key}",
    _problems_of_the_value,
)


@guard("the decision names digest {digest}, which is not what {key} asks about")
def digest_matches(record: TaskRecord, signal: Signal) -> bool:
    """A decision is bound to one tool call with these arguments (I13)."""
    ask = _ask_named(record, signal)
    return ask is not None and bool(signal.data["digest"] == ask.digest)


@guard("the arguments of {key} may not be edited")
def edit_is_allowed(record: TaskRecord, signal: Signal) -> bool:
    """What was approved is exactly what runs (I14)."""
    ask = _ask_named(record, signal)
    if ask is None:
        return False
    return ask.allow_edit or same(signal.data["arguments"], ask.arguments)


arguments_fit: Final = Guard(
    "arguments_fit",
    lambda record, signal: not _problems_of_the_arguments(record, signal),
    "the arguments do not fit the schema of the tool",
    _problems_of_the_arguments,
)


@guard("")
def it_is_the_last_ask(record: TaskRecord, _signal: Signal) -> bool:
    """Closing it leaves no ask open."""
    return len(record.asks) == 1


@guard("")
def another_decision_is_open(record: TaskRecord, signal: Signal) -> bool:
    """Closing the ask leaves one of kind auth, and of no phase of its own."""
    key = signal.data["key"]
    decisions = (ask for ask in record.asks if ask.kind is AskKind.AUTH and ask.phase is None)
    return any(ask.key != key for ask in decisions)


def asks_in(phase: Phase) -> Guard:
    """The new ask is one for which the task waits in that phase of an extended lifecycle."""
    return Guard(f"asks_in_{phase}", lambda _record, signal: signal.data.get("phase") == phase, "")


def another_is_open_in(phase: Phase) -> Guard:
    """Closing the ask leaves one for which the task waits in that phase."""

    def holds(record: TaskRecord, signal: Signal) -> bool:
        key = signal.data["key"]
        return any(ask.phase is phase and ask.key != key for ask in record.asks)

    return Guard(f"another_is_open_in_{phase}", holds, "")


@guard("")
def denial_stops_the_task(record: TaskRecord, signal: Signal) -> bool:
    """The ask's policy: `on_deny` is `stop`, not `tell_agent`."""
    ask = _ask_named(record, signal)
    return ask is not None and ask.on_deny == "stop"


@guard("")
def decline_stops_the_task(record: TaskRecord, signal: Signal) -> bool:
    """The ask has no default to go on with, and its policy is not to tell the agent of a no."""
    ask = _ask_named(record, signal)
    return ask is not None and ask.on_expire != "default" and ask.on_deny == "stop"


@guard("")
def expiry_stops_the_task(record: TaskRecord, signal: Signal) -> bool:
    """The ask's policy: `on_expire` is `fail`, or `deny` where a denial stops."""
    ask = _ask_named(record, signal)
    if ask is None:
        return False
    return ask.on_expire == "fail" or (ask.on_expire == "deny" and ask.on_deny == "stop")


# --- time, bounds and endings --------------------------------------------------------


@guard("it was told to wait before it starts again")
def back_off_is_over(record: TaskRecord, signal: Signal) -> bool:
    """After a retry the task rests first."""
    details = record.details
    if not isinstance(details, Queued):
        return False
    return details.not_before is None or signal.at >= details.not_before


@guard("deadline {timer} has not passed")
def deadline_has_passed(record: TaskRecord, signal: Signal) -> bool:
    """A stale or early timer changes nothing."""
    kind = signal.data["timer"]
    armed = [timer for timer in record.timers() if timer.kind in _DEADLINES]
    return any(timer.kind == kind and signal.at >= timer.due for timer in armed)


@guard("the turn still has time to end")
def grace_has_passed(record: TaskRecord, signal: Signal) -> bool:
    """A turn is given up only after the time it was promised."""
    details = record.details
    return isinstance(details, Stopping) and signal.at >= details.grace_due


@guard("the log of a task holds {log_events_max} entries, and this one is full")
def log_has_room(record: TaskRecord, signal: Signal) -> bool:
    """Bounds what an agent can write; triggers that end a task are never refused for it."""
    return bool(record.seq < signal.data["log_events_max"])


@guard("call {key} was not begun, or its end is known")
def call_is_open(record: TaskRecord, signal: Signal) -> bool:
    """A call ends once: what the log says of it is never said otherwise later."""
    return signal.data["key"] in record.calls


@guard("it was recovered {recoveries_max} times in a row and an operator must decide")
def recoveries_are_left(record: TaskRecord, signal: Signal) -> bool:
    """A task that takes its process down with it must not do so for ever."""
    details = record.details
    recoveries_max = signal.data.get("recoveries_max")
    if not isinstance(details, Active) or recoveries_max is None:
        return True
    return bool(details.recoveries < recoveries_max)


@guard("")
def stopped_by_a_deadline(record: TaskRecord, _signal: Signal) -> bool:
    """The recorded cause leads to `timed_out`."""
    details = record.details
    return isinstance(details, Stopping) and OUTCOME_OF[details.cause] is Phase.TIMED_OUT


@guard("")
def stopped_by_a_failure(record: TaskRecord, _signal: Signal) -> bool:
    """The recorded cause leads to `failed`."""
    details = record.details
    return isinstance(details, Stopping) and OUTCOME_OF[details.cause] is Phase.FAILED


@guard("something is still held for it: turn alive {turn_alive}, deliveries left {deliveries_left}")
def nothing_is_left(_record: TaskRecord, signal: Signal) -> bool:
    """No live turn, no undelivered notification; an outcome phase has no timer (I21, I30)."""
    return not signal.data["turn_alive"] and signal.data["deliveries_left"] == 0
