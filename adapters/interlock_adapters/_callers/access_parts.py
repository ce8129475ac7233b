"""What `Access` is made of: its refusal, the inbox, and the tokens of answers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from interlock import OpenAsk, TaskPage, TaskRecord
from interlock._memory import OPERATOR
from interlock.errors import EngineError, InvalidInput, Refused, TokenReused, UnknownTask
from interlock_adapters._tokens import OWN

#: Tasks of one page, at most.
PAGE_MAX: Final = 200


class NotAllowed(EngineError):
    """The task is there for this principal, and its roles do not reach what it wants."""

    code = "not_allowed"


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """An open ask that somebody may deal with, and the task that asks."""

    record: TaskRecord
    ask: OpenAsk
    #: It is an operator's to decide (`Access.resume`), and nobody's to answer.
    for_operator: bool


@dataclass(frozen=True, slots=True)
class InboxPage:
    """Some of the inbox: what a task asks is never on two pages."""

    entries: tuple[InboxEntry, ...]
    #: Where it goes on; None at the end.  A page with few entries, or none, may have one.
    next_cursor: tuple[float, str] | None


class Repeats:
    """The token of an answer, which is the principal's own even on somebody else's task.

    The owner's and those of several approvers must not be taken for each other's.
    """

    def __init__(self, who: str, record: TaskRecord, token: str | None, *, hidden: bool) -> None:
        """The token of `who` on a task, which may be `hidden` from him by now."""
        self._token: Final = token
        self._task_id: Final = record.task_id
        self._hidden: Final = hidden
        kept = token
        if token is not None and record.owner != who:
            whole = f"{len(who)} {who} {token}".encode(errors="surrogatepass")
            kept = f"{OWN}by:{hashlib.sha256(whole).hexdigest()}"
        self._kept: Final = kept

    def __enter__(self) -> str | None:
        """The token as it is kept."""
        return self._kept

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Make of a refusal what this principal may hear of it."""
        if isinstance(error, TokenReused) and self._token is not None:
            raise TokenReused(self._token) from None
        if isinstance(error, Refused) and self._hidden:
            # No repeat after all; what has become of the task is not for him.
            raise UnknownTask(self._task_id) from None


def merged(pages: Sequence[TaskPage], limit: int) -> TaskPage:
    """One page of what several queries with the same cursor gave, newest change first."""
    # By id: a task may have gone from one to the other between them.
    found = {record.task_id: record for page in pages for record in page.records}
    newest = sorted(found.values(), key=lambda r: (r.updated_at, r.task_id), reverse=True)
    shown = tuple(newest[:limit])
    more = len(newest) > len(shown) or any(page.next_cursor is not None for page in pages)
    last = (shown[-1].updated_at, shown[-1].task_id) if more and shown else None
    return TaskPage(shown, sum(page.total for page in pages), last)


def is_for_operator(ask: OpenAsk) -> bool:
    """Whether it is the engine that asks an operator how the task goes on."""
    return ask.key.startswith(OPERATOR)


def named(name: str, what: str = "ask") -> str:
    """The name of an ask, or a digest.

    Raises:
        InvalidInput: it is empty.
    """
    if not name:
        raise InvalidInput([f"the {what} is empty; it is named as the task shows it"])
    return name


def check_limit(limit: int) -> None:
    """See that a page is neither empty nor endless.

    Raises:
        InvalidInput: it is.
    """
    if not 1 <= limit <= PAGE_MAX:
        raise InvalidInput([f"the limit is not from 1 to {PAGE_MAX}"])
