"""Run again from its log, at whatever point, a task comes to the same, and nothing runs twice."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from gates import (
    PAY,
    Bank,
    approve,
    asked,
    calling,
    calling_on_a_thread,
    calls,
    deny,
    one_by_one,
    pay,
    told,
)
from interlock import (
    OVER,
    AskKind,
    Engine,
    JsonObject,
    JsonValue,
    Limits,
    OpenAsk,
    Part,
    Phase,
    Policies,
    Policy,
    Question,
    RequiredInput,
    Retry,
    TaskContext,
    TaskHandle,
    Tool,
    Toolbox,
    ToolCall,
    ToolResult,
    ToolUse,
    Trigger,
    Unfinished,
)
from interlock._agent import Agent
from interlock._gate import LEGS_MAX
from interlock._memory import IN_DOUBT
from interlock.errors import CallFailed, EngineError, Retryable, ToolError
from interlock.testing import ManualClock
from support import OWNER, World, opened, pause, soon, until

AT_ONCE = Limits(park_after_s=0.0)
#: A process that is gone is not waited for.
GONE = Limits(park_after_s=0.0, drain_s=1.0, grace_s=1.0)
LIMITS: Final = [pytest.param(Limits(), id="stays"), pytest.param(AT_ONCE, id="parked")]

REQUIRED = Policy(
    confirm="always", on_deny="tell_agent", required_inputs=(RequiredInput(name="amount"),)
)


async def people(world: World, handle: TaskHandle, bank: Bank, denied: frozenset[str]) -> None:
    """Answer whatever is asked, the same each time, until the task is over."""
    while world.stored(handle).phase not in OVER:
        for ask in world.stored(handle).asks:
            try:
                await person(world, handle, bank, ask, denied)
            except EngineError:
                break  # It was answered before the process was gone.
        await pause(1)


async def person(
    world: World, handle: TaskHandle, bank: Bank, ask: OpenAsk, denied: frozenset[str]
) -> None:
    """Answer one ask."""
    if ask.key.startswith(IN_DOUBT):
        key = ask.key.partition(f"{IN_DOUBT}1-")[2]
        ran = any(leg.token.endswith(f"/{key}") for leg in bank.ran)
        decision: JsonObject = {"decision": "use_value" if ran else "run_again", "value": "by hand"}
        await handle_in(world, handle).answer(ask.key, decision)
    elif ask.kind is AskKind.INPUT:
        await handle_in(world, handle).answer(ask.key, {"amount": int(ask.key[4])})
    elif ask.key in denied:
        await deny(handle_in(world, handle), ask)
    else:
        await approve(world, handle, ask)


def handle_in(world: World, handle: TaskHandle) -> TaskHandle:
    """The same task in this engine."""
    return world.handle(handle)


AGENTS: Final = [
    pytest.param(calling, id="batch"),
    pytest.param(one_by_one, id="one by one"),
    pytest.param(calling_on_a_thread, id="thread"),
]


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("moment", ["commit", "commit, after"])
async def test_a_crash_at_every_commit_changes_nothing(kind: Any, moment: str) -> None:  # noqa: ANN401
    """Inputs, a confirmation, a denial, a refusal; before and after each.

    Source: bars, R-GATE-11.
    """
    wanted = (ToolCall("pay", {}), ToolCall("pay", {}), ToolCall("play", {}), pay("x"))
    denied = frozenset({"pay-2:approval"})
    for crash_at in range(1, 60):
        bank = Bank()
        box = Toolbox([bank], policies=Policies({"pay": REQUIRED}))
        agent: Agent = kind(*wanted)
        async with opened(agent, tools=box, limits=GONE) as world:
            handle = await world.submit()
            for _ in range(crash_at - 1):
                world.store.hold(moment).open()
            gate = world.store.hold(moment)
            work = asyncio.ensure_future(people(world, handle, bank, denied))
            reached = asyncio.ensure_future(gate.reached())
            await asyncio.wait({work, reached}, return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
            if not work.done():
                work.cancel()
            store, clock = world.crash(), world.clock
            gate.open()
        box = Toolbox([bank], policies=Policies({"pay": REQUIRED}))
        async with opened(agent, tools=box, store=store, clock=clock, limits=AT_ONCE) as again:
            after = again.handle(handle)
            await soon(people(again, after, bank, denied))
            said = await soon(after.result())
        assert isinstance(said, list)
        assert said[0] in ({"ran": {"amount": 1}}, "by hand"), crash_at
        assert str(said[1]).startswith("Denied"), crash_at
        assert [str(one).split(":")[0] for one in said[2:]] == ["ToolRefused"] * 2
        assert bank.paid == [1], crash_at
        if work.done() and not work.cancelled():
            return
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("kind", AGENTS)
async def test_a_restart_over_a_file_goes_on_where_it_was(kind: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """With other objects for everything.  Source: issue 4, purpose."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    bank, clock = Bank(), ManualClock()
    agent: Agent = kind(pay(5), pay(6))

    def engine() -> Engine:
        box = Toolbox([bank], policies=Policies({"pay": Policy(confirm="always")}))
        return Engine(agent, tools=box, store=url, clock=clock)

    async with asyncio.timeout(60), engine() as one:
        task_id = (await one.submit("go", owner=OWNER)).task_id
        await all_asked(one, task_id, 2 if kind is not one_by_one else 1)
    for _ in range(2):
        async with asyncio.timeout(60), engine() as other:
            handle = await other.task(task_id, owner=OWNER)
            (ask, *_) = (await handle.rest()).asks
            assert ask.digest is not None
            await handle.approve(ask.key, digest=ask.digest)
            if (await handle.rest()).phase in OVER:
                assert await handle.result() == [{"ran": {"amount": n}} for n in (5, 6)]
    assert bank.paid == [5, 6]


async def all_asked(engine: Engine, task_id: str, count: int) -> None:
    """Wait until so many asks are open."""
    async for _ in engine.subscribe(task_id, owner=OWNER):
        if len((await engine.record(task_id, owner=OWNER)).asks) == count:
            return


# --- calls in doubt -----------------------------------------------------------------------


def hanging() -> tuple[asyncio.Event, Callable[[JsonObject, ToolUse], Any]]:
    """A tool that hangs the first time it is called."""
    begun = asyncio.Event()

    async def does(arguments: JsonObject, _use: ToolUse) -> ToolResult:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return ToolResult(structured={"ran": arguments})

    return begun, does


async def test_a_call_in_doubt_that_may_be_repeated_is_made_again_exactly_so() -> None:
    """With the approved arguments and the same token; nobody is asked again.  Source: DESIGN 3."""
    begun, does = hanging()
    policy = Policy(confirm="always", allow_edit=True, idempotent=True)
    bank = Bank(does=does)
    box = Toolbox([bank], policies=Policies({"pay": policy}))
    async with opened(calling(pay(5)), tools=box, limits=GONE) as world:
        handle, ask = await world.asking()
        await approve(world, handle, ask, {"amount": 4})
        await soon(begun.wait())
        store, clock = world.crash(), world.clock
    stricter = Toolbox([bank], policies=Policies({"pay": Policy(confirm="always")}))
    async with opened(calling(pay(5)), tools=stricter, store=store, clock=clock) as again:
        after = again.handle(handle)
        assert await soon(after.result()) == [{"ran": {"amount": 4}}]
        assert bank.ran[0] == bank.ran[1]
        assert bank.paid == [4, 4]
        assert [event.trigger for event in again.log(after)].count(Trigger.ASK) == 1


@pytest.mark.parametrize("decision", ["use_value", "run_again", "fail"])
async def test_a_person_decides_about_any_other_call_in_doubt(decision: str) -> None:
    """Never a silent second time.  Source: issue 4, bars."""
    begun, does = hanging()
    claims = PAY.model_copy(update={"idempotent": True})
    bank = Bank(claims, does=does)
    policies = Policies({"pay": Policy(idempotent=False)})  # The service knows better.
    async with opened(
        calling(pay(5)), tools=Toolbox([bank], policies=policies), limits=GONE
    ) as world:
        handle = await world.submit()
        await soon(begun.wait())
        store, clock = world.crash(), world.clock
    box = Toolbox([bank], policies=policies)
    async with opened(calling(pay(5)), tools=box, store=store, clock=clock) as again:
        after = again.handle(handle)
        (ask,) = await asked(again, after)
        assert ask.key == f"{IN_DOUBT}1-pay-1"
        assert bank.paid == [5]
        await after.answer(ask.key, {"decision": decision, "value": "by hand"})
        record = await soon(after.over())
        assert record.shown is (Phase.FAILED if decision == "fail" else Phase.COMPLETED)
        assert bank.paid == ([5, 5] if decision == "run_again" else [5])
        if decision == "use_value":
            assert await soon(after.result()) == ["by hand"]


async def test_calls_in_doubt_of_one_batch_are_asked_about_at_once() -> None:
    """Each on its own.  Source: issue 4, build 1."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        await asyncio.Event().wait()
        return ToolResult()

    bank = Bank(does=does)
    agent = calling(pay(5), pay(6))
    async with opened(agent, tools=Toolbox([bank]), limits=GONE) as world:
        handle = await world.submit()
        await until(lambda: len(bank.ran) == 2)
        store, clock = world.crash(), world.clock
    later = Bank()
    box = Toolbox([later])
    async with opened(agent, tools=box, store=store, clock=clock, limits=AT_ONCE) as again:
        after = again.handle(handle)
        first, second = await asked(again, after, 2)
        await after.answer(first.key, {"decision": "use_value", "value": "by hand"})
        await after.answer(second.key, {"decision": "run_again"})
        assert await soon(after.result()) == ["by hand", {"ran": {"amount": 6}}]
        assert later.paid == [6]


# --- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize("limits", LIMITS)
async def test_a_refusal_is_met_again_although_policies_have_changed(limits: Limits) -> None:
    """The agent went on from it.  Source: API4, errors."""
    bank = Bank()
    policies = Policies({"pay": Policy(enabled=False), "look": Policy(confirm="always")})
    bank.has.append(Tool(name="look", source="bank"))
    agent = one_by_one(pay(5), pay("x"), ToolCall("play", {}), ToolCall("look", {}))
    async with opened(agent, tools=Toolbox([bank], policies=policies), limits=limits) as world:
        handle, ask = await world.asking()
        before = [event.data for event in world.log(handle) if event.trigger is Trigger.NOTE]
        assert len(before) == 3
        store, clock = world.crash(), world.clock
    bank.has.append(Tool(name="play", source="bank"))
    box = Toolbox([bank])  # Everything is allowed now, and `play` is there.
    async with opened(agent, tools=box, store=store, clock=clock) as again:
        after = again.handle(handle)
        await approve(again, after, ask)
        said = await soon(after.result())
        assert isinstance(said, list)
        assert said[0] == "ToolRefused: pay was not called: it is not enabled"
        assert "no tool 'play'; there are: look" in str(said[2])
        assert [leg.tool for leg in bank.ran] == ["bank/look"]


async def test_what_a_predicate_decided_is_not_asked_of_it_again() -> None:
    """Code of another version may think otherwise; what was asked stays asked.  Source: ours."""
    bank = Bank()
    policies = Policies({"pay": Policy(confirm=lambda _: True)})
    async with opened(calling(pay(5)), tools=Toolbox([bank], policies=policies)) as world:
        handle, ask = await world.asking()
        store, clock = world.crash(), world.clock
    box = Toolbox([bank], policies=Policies({"pay": Policy(confirm=lambda _: False)}))
    async with opened(calling(pay(5)), tools=box, store=store, clock=clock) as again:
        after = again.handle(handle)
        assert again.stored(after).asks == (ask,)
        await deny(after, ask)
        await soon(after.over())
        assert bank.ran == []


async def test_other_arguments_under_the_same_key_are_no_replay() -> None:
    """An operator is asked; nothing runs.  Source: DESIGN 3."""
    bank = Bank()
    box = Toolbox([bank], policies=Policies({"pay": Policy(confirm="always")}))
    async with opened(calling(pay(5)), tools=box, limits=GONE) as world:
        handle, ask = await world.asking()
        store, clock = world.crash(), world.clock
    async with opened(calling(pay(6)), tools=box, store=store, clock=clock) as again:
        after = again.handle(handle)
        await approve(again, after, ask)
        (operator,) = await asked(again, after)
        assert operator.key == "interlock:operator-1"
        assert bank.ran == []


async def test_other_arguments_under_the_key_of_a_refusal_are_no_replay() -> None:
    """An operator is asked; nothing runs.  Source: DESIGN 3."""
    bank = Bank()
    amounts: list[JsonValue] = ["x", 5]

    async def agent(task: TaskContext) -> str:
        await task.call_tools([pay(amounts.pop(0))])
        return str(await task.ask("go on?"))

    async with opened(agent, tools=Toolbox([bank]), limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await until(lambda: world.engine.statistics().live == 0)
        await handle.answer(ask.key, "yes")
        (operator,) = await asked(world, handle)
        assert operator.key == "interlock:operator-1"
        assert bank.ran == []


async def test_an_operator_may_have_what_was_asked_of_a_call_ignored() -> None:
    """It is asked anew.  He was once asked again and again.  Source: decision 0007."""
    bank = Bank()
    box = Toolbox([bank], policies=Policies({"pay": Policy(confirm="always")}))
    async with opened(calling(pay(5)), tools=box, limits=GONE) as world:
        handle, ask = await world.asking()
        store, clock = world.crash(), world.clock
    async with opened(calling(pay(6)), tools=box, store=store, clock=clock) as again:
        after = again.handle(handle)
        await approve(again, after, ask)
        await asked(again, after)
        await again.engine.resume(handle.task_id, "skip")
        (anew,) = await asked(again, after)
        assert (anew.key, anew.arguments) == ("pay-1:approval@2", {"amount": 6})
        await approve(again, after, anew)
        await soon(after.over())
        assert bank.paid == [6]


async def test_an_operator_may_have_a_refusal_ignored() -> None:
    """The call is decided anew.  He was once asked again and again.  Source: decision 0007."""
    bank = Bank()
    amounts: list[JsonValue] = ["x", 5, 5]

    async def agent(task: TaskContext) -> str:
        await task.call_tools([pay(amounts.pop(0))])
        return str(await task.ask("go on?"))

    async with opened(agent, tools=Toolbox([bank]), limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await until(lambda: world.engine.statistics().live == 0)
        await handle.answer(ask.key, "yes")
        await asked(world, handle)
        await world.engine.resume(handle.task_id, "skip")
        assert await soon(handle.result()) == "yes"
        assert bank.paid == [5]


# --- tools that are not done --------------------------------------------------------------


def unfinished(*, repeatable: bool = False) -> Callable[[JsonObject, ToolUse], Any]:
    """A tool that wants to know two things first."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> Unfinished:
        questions = {
            name: Question(prompt=f"{name}?", form={"type": "string"}) for name in ("to", "by")
        }
        return Unfinished(questions=questions, token={"n": 1}, repeatable=repeatable)

    return does


async def done(token: JsonValue, answers: JsonObject, _use: ToolUse) -> ToolResult:
    """The end of it."""
    return ToolResult(structured=[token, answers])


@pytest.mark.parametrize("limits", LIMITS)
async def test_questions_of_a_tool_are_asked_at_once_and_survive_a_restart(limits: Limits) -> None:
    """The first leg is not made again.  Source: issue 4, build 3."""
    bank = Bank(does=unfinished(), goes_on=done)
    async with opened(calling(pay(5)), tools=Toolbox([bank]), limits=limits) as world:
        handle = await world.submit()
        second, first = await asked(world, handle, 2)
        assert (first.key, second.key) == ("pay-1:1:to", "pay-1:1:by")
        await handle.answer(first.key, "Rome")
        store, clock = world.crash(), world.clock
    box = Toolbox([bank])
    async with opened(calling(pay(5)), tools=box, store=store, clock=clock, limits=limits) as again:
        after = again.handle(handle)
        assert [ask.key for ask in again.stored(after).asks] == [second.key]
        await after.answer(second.key, "train")
        answers = {"to": "Rome", "by": "train"}
        assert await soon(after.result()) == [[{"n": 1}, answers]]
        assert [leg.said for leg in bank.ran] == [None, ({"n": 1}, answers)]
        assert [leg.arguments for leg in bank.ran] == [{"amount": 5}] * 2
        begun = calls(again.log(after))
        assert [call["key"] for call in begun] == ["pay-1", "pay-1:2"]
        assert [call.get("leg") for call in begun] == [None, 2]


@pytest.mark.parametrize("lost", [False, True])
async def test_questions_of_a_tool_are_for_whom_its_policy_names(lost: bool) -> None:  # noqa: FBT001
    """Also when they are asked by another process.  Source: issue 4, build 2."""
    policies = Policies({"pay": Policy(approvers=("boss",), expires_s=60.0)})
    bank = Bank(does=unfinished(), goes_on=done)
    box = Toolbox([bank], policies=policies)
    async with opened(calling(pay(5)), tools=box, limits=GONE) as world:
        if lost:
            handle = await world.submit()
            await until(lambda: bool(bank.ran))
            gate = world.store.hold("commit, after")
            await gate.reached()
            assert world.log(handle)[-1].trigger is Trigger.CALLED
            store, clock = world.crash(), world.clock
            gate.open()
        else:
            handle = await world.submit()
            asks = await asked(world, handle, 2)
            store, clock = world.crash(), world.clock
    async with opened(calling(pay(5)), tools=box, store=store, clock=clock) as again:
        after = again.handle(handle)
        asks = await asked(again, after, 2)
        assert {(ask.approvers, ask.due) for ask in asks} == {(("boss",), again.clock.now() + 60.0)}
        assert len(bank.ran) == 1


@pytest.mark.parametrize("why", ["off", "away"])
@pytest.mark.parametrize("limits", LIMITS)
async def test_a_further_leg_is_not_made_of_a_tool_that_is_off_or_away(
    why: str, limits: Limits
) -> None:
    """The agent is told, also when it is run again.  Source: the gate's docstring."""
    policies = Policies()
    bank = Bank(does=unfinished(), goes_on=done)
    told_of: list[JsonValue] = []

    async def agent(task: TaskContext) -> str:
        told_of.append(told((await task.call_tools([pay(5)]))[0]))
        return str(await task.ask("go on?"))

    async with opened(agent, tools=Toolbox([bank], policies=policies), limits=limits) as world:
        handle = await world.submit()
        asks = await asked(world, handle, 2)
        await until(lambda: world.engine.statistics().live == (limits.park_after_s != 0.0))
        if why == "off":
            policies.set("pay", Policy(enabled=False))
        elif limits.park_after_s == 0.0:
            bank.has.clear()
        else:
            return  # Who has found it goes on with it.
        for ask in asks:
            await handle.answer(ask.key, "x")
        (ask,) = await asked(world, handle)
        assert ask.key == "ask-1"
        store, clock = world.crash(), world.clock
    box = Toolbox([Bank(goes_on=done)])
    async with opened(agent, tools=box, store=store, clock=clock) as again:
        after = again.handle(handle)
        await after.answer(ask.key, "yes")
        assert await soon(after.result()) == "yes"
        assert str(told_of[0]).startswith("ToolRefused: pay was not called")
        assert told_of[0] == told_of[1]
        assert len(bank.ran) == 1


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_further_leg_in_doubt(repeatable: bool) -> None:  # noqa: FBT001
    """Is made again if its source said so, else a person is asked.  Source: API4."""
    begun = asyncio.Event()

    async def goes_on(token: JsonValue, answers: JsonObject, use: ToolUse) -> ToolResult:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return await done(token, answers, use)

    bank = Bank(does=unfinished(repeatable=repeatable), goes_on=goes_on)
    async with opened(calling(pay(5)), tools=Toolbox([bank]), limits=GONE) as world:
        handle = await world.submit()
        for ask in await asked(world, handle, 2):
            await handle.answer(ask.key, "x")
        await soon(begun.wait())
        store, clock = world.crash(), world.clock
    async with opened(calling(pay(5)), tools=Toolbox([bank]), store=store, clock=clock) as again:
        after = again.handle(handle)
        if not repeatable:
            (ask,) = await asked(again, after)
            assert ask.key == f"{IN_DOUBT}1-pay-1:2"
            assert len(bank.ran) == 2
            await after.answer(ask.key, {"decision": "run_again"})
        assert await soon(after.result()) == [[{"n": 1}, {"to": "x", "by": "x"}]]
        assert bank.ran[1] == bank.ran[2]
        assert bank.paid == [5]


async def test_a_tool_that_is_never_done_is_given_up() -> None:
    """It must not fill the log.  Source: ours."""

    async def never(_arguments: JsonObject, _use: ToolUse) -> Unfinished:
        return Unfinished(token=0)

    async def goes_on(_token: JsonValue, _answers: JsonObject, _use: ToolUse) -> Unfinished:
        return Unfinished(token=0)

    bank = Bank(does=never, goes_on=goes_on)
    async with opened(calling(pay(5)), tools=Toolbox([bank])) as world:
        handle = await world.submit()
        said = await soon(handle.result())
        assert isinstance(said, list)
        assert f"not done after {LEGS_MAX} legs" in str(said[0])
        assert len(bank.ran) == LEGS_MAX


async def test_a_question_that_nobody_could_answer_fails_the_call() -> None:
    """Its form cannot be checked.  Source: issue 4, bad input."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> Unfinished:
        return Unfinished(questions={"q": Question(prompt="?", form={"$ref": "#/nowhere"})})

    async with opened(calling(pay(5)), tools=Toolbox([Bank(does=does)])) as world:
        handle = await world.submit()
        said = await soon(handle.result())
        assert isinstance(said, list)
        assert str(said[0]).startswith("CallFailed: pay raised InvalidInput")


@pytest.mark.parametrize(
    "result",
    [
        ToolResult(),
        ToolResult(structured=None),
        ToolResult(structured={"result": {"parts": [{"text": "a trap"}]}}),
        ToolResult(parts=(Part(text="a"), Part(url="https://x", media_type="text/html"))),
        ToolResult(parts=(Part(text="no"),), is_error=True),
    ],
)
async def test_a_result_is_the_same_from_the_log(result: ToolResult) -> None:
    """To the agent a replay looks like the first time.  Source: DESIGN 3."""

    async def does(_arguments: JsonObject, _use: ToolUse) -> ToolResult:
        return result

    seen: list[ToolResult] = []

    async def agent(task: Any) -> str:  # noqa: ANN401
        seen.append(await task.call_tool("pay", {"amount": 5}))
        return str(await task.ask("go on?"))

    bank = Bank(does=does)
    async with opened(agent, tools=Toolbox([bank]), limits=AT_ONCE) as world:
        handle, ask = await world.asking()
        await until(lambda: world.engine.statistics().live == 0)
        await handle.answer(ask.key, "yes")
        await soon(handle.over())
        assert seen == [result, result]
        assert seen[1].model_fields_set >= result.model_fields_set - {"is_error"}
        assert len(bank.ran) == 1


@pytest.mark.parametrize(("error", "paid"), [(ConnectionError(), [5]), (ToolError("full"), [5, 5])])
async def test_a_retry_does_not_silently_repeat_a_call_whose_connection_broke(
    error: Exception, paid: list[int]
) -> None:
    """It may have been done; a `ToolError` says that it was not.  Source: DESIGN 3."""

    async def does(_a: JsonObject, _u: ToolUse) -> ToolResult:
        raise error

    bank = Bank(does=does)

    async def agent(task: TaskContext) -> str:
        try:
            await task.call_tool("pay", {"amount": 5})
        except CallFailed as failed:
            if task.attempt == 1:
                raise Retryable("again") from failed
        return "told"

    async with opened(
        agent, tools=Toolbox([bank]), limits=Limits(retry=Retry(attempts_max=2))
    ) as world:
        handle = await world.submit()
        await until(lambda: bool(bank.paid))
        await world.elapse(1_000.0)
        await soon(handle.rest())
        assert bank.paid == paid
