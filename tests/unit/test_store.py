"""What a store is asked in, and the store that forgets, where the contract says nothing."""

from dataclasses import replace

from interlock._machine import LIFECYCLE
from interlock._phases import Trigger
from interlock._record import TaskRecord
from interlock._store import Claim, MemoryStore, TaskQuery, TokenTaken, Watch, findings, served
from interlock.testing._store_contract import (
    AT,
    commit_of,
    completed,
    opened,
    started,
    stored,
    submitted,
    whole_life,
)


def test_a_commit_expects_the_event_before_its_first() -> None:
    """Zero for a new task, however many events come at once.  Source: R-LIFE-07."""
    moves = whole_life("t")
    assert commit_of(*moves).expected_seq == 0
    assert commit_of(*moves[2:]).expected_seq == 2


def test_a_taken_token_says_by_which_task() -> None:
    """Its message names token and task, and nothing of the body.  Source: ours."""
    claim = Claim("ada", "m1", "t1", "secret digest")
    error = TokenTaken(claim)
    assert error.claim == claim
    assert error.code == "token_taken"
    assert str(error) == "token 'm1' is taken by task 't1'"


def test_a_served_watch_starts_counting_again() -> None:
    """A success forgets the failures before it.  Source: `served`."""
    watch = Watch("w", "t", "web", {"a": 1}, 1, attempts=3, not_before=AT)
    assert served(watch, 4) == Watch("w", "t", "web", {"a": 1}, 4)


def test_sound_tasks_have_no_findings() -> None:
    """Source: `findings`."""
    moves = whole_life("t")
    assert findings([(moves[-1].record, [move.event for move in moves])], LIFECYCLE) == []


def test_each_unsound_task_is_one_finding() -> None:
    """A record that is not the fold, a gap, no log at all; the sound one between is silent."""
    moves = whole_life("t")
    events = [move.event for move in moves]

    def named(task_id: str) -> TaskRecord:
        record = moves[-1].record
        return replace(record, identity=replace(record.identity, task_id=task_id))

    found = findings(
        [
            (named("other"), events),
            (moves[-1].record, events),
            (named("gap"), [events[0], events[2]]),
            (named("empty"), []),
        ],
        LIFECYCLE,
    )
    assert found == [
        "task 'other': the record is not what its log amounts to",
        "task 'gap': event 3 stands where 2 should",
        "task 'empty': the log is empty",
    ]


async def test_a_closed_memory_store_still_remembers() -> None:
    """The same engine may open it again.  Source: `MemoryStore.close`."""
    store = MemoryStore()
    for move in whole_life("t"):
        async with opened(lambda: store):
            await store.commit(commit_of(move))
    assert len(await store.events("t")) == len(whole_life("t"))


async def test_events_that_were_read_are_the_readers_own() -> None:
    """Who gets a list may change it without changing the log.  Source: ours."""
    store = MemoryStore()
    await store.commit(commit_of(submitted("t")))
    (await store.events("t")).clear()
    (await store.watches("t")).append(Watch("w", "t", "web", {}, 0))
    assert len(await store.events("t")) == 1
    assert await store.watches("t") == []


async def test_deadlines_leave_nothing_behind() -> None:
    """A task that is over has no entry among the deadlines.  Source: ours."""
    store = MemoryStore()
    for number in range(5):
        await stored(store, whole_life(f"t{number}", at=AT + number))
    running = started(submitted("running"))
    await store.commit(commit_of(submitted("running"), running))
    assert store._due == [(running.record.due, "running")]
    await store.commit(commit_of(completed(running)))
    assert store._due == []


async def test_a_page_that_ends_exactly_has_no_next() -> None:
    """The last page is known to be the last without asking for an empty one.

    Source: R-STORE-11.
    """
    store = MemoryStore()
    for number in range(4):
        await store.commit(commit_of(submitted(f"t{number}")))
    page = await store.page(TaskQuery(limit=4))
    assert (len(page.records), page.next_cursor) == (4, None)
    page = await store.page(TaskQuery(limit=3))
    assert page.next_cursor == (AT, "t1")


def test_the_lives_of_the_contract_are_lives() -> None:
    """What the contract stores is made by the real table.  Source: ours."""
    triggers = [move.event.trigger for move in whole_life("t")]
    assert triggers == [Trigger.SUBMIT, Trigger.START, Trigger.COMPLETE, Trigger.FINALIZE]
