"""Where a life on PostgreSQL spends the server's time: its statements, by kind.

For `python -m bench.scale --only statements`: counted by pg_stat_statements, with what an idle
worker asks for taken off.
"""

import re
import time
from functools import partial
from pathlib import Path
from typing import Final, LiteralString, NamedTuple

import psycopg

from bench._process import in_process
from bench._report import Table
from bench._scale_driver import CLIENTS, load
from bench._scale_hosts import POSTGRES, Hosts, workers

SETTINGS: Final = (
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.track=all",
)
_RESET: Final[LiteralString] = "SELECT pg_stat_statements_reset()"
_READ: Final[LiteralString] = (
    "SELECT toplevel, query, calls, total_exec_time, wal_bytes FROM pg_stat_statements"
    " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_WAL: Final[LiteralString] = "SELECT wal_sync, wal_bytes FROM pg_stat_wal"
#: What a statement is for, by what is in it; the first that fits.
KINDS: Final = (
    (r"commit_v1", "commit"),
    (r"fetch_job", "queue: fetch a job"),
    (r"finish_job", "queue: end a job"),
    (r"replace_turn|want_turn", "queue: hand on"),
    (r"count\(DISTINCT lock\)", "look: turns that wait"),
    (r"FROM unnest.*LEFT JOIN task", "look: what others did"),
    (r"pg_notify", "hints: tell"),
    (r"SELECT snapshot FROM task", "read a record"),
    (r"seq, at, epoch.*FROM event", "read events"),
    (r"min\(due\)|due <= ", "look: deadlines"),
    (r"shown NOT IN|open", "admission: open tasks of the owner"),
    (r"FROM watch", "outbox: watches of a task"),
    (r"FROM claim", "read a claim"),
    (r"heartbeat|procrastinate_workers", "signs of life"),
    (r"worker_id = .* AND status", "sweep"),
)


class Counted(NamedTuple):
    """Statements of one kind: how many, and milliseconds and bytes of the log in all."""

    calls: float = 0.0
    ms: float = 0.0
    wal_bytes: float = 0.0


def kind_of(query: str) -> str:
    """What a statement is for."""
    flat = " ".join(query.split())
    return next((kind for pattern, kind in KINDS if re.search(pattern, flat)), flat[:60])


def counted(url: str, *, toplevel: bool) -> dict[str, Counted]:
    """What was asked since the last reset: by clients, or within functions."""
    found: dict[str, Counted] = {}
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as db:
        for top, query, *numbers in db.execute(_READ).fetchall():
            if top is toplevel and "pg_stat_" not in query:
                kind = kind_of(query) if toplevel else " ".join(query.split())[:70]
                before = found.get(kind, Counted())
                found[kind] = Counted(
                    *(was + float(more) for was, more in zip(before, numbers, strict=True))
                )
    return found


def statements(folder: Path, for_s: float) -> list[Table]:
    """Tables: of one client at a time and of many, of each shape, in one process and in two."""
    with Hosts(folder, *SETTINGS) as hosts:
        return [
            table
            for processes, shape, at_once in (
                (1, "step", 1),
                (1, "step", CLIENTS),
                (2, "step", CLIENTS),
                (2, "ask", CLIENTS),
            )
            for table in _measured(hosts, processes, shape, at_once, for_s)
        ]


def _measured(hosts: Hosts, processes: int, shape: str, at_once: int, for_s: float) -> list[Table]:
    url = hosts.url(POSTGRES)
    with workers(POSTGRES, url, processes, hosts.folder) as running:
        _reset(url)
        time.sleep(for_s)
        idle = counted(url, toplevel=True)
        before = _reset(url)
        began = time.perf_counter()
        sample = in_process(partial(load, running.ports, shape, 0.5, for_s, at_once))
        share = (time.perf_counter() - began) / for_s
        busy, within = (counted(url, toplevel=top) for top in (True, False))
        after = _reset(url)
    syncs, wal_bytes = ((b - a) / sample.lives for a, b in zip(before, after, strict=True))
    what = f"{processes} process(es), {shape}, {at_once} at once"
    title = f"{what}: of one life of {sample.lives}; {syncs:.2f} syncs, {wal_bytes:.0f} B of log"
    tables = [_table(title, busy, idle, share, sample.lives)]
    if at_once > 1 and processes == 1:
        tables.append(_table(f"{what}: within functions", within, {}, 0, sample.lives))
    return tables


def _reset(url: str) -> tuple[float, float]:
    """Count from now on; syncs and bytes of the server's log until now."""
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        db.execute(_RESET)
        row = db.execute(_WAL).fetchone()
    assert row is not None
    return float(row[0]), float(row[1])


def _table(
    title: str, busy: dict[str, Counted], idle: dict[str, Counted], share: float, lives: int
) -> Table:
    rows: list[tuple[str, ...]] = []
    total = Counted()
    for kind, found in sorted(busy.items(), key=lambda item: -item[1].ms):
        base = idle.get(kind, Counted())
        one = Counted(*((f - share * b) / lives for f, b in zip(found, base, strict=True)))
        total = Counted(*(t + o for t, o in zip(total, one, strict=True)))
        rows.append((kind, *_cells(one), f"{base.calls:.0f}"))
    rows.append(("all", *_cells(total), ""))
    header = ("statement", "calls", "ms of the server", "bytes of the log", "calls while idle")
    return Table(title, header, rows)


def _cells(found: Counted) -> tuple[str, ...]:
    return f"{found.calls:.2f}", f"{found.ms:.3f}", f"{found.wal_bytes:.0f}"
