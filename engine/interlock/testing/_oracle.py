"""What must hold of every log, whoever wrote it: the invariants, read off the events.

Independent of `_machine` on purpose: it reads a log as an auditor would, and knows the
table only as a list of edges.  Ids are those of specs/invariants.md.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Final

from interlock._event import AGENT, MACHINES, OWN, Event
from interlock._keywords import Unchecked
from interlock._phases import OUTCOMES, WAITING, Phase, Trigger
from interlock._schema import fits
from interlock._transitions import TABLE, Key, Row
from interlock.models import JsonObject

#: What closes an ask of kind input, and one of kind auth.
_VALUES = frozenset({Trigger.PROVIDE_INPUT, Trigger.DECLINE})
_DECISIONS = frozenset({Trigger.APPROVE, Trigger.DENY})
_ANSWERS = _VALUES | _DECISIONS
_CLOSINGS = _ANSWERS | {Trigger.EXPIRE, Trigger.WITHDRAW}
_ACTS = frozenset(
    {
        Trigger.EMIT,
        Trigger.PROGRESS,
        Trigger.ASK,
        Trigger.CALL,
        Trigger.NOTE,
        Trigger.COMPLETE,
    }
)
#: How an approver begins that is whoever acts in a role.
_ROLE: Final = "role:"
#: How the key of what a person is asked about a call begins.
_IN_DOUBT = "interlock:in-doubt-"


def violations(log: Sequence[Event], table: Sequence[Row] = TABLE) -> list[str]:
    """Every invariant that the log of one task breaks, as a sentence that begins with its id.

    `table` is that of the lifecycle by which the task lived.
    """
    return [
        *_shape(log, {row.key for row in table}),
        *_endings(log),
        *_asks(log),
        *_approvals(log),
        *_calls(log),
        *_gated(log),
        *_stops(log),
    ]


def _shape(log: Sequence[Event], declared: AbstractSet[Key]) -> Iterator[str]:
    if [event.seq for event in log] != list(range(1, len(log) + 1)):
        yield "I01: sequence numbers are not 1, 2, 3, ..."
    for before, after in pairwise(log):
        if after.source is not before.dest:
            yield f"I02: event {after.seq} begins in {after.source}, not in {before.dest}"
        if after.epoch < before.epoch:
            yield f"I17: event {after.seq} is of an older epoch"
        if after.at < before.at:
            yield f"I09: event {after.seq} is earlier than the one before it"
    for event in log:
        if (event.source, event.trigger, event.dest) not in declared:
            yield f"I03: event {event.seq} is no declared transition"


def _endings(log: Sequence[Event]) -> Iterator[str]:
    entered = [e.seq for e in log if e.dest in OUTCOMES and e.source not in OUTCOMES]
    if len(entered) > 1:
        yield f"I04: an outcome begins at events {entered}"
    finals = [event.seq for event in log if event.dest is Phase.FINALIZED]
    if finals and finals != [len(log)]:
        yield f"I05: finalized at {finals}, but the log has {len(log)} events"
    if finals and not entered:
        yield "I04: finalized without an outcome"


def _asks(log: Sequence[Event]) -> Iterator[str]:
    asked = [event for event in log if event.trigger is Trigger.ASK]
    closings = [event for event in log if event.trigger in _CLOSINGS]
    for key, count in Counter(event.data["key"] for event in asked).items():
        if count > 1:
            yield f"I06: {key} was asked {count} times"
    for key, count in Counter(event.data["key"] for event in closings).items():
        if count > 1:
            yield f"I07: {key} was closed {count} times"
    by_key = {event.data["key"]: event for event in asked}
    for event in closings:
        ask = by_key.get(event.data["key"])
        if ask is None or ask.seq > event.seq:
            yield f"I08: event {event.seq} closes {event.data['key']}, which was not open"
        else:
            yield from _closing(ask, event)


def _closing(ask: Event, event: Event) -> Iterator[str]:
    key, due = event.data["key"], ask.data["due"]
    if event.trigger in _ANSWERS:
        if not _is_approver(event, ask.data.get("approvers", ())):
            yield f"T5: event {event.seq} answers {key} as {event.actor}, who is no approver of it"
        if (event.trigger in _DECISIONS) != (ask.data["kind"] == "auth"):
            yield f"I08: event {event.seq} answers {key}, which is of another kind"
        if event.at >= due:
            yield f"I09: event {event.seq} answers {key} after its time"
    if event.trigger is Trigger.EXPIRE and event.at < due:
        yield f"I10: event {event.seq} expires {key} before its time"


def _is_approver(event: Event, approvers: Sequence[str]) -> bool:
    """Whether who answers is named, or acts in a role that is; everybody is where nobody is."""
    acts = {role if role.startswith(OWN) else _ROLE + role for role in event.data.get("roles", ())}
    if not event.actor.startswith(_ROLE):
        acts.add(event.actor)
    return not approvers or not acts.isdisjoint(approvers)


def _approvals(log: Sequence[Event]) -> Iterator[str]:
    asked = {e.data["key"]: e.data for e in log if e.trigger is Trigger.ASK}
    for event in log:
        if event.trigger in _ANSWERS and event.actor in MACHINES:
            yield f"I25: event {event.seq} answers in the name of {event.actor}"
        if event.trigger is not Trigger.APPROVE:
            continue
        ask = asked[event.data["key"]]
        if event.data["digest"] != ask["digest"]:
            yield f"I13: event {event.seq} approves what was not asked"
        changed = event.data["arguments"] != ask["arguments"]
        if changed and not (ask["allow_edit"] and event.data["edited"]):
            yield f"I14: event {event.seq} approves other arguments without leave"


def _was_not_made(event: Event) -> bool:
    error: dict[str, object] = event.data.get("error", {})
    return error.get("code") == "not_made"


def _calls(log: Sequence[Event]) -> Iterator[str]:
    """A call ends once, and is begun again only if it may be, or a person says so."""
    begun: Counter[str] = Counter()
    leave: Counter[str] = Counter()
    ended: set[str] = set()
    for event in log:
        key = str(event.data.get("key"))
        match event.trigger:
            case Trigger.PROVIDE_INPUT if key.startswith(_IN_DOUBT):
                again = event.data["value"]["decision"] == "run_again"
                _, call = key.removeprefix(_IN_DOUBT).split("-", 1)
                leave[call.split("~")[0]] += again
            case Trigger.CALL:
                begun[key] += 1
                if key in ended:
                    yield f"I16: event {event.seq} begins {key}, whose end is known"
                if begun[key] > 1 + leave[key] and not event.data["idempotent"]:
                    yield f"I16: event {event.seq} begins {key} again without anybody's leave"
            case Trigger.CALLED if _was_not_made(event):
                begun[key] -= 1  # It is as if it had never been.
            case Trigger.CALLED:
                if not begun[key] or key in ended:
                    yield f"I15: event {event.seq} ends {key}, which was not begun"
                ended.add(key)
            case _:
                pass


def _gated(log: Sequence[Event]) -> Iterator[str]:
    """A tool is called as somebody approved it, where its policy wants that, and not otherwise."""
    approved = {e.data["key"]: e for e in log if e.trigger is Trigger.APPROVE}
    asked = {e.data["key"] for e in log if e.trigger is Trigger.ASK}
    first: dict[str, Event] = {}
    for event in log:
        if event.trigger is not Trigger.CALL or "tool" not in event.data:
            continue
        key, arguments = event.data["key"], event.data["arguments"]
        before = first.setdefault(key, event)
        if before.data["arguments"] != arguments:
            yield f"I13: event {event.seq} calls {key} again with other arguments"
        if before is not event or "leg" in event.data:
            continue  # Made again, or a further leg.
        approval = event.data.get("approval")
        if approval is None:
            if _wants_a_yes(event.data["policy"], arguments) or f"{key}:approval" in asked:
                yield f"I12: event {event.seq} calls {key}, which nobody approved"
            continue
        yes = approved.get(approval)
        if yes is None or yes.seq > event.seq:
            yield f"I12: event {event.seq} calls {key}, and {approval} was not approved"
        elif yes.data["arguments"] != arguments:
            yield f"I13: event {event.seq} calls {key} with other arguments than were approved"


def _wants_a_yes(policy: JsonObject, arguments: JsonObject) -> bool:
    """Whether these arguments are confirmed by that policy; a predicate of code is not asked."""
    confirm = policy.get("confirm")
    if isinstance(confirm, dict) and isinstance(when := confirm.get("when"), dict):
        try:
            return fits(arguments, when)
        except Unchecked:
            return True  # Nobody can tell, which is not to be taken for a no.
    return confirm == "always"


def _stops(log: Sequence[Event]) -> Iterator[str]:
    stopped: int | None = None
    for event in log:
        acts = event.trigger in _ACTS | _ANSWERS or (event.actor == AGENT and event.dest in WAITING)
        if stopped is not None and acts:
            yield f"I11: {event.trigger} at {event.seq} after the stop at {stopped}"
        if stopped is None and event.dest in OUTCOMES | {Phase.CANCELLING}:
            stopped = event.seq
