"""Interlock inside an application that is there already.

    uvicorn starlette_app:app

The application keeps its own routes; the agent is reached over A2A beside them.  With FastAPI
it is the same: `FastAPI(lifespan=..., routes=a2a_routes(...))`.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from interlock import Engine, TaskContext
from interlock_adapters.a2a import A2ASettings, Stopping, a2a_routes


async def agent(task: TaskContext) -> str:
    """Ask one question, and be content with the answer."""
    city = await task.ask("Which city?")
    return f"A flight to {city}, as you wish."


def make_app(store: str = "sqlite:///tasks.db") -> Starlette:
    """The application, with its tasks in that store."""
    engine = Engine(agent, store=store)
    settings = A2ASettings(name="Travel", description="Finds flights.")
    stopping = Stopping()  # what waits is answered when the server is told to stop

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with engine:  # brings unfinished tasks back to life, and drains at the end
            with stopping.serving():
                yield

    async def health(_request: Request) -> JSONResponse:
        return JSONResponse({"accepting": engine.statistics().accepting})

    face = a2a_routes(engine, settings, stopping=stopping)
    return Starlette(lifespan=lifespan, routes=[Route("/health", health), *face])


app = make_app()
