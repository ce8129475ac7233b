"""A watch that is dropped or replaced at one replica while another one delivers to it.

Covers R-STORE-13, I29.
"""

import asyncio
from collections.abc import Sequence

from interlock import Event, NewWatch, TaskView, Watch
from interlock.models import JsonObject
from replicas import OWNER, asks, pair
from support import pause, soon, until

OLD = NewWatch("w", "push", {"url": "http://old.example"})
NEW = NewWatch("w", "push", {"url": "http://new.example"})


class Slow:
    """A deliverer whose first delivery stays in flight until it is let go."""

    def __init__(self) -> None:
        self.in_flight = asyncio.Event()
        self.go = asyncio.Event()
        #: Where to, and which events: of deliveries that arrived.
        self.arrived: list[tuple[JsonObject, list[int]]] = []

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """See `Deliverer.deliver`."""
        del view
        self.in_flight.set()
        await self.go.wait()
        self.arrived.append((watch.config, [event.seq for event in events]))


async def test_a_watch_that_was_dropped_elsewhere_does_not_come_back() -> None:
    """Who dropped it wants its address and its secrets to be gone.  Source: a review."""
    slow = Slow()
    async with pair(asks, deliverers={"push": slow}, one_first=True) as both:
        handle = await both.one.submit("x", owner=OWNER, watches=[OLD])
        await soon(slow.in_flight.wait())
        assert await both.two.drop_watch(handle.task_id, "w", owner=OWNER)
        slow.go.set()
        await until(lambda: bool(slow.arrived))
        await pause()
        assert await both.memory.tasks.watches(handle.task_id) == []
        await both.one.cancel(handle.task_id, owner=OWNER)
        await both.one.over(handle.task_id, owner=OWNER)
        await pause()
        # What was in flight is all that came.
        assert len(slow.arrived) == 1
        assert await both.memory.tasks.watches(handle.task_id) == []


async def test_a_watch_that_was_replaced_elsewhere_stays_replaced() -> None:
    """What happens from then on goes to the new address, from whichever replica."""
    slow = Slow()
    async with pair(asks, deliverers={"push": slow}, one_first=True) as both:
        handle = await both.one.submit("x", owner=OWNER, watches=[OLD])
        await soon(slow.in_flight.wait())
        await both.one.rest(handle.task_id, owner=OWNER)
        added = await both.two.add_watch(handle.task_id, NEW, owner=OWNER)
        slow.go.set()
        await until(lambda: bool(slow.arrived))
        await pause()
        assert await both.memory.tasks.watches(handle.task_id) == [added]
        await both.one.cancel(handle.task_id, owner=OWNER)
        await both.one.over(handle.task_id, owner=OWNER)
        await until(lambda: len(slow.arrived) > 1)
        await pause()
        (watch,) = await both.memory.tasks.watches(handle.task_id)
        assert watch.config == NEW.config
        (first, _), *later = slow.arrived
        assert first == OLD.config
        assert all(config == NEW.config for config, _ in later)
        assert min(seqs[0] for _, seqs in later) == added.cursor + 1
