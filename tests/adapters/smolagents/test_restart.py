"""An agent goes on in another process where it was, and does nothing twice.

Source: issue 4, build 4; facts/peers-and-smolagents.md §4.
"""

import threading
from pathlib import Path
from typing import Any

import pytest
from smolagents import ToolCallingAgent  # type: ignore[import-untyped]  # it has no types

from interlock import Engine, Limits, MemoryStore, Phase, Toolbox, Trigger
from interlock.testing import ScriptedModel
from interlock_adapters.smolagents import SmolAgent
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from smol import (
    AT_ONCE,
    Desk,
    answer,
    asks_of,
    asks_then,
    events_of,
    failure_of,
    heard_first,
    heard_last,
    message,
    smol,
    speaker,
    told,
)
from support import OWNER, soon, until

TRIP = [
    {"search": {"q": "LIS"}},
    *asks_then({"book": {"flight": "TP1", "seat": "1A"}}, heard_last),
]


@pytest.mark.parametrize("park_after_s", [0.0, 5.0, None])
async def test_an_agent_goes_on_in_another_process(tmp_path: Path, park_after_s: float) -> None:
    """With two asks, each answered by another engine on the same file, whatever is parked when.

    Source: R-SMOL-02.
    """
    desk = Desk()
    url = f"sqlite:///{tmp_path}/tasks.db"
    limits = Limits(park_after_s=park_after_s, drain_s=0.0)
    said = ScriptedModel(*TRIP)

    def make(task: object, tools: list[Any]) -> object:
        del task
        return ToolCallingAgent(tools, ScriptedSmolModel(said))

    def engine() -> Engine:
        return Engine(SmolAgent(make), tools=desk.box(), store=url, limits=limits)

    async with engine() as first:
        handle = await first.submit("a trip", owner=OWNER)
        record = await soon(handle.rest())
        assert [ask.prompt for ask in record.asks] == ["Which seat?"]
    async with engine() as second:
        handle = await second.task(handle.task_id, owner=OWNER)
        await handle.answer(handle.record.asks[0].key, "1A")
        (ask,) = (await soon(handle.rest())).asks
        assert ask.arguments == {"flight": "TP1", "seat": "1A"}
    async with engine() as third:
        handle = await third.task(handle.task_id, owner=OWNER)
        await handle.approve(handle.record.asks[0])
        assert await told(handle) == "booked TP1 1A"
    assert desk.ran == [("search", "LIS"), ("book", "TP1", "1A")]
    assert said.prompts == 4
    assert said.unsaid == []


async def test_the_keys_of_a_run_say_where_a_call_stands() -> None:
    """And nothing that a model named: prompts by number, calls by step and place."""
    desk = Desk()
    async with smol(speaker(*TRIP), desk.box({})) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        assert ask.key == "s2.c0"
        await handle.answer(ask.key, "1A")
        await told(handle)
        called = [event.data["key"] for event in events_of(world, handle, Trigger.CALLED)]
    assert called == ["m1", "s1.c0", "m2", "m3", "s3.c0", "m4"]


async def test_what_was_shown_is_not_shown_again() -> None:
    """A replay yields every step once more; the log has each once.  Source: R-SMOL-02."""
    async with smol(speaker(*TRIP), Desk().box({})) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        before = [event.data for event in events_of(world, handle, Trigger.EMIT)]
        await handle.answer(ask.key, "1A")
        await told(handle)
        ids = [
            event.data["artifact"]["artifact_id"]
            for event in events_of(world, handle, Trigger.EMIT)
        ]
    assert len(before) == 3
    assert ids == [
        "step-1/call-1",
        "step-1/observation-1",
        "step-2/call-1",
        "step-2/observation-1",
        "step-3/call-1",
        "step-3/observation-1",
    ]


async def test_a_call_that_a_crash_left_open_is_asked_about() -> None:
    """Nobody knows whether it ran, so a person says; it is not run again by itself."""
    desk, inside, on = Desk(), threading.Event(), threading.Event()

    def pay(euro: int) -> str:
        """Pay."""
        desk.ran.append(("pay", euro))
        inside.set()
        assert on.wait(5)
        return "paid"

    script = [{"pay": {"euro": 5}}, heard_last]
    async with smol(speaker(*script), Toolbox([pay])) as world:
        handle = await world.submit()
        await until(inside.is_set)
        store = world.crash()
        on.set()
    async with smol(speaker(*script), Toolbox([pay]), store=store) as world:
        handle = world.handle(handle)
        (ask,) = await asks_of(world, handle)
        assert "pay" in ask.prompt
    assert desk.ran == [("pay", 5)]


async def test_another_prompt_than_before_stops_the_task() -> None:
    """Whoever changes what an agent is told gets no answers of the one before: `ReplayDiverged`."""
    async with smol(speaker(*TRIP, instructions="Be brief."), Desk().box()) as world:
        handle = await world.submit()
        await asks_of(world, handle)
        store = world.crash()
    desk = Desk()
    async with smol(speaker(*TRIP, instructions="Be loud."), desk.box(), store=store) as world:
        handle = world.handle(handle)
        await handle.answer("s2.c0", "1A")
        (ask,) = await asks_of(world, handle)
        assert world.stored(handle).phase is Phase.WAITING_INPUT
        assert "m1" in ask.prompt
        assert "another" in ask.prompt or "diverge" in ask.prompt.lower()
    assert desk.ran == []


async def test_a_tool_that_failed_fails_again_in_a_replay_without_being_run() -> None:
    """The agent is told the same, and the failure's own words are nowhere."""
    desk = Desk()
    script = [{"fail": {"why": "x"}}, *asks_then(heard_first)]
    async with smol(speaker(*script), desk.box()) as world:
        handle = await world.submit()
        await asks_of(world, handle)
        store = world.crash()
    async with smol(speaker(*script), desk.box(), store=store) as world:
        handle = world.handle(handle)
        await handle.answer("s2.c0", "go on")
        said = await told(handle)
        log = repr(world.log(handle))
    assert "ValueError" in said
    assert "secret" not in said + log
    assert desk.ran == [("fail", "x")]


async def test_hundreds_of_parked_tasks_hold_no_thread() -> None:
    """Threads: as many as before; `bench.parked` has a hundred thousand.  Source: issue 4, bars."""
    model = ScriptedSmolModel(ScriptedModel(*asks_then(answer("done"))))
    limits = Limits(park_after_s=0.0, running_turns_max=16, open_tasks_per_owner_max=2_000)
    # The library reads them from YAML for every agent, which is most of what one costs.
    templates = ToolCallingAgent([], model).prompt_templates

    def make(task: object, tools: list[Any]) -> object:
        del task
        return ToolCallingAgent(tools, model, prompt_templates=templates)

    async with Engine(SmolAgent(make), store=MemoryStore(), limits=limits) as engine:
        before = threading.active_count()
        handles = [await engine.submit("go", owner=OWNER) for _ in range(300)]
        for handle in handles:
            assert (await soon(handle.rest())).phase is Phase.WAITING_INPUT
        await until(lambda: threading.active_count() <= before)
        last = handles[-1]
        last = handles[-1]
        (ask,) = (await last.rest()).asks
        await last.answer(ask.key, "1A")
        assert await told(last) == "done"


async def test_a_waiting_thread_is_kept_where_it_is_wanted() -> None:
    """With `park_after_s=None` the same run goes on: no prompt is taken from the log."""
    runs: list[int] = []
    made = speaker(*TRIP)

    def make(task: object, tools: list[Any]) -> object:
        runs.append(1)
        return made(task, tools)

    async with smol(make, Desk().box({}), limits=Limits(park_after_s=None)) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.answer(ask.key, "1A")
        assert await told(handle) == "booked TP1 1A"
    assert len(runs) == 1
    async with smol(make, Desk().box({}), limits=AT_ONCE) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.answer(ask.key, "1A")
        await told(handle)
    assert len(runs) == 3


async def test_nobody_answers_in_time_and_the_task_fails() -> None:
    """An ask of an agent expires like any other."""
    async with smol(speaker(*TRIP), Desk().box()) as world:
        handle = await world.submit()
        await asks_of(world, handle)
        await world.elapse(86_401)
        failed = await failure_of(handle)
    assert failed.outcome is not Phase.COMPLETED


async def test_a_message_without_calls_is_told_to_the_model() -> None:
    """A text that has no call in it is a mistake of the model's, and the run goes on."""
    async with smol(speaker("just words", answer("done")), Desk().box()) as world:
        assert await told(await world.submit()) == "done"


async def test_a_message_of_two_calls_is_replayed_as_two() -> None:
    """Each result stands under its own key."""
    desk = Desk()
    both = message(("search", {"q": "A"}), ("search", {"q": "B"}))
    script = [both, *asks_then(heard_first)]
    async with smol(speaker(*script), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.answer(ask.key, "x")
        said = await told(handle)
    assert said == "3 flights to A\n3 flights to B"
    assert sorted(desk.ran) == [("search", "A"), ("search", "B")]  # Side by side.
