"""Tasks of a store that processes share: read and changed whatever runs on it meanwhile.

No agent runs here: a change is committed, and who takes the turns of the store goes on with the
task.  Whoever may open the store may do everything: who says that he is somebody (`--as`) is
written down as that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from urllib.parse import parse_qsl, urlencode

from interlock import Clock, Lifecycle, Store, TaskPage, TaskQuery, TaskView
from interlock.errors import UnknownTask
from interlock.stores import SharedStore, shared, store_at, whole_log
from interlock_adapters._shown.config import without_secrets
from interlock_adapters.cli._tasks_desk import DeskError
from interlock_adapters.cli._tasks_file import OwnDesk, Told, is_whole

V = TypeVar("V")

_POSTGRES: Final = frozenset({"postgres", "postgresql"})


class StoreDesk(OwnDesk):
    """Does it with the store; it is open from the first thing that is done to the end."""

    when = "now"

    def __init__(self, url: str, lifecycle: Lifecycle, actor: str) -> None:
        """Tasks of the store; see `OwnDesk`.

        Raises:
            DeskError: the URL names no store that processes share.
            ModuleNotFoundError: what it needs is not installed.
        """
        super().__init__(lifecycle, actor)
        self._store: Final = opened_by_none(url)
        self._runner: Final = asyncio.Runner()
        self._is_open = False

    def close(self) -> None:
        """See `Desk.close`."""
        try:
            if self._is_open:
                self._runner.run(self._store.close())
        finally:
            self._runner.close()

    def _page(self, query: TaskQuery) -> TaskPage:
        return self._do(lambda store, _: store.page(query))

    def _view(self, task_id: str) -> TaskView:
        async def viewed(store: Store, _: Clock) -> TaskView:
            record = await store.get(task_id) if is_whole(task_id) else None
            if record is None:
                raise UnknownTask(task_id)
            events = await store.events(task_id, 0, record.seq)
            if not events:
                raise UnknownTask(task_id)  # It was purged between the two.
            return TaskView(record, tuple(whole_log(record, events)))

        return self._do(viewed)

    def _do(self, work: "Callable[[Store, Clock], Awaitable[V]]") -> V:
        async def done() -> V:
            if not self._is_open:
                await self._store.open()
                self._is_open = True
            return await work(self._store, self._store.clock)

        with Told():
            return self._runner.run(done())


def opened_by_none(url: str) -> SharedStore:
    """A store by its URL, of which no turn is taken here.

    Raises:
        DeskError: it is none that processes share.
        ModuleNotFoundError: what it needs is not installed.
    """
    with Told():
        if url.partition("://")[0] in _POSTGRES:
            from interlock_adapters.postgres import PostgresStore  # noqa: PLC0415  of an extra

            # Opened by a name with a slip in it, a new one would be made.
            return PostgresStore(url, create=False)
        store = store_at(_without_handlers(url))
    if not shared(store):
        raise DeskError(f"{without_secrets(url)} is no store that processes share")
    return store


def _without_handlers(url: str) -> str:
    """On Restate whoever opens a store serves handlers, unless it says that it does not."""
    address, _, options = url.partition("?")
    if not address.startswith("restate:"):
        return url
    said = dict(parse_qsl(options, keep_blank_values=True))
    said.pop("share", None)
    return f"{address}?{urlencode({**said, 'serve': 'off', 'register': 'no'})}"
