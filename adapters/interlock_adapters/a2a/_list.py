"""ListTasks as a query of the store, its pages, and the token between two of them."""

import asyncio
import base64
import binascii
import json
import math
from typing import Final

from a2a.types import ListTasksRequest, TaskState

from interlock import Engine, TaskQuery
from interlock.errors import InvalidInput, StoreCorrupt, UnknownTask
from interlock_adapters.a2a._json import Json, dumped
from interlock_adapters.a2a._map import PHASES_OF, invalid, invalid_state
from interlock_adapters.a2a._request import history_length_of
from interlock_adapters.a2a._view import task_json

PAGE_SIZE: Final = 50
PAGE_SIZE_MAX: Final = 100
#: A page ends with the task that takes it to so many bytes of JSON.
PAGE_BYTES_MAX: Final = 2 * 1_048_576


async def page_json(engine: Engine, params: ListTasksRequest, owner: str) -> Json:
    """The page that a request means, of one owner's tasks.

    Raises:
        InvalidParamsError: as `_query_of`, or the history length is out of bounds.
    """
    length = history_length_of(params)
    query = _query_of(params, owner)
    try:
        page = await engine.page(query)
    except InvalidInput as error:
        raise invalid(
            "page_token" if params.page_token else "context_id", *error.problems
        ) from None
    tasks: list[Json] = []
    size, cursor = 0, page.next_cursor
    for number, record in enumerate(page.records):
        if size > PAGE_BYTES_MAX:
            # What does not fit is not even read; the next page begins with it.
            last = page.records[number - 1]
            cursor = last.updated_at, last.task_id
            break
        # One task may be much work already, and a store in memory never waits.
        await asyncio.sleep(0)
        try:
            events = await engine.events(record.task_id, owner=owner)
        except (StoreCorrupt, UnknownTask):
            continue  # One that cannot be read, or was purged just now, hides no other.
        # As of the page: what happened since may not fit the filter.
        task = task_json(
            events[: record.seq], history_length=length, with_artifacts=params.include_artifacts
        )
        if params.include_artifacts:
            task.setdefault("artifacts", [])
        tasks.append(task)
        size += _json_bytes(task)
    return {
        "tasks": tasks,
        "nextPageToken": _token_of(params, owner, cursor),
        "pageSize": query.limit,
        "totalSize": page.total,
    }


def _query_of(params: ListTasksRequest, owner: str) -> TaskQuery:
    """The query that a request means, for one owner.

    Raises:
        InvalidParamsError: a page size out of bounds, no such state, or a token that is not
            from a page of the same query.
    """
    size = params.page_size if params.HasField("page_size") else PAGE_SIZE
    if not 1 <= size <= PAGE_SIZE_MAX:
        raise invalid("page_size", f"must be from 1 to {PAGE_SIZE_MAX}")
    shown = None
    if params.status != TaskState.TASK_STATE_UNSPECIFIED:
        shown = PHASES_OF.get(params.status)
        if shown is None:
            raise invalid_state()
    since = None
    if params.HasField("status_timestamp_after"):
        stamp = params.status_timestamp_after
        since = stamp.seconds + stamp.nanos / 1e9
    return TaskQuery(
        owner=owner,
        context_id=params.context_id or None,
        shown=shown,
        updated_since=since,
        limit=size,
        cursor=_cursor_of(params, owner) if params.page_token else None,
    )


def _token_of(params: ListTasksRequest, owner: str, cursor: tuple[float, str] | None) -> str:
    """What the client must send for the page that begins after `cursor`; "" for the last page."""
    if cursor is None:
        return ""
    place = json.dumps([*cursor, _fingerprint(params, owner)])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _json_bytes(task: Json) -> int:
    """How many bytes of JSON a task is."""
    # Written as it will be: the C encoder is quicker than a walk that adds up lengths.
    return len(dumped(task).encode())


def _cursor_of(params: ListTasksRequest, owner: str) -> tuple[float, str]:
    token = params.page_token
    try:
        place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    match place:
        case [float() as at, str() as task_id, str() as fingerprint] if math.isfinite(at):
            # Not a secret: a forged token shows its forger only other pages of their own.
            if fingerprint == _fingerprint(params, owner):
                return at, task_id
            raise invalid("page_token", "is of another query")
        case _:
            raise invalid("page_token", "is not one that was given")


def _fingerprint(params: ListTasksRequest, owner: str) -> str:
    """Stands for what is listed: the filters must not change between two pages."""
    after = params.status_timestamp_after
    filters = (owner, params.context_id, params.status, after.seconds, after.nanos)
    return f"{binascii.crc32(repr(filters).encode()):08x}"
