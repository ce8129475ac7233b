"""What the auditor has to go by: the file, the clients' journals and the world.

It knows SQLite and JSON, and nothing of the engine's code: what it takes for granted of the
log is written here once more.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from faults.world import Effect

Json = dict[str, Any]

OUTCOMES: Final = frozenset({"completed", "failed", "cancelled", "timed_out", "rejected"})
DOUBT: Final = "interlock:in-doubt-"
OPERATOR: Final = "interlock:operator-"


Found = Iterator[tuple[str, str]]


class Finding(NamedTuple):
    """One promise that was broken."""

    rule: str
    task: str
    what: str


class Entry(NamedTuple):
    """One event of the log."""

    seq: int
    epoch: int
    trigger: str
    source: str | None
    dest: str
    data: Json


@dataclass
class Kept:
    """One task in the file."""

    task_id: str
    phase: str
    seq: int
    log: list[Entry]

    def having(self, *triggers: str) -> list[Entry]:
        """Those events."""
        return [entry for entry in self.log if entry.trigger in triggers]


@dataclass
class Evidence:
    """All there is to go by."""

    tasks: dict[str, Kept]
    #: `(owner, token)` → task, as the file has it.
    claims: dict[str, str]
    #: The lines of all clients.
    journal: list[Json]
    effects: list[Effect]


Rule = Callable[[Evidence], Found]


class Said(NamedTuple):
    """What a client sent, and what it was told."""

    op: str
    task_id: str
    line: Json
    fate: str
    #: What it was told when it was refused.
    why: str

    @property
    def is_mcp(self) -> bool:
        """Whether it was said over MCP."""
        return self.line.get("by") == "mcp"

    @property
    def key(self) -> str:
        """The question that it answers; "" if it is no answer."""
        key: str = self.line.get("said", {}).get("ask", "")
        return key


def read_file(path: Path) -> tuple[dict[str, Kept], dict[str, str]]:
    """The tasks and the claims that a file holds."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        (verdict,) = db.execute("PRAGMA integrity_check").fetchone()
        assert verdict == "ok", verdict
        tasks = {
            n: Kept(task_id, phase, seq, [])
            for n, task_id, phase, seq in db.execute("SELECT n, task_id, phase, seq FROM task")
        }
        columns = "task, seq, epoch, trigger, source, dest, data"
        for n, seq, epoch, trigger, source, dest, data in db.execute(
            f"SELECT {columns} FROM event ORDER BY task, seq"  # noqa: S608  a constant
        ):
            tasks[n].log.append(Entry(seq, epoch, trigger, source, dest, json.loads(data)))
        claims = {
            token: tasks[n].task_id for token, n in db.execute("SELECT token, task FROM claim")
        }
    return {task.task_id: task for task in tasks.values()}, claims


def said_by(evidence: Evidence) -> Iterator[Said]:
    """What clients said, of which they know what became of it."""
    sent: dict[str, Json] = {}
    for line in evidence.journal:
        if line.get("fate") == "sent":
            sent[line["n"]] = line
        elif "fate" in line:
            began = sent[line["n"]]
            task_id = whose(evidence, line, began)
            yield Said(began["op"], task_id, began, line["fate"], line.get("why", ""))


def sent_by(evidence: Evidence) -> Iterator[Said]:
    """What clients sent, whatever became of it."""
    for line in evidence.journal:
        if line.get("fate") == "sent":
            yield Said(line["op"], whose(evidence, line), line, "sent", "")


def whose(evidence: Evidence, *lines: Json) -> str:
    """The task that a line of a journal is about: named, or that of a call.

    Who waits for a call never learns which task it is; the file says it.
    """
    for line in lines:
        if line.get("task"):
            task_id: str = line["task"]
            return task_id
    return next((evidence.claims.get(line["call"], "") for line in lines if "call" in line), "")


def is_in(entry: Entry, said: Said) -> bool:
    """Whether an event is what was said, as it was sent."""
    data, line = entry.data, said.line
    if said.op == "cancel":
        return entry.trigger == "cancel"
    if "token" in line and data.get("token") != line["token"]:
        return False
    if said.op == "submit":
        return entry.trigger == "submit" and data["parts"][0]["data"]["steps"] == line["steps"]
    if data.get("key") != said.key:
        return False
    return _is_same(entry, said.op, line)


def _is_same(entry: Entry, op: str, line: Json) -> bool:
    """Whether an event is the answer that was sent to its question."""
    data, words = entry.data, line["said"]
    match op:
        case "answer":
            return entry.trigger == "provide_input" and data["value"] == words["value"]
        case "approve":
            # Over MCP nobody sees a digest.
            digest = words.get("digest", data.get("digest"))
            final = words.get("arguments", line["shown"])
            decided = (entry.trigger, data.get("digest"), data.get("arguments"))
            return decided == ("approve", digest, final)
        case _:
            return entry.trigger == op
