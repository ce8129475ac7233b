"""Interlock, embedded: the engine with its defaults."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from bench.compare.protocol import QUESTION, REQUEST
from interlock import Engine, Phase, TaskContext, Trigger

PACKAGES: Final = ("transitions", "pydantic")
#: So that no owner comes to the bound of open tasks that the engine has.
TASKS_PER_OWNER: Final = 500


async def _agent(task: TaskContext) -> str:
    text = task.input.text
    if text.startswith("ask"):
        text = str(await task.ask(QUESTION))
    if text.startswith("show"):
        await task.progress("working")
    return f"done: {text}"


class Arm:
    """Over the engine's own calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine
        self._numbers: Final = count()

    def _owner(self) -> str:
        return f"owner {next(self._numbers) // TASKS_PER_OWNER}"

    async def life(self) -> None:
        """See `Peer.life`."""
        task = await self._engine.submit(REQUEST, owner=self._owner())
        found = await task.result()
        assert found == f"done: {REQUEST}", found

    async def ask(self) -> tuple[str, str, str]:
        """See `Peer.ask`."""
        owner = self._owner()
        task = await self._engine.submit(f"ask {REQUEST}", owner=owner)
        (asked,) = (await task.rest()).asks
        assert asked.prompt == QUESTION, asked
        return task.task_id, asked.key, owner

    async def answer(self, asked: tuple[str, str, str]) -> None:
        """See `Peer.answer`."""
        task_id, key, owner = asked
        task = await self._engine.task(task_id, owner=owner)
        await task.answer(key, "Oslo")
        found = await task.result()
        assert found == "done: Oslo", found

    async def cancel(self, asked: tuple[str, str, str]) -> None:
        """See `Peer.cancel`."""
        task_id, _, owner = asked
        task = await self._engine.task(task_id, owner=owner)
        await task.cancel()
        record = await task.over()
        assert record.shown is Phase.CANCELLED, record

    async def first(self) -> float:
        """See `Peer.first`."""
        began, first = time.perf_counter(), 0.0
        task = await self._engine.submit(f"show {REQUEST}", owner=self._owner())
        async for event in task.events():
            if event.trigger is Trigger.PROGRESS:
                first = time.perf_counter() - began
        return first


@asynccontextmanager
async def opened(database: str) -> AsyncGenerator[Arm]:
    """On a SQLite file, or in memory."""
    store = database if database == "memory:" else f"sqlite:///{database}"
    async with Engine(_agent, store=store) as engine:
        yield Arm(engine)
