"""The outside of the travel agent as an MCP server, a process that is spoken to by its pipes.

    python -m interlock_adapters.demo.airline LEDGER PACE

What is done is noted in LEDGER; each call takes PACE seconds.  It knows nothing of tasks, and of
agents only what a client of MCP tells it: the key of a call, and that it is no longer wanted.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from mcp import StdioServerParameters
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from interlock_adapters.demo.travel import PRICE_EUR_MAX, Airline, Flight, Ledger

__all__ = ["Offer", "airline_command", "airline_server"]

#: Where a call says by what it is known, as specs/mcp_tools.md has it.
_KEY: Final = "interlock/idempotencyKey"
#: Looking does nothing: whoever does not know whether it was done may do it again.
_LOOKS: Final = ToolAnnotations(read_only_hint=True)

_Price: TypeAlias = Annotated[int, Field(ge=1, le=PRICE_EUR_MAX)]


class Offer(Flight):
    """A flight, and what it was looked for."""

    city: str
    nights: int


def airline_server(airline: Airline, pace_s: float) -> MCPServer:
    """The server, with the tools of an airline and of a travel agency."""
    server = MCPServer("airline", log_level="CRITICAL")

    @server.tool(annotations=_LOOKS)
    async def search_flights(
        city: str, nights: int, ctx: Context, below_eur: int | None = None
    ) -> Offer:
        """Find a flight for a stay of some nights, if wanted one below a price."""
        better = below_eur is not None
        said = "Looking for a better one" if better else f"Looking for flights to {city}"
        await ctx.report_progress(0.5 if better else 0.3, 1.0, said)
        found = await airline.search(city, int(better), key=_key_of(ctx))
        return Offer(**found.model_dump(), city=city, nights=nights)

    @server.tool()
    async def book_flight(flight: str, city: str, price_eur: _Price, ctx: Context) -> str:
        """Book a flight, and pay for it."""
        await ctx.report_progress(0.9, 1.0, "Booking")
        booked = await airline.book(flight, city, key=_key_of(ctx))
        return f"{booked} for {price_eur} EUR"

    @server.tool(annotations=_LOOKS)
    async def ask_every_airline(ctx: Context) -> str:
        """Ask every airline in the world for a better price."""
        try:
            await ctx.report_progress(0.0, 1.0, "Ringing the first of 5,000 airlines")
            await asyncio.sleep(pace_s)
            await ctx.report_progress(0.0002, 1.0, "On hold, with music")
            await asyncio.Event().wait()
            return "There is no better flight."
        finally:
            await asyncio.sleep(pace_s)  # Hangs up, in its own time.

    return server


def airline_command(ledger: Path, pace_s: float) -> StdioServerParameters:
    """How the process is started."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", __spec__.name, str(ledger), str(pace_s)],
        env={**os.environ},  # It is we, with the packages that we have.
    )


def _key_of(ctx: "Context[Any, Any]") -> str:
    """What a call is known by, however often it is made."""
    meta: dict[str, Any] = {**(ctx.request_context.meta or {})}
    return str(meta[_KEY])


def _serve(ledger: Path, pace_s: float) -> None:
    server = airline_server(Airline(Ledger(ledger), pace_s), pace_s)
    try:
        server.run("stdio")
    except* BrokenPipeError:
        pass  # Whoever called was killed.
    # What was still to be said is said to nobody: at an ordinary end Python would try it once more,
    # and from 3.13 on tell that it could not.
    os._exit(0)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), float(sys.argv[2]))
