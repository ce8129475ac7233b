"""The least that a durable task engine can be: what the disk and Python allow.

A bare state machine of the library, and one thread that writes a log and a row for each
task in shared transactions.  No checks, no snapshots, no agents, no deadlines, no reads: this
is the project's first prototype of group commit, kept as the measure of what the rest costs.
"""

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

from transitions import Machine

BATCH_MAX: Final = 512
BODY: Final = b'{"text":"please pay 7 euros to bob please pay 7 euros to bob"}' * 3
#: Six moves after the submission.
MOVES: Final = (
    ("start", "submitted", "running"),
    ("ask_auth", "running", "waiting_auth"),
    ("approve", "waiting_auth", "running"),
    ("tool_start", "running", "running"),
    ("agent_done", "running", "completed"),
    ("finalize", "completed", "finalized"),
)
_STATES: Final = ("submitted", "running", "waiting_auth", "completed", "finalized")
_SCHEMA: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
    """
    CREATE TABLE log (
        n INTEGER PRIMARY KEY, task BLOB, seq INT, kind TEXT, body BLOB, UNIQUE (task, seq)
    ) STRICT
    """,
    "CREATE TABLE task (id BLOB PRIMARY KEY, phase TEXT, seq INT, due REAL) STRICT, WITHOUT ROWID",
)
_PUT_LOG: Final = "INSERT INTO log (task, seq, kind, body) VALUES (?, ?, ?, ?)"
_PUT_TASK: Final = (
    "INSERT INTO task VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
    " SET phase = excluded.phase, seq = excluded.seq, due = excluded.due"
)


class _Task:
    """What the machine moves."""

    __slots__ = ("state",)
    state: str

    def allowed(self, _event: object) -> bool:
        """The guard of every move."""
        return True


_MACHINE: Final = Machine(
    model=None,
    states=list(_STATES),
    initial=_STATES[0],
    transitions=[
        {"trigger": trigger, "source": source, "dest": dest, "conditions": "allowed"}
        for trigger, source, dest in MOVES
    ],
    auto_transitions=False,
    send_event=True,
)


class _Entry(NamedTuple):
    log: tuple[bytes, int, str, bytes]
    task: tuple[bytes, str, int, None]
    done: asyncio.Future[None]


class Floor:
    """The store: everything that waits when a transaction ends shares the next one."""

    def __init__(self, database: str) -> None:
        self._database: Final = database
        self._loop: Final = asyncio.get_running_loop()
        self._queue: Final[queue.SimpleQueue[_Entry]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def append(self, task: bytes, seq: int, kind: str, phase: str) -> None:
        """Returns when it is durable."""
        done = self._loop.create_future()
        self._queue.put(_Entry((task, seq, kind, BODY), (task, phase, seq, None), done))
        await done

    def _run(self) -> None:
        db = sqlite3.connect(self._database, isolation_level=None)
        for statement in _SCHEMA:
            db.execute(statement)
        while True:
            batch = [self._queue.get()]
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_PUT_LOG, [entry.log for entry in batch])
            db.executemany(_PUT_TASK, [entry.task for entry in batch])
            db.execute("COMMIT")
            self._loop.call_soon_threadsafe(_settle, [entry.done for entry in batch])


def _settle(waiting: Sequence[asyncio.Future[None]]) -> None:
    for done in waiting:
        if not done.done():
            done.set_result(None)


async def live(store: Floor, moves: Sequence[str]) -> None:
    """One life: a commit for its submission and one for each move."""
    task, task_id = _Task(), os.urandom(16)
    task.state = "submitted"
    await store.append(task_id, 0, "submitted", task.state)
    for seq, move in enumerate(moves, start=1):
        _MACHINE.events[move].trigger(task)
        await store.append(task_id, seq, move, task.state)
