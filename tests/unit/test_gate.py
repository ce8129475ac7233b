"""The gate asks, in its order: is it there, is it on, does it fit, may it, and only then it runs.

What one call may ask for and in which batch is in `test_gate_inputs` and `test_gate_batch`;
crashes are in `test_gate_replay`, the tools themselves in `test_gate_leg`.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gates import AMOUNT, PAY, Bank, approve, asked, calling, calls, deny, pay
from interlock import (
    Approval,
    AskKind,
    JsonObject,
    Limits,
    Phase,
    Policies,
    Policy,
    Refuse,
    RequiredInput,
    TaskContext,
    Tool,
    Toolbox,
    ToolCall,
    Trigger,
    When,
)
from interlock._agent import Agent
from interlock.errors import AnswerInvalid, InvalidInput, Refused, ToolRefused
from support import World, opened, pause, soon

ALWAYS = Policy(confirm="always")


async def results(agent: Agent, box: Toolbox) -> list[Any]:
    """What the agent was told of its calls, none of which asks anybody."""
    async with opened(agent, tools=box) as world:
        handle = await world.submit()
        said = await soon(handle.result())
        assert isinstance(said, list)
        return said


# --- is it there, is it on, does it fit ---------------------------------------------------


async def test_a_call_that_nothing_keeps_back_runs_at_once() -> None:
    """Its result is the tool's.  Source: issue 4, build 1."""
    bank = Bank()
    assert await results(calling(pay(5)), Toolbox([bank])) == [{"ran": {"amount": 5}}]
    assert bank.paid == [5]


async def test_an_unknown_tool_is_refused_with_those_that_there_are() -> None:
    """A model learns from it.  Source: issue 4, bad input, R-GATE-01."""
    (said,) = await results(calling(ToolCall("play", {})), Toolbox([Bank()]))
    assert said == "ToolRefused: play was not called: no tool 'play'; there are: pay"


async def test_a_disabled_tool_is_not_named_among_those_that_there_are() -> None:
    """It is not shown to agents.  Source: issue 4, build 2."""
    policies = Policies({"pay": Policy(enabled=False)})
    (said,) = await results(calling(ToolCall("play", {})), Toolbox([Bank()], policies=policies))
    assert said.endswith("there are: none")


async def test_a_name_of_several_tools_is_refused() -> None:
    """Nobody guesses which.  Source: issue 4, build 2."""
    bank, other = Bank(), Bank(PAY.model_copy(update={"source": "other"}), name="other")
    box = Toolbox([bank, other], qualified=True)
    (said,) = await results(calling(pay(5)), box)
    assert "'pay' is the name of several tools" in said
    assert (bank.ran, other.ran) == ([], [])


@pytest.mark.parametrize("name", ["other/pay", "other__pay"])
async def test_a_qualified_name_means_one_of_them(name: str) -> None:
    """Both ways of writing it.  Source: API4, Toolbox."""
    bank, other = Bank(), Bank(PAY.model_copy(update={"source": "other"}), name="other")
    box = Toolbox([bank, other], qualified=True)
    await results(calling(ToolCall(name, {"amount": 5})), box)
    assert (bank.paid, other.paid) == ([], [5])


async def test_a_disabled_tool_is_refused_before_its_arguments_are_looked_at() -> None:
    """That is the order.  Source: issue 4, build 1, R-GATE-01."""
    bank = Bank()
    policies = Policies({"pay": Policy(enabled=False, confirm="always")})
    (said,) = await results(calling(pay("five")), Toolbox([bank], policies=policies))
    assert said == "ToolRefused: pay was not called: it is not enabled"
    assert bank.ran == []


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"amount": "five"}, "/amount"),
        ({"amount": True}, "/amount"),
        ({"amount": 10_000_001}, "/amount"),
        ({}, "amount"),
        ({"amount": 5, "to": "eve"}, "to"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_before_anybody_is_asked(
    arguments: JsonObject, fault: str
) -> None:
    """Nobody is bothered with what cannot run.  Source: issue 4, bad input, R-GATE-01."""
    bank = Bank()
    policies = Policies({"pay": ALWAYS})
    wanted = ToolCall("pay", arguments)
    (said,) = await results(calling(wanted), Toolbox([bank], policies=policies))
    assert said.startswith("ToolRefused: pay was not called: ")
    assert fault in said
    assert bank.ran == []


async def test_a_tool_whose_schema_cannot_be_checked_is_not_called() -> None:
    """Its arguments could be anything.  Source: ours."""
    bank = Bank(Tool(name="pay", source="bank", input_schema={"unevaluatedProperties": False}))
    (said,) = await results(calling(ToolCall("pay", {})), Toolbox([bank]))
    assert "its schema cannot be checked" in said
    assert bank.ran == []


@pytest.mark.parametrize(
    "arguments", [{"amount": float("nan")}, {"amount": {1, 2}}, [5], None, "5"]
)
async def test_arguments_that_are_no_json_object_are_an_error_of_the_agent(arguments: Any) -> None:  # noqa: ANN401
    """They could be neither shown nor kept.  Source: issue 4, bad input."""
    bank = Bank()
    (said,) = await results(calling(ToolCall("pay", arguments)), Toolbox([bank]))
    assert said.startswith("InvalidInput")
    assert bank.ran == []


@pytest.mark.parametrize("name", ["", "x" * 257, 5])
async def test_a_name_that_is_no_short_text_is_an_error_of_the_agent(name: Any) -> None:  # noqa: ANN401
    """It could be no key.  Source: issue 4, bad input."""
    (said,) = await results(calling(ToolCall(name, {})), Toolbox([Bank()]))
    assert said.startswith("InvalidInput")


async def test_nothing_is_called_inside_of_a_call() -> None:
    """A replay would not come there.  Source: decisions, the journal, R-JRN-11."""
    bank = Bank()

    async def agent(task: TaskContext) -> str:
        async def inside() -> str:
            with pytest.raises(InvalidInput):
                await task.call_tool("pay", {"amount": 5})
            with pytest.raises(InvalidInput):
                await task.call_tools([pay(5)])
            return "refused"

        return await task.call(inside)

    async with opened(agent, tools=Toolbox([bank])) as world:
        assert await soon((await world.submit()).result()) == "refused"
        assert bank.ran == []


async def test_a_tool_that_an_agent_brings_itself_meets_the_same_gate() -> None:
    """By the rules for `local`, and though it is in no toolbox.  Source: API4, ToolCall."""
    own = Bank(PAY.model_copy(update={"source": "local"}), name="local")
    policies = Policies({"local/pay": Policy(confirm="always", on_deny="tell_agent")})
    box = Toolbox([], policies=policies, agent_tools=["pay"])
    agent = calling(*(pay(n, tool=own.has[0], source=own) for n in (1, 2, "x")))
    async with opened(agent, tools=box, limits=Limits(park_after_s=0.0)) as world:
        handle = await world.submit()
        first, second = await asked(world, handle, 2)
        assert (first.tool, first.arguments) == ("pay", {"amount": 1})
        await pause()
        await approve(world, handle, first)
        await deny(handle, second)
        said = await told_of(world, handle)
        assert said[0] == {"ran": {"amount": 1}}
        assert [one.split(":")[0] for one in said[1:]] == ["Denied", "ToolRefused"]
        assert own.paid == [1]


# --- may it ------------------------------------------------------------------------------


def above(limit: int) -> Callable[[JsonObject], bool]:
    """A predicate that is code."""

    def is_above(arguments: JsonObject) -> bool:
        return int(str(arguments["amount"])) > limit

    return is_above


WHEN = When(when={"properties": {"amount": {"exclusiveMinimum": 100}}})


@pytest.mark.parametrize("confirm", [WHEN, above(100)])
async def test_confirmation_is_wanted_where_the_arguments_say_so(confirm: Any) -> None:  # noqa: ANN401
    """By a schema or by code.  Source: issue 4, build 1, R-GATE-02."""
    bank = Bank()
    box = Toolbox([bank], policies=Policies({"pay": Policy(confirm=confirm)}))
    async with opened(calling(pay(100), pay(101)), tools=box) as world:
        handle = await world.submit()
        (ask,) = await asked(world, handle)
        assert ask.arguments == {"amount": 101}
        await approve(world, handle, ask)
        await soon(handle.over())
        assert sorted(map(str, bank.paid)) == ["100", "101"]


def _raises(_arguments: JsonObject) -> bool:
    raise OSError("a secret")


def _exits(_arguments: JsonObject) -> bool:
    raise SystemExit(2)


def _gives_a_text(_arguments: JsonObject) -> Any:  # noqa: ANN401  the fault
    return "no"


async def _asks_elsewhere(_arguments: JsonObject) -> bool:
    return True


#: As who writes `async def` by habit.
_is_awaited: Any = _asks_elsewhere


@pytest.mark.parametrize(
    ("predicate", "kind", "logged"),
    [
        (_raises, "OSError", "OSError: a secret"),
        (_exits, "SystemExit", "SystemExit: 2"),
        (_gives_a_text, "a predicate gave a str, not True or False", "NoVerdict"),
        (_is_awaited, "a predicate gave a coroutine, not True or False", "NoVerdict"),
    ],
)
async def test_a_predicate_that_cannot_judge_keeps_the_call_back(
    predicate: Callable[[JsonObject], bool],
    kind: str,
    logged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And what it raised is told by its kind alone; all of it is in the process's log.

    Source: issue 4, build 1, R-GATE-02, R-ENG-18.
    """
    bank = Bank()
    box = Toolbox([bank], policies=Policies({"pay": Policy(confirm=predicate)}))
    (said,) = await results(calling(pay(5)), box)
    assert said == f"ToolRefused: pay was not called: its policy could not be asked ({kind})"
    assert bank.ran == []
    (line,) = [line for line in caplog.records if line.name == "interlock.agent"]
    assert line.getMessage().endswith("the policy of bank/pay could not be asked")
    assert (line.exc_info is not None, logged in caplog.text) == (True, True)


async def test_an_ask_shows_exactly_what_will_run() -> None:
    """Tool, arguments, schema, who may answer, until when.  Source: issue 4, build 1, R-GATE-03."""
    policy = Policy(
        confirm="always",
        prompt="Really?",
        approvers=("boss",),
        expires_s=60.0,
        by_text=True,
        allow_edit=True,
        on_deny="tell_agent",
    )
    box = Toolbox([Bank()], policies=Policies({"bank/pay": policy}))
    async with opened(calling(pay(5)), tools=box) as world:
        _, ask = await world.asking()
        assert (ask.kind, ask.key, ask.prompt) == (AskKind.AUTH, "pay-1:approval", "Really?")
        assert (ask.tool, ask.arguments, ask.schema) == ("bank/pay", {"amount": 5}, AMOUNT)
        assert (ask.approvers, ask.due) == (("boss",), world.clock.now() + 60.0)
        assert (ask.by_text, ask.allow_edit, ask.on_deny) == (True, True, "tell_agent")


async def test_only_an_approver_may_say_yes() -> None:
    """Not the owner, if the policy names others.  Source: issue 4, build 2."""
    bank = Bank()
    policies = Policies({"pay": Policy(confirm="always", approvers=("boss",))})
    async with opened(calling(pay(5)), tools=Toolbox([bank], policies=policies)) as world:
        handle, ask = await world.asking()
        with pytest.raises(Refused):
            await approve(world, handle, ask)
        assert ask.digest is not None
        yes = Approval(ask=ask.key, digest=ask.digest, decision="approve")
        await world.engine.decide(handle.task_id, yes, owner=None, actor="boss")
        await soon(handle.over())
        assert bank.paid == [5]


async def test_the_log_says_which_policy_let_a_call_through() -> None:
    """Rule, version and what was set of it, in the ask and in the call.  Source: build 2."""
    policies = Policies({"*": Policy(), "pay": ALWAYS})
    policies.set("bank/*", Policy(timeout_s=5.0))
    box = Toolbox([Bank()], policies=policies)
    async with opened(calling(pay(5)), tools=box) as world:
        handle, ask = await world.asking()
        await approve(world, handle, ask)
        await soon(handle.over())
        (said,) = [e.data["gate"] for e in world.log(handle) if e.trigger is Trigger.ASK]
        assert (said["rule"], said["version"]) == ("pay", 2)
        (call,) = calls(world.log(handle))
        assert (call["tool"], call["approval"]) == ("bank/pay", ask.key)
        assert call["policy"] == {"rule": "pay", "version": 2, "confirm": "always"}
        assert "requested" not in call


async def test_a_tool_without_a_rule_is_called_by_the_default_policy() -> None:
    """The log says that none decided.  Source: issue 4, build 2."""
    async with opened(calling(pay(5)), tools=Toolbox([Bank()])) as world:
        handle = await world.submit()
        await soon(handle.over())
        assert calls(world.log(handle))[0]["policy"] == {"rule": "default", "version": 1}


# --- a no, and nobody ---------------------------------------------------------------------


async def test_a_no_stops_the_task() -> None:
    """As it comes.  Source: issue 4, build 2."""
    bank = Bank()
    async with opened(
        calling(pay(5)), tools=Toolbox([bank], policies=Policies({"pay": ALWAYS}))
    ) as world:
        handle, ask = await world.asking()
        await deny(handle, ask, "too much")
        record = await soon(handle.over())
        assert record.shown is Phase.CANCELLED
        assert bank.ran == []


async def test_a_no_is_told_to_the_agent_where_the_policy_says_so() -> None:
    """With the reason.  Source: issue 4, build 2."""
    bank = Bank()
    policies = Policies({"pay": Policy(confirm="always", on_deny="tell_agent")})
    async with opened(calling(pay(5)), tools=Toolbox([bank], policies=policies)) as world:
        handle, ask = await world.asking()
        await deny(handle, ask, "too much")
        (said,) = await told_of(world, handle)
        assert said.startswith("Denied")
        assert "too much" in said
        assert bank.ran == []


async def told_of(world: World, handle: Any) -> list[Any]:  # noqa: ANN401
    """What the agent returned."""
    assert world.engine is not None
    said: Any = await soon(handle.result())
    assert isinstance(said, list)
    return [*said]


@pytest.mark.parametrize(
    ("on_expire", "on_deny", "phase"),
    [
        ("deny", "stop", Phase.FAILED),
        ("fail", "tell_agent", Phase.FAILED),
        ("deny", "tell_agent", Phase.COMPLETED),
        ("default", "tell_agent", Phase.COMPLETED),
        ("default", "stop", Phase.FAILED),
    ],
)
async def test_nobody_is_a_no(on_expire: Any, on_deny: Any, phase: Phase) -> None:  # noqa: ANN401
    """A confirmation has no default.  Source: issue 4, build 2."""
    bank = Bank()
    policy = Policy(confirm="always", on_expire=on_expire, on_deny=on_deny, expires_s=60.0)
    box = Toolbox([bank], policies=Policies({"pay": policy}))
    async with opened(calling(pay(5)), tools=box) as world:
        handle, _ = await world.asking()
        await world.elapse(59.0)
        assert world.stored(handle).shown is Phase.WAITING_AUTH
        await world.elapse(1.0)
        assert (await soon(handle.over())).shown is phase
        assert bank.ran == []


# --- edits --------------------------------------------------------------------------------

EDITABLE = Policy(confirm="always", allow_edit=True)


async def test_edited_arguments_run_and_the_log_says_what_was_wanted() -> None:
    """Exactly the approved ones.  Source: issue 4, build 1."""
    bank = Bank()
    box = Toolbox([bank], policies=Policies({"pay": EDITABLE}))
    async with opened(calling(pay(5)), tools=box) as world:
        handle, ask = await world.asking()
        await approve(world, handle, ask, {"amount": 4})
        assert await soon(handle.result()) == [{"ran": {"amount": 4}}]
        (call,) = calls(world.log(handle))
        assert (call["arguments"], call["requested"]) == ({"amount": 4}, {"amount": 5})


class Strict:
    """A plugin that refuses round amounts."""

    def before_tool(self, _tool: Tool, arguments: JsonObject, _policy: Policy) -> Refuse | None:
        """Refuse them."""
        return Refuse("it is round") if arguments.get("amount") == 10 else None


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ({"amount": "4"}, "/amount"),
        ({"amount": 10}, "it is round"),
        ({}, "amount"),
        ({"amount": None}, "amount"),
    ],
)
async def test_an_edit_that_may_not_run_leaves_the_ask_open(edit: JsonObject, why: str) -> None:
    """By schema, by policy and by plugin.  Source: issue 4, build 1."""
    bank = Bank()
    policy = EDITABLE.model_copy(update={"required_inputs": (RequiredInput(name="amount"),)})
    box = Toolbox([bank], policies=Policies({"pay": policy}), plugins=[Strict()])
    async with opened(calling(pay(5)), tools=box) as world:
        handle, ask = await world.asking()
        with pytest.raises(AnswerInvalid) as caught:
            await approve(world, handle, ask, edit)
        assert why in str(caught.value)
        assert world.stored(handle).asks == (ask,)
        await approve(world, handle, ask, {"amount": 4})
        await soon(handle.over())
        assert bank.paid == [4]


async def test_an_edit_of_a_tool_that_was_switched_off_leaves_the_ask_open() -> None:
    """The policy of today.  Source: issue 4, build 1."""
    bank = Bank()
    policies = Policies({"pay": EDITABLE})
    async with opened(calling(pay(5)), tools=Toolbox([bank], policies=policies)) as world:
        handle, ask = await world.asking()
        policies.set("pay", EDITABLE.model_copy(update={"enabled": False}))
        with pytest.raises(AnswerInvalid, match="not enabled"):
            await approve(world, handle, ask, {"amount": 4})
        assert world.stored(handle).asks == (ask,)


async def test_an_edit_where_none_is_allowed_is_refused() -> None:
    """The ask stays open.  Source: INVARIANTS I14."""
    bank = Bank()
    box = Toolbox([bank], policies=Policies({"pay": ALWAYS}))
    async with opened(calling(pay(5)), tools=box) as world:
        handle, ask = await world.asking()
        for amount in (4, 5.0, True):
            with pytest.raises(Refused):
                await approve(world, handle, ask, {"amount": amount})
        assert world.stored(handle).asks == (ask,)
        await approve(world, handle, ask, {"amount": 5})
        await soon(handle.over())
        assert bank.paid == [5]


# --- policies that change meanwhile -------------------------------------------------------


async def test_a_tool_that_was_switched_off_meanwhile_is_not_called_although_approved() -> None:
    """Effective at the next call.  Source: issue 4, build 2, R-GATE-06."""
    bank = Bank()
    policies = Policies({"pay": ALWAYS})
    async with opened(calling(pay(5)), tools=Toolbox([bank], policies=policies)) as world:
        handle, ask = await world.asking()
        policies.set("pay", Policy(enabled=False))
        await approve(world, handle, ask)
        (said,) = await told_of(world, handle)
        assert said.startswith("ToolRefused")
        assert bank.ran == []


async def test_a_confirmation_that_is_new_since_the_inputs_were_asked_for_is_wanted() -> None:
    """A stricter rule counts for what has not run yet.  Source: issue 4, build 2."""
    bank = Bank()
    policy = Policy(required_inputs=(RequiredInput(name="amount"),))
    policies = Policies({"pay": policy})
    box = Toolbox([bank], policies=policies)
    async with opened(calling(ToolCall("pay", {})), tools=box) as world:
        handle, ask = await world.asking()
        policies.set("*", ALWAYS)
        policies.set("pay", policy.model_copy(update={"confirm": "always"}))
        await handle.answer(ask.key, {"amount": 5})
        (ask,) = (await soon(handle.rest())).asks
        assert ask.key == "pay-1:approval"
        assert bank.ran == []
        await approve(world, handle, ask)
        await soon(handle.over())
        assert bank.paid == [5]


async def test_a_schema_that_became_stricter_meanwhile_keeps_the_call_back() -> None:
    """A server that changes its mind between ask and call.  Source: issue 4, bad input."""
    bank = Bank()
    policies = Policies({"pay": ALWAYS})
    limits = Limits(park_after_s=0.0)
    box = Toolbox([bank], policies=policies)
    async with opened(calling(pay(5)), tools=box, limits=limits) as world:
        handle, ask = await world.asking()
        await pause()
        stricter: JsonObject = {**AMOUNT, "required": ["amount", "to"]}
        bank.has[:] = [PAY.model_copy(update={"input_schema": stricter})]
        await approve(world, handle, ask)
        (said,) = await told_of(world, handle)
        assert said.startswith("ToolRefused")
        assert bank.ran == []


async def test_a_change_counts_from_the_next_call() -> None:
    """Without a restart, and its version is in the log.  Source: issue 4, build 2, R-GATE-06."""
    bank = Bank()
    policies = Policies()

    async def agent(task: TaskContext) -> str:
        await task.call_tool("pay", {"amount": 1})
        policies.set("pay", Policy(enabled=False))
        assert task.tools == []
        with pytest.raises(ToolRefused):
            await task.call_tool("pay", {"amount": 2})
        policies.drop("pay")
        assert [tool.name for tool in task.tools] == ["pay"]
        await task.call_tool("pay", {"amount": 3})
        return "done"

    async with opened(agent, tools=Toolbox([bank], policies=policies)) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "done"
        assert bank.paid == [1, 3]
        assert [call["policy"]["version"] for call in calls(world.log(handle))] == [1, 3]


# --- stops --------------------------------------------------------------------------------


async def test_nothing_begins_after_a_cancel() -> None:
    """What was approved just before does not run.  Source: issue 4, build 1, R-GATE-15, I11."""
    bank = Bank()
    box = Toolbox([bank], policies=Policies({"pay": ALWAYS}))
    async with opened(calling(pay(5)), tools=box) as world:
        handle, ask = await world.asking()
        gate = world.store.hold("commit, after")
        yes = pay_yes(world, handle, ask)
        await gate.reached()
        stop = pay_stop(handle)
        gate.open()
        await soon(yes)
        await soon(stop)
        assert (await soon(handle.over())).shown is Phase.CANCELLED
        called = [event.trigger for event in world.log(handle) if event.trigger is Trigger.CALL]
        assert len(called) == len(bank.ran)
        after = [event.trigger for event in world.log(handle)]
        assert Trigger.CALL not in after[after.index(Trigger.CANCEL) :]


def pay_yes(world: World, handle: Any, ask: Any) -> Any:  # noqa: ANN401
    """Somebody is about to approve."""
    return asyncio.ensure_future(approve(world, handle, ask))


def pay_stop(handle: Any) -> Any:  # noqa: ANN401
    """Somebody is about to cancel."""
    return asyncio.ensure_future(handle.cancel())
