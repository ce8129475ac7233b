"""Who can play the agent of the demo: the story and its client are the same for each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock import Engine
from interlock_adapters.a2a import A2ASettings
from interlock_adapters.demo.travel import Ledger, ledger_of, travel_agent

__all__ = ["FUNCTION", "Player", "player_of"]


@dataclass(frozen=True, slots=True)
class Player:
    """An agent, and what the story has to know about it."""

    #: As the command line calls it.
    name: str
    settings: A2ASettings
    #: The engine that runs it, with its tasks in a file; each step of its work takes some seconds.
    engine: Callable[[Path, float], Engine]
    #: What it says or shows when it has done half of its work, and is doing more.
    mid_flight: str
    #: What it is made of, if that is worth a line.
    about: str = ""


def player_of(name: str) -> Player:
    """The player of that name.

    Raises:
        ModuleNotFoundError: it needs an extra that is not installed.
    """
    if name == FUNCTION.name:
        return FUNCTION
    # Of extras that the other one does without.
    from interlock_adapters.demo.smol import SMOLAGENTS  # noqa: PLC0415

    assert name == SMOLAGENTS.name, f"nobody is called {name!r}"
    return SMOLAGENTS


def _engine(path: Path, pace_s: float) -> Engine:
    return Engine(travel_agent(pace_s, Ledger(ledger_of(path))), store=f"sqlite:///{path}")


FUNCTION: Final = Player(
    name="function",
    settings=A2ASettings(
        name="a travel agent", description="Plans a trip, and books it when you say so."
    ),
    engine=_engine,
    mid_flight="Writing the itinerary",
)
