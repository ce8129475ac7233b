"""What an engine needs of a store that several processes share, each with an engine of its own.

Any of them serves any request for any task: the store's compare-and-set on the number of
a task's last event keeps them from undoing each other.  The turn of a task is run by one
of them at a time.  Which, and what happens when that one dies, is not ours to decide:
`Turns` is a thin face of a queue, or an engine for durable execution, that exists.
"""

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol, TypeAlias, TypeGuard, runtime_checkable

from interlock._clock import Clock
from interlock._machine import Lifecycle
from interlock._store import Store, TurnWanted

#: Runs the turn of a task here, from taking it up until nothing of it runs here any more.
#: False: the task is not at rest, and somebody else is to take it up, as it stands then: the
#: turn is wanted again with the epoch that the task has.
#: None: it was not taken up here at all, and is wanted again as it was; whoever takes it up can
#: tell by the epoch whether somebody had it before and died.
RunTurn: TypeAlias = Callable[[TurnWanted], Awaitable[bool | None]]


class Turns(Protocol):
    """Hands out the turns that commits want (`Commit.turn`), each to one process at a time.

    What it promises:

    - Each turn that was wanted is handed out, at its time and at least once, by whichever
      process has a free slot.
    - Of one task at most one is out at a time, over all processes; others of the same task
      wait, in order.  The exception is a process that was taken for dead and is not: what
      it does to the task is refused, since whoever takes up a turn writes that down first.
    - If the process that has it dies, or is silent for too long, it is handed out again.
    """

    async def start(self, run: RunTurn, *, slots: int) -> None:
        """Hand out turns to this process, at most `slots` at once, until `stop`.

        A store that fails meanwhile ends nothing: it is tried again.  Tasks of the store that
        are at work and for which no turn is wanted any more, whyever, are wanted again.
        """
        ...

    async def rest(self) -> None:
        """Hand out no more to this process; those that are out go on.  Does not wait for them."""
        ...

    async def stop(self) -> None:
        """Wait for those that are out, and let go.  What is not over is handed on by then."""
        ...

    async def waiting(self) -> int:
        """How many turns that could begin now wait for a slot, over all processes."""
        ...

    def is_sure(self) -> bool:
        """Whether nobody can have taken this process for dead by now, by a clock that goes on.

        To be asked before something is done that cannot be taken back.  False is no more than
        a doubt: then the store is asked.
        """
        ...


class SharedStore(Store, Protocol):
    """A store that many engines may have open at once, in as many processes."""

    @property
    def clock(self) -> Clock:
        """The store's own time, the same for all its engines as far as that can be."""
        ...

    @property
    def turns(self) -> Turns:
        """Who runs turns; to be used while the store is open."""
        ...

    async def moved(self, seen: Mapping[str, int]) -> AbstractSet[str]:
        """Which of these tasks have another last event than the number given, or are gone."""
        ...

    def watched(self, task_id: str) -> bool:
        """Whether the task may have watches; False if it had none at the last commit made here.

        At no cost, and True where nobody knows.
        """
        ...

    def on_hint(self, hint: Callable[[str], None] | None) -> None:
        """Call `hint(task_id)` on the event loop when a task may have moved, by whomever.

        As soon as can be.  A hint may be missing or wrong: `moved` is the truth.
        """
        ...


@runtime_checkable
class FiringStore(Protocol):
    """A store that fires triggers itself, such as those of deadlines: by these rules."""

    def fires_with(self, lifecycle: Lifecycle, *, grace_s: float) -> None:
        """Fire by this lifecycle; a task that is told to stop has `grace_s` seconds to end.

        Called before the store is opened.
        """


def shared(store: Store) -> TypeGuard[SharedStore]:
    """Whether several processes may have the store open at once."""
    # By its class: to look at an attribute of one that is not open yet may be an error.
    return hasattr(type(store), "moved")
