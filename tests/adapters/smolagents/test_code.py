"""Agents that write code: every call in it passes the gate, and the code is run again from the log.

Source: issue 4, build 4; facts/peers-and-smolagents.md §4 (i), (ii), (vi).
"""

from functools import partial
from typing import Any

import pytest
from smolagents import (  # type: ignore[import-untyped]  # the library has no types
    CodeAgent,
    ToolCallingAgent,
)

from interlock import Phase, Policy, TaskHandle, Trigger
from interlock.testing import ScriptedModel
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from smol import Desk, Failing, asks_of, code, coder, events_of, failure_of, shown, smol, told
from support import World, pause, until


def is_open(world: World, handle: TaskHandle, key: str) -> bool:
    """Whether that ask is open."""
    return world.stored(handle).ask(key) is not None


async def test_code_that_asks_cannot_hold_up_a_park() -> None:
    """`except Exception`, a bare `except` and `finally` around an ask: none of them runs ahead."""
    desk = Desk()
    source = """
        found = search("LIS")
        try:
            try:
                seat = ask_user("Which seat?")
            except Exception:
                book("WRONG", "1")
            except:
                book("WRONG", "2")
        finally:
            after = search("finally")
        final_answer([found, seat, after])
    """
    async with smol(coder(code(source)), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        assert ask.key == "s1.c1"
        assert desk.ran == [("search", "LIS")]
        await handle.answer(ask.key, "1A")
        said = await told(handle)
    assert said == ["3 flights to LIS", "1A", "3 flights to finally"]
    assert desk.ran == [("search", "LIS"), ("search", "finally")]


LEAVES = {
    "break": "for _ in range(1):\n    try:\n        {call}\n    finally:\n        break\n{after}",
    "continue": "for _ in [1]:\n    try:\n        {call}\n    finally:\n        continue\n{after}",
    "return": "def f():\n    try:\n        {call}\n    finally:\n        return 1\nf()\n{after}",
    "raise": (
        "try:\n    try:\n        {call}\n    finally:\n        raise ValueError('x')\n"
        "except ValueError:\n    pass\n{after}"
    ),
}


@pytest.mark.parametrize("way", LEAVES)
async def test_a_finally_that_leaves_cannot_make_an_answer_of_a_park(way: str) -> None:
    """`break`, `return` or `raise` in it drops what is on its way; the run ends all the same."""
    source = LEAVES[way].format(call='seat = ask_user("?")', after="final_answer('made up')")
    async with smol(coder(code(source)), Desk().box()) as world:
        handle = await world.submit()
        record = await handle.rest()
        assert record.phase is Phase.WAITING_INPUT
        await pause()
        assert world.stored(handle).phase is Phase.WAITING_INPUT
        await handle.answer("s1.c0", "1A")
        assert await told(handle) == "made up"


@pytest.mark.parametrize("way", LEAVES)
async def test_a_finally_that_leaves_cannot_make_an_answer_of_a_model_that_failed(way: str) -> None:
    """What ends the run in an agent of the team ends it, whatever code above makes of it."""
    failing = Failing(ScriptedModel(), ValueError("x"))
    source = LEAVES[way].format(call='seat = clerk(task="x")', after="final_answer('made up')")
    boss = ScriptedSmolModel(ScriptedModel(code(source)))

    def make(task: object, tools: list[Any]) -> object:
        del task
        clerk = ToolCallingAgent(tools, failing, name="clerk", description="fails")
        return CodeAgent(tools, boss, managed_agents=[clerk])

    async with smol(make, Desk().box()) as world:
        failed = await failure_of(await world.submit())
    assert failed.cause == "model_failed"


async def test_code_calls_nothing_after_a_model_that_failed() -> None:
    """A `finally` around an agent of the team whose model is away: no tool runs for it."""
    failing = Failing(ScriptedModel(), ValueError("x"))
    source = 'try:\n    clerk(task="x")\nfinally:\n    search("after")'
    boss = ScriptedSmolModel(ScriptedModel(code(source)))

    def make(task: object, tools: list[Any]) -> object:
        del task
        clerk = ToolCallingAgent([], failing, name="clerk", description="fails")
        return CodeAgent(tools, boss, managed_agents=[clerk])

    desk = Desk()
    async with smol(make, desk.box()) as world:
        assert (await failure_of(await world.submit())).cause == "model_failed"
    assert desk.ran == []


async def test_an_ask_in_the_last_step_is_waited_for() -> None:
    """A park there is not the end of the steps."""
    made = coder(code('final_answer(ask_user("?"))'), max_steps=1)
    async with smol(made, Desk().box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.answer(ask.key, "1A")
        assert await told(handle) == "1A"


async def test_calls_in_a_loop_have_each_a_key_and_run_once() -> None:
    """Whatever code does, its calls are counted; a crash in the middle repeats none."""
    desk = Desk()
    source = """
        seats = []
        for at in range(3):
            seats.append(book(flight=f"TP{at}", seat="1A"))
        final_answer(seats)
    """
    async with smol(coder(code(source)), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.approve(ask)
        await until(partial(is_open, world, handle, "s1.c1:approval"))
        store = world.crash()
    async with smol(coder(code(source)), desk.box(), store=store) as world:
        handle = world.handle(handle)
        for at in (1, 2):
            await until(partial(is_open, world, handle, f"s1.c{at}:approval"))
            await handle.approve(world.stored(handle).asks[0])
        assert await told(handle) == [f"booked TP{at} 1A" for at in range(3)]
        keys = [e.data["key"] for e in events_of(world, handle, Trigger.CALLED)]
    assert keys == ["m1", "s1.c0", "s1.c1", "s1.c2"]
    assert desk.ran == [("book", f"TP{at}", "1A") for at in range(3)]


async def test_variables_of_code_are_there_after_a_restart() -> None:
    """The code is run again, so what it made is made again, with the log's results."""
    desk = Desk()
    script = [
        code('counted = count(n=3)\nnames = {"x": [counted["n"]] * 2}'),
        code('seat = ask_user("Which seat?")'),
        code("final_answer([names, seat, counted])"),
    ]
    async with smol(coder(*script), desk.box()) as world:
        handle = await world.submit()
        await asks_of(world, handle)
        store = world.crash()
    async with smol(coder(*script), desk.box(), store=store) as world:
        handle = world.handle(handle)
        await handle.answer("s2.c0", "1A")
        assert await told(handle) == [{"x": [3, 3]}, "1A", {"n": 3}]
    assert desk.ran == [("count", 3)]


@pytest.mark.parametrize("bad", ["{1, 2}", "lambda: 1", "float('nan')", "b'x'", "range(3)"])
async def test_arguments_without_json_are_refused_within_the_code(bad: str) -> None:
    """What cannot be shown cannot be approved; the code may catch it and go on."""
    desk = Desk()
    source = f"""
        try:
            search({bad})
        except Exception as error:
            said = str(error)
        final_answer([said, search("B")])
    """
    async with smol(coder(code(source)), desk.box()) as world:
        said = await told(await world.submit())
    assert "search was not called: its arguments must be" in said[0]
    assert said[1] == "3 flights to B"
    assert desk.ran == [("search", "B")]


async def test_a_denial_is_raised_in_code() -> None:
    """And what the model sees is why."""
    desk = Desk()
    script = [code('book("TP1", "1A")'), code('final_answer("gave up")')]
    async with smol(coder(*script), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.deny(ask, reason="no money")
        assert await told(handle) == "gave up"
        assert "no money" in shown(world, handle)["step-1/error"][0]
    assert desk.ran == []


async def test_code_after_a_denial_that_stops_does_not_run() -> None:
    """Not even in a bare `except`."""
    desk = Desk()
    source = """
        try:
            book("TP1", "1A")
        except:
            search("after")
        finally:
            search("finally")
    """
    box = desk.box({"book": Policy(confirm="always")})
    async with smol(coder(code(source)), box) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.deny(ask)
        assert (await failure_of(handle)).outcome is not Phase.COMPLETED
    assert desk.ran == []


async def test_an_error_in_code_is_told_and_the_next_step_goes_on() -> None:
    """The model sees what was wrong, with what its code printed."""
    script = [code('print("before")\n1 / 0'), code('final_answer("ok")')]
    async with smol(coder(*script), Desk().box()) as world:
        handle = await world.submit()
        assert await told(handle) == "ok"
        assert "division by zero" in shown(world, handle)["step-1/error"][0]


async def test_what_code_prints_is_an_artifact() -> None:
    """With the code itself, before it runs."""
    async with smol(coder(code('print("hello")\nfinal_answer(1)')), Desk().box()) as world:
        handle = await world.submit()
        assert await told(handle) == 1
        seen = shown(world, handle)
    assert 'print("hello")' in seen["step-1/text"][0]
    assert "hello" in seen["step-1/observation"][0]


async def test_code_of_a_run_that_is_over_reaches_no_tool() -> None:
    """A tool that code kept fails closed once its run has ended."""
    kept: list[object] = []
    desk = Desk()
    made = coder(code("final_answer(search('A'))"))

    def make(task: object, tools: list[object]) -> object:
        agent = made(task, tools)
        kept.append(agent)
        return agent

    async with smol(make, desk.box()) as world:
        await told(await world.submit())
        (agent,) = kept
        with pytest.raises(RuntimeError, match="no run of this agent any more"):
            agent.tools["search"]("B")  # type: ignore[attr-defined]  # an agent
    assert desk.ran == [("search", "A")]


async def test_a_tool_that_code_shadows_is_still_gated() -> None:
    """Code may name a tool anew and call it by that name; the gate is in the tool."""
    desk = Desk()
    source = 'f = book\nfinal_answer([f("TP1", "1A")])'
    async with smol(coder(code(source)), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        assert ask.arguments == {"flight": "TP1", "seat": "1A"}
        assert desk.ran == []
        await handle.approve(ask)
        assert await told(handle) == ["booked TP1 1A"]


@pytest.mark.parametrize(
    "source", ["search.forward('A')", "search.__call__('A')", "search({'q': 'A'})", "search('A')"]
)
async def test_there_is_no_way_around_the_gate(source: str) -> None:
    """However code calls a tool: it is a call in the log, or it is refused.

    Source: R-SMOL-05, T11.
    """
    desk = Desk()
    script = [code(f"final_answer({source})"), code("final_answer('refused')")]
    async with smol(coder(*script), desk.box()) as world:
        handle = await world.submit()
        await told(handle)
        logged = [e.data["name"] for e in events_of(world, handle, Trigger.CALL)]
    assert logged.count("local/search") == len(desk.ran)
