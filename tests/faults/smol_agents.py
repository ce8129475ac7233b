"""Agents of smolagents that are killed: what each is told to do, and what must come of it.

Each thing that is done outside, a prompt too, is one line of the world.  What a tool gives has a
receipt that nobody could make up, so an agent's answer shows whether it was handed what was
really done.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import mcp_types as wire
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.request_state import RequestStateSecurity
from smolagents import CodeAgent, ToolCallingAgent  # type: ignore[import-untyped]  # no types
from smolagents.tools import Tool as LibraryTool  # type: ignore[import-untyped]  # as above

from faults.failpoints import passed
from faults.world import Effect, do
from interlock import JsonObject, JsonValue, Policies, Policy, SyncTaskContext, Toolbox
from interlock.testing import ModelCall, ModelTurn, ScriptedModel
from interlock.tools import ToolUse
from interlock_adapters.mcp_tools import McpServer
from interlock_adapters.smolagents_testing import ScriptedSmolModel

MODEL: Final = "model"
_KEY: Final = "interlock/idempotencyKey"


# --- what is done outside -----------------------------------------------------------------


def search(q: str, use: ToolUse) -> str:
    """Search for flights; may be done again."""
    return _done(use.token, "search", {"q": q}, idempotent=True)


def book(flight: str, seat: str, use: ToolUse) -> str:
    """Book a flight; must not be done twice, and needs leave."""
    return _done(use.token, "book", {"flight": flight, "seat": seat})


async def mail(to: str, use: ToolUse) -> str:
    """Send a mail; must not be done twice."""
    return _done(use.token, "mail", {"to": to})


class Stamp(LibraryTool):  # type: ignore[misc]  # the library has no types
    """A tool that an agent brings of its own; must not be done twice."""

    name = "stamp"
    description = "Stamps a paper."
    _paper: Final[dict[str, str | type | bool]] = {"type": "string", "description": "Which one."}
    inputs = {"paper": _paper}  # noqa: RUF012  as the library wants it
    output_type = "string"

    def forward(self, paper: str) -> str:
        """Stamp it."""
        return _done(own_call("stamp", {"paper": paper}), "stamp", {"paper": paper})


def own_call(name: str, arguments: JsonObject) -> str:
    """By what the world knows a call whose tool is told no key."""
    return f"{name}{json.dumps(arguments, sort_keys=True)}"


def _done(call: str, name: str, arguments: JsonObject, *, idempotent: bool = False) -> str:
    """Do it; the receipt is only for what must not be done twice."""
    passed("before_effect")
    gave = name if idempotent else f"{name} #{secrets.token_hex(4)}"
    what = {"arguments": arguments, "gave": gave}
    do(Effect(call, name, idempotent, os.getpid(), what))
    passed("after_effect")
    return gave


class SeenModel(ScriptedSmolModel):
    """A scripted model whose prompts are things that are done outside."""

    def generate(
        self, messages: Any, stop_sequences: list[str] | None = None, **options: Any
    ) -> Any:
        """See `Model.generate`."""
        passed("before_model")
        said = super().generate(messages, stop_sequences, **options)
        prompt = repr([(message.role, message.content) for message in messages])
        call = hashlib.sha256(prompt.encode()).hexdigest()[:16]
        do(Effect(call, MODEL, idempotent=True, pid=os.getpid(), what=None))
        passed("after_model")
        return said


# --- the agents ---------------------------------------------------------------------------


def toolbox(*sources: Any) -> Toolbox:
    """The tools, and what their policies are."""
    policies = Policies(
        {
            "search": Policy(idempotent=True),
            "book": Policy(confirm="always", on_deny="tell_agent"),
        }
    )
    return Toolbox([search, book, mail, *sources], policies=policies)


@dataclass(frozen=True)
class Kind:
    """An agent, what people say to it, and what must have been done in the end."""

    make: Callable[[SyncTaskContext, Sequence[Any]], Any]
    #: What was done that must not be done twice, in any order.
    effects: Sequence[tuple[str, JsonObject]]
    #: What is said to a question that has these words in it.
    answers: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    #: The arguments to which people say no.
    denied: Sequence[JsonObject] = ()
    toolbox: Callable[[], Toolbox] = toolbox


def receipts(texts: Sequence[str]) -> str:
    """The receipts in some texts, in an order of their own."""
    return " ".join(sorted(re.findall("#[0-9a-f]{8}", " ".join(texts))))


def _answer(heard: Sequence[str]) -> ModelTurn:
    """The last turn: what the agent was told is what it answers."""
    return ModelTurn.calling("final_answer", answer=receipts(heard))


def _last(heard: Sequence[str]) -> str:
    """The last line that the agent was told."""
    return heard[-1].splitlines()[-1]


def _booking(flight: str, seat: str, name: str | None = None) -> ModelCall:
    return ModelCall("book", {"flight": flight, "seat": seat}, name)


def _tools(task: SyncTaskContext, tools: Sequence[Any]) -> Any:
    """One tool after the other: asks, leave given, leave refused."""
    del task
    script = ScriptedModel(
        {"search": {"q": "LIS"}},
        {"ask_user": {"question": "Window or aisle?"}},
        lambda heard: ModelTurn(calls=(_booking("TP1", _last(heard)),)),
        ModelTurn(calls=(_booking("TP2", "1B"),)),
        {"ask_auth": {"request": "May I write to Bob?"}},
        {"mail": {"to": "bob"}},
        _answer,
    )
    return ToolCallingAgent(tools=list(tools), model=SeenModel(script))


def _parallel(task: SyncTaskContext, tools: Sequence[Any]) -> Any:
    """Many calls in one message, some with the name of another, two the very same."""
    del task
    calls = (
        _booking("TP1", "1A", "a"),
        _booking("TP2", "5000", "a"),
        ModelCall("ask_user", {"question": "Which meal?"}, "a"),
        ModelCall("search", {"q": "LIS"}, "b"),
        ModelCall("mail", {"to": "bob"}, "b"),
        ModelCall("mail", {"to": "bob"}, "b"),
    )
    script = ScriptedModel(ModelTurn(calls=calls), {"mail": {"to": "eve"}}, _answer)
    return ToolCallingAgent(tools=list(tools), model=SeenModel(script))


_LOOP: Final = """Thought: look around
<code>
found = []
for q in ["LIS", "OPO"]:
    found.append(search(q=q))
kept = [mail(to=to) for to in ["ann", "bob"]]
print(found)
</code>"""
_TRY: Final = """Thought: book
<code>
try:
    kept.append(book(flight="TP1", seat="1A"))
    seat = ask_user(question="Which seat?")
except Exception as error:
    seat = "swallowed"
finally:
    kept.append(mail(to="finally"))
try:
    kept.append(book(flight="TP3", seat="9Z"))
except Exception as error:
    print("denied")
kept.append(book(flight="TP2", seat=seat))
print(len(found))
</code>"""
_END: Final = """Thought: done
<code>
final_answer(" ".join(kept))
</code>"""


def _code(task: SyncTaskContext, tools: Sequence[Any]) -> Any:
    """Code that calls in a loop, and asks where a `finally` waits for it."""
    del task
    return CodeAgent(tools=list(tools), model=SeenModel(ScriptedModel(_LOOP, _TRY, _END)))


def _nested(task: SyncTaskContext, tools: Sequence[Any]) -> Any:
    """An agent with another one in its team, which asks and has a tool of its own."""
    del task
    inner = ScriptedModel(
        {"search": {"q": "inner"}},
        {"ask_user": {"question": "Which paper?"}},
        lambda heard: ModelTurn.calling("stamp", paper=_last(heard)),
        ModelTurn(calls=(_booking("TP1", "1A"),)),
        _answer,
    )
    helper = ToolCallingAgent(
        tools=[*tools, Stamp()], model=SeenModel(inner), name="helper", description="Helps."
    )
    outer = ScriptedModel(
        {"mail": {"to": "bob"}}, {"helper": {"task": "See to the papers."}}, _answer
    )
    return ToolCallingAgent(tools=list(tools), model=SeenModel(outer), managed_agents=[helper])


def _mcp(task: SyncTaskContext, tools: Sequence[Any]) -> Any:
    """Tools of an MCP server: one wants to know something before it is done."""
    del task
    script = ScriptedModel({"post": {"what": "card"}}, {"travel": {}}, _answer)
    return ToolCallingAgent(tools=list(tools), model=SeenModel(script))


def _with_mcp() -> Toolbox:
    # Its state outlives it, as that of a server elsewhere would.
    security = RequestStateSecurity(keys=[b"k" * 32])
    server = MCPServer("agency", request_state_security=security, log_level="CRITICAL")

    @server.tool()
    def post(what: str, ctx: Context) -> str:
        """Post something."""
        return _done(_token(ctx), "post", {"what": what})

    @server.tool()
    def travel(ctx: Context) -> str | wire.InputRequiredResult:
        """Go somewhere."""
        answer = (ctx.input_responses or {}).get("city")
        if isinstance(answer, wire.ElicitResult):
            city = str((answer.content or {})["city"])
            return _done(_token(ctx), "travel", {"city": city})
        schema = {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        }
        params = wire.ElicitRequestFormParams(message="Which city?", requested_schema=schema)
        request = wire.ElicitRequest(params=params)
        return wire.InputRequiredResult(input_requests={"city": request}, request_state="s")

    return toolbox(McpServer("agency", server=server))


def _token(ctx: Context) -> str:
    meta = cast("Mapping[str, Any]", ctx.request_context.meta or {})
    return str(meta[_KEY])


KindName = Literal["tools", "parallel", "code", "nested", "mcp"]

KINDS: Final[dict[KindName, Kind]] = {
    "tools": Kind(
        _tools,
        [("book", {"flight": "TP1", "seat": "window"}), ("mail", {"to": "bob"})],
        {"aisle": "window"},
        [{"flight": "TP2", "seat": "1B"}],
    ),
    "parallel": Kind(
        _parallel,
        [
            ("book", {"flight": "TP1", "seat": "1A"}),
            ("mail", {"to": "bob"}),
            ("mail", {"to": "bob"}),
            ("mail", {"to": "eve"}),
        ],
        {"meal": "vegan"},
        [{"flight": "TP2", "seat": "5000"}],
    ),
    "code": Kind(
        _code,
        [
            ("mail", {"to": "ann"}),
            ("mail", {"to": "bob"}),
            ("book", {"flight": "TP1", "seat": "1A"}),
            ("mail", {"to": "finally"}),
            ("book", {"flight": "TP2", "seat": "9F"}),
        ],
        {"seat": "9F"},
        [{"flight": "TP3", "seat": "9Z"}],
    ),
    "nested": Kind(
        _nested,
        [
            ("mail", {"to": "bob"}),
            ("stamp", {"paper": "visa"}),
            ("book", {"flight": "TP1", "seat": "1A"}),
        ],
        {"paper": "visa"},
    ),
    "mcp": Kind(
        _mcp,
        [("post", {"what": "card"}), ("travel", {"city": "Oslo"})],
        {"city": {"city": "Oslo"}},
        toolbox=_with_mcp,
    ),
}
