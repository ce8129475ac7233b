"""The one door: what `fire` and `fold` promise, and what we use of the library behind them."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

import pytest
from transitions import EventData, Machine, MachineError, State, Transition
from transitions.core import Condition

from interlock._changes import Draft, unchanged
from interlock._effects import ArmTimer, TimerKind
from interlock._event import AGENT, ENGINE, Event, Signal
from interlock._guards import Guard
from interlock._machine import LIFECYCLE, Lifecycle, Move, fire, fold
from interlock._phases import Phase, Trigger
from interlock._record import Active, TaskRecord
from interlock._transitions import TABLE, Row
from interlock.errors import EngineBug, GuardRefused, IllegalTrigger, StoreCorrupt
from lives import EPOCH, OWNER, RECORDS, SUBMITTED, amended, signals, task

RUNNING: Final = task(Phase.RUNNING, Active())
CANCEL: Final = Signal(Trigger.CANCEL, {"grace_s": 1.0}, OWNER, 10.0)


def with_row(row: Row, **changes: Any) -> Lifecycle:  # noqa: ANN401  (fields of a row)
    """The shipped lifecycle with one row changed."""
    return Lifecycle([amended(row, **changes) if each is row else each for each in TABLE])


def row_of(source: Phase, trigger: Trigger) -> Row:
    """The first row of that pair."""
    return next(row for row in TABLE if (row.source, row.trigger) == (source, trigger))


def guard_that(answer: Callable[[], object]) -> Guard:
    """A guard which answers whatever it likes."""

    def holds(_record: TaskRecord, _signal: Signal) -> bool:
        return cast("bool", answer())

    return Guard("odd", holds, "it is odd")


@pytest.mark.parametrize("answer", ["yes", 1, None, [], 0, ""])
def test_a_guard_that_answers_with_anything_but_a_bool_is_a_bug(answer: object) -> None:
    """The library would take "yes" for a no, and a 1 for a yes."""
    lifecycle = with_row(
        row_of(Phase.RUNNING, Trigger.CANCEL), requires=(guard_that(lambda: answer),)
    )
    with pytest.raises(EngineBug, match="not True or False"):
        lifecycle.fire(RUNNING, CANCEL)


def test_a_guard_that_changes_its_mind_is_a_bug() -> None:
    """It refused the move, and when asked for the reason it has none."""
    moods = iter([False, True])
    odd = guard_that(lambda: next(moods))
    lifecycle = with_row(row_of(Phase.RUNNING, Trigger.CANCEL), requires=(odd,))
    with pytest.raises(EngineBug, match="none says why"):
        lifecycle.fire(RUNNING, CANCEL)


def test_an_error_in_a_guard_or_change_is_not_taken_for_an_illegal_trigger() -> None:
    """A KeyError inside is a bug of ours, and must not tell the caller that it cannot cancel."""
    with pytest.raises(KeyError, match="grace_s"):
        fire(RUNNING, CANCEL._replace(data={}))
    with pytest.raises(KeyError, match="epoch"):
        fire(RUNNING, Signal(Trigger.COMPLETE, {}, AGENT, 10.0))


def test_a_change_that_makes_data_of_another_phase_is_caught() -> None:
    """The phase owns its data: cancelling without a cause and a grace time cannot be."""
    lifecycle = with_row(row_of(Phase.RUNNING, Trigger.CANCEL), change=unchanged)
    with pytest.raises(AssertionError):
        lifecycle.fire(RUNNING, CANCEL)


def test_a_refusal_comes_with_the_triggers_of_the_phase_in_the_order_of_the_table() -> None:
    """What the task would accept, for the caller to choose from.  Source: R-LIFE-02."""
    with pytest.raises(GuardRefused) as caught:
        fire(RUNNING, Signal(Trigger.COMPLETE, {"epoch": EPOCH - 1, "parts": []}, AGENT, 10.0))
    assert caught.value.allowed == LIFECYCLE.allowed(Phase.RUNNING)
    assert LIFECYCLE.allowed(Phase.CANCELLING) == (
        *(Trigger.RECOVER, Trigger.CALLED, Trigger.CANCEL, Trigger.STOPPED, Trigger.ABANDON),
    )
    assert LIFECYCLE.allowed(Phase.FINALIZED) == ()


def test_no_record_is_ever_registered_with_the_machine() -> None:
    """One machine for all tasks: it keeps nothing of those that pass through it.

    Source: R-LIFE-21.
    """
    before = [fire(RUNNING, CANCEL) for _ in range(2)]
    assert before[0] == before[1]
    assert not any(isinstance(value, Draft | TaskRecord) for value in vars(LIFECYCLE).values())


# --- fold ----------------------------------------------------------------------------


def story() -> tuple[list[Event], TaskRecord]:
    """A life with a retry, two asks at once and a stop, and the record at its end."""
    moves = [LIFECYCLE.submit(Signal(Trigger.SUBMIT, SUBMITTED, OWNER, 2.0))]

    def then(trigger: Trigger, at: float, pick: int = 0, **data: Any) -> None:  # noqa: ANN401
        record = moves[-1].record
        signal = signals(record, trigger)[pick]
        moves.append(fire(record, signal._replace(at=at, data={**signal.data, **data})))

    then(Trigger.START, 3.0)
    then(Trigger.RETRY, 4.0, not_before=6.0)
    then(Trigger.START, 6.0)
    then(Trigger.ASK, 7.0, 0, key="k")
    then(Trigger.ASK, 8.0, 1, key="l", digest="d", arguments={}, approvers=["boss"])
    then(Trigger.PROVIDE_INPUT, 9.0)
    then(Trigger.CANCEL, 10.0)
    then(Trigger.STOPPED, 11.0)
    then(Trigger.FINALIZE, 12.0)
    return [move.event for move in moves], moves[-1].record


def test_the_fold_of_a_log_is_the_record_at_each_of_its_events() -> None:
    """The record holds nothing that its log does not say (I20)."""
    events, last = story()
    assert fold(events) == last
    for length in range(1, len(events) + 1):
        assert fold(events[:length]).seq == length
    assert (last.phase, last.shown) == (Phase.FINALIZED, Phase.CANCELLED)
    assert (last.closed, last.attempt, last.epoch) == (("k", "l"), 2, 2)


def test_the_fold_of_every_single_move_is_the_record_that_fire_made() -> None:
    """`fold` looks at rows and not at guards, and comes to the same."""
    events, _ = story()
    for phase, trigger in itertools.product(Phase, Trigger):
        for record in RECORDS[phase] if trigger in LIFECYCLE.allowed(phase) else []:
            for signal in signals(record, trigger):
                move = fire(record, signal)
                replayed = LIFECYCLE._replayed(record, move.event, signal)
                assert replayed == move.record
    assert events


def tampered(events: list[Event], seq: int, **changes: Any) -> list[Event]:  # noqa: ANN401
    """The log with one event forged."""
    return [replace(event, **changes) if event.seq == seq else event for event in events]


def without(event: Event, field: str) -> dict[str, Any]:
    """The data of an event with one field lost."""
    return {name: value for name, value in event.data.items() if name != field}


EVENTS: Final = story()[0]
CORRUPT: Final[list[tuple[str, list[Event], str]]] = [
    ("empty", [], "the log is empty"),
    ("no beginning", EVENTS[1:], "event 2 stands where 1 should"),
    ("not submit", [replace(EVENTS[1], seq=1)], "a log begins with submit, not start"),
    ("a gap", [*EVENTS[:3], *EVENTS[4:]], "event 5 stands where 4 should"),
    ("a repeat", [*EVENTS[:3], EVENTS[2]], "event 3 stands where 4 should"),
    ("no such row", tampered(EVENTS, 4, dest=Phase.COMPLETED), "event 4: no row start"),
    ("another source", tampered(EVENTS, 4, source=Phase.RUNNING), "event 4: no row start"),
    ("another trigger", tampered(EVENTS, 4, trigger=Trigger.CANCEL), "event 4: no row cancel"),
    ("after the end", [*EVENTS, replace(EVENTS[-1], seq=11)], "event 11: no row finalize"),
    ("submitted twice", [EVENTS[0], replace(EVENTS[0], seq=2)], "event 2: no row submit"),
    ("an older epoch", tampered(EVENTS, 4, epoch=1), "event 4 does not follow"),
    ("a newer epoch", tampered(EVENTS, 5, epoch=9), "event 5 does not follow"),
    ("another wait", tampered(EVENTS, 7, dest=Phase.WAITING_INPUT), "event 7: no row"),
    ("data lost", tampered(EVENTS, 4, data=without(EVENTS[3], "run_s")), "event 4"),
    ("data of no kind", tampered(EVENTS, 5, data={**EVENTS[4].data, "kind": "x"}), "event 5"),
    ("an ask unheard of", tampered(EVENTS, 7, data={**EVENTS[6].data, "key": "x"}), "event 7"),
    ("a wrong time", tampered(EVENTS, 8, data={**EVENTS[7].data, "grace_s": "x"}), "event 8"),
    ("a first phase of its own", tampered(EVENTS, 1, dest=Phase.RUNNING), "event 1"),
    ("a first epoch of its own", tampered(EVENTS, 1, epoch=1), "event 1"),
    ("no task", tampered(EVENTS, 1, data=without(EVENTS[0], "owner")), "event 1"),
]


@pytest.mark.parametrize(("log", "says"), [c[1:] for c in CORRUPT], ids=[c[0] for c in CORRUPT])
def test_a_log_that_contradicts_itself_is_corrupt(log: list[Event], says: str) -> None:
    """It is reported with the event at which it breaks, never repaired (I01, I02, I03, I17)."""
    with pytest.raises(StoreCorrupt, match=says):
        fold(log)


# --- loading -------------------------------------------------------------------------


def test_a_lifecycle_that_is_not_sound_is_refused_with_every_finding() -> None:
    """One row said twice, another gone: both are told, one to a line.  Source: R-LIFE-03."""
    table = [*(row for row in TABLE if row.trigger is not Trigger.EXPIRE), TABLE[-1]]
    with pytest.raises(ValueError, match="the lifecycle is not sound") as caught:
        Lifecycle(table)
    (_, *findings) = str(caught.value).splitlines()
    assert len(findings) == 4
    assert any("is there already" in finding for finding in findings)
    assert sum("no row for expire" in finding for finding in findings) == 2


def test_a_row_that_was_changed_is_the_row_that_is_fired() -> None:
    """Lifecycles are values: another table, another machine, and the shipped one unharmed.

    Source: R-LIFE-01.
    """
    other = with_row(row_of(Phase.RUNNING, Trigger.CANCEL), effects=(ArmTimer(TimerKind.GRACE),))
    assert other.fire(RUNNING, CANCEL).effects == (ArmTimer(TimerKind.GRACE),)
    assert ArmTimer(TimerKind.GRACE) in fire(RUNNING, CANCEL).effects


# --- the library ---------------------------------------------------------------------


class Light:
    """A model that is bound to no machine."""

    __slots__ = ("phase", "seen")

    def __init__(self) -> None:
        self.phase = Phase.SUBMITTED
        self.seen: list[str] = []


class Inverted(Condition):
    """A condition of our own, to see that it is asked."""

    def check(self, event_data: EventData) -> bool:
        """The opposite of what it says."""
        return not super().check(event_data)


class Numbered(Transition):
    """A transition with something of its own."""

    condition_cls = Inverted

    def __init__(self, *args: Any, number: int = 0, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.number = number


class Numbering(Machine):
    """A machine of such transitions."""

    transition_cls = Numbered


def note(word: str) -> Callable[[EventData], None]:
    """A callback that leaves a word and the phase at which it was called."""

    def noted(event_data: EventData) -> None:
        light = cast("Light", event_data.model)
        light.seen.append(f"{word} in {light.phase}")

    return noted


def machine(**conditions: Any) -> Machine:  # noqa: ANN401  (arguments of the library)
    """Built as `Lifecycle` builds its own."""
    made = Numbering(
        model=None,
        states=Phase,
        initial=None,
        auto_transitions=False,
        send_event=True,
        model_attribute="phase",
        before_state_change=note("change"),
    )
    made.add_transition("start", Phase.SUBMITTED, Phase.RUNNING, number=7, **conditions)
    return made


def never(_event_data: EventData) -> bool:
    """False; the condition class above inverts it."""
    return False


def always(_event_data: EventData) -> bool:
    """True; inverted as well."""
    return True


def test_the_library_fires_on_a_model_that_is_not_registered() -> None:
    """`Event.trigger(model, argument)` moves the model's attribute and answers True."""
    light, made = Light(), machine()
    assert made.events["start"].trigger(light, "argument") is True
    assert light.phase is Phase.RUNNING
    assert made.models == []


def test_the_library_raises_for_a_phase_without_a_transition() -> None:
    """And nothing has moved, and no callback has run."""
    light, made = Light(), machine()
    made.events["start"].trigger(light)
    light.seen.clear()
    with pytest.raises(MachineError):
        made.events["start"].trigger(light)
    assert (light.phase, light.seen) == (Phase.RUNNING, [])


def test_the_library_asks_conditions_of_the_class_we_give_it_and_answers_false() -> None:
    """`condition_cls` is the hook for strict guards; a refusal is a False, not an error."""
    light = Light()
    assert machine(conditions=[always]).events["start"].trigger(light) is False
    assert (light.phase, light.seen) == (Phase.SUBMITTED, [])
    assert machine(conditions=[never]).events["start"].trigger(light) is True


def test_the_library_calls_before_state_change_after_the_guards_and_before_the_move() -> None:
    """A change that fails there leaves the phase as it was."""
    light = Light()
    assert machine(conditions=[never], after=note("after")).events["start"].trigger(light)
    assert light.seen == ["change in submitted", "after in running"]


def test_the_library_hands_extra_arguments_to_the_transition_class() -> None:
    """That is how a transition knows the row it was made from."""
    (made,) = machine().events["start"].transitions[Phase.SUBMITTED.name]
    assert isinstance(made, Numbered)
    assert made.number == 7


def test_the_library_takes_the_first_transition_whose_conditions_hold() -> None:
    """Rule 3 of the table rests on that order."""
    made, light = machine(conditions=[always]), Light()
    made.add_transition("start", Phase.SUBMITTED, Phase.REJECTED, conditions=[never])
    made.add_transition("start", Phase.SUBMITTED, Phase.CANCELLED)
    assert made.events["start"].trigger(light) is True
    assert light.phase is Phase.REJECTED


def test_the_library_makes_no_transition_that_was_not_declared() -> None:
    """With its default it adds `to_<phase>` for every phase: any jump would be legal."""
    assert set(machine().events) == {"start"}
    assert all(isinstance(state, State) for state in machine().states.values())


def test_moves_are_values_that_compare_and_unpack() -> None:
    """`record, event, effects = fire(...)` is how the engine reads them."""
    record, event, effects = fire(RUNNING, CANCEL)
    assert Move(record, event, effects) == fire(RUNNING, CANCEL)
    with pytest.raises(IllegalTrigger):
        fire(record, Signal(Trigger.START, {"run_s": None}, ENGINE, 11.0))
