"""a2a-sdk's own DefaultRequestHandler, in its own environment, over one of its stores.

    python -m bench.compare.serve_a2a_sdk memory|sqlite|cluster DATABASE

The agent is `bench._sdk_arm.Minimal` with its result as an artifact, as the SDK's samples have it.
SQLite is opened as SQLAlchemy does by itself: a rollback journal, synchronous=FULL.
"""

# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from a2a.server.cluster import DatabaseTaskEventStream, VersionedDatabaseTaskStore
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes
from a2a.server.tasks import DatabaseTaskStore, InMemoryTaskStore
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette

from bench._sdk_arm import Minimal, card
from bench.peer_serve import serve

PACKAGES = ("a2a-sdk", "sqlalchemy", "aiosqlite", "starlette", "uvicorn")


async def _stores(kind: str, database: str) -> dict[str, Any]:
    if kind == "memory":
        return {"task_store": InMemoryTaskStore()}
    url = f"sqlite+aiosqlite:///{database}"
    engine = create_async_engine(url)
    if kind == "sqlite":
        tasks = DatabaseTaskStore(engine)
        # Otherwise the first requests make the tables, each of them, and all but one fail.
        await tasks.initialize()
        return {"task_store": tasks}
    versioned = VersionedDatabaseTaskStore(engine=engine)
    await versioned.initialize()
    events = DatabaseTaskEventStream(engine=create_async_engine(url))
    return {"task_store": versioned, "event_stream": events}


@asynccontextmanager
async def _served(_port: int) -> AsyncGenerator[Any]:
    _, kind, database = sys.argv
    stores = await _stores(kind, database)
    handler = DefaultRequestHandler(
        agent_executor=Minimal(artifact=True), agent_card=card(), **stores
    )
    yield Starlette(routes=create_jsonrpc_routes(handler, "/rpc"))
    await handler.aclose()


if __name__ == "__main__":
    serve(_served, *PACKAGES)
