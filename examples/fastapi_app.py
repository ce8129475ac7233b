"""A whole service inside an application of FastAPI that is there already.

    pip install 'interlock[service]'
    uvicorn fastapi_app:app         # http://127.0.0.1:8000/console

The application keeps its own routes; A2A, MCP, the management API and the console are beside
them.  The service's lifespan opens the engine, and drains it at the end.
"""

from fastapi import FastAPI

from interlock import Engine, TaskContext
from interlock_adapters.config import ServiceConfig
from interlock_adapters.service import Service


async def agent(task: TaskContext) -> str:
    """Ask one question, and be content with the answer."""
    city = await task.ask("Which city?")
    return f"A flight to {city}, as you wish."


def make_app(store: str = "sqlite:///tasks.db") -> FastAPI:
    """The application, with its tasks in that store."""
    service = Service(Engine(agent, store=store), ServiceConfig(name="Travel"))
    app = FastAPI(lifespan=service.lifespan)

    @app.get("/prices/{city}")
    async def price(city: str) -> dict[str, int]:
        return {city: 180}

    app.mount("/", service.app)  # Last: it answers for every other path.
    return app


app = make_app()
