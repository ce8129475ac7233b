"""Headers that a message carries to the tools: those that are listed, and to nobody else."""

import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest
from a2a.server.context import ServerCallContext
from a2a.types import InvalidParamsError, TaskState
from pydantic import ValidationError

from a2a_faces import BINDINGS, FACES, SETTINGS, Faces, data, faced, message, refused
from interlock import Policies, Policy, TaskContext, Toolbox, ToolUse
from interlock.errors import ToolError
from interlock_adapters.a2a import A2ASettings
from interlock_adapters.a2a._carried import CARRIED, Carried, carried, carried_by

CANARY: Final = "sk-canary-55e1"
NAMES: Final = ("authorization", "x-session-id")
CARRIES: Final = SETTINGS.model_copy(update={"carry_headers": NAMES})


class Seen:
    """What the tool was told, call by call."""

    def __init__(self) -> None:
        self.carried: list[dict[str, str]] = []

    async def look(self, use: ToolUse) -> str:
        """Look at what is carried; the second time, fail."""
        self.carried.append(dict(use.carried))
        if len(self.carried) == 2:
            raise ToolError("not again")
        return "seen"


@pytest.fixture
async def seen() -> Seen:
    """Nothing yet."""
    return Seen()


@pytest.fixture
async def faces(seen: Seen) -> AsyncGenerator[Faces]:
    """An agent that calls the tool, waits, and calls it again."""

    async def agent(task: TaskContext) -> str:
        await task.call_tool("look")
        await task.ask("Go on?", key="on")
        await task.call_tool("look")
        return "done"

    tools = Toolbox([seen.look], policies=Policies({"look": Policy(show_errors=True)}))
    async with faced(agent, tools=tools, settings=CARRIES) as opened:
        yield opened


@pytest.mark.parametrize(("binding", "version"), FACES)
async def test_what_is_listed_reaches_the_tool_and_nothing_else_does(
    faces: Faces, seen: Seen, binding: str, version: str
) -> None:
    """Over every binding; an answer that brings a header anew brings it for what follows.

    Source: R-A2A-19.
    """
    ada = faces.peer(binding, version=version)
    first = {"authorization": f"Bearer {CANARY}", "x_session_id": "s1", "x_other": "o"}
    task = await ada.send(message("go"), **first)
    await ada.send(message("yes", task=task), authorization="Bearer new")
    assert seen.carried == [
        {"authorization": f"Bearer {CANARY}", "x-session-id": "s1"},
        {"authorization": "Bearer new", "x-session-id": "s1"},
    ]


@pytest.mark.parametrize("binding", BINDINGS)
async def test_what_is_carried_is_kept_nowhere_and_shown_to_nobody(
    faces: Faces, seen: Seen, binding: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the store, an event, an error or a log at its most talkative."""
    caplog.set_level(logging.DEBUG)
    ada = faces.peer(binding)
    carries = {"authorization": f"Bearer {CANARY}"}
    task = await ada.send(message("go"), **carries)
    wrong = message(data({"ask": "other", "value": 1}), task=task)
    told = await refused(faces, ada.send(wrong, **carries), InvalidParamsError)
    ended = await ada.send(message("yes", task=task), **carries)
    assert ended.status.state == TaskState.TASK_STATE_FAILED
    assert CANARY in str(seen.carried)
    kept = faces.world.store._tasks[task.id]
    assert CANARY not in str(kept) + str(faces.world.store.commits) + told + str(ended)
    # What a server or a client of ours writes; theirs may log what they themselves send.
    logged = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore", "hpack"))]
    assert CANARY not in "".join(f"{record.getMessage()} {record.exc_info}" for record in logged)


async def test_without_a_list_nothing_is_carried(seen: Seen) -> None:
    """As it comes, a credential stays at the door."""

    async def agent(task: TaskContext) -> str:
        return (await task.call_tool("look")).text

    async with faced(agent, tools=Toolbox([seen.look])) as faces:
        for binding in BINDINGS:
            seen.carried.clear()
            await faces.peer(binding).send(message("go"), authorization=CANARY)
            assert seen.carried == [{}]


def test_a_header_that_came_twice_is_joined_as_http_does() -> None:
    """Whoever reads it sees that there were two."""
    given = [("Authorization", "a"), ("x-other", "b"), ("AUTHORIZATION", "c")]
    assert dict(carried(given, NAMES)) == {"authorization": "a, c"}


def test_the_context_of_a_call_does_not_print_what_it_carries() -> None:
    """Libraries log contexts."""
    kept = Carried({"authorization": CANARY})
    context = ServerCallContext(state={CARRIED: kept})
    assert carried_by(context) == {"authorization": CANARY}
    assert len(kept) == 1
    printed = f"{context!r} {context} {kept} {[kept]}"
    assert "authorization" in printed
    assert CANARY not in printed
    assert carried_by(ServerCallContext(state={CARRIED: {"authorization": CANARY}})) == {}


@pytest.mark.parametrize("name", ["", "a b", "a:", "ä", 7])
def test_a_name_that_no_header_has_is_refused(name: Any) -> None:  # noqa: ANN401  whatever
    """It could never come, and somebody would wait for it."""
    with pytest.raises(ValidationError):
        A2ASettings(name="Tests", description="None.", carry_headers=(name,))


def test_names_are_kept_as_they_are_compared() -> None:
    """HTTP does not tell cases apart."""
    settings = A2ASettings(
        name="T", description="T", carry_headers=("Authorization", "X-Session-ID")
    )
    assert settings.carry_headers == NAMES
