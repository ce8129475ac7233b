"""Interlock's A2A face over its engine.

    python -m bench.compare.serve_interlock memory:|DATABASE

Everything is as it comes but for how many tasks one caller may have open: there is one caller.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from bench._agent import agent
from bench._interlock_arm import SETTINGS
from bench.peer_serve import serve
from interlock import Engine, Limits
from interlock_adapters.a2a import a2a_app
from interlock_adapters.server import gc_tuned

PACKAGES = ("a2a-sdk", "pydantic", "starlette", "uvicorn")
LIMITS = Limits(open_tasks_per_owner_max=1_000_000)


@asynccontextmanager
async def _served(_port: int) -> AsyncGenerator[Any]:
    _, database = sys.argv
    store = database if database == "memory:" else f"sqlite:///{database}"
    # The application starts the engine, and ends it.  Our own `serve` does the other thing.
    with gc_tuned():
        yield a2a_app(Engine(agent, store=store, limits=LIMITS), SETTINGS)


if __name__ == "__main__":
    serve(_served, *PACKAGES)
