"""An agent as a tool of MCP hosts, beside A2A, in one application.

    uvicorn mcp_server:app          # http://127.0.0.1:8000/mcp
    python mcp_server.py            # the same over standard input and output

A host that speaks the Tasks extension gets a handle and comes back for the result; any other
waits, and puts the agent's questions to its user.  Either way the task is one of the engine's:
a question may be answered over A2A as well, and is answered once.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pydantic import BaseModel, Field
from starlette.applications import Starlette

from interlock import Engine, TaskContext
from interlock_adapters.a2a import A2ASettings, a2a_routes
from interlock_adapters.mcp import McpFace, McpSettings, McpTool, Stopping, mcp_server, serve_stdio


class Trip(BaseModel):
    """What the tool takes."""

    city: str = Field(description="Where to.")
    nights: int = Field(default=2, ge=1, le=30)


async def book(task: TaskContext) -> str:
    """Book a trip, once somebody has agreed to it."""
    trip = Trip.model_validate(task.input.data)
    seat = await task.ask("Window or aisle?")
    await task.authorize("pay", {"city": trip.city, "euros": 90 * trip.nights})
    return f"{trip.nights} nights in {trip.city}, {seat}."


TOOLS = McpSettings(
    name="Travel",
    tools=(McpTool(name="book", description="Books a trip.", input=Trip, ask_first=("city",)),),
)


def make_app(store: str = "sqlite:///tasks.db") -> Starlette:
    """The application, with its tasks in that store."""
    engine, stopping = Engine({"book": book}, store=store), Stopping()
    face = McpFace(mcp_server(engine, TOOLS, stopping=stopping), TOOLS, stopping=stopping)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with engine, face.serving():
            yield

    card = A2ASettings(name="Travel", description="Books trips.")
    routes = [*face.routes, *a2a_routes(engine, card, stopping=stopping)]
    return Starlette(routes=routes, middleware=[*face.middleware], lifespan=lifespan)


app = make_app()

if __name__ == "__main__":
    asyncio.run(serve_stdio(Engine({"book": book}), TOOLS))
