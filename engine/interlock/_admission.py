"""Who may submit and who may run: the bounds on open, queued and running tasks."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from interlock._phases import OVER, Phase
from interlock._record import TaskRecord
from interlock.errors import LimitReached
from interlock.models import Limits

#: Seconds after which a refused submission may be tried again.
RETRY_AFTER_S: Final = 1.0

#: Owners that are remembered although they have no open task, or about so many: to count one
#: anew is a read of the store at the next submission.
IDLE_OWNERS_MAX: Final = 10_000


class Admission:
    """Counts tasks; it holds ids only, never tasks."""

    def __init__(self, limits: Limits) -> None:
        self._limits: Final = limits
        #: Submitted tasks in the order of their coming; a dict, to leave from the middle.
        self._queue: Final[dict[str, None]] = {}
        self._running: Final[set[str]] = set()
        #: Turns that wait for a slot of any process, where several share the store.
        self.elsewhere = 0
        #: Open tasks by owner, of those whose tasks were counted.
        self._open: Final[dict[str, int]] = {}
        #: Owners whose tasks are being counted by how many, and the tasks that ended meanwhile.
        self._counting: Final[Counter[str]] = Counter()
        self._ended: Final[Counter[str]] = Counter()
        #: How many owners there may be until it is looked who of them has no open task.
        self._owners_max = IDLE_OWNERS_MAX
        #: Of each owner, those that are being made just now and have no slot: no store counts them.
        self._coming: Final[Counter[str]] = Counter()

    @property
    def running(self) -> int:
        """Tasks that run, or were just told to."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """Tasks that wait for a slot."""
        return len(self._queue)

    def knows(self, owner: str) -> bool:
        """Whether the open tasks of that owner were counted."""
        return owner in self._open

    @contextmanager
    def counting(self, owner: str) -> Generator[None]:
        """A block in which the store counts the open tasks of an owner; see `ended`."""
        self._counting[owner] += 1
        try:
            yield
        finally:
            self._counting[owner] -= 1
            if not self._counting[owner]:
                del self._counting[owner]
                self._ended.pop(owner, None)

    def ended(self, owner: str) -> int:
        """How many tasks of an owner that is being counted have ended meanwhile."""
        return self._ended[owner]

    def learn(self, owner: str, open_tasks: int, *, anew: bool = False) -> None:
        """How many open tasks of that owner the store has; the first word counts, or each."""
        if len(self._open) >= self._owners_max:
            self._forget_idle_owners()
        if anew:
            self._open[owner] = open_tasks + self._coming[owner]
        else:
            self._open.setdefault(owner, open_tasks)

    def _forget_idle_owners(self) -> None:
        idle = [o for o, count in self._open.items() if count <= 0 and o not in self._coming]
        for owner in idle:
            del self._open[owner]
        self._owners_max = len(self._open) + IDLE_OWNERS_MAX

    def reserve(self, owner: str) -> None:
        """Make room for one more task of a known owner.

        Raises:
            LimitReached: there is none; nothing was reserved.
        """
        waiting = len(self._queue) + self._coming.total() + self.elsewhere
        free = self._limits.running_turns_max - len(self._running)
        if waiting >= self._limits.queued_tasks_max + max(0, free):
            raise LimitReached(
                "queued_tasks_max", self._limits.queued_tasks_max, retry_after_s=RETRY_AFTER_S
            )
        if self._open[owner] >= self._limits.open_tasks_per_owner_max:
            raise LimitReached(
                "open_tasks_per_owner_max",
                self._limits.open_tasks_per_owner_max,
                retry_after_s=RETRY_AFTER_S,
            )
        self._open[owner] += 1
        self._coming[owner] += 1

    def arrived(self, owner: str, *, accepted: bool) -> None:
        """What was reserved, and took no slot, is a task now, or came to nothing."""
        self._came(owner)
        if not accepted:
            self._open[owner] -= 1

    def takes(self, task_id: str, owner: str) -> bool:
        """Give a slot to a task that is being made, if one is free and nobody waits for it."""
        if self._queue or len(self._running) >= self._limits.running_turns_max:
            return False
        self._came(owner)
        self._running.add(task_id)
        return True

    def vanished(self, task_id: str, owner: str) -> None:
        """A task that took a slot came to nothing."""
        self._running.discard(task_id)
        self._open[owner] -= 1

    def gives_back(self, task_id: str, owner: str) -> None:
        """A task that is being made does not want the slot that it took: it is coming again."""
        self._running.discard(task_id)
        self._coming[owner] += 1

    def _came(self, owner: str) -> None:
        self._coming[owner] -= 1
        if not self._coming[owner]:
            del self._coming[owner]

    def enqueue(self, task_id: str) -> None:
        """The task waits for a slot."""
        self._queue[task_id] = None

    def next(self) -> str | None:
        """The task that may start now, its slot taken; None if there is no task or no slot."""
        if not self._queue or len(self._running) >= self._limits.running_turns_max:
            return None
        task_id = next(iter(self._queue))
        del self._queue[task_id]
        self._running.add(task_id)
        return task_id

    def forget(self, task_id: str) -> None:
        """The task cannot be started: its slot is free again."""
        self._running.discard(task_id)

    def moved(self, before: Phase, record: TaskRecord) -> None:
        """A task is in another phase now."""
        if record.phase is Phase.RUNNING:
            # An answered task goes on at once: it may exceed the slots, never wait for one.
            self._running.add(record.task_id)
        else:
            self._running.discard(record.task_id)
        if record.phase is not Phase.SUBMITTED:
            self._queue.pop(record.task_id, None)
        if record.phase in OVER and before not in OVER:
            if record.owner in self._open:
                self._open[record.owner] -= 1
            elif record.owner in self._counting:
                self._ended[record.owner] += 1
