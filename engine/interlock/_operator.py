"""What people do to a store without an engine: the next one to open it acts on it.

The store must be open, and nobody else may have it open, unless it is one that processes share:
then the commit wants a turn where one is due, and whichever of them takes it up goes on.  The
same is checked as by an engine, but for what only the agent and today's policies know: arguments
that were edited are judged by those at the gate, before the tool is called.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from interlock._cell import Choice, always
from interlock._conclusion import OPERATOR_NAME
from interlock._edge import (
    actor_of,
    answered,
    checked,
    decided,
    named,
    spoken,
    text_problems,
)
from interlock._event import Data, Signal
from interlock._json import is_unicode
from interlock._machine import LIFECYCLE, Lifecycle
from interlock._memory import OPERATOR
from interlock._phases import Phase, Trigger
from interlock._record import Ask, TaskRecord
from interlock._replica import turn_after
from interlock._shared import shared
from interlock._store import Commit, Store
from interlock.errors import Conflict, InvalidInput, UnknownTask
from interlock.models import Answer, Approval, Denial, JsonObject, JsonValue, Limits

#: Tries of a change to a task that others change at the same time; each loses to a commit that
#: was made, so it takes very busy ones to use them up.
_TRIES: Final = 50


def operator_ask_of(record: TaskRecord) -> Ask:
    """What an operator is asked about the task.

    Raises:
        InvalidInput: no operator is asked.
    """
    for ask in record.asks:
        if ask.key.startswith(OPERATOR):
            return ask
    why = f"task {record.task_id!r} is {record.shown}, and no operator is asked about it"
    raise InvalidInput([why])


def as_operator(actor: str | None) -> Mapping[str, list[JsonValue]]:
    """What the log says besides where an operator is named: that he acts as one."""
    return {} if actor == OPERATOR_NAME else {"roles": [OPERATOR_NAME]}


async def resume_stopped(
    store: Store,
    task_id: str,
    decision: str,
    *,
    at: float,
    actor: str | None = None,
    lifecycle: Lifecycle = LIFECYCLE,
) -> TaskRecord:
    """Decide how a task goes on (see `Engine.resume`) when the next engine opens the store.

    `at` is the time, in seconds since 1970; `actor` is the operator by name.

    Raises:
        UnknownTask: there is no such task.
        InvalidInput: no operator is asked about it, or the actor is no name.
        AnswerInvalid: it may not be resumed in this way.
        Refused: it is too late.
        StoreError: it cannot be read or stored.
    """
    who = named(actor_of(actor, OPERATOR_NAME))
    no_message: list[JsonValue] = []

    def resumed(record: TaskRecord) -> tuple[Trigger, Data]:
        return Trigger.PROVIDE_INPUT, {
            "key": operator_ask_of(record).key,
            "token": None,
            "message": no_message,
            "value": decision,
            **as_operator(who),
        }

    return await _fired(store, task_id, resumed, who, at, lifecycle)


async def answer_stopped(
    store: Store,
    task_id: str,
    answer: Answer,
    *,
    actor: str,
    at: float,
    roles: Sequence[str] = (),
    limits: Limits | None = None,
    lifecycle: Lifecycle = LIFECYCLE,
) -> TaskRecord:
    """Give the value that an open ask wants (see `Engine.answer`).

    `at` is the time, in seconds since 1970.

    Raises:
        UnknownTask: there is no such task.
        InvalidInput: nobody acts, or something is not of its kind, or too large.
        AnswerInvalid: the value does not fit; the ask stays open.
        Refused: the ask is closed, or wants something else; nothing changed.
        StoreError: it cannot be read or stored.
    """
    said = answer.model_dump(mode="json")
    data = answered(_spoken(said, roles, limits), said)
    who = named(actor_of(actor, None))
    return await _fired(store, task_id, always(Trigger.PROVIDE_INPUT, data), who, at, lifecycle)


async def decline_stopped(
    store: Store,
    task_id: str,
    ask: str,
    *,
    actor: str,
    at: float,
    reason: str | None = None,
    roles: Sequence[str] = (),
    limits: Limits | None = None,
    lifecycle: Lifecycle = LIFECYCLE,
) -> TaskRecord:
    """Say that an open ask gets no value (see `Engine.decline`); the rest as `answer_stopped`."""
    if problems := text_problems(ask=ask, reason=reason):
        raise InvalidInput(problems)
    said: JsonObject = {"ask": ask, "decline": True, "reason": reason}
    data = {**_spoken(said, roles, limits), "reason": reason, "grace_s": _limits(limits).grace_s}
    who = named(actor_of(actor, None))
    return await _fired(store, task_id, always(Trigger.DECLINE, data), who, at, lifecycle)


async def decide_stopped(
    store: Store,
    task_id: str,
    decision: Approval | Denial,
    *,
    actor: str,
    at: float,
    roles: Sequence[str] = (),
    limits: Limits | None = None,
    lifecycle: Lifecycle = LIFECYCLE,
) -> TaskRecord:
    """Approve or deny what an open ask names (see `Engine.decide`); else as `answer_stopped`.

    Raises:
        AnswerInvalid: edited arguments do not fit the tool's schema.
        Refused: the digest names something else, the arguments may not be edited,
            the actor is no approver, ...; nothing changed.
    """
    said = decision.model_dump(mode="json")
    data = _spoken(said, roles, limits)
    who = named(actor_of(actor, None))
    trigger = Trigger.DENY if isinstance(decision, Denial) else Trigger.APPROVE

    def of_ask(record: TaskRecord) -> tuple[Trigger, Data]:
        ask = record.ask(decision.ask)
        return trigger, decided(data, decision, said, ask, grace_s=_limits(limits).grace_s)

    return await _fired(store, task_id, of_ask, who, at, lifecycle)


async def cancel_stopped(
    store: Store,
    task_id: str,
    *,
    actor: str,
    at: float,
    reason: str | None = None,
    limits: Limits | None = None,
    lifecycle: Lifecycle = LIFECYCLE,
) -> TaskRecord:
    """Ask for the task to stop (see `Engine.cancel`); a repeat is accepted and changes nothing.

    `at` is the time, in seconds since 1970.

    Raises:
        UnknownTask: there is no such task.
        InvalidInput: nobody acts, or the reason is no text, or too large.
        IllegalTrigger: it is over.
        StoreError: it cannot be read or stored.
    """
    if problems := text_problems(reason=reason):
        raise InvalidInput(problems)
    checked(reason, "the reason", _limits(limits).payload_bytes_max)
    who = named(actor_of(actor, None))
    record = await _stored(store, task_id)
    if record.phase is Phase.CANCELLING:
        return record
    data: Data = {"grace_s": _limits(limits).grace_s, "reason": reason}
    return await _fired(store, task_id, always(Trigger.CANCEL, data), who, at, lifecycle)


def _limits(limits: Limits | None) -> Limits:
    return limits or Limits()


def _spoken(said: JsonObject, roles: Sequence[str], limits: Limits | None) -> dict[str, JsonValue]:
    bytes_max = _limits(limits).payload_bytes_max
    return spoken(said, token=None, message=(), roles=roles, bytes_max=bytes_max)


async def _stored(store: Store, task_id: str) -> TaskRecord:
    """The task; raises UnknownTask if there is none."""
    record = await store.get(task_id) if is_unicode(task_id) else None
    if record is None:
        raise UnknownTask(task_id)
    return record


async def _fired(
    store: Store,
    task_id: str,
    choose: Choice,
    actor: str,
    at: float,
    lifecycle: Lifecycle,
) -> TaskRecord:
    """Fire and commit; nobody waits for what is to follow, which an engine sees to."""
    left = _TRIES if shared(store) else 1
    while True:
        record = await _stored(store, task_id)
        trigger, data = choose(record)
        # A clock that was set back must not make the log go back in time.
        move = lifecycle.fire(record, Signal(trigger, data, actor, max(at, record.updated_at)))
        turn = turn_after(move.record, [move]) if shared(store) else None
        left -= 1
        try:
            await store.commit(Commit(move.record, (move.event,), turn=turn))
        except Conflict:
            if not left:
                raise
            continue  # Somebody was quicker: what is wanted is judged by what is so now.
        return move.record
