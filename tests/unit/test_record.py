"""A record is a value: it says its deadlines, shows one phase, and survives JSON."""

import dataclasses
import json

import pytest

from interlock._effects import TimerKind
from interlock._phases import OUTCOMES, OVER, WAITING, Phase, Trigger
from interlock._record import (
    OUTCOME_OF,
    OWNED,
    TIMER_TRIGGER,
    Active,
    AskKind,
    Ended,
    Queued,
    StopCause,
    Stopping,
    TaskRecord,
    Timer,
    Waiting,
)
from interlock._transitions import TABLE
from lives import (
    ASK_DUE,
    GRACE_DUE,
    OWNER,
    RECORDS,
    RETRY_DUE,
    RUN_DUE,
    TASK_DUE,
    ask,
    task,
    waiting,
)

EVERY = [record for records in RECORDS.values() for record in records]
TASK = Timer(TimerKind.TASK, "", TASK_DUE)


@pytest.mark.parametrize(
    ("record", "timers"),
    [
        (task(Phase.SUBMITTED, Queued()), [TASK]),
        (
            task(Phase.SUBMITTED, Queued(RETRY_DUE)),
            [Timer(TimerKind.RETRY, "", RETRY_DUE), TASK],
        ),
        (task(Phase.RUNNING, Active()), [TASK]),
        (task(Phase.RUNNING, Active(RUN_DUE)), [Timer(TimerKind.RUN, "", RUN_DUE), TASK]),
        (
            waiting(ask("k"), ask("l", AskKind.AUTH)),
            [
                Timer(TimerKind.ASK, "k", ASK_DUE),
                Timer(TimerKind.ASK, "l", ASK_DUE),
                TASK,
            ],
        ),
        (
            task(Phase.CANCELLING, Stopping(StopCause.CLIENT, GRACE_DUE)),
            [Timer(TimerKind.GRACE, "", GRACE_DUE)],
        ),
        (task(Phase.FAILED, Ended(Phase.FAILED)), []),
        (task(Phase.FINALIZED, Ended(Phase.FAILED)), []),
    ],
)
def test_the_timers_of_a_record_are_the_deadlines_of_its_phase(
    record: TaskRecord, timers: list[Timer]
) -> None:
    """Each ask has its own; the run clock stands still in a wait; the end has none (I21, I22)."""
    assert list(record.timers()) == timers


@pytest.mark.parametrize("record", EVERY)
def test_the_due_time_is_that_of_the_first_timer(record: TaskRecord) -> None:
    """Told twice, in two ways; and no task before its end can be forgotten (I28)."""
    dues = [timer.due for timer in record.timers()]
    assert record.due == min(dues, default=None)
    assert (record.due is None) == (record.phase in OVER)


def test_the_tasks_own_deadline_counts_when_it_is_the_first() -> None:
    """A run or a wait may be longer than what is left of the task."""
    for details in (Queued(TASK_DUE + 1), Active(TASK_DUE + 1)):
        record = task(Phase.SUBMITTED if isinstance(details, Queued) else Phase.RUNNING, details)
        assert record.due == TASK_DUE


@pytest.mark.parametrize("record", EVERY)
def test_a_record_survives_its_own_json(record: TaskRecord) -> None:
    """The snapshot row of every store (I27).  Source: R-LIFE-20."""
    again = TaskRecord.from_json(record.to_json())
    assert again == record
    assert type(again.details) is type(record.details)
    assert again.to_json() == record.to_json()
    assert TaskRecord.from_json(record.to_json().decode()) == record


@pytest.mark.parametrize("phase", Phase)
def test_a_snapshot_with_data_of_another_phase_is_refused(phase: Phase) -> None:
    """The phase owns its data, also on the way in from a store.  Source: R-LIFE-04."""
    snapshot = json.loads(RECORDS[phase][0].to_json())
    wrong = Phase.RUNNING if OWNED[phase] is not Active else Phase.CANCELLING
    snapshot["phase"] = wrong.value
    with pytest.raises(ValueError, match="does not own"):
        TaskRecord.from_json(json.dumps(snapshot))


@pytest.mark.parametrize("snapshot", ["", "{}", "[]", "null", '{"phase": "running"}', "\xff"])
def test_a_snapshot_that_is_no_record_is_refused(snapshot: str) -> None:
    """A damaged row raises; it never becomes half a record."""
    with pytest.raises(ValueError):  # noqa: PT011  (the message is the validator's)
        TaskRecord.from_json(snapshot)


@pytest.mark.parametrize("record", EVERY)
def test_a_client_is_shown_the_outcome_also_when_it_is_finalized(record: TaskRecord) -> None:
    """Finalized is ours: it says that nothing is held any more."""
    assert record.shown is not Phase.FINALIZED
    if record.phase is Phase.FINALIZED:
        assert isinstance(record.details, Ended)
        assert record.shown is record.details.outcome
    else:
        assert record.shown is record.phase


def test_open_asks_are_found_by_their_key() -> None:
    """Oldest first; a phase that does not wait has none."""
    record = waiting(ask("k"), ask("l"))
    assert [each.key for each in record.asks] == ["k", "l"]
    assert record.ask("l") is record.asks[1]
    assert record.ask("old") is None
    assert task(Phase.RUNNING, Active()).asks == ()
    assert task(Phase.RUNNING, Active()).ask("k") is None


def test_a_record_names_its_owner_and_context() -> None:
    """Identity does not change over a life."""
    record = RECORDS[Phase.RUNNING][0]
    assert (record.task_id, record.owner, record.context_id) == ("t", OWNER, "c")


def test_a_record_cannot_be_changed() -> None:
    """Only the machine makes the next one; nobody can write this one."""
    record = RECORDS[Phase.WAITING_INPUT][0]
    for value in (record, record.identity, record.details, record.asks[0]):
        name = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)


def test_every_phase_cause_and_timer_has_its_entry() -> None:
    """The module's assertions once more, for `python -O`."""
    assert OWNED.keys() == set(Phase)
    assert OUTCOME_OF.keys() == set(StopCause)
    assert set(OUTCOME_OF.values()) < OUTCOMES
    assert TIMER_TRIGGER.keys() == set(TimerKind)
    assert all((phase in WAITING) == (owned is Waiting) for phase, owned in OWNED.items())


def test_each_timer_fires_a_trigger_that_its_phase_has_a_row_for() -> None:
    """A timer whose trigger is illegal where it is armed would never do anything."""
    declared = {(row.source, row.trigger) for row in TABLE}
    for record in EVERY:
        for timer in record.timers():
            assert (record.phase, TIMER_TRIGGER[timer.kind]) in declared
    assert TIMER_TRIGGER[TimerKind.RETRY] is Trigger.START
