"""What an open engine does with its tasks: runs, stops, recovers and lets go of them."""

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from interlock import (
    Ask,
    Authorize,
    DeliveryFailed,
    Emit,
    Ended,
    Engine,
    Event,
    Limits,
    NewWatch,
    Phase,
    Progress,
    Result,
    Retry,
    SyncTaskContext,
    TaskContext,
    TaskHandle,
    TaskRecord,
    TaskView,
    Trigger,
    Watch,
)
from interlock._agent import Agent, Request
from interlock._store import Commit
from interlock._writer import STORE_RETRY_S
from interlock.errors import (
    CallFailed,
    GuardRefused,
    IllegalTrigger,
    LimitReached,
    NotAccepting,
    Refused,
    Rejected,
    Retryable,
    StoreError,
    TaskNotCompleted,
    Unstorable,
)
from interlock.lifecycle import LIFECYCLE, Guard, Lifecycle, Publish, Release, Row, Signal, changes
from interlock.testing import ManualClock, violations
from support import (
    OWNER,
    FlakyStore,
    World,
    drained,
    log_of,
    opened,
    pause,
    soon,
    triggers,
    until,
)

CANARY = "sk-canary-7f3a"
LANGUAGE: contextvars.ContextVar[str] = contextvars.ContextVar("LANGUAGE", default="none")


async def asks(task: TaskContext) -> str:
    """Ask for a text, and return it."""
    return await task.ask("Which city?")


async def finalized(world: World, handle: TaskHandle) -> list[Event]:
    """The whole log of a task, once nothing is left to do for it; it breaks no promise."""
    await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
    await pause()
    events = await world.store.events(handle.task_id)
    assert violations(events) == []
    assert await world.store.verify() == []
    return events


async def ended(handle: TaskHandle) -> Ended:
    """How a task ended, once it has."""
    details = (await handle.over()).details
    assert isinstance(details, Ended)
    return details


@dataclass(eq=False)
class Stuck:
    """A plain function that never looks; it ends when the test says so."""

    go_on: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def __call__(self, _task: SyncTaskContext) -> str:
        """Block, as long as nobody sets it free."""
        self.threads.append(threading.current_thread())
        self.go_on.wait(5)
        return "at last"

    async def begun(self) -> None:
        """Wait until it runs."""
        await until(lambda: bool(self.threads))

    def free(self) -> None:
        """Let it end, and wait until it has."""
        self.go_on.set()
        for thread in self.threads:
            thread.join(5)


@dataclass(eq=False)
class Slow:
    """An async agent that ends when the test says so."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list[str])
    #: How often a cancellation is swallowed.
    swallows: int = 0
    cancelled: int = 0

    async def __call__(self, task: TaskContext) -> str:
        """Wait, whatever happens."""
        self.begun.append(task.input.text)
        while True:
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                if self.cancelled > self.swallows:
                    raise
            else:
                return "done"


# --- a whole life ---------------------------------------------------------------------------


async def travel(task: TaskContext) -> object:
    """Ask, seek leave, show, return."""
    city = await task.ask("Which city?")
    await task.progress("searching", 0.5)
    await task.emit(f"flights to {city}", artifact_id="list")
    approved = await task.authorize("book", {"city": city})
    await task.emit("booked", artifact_id="list", append=True, last_chunk=True)
    return {"booked": approved["city"]}


def travel_on_a_thread(task: SyncTaskContext) -> object:
    """The same, blocking."""
    city = task.ask("Which city?")
    task.progress("searching", 0.5)
    task.emit(f"flights to {city}", artifact_id="list")
    approved = task.authorize("book", {"city": city})
    task.emit("booked", artifact_id="list", append=True, last_chunk=True)
    return {"booked": approved["city"]}


async def travel_by_requests(_task: TaskContext) -> AsyncGenerator[Request, Any]:
    """The same, yielding."""
    city = yield Ask("Which city?")
    yield Progress("searching", 0.5)
    yield Emit(f"flights to {city}", artifact_id="list")
    approved = yield Authorize(tool="book", arguments={"city": city})
    yield Emit("booked", artifact_id="list", append=True, last_chunk=True)
    yield Result({"booked": approved["city"]})


TRAVEL: list[Agent] = [travel, travel_on_a_thread, travel_by_requests]
LIFE = [
    *("submit", "start", "ask", "provide_input", "progress", "emit", "ask", "approve", "emit"),
    *("complete", "finalize"),
]


@pytest.mark.parametrize("agent", TRAVEL)
async def test_a_task_lives_from_its_submission_to_its_finalisation(agent: Agent) -> None:
    """The same for every kind of agent.  Source: DESIGN 2."""
    async with opened(agent) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "Rome")
        ask = (await handle.rest()).asks[0]
        await handle.approve(ask.key, digest=ask.digest or "")
        assert await handle.result() == {"booked": "Rome"}
        events = await finalized(world, handle)
        assert triggers(events) == LIFE
        assert [event.epoch for event in events] == [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
        assert world.engine.statistics().live == 0


@pytest.mark.parametrize("agent", TRAVEL)
async def test_a_life_goes_on_after_each_restart(agent: Agent) -> None:
    """Nothing is asked, shown or done twice.  Source: DESIGN 3, I06, I29."""
    store, clock = FlakyStore(), ManualClock()
    async with opened(agent, store=store, clock=clock) as world:
        handle, ask = await world.asking()
    async with opened(agent, store=store, clock=clock) as world:
        assert world.engine.statistics().live == 0
        handle = world.handle(handle)
        await handle.answer(ask.key, "Rome")
        ask = (await handle.rest()).asks[0]
    async with opened(agent, store=store, clock=clock) as world:
        handle = world.handle(handle)
        await handle.approve(ask.key, digest=ask.digest or "")
        assert await handle.result() == {"booked": "Rome"}
        assert triggers(await finalized(world, handle)) == LIFE


@pytest.mark.parametrize("agent", TRAVEL)
async def test_a_life_goes_on_after_each_crash(agent: Agent) -> None:
    """At rest there is nothing to lose; whatever was alive can do nothing any more."""
    async with opened(agent) as first:
        handle, ask = await first.asking()
        async with opened(agent, store=first.crash(), clock=ManualClock()) as second:
            handle = second.handle(handle)
            await handle.answer(ask.key, "Rome")
            ask = (await handle.rest()).asks[0]
            async with opened(agent, store=second.crash(), clock=ManualClock()) as third:
                handle = third.handle(handle)
                await handle.approve(ask.key, digest=ask.digest or "")
                assert await handle.result() == {"booked": "Rome"}
                assert triggers(await finalized(third, handle)) == LIFE


async def test_context_variables_of_a_submitter_do_not_reach_the_agent() -> None:
    """Those of whoever opened the engine do: they are there after a restart, too."""

    async def on_the_loop(_task: TaskContext) -> str:
        return LANGUAGE.get()

    def on_a_thread(_task: SyncTaskContext) -> str:
        return LANGUAGE.get()

    token = LANGUAGE.set("fr")
    for agent in (on_the_loop, on_a_thread):
        async with opened(agent) as world:
            inner = LANGUAGE.set("en")
            handle = await world.submit()
            assert await handle.result() == "fr"
            LANGUAGE.reset(inner)
    LANGUAGE.reset(token)


async def test_context_variables_of_a_request_do_not_reach_the_deliveries_of_another() -> None:
    """A tenant, or a trace, is that of one request.  Source: T1; a stranger's review."""
    seen: dict[str, set[str]] = {}

    class Receiver:
        async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
            assert (watch.watch_id, bool(events)) == ("w", True)
            seen.setdefault(view.record.owner, set()).add(LANGUAGE.get())

    async with opened(at_once, deliverers={"hook": Receiver()}) as world:
        for owner in ("ada", "bob", "eve"):
            inner = LANGUAGE.set(owner)
            watches = (NewWatch("w", "hook", {}),)
            await world.engine.submit("x", owner=owner, watches=watches)
            LANGUAGE.reset(inner)
        await until(lambda: len(seen) == 3)
        await pause()
    assert seen == {owner: {"none"} for owner in ("ada", "bob", "eve")}


# --- how turns end ----------------------------------------------------------------------------


async def test_the_message_of_an_exception_goes_to_the_log_and_nowhere_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may hold a secret.  Source: I38."""

    async def agent(_task: TaskContext) -> None:
        raise ValueError(CANARY)

    async with opened(agent) as world:
        handle = await world.submit()
        end = await ended(handle)
        assert (end.outcome, end.code) == (Phase.FAILED, "agent_error")
        assert end.message == "the agent raised ValueError"
        with pytest.raises(TaskNotCompleted) as caught:
            await handle.result()
        shown = json.dumps([event.to_json() for event in await finalized(world, handle)])
        assert CANARY not in shown + str(caught.value) + repr(world.stored(handle))
    assert CANARY in caplog.text


@pytest.mark.parametrize("value", [object(), {"n": float("nan")}, "x" * 2_000])
async def test_a_result_that_cannot_be_stored_fails_its_task(value: object) -> None:
    """With a code that says whose fault it is."""

    async def agent(_task: TaskContext) -> object:
        return value

    async with opened(agent, limits=Limits(payload_bytes_max=1_000)) as world:
        end = await ended(await world.submit())
        assert (end.outcome, end.code) == (Phase.FAILED, "result_invalid")


async def test_an_agent_may_reject_what_it_was_given() -> None:
    """Its words are the client's to read."""

    async def agent(_task: TaskContext) -> None:
        raise Rejected("not my job")

    async with opened(agent) as world:
        handle = await world.submit()
        end = await ended(handle)
        assert (end.outcome, end.message) == (Phase.REJECTED, "not my job")
        assert triggers(await finalized(world, handle)) == ["submit", "start", "reject", "finalize"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_an_agent_that_gives_itself_up_fails_its_task_only(
    error: type[BaseException],
) -> None:
    """The engine and the other tasks go on.  Source: I37."""

    async def agent(task: TaskContext) -> str:
        if task.input.text == "bad":
            raise error
        return "fine"

    async with opened(agent) as world:
        end = await ended(await world.submit("bad"))
        assert (end.code, end.message) == ("agent_error", f"the agent raised {error.__name__}")
        assert await (await world.submit("good")).result() == "fine"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_a_plain_function_has_run_on_the_loop_ends_nothing_else(
    error: type[BaseException],
) -> None:
    """Asyncio raises these out of the loop, which is everybody's.  Source: I37."""

    async def gives_up() -> None:
        raise error

    def agent(task: SyncTaskContext) -> str:
        if task.input.text == "bad":
            task.call(gives_up)
        return "fine"

    async with opened(agent) as world:
        end = await ended(await world.submit("bad"))
        assert (end.code, end.message) == ("call_failed", f"gives_up raised {error.__name__}")
        assert await soon((await world.submit("good")).result()) == "fine"


async def test_what_a_plain_agent_calls_and_exits_has_ended() -> None:
    """As for other agents: it is not in doubt, and nobody is asked.  Source: a review."""

    def exits() -> None:
        raise SystemExit(2)

    def agent(task: SyncTaskContext) -> str:
        with suppress(CallFailed):
            task.call(exits)
        return "fine"

    async with opened(agent) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "fine"
        (said,) = [e.data["error"] for e in world.log(handle) if e.data.get("error")]
        assert (said["code"], said["kind"]) == ("call_failed", "SystemExit")


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_a_branch_calls_ends_nothing_else(
    error: type[BaseException],
    is_plain: bool,  # noqa: FBT001
) -> None:
    """A parser of a command line exits, say; asyncio would raise it out of the loop (I37)."""

    def exits() -> None:
        raise error

    async def exits_too() -> None:
        raise error

    async def agent(task: TaskContext) -> str:
        if task.input.text == "bad":
            fn = exits if is_plain else exits_too
            await asyncio.gather(task.call(fn), task.call(lambda: None, key="other"))
        return "fine"

    async with opened(agent) as world:
        handle = await world.submit("bad")
        end = await ended(handle)
        assert end.outcome is Phase.FAILED
        (said,) = [e.data["error"] for e in world.log(handle) if e.data.get("error")]
        assert said["kind"] == error.__name__
        assert await soon((await world.submit("good")).result()) == "fine"


async def test_a_call_that_is_begun_together_with_a_cancel_is_not_made() -> None:
    """By a branch that nobody waits for, whom no cancel tells.  Source: I11."""
    paid: list[str] = []

    def pay() -> None:
        paid.append("paid")

    go = asyncio.Event()

    async def agent(task: TaskContext) -> None:
        await go.wait()
        told = asyncio.create_task(task.emit("one moment"))
        await pause(1)
        paying = asyncio.create_task(task.call(pay))
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.wait([told, paying])

    store = FlakyStore()
    async with opened(agent, store=store) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.RUNNING)
        gate = store.hold("commit")
        go.set()
        await gate.reached()
        await pause()
        cancelling = asyncio.create_task(handle.cancel())
        await pause()
        gate.open()
        assert (await soon(cancelling)).phase is Phase.CANCELLING
        await soon(handle.over())
        assert paid == []
        assert triggers(world.log(handle))[-5:] == [
            "call",
            "cancel",
            "called",
            "stopped",
            "finalize",
        ]


async def test_a_failure_that_may_pass_is_tried_again_after_its_back_off() -> None:
    """Each time later, and not a moment earlier; the last failure is the task's.

    Source: R-LIFE-14.
    """
    attempts: list[int] = []

    async def agent(task: TaskContext) -> None:
        attempts.append(task.attempt)
        raise Retryable("busy")

    limits = Limits(retry=Retry(attempts_max=3, backoff_s=2, backoff_factor=2))
    async with opened(agent, limits=limits) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).seq == 3)
        for wait_s, attempt in ((2, 2), (4, 3)):
            await world.elapse(wait_s - 0.1)
            assert len(attempts) == attempt - 1
            await world.elapse(0.1)
            assert len(attempts) == attempt
        end = await ended(handle)
        assert (end.outcome, end.code, end.message) == (Phase.FAILED, "retryable", "busy")
        assert attempts == [1, 2, 3]
        assert triggers(await finalized(world, handle)).count("retry") == 2


async def test_a_back_off_holds_no_slot() -> None:
    """Others run meanwhile.  Source: R-LIFE-14."""

    async def agent(task: TaskContext) -> str:
        if task.input.text == "bad" and task.attempt == 1:
            raise Retryable("busy")
        return "done"

    limits = Limits(running_turns_max=1, retry=Retry(attempts_max=2, backoff_s=60))
    async with opened(agent, limits=limits) as world:
        bad = await world.submit("bad")
        good = await world.submit("good")
        assert await good.result() == "done"
        assert world.stored(bad).phase is Phase.SUBMITTED
        await world.elapse(60)
        assert await bad.result() == "done"


async def test_what_an_attempt_asked_and_showed_is_not_repeated_by_the_next() -> None:
    """It has the answers of the attempt before."""
    asked: list[str] = []

    async def agent(task: TaskContext) -> str:
        city = await task.ask("Which city?")
        asked.append(city)
        await task.emit("found")
        if task.attempt == 1:
            raise Retryable("busy")
        return city

    async with opened(agent, limits=Limits(retry=Retry(attempts_max=2, backoff_s=1))) as world:
        handle, ask = await world.asking()
        await handle.answer(ask.key, "Rome")
        await until(lambda: world.stored(handle).phase is Phase.SUBMITTED)
        await world.elapse(1)
        assert await handle.result() == "Rome"
        assert asked == ["Rome", "Rome"]
        log = triggers(await finalized(world, handle))
        assert (log.count("ask"), log.count("emit")) == (1, 1)


async def test_an_ask_that_a_failed_attempt_left_open_is_asked_again() -> None:
    """Otherwise the next attempt would wait for an answer that nobody can give."""

    async def agent(task: TaskContext) -> str:
        asking = asyncio.ensure_future(task.ask("Which city?"))
        await pause()
        if task.attempt == 1:
            raise Retryable("busy")
        return await asking

    async with opened(agent, limits=Limits(retry=Retry(attempts_max=2, backoff_s=1))) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.SUBMITTED)
        await until(lambda: "retry" in triggers(world.log(handle)))
        await world.elapse(1)
        ask = (await handle.rest()).asks[0]
        await handle.answer(ask.key, "Rome")
        assert await handle.result() == "Rome"


async def test_an_agent_that_ends_withdraws_what_it_still_asks() -> None:
    """In the same commit: no client sees a question that nobody wants answered."""

    async def agent(task: TaskContext) -> str:
        asking = [asyncio.ensure_future(task.ask("?")) for _ in range(2)]
        await pause()
        for ask in asking:
            ask.add_done_callback(lambda done: done.cancelled() or done.exception())
        return "done"

    async with opened(agent) as world:
        handle = await world.submit()
        assert await handle.result() == "done"
        log = triggers(await finalized(world, handle))
        assert log[4:] == ["withdraw", "withdraw", "complete", "finalize"]


# --- asking -----------------------------------------------------------------------------------


async def ask_two(task: TaskContext) -> object:
    """Two questions at once, one of them for leave."""
    return await asyncio.gather(task.ask("A?"), task.authorize("pay", {"n": 1}))


@pytest.mark.parametrize("input_first", [True, False])
async def test_several_asks_may_be_open_and_the_turn_goes_on_with_the_last(
    input_first: object,
) -> None:
    """Whichever is answered first.  Source: DESIGN 2, R-LIFE-17."""
    async with opened(ask_two) as world:
        handle = await world.submit()
        await until(lambda: len(world.stored(handle).asks) == 2)
        by_input, by_auth = world.stored(handle).asks
        assert world.stored(handle).phase is Phase.WAITING_AUTH

        async def give() -> TaskRecord:
            return await handle.answer(by_input.key, "x")

        async def approve() -> TaskRecord:
            return await handle.approve(by_auth.key, digest=by_auth.digest or "")

        steps: list[Callable[[], Awaitable[TaskRecord]]] = [give, approve]
        first, second = steps if input_first else steps[::-1]
        between = await first()
        assert between.phase is (Phase.WAITING_AUTH if input_first else Phase.WAITING_INPUT)
        assert (await second()).phase is Phase.RUNNING
        assert await handle.result() == ["x", {"n": 1}]


async def test_an_agent_may_give_up_waiting_for_an_answer() -> None:
    """The ask is withdrawn, and a late answer is refused."""
    timeouts: list[asyncio.Timeout] = []

    async def agent(task: TaskContext) -> str:
        try:
            async with asyncio.timeout(None) as timeout:
                timeouts.append(timeout)
                return await task.ask("Which city?")
        except TimeoutError:
            return await task.ask("Really not?")

    async with opened(agent) as world:
        handle, ask = await world.asking()
        timeouts[0].reschedule(asyncio.get_running_loop().time())
        await until(lambda: world.stored(handle).ask("ask-2") is not None)
        with pytest.raises(GuardRefused) as caught:
            await handle.answer(ask.key, "Rome")
        assert caught.value.reason == "ask_is_open"
        await handle.answer("ask-2", "no")
        assert await handle.result() == "no"
        assert "withdraw" in triggers(await finalized(world, handle))


async def test_an_agent_may_give_up_before_its_ask_is_stored() -> None:
    """The ask opens and is withdrawn: the task does not wait for anybody."""

    async def agent(task: TaskContext) -> str:
        asking = asyncio.ensure_future(task.ask("Which city?"))
        await pause()
        asking.cancel()
        await asyncio.wait([asking])
        return await task.ask("Really?")

    async with opened(agent) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.RUNNING)
        gate = world.store.hold("commit")
        await gate.reached()
        await pause(60)
        gate.open()
        await until(lambda: world.stored(handle).ask("ask-2") is not None)
        assert [ask.key for ask in world.stored(handle).asks] == ["ask-2"]
        await handle.answer("ask-2", "yes")
        assert await handle.result() == "yes"


async def test_an_unanswered_ask_with_a_default_is_answered_by_it() -> None:
    """When its time is over.  Source: R-LIFE-13."""

    async def agent(task: TaskContext) -> str:
        return await task.ask("Which city?", default="Rome", expires_s=30)

    async with opened(agent) as world:
        handle, _ = await world.asking()
        await world.elapse(29)
        assert world.stored(handle).phase is Phase.WAITING_INPUT
        await world.elapse(1)
        assert await handle.result() == "Rome"
        await finalized(world, handle)


async def test_an_unanswered_ask_without_a_default_fails_its_task() -> None:
    """And says what nobody answered.  Source: R-LIFE-13."""
    async with opened(asks, limits=Limits(ask_s=30)) as world:
        handle, _ = await world.asking()
        await world.elapse(30)
        end = await ended(handle)
        assert (end.outcome, end.code) == (Phase.FAILED, "ask_expired")
        assert end.message == "nobody answered 'ask-1' in time"
        await finalized(world, handle)


async def test_leave_that_nobody_gives_is_denied() -> None:
    """It stops the task, or is told to the agent: as a denial would.  Source: R-LIFE-13."""

    async def stopped(task: TaskContext) -> None:
        await task.authorize("pay", {}, expires_s=30)

    async def told(task: TaskContext) -> str:
        try:
            await task.authorize("pay", {}, expires_s=30, on_deny="tell_agent")
        except Exception as error:  # noqa: BLE001  any of ours will do
            return str(error)
        return "paid"

    async with opened(stopped) as world:
        handle, _ = await world.asking()
        await world.elapse(30)
        assert (await ended(handle)).code == "ask_expired"
    async with opened(told) as world:
        handle, _ = await world.asking()
        await world.elapse(30)
        assert await handle.result() == "ask-1 was denied: nobody answered in time"


async def test_an_answer_at_the_very_deadline_is_too_late() -> None:
    """The log decides, by one clock; the expiry that follows is the answer.  Source: I09, I10."""
    async with opened(asks, limits=Limits(ask_s=30)) as world:
        handle, ask = await world.asking()
        gate = world.store.hold("due")
        await world.elapse(30)
        await gate.reached()
        with pytest.raises(GuardRefused) as caught:
            await handle.answer(ask.key, "Rome")
        assert caught.value.reason == "answer_is_in_time"
        gate.open()
        assert (await ended(handle)).code == "ask_expired"


async def test_an_answer_just_before_the_deadline_wins() -> None:
    """The timer that fires meanwhile changes nothing.  Source: I09."""
    async with opened(asks, limits=Limits(ask_s=30)) as world:
        handle, ask = await world.asking()
        await world.elapse(29.9)
        gate = world.store.hold("commit")
        answering = asyncio.ensure_future(handle.answer(ask.key, "Rome"))
        await gate.reached()
        await world.elapse(0.1)
        gate.open()
        await soon(answering)
        assert await handle.result() == "Rome"


# --- cancelling -------------------------------------------------------------------------------


async def test_a_queued_task_is_cancelled_at_once() -> None:
    """It has no turn to wait for, and leaves the queue.  Source: R-LIFE-08."""
    slow = Slow()
    async with opened(slow, limits=Limits(running_turns_max=1)) as world:
        running, queued = await world.submit("1"), await world.submit("2")
        assert (await queued.cancel()).phase is Phase.CANCELLED
        assert world.engine.statistics().queued == 0
        slow.go_on.set()
        assert await running.result() == "done"
        assert slow.begun == ["1"]


async def test_a_running_task_is_cancelled_when_its_turn_has_ended() -> None:
    """Cancel tells the truth: not before.  Source: DESIGN 3, R-LIFE-08."""
    cleaned = asyncio.Event()

    async def agent(task: TaskContext) -> None:
        try:
            await task.ask("?")
        finally:
            await cleaned.wait()

    async with opened(agent) as world:
        handle, _ = await world.asking()
        assert (await handle.cancel()).phase is Phase.CANCELLING
        await pause()
        assert world.stored(handle).phase is Phase.CANCELLING
        cleaned.set()
        end = await ended(handle)
        assert (end.outcome, end.abandoned) == (Phase.CANCELLED, False)
        assert triggers(await finalized(world, handle))[3:] == ["cancel", "stopped", "finalize"]


class Wall(ManualClock):
    """A wall clock that somebody sets while its alarms, as an event loop's, go on."""

    set_by = 0.0

    def now(self) -> float:
        """See `Clock.now`."""
        return super().now() + self.set_by


@pytest.mark.parametrize("set_by", [0.0, -3_600.0])
async def test_an_agent_that_swallows_its_cancellation_is_abandoned_after_the_grace(
    set_by: float,
) -> None:
    """The record says so, and what it reports later changes nothing.

    However far the wall clock is set back meanwhile.  Source: I31, I32, R-LIFE-10.
    """
    slow, clock = Slow(swallows=5), Wall()
    async with opened(slow, clock=clock, limits=Limits(grace_s=10)) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        clock.set_by = set_by
        await handle.cancel()
        await world.elapse(9.9)
        assert world.stored(handle).phase is Phase.CANCELLING
        await world.elapse(0.1)
        end = await ended(handle)
        assert (end.outcome, end.abandoned) == (Phase.CANCELLED, True)
        log = await finalized(world, handle)
        assert world.engine.statistics().abandoned == 1
        slow.go_on.set()
        await pause()
        assert world.engine.statistics().abandoned == 0
        assert await world.store.events(handle.task_id) == log


async def test_a_thread_that_waits_for_an_answer_is_cancelled_quickly() -> None:
    """Its call raises what `except Exception` does not catch."""
    raised: list[str] = []

    def agent(task: SyncTaskContext) -> None:
        try:
            task.ask("?")
        except BaseException as error:
            raised.append(type(error).__name__)
            raise

    async with opened(agent, limits=Limits(park_after_s=None)) as world:
        handle, _ = await world.asking()
        await handle.cancel()
        end = await ended(handle)
        assert (end.outcome, end.abandoned) == (Phase.CANCELLED, False)
        assert raised == ["TaskStopped"]


async def test_a_thread_that_is_parked_is_unwound_past_except_exception() -> None:
    """As it comes, it does not outlast the ask.  Source: issue 3, parking."""
    raised: list[str] = []

    def agent(task: SyncTaskContext) -> str:
        try:
            return str(task.ask("?"))
        except BaseException as error:
            raised.append(type(error).__name__)
            raise

    async with opened(agent) as world:
        handle, ask = await world.asking()
        await until(lambda: world.engine.statistics().live == 0)
        assert raised == ["TaskParked"]
        await handle.answer(ask.key, "x")
        assert await soon(handle.result()) == "x"


async def test_a_thread_that_never_looks_is_abandoned_and_ends_in_vain() -> None:
    """Its slot is free again; its result is nobody's.  Source: T25, R-LIFE-10."""
    stuck = Stuck()
    async with opened(stuck, limits=Limits(running_turns_max=1)) as world:
        handle = await world.submit()
        await stuck.begun()
        await handle.cancel()
        await world.elapse(10)
        assert (await ended(handle)).abandoned
        log = await finalized(world, handle)
        assert world.engine.statistics().abandoned == 1
        stuck.free()
        assert await (await world.submit()).result() == "at last"
        assert world.engine.statistics().abandoned == 0
        assert await world.store.events(handle.task_id) == log


async def test_a_parked_task_is_cancelled_without_a_turn() -> None:
    """After a restart nothing of it is alive."""
    store = FlakyStore()
    async with opened(asks, store=store) as world:
        handle, _ = await world.asking()
    async with opened(asks, store=store) as world:
        handle = world.handle(handle)
        await handle.cancel()
        assert (await ended(handle)).outcome is Phase.CANCELLED
        await finalized(world, handle)
        assert world.engine.statistics().live == 0


async def test_a_cancel_before_the_first_step_of_a_turn_stops_it() -> None:
    """It does not wait for a grace in which nothing could happen."""
    begun: list[str] = []

    go = asyncio.Event()

    async def agent(task: TaskContext) -> None:
        if task.input.text == "first":
            await go.wait()
        else:
            begun.append("x")

    async with opened(agent, limits=Limits(running_turns_max=1)) as world:
        first = await world.submit("first")
        handle = await world.submit("second")
        ending = world.store.hold("commit")
        go.set()
        await ending.reached()
        starting = world.store.hold("commit")
        ending.open()
        await soon(first.over())
        await starting.reached()
        cancelling = asyncio.ensure_future(handle.cancel())
        await pause()
        starting.open()
        await soon(cancelling)
        end = await ended(handle)
        assert (end.outcome, end.abandoned) == (Phase.CANCELLED, False)
        assert begun == []


async def test_a_repeated_cancel_is_accepted_and_a_late_one_refused() -> None:
    """While it is being stopped, and when it is over.  Source: R-LIFE-09."""
    slow = Slow(swallows=1)
    async with opened(slow) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        first = await handle.cancel("mine")
        assert await handle.cancel("theirs") == first
        slow.go_on.set()
        assert (await ended(handle)).message == "mine"
        with pytest.raises(IllegalTrigger):
            await handle.cancel()
        await finalized(world, handle)
        with pytest.raises(IllegalTrigger):
            await handle.cancel()


async def test_a_cancel_that_comes_before_the_end_wins() -> None:
    """Whatever the agent returns then."""
    slow = Slow()
    async with opened(slow) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        gate = world.store.hold("commit")
        cancelling = asyncio.ensure_future(handle.cancel())
        await gate.reached()
        slow.go_on.set()
        await pause()
        gate.open()
        assert (await soon(cancelling)).phase is Phase.CANCELLING
        assert (await ended(handle)).outcome is Phase.CANCELLED


async def test_a_cancel_and_the_end_may_be_stored_together() -> None:
    """There is no turn left to stop then."""
    go_on = asyncio.Event()

    async def agent(task: TaskContext) -> str:
        emitting = asyncio.ensure_future(task.emit("text"))
        await go_on.wait()
        emitting.add_done_callback(lambda done: done.exception())
        return "done"

    async with opened(agent) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.RUNNING)
        gate = world.store.hold("commit")
        await gate.reached()
        cancelling = asyncio.ensure_future(handle.cancel())
        await pause()
        go_on.set()
        await pause()
        gate.open()
        assert (await soon(cancelling)).shown is Phase.CANCELLED
        assert triggers(await finalized(world, handle))[2:] == [
            *("emit", "cancel", "stopped", "finalize"),
        ]


async def test_an_end_that_comes_before_the_cancel_wins() -> None:
    """The cancel is refused then."""
    slow = Slow()
    async with opened(slow) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        gate = world.store.hold("commit")
        slow.go_on.set()
        await gate.reached()
        cancelling = asyncio.ensure_future(handle.cancel())
        await pause()
        gate.open()
        with pytest.raises(IllegalTrigger):
            await soon(cancelling)
        assert await handle.result() == "done"


# --- deadlines --------------------------------------------------------------------------------


async def test_a_turn_that_runs_too_long_is_stopped() -> None:
    """By the run deadline: it timed out."""
    slow = Slow()
    async with opened(slow, limits=Limits(run_s=30)) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        await world.elapse(29.9)
        assert world.stored(handle).phase is Phase.RUNNING
        await world.elapse(0.1)
        end = await ended(handle)
        assert (end.outcome, end.code) == (Phase.TIMED_OUT, "run_deadline")


async def test_waiting_for_people_does_not_count_as_running() -> None:
    """The run clock stands still with what is left.  Source: R-LIFE-12."""
    go_on = asyncio.Event()

    async def agent(task: TaskContext) -> None:
        await go_on.wait()
        await task.ask("?")
        await asyncio.Event().wait()

    async with opened(agent, limits=Limits(run_s=30)) as world:
        handle = await world.submit()
        await world.elapse(20)
        go_on.set()
        await handle.rest()
        await world.elapse(1_000)
        await handle.answer("ask-1", "x")
        await world.elapse(9.9)
        assert world.stored(handle).phase is Phase.RUNNING
        await world.elapse(0.1)
        assert (await ended(handle)).code == "run_deadline"


async def test_the_deadline_of_a_task_counts_all_of_its_time() -> None:
    """In the queue, running and waiting; a parked task as well.  Source: R-LIFE-12."""
    slow = Slow()
    async with opened(slow, limits=Limits(running_turns_max=1)) as world:
        running = await world.submit("running", task_s=30)
        queued = await world.submit("queued", task_s=20)
        await world.elapse(20)
        assert (await ended(queued)).code == "task_deadline"
        await world.elapse(10)
        assert (await ended(running)).code == "task_deadline"
        await finalized(world, queued)
        await finalized(world, running)
    async with opened(asks) as world:
        waiting = await world.submit(task_s=30)
        await waiting.rest()
        await world.elapse(30)
        end = await ended(waiting)
        assert (end.outcome, end.code) == (Phase.TIMED_OUT, "task_deadline")


async def test_the_deadline_of_a_task_counts_while_it_waits_to_be_tried_again() -> None:
    """Also when its back-off is over and no slot is free."""
    slow = Slow()

    async def agent(task: TaskContext) -> str:
        if task.input.text == "busy" and task.attempt == 1:
            raise Retryable("busy")
        return await slow(task)

    limits = Limits(running_turns_max=1, retry=Retry(attempts_max=2, backoff_s=5))
    async with opened(agent, limits=limits) as world:
        busy = await world.submit("busy", task_s=60)
        await until(lambda: "retry" in triggers(world.log(busy)))
        await world.submit("other")
        await until(lambda: slow.begun == ["other"])
        await world.elapse(10)
        assert world.engine.statistics().queued == 1
        await world.elapse(50)
        assert (await ended(busy)).code == "task_deadline"
        slow.go_on.set()
        await pause()
        assert slow.begun == ["other"]


@pytest.mark.parametrize("ends", ["cancelled", "started"])
async def test_the_deadline_of_a_task_that_left_the_queue_is_kept_by_nobody_else(
    ends: str,
) -> None:
    """However a task leaves it, nothing is left armed that was for its wait.  Source: R-ENG-08."""
    slow = Slow()

    async def agent(task: TaskContext) -> str:
        if task.input.text == "busy" and task.attempt == 1:
            raise Retryable("busy")
        return await slow(task)

    limits = Limits(running_turns_max=1, retry=Retry(attempts_max=2, backoff_s=5))
    async with opened(agent, limits=limits) as world:
        runtime = world.engine._runtime
        assert runtime is not None
        busy = await world.submit("busy")
        await until(lambda: "retry" in triggers(world.log(busy)))
        await world.submit("other")
        await until(lambda: slow.begun == ["other"])
        await world.elapse(10)
        assert list(runtime._late) == [busy.task_id]
        if ends == "cancelled":
            await busy.cancel()
        slow.go_on.set()
        await soon(busy.over())
        assert runtime._late == {}


async def test_an_end_while_the_tasks_of_its_owner_are_counted_is_counted() -> None:
    """Else there would be one too many for as long as the engine lives.  Source: R-ENG-09."""
    limits = Limits(open_tasks_per_owner_max=1)
    async with opened(asks, limits=limits) as first:
        handle, ask = await first.asking()
    async with opened(asks, store=first.store, clock=first.clock, limits=limits) as world:
        gate = world.store.hold("open_tasks")
        submission = asyncio.ensure_future(world.submit())
        await gate.reached()
        earlier = world.handle(handle)
        await earlier.answer(ask.key, "Oslo")
        await soon(earlier.over())
        gate.open()
        assert (await soon(submission)).created
        with pytest.raises(LimitReached):
            await world.submit()


class HoldsNoResult(FlakyStore):
    """A store for which every result is too large."""

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        if any(event.trigger is Trigger.COMPLETE for event in commit.events):
            raise Unstorable("it is larger than a row")
        await super().commit(commit)


async def test_a_result_that_no_store_can_hold_fails_its_task() -> None:
    """Its turn is over, and nobody would ever say so again.  Source: R-STORE-09."""

    async def agent(_task: TaskContext) -> str:
        return "done"

    async with opened(agent, store=HoldsNoResult()) as world:
        handle = await world.submit()
        end = await ended(handle)
        assert (end.outcome, end.code) == (Phase.FAILED, "result_invalid")


async def test_a_drain_that_nobody_waits_for_any_more_closes_at_once() -> None:
    """Nothing is left open: the engine can be opened again, and goes on.  Source: R-ENG-13."""
    slow = Slow()
    async with opened(slow) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        assert not drain.done()
        drain.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(drain)
        assert world.engine.statistics().live == 0
        slow.go_on.set()
        await world.engine.start()
        assert await soon(world.handle(handle).result()) == "done"


@pytest.mark.parametrize("again", [False, True])
async def test_a_submission_that_is_overtaken_by_a_drain_makes_no_task(again: bool) -> None:  # noqa: FBT001
    """Nobody here would start it, also if the engine is open again by then.  Source: R-ENG-13."""
    async with opened(asks) as world:
        gate = world.store.hold("open_tasks")
        submission = asyncio.ensure_future(world.submit())
        await gate.reached()
        await world.engine.drain()
        if again:
            await world.engine.start()
        gate.open()
        with pytest.raises(NotAccepting):
            await soon(submission)
        assert world.store._tasks == {}


async def test_deadlines_survive_a_restart() -> None:
    """Those that passed meanwhile are fired at the start, the others at their time.

    Source: R-LIFE-11.
    """
    store, clock = FlakyStore(), ManualClock()
    limits = Limits(ask_s=100)
    async with opened(asks, store=store, clock=clock, limits=limits) as world:
        early, _ = await world.asking()
        await world.elapse(50)
        late, _ = await world.asking()
    clock.advance(60)
    async with opened(asks, store=store, clock=clock, limits=limits) as world:
        assert (await ended(world.handle(early))).code == "ask_expired"
        assert world.stored(late).phase is Phase.WAITING_INPUT
        await world.elapse(40)
        assert (await ended(world.handle(late))).code == "ask_expired"


async def test_a_back_off_survives_a_restart() -> None:
    """The task is not started before, nor forgotten.  Source: R-LIFE-11."""
    attempts: list[int] = []

    async def agent(task: TaskContext) -> str:
        attempts.append(task.attempt)
        if task.attempt == 1:
            raise Retryable("busy")
        return "done"

    store, clock = FlakyStore(), ManualClock()
    limits = Limits(retry=Retry(attempts_max=2, backoff_s=100, backoff_max_s=100))
    async with opened(agent, store=store, clock=clock, limits=limits) as world:
        handle = await world.submit()
        await until(lambda: "retry" in triggers(world.log(handle)))
    async with opened(agent, store=store, clock=clock, limits=limits) as world:
        await world.elapse(99)
        assert attempts == [1]
        await world.elapse(1)
        assert await world.handle(handle).result() == "done"


# --- recovery -----------------------------------------------------------------------------------


async def test_a_turn_that_was_lost_is_run_again_up_to_where_it_was() -> None:
    """Under a new epoch; what it showed and asked is not repeated.  Source: I17, I29, R-JRN-07."""
    runs: list[str] = []
    go_on = asyncio.Event()

    async def agent(task: TaskContext) -> str:
        city = await task.ask("Which city?")
        await task.emit("found")
        await task.progress("almost")
        runs.append(city)
        await go_on.wait()
        await task.emit("more")
        return city

    async with opened(agent) as first:
        handle, ask = await first.asking()
        await handle.answer(ask.key, "Rome")
        await until(lambda: runs == ["Rome"])
        async with opened(agent, store=first.crash()) as second:
            handle = second.handle(handle)
            await until(lambda: runs == ["Rome", "Rome"])
            go_on.set()
            assert await handle.result() == "Rome"
            log = await finalized(second, handle)
            assert triggers(log) == [
                *("submit", "start", "ask", "provide_input", "emit", "progress"),
                *("recover", "emit", "complete", "finalize"),
            ]
            assert [event.epoch for event in log] == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]


async def test_a_task_that_was_being_cancelled_is_cancelled() -> None:
    """Its turn is gone: there is no grace to wait for."""
    slow = Slow(swallows=9)
    async with opened(slow) as first:
        handle = await first.submit()
        await until(lambda: bool(slow.begun))
        await handle.cancel()
        async with opened(slow, store=first.crash()) as second:
            end = await ended(second.handle(handle))
            assert (end.outcome, end.abandoned) == (Phase.CANCELLED, False)
            await finalized(second, handle)
        slow.go_on.set()


async def test_a_task_that_is_told_of_while_others_are_read_goes_on_all_the_same() -> None:
    """Who serves its webhook at the start lets go of it then, and nobody else may.  R-JRN-07."""
    served = asyncio.Event()

    class Receiver:
        async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
            assert watch.task_id == view.record.task_id
            assert events
            served.set()

    async def agent(task: TaskContext) -> str:
        await (asyncio.sleep(0) if served.is_set() else asyncio.Event().wait())
        await task.emit("hello")
        return "done"

    async with opened(agent) as first:
        handle = await first.submit()
        await until(lambda: first.stored(handle).phase is Phase.RUNNING)
        store = first.crash()
        await store.put_watch(Watch("w", handle.task_id, "hook", {}, 0))
        store.hold("unfinished").open()
        others, recovers = store.hold("unfinished"), store.hold("commit")

        async def goes_on() -> None:
            await others.reached()
            await soon(served.wait())
            await pause(100)
            others.open()

        going_on = asyncio.ensure_future(goes_on())
        async with opened(agent, store=store, deliverers={"hook": Receiver()}) as second:
            handle = second.handle(handle)
            await recovers.reached()
            following = asyncio.ensure_future(log_of(handle))
            await pause()
            recovers.open()
            assert triggers(await soon(following))[-3:] == ["recover", "emit", "complete"]
            await going_on


async def test_a_task_that_was_over_is_finalized() -> None:
    """The crash came before what it owed was delivered."""

    class Receiver:
        """Takes what it is given, unless it is deaf."""

        deaf = True

        async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
            """See `Deliverer`."""
            del watch, view, events
            if self.deaf:
                raise DeliveryFailed("nobody hears")

    async def agent(_task: TaskContext) -> str:
        return "done"

    receiver = Receiver()
    async with opened(agent, deliverers={"hook": receiver}) as first:
        watch = NewWatch("w", "hook", {})
        handle = await first.engine.submit("go", owner="ada", watches=[watch])
        assert (await soon(handle.over())).phase is Phase.COMPLETED
        receiver.deaf = False
        store = first.crash()
        clock = ManualClock(first.clock.now() + 10_000.0)
        async with opened(agent, store=store, clock=clock, deliverers={"hook": receiver}) as second:
            log = await finalized(second, handle)
            assert triggers(log)[-2:] == ["complete", "finalize"]


async def test_a_task_that_was_queued_is_started() -> None:
    """Bounds hold at the start as well."""
    slow = Slow()
    limits = Limits(running_turns_max=1)
    async with opened(slow, limits=limits) as first:
        handles = [await first.submit(str(n)) for n in range(3)]
        await until(lambda: bool(slow.begun))
        async with opened(slow, limits=limits, store=first.crash()) as second:
            await pause()
            assert second.engine.statistics().running == 1
            slow.go_on.set()
            for handle in handles:
                assert await second.handle(handle).result() == "done"
        assert sorted(slow.begun) == ["0", "0", "1", "2"]


async def test_more_tasks_than_are_read_at_once_are_recovered() -> None:
    """A restart after a busy day."""

    async def agent(_task: TaskContext) -> str:
        return "done"

    slow = Slow()
    limits = Limits(running_turns_max=1)
    async with opened(slow, limits=limits) as first:
        handles = [await first.submit() for _ in range(501)]
        async with opened(agent, store=first.crash()) as second:
            for handle in handles:
                await second.handle(handle).over()
        slow.go_on.set()


# --- somebody else writes ---------------------------------------------------------------------


async def test_a_cancel_by_another_process_is_obeyed_at_the_next_report() -> None:
    """The report conflicts, is judged again and refused; the turn ends as a stop."""
    go_on = asyncio.Event()

    async def agent(task: TaskContext) -> None:
        await go_on.wait()
        await task.emit("text")

    async with opened(agent) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.RUNNING)
        await pause()
        data = {"grace_s": 60.0, "reason": "elsewhere"}
        await world.elsewhere(handle, Trigger.CANCEL, data, actor="bob")
        go_on.set()
        end = await ended(handle)
        assert (end.outcome, end.message) == (Phase.CANCELLED, "elsewhere")
        await finalized(world, handle)
        assert world.engine.statistics().live == 0


@pytest.mark.parametrize(
    ("trigger", "data"),
    [
        (Trigger.RECOVER, {"run_s": None}),
        (Trigger.COMPLETE, {"epoch": 1, "parts": []}),
    ],
)
async def test_a_task_that_another_process_took_over_is_no_longer_ours(
    trigger: Trigger, data: dict[str, Any]
) -> None:
    """The turn is cut off, and nothing that it reports counts.  Source: I17, I32."""
    go_on = asyncio.Event()
    errors: list[BaseException] = []

    async def agent(task: TaskContext) -> None:
        await go_on.wait()
        try:
            await task.emit("text")
        except BaseException as error:
            errors.append(error)
            raise

    async with opened(agent) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.RUNNING)
        await pause()
        await world.elsewhere(handle, trigger, data, actor="engine")
        go_on.set()
        await until(lambda: bool(errors))
        await pause()
        assert isinstance(errors[0], Refused | asyncio.CancelledError)
        assert triggers(world.log(handle)) == ["submit", "start", trigger.value]
        assert world.engine.statistics().live == 0


# --- a store that fails -------------------------------------------------------------------------


async def test_the_end_of_a_turn_is_stored_sooner_or_later() -> None:
    """It is tried again until it is; nothing else can end the task.  Source: I29."""

    async def agent(_task: TaskContext) -> str:
        return "done"

    async with opened(agent) as world:
        handle = await world.submit()
        world.store.breaks("commit")
        await until(lambda: len(world.store.commits) >= 2)
        for _ in range(3):
            await world.elapse(STORE_RETRY_S)
        assert world.stored(handle).phase is not Phase.COMPLETED
        world.store.mends("commit")
        for _ in range(3):
            await world.elapse(STORE_RETRY_S)
        assert await handle.result() == "done"
        await finalized(world, handle)


async def test_an_ask_is_open_for_its_time_however_long_the_store_was_away() -> None:
    """Nobody can answer what is not stored.  Source: I09; the fuzz kit found it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def agent(task: TaskContext) -> str:
        begun.set()
        await go_on.wait()
        return await task.ask("Where?", str, key="where", expires_s=5 * STORE_RETRY_S)

    async with opened(agent) as world:
        handle = await world.submit()
        await begun.wait()
        world.store.breaks("commit")
        go_on.set()
        await pause()
        for _ in range(10):
            await world.elapse(STORE_RETRY_S)
        world.store.mends("commit")
        await world.elapse(STORE_RETRY_S)
        await until(lambda: world.stored(handle).phase is Phase.WAITING_INPUT)
        (ask,) = world.stored(handle).asks
        assert ask.due - ask.asked_at == 5 * STORE_RETRY_S
        await world.elapse(4 * STORE_RETRY_S)
        await handle.answer("where", "Rome")
        assert await handle.result() == "Rome"


async def test_a_turn_whose_log_cannot_be_read_is_started_later() -> None:
    """The answer is stored; the turn must follow.  Source: I29."""
    store = FlakyStore()
    async with opened(asks, store=store) as world:
        handle, ask = await world.asking()
    async with opened(asks, store=store) as world:
        handle = world.handle(handle)
        store.fail("events", StoreError("the disk is on fire"), StoreError("still"))
        await handle.answer(ask.key, "Rome")
        await world.elapse(STORE_RETRY_S)
        await world.elapse(STORE_RETRY_S)
        assert await handle.result() == "Rome"


async def test_a_queued_task_that_cannot_be_read_is_started_later() -> None:
    """Its slot is not lost."""
    slow = Slow()
    limits = Limits(running_turns_max=1)
    async with opened(slow, limits=limits) as world:
        first, second = await world.submit("1"), await world.submit("2")
        await until(lambda: bool(slow.begun))
        await until(lambda: world.engine.statistics().live == 1)
        world.store.breaks("get")
        slow.go_on.set()
        await until(lambda: world.stored(first).phase is Phase.FINALIZED)
        await pause()
        assert slow.begun == ["1"]
        world.store.mends("get")
        await world.elapse(STORE_RETRY_S)
        assert await second.result() == "done"


async def test_a_deadline_whose_task_cannot_be_read_is_fired_later() -> None:
    """It is late then, never lost."""
    store, clock = FlakyStore(), ManualClock()
    async with opened(asks, store=store, clock=clock) as world:
        handle, _ = await world.asking()
    clock.advance(Limits().ask_s)
    async with opened(asks, store=store, clock=clock) as world:
        store.fail("get")
        await pause()
        assert world.stored(handle).phase is Phase.WAITING_INPUT
        await world.elapse(STORE_RETRY_S)
        assert (await ended(world.handle(handle))).code == "ask_expired"


async def test_what_failed_is_not_tried_again_once_the_engine_is_closed() -> None:
    """The next start goes on from what the store has."""
    store, clock = FlakyStore(), ManualClock()
    async with opened(asks, store=store, clock=clock) as world:
        handle, ask = await world.asking()
    async with opened(asks, store=store, clock=clock) as world:
        store.breaks("events")
        await world.handle(handle).answer(ask.key, "Rome")
        await pause()
    clock.advance(10 * STORE_RETRY_S)
    await pause()
    store.mends("events")
    async with opened(asks, store=store, clock=clock) as world:
        assert await world.handle(handle).result() == "Rome"


# --- the order of starting ------------------------------------------------------------------


async def test_tasks_start_in_the_order_in_which_they_came() -> None:
    """As slots get free, and never more at once than there are."""
    running: list[str] = []
    most: list[int] = []
    gates = {str(n): asyncio.Event() for n in range(6)}

    async def agent(task: TaskContext) -> None:
        running.append(task.input.text)
        most.append(len(running) - sum(gate.is_set() for gate in gates.values()))
        await gates[task.input.text].wait()

    async with opened(agent, limits=Limits(running_turns_max=2)) as world:
        handles = [await world.submit(str(n)) for n in range(6)]
        for n, handle in enumerate(handles):
            await until(lambda n=n: len(running) >= min(n + 2, 6))  # type: ignore[misc]
            assert world.engine.statistics().running <= 2
            gates[str(n)].set()
            await handle.over()
        assert running == [str(n) for n in range(6)]
        assert max(most) <= 2


async def test_a_start_that_comes_after_a_cancel_gives_its_slot_to_the_next() -> None:
    """The slot was taken while the cancel was being stored."""
    slow = Slow()
    async with opened(slow, limits=Limits(running_turns_max=1)) as world:
        first, second, third = [await world.submit(str(n)) for n in range(3)]
        await until(lambda: bool(slow.begun))
        gate = world.store.hold("commit")
        cancelling = asyncio.ensure_future(second.cancel())
        await gate.reached()
        slow.go_on.set()
        assert await first.result() == "done"
        await pause()
        assert world.engine.statistics().running == 1
        gate.open()
        assert (await soon(cancelling)).phase is Phase.CANCELLED
        assert await third.result() == "done"
        assert slow.begun == ["0", "2"]
        await pause()
        assert world.engine.statistics().running == 0


async def test_a_waiting_task_gives_its_slot_to_the_next() -> None:
    """Thousands may wait for people while few run."""
    async with opened(asks, limits=Limits(running_turns_max=1)) as world:
        handles = [await world.submit() for _ in range(3)]
        for handle in handles:
            assert (await handle.rest()).phase is Phase.WAITING_INPUT
        assert world.engine.statistics().running == 0
        for handle in handles:
            await handle.answer("ask-1", "x")
            assert await handle.result() == "x"


# --- draining ----------------------------------------------------------------------------------


async def test_a_drain_waits_for_turns_that_come_to_a_rest() -> None:
    """The task is over, and nothing of it is alive.  Source: R-ENG-13."""
    slow = Slow()
    async with opened(slow) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        assert not drain.done()
        slow.go_on.set()
        await soon(drain)
        assert world.stored(handle).phase in {Phase.COMPLETED, Phase.FINALIZED}
        assert slow.cancelled == 0


async def test_a_turn_that_does_not_rest_is_cut_off_and_goes_on_at_the_next_start() -> None:
    """Its task stays running in the store.  Source: DESIGN 3, shutdown, R-ENG-13."""
    slow = Slow()
    async with opened(slow, limits=Limits(drain_s=5)) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        drain = asyncio.ensure_future(world.engine.drain())
        await world.elapse(4.9)
        assert not drain.done()
        await world.elapse(0.1)
        await soon(drain)
        assert world.stored(handle).phase is Phase.RUNNING
        assert slow.cancelled == 1
        slow.go_on.set()
        await world.engine.start()
        assert await handle.result() == "done"
        assert triggers(await finalized(world, handle))[2] == "recover"


async def test_a_drain_that_is_not_to_wait_asks_no_clock() -> None:
    """A test that fails in the middle of a turn, on a clock of its own, ends.  Source: R-ENG-13."""
    slow, store = Slow(), FlakyStore()
    engine = Engine(slow, store=store, clock=ManualClock(), limits=Limits(drain_s=0))
    await engine.start()
    handle = await engine.submit("go", owner=OWNER)
    await until(lambda: bool(slow.begun))
    await soon(engine.drain())
    assert store._tasks[handle.task_id].record.phase is Phase.RUNNING
    assert slow.cancelled == 1


async def test_a_drain_starts_nothing_that_is_queued() -> None:
    """Otherwise it would work off the queue, and cut off what it had just started."""
    slow = Slow()
    async with opened(slow, limits=Limits(running_turns_max=1)) as world:
        _, queued = await world.submit("1"), await world.submit("2")
        await until(lambda: bool(slow.begun))
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        slow.go_on.set()
        await soon(drain)
        assert world.stored(queued).phase is Phase.SUBMITTED
        assert slow.begun == ["1"]


async def test_an_answer_during_a_drain_is_kept() -> None:
    """A turn that is there goes on with it; one that is not is for the next start."""
    store = FlakyStore()
    async with opened(asks, store=store) as world:
        parked, ask = await world.asking()
    slow = Slow()

    async def agent(task: TaskContext) -> str:
        return await (slow(task) if task.input.text == "slow" else asks(task))

    async with opened(agent, store=store) as world:
        await world.submit("slow")
        resident, _ = await world.asking()
        await until(lambda: bool(slow.begun))
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        parked = world.handle(parked)
        await parked.answer(ask.key, "Rome")
        await resident.answer("ask-1", "Oslo")
        await until(lambda: world.stored(resident).phase is Phase.FINALIZED)
        await pause()
        assert world.stored(parked).phase is Phase.RUNNING
        slow.go_on.set()
        await soon(drain)
        await world.engine.start()
        assert await parked.result() == "Rome"


async def test_a_turn_that_is_being_prepared_is_not_started_after_the_drain() -> None:
    """Its log was still being read."""
    begun: list[str] = []

    async def agent(task: TaskContext) -> str:
        city = await task.ask("Which city?")
        begun.append(city)
        return city

    store = FlakyStore()
    async with opened(agent, store=store) as world:
        handle, ask = await world.asking()
    async with opened(agent, store=store) as world:
        gate = store.hold("events")
        handle = world.handle(handle)
        await handle.answer(ask.key, "Rome")
        await gate.reached()
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        gate.open()
        await soon(drain)
        await pause()
        assert begun == []
        await world.engine.start()
        assert await handle.result() == "Rome"
        assert begun == ["Rome"]


async def test_a_drain_leaves_no_task_and_no_thread() -> None:
    """Whatever was going on.  Source: I30."""
    slow = Slow()

    async def on_the_loop(task: TaskContext) -> object:
        return await (slow(task) if task.input.text == "slow" else asks(task))

    def on_a_thread(task: SyncTaskContext) -> object:
        return task.ask("?")

    for agent in (on_the_loop, on_a_thread):
        tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
        async with opened(agent) as world:
            for text in ("slow", "asks", "asks too"):
                await world.submit(text)
            await pause()
        # Grace passed at once by the manual clock, but threads need real time to end.
        await until(lambda threads=threads: set(threading.enumerate()) <= threads)  # type: ignore[misc]
        await pause()
        assert asyncio.all_tasks() == tasks


async def test_a_drain_forgets_every_deadline() -> None:
    """The store keeps them; nothing rings for an engine that is closed."""
    slow = Slow()

    async def agent(task: TaskContext) -> str:
        if task.input.text == "busy":
            raise Retryable("busy")
        return await slow(task)

    limits = Limits(running_turns_max=1, retry=Retry(attempts_max=2, backoff_s=5))
    async with opened(agent, limits=limits) as world:
        busy = await world.submit("busy")
        await until(lambda: "retry" in triggers(world.log(busy)))
        await world.submit("slow")
        await until(lambda: bool(slow.begun))
        await world.elapse(5)
        assert world.engine.statistics().queued == 1
        slow.go_on.set()
        await soon(world.engine.drain())
        assert world.clock.alarms == 0
        assert world.stored(busy).phase is Phase.SUBMITTED


async def test_a_thread_that_never_looks_does_not_keep_the_engine_open() -> None:
    """It is left behind after the grace, and can do no more harm."""
    stuck = Stuck()
    async with opened(stuck, limits=Limits(drain_s=5, grace_s=5)) as world:
        handle = await world.submit()
        await stuck.begun()
        drain = asyncio.ensure_future(world.engine.drain())
        await world.elapse(5)
        assert not drain.done()
        await world.elapse(5)
        await soon(drain)
        assert world.stored(handle).phase is Phase.RUNNING
        stuck.free()
        await pause()
        assert world.stored(handle).phase is Phase.RUNNING


async def test_a_thread_that_an_engine_waits_for_no_more_has_not_stopped() -> None:
    """Its task is not said to be cancelled while it works on.  Source: R-JRN-15."""

    class Slowly:
        """Takes what is sent, in its own time."""

        async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
            """See `Deliverer`."""
            del watch, view, events
            await asyncio.Event().wait()

    stuck = Stuck()
    limits = Limits(drain_s=1, grace_s=5)
    async with opened(stuck, limits=limits, deliverers={"hook": Slowly()}) as world:
        watch = NewWatch("w", "hook", {})
        handle = await world.engine.submit("go", owner="ada", watches=[watch])
        await stuck.begun()
        await handle.cancel()
        await drained(world.engine, world.clock)
        assert triggers(world.log(handle)) == ["submit", "start", "cancel"]
        stuck.free()
        await pause()
        assert triggers(world.log(handle)) == ["submit", "start", "cancel"]


async def test_an_abandoned_thread_does_not_keep_the_engine_open_either() -> None:
    """It was given up before."""
    stuck = Stuck()
    async with opened(stuck, limits=Limits(grace_s=5)) as world:
        handle = await world.submit()
        await stuck.begun()
        await handle.cancel()
        await world.elapse(5)
        assert (await ended(handle)).abandoned
        await finalized(world, handle)
        drain = asyncio.ensure_future(world.engine.drain())
        await world.elapse(5)
        await soon(drain)
        stuck.free()


async def test_an_abandoned_turn_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody has to look after what it may still hold."""
    slow = Slow(swallows=2)
    async with opened(slow, limits=Limits(grace_s=5)) as world:
        handle = await world.submit()
        await until(lambda: bool(slow.begun))
        await handle.cancel()
        await world.elapse(5)
        await ended(handle)
        slow.go_on.set()
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("was abandoned" in message for message in warnings)


async def test_an_ask_after_the_clock_was_set_back_can_be_answered() -> None:
    """It is open for as long as it says, from when it stands in the log.

    The fuzz kit found it.  Source: I09, R-FUZZ-14.
    """

    async def asks_twice(task: TaskContext) -> str:
        await task.ask("One?")
        return await task.ask("Two?")

    async with opened(asks_twice, limits=Limits(ask_s=60.0)) as world:
        handle, ask = await world.asking()
        world.clock._now -= 3_600
        await handle.answer(ask.key, "yes")
        record = await handle.rest()
        assert record.asks[0].due == record.asks[0].asked_at + 60.0
        await handle.answer(record.asks[0].key, "yes as well")
        assert await soon(handle.result()) == "yes as well"


# --- slots of tasks that cannot be started -------------------------------------------------


def started_by(holds: Callable[[TaskRecord, Signal], bool]) -> Lifecycle:
    """A lifecycle with a condition of its own at the start of a task."""
    own = Row(
        Trigger.START,
        Phase.SUBMITTED,
        Phase.CANCELLED,
        changes.cancelled_unstarted,
        (Publish(), Release()),
        when=Guard("ill", holds, ""),
    )
    return LIFECYCLE.extend(rows=[own])


async def test_a_start_that_breaks_keeps_no_slot(caplog: pytest.LogCaptureFixture) -> None:
    """Of a lifecycle whose own condition raises for a while.  Source: a stranger's review."""
    ill = True

    def holds(_record: TaskRecord, _signal: Signal) -> bool:
        if ill:
            raise RuntimeError("boom")
        return False

    lifecycle = started_by(holds)
    limits = Limits(running_turns_max=2)
    async with Engine(at_once, lifecycle=lifecycle, store="memory:", limits=limits) as engine:
        for _ in range(5):
            handle = await engine.submit("x", owner="ada")
            assert handle.record.phase is Phase.SUBMITTED
        await pause()
        assert engine.statistics().running == 0
        ill = False
        well = await engine.submit("well", owner="ada")
        assert await soon(well.result()) == "well"
        assert engine.statistics().running == 0
    assert "could not be started at once" in caplog.text


async def test_a_start_that_breaks_is_tried_again() -> None:
    """Its task once waited in no queue any more, until a restart.  Source: a stranger's review."""
    ill = True

    def holds(_record: TaskRecord, _signal: Signal) -> bool:
        if ill:
            raise RuntimeError("boom")
        return False

    async with opened(at_once, lifecycle=started_by(holds)) as world:
        handle = await world.submit("x")
        await world.elapse(STORE_RETRY_S)
        assert world.stored(handle).phase is Phase.SUBMITTED
        ill = False
        await world.elapse(STORE_RETRY_S)
        assert await soon(handle.result()) == "x"


async def test_a_start_that_breaks_behind_a_retry_is_tried_once_a_second() -> None:
    """Its back-off is over and due for ever: it once came again at once.  Source: a review."""
    asked = 0
    ill = True

    def holds(record: TaskRecord, _signal: Signal) -> bool:
        nonlocal asked
        if record.attempt and ill:
            asked += 1
            raise RuntimeError("boom")
        return False

    async def twice(task: TaskContext) -> str:
        if task.attempt == 1:
            raise Retryable("once more")
        return "done"

    limits = Limits(retry=Retry(attempts_max=2))
    async with opened(twice, limits=limits, lifecycle=started_by(holds)) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).attempt == 1)
        await pause()
        await world.elapse(60.0)
        met = asked
        assert met > 0
        for more in (1, 2, 3):
            await world.elapse(STORE_RETRY_S)
            assert asked == met + more
        ill = False
        await world.elapse(STORE_RETRY_S)
        assert await soon(handle.result()) == "done"


async def test_an_end_that_breaks_is_an_end_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """The result was once dropped, and the task ran on without a turn.  Source: a review."""

    def holds(_record: TaskRecord, _signal: Signal) -> bool:
        raise RuntimeError("boom")

    own = Row(
        Trigger.COMPLETE,
        Phase.RUNNING,
        Phase.FAILED,
        changes.failed,
        (Publish(), Release()),
        when=Guard("ill", holds, ""),
    )
    async with opened(at_once, lifecycle=LIFECYCLE.extend(rows=[own])) as world:
        end = await ended(await world.submit("x"))
        assert (end.outcome, end.code) == (Phase.FAILED, "result_invalid")
        assert end.message == "what the agent came to cannot be kept"
    assert "boom" in caplog.text


# --- slots of tasks that came to nothing -----------------------------------------------------


#: Of a client.
M1 = "m1"


async def at_once(task: TaskContext) -> str:
    """Repeat what was said; one that is flaky fails at first."""
    if task.input.text == "flaky" and task.attempt == 1:
        raise Retryable("not yet")
    return task.input.text


async def test_a_task_that_came_to_nothing_gives_its_slot_to_who_waits() -> None:
    """Nobody else comes by to start the queue."""
    async with opened(at_once, limits=Limits(running_turns_max=1)) as world:
        held = world.store.hold("commit")
        first = asyncio.ensure_future(world.submit("first"))
        await held.reached()
        second = await world.submit("second")
        world.store.fail("commit")
        held.open()
        with pytest.raises(StoreError):
            await soon(first)
        assert await soon(second.result()) == "second"


async def test_a_repeat_that_held_a_slot_gives_it_to_who_waits() -> None:
    """It makes no task, and a back-off may have run out meanwhile."""
    limits = Limits(running_turns_max=1, retry=Retry(attempts_max=2, backoff_s=1.0))
    async with opened(at_once, limits=limits) as world:
        one = await world.engine.submit("one", owner="ada", token=M1)
        await soon(one.over())
        flaky = await world.submit("flaky")
        await until(lambda: world.log(flaky)[-1].trigger is Trigger.RETRY)
        await until(lambda: world.engine.statistics().running == 0)
        held = world.store.hold("commit")
        repeat = asyncio.ensure_future(world.engine.submit("one", owner="ada", token=M1))
        await held.reached()
        await world.elapse(1.0)
        held.open()
        assert not (await soon(repeat)).created
        assert await soon(flaky.result()) == "flaky"
