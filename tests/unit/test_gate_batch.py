"""Each call of one message is asked about, approved, denied and made on its own."""

import asyncio
import threading
from typing import Any

import pytest

from gates import PAY, Bank, approve, asked, calling, calling_on_a_thread, calls, deny, pay, told
from interlock import (
    Approval,
    JsonObject,
    JsonValue,
    Limits,
    Phase,
    Policies,
    Policy,
    RequiredInput,
    SyncTaskContext,
    TaskContext,
    Tool,
    Toolbox,
    ToolCall,
    ToolResult,
    ToolUse,
)
from interlock._agent import Agent
from interlock.errors import EngineError, InvalidInput, Refused, TaskParked, UnknownTask
from support import OWNER, opened, pause, soon, until

AT_ONCE = Limits(park_after_s=0.0)
#: By which a message that is sent again is known.
TOKEN = "m1"  # noqa: S105
TELLING = Policy(confirm="always", on_deny="tell_agent")


def box(bank: Bank, policy: Policy = TELLING) -> Toolbox:
    """A toolbox whose one tool wants a word."""
    return Toolbox([bank], policies=Policies({"pay": policy}))


KINDS: list[Any] = [
    pytest.param(calling, Limits(), id="stays"),
    pytest.param(calling, AT_ONCE, id="parked"),
    pytest.param(calling_on_a_thread, Limits(), id="thread"),
]


@pytest.mark.parametrize(("kind", "limits"), KINDS)
@pytest.mark.parametrize("first", [0, 1])
async def test_first_approved_second_denied_runs_exactly_the_first(
    kind: Any,  # noqa: ANN401
    limits: Limits,
    first: int,
) -> None:
    """The attack: a person was shown 5 twice and 5,000,000 ran.

    Source: issue 4, bars, R-GATE-04, I12.
    """
    bank = Bank()
    agent: Agent = kind(pay(5), pay(5_000_000))
    async with opened(agent, tools=box(bank), limits=limits) as world:
        handle = await world.submit()
        asks = await asked(world, handle, 2)
        assert [ask.arguments for ask in asks] == [{"amount": 5}, {"amount": 5_000_000}]
        assert asks[0].digest != asks[1].digest
        await pause()
        decided = [
            lambda: approve(world, handle, asks[0]),
            lambda: deny(handle, asks[1], "too much"),
        ]
        for n in (first, 1 - first):
            assert bank.ran == []
            await decided[n]()
            await pause()
        one, other = _list(await soon(handle.result()))
        assert one == {"ran": {"amount": 5}}
        assert str(other).startswith("Denied")
        assert bank.paid == [5]
        assert [call["approval"] for call in calls(world.log(handle))] == [asks[0].key]


def _list(said: Any) -> list[Any]:  # noqa: ANN401
    assert isinstance(said, list)
    return [*said]


async def test_a_denial_that_stops_the_task_stops_its_siblings() -> None:
    """After a stop nothing starts.  Source: issue 4, build 1."""
    bank = Bank()
    async with opened(calling(pay(5), pay(6)), tools=box(bank, Policy(confirm="always"))) as world:
        handle = await world.submit()
        first, second = await asked(world, handle, 2)
        await approve(world, handle, first)
        await deny(handle, second)
        assert (await soon(handle.over())).shown is Phase.CANCELLED
        assert bank.ran == []


@pytest.mark.parametrize(("kind", "limits"), KINDS)
async def test_two_equal_calls_are_two_asks(kind: Any, limits: Limits) -> None:  # noqa: ANN401
    """One yes is for one of them.  Source: issue 4, bars, R-GATE-04."""
    bank = Bank()
    async with opened(kind(pay(5), pay(5)), tools=box(bank), limits=limits) as world:
        handle = await world.submit()
        first, second = await asked(world, handle, 2)
        assert first.digest != second.digest
        await pause()
        await deny(handle, first)
        await approve(world, handle, second)
        one, other = _list(await soon(handle.result()))
        assert str(one).startswith("Denied")
        assert other == {"ran": {"amount": 5}}
        assert [leg.token for leg in bank.ran] == [f"{handle.task_id}/pay-2"]


# --- TOCTOU -------------------------------------------------------------------------------


async def test_a_digest_of_another_ask_decides_nothing() -> None:
    """Of the same task, of another, or of nothing.  Source: issue 4, bars."""
    bank = Bank()
    async with opened(calling(pay(5), pay(6)), tools=box(bank)) as world:
        handle, other = await world.submit(), await world.submit()
        first, second = await asked(world, handle, 2)
        (elsewhere, _) = await asked(world, other, 2)
        assert first.key == elsewhere.key
        for digest in (second.digest, elsewhere.digest, "", "0" * 32):
            assert digest is not None
            with pytest.raises((Refused, InvalidInput)):
                await handle.approve(first.key, digest=digest)
            with pytest.raises((Refused, InvalidInput)):
                await handle.deny(first.key, digest=digest)
        assert world.stored(handle).asks == (first, second)
        assert bank.ran == []


async def test_an_answer_that_is_sent_again_is_for_no_later_ask() -> None:
    """The next call of the same tool has an ask of its own.  Source: issue 4, bars, T7."""
    bank = Bank()

    async def agent(task: TaskContext) -> list[JsonValue]:
        return [told(await task.call_tool("pay", {"amount": 5})) for _ in range(2)]

    async with opened(agent, tools=box(bank)) as world:
        handle, ask = await world.asking()
        assert ask.digest is not None
        yes = Approval(ask=ask.key, digest=ask.digest, decision="approve")
        await world.engine.decide(handle.task_id, yes, owner=OWNER, token=TOKEN)
        (following,) = (await soon(handle.rest())).asks
        await world.engine.decide(handle.task_id, yes, owner=OWNER, token=TOKEN)  # No error.
        with pytest.raises(Refused):
            await world.engine.decide(handle.task_id, yes, owner=OWNER)
        with pytest.raises(Refused):
            await handle.approve(following.key, digest=ask.digest)
        assert bank.paid == [5]
        assert world.stored(handle).asks == (following,)


async def test_another_owner_decides_nothing() -> None:
    """To them there is no such task.  Source: issue 4, bars."""
    bank = Bank()
    async with opened(calling(pay(5)), tools=box(bank)) as world:
        handle, ask = await world.asking()
        assert ask.digest is not None
        yes = Approval(ask=ask.key, digest=ask.digest, decision="approve")
        with pytest.raises(UnknownTask):
            await world.engine.decide(handle.task_id, yes, owner="eve")
        with pytest.raises(UnknownTask):
            await world.engine.decide(handle.task_id, yes, owner="eve", actor=OWNER)
        assert bank.ran == []


async def test_a_task_cannot_approve_itself() -> None:
    """The agent is nobody who may.  Source: issue 4, bad input."""
    bank = Bank()
    async with opened(calling(pay(5)), tools=box(bank)) as world:
        handle, ask = await world.asking()
        assert ask.digest is not None
        yes = Approval(ask=ask.key, digest=ask.digest, decision="approve")
        for actor in ("agent", "engine", "timer"):
            with pytest.raises(EngineError):
                await world.engine.decide(handle.task_id, yes, owner=None, actor=actor)
        assert bank.ran == []


async def test_arguments_that_the_agent_changes_after_it_asked_do_not_run() -> None:
    """They were frozen when the call was met.  Source: INVARIANTS T6, R-GATE-03."""
    bank = Bank()
    arguments = {"amount": 5}

    async def agent(task: TaskContext) -> list[JsonValue]:
        return [told(one) for one in await task.call_tools([ToolCall("pay", arguments)])]

    async with opened(agent, tools=box(bank)) as world:
        handle, ask = await world.asking()
        arguments["amount"] = 5_000_000
        await approve(world, handle, ask)
        await soon(handle.over())
        assert bank.paid == [5]


async def test_an_edit_after_the_approval_is_refused() -> None:
    """The ask is closed, though the call has not begun.  Source: issue 4, bars."""
    bank = Bank()
    policy = Policy(confirm="always", allow_edit=True)
    async with opened(calling(pay(5), pay(6)), tools=box(bank, policy)) as world:
        handle = await world.submit()
        first, second = await asked(world, handle, 2)
        await approve(world, handle, first)
        with pytest.raises(Refused):
            await approve(world, handle, first, {"amount": 5_000_000})
        await approve(world, handle, second)
        await soon(handle.over())
        assert sorted(map(str, bank.paid)) == ["5", "6"]


# --- what goes on beside ------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "limits"), KINDS)
async def test_errors_of_a_batch_stand_in_their_places(kind: Any, limits: Limits) -> None:  # noqa: ANN401
    """One does not discard its siblings.  Source: issue 4, build 4."""
    bank = Bank()
    wanted = (
        pay(5, key="a"),
        pay("x"),
        ToolCall("play", {}),
        pay(6, key="a"),
        ToolCall("pay", {"amount": {1}}),
        pay(7),
    )
    agent: Agent = kind(*wanted)
    async with opened(agent, tools=box(bank, Policy()), limits=limits) as world:
        handle = await world.submit()
        said = _list(await soon(handle.result()))
        kinds = [one.split(":")[0] if isinstance(one, str) else "ran" for one in said]
        assert kinds == ["ran", "ToolRefused", "ToolRefused", "InvalidInput", "InvalidInput", "ran"]
        assert sorted(map(str, bank.paid)) == ["5", "7"]


async def test_an_empty_batch_is_nothing() -> None:
    """A model may call nothing.  Source: ours."""
    async with opened(calling(), tools=box(Bank())) as world:
        assert await soon((await world.submit()).result()) == []


@pytest.mark.parametrize("limits", [Limits(), AT_ONCE])
async def test_a_call_that_runs_meanwhile_is_not_undone_by_the_asks_of_others(
    limits: Limits,
) -> None:
    """It ends while somebody is asked, and is not made again.  Source: issue 4, build 1."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def does(arguments: JsonObject, _use: ToolUse) -> ToolResult:
        if "amount" not in arguments:
            begun.set()
            await go_on.wait()
        return ToolResult(structured="done")

    async def agent(task: TaskContext) -> list[JsonValue]:
        look = asyncio.ensure_future(task.call_tools([ToolCall("look", {})]))
        await begun.wait()
        paid = await task.call_tools([pay(5), pay(6)])
        return [told(one) for one in (*paid, *await look)]

    bank = Bank(Tool(name="look", source="bank"), PAY, does=does)
    async with opened(agent, tools=box(bank), limits=limits) as world:
        handle = await world.submit()
        asks = await asked(world, handle, 2)
        await pause()
        assert world.engine.statistics().live == 1
        go_on.set()
        await until(lambda: world.engine.statistics().live == (limits.park_after_s != 0.0))
        for ask in asks:
            await approve(world, handle, ask)
        assert await soon(handle.result()) == ["done", "done", "done"]
        assert [leg.tool for leg in bank.ran] == ["bank/look", "bank/pay", "bank/pay"]


@pytest.mark.parametrize(("kind", "limits"), KINDS[1:])
async def test_a_batch_that_waits_is_parked(kind: Any, limits: Limits) -> None:  # noqa: ANN401
    """No share of it is left.  Source: issue 4, bars."""
    bank = Bank(PAY, Tool(name="look", source="bank"))
    agent: Agent = kind(ToolCall("look", {}), pay(5), ToolCall("play", {}), pay(6))
    async with opened(agent, tools=box(bank), limits=limits) as world:
        handle = await world.submit()
        await asked(world, handle, 2)
        await until(lambda: world.engine.statistics().live == 0)
        for ask in world.stored(handle).asks:
            await approve(world, handle, ask)
        await soon(handle.over())
        assert sorted(leg.tool for leg in bank.ran) == ["bank/look", "bank/pay", "bank/pay"]


@pytest.mark.parametrize(("kind", "limits"), KINDS)
async def test_a_drain_in_the_midst_of_a_batch_loses_nothing(kind: Any, limits: Limits) -> None:  # noqa: ANN401
    """What runs ends, what waits is parked, and another engine goes on.  Source: DESIGN 3."""
    go_on = asyncio.Event()

    async def does(arguments: JsonObject, _use: ToolUse) -> ToolResult:
        await go_on.wait()
        return ToolResult(structured=arguments)

    bank = Bank(does=does)
    toolbox = Toolbox([bank])
    agent: Agent = kind(pay(1), pay(2))
    async with opened(agent, tools=toolbox, limits=limits) as world:
        handle = await world.submit()
        await until(lambda: len(bank.paid) == 2)
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        assert not drain.done()
        go_on.set()
        await soon(drain)
        store = world.store
    async with opened(agent, tools=toolbox, store=store, limits=limits) as again:
        after = again.handle(handle)
        assert await soon(after.result()) == [{"amount": 1}, {"amount": 2}]
        assert len(bank.paid) == 2


@pytest.mark.parametrize(("kind", "limits"), KINDS)
@pytest.mark.parametrize("held", ["ask", "call"])
async def test_a_drain_while_a_batch_is_met_loses_nothing(
    kind: Any,  # noqa: ANN401
    limits: Limits,
    held: str,
) -> None:
    """Branches that are about to ask, or to begin, are parked where they stand."""
    bank = Bank()
    policy = Policy(confirm="always") if held == "ask" else Policy()
    toolbox = box(bank, policy)
    agent: Agent = kind(pay(1), pay(2))
    async with opened(agent, tools=toolbox, limits=limits) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).shown is Phase.RUNNING)
        gate = world.store.hold("commit")
        await gate.reached()
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        gate.open()
        await soon(drain)
        assert world.uncaught == []
        store = world.store
    async with opened(agent, tools=toolbox, store=store, limits=limits) as again:
        after = again.handle(handle)
        if held == "ask":
            for ask in await asked(again, after, 2):
                await approve(again, after, ask)
        await soon(after.over())
        assert sorted(map(str, bank.paid)) == ["1", "2"]


async def test_a_plain_function_may_call_tools_from_threads_of_its_own() -> None:
    """Each with a key of its own, so that a replay finds them.  Source: brief of issue 4."""
    bank = Bank()

    def agent(task: SyncTaskContext) -> list[JsonValue]:
        said: dict[int, JsonValue] = {}
        parked: list[TaskParked] = []

        def work(n: int) -> None:
            try:
                said[n] = told(task.call_tool("pay", {"amount": n}, key=f"pay {n}"))
            except TaskParked as error:
                parked.append(error)

        threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5.0)
        if parked:
            raise parked[0]
        return [said[n] for n in sorted(said)]

    policies = Policies({"pay": Policy(confirm=lambda arguments: arguments["amount"] == 3)})
    async with opened(agent, tools=Toolbox([bank], policies=policies)) as world:
        handle, ask = await world.asking()
        await until(lambda: world.engine.statistics().live == 0)
        await approve(world, handle, ask)
        said = await soon(handle.result())
        assert said == [{"ran": {"amount": n}} for n in range(1, 5)]
        assert sorted(map(str, bank.paid)) == ["1", "2", "3", "4"]


async def test_each_call_of_a_batch_is_asked_for_its_own_inputs() -> None:
    """And then shown on its own.  Source: issue 4, build 1."""
    bank = Bank()
    policy = Policy(confirm="always", required_inputs=(RequiredInput(name="amount"),))
    wanted = [ToolCall("pay", {}), ToolCall("pay", {})]
    async with opened(calling(*wanted), tools=box(bank, policy), limits=AT_ONCE) as world:
        handle = await world.submit()
        first, second = await asked(world, handle, 2)
        await handle.answer(second.key, {"amount": 2})
        await handle.answer(first.key, {"amount": 1})
        first, second = await asked(world, handle, 2)
        assert (first.arguments, second.arguments) == ({"amount": 1}, {"amount": 2})
        await approve(world, handle, first)
        await approve(world, handle, second)
        await soon(handle.over())
        assert sorted(map(str, bank.paid)) == ["1", "2"]
