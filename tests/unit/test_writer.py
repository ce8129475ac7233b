"""The one writer of a task: fire, commit, answer, act, in this order, whatever the store does."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from interlock import Engine, MemoryStore, TaskContext
from interlock._cell import Cell, Choice, Post, always
from interlock._event import AGENT, ENGINE, Data, Event, Signal
from interlock._machine import LIFECYCLE, Move
from interlock._phases import Phase, Trigger
from interlock._record import TaskRecord
from interlock._store import Claim, Commit, TokenTaken, TurnWanted
from interlock._turn import Turn
from interlock._writer import (
    CONFLICTS_MAX,
    MOVES_MAX,
    RECENT_CHARS_MAX,
    RECENT_MAX,
    STORE_RETRY_S,
    Others,
    Writer,
)
from interlock.errors import (
    Conflict,
    GuardRefused,
    IllegalTrigger,
    LimitReached,
    NotAccepting,
    StoreError,
    UnknownTask,
)
from interlock.testing import ManualClock, violations
from support import OWNER, FlakyStore, opened, pause, soon, until

PROGRESS: Data = {"epoch": 1, "message": "…", "fraction": None, "log_events_max": 10_000}
CANCEL: Data = {"grace_s": 10.0, "reason": None}


def progress(message: str = "…") -> Choice:
    """The agent says how far it is."""
    return always(Trigger.PROGRESS, {**PROGRESS, "message": message})


def ask(key: str) -> Choice:
    """The agent asks for a text."""
    return always(
        Trigger.ASK,
        {
            "epoch": 1,
            "key": key,
            "kind": "input",
            "prompt": "?",
            "schema": {"type": "string"},
            "due": 9e9,
            "on_expire": "fail",
            "asks_max": 1_000,
        },
    )


def provide(key: str, value: str = "yes") -> Choice:
    """A client answers."""
    return always(Trigger.PROVIDE_INPUT, {"key": key, "value": value})


def withdrawing_end(record: TaskRecord) -> tuple[Trigger, Data]:
    """The end of a turn that may have left asks open."""
    if record.asks:
        return Trigger.WITHDRAW, {"epoch": record.epoch, "key": record.asks[0].key}
    return Trigger.COMPLETE, {"epoch": record.epoch, "parts": []}


@dataclass(eq=False)
class Bench:
    """A writer, and a record of what it let act."""

    store: FlakyStore = field(default_factory=FlakyStore)
    clock: ManualClock = field(default_factory=ManualClock)
    inbox_max: int = 256
    acted: list[tuple[TaskRecord, list[Trigger]]] = field(
        default_factory=list[tuple[TaskRecord, list[Trigger]]]
    )
    #: What happened, in order: commits and acts.
    order: list[str] = field(default_factory=list[str])

    others: Others | None = None

    def __post_init__(self) -> None:
        """Make the writer."""
        self.writer = Writer(
            self.store, self.clock, inbox_max=self.inbox_max, act=self.act, others=self.others
        )

    def act(self, cell: Cell, before: TaskRecord, moves: Sequence[Move]) -> None:
        """See `Runtime.act`."""
        assert cell.record == moves[-1].record
        self.acted.append((before, [move.event.trigger for move in moves]))
        self.order.append("act")

    async def running(self, task_id: str = "t") -> Cell:
        """The cell of a running task."""
        data: Data = {
            "task_id": task_id,
            "owner": "ada",
            "context_id": "c",
            "parts": [],
            "due": 9e9,
        }
        now = self.clock.now()
        made = LIFECYCLE.submit(Signal(Trigger.SUBMIT, data, "ada", now))
        started = LIFECYCLE.fire(made.record, Signal(Trigger.START, {"run_s": None}, ENGINE, now))
        await FlakyStore.commit(self.store, Commit(started.record, (made.event, started.event)))
        self.store.commits.clear()
        cell = await self.writer.cell(task_id)
        cell.watchers += 1
        return cell

    def post(self, cell: Cell, *choices: Choice, insists: bool = False) -> None:
        """Posts that nobody waits for."""
        for choose in choices:
            self.writer.post(cell, Post(choose, AGENT, insists=insists))

    def fire(
        self, cell: Cell, choose: Choice, actor: str = AGENT, claim: Claim | None = None
    ) -> "asyncio.Future[TaskRecord]":
        """A post that somebody waits for."""
        return asyncio.ensure_future(self.writer.fire(cell, choose, actor, claim))

    @property
    def committed(self) -> list[list[str]]:
        """The triggers of each commit that was tried."""
        return [[event.trigger.value for event in commit.events] for commit in self.store.commits]


def messages(commits: Iterable[Commit]) -> list[str]:
    """What progress was tried to commit."""
    return [event.data["message"] for commit in commits for event in commit.events]


async def test_a_caller_gets_the_record_once_it_is_durable() -> None:
    """Nothing is acknowledged that is not durable.  Source: I18, R-LIFE-05."""
    bench = Bench()
    cell = await bench.running()
    gate = bench.store.hold("commit")
    firing = bench.fire(cell, progress())
    await gate.reached()
    await pause()
    assert not firing.done()
    assert cell.record.seq == 2
    assert bench.acted == []
    gate.open()
    record = await soon(firing)
    assert record.seq == 3
    assert await bench.store.get("t") == record


async def test_nothing_is_done_for_a_move_before_it_is_durable() -> None:
    """Commit, then act, and act knows the record before.  Source: DESIGN 2, R-LIFE-05."""
    bench = Bench()
    cell = await bench.running()
    before = cell.record
    await soon(bench.fire(cell, progress()))
    assert bench.acted == [(before, [Trigger.PROGRESS])]


async def test_what_waits_in_the_inbox_is_committed_together_in_order() -> None:
    """One commit for many moves, so that a burst costs one write.  Source: R-LIFE-06."""
    bench = Bench()
    cell = await bench.running()
    firing = bench.fire(cell, progress("first"))
    await pause(1)
    bench.post(cell, *(progress(str(n)) for n in range(5)))
    record = await soon(firing)
    assert len(bench.store.commits) == 1
    assert messages(bench.store.commits) == ["first", "0", "1", "2", "3", "4"]
    assert record.seq == 8


async def test_a_commit_is_bounded() -> None:
    """The first of a flood does not wait for the last."""
    bench = Bench()
    cell = await bench.running()
    bench.post(cell, *(progress() for _ in range(MOVES_MAX + 1)))
    await pause()
    assert [len(commit.events) for commit in bench.store.commits] == [MOVES_MAX, 1]


async def test_what_comes_during_a_commit_has_its_turn_after_it() -> None:
    """The inbox is run to completion by one worker."""
    bench = Bench()
    cell = await bench.running()
    gate = bench.store.hold("commit")
    first = bench.fire(cell, progress("first"))
    await gate.reached()
    second = bench.fire(cell, progress("second"))
    await pause()
    assert len(bench.store.commits) == 1
    gate.open()
    assert (await soon(first)).seq == 3
    assert (await soon(second)).seq == 4


async def test_a_refusal_changes_nothing_and_spares_the_others() -> None:
    """It is fired on the record as it would be, and told why.  Source: I35."""
    bench = Bench()
    cell = await bench.running()
    asking = bench.fire(cell, ask("k"))
    wrong = bench.fire(cell, provide("other"), "ada")
    right = bench.fire(cell, provide("k"), "ada")
    late = bench.fire(cell, provide("k"), "ada")
    with pytest.raises(GuardRefused, match="is not open"):
        await soon(wrong)
    with pytest.raises(IllegalTrigger):
        await soon(late)
    assert (await soon(right)).phase is Phase.RUNNING
    assert await soon(asking) == await soon(right)
    assert bench.committed == [["ask", "provide_input"]]


async def test_a_refusal_alone_commits_nothing_and_acts_on_nothing() -> None:
    """No event, no effect."""
    bench = Bench()
    cell = await bench.running()
    with pytest.raises(IllegalTrigger):
        await soon(bench.fire(cell, provide("k"), "ada"))
    bench.post(cell, provide("k"))
    await pause()
    assert bench.store.commits == []
    assert bench.acted == []


async def test_a_task_that_does_not_exist_has_no_cell() -> None:
    """And asking for it leaves nothing behind."""
    bench = Bench()
    with pytest.raises(UnknownTask):
        await soon(bench.writer.cell("nobody"))
    assert len(bench.writer) == 0


async def test_a_cell_is_kept_while_somebody_looks() -> None:
    """A watcher must hear of the next commit, whoever makes it."""
    bench = Bench()
    cell = await bench.running()
    cell.watchers -= 1
    with bench.writer.keeping(cell) as kept:
        await soon(bench.fire(kept, progress()))
        await pause()
        assert await bench.writer.cell("t") is cell
    assert bench.writer.at_hand("t") is None


async def test_a_cell_is_let_go_when_nothing_happens_to_it() -> None:
    """A task at rest costs a row in the store and nothing here."""
    bench = Bench()
    cell = await bench.running()
    cell.watchers -= 1
    firing = bench.fire(cell, progress())
    await pause(1)
    assert bench.writer.at_hand("t") is cell
    assert bench.writer.cells() == [cell]
    await soon(firing)
    await pause()
    assert bench.writer.at_hand("t") is None
    again = await bench.writer.cell("t")
    bench.writer.release(cell)
    assert bench.writer.at_hand("t") is again


async def test_a_full_inbox_is_a_refusal_at_once() -> None:
    """Somebody is hammering the task.  Source: DESIGN 3, bounds, R-ENG-10."""
    bench = Bench(inbox_max=2)
    cell = await bench.running()
    gate = bench.store.hold("commit")
    bench.post(cell, progress())
    await gate.reached()
    bench.post(cell, progress(), progress())
    with pytest.raises(LimitReached) as caught:
        await soon(bench.fire(cell, progress()))
    assert caught.value.limit == "inbox_max"
    gate.open()
    await pause()
    assert cell.record.seq == 5


async def test_what_an_agent_reports_does_not_keep_a_cancel_out() -> None:
    """A flood of its own progress must not make a task one that cannot be stopped."""
    bench = Bench(inbox_max=2)
    cell = await bench.running()
    turn = cast("Turn", Fenced())
    gate = bench.store.hold("commit")
    bench.post(cell, progress())
    await gate.reached()
    for _ in range(5):
        bench.writer.post(cell, Post(progress(), AGENT, turn=turn))
    cancelling = bench.fire(cell, always(Trigger.CANCEL, CANCEL), "ada")
    await pause()
    gate.open()
    assert (await soon(cancelling)).phase is Phase.CANCELLING


async def test_a_choice_that_is_broken_is_its_own_posts_fault_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever waits for it is told; the others go on.  Source: I37."""

    def broken(_record: TaskRecord) -> tuple[Trigger, Data]:
        raise ZeroDivisionError

    bench = Bench()
    cell = await bench.running()
    first = bench.fire(cell, broken)
    second = bench.fire(cell, progress())
    with pytest.raises(ZeroDivisionError):
        await soon(first)
    assert (await soon(second)).seq == 3
    assert "could not be fired" in caplog.text


# --- the end of a turn that left asks open ---------------------------------------------


async def test_open_asks_are_withdrawn_and_the_end_follows_in_one_commit() -> None:
    """The client never sees a task that waits for an answer nobody wants."""
    bench = Bench()
    cell = await bench.running()
    bench.post(cell, ask("a"), ask("b"))
    bench.writer.post(cell, Post(withdrawing_end, AGENT, insists=True, concludes=True))
    await pause()
    assert bench.committed == [["ask", "ask", "withdraw", "withdraw", "complete"]]


async def test_more_open_asks_than_fit_one_commit_are_withdrawn_too() -> None:
    """The end waits for its turn."""
    bench = Bench()
    cell = await bench.running()
    bench.post(cell, *(ask(f"k{n}") for n in range(MOVES_MAX + 1)))
    bench.writer.post(cell, Post(withdrawing_end, AGENT, insists=True, concludes=True))
    await pause()
    assert cell.record.phase is Phase.COMPLETED
    assert len(cell.record.closed) == MOVES_MAX + 1


async def test_an_end_that_is_still_withdrawing_does_not_spin_when_the_store_fails() -> None:
    """It is tried again after a while, like everything that must not be lost."""
    bench = Bench()
    cell = await bench.running()
    bench.post(cell, *(ask(f"k{n}") for n in range(MOVES_MAX)))
    await pause()
    bench.store.fail("commit", *(StoreError("full") for _ in range(3)))
    tried = len(bench.store.commits)
    bench.writer.post(cell, Post(withdrawing_end, AGENT, insists=True, concludes=True))
    await pause()
    assert len(bench.store.commits) == tried + 1
    for _ in range(3):
        bench.clock.advance(STORE_RETRY_S)
        await pause()
    assert cell.record.phase is Phase.COMPLETED


# --- a store that fails ------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreError("the disk is full"), OSError("no space left")])
async def test_a_caller_is_told_when_it_could_not_be_stored(error: Exception) -> None:
    """By a StoreError, whatever the store raised; and nothing changed."""
    bench = Bench()
    cell = await bench.running()
    bench.store.fail("commit", error)
    with pytest.raises(StoreError):
        await soon(bench.fire(cell, progress()))
    assert cell.record.seq == 2
    assert bench.acted == []
    assert (await soon(bench.fire(cell, progress()))).seq == 3


async def test_what_must_not_be_lost_is_fired_again_until_it_is_stored() -> None:
    """Once a second, in the same order, and before what came later."""
    bench = Bench()
    cell = await bench.running()
    cell.watchers -= 1
    bench.store.breaks("commit")
    bench.post(cell, progress("1"), progress("2"), insists=True)
    for _ in range(3):
        await pause()
        bench.clock.advance(STORE_RETRY_S)
    await pause()
    assert len(bench.store.commits) == 4
    assert bench.writer.at_hand("t") is cell
    bench.store.mends("commit")
    bench.store.commits.clear()
    bench.clock.advance(STORE_RETRY_S)
    bench.post(cell, progress("3"))
    await pause()
    assert messages(bench.store.commits) == ["1", "2", "3"]
    assert bench.writer.at_hand("t") is None


async def test_the_refused_are_judged_again_when_the_moves_before_them_fail() -> None:
    """They were refused on the strength of moves that did not happen."""
    bench = Bench()
    cell = await bench.running()
    bench.store.fail("commit")
    cancel = bench.fire(cell, always(Trigger.CANCEL, CANCEL), "ada")
    refused = bench.fire(cell, progress())
    with pytest.raises(StoreError):
        await soon(cancel)
    with pytest.raises(StoreError):
        await soon(refused)
    assert cell.record.phase is Phase.RUNNING


async def test_a_task_that_cannot_be_stored_does_not_hold_up_another() -> None:
    """Each has its own worker.  Source: I37."""
    bench = Bench()
    one, other = await bench.running("one"), await bench.running("other")
    gate = bench.store.hold("commit")
    stuck = bench.fire(one, progress())
    await gate.reached()
    assert (await soon(bench.fire(other, progress()))).seq == 3
    gate.open()
    await soon(stuck)


# --- somebody else writes too -----------------------------------------------------------


async def test_a_conflict_is_read_and_fired_again() -> None:
    """The loser re-reads; nothing is committed twice.  Source: DESIGN 2, R-LIFE-07."""
    bench = Bench()
    cell = await bench.running()
    await bench.store.written_elsewhere(
        "t", Trigger.PROGRESS, PROGRESS, actor=AGENT, at=bench.clock.now()
    )
    record = await soon(bench.fire(cell, progress("mine")))
    assert record.seq == 4
    assert [event.seq for event in await bench.store.events("t")] == [1, 2, 3, 4]


async def test_after_a_conflict_the_trigger_is_judged_by_what_is_stored() -> None:
    """The other's move may have made it illegal.  Source: R-LIFE-07."""
    bench = Bench()
    cell = await bench.running()
    await bench.store.written_elsewhere(
        "t",
        Trigger.COMPLETE,
        {"epoch": 1, "parts": []},
        actor=AGENT,
        at=bench.clock.now(),
    )
    with pytest.raises(IllegalTrigger):
        await soon(bench.fire(cell, always(Trigger.CANCEL, CANCEL), "ada"))
    assert cell.record.phase is Phase.COMPLETED


async def test_a_conflict_wakes_whoever_watches() -> None:
    """There is something new to see, and the log at hand is no longer whole."""
    bench = Bench()
    cell = await bench.running()
    cell.events = await bench.store.events("t")
    watching = asyncio.ensure_future(cell.change())
    await bench.store.written_elsewhere(
        "t", Trigger.CANCEL, CANCEL, actor="bob", at=bench.clock.now()
    )
    with pytest.raises(IllegalTrigger):
        await soon(bench.fire(cell, progress()))
    await soon(watching)
    assert cell.events is None
    assert cell.record.phase is Phase.CANCELLING


class Fenced:
    """As much of a turn as the writer touches."""

    fenced = False

    def fence(self) -> None:
        """See `Turn.fence`."""
        self.fenced = True


@pytest.mark.parametrize(
    ("trigger", "data", "ours"),
    [
        (Trigger.PROGRESS, PROGRESS, True),
        (Trigger.CANCEL, CANCEL, True),
        (Trigger.RECOVER, {"run_s": None}, False),
        (Trigger.COMPLETE, {"epoch": 1, "parts": []}, False),
    ],
)
async def test_a_turn_whose_task_was_taken_over_is_cut_off(
    trigger: Trigger, data: Data, ours: object
) -> None:
    """By another epoch, or an end; a mere event of the same epoch takes nothing over."""
    bench = Bench()
    cell = await bench.running()
    turn = Fenced()
    cell.turn = there = cast("Turn", turn)
    await bench.store.written_elsewhere("t", trigger, data, actor=ENGINE, at=bench.clock.now())
    bench.post(cell, progress())
    await pause()
    assert (cell.turn is there, turn.fenced) == (ours, not ours)


async def test_endless_conflicts_are_given_up() -> None:
    """Whoever waits is told; what must not be lost is tried again later, not at once."""
    bench = Bench()
    cell = await bench.running()
    bench.store.breaks("commit", Conflict("t", 2))
    firing = bench.fire(cell, progress())
    await pause(1)
    bench.post(cell, progress("insisting"), insists=True)
    with pytest.raises(Conflict):
        await soon(firing)
    assert len(bench.store.commits) == CONFLICTS_MAX + 1
    bench.store.mends("commit")
    bench.store.commits.clear()
    bench.clock.advance(STORE_RETRY_S)
    await pause()
    assert messages(bench.store.commits) == ["insisting"]


@pytest.mark.parametrize("error", [StoreError("the disk is on fire"), OSError("gone")])
async def test_a_store_that_fails_while_a_conflict_is_read_is_a_store_that_failed(
    error: Exception,
) -> None:
    """Nobody is left waiting."""
    bench = Bench()
    cell = await bench.running()
    await bench.store.written_elsewhere(
        "t", Trigger.PROGRESS, PROGRESS, actor=AGENT, at=bench.clock.now()
    )
    bench.store.fail("get", error)
    firing = bench.fire(cell, progress())
    await pause(1)
    bench.post(cell, progress("insisting"), insists=True)
    with pytest.raises(StoreError):
        await soon(firing)
    bench.clock.advance(STORE_RETRY_S)
    await pause()
    assert cell.record.seq == 4


async def test_a_task_that_vanished_is_unknown_to_whoever_waits() -> None:
    """It was purged: to try again, as after a conflict, would help nobody.  Source: R-ENG-19."""
    bench = Bench()
    cell = await bench.running()
    bench.store.fail("commit", Conflict("t", 2))
    bench.store._tasks.clear()
    with pytest.raises(UnknownTask):
        await soon(bench.fire(cell, progress()))


# --- tokens -------------------------------------------------------------------------------


def claim(token: str, digest: str = "d") -> Claim:
    """A token that an answer uses up."""
    return Claim("ada", token, "t", digest)


async def test_a_taken_token_refuses_its_own_post_and_no_other() -> None:
    """The rest of the batch is committed without it, once."""
    bench = Bench()
    cell = await bench.running()
    await soon(bench.fire(cell, progress("first"), claim=claim("used")))
    before = bench.fire(cell, progress("before"))
    repeat = bench.fire(cell, progress("repeat"), claim=claim("used", "other"))
    after = bench.fire(cell, progress("after"), claim=claim("new"))
    with pytest.raises(TokenTaken) as caught:
        await soon(repeat)
    assert caught.value.claim == claim("used")
    await soon(before)
    await soon(after)
    log = await bench.store.events("t", 2)
    assert [event.data["message"] for event in log] == ["first", "before", "after"]


async def test_a_token_that_comes_twice_at_once_is_used_once() -> None:
    """The second is told what the first used it for, as if it had come later.  Source: I19."""
    bench = Bench()
    cell = await bench.running()
    first = bench.fire(cell, progress("first"), claim=claim("k", "body"))
    second = bench.fire(cell, progress("second"), claim=claim("k", "another body"))
    third = bench.fire(cell, progress("third"))
    await soon(first)
    with pytest.raises(TokenTaken) as caught:
        await soon(second)
    assert caught.value.claim.digest == "body"
    await soon(third)
    log = await bench.store.events("t", 2)
    assert [event.data["message"] for event in log] == ["first", "third"]


# --- cells, and who reads them when ------------------------------------------------------


async def test_a_record_that_was_read_too_early_is_not_taken_for_the_present() -> None:
    """Somebody wrote to the task and let go of it while another was still reading."""
    bench = Bench()
    cell = await bench.running()
    bench.post(cell, ask("a"), ask("b"))
    await pause()
    cell.watchers -= 1
    bench.writer.release(cell)
    gate = bench.store.hold("get, after")
    slow = asyncio.ensure_future(bench.writer.cell("t"))
    await gate.reached()
    quick = await bench.writer.cell("t")
    record = await soon(bench.fire(quick, provide("a"), "ada"))
    await pause()
    gate.open()
    assert (await soon(slow)).record == record


async def test_two_who_read_a_task_at_once_get_one_cell() -> None:
    """One writer for each task."""
    bench = Bench()
    cell = await bench.running()
    cell.watchers -= 1
    bench.writer.release(cell)
    gates = bench.store.hold("get"), bench.store.hold("get")
    reads = [asyncio.ensure_future(bench.writer.cell("t")) for _ in gates]
    for gate in gates:
        await gate.reached()
        gate.open()
    one, other = await soon(asyncio.gather(*reads))
    assert one is other


async def test_a_reader_who_gives_up_leaves_nothing_behind() -> None:
    """Nor does one whose store fails."""
    bench = Bench()
    cell = await bench.running()
    cell.watchers -= 1
    bench.writer.release(cell)
    gate = bench.store.hold("get")
    reading = asyncio.ensure_future(bench.writer.cell("t"))
    await gate.reached()
    quick = await bench.writer.cell("t")
    await soon(bench.fire(quick, progress()))
    await pause()
    reading.cancel()
    await pause()
    assert len(bench.writer) == 0
    bench.store.fail("get")
    with pytest.raises(StoreError):
        await soon(bench.writer.cell("t"))
    assert len(bench.writer) == 0


async def test_a_new_task_that_somebody_found_already_has_one_cell() -> None:
    """It is durable before its maker knows, and may be read meanwhile."""
    bench = Bench()
    cell = await bench.running()
    events = await bench.store.events("t")
    assert bench.writer.adopt(cell.record, events, watched=False) is cell


async def test_the_cell_of_a_new_task_has_its_log_at_hand() -> None:
    """It need not be read from the store."""
    bench = Bench()
    cell = await bench.running()
    cell.watchers -= 1
    bench.writer.release(cell)
    events = await bench.store.events("t")
    adopted = bench.writer.adopt(cell.record, events, watched=True)
    assert adopted.events == events
    assert adopted.watched


# --- the end --------------------------------------------------------------------------------


async def test_the_writer_closes_when_every_inbox_is_empty() -> None:
    """Whoever waits for an answer gets it."""
    bench = Bench()
    cell = await bench.running()
    gate = bench.store.hold("commit")
    firing = bench.fire(cell, progress())
    await gate.reached()
    closing = asyncio.ensure_future(bench.writer.close())
    late = bench.fire(cell, progress())
    await pause()
    assert not closing.done()
    gate.open()
    await soon(closing)
    assert (await soon(firing)).seq == 3
    assert (await soon(late)).seq == 4


async def test_a_closed_writer_takes_nothing_and_wakes_whoever_watches() -> None:
    """A stream must end when the engine does."""
    bench = Bench()
    cell = await bench.running()
    watching = asyncio.ensure_future(cell.change())
    await pause()
    await soon(bench.writer.close())
    await soon(watching)
    with pytest.raises(NotAccepting):
        await soon(bench.fire(cell, progress()))


async def test_a_closed_writer_does_not_go_on_trying() -> None:
    """The next start goes on from what the store has."""
    bench = Bench()
    cell = await bench.running()
    bench.store.breaks("commit")
    bench.post(cell, progress(), insists=True)
    await pause()
    await soon(bench.writer.close())
    bench.store.mends("commit")
    bench.clock.advance(STORE_RETRY_S * 10)
    await pause()
    assert len(bench.store.commits) == 1


async def test_a_clock_that_is_set_back_does_not_set_the_log_back() -> None:
    """The times of a log never decrease.  Source: I09."""
    store, clock = MemoryStore(), ManualClock()

    async def agent(task: TaskContext) -> str:
        return str(await task.ask("how many?", int))

    async with Engine(agent, store=store, clock=clock) as engine:
        task = await engine.submit("hello", owner="ada")
        waiting = await task.rest()
        clock._now -= 3_600.0
        await task.answer(waiting.asks[0].key, 3)
        assert await task.result() == "3"
        assert violations(await engine.events(task.task_id, owner="ada")) == []


# --- what is over and was just looked at -----------------------------------------------------


async def ends_soon(_task: TaskContext) -> str:
    """Nothing to do."""
    return "done"


async def test_a_task_that_is_just_over_is_shown_without_reading_the_store() -> None:
    """A client that waited fetches the result: the disk has nothing to add."""
    async with opened(ends_soon) as world:
        handle = await world.submit()
        await handle.over()
        await until(lambda: world.engine.statistics().live == 0)
        world.store.breaks("get")
        world.store.breaks("events")
        view = await world.engine.view(handle.task_id, owner=OWNER)
    assert view.record.shown is Phase.COMPLETED


async def test_a_task_that_is_purged_is_not_shown_from_memory() -> None:
    """Gone is gone."""
    async with opened(ends_soon) as world:
        handle = await world.submit()
        await handle.over()
        await until(lambda: world.engine.statistics().live == 0)
        runtime = world.engine._runtime
        assert runtime is not None
        del world.store._tasks[handle.task_id]
        runtime.writer.forget(handle.task_id)
        with pytest.raises(UnknownTask):
            await world.engine.record(handle.task_id, owner=OWNER)


async def test_only_so_many_tasks_that_are_over_are_kept() -> None:
    """The oldest goes."""
    async with opened(ends_soon) as world:
        runtime = world.engine._runtime
        assert runtime is not None
        for _ in range(RECENT_MAX + 1):
            handle = await world.submit()
            await handle.over()
        await until(lambda: world.engine.statistics().live == 0)
        assert len(runtime.writer._recent) == RECENT_MAX


async def shows_much(task: TaskContext) -> str:
    """More than is kept for whoever looks once more."""
    await task.emit("x" * RECENT_CHARS_MAX)
    return "done"


async def test_a_task_that_is_over_and_large_is_not_kept() -> None:
    """A hundred of them would be all the memory there is."""
    async with opened(shows_much) as world:
        handle = await world.submit()
        await handle.over()
        await until(lambda: world.engine.statistics().live == 0)
        runtime = world.engine._runtime
        assert runtime is not None
        assert handle.task_id not in runtime.writer._recent


class Shared:
    """What a writer asks where others write to the same tasks, which take nothing from it here."""

    def wanted(self, cell: Cell, record: TaskRecord, moves: Sequence[Move]) -> TurnWanted | None:
        """See `Others.wanted`: it is never somebody else's turn."""
        del cell, record, moves
        return None

    def watched(self, task_id: str) -> bool:
        """See `Others.watched`."""
        return bool(task_id)

    def caught_up(self, cell: Cell, fresh: TaskRecord, events: Sequence[Event]) -> None:
        """See `Others.caught_up`."""
        assert events[-1].seq == fresh.seq
        cell.record = fresh


async def test_a_task_that_cannot_be_read_on_is_not_kept_for_it() -> None:
    """Nobody else lets go of a cell for which somebody waits.  Source: R-REPL-23."""
    bench = Bench(others=Shared())
    cell = await bench.running()
    await bench.store.written_elsewhere("t", Trigger.CANCEL, CANCEL, actor=OWNER, at=9.0)
    gate = bench.store.hold("events")
    reading = asyncio.ensure_future(bench.writer.cell("t"))
    await gate.reached()
    cell.watchers -= 1
    bench.writer.release(cell)
    assert len(bench.writer) == 1
    bench.store.fail("events")
    gate.open()
    with pytest.raises(StoreError):
        await soon(reading)
    assert len(bench.writer) == 0
    assert (await soon(bench.writer.cell("t"))).record.phase is Phase.CANCELLING
