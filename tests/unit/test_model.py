"""The check of everything that can happen to a task: what it says of sound and of broken ones.

Requirements: R-PIC-14, R-PIC-15.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

import pytest

from interlock import LIFECYCLE, Lifecycle, Phase, Trigger
from interlock import _changes as change
from interlock import _guards as guards
from interlock._changes import Draft
from interlock._effects import StopTurn
from interlock._event import Signal
from interlock._record import Active
from interlock._transitions import TABLE, Row
from interlock.testing.model import Faults, ModelReport, Violation, check_model
from lives import amended

PAYMENT: Final = Phase.further("waiting_payment", like=Phase.WAITING_INPUT)
MANAGER: Final = Phase.further("waiting_manager", like=Phase.WAITING_AUTH)

#: The longest way that anybody should have to read.
STEPS_MAX: Final = 12


def _with(to: Callable[[Row], Row]) -> Lifecycle:
    return Lifecycle([to(row) for row in TABLE])


def _without(row: Row, *left_out: guards.Guard) -> Row:
    return amended(row, requires=tuple(each for each in row.requires if each not in left_out))


def _first(lifecycle: Lifecycle, faults: Faults | None = None) -> Violation:
    report = check_model(lifecycle, crashes=1, faults=faults, stop_at_first=True)
    assert report.violations, report
    assert not report.ok
    violation = report.violations[0]
    assert len(violation.trace) <= STEPS_MAX, violation
    assert violation.trace.lines[0].says == "submit"
    return violation


# --- what is sound ----------------------------------------------------------------------------


def test_nothing_that_can_happen_to_a_task_breaks_a_promise() -> None:
    """The shipped lifecycle: 50 000 worlds at least, and from each of them it comes to its end.

    Requirements: I04, I06, I07, I08, I09, I10, I11, I13, I14, I17, I21, I25, I28, I32.
    """
    report = check_model(LIFECYCLE)
    assert report.violations == (), str(report)
    assert report.ok
    assert report.stuck == 0
    assert report.worlds >= 50_000


def test_a_further_phase_breaks_none_either() -> None:
    """One to wait for a value and one to wait for a decision, beside the shipped ones."""
    report = check_model(LIFECYCLE.extend(PAYMENT, MANAGER), crashes=1)
    assert report.violations == (), str(report)
    assert report.ok


def test_a_report_is_the_same_every_time_but_for_the_seconds() -> None:
    """Counts, violations and traces do not depend on chance."""
    first, second = (check_model(LIFECYCLE, crashes=1, asks=1) for _ in range(2))
    assert first == second
    assert [str(each) for each in first.violations] == [str(each) for each in second.violations]


def test_every_row_of_a_further_phase_is_taken() -> None:
    """Also those of an ask that has a default, and of a no that the agent is told."""
    report = check_model(LIFECYCLE.extend(PAYMENT, MANAGER), crashes=1)
    assert report.untaken == ()
    assert "never taken" not in str(report)


def test_a_row_that_nothing_took_is_named() -> None:
    """Nothing is said of it, and whoever reads the report is to know that.

    A guard may want to see a value that nobody gives here.
    """

    @guards.guard("it is not the one")
    def is_the_one(_record: object, signal: Signal) -> bool:
        return bool(signal.data["code"] == "the one")

    (fails,) = [row for row in TABLE if row.trigger is Trigger.FAIL]
    mine = replace(fails, dest=Phase.REJECTED, change=change.rejected, when=is_the_one)
    report = check_model(LIFECYCLE.extend(rows=[mine]), crashes=0)
    assert report.untaken == (mine.key,)
    assert report.ok
    assert "never taken: running --fail--> rejected" in str(report)


# --- what is broken ---------------------------------------------------------------------------


def test_a_turn_that_is_not_fenced_off_is_found() -> None:
    """No report has to be of the current epoch (I17)."""
    violation = _first(_with(lambda row: _without(row, guards.report_is_current)))
    assert violation.what.startswith("I17: a turn that was fenced off changed the task by ")
    assert "zombie" in str(violation.trace)


def test_one_way_that_is_not_fenced_is_enough() -> None:
    """A task that waits for its next attempt, and a lost turn that rejects it (I17)."""
    violation = _first(
        _with(
            lambda row: (
                amended(row, requires=())
                if (row.trigger, row.source) == (Trigger.REJECT, Phase.SUBMITTED)
                else row
            )
        )
    )
    assert violation.what == "I17: a turn that was fenced off changed the task by reject"


def test_a_recovery_that_uses_an_epoch_again_is_found() -> None:
    """The lost turn and the new one report in the same name (I17)."""

    def recovered(draft: Draft, signal: Signal) -> None:
        change.recovered(draft, signal)
        draft.epoch -= 1

    violation = _first(
        _with(lambda row: amended(row, change=recovered) if row.change is change.recovered else row)
    )
    assert violation.what == "I17: two turns live in the current epoch"


def test_a_deadline_that_does_not_stop_the_turn_is_found() -> None:
    """The task is stopping, and its turn works on (I31)."""

    def forgets(row: Row) -> Row:
        if row.trigger is not Trigger.OVERRUN:
            return row
        return amended(row, effects=tuple(e for e in row.effects if e != StopTurn()))

    violation = _first(_with(forgets))
    assert violation.what == "I31: the task is stopped, and nobody told its turn"


def test_an_effect_that_is_done_twice_is_found() -> None:
    """An outbox may give it out again; two turns must not come of that (I17)."""
    violation = _first(LIFECYCLE, Faults(acts_twice=True))
    assert violation.what == "I17: two turns live in the current epoch"


def test_a_delivery_that_is_counted_twice_is_found() -> None:
    """A crash before the cursor is kept brings it again (I33)."""
    report = check_model(LIFECYCLE, crashes=1, faults=Faults(counts_twice=True))
    found = {each.what: len(each.trace) for each in report.violations}
    assert found["I33: the outcome was counted twice"] <= STEPS_MAX


@pytest.mark.parametrize(
    ("trigger", "left_out"),
    [
        (Trigger.OVERRUN, guards.deadline_has_passed),
        (Trigger.EXPIRE, guards.ask_is_due),
        (Trigger.ABANDON, guards.grace_has_passed),
    ],
)
def test_a_stale_timer_that_counts_is_found(trigger: Trigger, left_out: guards.Guard) -> None:
    """It was armed for something else, or rings before its time (I10)."""
    violation = _first(
        _with(lambda row: _without(row, left_out) if row.trigger is trigger else row)
    )
    assert violation.what.startswith("I10: a timer that is not due changed the task")


def test_an_answer_that_counts_twice_is_found() -> None:
    """The ask stays open after the first (I07)."""

    def stays_open(row: Row) -> Row:
        stays = row.trigger is Trigger.PROVIDE_INPUT and row.dest is Phase.WAITING_AUTH
        return amended(row, change=change.unchanged) if stays else row

    violation = _first(_with(stays_open))
    assert violation.what in {f"I07: {key} was closed a second time" for key in ("k1", "k2")}


def test_a_late_answer_that_counts_is_found() -> None:
    """After the due time it is the expiry's (I09)."""
    violation = _first(_with(lambda row: _without(row, guards.answer_is_in_time)))
    assert violation.what.startswith("I09: ")


def test_a_change_that_breaks_the_machine_is_found() -> None:
    """An assertion of the engine's own that fails is no refusal (I35)."""

    def nonsense(draft: Draft, _signal: Signal) -> None:
        draft.details = Active()

    violation = _first(
        _with(lambda row: amended(row, change=nonsense) if row.trigger is Trigger.COMPLETE else row)
    )
    assert violation.what == "I35: complete broke the machine (AssertionError)"


def test_a_guard_that_raises_is_found_and_named() -> None:
    """It was once a traceback."""

    @guards.guard("it is too much")
    def is_little(_record: object, signal: Signal) -> bool:
        return bool(signal.data["value"]["amount"] < 5)

    (answers,) = [
        row
        for row in TABLE
        if (row.trigger, row.source, row.dest)
        == (Trigger.PROVIDE_INPUT, Phase.WAITING_INPUT, Phase.RUNNING)
    ]
    lifecycle = _with(
        lambda row: (
            amended(row, requires=(*row.requires, is_little))
            if row.requires is answers.requires
            else row
        )
    )
    violation = _first(lifecycle)
    assert violation.what.startswith("I35: provide_input k1: is_little raised TypeError")


def test_a_life_that_cannot_end_by_itself_is_found() -> None:
    """Grace that never passes: an agent that does not obey holds its task for ever (I28)."""

    def never(row: Row) -> Row:
        if row.trigger is not Trigger.ABANDON:
            return row
        return amended(row, requires=(*row.requires, guards.Guard("never", _no, "never")))

    report = check_model(_with(never), crashes=0, asks=1)
    whats = [each.what for each in report.violations]
    assert whats == ["I28: without client and agent finalized cannot be reached"]
    assert report.stuck
    assert not report.ok


def _no(_record: object, _signal: Signal) -> bool:
    return False


# --- what it says -----------------------------------------------------------------------------


def test_a_violation_is_told_as_lines_and_as_a_diagram() -> None:
    """Who did what, where the task stood then, and under which epoch each turn spoke."""
    violation = _first(LIFECYCLE, Faults(acts_twice=True))
    assert str(violation).splitlines() == [
        "I17: two turns live in the current epoch",
        "  1. client  submit  [submitted, epoch 0]",
        "  2. engine  start  [running, epoch 1]",
        "  3. engine  acts: StartTurn, and does not remember  [running, epoch 1]",
        "  4. engine  acts: StartTurn  [running, epoch 1]",
    ]
    assert violation.trace.to_mermaid() == (
        "sequenceDiagram\n"
        "    participant client\n"
        "    participant engine\n"
        "    participant store\n"
        "    participant turn1 as turn (epoch 1)\n"
        "    participant timer\n"
        "    client->>engine: submit\n"
        "    engine->>store: submitted, epoch 0\n"
        "    Note over engine: start\n"
        "    engine->>store: running, epoch 1\n"
        "    engine->>turn1: StartTurn, and does not remember\n"
        "    engine->>turn1: StartTurn\n"
    )


def test_a_check_that_gave_up_says_so() -> None:
    """Where worlds are left, nothing is proven."""
    report = check_model(LIFECYCLE, worlds_max=10)
    assert not report.complete
    assert not report.ok
    assert "and there are more" in str(report)


@pytest.mark.parametrize("bound", ["crashes", "asks", "retries", "recoveries", "repeats"])
def test_a_bound_is_not_negative(bound: str) -> None:
    """It would mean nothing."""
    with pytest.raises(ValueError, match=bound):
        check_model(LIFECYCLE, **cast("Any", {bound: -1}))


def test_equality_of_reports_does_not_look_at_seconds() -> None:
    """They depend on what else the machine does."""
    report = ModelReport(1, 2, 3, (), stuck=0, complete=True, seconds=4.0)
    assert report == replace(report, seconds=5.0)
    assert report != replace(report, worlds=2)
