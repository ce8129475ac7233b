"""The shared store as one replica of a run has it, and tools that are only called by a holder."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from interlock._clock import Clock
from interlock._event import Event
from interlock._phases import OVER, Trigger
from interlock._shared import RunTurn
from interlock._store import Commit
from interlock.models import JsonObject
from interlock.testing._shared_memory import MemoryTurns, SharedMemoryStore
from interlock.testing.fuzz._faults import Disk, FaultyStore
from interlock.testing.fuzz._faults_tools import WrappedSource
from interlock.testing.fuzz._oracle_run import Broken
from interlock.testing.fuzz._tape import Tape
from interlock.tools import Tool, ToolOutcome, ToolSource, ToolUse

#: With which another turn of a task begins than the one before, or it loses its turn for good.
_TAKEN: Final = frozenset({Trigger.CLAIM, Trigger.RECOVER, Trigger.ABANDON})


class FaultyTurns:
    """The queue as one process has it: it asks for nothing while its store fails."""

    def __init__(self, below: MemoryTurns, store: FaultyStore) -> None:
        self._below: Final = below
        self._store: Final = store

    async def start(self, run: RunTurn, *, slots: int) -> None:
        """See `Turns.start`."""
        await self._below.start(run, slots=slots)

    async def rest(self) -> None:
        """See `Turns.rest`."""
        await self._below.rest()

    async def stop(self) -> None:
        """See `Turns.stop`."""
        await self._below.stop()

    async def waiting(self) -> int:
        """See `Turns.waiting`."""
        await self._store.let_pass()
        return await self._below.waiting()

    def is_sure(self) -> bool:
        """See `Turns.is_sure`."""
        return self._below.is_sure()


class ReplicaStore(FaultyStore):
    """A `SharedStore` that may be slow or fail, and ends with its process."""

    def __init__(
        self,
        view: SharedMemoryStore,
        tape: Tape,
        *,
        reorders: bool,
        kill: Callable[[], None],
        freeze: Callable[[], None],
    ) -> None:
        """See `FaultyStore`; `view` is what there is of the memory that all share."""
        #: Commits until the process is frozen just after one; None for never.
        self.freezes_in: int | None = None
        #: Only those count that hold such an event; None for all.
        self.freezes_at: Trigger | None = None
        self._freeze: Final = freeze
        super().__init__(view, tape, reorders=reorders, kill=kill)
        self._view: Final = view
        self.turns: Final = FaultyTurns(view.turns, self)

    @property
    def clock(self) -> Clock:
        """See `SharedStore.clock`."""
        return self._view.clock

    async def open(self) -> None:
        """See `Store.open`."""
        await self._view.open()

    async def close(self) -> None:
        """See `Store.close`."""
        await self._view.close()

    async def commit(self, commit: Commit) -> None:
        """See `FaultyStore.commit`: perhaps its process is stopped before it hears of it."""
        await super().commit(commit)
        at = self.freezes_at
        counts = at is None or any(event.trigger is at for event in commit.events)
        if self.freezes_in is None or not counts:
            return
        self.freezes_in -= 1
        if self.freezes_in < 0:
            self.freezes_in = None
            self._freeze()
            await asyncio.sleep(0)

    async def moved(self, seen: Mapping[str, int]) -> AbstractSet[str]:
        """See `SharedStore.moved`."""
        await self.let_pass()
        return await self._view.moved(seen)

    def watched(self, task_id: str) -> bool:
        """See `SharedStore.watched`."""
        return self._view.watched(task_id)

    def on_hint(self, hint: Callable[[str], None] | None) -> None:
        """See `SharedStore.on_hint`."""
        self._view.on_hint(hint)


class WatchedSource(WrappedSource):
    """A source of tools that looks who calls: nobody whose turn is another's by now (I32)."""

    def __init__(
        self,
        below: ToolSource,
        disk: Disk,
        begun: Counter[tuple[str, str]],
        met: list[Broken],
    ) -> None:
        """Wrap `below`; `begun` counts calls by task and token, `met` is told what is broken."""
        super().__init__(below)
        self._disk: Final = disk
        self._begun: Final = begun
        self._met: Final = met

    async def call(self, tool: Tool, arguments: JsonObject, use: ToolUse) -> ToolOutcome:
        """See `ToolSource.call`."""
        self._look(tool, use)
        return await super().call(tool, arguments, use)

    def _look(self, tool: Tool, use: ToolUse) -> None:
        kept = self._disk.kept(use.task_id)
        log: Sequence[Event] = () if kept is None else kept[1]
        key = use.token.removeprefix(f"{use.task_id}/")
        begun = [event for event in log if event.trigger is Trigger.CALL and _is(event, key)]
        self._begun[use.task_id, use.token] += 1
        what = f"{use.task_id}: the tool {tool.name} begins"
        if not begun:
            self._met.append(Broken("I32", f"{what}, and no call of it is in the log"))
            return
        if len(begun) < self._begun[use.task_id, use.token]:
            self._met.append(Broken("I16", f"{what} more often than its log says"))
        since = log[begun[-1].seq :]
        if any(event.trigger in _TAKEN for event in since) or (kept and kept[0].phase in OVER):
            self._met.append(Broken("I32", f"{what} in a turn that is another's by now"))


def _is(event: Event, key: str) -> bool:
    return str(event.data.get("key")) == key
