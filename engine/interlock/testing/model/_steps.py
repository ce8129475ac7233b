"""What comes of every signal at every canonical record, worked out once by the real `fire`."""

import traceback
from collections.abc import Sequence
from typing import Final, NamedTuple

from interlock._effects import Effect, Publish, Release, ResumeTurn, StartTurn, StopTurn
from interlock._machine import Lifecycle, Move
from interlock._phases import Group, Phase, Trigger, group_of
from interlock._record import TaskRecord
from interlock._transitions import Key
from interlock.errors import EngineBug, Refused
from interlock.testing.model import _signals
from interlock.testing.model._judge import CLOSINGS, judge
from interlock.testing.model._signals import Bounds, Offer, canonical

_ENDS: Final = frozenset(
    {Trigger.COMPLETE, Trigger.FAIL, Trigger.REJECT, Trigger.RETRY, Trigger.STOPPED}
)


class Step(NamedTuple):
    """A signal that is let through, and what it leads to."""

    by: str
    says: str
    lag: int
    #: The number of the next record.
    to: int
    #: By how much the epoch went up.
    epochs: int
    #: What is left to act on; timers are kept with the record, deliveries with their cursor.
    effects: tuple[Effect, ...]
    publishes: bool
    #: Whether the turn that reports is over by it.
    ends_turn: bool
    closes: str | None
    wrong: tuple[str, ...]


class Steps(NamedTuple):
    """What may be done at one record."""

    phase: Phase
    group: Group
    client: tuple[Step, ...]
    turn: tuple[Step, ...]
    zombie: tuple[Step, ...]
    timer: tuple[Step, ...]
    engine: tuple[Step, ...]
    #: What recovery does: bring the turn back, or ask an operator; nothing in other phases.
    recover: Step | None
    stopped: Step | None
    #: By (a turn is alive, deliveries are owed).
    finalize: dict[tuple[bool, bool], Step | None]


class StepTable:
    """The steps of a lifecycle, record by record as they are met."""

    def __init__(self, lifecycle: Lifecycle, bounds: Bounds) -> None:
        self._lifecycle: Final = lifecycle
        self._bounds: Final = bounds
        self._numbers: Final[dict[bytes, int]] = {}
        self.records: Final[list[TaskRecord]] = []
        self._steps: Final[list[Steps | None]] = []
        self._taken: Final[set[Key]] = set()

    def untaken(self) -> tuple[Key, ...]:
        """The rows that let no signal through so far, in the order of the table.

        Not those by which one process takes over from another: here there is one.
        """
        rows = (row for row in self._lifecycle.table if row.trigger is not Trigger.CLAIM)
        return tuple(row.key for row in rows if row.key not in self._taken)

    def first(self) -> Step:
        """The step that makes the task."""
        offer = Offer("client", "submit", _signals.submission())
        return self._step(None, offer, self._lifecycle.submit(offer.signal))

    def at(self, number: int) -> Steps:
        """What may be done at the record of that number."""
        steps = self._steps[number]
        if steps is None:
            steps = self._steps[number] = self._worked_out(self.records[number])
        return steps

    def _worked_out(self, record: TaskRecord) -> Steps:
        by: dict[str, list[Step]] = {
            who: [] for who in ("client", "turn", "zombie", "timer", "engine")
        }
        for offer in _signals.offers(self._lifecycle, record, self._bounds):
            step = self._fired(record, offer)
            if step is not None:
                by[offer.by].append(step)
        stopped = Offer("engine", "stopped: there is no turn", _signals.stopped_without_a_turn())
        return Steps(
            record.phase,
            group_of(record.phase),
            _distinct(by["client"]),
            _distinct(by["turn"]),
            _distinct(by["zombie"]),
            _distinct(by["timer"]),
            _distinct(by["engine"]),
            recover=self._recovered(record),
            stopped=self._fired(record, stopped),
            finalize={
                (alive, owed): self._fired(record, _finalization(alive=alive, owed=owed))
                for alive in (False, True)
                for owed in (False, True)
            },
        )

    def _recovered(self, record: TaskRecord) -> Step | None:
        offer = Offer("engine", "recover", _signals.recovery(self._bounds))
        question = Offer("engine", "ask an operator", _signals.operator_question(record))
        step = self._fired(record, offer)
        if step is None and record.phase is Phase.RUNNING:
            step = self._fired(record, question)
        return step

    def _fired(self, record: TaskRecord, offer: Offer) -> Step | None:
        try:
            move = self._lifecycle.fire(record, offer.signal)
        except Refused:
            return None
        except (AssertionError, EngineBug) as error:
            kind = type(error).__name__
            return self._broken(record, offer, f"I35: {offer.says} broke the machine ({kind})")
        except Exception as error:  # noqa: BLE001  the guards and changes of whoever is checked
            at = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{at.name} raised {type(error).__name__} ({error}), line {at.lineno}"
            return self._broken(record, offer, f"I35: {offer.says}: {said}")
        return self._step(record, offer, move)

    def _step(self, before: TaskRecord | None, offer: Offer, move: Move) -> Step:
        trigger, event = offer.signal.trigger, move.event
        self._taken.add((event.source, event.trigger, event.dest))
        return Step(
            offer.by,
            offer.says,
            offer.lag,
            self._number_of(canonical(move.record)),
            0 if before is None else move.record.epoch - before.epoch,
            tuple(e for e in move.effects if isinstance(e, StartTurn | ResumeTurn | StopTurn)),
            publishes=any(isinstance(e, Publish | Release) for e in move.effects),
            ends_turn=offer.by == "turn" and trigger in _ENDS,
            closes=offer.signal.data["key"] if trigger in CLOSINGS else None,
            wrong=() if before is None else tuple(judge(before, offer, move)),
        )

    def _broken(self, record: TaskRecord, offer: Offer, wrong: str) -> Step:
        here = self._number_of(record)
        return Step(
            offer.by,
            offer.says,
            offer.lag,
            here,
            0,
            (),
            publishes=False,
            ends_turn=False,
            closes=None,
            wrong=(wrong,),
        )

    def _number_of(self, record: TaskRecord) -> int:
        key = record.to_json()
        number = self._numbers.setdefault(key, len(self.records))
        if number == len(self.records):
            self.records.append(record)
            self._steps.append(None)
        return number


def _finalization(*, alive: bool, owed: bool) -> Offer:
    return Offer("engine", "finalize", _signals.finalization(turn_alive=alive, owed=owed))


def _distinct(steps: Sequence[Step]) -> tuple[Step, ...]:
    """One of those that come to the same: nobody could tell them apart but by their words."""
    return tuple({step._replace(says=""): step for step in reversed(steps)}.values())
