"""A few kills, so that `make faults` is known to work; the many are its own.

The slowest test of all: some ten seconds.
"""

from pathlib import Path

from faults.run import forker, round_of
from faults.server import Life

KILLS = 5


async def test_a_few_kills_leave_nothing_to_find(tmp_path: Path) -> None:
    """A real server is killed under load, and the audit finds every promise kept."""
    async with forker() as server:
        tally = await round_of(server, tmp_path, "smoke", KILLS, Life(str(tmp_path), "coroutine"))
    assert tally.findings == []
    assert tally.kills.total() == KILLS
    assert tally.figures["tasks"] > 0
