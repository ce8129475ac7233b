"""What every store promises that several processes share, as checks to run against one's own.

    from interlock.testing import SHARED_STORE_CHECKS

    @pytest.mark.parametrize("check", SHARED_STORE_CHECKS)
    async def test_my_store_keeps_its_promises(check, url):
        await check(lambda: MyStore(url))

A check is given a maker of stores that are all over the same place, which is empty at first; it
has two of them open at once, as two processes would.  Each check stands for one promise in the
docstrings of `SharedStore` and `Turns`; it fails with an AssertionError.  They take real time
where a turn is to wait for its own.  `STORE_CHECKS` have to hold, too.
The module is long because the promises are many; each check is short and stands alone.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final, TypeAlias

from interlock._machine import Move
from interlock._phases import Trigger
from interlock._shared import SharedStore
from interlock._store import Commit, TokenTaken, TurnWanted, Watch
from interlock.errors import Conflict, StoreError
from interlock.testing._store_contract import (
    answered,
    asked,
    claim_of,
    commit_of,
    moved,
    started,
    stored,
    submitted,
    whole_life,
)

#: Makes a store that is not open yet, over the same place as every other that it makes.
SharedStoreMaker: TypeAlias = Callable[[], SharedStore]
#: One promise.
SharedStoreCheck: TypeAlias = Callable[[SharedStoreMaker], Awaitable[None]]

#: Seconds after which something that was promised is taken for forgotten.
_FORGOTTEN_S: Final = 60.0
#: Seconds that a turn is to wait, where it has to.
_LATER_S: Final = 0.5
#: Rounds of the event loop, and a look at the store in each, in which nothing may happen.
_ROUNDS: Final = 10
#: Slots of a worker that has too few.
_SLOTS: Final = 2
#: An idempotency token.
_M1: Final = "m1"


@contextlib.asynccontextmanager
async def _both(make_store: SharedStoreMaker) -> AsyncGenerator[tuple[SharedStore, SharedStore]]:
    """Two stores, open at once; closed at the end."""
    one, two = make_store(), make_store()
    await one.open()
    try:
        await two.open()
        try:
            yield one, two
        finally:
            await two.close()
    finally:
        await one.close()


class _Worker:
    """Takes turns at one store, and holds each until a check says what came of it."""

    def __init__(self, store: SharedStore) -> None:
        self.store: Final = store
        #: What was handed out here, in order.
        self.began: Final[list[TurnWanted]] = []
        #: What runs now, by the task.
        self.held: Final[dict[str, asyncio.Future[bool | None]]] = {}
        #: Those that were out at the same time as another of the same task.
        self.doubled: Final[list[TurnWanted]] = []
        self._all: Final[list[asyncio.Future[bool | None]]] = []
        self._change = asyncio.Event()

    async def run(self, turn: TurnWanted) -> bool | None:
        """See `RunTurn`."""
        if turn.task_id in self.held:
            self.doubled.append(turn)
        held: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self.held[turn.task_id] = held
        self._all.append(held)
        self.began.append(turn)
        self._change.set()
        try:
            return await held
        finally:
            if self.held.get(turn.task_id) is held:
                del self.held[turn.task_id]
            self._change.set()

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait until it is so."""
        async with asyncio.timeout(_FORGOTTEN_S):
            while not what():
                self._change.clear()
                await self._change.wait()

    async def has(self, task_id: str) -> None:
        """Wait until the turn of that task is out here."""
        await self.until(lambda: task_id in self.held)

    def end(self, task_id: str, *, over: bool | None = True) -> None:
        """Nothing of that task runs here any more."""
        self.held[task_id].set_result(over)

    def end_all(self) -> None:
        """Nothing runs here any more."""
        for held in self._all:
            if not held.done():
                held.set_result(True)


@contextlib.asynccontextmanager
async def _working(store: SharedStore, slots: int = 4) -> AsyncGenerator[_Worker]:
    """A worker at that store; at the end all that it holds is over, and it stops."""
    worker = _Worker(store)
    await store.turns.start(worker.run, slots=slots)
    try:
        yield worker
    finally:
        await store.turns.rest()
        worker.end_all()
        await store.turns.stop()
    assert not worker.doubled, f"two turns of a task were out: {worker.doubled}"


def _at_rest(task_id: str) -> list[Move]:
    """A task that waits for an answer: nobody but the check wants a turn of it."""
    moves = [submitted(task_id)]
    moves.append(started(moves[-1], run_s=None))
    moves.append(asked(moves[-1], "k1", due_s=1e6))
    return moves


def _wanting(*moves: Move, not_before: float | None = None) -> Commit:
    """A commit of these moves that wants a turn of their task."""
    last = moves[-1].record
    return replace(commit_of(*moves), turn=TurnWanted(last.task_id, last.epoch, not_before))


async def _refused(store: SharedStore, commit: Commit) -> StoreError:
    """The error with which the store refuses the commit."""
    try:
        await store.commit(commit)
    except StoreError as error:
        return error
    raise AssertionError("the commit was accepted")


async def _nothing_happens(*stores: SharedStore) -> None:
    """Let whatever would happen at once happen."""
    for _ in range(_ROUNDS):
        for store in stores:
            await store.get("nobody")
            await asyncio.sleep(0)


# --- tasks ----------------------------------------------------------------------------


async def check_what_one_writes_the_other_reads(make_store: SharedStoreMaker) -> None:
    """Whatever was committed at one store is there at the other, as it was committed."""
    moves = whole_life("t")
    async with _both(make_store) as (one, two):
        for number, move in enumerate(moves):
            await (one, two)[number % 2].commit(commit_of(move))
            for store in (one, two):
                assert await store.get("t") == move.record
        assert await two.events("t") == await one.events("t") == [m.event for m in moves]
        assert await two.verify() == []


async def check_one_of_two_replicas_wins(make_store: SharedStoreMaker) -> None:
    """Of two commits from the same place, one at each store, exactly one is accepted."""
    async with _both(make_store) as stores:
        for number in range(10):
            here = submitted(f"t{number}")
            await stores[0].commit(commit_of(here))
            rivals = [started(here), moved(here, Trigger.CANCEL, {"grace_s": 1.0}, "ada")]
            commits = [s.commit(commit_of(r)) for s, r in zip(stores, rivals, strict=True)]
            ends = await asyncio.gather(*commits, return_exceptions=True)
            assert [type(end) for end in ends if end is not None] == [Conflict], ends
            won = rivals[0 if ends[0] is None else 1]
            for store in stores:
                assert await store.get(f"t{number}") == won.record


async def check_a_token_is_used_once_by_all(make_store: SharedStoreMaker) -> None:
    """What one store used up is taken at the other."""
    first, second = submitted("t1", token=_M1), submitted("t2", token=_M1)
    async with _both(make_store) as (one, two):
        await one.commit(commit_of(first, claims=[claim_of(first)]))
        error = await _refused(two, commit_of(second, claims=[claim_of(second)]))
        assert isinstance(error, TokenTaken), error
        assert error.claim == claim_of(first)
        assert await two.get("t2") is None


async def check_the_other_one_may_close(make_store: SharedStoreMaker) -> None:
    """Who closes a store closes it for nobody else."""
    async with _both(make_store) as (one, two):
        await one.commit(commit_of(submitted("t")))
        await one.close()
        await two.commit(commit_of(started(submitted("t"))))
        await one.open()
        assert await one.get("t") == started(submitted("t")).record


async def check_who_moved_is_known(make_store: SharedStoreMaker) -> None:
    """`moved` names those that are not where they were seen, and those that are gone."""
    async with _both(make_store) as (one, two):
        for task_id in ("a", "b"):
            await one.commit(commit_of(submitted(task_id)))
        await stored(one, whole_life("c"))
        seen = {"a": 1, "b": 1, "c": 4}
        assert await two.moved(seen) == set()
        await one.commit(commit_of(started(submitted("b"))))
        assert await two.moved(seen) == {"b"}
        assert await two.moved({"a": 2, "b": 2}) == {"a"}
        assert await one.forget("c")
        assert await two.moved({**seen, "never": 1}) == {"b", "c", "never"}
        assert await two.moved({}) == set()


async def check_hints_do_no_harm(make_store: SharedStoreMaker) -> None:
    """A hint names a task, on the event loop; who wants none any more gets none."""
    async with _both(make_store) as (one, two):
        hints: list[str] = []
        loops: set[asyncio.AbstractEventLoop] = set()

        def hint(task_id: str) -> None:
            hints.append(task_id)
            loops.add(asyncio.get_running_loop())

        two.on_hint(hint)
        await one.commit(commit_of(submitted("t")))
        await _nothing_happens(one, two)
        assert set(hints) <= {"t"}
        assert loops <= {asyncio.get_running_loop()}
        two.on_hint(None)
        known = len(hints)
        await one.commit(commit_of(started(submitted("t"))))
        await _nothing_happens(one, two)
        assert len(hints) == known


async def check_clocks_agree(make_store: SharedStoreMaker) -> None:
    """The stores' time is one time, as far as that can be: not a second apart."""
    async with _both(make_store) as (one, two):
        first, other, last = one.clock.now(), two.clock.now(), one.clock.now()
        assert first - 1.0 < other < last + 1.0, (first, other, last)


# --- turns ----------------------------------------------------------------------------


async def check_each_turn_is_handed_out(make_store: SharedStoreMaker) -> None:
    """Each turn that was wanted is out once, at whichever store, and as it was wanted."""
    async with _both(make_store) as (one, two), _working(one) as here, _working(two) as there:
        wanted: list[TurnWanted] = []
        for number in range(6):
            commit = _wanting(*_at_rest(f"t{number}"))
            assert commit.turn is not None
            wanted.append(commit.turn)
            await (one, two)[number % 2].commit(commit)
            await _out(here, there, f"t{number}")
        began = [*here.began, *there.began]
        assert sorted((t.task_id, t.epoch) for t in began) == [(t.task_id, t.epoch) for t in wanted]


async def _out(here: _Worker, there: _Worker, task_id: str) -> _Worker:
    """Wait until the turn of that task is out; who has it."""
    waits = [asyncio.ensure_future(worker.has(task_id)) for worker in (here, there)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            if wait.done():
                wait.result()
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return here if task_id in here.held else there


async def check_one_turn_of_a_task_is_out(make_store: SharedStoreMaker) -> None:
    """The next turn of a task waits, wherever there is a slot, until the one before is over."""
    moves = _at_rest("t")
    async with _both(make_store) as (one, two), _working(one) as here, _working(two) as there:
        await one.commit(_wanting(*moves))
        first = await _out(here, there, "t")
        moves = [answered(moves[-1], "k1")]
        moves.append(asked(moves[-1], "k2", due_s=1e6))
        await two.commit(_wanting(*moves))
        # What comes later and is handed out shows that the queue has gone on.
        await one.commit(_wanting(*_at_rest("other")))
        await _out(here, there, "other")
        began = [turn.task_id for turn in (*here.began, *there.began)]
        assert sorted(began) == ["other", "t"], began
        first.end("t")
        await first.until(lambda: "t" not in first.held or len(first.began) > 1)
        second = await _out(here, there, "t")
        assert second.began[-1].epoch == moves[-1].record.epoch


async def check_a_turn_comes_at_its_time(make_store: SharedStoreMaker) -> None:
    """Not before its time by the clock of the store, and then by itself."""
    async with _both(make_store) as (one, two), _working(two) as there:
        at = one.clock.now() + _LATER_S
        await one.commit(_wanting(*_at_rest("later"), not_before=at))
        await one.commit(_wanting(*_at_rest("now")))
        await there.has("now")
        if two.clock.now() < at:
            assert "later" not in there.held
        await there.has("later")
        assert two.clock.now() >= at - 0.001, "it came before its time"


async def check_no_more_are_out_than_there_are_slots(make_store: SharedStoreMaker) -> None:
    """So many at once and no more; one that is over makes room, and the others are counted."""
    names = ["a", "b", "c", "d"]
    async with _both(make_store) as (one, two), _working(two, slots=_SLOTS) as there:
        for task_id in names:
            await one.commit(_wanting(*_at_rest(task_id)))
        await there.until(lambda: len(there.held) == _SLOTS)
        await _nothing_happens(one, two)
        assert len(there.held) == _SLOTS
        assert await one.turns.waiting() == len(names) - _SLOTS
        for begun in range(_SLOTS + 1, len(names) + 1):
            there.end(next(iter(there.held)))
            await there.until(lambda: len(there.began) >= begun)  # noqa: B023  awaited at once
            assert len(there.held) <= _SLOTS
        await _nothing_happens(one, two)
        assert await two.turns.waiting() == 0
        assert sorted(turn.task_id for turn in there.began) == names


async def check_who_rests_gets_no_more(make_store: SharedStoreMaker) -> None:
    """What is out at a store that rests goes on; what comes goes to others."""
    async with _both(make_store) as (one, two), _working(one) as here:
        await one.commit(_wanting(*_at_rest("a")))
        await here.has("a")
        await one.turns.rest()
        async with _working(two) as there:
            for task_id in ("b", "c"):
                await one.commit(_wanting(*_at_rest(task_id)))
                await there.has(task_id)
        assert list(here.held) == ["a"]
        assert len(here.began) == 1


async def check_what_is_given_back_goes_to_another(make_store: SharedStoreMaker) -> None:
    """A turn that comes back as False is out elsewhere when its store has stopped."""
    async with _both(make_store) as (one, two), _working(one) as here:
        await one.commit(_wanting(*_at_rest("t")))
        await here.has("t")
        async with _working(two) as there:
            await one.turns.rest()
            here.end("t", over=False)
            await one.turns.stop()
            await there.has("t")
            assert there.began == here.began
            assert not here.held


async def check_what_is_given_back_has_the_epoch_of_its_task(
    make_store: SharedStoreMaker,
) -> None:
    """Not the one that it was wanted with: by that the next would think that the first is gone."""
    moves = _at_rest("t")
    async with _both(make_store) as (one, two), _working(one) as here:
        await one.commit(_wanting(*moves))
        await here.has("t")
        moves = [answered(moves[-1], "k1")]
        moves.append(asked(moves[-1], "k2", due_s=1e6))
        await one.commit(commit_of(*moves))
        async with _working(two) as there:
            await one.turns.rest()
            here.end("t", over=False)
            await one.turns.stop()
            await there.has("t")
            assert there.began == [TurnWanted("t", moves[-1].record.epoch)]


async def check_what_was_not_taken_up_is_wanted_as_it_was(make_store: SharedStoreMaker) -> None:
    """By its epoch whoever takes it up can tell that somebody had it before and is gone."""
    moves = _at_rest("t")
    async with _both(make_store) as (one, two), _working(one) as here:
        await one.commit(_wanting(*moves))
        await here.has("t")
        (wanted,) = here.began
        await one.commit(commit_of(answered(moves[-1], "k1")))
        async with _working(two) as there:
            await one.turns.rest()
            here.end("t", over=None)
            await one.turns.stop()
            await there.has("t")
            assert there.began == [wanted]


async def check_a_turn_that_raises_comes_again(make_store: SharedStoreMaker) -> None:
    """A run that ends with an error has dealt with nothing."""
    async with _both(make_store) as (one, two):
        tries: list[TurnWanted] = []
        again = asyncio.Event()

        async def run(turn: TurnWanted) -> bool:
            tries.append(turn)
            if len(tries) == 1:
                raise StoreError("the check says so")
            again.set()
            return True

        await two.turns.start(run, slots=1)
        try:
            await one.commit(_wanting(*_at_rest("t")))
            async with asyncio.timeout(_FORGOTTEN_S):
                await again.wait()
        finally:
            await two.turns.rest()
            await two.turns.stop()
        assert [turn.task_id for turn in tries] == ["t", "t"]


async def check_stopping_waits_for_what_is_out(make_store: SharedStoreMaker) -> None:
    """`stop` ends when nothing runs any more, and not before."""
    async with _both(make_store) as (one, two), _working(two) as there:
        await one.commit(_wanting(*_at_rest("t")))
        await there.has("t")
        await two.turns.rest()
        stopping = asyncio.ensure_future(two.turns.stop())
        await _nothing_happens(one, two)
        assert not stopping.done()
        there.end("t")
        async with asyncio.timeout(_FORGOTTEN_S):
            await stopping


async def check_a_refused_commit_wants_nothing(make_store: SharedStoreMaker) -> None:
    """The turn is part of the commit: none without it."""
    async with _both(make_store) as (one, two), _working(two) as there:
        moves = _at_rest("t")
        await one.commit(commit_of(*moves))
        for commit in (_wanting(*moves), _wanting(moves[0])):
            assert isinstance(await _refused(one, commit), Conflict)
        await one.commit(_wanting(*_at_rest("other")))
        await there.has("other")
        await _nothing_happens(one, two)
        assert [turn.task_id for turn in there.began] == ["other"]


async def check_turns_wait_for_somebody(make_store: SharedStoreMaker) -> None:
    """What was wanted while nobody took turns is handed out to who comes."""
    async with _both(make_store) as (one, two):
        for task_id in ("a", "b"):
            await one.commit(_wanting(*_at_rest(task_id)))
        async with _working(two) as there:
            for task_id in ("a", "b"):
                await there.has(task_id)
            assert sorted(turn.task_id for turn in there.began) == ["a", "b"]


async def check_tasks_at_work_are_wanted_again(make_store: SharedStoreMaker) -> None:
    """A task that is at work gets a turn, also if nobody wanted one or it was lost."""
    async with _both(make_store) as (one, two):
        working = started(submitted("t"))
        await one.commit(commit_of(submitted("t"), working))
        await one.commit(commit_of(*_at_rest("waits")))
        async with _working(two) as there:
            await there.has("t")
            assert there.began == [TurnWanted("t", working.record.epoch)]
            # So nobody wants it once more when it has been dealt with.
            cancel = moved(working, Trigger.CANCEL, {"grace_s": 1e6}, "ada")
            stopped = moved(cancel, Trigger.STOPPED, {"epoch": cancel.record.epoch}, "agent")
            done = moved(stopped, Trigger.FINALIZE, {"turn_alive": False, "deliveries_left": 0})
            await two.commit(commit_of(cancel, stopped, done))


async def check_a_watch_is_not_overlooked(make_store: SharedStoreMaker) -> None:
    """Whoever commits knows of a watch that another one has added before."""
    async with _both(make_store) as (one, two):
        move = submitted("t")
        await one.commit(commit_of(move))
        await two.put_watch(Watch("w", "t", "hook", {}, 1))
        await one.commit(commit_of(started(move)))
        assert one.watched("t")


async def check_who_is_well_is_sure(make_store: SharedStoreMaker) -> None:
    """While all is well nobody can have taken this one for dead."""
    async with _both(make_store) as (one, two), _working(two) as there:
        await one.commit(_wanting(*_at_rest("t")))
        await there.has("t")
        assert two.turns.is_sure()


async def check_turns_of_the_dead_are_handed_out_again(
    make_store: SharedStoreMaker, kill: Callable[[SharedStore], Awaitable[None]]
) -> None:
    """`kill(store)` lets that store's process die: nothing of it goes on, and nothing is undone."""
    one, two = make_store(), make_store()
    await two.open()
    try:
        await one.open()
        dying = _Worker(one)
        await one.turns.start(dying.run, slots=4)
        for moves in (_at_rest("a"), _at_rest("b")):
            await two.commit(_wanting(*moves))
        for task_id in ("a", "b"):
            await dying.has(task_id)
        async with _working(two) as there:
            await kill(one)
            for task_id in ("a", "b"):
                await there.has(task_id)
            assert _ids(there.began) == _ids(dying.began)
    finally:
        await two.close()


def _ids(turns: Iterable[TurnWanted]) -> list[tuple[str, int]]:
    return sorted((turn.task_id, turn.epoch) for turn in turns)


#: What any store must pass that processes share, beside `STORE_CHECKS`.
SHARED_STORE_CHECKS: Final[tuple[SharedStoreCheck, ...]] = (
    check_what_one_writes_the_other_reads,
    check_one_of_two_replicas_wins,
    check_a_token_is_used_once_by_all,
    check_the_other_one_may_close,
    check_who_moved_is_known,
    check_hints_do_no_harm,
    check_clocks_agree,
    check_each_turn_is_handed_out,
    check_one_turn_of_a_task_is_out,
    check_a_turn_comes_at_its_time,
    check_no_more_are_out_than_there_are_slots,
    check_who_rests_gets_no_more,
    check_what_is_given_back_goes_to_another,
    check_what_is_given_back_has_the_epoch_of_its_task,
    check_what_was_not_taken_up_is_wanted_as_it_was,
    check_a_turn_that_raises_comes_again,
    check_stopping_waits_for_what_is_out,
    check_a_refused_commit_wants_nothing,
    check_turns_wait_for_somebody,
    check_tasks_at_work_are_wanted_again,
    check_a_watch_is_not_overlooked,
    check_who_is_well_is_sure,
)
