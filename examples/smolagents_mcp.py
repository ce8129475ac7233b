"""An agent of smolagents with the tools of an MCP server: a person decides on every booking.

    pip install 'interlock[smolagents,mcp]'
    python smolagents_mcp.py

By itself a script speaks for the model.  With OPENAI_API_KEY, or OPENAI_BASE_URL for a server of
your own, it is the model that OPENAI_MODEL names, which may go about it in its own way.
"""

import asyncio
from os import environ
from typing import Any

from mcp.server.mcpserver import MCPServer
from smolagents import Model, OpenAIModel, ToolCallingAgent  # type: ignore[import-untyped]

from interlock import AskKind, Engine, OpenAsk, Policies, Policy, TaskHandle, Toolbox
from interlock.testing import ModelCall, ModelTurn, ScriptedModel
from interlock_adapters.mcp_tools import McpServer
from interlock_adapters.smolagents import SmolAgent
from interlock_adapters.smolagents_testing import ScriptedSmolModel

airline = MCPServer("airline", log_level="WARNING")


@airline.tool()
def book(flight: str, seat: str) -> str:
    """Book a seat on a flight."""
    print(f"  (the airline books {seat} on {flight})")
    return f"booked {seat} on {flight}"


TWO_AT_ONCE = (
    ModelCall("book", {"flight": "TP1", "seat": "30E"}),
    ModelCall("book", {"flight": "TP2", "seat": "30E"}),
)
SCRIPT = ScriptedModel(
    ModelTurn(calls=TWO_AT_ONCE),
    lambda heard: ModelTurn.calling("final_answer", answer=heard[-1].partition("\n")[2]),
)


def model() -> Model:
    if environ.get("OPENAI_API_KEY") or environ.get("OPENAI_BASE_URL"):
        key, url = environ.get("OPENAI_API_KEY", "none"), environ.get("OPENAI_BASE_URL")
        return OpenAIModel(environ.get("OPENAI_MODEL", "gpt-5-mini"), api_base=url, api_key=key)
    return ScriptedSmolModel(SCRIPT)


def make(_task: object, tools: list[Any]) -> object:
    return ToolCallingAgent(tools=tools, model=model())


async def decide(task: TaskHandle, ask: OpenAsk) -> None:
    if ask.kind is AskKind.INPUT:
        print("person:", ask.prompt)
        print("  as you think best")
        await task.answer(ask.key, "as you think best")
        return
    print("person:", ask.prompt, ask.arguments)
    if ask.arguments == {"flight": "TP1", "seat": "30E"}:
        print("  yes, but seat 1A")
        await task.approve(ask, arguments={"flight": "TP1", "seat": "1A"})
    else:
        print("  no")
        await task.deny(ask, reason="one flight is enough")


async def main() -> None:
    # An MCP server is usually elsewhere: McpServer("airline", url="https://…/mcp")
    source = McpServer("airline", server=airline)
    must_ask = Policy(confirm="always", allow_edit=True, on_deny="tell_agent")
    tools = Toolbox([source], policies=Policies({"airline/book": must_ask}))
    async with Engine(SmolAgent(make), tools=tools, store="sqlite:///tasks.db") as engine:
        task = await engine.submit("Book me 30E on TP1, and on TP2 as well.", owner="ada")
        while asks := (await task.rest()).asks:
            for ask in asks:  # both bookings at once, each with exactly what will run
                await decide(task, ask)
        print(await task.result())


asyncio.run(main())
