"""Asking in rounds of `input_required` (2026-07-28), and what their state opens."""

import asyncio

import mcp_types as wire
import pytest
from mcp import MCPError
from pydantic import BaseModel

from interlock import Answer, Phase, TaskContext, TaskQuery
from interlock_adapters.mcp import McpSettings, mcp_server
from mcp_face import DECLINE, DISMISS, Host, accept, connected, scene, text, tool
from support import soon


class City(BaseModel):
    """Where to go."""

    city: str


class Trip(BaseModel):
    """A trip."""

    city: str
    nights: int


async def travels(task: TaskContext) -> str:
    """Ask twice, one after the other."""
    first = await task.ask("Where from?", City, key="from")
    then = await task.ask("Where to?", City, key="to")
    return f"{first.city} to {then.city}"


async def books(task: TaskContext) -> str:
    """Ask for leave."""
    arguments = await task.authorize("book", {"seat": "1A"}, allow_edit=True)
    return f"booked {arguments['seat']}"


GO = {"message": "go"}


async def asked(host: Host, name: str = "agent") -> wire.InputRequiredResult:
    """The first round."""
    result = await host.call(name, GO)
    assert isinstance(result, wire.InputRequiredResult), result
    return result


async def test_each_round_asks_what_is_open_and_the_last_is_the_result() -> None:
    """With another state each time."""
    async with scene(travels) as here, here.host(answers=()) as host:
        first = await asked(host)
        second = await host.call(
            "agent", GO, responses={"from": accept(city="Rome")}, state=first.request_state
        )
        assert isinstance(second, wire.InputRequiredResult)
        last = await host.call(
            "agent", GO, responses={"to": accept(city="Oslo")}, state=second.request_state
        )
    assert list(first.input_requests or {}) == ["from"]
    assert list(second.input_requests or {}) == ["to"]
    assert first.request_state != second.request_state
    assert isinstance(last, wire.CallToolResult)
    assert text(last) == "Rome to Oslo"


async def test_the_sdks_own_client_goes_through_all_rounds_by_itself() -> None:
    """What a host does who knows nothing of us."""
    answers = [accept(city="Rome"), accept(city="Oslo")]
    async with scene(travels) as here, here.host(answers=answers) as host:
        result = await soon(host.client.call_tool("agent", GO))
    assert isinstance(result, wire.CallToolResult)
    assert text(result) == "Rome to Oslo"
    assert [params.message for params in host.asked] == ["Where from?", "Where to?"]


async def test_the_same_round_once_more_changes_nothing_and_is_answered() -> None:
    """The answer to it may have been lost."""
    async with scene(travels) as here, here.host(answers=()) as host:
        first = await asked(host)
        said = {"from": accept(city="Rome")}
        second = await host.call("agent", GO, responses=said, state=first.request_state)
        again = await host.call("agent", GO, responses=said, state=first.request_state)
        tasks = await here.engine.page(TaskQuery())
    assert isinstance(second, wire.InputRequiredResult)
    assert isinstance(again, wire.InputRequiredResult)
    assert second.request_state == again.request_state
    assert tasks.total == 1


async def test_another_answer_to_what_was_answered_is_refused() -> None:
    """A round is used once."""
    async with scene(travels) as here, here.host(answers=()) as host:
        first = await asked(host)
        await host.call(
            "agent", GO, responses={"from": accept(city="Rome")}, state=first.request_state
        )
        with pytest.raises(MCPError) as caught:
            await host.call(
                "agent", GO, responses={"from": accept(city="Bonn")}, state=first.request_state
            )
        (record,) = (await here.engine.page(TaskQuery())).records
        view = await here.engine.view(record.task_id, owner=None)
    assert caught.value.code == wire.INVALID_PARAMS
    assert [e.data.get("value") for e in view.events if e.data.get("key") == "from"][-1] == {
        "city": "Rome"
    }


async def test_what_was_answered_elsewhere_is_refused_here() -> None:
    """The first valid answer wins, whatever way it came."""
    async with scene(travels) as here, here.host(answers=()) as host:
        first = await asked(host)
        (record,) = (await here.engine.page(TaskQuery())).records
        answer = Answer(ask="from", value={"city": "Kyiv"})
        await here.engine.answer(record.task_id, answer, owner=here.owner)
        with pytest.raises(MCPError, match="already answered") as caught:
            await host.call(
                "agent", GO, responses={"from": accept(city="Rome")}, state=first.request_state
            )
    assert caught.value.code == wire.INVALID_PARAMS


async def test_only_what_was_asked_in_a_round_is_answered_by_its_state() -> None:
    """A fabricated answer answers nothing: the question is put."""
    async with scene(travels) as here, here.host(answers=()) as host:
        early = {"from": accept(city="Rome"), "to": accept(city="Oslo")}
        first = await host.call("agent", GO, responses=early)
        assert isinstance(first, wire.InputRequiredResult)
        second = await host.call("agent", GO, responses=early, state=first.request_state)
    assert isinstance(second, wire.InputRequiredResult)
    assert list(second.input_requests or {}) == ["to"]


@pytest.mark.parametrize("spoilt", ["", "nonsense", "{}.1x", "{}", ".7", "{}.999999", "0{}.2"])
async def test_a_state_that_is_none_of_ours_opens_nothing(spoilt: str) -> None:
    """-32602, and the task waits on."""
    async with scene(travels) as here, here.host(answers=()) as host:
        await asked(host)
        (record,) = (await here.engine.page(TaskQuery())).records
        with pytest.raises(MCPError) as caught:
            await host.call(
                "agent",
                GO,
                responses={"from": accept(city="Rome")},
                state=spoilt.format(record.task_id),
            )
        after = await here.record(record.task_id)
    assert caught.value.code == wire.INVALID_PARAMS
    assert caught.value.data == {"reason": "invalid_request_state"}
    assert after.seq == record.seq


async def test_a_state_opens_nothing_to_another_principal_or_for_another_call() -> None:
    """It is bound to who was asked, and about what.  Source: R-MCP-04."""
    async with scene({"agent": travels, "other": travels}) as here, here.host(answers=()) as host:
        first = await asked(host)
        said = {"from": accept(city="Rome")}
        here.owner = "eve"
        with pytest.raises(MCPError, match="opens no call"):
            await host.call("agent", GO, responses=said, state=first.request_state)
        here.owner = "ada"
        with pytest.raises(MCPError, match="another call"):
            await host.call("other", GO, responses=said, state=first.request_state)
        with pytest.raises(MCPError, match="another call"):
            await host.call(
                "agent", {"message": "other"}, responses=said, state=first.request_state
            )
        kept = await host.call("agent", GO, responses=said, state=first.request_state)
    assert isinstance(kept, wire.InputRequiredResult)


async def test_a_call_with_more_than_its_message_goes_on() -> None:
    """Its form lets that through, and nothing of it becomes the task.  Source: R-MCP-04.

    The answer was once refused as that to another call, and the task waited for a day.
    """
    more = {**GO, "urgent": True}
    async with scene(travels) as here, here.host(answers=()) as host:
        first = await host.call("agent", more)
        assert isinstance(first, wire.InputRequiredResult)
        said = {"from": accept(city="Rome")}
        other = {"message": "other", "urgent": True}
        with pytest.raises(MCPError, match="another call"):
            await host.call("agent", other, responses=said, state=first.request_state)
        second = await host.call("agent", more, responses=said, state=first.request_state)
    assert isinstance(second, wire.InputRequiredResult)


async def test_a_round_outlives_the_server() -> None:
    """Another one, of the same store, takes the answer: a restart, or a second worker.

    Source: R-MCP-04.
    """
    async with scene(travels) as here:
        async with here.host(answers=()) as host:
            first = await asked(host)
        settings = McpSettings(name="Next", owner_of=lambda _request: here.owner)
        async with connected(mcp_server(here.engine, settings), answers=()) as host:
            second = await host.call(
                "agent", GO, responses={"from": accept(city="Rome")}, state=first.request_state
            )
    assert isinstance(second, wire.InputRequiredResult)


async def test_an_answer_that_does_not_fit_is_asked_for_again_with_what_is_wrong() -> None:
    """And then taken."""

    async def asks(task: TaskContext) -> int:
        trip = await task.ask("Where?", Trip, key="trip")
        return trip.nights

    async with scene(asks) as here, here.host(answers=()) as host:
        first = await asked(host)
        again = await host.call(
            "agent",
            GO,
            responses={"trip": accept(city="Rome", nights="two")},
            state=first.request_state,
        )
        assert isinstance(again, wire.InputRequiredResult)
        last = await host.call(
            "agent",
            GO,
            responses={"trip": accept(city="Rome", nights=2)},
            state=again.request_state,
        )
    params = (again.input_requests or {})["trip"].params
    assert isinstance(params, wire.ElicitRequestFormParams)
    assert "did not fit" in params.message
    assert "nights" in params.message
    assert isinstance(last, wire.CallToolResult)
    assert last.structured_content == {"result": 2}


async def test_partial_answers_leave_the_rest_to_be_asked() -> None:
    """Two questions at once, answered one by one."""

    async def asks(task: TaskContext) -> str:
        one, two = await asyncio.gather(
            task.ask("One?", City, key="one"), task.ask("Two?", City, key="two")
        )
        return f"{one.city} {two.city}"

    async with scene(asks) as here, here.host(answers=()) as host:
        first = await asked(host)
        second = await host.call(
            "agent", GO, responses={"two": accept(city="B")}, state=first.request_state
        )
        assert isinstance(second, wire.InputRequiredResult)
        last = await host.call(
            "agent", GO, responses={"one": accept(city="A")}, state=second.request_state
        )
    assert set(first.input_requests or {}) == {"one", "two"}
    assert set(second.input_requests or {}) == {"one"}
    assert isinstance(last, wire.CallToolResult)
    assert text(last) == "A B"


async def test_declining_stops_the_task_and_is_told_in_the_result() -> None:
    """A person who will not answer, where the agent has no default.  Source: R-MCP-06."""
    async with scene(travels) as here, here.host(answers=()) as host:
        first = await asked(host)
        last = await host.call("agent", GO, responses={"from": DECLINE}, state=first.request_state)
        (record,) = (await here.engine.page(TaskQuery())).records
    assert isinstance(last, wire.CallToolResult)
    assert last.is_error
    assert record.shown is Phase.CANCELLED


async def test_declining_gives_the_default_where_there_is_one() -> None:
    """The agent goes on with it."""

    async def asks(task: TaskContext) -> str:
        return await task.ask("Where?", str, default="home")

    async with scene(asks) as here, here.host(answers=()) as host:
        first = await asked(host)
        (key,) = first.input_requests or {}
        last = await host.call("agent", GO, responses={key: DECLINE}, state=first.request_state)
    assert isinstance(last, wire.CallToolResult)
    assert text(last) == "home"


async def test_dismissing_a_question_cancels_the_task() -> None:
    """The third of three triggers.  Source: R-MCP-06."""
    async with scene(travels) as here, here.host(answers=()) as host:
        first = await asked(host)
        last = await host.call("agent", GO, responses={"from": DISMISS}, state=first.request_state)
        (record,) = (await here.engine.page(TaskQuery())).records
        view = await here.engine.view(record.task_id, owner=None)
    assert isinstance(last, wire.CallToolResult)
    assert last.is_error
    assert any(event.trigger == "cancel" for event in view.events)


async def test_an_authorisation_is_a_form_that_shows_what_would_run() -> None:
    """Approved as it is, edited, or denied."""
    async with scene({"agent": books}) as here, here.host(answers=()) as host:
        for said, expected in (
            (accept(decision="approve"), "booked 1A"),
            (accept(decision="approve", arguments='{"seat": "2B"}'), "booked 2B"),
        ):
            first = await asked(host)
            ((key, request),) = (first.input_requests or {}).items()
            params = request.params
            assert isinstance(params, wire.ElicitRequestFormParams)
            assert "book" in params.message
            assert "1A" in params.message
            last = await host.call("agent", GO, responses={key: said}, state=first.request_state)
            assert isinstance(last, wire.CallToolResult)
            assert text(last) == expected
        first = await asked(host)
        (key,) = first.input_requests or {}
        denied = await host.call(
            "agent", GO, responses={key: accept(decision="deny")}, state=first.request_state
        )
    assert isinstance(denied, wire.CallToolResult)
    assert denied.is_error


async def test_a_client_that_cannot_be_asked_is_told_so_and_the_task_is_cancelled() -> None:
    """-32021: nobody could ever answer."""
    async with scene(travels) as here, here.host() as host:
        with pytest.raises(MCPError) as caught:
            await host.call("agent", GO)
        (record,) = (await here.engine.page(TaskQuery())).records
        view = await soon(here.engine.over(record.task_id, owner=None))
    assert caught.value.code == wire.MISSING_REQUIRED_CLIENT_CAPABILITY
    assert caught.value.data == {"requiredCapabilities": {"elicitation": {}}}
    assert view.record.shown is Phase.CANCELLED


async def test_arguments_that_are_asked_for_first_make_the_task_once_they_are_there() -> None:
    """A round without a state: there is nothing to come back to yet."""

    async def goes(task: TaskContext) -> str:
        return f"{Trip.model_validate(task.input.data)!r}"

    declared = tool("agent", input=Trip, ask_first=("city",))
    async with scene(goes, declared) as here, here.host(answers=()) as host:
        (listed,) = (await soon(host.client.list_tools())).tools
        first = await host.call("agent", {"nights": 2})
        none_yet = await here.engine.page(TaskQuery())
        assert isinstance(first, wire.InputRequiredResult)
        wrong = await host.call("agent", {"nights": 2}, responses={"arguments": accept(city=7)})
        last = await host.call("agent", {"nights": 2}, responses={"arguments": accept(city="Rome")})
        declined = await host.call("agent", {"nights": 2}, responses={"arguments": DECLINE})
        tasks = await here.engine.page(TaskQuery())
    assert listed.input_schema["required"] == ["nights"]
    assert first.request_state is None
    params = (first.input_requests or {})["arguments"].params
    assert isinstance(params, wire.ElicitRequestFormParams)
    assert list(params.requested_schema["properties"]) == ["city"]
    assert none_yet.total == 0
    assert isinstance(wrong, wire.InputRequiredResult)
    assert isinstance(last, wire.CallToolResult)
    assert "Rome" in text(last)
    assert isinstance(declined, wire.CallToolResult)
    assert declined.is_error
    assert tasks.total == 1


async def test_with_a_console_an_authorisation_sends_people_there_and_waits() -> None:
    """To have been there decides nothing; what is decided there does."""
    address = "https://console.test/tasks/{task_id}"
    async with (
        scene({"agent": books}, console_url=address) as here,
        here.host(answers=()) as host,
    ):
        first = await asked(host)
        ((key, request),) = (first.input_requests or {}).items()
        params = request.params
        assert isinstance(params, wire.ElicitRequestURLParams)
        (record,) = (await here.engine.page(TaskQuery())).records
        assert params.url == f"https://console.test/tasks/{record.task_id}"
        been = wire.ElicitResult(action="accept")
        again = await host.call("agent", GO, responses={key: been}, state=first.request_state)
        assert isinstance(again, wire.InputRequiredResult)
        handle = await here.engine.task(record.task_id, owner=None)
        (ask,) = record.asks
        await handle.approve(ask)
        last = await host.call("agent", GO, state=again.request_state)
    assert isinstance(last, wire.CallToolResult)
    assert text(last) == "booked 1A"


async def test_an_answer_beside_one_that_stops_the_task_is_no_error() -> None:
    """The round comes to the end of the task."""

    async def asks(task: TaskContext) -> str:
        one, two = await asyncio.gather(task.ask("A?", key="a"), task.ask("B?", key="b"))
        return one + two

    async with scene(asks) as here, here.host(answers=()) as host:
        first = await asked(host)
        said = {"a": DECLINE, "b": accept(value="y")}
        last = await host.call("agent", GO, responses=said, state=first.request_state)
    assert isinstance(last, wire.CallToolResult)
    assert last.is_error
