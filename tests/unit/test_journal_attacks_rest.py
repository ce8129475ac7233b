"""What a review did to tasks that wait, and to drains.

How calls were attacked is in `test_journal_attacks`.
"""

import asyncio
import threading
from contextlib import suppress

import pytest

from interlock import Limits, Phase, Retry, SyncTaskContext, TaskContext
from interlock.errors import Retryable
from support import OWNER, WAIT_MAX_S, FlakyStore, World, opened, pause, soon, triggers, until

AT_ONCE = Limits(park_after_s=0.0)
TWICE = Limits(park_after_s=0.0, retry=Retry(attempts_max=2))


@pytest.mark.parametrize("park_after_s", [0.0, 5.0])
async def test_a_call_that_waits_for_an_answer_does_not_keep_the_turn(park_after_s: float) -> None:
    """It has not begun, and the task is parked in its time.  Source: a review."""
    booked: list[str] = []

    async def book() -> str:
        booked.append("booked")
        return "booked"

    async def agent(task: TaskContext) -> str:
        return " ".join(await asyncio.gather(task.ask("?"), task.call(book)))

    async with opened(agent, limits=Limits(park_after_s=park_after_s)) as world:
        handle = await world.submit()
        await until(lambda: bool(world.stored(handle).asks))
        await world.elapse(park_after_s)
        assert world.engine.statistics().live == 0
        await handle.answer("ask-1", "yes")
        assert await soon(handle.result()) == "yes booked"
        assert booked == ["booked"]


async def test_an_answer_in_one_batch_with_the_next_question_does_not_keep_the_turn() -> None:
    """The task waits, so it is parked in its time.  Source: a review."""
    go_on = asyncio.Event()

    async def agent(task: TaskContext) -> str:
        async def later() -> str:
            await go_on.wait()
            return str(await task.ask("b?", key="b"))

        go_on.clear()
        asking = asyncio.ensure_future(later())
        first = await task.ask("a?", key="a")
        go_on.set()
        return f"{first} {await asking}"

    async with opened(agent, limits=Limits(park_after_s=5.0)) as world:
        handle, ask = await world.asking()
        await pause()
        gate = world.store.hold("commit")
        answer = asyncio.ensure_future(handle.answer(ask.key, "x"))
        go_on.set()
        await gate.reached()
        gate.open()
        await soon(answer)
        await pause()
        batch = [event.trigger.value for event in world.store.commits[-1].events]
        assert batch == ["provide_input", "ask"]
        await world.elapse(5.0)
        assert world.engine.statistics().live == 0
        await handle.answer("b", "y")
        assert await soon(handle.result()) == "x y"


async def test_a_clean_up_that_never_ends_is_given_up_once_the_answer_is_there() -> None:
    """The answer is not in vain.  Source: a review."""
    runs: list[str] = []
    let_go = asyncio.Event()

    async def agent(task: TaskContext) -> str:
        runs.append("begun")
        first = len(runs) == 1
        try:
            return str(await task.ask("?"))
        finally:
            while first and not let_go.is_set():
                with suppress(asyncio.CancelledError):
                    await let_go.wait()

    async with opened(agent, limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await world.elapse(1_000.0)
        await handle.answer(ask.key, "yes")
        await world.elapse(9.9)
        assert runs == ["begun"]
        await world.elapse(0.1)
        assert await soon(handle.result()) == "yes"
        assert runs == ["begun", "begun"]
        assert world.engine.statistics().abandoned == 1
        let_go.set()
        await until(lambda: world.engine.statistics().abandoned == 0)


async def test_a_drain_waits_for_a_call_that_is_made_while_somebody_is_asked() -> None:
    """That the task waits does not mean that nothing is being done.  Source: a review."""
    paid: list[str] = []
    go_on = asyncio.Event()

    async def pay() -> str:
        paid.append("paid")
        await go_on.wait()
        return "paid"

    async def agent(task: TaskContext) -> str:
        async def question() -> str:
            await until(lambda: bool(paid))
            return str(await task.ask("?"))

        return " ".join(await asyncio.gather(task.call(pay), question()))

    store = FlakyStore()
    async with opened(agent, store=store) as world:
        handle, ask = await world.asking()
        drain = asyncio.ensure_future(world.engine.drain())
        await pause(60)
        assert not drain.done()
        go_on.set()
        await soon(drain)
        assert world.stored(handle).calls == ()
        assert triggers(world.log(handle))[-1] == "called"
    async with opened(agent, store=store) as world:
        handle = world.handle(handle)
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "paid yes"
        assert paid == ["paid"]


class Slow:
    """A plain function that ends when it is let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.let_go = threading.Event()

    def pay(self) -> str:
        """Take money."""
        self.begun.append("paid")
        assert self.let_go.wait(WAIT_MAX_S)
        return "paid"

    async def coroutine(self, task: TaskContext) -> str:
        """An agent that calls it."""
        return await task.call(self.pay)

    def function(self, task: SyncTaskContext) -> str:
        """An agent that calls it on its own thread."""
        return task.call(self.pay)


@pytest.mark.parametrize("kind", ["coroutine", "function"])
async def test_what_ends_while_a_turn_is_cut_off_is_written_down(kind: str) -> None:
    """A drain that was too short for it still has `grace_s`.  Source: a review, R-JRN-12."""
    slow = Slow()
    agent = slow.coroutine if kind == "coroutine" else slow.function
    store = FlakyStore()
    async with opened(agent, store=store) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        drain = asyncio.ensure_future(world.engine.drain())
        await world.elapse(world.engine.limits.drain_s)
        assert not drain.done()
        slow.let_go.set()
        await soon(drain)
        assert world.stored(handle).calls == ()
        assert triggers(world.log(handle))[-2:] == ["call", "called"]
    async with opened(agent, store=store) as world:
        assert await soon(world.handle(handle).result()) == "paid"
        assert slow.begun == ["paid"]


async def test_a_thread_whose_result_cannot_be_stored_ends_with_the_engine() -> None:
    """It does not wait for a store that nobody writes to any more.  Source: a review."""
    worlds: list[World] = []

    def agent(task: SyncTaskContext) -> str:
        def work() -> str:
            worlds[0].store.breaks("commit")
            return "x"

        return task.call(work)

    async with opened(agent) as world:
        worlds.append(world)
        handle = await world.submit()
        await until(lambda: world.store.commits[-1].events[0].trigger.value == "called")
        name = f"turn {handle.task_id}"
        assert name in [thread.name for thread in threading.enumerate()]
    await until(lambda: name not in [thread.name for thread in threading.enumerate()])
    assert world.stored(handle).calls == ("work-1",)


async def test_nothing_begins_during_a_drain_although_a_call_is_being_made() -> None:
    """The other branches wait until it has ended, and then it is over.  Source: a review."""
    go_on = asyncio.Event()
    begun: list[int] = []

    async def slow() -> str:
        await go_on.wait()
        return "slow"

    async def step(number: int) -> None:
        begun.append(number)
        await pause(2)

    async def agent(task: TaskContext) -> str:
        async def steps() -> None:
            for number in range(50):
                await task.call(step, number)

        return str((await asyncio.gather(task.call(slow), steps()))[0])

    store = FlakyStore()
    async with opened(agent, store=store) as world:
        handle = await world.submit()
        await until(lambda: len(begun) == 2)
        drain = asyncio.ensure_future(world.engine.drain())
        await pause(200)
        assert len(begun) == 2
        assert not drain.done()
        go_on.set()
        await soon(drain)
        assert len(begun) == 2
        assert world.stored(handle).calls == ()
    async with opened(agent, store=store) as world:
        assert await soon(world.handle(handle).result()) == "slow"
        assert begun == list(range(50))


async def test_nothing_of_an_agent_is_left_after_a_drain() -> None:
    """Not what it shielded, or nobody waits for, either.  Source: a review."""
    branches: list[asyncio.Future[str]] = []

    async def agent(task: TaskContext) -> str:
        branch = asyncio.ensure_future(task.ask("?"))
        branches.append(branch)
        return await asyncio.shield(branch)

    async with opened(agent, limits=Limits(park_after_s=5.0)) as world:
        handle, ask = await world.asking()
        await world.elapse(5.0)
        assert world.engine.statistics().live == 0
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "yes"
        await world.engine.submit("go", owner=OWNER)
        await until(lambda: len(branches) == 3)
    assert [branch.done() for branch in branches] == [True] * 3


async def test_a_branch_that_fails_does_not_lose_what_another_one_did() -> None:
    """The turn is over once it is written down, and a retry finds it.  Source: a review."""
    paid: list[str] = []
    go_on = asyncio.Event()
    searches: list[str] = []

    async def pay() -> str:
        paid.append("paid")
        await go_on.wait()
        return "paid"

    async def search() -> str:
        searches.append("searched")
        if len(searches) == 1:
            raise Retryable("busy")
        return "found"

    async def agent(task: TaskContext) -> str:
        return " ".join(await asyncio.gather(task.call(pay), task.call(search)))

    async with opened(agent, limits=TWICE) as world:
        handle = await world.submit()
        await until(lambda: bool(searches))
        await pause()
        go_on.set()
        await until(lambda: world.stored(handle).phase is Phase.SUBMITTED)
        assert triggers(world.log(handle))[-2:] == ["called", "retry"]
        await world.elapse(1.0)
        assert await soon(handle.result()) == "paid found"
        assert paid == ["paid"]
