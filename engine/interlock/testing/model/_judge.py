"""What must hold of every move, whoever let it through.

As the auditor does for logs (`interlock.testing.violations`), this looks at what was done and
not at guards: it would be no second opinion if it asked them.
"""

from collections.abc import Iterator
from typing import Final

from interlock._event import MACHINES, TIMER
from interlock._machine import Move
from interlock._phases import Group, Trigger, group_of
from interlock._record import AskKind, Ended, TaskRecord
from interlock.testing.model._signals import EPOCH, LATE, Offer, keys_of, open_ask

DECISIONS: Final = frozenset({Trigger.APPROVE, Trigger.DENY})
ANSWERS: Final = DECISIONS | {Trigger.PROVIDE_INPUT, Trigger.DECLINE}
#: What is about one ask and closes it.
CLOSINGS: Final = ANSWERS | {Trigger.EXPIRE, Trigger.WITHDRAW}
_ACTS: Final = ANSWERS | {
    Trigger.EMIT, Trigger.PROGRESS, Trigger.ASK, Trigger.CALL, Trigger.NOTE, Trigger.COMPLETE,
}  # fmt: skip
_TIMED: Final = frozenset({Trigger.EXPIRE, Trigger.OVERRUN, Trigger.ABANDON})
_AFTER: Final = frozenset({Group.STOPPING, Group.OUTCOME, Group.END})
_OVER: Final = frozenset({Group.OUTCOME, Group.END})


def judge(before: TaskRecord, offer: Offer, move: Move) -> Iterator[str]:
    """What is wrong with a move that was let through, each with the id of the invariant."""
    trigger, group = offer.signal.trigger, group_of(before.phase)
    if offer.lag:
        yield f"I17: a turn that was fenced off changed the task by {trigger}"
    if move.record.epoch < EPOCH:
        yield f"I17: {trigger} set the epoch back"
    if trigger in _ACTS and group in _AFTER:
        yield f"I11: {trigger} in {before.phase}, after the stop"
    if trigger is Trigger.ASK and offer.signal.data["key"] in keys_of(before):
        yield f"I06: {offer.signal.data['key']} was asked again"
    if trigger in CLOSINGS:
        yield from _closing(before, offer)
    if trigger in _TIMED and not _is_due(before, offer):
        yield f"I10: a timer that is not due changed the task: {offer.says}"
    yield from _ending(before, move)


def _closing(before: TaskRecord, offer: Offer) -> Iterator[str]:
    trigger, data = offer.signal.trigger, offer.signal.data
    ask = open_ask(before, data["key"])
    if ask is None:
        yield f"I07: {trigger} closed {data['key']}, which is not open"
        return
    if trigger not in ANSWERS:
        return
    if (trigger in DECISIONS) != (ask.kind is AskKind.AUTH):
        yield f"I08: {trigger} closed {ask.key}, which is of another kind"
    if offer.signal.at >= ask.due:
        yield f"I09: {trigger} closed {ask.key} after its time"
    if offer.signal.actor in MACHINES:
        yield f"I25: {offer.signal.actor} answered {ask.key} itself"
    if trigger in DECISIONS and data["digest"] != ask.digest:
        yield f"I13: {trigger} of {ask.key} was about something else"
    if trigger is Trigger.APPROVE and data["arguments"] != ask.arguments and not ask.allow_edit:
        yield f"I14: {ask.key} was approved with other arguments"


def _is_due(before: TaskRecord, offer: Offer) -> bool:
    data = offer.signal.data
    armed = {(timer.kind.value, timer.key) for timer in before.timers()}
    return (
        offer.signal.actor == TIMER
        and offer.signal.at == LATE
        and (data["timer"], data["key"]) in armed
    )


def _ending(before: TaskRecord, move: Move) -> Iterator[str]:
    group, after = group_of(before.phase), group_of(move.record.phase)
    if group in _OVER and after is not Group.END:
        yield f"I04: {before.phase} is an outcome, and {move.record.phase} came after it"
    if group is Group.END:
        yield f"I05: {move.event.trigger} after finalized"
    ended, details = before.details, move.record.details
    if isinstance(ended, Ended) and (
        not isinstance(details, Ended) or details.outcome is not ended.outcome
    ):
        yield f"I04: the outcome {ended.outcome} was forgotten"
    if after in _OVER and any(True for _ in move.record.timers()):
        yield f"I21: a timer is armed in {move.record.phase}"
