"""What a picture shows of a stored file: one task's log, or how often what happened.

It is looked at as the doctor looks: no lock is taken, and nothing is written, so a server may
have it open.
"""

import os

from interlock._event import Event
from interlock._phases import Phase, Trigger
from interlock._sqlite_doctor import existing, looking_at
from interlock._sqlite_rows import EVENT_COLUMNS, event_of, text
from interlock._transitions import Key
from interlock.errors import StoreCorrupt, UnknownTask


def stored_log(path: str | os.PathLike[str], task_id: str) -> list[Event]:
    """The log of a task in the SQLite file of a store.

    Raises:
        UnknownTask: there is no such task.
        StoreError: the file is not there, is none of ours, or cannot be read.
    """
    with looking_at(existing(path)) as db:
        rows = db.execute(
            f"SELECT {EVENT_COLUMNS} FROM event"  # noqa: S608  a constant; the id is bound
            " WHERE task = (SELECT n FROM task WHERE task_id = CAST(? AS TEXT)) ORDER BY seq",
            (task_id.encode(errors="replace"),),
        ).fetchall()
    if not rows:
        raise UnknownTask(task_id)
    return [event_of(task_id, row) for row in rows]


def stored_moves(path: str | os.PathLike[str]) -> dict[Key, int]:
    """How often each row was taken by the tasks that are in the file.

    Raises:
        StoreError: as for `stored_log`; or it holds phases that nobody declared here.
    """
    with looking_at(existing(path)) as db:
        rows = db.execute(
            "SELECT source, trigger, dest, count(*) FROM event GROUP BY source, trigger, dest"
        ).fetchall()
    moves: dict[Key, int] = {}
    for source, trigger, dest, count in rows:
        came = None if source is None else _phase(source)
        try:
            moves[came, Trigger(text(trigger)), _phase(dest)] = count
        except ValueError:
            raise StoreCorrupt(f"it holds a trigger {text(trigger)!r:.40}") from None
    return moves


def stored_phases(path: str | os.PathLike[str]) -> dict[Phase, int]:
    """How many tasks are in each phase.

    Raises:
        StoreError: as for `stored_moves`.
    """
    with looking_at(existing(path)) as db:
        rows = db.execute("SELECT phase, count(*) FROM task GROUP BY phase").fetchall()
    return {_phase(phase): count for phase, count in rows}


def _phase(stored: bytes) -> Phase:
    name = text(stored)
    try:
        return Phase(name)
    except ValueError:
        raise StoreCorrupt(
            f"it holds a phase {name!r:.40}: name the lifecycle that has it"
        ) from None
