"""Who hangs up, and when that cancels a task: only when nobody is left who could come back.

Requirement: R-MCP-14.
"""

import asyncio

import mcp_types as wire
import pytest
from mcp import MCPError

from interlock import Answer, Phase, TaskContext, TaskQuery, TaskRecord, Trigger
from interlock._cell import Cell
from interlock._store import Commit
from interlock.errors import StoreError
from interlock_adapters.mcp._callers import Callers
from interlock_adapters.mcp._desk import CANCEL_AGAIN_S
from interlock_adapters.mcp_tools._task import Created
from mcp_face import DISMISS, ERAS, Called, Era, Scene, accept, raw, scene, text
from support import FlakyStore, pause, soon, until

GO = {"message": "go"}
KEY = {"interlock/idempotencyKey": "k-1"}

both_eras = pytest.mark.parametrize("era", ERAS)


async def asks(task: TaskContext) -> str:
    """Ask, and then work for ever."""
    said = await task.ask("Who?", key="who")
    if task.input.text == "go":
        await asyncio.Event().wait()
    return said


async def works(_task: TaskContext) -> None:
    """Work for ever."""
    await asyncio.Event().wait()


async def only(here: Scene) -> TaskRecord:
    """The one task."""
    (record,) = (await here.engine.page(TaskQuery())).records
    return record


async def hung_up(call: "asyncio.Future[Called]", here: Scene) -> TaskRecord:
    """The one task, after one of its callers has gone."""
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await pause(100)
    return await only(here)


def waiting(here: Scene) -> int:
    """How many wait in the engine for the one task that is alive."""
    runtime = here.engine._runtime
    assert runtime is not None
    cells: list[Cell] = runtime.writer.cells()
    return sum(len([w for w in cell._waiters if not w.done()]) for cell in cells)


@both_eras
@pytest.mark.parametrize("first_goes", [True, False])
async def test_a_task_is_given_up_by_the_last_who_waits_for_it(
    era: Era, *, first_goes: bool
) -> None:
    """A repeat is another caller of the same task."""
    async with (
        scene(works) as here,
        here.host(era) as host,
        here.host(era) as other,
    ):
        calls = [asyncio.ensure_future(host.call("agent", GO, meta=KEY))]
        await until(lambda: waiting(here) == 1)
        calls.append(asyncio.ensure_future(other.call("agent", GO, meta=KEY)))
        await until(lambda: waiting(here) == 2)
        if first_goes:
            calls.reverse()
        assert (await hung_up(calls.pop(), here)).phase is Phase.RUNNING
        assert (await hung_up(calls.pop(), here)).shown is Phase.CANCELLED


async def test_who_came_back_with_a_state_may_come_back_again() -> None:
    """The answer to a round may be lost like any other."""
    async with scene(asks) as here, here.host(answers=()) as host:
        first = await host.call("agent", GO)
        assert isinstance(first, wire.InputRequiredResult)
        said = {"who": accept(value="me")}
        call = asyncio.ensure_future(
            host.call("agent", GO, responses=said, state=first.request_state)
        )
        await until(lambda: waiting(here) == 1)
        assert (await hung_up(call, here)).phase is Phase.RUNNING
        await here.engine.cancel((await only(here)).task_id, owner=here.owner)


async def test_a_task_whose_handle_is_out_is_not_given_up_by_who_waits() -> None:
    """A repeat that spoke of the Tasks extension got it."""
    async with (
        scene(works) as here,
        here.host() as host,
        here.host(tasks=True) as other,
    ):
        call = asyncio.ensure_future(host.call("agent", GO, meta=KEY))
        await until(lambda: waiting(here) == 1)
        await other.call("agent", GO, meta=KEY)
        record = await hung_up(call, here)
        assert record.phase is Phase.RUNNING
        await other.cancel(record.task_id)


async def test_who_goes_before_the_task_is_made_gives_it_up_unless_another_waits() -> None:
    """The repeat came while the first was being written."""
    store = FlakyStore()
    async with scene(works, store=store) as here, here.host() as host, here.host() as other:
        held = store.hold("commit, after")
        first = asyncio.ensure_future(host.call("agent", GO, meta=KEY))
        await held.reached()
        second = asyncio.ensure_future(other.call("agent", GO, meta=KEY))
        await until(lambda: waiting(here) == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        held.open()
        await pause(100)
        assert (await only(here)).phase is Phase.RUNNING
        assert (await hung_up(second, here)).shown is Phase.CANCELLED


@pytest.mark.parametrize("tasks", [False, True])
@pytest.mark.parametrize("hung_up_first", [False, True])
async def test_a_retry_that_is_on_its_way_keeps_the_task_of_a_call_that_was_hung_up(
    *, tasks: bool, hung_up_first: bool
) -> None:
    """The first is being written when it goes: this is what keys are for."""
    store = FlakyStore()
    async with (
        scene(works, store=store) as here,
        here.host() as host,
        here.host(tasks=tasks) as other,
    ):
        first_held, second_held = store.hold("commit"), store.hold("commit")
        first = asyncio.ensure_future(host.call("agent", GO, meta=KEY))
        await first_held.reached()
        if hung_up_first:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        second = asyncio.ensure_future(other.call("agent", GO, meta=KEY))
        await second_held.reached()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        first_held.open()
        await pause(100)
        second_held.open()
        await pause(100)
        record = await only(here)
        assert record.phase is Phase.RUNNING
        if tasks:
            assert isinstance(await soon(second), Created)
            await other.cancel(record.task_id)
        else:
            assert (await hung_up(second, here)).shown is Phase.CANCELLED


async def test_a_retry_while_the_cancel_cannot_be_written_takes_the_task_over() -> None:
    """The store failed when nobody wanted the task, and now somebody does."""
    store = FlakyStore()
    async with scene(works, store=store) as here, here.host() as host, here.host() as other:
        first = asyncio.ensure_future(host.call("agent", GO, meta=KEY))
        await until(lambda: waiting(here) == 1)
        store.fail("commit")
        assert (await hung_up(first, here)).phase is Phase.RUNNING
        second = asyncio.ensure_future(other.call("agent", GO, meta=KEY))
        await until(lambda: waiting(here) == 1)
        here.clock.advance(CANCEL_AGAIN_S)
        await pause(100)
        assert (await only(here)).phase is Phase.RUNNING
        assert (await hung_up(second, here)).shown is Phase.CANCELLED


def test_a_crowd_is_forgotten_when_it_is_empty() -> None:
    """Whoever calls with a new key each time must not fill the memory."""
    callers = Callers()
    one, two = callers.seat("ada", "k"), callers.seat("ada", "k")
    assert one.crowd is two.crowd is not callers.seat("eve", "k").crowd
    assert callers.seat("ada", None).crowd is not callers.seat("ada", None).crowd
    one.made()
    assert not one.leave()
    assert not one.leave()  # Once is enough.
    assert two.leave()
    assert callers.crowd(("ada", "k")) is None


async def test_a_call_that_is_refused_leaves_no_crowd_behind() -> None:
    """There is no task, and a repeat begins anew."""
    store = FlakyStore()
    async with scene(works, store=store) as here, here.host() as host:
        store.fail("commit")
        with pytest.raises(MCPError, match="the store failed"):
            await host.call("agent", GO, meta=KEY)
        call = asyncio.ensure_future(host.call("agent", GO, meta=KEY))
        await until(lambda: waiting(here) == 1)
        assert (await hung_up(call, here)).shown is Phase.CANCELLED


# --- calls that end with an error -------------------------------------------------------------


async def test_a_call_that_ends_with_an_error_leaves_no_task_behind() -> None:
    """It has no handle, so nobody could answer what the task asks; the store is tried again."""
    store = FlakyStore()
    async with (
        scene(asks, store=store) as here,
        here.host("handshake", answers=[accept(value="me")]) as host,
    ):

        async def failing(commit: Commit) -> None:
            if commit.events[0].trigger in {Trigger.PROVIDE_INPUT, Trigger.CANCEL}:
                raise StoreError("disk full at /var/lib/tasks.db")
            await FlakyStore.commit(store, commit)

        store.commit = failing  # type: ignore[method-assign]
        with pytest.raises(MCPError) as caught:
            await host.call("agent", GO)
        assert "/var" not in str(caught.value)
        await pause(100)
        assert (await only(here)).phase is Phase.WAITING_INPUT
        del store.commit
        here.clock.advance(CANCEL_AGAIN_S)
        await soon(here.engine.over((await only(here)).task_id, owner=None))
        assert (await only(here)).shown is Phase.CANCELLED


# --- questions that are stale -----------------------------------------------------------------


async def test_who_dismisses_what_was_answered_elsewhere_cancels_nothing() -> None:
    """An outdated form is closed: that says nothing about the task."""
    async with scene(asks) as here, here.host(answers=()) as host:
        first = await host.call("agent", GO)
        assert isinstance(first, wire.InputRequiredResult)
        record = await only(here)
        await here.engine.answer(record.task_id, Answer(ask="who", value="them"), owner=here.owner)
        with pytest.raises(MCPError, match="already answered"):
            await host.call("agent", GO, responses={"who": DISMISS}, state=first.request_state)
        assert (await only(here)).phase is Phase.RUNNING
        await here.engine.cancel(record.task_id, owner=here.owner)


@pytest.mark.parametrize("first", ["one", "two"])
async def test_an_outdated_dismissal_is_refused_whatever_comes_beside_it(first: str) -> None:
    """The order of the keys means nothing."""

    async def asks_both(task: TaskContext) -> None:
        await asyncio.gather(task.ask("One?", key="one"), task.ask("Two?", key="two"))

    async with scene(asks_both) as here, here.host(answers=()) as host:
        round_ = await host.call("agent", GO)
        assert isinstance(round_, wire.InputRequiredResult)
        answer = Answer(ask="two", value="by them")
        await here.engine.answer((await only(here)).task_id, answer, owner=here.owner)
        said = {"one": accept(value="x"), "two": DISMISS}
        ordered = {key: said[key] for key in (first, "two" if first == "one" else "one")}
        with pytest.raises(MCPError, match="'two' is already answered"):
            await host.call("agent", GO, responses=ordered, state=round_.request_state)


async def test_an_update_that_dismisses_what_was_answered_is_ignored_and_told() -> None:
    """Whoever was quicker has answered."""
    async with scene(asks) as here, here.host(tasks=True, answers=()) as host:
        task_id = await host.created("agent", GO)
        await soon(here.asking(task_id))
        await host.update(task_id, {"who": raw(accept(value="me"))})
        ack = await host.update(task_id, {"who": raw(DISMISS)})
        assert ack.meta is not None
        assert ack.meta["interlock/ignored"] == {"who": "already answered"}
        assert (await here.record(task_id)).phase is Phase.RUNNING
        await host.cancel(task_id)


async def test_a_dismissal_that_is_sent_twice_is_one() -> None:
    """The answer to the first may have been lost."""
    async with scene(asks) as here, here.host(answers=()) as host:
        first = await host.call("agent", GO)
        assert isinstance(first, wire.InputRequiredResult)
        told = [
            await host.call("agent", GO, responses={"who": DISMISS}, state=first.request_state)
            for _ in range(2)
        ]
    assert [isinstance(one, wire.CallToolResult) and one.is_error for one in told] == [True, True]


# --- whose tokens -----------------------------------------------------------------------------


async def test_no_key_of_a_client_is_one_of_ours() -> None:
    """A call that took the token of an answer would keep that answer out."""
    other = {"message": "other"}
    async with scene(asks) as here, here.host(answers=()) as host:
        first = await host.call("agent", other)
        assert isinstance(first, wire.InputRequiredResult)
        task_id = (await only(here)).task_id
        for key in (f"mcp {task_id}/who", f"interlock:mcp {task_id}/who"):
            call = host.call("agent", GO, meta={"interlock/idempotencyKey": key})
            if key.startswith("interlock:"):
                with pytest.raises(MCPError, match="begins with 'interlock:'"):
                    await call
            else:
                assert isinstance(await call, wire.InputRequiredResult)
        result = await host.call(
            "agent", other, responses={"who": accept(value="me")}, state=first.request_state
        )
    assert isinstance(result, wire.CallToolResult)
    assert text(result) == "me"
