"""Plugins have a say in every call, in their order; what they get wrong fails that call."""

from typing import Any

import pytest

from gates import Bank, approve, asked, calling, calls, pay
from interlock import (
    JsonObject,
    Limits,
    Part,
    Policies,
    Policy,
    Refuse,
    Tool,
    Toolbox,
    ToolResult,
    Trigger,
)
from interlock.errors import InvalidInput, PluginFailed
from support import opened, soon

ALWAYS = Policies({"pay": Policy(confirm="always")})


class Doubling:
    """Changes arguments and results."""

    def normalize_args(self, _tool: Tool, arguments: JsonObject) -> JsonObject:
        """Twice as much."""
        return {"amount": 2 * int(str(arguments["amount"]))}

    async def after_tool(
        self, _tool: Tool, arguments: JsonObject, result: ToolResult
    ) -> ToolResult:
        """Say so."""
        return ToolResult(structured=[arguments, result.value])


class AddingOne:
    """Changes arguments, as a coroutine."""

    name = "one more"

    async def normalize_args(self, _tool: Tool, arguments: JsonObject) -> JsonObject:
        """One more."""
        return {"amount": 1 + int(str(arguments["amount"]))}

    def after_tool(self, _tool: Tool, _arguments: JsonObject, _result: ToolResult) -> None:
        """Leave it."""


class Saying:
    """Decides what it was given."""

    def __init__(self, said: Any) -> None:  # noqa: ANN401
        self.said = said
        self.saw: list[Policy] = []

    def before_tool(self, _tool: Tool, _arguments: JsonObject, policy: Policy) -> Any:  # noqa: ANN401
        """Decide."""
        self.saw.append(policy)
        return self.said


async def told(*plugins: object, policies: Policies | None = None) -> tuple[Any, Bank]:
    """What the agent gets of one call, and the bank."""
    bank = Bank()
    async with opened(
        calling(pay(5)), tools=Toolbox([bank], plugins=plugins, policies=policies)
    ) as world:
        handle = await world.submit()
        said = await soon(handle.result())
        assert isinstance(said, list)
        return said[0], bank


async def test_plugins_come_in_their_order() -> None:
    """Plain ones and coroutines.  Source: issue 4, build 5, R-GATE-10."""
    said, bank = await told(Doubling(), AddingOne())
    assert bank.paid == [11]
    assert said == [{"amount": 11}, {"ran": {"amount": 11}}]
    _, bank = await told(AddingOne(), Doubling())
    assert bank.paid == [12]


async def test_a_person_is_shown_what_plugins_made_of_the_arguments() -> None:
    """That is what runs; the log has both.  Source: issue 4, build 1."""
    bank = Bank()
    box = Toolbox([bank], plugins=[Doubling()], policies=ALWAYS)
    async with opened(calling(pay(5)), tools=box, limits=Limits(park_after_s=0.0)) as world:
        handle, ask = await world.asking()
        assert ask.arguments == {"amount": 10}
        await approve(world, handle, ask)
        await soon(handle.over())
        (call,) = calls(world.log(handle))
        assert (call["arguments"], call["requested"]) == ({"amount": 10}, {"amount": 5})
        assert bank.paid == [10]


async def test_arguments_that_plugins_spoilt_do_not_fit() -> None:
    """The schema comes after them.  Source: issue 4, build 1."""

    class Spoiling:
        def normalize_args(self, _tool: Tool, arguments: JsonObject) -> JsonObject:
            return {**arguments, "more": 1}

    said, bank = await told(Spoiling())
    assert said.startswith("ToolRefused")
    assert bank.ran == []


async def test_a_plugin_loosens_and_tightens_the_policy_of_a_call() -> None:
    """Each sees what the one before made of it.  Source: issue 4, build 5."""
    loosening = Saying(Policy(confirm="never"))
    _, bank = await told(loosening, policies=ALWAYS)
    assert bank.paid == [5]
    assert loosening.saw == [Policy(confirm="always")]
    tightening = Saying(Policy(confirm="always"))
    bank = Bank()
    box = Toolbox([bank], plugins=[loosening, tightening])
    async with opened(calling(pay(5)), tools=box) as world:
        handle = await world.submit()
        (ask,) = await asked(world, handle)
        assert tightening.saw == [Policy(confirm="never")]
        await approve(world, handle, ask)
        await soon(handle.over())
        (call,) = calls(world.log(handle))
        assert call["policy"] == {"rule": "default", "version": 1, "confirm": "always"}


async def test_what_a_plugin_loosened_stays_so_over_a_restart() -> None:
    """Unless the rule itself has changed.  Source: issue 4, build 5."""
    required = {"required_inputs": ({"name": "amount"},)}
    base = Policy.model_validate({"confirm": "always", **required})
    loose = Policy.model_validate(required)
    for changed in (False, True):
        bank = Bank()
        policies = Policies({"pay": base})
        box = Toolbox([bank], plugins=[Saying(loose)], policies=policies)
        agent = calling(pay(None))
        async with opened(agent, tools=box) as world:
            handle, ask = await world.asking()
            store, clock = world.crash(), world.clock
        if changed:
            policies.set("pay", base.model_copy(update={"prompt": "Really?"}))
        box = Toolbox([bank], plugins=[Saying(loose)], policies=policies)
        async with opened(agent, tools=box, store=store, clock=clock) as again:
            after = again.handle(handle)
            await after.answer(ask.key, {"amount": 5})
            record = await soon(after.rest())
            assert bool(record.asks) is changed
            assert bank.paid == ([] if changed else [5])


async def test_a_plugin_refuses_a_call_and_the_agent_is_told_why() -> None:
    """Those after it are not asked.  Source: issue 4, build 5."""
    later = Saying(None)
    said, bank = await told(Saying(Refuse("it is Sunday")), later)
    assert said == "ToolRefused: pay was not called: it is Sunday"
    assert (bank.ran, later.saw) == ([], [])


async def test_a_plugin_switches_a_tool_off_for_a_call() -> None:
    """By the policy that it gives.  Source: issue 4, build 5."""
    said, bank = await told(Saying(Policy(enabled=False)))
    assert said == "ToolRefused: pay was not called: it is not enabled"
    assert bank.ran == []


class Raising:
    """A plugin whose hooks raise."""

    name = "broken"

    def __init__(self, hook: str, *, later: bool) -> None:
        def raises(*_given: object) -> Any:  # noqa: ANN401
            raise OSError("a secret")

        async def raises_later(*_given: object) -> Any:  # noqa: ANN401
            raise OSError("a secret")

        setattr(self, hook, raises_later if later else raises)


@pytest.mark.parametrize("hook", ["normalize_args", "before_tool", "after_tool"])
@pytest.mark.parametrize("later", [False, True])
async def test_a_plugin_that_raises_fails_the_call_and_is_named(hook: str, later: bool) -> None:  # noqa: FBT001
    """By the kind alone; before the tool it keeps it from being called.

    Source: build 5, R-GATE-10, T9.
    """
    said, bank = await told(Raising(hook, later=later))
    assert f"plugin 'broken' failed in {hook} (OSError)" in said
    assert "a secret" not in said
    assert len(bank.ran) == (hook == "after_tool")


@pytest.mark.parametrize("limits", [Limits(), Limits(park_after_s=0.0)])
async def test_a_failure_of_a_plugin_is_met_again_by_a_replay(limits: Limits) -> None:
    """Though it works by then.  Source: API4, errors."""
    raising = Raising("before_tool", later=False)

    async def agent(task: Any) -> str:  # noqa: ANN401
        with pytest.raises(PluginFailed) as caught:
            await task.call_tool("pay", {"amount": 5})
        assert (caught.value.plugin, caught.value.hook) == ("broken", "before_tool")
        return str(await task.ask("go on?"))

    bank = Bank()
    async with opened(agent, tools=Toolbox([bank], plugins=[raising]), limits=limits) as world:
        handle, ask = await world.asking()
        del raising.before_tool  # type: ignore[attr-defined]
        store, clock = world.crash(), world.clock
    async with opened(agent, tools=Toolbox([bank]), store=store, clock=clock) as again:
        after = again.handle(handle)
        await after.answer(ask.key, "yes")
        assert await soon(after.result()) == "yes"
        assert bank.ran == []
        notes = [event for event in again.log(after) if event.trigger is Trigger.NOTE]
        assert len(notes) == 1


@pytest.mark.parametrize(
    ("hook", "given"),
    [
        ("normalize_args", None),
        ("normalize_args", [1]),
        ("normalize_args", {"amount": {1}}),
        ("normalize_args", {"amount": "x" * 2_000_000}),
        ("before_tool", True),
        ("before_tool", "refuse"),
        ("after_tool", "text"),
        ("after_tool", False),
    ],
)
async def test_a_plugin_that_gives_something_else_fails_the_call(hook: str, given: Any) -> None:  # noqa: ANN401
    """And is named.  Source: issue 4, build 5."""

    class Wrong:
        pass

    def gives(*_given: object) -> Any:  # noqa: ANN401
        return given

    wrong = Wrong()
    setattr(wrong, hook, gives)
    said, _ = await told(wrong)
    assert f"plugin 'Wrong' failed in {hook}" in said


# --- without a call -----------------------------------------------------------------------


class Polite:
    """Adds to what the agent is told, and to what it says."""

    instructions = "Be polite."

    def format_result(self, value: object) -> str:
        """Politely."""
        return f"please: {value}"


class Brief:
    """The same, by a method."""

    def instructions(self) -> str:
        """Briefly."""
        return "Be brief."

    def format_result(self, value: object) -> str:
        """Briefly."""
        return str(value)[:9]


class Silent:
    """Says nothing."""

    instructions = ""


def test_instructions_are_paragraphs_in_the_order_of_the_plugins() -> None:
    """Source: issue 4, build 5."""
    box = Toolbox([], plugins=[Polite(), Silent(), Brief(), AddingOne()])
    assert box.instructions() == "Be polite.\n\nBe brief."


def test_a_final_result_goes_through_all_plugins() -> None:
    """Source: issue 4, build 5."""
    assert Toolbox([], plugins=[Polite(), Brief()]).format_result("x" * 99) == "please: x"
    assert Toolbox([]).format_result(Part(text="x")) == Part(text="x")


@pytest.mark.parametrize("hook", ["instructions", "format_result"])
@pytest.mark.parametrize("later", [False, True])
def test_a_plugin_that_fails_there_is_named_too(hook: str, later: bool) -> None:  # noqa: FBT001
    """Nobody can wait there, so a coroutine is a failure.  Source: issue 4, build 5."""
    box = Toolbox([], plugins=[Raising(hook, later=later)])
    with pytest.raises(PluginFailed) as caught:
        _ = box.instructions() if hook == "instructions" else box.format_result("x")
    assert (caught.value.plugin, caught.value.hook) == ("broken", hook)
    assert caught.value.kind == ("coroutine" if later else "OSError")


def test_instructions_that_are_no_text_are_a_failure() -> None:
    """Source: issue 4, build 5."""

    class Wrong:
        instructions = 5

    with pytest.raises(PluginFailed):
        Toolbox([], plugins=[Wrong()]).instructions()


def test_an_object_without_a_hook_is_no_plugin() -> None:
    """A misspelt hook would do nothing.  Source: issue 4, build 5."""

    class Misspelt:
        def befor_tool(self) -> None:
            """Nothing."""

    with pytest.raises(InvalidInput, match="Misspelt"):
        Toolbox([], plugins=[Misspelt()])
