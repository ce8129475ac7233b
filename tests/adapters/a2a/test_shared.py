"""Readers of one task are shown the same, which is made once for all of them.  R-SVC-45; T24."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import Engine, Event, TaskContext
from interlock.models import Answer
from interlock_adapters.a2a._shared import Follower, Shared, Updates, written_out
from interlock_adapters.a2a._view import Projection


async def _agent(task: TaskContext) -> str:
    for number in range(3):
        await task.progress(f"step {number}", number / 3)
        await task.emit(f"note {number}", artifact_id="notes", append=True)
    return str(await task.ask("Which city?"))


async def _log() -> list[Event]:
    async with Engine(_agent, store="memory:") as engine:
        handle = await engine.submit("hello", owner="ada")
        record = await handle.rest()
        await engine.answer(handle.task_id, Answer(ask=record.asks[0].key, value="Å"), owner="ada")
        view = await engine.over(handle.task_id, owner="ada")
        return [event for event in view.events if event.trigger.value != "finalize"]


@pytest.fixture
async def log() -> list[Event]:
    """A task with updates of every kind."""
    return await _log()


def _alone(log: list[Event], after: int) -> list[list[dict[str, object]]]:
    shown = Projection(log[:after])
    return [shown.updates_json(event) for event in log[after:]]


async def test_readers_are_shown_what_each_would_make_alone(log: list[Event]) -> None:
    """From any place, in any order, whoever leaves and whatever is kept.  Source: R-SVC-45."""
    places = st.lists(st.integers(1, len(log)), min_size=1, max_size=5)
    turns = st.lists(st.integers(0, 4), max_size=60)

    @given(places, turns, st.sampled_from([0, 500, 1_000_000]))
    def check(begun: list[int], turns: list[int], chars_max: int) -> None:
        updates = Updates(chars_max)
        readers = [Follower(Projection(log[:place]), updates) for place in begun]
        seen = [list[object]() for _ in begun]
        # Some stop on their way: that is how a reader leaves.
        for turn in (turn for turn in turns if turn < len(begun)):
            place = begun[turn] + len(seen[turn])
            if place < len(log):
                seen[turn].append([dict(one) for one in readers[turn].updates(log[place])])
        for place, shown in zip(begun, seen, strict=True):
            assert shown == _alone(log, place)[: len(shown)]
        assert updates.chars_kept <= chars_max

    check()


async def test_a_reader_goes_on_where_the_quickest_leaves(log: list[Event]) -> None:
    """What it was shown so far it had from the other.  Source: R-SVC-45."""
    for left in range(1, len(log) + 1):
        updates = Updates()
        quick, slow = (Follower(Projection(log[:1]), updates) for _ in range(2))
        for event in log[1:left]:
            quick.updates(event)
        assert [slow.updates(event) for event in log[1:]] == [
            tuple(shown) for shown in _alone(log, 1)
        ]


async def test_what_is_shown_is_made_and_written_once(log: list[Event]) -> None:
    """However many readers there are; others may hold nothing but the same.  Source: R-SVC-45."""
    updates = Updates()
    readers = [Follower(Projection(log[:1]), updates) for _ in range(10)]
    for event in log[1:]:
        first, *others = [reader.updates(event) for reader in readers]
        assert all(other is first for other in others)
        for one in first:
            assert isinstance(one, Shared)
            assert json.loads(written_out(one)) == one
