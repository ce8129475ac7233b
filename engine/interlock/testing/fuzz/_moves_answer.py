"""Answers and decisions of every kind: right and wrong, late, twice, and two at once."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from interlock._guards import ROLE, is_approver, roles_among
from interlock._phases import Trigger
from interlock._record import Ask, AskKind, TaskRecord
from interlock.models import Answer, Approval, Denial, JsonObject
from interlock.testing.fuzz._answers import edited, fitting, unfitting, unmet
from interlock.testing.fuzz._oracle_run import Promise

if TYPE_CHECKING:
    from interlock.testing.fuzz._drive_world import World

Said: TypeAlias = Answer | Approval | Denial

#: In which way it is said; the first is the plain one.
_PLAIN, _TWICE, _STRANGER, _CANCEL, _MACHINE, _WRONG, _OTHER = range(7)
_WAYS: Final = 7
_FAULT_OF: Final = {_TWICE: "duplicate", _CANCEL: "concurrent", _OTHER: "concurrent"}
_MACHINES: Final = ("agent", "engine", "timer")


def _way(run: "World") -> int:
    """One of the ways; the plain one in every second case, and mostly where clients help."""
    others = [way for way in range(1, _WAYS) if _FAULT_OF.get(way) in run.faults | {None}]
    if run.helps:
        others = [way for way in others if way != _CANCEL]
    times = 8 if run.helps else 1
    return run.tape.towards(_WAYS, [_PLAIN] * times * len(others) + others)


def _pick(run: "World", kind: AskKind) -> tuple[TaskRecord, Ask] | None:
    found = [(record, ask) for record, ask in run.asks() if ask.kind is kind]
    if not found:
        return None
    # Who helps stays with the task that has come furthest: so some come to their end.
    furthest = max(len(record.closed) for record, _ in found) if run.helps else 0
    wanted = [run.is_hinted(record) and len(record.closed) >= furthest for record, _ in found]
    return run.choose(found, wanted)


def _who(record: TaskRecord, ask: Ask) -> str:
    named = [approver for approver in ask.approvers if not approver.startswith(ROLE)]
    return named[0] if named else record.owner


def _sent(
    run: "World",
    record: TaskRecord,
    said: Said,
    actor: str,
    *,
    roles: list[str],
    owner: str,
    token: str | None,
) -> Callable[[], Awaitable[TaskRecord]]:
    task_id = record.task_id

    async def send() -> TaskRecord:
        engine = run.process.engine
        if isinstance(said, Answer):
            return await engine.answer(
                task_id, said, owner=owner, actor=actor, roles=roles, token=token
            )
        return await engine.decide(
            task_id, said, owner=owner, actor=actor, roles=roles, token=token
        )

    return send


def _promise(record: TaskRecord, ask: Ask, said: Said, token: str | None) -> Promise:
    if isinstance(said, Answer):
        trigger, data = Trigger.PROVIDE_INPUT, {"value": said.value}
    elif isinstance(said, Denial):
        trigger, data = Trigger.DENY, {"digest": said.digest}
    else:
        arguments = ask.arguments if said.arguments is None else said.arguments
        trigger, data = Trigger.APPROVE, {"digest": ask.digest, "arguments": arguments}
    return Promise(record.task_id, ask.key, trigger, data, token)


def _text(said: Said) -> str:
    match said:
        case Answer():
            return f"answers {said.ask} with {json.dumps(said.value):.60}"
        case Approval(arguments=None):
            return f"approves {said.ask}"
        case Approval():
            return f"approves {said.ask} with {json.dumps(said.arguments):.60}"
        case Denial():
            return f"denies {said.ask}"


def _say(
    run: "World",
    record: TaskRecord,
    ask: Ask,
    said: Said,
    *,
    actor: str | None = None,
    owner: str | None = None,
    token: str | None = None,
    must_fail: str | None = None,
) -> None:
    who = actor or _who(record, ask)
    step = run.say(f"{who} {_text(said)} of {record.task_id}")
    # Whoever is named has no role: only who may answer acts in one.
    roles = [] if actor else roles_among(ask.approvers)
    send = _sent(run, record, said, who, roles=roles, owner=owner or record.owner, token=token)
    promise = _promise(record, ask, said, token)
    run.request(step, send, promise=promise, must_fail=must_fail)


def _said(run: "World", record: TaskRecord, ask: Ask, said: Said, other: Said | None) -> None:
    """Say it in one of the ways; `other` is what somebody else says at once."""
    way = _way(run)
    match way:
        case _ if way == _TWICE:
            token = f"{record.task_id} {ask.key}"
            _say(run, record, ask, said, token=token)
            _say(run, record, ask, said, token=token)
        case _ if way == _STRANGER:
            _say(run, record, ask, said, actor="mallory", owner="mallory", must_fail="I26")
        case _ if way == _MACHINE:
            _say(run, record, ask, said, actor=run.tape.pick(_MACHINES), must_fail="I25")
        case _ if way == _CANCEL:
            _say(run, record, ask, said)
            run.request(
                run.say(f"... and {record.owner} cancels {record.task_id} at once"),
                lambda: run.process.engine.cancel(record.task_id, owner=record.owner),
            )
        case _ if way == _OTHER and other is not None:
            _say(run, record, ask, said)
            _say(run, record, ask, other)
        case _ if way == _WRONG:
            _wrong(run, record, ask, said)
        case _:
            _say(run, record, ask, said)


def _wrong(run: "World", record: TaskRecord, ask: Ask, said: Said) -> None:
    if run.tape.chance(3):
        _of_another_kind(run, record, ask, said)
    elif ask.approvers and run.tape.chance(2):
        _say(run, record, ask, said, actor=_no_approver(run, record, ask), must_fail="T5")
    elif isinstance(said, Answer):
        bad = unfitting(ask.schema, run.tape)
        if bad is not None:
            wrong = said.model_copy(update={"value": bad[0]})
            _say(run, record, ask, wrong, must_fail="answer_fits")
    else:
        _say(run, record, ask, said.model_copy(update={"digest": "0" * 32}), must_fail="I13")


def _no_approver(run: "World", record: TaskRecord, ask: Ask) -> str:
    """Somebody who may not answer: who has the task, where that is not enough, or anybody."""
    if not is_approver(ask, record.owner, ()) and run.tape.chance(2):
        return record.owner
    return f"not {ask.approvers[0]}"


def _of_another_kind(run: "World", record: TaskRecord, ask: Ask, said: Said) -> None:
    """A decision where a value is asked for, and the other way round."""
    other: Said
    if isinstance(said, Answer):
        other = Approval(ask=ask.key, digest="0" * 32, decision="approve")
    else:
        other = Answer(ask=ask.key, value=True)
    _say(run, record, ask, other, must_fail="I08")


async def answer(run: "World") -> None:
    """Somebody answers an open ask."""
    if (found := _pick(run, AskKind.INPUT)) is None:
        return
    record, ask = found
    if (value := fitting(ask.schema, run.tape, run.target.known)) is None:
        why = f"could not be answered: {unmet(ask.schema)}"
        run.notes[f"the ask {ask.prompt!r:.60} {why}"] += 1
        return
    other = fitting(ask.schema, run.tape, run.target.known)
    said = Answer(ask=ask.key, value=value[0])
    _said(run, record, ask, said, None if other is None else Answer(ask=ask.key, value=other[0]))


async def approve(run: "World") -> None:
    """Somebody approves a call, as it is or with other arguments."""
    if (found := _pick(run, AskKind.AUTH)) is None:
        return
    record, ask = found
    assert ask.digest is not None
    no = Denial(ask=ask.key, digest=ask.digest, decision="deny")
    arguments: JsonObject | None = None
    must_fail = None if ask.allow_edit else "I14"
    if run.tape.chance(4):
        arguments = edited(ask.arguments or {}, ask.schema, run.tape)
    elif ask.allow_edit and run.tape.chance(6) and (bad := unfitting(ask.schema, run.tape)):
        arguments = bad[0] if isinstance(bad[0], dict) else None
        must_fail = None if arguments is None else "arguments_fit"
    yes = Approval(ask=ask.key, digest=ask.digest, decision="approve", arguments=arguments)
    if arguments is not None and must_fail is not None:
        _say(run, record, ask, yes, must_fail=must_fail)
    else:
        _said(run, record, ask, yes, no)


async def deny(run: "World") -> None:
    """Somebody says no to a call."""
    if (found := _pick(run, AskKind.AUTH)) is None:
        return
    record, ask = found
    assert ask.digest is not None
    yes = Approval(ask=ask.key, digest=ask.digest, decision="approve")
    _said(run, record, ask, Denial(ask=ask.key, digest=ask.digest, decision="deny"), yes)


async def decline(run: "World") -> None:
    """Somebody will not say."""
    if (found := _pick(run, AskKind.INPUT)) is None:
        return
    record, ask = found
    if ask.approvers and run.tape.chance(4):
        _decline(run, record, ask, actor=_no_approver(run, record, ask), must_fail="T5")
        return
    token = f"no {record.task_id} {ask.key}" if "duplicate" in run.faults else None
    times = 2 if token is not None and run.tape.chance(4) else 1
    for _ in range(times):
        _decline(run, record, ask, token=token)


def _decline(
    run: "World",
    record: TaskRecord,
    ask: Ask,
    *,
    actor: str | None = None,
    token: str | None = None,
    must_fail: str | None = None,
) -> None:
    who = actor or _who(record, ask)
    roles = [] if actor else roles_among(ask.approvers)
    run.request(
        run.say(f"{who} declines {ask.key} of {record.task_id}"),
        lambda: run.process.engine.decline(
            record.task_id, ask.key, owner=record.owner, actor=who, roles=roles, token=token
        ),
        promise=Promise(record.task_id, ask.key, Trigger.DECLINE, {}, token),
        must_fail=must_fail,
    )


async def stale(run: "World") -> None:
    """Somebody answers what is closed already."""
    closed = [(record, key) for record in run.disk.records for key in record.closed]
    if not closed:
        return
    record, key = run.tape.pick(closed)
    run.request(
        run.say(f"{record.owner} answers {key} of {record.task_id}, which is closed"),
        lambda: run.process.engine.answer(
            record.task_id, Answer(ask=key, value="late"), owner=record.owner
        ),
        must_fail="I07",
    )
