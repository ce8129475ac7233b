"""A task that is stopped: between steps, inside of one, in a prompt, in a tool.

Source: issue 4, build 4 ("stop between and inside steps"); facts/peers-and-smolagents.md §4 (iii).
"""

import asyncio
import threading
from typing import Any

import pytest
from smolagents import ToolCallingAgent  # type: ignore[import-untyped]  # it has no types

from interlock import Limits, Phase, Policies, Policy, Toolbox, Trigger
from interlock.errors import Refused
from interlock.testing import ScriptedModel
from interlock_adapters.smolagents_testing import ScriptedSmolModel
from smol import (
    Desk,
    answer,
    asks_of,
    asks_then,
    code,
    coder,
    events_of,
    failure_of,
    heard_first,
    message,
    smol,
    speaker,
    told,
)
from support import pause, until


class Held:
    """A tool and a model that wait until the test lets them go on."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.on = threading.Event()
        self.ran: list[str] = []

    def wait(self) -> None:
        """Say that it is reached, and wait."""
        self.inside.set()
        assert self.on.wait(5)

    def slow(self, what: str) -> str:
        """Take long, on a thread."""
        self.ran.append(what)
        self.wait()
        return what

    async def hang(self) -> str:
        """Never return."""
        self.inside.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ran.append("cut off")
            raise
        return ""


async def test_a_stop_in_a_tool_lets_nothing_else_begin() -> None:
    """The tool on its thread ends late, and what it gave is not told to the model.

    Source: R-SMOL-07.
    """
    held = Held()
    script = [
        message(("slow", {"what": "a"})),
        message(("slow", {"what": "b"})),
    ]
    async with smol(speaker(*script), Toolbox([held.slow])) as world:
        handle = await world.submit()
        await until(held.inside.is_set)
        await handle.cancel()
        held.on.set()
        await handle.over()
        assert world.stored(handle).shown is Phase.CANCELLED
        prompts = [e for e in events_of(world, handle, Trigger.CALL) if e.data["name"] == "model"]
    assert held.ran == ["a"]
    assert len(prompts) == 1


async def test_a_stop_cuts_off_an_async_tool() -> None:
    """`CancelledError` reaches it, so it reaches the wire."""
    held = Held()
    async with smol(speaker({"hang": {}}), Toolbox([held.hang])) as world:
        handle = await world.submit()
        await until(held.inside.is_set)
        await handle.cancel()
        await handle.over()
        assert world.stored(handle).shown is Phase.CANCELLED
    assert held.ran == ["cut off"]


async def test_a_tool_that_hangs_is_cut_off_in_its_time() -> None:
    """By its policy's `timeout_s`; the model is told, and the agent goes on."""
    held = Held()
    script: list[Any] = [{"hang": {}}, heard_first]
    box = Toolbox([held.hang], policies=Policies({"hang": Policy(timeout_s=30.0)}))
    async with smol(speaker(*script), box) as world:
        handle = await world.submit()
        await until(held.inside.is_set)
        await world.elapse(31)
        assert "TimedOut" in await told(handle)
    assert held.ran == ["cut off"]


class Slow(ScriptedSmolModel):
    """A model that waits."""

    def __init__(self, held: Held, script: ScriptedModel) -> None:
        super().__init__(script)
        self.held = held

    def generate(self, messages: Any, stop_sequences: Any = None, **options: Any) -> Any:  # noqa: ANN401  the library's
        """See `Model`."""
        self.held.wait()
        return super().generate(messages, stop_sequences, **options)


@pytest.mark.parametrize("late", [False, True])
async def test_a_stop_in_a_prompt_runs_none_of_its_calls(*, late: bool) -> None:
    """Within the grace the thread ends by itself; after it the turn is given up, and is no harm."""
    held, desk = Held(), Desk()
    model = Slow(held, ScriptedModel({"search": {"q": "A"}}))

    def make(task: object, tools: list[Any]) -> object:
        del task
        return ToolCallingAgent(tools, model)

    async with smol(make, desk.box(), limits=Limits(grace_s=3.0)) as world:
        handle = await world.submit()
        await until(held.inside.is_set)
        await handle.cancel()
        if late:
            await world.elapse(4)
            assert (await handle.over()).shown is Phase.CANCELLED
        held.on.set()
        await handle.over()
        assert world.stored(handle).shown is Phase.CANCELLED
        await until(lambda: world.engine.statistics().abandoned == 0)
        begun = [event.data["key"] for event in events_of(world, handle, Trigger.CALL)]
        answered = [event.data["key"] for event in events_of(world, handle, Trigger.CALLED)]
    assert begun == ["m1"]
    # An answer that comes within the grace is written down, and not acted on.
    assert answered == ([] if late else ["m1"])
    assert desk.ran == []


@pytest.mark.parametrize("park_after_s", [0.0, None])
async def test_a_stop_while_it_waits_for_an_answer(park_after_s: float | None) -> None:
    """Parked, or on its thread: nothing runs after it."""
    desk = Desk()
    limits = Limits(park_after_s=park_after_s)
    script = asks_then({"search": {"q": "A"}})
    async with smol(speaker(*script), desk.box(), limits=limits) as world:
        handle = await world.submit()
        await asks_of(world, handle)
        await handle.cancel()
        await handle.over()
        assert world.stored(handle).shown is Phase.CANCELLED
    assert desk.ran == []


async def test_code_that_would_not_be_stopped_is_stopped_at_its_next_call() -> None:
    """A bare `except` and a `finally` in a loop do not keep it going."""
    held = Held()
    source = """
        for at in range(1000):
            try:
                slow(what=str(at))
            except:
                slow(what="except")
            finally:
                slow(what="finally")
    """
    async with smol(coder(code(source)), Toolbox([held.slow])) as world:
        handle = await world.submit()
        await until(held.inside.is_set)
        await handle.cancel()
        held.on.set()
        await handle.over()
        assert world.stored(handle).shown is Phase.CANCELLED
    assert held.ran == ["0"]


async def test_a_stop_while_a_batch_waits_for_a_yes_makes_none_of_its_calls() -> None:
    """Nor does the yes that comes too late: neither what it is for, nor what is beside it."""
    desk = Desk()
    script = [message(("search", {"q": "A"}), ("book", {"flight": "TP1", "seat": "1A"}))]
    async with smol(speaker(*script), desk.box()) as world:
        handle = await world.submit()
        (ask,) = await asks_of(world, handle)
        await handle.cancel()
        with pytest.raises(Refused):
            await handle.approve(ask)
        await handle.over()
        assert world.stored(handle).shown is Phase.CANCELLED
    assert desk.ran == []


async def test_a_stop_between_two_steps_asks_the_model_nothing_more() -> None:
    """Cancelled as a step ends: the next prompt is not sent.  Source: R-SMOL-07."""
    held = Held()
    model = ScriptedSmolModel(ScriptedModel({"search": {"q": "A"}}, answer("done")))

    def make(task: object, tools: list[Any]) -> object:
        del task

        def between(step: object) -> None:
            del step
            held.wait()

        return ToolCallingAgent(tools, model, step_callbacks=[between])

    async with smol(make, Desk().box()) as world:
        handle = await world.submit()
        await until(held.inside.is_set)
        await handle.cancel()
        held.on.set()
        await handle.over()
        assert world.stored(handle).shown is Phase.CANCELLED
    assert model.script.prompts == 1


async def test_a_task_that_runs_out_of_time_is_stopped_too() -> None:
    """Its deadline ends it like a cancel does, with an outcome of its own."""
    held = Held()
    async with smol(speaker({"hang": {}}), Toolbox([held.hang]), limits=Limits(run_s=60)) as world:
        handle = await world.submit()
        await until(held.inside.is_set)
        await world.elapse(61)
        await pause()
        failed = await failure_of(handle)
    assert failed.outcome is not Phase.COMPLETED
    assert held.ran == ["cut off"]
