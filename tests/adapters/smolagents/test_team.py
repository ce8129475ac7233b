"""Agents with a team: every agent of it is run under the same task, behind the same gate.

Source: issue 4, build 4 ("managed agents included").
"""

from collections.abc import Sequence
from typing import Any, Final

import pytest
from smolagents import (  # type: ignore[import-untyped]  # the library has no types
    CodeAgent,
    ToolCallingAgent,
)

from interlock import Trigger
from interlock.testing import ScriptedModel
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from smol import (
    Desk,
    Factory,
    answer,
    asks_of,
    asks_then,
    code,
    events_of,
    failure_of,
    heard_first,
    heard_last,
    message,
    shown,
    smol,
    told,
)

#: Who is in a team: name, script, and the names of its own team.
Member = tuple[str, Sequence[Any], Sequence[str]]
NO_TEAM: Final[Sequence[str]] = ()


def team(*members: Member, kind: Any = ToolCallingAgent) -> Factory:  # noqa: ANN401  a class
    """Makes teams; the last member is the one that is run."""
    models = {name: ScriptedSmolModel(ScriptedModel(*script)) for name, script, _ in members}

    def make(task: object, tools: list[Any]) -> object:
        del task
        made: dict[str, Any] = {}
        for name, _, below in members:
            made[name] = ToolCallingAgent(
                tools=tools,
                model=models[name],
                name=name,
                description=f"does what {name} does",
                managed_agents=[made[each] for each in below],
            )
        name, _, below = members[-1]
        return kind(tools=tools, model=models[name], managed_agents=[made[each] for each in below])

    return make


def asks(name: str, task: str = "do it") -> dict[str, Any]:
    """A turn that gives an agent of the team something to do."""
    return {name: {"task": task}}


async def test_an_agent_two_deep_asks_and_the_task_goes_on_after_a_restart() -> None:
    """Its ask is one of the task, under the key of the calls that led to it.  Source: R-SMOL-06."""
    members: Sequence[Member] = [
        ("clerk", asks_then({"book": {"flight": "TP1", "seat": "1A"}}, heard_last), NO_TEAM),
        ("chief", [{"search": {"q": "A"}}, asks("clerk"), heard_last], ["clerk"]),
        (
            "boss",
            [asks("chief"), {"search": {"q": "B"}}, heard_first],
            ["chief"],
        ),
    ]
    desk = Desk()
    async with smol(team(*members), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        assert ask.key == "s1.c0/s2.c0/s1.c0"
        store = world.crash()
    async with smol(team(*members), desk.box(), store=store) as world:
        handle = world.handle(handle)
        await handle.answer("s1.c0/s2.c0/s1.c0", "1A")
        await handle.rest()
        (approval,) = await asks_of(world, handle)
        assert approval.key == "s1.c0/s2.c0/s2.c0:approval"
        await handle.approve(approval)
        said = await told(handle)
        keys = [e.data["key"] for e in events_of(world, handle, Trigger.CALLED)]
    assert "booked TP1 1A" in said
    assert desk.ran == [("search", "A"), ("book", "TP1", "1A"), ("search", "B")]
    assert len(set(keys)) == len(keys)
    assert "s1.c0/s2.c0/m1" in keys


async def test_two_agents_in_one_message_do_each_their_own() -> None:
    """One of them asks; the other is not run again for it."""
    members: Sequence[Member] = [
        ("asker", asks_then(heard_last), NO_TEAM),
        ("finder", [{"search": {"q": "A"}}, heard_last], NO_TEAM),
        (
            "boss",
            [
                message(
                    ("search", {"q": "B"}), ("finder", {"task": "a"}), ("asker", {"task": "b"})
                ),
                heard_last,
            ],
            ["asker", "finder"],
        ),
    ]
    desk = Desk()
    async with smol(team(*members), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        assert ask.key == "s1.c2/s1.c0"
        await handle.answer(ask.key, "1A")
        said = await told(handle)
    assert said.index("3 flights to A") < said.index("1A")
    assert sorted(desk.ran) == [("search", "A"), ("search", "B")]  # Side by side.


async def test_the_same_agent_twice_in_one_message_is_run_twice() -> None:
    """Each run has a place of its own in the log."""
    members: Sequence[Member] = [
        ("finder", [{"search": {"q": "A"}}, heard_last], NO_TEAM),
        (
            "boss",
            [message(("finder", {"task": "a"}), ("finder", {"task": "b"})), heard_last],
            ["finder"],
        ),
    ]
    desk = Desk()
    async with smol(team(*members), desk.box()) as world:
        handle = await world.submit()
        await told(handle)
        keys = [e.data["key"] for e in events_of(world, handle, Trigger.CALLED)]
    assert desk.ran == [("search", "A")] * 2
    assert {"s1.c0/s1.c0", "s1.c1/s1.c0"} <= set(keys)


async def test_code_may_give_work_to_the_team() -> None:
    """An agent of the team is a function of the code; what it does stands under the call's key."""
    members: Sequence[Member] = [
        ("clerk", asks_then(heard_last), NO_TEAM),
        (
            "boss",
            [code('a = search("A")\nb = clerk(task="ask")\nfinal_answer([a, "1A" in b])')],
            ["clerk"],
        ),
    ]
    desk = Desk()
    async with smol(team(*members, kind=CodeAgent), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        assert ask.key == "s1.c1/s1.c0"
        await handle.answer(ask.key, "1A")
        assert await told(handle) == ["3 flights to A", True]
    assert desk.ran == [("search", "A")]


async def test_what_the_team_does_is_shown_with_its_name() -> None:
    """In artifacts of their own, beside those of the agent that is run."""
    members: Sequence[Member] = [
        ("finder", [{"search": {"q": "A"}}, heard_last], NO_TEAM),
        ("boss", [asks("finder"), heard_last], ["finder"]),
    ]
    async with smol(team(*members), Desk().box()) as world:
        handle = await world.submit()
        await told(handle)
        seen = shown(world, handle)
        names = {
            event.data["artifact"]["metadata"].get("agent")
            for event in events_of(world, handle, Trigger.EMIT)
        }
    assert "s1.c0/step-1/call-1" in seen
    assert "step-1/call-1" in seen
    assert names == {None, "finder"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"task": 5}, "its task is a text"),
        ({}, "its task is a text"),
        ({"task": "x", "reset": False}, "reset: it takes additional_args and task"),
        ([1], "not an object"),
    ],
)
async def test_work_for_the_team_that_is_none_is_told(
    arguments: Any,  # noqa: ANN401  what models send
    why: str,
) -> None:
    """And nobody is run."""
    members: Sequence[Member] = [
        ("finder", [{"search": {"q": "A"}}, heard_last], NO_TEAM),
        ("boss", [message(("finder", arguments)), heard_last], ["finder"]),
    ]
    desk = Desk()
    async with smol(team(*members), desk.box()) as world:
        assert why in await told(await world.submit())
    assert desk.ran == []


async def test_an_agent_of_the_team_without_an_answer_is_told_to_the_one_above() -> None:
    """It ran out of steps: its boss may try another way."""
    models = [
        ScriptedSmolModel(ScriptedModel({"search": {"q": "A"}})),
        ScriptedSmolModel(ScriptedModel(asks("finder"), heard_last)),
    ]

    def make(task: object, tools: list[Any]) -> object:
        del task
        below = ToolCallingAgent(tools, models[0], name="finder", description="finds", max_steps=1)
        return ToolCallingAgent([], models[1], managed_agents=[below])

    async with smol(make, Desk().box()) as world:
        handle = await world.submit()
        said = await told(handle)
    assert (
        said == "finder came to no answer: the agent 'finder' came to no final answer within "
        "its 1 steps"
    )


async def test_a_team_that_is_a_circle_is_refused() -> None:
    """An agent in its own team would never end."""

    def make(task: object, tools: list[Any]) -> object:
        del task
        model = ScriptedSmolModel(ScriptedModel(asks("a", "again"), asks("a", "again")))
        agent: Any = ToolCallingAgent(tools, model, name="a", description="a", max_steps=1)
        boss = ToolCallingAgent([], model, managed_agents=[agent])
        agent.managed_agents["a"] = agent
        return boss

    async with smol(make, Desk().box()) as world:
        failed = await failure_of(await world.submit())
    assert failed.cause == "invalid_input"
    assert "in its own team" in str(failed)


async def test_an_agent_may_be_in_two_teams() -> None:
    """It is run in either, in its own name, and put behind the gate once."""
    members: Sequence[Member] = [
        ("finder", [{"search": {"q": "A"}}, heard_last], NO_TEAM),
        ("chief", [asks("finder"), heard_last], ["finder"]),
        (
            "boss",
            [message(("finder", {"task": "a"}), ("chief", {"task": "b"})), heard_last],
            ["finder", "chief"],
        ),
    ]
    desk = Desk()
    async with smol(team(*members), desk.box()) as world:
        handle = await world.submit()
        await told(handle)
        keys = [e.data["key"] for e in events_of(world, handle, Trigger.CALLED)]
    assert desk.ran == [("search", "A")] * 2
    assert {"s1.c0/s1.c0", "s1.c1/s1.c0/s1.c0"} <= set(keys)


async def test_a_model_may_be_shared_by_a_team() -> None:
    """Each agent has its own place in the log all the same."""
    shared = ScriptedSmolModel(ScriptedModel(asks("finder"), heard_last))

    class Model(ScriptedSmolModel):
        """Answers by who asks."""

        def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
            """See `Model`."""
            asked = str(messages[-1].content)
            turn = answer("found") if "finder" in asked and "Observation" not in asked else None
            if turn is None:
                return shared.generate(messages, stop_sequences, **options)
            return ScriptedSmolModel(ScriptedModel(turn)).generate([], stop_sequences)

    model = Model(ScriptedModel())

    def make(task: object, tools: list[Any]) -> object:
        del task
        below = ToolCallingAgent(tools, model, name="finder", description="finds")
        return ToolCallingAgent(tools, model, managed_agents=[below])

    async with smol(make, Desk().box()) as world:
        handle = await world.submit()
        assert "found" in await told(handle)
        keys = [e.data["key"] for e in events_of(world, handle, Trigger.CALLED)]
    assert keys == ["m1", "s1.c0/m1", "m2"]
