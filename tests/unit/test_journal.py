"""What an agent does outside is done once, however often the agent is run again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from interlock import (
    Limits,
    Phase,
    Retry,
    SyncTaskContext,
    TaskContext,
    TaskHandle,
    Toolbox,
)
from interlock._engine import Resumption
from interlock.errors import (
    CallFailed,
    EngineError,
    GuardRefused,
    InvalidInput,
    Rejected,
    Retryable,
    ToolError,
)
from support import FlakyStore, World, log_of, opened, pause, soon, triggers, until

PARKED = Limits(park_after_s=0.0)
#: Where an agent is stopped by the end of its process.
NOW = Limits(park_after_s=0.0, drain_s=0.0, grace_s=0.001)


class Quote(BaseModel):
    """What a search finds."""

    city: str
    eur: int


class Shop:
    """Something outside: it counts what is done to it."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        #: Clear: whoever buys waits, and has bought.
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None

    async def search(self, city: str, *, most: int = 9) -> Quote:
        """Find something."""
        self.done.append(("search", city, most))
        if self.failure is not None:
            raise self.failure
        return Quote(city=city, eur=most)

    def book(self, city: str) -> str:
        """Buy it."""
        self.done.append(("book", city))
        return "booked"

    async def pay(self, eur: int, *, idempotency_key: str = "") -> str:
        """Pay for it, and perhaps never hear that it was paid."""
        self.done.append(("pay", eur, idempotency_key))
        await self.open.wait()
        return "paid"


async def test_an_agent_that_waited_gets_its_results_from_the_log() -> None:
    """What was done before the wait is not done after it.  Source: I16, R-JRN-01."""
    shop = Shop()

    async def agent(task: TaskContext) -> str:
        quote = await task.call(shop.search, "Rome", most=3)
        assert isinstance(quote, Quote)
        answer = await task.ask("Take it?")
        return f"{await task.call(shop.book, quote.city)} {quote.eur} {answer}"

    async with opened(agent, limits=PARKED) as world:
        handle, ask = await world.asking()
        await pause()
        assert world.engine.statistics().live == 0
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "booked 3 yes"
        assert shop.done == [("search", "Rome", 3), ("book", "Rome")]
        assert triggers(await log_of(handle))[2:] == [
            *("call", "called", "ask", "provide_input", "call", "called", "complete")
        ]


async def test_a_plain_function_is_let_go_while_it_waits() -> None:
    """Its thread ends, and it is run again with what it had.  Source: issue 3, parking."""
    shop = Shop()
    runs: list[str] = []

    def agent(task: SyncTaskContext) -> str:
        runs.append("begun")
        quote = task.call(shop.search, "Rome")
        try:
            answer = task.ask("Take it?")
        except Exception:
            runs.append("swallowed")
            raise
        finally:
            runs.append("unwound")
        return f"{task.call(shop.book, quote.city)} {answer}"

    async with opened(agent) as world:
        handle, ask = await world.asking()
        await until(lambda: world.engine.statistics().live == 0)
        assert runs == ["begun", "unwound"]
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "booked yes"
        assert runs == ["begun", "unwound", "begun", "unwound"]
        assert shop.done == [("search", "Rome", 9), ("book", "Rome")]


async def crashed_while_paying(
    agent: Callable[[TaskContext], Awaitable[Any]], shop: Shop
) -> tuple[World, TaskHandle]:
    """A task whose process died between the begin of a call and its end."""
    shop.open.clear()
    async with opened(agent, limits=NOW) as world:
        handle = await world.submit()
        await until(lambda: bool(shop.done))
        store = world.crash()
        again = World(world.engine, store, world.clock)
    shop.open.set()
    return again, handle


async def test_a_call_that_may_be_repeated_is_with_the_same_key() -> None:
    """After a crash between its begin and its end.  Source: issue 3, in-doubt calls, R-JRN-02."""
    shop = Shop()

    async def agent(task: TaskContext) -> str:
        return await task.call(shop.pay, 5, idempotent=True, key_as="idempotency_key")

    dead, handle = await crashed_while_paying(agent, shop)
    async with opened(agent, store=dead.store) as world:
        assert await soon(world.handle(handle).result()) == "paid"
        (first, second) = shop.done
        assert first == second == ("pay", 5, f"{handle.task_id}/pay-1")
        assert triggers(world.log(handle))[2:6] == ["call", "recover", "call", "called"]


@pytest.mark.parametrize(
    ("said", "result", "times"),
    [
        ({"decision": "use_value", "value": "paid by hand"}, "paid by hand", 1),
        ({"decision": "run_again"}, "paid", 2),
    ],
)
async def test_a_call_in_doubt_is_for_a_person_to_decide(
    said: dict[str, Any], result: str, times: int
) -> None:
    """Nobody pays twice without being told to.  Source: issue 3, in-doubt calls, R-JRN-03, I40."""
    shop = Shop()

    async def agent(task: TaskContext) -> str:
        return await task.call(shop.pay, 5)

    dead, handle = await crashed_while_paying(agent, shop)
    async with opened(agent, store=dead.store) as world:
        handle = world.handle(handle)
        (ask,) = (await soon(handle.rest())).asks
        assert "'pay'" in ask.prompt
        assert len(shop.done) == 1
        await handle.answer(ask.key, said)
        assert await soon(handle.result()) == result
        assert len(shop.done) == times
        assert world.stored(handle).calls == ()


async def test_a_person_may_let_a_call_in_doubt_fail_the_task() -> None:
    """Whatever the agent makes of it.  Source: issue 3, in-doubt calls, R-JRN-03."""
    shop = Shop()

    async def agent(task: TaskContext) -> str:
        try:
            return await task.call(shop.pay, 5)
        except Exception:  # noqa: BLE001  an agent that goes on whatever happens
            return "fine"

    dead, handle = await crashed_while_paying(agent, shop)
    async with opened(agent, store=dead.store) as world:
        handle = world.handle(handle)
        (ask,) = (await soon(handle.rest())).asks
        await handle.answer(ask.key, {"decision": "fail"})
        record = await soon(handle.over())
        assert (record.shown, getattr(record.details, "code", None)) == (
            Phase.FAILED,
            "call_in_doubt",
        )
        assert world.stored(handle).calls == ("pay-1",)


async def test_a_failure_is_the_same_at_every_replay() -> None:
    """The kind of exception, and never its words, which may be secret.  Source: T20."""
    shop = Shop()
    shop.failure = ValueError("sk-canary-7f3a")
    seen: list[str] = []

    async def agent(task: TaskContext) -> str:
        try:
            await task.call(shop.search, "Rome")
        except CallFailed as error:
            seen.append(str(error))
        return str(await task.ask("go on?"))

    async with opened(agent, limits=PARKED) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "yes"
        assert seen == ["search raised ValueError"] * 2
        assert len(shop.done) == 1
        assert "canary" not in str(world.log(handle))


def _divides(by: int) -> int:
    return 1 // by


async def _waits_and_divides(by: int) -> int:
    return _divides(by)


@pytest.mark.parametrize("fn", [_divides, _waits_and_divides])
@pytest.mark.parametrize("as_tool", [False, True])
async def test_the_traceback_of_a_call_goes_to_the_log(
    fn: Callable[[int], Any],
    as_tool: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, whatever the agent makes of it.  Source: R-ENG-18."""

    async def agent(task: TaskContext) -> str:
        call = task.call_tool(fn.__name__, {"by": 0}) if as_tool else task.call(fn, 0)
        with pytest.raises(CallFailed, match="raised ZeroDivisionError"):
            await call
        return str(await task.ask("go on?"))

    async with opened(agent, limits=PARKED, tools=Toolbox([fn])) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "yes"
        (line,) = caplog.records
        assert (line.name, line.levelname) == ("interlock.agent", "ERROR")
        key = f"{fn.__name__}-1"
        assert line.getMessage() == f"task {handle.task_id}: the call {key!r} raised"
        assert "in _divides" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        assert "Traceback" not in str(world.log(handle))


async def test_what_a_call_of_a_plain_agent_raised_is_in_the_log_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As that of any other; what it says on purpose is not.  Source: R-ENG-18."""

    def refuses() -> None:
        raise Rejected("no")

    def agent(task: SyncTaskContext) -> str:
        with pytest.raises(CallFailed, match="raised ZeroDivisionError"):
            task.call(_divides, 0)
        with pytest.raises(Rejected):
            task.call(refuses)
        return "went on"

    async with opened(agent) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "went on"
        (line,) = caplog.records
        assert line.getMessage() == f"task {handle.task_id}: the call '_divides-1' raised"
        assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("error", [Rejected("no"), Retryable("busy"), ToolError("no such city")])
async def test_what_a_function_says_on_purpose_is_no_error_of_its(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A log in which every no is a traceback is read by nobody.  Source: R-ENG-18."""
    shop = Shop()
    shop.failure = error

    async def agent(task: TaskContext) -> str:
        with pytest.raises(EngineError):
            await task.call(shop.search, "Rome")
        return "went on"

    async with opened(agent) as world:
        assert await soon((await world.submit()).result()) == "went on"
    assert caplog.records == []


async def test_what_comes_of_a_cancel_is_no_error_of_a_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A library may say it in its own way that it was cancelled.  Source: R-ENG-18."""
    begun = asyncio.Event()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("closed") from None

    async def agent(task: TaskContext) -> None:
        await task.call(waits)

    async with opened(agent) as world:
        handle = await world.submit()
        await soon(begun.wait())
        await handle.cancel()
        assert (await soon(handle.over())).shown is Phase.CANCELLED
    assert caplog.records == []


async def test_a_retry_does_again_what_failed_and_not_what_was_done() -> None:
    """Nothing is bought a second time because something else failed.  Source: I16, R-JRN-10."""
    shop = Shop()
    shop.failure = Retryable("busy")

    async def agent(task: TaskContext) -> str:
        await task.call(shop.book, "Oslo")
        return (await task.call(shop.search, "Rome")).city

    limits = Limits(retry=Retry(attempts_max=2))
    async with opened(agent, limits=limits) as world:
        handle = await world.submit()
        await until(lambda: len(shop.done) == 2)
        await pause()
        shop.failure = None
        await world.elapse(1.0)
        assert await soon(handle.result()) == "Rome"
        assert shop.done == [("book", "Oslo"), ("search", "Rome", 9), ("search", "Rome", 9)]


async def test_what_ours_says_comes_through_a_call() -> None:
    """A function may say that the task will not be done.  Source: issue 3."""

    def refuse() -> None:
        raise Rejected("not for children")

    async def agent(task: TaskContext) -> None:
        await task.call(refuse)

    async with opened(agent) as world:
        handle = await world.submit()
        record = await soon(handle.over())
        assert record.shown is Phase.REJECTED


async def test_what_was_done_while_the_task_was_being_stopped_is_written_down() -> None:
    """The log says what happened, also of a task that is over.  Source: I16, R-JRN-12."""
    begun, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow() -> str:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        return "done after all"

    async def agent(task: TaskContext) -> str:
        return await task.call(slow)

    async with opened(agent) as world:
        handle = await world.submit()
        await soon(begun.wait())
        await handle.cancel()
        await pause()
        assert world.stored(handle).phase is Phase.CANCELLING
        go.set()
        assert (await soon(handle.over())).shown is Phase.CANCELLED
        events = world.log(handle)
        assert triggers(events)[2:6] == ["call", "cancel", "called", "stopped"]
        assert events[4].data["value"] == "done after all"


async def test_nothing_begins_while_somebody_is_asked() -> None:
    """A branch that wants to act waits for the answer of another.  Source: DESIGN 7."""
    shop = Shop()

    async def agent(task: TaskContext) -> str:
        async def asks() -> str:
            return str(await task.ask("May we?"))

        async def buys() -> str:
            await asked.wait()
            return await task.call(shop.book, "Rome")

        return " ".join(await asyncio.gather(asks(), buys()))

    asked = asyncio.Event()
    async with opened(agent) as world:
        handle, ask = await world.asking()
        asked.set()
        await pause()
        assert shop.done == []
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "yes booked"


async def test_a_task_with_a_call_in_the_making_is_not_parked() -> None:
    """It would be in doubt for no reason.  Source: issue 3, parking."""
    shop = Shop()
    shop.open.clear()

    async def agent(task: TaskContext) -> str:
        async def pays() -> str:
            return await task.call(shop.pay, 5)

        async def asks() -> str:
            await until(lambda: bool(shop.done))
            return str(await task.ask("May we?"))

        return " ".join(await asyncio.gather(pays(), asks()))

    async with opened(agent, limits=PARKED) as world:
        handle, ask = await world.asking()
        await pause()
        assert world.engine.statistics().live == 1
        shop.open.set()
        await until(lambda: world.engine.statistics().live == 0)
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "paid yes"
        assert len(shop.done) == 1


async def test_the_time_and_chance_are_the_same_at_every_replay() -> None:
    """What an agent decides by them it decides again.  Source: DESIGN 3, R-JRN-05."""
    seen: list[tuple[float, float]] = []

    async def agent(task: TaskContext) -> str:
        seen.append((await task.journal_time(), await task.journal_random()))
        return str(await task.ask("go on?"))

    async with opened(agent, limits=PARKED) as world:
        handle, ask = await world.asking()
        await world.elapse(60.0)
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "yes"
        assert len(seen) == 2
        assert seen[0] == seen[1]


async def test_a_call_without_json_or_with_a_used_key_is_refused() -> None:
    """Before anything happens.  Source: the bad input of issue 3."""
    shop = Shop()

    async def agent(task: TaskContext) -> str:
        faults: list[str] = []
        for call in (
            lambda: task.call(shop.book, object()),
            lambda: task.call(shop.book, "x", key="interlock:mine"),
            lambda: task.call("book"),  # type: ignore[call-overload]
        ):
            with pytest.raises(InvalidInput) as caught:
                await call()
            faults.append(str(caught.value))
        await task.call(shop.book, "Rome", key="k")
        with pytest.raises(InvalidInput, match="used before"):
            await task.call(shop.book, "Rome", key="k")
        return "\n".join(faults)

    async with opened(agent) as world:
        text = await soon((await world.submit()).result())
        assert "functools.partial" in str(text)
        assert shop.done == [("book", "Rome")]


async def test_a_function_whose_results_have_no_json_is_not_called() -> None:
    """Said before it is done, not after.  Source: the bad input of issue 3."""
    done: list[str] = []

    def listen() -> asyncio.Event:
        done.append("listened")
        return asyncio.Event()

    async def agent(task: TaskContext) -> str:
        with pytest.raises(InvalidInput, match="which has no JSON"):
            await task.call(listen)
        return "fine"

    async with opened(agent) as world:
        assert await soon((await world.submit()).result()) == "fine"
        assert done == []


async def test_a_result_that_nobody_can_store_is_known_to_be_done() -> None:
    """It is not done again because nobody can store what it returned.  Source: I16."""
    done: list[str] = []

    def listen() -> Any:  # noqa: ANN401  (it does not say)
        done.append("listened")
        return asyncio.Event()

    async def agent(task: TaskContext) -> str:
        try:
            await task.call(listen)
        except CallFailed as error:
            return f"{error} {await task.ask('go on?')}"
        return "?"

    async with opened(agent, limits=PARKED) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "yes")
        assert "ResultInvalid" in str(await soon(handle.result()))
        assert done == ["listened"]


DECISIONS: list[tuple[Resumption, int]] = [("again", 1), ("skip", 2), ("from_scratch", 2)]


@pytest.mark.parametrize(("decision", "searches"), DECISIONS)
async def test_an_agent_that_goes_another_way_is_an_operators_to_decide(
    decision: Resumption, searches: int
) -> None:
    """Not failed and not run: it waits, and each way of going on does what it says.

    Source: R-JRN-04.
    """
    shop = Shop()
    city = "Rome"

    async def agent(task: TaskContext) -> str:
        await task.call(shop.search, city)
        await task.ask("go on?")
        return await task.call(shop.book, city)

    async with opened(agent, limits=PARKED) as world:
        handle, ask = await world.asking()
        city = "Oslo"
        await handle.answer(ask.key, "yes")
        (ask,) = (await soon(handle.rest())).asks
        assert "search-1" in ask.prompt
        assert "with other arguments" in ask.prompt
        with pytest.raises(GuardRefused):
            await handle.answer(ask.key, "skip")
        if decision == "again":
            city = "Rome"
        await world.engine.resume(handle.task_id, decision)
        if decision == "from_scratch":
            (ask,) = (await soon(handle.rest())).asks
            await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "booked"
        assert sum(one[0] == "search" for one in shop.done) == searches


async def test_nobody_is_resumed_whom_no_operator_is_asked_about() -> None:
    """Said in words.  Source: the bad input of issue 3."""

    async def agent(task: TaskContext) -> str:
        return str(await task.ask("go on?"))

    async with opened(agent) as world:
        handle, _ = await world.asking()
        with pytest.raises(InvalidInput, match="no operator is asked"):
            await world.engine.resume(handle.task_id, "again")


async def test_a_task_that_takes_its_process_down_comes_to_an_operator() -> None:
    """Not begun again for ever.  Source: issue 3, R-JRN-07."""
    shop = Shop()
    shop.open.clear()

    async def agent(task: TaskContext) -> str:
        shop.done.append(task.attempt)
        await shop.open.wait()
        return "up again"

    limits = NOW.model_copy(update={"recoveries_max": 2})
    async with opened(agent, limits=limits) as world:
        handle = await world.submit()
        await until(lambda: len(shop.done) == 1)
        store = world.crash()
    for runs in (2, 3):
        async with opened(agent, limits=limits, store=store) as world:
            await until(lambda: len(shop.done) == runs)  # noqa: B023  it is waited for here
            store = world.crash()
    async with opened(agent, limits=limits, store=store) as world:
        handle = world.handle(handle)
        (ask,) = (await soon(handle.rest())).asks
        assert "2 times in a row" in ask.prompt
        assert len(shop.done) == 3
        shop.open.set()
        await world.engine.resume(handle.task_id, "again")
        assert await soon(handle.result()) == "up again"


async def test_a_drain_lets_a_turn_come_to_a_point_of_its_journal() -> None:
    """What is being done is finished and written down; nothing more begins.  Source: issue 3."""
    shop = Shop()
    shop.open.clear()
    seen: list[str] = []

    async def agent(task: TaskContext) -> str:
        try:
            paid = await task.call(shop.pay, 5)
            return f"{paid} {await task.call(shop.book, 'Rome')}"
        finally:
            seen.append("unwound")

    store = FlakyStore()
    async with opened(agent, store=store) as world:
        handle = await world.submit()
        await until(lambda: bool(shop.done))
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        shop.open.set()
        await soon(drain)
        assert seen == ["unwound"]
        assert len(shop.done) == 1
        assert world.stored(handle).calls == ()
    async with opened(agent, store=store) as world:
        assert await soon(world.handle(handle).result()) == "paid booked"
        assert [one[0] for one in shop.done] == ["pay", "book"]
