"""ListTasks as a query of the store, and the page token between two pages.  Pure."""

import base64
import binascii
import json
import math
from typing import Final

from a2a.types import ListTasksRequest, TaskState

from interlock import TaskQuery
from interlock_adapters._a2a_map import PHASES_OF, invalid

PAGE_SIZE: Final = 50
PAGE_SIZE_MAX: Final = 100


def query_of(params: ListTasksRequest, owner: str) -> TaskQuery:
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
            raise invalid("status", "is no task state")
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


def token_of(params: ListTasksRequest, owner: str, cursor: tuple[float, str] | None) -> str:
    """What the client must send for the page that begins after `cursor`; "" for the last page."""
    if cursor is None:
        return ""
    place = json.dumps([*cursor, _fingerprint(params, owner)])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


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
