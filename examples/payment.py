"""A lifecycle of one's own: a task that waits for a payment, over A2A and MCP.

    uvicorn payment:app             # A2A at /a2a/rpc, MCP at /mcp
    interlock check payment:LIFECYCLE
    interlock diagram payment:LIFECYCLE --format svg > payment.svg

Whoever looks sees `waiting_payment`; a client that does not know that word sees that input is
required, and answers as it would any other question.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

from pydantic import BaseModel, Field
from starlette.applications import Starlette

import interlock
from interlock import Engine, Phase, TaskContext
from interlock_adapters.a2a import A2ASettings, a2a_routes
from interlock_adapters.mcp import McpFace, McpSettings, Stopping, mcp_server

WAITING_PAYMENT = Phase.further("waiting_payment", like=Phase.WAITING_INPUT)
LIFECYCLE = interlock.LIFECYCLE.extend(WAITING_PAYMENT)


class Receipt(BaseModel):
    """What was paid."""

    reference: str = Field(min_length=4)
    by: Literal["card", "transfer"] = "card"


async def sell(task: TaskContext) -> str:
    """Sell a ticket: ask where to, and then for the money."""
    city = await task.ask("Where to?", key="city")
    receipt = await task.ask(f"90 euros to {city}, please.", Receipt, phase=WAITING_PAYMENT)
    return f"A ticket to {city}, paid by {receipt.by} ({receipt.reference})."


def make_app(store: str = "sqlite:///tickets.db") -> Starlette:
    """The application, with its tasks in that store."""
    engine = Engine({"sell": sell}, store=store, lifecycle=LIFECYCLE)
    stopping, settings = Stopping(), McpSettings(name="Tickets")
    face = McpFace(mcp_server(engine, settings, stopping=stopping), settings, stopping=stopping)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with engine, face.serving():
            yield

    card = A2ASettings(name="Tickets", description="Sells tickets.")
    routes = [*face.routes, *a2a_routes(engine, card, stopping=stopping)]
    return Starlette(routes=routes, middleware=[*face.middleware], lifespan=lifespan)


app = make_app()
