"""What a task asked and how each question was closed, as the management API shows it."""

import asyncio

from interlock import TaskContext, TaskHandle
from interlock.errors import Denied
from interlock_adapters._shown.models import ClosedAskShown
from interlock_adapters._shown.tasks import closed_of
from support import World, opened, until


async def closed(world: World, handle: TaskHandle) -> list[ClosedAskShown]:
    """What is shown of the task's questions."""
    return closed_of(await world.engine.events(handle.task_id, owner=None))


async def asks_all(task: TaskContext) -> None:
    """Everything that can be asked, all at once."""
    await asyncio.gather(
        task.ask("City?", key="city"),
        task.ask("Seat?", key="seat", default="aisle", expires_s=60),
        task.authorize("pay", {"euro": 1}, key="pay", on_deny="tell_agent"),
        task.ask("Hotel?", key="hotel"),
        return_exceptions=True,
    )


async def test_every_question_is_shown_with_what_closed_it() -> None:
    """An answer, a no with its reason, the time, and the end of the task.  Source: R-SVC-54."""
    async with opened(asks_all) as world:
        handle = await world.submit()
        await until(lambda: len(world.stored(handle).asks) == 4)
        assert await closed(world, handle) == []
        await handle.answer("city", "Oslo")
        (pay,) = [ask for ask in world.stored(handle).asks if ask.key == "pay"]
        await world.elapse(61)
        await handle.deny(pay, reason="too dear")
        found = {ask.key: ask for ask in await closed(world, handle)}
        await handle.cancel(reason="enough")
        in_the_end = await closed(world, handle)
    assert {key: ask.trigger for key, ask in found.items()} == {
        "city": "provide_input",
        "seat": "expire",
        "pay": "deny",
    }
    assert (found["pay"].reason, found["pay"].arguments) == ("too dear", {"euro": 1})
    assert found["pay"].actor == "ada"
    assert found["city"].asked_at < found["seat"].closed_at
    assert [ask.key for ask in in_the_end] == ["city", "seat", "pay", "hotel"]


async def test_a_task_that_stops_closes_what_it_asked() -> None:
    """Nobody said anything to it.  Source: R-SVC-54."""

    async def agent(task: TaskContext) -> None:
        await asyncio.gather(task.ask("A?", key="a"), task.ask("B?", key="b"))

    async with opened(agent) as world:
        handle = await world.submit()
        await until(lambda: len(world.stored(handle).asks) == 2)
        await handle.cancel(reason="enough")
        shown = await closed(world, handle)
    assert [(ask.key, ask.trigger, ask.reason) for ask in shown] == [
        ("a", "cancel", "enough"),
        ("b", "cancel", "enough"),
    ]


async def test_an_ask_is_closed_by_what_ended_the_wait_for_another() -> None:
    """Not by whatever comes when the turn has ended.  Source: R-SVC-54; a stranger's review."""
    stubborn = asyncio.Event()

    async def agent(task: TaskContext) -> None:
        try:
            await asyncio.gather(task.ask("A?", key="a", expires_s=60), task.ask("B?", key="b"))
        finally:
            await stubborn.wait()

    async with opened(agent) as world:
        handle = await world.submit()
        await until(lambda: len(world.stored(handle).asks) == 2)
        await world.elapse(61)
        for _ in range(2):
            shown = await closed(world, handle)
            assert [(ask.key, ask.trigger) for ask in shown] == [("a", "expire"), ("b", "expire")]
            stubborn.set()
            await handle.over()


async def test_what_was_denied_is_shown_though_it_was_not_called() -> None:
    """The journal has only what was.  Source: R-SVC-54."""

    async def agent(task: TaskContext) -> str:
        try:
            await task.authorize("pay", {"euro": 1}, key="pay", on_deny="tell_agent")
        except Denied as no:
            return f"not paid: {no.reason}"
        return "paid"

    async with opened(agent) as world:
        handle, ask = await world.asking()
        await handle.deny(ask, reason="no money")
        assert await handle.result() == "not paid: no money"
        (shown,) = await closed(world, handle)
    assert (shown.trigger, shown.tool, shown.reason) == ("deny", "pay", "no money")
