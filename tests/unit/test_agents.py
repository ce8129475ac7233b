"""Several agents of one engine, by name: who runs a task, at every turn of it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from interlock import (
    Agent,
    Engine,
    Limits,
    Phase,
    Result,
    SyncTaskContext,
    TaskContext,
    TaskHandle,
)
from interlock._agent import Ask, Request
from interlock._conclusion import OPERATOR_NAME
from interlock._memory import AGAIN, FROM_SCRATCH
from interlock.errors import AnswerInvalid, InvalidInput, TokenReused
from support import OWNER, World, opened, soon, until


async def on_the_loop(task: TaskContext) -> str:
    """Ask, and say who is who."""
    return f"{task.agent}: {await task.ask('?')}"


def on_a_thread(task: SyncTaskContext) -> str:
    """The same, blocking."""
    return f"{task.agent}: {task.ask('?')}"


async def in_steps(task: TaskContext) -> AsyncGenerator[Request, Any]:
    """The same, as a generator."""
    answer = yield Ask("?")
    yield Result(f"{task.agent}: {answer}")


THREE: Mapping[str, Agent] = {"loop": on_the_loop, "thread": on_a_thread, "steps": in_steps}


async def named(world: World, agent: str | None, token: str | None = None) -> TaskHandle:
    """A task for that agent."""
    return await world.engine.submit("go", owner=OWNER, agent=agent, token=token)


@pytest.mark.parametrize(
    ("agent", "runs"), [(None, "loop"), ("loop", "loop"), ("thread", "thread"), ("steps", "steps")]
)
async def test_a_task_is_run_by_the_agent_that_it_names(agent: str | None, runs: str) -> None:
    """Whatever its kind, before an answer and after it; the first is for those that name none.

    Source: R-ENG-15.
    """
    async with opened(THREE) as world:
        handle = await named(world, agent)
        await handle.rest()
        await handle.answer("ask-1", "yes")
        assert await soon(handle.result()) == f"{runs}: yes"
        said = world.log(handle)[0].data
        assert (said.get("agent"), said.get("default_agent", runs)) == (agent, runs)


async def test_a_single_agent_has_a_name_too() -> None:
    """So that who works with names need not ask how many there are."""
    async with opened(on_the_loop) as world:
        assert dict(world.engine.agents) == {"agent": on_the_loop}
        handle = await named(world, "agent")
        await handle.rest()
        await handle.answer("ask-1", "yes")
        assert await soon(handle.result()) == "agent: yes"


def test_the_agents_of_an_engine_are_read_and_not_changed() -> None:
    """Neither through the engine nor through what it was given."""
    given = dict(THREE)
    engine = Engine(given, store="memory:")
    given.clear()
    assert list(engine.agents) == ["loop", "thread", "steps"]
    with pytest.raises(TypeError):
        engine.agents["more"] = on_the_loop  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


@pytest.mark.parametrize("agents", [{}, {"": on_the_loop}, {7: on_the_loop}, {None: on_the_loop}])
def test_agents_without_a_name_are_refused(agents: Any) -> None:  # noqa: ANN401
    """At once, not at the first task."""
    with pytest.raises(InvalidInput, match="accepted"):
        Engine(agents, store="memory:")


def test_one_of_several_that_is_no_agent_is_named() -> None:
    """Among many, "the agent" would not help."""
    agents: Any = {"good": on_the_loop, "bad": 7}
    with pytest.raises(TypeError, match="'bad': the agent is not callable"):
        Engine(agents, store="memory:")


@pytest.mark.parametrize("agent", ["nobody", "", 7, ["loop"]])
async def test_an_agent_that_is_not_there_cannot_be_named(agent: Any) -> None:  # noqa: ANN401
    """Whoever asked is told which are; no task is made."""
    async with opened(THREE) as world:
        with pytest.raises(InvalidInput, match="accepted is 'loop', 'thread', 'steps'"):
            await named(world, agent)
        assert world.store.commits == []


async def test_a_token_is_for_the_agent_that_it_came_with() -> None:
    """The same body for another agent is another task."""
    async with opened(THREE) as world:
        first = await named(world, "steps", "t")
        again = await named(world, "steps", "t")
        assert (again.task_id, again.created) == (first.task_id, False)
        for other in ("loop", None):
            with pytest.raises(TokenReused):
                await named(world, other, "t")


async def test_a_token_of_a_log_without_agents_still_stands_for_its_task() -> None:
    """What names no agent has the digest that it had before agents had names."""
    async with opened(THREE) as world:
        await named(world, None, "t")
        (claim,) = world.store.commits[0].claims
    async with opened(on_the_loop) as world:
        await named(world, None, "t")
        assert world.store.commits[0].claims[0].digest == claim.digest


@pytest.mark.parametrize(("agent", "runs"), [("thread", "thread"), (None, "loop")])
async def test_a_restart_finds_the_agent_by_its_name(agent: str | None, runs: str) -> None:
    """Not by its place: the mapping may be in another order by then.  Source: R-ENG-15."""
    async with opened(THREE) as world:
        handle = await named(world, agent)
        await handle.rest()
        store = world.crash()
    async with opened({name: THREE[name] for name in reversed(list(THREE))}, store=store) as world:
        handle = world.handle(handle)
        await handle.answer("ask-1", "yes")
        assert await soon(handle.result()) == f"{runs}: yes"


async def test_a_task_whose_agent_is_gone_waits_for_an_operator() -> None:
    """It is not lost, nor run by another; and it goes on when the agent is there again.

    Source: R-ENG-15.
    """
    async with opened(THREE) as world:
        handle = await named(world, "steps")
        await handle.rest()
        store = world.crash()
    async with opened({"loop": on_the_loop}, store=store) as world:
        handle = world.handle(handle)
        await handle.answer("ask-1", "yes")
        (ask,) = (await handle.rest()).asks
        assert ask.approvers == (OPERATOR_NAME,)
        assert "The engine has no agent 'steps'." in ask.prompt
        assert ask.schema == {"type": "string", "enum": [AGAIN, FROM_SCRATCH]}
        assert world.engine.statistics().running == 0
        with pytest.raises(AnswerInvalid):
            await world.engine.resume(handle.task_id, "skip")
        # It is asked again as long as the agent is not there.
        await world.engine.resume(handle.task_id, "again")
        (more,) = (await handle.rest()).asks
        assert more.key != ask.key
        store = world.crash()
    async with opened(THREE, store=store) as world:
        handle = world.handle(handle)
        await world.engine.resume(handle.task_id, "again")
        assert await soon(handle.result()) == "steps: yes"


async def test_tasks_whose_agent_is_gone_hold_no_slot() -> None:
    """One that ran when the process ended, and one that was still in the queue."""

    async def lasts(_task: TaskContext) -> None:
        await asyncio.Event().wait()

    limits = Limits(running_turns_max=1)
    async with opened({"lasts": lasts}, limits=limits) as world:
        ran, waited = [await named(world, "lasts") for _ in range(2)]
        await until(lambda: world.stored(ran).phase is Phase.RUNNING)
        assert world.stored(waited).phase is Phase.SUBMITTED
        store = world.crash()
    async with opened(THREE, limits=limits, store=store) as world:
        for handle in (ran, waited):
            handle = world.handle(handle)  # noqa: PLW2901
            (ask,) = (await handle.rest()).asks
            assert "no agent 'lasts'" in ask.prompt
            await handle.cancel()
            assert (await soon(handle.over())).shown is Phase.CANCELLED
        await (await named(world, "loop")).rest()
