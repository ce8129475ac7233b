"""Management of tasks: list, look, follow, and everything that people do with them."""

import base64
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from interlock import Lifecycle, Phase
from interlock.errors import InvalidInput
from interlock_adapters._callers.access import PAGE_MAX
from interlock_adapters._http.shutdown import Stopping
from interlock_adapters._shown.models import (
    WORDS_MAX,
    AnswerBody,
    ApproveBody,
    CancelBody,
    DeclineBody,
    DenyBody,
    EventShown,
    EventsShown,
    InboxEntryShown,
    InboxShown,
    ResumeBody,
    TaskDetail,
    TaskPageShown,
    TaskShown,
)
from interlock_adapters._shown.tasks import ask_shown, task_detail, task_shown
from interlock_adapters.management._audit import audit
from interlock_adapters.management._caller import Caller
from interlock_adapters.management._problems import problems
from interlock_adapters.management._stream import PLACE_MAX, Encoder, event_stream, place_of

Cursor: TypeAlias = tuple[float, str]

Limit: TypeAlias = Annotated[int, Query(ge=1, le=PAGE_MAX)]
After: TypeAlias = Annotated[int, Query(ge=0, le=PLACE_MAX, description="the last event seen")]
Given: TypeAlias = Annotated[
    str | None, Query(max_length=2_048, description="`next_cursor` of the page before")
]

#: Phases that one request names, at most.
_PHASES_MAX: Final = 64
_READ: Final = problems(404, 422, 503)
_WRITE: Final = problems(403, 404, 409, 422, 429, 503)


def tasks_router(lifecycle: Lifecycle, stopping: Stopping) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["tasks"])
    _add_reading(router, lifecycle)
    _add_events(router, stopping)
    _add_answers(router)
    _add_orders(router)
    return router


def _add_reading(router: APIRouter, lifecycle: Lifecycle) -> None:
    names = {phase.value: phase for phase in lifecycle.phases if phase is not Phase.FINALIZED}

    @router.get("/tasks", summary="Tasks, newest change first", responses=problems(422, 503))
    async def list_tasks(
        access: Caller,
        phase: Annotated[
            list[str], Query(max_length=_PHASES_MAX, description=f"of: {', '.join(names)}")
        ] = [],  # noqa: B006  FastAPI copies it
        search: Annotated[str | None, Query(max_length=WORDS_MAX)] = None,
        limit: Limit = 50,
        cursor: Given = None,
    ) -> TaskPageShown:
        """Those that the caller sees: its own, and by its roles those of its tenant.

        `search` is the beginning of a task's id, its context's id, or a part of its owner.
        An approver sees tasks of others if every phase that is asked for is one of waiting.
        """
        page = await access.page(
            phases=_phases(phase, names),
            search=search,
            limit=limit,
            cursor=cursor_of(cursor),
        )
        return TaskPageShown(
            tasks=[task_shown(access, record) for record in page.records],
            total=page.total,
            next_cursor=cursor_text(page.next_cursor),
        )

    @router.get("/tasks/{task_id}", summary="One task with its journal", responses=_READ)
    async def get_task(access: Caller, task_id: str) -> TaskDetail:
        """The task, its open asks, what may be done now, artifacts, journal, calls in doubt."""
        return task_detail(access, await access.view(task_id))

    @router.get("/inbox", summary="Asks that wait for the caller", responses=problems(422, 503))
    async def list_inbox(access: Caller, limit: Limit = 50, cursor: Given = None) -> InboxShown:
        """Open asks that the caller may deal with, of the tasks that changed last first."""
        page = await access.inbox(limit=limit, cursor=cursor_of(cursor))
        return InboxShown(
            entries=[
                InboxEntryShown(
                    task=task_shown(access, entry.record),
                    ask=ask_shown(access, entry.record, entry.ask),
                )
                for entry in page.entries
            ],
            next_cursor=cursor_text(page.next_cursor),
        )


def _add_events(router: APIRouter, stopping: Stopping) -> None:
    encoder = Encoder()

    @router.get("/tasks/{task_id}/events", summary="The log of a task", responses=_READ)
    async def list_events(access: Caller, task_id: str, after: After = 0) -> EventsShown:
        """The events with a greater number than `after`."""
        events = await access.events(task_id, after)
        return EventsShown(events=[EventShown(**event.to_json()) for event in events])

    streamed: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "Each event has its number as `id`; `event: end` follows the last",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "The task is over, and nothing came after that event"},
        **problems(404, 422, 429, 503),
    }

    @router.get(
        "/tasks/{task_id}/events/stream",
        summary="The log of a task as it grows",
        responses=streamed,
        response_class=Response,
    )
    async def stream_events(
        access: Caller,
        task_id: str,
        after: After = 0,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Server-sent events: what there is after `after` or `Last-Event-ID`, then what comes."""
        place = place_of(after, last_event_id)
        return await event_stream(access, task_id, place, encoder, stopping)


def _add_answers(router: APIRouter) -> None:

    @router.post("/tasks/{task_id}/answer", summary="Answer an ask", responses=_WRITE)
    async def answer_ask(access: Caller, task_id: str, said: AnswerBody) -> TaskShown:
        """Give the value that an open ask wants; the first valid answer wins."""
        record = await access.answer(task_id, said.ask, said.value, token=said.token)
        return task_shown(access, record)

    @router.post("/tasks/{task_id}/approve", summary="Approve a call", responses=_WRITE)
    async def approve_ask(access: Caller, task_id: str, said: ApproveBody) -> TaskShown:
        """Say yes to exactly what the digest names, or with `arguments` to these instead."""
        record = await access.approve(
            task_id, said.ask, said.digest, said.arguments, said.reason, token=said.token
        )
        return task_shown(access, record)

    @router.post("/tasks/{task_id}/deny", summary="Deny a call", responses=_WRITE)
    async def deny_ask(access: Caller, task_id: str, said: DenyBody) -> TaskShown:
        """Say no to what the digest names."""
        record = await access.deny(task_id, said.ask, said.digest, said.reason, token=said.token)
        return task_shown(access, record)

    @router.post("/tasks/{task_id}/decline", summary="Decline an ask", responses=_WRITE)
    async def decline_ask(access: Caller, task_id: str, said: DeclineBody) -> TaskShown:
        """Say that an open ask gets no value."""
        record = await access.decline(task_id, said.ask, said.reason, token=said.token)
        return task_shown(access, record)


def _add_orders(router: APIRouter) -> None:

    @router.post("/tasks/{task_id}/cancel", summary="Stop a task", responses=_WRITE)
    async def cancel_task(access: Caller, task_id: str, said: CancelBody) -> TaskShown:
        """Ask for the task to stop; a repeat is accepted and changes nothing."""
        return task_shown(access, await access.cancel(task_id, said.reason))

    @router.post("/tasks/{task_id}/resume", summary="Let a task go on", responses=_WRITE)
    async def resume_task(access: Caller, task_id: str, said: ResumeBody) -> TaskShown:
        """Decide how a task goes on that waits for an operator."""
        record = await access.resume(task_id, said.decision)
        audit(
            access.principal, "task_resumed", task=task_id, decision=said.decision, seq=record.seq
        )
        return task_shown(access, record)

    @router.delete(
        "/tasks/{task_id}",
        summary="Forget a task that is over",
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(403, 404, 409, 503),
    )
    async def forget_task(access: Caller, task_id: str) -> None:
        """Forget a finalized task, its log, tokens and watches, for good."""
        await access.forget(task_id)
        audit(access.principal, "task_forgotten", task=task_id)


def _phases(wanted: Sequence[str], names: Mapping[str, Phase]) -> frozenset[Phase] | None:
    """Phases by their names; None where none is named.

    Raises:
        InvalidInput: one is none of the lifecycle.
    """
    if not wanted:
        return None
    if not names.keys() >= set(wanted):
        raise InvalidInput([f"phase: there is no such one; the phases are: {', '.join(names)}"])
    return frozenset(names[name] for name in wanted)


def cursor_text(cursor: Cursor | None) -> str | None:
    """A cursor for a URL."""
    if cursor is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode().rstrip("=")


def cursor_of(text: str | None) -> Cursor | None:
    """The inverse.

    Raises:
        InvalidInput: it is none that a page gave.
    """
    if text is None:
        return None
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        at, task_id = json.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, TypeError, RecursionError):
        raise InvalidInput(["cursor: it is none that a page gave"]) from None
    return at, task_id
