"""What a stranger's attack on the gate proved, so that it stays mended.

Source: the review of issue 4.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import pytest

from gates import PAY, Bank, asked, calling, one_by_one, pay
from interlock import (
    Answer,
    Approval,
    AskKind,
    JsonObject,
    JsonValue,
    Limits,
    OpenAsk,
    Policies,
    Policy,
    RequiredInput,
    Retry,
    TaskContext,
    TaskHandle,
    Toolbox,
    ToolCall,
    ToolResult,
    ToolUse,
)
from interlock._memory import IN_DOUBT
from interlock.errors import EngineError, Retryable
from interlock.policy import When
from support import OWNER, World, opened, soon, until

AT_ONCE: Final = Limits(park_after_s=0.0)
#: A process that is gone is not waited for.
GONE: Final = Limits(park_after_s=0.0, drain_s=1.0, grace_s=1.0)
LIMITS: Final = [pytest.param(Limits(), id="stays"), pytest.param(AT_ONCE, id="parked")]
BOSS: Final = Policies({"pay": Policy(confirm="always", approvers=("boss",))})


def hanging() -> tuple[asyncio.Event, Callable[[JsonObject, ToolUse], Any]]:
    """A tool that hangs the first time it is called."""
    begun = asyncio.Event()

    async def does(arguments: JsonObject, _use: ToolUse) -> ToolResult:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return ToolResult(structured={"ran": arguments})

    return begun, does


async def allowed(world: World, handle: TaskHandle, ask: OpenAsk) -> None:
    """The boss says yes."""
    assert ask.digest is not None
    decision = Approval(ask=ask.key, digest=ask.digest, decision="approve")
    await world.engine.decide(handle.task_id, decision, owner=None, actor="boss")


async def crashed(bank: Bank, begun: asyncio.Event) -> tuple[World, TaskHandle]:
    """An engine that was gone while an approved call ran."""
    tools = Toolbox([bank], policies=BOSS)
    async with opened(calling(pay(5)), tools=tools, limits=GONE) as world:
        handle = await world.submit()
        (ask,) = await asked(world, handle)
        await allowed(world, handle, ask)
        await soon(begun.wait())
        store = world.crash()
    return World(world.engine, store, world.clock), handle


async def test_only_an_approver_answers_for_a_call_in_doubt() -> None:
    """And the question names the tool and its arguments.  Source: review, a6, R-GATE-16."""
    begun, does = hanging()
    bank = Bank(does=does)
    gone, handle = await crashed(bank, begun)
    tools = Toolbox([bank], policies=BOSS)
    async with opened(calling(pay(5)), tools=tools, store=gone.store, clock=gone.clock) as again:
        after = again.handle(handle)
        (ask,) = await asked(again, after)
        assert ask.key.startswith(IN_DOUBT)
        assert ask.approvers == ("boss",)
        assert "bank/pay" in ask.prompt
        assert '{"amount": 5}' in ask.prompt
        said = Answer(ask=ask.key, value={"decision": "run_again"})
        with pytest.raises(EngineError):
            await again.engine.answer(handle.task_id, said, owner=OWNER)
        assert again.stored(after).asks == (ask,)
        assert bank.paid == [5]
        await again.engine.answer(handle.task_id, said, owner=None, actor="boss")
        assert await soon(after.result()) == [{"ran": {"amount": 5}}]
    assert bank.paid == [5, 5]


async def test_a_value_that_a_person_told_begins_nothing() -> None:
    """Whatever it looks like, it is the result; also read from the log.  Source: review, a6."""
    begun, does = hanging()
    bank = Bank(PAY, PAY.model_copy(update={"name": "more"}), does=does)
    value: JsonObject = {"unfinished": {"token": {"kind": "task", "task_id": "another's"}}}
    agent = one_by_one(pay(5), ToolCall("more", {"amount": 6}))
    rules = {"pay": Policy(confirm="always", approvers=("boss",)), "more": Policy(confirm="always")}
    tools = Toolbox([bank], policies=Policies(rules))
    async with opened(agent, tools=tools, limits=GONE) as world:
        handle = await world.submit()
        (ask,) = await asked(world, handle)
        await allowed(world, handle, ask)
        await soon(begun.wait())
        store, clock = world.crash(), world.clock
    async with opened(agent, tools=tools, store=store, clock=clock, limits=GONE) as again:
        after = again.handle(handle)
        (ask,) = await asked(again, after)
        said = Answer(ask=ask.key, value={"decision": "use_value", "value": value})
        await again.engine.answer(handle.task_id, said, owner=None, actor="boss")
        await until(lambda: [a.tool for a in again.stored(after).asks] == ["bank/more"])
        await soon(after.rest())
        store, clock = again.crash(), again.clock
    async with opened(agent, tools=tools, store=store, clock=clock) as third:
        last = third.handle(handle)
        (ask,) = await asked(third, last)
        await allowed(third, last, ask)
        assert await soon(last.result()) == [value, {"ran": {"amount": 6}}]
    assert [leg.said for leg in bank.ran] == [None, None]
    assert bank.paid == [5, 6]


# --- what is judged is what is shown and what runs -----------------------------------------


@pytest.mark.parametrize(("default", "asks"), [(5000, True), (50, False)])
async def test_a_default_is_filled_in_before_a_call_is_judged(default: int, asks: bool) -> None:  # noqa: FBT001
    """And the approver sees it.  Source: review, a3."""
    ran: list[tuple[str, int]] = []

    def transfer(account: str, euro: int = default) -> str:
        ran.append((account, euro))
        return "paid"

    large = When(when={"properties": {"euro": {"minimum": 100}}, "required": ["euro"]})
    box = Toolbox([transfer], policies=Policies({"transfer": Policy(confirm=large)}))
    async with opened(calling(ToolCall("transfer", {"account": "A"})), tools=box) as world:
        handle = await world.submit()
        if asks:
            (ask,) = await asked(world, handle)
            assert ask.arguments == {"account": "A", "euro": default}
            assert ran == []
            await handle.approve(ask)
        assert await soon(handle.result()) == ["paid"]
    assert ran == [("A", default)]


async def test_an_input_that_does_not_fit_its_own_schema_is_asked_for() -> None:
    """The agent's value does not stand in for a person's.  Source: review, a3."""
    ran: list[str] = []

    def transfer(account: str) -> str:
        ran.append(account)
        return "paid"

    form: JsonObject = {"type": "string", "enum": ["A", "B"]}
    rule = Policy(required_inputs=(RequiredInput(name="account", schema=form),))
    box = Toolbox([transfer], policies=Policies({"transfer": rule}))
    wanted = (ToolCall("transfer", {"account": "B"}), ToolCall("transfer", {"account": "EVIL"}))
    async with opened(calling(*wanted), tools=box) as world:
        handle = await world.submit()
        (ask,) = await asked(world, handle)
        assert ask.kind is AskKind.INPUT
        assert "EVIL" not in ran
        await handle.answer(ask.key, {"account": "A"})
        assert await soon(handle.result()) == ["paid", "paid"]
    assert sorted(ran) == ["A", "B"]


@pytest.mark.parametrize("limits", LIMITS)
async def test_a_rule_set_while_a_call_waits_for_its_sibling_holds(limits: Limits) -> None:
    """It is not run unasked.  Source: review, a14."""
    bank = Bank(PAY, PAY.model_copy(update={"name": "book"}))
    box = Toolbox([bank], policies=Policies({"book": Policy(confirm="always")}))
    agent = calling(ToolCall("book", {"amount": 1}), pay(5))
    async with opened(agent, tools=box, limits=limits) as world:
        handle = await world.submit()
        (ask,) = await asked(world, handle)
        await soon(handle.rest())
        assert bank.ran == []
        box.policies.set("pay", Policy(confirm="always"))
        await handle.approve(ask)
        assert "confirm" in str(await soon(handle.result()))
    assert [leg.tool for leg in bank.ran] == ["bank/book"]


# --- plugins and retries -------------------------------------------------------------------

SECRET: Final = "sk-very-secret"  # noqa: S105  (that is the point)


class _Before:
    def before_tool(self, *_: object) -> None:
        raise ValueError(SECRET)


class _After:
    def after_tool(self, *_: object) -> None:
        raise ValueError(SECRET)


class _Format:
    def format_result(self, *_: object) -> JsonValue:
        raise ValueError(SECRET)


class _Instructions:
    def instructions(self) -> str:
        raise ValueError(SECRET)


@pytest.mark.parametrize("kind", [_Before, _After, _Format, _Instructions])
async def test_what_a_plugin_raises_is_not_logged_in_its_words(
    kind: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Its text may hold what nobody must read.  Source: review, a4."""
    caplog.set_level(logging.DEBUG)

    async def agent(task: TaskContext) -> JsonValue:
        said = task.toolbox.instructions() if kind is _Instructions else ""
        return [said, str(await task.call_tools([pay(5)]))]

    async with opened(agent, tools=Toolbox([Bank()], plugins=[kind()])) as world:
        handle = await world.submit()
        await soon(handle.rest())
        assert SECRET not in repr(world.log(handle))
    assert SECRET not in caplog.text


async def test_a_call_that_may_be_made_again_is_made_again_by_a_retry() -> None:
    """A tool says so by `Retryable`; the yes still holds.  Source: review, a17."""
    ran: list[int] = []

    async def charge(amount: int) -> str:
        ran.append(amount)
        if len(ran) < 3:
            raise Retryable("later")
        return "paid"

    async def agent(task: TaskContext) -> JsonValue:
        return (await task.call_tool("charge", {"amount": 5})).value

    limits = Limits(park_after_s=0.0, retry=Retry(attempts_max=3, backoff_s=0.01))
    async with opened(agent, tools=Toolbox([charge]), limits=limits) as world:
        handle = await world.submit()
        await until(lambda: len(ran) == 1)
        await world.elapse(1.0)
        await until(lambda: len(ran) == 2)
        await world.elapse(1.0)
        assert await soon(handle.result()) == "paid"
    assert ran == [5, 5, 5]
