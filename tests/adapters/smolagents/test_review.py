"""What a stranger's attack on agents of smolagents proved, so that it stays mended.

Source: the review of issue 4.
"""

from typing import Any, cast

import pytest
from smolagents import CodeAgent, ToolCallingAgent  # type: ignore[import-untyped]  # no types

from interlock import Policy, Tool, Toolbox
from interlock.errors import InvalidInput
from interlock.testing import ScriptedModel
from interlock_adapters.smolagents import SmolAgent
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from smol import (
    BOOK,
    Desk,
    Factory,
    Stamp,
    answer,
    asks_of,
    asks_then,
    code,
    coder,
    shown,
    smol,
    speaker,
    told,
)
from support import until

FRAME = """
def probe(x):
    frame = g.gi_frame
    while frame is not None:
        found = frame.f_locals
        if 'self' in found and hasattr(found['self'], '_seat'):
            box = found['self']._seat.run.task.toolbox
            return box._sources['local']._functions['book']._fn(flight='TP1', seat='1A')
        frame = frame.f_back
g = (probe(x) for x in [1])
list(g)
"""

#: A text that says of itself that it does not begin as it does.
LIAR = """
class Word(str):
    def startswith(self, start):
        return False
tool = getattr(stamp, Word('__closure__'))[0].cell_contents
getattr(getattr(tool, Word('_source')), Word('_inner'))('x')
"""

WAYS = [
    pytest.param("stamp._source._inner('x')", id="the tool inside"),
    pytest.param("book._seat.run.task.toolbox.policies.drop('book')\nbook('TP1', '1A')", id="drop"),
    pytest.param(
        "book._seat.run.task.toolbox._sources['local']._functions['book']._fn('TP1', '1A')",
        id="function",
    ),
    pytest.param("book._seat.agent.model", id="model"),
    pytest.param(FRAME, id="frame"),
    pytest.param("name = '_' + 'source'\ngetattr(stamp, name)._inner('x')", id="getattr"),
    pytest.param("print('{0._source._inner}'.format(stamp))", id="format"),
    pytest.param("print('{t._source}'.format_map({'t': stamp}))", id="format_map"),
    pytest.param("print(getattr('{0.__closure__}', 'for' + 'mat')(book))", id="format by getattr"),
    pytest.param("stamp._source = None", id="assignment"),
    pytest.param(
        "print(list(map(getattr, [stamp], ['_source']))[0]._inner('x'))", id="getattr as a value"
    ),
    pytest.param("g = (x for x in [1])\ngetattr(g, 'gi_' + 'frame').f_back", id="frame by getattr"),
    pytest.param(LIAR, id="getattr by a text of its own kind"),
    *(
        pytest.param(
            f"import string\ncells = string.Formatter().{reads}\nprint(cells)",
            id=f"formatter {reads[:4]}",
        )
        for reads in (
            "vformat('{0.__closure__}', [stamp], {})",
            "get_field('0.__closure__', [stamp], {})",
        )
    ),
]


@pytest.mark.parametrize("source", WAYS)
async def test_code_does_not_reach_behind_a_tool(source: str) -> None:
    """Nothing is run unasked, and the model is told what it may not.

    Source: review, a1, a23, R-SMOL-05.
    """
    desk, stamped = Desk(), list[str]()
    said = ScriptedModel(code(source), code("final_answer('no')"))

    def make(_task: object, tools: list[Any]) -> object:
        imports = ["string"]
        tools = [*tools, Stamp(stamped)]
        return CodeAgent(tools, ScriptedSmolModel(said), additional_authorized_imports=imports)

    box = desk.box({"book": BOOK, "stamp": BOOK}, agent_tools=["stamp"])
    async with smol(make, box) as world:
        handle = await world.submit()
        assert await told(handle) == "no"
        assert "Forbidden" in str(shown(world, handle))
    assert (desk.ran, stamped) == ([], [])


@pytest.mark.parametrize("source", ["book._seat.run", "getattr(book, '_se' + 'at')", FRAME])
async def test_code_of_a_managed_agent_does_not_either(source: str) -> None:
    """A member of a team has the same interpreter.  Source: review, a1."""
    desk = Desk()
    boss = ScriptedModel({"clerk": {"task": "Book it."}}, answer("done"))
    clerk = ScriptedModel(code(source), code("final_answer('no')"))

    def make(_task: object, tools: list[Any]) -> object:
        member = CodeAgent(tools, ScriptedSmolModel(clerk), name="clerk", description="Books.")
        return ToolCallingAgent([], ScriptedSmolModel(boss), managed_agents=[member])

    async with smol(make, desk.box()) as world:
        handle = await world.submit()
        assert await told(handle) == "done"
        assert "Forbidden" in str(shown(world, handle))
        assert clerk.unsaid == []
    assert desk.ran == []


class Telling:
    """A plugin whose instructions are new each time."""

    def __init__(self) -> None:
        self.asked = 0

    def instructions(self) -> str:
        """See `Plugin`."""
        self.asked += 1
        return f"Prompt number {self.asked}."


def off(box: Toolbox) -> None:
    """Another tool is switched off."""
    box.policies.set("count", Policy(enabled=False))


def listed(box: Toolbox) -> list[Tool]:
    """The tools that the local source lists."""
    source: Any = box._sources["local"]  # pyright: ignore[reportPrivateUsage]
    tools: list[Tool] = source._tools
    return tools


def one_more(box: Toolbox) -> None:
    """A source lists one tool more."""
    tools = listed(box)
    tools.append(tools[0].model_copy(update={"name": "brand_new"}))


def reworded(box: Toolbox) -> None:
    """A tool says of itself something else."""
    tools = listed(box)
    tools[0] = tools[0].model_copy(update={"description": "Looks for flights, in other words."})


def retyped(box: Toolbox) -> None:
    """The tool has another schema by now, which the arguments fit."""
    tools = listed(box)
    place = next(place for place, tool in enumerate(tools) if tool.name == "book")
    schema = {**tools[place].input_schema, "title": "bookArguments"}
    tools[place] = tools[place].model_copy(update={"input_schema": schema})


def nothing(_box: Toolbox) -> None:
    """Nothing changes but what changes by itself."""


@pytest.mark.parametrize("change", [off, one_more, reworded, retyped, nothing])
async def test_a_parked_task_goes_on_whatever_else_was_changed(change: Any) -> None:  # noqa: ANN401
    """Other tools and other instructions are no other run.  Source: review, a2, a19."""
    desk = Desk()
    box = desk.box(plugins=[Telling()])
    script = asks_then({"book": {"flight": "TP1", "seat": "1A"}}, answer("ok"))
    async with smol(speaker(*script), box) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.rest()
        change(box)
        await handle.answer(ask.key, "1A")
        await until(lambda: any(a.tool == "book" for a in world.stored(handle).asks))
        (ask,) = world.stored(handle).asks
        await handle.approve(ask)
        assert await told(handle) == "ok"
    assert desk.ran == [("book", "TP1", "1A")]


@pytest.mark.parametrize("change", [off, one_more, reworded, retyped])
async def test_a_yes_that_is_open_outlives_the_change(change: Any) -> None:  # noqa: ANN401
    """The call is made that was allowed, once.  Source: review, a2, a19."""
    desk = Desk()
    box = desk.box()
    script = ({"book": {"flight": "TP1", "seat": "1A"}}, answer("ok"))
    async with smol(speaker(*script), box) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.rest()
        change(box)
        await handle.approve(ask)
        assert await told(handle) == "ok"
    assert desk.ran == [("book", "TP1", "1A")]


ENDS = [
    "def f(x):\n    return x",
    "f = lambda x: x",
    "g = (x for x in [1])",
    "m = map(str, [1])",
    "print(search)",
    "class A:\n    pass\na = A()\nprint(a)",
    "search.nosuch",
    "print([].append)",
]


@pytest.mark.parametrize("source", ENDS)
async def test_a_step_that_ends_in_an_address_is_the_same_step_again(source: str) -> None:
    """What a step printed is compared without where it lay in memory.  Source: review, a2."""
    script = (code(source), code("final_answer(ask_user('Seat?'))"))
    make: Factory = coder(*script)
    async with smol(make, Desk().box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.rest()
        await handle.answer(ask.key, "1A")
        assert await told(handle) == "1A"


def test_an_agent_is_not_what_makes_agents() -> None:
    """One agent for all tasks would mix them up.  Source: review, 12."""
    made = ToolCallingAgent([], ScriptedSmolModel(ScriptedModel(answer("x"))))
    with pytest.raises(InvalidInput):
        SmolAgent(cast("Any", made))
