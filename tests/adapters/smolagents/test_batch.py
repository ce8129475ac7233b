"""Several calls in one message: each is asked about, made and told on its own.

Source: issue 4, builds 1 and 4, and its bad input; facts/peers-and-smolagents.md §4 (vi).
"""

import re
from typing import Any

import pytest
from smolagents import ToolCallingAgent  # type: ignore[import-untyped]  # it has no types

from interlock import Phase, Policies, Policy, Toolbox, Trigger
from interlock.testing import ScriptedModel
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from smol import (
    Desk,
    answer,
    asks_of,
    asks_then,
    events_of,
    failure_of,
    heard_first,
    heard_last,
    message,
    shown,
    smol,
    speaker,
    told,
)

TWO = message(
    ("book", {"flight": "TP1", "seat": "1A"}, "same"),
    ("book", {"flight": "TP2", "seat": "5000000"}, "same"),
)


async def test_the_first_is_approved_and_the_second_denied() -> None:
    """The attack on the peer: exactly the first runs, with exactly its arguments.

    Source: R-SMOL-04.
    """
    desk = Desk()
    async with smol(speaker(TWO, heard_last), desk.box()) as world:
        handle = await world.submit()
        first, second = await asks_of(world, handle, 2)
        assert (first.key, first.arguments) == (
            "s1.c0:approval",
            {"flight": "TP1", "seat": "1A"},
        )
        assert second.arguments == {"flight": "TP2", "seat": "5000000"}
        await handle.approve(first)
        await handle.deny(second, reason="too dear")
        said = await told(handle)
    assert said.splitlines() == [
        "booked TP1 1A",
        "book was not run, since the user denied it: too dear",
    ]
    assert desk.ran == [("book", "TP1", "1A")]


async def test_the_first_is_denied_and_the_second_approved() -> None:
    """In the other order of answers, too."""
    desk = Desk()
    async with smol(speaker(TWO, heard_last), desk.box()) as world:
        handle = await world.submit()
        first, second = await asks_of(world, handle, 2)
        await handle.approve(second)
        await handle.deny(first)
        said = await told(handle)
    assert said.splitlines()[1] == "booked TP2 5000000"
    assert desk.ran == [("book", "TP2", "5000000")]


async def test_a_crash_between_two_answers_loses_neither() -> None:
    """One answered in one process, one in the next, and each ran once."""
    desk = Desk()
    async with smol(speaker(TWO, heard_last), desk.box()) as world:
        handle = await world.submit()
        first, _ = await asks_of(world, handle, 2)
        await handle.approve(first)
        store = world.crash()
    async with smol(speaker(TWO, heard_last), desk.box(), store=store) as world:
        handle = world.handle(handle)
        (second,) = await asks_of(world, handle)
        await handle.approve(second)
        await told(handle)
    assert sorted(desk.ran) == [("book", "TP1", "1A"), ("book", "TP2", "5000000")]


async def test_approvals_of_a_message_are_open_at_once_and_questions_come_after() -> None:
    """`ask_user` beside calls: the calls are asked about together, and the question follows."""
    both = message(
        ("ask_user", {"question": "Which seat?"}),
        ("book", {"flight": "TP1", "seat": "1A"}),
        ("book", {"flight": "TP2", "seat": "1B"}),
        ("search", {"q": "LIS"}),
    )
    desk = Desk()
    async with smol(speaker(both, heard_last), desk.box()) as world:
        handle = await world.submit()
        one, other = await asks_of(world, handle, 2)
        assert [one.key, other.key] == ["s1.c1:approval", "s1.c2:approval"]
        await handle.approve(one)
        await handle.approve(other)
        (ask,) = await asks_of(world, handle)
        assert ask.key == "s1.c0"
        await handle.answer(ask.key, "aisle")
        said = await told(handle)
    assert said.splitlines() == ["aisle", "booked TP1 1A", "booked TP2 1B", "3 flights to LIS"]


async def test_a_denial_that_stops_ends_the_task() -> None:
    """Without `tell_agent` a no is the end: nothing else of the message starts after it."""
    desk = Desk()
    async with smol(speaker(TWO), desk.box({"book": Policy(confirm="always")})) as world:
        handle = await world.submit()
        first, _ = await asks_of(world, handle, 2)
        await handle.deny(first)
        failed = await failure_of(handle)
    assert failed.outcome is not Phase.COMPLETED
    assert desk.ran == []


async def test_a_failing_call_takes_no_other_with_it() -> None:
    """The library drops what the others came to; here the model sees each.  Source: R-SMOL-04."""
    desk = Desk()
    three = message(("search", {"q": "A"}), ("fail", {"why": "x"}), ("search", {"q": "B"}))
    async with smol(speaker(three, heard_last), desk.box()) as world:
        said = await told(await world.submit())
    lines = said.splitlines()
    assert lines[0] == "3 flights to A"
    assert lines[1].startswith("fail: ")
    assert lines[2] == "3 flights to B"
    assert len(desk.ran) == 3


async def test_a_tool_that_raises_no_exception_fails_its_call_alone() -> None:
    """`SystemExit` in a tool ends neither the process nor the run."""
    desk = Desk()
    two = message(("die", {}), ("search", {"q": "A"}))
    async with smol(speaker(two, heard_last), desk.box()) as world:
        said = await told(await world.submit())
    assert said.splitlines()[0].startswith("die: ")
    assert said.splitlines()[1] == "3 flights to A"


@pytest.mark.parametrize("ids", [("x", "x", "x"), (None, None, None), (None, "x", "")])
async def test_ids_of_calls_mean_nothing(ids: tuple[str | None, ...]) -> None:
    """Equal, missing or mixed: each call runs once, and is told in its place."""
    desk = Desk()
    calls = [("search", {"q": str(at)}, name) for at, name in enumerate(ids)]
    script = [message(*calls), *asks_then(heard_first)]
    async with smol(speaker(*script), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.answer(ask.key, "x")
        said = await told(handle)
    # At once, each on a thread of its own: which of them is first is nobody's business.
    assert sorted(desk.ran) == [("search", "0"), ("search", "1"), ("search", "2")]
    assert said == "3 flights to 0\n3 flights to 1\n3 flights to 2"


@pytest.mark.parametrize("ids", [("x", "x", "x~1"), (None, None, "m1.0")])
async def test_a_model_is_never_shown_two_calls_of_one_id(ids: tuple[str | None, ...]) -> None:
    """A service refuses a prompt that has some, also where the model named them itself."""
    prompts: list[str] = []

    class Model(ScriptedSmolModel):
        """Keeps what it was asked."""

        def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
            """See `Model`."""
            prompts.append(str([message.content for message in messages]))
            return super().generate(messages, stop_sequences, **options)

    calls = [("search", {"q": str(at)}, name) for at, name in enumerate(ids)]
    model = Model(ScriptedModel(message(*calls), heard_last))

    def make(task: object, tools: list[Any]) -> object:
        del task
        return ToolCallingAgent(tools, model)

    async with smol(make, Desk().box()) as world:
        await told(await world.submit())
    found = re.findall(r"'id': '([^']*)'", prompts[1].replace("\\", ""))
    assert len(found) == len(set(found)) == 3


@pytest.mark.parametrize("first", [True, False])
async def test_an_answer_beside_other_calls_is_not_taken(*, first: bool) -> None:
    """The tools run, once, and the model is told to answer alone."""
    desk = Desk()
    calls: list[tuple[str, Any]] = [("search", {"q": "A"}), ("final_answer", {"answer": "early"})]
    both = message(*(reversed(calls) if first else calls))
    async with smol(speaker(both, heard_last), desk.box()) as world:
        said = await told(await world.submit())
    assert "3 flights to A" in said
    assert "final_answer: the answer was not taken" in said
    assert desk.ran == [("search", "A")]


async def test_two_answers_in_one_message_are_none() -> None:
    """Which of them is meant, nobody knows."""
    two = message(("final_answer", {"answer": "a"}), ("final_answer", {"answer": "b"}))
    async with smol(speaker(two, answer("c")), Desk().box()) as world:
        assert await told(await world.submit()) == "c"


async def test_an_unknown_tool_is_told_with_those_that_there_are() -> None:
    """And what else is in the message runs."""
    desk = Desk()
    two = message(("rob", {"bank": "x"}), ("search", {"q": "A"}))
    async with smol(speaker(two, heard_last), desk.box()) as world:
        said = await told(await world.submit())
    unknown, known = said.splitlines()
    assert unknown.startswith("Unknown tool rob, should be one of: search, book")
    assert known == "3 flights to A"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"flight": 5, "seat": "1A"}, "flight"),
        ({"flight": "TP1"}, "seat"),
        ({"flight": "TP1", "seat": "1A", "price": 5}, "price"),
        ([1, 2], "not an object"),
        ("TP1, 1A", "not an object"),
        ("{not json", "not an object"),
        (None, "flight"),
    ],
)
async def test_arguments_that_fit_no_schema_are_told(
    arguments: Any,  # noqa: ANN401  what models send
    why: str,
) -> None:
    """Nobody is asked about such a call, and it does not run; the agent goes on."""
    desk = Desk()
    async with smol(speaker(message(("book", arguments)), heard_last), desk.box()) as world:
        handle = await world.submit()
        said = await told(handle)
        assert events_of(world, handle, Trigger.ASK) == []
    assert why in said
    assert desk.ran == []


async def test_arguments_as_a_text_of_json_are_read() -> None:
    """Models send objects as text; what is shown and what runs is the object."""
    desk = Desk()
    script = [message(("search", '{"q": "LIS"}')), heard_last]
    async with smol(speaker(*script), desk.box()) as world:
        handle = await world.submit()
        assert await told(handle) == "3 flights to LIS"
        assert shown(world, handle)["step-1/call-1"] == [
            {"tool": "search", "arguments": {"q": "LIS"}}
        ]
    assert desk.ran == [("search", "LIS")]


async def test_the_one_argument_may_come_by_itself() -> None:
    """A text for a tool that takes one text, as the library takes it too."""
    desk = Desk()
    async with smol(speaker(message(("search", "LIS")), heard_last), desk.box()) as world:
        assert await told(await world.submit()) == "3 flights to LIS"


async def test_a_text_that_looks_like_json_stays_a_text_in_the_log() -> None:
    """An argument that is a text of an object is not made one by the journal."""
    desk = Desk()
    script = [{"search": {"q": '{"a": 1}'}}, *asks_then(heard_first)]
    async with smol(speaker(*script), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.answer(ask.key, "x")
        await told(handle)
    assert desk.ran == [("search", '{"a": 1}')]


async def test_what_is_shown_is_what_runs_of_a_variable_of_the_agent() -> None:
    """The library puts variables in at the last moment; here before anybody is asked."""
    desk = Desk()
    made = speaker({"book": {"flight": "which", "seat": "1A"}}, heard_last)

    def make(task: object, tools: list[Any]) -> object:
        agent: Any = made(task, tools)
        agent.state["which"] = "TP9"
        return agent

    async with smol(make, desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        assert ask.arguments == {"flight": "TP9", "seat": "1A"}
        await handle.approve(ask)
        await told(handle)
    assert desk.ran == [("book", "TP9", "1A")]


async def test_names_may_say_their_source() -> None:
    """With `qualified=True` an agent calls `local__search`, and policies name `local/search`."""
    desk = Desk()
    box = desk.box({"local/book": Policy(confirm="always")}, qualified=True)
    script = [
        message(("local__search", {"q": "A"}), ("local__book", {"flight": "TP1", "seat": "1A"})),
        heard_last,
    ]
    async with smol(speaker(*script), box) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.approve(ask)
        assert await told(handle) == "3 flights to A\nbooked TP1 1A"


async def test_a_tool_that_is_off_is_not_there() -> None:
    """A policy with `enabled=False` hides the tool, and a model that guesses it is refused."""
    desk = Desk()
    box = Toolbox([desk.search, desk.book], policies=Policies({"book": Policy(enabled=False)}))
    script = [{"book": {"flight": "TP1", "seat": "1A"}}, heard_last]
    async with smol(speaker(*script), box) as world:
        assert "Unknown tool book" in await told(await world.submit())
    assert desk.ran == []
