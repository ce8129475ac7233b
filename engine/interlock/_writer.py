"""The one writer of each task: takes posts from its inbox, fires, commits, answers.

A cell with something in its inbox has one worker, an asyncio task that runs to
completion: whatever is in the inbox is fired in order on the record to be, and one
commit makes all of it durable.  An idle cell costs no task, and soon no cell.  The module is
long because whatever a commit can come to has to be told to whoever waits, here.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

from interlock._cell import Cell, Choice, Post
from interlock._clock import Alarm, Clock
from interlock._event import Event, Signal
from interlock._json import is_small
from interlock._machine import Move, fire
from interlock._observer import Told, committed
from interlock._phases import OVER, Phase, Trigger
from interlock._record import TaskRecord
from interlock._store import Claim, Commit, Store, TokenTaken, TurnWanted
from interlock.errors import (
    Conflict,
    LimitReached,
    NotAccepting,
    Refused,
    StoreError,
    UnknownTask,
    Unstorable,
)

#: Moves in one commit: bounds how long the first of them waits for the last.
MOVES_MAX: Final = 64
#: How often a task that others write to is read again before the trigger fails.
CONFLICTS_MAX: Final = 8
#: Seconds until a trigger that must not be lost is fired again after the store failed.
STORE_RETRY_S: Final = 1.0

#: Tasks that are over whose logs are kept for whoever looks next, and events and characters of
#: each: a client that waited fetches the result, and need not wait for the disk again.
RECENT_MAX: Final = 128
RECENT_EVENTS_MAX: Final = 64
RECENT_CHARS_MAX: Final = 65_536

#: Acts on what was committed; told the record before it.
Act: TypeAlias = Callable[[Cell, TaskRecord, Sequence[Move]], None]

#: Decides what a signal comes to: `Lifecycle.fire`.
Fire: TypeAlias = Callable[[TaskRecord, Signal], Move]

#: What is fired at once after a move that is not committed yet, in the same commit.
Follow: TypeAlias = Callable[[Cell, Move], Sequence[Post]]

_log: Final = logging.getLogger("interlock.writer")


class Others(Protocol):
    """What a writer must know where other processes write to the same tasks."""

    def wanted(self, cell: Cell, record: TaskRecord, moves: Sequence[Move]) -> TurnWanted | None:
        """The turn that is wanted of whoever takes it up, with these moves."""
        ...

    def watched(self, task_id: str) -> bool:
        """Whether the task may have watches, after a commit."""
        ...

    def caught_up(self, cell: Cell, fresh: TaskRecord, events: Sequence[Event]) -> None:
        """Make the cell what it is in the store: `events` are what others wrote."""


@dataclass(frozen=True, slots=True, eq=False)
class _Retry:
    """Posts that the store failed, and the alarm for the next time."""

    posts: Sequence[Post]
    alarm: Alarm


class Writer:
    """Every cell of this process, and the workers that empty their inboxes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        inbox_max: int,
        act: Act,
        follow: Follow = lambda _cell, _move: (),
        fire: Fire = fire,
        told: Told | None = None,
        others: Others | None = None,
    ) -> None:
        """Keep tasks in `store`; with `others`, not as the only process that does."""
        self._others: Final = others
        self._fire: Final = fire
        self._told: Final = told
        self._store: Final = store
        self._clock: Final = clock
        self._inbox_max: Final = inbox_max
        self._act: Final = act
        self._follow: Final = follow
        self._cells: Final[dict[str, Cell]] = {}
        #: Those that are finalized, the latest last: a client looks once more when it is over.
        self._recent: Final[dict[str, Cell]] = {}
        #: How many are reading a task from the store just now.
        self._readers: Final[Counter[str]] = Counter()
        self._workers: Final[set[asyncio.Task[None]]] = set()
        self._retries: Final[dict[_Retry, None]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._cells)

    def cells(self) -> list[Cell]:
        """Every live task."""
        return list(self._cells.values())

    def at_hand(self, task_id: str) -> Cell | None:
        """The cell of a task to which something is happening."""
        return self._cells.get(task_id)

    def glance(self, task_id: str) -> Cell | None:
        """What is known of a task without reading the store; only to be looked at."""
        return self._cells.get(task_id) or self._recent.get(task_id)

    async def cell(self, task_id: str) -> Cell:
        """The cell of a task, read from the store if need be.

        Raises:
            UnknownTask: the store has none of that id.
        """
        cell = self._cells.get(task_id)
        if cell is None or self._others is not None:
            record = await self._read(task_id)
            if record is None:
                raise UnknownTask(task_id)
            # Somebody may have been quicker, and then knows better.
            cell = self._cells.setdefault(task_id, Cell(record))
            if self._others is not None and cell.record.seq < record.seq:
                try:
                    await self._refreshed(cell, record.seq)
                except BaseException:
                    self.release(cell)  # Whoever else had it may be gone by now.
                    raise
        return cell

    async def _refreshed(self, cell: Cell, seq: int) -> None:
        """Wait until the cell knows of everything up to that event."""
        cell.watchers += 1  # And not let go of afterwards: it was asked for.
        try:
            while cell.record.seq < seq and not self._closed:
                if cell.gone:
                    raise UnknownTask(cell.record.task_id)
                if cell.busy:
                    await cell.change()
                    continue
                cell.busy = True
                try:
                    await self._read_on(cell)
                finally:
                    cell.busy = False
                    cell.tell()
                    if cell.inbox or cell.stale:
                        self._wake(cell)
        finally:
            cell.watchers -= 1

    def look_at(self, cell: Cell) -> None:
        """Others have written to the task: read what."""
        if not self._closed:
            cell.stale = True
            self._wake(cell)

    async def _read(self, task_id: str) -> TaskRecord | None:
        # Nobody lets go of the task meanwhile: what they wrote to it would be lost on us.
        self._readers[task_id] += 1
        record: TaskRecord | None = None
        try:
            record = await self._store.get(task_id)
        finally:
            self._readers[task_id] -= 1
            if not self._readers[task_id]:
                del self._readers[task_id]
            kept = self._cells.get(task_id)
            if record is None and kept is not None:
                self.release(kept)
        return record

    def adopt(self, record: TaskRecord, events: Sequence[Event], *, watched: bool) -> Cell:
        """The cell of a task that was just made; somebody may have found it already."""
        made = Cell(record, list(events), watched=watched)
        return self._cells.setdefault(record.task_id, made)

    def release(self, cell: Cell) -> None:
        """Forget the cell if nothing happens to it."""
        task_id = cell.record.task_id
        if cell.idle and task_id not in self._readers and self._cells.get(task_id) is cell:
            del self._cells[task_id]
            self._remember(cell)

    def _remember(self, cell: Cell) -> None:
        """Keep a task for a while whose log is whole, short, and never changes again."""
        events = cell.events
        if cell.record.phase is not Phase.FINALIZED or not events or self._others is not None:
            return  # Others may purge it.
        said = (event.data for event in events)
        if len(events) <= RECENT_EVENTS_MAX and is_small(said, RECENT_CHARS_MAX):
            self._recent[cell.record.task_id] = cell
            if len(self._recent) > RECENT_MAX:
                del self._recent[next(iter(self._recent))]

    def forget(self, task_id: str) -> None:
        """The store has purged the task: whoever still looks at it learns that it is gone."""
        self._recent.pop(task_id, None)
        cell = self._cells.pop(task_id, None)
        if cell is not None:
            cell.gone = True
            if cell.turn is not None:
                cell.turn.fence()  # Others have ended the task while this process stood still.
            cell.turn, cell.held = None, False
            cell.tell()

    @contextmanager
    def keeping(self, cell: Cell) -> Generator[Cell]:
        """Keep the cell at hand although nothing may be happening to it."""
        cell.watchers += 1
        try:
            yield cell
        finally:
            cell.watchers -= 1
            self.release(cell)

    def post(self, cell: Cell, post: Post) -> None:
        """Put a trigger into the inbox; its turn comes after those before it."""
        if self._closed:
            post.refuse(NotAccepting("the engine is closed"))
            return
        cell.inbox.append(post)
        self._wake(cell)

    async def fire(
        self, cell: Cell, choose: Choice, actor: str, claim: Claim | None = None
    ) -> TaskRecord:
        """Fire a trigger from outside; the record after it, once that is durable.

        Raises:
            Refused: it is not legal now; nothing changed.
            TokenTaken: the claim is taken; nothing changed.
            UnknownTask: it was purged meanwhile.
            LimitReached: too many triggers wait already.
            StoreError: it could not be stored; nothing changed.
        """
        if len(cell.inbox) >= self._inbox_max and self._is_hammered(cell):
            raise LimitReached("inbox_max", self._inbox_max, retry_after_s=STORE_RETRY_S)
        done: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()
        self.post(cell, Post(choose, actor, done, claim=claim))
        return await done

    def _is_hammered(self, cell: Cell) -> bool:
        # What its own agent reports does not count: it must not keep a cancel out.
        return sum(post.turn is None for post in cell.inbox) >= self._inbox_max

    async def close(self) -> None:
        """Wait until every inbox is empty, then take nothing more."""
        while self._workers:
            await asyncio.wait(self._workers)
        self._closed = True
        for retry in self._retries:
            # The store has the task as it was; the next start goes on from there.
            retry.alarm.cancel()
            for post in retry.posts:
                post.refuse(NotAccepting("the engine is closed"))
        for cell in self._cells.values():
            cell.tell()

    def _wake(self, cell: Cell) -> None:
        if not cell.busy:
            cell.busy = True
            worker = asyncio.get_running_loop().create_task(self._work(cell))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self, cell: Cell) -> None:
        conflicts = 0
        try:
            while cell.inbox or cell.stale:
                if cell.stale:
                    cell.stale = False
                    await self._caught_up(cell)
                    continue
                try:
                    await self._step(cell)
                    conflicts = 0
                except Conflict as error:
                    conflicts += 1
                    await self._reread(cell, error, give_up=conflicts > CONFLICTS_MAX)
        finally:
            cell.busy = False
            if self._others is not None:
                cell.tell()  # Some wait until nothing happens to it.
            self.release(cell)

    async def _caught_up(self, cell: Cell) -> None:
        """Read what others wrote; if that fails, whoever said so says it again."""
        task_id = cell.record.task_id
        try:
            await self._read_on(cell)
        except StoreError as error:
            _log.warning("task %s cannot be read again: %s", task_id, error)
        except Exception:  # noqa: BLE001  a store is foreign code; nobody may hang
            _log.exception("task %s: the store raised what it must not", task_id)

    async def _read_on(self, cell: Cell) -> None:
        """Read what others wrote; raises StoreError."""
        fresh = await self._store.get(cell.record.task_id)
        if fresh is None:
            self.forget(cell.record.task_id)
        elif fresh.seq > cell.record.seq:
            await self._taken_over(cell, fresh)

    async def _taken_over(self, cell: Cell, fresh: TaskRecord) -> None:
        """Make the cell what it is in the store, where others may have written to it.

        Raises:
            StoreError: it cannot be read.
        """
        if self._others is not None:
            seq = cell.record.seq
            events = await self._store.events(cell.record.task_id, seq, fresh.seq - seq)
            if len(events) != fresh.seq - seq:
                raise StoreError(f"task {cell.record.task_id!r} was purged while it was read")
            self._others.caught_up(cell, fresh, events)
        else:
            if cell.turn is not None and (fresh.epoch != cell.record.epoch or fresh.phase in OVER):
                # Whoever wrote has taken the task over: the turn is nobody's any more.
                _log.error("task %s: somebody else wrote to it; its turn ends", fresh.task_id)
                cell.turn.fence()
                cell.turn = None
            cell.events = None
            cell.record = fresh
        cell.tell()

    async def _step(self, cell: Cell) -> None:
        """Fire what is in the inbox, commit it, answer, act."""
        before = record = cell.record
        moves: list[Move] = []
        accepted: list[Post] = []
        refused: list[tuple[Post, Refused]] = []
        # A wall clock may be set back; the times of a log do not go back with it.
        at = max(self._clock.now(), record.updated_at)
        moves_max = 1 if cell.careful else MOVES_MAX
        while cell.inbox and len(moves) < moves_max:
            if _claimed_by(accepted, cell.inbox[0]):
                break  # Its token is used up by this batch: the store must say so.
            post = cell.inbox.popleft()
            at = max(at, post.at_least)
            try:
                move = self._fire(record, post.signal(record, at))
            except Refused as error:
                refused.append((post, error))
                continue
            except Exception as error:  # noqa: BLE001  a broken guard costs its post alone
                _log.exception("task %s: a trigger could not be fired", record.task_id)
                self._say_otherwise(cell, post, error)
                continue
            record = move.record
            moves.append(move)
            if post.concludes and move.event.trigger is Trigger.WITHDRAW:
                cell.inbox.appendleft(post)
            else:
                accepted.append(post)
            # What belongs to the same step comes into the same commit.
            cell.inbox.extendleft(self._follow(cell, move))
        if moves and not await self._committed(cell, record, moves, accepted, refused):
            return
        for post in accepted:
            post.answer(record)
        for post, refusal in refused:
            self._refuse(post, refusal)
        if moves:
            self._act(cell, before, moves)

    def _say_otherwise(self, cell: Cell, post: Post, error: Exception) -> None:
        """It cannot be fired, or not be kept; the end of a turn is said in another way then."""
        if post.instead is None:
            post.refuse(error)
        else:
            cell.inbox.appendleft(replace(post, choose=post.instead, instead=None))

    async def _committed(
        self,
        cell: Cell,
        record: TaskRecord,
        moves: Sequence[Move],
        accepted: list[Post],
        refused: list[tuple[Post, Refused]],
    ) -> bool:
        """Whether the moves are durable; if not, every post is put back or refused.

        What was refused was so on the strength of moves that did not happen: it is fired
        again with the rest.
        """
        events = tuple(move.event for move in moves)
        claims = tuple(post.claim for post in accepted if post.claim is not None)
        posts = [*accepted, *(post for post, _ in refused)]
        wanted = None if self._others is None else self._others.wanted(cell, record, moves)
        commit = Commit(record, events, claims, turn=wanted)
        try:
            await committed(self._store, cell.record, commit, self._told)
        except Conflict:
            cell.inbox.extendleft(reversed(posts))
            raise
        except TokenTaken as error:
            guilty = [post for post in accepted if post.claim and _same(post.claim, error.claim)]
            for post in guilty:
                post.refuse(error)
            cell.inbox.extendleft(post for post in reversed(posts) if post not in guilty)
            return False
        except Unstorable as error:
            if len(moves) > 1:
                cell.careful = True
                cell.inbox.extendleft(reversed(posts))
            else:
                self._lost(cell, posts, error)
            return False
        except StoreError as error:
            self._lost(cell, posts, error)
            return False
        except Exception as error:  # noqa: BLE001  a store is foreign code; nobody may hang
            _log.exception("task %s: the store raised what it must not", record.task_id)
            self._lost(cell, posts, StoreError(f"the store raised {type(error).__name__}"))
            return False
        cell.add(record, events)
        if self._others is not None:
            # One of them may have added a watch, of which this process hears in no other way.
            cell.watched = self._others.watched(record.task_id)
        cell.careful = cell.careful and bool(cell.inbox)
        return True

    def _lost(self, cell: Cell, posts: Sequence[Post], error: StoreError) -> None:
        """The store failed: whoever waits is told, what must not be lost is tried again."""
        _log.error("task %s: the store failed: %s", cell.record.task_id, error)
        if cell.inbox and cell.inbox[0].concludes:
            # Put back to withdraw more asks: without a rest it would spin.
            posts = [*posts, cell.inbox.popleft()]
        again: list[Post] = []
        for post in posts:
            if isinstance(error, Unstorable):
                self._say_otherwise(cell, post, error)
            elif post.insists:
                again.append(post)
            else:
                post.refuse(error)
        if again:
            cell.watchers += 1

            def retry() -> None:
                self._retries.pop(again_later, None)
                cell.watchers -= 1
                # What an agent gave up meanwhile it has taken back, or means no more.
                wanted = [post for post in again if not post.is_given_up]
                cell.inbox.extendleft(reversed(wanted))
                self._wake(cell)

            again_later = _Retry(again, self._clock.call_later(STORE_RETRY_S, retry))
            self._retries[again_later] = None

    async def _reread(self, cell: Cell, error: Conflict, *, give_up: bool) -> None:
        """Somebody else wrote to the task: go on from what is stored."""
        failure: StoreError | None = error if give_up else None
        fresh: TaskRecord | None = None
        try:
            fresh = None if give_up else await self._store.get(cell.record.task_id)
            if fresh is not None and fresh.seq > cell.record.seq:
                await self._taken_over(cell, fresh)
        except StoreError as worse:
            failure = worse
        except Exception as worse:  # noqa: BLE001  a store is foreign code; nobody may hang
            failure = StoreError(f"the store raised {type(worse).__name__}")
        if fresh is not None and failure is None:
            return
        posts = list(cell.inbox)
        cell.inbox.clear()
        if failure is not None:
            self._lost(cell, posts, failure)
            return
        # It was purged: nothing that is tried again would ever come to anything.
        task_id = cell.record.task_id
        self.forget(task_id)
        for post in posts:
            post.refuse(UnknownTask(task_id))

    def _refuse(self, post: Post, error: Refused) -> None:
        if post.done is None:
            # Nobody waits: a timer or report that came too late, which is no fault.
            _log.debug("refused: %s", error)
        post.refuse(error)


def _claimed_by(posts: Sequence[Post], post: Post) -> bool:
    claim = post.claim
    return claim is not None and any(p.claim and _same(p.claim, claim) for p in posts)


def _same(claim: Claim, other: Claim) -> bool:
    return (claim.owner, claim.token) == (other.owner, other.token)
