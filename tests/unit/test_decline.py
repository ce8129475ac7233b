"""Somebody who may answer a question says that they will not.  Source: specs/transitions.md, 20."""

import asyncio
from typing import Any, Final

import pytest

from interlock import (
    Ended,
    Limits,
    Part,
    Phase,
    StopCause,
    SyncTaskContext,
    TaskContext,
    Trigger,
)
from interlock.errors import (
    GuardRefused,
    IllegalTrigger,
    InvalidInput,
    ReplayDiverged,
    TokenReused,
    UnknownTask,
)
from support import OWNER, opened, pause, soon, triggers

PARKING: Final = (0.0, 5.0, None)
T1: Final = "t1"


async def without_a_default(task: TaskContext) -> str:
    """Cannot go on without an answer."""
    return await task.ask("Where to?")


async def with_a_default(task: TaskContext) -> str:
    """Knows where to go when nobody says."""
    return await task.ask("Where to?", default="Rome")


def on_a_thread(task: SyncTaskContext) -> str:
    """As `with_a_default`."""
    return task.ask("Where to?", default="Rome")


@pytest.mark.parametrize("park_after_s", PARKING)
@pytest.mark.parametrize("agent", [with_a_default, on_a_thread])
async def test_the_default_is_then_the_answer(agent: Any, park_after_s: float | None) -> None:  # noqa: ANN401
    """At once: nobody has to wait until the ask expires.  Source: R-LIFE-15."""
    async with opened(agent, limits=Limits(park_after_s=park_after_s)) as world:
        handle, ask = await world.asking()
        assert (await handle.decline(ask.key)).phase is Phase.RUNNING
        assert await soon(handle.result()) == "Rome"
        assert triggers(world.log(handle))[3:5] == ["decline", "complete"]


async def test_the_default_is_the_answer_after_a_restart_too() -> None:
    """The log says it, and a turn that is run again is told the same."""

    async def agent(task: TaskContext) -> list[str]:
        return [await task.ask("Where?", default="Rome"), await task.ask("When?")]

    async with opened(agent) as world:
        handle, ask = await world.asking()
        await handle.decline(ask.key)
        await pause()
        store = world.crash()
    async with opened(agent, store=store) as world:
        handle = world.handle(handle)
        await handle.answer("ask-2", "May")
        assert await soon(handle.result()) == ["Rome", "May"]


@pytest.mark.parametrize("park_after_s", PARKING)
async def test_without_a_default_the_task_is_cancelled(park_after_s: float | None) -> None:
    """With a code of its own, and the reason.  Source: R-LIFE-15."""
    async with opened(without_a_default, limits=Limits(park_after_s=park_after_s)) as world:
        handle, ask = await world.asking()
        record = await handle.decline(ask.key, reason="none of your business")
        assert record.phase is Phase.CANCELLING
        details = (await soon(handle.over())).details
        assert details == Ended(Phase.CANCELLED, StopCause.DECLINED, "none of your business")


async def test_what_was_declined_is_in_the_log_with_who_did() -> None:
    """And with what they said beside it."""
    async with opened(without_a_default) as world:
        handle, ask = await world.asking()
        await world.engine.decline(
            handle.task_id,
            ask.key,
            owner=None,
            actor="bob",
            token=T1,
            reason="why?",
            message=[Part(text="I will not say")],
        )
        event = world.log(handle)[3]
        assert (event.trigger, event.actor) == (Trigger.DECLINE, "bob")
        assert event.data == {
            "key": "ask-1",
            "token": T1,
            "message": [{"text": "I will not say"}],
            "reason": "why?",
            "grace_s": world.engine.limits.grace_s,
        }


async def test_a_question_is_declined_while_a_decision_is_open() -> None:
    """The decision stays; when it comes, both are handed over."""

    async def agent(task: TaskContext) -> object:
        return await asyncio.gather(
            task.ask("How many?", int, default=1), task.authorize("book", {"seats": 1})
        )

    async with opened(agent) as world:
        handle = await world.submit()
        await pause()
        question, decision = (await handle.rest()).asks
        record = await handle.decline(question.key)
        assert record.phase is Phase.WAITING_AUTH
        assert record.asks == (decision,)
        await handle.approve(decision)
        assert await soon(handle.result()) == [1, {"seats": 1}]


async def test_a_tool_call_is_denied_and_not_declined() -> None:
    """What says no to a call names what it says no to."""

    async def agent(task: TaskContext) -> object:
        return await task.authorize("book", {"seats": 1})

    async with opened(agent) as world:
        handle, ask = await world.asking()
        with pytest.raises(GuardRefused) as caught:
            await handle.decline(ask.key)
        assert caught.value.reason == "ask_wants_a_value"


async def test_only_who_may_answer_may_decline() -> None:
    """Neither another owner nor somebody who is no approver, and nobody without a name."""

    async def agent(task: TaskContext) -> str:
        return await task.ask("Where to?", approvers=["boss"])

    async with opened(agent) as world:
        handle, ask = await world.asking()
        decline = world.engine.decline
        with pytest.raises(UnknownTask):
            await decline(handle.task_id, ask.key, owner="eve")
        with pytest.raises(GuardRefused) as caught:
            await decline(handle.task_id, ask.key, owner=OWNER)
        assert caught.value.reason == "caller_may_answer"
        with pytest.raises(InvalidInput):
            await decline(handle.task_id, ask.key, owner=None)
        assert world.stored(handle).phase is Phase.WAITING_INPUT
        await decline(handle.task_id, ask.key, owner=OWNER, actor="boss")


async def test_what_an_operator_is_asked_no_client_declines() -> None:
    """It is not theirs.  Source: R-JRN-13."""

    async def agent(_task: TaskContext) -> str:
        raise ReplayDiverged("k", "a", "b")

    async with opened(agent) as world:
        handle, ask = await world.asking()
        with pytest.raises(GuardRefused):
            await handle.decline(ask.key)


@pytest.mark.parametrize("said", [{"reason": 7}, {"token": 7}, {"reason": "x" * 2_000_000}])
async def test_what_is_not_of_its_kind_is_refused(said: dict[str, Any]) -> None:
    """Before anything is stored."""
    async with opened(without_a_default) as world:
        handle, ask = await world.asking()
        with pytest.raises(InvalidInput):
            await handle.decline(ask.key, **said)
        nothing: Any = None
        with pytest.raises(GuardRefused):
            await handle.decline(nothing)
        assert world.stored(handle).seq == 3


async def test_a_repeat_with_the_same_token_is_no_error() -> None:
    """While it stops, and when it is over; without the token, or with another body, it is one."""
    async with opened(without_a_default) as world:
        handle, ask = await world.asking()
        await asyncio.gather(*(handle.decline(ask.key, reason="no", token=T1) for _ in range(3)))
        await handle.over()
        await handle.decline(ask.key, reason="no", token=T1)
        assert triggers(world.log(handle)).count("decline") == 1
        with pytest.raises(TokenReused):
            await handle.decline(ask.key, token=T1)
        with pytest.raises(TokenReused):
            await handle.answer(ask.key, "Rome", token=T1)
        with pytest.raises(IllegalTrigger):
            await handle.decline(ask.key, reason="no")


async def test_the_first_of_an_answer_and_a_refusal_wins() -> None:
    """As of two answers.  Source: I07."""
    async with opened(with_a_default) as world:
        handle, ask = await world.asking()
        said = await asyncio.gather(
            handle.answer(ask.key, "Oslo"), handle.decline(ask.key), return_exceptions=True
        )
        assert [isinstance(one, Exception) for one in said] == [False, True]
        assert await soon(handle.result()) == "Oslo"


async def test_what_a_refusal_carries_is_kept_as_that_of_an_answer() -> None:
    """Tools of a task that goes on may need it."""
    seen: list[dict[str, str]] = []

    async with opened(with_a_default) as world:
        handle, ask = await world.asking()
        assert world.engine._runtime is not None
        await world.engine.decline(
            handle.task_id, ask.key, owner=OWNER, carried={"Authorization": "x"}
        )
        seen.append(dict(world.engine._runtime.carried(handle.task_id)))
    assert seen == [{"authorization": "x"}]
