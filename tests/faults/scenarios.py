"""Faults other than a kill of that server, each a round of its own with an audit."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from faults.evidence import Finding
from faults.failpoints import Plan
from faults.parked import mcp_parked
from faults.run import Server, Tally, loaded, stop
from faults.server import Life
from interlock._sqlite import SqliteStore
from interlock.errors import StoreError

#: Seconds under load, for each life of a server.
LOAD_S: Final = 1.5
#: Bytes that are flipped, each in a copy of its own.
FLIPS: Final = 40
TABLES: Final = ("sqlite_schema", "task", "event", "claim", "watch")
#: What nothing else in the file says again: where a watch is to be delivered, and how often
#: that was tried.
UNCOVERED: Final[dict[str, list[Any]]] = {"watch": []}
HOUR_S: Final = 3_600.0

Scenario: TypeAlias = Callable[[Server, Path, str, Life], Awaitable[Tally]]


async def frozen(server: Server, directory: Path, seed: str, life: Life) -> Tally:
    """Stopped for two seconds under load, as by a debugger or a virtual machine, then goes on."""
    async with loaded(server, directory, seed) as (tally, loading):
        await _start(server, life)
        await asyncio.sleep(LOAD_S / 2)
        server.signal(signal.SIGSTOP)
        await asyncio.sleep(2.0)
        server.signal(signal.SIGCONT)
        await asyncio.sleep(LOAD_S / 2)
        await loading.end()
        await stop(server)
    return tally


async def disk_slow(server: Server, directory: Path, seed: str, life: Life) -> Tally:
    """Every sync takes a tenth of a second longer; killed once, to see what that left."""
    return await _lives(server, directory, seed, [life._replace(plan=Plan(disk="slow"))] * 2)


async def disk_full(server: Server, directory: Path, seed: str, life: Life) -> Tally:
    """The file cannot grow for a while, then it can again."""
    full = life._replace(plan=Plan(disk="full"))
    return await _lives(server, directory, seed, [full, full])


async def disk_readonly(server: Server, directory: Path, seed: str, life: Life) -> Tally:
    """Nothing can be written for a while, then it can again."""
    readonly = life._replace(plan=Plan(disk="readonly"))
    return await _lives(server, directory, seed, [readonly, readonly])


async def clock_jumps(server: Server, directory: Path, seed: str, life: Life) -> Tally:
    """Each server has another time: an hour late, then early, then right."""
    clocks = (0.0, HOUR_S, -HOUR_S, 0.0)
    return await _lives(server, directory, seed, [life._replace(clock_s=by_s) for by_s in clocks])


async def page_corrupted(server: Server, directory: Path, seed: str, life: Life) -> Tally:
    """A byte of the stopped file is another one: whatever that changes is noticed."""
    tally = await _lives(server, directory, seed, [life])
    dice = random.Random(seed)  # noqa: S311  it must be repeatable
    whole = (directory / "tasks.db").read_bytes()
    expected = _content(directory / "tasks.db")
    assert isinstance(expected, dict), expected
    copy = directory / "flipped"
    for _ in range(FLIPS):
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        at = dice.randrange(len(whole))
        flipped = whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :]
        path = copy / "tasks.db"
        path.write_bytes(flipped)
        content = _content(path)
        if content == expected:
            tally.figures["flips that change nothing"] += 1
            continue
        if await _verified(path):
            tally.figures["flips that are found"] += 1
        elif isinstance(content, dict) and content | UNCOVERED == expected | UNCOVERED:
            tally.figures["flips in watches that are missed"] += 1
        else:
            tally.findings.append(Finding("flip", "", f"byte {at} was flipped: nobody noticed"))
        # It starts without the broken tasks, or says that it cannot; it does not hang.
        await server.start(life._replace(directory=str(copy)))
        if await server.ready():
            await stop(server)
    return tally


async def smolagents(server: Server, directory: Path, seed: str, life: Life) -> Tally:
    """Agents of smolagents, killed around every append: a program of its own, see `smol.py`."""
    del server, life
    figures = directory / "smol.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faults.smol", "--seed", seed, "--json", str(figures)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    await process.wait()
    if not figures.exists():
        return Tally(findings=[Finding("smolagents", "", "it broke off")])
    total = json.loads(figures.read_text(encoding="utf-8"))
    counts: dict[str, int] = total["figures"]
    return Tally(
        kills=Counter({"of smolagents": sum(total["kills"].values())}),
        tasks=counts["runs"],
        findings=[Finding(*found) for found in total["findings"]],
        figures=Counter({f"smolagents {name}": number for name, number in counts.items()}),
    )


SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.__name__: scenario
    for scenario in (
        frozen,
        disk_slow,
        disk_full,
        disk_readonly,
        clock_jumps,
        page_corrupted,
        mcp_parked,
        smolagents,
    )
}


async def _start(server: Server, life: Life) -> None:
    await server.start(life)
    assert await server.ready(), "it did not come up"


async def _lives(server: Server, directory: Path, seed: str, lives: list[Life]) -> Tally:
    """One server after the other under load; all but the last are killed."""
    async with loaded(server, directory, seed) as (tally, loading):
        for life in lives[:-1]:
            await _start(server, life)
            await asyncio.sleep(LOAD_S)
            server.kill()
            await server.ended()
            tally.kills["in a scenario"] += 1
        await _start(server, lives[-1])
        await asyncio.sleep(LOAD_S)
        await loading.end()
        await stop(server)
    return tally


def _content(path: Path) -> dict[str, list[Any]] | str:
    """All that SQLite reads in a file, by table, and its opinion; or why it cannot."""
    try:
        # Not immutable: it may be a file whose log was not moved into it.
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.text_factory = bytes
            found = {
                table: db.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  constants
                for table in TABLES
            }
            found["opinion"] = db.execute("PRAGMA integrity_check").fetchall()
            return found
    except sqlite3.Error as error:
        return str(error)


async def _verified(path: Path) -> list[str]:
    """What the engine itself says of a file: what `interlock verify` prints."""
    store = SqliteStore(path)
    try:
        await store.open()
    except StoreError as error:
        return [str(error)]
    try:
        return await store.verify()
    except StoreError as error:
        return [str(error)]
    finally:
        with contextlib.suppress(StoreError):
            await store.close()
