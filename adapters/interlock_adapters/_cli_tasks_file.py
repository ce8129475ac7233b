"""Tasks in the SQLite file of a store: read also while a server runs, changed only while none does.

A change is committed and acted on by the next engine that opens the file.  Whoever may write to
the file may do everything: who says that he is somebody (`--as`) is written down as that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from interlock import (
    Answer,
    Approval,
    Denial,
    Lifecycle,
    OpenAsk,
    Phase,
    SqliteStore,
    SystemClock,
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
from interlock._sqlite_doctor import existing, looking_at
from interlock._store import whole_log
from interlock.errors import EngineError, StoreCorrupt, StoreLocked, UnknownTask
from interlock_adapters._access import is_for_operator
from interlock_adapters._cli_tasks_desk import DeskError, Json, Tell, Wanted
from interlock_adapters._management_view import task_detail, task_shown
from interlock_adapters._principal import Role

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


class FileDesk:
    """Does it with the file."""

    when = "at the next start"

    def __init__(self, path: Path, lifecycle: Lifecycle, actor: str) -> None:
        """Tasks of the file at `path`, which live by that lifecycle; changes are `actor`'s."""
        self._path: Final = path
        self._lifecycle: Final = lifecycle
        self._actor: Final = actor
        self._rights: Final = _Everything()

    def tasks(self, wanted: Wanted) -> Json:
        """See `Desk.tasks`."""
        names = {p.value: p for p in self._lifecycle.phases if p is not Phase.FINALIZED}
        if unknown := [name for name in wanted.phases if name not in names]:
            raise DeskError(f"there is no phase {unknown[0]!r}; the phases are: {', '.join(names)}")
        shown = frozenset(names[name] for name in wanted.phases) or None
        query = TaskQuery(search=wanted.search, shown=shown, limit=wanted.limit)
        with _Told(), looking_at(existing(self._path)) as db:
            page = reading.page(db, _left_out, query)
        tasks = [_json(task_shown(self._rights, record)) for record in page.records]
        return {"tasks": tasks, "total": page.total}

    def task(self, task_id: str) -> Json:
        """See `Desk.task`."""
        return _json(task_detail(self._rights, self._view(task_id)))

    def events(self, task_id: str) -> list[Json]:
        """See `Desk.events`."""
        return [event.to_json() for event in self._view(task_id).events]

    def act(self, task_id: str, action: str, body: Json) -> Json:
        """See `Desk.act`."""
        return _json(task_shown(self._rights, self._do(self._acted(task_id, action, body))))

    def forget(self, task_id: str) -> None:
        """See `Desk.forget`."""

        async def forgotten(store: SqliteStore) -> None:
            record = await store.get(task_id)
            if record is None:
                raise UnknownTask(task_id)
            if not await store.forget(task_id):
                why = f"task {task_id!r} is {record.shown}, and not finalized"
                raise DeskError(f"{why}; one that is over, and of which all were told, is accepted")

        self._do(forgotten)

    def close(self) -> None:
        """See `Desk.close`: nothing is held between two calls."""

    def purge(self, older_than_s: float, tell: Tell) -> int:
        """See `Desk.purge`."""

        async def purged(store: SqliteStore) -> int:
            before, count = SystemClock().now() - older_than_s, 0
            while gone := await store.purge(before, limit=_PURGED_AT_ONCE):
                count += len(gone)
                tell("forgotten", count, 0)
            return count

        return self._do(purged)

    def _view(self, task_id: str) -> TaskView:
        """The task and its log, as of one moment."""
        with _Told(), looking_at(existing(self._path)) as db:
            db.execute("BEGIN")
            record = reading.record(db, task_id) if _is_whole(task_id) else None
            if record is None:
                raise UnknownTask(task_id)
            events = reading.events(db, task_id, 0, record.seq)
            return TaskView(record, tuple(whole_log(record, events)))

    def _acted(
        self, task_id: str, action: str, body: Json
    ) -> Callable[[SqliteStore], Awaitable[TaskRecord]]:
        """What commits the change."""
        said: dict[str, Any] = {
            "actor": self._actor,
            "at": SystemClock().now(),
            "lifecycle": self._lifecycle,
        }
        with _Told():
            match action:
                case "answer":
                    answer = Answer(**body)
                    said["roles"] = _ROLES
                    return lambda store: answer_stopped(store, task_id, answer, **said)
                case "approve" | "deny":
                    decision = _decision(action, body)
                    said["roles"] = _ROLES
                    return lambda store: decide_stopped(store, task_id, decision, **said)
                case "decline":
                    said["roles"] = _ROLES
                    return lambda store: decline_stopped(store, task_id, **body, **said)
                case "cancel":
                    return lambda store: cancel_stopped(store, task_id, **body, **said)
                case _:
                    return lambda store: resume_stopped(store, task_id, body["decision"], **said)

    def _do(self, work: "Callable[[SqliteStore], Awaitable[V]]") -> V:
        """Do something with the store, which nobody else may have open."""
        with _Told():
            existing(self._path)  # Opened by a name with a slip in it, a new one would be made.
            return asyncio.run(_with_store(self._path, work))


async def _with_store(path: Path, work: "Callable[[SqliteStore], Awaitable[V]]") -> V:
    store = SqliteStore(path)
    await store.open()
    try:
        return await work(store)
    finally:
        await store.close()


class _Told:
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


def _is_whole(text: str) -> bool:
    with suppress(UnicodeEncodeError):
        return bool(text.encode())
    return False


def _json(shown: Any) -> Json:  # noqa: ANN401  a model
    made: Json = shown.model_dump(mode="json", by_alias=True)
    return made
