"""The two thousand readers of `bench.service`, in a process of their own, and their audit.

A reader keeps what came and when, and nothing is parsed before all is over: the readers must not
be what is slow.  The audit goes by the log itself, read from the file of the ended server.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple, TypeAlias, cast

import uvloop

from bench._client import call
from bench._service_server import RPC_PATH, token_of
from interlock import Event, Trigger
from interlock._sqlite import SqliteStore
from interlock_adapters.a2a._map import EVENT
from interlock_adapters.a2a._view import Projection

#: Connections that are opened at once.
WAVE: Final = 50
#: A stream that has not begun, or ended, by then is a hang.
PATIENCE_S: Final = 60.0

#: What a stream says: JSON, of one kind or another.
Said: TypeAlias = Any
#: The tasks that are read, with their owners.
Tasks = Sequence[tuple[str, str]]


class Audit(NamedTuple):
    """What the readers saw."""

    readers: int
    #: Readers who did not see the log, with what the first few saw instead.
    wrong: int
    first_wrong: list[str]
    #: What was told to all of them together.
    delivered: int
    #: Events that tasks emitted.
    emitted: int
    #: Milliseconds from the emission of an event to a reader of it, ordered.
    delays_ms: list[float]


class Reader(asyncio.Protocol):
    """One stream."""

    def __init__(self, request: bytes) -> None:
        self._request: Final = request
        self.came: list[tuple[float, bytes]] = []
        loop = asyncio.get_running_loop()
        self.begun: Final[asyncio.Future[None]] = loop.create_future()
        self.over: Final[asyncio.Future[None]] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        # uvloop's own kind of it.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self.came.append((time.perf_counter(), data))
        if not self.begun.done():
            self.begun.set_result(None)
        if data.endswith(b"\r\n0\r\n\r\n"):
            assert self._transport is not None
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over; whether it was whole the audit says."""
        del exc
        for waiting in (self.begun, self.over):
            if not waiting.done():
                waiting.set_result(None)


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to read a task."""

    request: Callable[[str, str], bytes]
    #: What a reader of this log is to see, from the place where it began.
    wanted: Callable[[Sequence[Event], Said], list[Said]]
    #: What is told of an event on the wire, from its data and name.
    said: Callable[[bytes, bytes], Said]
    #: The last thing of every stream.
    last: Callable[[Said], bool]


# --- the management API: the log itself -----------------------------------------------------


def _of_management(task_id: str, token: str) -> bytes:
    return (
        f"GET /manage/tasks/{task_id}/events/stream HTTP/1.1\r\n"
        f"Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


def _log_wanted(log: Sequence[Event], first: Said) -> list[Said]:
    del first  # The whole log.
    return [*(event.to_json() for event in log), "end"]


def _log_said(name: bytes, data: bytes) -> Said:
    return "end" if name == b"end" else _parsed(data)


# --- A2A: what the log amounts to -----------------------------------------------------------


def _of_a2a(task_id: str, token: str) -> bytes:
    return call("SubscribeToTask", {"id": task_id}, RPC_PATH, token)


def _updates_wanted(log: Sequence[Event], first: Said) -> list[Said]:
    """The task as of the event that the reader began with, and all that came after."""
    seen = int(first["task"]["metadata"][EVENT])
    shown = Projection(log[:seen])
    task = shown.task_json()
    task["metadata"][EVENT] = str(seen)
    wanted = [update for event in log[seen:] for update in shown.updates_json(event)]
    return [{"task": task}, *wanted]


def _update_said(name: bytes, data: bytes) -> Said:
    return f"{name!r}: {data!r}" if name else _parsed(data)["result"]


ARMS: Final = {
    "management": Arm(_of_management, _log_wanted, _log_said, lambda said: said == "end"),
    "a2a": Arm(
        _of_a2a,
        _updates_wanted,
        _update_said,
        lambda said: "COMPLETED" in json.dumps(said.get("statusUpdate", "")),
    ),
}


@lru_cache(maxsize=100_000)
def _parsed(data: bytes) -> Said:
    """Many readers have the same text."""
    return json.loads(data)


# --- reading ------------------------------------------------------------------------------


def read(pipe: Connection, arm: str, port: int, tasks: Tasks, each: int) -> None:
    """Have `each` readers of every task; say when all have begun, when all is over, what came.

    The pipe is sent "begun" and the process's CPU seconds, and given the database at the end.
    """
    uvloop.run(_read(pipe, ARMS[arm], port, tasks, each))


async def _read(pipe: Connection, arm: Arm, port: int, tasks: Tasks, each: int) -> None:
    loop = asyncio.get_running_loop()
    readers: list[tuple[str, Reader]] = []
    requests = [
        (task_id, arm.request(task_id, token_of(owner)))
        for _ in range(each)
        for task_id, owner in tasks
    ]
    async with asyncio.timeout(PATIENCE_S):
        for at in range(0, len(requests), WAVE):
            wave: list[Reader] = []
            for task_id, request in requests[at : at + WAVE]:
                _, made = await loop.create_connection(partial(Reader, request), "127.0.0.1", port)
                readers.append((task_id, made))
                wave.append(made)
            await asyncio.gather(*(reader.begun for reader in wave))
    pipe.send("begun")
    over = asyncio.gather(*(reader.over for _, reader in readers))
    # Told as soon as "stop" was said; it sets an end to the patience.
    await asyncio.to_thread(pipe.recv)
    # If one does not end, the audit says which.
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await over
    pipe.send(os.times().user + os.times().system)
    database = await asyncio.to_thread(pipe.recv)
    pipe.send(await _audited(arm, readers, database))


# --- the audit ------------------------------------------------------------------------------


async def _audited(arm: Arm, readers: Sequence[tuple[str, Reader]], database: str) -> Audit:
    store = SqliteStore(database)
    await store.open()
    logs = {task_id: await _log(store, task_id) for task_id in dict(readers)}
    await store.close()
    wrong: list[str] = []
    delays_ms: list[float] = []
    delivered = 0
    for task_id, reader in readers:
        try:
            seen = _seen(arm, reader)
            problem = _problem(arm, logs[task_id], seen)
        except (ValueError, KeyError, IndexError, AssertionError) as error:
            wrong.append(f"{task_id}: {error!r}")
            continue
        if problem is not None:
            wrong.append(f"{task_id}: {problem}")
        delivered += len(seen)
        delays_ms += _delays_ms(seen)
    emitted = sum(event.trigger is Trigger.PROGRESS for log in logs.values() for event in log)
    return Audit(len(readers), len(wrong), wrong[:5], delivered, emitted, sorted(delays_ms))


async def _log(store: SqliteStore, task_id: str) -> list[Event]:
    record = await store.get(task_id)
    assert record is not None, f"{task_id} is not in the store"
    log = await store.events(task_id, 0, record.seq)
    # Its numbers are 1, 2, 3: else the log itself had a gap.
    assert [event.seq for event in log] == [*range(1, record.seq + 1)], task_id
    return [event for event in log if event.trigger is not Trigger.FINALIZE]


def _seen(arm: Arm, reader: Reader) -> list[tuple[float, Said]]:
    """What came, and when each was whole."""
    whole = b"".join(data for _, data in reader.came)
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head[:200]
    assert whole.endswith(b"\r\n0\r\n\r\n"), f"it broke off: {whole[-80:]!r}"
    times: list[tuple[int, float]] = []
    end = -len(head) - 4
    for at, data in reader.came:
        end += len(data)
        times.append((end, at))
    seen: list[tuple[float, Said]] = []
    pending, place, turn = b"", 0, 0
    while size := int(body[place : (line := body.index(b"\r\n", place))], 16):
        place = line + 2 + size + 2
        pending += body[line + 2 : line + 2 + size]
        while times[turn][0] < place:
            turn += 1
        *frames, pending = pending.replace(b"\r\n", b"\n").split(b"\n\n")
        for frame in frames:
            fields = dict(one.split(b": ", 1) for one in frame.split(b"\n") if b": " in one)
            if b"data" in fields:
                seen.append((times[turn][1], arm.said(fields.get(b"event", b""), fields[b"data"])))
    return seen


def _problem(arm: Arm, log: Sequence[Event], seen: list[tuple[float, Said]]) -> str | None:
    """What is wrong with what a reader saw of the log."""
    said = [one for _, one in seen]
    if not said or not arm.last(said[-1]):
        return f"the end is missing after {len(said)}"
    wanted = arm.wanted(log, said[0])
    if said == wanted:
        return None
    place = next((n for n, (a, b) in enumerate(zip(said, wanted, strict=False)) if a != b), -1)
    return f"{len(said)} of {len(wanted)}; another at {place}: {said[place]!r:.300}"


def _delays_ms(seen: list[tuple[float, Said]]) -> list[float]:
    """How long each step took on its way."""
    delays: list[float] = []
    for at, said in seen:
        text = str(said)
        if "task" not in said and (found := text.find(" at ")) > 0 and "step " in text:
            emitted = float(text[found + 4 :].split("'", 1)[0])
            delays.append((at - emitted) * 1e3)
    return delays
