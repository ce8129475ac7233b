"""Times, seconds since 1970, as a calendar has them."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_S: Final = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds()


def utc(at: float) -> datetime:
    """The time, down to whole microseconds; what no calendar has any more is its last second.

    Agents and clients may give a task as long as they like, and whoever looks at it is shown
    the rest of it nevertheless.
    """
    return _EPOCH + timedelta(microseconds=int(min(at, _LAST_S) * 1_000_000))
