"""Clients of a run: they ask for things without waiting for each other, and follow tasks."""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, TypeAlias, TypeVar

from interlock._event import Event
from interlock._phases import OUTCOMES, OVER
from interlock._record import TaskRecord
from interlock.errors import EngineBug, EngineError, GuardRefused
from interlock.testing.fuzz._drive_process import Follower, Process
from interlock.testing.fuzz._faults import Disk
from interlock.testing.fuzz._oracle_run import Broken, Oracle, Promise, check_follower

V = TypeVar("V")

#: Events of a log that are told behind a trace, at most.
_TOLD_MAX: Final = 12
#: What a client may rely on: known at once, or made of the record that it got.
Promising: TypeAlias = "Promise | Callable[[TaskRecord], Promise] | None"


def _told(event: Event) -> str:
    """An event in a few words: what, of which key, and to which phase if to another."""
    key = event.data.get("key")
    words = f"{event.trigger} {key}" if isinstance(key, str) and key else str(event.trigger)
    return words if event.dest is event.source else f"{words} -> {event.dest}"


class Clients(ABC):
    """Everybody outside of the engine, what they were told, and the trace of what they did."""

    def __init__(self, disk: Disk, oracle: Oracle) -> None:
        self.disk: Final = disk
        self.oracle: Final = oracle
        self.steps: Final[list[str]] = []
        #: How long each log was at the last move.
        self._told: dict[str, int] = {}
        self.followers: Final[list[Follower]] = []
        #: What a client met that must not be; raised at the next look.
        self.met: Final[list[Broken]] = []
        #: Who waits for an answer: of which process, and for what.
        self._requests: Final[dict[asyncio.Future[None], tuple[str, str]]] = {}
        #: The last connection of each follower.
        self._streams: Final[dict[str, asyncio.Future[None]]] = {}

    @property
    @abstractmethod
    def process(self) -> Process:
        """The one that lives, or whichever is asked."""

    @abstractmethod
    def task_of(self, process: Process, work: Coroutine[Any, Any, V]) -> "asyncio.Future[V]":
        """Begin something in that process."""

    def say(self, line: str) -> int:
        """Add a line to the trace; its place."""
        self._told = {record.task_id: record.seq for record, _ in self.disk.every()}
        self.steps.append(line)
        return len(self.steps) - 1

    def told_after(self) -> Iterator[str]:
        """What the logs hold that came after the last move, a line for each task."""
        for record, log in self.disk.every():
            new = list(log)[self._told.get(record.task_id, 0) :]
            if new:
                words = [_told(event) for event in new[:_TOLD_MAX]]
                more = [f"and {len(new) - _TOLD_MAX} more"] if len(new) > _TOLD_MAX else []
                yield f"then {record.task_id}: {'; '.join([*words, *more])}"

    @property
    def wait(self) -> bool:
        """Whether one of them waits for an answer."""
        return bool(self._requests)

    def hang_up(self) -> None:
        """Their process is gone: nobody answers them, and all connections are lost."""
        self._requests.clear()
        for follower in self.followers:
            follower.connected = False

    def check_answered(self, *, of: str | None = None) -> None:
        """Check that nobody waits for an answer, or for one of that process.

        Raises:
            Broken: somebody does.
        """
        for process, line in self._requests.values():
            if of is None or of == process:
                raise Broken("hang", f"nobody answers: {line}")

    def check_followers(self, *, still: bool) -> None:
        """Check what the followers have seen; see `check_follower`."""
        for follower in self.followers:
            check_follower(follower, self.disk, still=still)

    def request(
        self,
        step: int,
        call: Callable[[], Awaitable[TaskRecord]],
        *,
        promise: Promising = None,
        must_fail: str | None = None,
        until: float = math.inf,
    ) -> None:
        """A client asks for something, and does not wait for what comes of it.

        What it is told goes to the line `step` of the trace.  `promise` is what it may rely on
        when it is accepted; `must_fail` is what is broken when it is, before `until`.
        """
        process = self.process
        client = self.task_of(process, self._client(step, call, promise, must_fail, until))
        self._requests[client] = process.name, self.steps[step]
        client.add_done_callback(lambda done: self._requests.pop(done, None))

    async def _client(
        self,
        step: int,
        call: Callable[[], Awaitable[TaskRecord]],
        promise: Promising,
        must_fail: str | None,
        until: float,
    ) -> None:
        line = self.steps[step]
        try:
            record = await call()
        except EngineError as error:
            why = error.reason if isinstance(error, GuardRefused) else type(error).__name__
            self.steps[step] = f"{line} -> refused: {why}"
            if isinstance(error, EngineBug):
                self.met.append(Broken("bug", f"{line}: {error}"))
            return
        except Exception as error:  # noqa: BLE001  an engine raises nothing else
            self.met.append(Broken("raised", f"{line}: {type(error).__name__}: {error}"))
            return
        self.steps[step] = f"{line} -> accepted"
        if must_fail is not None:
            if record.updated_at >= until:
                return  # It was held up, and its time has come meanwhile.
            self.met.append(Broken(must_fail, f"accepted: {line}"))
        elif promise is not None:
            try:
                self.oracle.promised(promise(record) if callable(promise) else promise)
            except Broken as broken:
                self.met.append(broken)

    # --- clients that follow ------------------------------------------------------------

    def new_follower(self, record: TaskRecord, after: int) -> Follower:
        """A client that has seen a task up to event `after`."""
        follower = Follower(f"client-{len(self.followers) + 1}", record.task_id, after)
        self.followers.append(follower)
        return follower

    def follow(self, follower: Follower) -> None:
        """It connects, from where it is."""
        process = self.process
        connection = follower.connections = follower.connections + 1
        follower.connected, follower.process = True, process.name
        stream = self.task_of(process, self._stream(follower, process, connection))
        self._streams[follower.name] = stream

    async def _stream(self, follower: Follower, process: Process, connection: int) -> None:
        events = process.engine.subscribe(follower.task_id, owner=None, after=follower.place)
        try:
            async for event in events:
                follower.seen.append(event)
                follower.place = event.seq
                follower.ended = event.dest in OUTCOMES
            record = self.disk.kept(follower.task_id)
            follower.ended = record is not None and record[0].phase in OVER
        except EngineError:
            pass  # The engine is closing, or its store fails: it comes back.
        finally:
            if follower.connections == connection:
                follower.connected = False
            await events.aclose()

    def drop(self, follower: Follower) -> None:
        """It loses its connection."""
        self._streams[follower.name].cancel()
        follower.connected = False
