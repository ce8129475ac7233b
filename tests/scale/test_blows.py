"""A few blows of each kind, so that `make scale` is known to work; the many are its own.

Real processes and a real PostgreSQL server; under load, and with an audit of all that is left.
Invariants: I17, I18, I23, I24, I32, I40, T27.
"""

from pathlib import Path

import pytest

from scale.hosts import PostgresHost
from scale.rounds import BLOWS, Tally, round_of

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def _round(host: PostgresHost, place: Path, blow: str, times: int, **life: object) -> Tally:
    tally = await round_of(host, place, f"test/{blow}", BLOWS[blow], times, **life)
    assert tally.findings == []
    assert tally.figures["tasks"] > 0
    assert tally.figures["streams"] > 0
    return tally


async def test_replicas_are_killed(host: PostgresHost, tmp_path: Path) -> None:
    """Nothing acknowledged is lost, nothing done twice, every task ends.  Source: R-SCALE-20."""
    tally = await _round(host, tmp_path, "kills", 3)
    assert tally.blows["kills"] == 3


async def test_a_replica_is_stopped_for_longer_than_its_lease(
    host: PostgresHost, tmp_path: Path
) -> None:
    """When it goes on, it commits nothing and begins nothing of what it had.

    Source: R-SCALE-21.
    """
    tally = await _round(host, tmp_path, "stops", 1)
    assert tally.blows["stops"] == 1


async def test_a_replica_stops_on_the_brink_of_a_call(host: PostgresHost, tmp_path: Path) -> None:
    """It had written down that it makes the call; then it is no longer its to make.

    Source: R-SCALE-22.
    """
    tally = await _round(host, tmp_path, "brinks", 1)
    assert tally.blows["stops on the brink of a call"] == 1


async def test_a_replica_that_is_always_sure_is_found(host: PostgresHost, tmp_path: Path) -> None:
    """A planted bug: it makes the call without asking.  Source: R-SCALE-01, R-SCALE-22."""
    tally = await round_of(host, tmp_path, "test/sure", BLOWS["brinks"], 1, mutant="always_sure")
    assert {"no_stale_start", "no_stale_effect"} & {f.rule for f in tally.findings}


async def test_the_store_fails_and_comes_back(host: PostgresHost, tmp_path: Path) -> None:
    """Nothing is lost, doubled or left out, in logs or in streams.  Source: R-SCALE-23."""
    tally = await _round(host, tmp_path, "restarts", 1)
    assert tally.blows["restarts of the store"] == 1


async def test_a_replica_is_drained(host: PostgresHost, tmp_path: Path) -> None:
    """It hands its turns over.  Source: R-SCALE-24."""
    tally = await _round(host, tmp_path, "rolls", 2)
    assert tally.blows["drains"] == 2
