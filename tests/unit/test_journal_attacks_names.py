"""What a review did to what operators are asked, to names and to words.

How calls were attacked is in `test_journal_attacks`.
"""

import asyncio
import json
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import pytest

from interlock import Answer, Limits, Phase, Retry, TaskContext, TaskHandle
from interlock._record import Ended
from interlock.errors import InvalidInput, Refused, Rejected, Retryable
from support import Gate, World, opened, pause, soon, triggers, until

AT_ONCE = Limits(park_after_s=0.0)
TWICE = Limits(park_after_s=0.0, retry=Retry(attempts_max=2))


async def search(city: str) -> str:
    """Find something."""
    return city


class Astray:
    """An agent that goes another way when it is run again."""

    def __init__(self) -> None:
        self.city = "Rome"

    async def __call__(self, task: TaskContext) -> str:
        """Search, and ask."""
        await task.call(search, self.city)
        await task.ask("go on?")
        return "done"


class AstrayTelling:
    """An agent that goes astray while two lines of its progress are on their way.

    The commit of the first waits at a gate, so that whatever comes next is one batch.
    """

    def __init__(self) -> None:
        self.world: World | None = None
        self.gate: Gate | None = None
        self.told: list[asyncio.Future[None]] = []
        self.astray = False

    async def __call__(self, task: TaskContext) -> str:
        """Search, and ask."""
        city = "Rome"
        if self.astray:
            assert self.world is not None
            city = "Oslo"
            self.gate = self.world.store.hold("commit")
            self.told.append(asyncio.ensure_future(task.progress("one")))
            await pause()
            self.told.append(asyncio.ensure_future(task.progress("two")))
            await pause()
        await task.call(search, city)
        await task.ask("go on?")
        return "done"

    async def sent_astray(self, world: World) -> tuple[TaskHandle, Gate]:
        """A task of it that has ended so, and the gate before which the writer stands."""
        self.world = world
        handle, ask = await world.asking()
        await pause()
        self.astray = True
        await handle.answer(ask.key, "yes")
        await until(lambda: self.gate is not None)
        assert self.gate is not None
        await self.gate.reached()
        await until(lambda: len(self.told) == 2)
        await pause(60)
        return handle, self.gate


async def test_what_an_operator_is_asked_may_come_in_one_batch_with_other_things() -> None:
    """The turn is over all the same, and whoever resumes gets another one.  Source: a review."""
    agent = AstrayTelling()
    async with opened(agent, limits=AT_ONCE) as world:
        handle, gate = await agent.sent_astray(world)
        gate.open()
        (ask,) = (await soon(handle.rest())).asks
        assert ask.key == "interlock:operator-1"
        batch = [event.trigger.value for event in world.store.commits[-1].events]
        assert batch == ["progress", "ask"]
        await pause()
        agent.astray = False
        await world.engine.resume(handle.task_id, "again")
        assert await soon(handle.result()) == "done"


async def test_a_cancel_in_one_batch_with_what_an_operator_is_asked_ends_the_task() -> None:
    """At once: there is no turn that has to end.  Source: a review."""
    agent = AstrayTelling()
    async with opened(agent, limits=AT_ONCE) as world:
        handle, gate = await agent.sent_astray(world)
        cancel = asyncio.ensure_future(handle.cancel())
        await pause()
        gate.open()
        await soon(cancel)
        assert (await soon(handle.over())).shown is Phase.CANCELLED
        assert triggers(world.log(handle))[8:11] == ["ask", "cancel", "stopped"]
        assert world.engine.statistics().abandoned == 0


BOUNDS = [{"payload_bytes_max": 150}, {"asks_max": 1}, {"log_events_max": 16}]


@pytest.mark.parametrize("bounds", BOUNDS)
async def test_an_operator_is_asked_whatever_the_limits_are(bounds: dict[str, int]) -> None:
    """The task must not be stuck for want of room.  Source: a review."""
    city = "Rome"

    async def agent(task: TaskContext) -> str:
        await task.call(search, city)
        with suppress(Refused):
            while city == "Rome":
                if "log_events_max" not in bounds:
                    break
                await task.progress("on")
        await task.ask("?")
        return "done"

    limits = AT_ONCE.model_copy(update=bounds)
    async with opened(agent, limits=limits) as world:
        handle, ask = await world.asking()
        await pause()
        city = "Oslo"
        await handle.answer(ask.key, "yes")
        (ask,) = (await soon(handle.rest())).asks
        assert ask.key == "interlock:operator-1"
        await world.engine.resume(handle.task_id, "skip")
        record = await soon(handle.rest())
        assert record.phase is not Phase.RUNNING


async def test_a_task_that_no_operator_resumes_in_time_has_timed_out() -> None:
    """It is not said that somebody should have answered.  Source: a review."""
    agent = Astray()
    limits = AT_ONCE.model_copy(update={"task_s": 100.0})
    async with opened(agent, limits=limits) as world:
        handle, ask = await world.asking()
        await pause()
        agent.city = "Oslo"
        await handle.answer(ask.key, "yes")
        (ask,) = (await soon(handle.rest())).asks
        assert ask.key == "interlock:operator-1"
        await world.elapse(500.0)
        assert (await soon(handle.over())).shown is Phase.TIMED_OUT


async def test_nobody_has_a_name_like_an_operators() -> None:
    """Else a client would decide in an operator's place.  Source: a review, R-JRN-13."""
    agent = Astray()
    async with opened(agent, limits=AT_ONCE) as world:
        with pytest.raises(InvalidInput, match="owner begins with"):
            await world.engine.submit("go", owner="interlock:operator")
        handle, ask = await world.asking()
        with pytest.raises(InvalidInput, match="actor begins with"):
            await world.engine.answer(
                handle.task_id,
                Answer(ask=ask.key, value="yes"),
                owner=None,
                actor="interlock:operator",
            )
        await handle.answer(ask.key, "yes")
        assert await soon(handle.result()) == "done"


NO_KEYS = ["pay-1@2", "pay-1~2", "interlock:pay", "half \ud800", "", "x" * 257]


@pytest.mark.parametrize("key", NO_KEYS)
async def test_a_key_that_may_be_one_of_ours_or_cannot_be_stored_is_refused(key: str) -> None:
    """Of a call as of a question.  Source: a review."""

    async def agent(task: TaskContext) -> str:
        for taken in (
            lambda: task.call(search, "Rome", key=key),
            lambda: task.ask("?", key=key),
            lambda: task.authorize("pay", {}, key=key),
        ):
            with pytest.raises(InvalidInput, match="key is "):
                await taken()
        return "fine"

    async with opened(agent) as world:
        handle = await world.submit()
        assert await soon(handle.result()) == "fine"
        assert triggers(world.log(handle))[:3] == ["submit", "start", "complete"]


class Mute(Rejected):
    """An error that has no words."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError("no words")


@pytest.mark.parametrize("calls", [True, False])
@pytest.mark.parametrize(
    "error", [Rejected("x" * 5_000_000), Rejected("half \ud800 of it"), Mute()]
)
async def test_whatever_an_error_says_it_can_be_stored(error: Exception, calls: bool) -> None:  # noqa: FBT001
    """In few words, and without halves of characters.  Source: a review."""

    async def fail() -> None:
        raise error

    async def agent(task: TaskContext) -> None:
        await (task.call(fail) if calls else fail())

    async with opened(agent) as world:
        handle = await world.submit()
        record = await soon(handle.over())
        assert record.shown is Phase.REJECTED
        for event in world.log(handle):
            assert len(json.dumps(event.data, ensure_ascii=False).encode()) < 3_000
        details = world.stored(handle).details
        assert isinstance(details, Ended)
        assert len((details.message or "").encode()) <= 2_000


async def test_an_error_in_a_group_of_one_is_that_error() -> None:
    """What a `TaskGroup` makes of a divergence and of a retry.  Source: a review."""
    city = "Rome"
    tries: list[str] = []

    async def book() -> str:
        tries.append("tried")
        if len(tries) == 1:
            raise Retryable("busy")
        return "booked"

    async def in_group(work: Awaitable[Any]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.wait_for(work, None))

    async def agent(task: TaskContext) -> str:
        await in_group(task.call(book))
        await in_group(task.call(search, city))
        return str(await task.ask("?"))

    async with opened(agent, limits=TWICE) as world:
        handle = await world.submit()
        await until(lambda: world.stored(handle).phase is Phase.SUBMITTED)
        await world.elapse(1.0)
        (ask,) = (await soon(handle.rest())).asks
        await pause()
        city = "Oslo"
        await handle.answer(ask.key, "yes")
        (ask,) = (await soon(handle.rest())).asks
        assert ask.key == "interlock:operator-1"
        assert tries == ["tried", "tried"]
