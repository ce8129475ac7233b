"""What an engine refuses its own agents while it closes: no task ends by that."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from interlock import Engine, Limits, Phase, SyncTaskContext, TaskContext
from interlock._agent import Agent
from interlock.errors import NotAccepting, Rejected
from interlock.testing import ManualClock
from support import OWNER, FlakyStore, World, opened, pause, soon, triggers

#: Submits a task to the engine, which may be about to close; the id of the task.
Submit = Callable[[], Coroutine[Any, Any, str]]


def lets_it_through(submit: Submit) -> Agent:
    """As most agents do."""

    async def agent(_: TaskContext) -> str:
        return await submit()

    return agent


def in_a_branch(submit: Submit) -> Agent:
    """It comes out in a group."""

    async def agent(_: TaskContext) -> str:
        async with asyncio.TaskGroup() as group:
            branch = group.create_task(submit())
        return branch.result()

    return agent


def in_two_branches(submit: Submit) -> Agent:
    """Both are refused."""

    async def agent(_: TaskContext) -> str:
        one, two = await asyncio.gather(submit(), submit(), return_exceptions=True)
        if isinstance(one, Exception) and isinstance(two, Exception):
            raise ExceptionGroup("refused", [one, two])
        return str(one)

    return agent


def with_an_error_of_its_own(submit: Submit) -> Agent:
    """As libraries of agents do with what a tool raises."""

    async def agent(_: TaskContext) -> str:
        try:
            return await submit()
        except NotAccepting as error:
            raise RuntimeError("the tool failed") from error

    return agent


def in_a_call(submit: Submit) -> Agent:
    """Within a call that may be made again."""

    async def agent(task: TaskContext) -> str:
        return await task.call(submit, idempotent=True)

    return agent


def in_a_call_beside_another(submit: Submit) -> Agent:
    """The other call is not undone."""

    async def other() -> str:
        return await submit()

    async def agent(task: TaskContext) -> str:
        one, _ = await asyncio.gather(
            task.call(submit, idempotent=True), task.call(other, idempotent=True)
        )
        return one

    return agent


def on_a_thread(submit: Submit) -> Agent:
    """A plain function, which makes the call on the loop."""

    async def submits() -> str:
        return await submit()

    def agent(task: SyncTaskContext) -> str:
        return task.call(submits, idempotent=True)

    return agent


def by_its_thread(submit: Submit) -> Agent:
    """A plain function, which calls another one on its own thread."""

    def agent(task: SyncTaskContext) -> str:
        return task.call(lambda: submit(), idempotent=True)  # noqa: PLW0108

    return agent


class Parent:
    """A task whose agent submits another one once it is let go on."""

    def __init__(self, made: Callable[[Submit], Agent]) -> None:
        self.go_on = asyncio.Event()
        self.arrived = asyncio.Event()
        self.engine: Engine | None = None
        self.agents: dict[str, Agent] = {"parent": made(self.submit), "child": self._child}

    async def _child(self, _: TaskContext) -> str:
        return "done"

    async def submit(self) -> str:
        """Submit it."""
        self.arrived.set()
        await self.go_on.wait()
        assert self.engine is not None
        child = await self.engine.submit("go", owner=OWNER, agent="child", token="t")  # noqa: S106
        return child.task_id

    async def refused(self, world: World) -> None:
        """Let it be refused, by a drain that waits for the turn."""
        self.engine = world.engine
        await soon(self.arrived.wait())
        drain = asyncio.ensure_future(world.engine.drain())
        await pause()
        assert not drain.done()
        self.go_on.set()
        await soon(drain)


@pytest.mark.parametrize(
    "made",
    [
        lets_it_through,
        in_a_branch,
        in_two_branches,
        with_an_error_of_its_own,
        in_a_call,
        in_a_call_beside_another,
        on_a_thread,
        by_its_thread,
    ],
)
async def test_what_a_closing_engine_refuses_an_agent_is_no_end_of_its_task(
    made: Callable[[Submit], Agent], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is written, no drain is held up, the next start goes on.  Source: R-ENG-13."""
    store, parent = FlakyStore(), Parent(made)
    async with opened(parent.agents, store=store) as world:
        handle = await world.submit()
        await parent.refused(world)
        assert world.stored(handle).phase is Phase.RUNNING
        assert set(triggers(world.log(handle))) <= {"submit", "start", "call"}
        assert caplog.text == ""
    async with opened(parent.agents, store=store) as world:
        parent.engine = world.engine
        child = await soon(world.handle(handle).result())
        assert (await world.engine.task(str(child), owner=OWNER)).record.owner == OWNER


async def test_an_agent_that_goes_on_at_a_start_finds_the_engine_open() -> None:
    """However long it takes to read what else was not finished."""
    store, parent = FlakyStore(), Parent(lets_it_through)
    async with opened(parent.agents, store=store, limits=Limits(drain_s=0)) as world:
        handle = await world.submit()
        await soon(parent.arrived.wait())
    parent.go_on.set()
    store = FlakyStore(store)
    store.hold("unfinished").open()
    gate = store.hold("unfinished")
    parent.engine = Engine(parent.agents, store=store, clock=ManualClock())
    start = asyncio.ensure_future(parent.engine.start())
    await gate.reached()
    await pause()
    gate.open()
    await soon(start)
    task = await parent.engine.task(handle.task_id, owner=OWNER)
    assert await soon(task.result())
    await soon(parent.engine.drain())


async def test_a_call_that_may_not_be_made_again_has_failed() -> None:
    """Nobody knows what it did before it was refused: that is not done twice."""

    def made(submit: Submit) -> Agent:
        async def agent(task: TaskContext) -> str:
            return await task.call(submit)

        return agent

    parent = Parent(made)
    async with opened(parent.agents) as world:
        handle = await world.submit()
        await parent.refused(world)
        assert triggers(world.log(handle))[3:] == ["called", "fail", "finalize"]


async def test_an_agent_that_says_what_becomes_of_its_task_is_heard() -> None:
    """It has met the refusal, and has decided."""

    def made(submit: Submit) -> Agent:
        async def agent(_: TaskContext) -> str:
            try:
                return await submit()
            except NotAccepting as error:
                raise Rejected("come again") from error

        return agent

    parent = Parent(made)
    async with opened(parent.agents) as world:
        handle = await world.submit()
        await parent.refused(world)
        assert world.stored(handle).shown is Phase.REJECTED


async def test_a_task_that_is_being_cancelled_ends_so() -> None:
    """A drain keeps no cancel from being done."""

    def made(submit: Submit) -> Agent:
        async def agent(_: TaskContext) -> str:
            try:
                return await submit()
            except asyncio.CancelledError:
                return await submit()

        return agent

    parent = Parent(made)
    async with opened(parent.agents, limits=Limits(grace_s=60)) as world:
        handle = await world.submit()
        await soon(parent.arrived.wait())
        await handle.cancel()
        await parent.refused(world)
        assert world.stored(handle).shown is Phase.CANCELLED


async def test_an_engine_that_goes_on_has_refused_for_good() -> None:
    """It is another engine that closes: whether the task can do without is its agent's matter."""

    async def agent(_: TaskContext) -> str:
        raise NotAccepting("another engine is closing")

    async with opened(agent) as world:
        handle = await world.submit()
        assert (await handle.over()).shown is Phase.FAILED
