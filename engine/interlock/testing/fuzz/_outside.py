"""A real store under simulated engines: each of its answers comes in one instant of the run.

It is opened in a process of its own, where time, threads and sockets are real, and asked through
a pipe; whoever asks waits for the answer, and nothing else of the simulation goes on meanwhile.
A store in memory is kept beside it, which says what every answer has to be.
"""

import asyncio
import multiprocessing
import pickle
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final, cast

from interlock._event import AGENT, ENGINE, Event, Signal
from interlock._machine import Lifecycle
from interlock._phases import Phase, Trigger
from interlock._record import TaskRecord
from interlock._store import Claim, Commit, Store, TaskPage, TaskQuery, Watch
from interlock.errors import InvalidInput, Refused, StoreError
from interlock.stores import store_at
from interlock.testing.fuzz._faults import Disk

#: Seconds that the process has to end by itself.
_ENDS_S: Final = 10.0
#: Moves that end a task, at most.
_MOVES_MAX: Final = 5
#: Tasks that are cleared away at once.
_AT_ONCE: Final = 100


class Outside:
    """A store in a process of its own, which is begun when it is first needed."""

    def __init__(self, url: str, lifecycle: Lifecycle) -> None:
        """Nothing is opened yet; the tasks live by `lifecycle`."""
        self._url: Final = url
        self._lifecycle: Final = lifecycle
        self._pipe: Connection | None = None
        self._process: Any = None  # Of a context that can fork.
        #: It was empty when it was opened: what is in it is ours to clear away.
        self._is_ours = False

    def __repr__(self) -> str:
        return f"Outside({self.shown!r})"

    @property
    def shown(self) -> str:
        """Its URL, without what may be a password."""
        return self._url.rpartition("@")[2]

    def clear(self) -> None:
        """Make it an empty store, for the next life.

        Raises:
            InvalidInput: it cannot be opened, or held tasks before anything was run on it.
        """
        if self._pipe is None:
            self._begin()
        self.call("clear")

    def call(self, name: str, *args: object, **options: object) -> Any:  # noqa: ANN401  as asked
        """What the method of that name returns, or raises."""
        assert self._pipe is not None
        self._pipe.send_bytes(pickle.dumps((name, args, options)))
        is_error, answer = pickle.loads(self._pipe.recv_bytes())  # noqa: S301  from a child of ours
        if not is_error:
            return answer
        kind, error_args, values = answer
        error: Exception = kind.__new__(kind)
        error.args = error_args
        vars(error).update(values)
        raise error

    def close(self) -> None:
        """Leave nothing of the last life, and end the process; harmless if there is none."""
        if self._is_ours:
            with suppress(StoreError, EOFError, OSError):
                self.call("clear")
        pipe, process = self._pipe, self._process
        self._pipe, self._process, self._is_ours = None, None, False
        if pipe is not None and process is not None:
            pipe.close()
            process.join(_ENDS_S)
            if process.is_alive():
                process.kill()
                process.join()

    def _begin(self) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            raise InvalidInput(["a store cannot be fuzzed here: the system cannot fork"])
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        work = (self._url, self._lifecycle, theirs, self._pipe)
        self._process = context.Process(target=_main, args=work, daemon=True)
        self._process.start()
        theirs.close()
        try:
            tasks = self.call("begin")
        except (EOFError, OSError):
            self.close()
            raise InvalidInput([f"the store {self.shown} cannot be opened"]) from None
        except Exception:
            self.close()
            raise
        if tasks:
            self.close()
            why = "every life begins with an empty store, and nothing of yours is to be lost"
            raise InvalidInput([f"the store {self.shown} holds {tasks} tasks: {why}"])
        self._is_ours = True


def _main(url: str, lifecycle: Lifecycle, pipe: Connection, other_end: Connection) -> None:
    other_end.close()
    with suppress(EOFError, KeyboardInterrupt):
        asyncio.run(_serve(url, lifecycle, pipe))


async def _serve(url: str, lifecycle: Lifecycle, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    store: Store | None = None
    try:
        while True:
            data = await loop.run_in_executor(None, pipe.recv_bytes)
            name, args, options = pickle.loads(data)  # noqa: S301  from the process that forked us
            try:
                if store is None:
                    store = store_at(url)
                    await store.open()
                answer = (False, await _answer(store, lifecycle, name, args, options))
            except Exception as error:  # noqa: BLE001  it is raised where somebody waits for it
                answer = (True, (type(error), error.args, vars(error)))
            pipe.send_bytes(pickle.dumps(answer))
    finally:
        if store is not None:
            await store.close()


async def _answer(
    store: Store, lifecycle: Lifecycle, name: str, args: Sequence[Any], options: Mapping[str, Any]
) -> object:
    match name:
        case "begin":
            return (await store.page(TaskQuery(limit=1))).total
        case "clear":
            await _clear(store, lifecycle)
            return None
        case _:
            return await getattr(store, name)(*args, **options)


async def _clear(store: Store, lifecycle: Lifecycle) -> None:
    """Forget all that there is; what is not over is brought to its end first."""
    while records := (await store.page(TaskQuery(limit=_AT_ONCE))).records:
        for record in records:
            await _end(store, lifecycle, record)
            await store.forget(record.task_id)


async def _end(store: Store, lifecycle: Lifecycle, record: TaskRecord) -> None:
    for _ in range(_MOVES_MAX):
        if record.phase is Phase.FINALIZED:
            return
        at = record.updated_at + 1.0
        for signal in (
            Signal(Trigger.FINALIZE, {"turn_alive": False, "deliveries_left": 0}, ENGINE, at),
            Signal(Trigger.STOPPED, {"epoch": record.epoch}, AGENT, at),
            Signal(Trigger.CANCEL, {"grace_s": 1.0, "reason": None}, record.owner, at),
        ):
            with suppress(Refused):
                move = lifecycle.fire(record, signal)
                await store.commit(Commit(move.record, (move.event,)))
                record = move.record
                break
    raise StoreError(f"task {record.task_id!r} of an earlier run cannot be brought to its end")


class OutsideDisk(Disk):
    """What every store of a run writes to, where a real one has to agree with it."""

    def __init__(self, outside: Outside) -> None:
        """An empty one; see `Outside.clear`."""
        super().__init__()
        outside.clear()
        self._outside: Final = outside
        #: Where the real store did what it must not, each as a sentence.
        self.differs: Final[list[str]] = []

    async def _agreed(
        self, name: str, ours: Awaitable[Any], *args: object, **options: object
    ) -> Any:  # noqa: ANN401  as asked
        """What both answer, or raise; if they do not agree, that is noted."""
        their_error: Exception | None = None
        theirs: object = None
        try:
            theirs = self._outside.call(name, *args, **options)
        except StoreError as error:
            their_error = error
        try:
            mine = await ours
        except StoreError as error:
            if type(error) is not type(their_error):
                self._note(name, args, their_error or theirs, error)
            raise
        if their_error is not None or _comparable(name, theirs) != _comparable(name, mine):
            self._note(name, args, their_error or theirs, mine)
        return mine

    def _note(self, name: str, args: object, theirs: object, ours: object) -> None:
        self.differs.append(
            f"{name}{args!r:.300} is answered {theirs!r:.300}, and not {ours!r:.300}"
        )

    async def commit(self, commit: Commit) -> None:
        """See `Store.commit`."""
        await self._agreed("commit", super().commit(commit), commit)

    async def get(self, task_id: str) -> TaskRecord | None:
        """See `Store.get`."""
        found: TaskRecord | None = await self._agreed("get", super().get(task_id), task_id)
        return found

    async def events(self, task_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """See `Store.events`."""
        ours = super().events(task_id, after, limit)
        found: list[Event] = await self._agreed("events", ours, task_id, after, limit)
        return found

    async def page(self, query: TaskQuery) -> TaskPage:
        """See `Store.page`."""
        found: TaskPage = await self._agreed("page", super().page(query), query)
        return found

    async def counts(self, query: TaskQuery) -> Mapping[Phase, int]:
        """See `Store.counts`."""
        found: Mapping[Phase, int] = await self._agreed("counts", super().counts(query), query)
        return found

    async def unfinished(self, after: str = "", limit: int = 500) -> list[TaskRecord]:
        """See `Store.unfinished`."""
        ours = super().unfinished(after, limit)
        found: list[TaskRecord] = await self._agreed("unfinished", ours, after, limit)
        return found

    async def open_tasks(self, owner: str) -> int:
        """See `Store.open_tasks`."""
        found: int = await self._agreed("open_tasks", super().open_tasks(owner), owner)
        return found

    async def due(self, now: float, after: tuple[float, str], limit: int = 100) -> list[TaskRecord]:
        """See `Store.due`."""
        ours = super().due(now, after, limit)
        found: list[TaskRecord] = await self._agreed("due", ours, now, after, limit)
        return found

    async def next_due(self, after: float) -> float | None:
        """See `Store.next_due`."""
        found: float | None = await self._agreed("next_due", super().next_due(after), after)
        return found

    async def claim(self, owner: str, token: str) -> Claim | None:
        """See `Store.claim`."""
        found: Claim | None = await self._agreed("claim", super().claim(owner, token), owner, token)
        return found

    async def put_watch(self, watch: Watch) -> None:
        """See `Store.put_watch`."""
        await self._agreed("put_watch", super().put_watch(watch), watch)

    async def advance_watch(self, before: Watch, after: Watch) -> bool:
        """See `Store.advance_watch`."""
        ours = super().advance_watch(before, after)
        found: bool = await self._agreed("advance_watch", ours, before, after)
        return found

    async def drop_watch(self, task_id: str, watch_id: str) -> bool:
        """See `Store.drop_watch`."""
        ours = super().drop_watch(task_id, watch_id)
        found: bool = await self._agreed("drop_watch", ours, task_id, watch_id)
        return found

    async def watches(self, task_id: str) -> list[Watch]:
        """See `Store.watches`."""
        found: list[Watch] = await self._agreed("watches", super().watches(task_id), task_id)
        return found

    async def behind(self, limit: int = 100) -> list[Watch]:
        """See `Store.behind`."""
        found: list[Watch] = await self._agreed("behind", super().behind(limit), limit)
        return found

    async def purge(self, before: float, *, keep: int = 0, limit: int = 100) -> list[str]:
        """See `Store.purge`."""
        ours = super().purge(before, keep=keep, limit=limit)
        found: list[str] = await self._agreed("purge", ours, before, keep=keep, limit=limit)
        return found

    async def forget(self, task_id: str) -> bool:
        """See `Store.forget`."""
        found: bool = await self._agreed("forget", super().forget(task_id), task_id)
        return found

    def check_whole(self) -> list[str]:
        """What the real store finds when it checks itself, each as a sentence."""
        found: list[str] = self._outside.call("verify")
        return found


def _comparable(name: str, answer: object) -> object:
    """The answer, where its order is nobody's business without it."""
    if name == "behind" and isinstance(answer, list):
        return sorted(map(repr, cast("list[Watch]", answer)))
    if name == "counts" and isinstance(answer, Mapping):
        return dict(cast("Mapping[Phase, int]", answer))
    return answer
