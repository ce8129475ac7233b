"""The threads of a simulated run: real ones, of which exactly one goes on at any time.

It holds the baton until it blocks, or until the tape takes the baton away where it touches
something that threads share.  What blocks is replaced while a run lasts (`_sim_patches`).
"""

import _thread
import contextvars
import threading
from collections.abc import Callable
from typing import Final, NoReturn

from interlock.testing.fuzz._sim_schedule import (
    DRIVER,
    PROCESS,
    Deadlock,
    Process,
    Schedule,
)
from interlock.testing.fuzz._sim_stuck import STUCK_S, Watch, is_debugged, stuck_at, throw

#: Seconds of real time in which a thread unwinds when the run is over.
_UNWINDS_S: Final = 1.0
#: How often a thread is told to unwind before it is left where it stands.
_TOLD_MAX: Final = 100


class Killed(BaseException):
    """Unwinds a thread that is left when the run is over."""


class SimThread:
    """One thread, and what it waits for."""

    __slots__ = (
        "_main",
        "_threads",
        "deadline",
        "done",
        "gate",
        "ident",
        "killed",
        "lost",
        "name",
        "number",
        "process",
        "ready",
        "told",
        "what",
    )

    def __init__(
        self, threads: "Threads", main: Callable[[], None], name: str, process: Process
    ) -> None:
        self._threads: Final = threads
        self._main: Final = main
        self.name: Final = name
        self.process: Final = process
        self.number: Final = threads.numbered()
        self.gate: Final = _thread.allocate_lock()
        self.gate.acquire()
        #: Whether it can go on; None: it can.
        self.ready: Callable[[], bool] | None = None
        #: When it goes on at the latest, virtual seconds.
        self.deadline: float | None = None
        self.what = ""
        self.done = False
        self.killed = False
        #: It did not come back, and whatever it does is no part of the run any more.
        self.lost = False
        self.told = 0
        #: The operating system's number; 0 before it begins.
        self.ident = 0
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        self.gate.acquire()
        self.ident = _thread.get_ident()
        self._threads.idents.add(self.ident)
        try:
            if not self.killed:
                contextvars.copy_context().run(self._within)
        except Killed:
            pass
        finally:
            self.done = True
            self._threads.ended(self)

    def _within(self) -> None:
        PROCESS.set(self.process)
        self._main()

    def can_go_on(self, now: float) -> bool:
        """Whether it has what it waits for, or has waited long enough."""
        if self.ready is None or self.ready():
            return True
        return self.deadline is not None and self.deadline <= now


class Threads:
    """All threads of one run but that of the event loop, and who has the baton."""

    def __init__(
        self,
        schedule: Schedule,
        time: Callable[[], float],
        pass_to: Callable[[float], None],
        watch: Watch,
    ) -> None:
        self.watch: Final = watch
        self._schedule: Final = schedule
        self._time: Final = time
        self._pass_to: Final = pass_to
        #: Those that can still go on, and those of processes that were killed.
        self.alive: list[SimThread] = []
        self._dead: list[SimThread] = []
        #: Who has the baton; None: the event loop's own thread.
        self.current: SimThread | None = None
        #: The operating system's numbers for the threads of this run.
        self.idents: Final[set[int]] = set()
        self._back: Final = _thread.allocate_lock()
        self._back.acquire()
        self._made = 0
        self.over = False

    def numbered(self) -> int:
        """The next number."""
        self._made += 1
        return self._made

    def time(self) -> float:
        """Virtual seconds."""
        return self._time()

    def start(
        self,
        main: Callable[[], None],
        name: str,
        otherwise: Callable[[], Process],
        made: Callable[[SimThread], None],
    ) -> None:
        """A thread of the process that is at work; of the other one, if the driver is."""
        process = PROCESS.get()
        thread = SimThread(self, main, name, otherwise() if process is DRIVER else process)
        made(thread)
        (self.alive if thread.process.alive else self._dead).append(thread)
        self.preempt()

    @property
    def left(self) -> int:
        """How many have not ended, those of processes that were killed included."""
        return len(self.alive) + len(self._dead)

    def ended(self, thread: SimThread) -> None:
        """It gives the baton back for good."""
        if thread.lost:
            return
        self.idents.discard(_thread.get_ident())
        for some in (self.alive, self._dead):
            if thread in some:
                some.remove(thread)
        self.current = None
        self._back.release()

    def runnable(self) -> list[SimThread]:
        """Those that can go on now."""
        now = self._time()
        return [t for t in self.alive if not t.process.frozen and t.can_go_on(now)]

    def next_deadline(self) -> float | None:
        """When the first of them has waited long enough."""
        times = [
            thread.deadline
            for thread in self.alive
            if thread.deadline is not None and not thread.process.frozen
        ]
        return min(times, default=None)

    def resume(self, thread: SimThread) -> None:
        """Give it the baton, and wait until that comes back; for the event loop's thread.

        Raises:
            Stuck: it does not come back.
        """
        self._schedule.note(-thread.number)
        self.current = thread
        self.watch.at = thread
        thread.gate.release()
        while not self._back.acquire(timeout=STUCK_S):
            if not is_debugged(thread.ident):
                # Also if whoever is told of it here catches it.
                self._schedule.stop = stuck_at(thread.ident, thread.name)
                raise self._schedule.stop
        self.watch.at = None

    def _yield(self, me: SimThread) -> None:
        self.current = None
        self._back.release()
        me.gate.acquire()
        if me.killed:
            raise Killed

    def preempt(self) -> None:
        """Another may go on here."""
        if self.over:
            return
        me = self.current
        if me is not None:
            if self._schedule.deviates():
                # The others first: it has had its turn.
                self.alive.remove(me)
                self.alive.append(me)
                self._yield(me)
        elif self.alive and self._schedule.deviates():
            ready = self.runnable()
            if ready:
                self._schedule.step()
                self.resume(self._schedule.tape.pick(ready))

    def block(self, ready: Callable[[], bool], timeout: float | None, what: str) -> bool:
        """Wait until it is so, at most so many virtual seconds; whether it is.

        Raises:
            Deadlock: the event loop itself waits, and nobody can help it.
        """
        if self.over:
            self._told_again()
        self.preempt()
        if ready():
            return True
        deadline = None if timeout is None else self._time() + max(0.0, timeout)
        me = self.current
        if me is None:
            return self._block_loop(ready, deadline, what)
        me.ready, me.deadline, me.what = ready, deadline, what
        self._yield(me)
        me.ready = me.deadline = None
        return ready()

    def _told_again(self) -> NoReturn:
        """The run is over, and whoever waits is told so; a thread that will not hear is left."""
        me = self.current
        if me is not None:
            me.told += 1
            if me.told > _TOLD_MAX:
                self._yield(me)
        raise Killed

    def _block_loop(self, ready: Callable[[], bool], deadline: float | None, what: str) -> bool:
        while not ready():
            self._schedule.step()
            now = self._time()
            if deadline is not None and deadline <= now:
                return False
            threads = self.runnable()
            if threads:
                at = 0
                if len(threads) > 1 and self._schedule.deviates():
                    at = self._schedule.tape.choose(len(threads))
                self.resume(threads[at])
                continue
            due = self.next_deadline()
            if deadline is not None and (due is None or deadline < due):
                due = deadline
            if due is None:
                waits = "; ".join([f"the event loop waits for {what}", *self.who_waits()])
                raise Deadlock(f"nothing can go on; {waits}")
            self._pass_to(due)
        return True

    def kill(self) -> None:
        """Threads of processes that are gone stop where they stand, the caller's too."""
        self._dead += [thread for thread in self.alive if not thread.process.alive]
        self.alive = [thread for thread in self.alive if thread.process.alive]
        me = self.current
        if me is not None and not me.process.alive:
            self._yield(me)

    def unwind(self) -> None:
        """End every thread; one that will not is left where it stands."""
        self.over = True
        self.watch.off = True
        had = self.current
        if had is not None:
            # The run was interrupted while it had the baton.
            had.killed = True
            self._await_end(had)
        for thread in [*self._dead, *self.alive]:
            if thread.done or thread.lost:
                continue
            thread.killed = True
            self.current = thread
            thread.gate.release()
            self._await_end(thread)
        self.current = None

    def _await_end(self, thread: SimThread) -> None:
        """Wait until it gives the baton back; tell it once more, and leave it if it does not."""
        if self._back.acquire(timeout=_UNWINDS_S):
            return
        throw(thread.ident, Killed)
        if not self._back.acquire(timeout=_UNWINDS_S):
            thread.lost = True
            self.idents.discard(thread.ident)
            vars(threading)["_active"].pop(thread.ident, None)

    def who_waits(self) -> list[str]:
        """Each thread that is left, and what it waits for."""
        return [f"thread {each.name!r} waits for {each.what}" for each in self.alive]


def here() -> Threads | None:
    """The run that this thread is part of."""
    active = _ACTIVE[0]
    return active if active is not None and _thread.get_ident() in active.idents else None


def enter(threads: Threads | None) -> None:
    """From now on this run has the threads of this process; None: no run.

    Raises:
        RuntimeError: another has them.
    """
    if threads is not None and _ACTIVE[0] is not None:
        raise RuntimeError("another simulation runs in this process")
    if threads is not None:
        threads.idents.add(_thread.get_ident())
    _ACTIVE[0] = threads


#: The run that has the threads of this process.
_ACTIVE: Final[list[Threads | None]] = [None]

#: The real ones, whatever has been replaced since.
REAL_LOCK: Final = threading.Lock
