"""An agent that is run again gets its own answers back, and never another question's."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pytest

from interlock import (
    Agent,
    Answer,
    Approval,
    Engine,
    Limits,
    MemoryStore,
    Phase,
    Retry,
    TaskContext,
    TaskRecord,
    Trigger,
)
from interlock._conclusion import OPERATOR_NAME
from interlock.errors import InvalidInput, Retryable
from interlock.testing import ManualClock, violations

LIMITS = Limits(drain_s=0.0, retry=Retry(attempts_max=3, backoff_s=1.0))


async def answer(engine: Engine, record: TaskRecord, value: Any = "x") -> None:  # noqa: ANN401
    """Say yes to everything, with this value where one is wanted."""
    (ask,) = record.asks
    if ask.digest is None:
        said = Answer(ask=ask.key, value=value)
        await engine.answer(record.task_id, said, owner="ada")
    else:
        yes = Approval(ask=ask.key, digest=ask.digest, decision="approve")
        await engine.decide(record.task_id, yes, owner="ada")


async def lives(agents: Sequence[Agent], answers: Sequence[Any]) -> TaskRecord:
    """The end of a task whose agent is replaced before each further answer but the first."""
    store, clock = MemoryStore(), ManualClock()
    async with Engine(agents[0], store=store, limits=LIMITS, clock=clock) as engine:
        task = await engine.submit("hello", owner="ada")
        record = await task.rest()
        await answer(engine, record, answers[0])
        await task.rest()
    for agent in agents[1:]:
        async with Engine(agent, store=store, limits=LIMITS, clock=clock) as engine:
            view = await engine.rest(record.task_id, owner="ada")
            if view.record.asks:
                await answer(engine, view.record, answers[1])
            view = await engine.rest(record.task_id, owner="ada")
            assert violations(view.events) == []
            record = view.record
    return record


def assert_diverged(record: TaskRecord, asked: str) -> None:
    """An operator is asked, and told which entry it is and what the agent wants instead."""
    assert record.shown is Phase.WAITING_INPUT
    (ask,) = record.asks
    assert ask.approvers == (OPERATOR_NAME,)
    assert "ask-1" in ask.prompt
    assert asked in ask.prompt


async def reads(task: TaskContext) -> str:
    """The first version: it may read a file, and then asks when to go on."""
    await task.authorize("read_file", {"path": "/tmp/x"})  # noqa: S108
    return str(await task.ask("go on?"))


async def test_leave_for_one_tool_is_none_for_another_after_a_redeployment() -> None:
    """The new version asks for something else by the same count.

    Source: I13, a review, R-JRN-04.
    """

    async def deletes(task: TaskContext) -> str:
        await task.authorize("delete_everything", {"path": "/"})
        return "deleted"

    record = await lives([reads, deletes], ["x", "yes"])
    assert_diverged(record, "for leave to call 'delete_everything'")


async def test_a_text_never_becomes_leave_for_a_tool() -> None:
    """An answer to a question stays one.  Source: I08, a review."""

    async def asks(task: TaskContext) -> str:
        await task.ask("Which city?")
        return str(await task.ask("go on?"))

    async def pays(task: TaskContext) -> str:
        return str(await task.authorize("pay", {"eur": 900}))

    record = await lives([asks, pays], ["no way!", "yes"])
    assert_diverged(record, "for leave to call 'pay'")


async def test_the_same_version_goes_on_where_it_was() -> None:
    """Its leave is in the log, and nobody is asked twice.  Source: DESIGN 3."""
    record = await lives([reads, reads], ["x", "yes"])
    assert record.shown is Phase.COMPLETED
    assert record.closed == ("ask-1", "ask-2")


async def test_a_retry_that_wants_more_asks_for_it() -> None:
    """Leave for ten is none for nine thousand.  Source: I13, a review."""
    amounts = iter([10, 9_000])
    paid: list[object] = []

    async def pays(task: TaskContext) -> str:
        arguments = await task.authorize("pay", {"eur": next(amounts)})
        if task.attempt == 1:
            raise Retryable("not yet")
        paid.append(arguments)
        return "paid"

    clock = ManualClock()
    async with Engine(pays, store="memory:", limits=LIMITS, clock=clock) as engine:
        task = await engine.submit("hello", owner="ada")
        await answer(engine, await task.rest())
        async for event in task.events():
            if event.trigger is Trigger.RETRY:
                await clock.until_armed()
                clock.advance(1.0)
            if event.trigger is Trigger.ASK and event.data["key"] == "ask-1@2":
                assert event.data["arguments"] == {"eur": 9_000}
                assert paid == []
                await answer(engine, await task.rest())
        assert await task.result() == "paid"
        assert paid == [{"eur": 9_000}]


async def test_what_a_retry_shows_for_the_first_time_is_shown() -> None:
    """Only what is the same is not shown again.  Source: a review."""

    async def agent(task: TaskContext) -> str:
        await task.emit("a", artifact_id="same")
        if task.attempt == 1:
            await task.emit("trouble", artifact_id="log")
            raise Retryable("not yet")
        await task.emit("the report", artifact_id="report")
        return "done"

    clock = ManualClock()
    async with Engine(agent, store="memory:", limits=LIMITS, clock=clock) as engine:
        task = await engine.submit("hello", owner="ada")
        shown: list[str] = []
        async for event in task.events():
            if event.trigger is Trigger.RETRY:
                await clock.until_armed()
                clock.advance(1.0)
            if event.trigger is Trigger.EMIT:
                shown.append(event.data["artifact"]["artifact_id"])
        assert shown == ["same", "log", "report"]


#: Calls that no checker would let pass.
CALLS: Final[list[Callable[[Any], Awaitable[object]]]] = [
    lambda task: task.ask(123),
    lambda task: task.ask("?", key=5),
    lambda task: task.ask("?", key=""),
    lambda task: task.ask("?", approvers="ada"),
    lambda task: task.authorize(7, {}),
    lambda task: task.authorize("pay", {}, on_deny="Stop"),
    lambda task: task.authorize("pay", {}, allow_edit="yes"),
]


@pytest.mark.parametrize("call", CALLS)
async def test_what_nobody_could_read_again_is_never_stored(
    call: Callable[[Any], Awaitable[object]],
) -> None:
    """A slip of the pen costs its task, not the store.  Source: a review."""

    async def agent(task: TaskContext) -> str:
        with pytest.raises(InvalidInput):
            await call(task)
        return "refused"

    async with Engine(agent, store="memory:") as engine:
        task = await engine.submit("hello", owner="ada")
        assert await task.result() == "refused"
