"""What asks for a secret is no form's to ask: R-MCP-15."""

import asyncio

import mcp_types as wire
import pytest
from mcp import MCPError
from pydantic import BaseModel, SecretStr

from interlock import Answer, JsonObject, Phase, TaskContext, TaskQuery
from interlock.errors import InvalidInput
from interlock_adapters.mcp._fields import wants_secret
from mcp_face import accept, scene, text, tool
from support import soon

GO = {"message": "go"}
PAGE = "https://console.test/tasks/{task_id}"


class Login(BaseModel):
    """Who goes in."""

    name: str
    password: SecretStr


async def enters(task: TaskContext) -> str:
    """Ask for a name and a password."""
    login = await task.ask("Who are you?", Login, key="login")
    return f"in: {login.name}, {len(login.password.get_secret_value())}"


@pytest.mark.parametrize(
    ("schema", "is_one"),
    [
        ({"type": "string", "format": "password"}, True),
        ({"type": "string", "writeOnly": True}, True),
        ({"type": "object", "properties": {"a": {"anyOf": [{"writeOnly": True}]}}}, True),
        ({"$defs": {"Key": {"format": "password"}}, "$ref": "#/$defs/Key"}, True),
        ({"type": "string", "writeOnly": False, "format": "email"}, False),
        ({"type": "object", "properties": {"password": {"type": "string"}}}, False),
    ],
)
def test_a_secret_is_what_is_marked_as_one(schema: JsonObject, *, is_one: bool) -> None:
    """Wherever it stands; a name says nothing."""
    assert wants_secret(schema) is is_one


async def test_without_a_page_nobody_is_asked_for_a_secret_and_the_call_ends() -> None:
    """In both eras the client is told; the form is never sent."""
    async with scene(enters) as here:
        async with here.host("handshake", answers=()) as host:
            with pytest.raises(MCPError):
                await host.call("agent", GO)
            assert host.asked == []
        async with here.host(answers=()) as host:
            with pytest.raises(MCPError):
                await host.call("agent", GO)
            assert host.asked == []
        for record in (await here.engine.page(TaskQuery())).records:
            view = await soon(here.engine.over(record.task_id, owner=None))
            assert view.record.shown is Phase.CANCELLED


async def test_with_a_page_people_are_sent_there_and_the_answer_flows_back() -> None:
    """To have been there is no answer; what is said there is."""
    async with scene({"agent": enters}, console_url=PAGE) as here, here.host(answers=()) as host:
        first = await host.call("agent", GO)
        assert isinstance(first, wire.InputRequiredResult)
        ((key, request),) = (first.input_requests or {}).items()
        assert isinstance(request.params, wire.ElicitRequestURLParams)
        assert "secret" in request.params.message
        been = wire.ElicitResult(action="accept")
        again = await host.call("agent", GO, responses={key: been}, state=first.request_state)
        assert isinstance(again, wire.InputRequiredResult)
        (record,) = (await here.engine.page(TaskQuery())).records
        said = Answer(ask="login", value={"name": "ada", "password": "12345"})
        await here.engine.answer(record.task_id, said, owner=here.owner)
        last = await host.call("agent", GO, state=again.request_state)
    assert isinstance(last, wire.CallToolResult)
    assert text(last) == "in: ada, 5"


async def test_what_is_no_secret_is_still_asked_beside_one() -> None:
    """Only the secret is for the page."""

    async def both(task: TaskContext) -> str:
        login, city = await asyncio.gather(
            task.ask("Who?", Login, key="login"), task.ask("Where?", key="city")
        )
        return f"{login.name} {city}"

    async with scene({"agent": both}) as here, here.host(answers=()) as host:
        first = await host.call("agent", GO)
        assert isinstance(first, wire.InputRequiredResult)
        assert set(first.input_requests or {}) == {"city"}
        await here.engine.drain()


async def test_arguments_that_are_secrets_are_not_asked_for_first() -> None:
    """Said when the service is made."""
    declared = tool("agent", input=Login, ask_first=("password",))
    with pytest.raises(InvalidInput, match="secret"):
        async with scene(enters, declared):
            raise AssertionError("it was made")


async def test_a_field_of_a_form_that_no_secret_is_in_is_a_field() -> None:
    """An ordinary form is as it was."""

    async def asks(task: TaskContext) -> str:
        return str(await task.ask("Where?", key="city"))

    async with scene(asks) as here, here.host("handshake", answers=[accept(value="Rome")]) as host:
        assert text(await host.result("agent", GO)) == "Rome"
