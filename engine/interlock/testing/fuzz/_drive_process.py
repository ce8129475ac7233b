"""One process of a run: an engine, its store and its clock, until it is drained or dies."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from interlock._engine import Engine
from interlock._event import Event
from interlock._outbox import DeliveryFailed, TaskView
from interlock._runtime import Runtime
from interlock._store import Watch
from interlock.testing.fuzz._drive_agents import Alive
from interlock.testing.fuzz._faults import FaultyStore, WatchedClock
from interlock.testing.fuzz._sim_threads import SimThread
from interlock.testing.fuzz._tape import Tape

#: The channel of the watches that a run adds to tasks.
CHANNEL: Final = "interlock-fuzz"


@dataclass(slots=True)
class Process:
    """What is gone at once when a process dies."""

    engine: Engine
    store: FaultyStore
    clock: WatchedClock
    alive: Alive
    #: Its name in the simulation.
    name: str = ""
    #: The tasks that were purged, and for which somebody has asked here since.
    gone: set[str] = field(default_factory=set[str])
    #: Threads that were there before it: what an engine that was drained did not wait for.
    before: Sequence[SimThread] = ()

    @property
    def runtime(self) -> Runtime | None:
        """What is alive in the engine; None while it is closed."""
        return self.engine._runtime  # noqa: SLF001  the oracle looks inside

    def is_quiet(self) -> bool:
        """Whether nothing is wrong with its store, and nothing is being written."""
        store = self.store
        return not (store.dead or store.fails or store.busy or store.slow_s)


@dataclass(slots=True)
class Follower:
    """A client that follows a task, loses its connection, and comes back."""

    name: str
    task_id: str
    #: The number of the last event that it has seen, or need not see.
    place: int
    seen: list[Event] = field(default_factory=list[Event])
    connected: bool = False
    #: The name of the process that it is connected with.
    process: str = ""
    #: How often it has connected.
    connections: int = 0
    #: The stream ended by itself.
    ended: bool = False


class Receiver:
    """Where the watches of a run are delivered to; a delivery may get lost."""

    def __init__(self, tape: Tape) -> None:
        #: The last event that arrived, by task.
        self.places: Final[dict[str, int]] = {}
        self.loses = False
        self.gaps: Final[list[str]] = []
        self._tape: Final = tape

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """See `Deliverer.deliver`."""
        place = self.places.get(watch.task_id, 0)
        if events[0].seq > place + 1:
            self.gaps.append(f"{watch.task_id}: {events[0].seq} was delivered after {place}")
        if any(b.seq != a.seq + 1 for a, b in itertools.pairwise(events)):
            self.gaps.append(f"{watch.task_id}: a delivery has a gap")
        if list(events) != list(view.events[events[0].seq - 1 : events[-1].seq]):
            self.gaps.append(f"{watch.task_id}: what was delivered is not in the log")
        if self.loses and self._tape.chance(3):
            raise DeliveryFailed("the receiver of the simulation is away", retry_after_s=1.0)
        self.places[watch.task_id] = max(place, events[-1].seq)
