"""What a page that is open is sent: parts of it, rendered anew by the templates that made it.

A message is an event of `text/event-stream` whose JSON says which element's content is replaced
(`id`, `html`), or to which rows are added.  The page's script does that and knows no more.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias

from starlette.responses import Response, StreamingResponse

from interlock import OVER, Event
from interlock.errors import EngineError, UnknownTask
from interlock_adapters._callers.base import AuthenticationUnavailable
from interlock_adapters.console._core import Turned, Visit
from interlock_adapters.console._log import event_row
from interlock_adapters.console._pages import (
    inbox_parts,
    lifecycle_parts,
    number_of,
    task_parts,
    tasks_parts,
)

#: Seconds after which a stream says that it is there, and looks whether it may go on.
HEARTBEAT_S: Final = 15.0
#: Streams of one session at once: a browser has no more tabs that somebody looks at.
STREAMS_MAX: Final = 32
#: Seconds without an event after which the page is brought up to date, and at the latest.
_QUIET_S, _BUSY_S = 0.05, 1.0

Parts: TypeAlias = dict[str, str]
Rendered: TypeAlias = Callable[[Visit], Awaitable[Parts]]


def message(event: str, said: object, event_id: int | None = None) -> bytes:
    """One event of a stream."""
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"{head}event: {event}\ndata: {json.dumps(said)}\n\n".encode()


@dataclass(slots=True)
class _Sent:
    """What a page shows by now, so that only what differs is sent."""

    parts: Parts

    def news(self, parts: Parts) -> list[bytes]:
        changed = {name: html for name, html in parts.items() if self.parts.get(name) != html}
        self.parts |= changed
        return [message("part", {"id": name, "html": html}) for name, html in changed.items()]


async def inbox_live(visit: Visit) -> Response:
    """The inbox, as asks come and go."""
    return _stream(visit, _of_list(visit, inbox_parts))


async def tasks_live(visit: Visit) -> Response:
    """The list of tasks, as it changes."""
    return _stream(visit, _of_list(visit, tasks_parts))


async def lifecycle_live(visit: Visit) -> Response:
    """How many tasks are where, as it changes."""
    return _stream(visit, _of_list(visit, lifecycle_parts))


async def task_live(visit: Visit) -> Response:
    """One task: each event of its log, and the parts of the page that follow from it."""
    task_id = visit.request.path_params["task_id"]
    record = await visit.access.record(task_id)
    said = visit.request.headers.get("last-event-id") or visit.request.query_params.get("after")
    after = number_of(said or "") or 0
    return _stream(visit, _of_task(visit, task_id, min(after, record.seq)))


def _stream(visit: Visit, messages: AsyncGenerator[bytes]) -> Response:
    session = visit.session
    if session.streams >= STREAMS_MAX:
        raise Turned(HTTPStatus.TOO_MANY_REQUESTS, "too many pages of this session are open")

    async def counted() -> AsyncGenerator[bytes]:
        # Counted from here: a response that is never begun has no end either.
        session.streams += 1
        try:
            async with aclosing(messages):
                async for each in messages:
                    yield each
        finally:
            session.streams -= 1

    # `no-transform`: what lies between must not hold it back to compress it.
    headers = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}
    return StreamingResponse(counted(), media_type="text/event-stream", headers=headers)


async def _may_go_on(visit: Visit) -> bool:
    console = visit.console
    try:
        is_live = await console.sessions.is_live(visit.session)
    except AuthenticationUnavailable:
        return False
    same = visit.session.principal == visit.access.principal
    return is_live and same and not console.stopping.begun


async def _of_list(visit: Visit, rendered: Rendered) -> AsyncGenerator[bytes]:
    console = visit.console
    sent = _Sent({})
    yield b"retry: 2000\n\n"
    async with console.pulse.listening():
        while await _may_go_on(visit):
            beats = console.pulse.beats
            try:
                news = sent.news(await rendered(visit))
            except EngineError:
                return  # The browser asks again, and is told.
            for each in news:
                yield each
            try:
                async with console.stopping.patience():
                    if await console.pulse.after(beats, HEARTBEAT_S) == beats:
                        yield b": here\n\n"
            except TimeoutError:
                return


async def _of_task(visit: Visit, task_id: str, after: int) -> AsyncGenerator[bytes]:
    """Each event at once; the parts that follow from it when there is nothing to tell for now."""
    sent = _Sent({})
    yield b"retry: 2000\n\n"
    try:
        async with aclosing(_events(visit, task_id, after)) as events:
            async for event in events:
                if event is not None:
                    html = visit.part("_events", rows=[event_row(event)])
                    yield message("rows", {"id": "log-rows", "html": html}, event.seq)
                    continue
                if not await _may_go_on(visit):
                    return
                for each in sent.news(await task_parts(visit, task_id)) or [b": here\n\n"]:
                    yield each
        if visit.console.stopping.begun or (await visit.access.record(task_id)).phase not in OVER:
            return  # The engine closes: the browser asks again.
        for each in sent.news(await task_parts(visit, task_id)):
            yield each
        yield message("end", {})
    except UnknownTask:
        # It went where this principal may not look, or was purged.
        yield message("end", {"gone": True})
    except EngineError:
        return


async def _events(visit: Visit, task_id: str, after: int) -> AsyncGenerator[Event | None]:
    """The events of a task, and None when none came for a while: at first, and after some."""
    clock = asyncio.get_running_loop().time
    told_at, is_dirty = clock(), True
    async with aclosing(visit.access.subscribe(task_id, after)) as events:
        coming: asyncio.Future[Event] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(events))
                async with visit.console.stopping.patience():
                    await asyncio.wait([coming], timeout=_QUIET_S if is_dirty else HEARTBEAT_S)
                if not coming.done() or (is_dirty and clock() - told_at >= _BUSY_S):
                    yield None
                    told_at, is_dirty = clock(), False
                    continue
                event, coming = coming.result(), None
                is_dirty = True
                yield event
        except (StopAsyncIteration, TimeoutError):
            return  # The task is over, or the server stops.
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
