"""Handles: one task in the name of its owner, and what can be done with it next."""

from typing import Any, cast

import pytest

from interlock import (
    Answer,
    Approval,
    AskKind,
    OpenAsk,
    Part,
    Phase,
    Possible,
    TaskContext,
    Trigger,
    can,
    result_of,
    value_of,
)
from interlock._record import Ended, Identity, StopCause, Stopping, TaskRecord, Waiting
from interlock.errors import Denied, GuardRefused, InvalidInput, Rejected, TaskNotCompleted
from support import OWNER, opened, triggers


def record(phase: Phase, details: Waiting | Ended | Stopping, *, epoch: int = 1) -> TaskRecord:
    """A task in a phase."""
    return TaskRecord(Identity("t", OWNER, "c", 1.0, 9.0), phase, details, 3, epoch, 1, 1.0)


INPUT = OpenAsk("a", AskKind.INPUT, "?", {}, 1.0, 9.0)
AUTH = OpenAsk("b", AskKind.AUTH, "?", {}, 1.0, 9.0, tool="pay", arguments={}, digest="d")


def test_a_task_that_waits_can_be_answered_and_cancelled() -> None:
    """Each open ask by its kind, in the order in which they came.  Source: R-ENG-14."""
    waiting = record(Phase.WAITING_AUTH, Waiting((INPUT, AUTH)))
    assert can(waiting) == (
        Possible(Trigger.PROVIDE_INPUT, INPUT),
        Possible(Trigger.DECLINE, INPUT),
        Possible(Trigger.APPROVE, AUTH),
        Possible(Trigger.DENY, AUTH),
        Possible(Trigger.CANCEL),
    )


def test_a_task_that_is_being_stopped_can_be_cancelled_again() -> None:
    """A repeat is accepted."""
    stopping = record(Phase.CANCELLING, Stopping(StopCause.CLIENT, 9.0))
    assert can(stopping) == (Possible(Trigger.CANCEL),)


def test_nothing_can_be_done_with_a_task_that_is_over() -> None:
    """Neither before nor after it is finalized.  Source: R-ENG-14."""
    assert can(record(Phase.COMPLETED, Ended(Phase.COMPLETED))) == ()
    assert can(record(Phase.FINALIZED, Ended(Phase.COMPLETED))) == ()


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        ((), None),
        ((Part(text=""),), ""),
        ((Part(text="done"),), "done"),
        ((Part(data={"n": 1}),), {"n": 1}),
        ((Part(data=None),), None),
        ((Part(url="https://x"),), (Part(url="https://x"),)),
        ((Part(raw="AA=="),), (Part(raw="AA=="),)),
        ((Part(text="a"), Part(text="b")), (Part(text="a"), Part(text="b"))),
    ],
)
def test_a_result_is_shown_as_its_caller_thinks_of_it(
    parts: tuple[Part, ...], value: object
) -> None:
    """Nothing, text, a JSON value, or the parts if it is none of these."""
    assert value_of(parts) == value


async def test_a_handle_follows_its_task_to_its_result() -> None:
    """In the name of the owner."""

    async def agent(task: TaskContext) -> object:
        city = await task.ask("Which city?")
        arguments = await task.authorize("book", {"city": city}, allow_edit=True)
        return {"booked": arguments}

    async with opened(agent) as world:
        handle = await world.submit()
        assert handle.created
        assert (handle.record.phase, handle.task_id) == (Phase.SUBMITTED, handle.record.task_id)
        assert repr(handle) == f"<TaskHandle {handle.task_id!r} of {OWNER!r}>"
        assert (await handle.rest()).phase is Phase.WAITING_INPUT
        await handle.answer("ask-1", "Rome", token="m1")  # noqa: S106  not a password
        ask = (await handle.rest()).asks[0]
        assert ask.digest is not None
        await handle.approve(ask.key, digest=ask.digest, arguments={"city": "Oslo"})
        assert await handle.result() == {"booked": {"city": "Oslo"}}
        assert (await handle.over()).shown is Phase.COMPLETED
        assert triggers([event async for event in handle.events(after=5)]) == [
            "approve",
            "complete",
        ]


async def test_a_handle_can_deny_and_says_why_there_is_no_result() -> None:
    """The cause is stable, the reason is the one that was given."""

    async def agent(task: TaskContext) -> None:
        await task.authorize("pay", {})

    async with opened(agent) as world:
        handle, ask = await world.asking()
        assert ask.digest is not None
        await handle.deny(ask.key, digest=ask.digest, reason="too dear")
        with pytest.raises(TaskNotCompleted, match="too dear") as caught:
            await handle.result()
        assert (caught.value.outcome, caught.value.cause) == (Phase.CANCELLED, "denied")


async def test_an_ask_is_named_by_itself_or_by_its_key() -> None:
    """Whatever is done with it; a token makes a repeat harmless, and reasons are kept."""

    async def agent(task: TaskContext) -> list[str]:
        city = await task.ask("Where to?")
        day = await task.ask("When?", default="today")
        await task.authorize("book", {"city": city}, on_deny="tell_agent")
        with pytest.raises(Denied, match="too dear"):
            await task.authorize("pay", {}, on_deny="tell_agent")
        return [city, day]

    first, second, third, fourth = "abcd"
    async with opened(agent) as world:
        handle, asked = await world.asking()
        await handle.answer(asked, "Rome", token=first)
        await handle.answer(asked.key, "Rome", token=first)
        (asked,) = (await handle.rest()).asks
        await handle.decline(asked, reason="any day", token=second)
        (asked,) = (await handle.rest()).asks
        await handle.approve(asked, reason="it is due", token=third)
        await handle.approve(asked, reason="it is due", token=third)
        (asked,) = (await handle.rest()).asks
        await handle.deny(asked, reason="too dear", token=fourth)
        await handle.deny(asked, reason="too dear", token=fourth)
        assert await handle.result() == ["Rome", "today"]
        log = await world.engine.events(handle.task_id, owner=OWNER)
        reasons = [event.data.get("reason") for event in log]
        assert [reason for reason in reasons if reason] == ["any day", "it is due", "too dear"]


async def test_a_cancel_may_be_meant_for_as_long_as_an_ask_is_open() -> None:
    """Then it stops no work that an answer let go on."""

    async def agent(task: TaskContext) -> None:
        await task.ask("first?")
        await task.ask("second?")

    async with opened(agent) as world:
        handle, first = await world.asking()
        await handle.answer(first, "yes")
        (second,) = (await handle.rest()).asks
        with pytest.raises(GuardRefused):
            await handle.cancel(ask=first)
        assert (await handle.cancel("enough", ask=second)).phase is Phase.CANCELLING


async def test_a_handle_can_cancel() -> None:
    """With a reason, which the record keeps."""

    async def agent(task: TaskContext) -> None:
        await task.ask("?")

    async with opened(agent) as world:
        handle, _ = await world.asking()
        assert (await handle.cancel("changed my mind")).phase is Phase.CANCELLING
        assert (await handle.over()).shown is Phase.CANCELLED
        with pytest.raises(TaskNotCompleted, match="changed my mind"):
            result_of(await world.engine.view(handle.task_id, owner=OWNER))


async def test_a_task_that_was_rejected_has_no_result() -> None:
    """The agent's own words say why."""

    async def agent(_task: TaskContext) -> None:
        raise Rejected("not my job")

    async with opened(agent) as world:
        handle = await world.submit()
        with pytest.raises(TaskNotCompleted, match="not my job") as caught:
            await handle.result()
        assert caught.value.outcome is Phase.REJECTED


async def test_a_decision_by_the_handle_names_what_was_shown() -> None:
    """By the ask itself, or its key and digest; a key alone decides nothing.  Source: DESIGN 6."""

    async def pays(task: TaskContext) -> None:
        await task.authorize("pay", {"amount": 5}, key="pay")
        await task.authorize("pay", {"amount": 6}, key="again", on_deny="tell_agent")

    async with opened(pays) as world:
        task = await world.engine.submit("go", owner=OWNER)
        (ask,) = (await task.rest()).asks
        with pytest.raises(InvalidInput, match="named by a digest"):
            await task.approve(ask.key)
        await task.approve(ask)
        await world.elapse(0)
        with pytest.raises(InvalidInput, match="named by a digest"):
            await task.deny("again")


#: What must be in no message.
CANARY = "canary-77aa"


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"arguments": [CANARY]}, "/arguments"),
        ({"reason": {CANARY: 1}}, "/reason"),
        ({"digest": [CANARY]}, "/digest"),
    ],
)
async def test_json_of_the_wrong_kind_is_the_clients_fault(
    said: dict[str, Any], where: str
) -> None:
    """As it came with a request: it is refused as ours, with its place, and not quoted.  I38."""

    async def agent(task: TaskContext) -> None:
        await task.authorize("pay", {})

    async with opened(agent) as world:
        handle, ask = await world.asking()
        given: dict[str, Any] = {"digest": ask.digest, **said}
        with pytest.raises(InvalidInput, match=f"at {where}: ") as caught:
            await handle.approve(ask.key, **given)
        assert CANARY not in str(caught.value)
        if "arguments" not in said:
            with pytest.raises(InvalidInput, match=f"at {where}: ") as caught:
                await handle.deny(ask.key, **given)
            assert CANARY not in str(caught.value)
        assert [one.key for one in (await handle.rest()).asks] == [ask.key]


async def test_an_answer_of_the_wrong_kind_is_the_clients_fault() -> None:
    """So is an ask whose key is no text, and whatever is no JSON.  Source: R-ENG-14."""
    no_key: Any = 1
    no_json: Any = object()

    async def agent(task: TaskContext) -> object:
        return await task.ask("?")

    async with opened(agent) as world:
        handle, ask = await world.asking()
        with pytest.raises(InvalidInput, match="at /ask: "):
            await handle.answer(no_key, 3)
        with pytest.raises(InvalidInput, match="at /value"):
            await handle.answer(ask, no_json)
        with pytest.raises(InvalidInput, match="ask is of type int"):
            await handle.decline(no_key)
        with pytest.raises(InvalidInput, match="reason is of type int"):
            await handle.decline(ask, reason=no_key)
        assert [one.key for one in (await handle.rest()).asks] == [ask.key]


async def test_a_question_is_not_approved() -> None:
    """Who tries is told what a question wants, and not to look for a digest.  Source: R-ENG-14."""

    async def agent(task: TaskContext) -> object:
        return await task.ask("?")

    async with opened(agent) as world:
        handle, ask = await world.asking()
        for decide in (handle.approve, handle.deny):
            with pytest.raises(InvalidInput, match="'ask-1' wants a value: answer or decline it"):
                await decide(ask)


async def test_the_engine_says_what_it_takes() -> None:
    """Plain JSON, the other model, or a handle for an id: each is refused by name."""
    no_model: Any = {"ask": "ask-1", "value": CANARY}
    approval: Any = Approval(ask="ask-1", digest="d", decision="approve")
    answer: Any = Answer(ask="ask-1", value=1)

    async def agent(task: TaskContext) -> object:
        return await task.ask("?")

    async with opened(agent) as world:
        handle, _ = await world.asking()
        engine, at = world.engine, (handle.task_id,)
        for said in (no_model, approval):
            with pytest.raises(InvalidInput, match="; Answer is accepted") as caught:
                await engine.answer(*at, said, owner=OWNER)
            assert CANARY not in str(caught.value)
        for said in (no_model, answer):
            with pytest.raises(InvalidInput, match="; Approval or Denial is accepted"):
                await engine.decide(*at, said, owner=OWNER)
        with pytest.raises(InvalidInput, match="; Answer or Approval or Denial is accepted"):
            await engine.problems_of(*at, no_model, owner=OWNER)
        for no_id in (cast("Any", handle), cast("Any", None), cast("Any", [])):
            with pytest.raises(InvalidInput, match="the id of a task is a text, and this is of"):
                await engine.task(no_id, owner=OWNER)
            with pytest.raises(InvalidInput, match="the id of a task is a text, and this is of"):
                await engine.cancel(no_id, owner=OWNER)
