"""Tasks in the SQLite file of a store: read also while a server runs, changed only while none does.

A change is committed and acted on by the next engine that opens the file.  Whoever may write to
the file may do everything: who says that he is somebody (`--as`) is written down as that.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from interlock import (
    Answer,
    Approval,
    Clock,
    Denial,
    Lifecycle,
    OpenAsk,
    Phase,
    SqliteStore,
    Store,
    SystemClock,
    TaskPage,
    TaskQuery,
    TaskRecord,
    TaskView,
    answer_stopped,
    cancel_stopped,
    decide_stopped,
    decline_stopped,
    resume_stopped,
)
from interlock import _sqlite_reader as reading
from interlock._edge import query_problems
from interlock._sqlite_doctor import existing, looking_at
from interlock.errors import EngineError, StoreCorrupt, StoreLocked, UnknownTask
from interlock.stores import whole_log
from interlock_adapters._callers.access import is_for_operator
from interlock_adapters._callers.principal import Role
from interlock_adapters._shown.tasks import task_detail, task_shown
from interlock_adapters.cli._tasks_desk import DeskError, Json, Tell, Wanted

V = TypeVar("V")

#: Whoever has the file.
_ROLES: Final = tuple(role.value for role in Role)
#: Tasks that are forgotten at a time.
_PURGED_AT_ONCE: Final = 500


class _Everything:
    """The rights of whoever has the file."""

    def may_answer(self, _record: TaskRecord, ask: OpenAsk) -> bool:
        return not is_for_operator(ask)

    def may_cancel(self, _record: TaskRecord) -> bool:
        return True

    def may_resume(self, _record: TaskRecord) -> bool:
        return True


#: Of whoever has the store.
RIGHTS: Final = _Everything()


class OwnDesk(ABC):
    """Does it without a server, for whoever has what the tasks are kept in."""

    def __init__(self, lifecycle: Lifecycle, actor: str) -> None:
        """Tasks that live by that lifecycle; changes are `actor`'s."""
        self._lifecycle: Final = lifecycle
        self._actor: Final = actor

    def tasks(self, wanted: Wanted) -> Json:
        """See `Desk.tasks`."""
        shown = phases_named(self._lifecycle, wanted.phases)
        query = TaskQuery(search=wanted.search, shown=shown, limit=wanted.limit)
        if problems := query_problems(query):
            raise DeskError("; ".join(problems))
        page = self._page(query)
        tasks = [as_json(task_shown(RIGHTS, record)) for record in page.records]
        return {"tasks": tasks, "total": page.total}

    def task(self, task_id: str) -> Json:
        """See `Desk.task`."""
        return as_json(task_detail(RIGHTS, self._view(task_id)))

    def events(self, task_id: str) -> list[Json]:
        """See `Desk.events`."""
        return [event.to_json() for event in self._view(task_id).events]

    def act(self, task_id: str, action: str, body: Json) -> Json:
        """See `Desk.act`."""
        work = acted(task_id, action, body, self._actor, self._lifecycle)
        return as_json(task_shown(RIGHTS, self._do(work)))

    def forget(self, task_id: str) -> None:
        """See `Desk.forget`."""
        self._do(lambda store, _: forgotten(store, task_id))

    def purge(self, older_than_s: float, tell: Tell) -> int:
        """See `Desk.purge`."""
        return self._do(lambda store, clock: purged(store, clock.now() - older_than_s, tell))

    @abstractmethod
    def _page(self, query: TaskQuery) -> TaskPage:
        """One page of tasks."""

    @abstractmethod
    def _view(self, task_id: str) -> TaskView:
        """The task and its log, as of one moment; raises UnknownTask."""

    @abstractmethod
    def _do(self, work: "Callable[[Store, Clock], Awaitable[V]]") -> V:
        """Do something with the store while it is open, at the time of its clock."""


class FileDesk(OwnDesk):
    """Does it with the file."""

    when = "at the next start"

    def __init__(self, path: Path, lifecycle: Lifecycle, actor: str) -> None:
        """Tasks of the file at `path`; see `OwnDesk`."""
        super().__init__(lifecycle, actor)
        self._path: Final = path

    def close(self) -> None:
        """See `Desk.close`: nothing is held between two calls."""

    def _page(self, query: TaskQuery) -> TaskPage:
        with Told(), looking_at(existing(self._path)) as db:
            return reading.page(db, _left_out, query)

    def _view(self, task_id: str) -> TaskView:
        """The task and its log, as of one moment."""
        with Told(), looking_at(existing(self._path)) as db:
            db.execute("BEGIN")
            record = reading.record(db, task_id) if is_whole(task_id) else None
            if record is None:
                raise UnknownTask(task_id)
            events = reading.events(db, task_id, 0, record.seq)
            return TaskView(record, tuple(whole_log(record, events)))

    def _do(self, work: "Callable[[Store, Clock], Awaitable[V]]") -> V:
        """Nobody else may have it open."""
        with Told():
            existing(self._path)  # Opened by a name with a slip in it, a new one would be made.
            return asyncio.run(_with_store(self._path, work))


async def _with_store(path: Path, work: "Callable[[Store, Clock], Awaitable[V]]") -> V:
    store = SqliteStore(path)
    await store.open()
    try:
        return await work(store, SystemClock())
    finally:
        await store.close()


def acted(
    task_id: str, action: str, body: Json, actor: str, lifecycle: Lifecycle
) -> Callable[[Store, Clock], Awaitable[TaskRecord]]:
    """What commits the change to a store that is open, at the time of a clock.

    Raises:
        DeskError: it is not meant so.
    """
    with Told():
        said: Answer | Approval | Denial | None = None
        if action == "answer":
            said = Answer(**body)
        elif action in {"approve", "deny"}:
            said = _decision(action, body)

    async def work(store: Store, clock: Clock) -> TaskRecord:
        how: dict[str, Any] = {"actor": actor, "at": clock.now(), "lifecycle": lifecycle}
        match said:
            case Answer():
                return await answer_stopped(store, task_id, said, roles=_ROLES, **how)
            case Approval() | Denial():
                return await decide_stopped(store, task_id, said, roles=_ROLES, **how)
            case _ if action == "decline":
                return await decline_stopped(store, task_id, roles=_ROLES, **body, **how)
            case _ if action == "cancel":
                return await cancel_stopped(store, task_id, **body, **how)
            case _:
                return await resume_stopped(store, task_id, body["decision"], **how)

    return work


async def forgotten(store: Store, task_id: str) -> None:
    """Forget a finalized task.

    Raises:
        DeskError: it is not finalized.
        UnknownTask: it is not there.
    """
    record = await store.get(task_id) if is_whole(task_id) else None
    if record is None:
        raise UnknownTask(task_id)
    if not await store.forget(task_id):
        why = f"task {task_id!r} is {record.shown}, and not finalized"
        raise DeskError(f"{why}; one that is over, and of which all were told, is accepted")


async def purged(store: Store, before: float, tell: Tell) -> int:
    """Forget finalized tasks that changed last before that time; how many they were."""
    count = 0
    while gone := await store.purge(before, limit=_PURGED_AT_ONCE):
        count += len(gone)
        tell("forgotten", count, 0)
    return count


def phases_named(lifecycle: Lifecycle, names: Sequence[str]) -> frozenset[Phase] | None:
    """The phases of these names; None if there are none.

    Raises:
        DeskError: one is none.
    """
    known = {p.value: p for p in lifecycle.phases if p is not Phase.FINALIZED}
    if unknown := [name for name in names if name not in known]:
        raise DeskError(f"there is no phase {unknown[0]!r}; the phases are: {', '.join(known)}")
    return frozenset(known[name] for name in names) or None


class Told:
    """Makes what goes wrong a DeskError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StoreLocked):
            raise DeskError(f"{error}; stop it first, or say --server URL") from None
        if isinstance(error, EngineError):
            raise DeskError(str(error)) from None
        if isinstance(error, ValidationError):
            fault = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(step) for step in fault["loc"])
            raise DeskError(f"{where}: {fault['msg']}") from None


def _decision(action: str, body: Json) -> Approval | Denial:
    if action == "approve":
        return Approval(decision="approve", **body)
    return Denial(decision="deny", **body)


def _left_out(_error: StoreCorrupt) -> None:
    """`interlock doctor` names them."""


def is_whole(text: str) -> bool:
    """Whether it can be the id of a task: not empty, and no half of a character in it."""
    with suppress(UnicodeEncodeError):
        return bool(text.encode())
    return False


def as_json(shown: Any) -> Json:  # noqa: ANN401  a model
    """What the management API would answer with."""
    made: Json = shown.model_dump(mode="json", by_alias=True)
    return made
