"""ListTasks: filters, order, pages."""

from collections.abc import AsyncGenerator

import pytest
from a2a.types import InvalidParamsError, ListTasksRequest, Task, TaskState

from a2a_faces import BINDINGS, Faces, asks_of, data, faced, message, refused, travel


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
    """Newest change first; a time that was shown finds the task that it was shown with."""
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
    """Every task once, though one changes between two pages; the last page says so."""
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
