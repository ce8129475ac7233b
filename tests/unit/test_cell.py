"""Cells and posts: what is at hand of a live task, and what is asked of it."""

import asyncio
from typing import cast

import pytest

from interlock._cell import EVENTS_KEPT_MAX, Cell, Post, always
from interlock._event import AGENT, Event
from interlock._phases import Phase, Trigger
from interlock._record import Active, Identity, TaskRecord
from interlock._turn import Turn
from interlock.errors import EngineError
from support import soon


def record(seq: int = 1, epoch: int = 3) -> TaskRecord:
    """A running task."""
    identity = Identity("t", "ada", "c", 1.0, 9.0)
    return TaskRecord(identity, Phase.RUNNING, Active(), seq, epoch, 1, 1.0)


def event(seq: int) -> Event:
    """Some event."""
    return Event(seq, 1.0, 3, Trigger.PROGRESS, Phase.RUNNING, Phase.RUNNING, AGENT, {})


class Reporter:
    """As much of a turn as a post looks at."""

    def __init__(self, *, fenced: bool) -> None:
        self.fenced = fenced


def turn(*, fenced: bool) -> Turn:
    """A turn that reports."""
    return cast("Turn", Reporter(fenced=fenced))


def test_a_post_fires_what_it_chooses_when_its_turn_comes() -> None:
    """The choice sees the record as it is then.  Source: R-LIFE-06."""
    post = Post(lambda seen: (Trigger.RECOVER, {"seq": seen.seq}), "engine")
    signal = post.signal(record(7), 5.0)
    assert signal == (Trigger.RECOVER, {"seq": 7}, "engine", 5.0)


def test_a_report_is_of_the_epoch_in_which_its_turn_lives() -> None:
    """Also after an answer has begun a new one; the payload's own word does not count."""
    post = Post(always(Trigger.PROGRESS, {"epoch": 0}), AGENT, turn=turn(fenced=False))
    assert post.signal(record(epoch=4), 5.0).data == {"epoch": 4}


def test_a_report_of_a_fenced_turn_is_of_no_epoch() -> None:
    """So the guard refuses it, whatever the task has come to.  Source: I17, I32."""
    post = Post(always(Trigger.PROGRESS, {"epoch": 4}), AGENT, turn=turn(fenced=True))
    assert post.signal(record(epoch=4), 5.0).data == {"epoch": -1}


def test_a_choice_is_not_changed_by_being_fired() -> None:
    """The same payload may be fired again after a conflict."""
    data = {"epoch": 0}
    Post(always(Trigger.PROGRESS, data), AGENT, turn=turn(fenced=False)).signal(record(), 5.0)
    assert data == {"epoch": 0}


async def test_who_waits_for_a_post_is_told_once() -> None:
    """The first word counts; nobody is told twice."""
    done: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()
    post = Post(always(Trigger.CANCEL, {}), "ada", done)
    post.answer(record())
    post.answer(record(2))
    post.refuse(EngineError("too late"))
    assert await soon(done) == record()


async def test_who_waits_for_a_post_may_be_told_that_it_did_not_happen() -> None:
    """With the error that they are to see."""
    done: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()
    post = Post(always(Trigger.CANCEL, {}), "ada", done)
    post.refuse(EngineError("no"))
    with pytest.raises(EngineError, match="no"):
        await soon(done)


def test_a_post_that_nobody_waits_for_can_be_answered_and_refused() -> None:
    """Timers and reports are posts like that."""
    post = Post(always(Trigger.EXPIRE, {}), "timer")
    post.answer(record())
    post.refuse(EngineError("no"))


def test_a_cell_keeps_its_log_at_hand_while_it_is_short() -> None:
    """And lets go of all of it when it gets long: the store has it."""
    cell = Cell(record(), [event(1)])
    cell.add(record(2), (event(2),))
    assert cell.events == [event(1), event(2)]
    cell.add(record(EVENTS_KEPT_MAX), tuple(map(event, range(3, EVENTS_KEPT_MAX + 1))))
    assert cell.events is not None
    assert len(cell.events) == EVENTS_KEPT_MAX
    cell.add(record(EVENTS_KEPT_MAX + 1), (event(EVENTS_KEPT_MAX + 1),))
    assert cell.events is None
    cell.add(record(EVENTS_KEPT_MAX + 2), (event(EVENTS_KEPT_MAX + 2),))
    assert cell.events is None
    assert cell.record.seq == EVENTS_KEPT_MAX + 2


async def test_every_commit_wakes_everybody_who_waits_for_a_change() -> None:
    """Also when one of them has gone away meanwhile."""
    cell = Cell(record())
    waits = [asyncio.ensure_future(cell.change()) for _ in range(3)]
    await asyncio.sleep(0)
    waits[1].cancel()
    await asyncio.sleep(0)
    cell.add(record(2), (event(2),))
    await soon(asyncio.wait(waits))
    assert [wait.cancelled() for wait in waits] == [False, True, False]


def test_a_cell_is_idle_when_nothing_happens_to_it_and_nobody_looks() -> None:
    """Only then may the store alone keep the task."""
    cell = Cell(record())
    assert cell.idle
    cell.busy = True
    assert not cell.idle
    cell.busy = False
    cell.watchers = 1
    assert not cell.idle
    cell.watchers = 0
    cell.inbox.append(Post(always(Trigger.CANCEL, {}), "ada"))
    assert not cell.idle
    cell.inbox.clear()
    cell.turn = turn(fenced=False)
    assert not cell.idle


async def test_a_change_right_after_somebody_looked_is_not_missed() -> None:
    """A drain looked, and the turn ended before its wait began.  Source: a bug."""
    cell = Cell(record())
    change = cell.change()
    cell.tell()
    assert change.done()


async def test_who_no_longer_waits_is_not_kept() -> None:
    """A task may wait for days, and many may come to look meanwhile."""
    cell = Cell(record())
    waiting = cell.change()
    for _ in range(1_000):
        cell.change().cancel()
    assert len(cell._waiters) < 100
    cell.tell()
    assert waiting.done()
