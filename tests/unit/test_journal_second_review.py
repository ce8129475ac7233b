"""What a second review did to calls and questions that meet a failing store.

How ends and drains were attacked is in `test_journal_second_review_ends`; what the first review
did is in `test_journal_attacks`.
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from interlock import Limits, Phase, Retry, SyncTaskContext, TaskContext, TaskHandle
from interlock.errors import LimitReached, Retryable
from support import OWNER, World, opened, pause, soon, triggers, until

AT_ONCE = Limits(park_after_s=0.0)
#: Where an agent is stopped by the end of its process.
CUT_OFF = Limits(park_after_s=0.0, drain_s=0.0, grace_s=0.001)
THRICE = Limits(retry=Retry(attempts_max=3))
PURGED_S = 31 * 86_400.0


async def given_up(branch: Coroutine[Any, Any, Any], given: asyncio.Event) -> None:
    """Begin something, and give it up as soon as that is given."""
    waiting = asyncio.ensure_future(branch)
    await given.wait()
    waiting.cancel()
    await asyncio.wait([waiting])


def is_finalized(world: World, handle: TaskHandle) -> bool:
    """Whether nothing is held for the task any more."""
    return world.stored(handle).phase is Phase.FINALIZED


def work() -> str:
    """Something to call."""
    return "done"


async def test_a_question_given_up_while_the_store_failed_is_not_asked() -> None:
    """When the store is back nobody waits for the answer.  Source: a second review."""
    ask, give_up, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def agent(task: TaskContext) -> str:
        await ask.wait()
        await given_up(task.ask("?"), give_up)
        await go_on.wait()
        return await task.call(work)

    async with opened(agent) as world:
        handle = await world.submit()
        await pause()
        world.store.fail("commit")
        ask.set()
        await pause()
        give_up.set()
        await world.elapse(1.0)
        go_on.set()
        assert await soon(handle.result()) == "done"
        assert "ask" not in triggers(world.log(handle))


async def test_a_question_is_withdrawn_although_the_store_failed() -> None:
    """Else the task waits for an answer that nobody wants.  Source: a second review."""
    give_up = asyncio.Event()

    async def agent(task: TaskContext) -> str:
        await given_up(task.ask("?"), give_up)
        return await task.call(work)

    async with opened(agent) as world:
        handle, _ = await world.asking()
        world.store.fail("commit")
        give_up.set()
        await world.elapse(1.0)
        assert await soon(handle.result()) == "done"
        assert triggers(world.log(handle))[2:6] == ["ask", "withdraw", "call", "called"]


async def test_a_thread_told_to_stop_as_its_call_begins_does_not_keep_the_task() -> None:
    """Its call begins and the task is cancelled in one commit.  Source: a second review."""
    start = threading.Event()
    made: list[str] = []

    def agent(task: SyncTaskContext) -> Any:  # noqa: ANN401  what the call comes to
        def beside() -> None:
            with suppress(BaseException):
                task.emit("x")

        threading.Thread(target=beside, daemon=True).start()
        start.wait()
        return task.call(lambda: made.append("made"), key="make")

    async with opened(agent) as world:
        handle = await world.submit()
        gate = world.store.hold("commit, after")
        await until(lambda: "emit" in triggers(world.log(handle)))
        await gate.reached()
        assert world.engine._runtime is not None
        cell = world.engine._runtime.writer.at_hand(handle.task_id)
        assert cell is not None
        start.set()
        await until(lambda: len(cell.inbox) == 1)
        cancel = asyncio.ensure_future(handle.cancel())
        await until(lambda: len(cell.inbox) == 2)
        gate.open()
        await soon(cancel)
        await until(lambda: is_finalized(world, handle))
        assert triggers(world.log(handle))[3:] == [
            *("call", "cancel", "called", "stopped", "finalize")
        ]
        assert made == []


@pytest.mark.parametrize("rounds", range(8))
async def test_a_thread_told_to_stop_behind_the_begin_of_its_call_does_not_keep_the_task(
    rounds: int,
) -> None:
    """A coroutine function is begun and made in one go: in between nobody would say its end.

    The task was once abandoned after its grace time, although its turn was over.
    Source: a review.
    """

    async def waits() -> None:
        await asyncio.Event().wait()

    def agent(task: SyncTaskContext) -> None:
        task.call(waits)

    async with opened(agent) as world:
        handle = await world.submit()
        await until(lambda: "call" in triggers(world.log(handle)))
        await pause(rounds)
        await soon(handle.cancel())
        await until(lambda: is_finalized(world, handle))
        assert triggers(world.log(handle))[-2:] == ["stopped", "finalize"]


async def test_a_call_made_before_a_cancel_is_written_down_although_the_store_failed() -> None:
    """The log says what was done.  Source: a second review, R-JRN-12."""
    pay_now = asyncio.Event()
    paid: list[str] = []

    async def pay() -> str:
        await pay_now.wait()
        paid.append("paid")
        return "paid"

    async def agent(task: TaskContext) -> str:
        return await task.call(pay)

    async with opened(agent) as world:
        handle = await world.submit()
        await pause()
        world.store.fail("commit")
        pay_now.set()
        await until(lambda: bool(paid))
        await pause()
        await handle.cancel()
        await world.elapse(1.0)
        await until(lambda: is_finalized(world, handle))
        assert triggers(world.log(handle))[2:5] == ["call", "cancel", "called"]
        assert world.stored(handle).shown is Phase.CANCELLED


async def test_an_engine_opened_inside_of_a_call_calls_what_it_likes() -> None:
    """What is not called inside of a call is what its own task would.  Source: a second review."""

    async def inner(task: TaskContext) -> str:
        return await task.call(work)

    async def outer() -> str:
        async with opened(inner) as world:
            return str(await soon((await world.submit()).result()))

    async def agent(task: TaskContext) -> str:
        return await task.call(outer)

    async with opened(agent) as world:
        assert await soon((await world.submit()).result()) == "done"


async def test_a_repeat_of_a_submission_that_is_purged_meanwhile_is_a_new_task() -> None:
    """Its token is free again.  Source: a second review."""

    async def agent(task: TaskContext) -> str:
        return task.input.text

    token = "t"  # noqa: S105  not a password
    async with opened(agent) as world:
        first = await world.engine.submit("go", owner=OWNER, token=token)
        await until(lambda: is_finalized(world, first))
        world.grows_cold()
        gate = world.store.hold("get")
        repeat = asyncio.ensure_future(world.engine.submit("go", owner=OWNER, token=token))
        await gate.reached()
        world.clock.advance(PURGED_S)
        await until(lambda: first.task_id not in world.store._tasks)
        gate.open()
        second = await soon(repeat)
        assert second.created
        assert second.task_id != first.task_id
        assert await soon(second.result()) == "go"


async def test_a_repeat_that_is_purged_meanwhile_is_bounded_as_a_new_task_is() -> None:
    """It would be one, and there is no room for it.  Source: R-ENG-01, R-ENG-09."""

    async def agent(task: TaskContext) -> str:
        return "done" if task.input.text == "go" else await task.ask("?")

    token = "t"  # noqa: S105  not a password
    async with opened(agent, limits=Limits(open_tasks_per_owner_max=1)) as world:
        first = await world.engine.submit("go", owner=OWNER, token=token)
        await until(lambda: is_finalized(world, first))
        await world.asking("another")
        world.grows_cold()
        gate = world.store.hold("get")
        repeat = asyncio.ensure_future(world.engine.submit("go", owner=OWNER, token=token))
        await gate.reached()
        assert await world.store.forget(first.task_id)
        gate.open()
        with pytest.raises(LimitReached):
            await soon(repeat)


async def test_a_call_given_up_before_it_was_made_is_not_in_doubt() -> None:
    """It is made by the turn that means it.  Source: a second review."""
    ready, give_up, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    made: list[str] = []
    runs: list[str] = []

    async def pay() -> str:
        made.append("paid")
        return "paid"

    async def agent(task: TaskContext) -> str:
        runs.append("run")
        await ready.wait()
        if len(runs) == 1:
            await given_up(task.call(pay), give_up)
        else:
            await task.call(pay)
        await go_on.wait()
        return str(await task.ask("?"))

    async with opened(agent, limits=AT_ONCE) as world:
        handle = await world.submit()
        await pause()
        world.store.fail("commit")
        ready.set()
        await pause()
        give_up.set()
        await pause()
        await world.elapse(1.0)
        go_on.set()
        (ask,) = (await soon(handle.rest())).asks
        assert (ask.key, made) == ("ask-1", [])
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "yes"
        assert made == ["paid"]


async def test_every_crash_within_a_call_is_a_new_question() -> None:
    """What was said of the first is no answer to the second.  Source: R-JRN-03, I40."""
    give_up, paid = asyncio.Event(), asyncio.Event()
    made: list[str] = []
    runs: list[str] = []

    async def pay() -> str:
        made.append("paid")
        await paid.wait()
        return "paid"

    async def agent(task: TaskContext) -> str:
        runs.append("run")
        if len(runs) == 3:
            # As soon as it is begun again its agent thinks better of it.
            await given_up(task.call(pay), give_up)
            await asyncio.Event().wait()
        return await task.call(pay)

    async with opened(agent, limits=CUT_OFF) as first:
        handle = await first.submit()
        await until(lambda: made == ["paid"])
        store = first.crash()
    async with opened(agent, store=store, limits=CUT_OFF) as second:
        handle = second.handle(handle)
        (doubt,) = (await soon(handle.rest())).asks
        gate_of_answer, gate_of_call = second.store.hold("commit"), second.store.hold("commit")
        answered = asyncio.ensure_future(handle.answer(doubt.key, {"decision": "run_again"}))
        gate_of_answer.open()
        await soon(answered)
        await gate_of_call.reached()
        give_up.set()
        gate_of_call.open()
        await until(lambda: second.stored(handle).calls == ())
        store = second.crash()
    async with opened(agent, store=store, limits=CUT_OFF) as third:
        await until(lambda: made == ["paid", "paid"])
        store = third.crash()
    async with opened(agent, store=store, limits=CUT_OFF) as fourth:
        handle = fourth.handle(handle)
        (ask,) = (await soon(handle.rest())).asks
        assert ask.key != doubt.key
        assert "whether it was done" in ask.prompt
        assert len(made) == 2


@pytest.mark.parametrize("keys", [(None, None), ("jan", "feb")])
async def test_a_retry_makes_the_call_that_failed_beside_one_like_it(
    keys: tuple[str | None, str | None],
) -> None:
    """That the other succeeded is no reason to leave it.  Source: a second review."""
    made: list[str] = []

    async def ping() -> str:
        made.append("ping")
        if len(made) == 1:
            await pause(1)
            raise Retryable("busy")
        return "ok"

    async def agent(task: TaskContext) -> str:
        calls = [task.call(ping, key=key) for key in keys]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return " ".join(str(end) for end in ends)

    async with opened(agent, limits=THRICE) as world:
        handle = await world.submit()
        await until(lambda: "retry" in triggers(world.log(handle)))
        await world.elapse(10.0)
        assert await soon(handle.result()) == "ok ok"
        assert len(made) == 3


async def test_what_is_begun_inside_of_a_call_and_outlives_it_calls_what_it_likes() -> None:
    """It is inside no more.  Source: a second review."""
    go_on = asyncio.Event()
    begun: list[asyncio.Task[str]] = []

    async def agent(task: TaskContext) -> str:
        async def later() -> str:
            await go_on.wait()
            return await task.call(work)

        async def connect() -> None:
            begun.append(asyncio.ensure_future(later()))

        await task.call(connect)
        go_on.set()
        return await begun[0]

    async with opened(agent) as world:
        assert await soon((await world.submit()).result()) == "done"


async def test_what_an_agent_gave_up_to_show_is_not_shown_when_the_store_is_back() -> None:
    """However often it tried.  Source: a second review."""
    tries_max = 20
    tries: list[int] = []
    go_on = asyncio.Event()

    async def agent(task: TaskContext) -> str:
        while len(tries) < tries_max:
            tries.append(len(tries))
            showing = asyncio.ensure_future(task.progress("working"))
            await pause(6)
            showing.cancel()
            await asyncio.wait([showing])
        await go_on.wait()
        return "x"

    async with opened(agent) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.RUNNING)
        world.store.breaks("commit")
        await until(lambda: len(tries) == tries_max)
        await world.elapse(1.0)
        world.store.mends("commit")
        await world.elapse(1.0)
        go_on.set()
        assert await soon(handle.result()) == "x"
        assert "progress" not in triggers(world.log(handle))
