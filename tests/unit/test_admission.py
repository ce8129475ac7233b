"""Admission: who may submit and who may run, by counts alone."""

from dataclasses import replace
from typing import Final

import pytest

from interlock._admission import IDLE_OWNERS_MAX, RETRY_AFTER_S, Admission
from interlock._phases import OUTCOMES, Phase
from interlock._record import Active, Details, Ended, Identity, Queued, TaskRecord, Waiting
from interlock.errors import LimitReached
from interlock.models import Limits

DETAILS: Final[dict[Phase, Details]] = {
    Phase.SUBMITTED: Queued(),
    Phase.RUNNING: Active(),
    Phase.WAITING_INPUT: Waiting(()),
}


def task(task_id: str, phase: Phase = Phase.RUNNING, owner: str = "ada") -> TaskRecord:
    """A task in a phase."""
    details = DETAILS.get(phase, Ended(Phase.COMPLETED))
    return TaskRecord(Identity(task_id, owner, "c", 1.0, 9.0), phase, details, 1, 1, 1, 1.0)


def admission(owner: str = "ada", *, open_tasks: int = 0, **limits: int) -> Admission:
    """An admission that knows one owner."""
    made = Admission(Limits.model_validate(limits))
    made.learn(owner, open_tasks)
    return made


def submitted(made: Admission, task_id: str, owner: str = "ada") -> None:
    """A task comes in and is queued."""
    made.reserve(owner)
    made.arrived(owner, accepted=True)
    made.enqueue(task_id)


def test_tasks_start_in_the_order_in_which_they_came() -> None:
    """First in, first out.  Source: R-ENG-08."""
    made = admission()
    for task_id in "bca":
        submitted(made, task_id)
    assert [made.next(), made.next(), made.next(), made.next()] == ["b", "c", "a", None]


def test_a_task_takes_a_slot_until_it_no_longer_runs() -> None:
    """A task that waits for somebody holds none."""
    made = admission(running_turns_max=1)
    submitted(made, "a")
    submitted(made, "b")
    assert made.next() == "a"
    assert made.next() is None
    assert (made.running, made.queued) == (1, 1)
    made.moved(Phase.SUBMITTED, task("a"))
    assert made.next() is None
    made.moved(Phase.RUNNING, task("a", Phase.WAITING_INPUT))
    assert made.next() == "b"


def test_an_answered_task_goes_on_even_without_a_free_slot() -> None:
    """It may exceed the slots, never wait for one."""
    made = admission(running_turns_max=1)
    made.moved(Phase.WAITING_INPUT, task("a"))
    made.moved(Phase.WAITING_INPUT, task("b"))
    submitted(made, "c")
    assert made.running == 2
    assert made.next() is None
    made.moved(Phase.RUNNING, task("a", Phase.COMPLETED))
    assert made.next() is None
    made.moved(Phase.RUNNING, task("b", Phase.COMPLETED))
    assert made.next() == "c"


def test_a_task_that_ends_in_the_queue_leaves_it() -> None:
    """It was cancelled, or ran out of time."""
    made = admission()
    for task_id in "abc":
        submitted(made, task_id)
    made.moved(Phase.SUBMITTED, task("b", Phase.CANCELLED))
    assert made.queued == 2
    assert [made.next(), made.next()] == ["a", "c"]


def test_a_task_that_ends_between_its_slot_and_its_start_gives_the_slot_back() -> None:
    """A cancel may be quicker than the start."""
    made = admission(running_turns_max=1)
    submitted(made, "a")
    made.next()
    made.moved(Phase.SUBMITTED, task("a", Phase.CANCELLED))
    assert made.running == 0


def test_a_task_that_is_to_be_tried_again_gives_its_slot_back() -> None:
    """It rests in the store until its back-off is over."""
    made = admission()
    submitted(made, "a")
    made.next()
    made.moved(Phase.SUBMITTED, task("a"))
    made.moved(Phase.RUNNING, task("a", Phase.SUBMITTED))
    assert (made.running, made.queued) == (0, 0)


def test_the_queue_is_bounded_and_free_slots_count() -> None:
    """With no queue at all, as many may come as can start at once.  Source: R-ENG-08."""
    made = admission(running_turns_max=2, queued_tasks_max=1)
    for task_id in "abc":
        submitted(made, task_id)
    with pytest.raises(LimitReached) as caught:
        made.reserve("ada")
    assert (caught.value.limit, caught.value.maximum) == ("queued_tasks_max", 1)
    assert caught.value.retry_after_s == RETRY_AFTER_S
    made.next()
    made.next()
    with pytest.raises(LimitReached):
        made.reserve("ada")
    made.next()
    made.moved(Phase.RUNNING, task("a", Phase.COMPLETED))
    made.next()
    made.reserve("ada")


def test_tasks_on_their_way_into_the_store_count_as_queued() -> None:
    """Otherwise a burst would be let in whole."""
    made = admission(running_turns_max=1, queued_tasks_max=0)
    made.reserve("ada")
    with pytest.raises(LimitReached):
        made.reserve("ada")
    made.arrived("ada", accepted=False)
    made.reserve("ada")


def test_slots_that_are_exceeded_do_not_shrink_the_queue() -> None:
    """Answered tasks beyond the slots take nothing from those who come."""
    made = admission(running_turns_max=1, queued_tasks_max=1)
    made.moved(Phase.WAITING_INPUT, task("a"))
    made.moved(Phase.WAITING_INPUT, task("b"))
    made.reserve("ada")
    with pytest.raises(LimitReached):
        made.reserve("ada")


def test_an_owner_has_a_bound_of_open_tasks_and_others_theirs() -> None:
    """One client cannot fill the engine.  Source: R-ENG-09."""
    made = admission(open_tasks=1, open_tasks_per_owner_max=2)
    made.learn("bob", 0)
    submitted(made, "a")
    with pytest.raises(LimitReached) as caught:
        made.reserve("ada")
    assert caught.value.limit == "open_tasks_per_owner_max"
    made.reserve("bob")


@pytest.mark.parametrize("outcome", sorted(OUTCOMES))
def test_the_end_of_a_task_makes_room_for_its_owner_once(outcome: Phase) -> None:
    """Whatever the end is; the finalisation that follows gives nothing more."""
    made = admission(open_tasks_per_owner_max=1)
    submitted(made, "a")
    over = replace(task("a", outcome), details=Ended(outcome))
    made.moved(Phase.RUNNING, over)
    made.moved(outcome, replace(over, phase=Phase.FINALIZED))
    made.reserve("ada")
    with pytest.raises(LimitReached):
        made.reserve("ada")


def test_a_refused_submission_gives_the_room_back() -> None:
    """Nothing was stored, so nothing is open."""
    made = admission(open_tasks_per_owner_max=1)
    made.reserve("ada")
    made.arrived("ada", accepted=False)
    made.reserve("ada")


def test_the_end_of_a_task_of_an_unknown_owner_is_not_counted() -> None:
    """Whoever has not been counted yet will be, and without it."""
    made = Admission(Limits(open_tasks_per_owner_max=1))
    made.moved(Phase.RUNNING, task("a", Phase.COMPLETED))
    assert not made.knows("ada")
    made.learn("ada", 1)
    assert made.knows("ada")
    with pytest.raises(LimitReached):
        made.reserve("ada")


def test_the_first_count_of_an_owner_is_the_one_that_holds() -> None:
    """Two submissions may both have asked the store; the second answer is old."""
    made = admission(open_tasks=0, open_tasks_per_owner_max=1)
    made.reserve("ada")
    made.learn("ada", 0)
    with pytest.raises(LimitReached):
        made.reserve("ada")


def test_owners_without_open_tasks_are_forgotten_once_they_are_many() -> None:
    """What is remembered does not grow with all who ever came.  Source: R-ENG-09."""
    made = Admission(Limits())
    for owner, open_tasks in (("busy", 1), ("coming", 0), ("idle", 0)):
        made.learn(owner, open_tasks)
    made.reserve("coming")
    made.moved(Phase.RUNNING, task("a", Phase.COMPLETED, "coming"))
    for n in range(IDLE_OWNERS_MAX):
        made.learn(f"owner {n}", 0)
    assert [made.knows(owner) for owner in ("busy", "coming", "idle")] == [True, True, False]
    made.arrived("coming", accepted=False)


def test_a_task_takes_a_free_slot_while_it_is_made() -> None:
    """Unless others wait for one, or none is free; what comes to nothing gives it back."""
    admission = Admission(Limits(running_turns_max=1, queued_tasks_max=1))
    admission.learn("ada", 0)
    admission.reserve("ada")
    assert admission.takes("one", "ada")
    assert (admission.running, admission.queued) == (1, 0)
    admission.reserve("ada")
    assert not admission.takes("two", "ada")
    with pytest.raises(LimitReached):
        admission.reserve("ada")
    admission.vanished("one", "ada")
    assert admission.running == 0
    admission.arrived("ada", accepted=True)
    admission.enqueue("two")
    admission.reserve("ada")
    assert not admission.takes("three", "ada")


def test_a_task_with_a_slot_is_not_counted_as_coming() -> None:
    """The store has it: whoever counts anew there must not count it twice."""
    admission = Admission(Limits(open_tasks_per_owner_max=2))
    admission.learn("ada", 0)
    admission.reserve("ada")
    assert admission.takes("one", "ada")
    admission.learn("ada", 1, anew=True)
    admission.reserve("ada")
