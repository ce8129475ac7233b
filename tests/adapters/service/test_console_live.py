"""Pages that change while one looks: what their streams say, to whom, and when they end.

R-SVC-82 (live), R-SVC-83 (bounds and ends); T1, T23, T24.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import httpx

from console import shown
from interlock_adapters.console import Pulse
from interlock_adapters.console._live import STREAMS_MAX
from support import soon, until

T = TypeVar("T")


async def test_an_ask_comes_and_goes_in_the_inbox() -> None:
    """With the form that the page itself has.  Source: R-SVC-82."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        async with visitor.stream("/inbox/live") as stream:
            await stream.until("Nothing waits for you", "inbox-more")
            assert stream.status == httpx.codes.OK
            handle = await here.world.submit("room")
            record = await handle.rest()
            here.pulse.beat()
            card = await stream.until(handle.task_id, "inbox-cards")
            # The same card as the page has, with a form that works.
            page = (await visitor.get("/inbox")).text
            assert card.strip() in page
            await handle.approve(record.asks[0])
            here.pulse.beat()
            while handle.task_id in await stream.until("", "inbox-cards"):
                pass


async def test_changes_are_noticed_without_being_told() -> None:
    """Once for all who listen, and not at all while nobody does."""
    async with shown() as here:
        looks = 0
        let_go: asyncio.Queue[None] = asyncio.Queue()

        async def sleep(_: float) -> None:
            nonlocal looks
            looks += 1
            await let_go.get()

        pulse = Pulse(here.world.engine, sleep=sleep)
        assert looks == 0
        async with pulse.listening(), pulse.listening():
            await until(lambda: looks == 1)
            let_go.put_nowait(None)
            await until(lambda: looks == 2)
            assert pulse.beats == 0
            await (await here.world.submit("ask")).rest()
            let_go.put_nowait(None)
            assert await soon(pulse.after(0, 60)) == 1
        let_go.put_nowait(None)
        await asyncio.sleep(0)
        assert looks == 3


async def test_a_list_and_the_population_follow() -> None:
    """Filters stay as they are.  Source: R-SVC-82."""
    async with shown() as here:
        visitor = await here.visitor("otto")
        async with (
            visitor.stream("/tasks/live?phase=waiting_input") as tasks,
            visitor.stream("/lifecycle/live") as population,
        ):
            await tasks.until("No tasks", "task-list")
            await population.until("submitted", "population")
            handle = await here.world.submit("ask")
            await handle.rest()
            here.pulse.beat()
            await tasks.until(handle.task_id[:12], "task-list")
            assert 'class="state group-waiting populated"' in await population.until("1 now")


async def test_the_log_of_a_task_grows_and_its_path_is_lit_to_the_end() -> None:
    """No entry is left out or told twice.  Source: R-SVC-82."""
    async with shown() as here:
        visitor = await here.visitor("ada")
        handle = await here.world.submit("room")
        record = await handle.rest()
        async with visitor.stream(f"/tasks/{handle.task_id}/live?after={record.seq}") as stream:
            await stream.until("waiting auth", "task-state")
            await handle.approve(record.asks[0])
            rows = [await stream.until("<tr", "log-rows")]
            while f'id="event-{record.seq + 5}"' not in rows[-1]:
                rows.append(await stream.until("<tr", "log-rows"))
            numbers = [int(n) for row in rows for n in re.findall(r'id="event-(\d+)"', row)]
            assert numbers == list(range(record.seq + 1, record.seq + 6))
            assert "edge-running-completed" in await stream.until(" here", "task-path")
            while (event := await stream.next()) is not None and event[0] != "end":
                pass
            assert event == ("end", {})
            assert await stream.next() is None


async def test_a_stream_is_taken_up_where_it_broke_off() -> None:
    """By the id of the last event.  Source: R-SVC-82."""
    async with shown() as here:
        visitor = await here.visitor("ada")
        handle = await here.world.submit("say hello")
        await handle.over()
        headers = {"last-event-id": "2"}
        async with visitor.stream(f"/tasks/{handle.task_id}/live?after=0", **headers) as stream:
            assert 'id="event-3"' in await stream.until("<tr", "log-rows")
            assert stream.last_id == "3"


async def test_an_approver_is_told_when_a_task_is_not_theirs_to_see_any_more() -> None:
    """And nothing of what became of it.  Source: R-SVC-83, T1."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        handle = await here.world.submit("room")
        record = await handle.rest()
        async with visitor.stream(f"/tasks/{handle.task_id}/live?after={record.seq}") as stream:
            await stream.until("waiting auth", "task-state")
            await handle.approve(record.asks[0])
            await handle.over()
            events = [event async for event in _rest(stream.next)]
            assert events[-1] == ("end", {"gone": True})
            assert "Confirmation" not in repr(events)
            assert "phase completed" not in repr(events)


async def _rest(step: Callable[[], Awaitable[T | None]]) -> AsyncGenerator[T]:
    """Whatever still comes, to the end."""
    while (event := await step()) is not None:
        yield event


async def test_a_stream_ends_with_its_session_and_with_its_roles() -> None:
    """With the next look at the latest.  Source: R-SVC-83."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        async with visitor.stream("/inbox/live") as stream:
            await stream.until("Nothing waits")
            here.sessions.close(await here.session_of(visitor))
            here.pulse.beat()
            assert await stream.next() is None
        async with visitor.stream("/inbox/live") as stream:
            assert await stream.next() is None
            assert stream.status == httpx.codes.UNAUTHORIZED


async def test_streams_of_one_session_are_bounded() -> None:
    """Each is counted, and let go.  Source: R-SVC-83, T24."""
    async with shown() as here:
        visitor = await here.visitor("eve")
        session = await here.session_of(visitor)
        async with visitor.stream("/inbox/live") as stream:
            await stream.until("Nothing waits")
            assert session.streams == 1
            session.streams = STREAMS_MAX
            assert (await visitor.get("/inbox/live")).status_code == httpx.codes.TOO_MANY_REQUESTS
            session.streams = 1
        assert session.streams == 0


async def test_streams_end_when_the_service_stops() -> None:
    """A page that is open keeps no server.  Source: R-SVC-83."""
    async with shown() as here:
        visitor = await here.visitor("ada")
        handle = await here.world.submit("ask")
        await handle.rest()
        async with (
            visitor.stream("/inbox/live") as inbox,
            visitor.stream(f"/tasks/{handle.task_id}/live?after=0") as task,
        ):
            await inbox.until("Which city?")
            await task.until("Which city?", "task-asks")
            here.stopping.begin()
            for stream in (inbox, task):
                assert ("end", {}) not in [event async for event in _rest(stream.next)]
