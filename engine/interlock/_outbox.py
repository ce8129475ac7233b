"""Deliveries to watches: whatever the log holds beyond a watch's cursor is owed to it.

The courier is woken after commits, when the engine starts and by its own alarms; nobody
ever waits for it.  Each watch that is owed something has one *line*, which delivers in
order and one delivery at a time; different watches are served side by side, up to a
bound.  The cursor moves in the store only after a delivery, so a crash or a stop at any
moment means that something is delivered again, never that it is left out.

The module is long because the port for deliverers stands beside its one user.
"""

import asyncio
import contextlib
import contextvars
import logging
import traceback
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

from interlock._clock import Alarm, Clock, rung
from interlock._event import Event
from interlock._phases import Trigger
from interlock._record import TaskRecord
from interlock._store import Store, Watch, served, whole_log
from interlock.errors import EngineError, StoreCorrupt, StoreError
from interlock.models import JsonObject, Retry

_log: Final = logging.getLogger("interlock.outbox")

#: Characters of a reason kept with a watch: enough to understand, too few to smuggle a page.
REASON_CHARS_MAX: Final = 300
#: Goes on for about twenty minutes; a task is not finalized before.
RETRY: Final = Retry(attempts_max=12, backoff_s=1.0, backoff_factor=2.0, backoff_max_s=300.0)


class DeliveryFailed(EngineError):
    """Raised by a deliverer.  The message is stored and shown: it must hold no secret."""

    code = "delivery_failed"

    def __init__(
        self,
        why: str,
        *,
        permanent: bool = False,
        retry_after_s: float | None = None,
        delivered_seq: int | None = None,
    ) -> None:
        #: Trying again would not help.
        self.permanent = permanent
        #: The receiver's own wish, seconds from now.
        self.retry_after_s = retry_after_s
        #: The last event that did arrive before this failure; None for none.
        self.delivered_seq = delivered_seq
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class NewWatch:
    """A watch to be added to a task.  `config` is the deliverer's own; it may hold secrets."""

    watch_id: str
    channel: str
    config: JsonObject = field(repr=False)


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task and the log that it is the fold of: `events` are 1 to `record.seq`."""

    record: TaskRecord
    events: tuple[Event, ...]


class Deliverer(Protocol):
    """Brings events to the watches of one channel."""

    async def deliver(self, watch: Watch, view: TaskView, events: Sequence[Event]) -> None:
        """Deliver `events`, in order; they follow each other in `view.events`.

        Returns when all of them arrived.  May be called again with events that arrived
        already: a receiver must be able to tell by their numbers.

        Raises:
            DeliveryFailed: with the last event that arrived, if one did.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLimits:
    """The bounds of a courier."""

    #: Deliveries in flight at once, over all watches.
    deliveries_max: int = 16
    #: Events handed over in one delivery: what is repeated at worst after a crash.
    batch_events_max: int = 16
    #: Seconds one delivery may take; deliverers have tighter bounds, this one is the fence.
    delivery_s: float = 120.0
    #: After how long a failed delivery is tried again, and how often before giving up.
    retry: Retry = RETRY
    #: The longest wish of a receiver that is granted, in seconds.
    retry_after_max_s: float = 3_600.0
    #: Seconds until the store is tried again after it failed.
    store_again_s: float = 5.0
    #: Seconds that a stop waits for deliveries in flight before it cuts them off.
    stop_s: float = 5.0


@dataclass(slots=True, eq=False)
class _Line:
    """A watch that is, or may be, owed something."""

    task_id: str
    watch_id: str
    #: Whose task it is.
    owner: str
    #: Somebody saw it owed more while it was being served.
    again: bool = False
    #: The running delivery, if it has a slot.
    job: asyncio.Task[None] | None = None
    #: Until when it backs off.
    alarm: Alarm | None = None

    def halt(self) -> None:
        """Let go of whatever it holds."""
        if self.alarm is not None:
            self.alarm.cancel()
        if self.job is not None:
            self.job.cancel()


class _Queue:
    """Lines that wait for a slot: owners take turns, and of one owner the first comes first.

    So a slow receiver with many tasks keeps its owner waiting, and nobody else for longer than
    until a slot is free.
    """

    def __init__(self) -> None:
        #: By owner, who is next first; none is empty.
        self._of: Final[dict[str, deque[_Line]]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def append(self, line: _Line) -> None:
        """Wait."""
        self._of.setdefault(line.owner, deque()).append(line)

    def popleft(self) -> _Line:
        """Who is next; it waits no more, and others of its owner wait behind the other owners."""
        owner = next(iter(self._of))
        waiting = self._of.pop(owner)
        line = waiting.popleft()
        if waiting:
            self._of[owner] = waiting
        return line

    def clear(self) -> None:
        """Nobody waits."""
        self._of.clear()


class Courier:
    """Serves the watches of all tasks.  Lives on the event loop; nothing here blocks it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        deliverers: Mapping[str, Deliverer],
        *,
        on_served: Callable[[str], None],
        limits: DeliveryLimits | None = None,
        others: bool = False,
    ) -> None:
        """Serve from `store`; `on_served(task_id)` says that nothing is owed for a task now.

        With `others`, who may serve the same watches, those of channels that nobody serves here
        are left to them instead of given up.
        """
        self._others: Final = others
        self._store: Final = store
        self._clock: Final = clock
        self._deliverers: Final = dict(deliverers)
        self._on_served: Final = on_served
        self._limits: Final = limits or DeliveryLimits()
        #: A delivery is nobody's request: the variables of whose request woke us, tenant or
        #: trace, are none of the receivers' of others.
        self._context: Final = contextvars.copy_context()
        self._open = False
        #: Tasks to look at, in the order of asking; a dict because a set has no order.
        self._asked: dict[str, None] = {}
        self._looking_at: str | None = None
        self._looker: asyncio.Task[None] | None = None
        #: Tasks whose watches could not be read, until they are looked at again.
        self._unread: dict[str, Alarm] = {}
        self._lines: dict[str, dict[str, _Line]] = {}
        #: Lines that wait for a free slot.
        self._ready: Final = _Queue()
        self._jobs: set[asyncio.Task[None]] = set()
        #: What deliverers do for them: cut off, they may take a moment to let go.
        self._deliveries: set[asyncio.Task[None]] = set()
        #: What others should deliver: each watch's cursor at the last look, and since when it is
        #: there; None before the first.
        self._overdue: dict[tuple[str, str], tuple[int, float]] | None = None
        #: Watches that somebody else is writing just now.
        self._hands_off: Counter[tuple[str, str]] = Counter()

    async def start(self, *, quiet_s: float = 0.0) -> None:
        """Take up what is owed from before; from here on `pending` knows of it.

        Where others serve the same watches, only those that have been owed something for
        `quiet_s` seconds: whoever moved a task serves them, unless it is gone or cannot.
        """
        self._open = True
        await self.take_up(quiet_s=quiet_s)

    async def take_up(self, *, quiet_s: float) -> AbstractSet[str]:
        """Serve every watch that is owed something, as for `start`.

        Returns:
            The tasks for which something is owed, to whomever.

        Raises:
            StoreError: what is owed could not be read.
        """
        limit = 256
        while len(behind := await self._store.behind(limit)) == limit:
            limit *= 2
        latest = self._clock.now() - quiet_s
        is_first, last = self._overdue is None, self._overdue or {}
        overdue = self._overdue = dict[tuple[str, str], tuple[int, float]]()
        for watch in behind:
            if not self._open:
                break
            if watch.watch_id in self._lines.get(watch.task_id, ()):
                continue  # It is being served, or backs off.
            if quiet_s:
                if not self._serves(watch):
                    continue
                key = (watch.task_id, watch.watch_id)
                try:
                    since = await self._owed_since(watch, last.get(key), latest, is_first=is_first)
                except StoreCorrupt as error:  # One that cannot be read stops no other.
                    _log_failure(f"what is owed for task {watch.task_id} cannot be read", error)
                    continue
                overdue[key] = (watch.cursor, since)
                if since > latest:
                    continue
            self.wake(watch.task_id)
        return {watch.task_id for watch in behind}

    async def _owed_since(
        self, watch: Watch, last: tuple[int, float] | None, latest: float, *, is_first: bool
    ) -> float:
        """Since when somebody should have delivered; exact only if that is before `latest`."""
        if watch.not_before > latest:
            return watch.not_before
        if is_first:
            # Who moves a task may be at it, however old that is: only the next looks can tell.
            record = await self._store.get(watch.task_id)
            if record is not None and record.updated_at > latest:
                return self._clock.now()
        if last is None:
            # The task may have moved on since then, as often as it likes.
            events = await self._store.events(watch.task_id, watch.cursor, 1)
            return max(watch.not_before, events[0].at) if events else self._clock.now()
        cursor, since = last
        # Something has arrived since the last look: somebody is at it.
        return max(watch.not_before, since if cursor == watch.cursor else self._clock.now())

    async def stop(self) -> None:
        """Start no more deliveries, and give those in flight a moment, then cut them off.

        None is left running, but one whose deliverer will not end in another such moment.
        """
        self._open = False
        for alarm in self._unread.values():
            alarm.cancel()
        for lines in self._lines.values():
            for line in lines.values():
                if line.job is None:
                    line.halt()
        running = [*self._jobs, *([] if self._looker is None else [self._looker])]
        if running:
            cut_off = self._clock.call_later(self._limits.stop_s, partial(_cancel_all, running))
            try:
                await asyncio.wait(running)
            finally:
                cut_off.cancel()
                _cancel_all(running)
        late, alarm = rung(self._clock, self._limits.stop_s)
        while self._deliveries and not late.done():
            await asyncio.wait([late, *self._deliveries], return_when=asyncio.FIRST_COMPLETED)
        alarm.cancel()
        for forgotten in (self._asked, self._unread, self._lines, self._ready):
            forgotten.clear()

    def wake(self, task_id: str) -> None:
        """Say that a commit moved a task which has watches, or that its watches changed."""
        if not self._open:
            return
        self._asked[task_id] = None
        if self._looker is None:
            loop = asyncio.get_running_loop()
            own = self._context.copy()
            self._looker = loop.create_task(self._look(), name="courier", context=own)

    def pending(self, task_id: str) -> int:
        """How much is, or may be, owed for a task; 0 only when nothing is.

        Counts from `wake` on, so a caller that wakes first can rely on a 0 it sees then.
        """
        unsure = (task_id in self._asked, task_id == self._looking_at, task_id in self._unread)
        return len(self._lines.get(task_id, ())) + sum(unsure)

    @contextlib.contextmanager
    def hands_off(self, task_id: str, watch_id: str) -> Generator[None]:
        """Keep off a watch while the caller replaces or drops it in the store.

        A delivery in flight is cut off, and none begins.  One that another process has in flight
        goes on, and its cursor finds the watch dropped or replaced (`Store.advance_watch`).
        """
        key = (task_id, watch_id)
        self._hands_off[key] += 1
        line = self._lines.get(task_id, {}).get(watch_id)
        if line is not None:
            line.halt()
            self._remove(line)
        try:
            yield
        finally:
            self._hands_off[key] -= 1
            if not self._hands_off[key]:
                del self._hands_off[key]
            self.wake(task_id)

    # --- finding out who is owed something ------------------------------------------------

    async def _look(self) -> None:
        try:
            while self._asked and self._open:
                task_id = self._looking_at = next(iter(self._asked))
                # Out before the reading: who asks during it asks for another look.
                del self._asked[task_id]
                await self._look_at(task_id)
                self._looking_at = None
                self._settle(task_id)
        finally:
            self._looking_at = self._looker = None

    async def _look_at(self, task_id: str) -> None:
        try:
            watches = await self._store.watches(task_id)
            # A commit may only have passed on that there might be some: one read less.
            record = await self._store.get(task_id) if watches else None
        except Exception as error:  # noqa: BLE001  a store is foreign code; nothing may hang
            _log_failure(f"watches of task {task_id} cannot be read", error)
            self._look_later(task_id, self._again_s(error))
            return
        seq, owner = (0, "") if record is None else (record.seq, record.owner)
        for watch in watches:
            if watch.given_up is None and watch.cursor < seq and self._serves(watch):
                self._line_up(watch, owner)

    def _serves(self, watch: Watch) -> bool:
        return watch.channel in self._deliverers or not self._others

    def _again_s(self, error: Exception) -> float:
        """Seconds until the store is tried again: what cannot be read waits for a person."""
        if isinstance(error, StoreCorrupt):
            return self._limits.retry_after_max_s
        return self._limits.store_again_s

    def _look_later(self, task_id: str, after_s: float) -> None:
        def again() -> None:
            del self._unread[task_id]
            self.wake(task_id)

        if self._open and task_id not in self._unread:
            self._unread[task_id] = self._clock.call_later(after_s, again)

    def _line_up(self, watch: Watch, owner: str) -> None:
        if (watch.task_id, watch.watch_id) in self._hands_off or not self._open:
            return
        lines = self._lines.setdefault(watch.task_id, {})
        line = lines.get(watch.watch_id)
        if line is not None:
            line.again = True
            return
        line = lines[watch.watch_id] = _Line(watch.task_id, watch.watch_id, owner)
        self._serve_at(line, watch.not_before)

    # --- serving --------------------------------------------------------------------------

    def _serve_at(self, line: _Line, at: float) -> None:
        delay_s = at - self._clock.now()
        if delay_s <= 0:
            self._serve_now(line)
            return
        # Bounded, since the wall clock that `at` came from may have been set back since.
        longest_s = max(self._limits.retry_after_max_s, self._limits.retry.backoff_max_s)
        line.alarm = self._clock.call_later(min(delay_s, longest_s), partial(self._serve_now, line))

    def _serve_now(self, line: _Line) -> None:
        line.alarm = None
        self._ready.append(line)
        self._fill_slots()

    def _fill_slots(self) -> None:
        while self._open and self._ready and len(self._jobs) < self._limits.deliveries_max:
            line = self._ready.popleft()
            if self._is_current(line):
                loop = asyncio.get_running_loop()
                line.job = loop.create_task(
                    self._run(line), name=f"watch {line.watch_id}", context=self._context.copy()
                )
                self._jobs.add(line.job)
                line.job.add_done_callback(self._free_slot)

    def _free_slot(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        self._fill_slots()

    async def _run(self, line: _Line) -> None:
        try:
            again_at = await self._serve(line)
        except Exception as error:  # noqa: BLE001  a store is foreign code; nothing may hang
            # What arrived arrives again; the cursor could not be written.
            _log_failure(f"watch {line.watch_id} cannot be served", error)
            again_at = self._clock.now() + self._again_s(error)
        line.job = None
        if not self._open or not self._is_current(line):
            return
        if again_at is None:
            self._remove(line)
        else:
            self._serve_at(line, again_at)

    async def _serve(self, line: _Line) -> float | None:
        """Deliver until nothing is owed (None), or say when to go on.

        At once, but behind the others, where others wait: a slow receiver of a long log holds
        its slot for one batch at a time.
        """
        watches = await self._store.watches(line.task_id)
        watch = next((watch for watch in watches if watch.watch_id == line.watch_id), None)
        if watch is None or watch.given_up is not None:
            return None
        view: TaskView | None = None
        line.again = True
        while line.again:
            line.again = False
            view = await self._view(line.task_id, view)
            if view is None:
                return None
            while watch.cursor < view.record.seq and self._open:
                before, watch = watch, await self._attempt(watch, view)
                kept = await self._store.advance_watch(before, watch)
                if not kept or watch.given_up is not None:
                    # If another process dropped it, that is that.  If it replaced it, or served
                    # it further and so kept it alive, there may be more to do.
                    self.wake(line.task_id)
                    return None
                if watch.attempts:
                    return watch.not_before
                if self._ready and watch.cursor < view.record.seq:
                    return self._clock.now()
        return None

    async def _view(self, task_id: str, known: TaskView | None) -> TaskView | None:
        """The task as it is now, with its whole log; None if it was purged."""
        record = await self._store.get(task_id)
        if record is None:
            return None
        old = () if known is None else known.events
        new = await self._store.events(task_id, len(old), record.seq - len(old))
        if not new and await self._store.get(task_id) is None:
            return None
        return TaskView(record, tuple(whole_log(record, (*old, *new))))

    async def _attempt(self, watch: Watch, view: TaskView) -> Watch:
        """Try to deliver the next events; the watch as it is after that."""
        events = view.events[watch.cursor : watch.cursor + self._limits.batch_events_max]
        deliverer = self._deliverers.get(watch.channel)
        if deliverer is None:
            return self._failed(
                watch, DeliveryFailed(f"nothing serves channel {watch.channel!r}", permanent=True)
            )
        # The end of the book-keeping is nobody's business; subscribers do not see it either.
        shown = [event for event in events if event.trigger is not Trigger.FINALIZE]
        try:
            if shown:
                await self._bounded(deliverer.deliver(watch, view, shown))
        except DeliveryFailed as failure:
            return self._failed(watch, failure)
        except Exception as error:  # noqa: BLE001  a deliverer is foreign code
            # Its message may quote an address or a header: only where it happened is logged.
            where = "".join(traceback.format_tb(error.__traceback__))
            name = type(error).__name__
            _log.error("the deliverer of %r raised %s\n%s", watch.channel, name, where)
            return self._failed(watch, DeliveryFailed(f"the deliverer raised {name}"))
        return served(watch, events[-1].seq)

    async def _bounded(self, delivery: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(delivery)
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)
        alarm = self._clock.call_later(self._limits.delivery_s, partial(_cancel_all, [task]))
        try:
            await asyncio.wait([task])
        finally:
            alarm.cancel()
            task.cancel()
        if task.cancelled():
            raise DeliveryFailed(f"not delivered within {self._limits.delivery_s:g} s")
        task.result()

    def _failed(self, watch: Watch, failure: DeliveryFailed) -> Watch:
        cursor = max(watch.cursor, failure.delivered_seq or 0)
        # An event that arrived in between is a success: the counting starts again.
        attempts = 1 if cursor > watch.cursor else watch.attempts + 1
        delay_s = self._limits.retry.delay_s(attempts)
        if failure.retry_after_s is not None:
            wish_s = min(failure.retry_after_s, self._limits.retry_after_max_s)
            delay_s = max(delay_s, wish_s)
        given_up = None
        if failure.permanent or attempts >= self._limits.retry.attempts_max:
            given_up = f"given up after attempt {attempts}: {failure}"[:REASON_CHARS_MAX]
            _log.warning("watch %s of task %s is %s", watch.watch_id, watch.task_id, given_up)
        return replace(
            watch,
            cursor=cursor,
            attempts=attempts,
            not_before=self._clock.now() + delay_s,
            given_up=given_up,
        )

    # --- book-keeping ---------------------------------------------------------------------

    def _is_current(self, line: _Line) -> bool:
        return self._lines.get(line.task_id, {}).get(line.watch_id) is line

    def _remove(self, line: _Line) -> None:
        lines = self._lines[line.task_id]
        del lines[line.watch_id]
        if not lines:
            del self._lines[line.task_id]
        self._settle(line.task_id)

    def _settle(self, task_id: str) -> None:
        if self._open and not self.pending(task_id):
            self._on_served(task_id)


def _log_failure(what: str, error: Exception) -> None:
    if isinstance(error, StoreError):
        _log.warning("%s: %s", what, error.code)
    else:
        _log.error("%s: the store raised what it must not", what, exc_info=error)


def _cancel_all(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
