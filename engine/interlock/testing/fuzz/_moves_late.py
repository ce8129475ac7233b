"""Signals that come too early, too late or from the wrong one: an engine must refuse them.

They are put into the inbox of the task, where reports of turns and timers arrive: a turn that was
given up may still say something, and a timer may ring that nobody waits for any more.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from interlock._cell import Choice, always
from interlock._event import AGENT, ENGINE, TIMER
from interlock._phases import OVER, WAITING, Phase, Trigger
from interlock._record import Active, AskKind, Queued, Stopping, TaskRecord
from interlock.errors import NotAccepting

if TYPE_CHECKING:
    from interlock.testing.fuzz._drive_world import World

T = Trigger


class _Late(NamedTuple):
    """A signal that must be refused."""

    what: str
    trigger: Trigger
    data: Mapping[str, Any]
    actor: str
    #: What is broken if it is not.
    breaks: str
    #: When its time has come, seconds since 1970.
    until: float = math.inf


#: What a turn may still say when it was given up.
_REPORTS: Final[tuple[tuple[Trigger, Mapping[str, Any]], ...]] = (
    (T.COMPLETE, {"parts": []}),
    (T.FAIL, {"code": "late", "message": "late"}),
    (T.EMIT, {"n": 99, "artifact": {}, "log_events_max": 10_000}),
    (T.REJECT, {"code": "late", "message": "late"}),
    (T.STOPPED, {}),
    (T.NOTE, {"key": "late", "kind": "value", "value": 1, "log_events_max": 10_000}),
    (T.RETRY, {"code": "late", "message": "late", "not_before": 0.0}),
)


def _reports(record: TaskRecord) -> list[_Late]:
    return [
        _Late(f"a turn that was given up says {trigger}", trigger, said, AGENT, "I17")
        for trigger, data in _REPORTS
        for said in [{**data, "epoch": record.epoch - 1}]
    ]


def _excesses(record: TaskRecord) -> list[_Late]:
    """What a turn that runs must not do: beyond its bounds, or again."""
    if record.phase is not Phase.RUNNING and record.phase not in WAITING:
        return []
    used = [*record.closed, *(ask.key for ask in record.asks)]
    ask: Mapping[str, Any] = {"kind": "input", "prompt": "?", "due": 0.0, "on_expire": "fail"}
    says: list[tuple[str, Trigger, Mapping[str, Any], str]] = [
        ("asks once too often", T.ASK, {**ask, "key": "late", "asks_max": 0}, "I39"),
        ("writes into a log that is full", T.NOTE, {"key": "late", "log_events_max": 1}, "I39"),
        ("ends a call that was not begun", T.CALLED, {"key": "late"}, "I15"),
        ("gives up what it did not ask", T.WITHDRAW, {"key": "late"}, "I08"),
    ]
    if used:
        says.append(("asks again", T.ASK, {**ask, "key": used[0], "asks_max": 99}, "I06"))
    late = [
        _Late(f"a turn {what}", trigger, {**data, "epoch": record.epoch}, AGENT, breaks)
        for what, trigger, data, breaks in says
    ]
    if record.phase is Phase.RUNNING:
        data = {"run_s": None, "recoveries_max": 0}
        late.append(_Late("it is recovered once too often", T.RECOVER, data, ENGINE, "recover"))
    return late


def _answers(record: TaskRecord) -> list[_Late]:
    """Who asks answers himself; the engine lets no caller in by that name."""
    return [
        _Late(f"a turn says no to its own {ask.key}", trigger, data, AGENT, "I25")
        for ask in record.asks
        for trigger, data in [
            (T.DECLINE, {"key": ask.key, "grace_s": 5.0})
            if ask.kind is AskKind.INPUT
            else (T.DENY, {"key": ask.key, "digest": ask.digest, "grace_s": 5.0})
        ]
    ]


def _timers(record: TaskRecord, now: float) -> list[_Late]:
    early: list[_Late] = []
    for ask in record.asks:
        data = {"key": ask.key, "timer": "ask", "grace_s": 5.0, "epoch": record.epoch}
        if ask.due > now:
            early.append(
                _Late(f"{ask.key} expires too early", T.EXPIRE, data, TIMER, "I10", ask.due)
            )
        early.append(
            _Late(f"{record.owner} lets {ask.key} expire", T.EXPIRE, data, record.owner, "I10")
        )
    if record.identity.due > now:
        data = {"key": "", "timer": "task", "grace_s": 5.0, "epoch": record.epoch}
        early.append(
            _Late(
                "its deadline comes too early",
                T.OVERRUN,
                data,
                TIMER,
                "overrun",
                record.identity.due,
            )
        )
    details = record.details
    if isinstance(details, Active) and (details.run_due is None or details.run_due > now):
        data = {"key": "", "timer": "run", "grace_s": 5.0, "epoch": record.epoch}
        early.append(
            _Late(
                "its run ends too early",
                T.OVERRUN,
                data,
                TIMER,
                "overrun",
                details.run_due or math.inf,
            )
        )
    if isinstance(details, Stopping) and details.grace_due > now:
        data = {"key": "", "timer": "grace", "epoch": record.epoch}
        early.append(
            _Late("its grace time ends too early", T.ABANDON, data, TIMER, "I31", details.grace_due)
        )
    if isinstance(details, Queued) and details.not_before is not None and details.not_before > now:
        data = {"run_s": None}
        early.append(
            _Late("its back-off ends too early", T.START, data, ENGINE, "start", details.not_before)
        )
    return early


async def late(run: "World") -> None:
    """Somebody says what nobody waits for."""
    records = [record for record in run.disk.records if record.phase not in OVER]
    if not records:
        return
    record = run.choose(records, [run.is_hinted(r) for r in records])
    # Times of a log do not go back with a clock.
    now = max(run.process.clock.now(), record.updated_at)
    signals = [*_reports(record), *_excesses(record), *_answers(record), *_timers(record, now)]
    signal = run.tape.pick(signals)
    run.request(
        run.say(f"{signal.what}: {record.task_id}"),
        lambda: _fired(run, record.task_id, signal),
        must_fail=signal.breaks,
        until=signal.until,
    )


async def reject(run: "World") -> None:
    """The agent rejects a task before it begins.

    No turn and no admission of the engine does so (see the row in `_transitions`): without this
    move that row would never be taken, and whether it holds never be seen.
    """
    queued = [record for record in run.disk.records if record.phase is Phase.SUBMITTED]
    if not queued:
        return
    record = run.tape.pick(queued)
    data = {"code": "rejected", "message": "not this one", "epoch": record.epoch}
    signal = _Late("the agent rejects it before it begins", T.REJECT, data, AGENT, "")
    run.request(
        run.say(f"{signal.what}: {record.task_id}"), lambda: _fired(run, record.task_id, signal)
    )


async def _fired(run: "World", task_id: str, signal: _Late) -> TaskRecord:
    runtime = run.process.runtime
    if runtime is None:
        raise NotAccepting("the engine is closed")
    cell = await runtime.writer.cell(task_id)
    with runtime.writer.keeping(cell):
        return await runtime.writer.fire(cell, _chosen(signal), signal.actor)


def _chosen(signal: _Late) -> Choice:
    """The signal; a recovery only where the task still runs, for a turn that stops has that too."""
    if signal.trigger is not T.RECOVER:
        return always(signal.trigger, signal.data)

    def choose(record: TaskRecord) -> tuple[Trigger, Mapping[str, Any]]:
        if record.phase is Phase.RUNNING:
            return signal.trigger, signal.data
        return T.SUBMIT, {}  # It is refused: there is the task already.

    return choose
