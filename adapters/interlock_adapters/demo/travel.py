"""A travel agent that books nothing: scripted, deterministic, without a key or a network.

It does what agents do to people: it asks with a form, shows what it found while it goes on
looking, wants leave for what costs money, and can be stopped in the middle of its work.  What
it does outside goes through its task, so that it is done once, whatever dies meanwhile.
"""

import asyncio
import os
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import BaseModel, Field

from interlock import JsonObject, TaskContext

TravelAgent: TypeAlias = Callable[[TaskContext], Awaitable[str]]

#: What makes the agent ask every airline there is, which takes until somebody stops it.
EVERY_AIRLINE: Final = "every airline"

PRICE_EUR_MAX: Final = 500

#: What an approver may change about a booking, and how far.
BOOKING: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "flight": {"type": "string"},
        "city": {"type": "string"},
        "price_eur": {"type": "integer", "minimum": 1, "maximum": PRICE_EUR_MAX},
    },
    "required": ["flight", "city", "price_eur"],
    "additionalProperties": False,
}


class Trip(BaseModel):
    """The form of a trip."""

    city: str = Field(min_length=2, max_length=40, description="where to")
    nights: int = Field(ge=1, le=14, description="for how long")


class Flight(BaseModel):
    """One way to get there."""

    number: str
    leaves: str
    price_eur: int


class Ledger:
    """What was really done outside: a line for each time, which no death of ours undoes."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def enter(self, key: str) -> None:
        """It is done."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{key}\n")
            file.flush()
            os.fsync(file.fileno())

    def counts(self) -> tuple[int, int]:
        """How many things were done, and how often one was done once more."""
        lines = self._path.read_text(encoding="utf-8").split() if self._path.exists() else []
        times = Counter(lines)
        return len(times), sum(times.values()) - len(times)


def ledger_of(path: Path) -> Path:
    """Where what was done outside is noted, for the tasks in that file."""
    return path.with_suffix(".done")


class Airline:
    """The outside: it takes its time, and knows every call by its key."""

    def __init__(self, ledger: Ledger, pace_s: float) -> None:
        self._ledger: Final = ledger
        self._pace_s: Final = pace_s

    async def search(self, city: str, which: int, *, key: str) -> Flight:
        """One of the flights to a city."""
        await asyncio.sleep(self._pace_s)
        self._ledger.enter(key)
        return flights_to(city)[which]

    async def book(self, flight: str, city: str, *, key: str) -> str:
        """Book a flight, in words."""
        await asyncio.sleep(self._pace_s)
        self._ledger.enter(key)
        return f"Booked {flight} to {city}"


def travel_agent(pace_s: float, ledger: Ledger) -> TravelAgent:
    """The agent; each step of its work takes `pace_s` seconds, so that people can watch."""
    airline = Airline(ledger, pace_s)

    async def travel(task: TaskContext) -> str:
        if EVERY_AIRLINE in task.input.text:
            return await _ask_every_airline(task, pace_s)
        await _work(task, "Unfolding the map", 0.1, pace_s)
        trip = await task.ask("Where shall it go, and for how many nights?", Trip)

        await task.progress(f"Looking for flights to {trip.city}", 0.3)
        search = airline.search
        first = await task.call(search, trip.city, 0, idempotent=True, key_as="key")
        await task.emit(first.model_dump(), artifact_id="flights", name="flights")
        await task.progress("Looking for a better one", 0.5)
        second = await task.call(search, trip.city, 1, idempotent=True, key_as="key")
        await task.emit(second.model_dump(), artifact_id="flights", append=True, last_chunk=True)
        await _work(task, "Writing the itinerary", 0.7, pace_s)
        await task.emit(itinerary(trip, second), name="itinerary")

        booked = await task.authorize(
            "book_flight",
            {"flight": second.number, "city": trip.city, "price_eur": second.price_eur},
            prompt="May I book this flight?",
            schema=BOOKING,
            allow_edit=True,
        )
        await task.progress("Booking", 0.9)
        flight, city = str(booked["flight"]), str(booked["city"])
        done = await task.call(airline.book, flight, city, key_as="key")
        return f"{done} for {booked['price_eur']} EUR, {trip.nights} nights. Have a good trip!"

    return travel


def flights_to(city: str) -> tuple[Flight, Flight]:
    """Two flights: always the same ones to the same city."""
    seed = zlib.crc32(city.strip().lower().encode())
    price_eur = 90 + seed % 160
    return (
        Flight(number=f"IL {100 + seed % 400}", leaves="06:10", price_eur=price_eur + 75),
        Flight(number=f"IL {500 + seed % 400}", leaves="10:45", price_eur=price_eur),
    )


def itinerary(trip: Trip, flight: Flight) -> str:
    """What the traveller will do, a line for each day that is different from the others."""
    days = [f"day 1: {flight.number} to {trip.city} at {flight.leaves}"]
    if trip.nights > 1:
        last = "day 2" if trip.nights == 2 else f"days 2 to {trip.nights}"  # noqa: PLR2004
        days.append(f"{last}: {trip.city}, on foot")
    days.append(f"day {trip.nights + 1}: home again")
    return "\n".join(days)


async def _ask_every_airline(task: TaskContext, pace_s: float) -> str:
    try:
        await _work(task, "Ringing the first of 5,000 airlines", 0.0, pace_s)
        await _work(task, "On hold, with music", 0.0002, pace_s)
        await asyncio.Event().wait()
        return "There is no better flight."
    finally:
        # The turn has not ended before it has cleaned up, and `cancelled` waits for that.
        await asyncio.sleep(pace_s)


async def _work(task: TaskContext, what: str, fraction: float, pace_s: float) -> None:
    await task.progress(what, fraction)
    await asyncio.sleep(pace_s)
