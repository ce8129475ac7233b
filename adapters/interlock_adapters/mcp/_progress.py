"""A task that a caller waits for: what its agent says of its progress, and how it goes on."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from interlock import OVER, Engine, Event, TaskRecord, Trigger
from interlock.errors import NotAccepting
from interlock_adapters.mcp._settings import Request

#: What a whole is: agents tell fractions, and people read percents.
TOTAL: Final = 100.0
#: How much further it is for each line that comes without a fraction.
STEP: Final = 0.01


async def followed(
    engine: Engine, record: TaskRecord, request: Request | None = None
) -> AsyncGenerator[TaskRecord]:
    """The task as it is now, and again each time that it has changed, until it is over.

    What its agent says of its progress on the way is told to the caller of `request`.

    Raises:
        NotAccepting: the engine closes before that.
    """
    task_id, owner, place = record.task_id, record.owner, record.seq
    progress = None if request is None else _Progress(request)
    async with aclosing(engine.subscribe(task_id, owner=owner, after=place)) as events:
        while True:
            record = await engine.record(task_id, owner=owner)
            if place >= record.seq:
                yield record
            event = await anext(events, None)
            if event is None:
                break
            place = event.seq
            if progress is not None and event.trigger is Trigger.PROGRESS:
                await progress.tell(event)
    record = await engine.record(task_id, owner=owner)
    if record.phase not in OVER:
        raise NotAccepting("the engine closes")
    yield record


class _Progress:
    """Tells the caller of one request, who has asked for it with a token."""

    def __init__(self, request: Request) -> None:
        self._session: Final = request.session
        self._told: float | None = None

    async def tell(self, event: Event) -> None:
        """Tell what one event says; nothing if it goes back: on the wire it only increases."""
        fraction, message = event.data.get("fraction"), event.data["message"]
        if fraction is not None:
            percent = round(fraction * TOTAL, 3)
            if self._told is None or percent > self._told:
                self._told = percent
                await self._session.report_progress(percent, TOTAL, message)
            return
        self._told = 0.0 if self._told is None else round(self._told + STEP, 3)
        await self._session.report_progress(self._told, None, message)
