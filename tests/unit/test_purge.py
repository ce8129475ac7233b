"""Forgetting on request: one task by its id, or all that ended long enough ago.

R-SVC-03.  Threats: T1.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from interlock import Event, NewWatch, Phase, TaskContext, TaskQuery, TaskView, Watch
from interlock._retention import TASKS_AT_ONCE
from interlock.errors import InvalidInput, NotAccepting, NotFinalized, StoreError, UnknownTask
from support import OWNER, opened, over, pause, soon, until


async def agent(task: TaskContext) -> str:
    """Ask if it is told to."""
    return await task.ask("Which city?") if task.input.text == "ask" else "done"


async def test_a_finalized_task_is_forgotten() -> None:
    """It is as if it had never been, for whoever holds its handle as well.  Source: R-SVC-03."""
    async with opened(agent) as world:
        gone, kept = await over(world, 2)
        await world.engine.forget(gone.task_id, owner=OWNER)
        assert list(world.store._tasks) == [kept.task_id]
        for look in (
            world.engine.view(gone.task_id, owner=OWNER),
            world.engine.forget(gone.task_id, owner=None),
        ):
            with pytest.raises(UnknownTask):
                await look
        assert await kept.result() == "done"


async def test_a_task_that_goes_on_is_not_forgotten() -> None:
    """It has to be cancelled first, and the refusal says so.  Source: R-SVC-03."""
    async with opened(agent) as world:
        handle, _ = await world.asking("ask")
        with pytest.raises(NotFinalized, match=r"is waiting_input and .*: cancel it") as caught:
            await world.engine.forget(handle.task_id, owner=OWNER)
        assert caught.value.code == "not_finalized"
        assert handle.task_id in world.store._tasks
        await handle.answer("ask-1", "Oslo")
        await handle.result()


async def test_what_a_watch_has_still_to_deliver_is_not_forgotten() -> None:
    """Neither by its id nor by its age.  Source: R-SVC-03, I30."""

    class Slow:
        """Delivers when it is let."""

        open = False

        async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
            """Wait until it may."""
            del watch, view, events
            while not self.open:
                await pause()

    slow = Slow()
    async with opened(agent, deliverers={"hook": slow}) as world:
        watch = NewWatch("w", "hook", {})
        handle = await world.engine.submit("x", owner=OWNER, watches=[watch])
        await handle.result()
        await world.elapse(1.0)
        with pytest.raises(NotFinalized, match="somebody has still to be told"):
            await world.engine.forget(handle.task_id, owner=OWNER)
        assert await world.engine.purge(older_than_s=0) == []
        slow.open = True
        await until(lambda: world.stored(handle).phase is Phase.FINALIZED)
        await world.engine.forget(handle.task_id, owner=OWNER)
        assert world.store._tasks == {}


async def test_what_ended_long_ago_is_purged() -> None:
    """The oldest first, at most so many; exactly so old is old enough.  Source: R-SVC-03."""
    async with opened(agent) as world:
        handles = await over(world, 5)
        waiting, _ = await world.asking("ask")
        ids = [handle.task_id for handle in handles]
        assert await world.engine.purge(older_than_s=5.5) == []
        assert await world.engine.purge(older_than_s=4.0) == ids[:2]
        assert await world.engine.purge(older_than_s=0, limit=1) == ids[2:3]
        await world.submit()
        await until(lambda: world.engine.statistics().live <= 1)
        gone = await world.engine.purge(older_than_s=0)
        assert gone[:2] == ids[3:]
        # The last one ended in this very moment, and 0 is all.
        assert list(world.store._tasks) == [waiting.task_id]


async def test_many_are_purged_a_few_at_a_time() -> None:
    """Whoever wants more than the store takes at once.  Source: R-SVC-03."""
    async with opened(agent) as world:
        limit = TASKS_AT_ONCE + 5
        for _ in range(limit + 3):
            await (await world.submit()).result()
        await until(lambda: world.engine.statistics().live == 0)
        assert len(await soon(world.engine.purge(older_than_s=0, limit=limit))) == limit
        assert len(await soon(world.engine.purge(older_than_s=0))) == 3


@pytest.mark.parametrize(
    "given",
    [
        {"older_than_s": -1.0},
        {"older_than_s": float("nan")},
        {"older_than_s": float("inf")},
        {"older_than_s": None},
        {"older_than_s": "1"},
        {"older_than_s": True},
        {"older_than_s": 10**400},
        {"older_than_s": 0, "limit": 0},
        {"older_than_s": 0, "limit": True},
        {"older_than_s": 0, "limit": 1.5},
    ],
)
async def test_what_is_no_age_purges_nothing(given: dict[str, Any]) -> None:
    """It might have meant everything.  Source: R-SVC-03, T9."""
    async with opened(agent) as world:
        await over(world, 1)
        with pytest.raises(InvalidInput, match="is accepted"):
            await world.engine.purge(**given)
        assert len(world.store._tasks) == 1


async def test_a_store_that_fails_says_so() -> None:
    """Nothing is told to be gone that is not.  Source: R-SVC-03."""
    async with opened(agent) as world:
        await over(world, 1)
        world.store.fail("purge")
        with pytest.raises(StoreError):
            await world.engine.purge(older_than_s=0)
        assert len(world.store._tasks) == 1
    for call in (
        world.engine.purge(older_than_s=0),
        world.engine.forget("t", owner=None),
        world.engine.counts(),
    ):
        with pytest.raises(NotAccepting):
            await call


async def test_tasks_are_counted_and_searched() -> None:
    """Through the engine as through the store.  Source: R-SVC-01."""
    async with opened(agent) as world:
        (done,) = await over(world, 1)
        waiting, _ = await world.asking("ask")
        await world.engine.submit("ask", owner="bob")
        await pause()
        assert dict(await world.engine.counts()) == {"completed": 1, "waiting_input": 2}
        mine = TaskQuery(owner_prefix=OWNER[:2])
        assert dict(await world.engine.counts(mine)) == {"completed": 1, "waiting_input": 1}
        page = await world.engine.page(TaskQuery(search=waiting.task_id[:20]))
        assert [record.task_id for record in page.records] == [waiting.task_id]
        page = await world.engine.page(TaskQuery(search=world.stored(done).context_id))
        assert [record.task_id for record in page.records] == [done.task_id]


@pytest.mark.parametrize("what", ["owner", "owner_prefix", "context_id", "search"])
@pytest.mark.parametrize(
    ("value", "problem"), [("x" * 1_025, "has 1025 characters"), (7, "is of type int")]
)
async def test_what_no_task_can_have_is_not_searched(
    what: str,
    value: Any,  # noqa: ANN401
    problem: str,
) -> None:
    """The store is not asked, and the caller is told what is accepted.  Source: R-SVC-01, T9."""
    async with opened(agent) as world:
        names: dict[str, Any] = {what: value}
        for asked in (world.engine.page, world.engine.counts):
            with pytest.raises(InvalidInput, match=f"{what} {problem}"):
                await asked(TaskQuery(**names))
