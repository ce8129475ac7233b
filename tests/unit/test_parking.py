"""A waiting task holds nothing, and is there again when its answer comes."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest

from interlock import Ask, Limits, Phase, Result, SyncTaskContext, TaskContext, Trigger
from interlock._agent import Request
from interlock._store import Commit
from interlock.errors import Denied, StoreError, Unstorable
from support import opened, pause, soon, until

AT_ONCE = Limits(park_after_s=0.0)


async def test_a_coroutine_stays_for_a_quick_answer_and_goes_then() -> None:
    """It is not run again for somebody who answers at once.  Source: issue 3, parking, R-JRN-06."""
    runs: list[str] = []

    async def agent(task: TaskContext) -> str:
        runs.append("begun")
        first = await task.ask("one?")
        return f"{first} {await task.ask('two?')}"

    async with opened(agent, limits=Limits(park_after_s=5.0)) as world:
        handle, ask = await world.asking()
        await world.elapse(4.9)
        assert world.engine.statistics().live == 1
        await handle.answer(ask.key, "quick")
        (ask,) = (await soon(handle.rest())).asks
        assert runs == ["begun"]
        await world.elapse(4.9)
        assert world.engine.statistics().live == 1
        await world.elapse(0.1)
        assert world.engine.statistics().live == 0
        await handle.answer(ask.key, "late")
        assert await soon(handle.result()) == "quick late"
        assert runs == ["begun", "begun"]


async def test_a_generator_is_parked_at_its_yield() -> None:
    """It is closed there, and what it has to clean up it does.  Source: issue 3, parking."""
    seen: list[str] = []

    async def agent(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        try:
            answer = yield Ask("which?")
            yield Result(answer)
        finally:
            seen.append("closed")

    async with opened(agent, limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await pause()
        assert world.engine.statistics().live == 0
        assert seen == ["closed"]
        await handle.answer(ask.key, "this")
        assert await soon(handle.result()) == "this"


async def test_a_hundred_waiting_functions_hold_no_thread() -> None:
    """Each had one while it worked.  Source: issue 3, parking, R-JRN-06."""

    def agent(task: SyncTaskContext) -> str:
        return str(task.ask("which?"))

    limits = Limits(running_turns_max=200)
    before = threading.active_count()
    async with opened(agent, limits=limits) as world:
        handles = [await world.submit() for _ in range(100)]
        records = [await soon(handle.rest()) for handle in handles]
        await until(lambda: world.engine.statistics().live == 0)
        await until(lambda: threading.active_count() <= before)
        for handle, record in zip(handles, records, strict=True):
            await handle.answer(record.asks[0].key, "x")
        results = [await soon(handle.result()) for handle in handles]
        assert results == ["x"] * 100


async def test_a_task_that_may_never_be_run_again_stays() -> None:
    """For agents that cannot be replayed.  Source: issue 3, parking."""

    def agent(task: SyncTaskContext) -> str:
        return str(task.ask("which?"))

    async with opened(agent, limits=Limits(park_after_s=None)) as world:
        handle, ask = await world.asking()
        await world.elapse(1_000.0)
        assert world.engine.statistics().live == 1
        await handle.answer(ask.key, "x")
        assert await soon(handle.result()) == "x"


async def test_a_parked_task_is_cancelled_and_expires_without_its_agent() -> None:
    """Nobody is woken to be told that it is over.  Source: DESIGN 2."""
    runs: list[str] = []

    async def agent(task: TaskContext) -> str:
        runs.append("begun")
        return str(await task.ask("which?", expires_s=60.0))

    async with opened(agent, limits=AT_ONCE) as world:
        cancelled, _ = await world.asking()
        expired, _ = await world.asking()
        await pause()
        await cancelled.cancel()
        assert (await soon(cancelled.over())).shown is Phase.CANCELLED
        await world.elapse(60.0)
        assert (await soon(expired.over())).shown is Phase.FAILED
        assert runs == ["begun", "begun"]


async def test_a_denial_reaches_an_agent_that_was_parked() -> None:
    """As it would have reached the one that waited.  Source: DESIGN 2."""

    async def agent(task: TaskContext) -> str:
        try:
            await task.authorize("pay", {"eur": 5}, on_deny="tell_agent")
        except Denied as error:
            return f"no: {error.reason}"
        return "paid"

    async with opened(agent, limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await pause()
        assert ask.digest is not None
        await handle.deny(ask.key, digest=ask.digest, reason="too dear")
        assert await soon(handle.result()) == "no: too dear"


@pytest.mark.parametrize("park_after_s", [0.0, 5.0])
async def test_an_answer_that_comes_while_the_agent_cleans_up_is_not_lost(
    park_after_s: float,
) -> None:
    """It is run again as soon as it has ended.  Source: I29."""
    let_go = asyncio.Event()
    runs: list[str] = []

    async def agent(task: TaskContext) -> str:
        runs.append("begun")
        try:
            return str(await task.ask("which?"))
        finally:
            if len(runs) == 1:
                await let_go.wait()

    async with opened(agent, limits=Limits(park_after_s=park_after_s)) as world:
        handle, ask = await world.asking()
        await world.elapse(park_after_s)
        await handle.answer(ask.key, "x")
        await pause()
        assert runs == ["begun"]
        let_go.set()
        assert await soon(handle.result()) == "x"
        assert runs == ["begun", "begun"]


async def test_a_cancel_that_comes_while_the_agent_cleans_up_ends_the_task() -> None:
    """Once it has ended.  Source: I31."""
    let_go = asyncio.Event()

    async def agent(task: TaskContext) -> str:
        try:
            return str(await task.ask("which?"))
        finally:
            while not let_go.is_set():
                with suppress(asyncio.CancelledError):
                    await let_go.wait()

    async with opened(agent, limits=AT_ONCE) as world:
        handle, _ = await world.asking()
        await pause()
        await handle.cancel()
        await pause()
        assert world.stored(handle).phase is Phase.CANCELLING
        let_go.set()
        assert (await soon(handle.over())).shown is Phase.CANCELLED


async def test_an_agent_that_will_not_be_parked_is_abandoned_when_it_is_cancelled() -> None:
    """As one that would not be stopped.  Source: I31."""

    async def agent(task: TaskContext) -> str:
        try:
            return str(await task.ask("which?"))
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.Event().wait())
            raise

    async with opened(agent, limits=AT_ONCE) as world:
        handle, _ = await world.asking()
        await pause()
        await handle.cancel()
        await world.elapse(10.0)
        record = await soon(handle.over())
        assert record.shown is Phase.CANCELLED


async def test_an_agent_that_swallows_the_unwinding_is_run_again_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What it returned then is nobody's: the question is still open.  Source: ours."""

    async def agent(task: TaskContext) -> str:
        try:
            return str(await task.ask("which?"))
        except BaseException:  # noqa: BLE001  the fault
            return "as I like"

    async with opened(agent, limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await pause()
        assert "went on after it was parked" in caplog.text
        await handle.answer(ask.key, "x")
        assert await soon(handle.result()) == "x"


async def test_a_full_disk_makes_an_agent_wait_and_not_fail() -> None:
    """What it did is written down as soon as that can be.

    Source: I18, `make faults`, R-STORE-08.
    """
    done: list[str] = []

    async def buy() -> str:
        done.append("bought")
        return "a ticket"

    async def agent(task: TaskContext) -> str:
        await task.progress("on it", 0.5)
        return await task.call(buy)

    async with opened(agent) as world:
        world.store.breaks("commit")
        with suppress(StoreError):
            await world.submit()
        world.store.mends("commit")
        handle = await world.submit()
        world.store.breaks("commit")
        for _ in range(3):
            await world.elapse(1.0)
        assert world.stored(handle).phase in {Phase.SUBMITTED, Phase.RUNNING}
        world.store.mends("commit")
        await world.elapse(1.0)
        assert await soon(handle.result()) == "a ticket"
        assert done == ["bought"]


async def test_what_cannot_be_stored_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came with it in one batch is stored, and nothing is tried for ever.  Source: I37."""
    go = asyncio.Event()
    seen: list[str] = []

    async def agent(task: TaskContext) -> str:
        async def says(text: str) -> None:
            await go.wait()
            try:
                await task.progress(text)
            except Unstorable:
                seen.append(text)

        await asyncio.gather(says("one"), says("two"), says("three"))
        return "fine"

    async with opened(agent) as world:
        handle = await world.submit()
        await pause()
        commit = world.store.commit

        async def picky(what: Commit) -> None:
            if any(event.data.get("message") == "two" for event in what.events):
                raise Unstorable("it is no JSON")
            await commit(what)

        monkeypatch.setattr(world.store, "commit", picky)
        go.set()
        assert await soon(handle.result()) == "fine"
        assert seen == ["two"]
        told = [e.data["message"] for e in world.log(handle) if e.trigger is Trigger.PROGRESS]
        assert told == ["one", "three"]
