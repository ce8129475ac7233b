"""A few blows of each kind, so that `make scale` is known to work; the many are its own.

Real processes and a real PostgreSQL server; under load, and with an audit of all that is left.
Source: R-SCALE-20, R-SCALE-21, R-SCALE-22, R-SCALE-23, R-SCALE-24.
Invariants: I17, I18, I23, I24, I32, I40, T27.
"""

from pathlib import Path

import pytest

from scale.rounds import BLOWS, Place, Tally, round_of

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def _round(place: Place, directory: Path, blow: str, times: int, **life: object) -> Tally:
    tally = await round_of(
        place, directory, f"test/{blow}", BLOWS[blow], times, dead_after_s=1.5, **life
    )
    assert tally.findings == []
    assert tally.figures["tasks"] > 0
    assert tally.figures["streams"] > 0
    return tally


async def test_replicas_are_killed(place: Place, tmp_path: Path) -> None:
    """Nothing acknowledged is lost, nothing done twice, every task ends.  Source: R-SCALE-20."""
    tally = await _round(place, tmp_path, "kills", 3)
    assert tally.blows["kills"] == 3


async def test_a_replica_is_stopped_for_longer_than_its_lease(place: Place, tmp_path: Path) -> None:
    """When it goes on, it commits nothing and begins nothing of what it had.

    Source: R-SCALE-21.
    """
    tally = await _round(place, tmp_path, "stops", 1)
    assert tally.blows["stops"] == 1


async def test_a_replica_stops_on_the_brink_of_a_call(place: Place, tmp_path: Path) -> None:
    """It had written down that it makes the call; then it is no longer its to make.

    Source: R-SCALE-22.
    """
    tally = await _round(place, tmp_path, "brinks", 1)
    assert tally.blows["stops on the brink of a call"] == 1


async def test_the_store_fails_and_comes_back(place: Place, tmp_path: Path) -> None:
    """Nothing is lost, doubled or left out, in logs or in streams.  Source: R-SCALE-23."""
    tally = await _round(place, tmp_path, "restarts", 1)
    assert tally.blows["restarts of the store"] == 1


async def test_a_replica_is_drained(place: Place, tmp_path: Path) -> None:
    """It hands its turns over, and cuts no call off.  Source: R-SCALE-24."""
    tally = await _round(place, tmp_path, "rolls", 2)
    assert tally.blows["drains"] == 2
    assert tally.figures["in doubt"] == 0
