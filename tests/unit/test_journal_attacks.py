"""What a review did to the journal to have something done twice, or not at all: calls.

How tasks that wait and drains were attacked is in `test_journal_attacks_rest`; operators and
names in `test_journal_attacks_names`.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from interlock import Ask, Limits, Phase, Result, Retry, SyncTaskContext, TaskContext, TaskHandle
from interlock._agent import Agent, Request
from interlock._record import Ended
from interlock.errors import CallFailed, InvalidInput, Retryable, Unstorable
from support import World, opened, pause, soon, until

AT_ONCE = Limits(park_after_s=0.0)
TWICE = Limits(park_after_s=0.0, retry=Retry(attempts_max=2))
#: Where an agent is stopped by the end of its process.
NOW = Limits(park_after_s=0.0, drain_s=0.0, grace_s=0.001)


class Till:
    """Where money is taken, and counted."""

    def __init__(self) -> None:
        self.paid: list[int] = []
        #: Clear: whoever pays waits, and has paid.
        self.open = asyncio.Event()
        self.open.set()

    async def pay(self, eur: int) -> str:
        """Take money."""
        self.paid.append(eur)
        await self.open.wait()
        return "paid"


def called(world: World, handle: TaskHandle) -> list[str]:
    """The keys of the calls that the task's log has, in order."""
    return [event.data["key"] for event in world.log(handle) if event.trigger.value == "call"]


def ended(world: World, handle: TaskHandle) -> Ended:
    """How the task ended."""
    details = world.stored(handle).details
    assert isinstance(details, Ended)
    return details


def coroutine_that_tries_on(till: Till) -> Agent:
    """It pays another amount whenever it is run, and swallows every error."""

    async def agent(task: TaskContext) -> str:
        eur = 5 + len(till.paid)
        for _ in range(2):
            try:
                await task.call(till.pay, eur)
                break
            except Exception:  # noqa: BLE001, S112  the fault
                continue
        return str(await task.ask("sure?"))

    return agent


def function_that_tries_on(till: Till) -> Agent:
    """The same, on a thread."""

    def agent(task: SyncTaskContext) -> str:
        eur = 5 + len(till.paid)
        for _ in range(2):
            try:
                task.call(till.pay, eur)
                break
            except Exception:  # noqa: BLE001, S112  the fault
                continue
        return str(task.ask("sure?"))

    return agent


def generator_that_tries_on(till: Till) -> Agent:
    """The same, and it yields."""

    async def agent(task: TaskContext) -> AsyncGenerator[Request, Any]:
        eur = 5 + len(till.paid)
        for _ in range(2):
            try:
                await task.call(till.pay, eur)
                break
            except Exception:  # noqa: BLE001, S112  the fault
                continue
        answer = yield Ask("sure?")
        yield Result(answer)

    return agent


@pytest.mark.parametrize(
    "tries_on", [coroutine_that_tries_on, function_that_tries_on, generator_that_tries_on]
)
async def test_an_agent_that_swallows_its_divergence_calls_nothing_more(
    tries_on: Callable[[Till], Agent],
) -> None:
    """Not under the next key either: an operator is asked.  Source: a review."""
    till = Till()
    async with opened(tries_on(till), limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await until(lambda: world.engine.statistics().live == 0)
        await handle.answer(ask.key, "yes")
        (ask,) = (await soon(handle.rest())).asks
        assert ask.key == "interlock:operator-1"
        assert till.paid == [5]
        assert called(world, handle) == ["pay-1"]


async def test_a_call_is_known_by_the_same_token_at_a_retry() -> None:
    """Else a service that was slow to say that it had paid would pay again.  Source: a review."""
    tokens: list[str] = []

    async def pay(*, token: str = "") -> str:
        tokens.append(token)
        if len(tokens) < 3:
            raise Retryable("nobody knows whether it was paid")
        return "paid"

    async def agent(task: TaskContext) -> str:
        return await task.call(pay, idempotent=True, key_as="token")

    thrice = Limits(retry=Retry(attempts_max=3))
    async with opened(agent, limits=thrice) as world:
        handle = await world.submit()
        for tries in (1, 2):
            await until(lambda: len(tokens) == tries)  # noqa: B023  it is waited for here
            await world.elapse(10.0)
        assert await soon(handle.result()) == "paid"
        assert tokens == [f"{handle.task_id}/pay-1"] * 3


async def test_a_retry_does_not_do_what_the_agent_did_at_its_second_try() -> None:
    """That the first try failed is no reason to make it again.  Source: a review."""
    tries: list[str] = []

    async def pay() -> str:
        tries.append("pay")
        if len(tries) == 1:
            raise ValueError
        return "paid"

    async def book() -> str:
        tries.append("book")
        if tries.count("book") == 1:
            raise Retryable("busy")
        return "booked"

    async def agent(task: TaskContext) -> str:
        try:
            paid = await task.call(pay)
        except CallFailed:
            paid = await task.call(pay)
        return f"{paid} {await task.call(book)}"

    async with opened(agent, limits=TWICE) as world:
        handle = await world.submit()
        await until(lambda: "book" in tries)
        await world.elapse(1.0)
        assert await soon(handle.result()) == "paid booked"
        assert tries == ["pay", "pay", "book", "book"]


async def test_what_failed_when_it_was_made_again_is_not_made_by_a_replay() -> None:
    """It was begun in one attempt, and failed in the next.  Source: a review, I16."""
    tries: list[int] = []
    begun = asyncio.Event()

    async def pay() -> str:
        tries.append(len(tries) + 1)
        begun.set()
        if tries == [1]:
            await asyncio.Event().wait()
        raise ValueError

    async def agent(task: TaskContext) -> str:
        paying = asyncio.ensure_future(task.call(pay, idempotent=True))
        if task.attempt == 1:
            await begun.wait()
            paying.cancel()
        with suppress(CallFailed, asyncio.CancelledError):
            await paying
        if task.attempt == 1:
            raise Retryable("once more")
        return str(await task.ask("go on?"))

    async with opened(agent, limits=TWICE) as world:
        handle = await world.submit()
        await begun.wait()
        await pause()
        await world.elapse(1.0)
        (ask,) = (await soon(handle.rest())).asks
        await until(lambda: world.engine.statistics().live == 0)
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "yes"
        assert tries == [1, 2]


async def test_what_was_made_at_a_second_try_is_not_made_by_a_replay_of_a_retry() -> None:
    """The first try failed, the second was left in doubt and made again.  Source: a review, I16."""
    tries: list[int] = []
    begun = asyncio.Event()

    async def pay() -> str:
        tries.append(len(tries) + 1)
        if tries == [1]:
            raise ValueError
        begun.set()
        if tries == [1, 2]:
            await asyncio.Event().wait()
        return "paid"

    async def agent(task: TaskContext) -> str:
        with suppress(CallFailed):
            await task.call(pay, idempotent=True)
        paying = asyncio.ensure_future(task.call(pay, idempotent=True))
        if task.attempt == 1:
            await begun.wait()
            paying.cancel()
            await asyncio.wait([paying])
            raise Retryable("once more")
        return f"{await paying} {await task.ask('go on?')}"

    async with opened(agent, limits=TWICE) as world:
        handle = await world.submit()
        await begun.wait()
        await pause()
        await world.elapse(1.0)
        (ask,) = (await soon(handle.rest())).asks
        await until(lambda: world.engine.statistics().live == 0)
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "paid yes"
        assert tries == [1, 2, 3]


async def test_a_line_of_progress_is_told_once_also_after_a_retry() -> None:
    """Each replay once told again what another attempt had not told there.  Source: DESIGN 3."""

    async def agent(task: TaskContext) -> str:
        await task.progress(f"attempt {task.attempt}")
        await task.progress("on")
        await task.progress("on")
        if task.attempt == 1:
            raise Retryable("once more")
        return f"{await task.ask('one?')} {await task.ask('two?')}"

    async with opened(agent, limits=TWICE) as world:
        handle = await world.submit()
        await pause()
        await world.elapse(1.0)
        for _ in range(2):
            (ask,) = (await soon(handle.rest())).asks
            await until(lambda: world.engine.statistics().live == 0)
            await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "yes yes"
        log = world.log(handle)
        told = [event.data["message"] for event in log if event.trigger.value == "progress"]
        assert told == ["attempt 1", "on", "on", "attempt 2"]


async def test_what_was_done_and_returned_too_much_is_not_done_by_a_retry() -> None:
    """The result is no good, but it was paid.  Source: a review, R-JRN-10."""
    tries: list[str] = []

    async def pay() -> str:
        tries.append("pay")
        return "x" * 2_000

    async def agent(task: TaskContext) -> str:
        try:
            return await task.call(pay)
        except CallFailed as error:
            if task.attempt == 1:
                raise Retryable("once more") from None
            return str(error)

    limits = TWICE.model_copy(update={"payload_bytes_max": 1_500})
    async with opened(agent, limits=limits) as world:
        handle = await world.submit()
        await until(lambda: bool(tries))
        await world.elapse(1.0)
        assert "ResultInvalid" in str(await soon(handle.result()))
        assert tries == ["pay"]


async def test_a_call_does_not_share_the_fate_of_an_ask_of_its_key() -> None:
    """The ask was given up, and the call was made.  Source: a review."""
    till = Till()

    async def agent(task: TaskContext) -> str:
        question = asyncio.ensure_future(task.ask("pay now?", key="pay"))
        await pause()
        question.cancel()
        await asyncio.wait([question])
        await task.call(till.pay, 5, key="pay")
        return str(await task.ask("sure?", key="sure"))

    async with opened(agent, limits=Limits(park_after_s=5.0)) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).ask("sure") is not None)
        await world.elapse(5.0)
        assert world.engine.statistics().live == 0
        await handle.answer("sure", "yes")
        assert await soon(handle.result()) == "yes"
        assert till.paid == [5]
        assert called(world, handle) == ["pay"]


async def test_inside_a_call_nothing_is_asked_or_called() -> None:
    """At a replay the call is not made, and so these would not be counted.

    Source: a review, R-JRN-11.
    """
    till = Till()
    refused: list[str] = []

    async def agent(task: TaskContext) -> str:
        async def outer() -> None:
            for inner in (
                lambda: task.call(till.pay, 5),
                lambda: task.ask("inside?"),
                lambda: task.authorize("pay", {}),
            ):
                with pytest.raises(InvalidInput, match="inside of the call 'outer-1'"):
                    await inner()
                refused.append("refused")

        await task.call(outer)
        return await task.call(till.pay, 6)

    async with opened(agent) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "paid"
        assert len(refused) == 3
        assert till.paid == [6]
        assert called(world, handle) == ["outer-1", "pay-1"]


async def test_inside_a_call_on_a_thread_nothing_is_asked_or_called() -> None:
    """Neither by an agent that is a plain function.  Source: a review."""
    refused: list[str] = []

    def agent(task: SyncTaskContext) -> str:
        def outer() -> str:
            inners: list[Callable[[], str]] = [
                lambda: task.call(str, 2),
                lambda: task.ask("inside?"),
            ]
            for inner in inners:
                with pytest.raises(InvalidInput, match="inside of the call 'outer-1'"):
                    inner()
                refused.append("refused")
            return "fine"

        return f"{task.call(outer)} {task.call(str, 1)}"

    async with opened(agent) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "fine 1"
        assert len(refused) == 2
        assert called(world, handle) == ["outer-1", "str-1"]


async def test_what_a_call_shows_is_not_counted_at_a_replay() -> None:
    """It is shown once, and so is what the agent shows after it.  Source: a review."""

    async def agent(task: TaskContext) -> str:
        async def work() -> None:
            await task.progress("inside")
            await task.emit("from inside")

        await task.progress("before")
        await task.call(work)
        await task.progress("after")
        await task.emit("from outside")
        return str(await task.ask("more?"))

    async with opened(agent, limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await pause()
        await handle.answer(ask.key, "no")
        assert await soon(handle.result()) == "no"
        log = world.log(handle)
        shown = [event.data["message"] for event in log if event.trigger.value == "progress"]
        assert shown == ["before", "inside", "after"]
        artifacts = [e.data["artifact"] for e in log if e.trigger.value == "emit"]
        assert [one["artifact_id"] for one in artifacts] == ["work-1", "artifact-1"]
        assert [one["parts"] for one in artifacts] == [
            [{"text": "from inside"}],
            [{"text": "from outside"}],
        ]


async def crashed(
    agent: Callable[[TaskContext], Awaitable[Any]], till: Till, *, answer: str | None = None
) -> tuple[World, TaskHandle]:
    """A task whose process died while it paid, after it was answered."""
    till.open.clear()
    async with opened(agent, limits=NOW.model_copy(update={"asks_max": 1})) as world:
        handle = await world.submit()
        if answer is not None:
            (ask,) = (await soon(handle.rest())).asks
            await handle.answer(ask.key, answer)
        await until(lambda: bool(till.paid))
        again = World(world.engine, world.crash(), world.clock)
    till.open.set()
    return again, handle


async def test_a_call_that_began_as_one_not_to_be_repeated_stays_one() -> None:
    """Whatever a new version of the agent says of it.  Source: a review."""
    till = Till()
    idempotent = False

    async def agent(task: TaskContext) -> str:
        return await task.call(till.pay, 5, idempotent=idempotent)

    dead, handle = await crashed(agent, till)
    idempotent = True
    async with opened(agent, store=dead.store) as world:
        handle = world.handle(handle)
        (ask,) = (await soon(handle.rest())).asks
        assert ask.key.startswith("interlock:in-doubt-")
        await handle.answer(ask.key, {"decision": "use_value", "value": "by hand"})
        assert await soon(handle.result()) == "by hand"
        assert till.paid == [5]


async def test_a_person_is_asked_about_a_call_although_the_agent_may_ask_no_more() -> None:
    """The question is not one of the agent's.  Source: a review."""
    till = Till()

    async def agent(task: TaskContext) -> str:
        await task.ask("go on?")
        return await task.call(till.pay, 5)

    dead, handle = await crashed(agent, till, answer="yes")
    limits = AT_ONCE.model_copy(update={"asks_max": 1})
    async with opened(agent, store=dead.store, limits=limits) as world:
        handle = world.handle(handle)
        (ask,) = (await soon(handle.rest())).asks
        assert ask.key.startswith("interlock:in-doubt-")
        await handle.answer(ask.key, {"decision": "run_again"})
        assert await soon(handle.result()) == "paid"
        assert till.paid == [5, 5]


async def test_an_agent_that_tries_on_does_not_repeat_what_nobody_was_asked_about() -> None:
    """Where the question cannot be put, the task fails.  Source: a review."""
    till = Till()
    worlds: list[World] = []

    async def agent(task: TaskContext) -> str:
        for world in worlds:
            world.store.fail("commit", Unstorable("it is no JSON"))
        for _ in range(3):
            try:
                return await task.call(till.pay, 5)
            except Exception:  # noqa: BLE001, S112  the fault
                continue
        return "?"

    dead, handle = await crashed(agent, till)
    worlds.append(dead)
    async with opened(agent, store=dead.store) as world:
        record = await soon(world.handle(handle).over())
        assert record.shown is Phase.FAILED
        assert ended(world, handle).code == "call_in_doubt"
        assert till.paid == [5]


async def test_a_function_that_gives_something_to_await_is_awaited() -> None:
    """Also where the agent is a plain function.  Source: a review."""
    till = Till()
    threads: list[str] = []

    def agent(task: SyncTaskContext) -> str:
        threads.append(threading.current_thread().name)
        return str(task.call(lambda: till.pay(5)))

    async with opened(agent) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "paid"
        assert till.paid == [5]
        assert threads == [f"turn {handle.task_id}"]
