"""Asking while the call is open: the handshake era."""

import asyncio
from functools import partial

import mcp_types as wire
import pytest
from mcp import MCPError
from pydantic import BaseModel

from interlock import Answer, Phase, TaskContext, TaskQuery
from mcp_face import DECLINE, DISMISS, Scene, accept, scene, text, tool
from support import pause, soon, until

GO = {"message": "go"}


class City(BaseModel):
    """Where to go."""

    city: str


async def travels(task: TaskContext) -> str:
    """Ask twice, one after the other."""
    first = await task.ask("Where from?", City, key="from")
    then = await task.ask("Where to?", City, key="to")
    return f"{first.city} to {then.city}"


async def test_questions_are_put_on_the_stream_of_the_call() -> None:
    """One after the other, and the call's result is the task's.  Source: R-MCP-05."""
    answers = [accept(city="Rome"), accept(city="Oslo")]
    async with scene(travels) as here, here.host("handshake", answers=answers) as host:
        result = await host.result("agent", GO)
    assert text(result) == "Rome to Oslo"
    assert [params.message for params in host.asked] == ["Where from?", "Where to?"]


async def test_an_answer_that_does_not_fit_is_asked_for_again() -> None:
    """With what was wrong."""
    answers = [accept(city=7), accept(city="Rome"), accept(city="Oslo")]
    async with scene(travels) as here, here.host("handshake", answers=answers) as host:
        result = await host.result("agent", GO)
    assert text(result) == "Rome to Oslo"
    assert "did not fit" in host.asked[1].message


async def test_what_somebody_else_answers_is_not_waited_for_any_more() -> None:
    """The question is taken back, and the next one is put.  Source: R-MCP-05."""
    async with scene(travels) as here, here.host("handshake", answers=()) as host:
        calling = asyncio.ensure_future(host.result("agent", GO))
        await until(lambda: len(host.asked) == 1)
        (record,) = (await here.engine.page(TaskQuery())).records
        for key, city in (("from", "Rome"), ("to", "Oslo")):
            answer = Answer(ask=key, value={"city": city})
            await here.engine.answer(record.task_id, answer, owner=here.owner)
            await pause()
        result = await soon(calling)
    assert text(result) == "Rome to Oslo"


@pytest.mark.parametrize("said", [DECLINE, DISMISS])
async def test_who_will_not_answer_gets_an_error_and_the_task_stops(
    said: wire.ElicitResult,
) -> None:
    """Two triggers, one end."""
    async with scene(travels) as here, here.host("handshake", answers=[said]) as host:
        result = await host.result("agent", GO)
        (record,) = (await here.engine.page(TaskQuery())).records
    assert result.is_error
    assert record.shown is Phase.CANCELLED


async def test_a_client_that_cannot_be_asked_is_told_so_and_the_task_is_cancelled() -> None:
    """It declared no elicitation."""
    async with scene(travels) as here, here.host("handshake") as host:
        with pytest.raises(MCPError, match="elicitation"):
            await host.call("agent", GO)
        (record,) = (await here.engine.page(TaskQuery())).records
        view = await soon(here.engine.over(record.task_id, owner=None))
    assert view.record.shown is Phase.CANCELLED


async def test_a_client_that_fails_to_ask_ends_the_call_and_the_task() -> None:
    """Its error is the call's."""
    answers = [MCPError(-32000, "the screen is off")]
    async with scene(travels) as here, here.host("handshake", answers=answers) as host:
        with pytest.raises(MCPError, match="screen"):
            await host.call("agent", GO)
        (record,) = (await here.engine.page(TaskQuery())).records
        view = await soon(here.engine.over(record.task_id, owner=None))
    assert view.record.shown is Phase.CANCELLED


async def test_with_a_console_a_call_waits_although_its_client_cannot_be_asked() -> None:
    """Somebody decides there."""
    async with (
        scene(travels, console_url="https://console.test/tasks/{task_id}") as here,
        here.host("handshake") as host,
    ):
        calling = asyncio.ensure_future(host.result("agent", GO))
        for key in ("from", "to"):
            await until(partial(_is_open, here, key))
            (record,) = (await here.engine.page(TaskQuery())).records
            await here.engine.answer(
                record.task_id, Answer(ask=key, value={"city": key}), owner=here.owner
            )
        result = await soon(calling)
    assert text(result) == "from to to"


def _is_open(here: Scene, key: str) -> bool:
    return key in _open(here)


def _open(here: Scene) -> list[str]:
    """Keys of what is open, of the only task."""
    runtime = here.engine._runtime
    assert runtime is not None
    return [ask.key for cell in runtime.writer.cells() for ask in cell.record.asks]


async def test_arguments_are_asked_for_before_there_is_a_task() -> None:
    """Live, in this era."""

    async def goes(task: TaskContext) -> str:
        return City.model_validate(task.input.data).city

    declared = tool("agent", input=City, ask_first=("city",))
    answers = [accept(city="Rome")]
    async with scene(goes, declared) as here, here.host("handshake", answers=answers) as host:
        result = await host.result("agent", {})
    assert text(result) == "Rome"


async def test_a_server_that_stops_waits_for_no_argument() -> None:
    """There is no task yet, and the caller hears when to come again.  Source: a stranger."""

    async def goes(task: TaskContext) -> str:
        return City.model_validate(task.input.data).city

    declared = tool("agent", input=City, ask_first=("city",))
    async with scene(goes, declared) as here, here.host("handshake", answers=[]) as host:
        calling = asyncio.ensure_future(host.result("agent", {}))
        await until(lambda: len(host.asked) == 1)
        here.stopping.begin()
        with pytest.raises(MCPError, match="call again when it is back") as caught:
            await soon(calling)
        assert here.engine.statistics().live == 0
    assert caught.value.data["reason"] == "not_accepting"


async def test_a_decision_that_decides_nothing_is_asked_for_again() -> None:
    """A form that comes back empty."""

    async def books(task: TaskContext) -> str:
        await task.authorize("book", {"seat": "1A"})
        return "booked"

    answers = [wire.ElicitResult(action="accept"), accept(decision="approve")]
    async with scene(books) as here, here.host("handshake", answers=answers) as host:
        result = await host.result("agent", GO)
    assert text(result) == "booked"
    assert len(host.asked) == 2
