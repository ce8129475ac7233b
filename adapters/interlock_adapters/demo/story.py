"""The demo: a task that is asked for, approved and done; and one that is stopped half-way."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from a2a.utils.errors import A2AError

from interlock import Engine, JsonValue, Phase
from interlock_adapters._board import Journey
from interlock_adapters._ink import GREEN, YELLOW
from interlock_adapters.a2a import A2ASettings
from interlock_adapters.demo.client import Question, Remote, RemoteTask, agent_at
from interlock_adapters.demo.keyboard import Keyboard, on_interrupt
from interlock_adapters.demo.person import AtTerminal, OutOfScript, Person, Scripted
from interlock_adapters.demo.served import NotServed, served
from interlock_adapters.demo.teller import Teller
from interlock_adapters.demo.travel import EVERY_AIRLINE, travel_agent

#: Seconds for the whole of a demo that nobody has to type anything in.
AUTO_S: Final = 60.0

SETTINGS: Final = A2ASettings(
    name="a travel agent", description="Plans a trip, and books it when you say so."
)
_TRIP: Final = "Plan me a trip, please."
_SEARCH: Final = f"Ask {EVERY_AIRLINE} in the world for a better price."


class DemoFailed(Exception):
    """It did not go as it should; the message says how."""


#: What `play` raises; anything else is a bug of ours.
FAILURES: Final = (DemoFailed, NotServed, OutOfScript, A2AError)


@dataclass(frozen=True, slots=True)
class Demo:
    """What to show, and how."""

    #: Without a person at a terminal.
    auto: bool
    #: Seconds that each step of the agent takes.
    pace_s: float
    #: Where to keep the tasks; None is a file that is gone afterwards.
    path: Path | None = None


async def play(demo: Demo, stream: TextIO, stdin_fd: int = 0) -> None:
    """Play the demo to the stream.

    Raises:
        DemoFailed: it did not go as it should.
        NotServed: the server did not come up.
        A2AError: the client and the server did not understand each other.
    """
    teller = Teller(stream)
    with _kept(demo.path) as path:
        engine = Engine(travel_agent(demo.pace_s), store=f"sqlite:///{path}")
        async with served(engine, SETTINGS) as url, agent_at(url) as agent:
            where = "in a temporary file" if demo.path is None else str(path)
            teller.title(agent.card.name, url, f"SQLite, {where}")
            if demo.auto:
                journeys = await _scripted(agent, teller)
            else:
                journeys = await _typed(agent, teller, Keyboard(stdin_fd))
            teller.machine(journeys)


@contextlib.contextmanager
def _kept(path: Path | None) -> Generator[Path]:
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="interlock-demo-") as folder:
        yield Path(folder) / "tasks.db"


async def _scripted(agent: Remote, teller: Teller) -> list[Journey]:
    try:
        async with asyncio.timeout(AUTO_S):
            teller.act("A trip: asked for, approved, done")
            answers: list[JsonValue] = [
                {"city": "Lisbon", "nights": 99},
                {"city": "Lisbon", "nights": 3},
            ]
            trip = await _act(agent.task(_TRIP), _TRIP, Scripted(teller, answers), teller)
            _expect(trip, Phase.COMPLETED)
            teller.act("A search: stopped half-way")
            person = Scripted(teller, [], stop_at="On hold")
            search = await _act(agent.task(_SEARCH), _SEARCH, person, teller)
            _expect(search, Phase.CANCELLED)
    except TimeoutError:
        raise DemoFailed(f"it was not over within {AUTO_S:g} s") from None
    return [
        Journey("the trip", trip.moves, GREEN),
        Journey("the search", search.moves, YELLOW, marks="abcdefgh"),
    ]


async def _typed(agent: Remote, teller: Teller, keyboard: Keyboard) -> list[Journey]:
    interrupted = asyncio.Event()
    person = AtTerminal(teller, keyboard, interrupted)
    main = asyncio.current_task()
    assert main is not None, "a coroutine runs in a task"

    def interrupt() -> None:
        if interrupted.is_set():
            main.cancel()  # Whoever presses it twice means it.
        interrupted.set()

    teller.act("A trip: you are the client")
    teller.hint("c or Ctrl-C cancels the task; Ctrl-C twice leaves\n")
    with on_interrupt(interrupt):
        trip = await _act(agent.task(_TRIP), _TRIP, person, teller, interrupted)
    ink = GREEN if trip.phase is Phase.COMPLETED else YELLOW
    return [Journey("your trip", trip.moves, ink)]


async def _act(
    task: RemoteTask,
    text: str,
    person: Person,
    teller: Teller,
    stop: asyncio.Event | None = None,
) -> RemoteTask:
    """One task, from the first message to its end."""
    stop = stop or asyncio.Event()
    async with _stopping(task, stop, teller), aclosing(task.sights()) as sights:
        teller.says(text)
        async for sight in sights:
            teller.show(sight)
            if isinstance(sight, Question):
                await _settle(task, sight, person, teller, stop)
            elif person.has_enough(sight):
                teller.says("(cancels the task)")
                stop.set()
    return task


@contextlib.asynccontextmanager
async def _stopping(task: RemoteTask, stop: asyncio.Event, teller: Teller) -> AsyncGenerator[None]:
    """Cancel the task when it is to stop, while what becomes of it is still being watched."""

    async def cancel() -> None:
        await stop.wait()
        try:
            await task.cancel()
        except A2AError as error:
            teller.refused(str(error))

    canceller = asyncio.create_task(cancel())
    try:
        yield
        if stop.is_set():
            await canceller
    finally:
        canceller.cancel()
        await asyncio.wait((canceller,))


async def _settle(
    task: RemoteTask, question: Question, person: Person, teller: Teller, stop: asyncio.Event
) -> None:
    """Answer until the answer is accepted: one that is not leaves the question open."""
    while True:
        reply = await person.reply(question)
        if reply is None:
            stop.set()
            return
        try:
            await task.say(reply)
        except A2AError as error:
            teller.refused(str(error))
        else:
            return


def _expect(task: RemoteTask, phase: Phase) -> None:
    if task.phase is not phase:
        raise DemoFailed(f"the task should be {phase} and is {task.phase}")
