"""A few kills, so that `make faults` is known to work; the many are its own.

The slowest tests of all: some fifteen seconds.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from faults.parked import parked
from faults.run import forker, round_of
from faults.server import Life

KILLS = 5
#: Of one round: two kills of four tasks; five more in the drain.
PARKED_KILLS, PARKED_TASKS = 2, 9
#: Of each kind of agent, one at a commit and one at an effect; a planted bug comes on top.
TINY_RUNS = 10


async def test_a_few_kills_leave_nothing_to_find(tmp_path: Path) -> None:
    """A real server is killed under load, and the audit finds every promise kept.

    Source: R-JRN-08.
    """
    async with forker() as server:
        tally = await round_of(server, tmp_path, "smoke", KILLS, Life(str(tmp_path), "coroutine"))
    assert tally.findings == []
    assert tally.kills.total() == KILLS
    assert tally.figures["tasks"] > 0
    assert tally.figures["said over MCP"] > 0


async def test_the_same_client_of_mcp_answers_after_kills_and_a_drain(tmp_path: Path) -> None:
    """By `tasks/update`, and in the next round of a call; nothing is done twice.

    Source: issue 5, bars.
    """
    async with forker() as server:
        tally = await parked(server, tmp_path, "smoke", Life(str(tmp_path), "coroutine"), 1)
    assert tally.findings == []
    assert tally.kills.total() == PARKED_KILLS
    assert tally.figures["completed"] == tally.figures["tasks"] == PARKED_TASKS
    assert tally.figures["calls that a drain ended"] == 1


async def test_a_few_killed_agents_of_smolagents_leave_nothing_to_find(tmp_path: Path) -> None:
    """Each kind is killed twice and completes; a planted bug is found.  Source: issue 4, bars."""
    figures = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faults.smol", "--tiny", "--json", str(figures)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    total = json.loads(figures.read_text(encoding="utf-8"))
    assert total["findings"] == []
    assert sum(total["kills"].values()) == TINY_RUNS
    assert total["figures"]["completed"] == TINY_RUNS
    assert total["figures"]["in doubt"] > 0
    assert "tools run twice" not in total["figures"]
    assert total["figures"]["mutants found"] == 1
