"""What must hold of tasks that were purged, and of what should be: retention (R-FUZZ-26)."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from interlock._phases import Phase
from interlock._record import TaskRecord
from interlock.errors import UnknownTask
from interlock.models import Answer, Retention
from interlock.testing.fuzz._drive_process import Process
from interlock.testing.fuzz._faults import Disk
from interlock.testing.fuzz._oracle_run import Broken


async def check_gone(process: Process, gone: Sequence[TaskRecord]) -> None:
    """Ask an engine that is at rest for tasks that were purged, in every way.

    Raises:
        Broken: it knows one, one went too early, or something is held for one.
    """
    runtime = process.runtime
    assert runtime is not None
    for record in gone:
        _check_age(process, record)
        for what, ask in _ways(process, record):
            try:
                await ask()
            except UnknownTask:
                continue
            raise Broken("purge", f"{record.task_id} was purged, and {what} is answered")
        if runtime.writer.at_hand(record.task_id) is not None:
            raise Broken("I30", f"{record.task_id} was purged, and a cell is held for it")


def _ways(
    process: Process, record: TaskRecord
) -> Sequence[tuple[str, Callable[[], Awaitable[object]]]]:
    """Everything that the owner may ask for."""
    engine, task_id, owner = process.engine, record.task_id, record.owner
    said = Answer(ask=next(iter(record.closed), "a"), value="late")
    return (
        ("who looks at it", lambda: engine.record(task_id, owner=owner)),
        ("who reads its log", lambda: engine.events(task_id, owner=owner)),
        ("who wants all of it", lambda: engine.view(task_id, owner=owner)),
        ("who follows it", lambda: _first(engine.subscribe(task_id, owner=owner))),
        ("who answers it", lambda: engine.answer(task_id, said, owner=owner)),
        ("who cancels it", lambda: engine.cancel(task_id, owner=owner)),
        ("who wants its watches", lambda: engine.watches(task_id, owner=owner)),
    )


async def _first(events: AsyncGenerator[Any]) -> None:
    try:
        await anext(events, None)
    finally:
        await events.aclose()


def _check_age(process: Process, record: TaskRecord) -> None:
    """It was over, and for long enough: the clock never showed more than its latest.

    Raises:
        Broken: it was not.
    """
    if record.phase is not Phase.FINALIZED:
        raise Broken("purge", f"{record.task_id} was purged, and is {record.phase}")
    rule = process.engine.limits.retention
    ages = [rule.age_s] if rule.age_s is not None else []
    ages += [rule.at_least_s] if rule.tasks_max is not None else []
    old_s = process.clock.latest - record.updated_at
    if not ages or old_s < min(ages):
        raise Broken("purge", f"{record.task_id} was purged when it was {old_s:.0f} s old")


def check_retention(process: Process, disk: Disk, since: float) -> None:
    """Check that what was over before `since` is gone, when time enough for that has passed.

    Raises:
        Broken: something is still there.
    """
    rule: Retention = process.engine.limits.retention
    over = [record for record in disk.records if record.phase is Phase.FINALIZED]
    if rule.age_s is not None:
        for record in over:
            if record.updated_at < since:
                raise Broken("purge", f"{record.task_id} is over for too long and is still there")
    if rule.tasks_max is not None and len(over) > rule.tasks_max:
        # The newest are kept: those that go are among the oldest.
        oldest = min(over, key=lambda record: record.updated_at)
        if oldest.updated_at < since:
            raise Broken("purge", f"{len(over)} tasks that are over are still there")
