"""What a server asks for becomes a question of the task, and the answer flows back."""

import asyncio
import json
from typing import Annotated, Any

import mcp_types as wire
import pytest
from mcp.server.mcpserver import Context, Elicit, Resolve
from mcp.shared.exceptions import UrlElicitationRequiredError
from pydantic import BaseModel

from interlock import JsonObject, JsonValue, ToolResult, Unfinished
from interlock.errors import Denied, ToolError
from interlock.testing import ManualClock
from interlock_adapters.mcp_testing import ScriptedMcp
from interlock_adapters.mcp_tools import McpServer
from interlock_adapters.mcp_tools._ask import question_of
from mcp_servers import RecordingUse, called, cancelled, described, opened, raw_server, tool
from mcp_servers import text as said
from support import soon

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
DECLINE = {
    "type": "object",
    "properties": {"decline": {"const": True}},
    "required": ["decline"],
    "additionalProperties": False,
}


class City(BaseModel):
    """Where to go."""

    city: str


def elicit(
    message: str = "Which city?", schema: dict[str, Any] | None = None
) -> wire.ElicitRequest:
    """A question with a form."""
    params = wire.ElicitRequestFormParams(message=message, requested_schema=schema or CITY)
    return wire.ElicitRequest(params=params)


def page(url: str) -> wire.ElicitRequest:
    """A question by URL."""
    return wire.ElicitRequest(params=wire.ElicitRequestURLParams(message="Log in", url=url))


class Asking:
    """A modern server whose tool ends each call as the script says, and notes what came."""

    def __init__(self, *script: wire.CallToolResult | wire.InputRequiredResult) -> None:
        self.script = list(script)
        self.seen: list[tuple[JsonObject, str | None]] = []
        self.source = McpServer(
            "travel",
            server=raw_server([[described("book")]], self._call),
            era="modern",
            clock=(clock := ManualClock()),
        )
        self.clock = clock

    async def _call(
        self, params: wire.CallToolRequestParams
    ) -> wire.CallToolResult | wire.InputRequiredResult:
        responses = {
            key: response.model_dump(mode="json", exclude_none=True, include={"action", "content"})
            for key, response in (params.input_responses or {}).items()
        }
        self.seen.append((json.loads(json.dumps(responses)), params.request_state))
        return self.script.pop(0)

    async def begin(self) -> Unfinished:
        """The first leg."""
        outcome = await soon(self.source.call(tool(self.source, "book"), {"a": 1}, RecordingUse()))
        assert isinstance(outcome, Unfinished)
        return outcome

    async def go_on(self, before: Unfinished, **answers: JsonValue) -> ToolResult | Unfinished:
        """The next leg, in what might be another process: the token goes through JSON."""
        token = json.loads(json.dumps(before.token))
        leg = self.source.go_on(tool(self.source, "book"), {"a": 1}, token, answers, RecordingUse())
        return await soon(leg)


def asks(state: str | None = None, **requests: wire.InputRequest) -> wire.InputRequiredResult:
    """An answer that wants input."""
    return wire.InputRequiredResult(input_requests=requests or None, request_state=state)


async def test_a_modern_server_asks_and_the_call_is_sent_again_with_the_answer() -> None:
    """`input_required`, then the same call with responses and state.

    Source: MCP MRTR, R-SRC-04.
    """
    server = Asking(asks("s1", city=elicit()), said("to Oslo"))
    async with opened(server.source):
        first = await server.begin()
        question = first.questions["city"]
        assert question.prompt == "travel asks: Which city?"
        assert question.form == {"anyOf": [CITY, DECLINE]}
        assert not first.repeatable
        result = await server.go_on(first, city={"city": "Oslo"})
    assert isinstance(result, ToolResult)
    assert result.text == "to Oslo"
    accepted = {"city": {"action": "accept", "content": {"city": "Oslo"}}}
    assert server.seen == [({}, None), (accepted, "s1")]


async def test_a_person_can_decline_every_question() -> None:
    """The third of the answers of MCP, `cancel`, is for what nobody answered.  Source: ours."""
    server = Asking(asks("s", a=elicit(), b=elicit()), said("fine"))
    async with opened(server.source):
        first = await server.begin()
        await server.go_on(first, a={"decline": True})
    assert server.seen[1] == ({"a": {"action": "decline"}, "b": {"action": "cancel"}}, "s")


async def test_a_form_that_has_a_decline_of_its_own_is_declined_otherwise() -> None:
    """Whatever the server names its fields, a refusal stays one.  Source: ours."""
    own: dict[str, Any] = {"type": "object", "properties": {"decline": {"type": "boolean"}}}
    server = Asking(asks("s", a=elicit(schema=own)), said("fine"))
    async with opened(server.source):
        first = await server.begin()
        assert "decline_" in json.dumps(first.questions["a"].form)
        await server.go_on(first, a={"decline": True})
    assert server.seen[1][0] == {"a": {"action": "accept", "content": {"decline": True}}}


def test_definitions_of_a_form_stay_where_its_references_look() -> None:
    """References point at the root.  Source: JSON schema."""
    own: dict[str, Any] = {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/C"}},
        "$defs": {"C": {"type": "string"}},
    }
    params = wire.ElicitRequestFormParams(message="Which city?", requested_schema=own)
    question, _ = question_of("travel", "city", params)
    assert question.form["$defs"] == {"C": {"type": "string"}}


def test_a_form_that_is_no_json_is_refused() -> None:
    """It could not be kept, nor shown.  Source: ours."""
    own: dict[str, Any] = {"properties": {"a": {"minimum": float("nan")}}}
    params = wire.ElicitRequestFormParams(message="How much?", requested_schema=own)
    with pytest.raises(ToolError, match="'shop' asks with what is no form"):
        question_of("shop", "amount", params)


async def test_a_server_that_only_wants_to_be_asked_again_is_after_a_while() -> None:
    """State and no questions; the pauses grow.  Source: MCP MRTR, load shedding."""
    server = Asking(asks("s1"), asks("s2"), said("done"))
    async with opened(server.source):
        first = await server.begin()
        assert first.questions == {}
        going = asyncio.create_task(server.go_on(first))
        await soon(server.clock.until_armed())
        server.clock.advance(0.1)
        second = await soon(going)
        assert isinstance(second, Unfinished)
        going = asyncio.create_task(server.go_on(second))
        await soon(server.clock.until_armed())
        server.clock.advance(0.1)
        assert not going.done()
        server.clock.advance(0.1)
        result = await soon(going)
    assert isinstance(result, ToolResult)
    assert [state for _, state in server.seen] == [None, "s1", "s2"]


async def test_a_server_can_ask_twice_and_under_any_name() -> None:
    """Its names are its own; ours are plain.  Source: ours."""
    server = Asking(asks("s1", a=elicit()), asks("s2", **{"x" * 500: elicit()}), said("done"))
    async with opened(server.source):
        second = await server.go_on(await server.begin(), a={"city": "Rome"})
        assert isinstance(second, Unfinished)
        (name,) = second.questions
        assert len(name) < 64
        answer: JsonObject = {name: {"city": "Oslo"}}
        await server.go_on(second, **answer)
    assert list(server.seen[2][0]) == ["x" * 500]


async def test_a_page_is_shown_as_its_address_and_wants_to_be_done() -> None:
    """URL mode: no content comes back.  Source: MCP elicitation, url mode."""
    server = Asking(asks("s", login=page("https://id.test/in?x=1")), said("in"))
    async with opened(server.source):
        first = await server.begin()
        question = first.questions["login"]
        assert question.prompt == "travel asks: Log in\nhttps://id.test/in?x=1"
        await server.go_on(first, login={"done": True})
    assert server.seen[1][0] == {"login": {"action": "accept"}}


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (wire.ListRootsRequest(), "wants roots/list"),
        (
            wire.CreateMessageRequest(
                params=wire.CreateMessageRequestParams(messages=[], max_tokens=1)
            ),
            "wants sampling/createMessage",
        ),
        (page("javascript:alert(1)"), "no web page"),
        (elicit("x" * 20_000), "more than a person can read"),
    ],
)
async def test_what_is_no_question_for_a_person_is_refused(
    request_: wire.InputRequest, why: str
) -> None:
    """No language model is lent, and no list of folders.  Source: issue 4."""
    server = Asking(asks("s", it=request_))
    async with opened(server.source):
        with pytest.raises(ToolError, match=f"'travel'.*{why}"):
            await server.begin()


async def test_questions_without_end_are_refused() -> None:
    """Thirty-two at once are no dialogue.  Source: ours."""
    server = Asking(asks("s", **{f"q{n}": elicit() for n in range(33)}))
    async with opened(server.source):
        with pytest.raises(ToolError, match="more than 32"):
            await server.begin()


async def test_a_token_of_something_else_is_refused() -> None:
    """What is in the log may be of another version.  Source: ours."""
    server = Asking()
    async with opened(server.source):
        with pytest.raises(ToolError, match="not of an MCP call"):
            await server.go_on(Unfinished(token={"kind": "unheard"}))


async def test_a_portable_server_asks_in_the_modern_way() -> None:
    """The SDK's own `Resolve`, sealed state and all.  Source: SDK."""
    server = ScriptedMcp("travel")

    async def which() -> Elicit[City]:
        return Elicit("Which city?", City)

    @server.mcp.tool()
    async def book(city: Annotated[City, Resolve(which)]) -> str:
        return f"to {city.city}"

    async with opened(server.source()) as source:
        first = await soon(source.call(tool(source, "book"), {}, RecordingUse()))
        assert isinstance(first, Unfinished)
        (name,) = first.questions
        answers: JsonObject = {name: {"city": "Oslo"}}
        leg = source.go_on(tool(source, "book"), {}, first.token, answers, RecordingUse())
        result = await soon(leg)
    assert isinstance(result, ToolResult)
    assert result.text == "to Oslo"


# --- the handshake era: questions while the call is open --------------------------------


def live() -> ScriptedMcp:
    """A server that asks for a city while the call is open."""
    server = ScriptedMcp("travel")

    @server.mcp.tool()
    async def book(ctx: Context, name: str = "") -> str:
        answer = await ctx.elicit(f"Which city{name}?", City)
        return f"{name}:{answer.action}" + (
            f":{answer.data.city}" if answer.action == "accept" else ""
        )

    return server


async def test_an_old_server_asks_while_its_call_is_open() -> None:
    """`elicitation/create` becomes a live ask.  Source: MCP 2025-06-18, elicitation."""
    use = RecordingUse(answers=[{"city": "Oslo"}])
    async with opened(live().source(era="legacy")) as source:
        result = await called(source, "book", use)
    assert result.text == ":accept:Oslo"
    ((name, prompt, form),) = use.asked
    assert (name, prompt) == ("question 1", "travel asks: Which city?")
    assert isinstance(alternatives := form["anyOf"], list)
    assert alternatives[1] == DECLINE


async def test_an_old_server_hears_that_a_person_declines() -> None:
    """And whether nobody answered in time.  Source: MCP elicitation, three actions."""
    async with opened(live().source(era="legacy")) as source:
        refused = RecordingUse(answers=[{"decline": True}])
        assert (await called(source, "book", refused)).text == ":decline"
        late = RecordingUse(answers=[Denied("k", "nobody answered")])
        assert (await called(source, "book", late)).text == ":cancel"


async def test_an_ask_that_fails_ends_the_call() -> None:
    """What the engine raises is not the server's to interpret.  Source: ours."""

    class Stop(BaseException):
        pass

    async with opened(live().source(era="legacy")) as source:
        with pytest.raises(Stop):
            await called(source, "book", RecordingUse(answers=[Stop()]))
        assert (await called(source, "book", RecordingUse(answers=[{"city": "B"}]))).text


async def test_a_cancelled_call_gives_its_open_question_up() -> None:
    """Neither side waits for the other.  Source: ours."""
    use = RecordingUse()
    async with opened(live().source(era="legacy")) as source:
        call = asyncio.create_task(source.call(tool(source, "book"), {}, use))
        await soon(use.heard.wait())
        await cancelled(call)
        assert use.dropped.is_set()


async def test_questions_of_calls_side_by_side_find_their_own_tasks() -> None:
    """A question put to somebody else's task would tell them.  Source: ours."""
    uses = [RecordingUse(answers=[{"city": f"c{n}"}]) for n in range(20)]
    async with opened(live().source(era="legacy")) as source:
        calls = [called(source, "book", use, name=str(n)) for n, use in enumerate(uses)]
        results = await soon(asyncio.gather(*calls))
    assert [result.text for result in results] == [f"{n}:accept:c{n}" for n in range(20)]
    assert [use.asked[0][1] for use in uses] == [f"travel asks: Which city{n}?" for n in range(20)]


async def test_a_server_that_wants_a_page_visited_first_is_called_again_after() -> None:
    """Error -32042 of 2025-11-25.  Source: MCP elicitation, url mode."""
    server = ScriptedMcp("travel")

    @server.mcp.tool()
    async def book() -> str:
        return "booked"

    wanted = wire.ElicitRequestURLParams(
        message="Log in", url="https://id.test/", elicitation_id="e1"
    )
    error = UrlElicitationRequiredError([wanted])
    server.answer("book", error, error)
    async with opened(server.source(era="legacy")) as source:
        book_tool = tool(source, "book")
        first = await soon(source.call(book_tool, {}, RecordingUse()))
        assert isinstance(first, Unfinished)
        (name,) = first.questions
        no: JsonObject = {name: {"decline": True}}
        declined = await soon(source.go_on(book_tool, {}, first.token, no, RecordingUse()))
        assert isinstance(declined, ToolResult)
        assert declined.is_error
        yes: JsonObject = {name: {"done": True}}
        again = await soon(source.go_on(book_tool, {}, first.token, yes, RecordingUse()))
        assert isinstance(again, Unfinished)
        result = await soon(source.go_on(book_tool, {}, again.token, yes, RecordingUse()))
        assert isinstance(result, ToolResult)
        assert result.text == "booked"
