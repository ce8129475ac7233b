"""What is answered without the server.  R-PG-01."""

from typing import Any, cast

from interlock import TaskPage, TaskQuery
from interlock_adapters.postgres import _reader as reading


async def test_of_no_phase_at_all_there_is_nothing_to_look_for() -> None:
    """An engine that opens asks for phases of other lifecycles, of which there are mostly none.

    No index is by phase: the server would read every task there is, twice, and give up a start
    when that takes it longer than a statement may.
    """
    nowhere = cast("Any", None)
    found = await reading.page(nowhere, reading.Notes(), TaskQuery(shown=frozenset()))
    assert found == TaskPage((), 0, None)
