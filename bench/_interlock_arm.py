"""Interlock's A2A face over its engine, with its memory store or its durable one."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from starlette.applications import Starlette

from bench._agent import agent
from interlock import Engine
from interlock_adapters.a2a import A2ASettings, a2a_app

SETTINGS: Final = A2ASettings(name="bench", description="Answers at once.", rpc_path="/rpc")


@asynccontextmanager
async def served(store: str) -> AsyncGenerator[Starlette]:
    """The app that a user would mount, over an engine with that store."""
    async with Engine(agent, store=store) as engine:
        yield a2a_app(engine, SETTINGS)


def memory(_database: str) -> AbstractAsyncContextManager[Starlette]:
    """Nothing survives."""
    return served("memory:")


def sqlite(database: str) -> AbstractAsyncContextManager[Starlette]:
    """Every commit is on the disk before it is answered."""
    return served(f"sqlite:///{database}")
