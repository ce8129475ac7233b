"""Turns: one run of an agent of each kind, from its start to its one report of how it ended."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from interlock import (
    Ask,
    Authorize,
    Emit,
    Progress,
    Result,
    SyncTaskContext,
    TaskContext,
)
from interlock._agent import Request
from interlock._drive import served
from interlock._phases import Trigger
from interlock._threaded import Returned
from interlock.errors import (
    Denied,
    InvalidInput,
    StoreError,
    TaskStopped,
)
from support import ASKED, Stage, pause, raised, returned, soon, until

LANGUAGE: contextvars.ContextVar[str] = contextvars.ContextVar("LANGUAGE", default="none")


# --- each kind, from its start to its end ------------------------------------------------


async def test_an_async_agent_returns_what_it_returns() -> None:
    """And sees the task that it is run for.  Source: R-AGENT-01."""

    async def agent(task: TaskContext) -> object:
        assert task.input.metadata == {"lang": "en"}
        return [task.task_id, task.owner, task.context_id, task.attempt, task.input.text]

    assert await Stage(agent).played() == Returned(["t", "ada", "c", 1, "hello"])


async def test_a_plain_function_runs_on_a_thread_of_its_own() -> None:
    """The loop goes on while it blocks.  Source: R-AGENT-01."""
    threads: list[threading.Thread] = []
    go_on = threading.Event()

    def agent(_task: SyncTaskContext) -> str:
        threads.append(threading.current_thread())
        assert go_on.wait(5)
        return "done"

    stage = Stage(agent)
    stage.start()
    await until(lambda: bool(threads))
    assert threads[0] is not threading.main_thread()
    assert threads[0].daemon
    go_on.set()
    assert await returned(stage) == "done"
    threads[0].join(5)
    assert not threads[0].is_alive()


async def test_an_async_generator_ends_with_the_result_that_it_yields() -> None:
    """What comes after it in the generator is not run, but what must be cleaned up is."""
    cleaned: list[str] = []

    async def agent(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        try:
            yield Result("done")
            raise AssertionError("nobody asks for more")
        finally:
            cleaned.append("up")

    assert await Stage(agent).played() == Returned("done")
    assert cleaned == ["up"]


async def test_an_async_generator_that_just_ends_has_no_result() -> None:
    """A generator cannot return one."""

    async def agent(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        yield Progress("on it")

    assert await Stage(agent).played() == Returned(None)


async def test_a_generator_is_served_what_it_yields() -> None:
    """Each request by the call of the context that has its name.  Source: R-AGENT-01."""

    async def agent(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        yield Progress("on it", 0.5)
        artifact = yield Emit("text", artifact_id="a", name="notes", append=True, last_chunk=True)
        city = yield Ask("Which city?", default="Rome", expires_s=60, key="city")
        approved = yield Authorize(tool="book", arguments={"city": city}, allow_edit=True)
        yield Result([artifact, city, approved])

    stage = Stage(agent)
    stage.start()
    await stage.asked()
    assert stage.record.asks[0].default == "Rome"
    stage.provide("city", "Oslo")
    await stage.asked()
    ask = stage.record.asks[0]
    assert (ask.tool, ask.arguments, ask.allow_edit) == ("book", {"city": "Oslo"}, True)
    stage.tell(
        Trigger.APPROVE, {"key": ask.key, "digest": ask.digest, "arguments": {"city": "Bergen"}}
    )
    assert await returned(stage) == ["a", "Oslo", {"city": "Bergen"}]
    shown = stage.log[3].data["artifact"]
    assert (shown["name"], shown["append"], shown["last_chunk"]) == ("notes", True, True)


async def test_a_generator_may_handle_what_its_request_came_to() -> None:
    """An error of ours is raised where the request was yielded."""

    async def agent(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        try:
            yield Progress("too much", 2.0)
        except InvalidInput as error:
            yield Result(error.problems[0])

    stage = Stage(agent)
    stage.start()
    assert await returned(stage) == "fraction is 2.0; it is between 0 and 1"


async def test_a_generator_that_lets_an_error_through_ends_with_it() -> None:
    """Like any agent."""

    async def agent(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        yield Progress("too much", 2.0)

    stage = Stage(agent)
    stage.start()
    assert isinstance(await raised(stage), InvalidInput)


async def test_a_generator_that_yields_what_is_no_request_fails() -> None:
    """It is not taken for a result."""

    async def agent(_task: TaskContext) -> AsyncGenerator[Any, Any]:
        yield "text"

    stage = Stage(agent)
    stage.start()
    said = "the agent yielded a str; an Ask, Authorize, Emit, Progress or Result is accepted"
    error = await raised(stage)
    assert (type(error), str(error)) == (TypeError, said)


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
async def test_whatever_an_agent_raises_is_how_its_turn_ended(error: BaseException) -> None:
    """On the loop and on a thread: nothing of it goes past the engine.  Source: R-AGENT-08."""

    async def on_the_loop(_task: TaskContext) -> None:
        raise error

    def on_a_thread(_task: SyncTaskContext) -> None:
        raise error

    async def in_a_generator(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        yield Progress("on it")
        raise error

    for agent in (on_the_loop, on_a_thread, in_a_generator):
        stage = Stage(agent)
        stage.start()
        assert await raised(stage) is error


async def test_an_agent_that_cancels_itself_has_ended() -> None:
    """Nobody told it to stop, so it is no stop."""

    async def agent(_task: TaskContext) -> None:
        own = asyncio.current_task()
        assert own is not None
        own.cancel()
        await asyncio.sleep(0)

    stage = Stage(agent)
    stage.start()
    assert isinstance(await raised(stage), asyncio.CancelledError)
    assert not stage.turn.stopping


async def test_context_variables_are_carried_into_every_kind_of_agent() -> None:
    """Those with which the turn was started.  Source: issue 2."""

    async def on_the_loop(_task: TaskContext) -> str:
        return LANGUAGE.get()

    def on_a_thread(_task: SyncTaskContext) -> str:
        return LANGUAGE.get()

    async def in_a_generator(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        yield Result(LANGUAGE.get())

    context = contextvars.copy_context()
    context.run(LANGUAGE.set, "fr")
    for agent in (on_the_loop, on_a_thread, in_a_generator):
        stage = Stage(agent)
        stage.turn.start(context.copy())
        assert await returned(stage) == "fr"
    assert LANGUAGE.get() == "none"


# --- asking -------------------------------------------------------------------------------


async def test_two_asks_at_once_go_on_with_the_last_answer() -> None:
    """Whichever comes first.  Source: DESIGN 2."""

    async def agent(task: TaskContext) -> object:
        return await asyncio.gather(task.ask("A?"), task.ask("B?"))

    for first, second in (("ask-1", "ask-2"), ("ask-2", "ask-1")):
        stage = Stage(agent)
        stage.start()
        await stage.asked(2)
        stage.provide(first, first)
        await pause()
        assert stage.ends == []
        stage.provide(second, second)
        assert await returned(stage) == ["ask-1", "ask-2"]


async def test_an_answer_that_is_known_waits_for_the_asks_that_are_open() -> None:
    """As it did before the turn was lost: the turn goes on with the last of them."""
    order: list[str] = []

    async def agent(task: TaskContext) -> None:
        async def one(key: str) -> None:
            order.append(await task.ask("?", key=key))

        new = asyncio.ensure_future(one("new"))
        await pause()
        await one("old")
        await new

    stage = Stage(agent)
    stage.tell(Trigger.ASK, {**ASKED, "key": "old"})
    stage.provide("old", "old")
    stage.start()
    await stage.asked()
    assert order == []
    stage.provide("new", "new")
    await stage.end()
    assert sorted(order) == ["new", "old"]


async def test_an_answer_that_is_known_is_not_asked_for_again() -> None:
    """The turn is replayed up to where it was lost."""

    async def agent(task: TaskContext) -> str:
        return await task.ask("?") + await task.ask("?")

    stage = Stage(agent)
    stage.tell(Trigger.ASK, {**ASKED, "key": "ask-1"})
    stage.provide("ask-1", "a")
    stage.start()
    await stage.asked()
    assert [ask.key for ask in stage.record.asks] == ["ask-2"]
    stage.provide("ask-2", "b")
    assert await returned(stage) == "ab"


async def test_an_ask_that_is_given_up_is_withdrawn() -> None:
    """Nobody wants the answer any more."""

    async def agent(task: TaskContext) -> str:
        asking = asyncio.ensure_future(task.ask("?"))
        await pause()
        asking.cancel()
        await asyncio.wait([asking])
        return "went on"

    stage = Stage(agent)
    stage.start()
    assert await returned(stage) == "went on"
    assert stage.withdrawn == ["ask-1"]


async def test_an_ask_that_is_given_up_before_it_is_stored_is_withdrawn_too() -> None:
    """It may be stored all the same, and would keep the task waiting for ever."""

    async def agent(task: TaskContext) -> str:
        asking = asyncio.ensure_future(task.ask("?"))
        await pause()
        asking.cancel()
        await asyncio.wait([asking])
        return "went on"

    stage = Stage(agent)
    stage.gate.clear()
    stage.start()
    assert await returned(stage) == "went on"
    assert stage.withdrawn == ["ask-1"]


async def test_a_report_that_is_given_up_is_no_ask_to_withdraw() -> None:
    """What was shown was shown."""

    async def agent(task: TaskContext) -> None:
        showing = asyncio.ensure_future(task.emit("text"))
        await pause()
        showing.cancel()
        await asyncio.wait([showing])

    stage = Stage(agent)
    stage.gate.clear()
    stage.start()
    await returned(stage)
    assert stage.withdrawn == []


async def test_a_report_that_fails_raises_in_the_agent() -> None:
    """It is not durable, and the agent knows."""

    async def agent(task: TaskContext) -> str:
        try:
            await task.emit("text")
        except StoreError as error:
            return str(error)
        return "shown"

    stage = Stage(agent)
    stage.failure = StoreError("the disk is on fire")
    stage.start()
    assert await returned(stage) == "the disk is on fire"


async def test_a_denial_that_is_told_raises_in_every_kind_of_agent() -> None:
    """With the reason."""

    async def on_the_loop(task: TaskContext) -> object:
        try:
            await task.authorize("pay", {}, on_deny="tell_agent")
        except Denied as error:
            return error.reason
        return None

    def on_a_thread(task: SyncTaskContext) -> object:
        try:
            task.authorize("pay", {}, on_deny="tell_agent")
        except Denied as error:
            return error.reason
        return None

    async def in_a_generator(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        try:
            yield Authorize(tool="pay", arguments={}, on_deny="tell_agent")
        except Denied as error:
            yield Result(error.reason)

    for agent in (on_the_loop, on_a_thread, in_a_generator):
        stage = Stage(agent)
        stage.start()
        await stage.asked()
        ask = stage.record.asks[0]
        stage.tell(Trigger.DENY, {"key": ask.key, "digest": ask.digest, "reason": "too dear"})
        assert await returned(stage) == "too dear"


async def test_only_a_waiting_ask_has_a_form_to_judge_by() -> None:
    """Its type may want more than the schema says."""

    async def agent(task: TaskContext) -> int:
        return await task.ask("?", int)

    stage = Stage(agent)
    assert stage.turn.problems_of("ask-1", "x") == []
    stage.start()
    await stage.asked()
    assert stage.turn.problems_of("ask-1", "x") != []
    assert stage.turn.problems_of("ask-1", 1) == []
    assert stage.turn.problems_of("other", "x") == []
    stage.provide("ask-1", 1)
    assert await returned(stage) == 1
    assert stage.turn.problems_of("ask-1", "x") == []


# --- stopping ------------------------------------------------------------------------------


async def test_an_async_agent_that_is_stopped_is_cancelled_where_it_waits() -> None:
    """Its open ask is not withdrawn: the stop closes it.  Source: R-AGENT-07."""

    async def agent(task: TaskContext) -> None:
        await task.ask("?")

    stage = Stage(agent)
    stage.start()
    await stage.asked()
    stage.turn.stop()
    assert isinstance(await raised(stage), asyncio.CancelledError)
    assert stage.withdrawn == []


async def test_an_agent_that_goes_on_after_the_stop_can_start_nothing() -> None:
    """Every call of the context raises what `except Exception` does not catch.

    Source: R-AGENT-07, I11.
    """
    errors: list[type[BaseException]] = []

    async def agent(task: TaskContext) -> None:
        try:
            await task.ask("?")
        except asyncio.CancelledError:
            assert task.cancelled
        for call in (task.emit("x"), task.progress("x"), task.ask("?"), task.authorize("p", {})):
            try:
                await call
            except TaskStopped as error:
                errors.append(type(error))

    stage = Stage(agent)
    stage.start()
    await stage.asked()
    stage.turn.stop()
    await returned(stage)
    assert errors == [TaskStopped] * 4
    assert not issubclass(TaskStopped, Exception)


async def test_a_stop_while_an_answer_is_known_stops_all_the_same() -> None:
    """A replay must not run past the stop."""

    async def agent(task: TaskContext) -> str:
        await pause()
        return await task.ask("?")

    stage = Stage(agent)
    stage.tell(Trigger.ASK, {**ASKED, "key": "ask-1"})
    stage.provide("ask-1", "a")
    stage.turn.stopping = True
    stage.start()
    assert isinstance(await raised(stage), TaskStopped)


async def test_a_generator_that_is_stopped_is_closed() -> None:
    """Its `finally` is run before the turn is over."""
    cleaned: list[str] = []

    async def agent(_task: TaskContext) -> AsyncGenerator[Request, Any]:
        try:
            yield Ask("?")
        finally:
            cleaned.append("up")

    stage = Stage(agent)
    stage.start()
    await stage.asked()
    stage.turn.stop()
    assert isinstance(await raised(stage), asyncio.CancelledError)
    assert cleaned == ["up"]


async def test_a_turn_that_is_stopped_before_its_first_step_ends_all_the_same() -> None:
    """Whoever waits for its end must not wait for ever.  Source: I29."""

    async def on_the_loop(_task: TaskContext) -> None:
        raise AssertionError("it is never run")

    def on_a_thread(_task: SyncTaskContext) -> None:
        raise AssertionError("it is never run")

    for agent in (on_the_loop, on_a_thread):
        stage = Stage(agent)
        stage.start()
        stage.turn.stop()
        assert isinstance(await raised(stage), asyncio.CancelledError)


async def test_a_turn_that_was_never_started_can_be_stopped() -> None:
    """There is nothing to interrupt."""

    async def agent(_task: TaskContext) -> None:
        raise AssertionError("it is never run")

    stage = Stage(agent)
    stage.turn.stop()
    stage.turn.let_go()
    assert stage.turn.stopping


async def test_a_thread_that_waits_for_an_answer_is_interrupted() -> None:
    """And its later calls raise at once."""
    errors: list[BaseException] = []

    def agent(task: SyncTaskContext) -> str:
        for _ in range(2):
            try:
                task.ask("?")
            except TaskStopped as error:
                errors.append(error)
        return str(task.cancelled)

    stage = Stage(agent)
    stage.start()
    await stage.asked()
    thread = stage.turn._thread
    assert thread is not None
    await until(lambda: bool(thread._calls))
    stage.turn.stop()
    assert await returned(stage) == "True"
    assert len(errors) == 2
    assert stage.withdrawn == []


async def test_a_thread_that_never_looks_can_be_let_go() -> None:
    """Its turn no longer waits for it; what it says later is not heard."""
    go_on = threading.Event()
    threads: list[threading.Thread] = []

    def agent(_task: SyncTaskContext) -> str:
        threads.append(threading.current_thread())
        go_on.wait(5)
        return "at last"

    stage = Stage(agent)
    stage.start()
    await until(lambda: bool(threads))
    stage.turn.fence()
    assert stage.turn.fenced
    await pause()
    assert stage.ends == []
    stage.turn.let_go()
    await soon(stage.turn.done)
    assert isinstance(await raised(stage), asyncio.CancelledError)
    go_on.set()
    threads[0].join(5)
    await pause()
    assert len(stage.ends) == 1


def test_a_thread_that_outlives_the_loop_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """The engine is gone, and with it whoever would listen."""
    go_on = threading.Event()
    threads: list[threading.Thread] = []

    def agent(_task: SyncTaskContext) -> None:
        threads.append(threading.current_thread())
        go_on.wait(5)

    async def engine() -> None:
        stage = Stage(agent)
        stage.start()
        await until(lambda: bool(threads))

    asyncio.run(engine())
    go_on.set()
    threads[0].join(5)
    assert "outlived the event loop" in caplog.text


async def test_an_error_from_the_loop_is_raised_on_the_thread() -> None:
    """The same as an async agent would see."""

    def agent(task: SyncTaskContext) -> str:
        try:
            task.emit({"n": float("nan")})
        except InvalidInput as error:
            return error.code
        return "shown"

    stage = Stage(agent)
    stage.start()
    assert await returned(stage) == "invalid_input"


async def test_a_thread_that_cannot_be_started_is_a_turn_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system may be out of threads; the task must end."""

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def agent(_task: SyncTaskContext) -> None:
        raise AssertionError("it is never run")

    stage = Stage(agent)
    monkeypatch.setattr(threading.Thread, "start", no_more)
    stage.start()
    assert isinstance(await raised(stage), RuntimeError)


async def test_a_stop_between_two_calls_of_a_thread_is_seen_by_the_next() -> None:
    """Also when it comes while the call is being handed to the loop."""
    begun, go_on = threading.Event(), threading.Event()

    def agent(task: SyncTaskContext) -> None:
        begun.set()
        assert go_on.wait(5)
        task.progress("more")

    stage = Stage(agent)
    stage.start()
    await until(begun.is_set)
    stage.turn.stop()
    go_on.set()
    assert isinstance(await raised(stage), TaskStopped)
    assert stage.triggers == []


async def test_a_stop_while_a_call_is_handed_to_the_loop_is_seen_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stop did not find the call yet, and the call looked for a stop too early."""
    loop = asyncio.get_running_loop()
    hand_over = loop.call_soon_threadsafe

    def stopped_meanwhile(callback: Callable[..., object], *args: object) -> asyncio.Handle:
        if begun.is_set() and not stage.turn.stopping:
            stage.turn.stop()
        return hand_over(callback, *args)

    begun, go_on = threading.Event(), threading.Event()

    def agent(task: SyncTaskContext) -> None:
        begun.set()
        assert go_on.wait(5)
        task.ask("?")

    stage = Stage(agent)
    monkeypatch.setattr(loop, "call_soon_threadsafe", stopped_meanwhile)
    stage.start()
    await until(begun.is_set)
    go_on.set()
    assert isinstance(await raised(stage), TaskStopped)


async def test_an_ask_that_was_given_up_is_asked_anew_when_its_turn_is_replayed() -> None:
    """Under another key: nobody could ever answer the old one.  Source: a review."""

    async def agent(task: TaskContext) -> str:
        return await task.ask("?")

    stage = Stage(agent)
    stage.tell(Trigger.ASK, {**ASKED, "key": "ask-1"})
    stage.tell(Trigger.WITHDRAW, {"epoch": 1, "key": "ask-1"})
    stage.start()
    await stage.asked()
    assert [ask.key for ask in stage.record.asks] == ["ask-1@2"]
    stage.provide("ask-1@2", "b")
    assert await returned(stage) == "b"


async def test_a_result_is_not_a_request_to_be_served() -> None:
    """The driver keeps it to itself."""

    async def agent(_task: TaskContext) -> None:
        raise AssertionError("it is never run")

    with pytest.raises(AssertionError):
        await served(Result(1), TaskContext(Stage(agent).turn))
