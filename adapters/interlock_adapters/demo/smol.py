"""The travel agent once more: one of smolagents, whose tools are those of an MCP server.

Its model is a script, so that it needs no key.  The rest is real: a `ToolCallingAgent`, the
server in a process of its own, and the gate between the two, which asks the traveller where to
go, and whether to book.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from smolagents import ToolCallingAgent  # type: ignore[import-untyped]  # it has no types

from interlock import (
    Engine,
    Policies,
    Policy,
    RequiredInput,
    SyncTaskContext,
    Toolbox,
)
from interlock.testing import ModelCall, ModelTurn, ScriptedModel
from interlock_adapters.a2a import A2ASettings
from interlock_adapters.demo.airline import Offer, airline_command
from interlock_adapters.demo.player import Player
from interlock_adapters.demo.travel import EVERY_AIRLINE, Trip, itinerary, ledger_of
from interlock_adapters.mcp_tools import McpServer
from interlock_adapters.smolagents import SmolAgent
from interlock_adapters.smolagents_testing import ScriptedSmolModel

__all__ = ["SMOLAGENTS"]

#: The model leaves out what it does not know, and booking is for people to decide.
POLICIES: Final = Policies(
    {
        "airline/search_flights": Policy(
            required_inputs=tuple(
                RequiredInput(name=name, schema=schema)
                for name, schema in Trip.model_json_schema()["properties"].items()
            ),
            prompt="Where shall it go, and for how many nights?",
        ),
        "airline/book_flight": Policy(
            confirm="always", allow_edit=True, prompt="May I book this flight?"
        ),
    }
)


class _Thinking(ScriptedSmolModel):
    """A model that takes its time."""

    def __init__(self, script: ScriptedModel, pace_s: float) -> None:
        super().__init__(script)
        self._pace_s: Final = pace_s

    def generate(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """See `ScriptedSmolModel`."""
        time.sleep(self._pace_s)
        return super().generate(*args, **kwargs)


def _search(_heard: Sequence[str]) -> ModelTurn:
    return ModelTurn.calling("search_flights")


def _search_better(heard: Sequence[str]) -> ModelTurn:
    first = _offer(heard)
    return ModelTurn.calling(
        "search_flights", city=first.city, nights=first.nights, below_eur=first.price_eur
    )


def _book(heard: Sequence[str]) -> ModelTurn:
    offer = _offer(heard)
    trip = Trip(city=offer.city, nights=offer.nights)
    wanted = {"flight": offer.number, "city": offer.city, "price_eur": offer.price_eur}
    return ModelTurn(itinerary(trip, offer), (ModelCall("book_flight", wanted),))


def _answer(heard: Sequence[str]) -> ModelTurn:
    offer = _offer(heard[:-1])
    said = f"{_said(heard)}, {offer.nights} nights. Have a good trip!"
    return ModelTurn.calling("final_answer", answer=said)


def _said(heard: Sequence[str]) -> str:
    return heard[-1].removeprefix("Observation:").strip()


def _offer(heard: Sequence[str]) -> Offer:
    return Offer(**json.loads(_said(heard)))


#: What the model says, for each of the things that it can be asked for.
TRIP: Final = (_search, _search_better, _book, _answer)
SEARCH: Final = (ModelTurn.calling("ask_every_airline"),)


def _engine(path: Path, pace_s: float) -> Engine:
    def make(task: SyncTaskContext, tools: list[Any]) -> object:
        script = ScriptedModel(*(SEARCH if EVERY_AIRLINE in task.input.text else TRIP))
        return ToolCallingAgent(tools=tools, model=_Thinking(script, pace_s))

    airline = McpServer("airline", command=airline_command(ledger_of(path), pace_s))
    tools = Toolbox([airline], policies=POLICIES)
    return Engine(SmolAgent(make), tools=tools, store=f"sqlite:///{path}")


SMOLAGENTS: Final = Player(
    name="smolagents",
    settings=A2ASettings(
        name="a smolagents agent",
        description="Plans a trip with the tools of an MCP server, and books it when you say so.",
    ),
    engine=_engine,
    mid_flight="step 2: observation",
    about="a ToolCallingAgent whose model is a script; its tools: an MCP server (stdio)",
)
