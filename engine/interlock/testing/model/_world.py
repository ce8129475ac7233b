"""One task and what is around it, and what may happen there next.

What is simpler here than in life, and why nothing is hidden by it, or what is:

* The effects of a commit are acted on one by one, and others may come between; the engine acts on
  all of them at once.  Here more may happen.
* An effect may be acted on twice, as from an outbox that is kept; the engine keeps none and works
  out after a crash what is to do.  Both are modelled.
* Any timer may ring at any time, armed or not, due or not: so alarms are no part of a world.  For
  the same reason answers in flight are none: any answer to any ask may come at any time, and again.
* A turn that was lost with its process may live on and report.  Only in the epoch that recovery
  ended: a task that waits keeps its epoch, and there the lock of the store stands against an old
  process.  That lock is not modelled, nor two engines on one store.
* Parking takes no time.  Writing fails never.  The content of answers always fits its schema.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from interlock._effects import Effect, ResumeTurn, StartTurn, StopTurn
from interlock._phases import Group, Phase
from interlock.testing.model._signals import LAG_MAX
from interlock.testing.model._steps import Step, Steps, StepTable

_OVER: Final = frozenset({Group.OUTCOME, Group.END})


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is wrong with the surroundings, to see that it would be found."""

    #: Whether what was done already is done again when it is asked for again.
    acts_twice: bool = False
    #: Whether a receiver counts what it has already.
    counts_twice: bool = False


class World(NamedTuple):
    """One task with its surroundings.  Equal worlds have the same future."""

    #: The number of its canonical record.
    record: int
    #: What was committed and not acted on yet.
    outbox: tuple[Effect, ...] = ()
    #: Whether a turn of the current epoch runs, and whether it was told to stop.
    turn: bool = False
    stopping: bool = False
    #: How many epochs ago the turns began that were lost or given up and may still run.
    zombies: tuple[int, ...] = ()
    up: bool = True
    #: Whether a watch has something to be told, and how often it counted the outcome.
    owed: bool = False
    shown: int = 0
    #: The asks that were closed, whatever the record says.
    spent: frozenset[str] = frozenset()
    crashes: int = 0
    repeats: int = 0


class Happening(NamedTuple):
    """One thing that may happen, what comes of it, and what is wrong with that."""

    by: str
    says: str
    world: World
    wrong: tuple[str, ...] = ()
    #: By how much the epoch went up, and how old the turn is that did it.
    epochs: int = 0
    lag: int = 0


class Surroundings:
    """What may happen around a task."""

    def __init__(self, steps: StepTable, faults: Faults, *, crashes: int, repeats: int) -> None:
        self._steps: Final = steps
        self._faults: Final = faults
        self._crashes: Final = crashes
        self._repeats: Final = repeats

    def first(self) -> Happening:
        """The task is submitted."""
        empty = World(0, crashes=self._crashes, repeats=self._repeats)
        return self._moved(empty, self._steps.first())

    def after(self, world: World) -> Iterator[Happening]:
        """Everything that may happen next."""
        steps = self._steps.at(world.record)
        if not world.up:
            yield self._recovered(world, steps)
            return
        for step in self._fired(world, steps):
            yield self._moved(world, step)
        if world.turn and steps.group is Group.WAITING:
            yield Happening("turn", "parks", world._replace(turn=False))
        if world.outbox:
            yield from self._acted(world, steps)
        if world.owed:
            yield from self._delivered(world, steps)
        if world.crashes and steps.group is not Group.END:
            yield Happening("engine", "CRASH", _crashed(world))

    @staticmethod
    def _fired(world: World, steps: Steps) -> Iterator[Step]:
        """The signals that may come in and are let through."""
        yield from steps.client
        yield from steps.timer
        yield from steps.engine
        if world.turn:
            yield from steps.turn
        yield from (step for step in steps.zombie if step.lag in world.zombies)
        finalize = steps.finalize[world.turn, world.owed]
        if finalize is not None:
            yield finalize

    def wrong(self, world: World) -> Iterator[str]:
        """What is wrong with a world, each with the id of the invariant."""
        steps = self._steps.at(world.record)
        if world.turn and 0 in world.zombies:
            yield "I17: two turns live in the current epoch"
        if world.shown > 1:
            yield "I33: the outcome was counted twice"
        if steps.group is Group.END and (world.turn or world.owed):
            yield "I21: finalized, and a turn or a delivery is left"
        if world.up and not world.outbox:
            if steps.phase is Phase.RUNNING and not world.turn:
                yield "I29: the task runs, and there is no turn"
            if steps.phase is Phase.CANCELLING and not (world.turn and world.stopping):
                yield "I31: the task is stopped, and nobody told its turn"

    def _moved(self, world: World, step: Step) -> Happening:
        after = self._steps.at(step.to)
        wrong, spent = step.wrong, world.spent
        if step.closes is not None:
            if step.closes in spent:
                wrong = (*wrong, f"I07: {step.closes} was closed a second time")
            spent |= {step.closes}
        turn = world.turn and not step.ends_turn
        zombies = world.zombies
        if step.epochs:
            zombies = tuple(sorted({min(LAG_MAX, lag + step.epochs) for lag in zombies}))
        if turn and (after.group in _OVER or after.phase is Phase.SUBMITTED):
            turn = False  # It is parted with, and may go on in vain.
            zombies = tuple(sorted({*zombies, min(LAG_MAX, step.epochs)}))
        moved = World(
            step.to,
            world.outbox + step.effects,
            turn,
            world.stopping and turn,
            zombies,
            world.up,
            world.owed or step.publishes,
            world.shown,
            spent,
            world.crashes,
            world.repeats,
        )
        return Happening(step.by, step.says, moved, wrong, step.epochs, step.lag)

    def _recovered(self, world: World, steps: Steps) -> Happening:
        up = world._replace(up=True)
        if steps.recover is None:
            return Happening("engine", "opens again", up)
        return self._moved(up, steps.recover)

    def _acted(self, world: World, steps: Steps) -> Iterator[Happening]:
        effect, left = world.outbox[0], world.outbox[1:]
        done = self._done(world._replace(outbox=left), steps, effect)
        yield done
        if world.repeats:
            again = done.world._replace(
                outbox=(effect, *done.world.outbox), repeats=world.repeats - 1
            )
            yield done._replace(says=f"{done.says}, and does not remember", world=again)

    def _done(self, world: World, steps: Steps, effect: Effect) -> Happening:
        """What the runtime does about one effect (`_runtime.Runtime._do`)."""
        says = f"acts: {type(effect).__name__}"
        nothing = Happening("engine", f"{says} (nothing to do)", world)
        match effect:
            case StartTurn() if world.turn and self._faults.acts_twice:
                twice = ("I17: two turns live in the current epoch",)
                return Happening("engine", says, world, twice)
            case StartTurn() | ResumeTurn() if not world.turn and steps.phase is Phase.RUNNING:
                return Happening("engine", says, world._replace(turn=True))
            case StopTurn() if world.turn and steps.phase is Phase.CANCELLING:
                return Happening("engine", says, world._replace(stopping=True))
            case StopTurn() if steps.phase is Phase.CANCELLING and steps.stopped is not None:
                return self._moved(world, steps.stopped)
            case _:
                return nothing

    def _delivered(self, world: World, steps: Steps) -> Iterator[Happening]:
        shown = world.shown
        if steps.group in _OVER:
            shown = shown + 1 if self._faults.counts_twice else 1
        yield Happening("courier", "delivers", world._replace(owed=False, shown=shown))
        if world.crashes:
            lost = _crashed(world._replace(shown=shown))
            yield Happening("courier", "delivers, and CRASH before that is kept", lost)


def _crashed(world: World) -> World:
    """All that was in memory is lost; the turn may not know it."""
    zombies = tuple(sorted({*world.zombies, 0})) if world.turn else world.zombies
    return world._replace(
        outbox=(), turn=False, stopping=False, zombies=zombies, up=False, crashes=world.crashes - 1
    )
