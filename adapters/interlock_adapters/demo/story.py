"""The demo: a trip that is asked for, approved and done, a search that is stopped, and a kill.

The third act is a server of its own, killed in mid-flight and started again.
"""

import asyncio
import contextlib
import getpass
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import httpx
from a2a.client.errors import A2AClientError
from a2a.utils.errors import A2AError

from interlock import JsonValue, Phase
from interlock_adapters.cli._board import Journey
from interlock_adapters.cli._ink import GREEN, YELLOW
from interlock_adapters.demo.client import Question, Remote, RemoteTask, agent_at
from interlock_adapters.demo.keyboard import Keyboard, on_interrupt
from interlock_adapters.demo.killed import CAN_BE_KILLED, Killable
from interlock_adapters.demo.person import AtTerminal, OutOfScript, Person, Scripted
from interlock_adapters.demo.player import FUNCTION, Player
from interlock_adapters.demo.served import NotServed, served
from interlock_adapters.demo.teller import Teller
from interlock_adapters.demo.travel import EVERY_AIRLINE, Ledger, ledger_of

#: Seconds for the whole of a demo that nobody has to type anything in.
AUTO_S: Final = 120.0

_TRIP: Final = "Plan me a trip, please."
_ANSWER: Final[JsonValue] = {"city": "Lisbon", "nights": 3}
_SEARCH: Final = f"Ask {EVERY_AIRLINE} in the world for a better price."


class DemoFailed(Exception):
    """It did not go as it should; the message says how."""


#: What a client hears of a server that has died.
_CUT_OFF: Final = (A2AClientError, httpx.HTTPError)
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
    #: The agent.
    player: Player = FUNCTION


async def play(demo: Demo, stream: TextIO, stdin_fd: int = 0) -> None:
    """Play the demo to the stream.

    Raises:
        DemoFailed: it did not go as it should.
        NotServed: the server did not come up.
        A2AError: the client and the server did not understand each other.
    """
    teller = Teller(stream)
    with _kept(demo) as path:
        ledger, engine = Ledger(ledger_of(path)), demo.player.engine(path, demo.pace_s)
        async with served(engine, demo.player.settings) as url, agent_at(url) as agent:
            where = str(path) if demo.path or not demo.auto else "in a temporary file"
            teller.title(agent.card.name, url, f"SQLite, {where}", demo.player.about)
            if demo.auto:
                journeys = await _scripted(agent, teller, demo, path.with_name("killed.db"))
            else:
                journeys = await _typed(agent, teller, Keyboard(stdin_fd))
                teller.done(*ledger.counts())
            teller.machine(journeys)


@contextlib.contextmanager
def _kept(demo: Demo) -> Generator[Path]:
    """Where the tasks are: for somebody at a terminal in a file that survives a kill."""
    if demo.path is not None:
        yield demo.path
    elif demo.auto:
        with tempfile.TemporaryDirectory(prefix="interlock-demo-") as folder:
            yield Path(folder) / "tasks.db"
    else:
        kept = _folder_of_ours(f"interlock-demo-{demo.player.name}-of-{getpass.getuser()}")
        yield kept / "tasks.db"
        shutil.rmtree(kept, ignore_errors=True)  # Not after a failure or a kill: it goes on.


def _folder_of_ours(name: str) -> Path:
    """A folder by a name that can be guessed, where everybody may make some: only if it is ours.

    Raises:
        DemoFailed: somebody else has made one of that name.
    """
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    there = folder.lstat()
    is_ours = os.name != "posix" or there.st_uid == os.getuid()
    if not (stat.S_ISDIR(there.st_mode) and is_ours):
        raise DemoFailed(f"{folder} is somebody else's; --db PATH keeps the tasks elsewhere")
    return folder


async def _scripted(agent: Remote, teller: Teller, demo: Demo, path: Path) -> list[Journey]:
    try:
        async with asyncio.timeout(AUTO_S):
            teller.act("A trip: asked for, approved, done")
            answers: list[JsonValue] = [{"city": "Lisbon", "nights": 99}, _ANSWER]
            trip = await _act(agent.task(_TRIP), _TRIP, Scripted(teller, answers), teller)
            _expect(trip, Phase.COMPLETED)
            teller.act("A search: stopped half-way")
            person = Scripted(teller, [], stop_at="On hold")
            search = await _act(agent.task(_SEARCH), _SEARCH, person, teller)
            _expect(search, Phase.CANCELLED)
            if CAN_BE_KILLED:
                teller.act("A trip: its server is killed in mid-flight")
                await _killed(teller, demo, path)
    except TimeoutError:
        raise DemoFailed(f"it was not over within {AUTO_S:g} s") from None
    return [
        Journey("the trip", trip.moves, GREEN),
        Journey("the search", search.moves, YELLOW, marks="abcdefgh"),
    ]


async def _killed(teller: Teller, demo: Demo, path: Path) -> None:
    """A trip whose server dies while the agent works; what it did is not done again."""
    with Killable(path, demo.pace_s, demo.player) as server:
        server.start()
        async with agent_at(server.url) as agent:
            task = agent.task(_TRIP)
            person = Scripted(teller, [_ANSWER], stop_at=demo.player.mid_flight)
            teller.says(_TRIP)
            with contextlib.suppress(*_CUT_OFF):
                async for sight in task.sights():
                    teller.show(sight)
                    if isinstance(sight, Question):
                        await _settle(task, sight, person, teller, asyncio.Event())
                    elif person.has_enough(sight):
                        teller.says(f"(kill -9 {server.pid}, and start it again)")
                        server.kill()
                        server.start()
            await _act(task, "(go on after what I saw)", Scripted(teller, []), teller)
            _expect(task, Phase.COMPLETED)
    teller.done(*Ledger(ledger_of(path)).counts())


async def _typed(agent: Remote, teller: Teller, keyboard: Keyboard) -> list[Journey]:
    interrupted = asyncio.Event()
    person = AtTerminal(teller, keyboard, interrupted)
    main = asyncio.current_task()
    assert main is not None, "a coroutine runs in a task"

    def interrupt() -> None:
        if interrupted.is_set():
            main.cancel()  # Whoever presses it twice means it.
        interrupted.set()

    task, says = await agent.unfinished(), "(go on)"
    if task is None:
        task, says = agent.task(_TRIP), _TRIP
        teller.act("A trip: you are the client")
    else:
        teller.act("The trip that was left: you are the client")
    teller.hint("c or Ctrl-C cancels the task; Ctrl-C twice leaves")
    teller.hint(f"kill it in mid-flight (kill -9 {os.getpid()}) and start it again: it goes on\n")
    with on_interrupt(interrupt):
        trip = await _act(task, says, person, teller, interrupted)
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
