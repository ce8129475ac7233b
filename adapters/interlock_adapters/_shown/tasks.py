"""Tasks as the management API shows them: the record, and what its log amounts to."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from interlock import (
    WAITING,
    Ended,
    Event,
    OpenAsk,
    Phase,
    Stopping,
    TaskRecord,
    TaskView,
    Trigger,
    can,
)
from interlock._memory import IN_DOUBT
from interlock._phases import CLOSES
from interlock_adapters._callers.access import is_for_operator
from interlock_adapters._shown.models import (
    ArtifactShown,
    AskShown,
    CallShown,
    ClosedAskShown,
    PossibleShown,
    TaskDetail,
    TaskShown,
)

#: What an operator may do besides what a client may: `Access.resume`.
RESUME: Final = "resume"


class Rights(Protocol):
    """What somebody may do with tasks: see `Access`."""

    def may_answer(self, record: TaskRecord, ask: OpenAsk, /) -> bool:
        """Whether the ask is one to answer or decide."""
        ...

    def may_cancel(self, record: TaskRecord, /) -> bool:
        """Whether the task is one to cancel."""
        ...

    def may_resume(self, record: TaskRecord, /) -> bool:
        """Whether the task is one to resume."""
        ...


def ask_shown(access: Rights, record: TaskRecord, ask: OpenAsk) -> AskShown:
    """An open ask, for this principal."""
    return AskShown(
        key=ask.key,
        kind=ask.kind.value,
        prompt=ask.prompt,
        schema=ask.schema,
        asked_at=ask.asked_at,
        due=ask.due,
        on_expire=ask.on_expire,
        default=ask.default,
        tool=ask.tool,
        arguments=ask.arguments,
        digest=ask.digest,
        allow_edit=ask.allow_edit,
        on_deny=ask.on_deny,
        approvers=list(ask.approvers),
        phase=None if ask.phase is None else ask.phase.value,
        for_operator=is_for_operator(ask),
        may_answer=access.may_answer(record, ask),
    )


def task_shown(access: Rights, record: TaskRecord) -> TaskShown:
    """A task as it is, for this principal."""
    return TaskShown(**_fields(access, record))


def _fields(access: Rights, record: TaskRecord) -> dict[str, Any]:
    details = record.details
    code, message = None, None
    match details:
        case Ended():
            code, message = details.code, details.message
        case Stopping():
            code, message = details.cause.value, details.message
        case _:
            pass
    return {
        "task_id": record.task_id,
        "owner": record.owner,
        "context_id": record.context_id,
        "phase": record.shown.value,
        "kin": record.shown.kin.value,
        "finalized": record.phase is Phase.FINALIZED,
        "seq": record.seq,
        "epoch": record.epoch,
        "attempt": record.attempt,
        "created_at": record.identity.created_at,
        "updated_at": record.updated_at,
        "due": record.due,
        "code": code,
        "message": message,
        "abandoned": isinstance(details, Ended) and details.abandoned,
        "asks": [ask_shown(access, record, ask) for ask in record.asks],
    }


def task_detail(access: Rights, view: TaskView) -> TaskDetail:
    """A task with what its log amounts to, for this principal."""
    record, events = view.record, view.events
    asked = events[0].data
    ended = next((e for e in reversed(events) if e.trigger is Trigger.COMPLETE), None)
    journal = journal_of(record, events)
    return TaskDetail(
        **_fields(access, record),
        input=asked["parts"],
        metadata=asked.get("metadata") or {},
        agent=asked.get("agent", asked.get("default_agent")),
        result=None if ended is None else ended.data["parts"],
        can=list(_possible(access, record)),
        closed=closed_of(events),
        artifacts=artifacts_of(events),
        journal=journal,
        in_doubt=[call.key for call in journal if call.state == "in_doubt"],
    )


def _possible(access: Rights, record: TaskRecord) -> Iterator[PossibleShown]:
    """What this principal may do with the task now."""
    for possible in can(record):
        if possible.ask is None:
            if access.may_cancel(record):
                yield PossibleShown(trigger=possible.trigger.value)
        elif access.may_answer(record, possible.ask):
            yield PossibleShown(trigger=possible.trigger.value, ask=possible.ask.key)
    for ask in record.asks:
        if is_for_operator(ask) and access.may_resume(record):
            yield PossibleShown(trigger=RESUME, ask=ask.key)


def closed_of(events: Sequence[Event]) -> list[ClosedAskShown]:
    """The asks that are closed and how each was, in the order in which they were asked.

    One that nothing was said to was closed by what took the task out of its wait.
    """
    asked: dict[str, Event] = {}
    by: dict[str, Event] = {}
    for event in events:
        key: str = event.data.get("key", "")
        if event.trigger is Trigger.ASK:
            asked[key] = event
        elif event.trigger in CLOSES:
            by[key] = event
        if event.dest.kin not in WAITING:
            by |= dict.fromkeys(asked.keys() - by.keys(), event)
    return [_closed(asked[key], by[key]) for key in asked if key in by]


def _closed(asked: Event, by: Event) -> ClosedAskShown:
    data = asked.data
    return ClosedAskShown(
        key=data["key"],
        kind=data["kind"],
        prompt=data["prompt"],
        tool=data.get("tool"),
        arguments=data.get("arguments"),
        asked_at=asked.at,
        trigger=by.trigger.value,
        closed_at=by.at,
        actor=by.actor,
        reason=by.data.get("reason"),
    )


def artifacts_of(events: Sequence[Event]) -> list[ArtifactShown]:
    """What the agent made, each put together from its chunks, in the order in which they began."""
    made: dict[str, ArtifactShown] = {}
    for event in events:
        if event.trigger is not Trigger.EMIT:
            continue
        chunk = event.data["artifact"]
        artifact_id: str = chunk["artifact_id"]
        before = made.get(artifact_id) if chunk.get("append") else None
        parts = [] if before is None else before.parts
        made[artifact_id] = ArtifactShown(
            artifact_id=artifact_id,
            name=chunk.get("name") or (None if before is None else before.name),
            description=chunk.get("description")
            or (None if before is None else before.description),
            parts=[*parts, *chunk["parts"]],
            metadata=chunk.get("metadata") or (None if before is None else before.metadata),
            complete=bool(chunk.get("last_chunk")),
        )
    return list(made.values())


def journal_of(record: TaskRecord, events: Sequence[Event]) -> list[CallShown]:
    """The calls of functions and tools, and what each came to, in the order in which they began.

    A call that was begun again after a crash is one; each leg of a call is one of its own.
    """
    calls: dict[str, CallShown] = {}
    for event in events:
        data = event.data
        if event.trigger is Trigger.CALL:
            calls[data["key"]] = _begun(event)
        elif event.trigger is Trigger.CALLED and data["key"] in calls:
            call = calls[data["key"]]
            error = data.get("error")
            update = {
                "state": "done" if error is None else "failed",
                "ended_at": event.at,
                "value": data.get("value"),
                "error": error,
            }
            calls[data["key"]] = call.model_copy(update=update)
    doubted = [ask.key for ask in record.asks if ask.key.startswith(IN_DOUBT)]
    for key in record.calls:
        if key in calls and any(_is_about(asked, key) for asked in doubted):
            calls[key] = calls[key].model_copy(update={"state": "in_doubt"})
    return list(calls.values())


def _begun(event: Event) -> CallShown:
    data = event.data
    return CallShown(
        key=data["key"],
        name=data["name"],
        tool=data.get("tool"),
        leg=data.get("leg", 1),
        arguments=data["arguments"],
        requested=data.get("requested"),
        approval=data.get("approval"),
        idempotent=data["idempotent"],
        policy=data.get("policy"),
        state="open",
        begun=event.seq,
        began_at=event.at,
        ended_at=None,
        value=None,
        error=None,
    )


def _is_about(asked: str, call: str) -> bool:
    """Whether an ask of a call in doubt, `interlock:in-doubt-N-KEY` or `...~M`, is about it."""
    _, _, rest = asked.removeprefix(IN_DOUBT).partition("-")
    return rest == call or rest.rpartition("~")[0] == call
