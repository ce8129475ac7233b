"""One live task in this process: its record, its inbox, its turn and who watches it.

There is one cell for a task while anything happens to it, and none while it is at
rest.  Only the engine's worker for the cell takes from the inbox: one writer a task.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from interlock._event import Data, Event, Signal
from interlock._phases import Trigger
from interlock._record import TaskRecord
from interlock._store import Claim
from interlock._turn import Turn

#: Events of a task kept at hand while it is live; a longer log is read from the store.
EVENTS_KEPT_MAX: Final = 1_000

#: Who may have gone without being forgotten, at least; see `Cell.change`.
_GONE_MAX: Final = 32

#: What to fire, decided when it is its turn and the record is known.
Choice: TypeAlias = Callable[[TaskRecord], tuple[Trigger, Data]]


@dataclass(slots=True, eq=False)
class Post:
    """One entry of an inbox: a trigger to fire, by whom, and who waits for the answer."""

    choose: Choice
    actor: str
    #: Resolved after the commit; None where nobody waits.
    done: asyncio.Future[TaskRecord] | None = None
    #: The turn in whose name it is fired.
    turn: Turn | None = None
    claim: Claim | None = None
    #: Fired again later when the store fails: it must not be lost.
    insists: bool = False
    #: Fired again until it is no longer a mere withdrawal: the end of a turn with open asks.
    concludes: bool = False
    #: Fired in its place when it cannot be stored, however often it is tried.
    instead: Choice | None = None
    #: Fired as of this time at the earliest: its sender knows that it has passed.
    at_least: float = 0.0

    def signal(self, record: TaskRecord, at: float) -> Signal:
        """What is fired at a record; a turn reports in the epoch in which it lives."""
        trigger, data = self.choose(record)
        if self.turn is not None:
            data = {**data, "epoch": -1 if self.turn.fenced else record.epoch}
        return Signal(trigger, data, self.actor, at)

    def answer(self, record: TaskRecord) -> None:
        """Tell who waits that it is done and durable."""
        if self.done is not None and not self.done.done():
            self.done.set_result(record)

    @property
    def is_given_up(self) -> bool:
        """Whether somebody waited for it and does no more."""
        return self.done is not None and self.done.cancelled()

    def refuse(self, error: Exception) -> None:
        """Tell who waits that it did not happen."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class Cell:
    """A live task."""

    record: TaskRecord
    #: The whole log, or None when it is too long to keep at hand or was never read.
    events: list[Event] | None = None
    inbox: deque[Post] = field(default_factory=deque[Post])
    busy: bool = False
    #: One of its posts cannot be stored: until that is found each is committed alone.
    careful: bool = False
    turn: Turn | None = None
    #: Who waits in this process for its next commit; while there is one the cell stays.
    watchers: int = 0
    #: How many of them are subscribers, who are bounded: `Limits.subscribers_max`.
    subscribers: int = 0
    #: Whether it may have durable watches: True also when nobody knows.
    watched: bool = True
    #: Its turn was handed to this process; only where processes share the store.
    held: bool = False
    #: The task was purged: nothing will ever happen to it.
    gone: bool = False
    #: Somebody else has written to it, and it is to be read again.
    stale: bool = False
    #: Held by who counts its watches and adds one.
    watching: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiters: list[asyncio.Future[None]] = field(default_factory=list[asyncio.Future[None]])
    #: How many waiters there may be until it is looked who of them has gone.
    _crowd: int = _GONE_MAX

    def add(self, record: TaskRecord, events: tuple[Event, ...]) -> None:
        """Take over what was committed, and wake whoever watches."""
        self.record = record
        if self.events is not None:
            self.events.extend(events)
            if len(self.events) > EVENTS_KEPT_MAX:
                self.events = None
        self.tell()

    def tell(self) -> None:
        """Wake whoever watches."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def change(self) -> "asyncio.Future[None]":
        """Done with the next commit from now on, or the end of the turn or the engine.

        Who no longer waits cancels it; so many of those at most are kept as there are others.
        """
        if len(self._waiters) >= self._crowd:
            self._waiters = [waiter for waiter in self._waiters if not waiter.done()]
            self._crowd = 2 * len(self._waiters) + _GONE_MAX
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    @property
    def idle(self) -> bool:
        """Nothing is happening to it and nobody looks: the store alone may keep it."""
        return not (self.busy or self.inbox or self.turn or self.watchers or self.held)


def always(trigger: Trigger, data: Data) -> Choice:
    """The choice that is none: this trigger with this data."""
    return lambda _record: (trigger, data)
