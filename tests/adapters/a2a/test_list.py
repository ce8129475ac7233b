"""ListTasks: filters, order, pages."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from a2a.server.context import ServerCallContext
from a2a.types import InvalidParamsError, ListTasksRequest, Task, TaskState

from a2a_faces import BINDINGS, JSONRPC, Faces, asks_of, data, faced, message, refused, travel
from interlock import Event, JsonValue, Limits, TaskContext
from interlock.errors import StoreCorrupt
from interlock_adapters.a2a._list import PAGE_BYTES_MAX
from interlock_adapters.a2a._operations import Operations
from support import FlakyStore, pause, soon


@pytest.fixture
async def faces() -> AsyncGenerator[Faces]:
    """The travel agent, over every binding."""
    async with faced(travel) as opened:
        yield opened


async def some_tasks(faces: Faces) -> dict[str, Task]:
    """One task in each of several states, a second apart, oldest first."""
    ada = faces.peer(BINDINGS[0])
    tasks: dict[str, Task] = {}
    for name in ("input", "auth", "cancelled", "done"):
        task = await ada.send(message("a trip, please", context_id=f"context of {name[0]}"))
        if name in {"auth", "done"}:
            task = await ada.send(message(data({"name": "Oslo"}), task=task))
        if name == "done":
            (ask,) = asks_of(task)
            decision = {"ask": ask["ask"], "digest": ask["digest"], "decision": "approve"}
            task = await ada.send(message(data(decision), task=task))
        if name == "cancelled":
            task = await ada.cancel(task.id)
        tasks[name] = task
        await faces.world.elapse(1.0)
    return tasks


@pytest.mark.parametrize("binding", BINDINGS)
async def test_tasks_are_found_by_state_context_and_time(faces: Faces, binding: str) -> None:
    """Newest change first; a time that was shown finds the task that it was shown with.

    Source: R-A2A-11.
    """
    tasks = await some_tasks(faces)
    names = {task.id: name for name, task in tasks.items()}
    ada = faces.peer(binding)

    async def found(request: ListTasksRequest) -> list[str]:
        return [names[task.id] for task in (await ada.list(request)).tasks]

    assert await found(ListTasksRequest()) == ["done", "cancelled", "auth", "input"]
    waiting = ListTasksRequest(status=TaskState.TASK_STATE_AUTH_REQUIRED)
    assert await found(waiting) == ["auth"]
    assert await found(ListTasksRequest(status=TaskState.TASK_STATE_FAILED)) == []
    assert await found(ListTasksRequest(context_id="context of i")) == ["input"]
    since = ListTasksRequest(status_timestamp_after=tasks["cancelled"].status.timestamp)
    assert await found(since) == ["done", "cancelled"]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_listed_tasks_are_as_they_are_read(faces: Faces, binding: str) -> None:
    """Artifacts only when asked for, history as long as asked for."""
    tasks = await some_tasks(faces)
    ada = faces.peer(binding)
    whole = (await ada.list(ListTasksRequest(include_artifacts=True))).tasks
    assert list(whole) == [await ada.get(task.id) for task in reversed(tasks.values())]
    bare = (await ada.list(ListTasksRequest(history_length=1))).tasks
    assert not any(task.artifacts for task in bare)
    assert all(len(task.history) <= 1 for task in bare)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_pages_follow_each_other(faces: Faces, binding: str) -> None:
    """Every task once, though one changes between two pages; the last page says so.

    Source: R-A2A-11.
    """
    tasks = await some_tasks(faces)
    ada = faces.peer(binding)
    seen: list[str] = []
    token = ""
    while True:
        page = await ada.list(ListTasksRequest(page_size=1, page_token=token))
        assert (page.page_size, page.total_size) == (1, 4)
        seen += [task.id for task in page.tasks]
        token = page.next_page_token
        if not token:
            break
    assert seen == [task.id for task in reversed(tasks.values())]


class CountingStore(FlakyStore):
    """Knows of which tasks the events were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        self.read.append(task_id)
        return await super().events(task_id, after, limit)


async def test_a_page_ends_where_it_becomes_too_large() -> None:
    """With a token that goes on right there; what is not shown is not read.  Source: R-A2A-11."""
    size, tasks_max = 1_000_000, PAGE_BYTES_MAX // 1_000_000 + 1
    store = CountingStore()
    made: list[str] = []
    async with faced(travel, store=store) as faces:
        ada = faces.peer(JSONRPC)
        for n in range(tasks_max + 3):
            made.append((await ada.send(message(f"{n:0{size}}"))).id)
            await faces.world.elapse(1.0)
        store.read.clear()
        first = await ada.list(ListTasksRequest(page_size=100))
        assert [task.id for task in first.tasks] == made[::-1][:tasks_max]
        assert (first.page_size, first.total_size) == (100, len(made))
        assert len(set(store.read)) <= tasks_max
        rest = await ada.list(ListTasksRequest(page_token=first.next_page_token))
        assert [task.id for task in rest.tasks] == made[::-1][tasks_max:]
        assert rest.next_page_token == ""
        # What the page leaves out of a task does not count.
        bare = await ada.list(ListTasksRequest(history_length=0))
        assert [task.id for task in bare.tasks] == made[::-1]


async def huge(task: TaskContext) -> None:
    """Shows its input over and over."""
    for n in range(PAGE_BYTES_MAX // 1_000_000 + 1):
        await task.emit(task.input.text, artifact_id=f"copy {n}")


async def test_a_task_that_is_a_page_too_large_is_shown_alone() -> None:
    """Every page has a task, so that a reader gets on; the last page still says so."""
    size = 1_000_000
    async with faced(huge) as faces:
        ada = faces.peer(JSONRPC)
        made: list[str] = []
        for _ in range(2):
            made.append((await ada.send(message("x" * size))).id)
            await faces.world.elapse(1.0)
        request = ListTasksRequest(include_artifacts=True)
        first = await ada.list(request)
        assert [task.id for task in first.tasks] == made[1:]
        request.page_token = first.next_page_token
        last = await ada.list(request)
        assert ([task.id for task in last.tasks], last.next_page_token) == (made[:1], "")


async def test_others_are_served_while_a_page_is_made() -> None:
    """Also when the store never waits: one task at a time."""
    async with faced(travel) as faces:
        anybody = faces.peer(JSONRPC, "")
        for n in range(10):
            await anybody.send(message(f"trip {n}"))
        turn = 0

        async def others() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        served = asyncio.create_task(others())
        await pause()
        before = turn
        try:
            operations = Operations(faces.world.engine, faces.settings)
            await operations.list_tasks(ListTasksRequest(), ServerCallContext())
        finally:
            served.cancel()
        assert turn - before >= 10


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_page_token_is_for_its_own_query(faces: Faces, binding: str) -> None:
    """Another's, another filter's and a made up one are refused."""
    await some_tasks(faces)
    page = await faces.peer(binding).list(ListTasksRequest(page_size=1))
    token = page.next_page_token
    other = faces.peer(binding, "bob").list(ListTasksRequest(page_token=token))
    await refused(faces, other, InvalidParamsError)
    filtered = ListTasksRequest(page_token=token, status=TaskState.TASK_STATE_WORKING)
    await refused(faces, faces.peer(binding).list(filtered), InvalidParamsError)
    for forged in ("x", "W10", token[:-4], "e30"):
        call = faces.peer(binding).list(ListTasksRequest(page_token=forged))
        await refused(faces, call, InvalidParamsError)


async def echo(task: TaskContext) -> str:
    """Says what it was told."""
    return task.input.text


@pytest.mark.parametrize("error", [StoreCorrupt("event 2 cannot be read"), None])
async def test_a_task_that_cannot_be_read_hides_no_other(error: StoreCorrupt | None) -> None:
    """Not one whose log is spoilt, or which another process purged.  Source: a second review."""
    store = FlakyStore()
    async with faced(echo, store=store) as faces:
        ada = faces.peer(JSONRPC)
        made: list[str] = []
        for _ in range(3):
            made.append((await ada.send(message("a trip"))).id)
            await faces.world.elapse(1.0)
        faces.world.grows_cold()
        if error is None:
            gate = store.hold("get")
            listing = asyncio.ensure_future(ada.list(ListTasksRequest()))
            await gate.reached()
            del store._tasks[made[2]]
            gate.open()
            page = await soon(listing)
        else:
            store.fail("events", error)
            page = await ada.list(ListTasksRequest())
        assert [task.id for task in page.tasks] == [made[1], made[0]]


async def patient(task: TaskContext) -> str:
    """Asks what may be answered in any age."""
    return await task.ask("When?", expires_s=1e12)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_task_that_no_calendar_ends_hides_no_other(binding: str) -> None:
    """It is shown as well, with the last second that there is.  Source: I37, a stranger."""
    async with faced(patient, limits=Limits(task_s=1e13)) as faces:
        ada = faces.peer(binding)
        asked = await ada.send(message("now"))
        (ask,) = asks_of(asked)
        assert ask["due"] == "9999-12-31T23:59:59Z"
        assert asked.metadata.fields["interlock/due"].string_value == ask["due"]
        assert [task.id for task in (await ada.list(ListTasksRequest())).tasks] == [asked.id]


@pytest.mark.parametrize("kept", [{"extensions": 5}, {"reference_task_ids": [1]}, 5, None])
async def test_what_another_face_kept_under_our_name_is_no_harm(kept: JsonValue) -> None:
    """Callers of the engine name their metadata as they like.  Source: a stranger's review."""
    async with faced(echo) as faces:
        handle = await faces.world.engine.submit("x", owner="ada", metadata={"a2a": kept})
        for binding in BINDINGS:
            ada = faces.peer(binding)
            assert (await ada.get(handle.task_id)).id == handle.task_id
            assert len((await ada.list(ListTasksRequest())).tasks) == 1


async def test_a_task_that_is_purged_while_its_log_is_read_is_not_listed() -> None:
    """Nor a nameless one in its place.  Source: a second review."""
    store = FlakyStore()
    async with faced(echo, store=store) as faces:
        ada = faces.peer(JSONRPC)
        made: list[str] = []
        for _ in range(2):
            made.append((await ada.send(message("a trip"))).id)
            await faces.world.elapse(1.0)
        faces.world.grows_cold()
        gate = store.hold("events")
        listing = asyncio.ensure_future(ada.list(ListTasksRequest()))
        await gate.reached()
        del store._tasks[made[1]]
        gate.open()
        assert [task.id for task in (await soon(listing)).tasks] == made[:1]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_context_that_can_be_of_no_task_is_named(faces: Faces, binding: str) -> None:
    """The error says which field it is, and ListTasks has no parts.  Source: A2A 1.0 §3.3.2."""
    call = faces.peer(binding).list(ListTasksRequest(context_id="x" * 1_025))
    assert "context_id: " in await refused(faces, call, InvalidParamsError)
